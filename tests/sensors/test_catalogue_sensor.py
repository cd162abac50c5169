"""The whole catalogue is made once for all batches that landed together, and whenever something is new."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.batches import BATCHES
from assets.products.assets import PRODUCTS_CHANGED
from sensors.catalogue import (
    LONGEST_WAIT,
    MOST_ATTEMPTS,
    PAUSE,
    Moment,
    build_catalogue_sensor,
    catalogue_runs,
    is_due,
    read_moment,
)

CATALOGUE = dg.AssetKey(["products", "catalogue"])
CURRENT = dg.AssetKey(["products", "current_products"])
EVENTS = dg.AssetKey(["clusters", "cluster_events"])


def moment(
    batch: float | None,
    attempt: float | None,
    *,
    ingest: bool = False,
    catalogue: bool = False,
    failures: int = 0,
    now: float = 3.0,
) -> Moment:
    return Moment(
        now=now,
        newest_batch=batch,
        newest_attempt=attempt,
        failures=failures,
        batches_under_way=ingest,
        catalogue_under_way=catalogue,
    )


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (moment(None, None), False),
        (moment(1.0, None), True),
        (moment(2.0, 1.0), True),
        (moment(1.0, 2.0), False),
        (moment(2.0, 1.0, ingest=True), False),
        (moment(2.0, 1.0, catalogue=True), False),
        # Batches that never end keep nothing waiting for ever, but for the first ones.
        (moment(2.0, 1.0, ingest=True, now=LONGEST_WAIT), False),
        (moment(2.0, 1.0, ingest=True, now=LONGEST_WAIT + 1), True),
        (moment(1.0, 2.0, ingest=True, now=LONGEST_WAIT + 2), False),
        (moment(2.0, 1.0, ingest=True, catalogue=True, now=LONGEST_WAIT + 1), False),
        (moment(2.0, None, ingest=True, now=LONGEST_WAIT + 2), False),
        # What failed is tried again after pauses that grow, and not for ever.
        (moment(1.0, 2.0, failures=1, now=PAUSE), False),
        (moment(1.0, 2.0, failures=1, now=PAUSE + 2), True),
        (moment(1.0, 2.0, failures=1, now=PAUSE + 2, catalogue=True), False),
        (moment(1.0, 2.0, failures=3, now=2 * PAUSE + 2), False),
        (moment(1.0, 2.0, failures=3, now=4 * PAUSE + 2), True),
        (moment(1.0, 2.0, failures=MOST_ATTEMPTS, now=1e9), False),
        (moment(2.0, 1.0, failures=MOST_ATTEMPTS), True),
    ],
)
def test_it_is_due_when_something_has_come_and_nothing_is_under_way(now: Moment, due: bool) -> None:
    assert is_due(now) is due


@given(st.lists(st.sampled_from(["batch", "look"]), max_size=30))
def test_every_batch_is_followed_by_a_run_and_no_run_is_without_one(events: list[str]) -> None:
    clock, batch, attempt = 0.0, None, None
    waiting = runs = 0
    for event in [*events, "look"]:
        clock += 1
        if event == "batch":
            batch, waiting = clock, waiting + 1
        elif is_due(moment(batch, attempt)):
            assert waiting, "a run without anything new"
            attempt, waiting, runs = clock, 0, runs + 1
    assert waiting == 0, "a batch that no run took in"
    assert runs <= events.count("batch")


class Shop:
    """Three assets as they are in the product, in jobs of the same names; what happens during a step can be set."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.batches, self.during = instance, 0, lambda: None
        self.changes: int | None = 3

        @dg.asset(key=CATALOGUE, partitions_def=BATCHES)
        def catalogue() -> dg.MaterializeResult[None]:
            self.during()
            return dg.MaterializeResult(metadata={} if self.changes is None else {PRODUCTS_CHANGED: self.changes})

        @dg.asset(key=CURRENT, deps=[CATALOGUE])
        def current_products() -> None:
            self.during()

        @dg.asset(key=EVENTS, deps=[CURRENT])
        def cluster_events() -> None:
            pass

        self.definitions = dg.Definitions(
            assets=[catalogue, current_products, cluster_events],
            jobs=[
                dg.define_asset_job("ingest", selection=[CATALOGUE]),
                dg.define_asset_job("catalogue", selection=[CURRENT, EVENTS]),
            ],
            executor=dg.in_process_executor,
        )

    def run(self, job: str, during: Any = None) -> bool:
        self.during = during or (lambda: None)
        key = None
        if job == "ingest":
            self.batches += 1
            key = f"b{self.batches}"
            self.instance.add_dynamic_partitions("batches", [key])
        done = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, partition_key=key, raise_on_error=False
        )
        return done.success

    def tick(self) -> bool:
        """Evaluate the real sensor and return whether it asks for a run."""
        context = dg.build_sensor_context(instance=self.instance)
        return isinstance(build_catalogue_sensor("catalogue", "ingest")(context), dg.RunRequest)


@pytest.fixture
def shop() -> Iterator[Shop]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Shop(instance)


def test_ten_batches_are_one_run(shop: Shop) -> None:
    assert not shop.tick()
    for _ in range(10):
        assert shop.run("ingest")
    assert shop.tick()
    assert shop.run("catalogue")
    assert [shop.tick() for _ in range(3)] == [False, False, False]
    assert shop.run("ingest")
    assert shop.tick()


def test_a_batch_that_changes_nothing_is_no_reason_for_a_run(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensors.catalogue.PAGE", 2)
    assert shop.run("ingest")
    assert shop.run("catalogue")
    shop.changes = 0
    for _ in range(5):
        assert shop.run("ingest")
    assert not shop.tick()
    shop.changes = 1
    assert shop.run("ingest")
    shop.changes = 0
    for _ in range(5):
        assert shop.run("ingest")
    assert shop.tick(), "the change lies under five batches without one"
    shop.changes = None
    assert shop.run("catalogue")
    assert not shop.tick()
    assert shop.run("ingest")
    assert shop.tick(), "a batch that does not say what it changed may have changed anything"


def test_it_waits_while_a_batch_is_on_its_way_and_while_the_catalogue_is_made(shop: Shop) -> None:
    assert shop.run("ingest")
    seen: list[bool] = []
    assert shop.run("ingest", lambda: seen.append(shop.tick()))
    assert shop.tick()
    assert shop.run("catalogue", lambda: seen.append(shop.tick()))
    assert seen == [False, False]


def test_a_batch_that_comes_while_the_catalogue_is_made_is_taken_in_by_the_next_run(shop: Shop) -> None:
    assert shop.run("ingest")
    assert shop.run("catalogue", lambda: shop.run("ingest"))
    assert shop.tick()
    assert shop.run("catalogue")
    assert not shop.tick()


def test_a_run_that_fails_is_tried_again_when_something_comes_and_not_in_a_loop(shop: Shop) -> None:
    def fail() -> None:
        raise OSError("no disk")

    assert shop.run("ingest")
    assert not shop.run("catalogue", fail)
    assert [shop.tick() for _ in range(3)] == [False, False, False]
    assert shop.run("ingest")
    assert shop.tick()


def test_a_run_that_fails_is_tried_again_without_anything_new_after_a_pause(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("the object store is away until tomorrow")

    assert shop.run("ingest")
    assert not shop.run("catalogue", fail)
    later = time.time() + PAUSE + 1
    monkeypatch.setattr("sensors.catalogue.time", lambda: later)
    assert shop.tick()
    assert not shop.run("catalogue", fail)
    assert not shop.tick(), "the second pause is twice as long"
    later += PAUSE
    assert shop.tick()
    assert shop.run("catalogue")
    later += 1e9
    assert not shop.tick(), "nothing is left to do"


def test_a_run_that_fails_before_it_begins_is_an_attempt_too(shop: Shop) -> None:
    assert shop.run("ingest")
    job = shop.definitions.resolve_job_def("catalogue")
    run = shop.instance.create_run_for_job(job)
    assert not shop.tick(), "it is on its way"
    shop.instance.report_run_failed(run, "the code location cannot be loaded")
    assert shop.instance.get_run_records()[0].start_time is None
    assert [shop.tick() for _ in range(3)] == [False, False, False]
    moment = read_moment(shop.instance, "catalogue", "ingest")
    assert moment.failures == 1


def test_a_run_by_hand_is_under_way_as_one_of_the_job_is_and_a_batch_by_hand_is_not(shop: Shop) -> None:
    def look() -> None:
        seen.append(len(catalogue_runs(shop.instance, "catalogue")))

    seen: list[int] = []
    assert shop.run("ingest", look)
    assert shop.run("catalogue", look)
    by_hand = shop.definitions.resolve_implicit_global_asset_job_def()
    assert by_hand.execute_in_process(instance=shop.instance, asset_selection=[CURRENT]).success
    assert by_hand.execute_in_process(instance=shop.instance, asset_selection=[CATALOGUE], partition_key="b1").success
    assert seen == [0, 1, 1, 0]
    look()
    assert seen[-1] == 0, "what has ended is not under way"


def test_what_a_person_materialises_by_hand_counts(shop: Shop) -> None:
    assert shop.run("ingest")
    by_hand = shop.definitions.resolve_implicit_global_asset_job_def()
    assert by_hand.execute_in_process(instance=shop.instance, asset_selection=[CURRENT]).success
    assert shop.tick(), "an earlier stage alone leaves the rest stale"
    assert by_hand.execute_in_process(instance=shop.instance, asset_selection=[CURRENT, EVENTS]).success
    assert not shop.tick()
    assert read_moment(shop.instance, "catalogue", "ingest").newest_batch is not None
