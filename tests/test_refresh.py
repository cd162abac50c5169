"""What a command that dies leaves to the next one, or to one that runs beside it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from assets.batches import BATCHES
from assets.catalogue import sql
from assets.presentation import asset_key
from assets.products.schema import CATALOGUE
from orchestration import refresh as refreshing
from orchestration.jobs import CATALOGUE as CATALOGUE_JOB
from orchestration.jobs import INGEST
from orchestration.refresh import MATCH_STEP, Happening, Outcome, Refresh
from orchestration.runners import RUNNER_TAG
from resources.batch_book import PostgresBatchBook
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse
from sensors.landing import look

pytestmark = pytest.mark.stack

SUCCESS = dg.DagsterRunStatus.SUCCESS

CONTRACTS = b"feeds: [{source: acme, path: offers.csv, format: csv}, {source: zeta, path: offers.jsonl, format: jsonl}]"


@pytest.fixture
def refresh(
    store: ObjectStore,
    new_bucket: Callable[[str], str],
    new_warehouse: Callable[[str], AbstractContextManager[Warehouse]],
    tmp_path: Path,
) -> Iterator[Refresh]:
    """A refresh whose batches come into the catalogue without anything being read."""
    # One in memory does not bear that a run is looked at while it is written.
    quiet = {"telemetry": {"enabled": False}}
    with new_warehouse("refresh") as warehouse, dg.DagsterInstance.local_temp(str(tmp_path), quiet) as instance:
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


def with_catalogue(refresh: Refresh, during: Callable[[], object]) -> Refresh:
    """The refresh with a whole catalogue of one asset, which is made from nothing."""

    @dg.multi_asset(
        name=MATCH_STEP,
        outs={"made": dg.AssetOut(code_version="1")},
        config_schema={"from_scratch": dg.Field(bool, default_value=False)},
    )
    def made() -> Iterator[dg.Output[None]]:
        yield dg.Output(None, "made")
        during()

    job = dg.define_asset_job(CATALOGUE_JOB.name, selection=[made])
    return replace(refresh, definitions=dg.Definitions.merge(refresh.definitions, dg.Definitions([made], jobs=[job])))


def begun(refresh: Refresh, runner: str) -> dg.DagsterRun:
    """A run over the whole catalogue that somebody else works on."""
    job = refresh.definitions.resolve_job_def(CATALOGUE_JOB.name)
    status = dg.DagsterRunStatus.STARTED
    return refresh.instance.create_run_for_job(job, status=status, tags={RUNNER_TAG: runner})


def test_a_catalogue_run_of_another_process_is_waited_for_and_may_have_done_all(
    refresh: Refresh, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert other.stdout is not None
    refresh = with_catalogue(refresh, lambda: None)
    job = refresh.definitions.resolve_job_def(CATALOGUE_JOB.name)
    theirs = begun(refresh, other.stdout.readline().strip())

    def pause(_: float) -> None:
        if not refresh.instance.get_runs(dg.RunsFilter(job_name=CATALOGUE_JOB.name, statuses=[SUCCESS])):
            job.execute_in_process(instance=refresh.instance)
            refresh.instance.report_run_canceled(theirs)

    monkeypatch.setattr(refreshing, "sleep", pause)
    outcome, seen = Outcome(), list[Happening]()
    assert not refresh.update_catalogue(seen.append, outcome)
    assert (outcome.failures, outcome.happenings) == ([], [])
    assert [(happening.kind, happening.description) for happening in seen] == [
        ("waiting", f"run {theirs.run_id} to end")
    ]
    assert refresh.update_catalogue(seen.append, outcome, from_scratch=True), "who wants it anew gets it anew"


def test_of_a_catalogue_run_that_does_not_end_a_person_is_told_and_a_dead_one_is_taken_over(
    refresh: Refresh, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert other.stdout is not None
    refresh = with_catalogue(refresh, lambda: None)
    theirs = begun(refresh, other.stdout.readline().strip())
    with monkeypatch.context() as patch:
        patch.setattr(refreshing, "OTHERS_PATIENCE", 0.0)
        outcome = Outcome()
        assert refresh.update_catalogue(lambda _: None, outcome)
    assert outcome.failures == [
        f"run {theirs.run_id} over the whole catalogue does not end; wait for it, or end it in Dagster"
    ]
    monkeypatch.setattr(refreshing, "sleep", lambda _: other.kill())
    outcome = Outcome()
    assert refresh.update_catalogue(lambda _: None, outcome)
    assert outcome.failures == []
    assert {happening.kind for happening in outcome.happenings} == {"started", "ended"}


def test_a_queued_run_waits_for_ours_and_not_ours_for_it(refresh: Refresh) -> None:
    refresh = with_catalogue(refresh, lambda: None)
    job = refresh.definitions.resolve_job_def(CATALOGUE_JOB.name)
    queued = refresh.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)
    assert refresh.update_catalogue(lambda _: None, outcome := Outcome())
    assert outcome.failures == []
    run = refresh.instance.get_run_by_id(queued.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.NOT_STARTED


def test_one_at_a_time_also_where_two_begin_at_once(refresh: Refresh) -> None:
    at_once, most = 0, 0

    def during() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.3)
        at_once -= 1

    refresh = with_catalogue(refresh, during)
    with ThreadPoolExecutor(max_workers=3) as pool:
        outcomes = [Outcome() for _ in range(3)]
        done = list(
            pool.map(lambda outcome: refresh.update_catalogue(lambda _: None, outcome, from_scratch=True), outcomes)
        )
    assert done == [True] * 3
    assert [outcome.failures for outcome in outcomes] == [[]] * 3
    assert most == 1


def test_a_batch_that_came_while_the_catalogue_was_read_makes_it_due_again(refresh: Refresh) -> None:
    asset = asset_key(CATALOGUE)

    def during() -> None:
        if not refresh.instance.fetch_materializations(asset, limit=1).records:
            refresh.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="b"))

    refresh = with_catalogue(refresh, during)
    assert refresh.update_catalogue(lambda _: None, Outcome())
    assert refresh.update_catalogue(lambda _: None, Outcome())
    assert not refresh.update_catalogue(lambda _: None, Outcome())


def test_a_catalogue_run_that_came_to_nothing_is_due_again_although_it_made_everything(refresh: Refresh) -> None:
    dies = True

    def during() -> None:
        if dies:
            raise RuntimeError("killed")

    refresh = with_catalogue(refresh, during)
    assert refresh.catalogue_is_due(), "it was never made"
    outcome = Outcome()
    refresh.update_catalogue(lambda _: None, outcome)
    assert outcome.failures != []
    assert refresh.instance.get_latest_materialization_event(dg.AssetKey("made")) is not None
    assert refresh.catalogue_is_due()
    dies = False
    refresh.update_catalogue(lambda _: None, Outcome())
    assert not refresh.catalogue_is_due()
