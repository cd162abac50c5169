"""Removing one listing from every store.

Belongs here: which stores there are, in which order they are emptied, and the receipt. Not here: what names a listing
(see `mentions`), keeping it from coming in again (see `assets.listings.intake`).
"""

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy

from assets.batches import listing_digest
from assets.clusters.keeping import NotThisState, forget
from assets.embeddings.ports import VectorIndex
from assets.listings.feeds import FeedContract
from assets.presentation import asset_key
from assets.products.schema import CATALOGUE
from orchestration.mentions import Mentions
from orchestration.runners import OPEN, fail_dead_runs
from orchestration.settings import UserError
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore, ObjectStoreUnavailable
from resources.state_shelf import KEY as STATE
from resources.warehouse import Warehouse

TEXT = pa.string()
TITLES = pa.schema([("title", TEXT)])
CLUSTERS = pa.schema([("cluster_id", TEXT)])
CONTRACTS = pa.schema([("batch_key", TEXT), ("contract", TEXT)])
BATCH_KEYS = pa.schema([("batch_key", TEXT)])
OBJECTS = pa.schema([("object_key", TEXT), ("etag", TEXT)])
MARTS = pa.schema([("table_name", TEXT), ("column_name", TEXT)])
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
#: What of a mart goes, by the first of these columns that it has; the next run makes all of it anew.
MART_ROWS = {"product_id": "product_id = :product_id", "cluster_id": "cluster_id = ANY (:clusters)"}
_MARTS_SQL = """
SELECT table_name::text AS table_name, column_name::text AS column_name
FROM information_schema.tables JOIN information_schema.columns USING (table_schema, table_name)
WHERE table_schema = 'marts' AND table_type = 'BASE TABLE'
"""
#: Dagster's tables that hold events as JSON, and the column.
EVENT_TABLES = {
    "event_logs": "event",
    "asset_keys": "last_materialization",
    "asset_check_executions": "evaluation_event",
}
#: Folders of the artifacts bucket whose files are texts for people: one that names the listing goes as a whole.
TEXTS = ("data_docs/", "dagster/storage/")
#: Tables of pairs, as MLflow keeps them, whose first rows a picture shows.
PICTURES = {
    "least_certain_joins.csv": "plots/least_certain_joins.png",
    "nearest_misses.csv": "plots/nearest_misses.png",
}
PICTURED_ROWS = "rows, and their picture"
#: What reading a ZIP file raises that is none, is broken, or was packed in a way that nobody here packs.
NO_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
#: Where records wait while MLflow is away (see `resources.tracking_outbox`).
OUTBOX = "tracking/"
#: A run that begins meanwhile may bring back what was removed: the stores are gone through until nothing is left.
MOST_ROUNDS = 3
BEGUN = [status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.QUEUED]


class NotErasable(UserError):
    """Nothing can be erased for good now; the message says why and what to do."""


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

    def erase(
        self,
        source: str,
        listing_id: str,
        *,
        keep_landed: bool = False,
        watch: Callable[[Removed], None] = lambda removed: None,
    ) -> list[Removed]:
        """Remove a listing from every store and keep it from coming in again; erasing it again finishes what broke off.

        Delivered files that hold it are deleted from the landing bucket, because a file cannot be changed without
        becoming another delivery; what else they hold is in the artifacts. What stays, for it names nobody: how often
        words occur in all titles together, in the files of registered models. What MLflow keeps outside the artifacts
        bucket is not reached.

        Args:
            source: Its source.
            listing_id: The source's own id of it.
            keep_landed: Leave delivered files alone; its row in them does not come in again all the same.
            watch: Told of everything that was removed, at once: should a store fail, the rest is still to be done.

        Returns:
            What was removed where.

        Raises:
            UserError: no store knows such a listing.
            NotErasable: a run is under way, which may hold it in memory and write it anywhere afterwards.
        """
        self._runs_at_rest()
        mentions = self._mentions(source, listing_id)
        is_new = self._forbid(mentions)
        was_held = self._is_held(mentions)
        receipt: list[Removed] = []
        for _ in range(MOST_ROUNDS):
            runs, before = self._runs_at_rest(), len(receipt)
            for removed in self._round(mentions, runs, keep_landed=keep_landed):
                receipt.append(removed)
                watch(removed)
            if len(receipt) == before and self._runs_at_rest() == runs:
                break
        else:
            raise NotErasable("runs that begin meanwhile bring it back: stop them (offerline down) and erase it again")
        if not receipt and is_new:
            self._allow(mentions)
            raise UserError(f"no store knows a listing {listing_id!r} of {source}; see catalog.listings for its ids")
        if was_held or not is_new:
            self._report(source)
        return receipt

    def _runs_at_rest(self) -> int:
        """Return how many runs ever began, none of which is under way; those that wait in the queue have read nothing.

        Raises:
            NotErasable: one is.
        """
        fail_dead_runs(self.instance)
        under_way = self.instance.get_runs(dg.RunsFilter(statuses=list(OPEN)), limit=1)
        if under_way:
            raise NotErasable(
                f"run {under_way[0].run_id} of {under_way[0].job_name} is under way and could bring the listing back: "
                "erase it when it has ended"
            )
        return self.instance.get_runs_count(dg.RunsFilter(statuses=BEGUN))

    def _is_held(self, mentions: Mentions) -> bool:
        """Whether the listing is in the catalogue."""
        found = self.warehouse.read(
            "SELECT batch_key FROM catalog.listings WHERE source = :source AND listing_id = :listing_id",
            BATCH_KEYS,
            source=mentions.source,
            listing_id=mentions.listing_id,
        )
        return bool(found.num_rows)

    def _report(self, source: str) -> None:
        """Let Dagster know that the catalogue has changed.

        Also where it was erased before: whether that was told is not known, nor by how much. The newest batch of the
        source speaks for it.
        """
        newest = self.warehouse.read(
            "SELECT batch_key FROM catalog.batches WHERE source = :source AND artifacts IS NOT NULL "
            "ORDER BY delivered_at DESC, batch_key LIMIT 1",
            BATCH_KEYS,
            source=source,
        )
        for batch_key in newest["batch_key"].to_pylist():
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key(CATALOGUE), description="A listing was erased.", partition=batch_key)
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

    def _round(self, mentions: Mentions, runs: int, *, keep_landed: bool) -> Iterator[Removed]:
        """Go through every store once.

        The catalogue, which knows the listing's titles and clusters, comes last, and only where no run has begun since
        there were `runs`: what breaks off is begun anew by them.
        """
        yield from self._from_artifacts(mentions, keep_landed=keep_landed)
        for index in self.indexes:
            with index.held():
                if mentions.product_id not in index.fingerprints():
                    continue
                index.delete([mentions.product_id])
            yield Removed(store=index.name, place=mentions.product_id, count=1, what="vectors")
        yield from self._from_dagster(mentions)
        yield from self._from_marts(mentions)
        if self._runs_at_rest() == runs:
            yield from self._from_catalogue(mentions)

    def _from_marts(self, mentions: Mentions) -> Iterator[Removed]:
        columns: dict[str, set[str]] = {}
        for row in self.warehouse.read(_MARTS_SQL, MARTS).to_pylist():
            columns.setdefault(row["table_name"], set()).add(row["column_name"])
        told = {"product_id": mentions.product_id, "clusters": sorted(mentions.clusters)}
        for mart, held in sorted(columns.items()):
            for condition in [MART_ROWS[column] for column in MART_ROWS if column in held][:1]:
                with self.warehouse.transaction() as transaction:
                    count = transaction.execute(f'DELETE FROM marts."{mart}" WHERE {condition}', **told)  # noqa: S608
                if count:
                    yield Removed(store="PostgreSQL", place=f"marts.{mart}", count=count, what="rows")

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
            elif path.suffix == ".csv":
                yield from self._from_csv(version.key, mentions)
            elif version.key.startswith(OUTBOX):
                yield from self._from_record(version.key, mentions)
            elif version.key == STATE:
                yield from self._from_state(mentions)
            elif version.key.startswith(TEXTS):
                yield from self._from_text(version.key, self.store.get_bytes(bucket, version.key), mentions)

    def _from_state(self, mentions: Mentions) -> Iterator[Removed]:
        """Take the listing out of the state of the matching; one that cannot be read is of no use, and goes whole."""
        try:
            without = forget(self.store.get_bytes(self.artifacts_bucket, STATE), mentions.product_id)
        except NotThisState:
            self.store.delete(self.artifacts_bucket, STATE)
            yield Removed(store="artifacts", place=STATE, count=1, what="files")
            return
        if without is not None:
            self.store.put_bytes(self.artifacts_bucket, STATE, without, content_type="application/zip")
            yield Removed(store="artifacts", place=STATE, count=1, what="rows")

    def _from_table(self, key: str, mentions: Mentions, *, keep_landed: bool) -> Iterator[Removed]:
        """Take the listing's rows out of a Parquet object; what leads from them to other places goes first."""
        name, batch_key = PurePosixPath(key).parts[-3], unquote(PurePosixPath(key).parts[-2])
        place = f"{self.artifacts_bucket}/{key}"
        try:
            with self.store.filesystem().open_input_file(place) as file:
                # What can name a listing is read first: vectors are most of the bytes, and name nobody.
                parquet = pq.ParquetFile(file)
                telling = [each.name for each in parquet.schema_arrow if not pa.types.is_fixed_size_list(each.type)]
                found = parquet.read(telling)
                mask = mentions.in_table(found, name, batch_key)
                rows = pc.sum(mask).as_py() or 0
                if not rows:
                    return
                table = parquet.read().filter(pc.invert(mask))
        except OSError as error:
            raise ObjectStoreUnavailable(f"{place}: {error}") from error
        if "text_hash" in telling:
            yield from self._from_embeddings(found.filter(mask).column("text_hash").to_pylist(), mentions)
        if batch_key in mentions.contracts and not keep_landed:
            yield from self._from_landing(batch_key)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.store.put_bytes(self.artifacts_bucket, key, sink.getvalue().to_pybytes(), content_type=PARQUET)
        yield Removed(store="artifacts", place=key, count=rows, what="rows")

    def _from_csv(self, key: str, mentions: Mentions) -> Iterator[Removed]:
        data = self.store.get_bytes(self.artifacts_bucket, key)
        try:
            data, rows = mentions.cut_from_csv(data)
        except csv.Error:
            yield from self._from_text(key, data, mentions, store="MLflow")
            return
        if rows:
            path = PurePosixPath(key)
            if path.name in PICTURES:
                self.store.delete(self.artifacts_bucket, str(path.parent / PICTURES[path.name]))
            self.store.put_bytes(self.artifacts_bucket, key, data, content_type="text/csv")
            yield Removed(store="MLflow", place=key, count=rows, what=_rows_of(path.name))

    def _from_record(self, key: str, mentions: Mentions) -> Iterator[Removed]:
        """Take the listing's rows out of what waits for MLflow or was refused; what is no record is text."""
        data = self.store.get_bytes(self.artifacts_bucket, key)
        try:
            data, cut = _cut_from_record(data, mentions)
        except (*NO_ZIP, csv.Error):
            yield from self._from_text(key, data, mentions, store="MLflow")
            return
        if cut:
            self.store.put_bytes(self.artifacts_bucket, key, data, content_type="application/zip")
        for table, rows in cut.items():
            yield Removed(store="MLflow", place=f"{key}: {table}", count=rows, what=_rows_of(table))

    def _from_text(self, key: str, data: bytes, mentions: Mentions, store: str = "artifacts") -> Iterator[Removed]:
        if mentions.in_text(data.decode(errors="replace")):
            self.store.delete(self.artifacts_bucket, key)
            yield Removed(store=store, place=key, count=1, what="files")

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


def _rows_of(table: str) -> str:
    return PICTURED_ROWS if table in PICTURES else "rows"


def _cut_from_record(data: bytes, mentions: Mentions) -> tuple[bytes, dict[str, int]]:
    """Return a record that waits for MLflow without what names the listing: table -> rows that were cut out of it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    rows: dict[str, int] = {}
    for table in [name for name in parts if name.endswith(".csv")]:
        parts[table], cut = mentions.cut_from_csv(parts[table])
        if cut:
            folder, _, name = table.rpartition("/")
            rows[name] = cut
            parts.pop(f"{folder}/{PICTURES.get(name, '')}", None)
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
