"""Removing one listing from every store.

Belongs here: which stores there are, in which order they are emptied, and the receipt. Not here: what names a listing
(see `mentions`), keeping it from coming in again (see `assets.listings.intake`).
"""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy

from assets.batches import listing_digest
from assets.embeddings.ports import VectorIndex
from assets.listings.feeds import FeedContract
from assets.presentation import asset_key
from assets.products.assets import PRODUCTS_CHANGED
from assets.products.schema import CATALOGUE
from orchestration.mentions import Mentions
from orchestration.settings import UserError
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse

TEXT = pa.string()
TITLES = pa.schema([("title", TEXT)])
CLUSTERS = pa.schema([("cluster_id", TEXT)])
CONTRACTS = pa.schema([("batch_key", TEXT), ("contract", TEXT)])
BATCH_KEYS = pa.schema([("batch_key", TEXT)])
OBJECTS = pa.schema([("object_key", TEXT), ("etag", TEXT)])
PARQUET = "application/vnd.apache.parquet"

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
#: Dagster's tables that hold events as JSON, and the column.
EVENT_TABLES = {
    "event_logs": "event",
    "asset_keys": "last_materialization",
    "asset_check_executions": "evaluation_event",
}
#: Folders of the artifacts bucket whose files are texts for people: one that names the listing goes as a whole.
TEXTS = ("data_docs/", "dagster/storage/")
#: Tables of pairs, as MLflow keeps them, and the picture that shows the first of them.
PICTURES = {
    "least_certain_joins.csv": "plots/least_certain_joins.png",
    "nearest_misses.csv": "plots/nearest_misses.png",
}
PICTURED_ROWS = "rows, and their picture"
#: Where records wait while MLflow is away (see `resources.tracking_outbox`).
OUTBOX = "tracking/"
#: A run that was under way may bring back what was removed: the stores are gone through until nothing is left.
MOST_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """One line of a receipt.

    Attributes:
        store: Which store.
        place: Where in it: a table, an object, a file.
        count: How many rows, points or files.
        what: What was counted.
    """

    store: str
    place: str
    count: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Eraser:
    """Every store that may hold a listing."""

    warehouse: Warehouse
    store: ObjectStore
    artifacts_bucket: str
    landing: LandingBucket
    indexes: tuple[VectorIndex, ...]
    instance: dg.DagsterInstance
    dagster_database_url: str = field(repr=False)

    def erase(self, source: str, listing_id: str, *, keep_landed: bool = False) -> list[Removed]:
        """Remove a listing from every store and keep it from coming in again; erasing it again finishes what broke off.

        Delivered files that hold it are deleted from the landing bucket, because a file cannot be changed without
        becoming another delivery; what else they hold is in the artifacts.

        Args:
            source: Its source.
            listing_id: The source's own id of it.
            keep_landed: Leave delivered files alone; its row in them does not come in again all the same.

        Returns:
            What was removed where.

        Raises:
            UserError: no store knows such a listing.
        """
        mentions = self._mentions(source, listing_id)
        is_new = self._forbid(mentions)
        newest = self._newest_batch(mentions)
        receipt: list[Removed] = []
        for _ in range(MOST_ROUNDS):
            removed = list(self._round(mentions, keep_landed=keep_landed))
            receipt += removed
            if not removed:
                break
        if not receipt and is_new:
            self._allow(mentions)
            raise UserError(f"no store knows a listing {listing_id!r} of {source}; see catalog.listings for its ids")
        if newest is not None:
            self._report(newest)
        return receipt

    def _newest_batch(self, mentions: Mentions) -> str | None:
        """Return the batch that brought the listing as it is, where it is in the catalogue."""
        found = self.warehouse.read(
            "SELECT batch_key FROM catalog.listings WHERE source = :source AND listing_id = :listing_id",
            BATCH_KEYS,
            source=mentions.source,
            listing_id=mentions.listing_id,
        )
        return str(found["batch_key"][0]) if found.num_rows else None

    def _report(self, batch_key: str) -> None:
        """Let Dagster know that the catalogue has changed."""
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key(CATALOGUE),
                description="A listing was erased.",
                partition=batch_key,
                metadata={PRODUCTS_CHANGED: 1},
            )
        )

    def _mentions(self, source: str, listing_id: str) -> Mentions:
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

    def _forbid(self, mentions: Mentions) -> bool:
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

    def _allow(self, mentions: Mentions) -> None:
        with self.warehouse.transaction() as transaction:
            transaction.execute(
                "DELETE FROM catalog.erasures WHERE source = :source AND listing_digest = :digest",
                source=mentions.source,
                digest=listing_digest(mentions.listing_id),
            )

    def _round(self, mentions: Mentions, *, keep_landed: bool) -> Iterator[Removed]:
        yield from self._from_artifacts(mentions, keep_landed=keep_landed)
        yield from self._from_catalogue(mentions)
        for index in self.indexes:
            with index.held():
                if mentions.product_id not in index.fingerprints():
                    continue
                index.delete([mentions.product_id])
            yield Removed(store=index.name, place=mentions.product_id, count=1, what="vectors")
        yield from self._from_dagster(mentions)

    def _from_catalogue(self, mentions: Mentions) -> list[Removed]:
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
        return [
            Removed(store="PostgreSQL", place=table, count=count, what="rows")
            for table, count in counts.items()
            if count
        ]

    def _from_artifacts(self, mentions: Mentions, *, keep_landed: bool) -> Iterator[Removed]:
        bucket = self.artifacts_bucket
        for version in self.store.list(bucket):
            path = PurePosixPath(version.key)
            if path.suffix == ".parquet":
                yield from self._from_table(version.key, mentions, keep_landed=keep_landed)
            elif path.name in PICTURES:
                data, rows = mentions.cut_from_csv(self.store.get_bytes(bucket, version.key))
                if rows:
                    self.store.delete(bucket, str(path.parent / PICTURES[path.name]))
                    self.store.put_bytes(bucket, version.key, data, content_type="text/csv")
                    yield Removed(store="MLflow", place=version.key, count=rows, what=PICTURED_ROWS)
            elif version.key.startswith(OUTBOX):
                data, rows = _cut_from_record(self.store.get_bytes(bucket, version.key), mentions)
                if rows:
                    self.store.put_bytes(bucket, version.key, data, content_type="application/zip")
                    yield Removed(store="MLflow", place=version.key, count=rows, what=PICTURED_ROWS)
            elif version.key.startswith(TEXTS):
                text = self.store.get_bytes(bucket, version.key).decode(errors="replace")
                if mentions.in_text(text):
                    self.store.delete(bucket, version.key)
                    yield Removed(store="artifacts", place=version.key, count=1, what="files")

    def _from_table(self, key: str, mentions: Mentions, *, keep_landed: bool) -> Iterator[Removed]:
        """Take the listing's rows out of a Parquet object; what leads from them to other places goes first."""
        name, batch_key = PurePosixPath(key).parts[-3], unquote(PurePosixPath(key).parts[-2])
        with self.store.filesystem().open_input_file(f"{self.artifacts_bucket}/{key}") as file:
            # What can name a listing is read first: vectors are most of the bytes, and name nobody.
            parquet = pq.ParquetFile(file)
            telling = [each.name for each in parquet.schema_arrow if not pa.types.is_fixed_size_list(each.type)]
            found = parquet.read(telling)
            mask = mentions.in_table(found, name, batch_key)
            rows = pc.sum(mask).as_py() or 0
            if not rows:
                return
            table = parquet.read().filter(pc.invert(mask))
        if "text_hash" in telling:
            yield from self._from_embeddings(found.filter(mask).column("text_hash").to_pylist(), mentions)
        if batch_key in mentions.contracts and not keep_landed:
            yield from self._from_landing(batch_key)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.store.put_bytes(self.artifacts_bucket, key, sink.getvalue().to_pybytes(), content_type=PARQUET)
        yield Removed(store="artifacts", place=key, count=rows, what="rows")

    def _from_embeddings(self, hashes: Sequence[str], mentions: Mentions) -> Iterator[Removed]:
        """Forget the vectors of texts that no other current product has."""
        with self.warehouse.transaction() as transaction:
            count = transaction.execute(
                "DELETE FROM catalog.embeddings e WHERE e.text_hash = ANY (:hashes) AND NOT EXISTS ("
                "SELECT FROM catalog.products p WHERE p.text_hash = e.text_hash AND p.product_id <> :product_id)",
                hashes=list(hashes),
                product_id=mentions.product_id,
            )
        if count:
            yield Removed(store="PostgreSQL", place="catalog.embeddings", count=count, what="rows")

    def _from_landing(self, batch_key: str) -> Iterator[Removed]:
        """Delete the delivered files of a batch, in whatever name they were delivered."""
        held = self.warehouse.read(
            "SELECT object_key, etag FROM catalog.deliveries WHERE bucket = :bucket AND batch_key = :batch_key",
            OBJECTS,
            bucket=self.landing.bucket,
            batch_key=batch_key,
        )
        versions = set(zip(held["object_key"].to_pylist(), held["etag"].to_pylist(), strict=True))
        for version in self.landing.versions():
            if (version.key, version.etag) in versions:
                self.landing.store.delete(self.landing.bucket, version.key)
                yield Removed(store="landing bucket", place=version.key, count=1, what="files")

    def _from_dagster(self, mentions: Mentions) -> Iterator[Removed]:
        engine = sqlalchemy.create_engine(self.dagster_database_url)
        try:
            with engine.begin() as connection:
                present = set(sqlalchemy.inspect(connection).get_table_names())
                for table, column in EVENT_TABLES.items():
                    if table not in present:
                        continue
                    count = sum(_cut_events(connection, table, column, mentions))
                    if count:
                        yield Removed(store="Dagster", place=f"{table}.{column}", count=count, what="events")
        finally:
            engine.dispose()


def _cut_from_record(data: bytes, mentions: Mentions) -> tuple[bytes, int]:
    """Return a record that waits for MLflow without what names the listing, and how many rows that was."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    rows = 0
    for table, image in PICTURES.items():
        if (name := f"run/{table}") in parts:
            parts[name], cut = mentions.cut_from_csv(parts[name])
            if cut:
                rows += cut
                parts.pop(f"run/{image}", None)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue(), rows


def _cut_events(connection: sqlalchemy.Connection, table: str, column: str, mentions: Mentions) -> Iterator[int]:
    """Cut the listing out of a table of events, one after the other."""
    events = sqlalchemy.table(table, sqlalchemy.column("id"), sqlalchemy.column(column))
    named = sqlalchemy.select(events.c.id, events.c[column]).where(
        sqlalchemy.or_(*(events.c[column].contains(name, autoescape=True) for name in mentions.in_json))
    )
    for number, text in connection.execute(named).all():
        event = json.loads(text) if isinstance(text, str) else text
        cut = mentions.cut_from_event(event)
        if cut != event:
            value = json.dumps(cut) if isinstance(text, str) else cut
            connection.execute(sqlalchemy.update(events).where(events.c.id == number).values({column: value}))
            yield 1
