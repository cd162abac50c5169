"""A listing in PostgreSQL: the catalogue, the marts, and the ledger of what must not come in again.

Belongs here: the statements. Not here: the order in which stores are emptied (see `eraser`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from assets.batches import listing_digest
from assets.listings.feeds import FeedContract
from orchestration.erasure.mentions import Mentions
from orchestration.erasure.receipt import Removed
from resources.warehouse import Warehouse

TEXT = pa.string()
TITLES = pa.schema([("title", TEXT)])
CLUSTERS = pa.schema([("cluster_id", TEXT)])
CONTRACTS = pa.schema([("batch_key", TEXT), ("contract", TEXT)])
BATCH_KEYS = pa.schema([("batch_key", TEXT)])
OBJECTS = pa.schema([("object_key", TEXT), ("etag", TEXT)])
MARTS = pa.schema([("table_name", TEXT), ("column_name", TEXT)])

#: Rows of the catalogue that are the listing's, table by table; what was made of its text goes with its last user.
CATALOGUE_ROWS = {
    "catalog.product_history": "DELETE FROM catalog.product_history WHERE product_id = :product_id",
    "catalog.products": "DELETE FROM catalog.products WHERE product_id = :product_id",
    "catalog.listing_history": "DELETE FROM catalog.listing_history "
    "WHERE source = :source AND listing_id = :listing_id",
    "catalog.listings": "DELETE FROM catalog.listings WHERE source = :source AND listing_id = :listing_id",
    "catalog.scored_pairs": "DELETE FROM catalog.scored_pairs WHERE :product_id IN (left_id, right_id)",
    "catalog.golden_records": "DELETE FROM catalog.golden_records WHERE cluster_id = ANY (:clusters)",
    "catalog.cluster_summaries": "DELETE FROM catalog.cluster_summaries WHERE cluster_id = ANY (:clusters)",
    "catalog.clusters": "UPDATE catalog.clusters c SET size = c.size - 1, updated_at = now(), "
    "dissolved_at = CASE WHEN c.size = 1 THEN now() END FROM catalog.cluster_members m "
    "WHERE m.product_id = :product_id AND c.cluster_id = m.cluster_id",
    "catalog.cluster_members": "DELETE FROM catalog.cluster_members WHERE product_id = :product_id",
    "catalog.cluster_events": "UPDATE catalog.cluster_events "
    "SET members_before = array_remove(members_before, :product_id), "
    "members_after = array_remove(members_after, :product_id) "
    "WHERE :product_id = ANY (members_before) OR :product_id = ANY (members_after)",
}
#: What of a mart goes, by the first of these columns that it has; the next run makes all of it anew.
MART_ROWS = {"product_id": "product_id = :product_id", "cluster_id": "cluster_id = ANY (:clusters)"}
_MARTS_SQL = """
SELECT table_name::text AS table_name, column_name::text AS column_name
FROM information_schema.tables JOIN information_schema.columns USING (table_schema, table_name)
WHERE table_schema = 'marts' AND table_type = 'BASE TABLE'
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of PostgreSQL that are a listing's, or speak of it."""

    warehouse: Warehouse

    def mentions(self, source: str, listing_id: str) -> Mentions:
        """Return what a listing is known by, as far as the catalogue knows."""
        product = {"source": source, "listing_id": listing_id, "product_id": f"{source}:{listing_id}"}
        titles = self.warehouse.read(
            "SELECT title FROM catalog.listing_history WHERE source = :source AND listing_id = :listing_id "
            "UNION SELECT title FROM catalog.products WHERE product_id = :product_id",
            TITLES,
            **product,
        )
        clusters = self.warehouse.read(
            "SELECT cluster_id FROM catalog.cluster_members WHERE product_id = :product_id UNION "
            "SELECT cluster_id FROM catalog.cluster_events "
            "WHERE :product_id = ANY (members_before) OR :product_id = ANY (members_after)",
            CLUSTERS,
            **product,
        )
        batches = self.warehouse.read(
            "SELECT batch_key, contract::text AS contract FROM catalog.batches WHERE source = :source",
            CONTRACTS,
            source=source,
        ).to_pylist()
        return Mentions(
            source=source,
            listing_id=listing_id,
            titles=frozenset(titles.column("title").to_pylist()),
            clusters=frozenset(clusters.column("cluster_id").to_pylist()),
            contracts={row["batch_key"]: FeedContract.model_validate_json(row["contract"]) for row in batches},
        )

    def is_held(self, mentions: Mentions) -> bool:
        """Whether the listing is in the catalogue."""
        found = self.warehouse.read(
            "SELECT batch_key FROM catalog.listings WHERE source = :source AND listing_id = :listing_id",
            BATCH_KEYS,
            source=mentions.source,
            listing_id=mentions.listing_id,
        )
        return bool(found.num_rows)

    def newest_batch(self, source: str) -> str | None:
        """Return the newest batch of a source that was read."""
        newest = self.warehouse.read(
            "SELECT batch_key FROM catalog.batches WHERE source = :source AND artifacts IS NOT NULL "
            "ORDER BY delivered_at DESC, batch_key LIMIT 1",
            BATCH_KEYS,
            source=source,
        )
        keys: list[str] = newest["batch_key"].to_pylist()
        return keys[0] if keys else None

    def delivered(self, bucket: str, batch_key: str) -> set[tuple[str, str]]:
        """Return key and ETag of every object of a bucket as which a batch was delivered."""
        held = self.warehouse.read(
            "SELECT object_key, etag FROM catalog.deliveries WHERE bucket = :bucket AND batch_key = :batch_key",
            OBJECTS,
            bucket=bucket,
            batch_key=batch_key,
        )
        return set(zip(held["object_key"].to_pylist(), held["etag"].to_pylist(), strict=True))

    def forbid(self, mentions: Mentions) -> bool:
        """Keep the listing from coming in; return whether it was not kept out before."""
        with self.warehouse.transaction() as transaction:
            return bool(
                transaction.execute(
                    "INSERT INTO catalog.erasures (source, listing_digest) VALUES (:source, :digest) "
                    "ON CONFLICT DO NOTHING",
                    source=mentions.source,
                    digest=listing_digest(mentions.listing_id),
                )
            )

    def allow(self, mentions: Mentions) -> None:
        """Let the listing come in again."""
        with self.warehouse.transaction() as transaction:
            transaction.execute(
                "DELETE FROM catalog.erasures WHERE source = :source AND listing_digest = :digest",
                source=mentions.source,
                digest=listing_digest(mentions.listing_id),
            )

    def erase_vectors(self, mentions: Mentions, text_hashes: Sequence[str]) -> Iterator[Removed]:
        """Forget the vectors of texts that no other current product has."""
        with self.warehouse.transaction() as transaction:
            count = transaction.execute(
                "DELETE FROM catalog.embeddings e WHERE e.text_hash = ANY (:hashes) AND NOT EXISTS ("
                "SELECT FROM catalog.products p WHERE p.text_hash = e.text_hash AND p.product_id <> :product_id)",
                hashes=list(text_hashes),
                product_id=mentions.product_id,
            )
        yield from _counted({"catalog.embeddings": count})

    def erase_from_marts(self, mentions: Mentions) -> Iterator[Removed]:
        """Take out what a mart has of the listing or of its clusters."""
        columns: dict[str, set[str]] = {}
        for row in self.warehouse.read(_MARTS_SQL, MARTS).to_pylist():
            columns.setdefault(row["table_name"], set()).add(row["column_name"])
        told = {"product_id": mentions.product_id, "clusters": sorted(mentions.clusters)}
        for mart, held in sorted(columns.items()):
            for condition in [MART_ROWS[column] for column in MART_ROWS if column in held][:1]:
                with self.warehouse.transaction() as transaction:
                    count = transaction.execute(f'DELETE FROM marts."{mart}" WHERE {condition}', **told)  # noqa: S608
                yield from _counted({f"marts.{mart}": count})

    def erase_from_catalogue(self, mentions: Mentions) -> Iterator[Removed]:
        """Take the listing out of the catalogue with its history, in one transaction."""
        with self.warehouse.transaction() as transaction:
            # No batch of the source is applied meanwhile, and no clustering.
            transaction.lock(f"source {mentions.source}")
            transaction.lock("clusters")
            counts = {
                table: transaction.execute(
                    statement,
                    source=mentions.source,
                    listing_id=mentions.listing_id,
                    product_id=mentions.product_id,
                    clusters=sorted(mentions.clusters),
                )
                for table, statement in CATALOGUE_ROWS.items()
            }
        yield from _counted(counts)


def _counted(counts: dict[str, int]) -> Iterator[Removed]:
    for table, count in counts.items():
        if count:
            yield Removed(store="PostgreSQL", place=table, count=count, what="rows")
