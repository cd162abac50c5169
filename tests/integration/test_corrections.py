"""Whatever way deliveries come, and what a person corrects of them, through Dagster's own jobs and every store."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from dagster import serialize_value
from word_embedder import WordEmbedder

from assets.batches import BATCHES, IntakeCounts
from assets.clusters.recording import as_csv
from assets.clusters.rules import MatchRules
from assets.products.applying import Applied
from assets.products.guarding import SnapshotRules
from assets.tracking import ModelVersion, RunRecord
from orchestration import run_command
from orchestration.build import build_definitions
from orchestration.cli import app
from orchestration.context import Platform
from orchestration.erasure.eraser import Eraser, NotErasable
from orchestration.erasure.receipt import Removed
from orchestration.jobs import CATALOGUE_STAGES, INGEST
from orchestration.refresh import Outcome, Refresh
from orchestration.rejections import Rejection, count_by_reason, rejections, request_replay
from orchestration.rollback import roll_back_batch
from orchestration.settings import Settings, UserError
from resources.batch_archive import ArtifactArchive
from resources.batch_book import PostgresBatchBook
from resources.document_shelf import DocumentShelf
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore
from resources.parquet_io import ParquetIOManager
from resources.pgvector_index import PgVectorIndex
from resources.qdrant_embedded import QdrantEmbeddedIndex
from resources.state_shelf import ObjectStateShelf
from resources.vector_index import IndexUnavailable
from resources.warehouse import Warehouse
from sensors.catalogue import newest_change
from sensors.landing import look

pytestmark = [
    pytest.mark.stack,
    pytest.mark.laws,
    pytest.mark.filterwarnings("ignore::Warning"),
]

CONTRACTS = """
feeds:
  - {source: alpha, path: all.csv, format: csv, currency: EUR}
  - {source: beta, path: "delta-*.csv", format: csv, mode: delta, currency: EUR, fields: {title: name}}
"""
MENDED = CONTRACTS.replace("{title: name}", "{title: [name, label]}")
SECRET = 'Bosch Professional GSR 12V-15 Cordless Drill 10" #1 [2 Ah]'
#: A part of it that JSON, Markdown and HTML leave as it is.
TOLD = "Bosch Professional GSR"
ALPHA = f"""listing_id,title,price
a1,"{SECRET.replace('"', '""')}",99.00
a2,Sony WH-1000XM5 Wireless Headphones Black,329.00
a3,Logitech MX Master 3S Mouse,89.90
"""
FIRST = """listing_id,name,label,price
b1,Sony WH1000XM5 headphones black,,319
b2,,Logitech MX Master 3S mouse,85
b3,,Bosch GSR 12V-15 cordless drill,95
b4,N/A,,12
"""
SECOND = """listing_id,name,label,price
b9,Dyson V11 Absolute,,399
"""
RAGGED = """listing_id,name,label,price
b7,Makita drill,,99
b8,Bosch drill,,99,,much,more
"""
#: Marts as dbt makes them, and one of somebody else's.
MARTS = (
    "CREATE TABLE marts.fct_offer AS SELECT product_id, cluster_id, title FROM catalog.products "
    "LEFT JOIN catalog.cluster_members USING (product_id)",
    "CREATE TABLE marts.dim_product AS SELECT cluster_id, title, provenance FROM catalog.golden_records",
    "CREATE TABLE marts.notes AS SELECT 'nobody' AS named",
)
#: Tables that follow from the deliveries, and those of their columns that do not.
MADE_OF_DELIVERIES = {
    "listings": (),
    "listing_history": ("history_id",),
    "products": (),
    "product_history": ("history_id",),
    "product_vectors": (),
    "golden_records": ("updated_at",),
    "cluster_summaries": ("written_at",),
    "cluster_members": (),
}


class NoTracking:
    """Nobody looks at experiments here."""

    def record(self, run: RunRecord) -> str:
        return "https://nowhere.example"

    def add_metrics(self, experiment: str, dagster_run_id: str, metrics: Mapping[str, float]) -> str | None:
        return None

    def register(self, name: str, digest: str, files: object, *, run: RunRecord, description: str) -> ModelVersion:
        return ModelVersion(name=name, version=1, is_new=True, link="https://nowhere.example")


class Company:
    """Two shops and a platform of their own; the marts are left out, which are made anew by every run."""

    def __init__(self, warehouse: Warehouse, store: ObjectStore, buckets: tuple[str, str], home: Path) -> None:
        landing, self.bucket = buckets
        self.warehouse, self.store, self.home = warehouse, store, home
        self.zone = LandingBucket(store, landing)
        self.book = PostgresBatchBook(warehouse, landing)
        (home / "dagster").mkdir()
        self.instance = dg.DagsterInstance.local_temp(str(home / "dagster"), {"telemetry": {"enabled": False}})
        self.pgvector, self.qdrant = PgVectorIndex(warehouse.url), QdrantEmbeddedIndex(home / "qdrant")
        artifacts = ParquetIOManager(store, self.bucket)
        self.archive = ArtifactArchive(artifacts, self.instance)
        self.definitions = build_definitions(
            Settings(home=home),
            {
                "io_manager": artifacts, "catalogue": warehouse, "batch_book": self.book, "landing_zone": self.zone,
                "batch_archive": self.archive, "documents": DocumentShelf(store, store, self.bucket),
                "embedder": WordEmbedder(), "pgvector": self.pgvector, "qdrant": self.qdrant, "writer": None,
                "match_state": ObjectStateShelf(store, self.bucket), "judge": None, "tracking": NoTracking(),
                "match_rules": MatchRules(), "snapshot_rules": SnapshotRules(),
            },
        )  # fmt: skip
        self.refresh = Refresh(definitions=self.definitions, instance=self.instance, zone=self.zone, book=self.book)

    def deliver(self, **files: str) -> None:
        """Deliver files, by their names without the dots and dashes."""
        for name, text in files.items():
            key = {"feeds": "feeds.yaml", "all": "all.csv"}.get(name, f"{name.replace('_', '-')}.csv")
            self.zone.deliver_bytes(text.encode(), f"shops/{key}")

    def take_in(self) -> None:
        outcome = Outcome()
        self.refresh.take_in(lambda happening: None, outcome)
        assert outcome.failures == []
        assert [check for check in outcome.checks() if not check.passed and check.severity == "ERROR"] == []

    def take_in_backwards(self) -> None:
        """Look at the bucket once, and take in what is there with the newest batch first, the way no queue would."""
        waiting = look(self.zone, self.book).waiting
        assert len(waiting) > 2
        for batch_key in reversed(waiting):
            outcome = Outcome()
            assert self.book.claim([batch_key]) == [batch_key]
            self.instance.add_dynamic_partitions(str(BATCHES.name), [batch_key])
            self.refresh._run(INGEST.name, batch_key, lambda happening: None, outcome)
            assert outcome.failures == []

    def fails_to_take_in(self) -> list[str]:
        outcome = Outcome()
        self.refresh.take_in(lambda happening: None, outcome)
        return outcome.failures

    def make_catalogue(self) -> None:
        stages = dg.AssetSelection.groups(*(stage for stage in CATALOGUE_STAGES if stage != "marts"))
        selection = stages | dg.AssetSelection.assets("products/current_products")
        job = dg.define_asset_job("without_marts", selection)
        definitions = dg.Definitions.merge(self.definitions, dg.Definitions(jobs=[job]))
        assert definitions.resolve_job_def("without_marts").execute_in_process(instance=self.instance).success

    def batch(self, object_key: str) -> str:
        (batch,) = {row["batch_key"] for row in self.book.newest(99) if row["object_key"].endswith(object_key)}
        return str(batch)

    def titles(self) -> dict[str, str]:
        rows = self.warehouse.read("SELECT product_id, title FROM catalog.products WHERE delisted_at IS NULL")
        return dict(zip(rows["product_id"].to_pylist(), rows["title"].to_pylist(), strict=True))

    def rejections(self) -> list[Rejection]:
        return list(rejections(self.warehouse, self.archive))

    def contents(self) -> dict[str, list[str]]:
        """The catalogue, but for what says when by the clock something was made."""
        found = {}
        for table, but in MADE_OF_DELIVERIES.items():
            less = "".join(f" - '{column}'" for column in but)
            rows = self.warehouse.read(f"SELECT (to_jsonb(t){less})::text AS row FROM catalog.{table} t ORDER BY 1")
            found[table] = rows["row"].to_pylist()
        found["qdrant"] = [f"{key}: {value}" for key, value in sorted(self.qdrant.fingerprints().items())]
        return found

    def clusters(self) -> set[str]:
        rows = self.warehouse.read(
            "SELECT string_agg(product_id, ' ' ORDER BY product_id) AS members FROM catalog.cluster_members "
            "GROUP BY cluster_id"
        )
        return set(rows["members"].to_pylist())

    def eraser(self, dagster_database_url: str) -> Eraser:
        return Eraser(
            warehouse=self.warehouse, store=self.store, artifacts_bucket=self.bucket, landing=self.zone,
            indexes=(self.pgvector, self.qdrant), instance=self.instance,
            dagster_database_url=dagster_database_url,
        )  # fmt: skip


@pytest.fixture
def found(
    new_warehouse: Callable[[str], AbstractContextManager[Warehouse]],
    new_bucket: Callable[[str], str],
    store: ObjectStore,
    tmp_path: Path,
) -> Iterator[Callable[[str], Company]]:
    """Found a company that reads a landing bucket, with everything else of its own."""
    with ExitStack() as companies:

        def made(landing: str) -> Company:
            home = tmp_path / new_bucket("home")
            home.mkdir()
            warehouse = companies.enter_context(new_warehouse("corrections"))
            company = Company(warehouse, store, (landing, new_bucket("artifacts")), home)
            companies.callback(company.pgvector.close)
            companies.callback(company.instance.dispose)
            return company

        yield made


@pytest.fixture
def company(found: Callable[[str], Company], new_bucket: Callable[[str], str]) -> Company:
    company = found(new_bucket("landing"))
    company.deliver(feeds=CONTRACTS, all=ALPHA, delta_1=FIRST)
    company.take_in()
    return company


def test_deliveries_twice_in_two_names_and_in_any_order_make_one_catalogue(
    company: Company, found: Callable[[str], Company]
) -> None:
    sleep(1.1)  # the store tells times of delivery apart by the second
    company.deliver(delta_2=FIRST.replace("headphones black", "headphones silver"), delta_3=FIRST)
    company.take_in()
    sleep(1.1)
    company.deliver(delta_4=FIRST, delta_5=SECOND)
    company.take_in()
    orderly = company.contents()
    assert len(orderly["listing_history"]) == 3 + 2 + 1 + 1 + 1, "added, changed, changed back, and one more"

    late = found(company.zone.bucket)
    late.take_in_backwards()
    assert late.contents() == orderly
    late.deliver(delta_6=SECOND)
    late.take_in()
    assert late.contents() == orderly


def test_rejected_rows_are_shown_and_exactly_those_go_through_again(company: Company) -> None:
    company.deliver(delta_2=SECOND)
    company.take_in()
    counts = {count.reason: (count.rows, count.batches) for count in count_by_reason(iter(company.rejections()))}
    assert counts == {"missing_field": (2, 1), "title_meaningless": (1, 1)}
    shown = [(row.place, row.field, row.object_key) for row in company.rejections()]
    assert shown == [
        ("row 2", "title", "shops/delta-1.csv"),
        ("row 3", "title", "shops/delta-1.csv"),
        ("listing b4", "title", "shops/delta-1.csv"),
    ]
    before = company.titles()
    assert "beta:b2" not in before

    company.deliver(feeds=MENDED)
    company.take_in()
    assert company.titles() == before, "only a feed's newest delivery is read again by itself"
    replay = {"book": company.book, "zone": company.zone, "reasons": {"missing_field"}}
    with pytest.raises(UserError, match="nothing is rejected for unheard_of; rejected is: missing_field, title_mean"):
        request_replay(company.warehouse, company.archive, **{**replay, "reasons": {"unheard_of"}})
    meant = request_replay(company.warehouse, company.archive, **replay)
    assert meant == {company.batch("delta-1.csv"): 2}
    company.take_in()
    assert company.titles() == before | {
        "beta:b2": "Logitech MX Master 3S mouse",
        "beta:b3": "Bosch GSR 12V-15 cordless drill",
    }
    assert [row.reason for row in company.rejections()] == ["title_meaningless"]
    intake = company.book.intake(company.batch("delta-1.csv"))
    assert (intake.read, intake.accepted, intake.rejected) == (4, 4, 0)
    history = company.warehouse.read(
        "SELECT DISTINCT h.valid_from = b.delivered_at AS then FROM catalog.listing_history h "
        "JOIN catalog.batches b USING (batch_key) WHERE h.source = 'beta'"
    )
    assert history["then"].to_pylist() == [True], "they count as delivered when they were delivered"


def test_rows_that_were_kept_come_in_again_although_their_file_was_overwritten_and_others_fail_clearly(
    company: Company,
) -> None:
    batch_key = company.batch("delta-1.csv")
    sleep(1.1)  # the store tells times of delivery apart by the second
    company.deliver(feeds=MENDED, delta_1=SECOND, delta_2=RAGGED)
    company.take_in()
    before = company.titles()
    replay = {"book": company.book, "zone": company.zone}
    request_replay(company.warehouse, company.archive, **replay, reasons={"missing_field"})
    # As a run leaves it that has found more rows than before, and dies before they are applied.
    more = IntakeCounts(read=14, accepted=14, rejected=0, repeated=0, reasons={})
    company.book.record_intake(batch_key, more)
    company.take_in()
    whole = company.titles()
    assert whole.keys() - before.keys() == {"beta:b2", "beta:b3"}
    intake = company.book.intake(batch_key)
    assert (intake.read, intake.accepted, intake.rejected, intake.repeated) == (4, 4, 0, 0), (
        "none is taken for a repeat"
    )

    roll_back_batch(company.warehouse, company.archive, company.book, company.instance, batch_key)
    assert "beta:b2" not in company.titles()
    company.book.accept(batch_key)
    company.take_in()
    assert company.titles() == whole

    ragged = company.batch("delta-2.csv")
    company.store.delete(company.zone.bucket, "shops/delta-2.csv")
    shown = company.rejections()
    reasons = {row.reason for row in shown if row.batch_key == ragged}
    assert len(reasons) == 1
    request_replay(company.warehouse, company.archive, **replay, reasons=reasons)
    (failure,) = company.fails_to_take_in()
    assert "the rejected rows cannot be read again; they stay" in failure
    assert company.titles() == whole
    assert company.rejections() == shown, "they can still be seen, and replayed"
    assert {row["batch_key"]: row["state"] for row in company.book.newest(99)}[ragged] == "applied"
    assert company.book.refusals() == []
    company.take_in()


def test_a_batch_that_is_rolled_back_leaves_the_catalogue_as_if_it_had_never_come(company: Company) -> None:
    company.make_catalogue()
    without = company.contents()
    assert company.clusters() == {"alpha:a1", "alpha:a2 beta:b1", "alpha:a3"}
    sleep(1.1)  # the store tells times of delivery apart by the second
    company.deliver(delta_2=SECOND.replace("b9,Dyson V11 Absolute", "b1,Dyson V11 Absolute"))
    company.take_in()
    company.make_catalogue()
    assert company.clusters() == {"alpha:a1", "alpha:a2", "alpha:a3", "beta:b1"}

    undone = roll_back_batch(
        company.warehouse, company.archive, company.book, company.instance, company.batch("delta-2.csv")
    )
    assert (undone.listings, undone.products) == ({"changed": 1}, {"changed": 1})
    assert company.refresh.catalogue_is_due(), "Dagster knows that the catalogue has changed"
    company.take_in()
    company.make_catalogue()
    assert company.contents() == without

    company.book.accept(company.batch("delta-2.csv"))
    company.take_in()
    assert company.titles()["beta:b1"] == "Dyson V11 Absolute"
    with pytest.raises(UserError, match="no batch 'nothing' was ever delivered"):
        roll_back_batch(company.warehouse, company.archive, company.book, company.instance, "nothing")


def test_a_rollback_that_could_not_tell_dagster_tells_it_when_it_is_done_again(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    def roll_back(object_key: str) -> Applied:
        batch_key = company.batch(object_key)
        return roll_back_batch(company.warehouse, company.archive, company.book, company.instance, batch_key)

    before = newest_change(company.instance)
    assert before is not None
    with monkeypatch.context() as killed, pytest.raises(Killed):
        killed.setattr(company.instance, "report_runless_asset_event", die)
        roll_back("delta-1.csv")
    assert company.titles().keys() == {"alpha:a1", "alpha:a2", "alpha:a3"}
    assert newest_change(company.instance) == before, "nobody has heard of it"
    assert roll_back("delta-1.csv") == Applied()
    after = newest_change(company.instance)
    assert after is not None
    assert after.storage_id > before.storage_id

    company.deliver(delta_2=SECOND)
    look(company.zone, company.book)
    assert roll_back("delta-2.csv") == Applied()
    assert newest_change(company.instance) == after, "nothing was ever made of that batch"


class Killed(BaseException):
    """The process ends here."""


def die(*_: object, **__: object) -> None:
    raise Killed


@pytest.fixture
def events(company: Company, tmp_path: Path) -> str:
    """Dagster's events as its storage in a database keeps them."""
    company.make_catalogue()
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE event_logs (id INTEGER PRIMARY KEY, event TEXT)"))
        for run in company.instance.get_runs():
            for entry in company.instance.all_logs(run.run_id):
                connection.execute(
                    sqlalchemy.text("INSERT INTO event_logs (event) VALUES (:event)"),
                    {"event": serialize_value(entry)},
                )
    return url


def everything(company: Company, events: str) -> str:
    """All that any store holds, as one text."""
    texts = []
    for bucket in (company.bucket, company.zone.bucket):
        for version in company.store.list(bucket):
            data = company.store.get_bytes(bucket, version.key)
            texts.append(f"{version.key}: {readable(version.key, data)}")
    tables = company.warehouse.read(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
        "WHERE table_schema IN ('catalog', 'marts') AND table_type = 'BASE TABLE'"
    )
    for table in tables["name"].to_pylist():
        rows = company.warehouse.read(f"SELECT t::text AS row FROM {table} t")
        texts += [f"{table}: {row}" for row in rows["row"].to_pylist()]
    texts += [f"qdrant: {key}" for key in company.qdrant.fingerprints()]
    with sqlalchemy.create_engine(events).connect() as connection:
        texts += list(connection.execute(sqlalchemy.text("SELECT event FROM event_logs")).scalars())
    return "\n".join(texts)


def readable(key: str, data: bytes) -> str:
    if key.endswith(".parquet"):
        return str(pq.read_table(io.BytesIO(data)).to_pylist())
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        return str(
            {
                name: pa.ipc.open_file(part).read_all().to_pylist() if name.endswith(".arrow") else part
                for name, part in parts.items()
            }
        )
    return data.decode(errors="replace")


def test_nothing_is_erased_while_a_run_is_under_way(company: Company, tmp_path: Path) -> None:
    company.make_catalogue()
    eraser = company.eraser(f"sqlite:///{tmp_path / 'events.db'}")
    before = company.contents()
    run = dg.DagsterRun(job_name=INGEST.name, status=dg.DagsterRunStatus.STARTED)
    company.instance.add_run(run)
    with pytest.raises(NotErasable, match=f"run {run.run_id} of {INGEST.name} is under way"):
        eraser.erase("alpha", "a1")
    assert company.contents() == before
    assert company.book.erased("alpha") == frozenset()
    company.instance.report_run_failed(run)

    def one_more(removed: Removed) -> None:
        """Something else begins whenever something was removed."""
        company.instance.add_run(dg.DagsterRun(job_name="by_hand", status=dg.DagsterRunStatus.STARTED))

    with pytest.raises(NotErasable, match="of by_hand is under way"):
        eraser.erase("alpha", "a1", watch=one_more)
    for begun in company.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        company.instance.report_run_failed(begun)
    assert "alpha:a1" in company.titles(), "by what it was called it is looked for again"
    assert {line.store for line in eraser.erase("alpha", "a1")} == {"PostgreSQL"}, "the rest was removed before"
    assert "alpha:a1" not in company.titles()
    assert eraser.erase("alpha", "a1") == []


class LockedIndex(QdrantEmbeddedIndex):
    """An index that somebody else holds."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))

    @contextmanager
    def held(self) -> Iterator[None]:
        raise IndexUnavailable("qdrant: another process holds it")
        yield


def test_an_erased_listing_is_nowhere_and_does_not_come_back(
    company: Company, events: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubts = pa.table({"left_id": ["alpha:a1", "alpha:a2"], "right_id": ["beta:b9", "beta:b1"], "title": [SECRET, "x"]})
    experiment = "mlflow/clustering/1/artifacts"
    files = {
        "nearest_misses.csv": as_csv(doubts),
        "plots/nearest_misses.png": b"a picture of both",
        "judged_pairs.csv": as_csv(doubts),
    }
    for name, content in files.items():
        company.store.put_bytes(company.bucket, f"{experiment}/{name}", content)
    waiting = io.BytesIO()
    with zipfile.ZipFile(waiting, "w") as record:
        record.writestr("record.json", "{}")
        for name, content in files.items():
            record.writestr(f"run/{name}", content)
    outbox = {
        "waiting/1.zip": waiting.getvalue(),
        "refused/2.zip": f"no record, {SECRET}".encode(),
        "refused/3.zip": b"no record",
    }
    for name, content in outbox.items():
        company.store.put_bytes(company.bucket, f"tracking/{name}", content)
    with company.warehouse.transaction() as transaction:
        transaction.execute("CREATE SCHEMA IF NOT EXISTS marts")
        for table in MARTS:
            transaction.execute(table)
    before = everything(company, events)
    assert before.count("alpha:a1") > 10
    assert before.count(TOLD) > 10
    others = company.titles()
    del others["alpha:a1"]

    eraser = company.eraser(events)
    with pytest.raises(UserError, match="no store knows a listing 'a4' of alpha"):
        eraser.erase("alpha", "a4")
    receipt = eraser.erase("beta", "b2", keep_landed=True)
    (line,) = (line for line in receipt if line.place.startswith("listings/rejected_listings"))
    assert line == Removed(store="artifacts", place=line.place, count=1, what="rows")
    assert "landing bucket" not in {line.store for line in receipt}
    assert [row.place for row in company.rejections() if row.source == "beta"] == ["row 3", "listing b4"]

    told: list[Removed] = []
    with pytest.raises(IndexUnavailable):
        replace(eraser, indexes=(company.pgvector, LockedIndex())).erase("alpha", "a1", watch=told.append)
    assert ("pgvector", "alpha:a1") in {(line.store, line.place) for line in told}
    assert company.titles() != others, "the catalogue still knows by what it is named"
    heard = newest_change(company.instance)
    with monkeypatch.context() as killed, pytest.raises(Killed):
        killed.setattr(company.instance, "report_runless_asset_event", die)
        eraser.erase("alpha", "a1", watch=told.append)
    assert company.titles() == others
    assert newest_change(company.instance) == heard, "nobody has heard of it"
    receipt = eraser.erase("alpha", "a1")
    assert receipt == [], "all of it was removed, and told"
    assert newest_change(company.instance) != heard
    removed = {(line.store, line.place) for line in told}
    assert {store for store, _ in removed} == {
        "PostgreSQL", "pgvector", "qdrant", "artifacts", "landing bucket", "MLflow", "Dagster",
    }  # fmt: skip
    assert ("landing bucket", "shops/all.csv") in removed
    assert ("PostgreSQL", "catalog.embeddings") in removed
    assert ("artifacts", "state/matching.zip") in removed
    assert {place for store, place in removed if place.startswith("marts.")} == {"marts.fct_offer", "marts.dim_product"}
    at_once = everything(company, events)
    assert [line[:300] for line in at_once.split("\n") if "alpha:a1" in line or TOLD in line] == []
    assert company.titles() == others
    assert company.refresh.catalogue_is_due()
    company.take_in()
    company.make_catalogue()
    after = everything(company, events)
    assert [line[:300] for line in after.split("\n") if "alpha:a1" in line or TOLD in line] == []
    assert json.loads(after[after.index('{"__class__"') :].split("\n")[0]), "events stay what Dagster can read"
    assert "a picture of both" not in after
    for name in ("nearest_misses.csv", "judged_pairs.csv"):
        kept = company.store.get_bytes(company.bucket, f"{experiment}/{name}").decode()
        assert kept.splitlines() == ['"left_id","right_id","title"', '"alpha:a2","beta:b1","x"']
    assert [each.key for each in company.store.list(company.bucket, "tracking/refused/")] == ["tracking/refused/3.zip"]

    assert eraser.erase("alpha", "a1") == [], "nothing is left to be removed"
    sleep(1.1)  # the store tells times of delivery apart by the second
    company.deliver(all=ALPHA + "a4,Kindle Paperwhite,149\n")
    company.take_in()
    assert company.titles() == others | {"alpha:a4": "Kindle Paperwhite"}, "what nobody knew may come"
    assert [(row.reason, row.raw) for row in company.rejections() if row.source == "alpha"] == [("erased", "{}")]
    with pytest.raises(UserError, match="rows of erased listings cannot go through again"):
        request_replay(
            company.warehouse, company.archive, company.book, company.zone, reasons={"erased", "missing_field"}
        )


class Commands:
    """The command line on a company's platform; bringing the whole catalogue up to date is only noted, or fails."""

    def __init__(self, company: Company, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture
        self.updates = 0
        self.failure: Exception | None = None
        home = company.home
        self.parts = SimpleNamespace(
            warehouse=company.warehouse, store=company.store, landing_zone=company.zone, batch_book=company.book,
            pgvector=company.pgvector, qdrant=company.qdrant, batch_archive=lambda instance: company.archive,
        )  # fmt: skip
        where = SimpleNamespace(
            artifacts_bucket=company.bucket, dagster_database_url=f"sqlite:///{home / 'events.db'}",
            dagster_url="http://dagster.example", mlflow_url="http://mlflow.example",
        )  # fmt: skip
        platform = SimpleNamespace(
            settings=Settings(home=home), where=where, parts=self.parts, definitions=company.definitions,
            instance=company.instance,
        )  # fmt: skip
        monkeypatch.setattr(Platform, "enter", lambda progress=None: platform)
        monkeypatch.setattr(run_command, "_is_running", lambda: True)
        monkeypatch.setattr(Refresh, "update_catalogue", self._update)

    def _update(self, watch: object, outcome: Outcome, *, from_scratch: bool) -> None:
        self.updates += 1
        if self.failure is not None:
            raise self.failure

    def __call__(self, *words: str, expect: int = 0) -> str:
        code = app([*words], standalone_mode=False)
        out, err = self.capture.readouterr()
        assert (code or 0) == expect, out + err
        return out if expect == 0 else out + err

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture
def offerline(company: Company, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    monkeypatch.setenv("COLUMNS", "200")
    capfd.readouterr()
    return Commands(company, monkeypatch, capfd)


def test_the_commands_show_and_correct_deliveries(company: Company, offerline: Commands) -> None:
    first = company.batch("delta-1.csv")
    assert first in offerline("batches", "--limit", "1") + offerline("batches")
    assert [row["batch_key"] for row in offerline.json("batches", "--source", "beta")] == [first]
    assert "Nothing was ever delivered." in offerline("batches", "--source", "nobody")
    assert "is no text in UTF-8" in offerline("batches", "--source", "\udcff", expect=1)

    counts = {row["reason"]: row["rows"] for row in offerline.json("rejected")}
    assert counts == {"missing_field": 2, "title_meaningless": 1}
    assert "missing_field" in offerline("rejected")
    (row,) = offerline.json("rejected", "--reason", "missing_field", "--limit", "1")
    assert (row["place"], json.loads(row["raw"])["listing_id"]) == ("row 2", "b2")
    assert "shops/delta-1.csv, row 3" in offerline("rejected", "--reason", "missing_field")
    assert "Nothing is rejected." in offerline("rejected", "--source", "alpha")

    assert one_line(offerline("replay", "--reason", "unheard_of", expect=1)).startswith("error: nothing is rejected")
    assert one_line(offerline("replay", "--reason", "erased", expect=1)).startswith("error: rows of erased listings")
    assert offerline.updates == 0
    company.deliver(feeds=MENDED)
    replayed = offerline.json("replay", "--reason", "missing_field", "--source", "beta")
    assert replayed["replayed"] == {first: 2}
    assert replayed["failures"] == []
    assert "beta:b2" in company.titles()

    assert "no batch 'nothing' was ever" in one_line(offerline("rollback", "nothing", expect=1))
    assert offerline.json("rollback", first)["changes"]["products"] == {"delisted": 3}
    assert "beta:b2" not in company.titles()
    assert "Nothing in the catalogue was made of it." in offerline("rollback", first)
    assert offerline.updates == 3, "after every correction"


def test_the_receipt_is_printed_whatever_comes_afterwards(company: Company, offerline: Commands) -> None:
    assert "no store knows a listing 'a9'" in one_line(offerline("erase", "alpha", "a9", expect=1))
    offerline.parts.qdrant = LockedIndex()
    assert receipt_and_error(offerline("erase", "alpha", "a1", "--keep-landed", "--json", expect=1)) == {"artifacts"}
    shown = offerline("erase", "alpha", "a2", "--keep-landed", expect=1)
    assert "listings/raw_listings" in shown and "another process holds it" in shown

    offerline.parts.qdrant = company.qdrant
    offerline.failure = IndexUnavailable("qdrant: another process holds it")
    assert receipt_and_error(offerline("erase", "alpha", "a1", "--keep-landed", "--json", expect=1)) == {"PostgreSQL"}
    shown = offerline("rollback", company.batch("delta-1.csv"), "--json", expect=1)
    assert json.loads(shown.partition("error: ")[0])["changes"]["products"] == {"delisted": 1}

    offerline.failure = None
    assert "It was erased already, and nothing of it was left." in offerline("erase", "alpha", "a1", "--keep-landed")
    assert offerline.json("erase", "alpha", "a1")["receipt"] == []
    assert "catalog.listings" in offerline("erase", "alpha", "a2")
    company.instance.add_run(dg.DagsterRun(job_name=INGEST.name, status=dg.DagsterRunStatus.STARTED))
    assert "is under way" in one_line(offerline("erase", "alpha", "a3", expect=1))


def receipt_and_error(shown: str) -> set[str]:
    """The stores of a receipt that ends with an error."""
    receipt, _, error = shown.partition("error: ")
    assert "another process holds it" in error
    return {line["store"] for line in json.loads(receipt)["receipt"]}


def one_line(shown: str) -> str:
    (line,) = shown.strip().splitlines()
    return line
