"""What a command that dies leaves to the next one, or to one that runs beside it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import dagster as dg
import pytest

from assets.batches import BATCHES
from assets.catalogue import sql
from assets.presentation import asset_key
from assets.products.schema import CATALOGUE
from orchestration import refresh as refreshing
from orchestration.jobs import CATALOGUE as CATALOGUE_JOB
from orchestration.jobs import INGEST
from orchestration.refresh import Outcome, Refresh
from resources.batch_book import PostgresBatchBook
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse
from sensors.landing import look

pytestmark = pytest.mark.stack

CONTRACTS = b"feeds: [{source: acme, path: offers.csv, format: csv}, {source: zeta, path: offers.jsonl, format: jsonl}]"


@pytest.fixture
def refresh(
    store: ObjectStore,
    new_bucket: Callable[[str], str],
    new_warehouse: Callable[[str], AbstractContextManager[Warehouse]],
) -> Iterator[Refresh]:
    """A refresh whose batches come into the catalogue without anything being read."""
    with new_warehouse("refresh") as warehouse, dg.DagsterInstance.ephemeral() as instance:
        zone = LandingBucket(store, new_bucket("refresh"))
        zone.deliver_bytes(CONTRACTS, "shops/feeds.yaml")
        zone.deliver_bytes(b"listing_id,title\n1,Kettle\n", "shops/offers.csv")
        zone.deliver_bytes(b'{"listing_id": "1", "title": "Pan"}\n', "shops/offers.jsonl")
        book = PostgresBatchBook(warehouse, zone.bucket)

        @dg.asset(key=asset_key(CATALOGUE), partitions_def=BATCHES)
        def applied(context: dg.AssetExecutionContext) -> None:
            with warehouse.transaction() as transaction:
                transaction.execute(
                    sql("assets.products", "close_deliveries"),
                    batch_key=context.partition_key,
                    run_id=context.run.run_id,
                )

        job = dg.define_asset_job(INGEST.name, selection=[applied])
        yield Refresh(definitions=dg.Definitions([applied], jobs=[job]), instance=instance, zone=zone, book=book)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Another process, which says its name and waits."""
    command = "from orchestration.runners import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_what_another_process_takes_in_is_waited_for_and_taken_over_when_that_dies(
    refresh: Refresh, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert other.stdout is not None
    waiting = look(refresh.zone, refresh.book).waiting
    assert refresh.book.claim(waiting[:1], other.stdout.readline().strip())
    waited = False

    def pause(_: float) -> None:
        nonlocal waited
        if sorted(row["state"] for row in refresh.book.deliveries().to_pylist()) == ["ingested", "requested"]:
            waited = True
            other.kill()

    monkeypatch.setattr(refreshing, "sleep", pause)
    outcome = Outcome()
    refresh.take_in(lambda _: None, outcome)
    assert outcome.failures == []
    assert waited
    assert {row["state"] for row in refresh.book.deliveries().to_pylist()} == {"ingested"}
    runs = [run.tags["dagster/partition"] for run in refresh.instance.get_runs()]
    assert sorted(runs) == sorted(waiting)


def test_what_another_process_does_not_finish_is_told(
    refresh: Refresh, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert other.stdout is not None
    (theirs,) = refresh.book.claim(look(refresh.zone, refresh.book).waiting[:1], other.stdout.readline().strip())
    monkeypatch.setattr(refreshing, "OTHERS_PATIENCE", 0.0)
    outcome = Outcome()
    refresh.take_in(lambda _: None, outcome)
    assert outcome.failures == [f"{theirs}: another process does not finish taking them in"]
    states = {row["batch_key"]: row["state"] for row in refresh.book.deliveries().to_pylist()}
    assert states.pop(theirs) == "requested"
    assert set(states.values()) == {"ingested"}


def test_a_catalogue_run_that_came_to_nothing_is_due_again_although_it_made_everything(refresh: Refresh) -> None:
    dies = True

    @dg.asset(code_version="1")
    def made() -> Iterator[dg.Output[None]]:
        yield dg.Output(None)
        if dies:
            raise RuntimeError("killed")

    job = dg.define_asset_job(CATALOGUE_JOB.name, selection=[made])
    with_it = dg.Definitions.merge(refresh.definitions, dg.Definitions([made], jobs=[job]))
    refresh = replace(refresh, definitions=with_it)
    assert refresh.catalogue_is_due(), "it was never made"
    outcome = Outcome()
    refresh.update_catalogue(lambda _: None, outcome)
    assert outcome.failures != []
    assert refresh.instance.get_latest_materialization_event(made.key) is not None
    assert refresh.catalogue_is_due()
    dies = False
    refresh.update_catalogue(lambda _: None, Outcome())
    assert not refresh.catalogue_is_due()
