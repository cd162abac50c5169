"""The landing sensor against a real bucket and a real ledger: overwritten, late, deleted, repeated feeds."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import dagster as dg
import pytest

from assets.batches import BATCHES
from assets.catalogue import sql
from assets.listings.feeds import MAX_CONTRACT_BYTES, FeedContract
from assets.listings.intake import read_feed
from assets.listings.ports import DeliveryGone
from assets.presentation import asset_key
from assets.products.schema import CATALOGUE
from resources.batch_book import PostgresBatchBook, UnknownBatch
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse
from sensors.catalogue import newest_change
from sensors.landing import (
    MAX_ATTEMPTS,
    PATIENCE,
    build_landing_sensor,
    declared_feeds,
    look,
    release_lost_requests,
    tell_of_applied,
    terms,
)

pytestmark = pytest.mark.stack

CONTRACTS = b"""
feeds:
  - {source: acme, path: offers.csv, format: csv, currency: EUR}
  - {source: zeta, path: "delta-*.csv", format: csv, mode: delta}
"""
OFFERS = b"listing_id,title\n1,Kettle\n"


@pytest.fixture
def zone(store: ObjectStore, new_bucket: Callable[[str], str]) -> LandingBucket:
    zone = LandingBucket(store, new_bucket("landing"))
    zone.deliver_bytes(CONTRACTS, "shops/feeds.yaml")
    return zone


@pytest.fixture(scope="module")
def warehouse(new_warehouse: Callable[[str], AbstractContextManager[Warehouse]]) -> Iterator[Warehouse]:
    with new_warehouse("landing") as warehouse:
        yield warehouse


@pytest.fixture
def book(zone: LandingBucket, warehouse: Warehouse) -> Iterator[PostgresBatchBook]:
    yield PostgresBatchBook(warehouse, zone.bucket)
    with warehouse.transaction() as transaction:
        transaction.execute("TRUNCATE catalog.deliveries, catalog.batches CASCADE")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick(zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance) -> list[str]:
    """Evaluate the real sensor once and return the partitions it asks to run."""
    context = dg.build_sensor_context(instance=instance, resources={"landing_zone": zone, "batch_book": book})
    result: Any = build_landing_sensor("ingest")(context)
    if isinstance(result, dg.SkipReason):
        return []
    (added,) = result.dynamic_partitions_requests
    requested = [str(request.partition_key) for request in result.run_requests]
    assert added.partitions_def_name == BATCHES.name
    assert added.partition_keys == requested
    return requested


def states(book: PostgresBatchBook) -> list[tuple[str, str]]:
    return [(row["object_key"], row["state"]) for row in book.deliveries().to_pylist()]


def test_a_delivered_feed_is_requested_once(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (batch_key,) = tick(zone, book, instance)
    assert tick(zone, book, instance) == []
    batch = book.batch(batch_key)
    assert (batch.source, batch.object_key, batch.is_snapshot) == ("acme", "shops/offers.csv", True)
    assert batch.contract["currency"] == "EUR"
    assert states(book) == [("shops/offers.csv", "requested")]


def test_an_overwritten_feed_is_a_new_batch_and_the_unread_version_is_written_off(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (first,) = look(zone, book).waiting
    zone.deliver_bytes(OFFERS + b"2,Toaster\n", "shops/offers.csv")
    (second,) = tick(zone, book, instance)
    assert first != second
    assert sorted(state for _, state in states(book)) == ["requested", "superseded"]
    # One that a run is reading already ends by that run.
    zone.deliver_bytes(OFFERS + b"3,Mixer\n", "shops/offers.csv")
    assert len(tick(zone, book, instance)) == 1
    assert sorted(state for _, state in states(book)) == ["requested", "requested", "superseded"]


def test_deleting_the_newest_object_loses_no_other(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    for number in (1, 2):
        zone.deliver_bytes(OFFERS + f"{number}0,Pan\n".encode(), f"shops/delta-{number}.csv")
    assert len(tick(zone, book, instance)) == 2
    zone.store.delete(zone.bucket, "shops/delta-2.csv")
    assert tick(zone, book, instance) == []
    # A key that sorts before all known ones: a cursor over keys would pass over it.
    zone.deliver_bytes(OFFERS + b"9,Late\n", "shops/delta-0.csv")
    (late,) = tick(zone, book, instance)
    assert book.batch(late).object_key == "shops/delta-0.csv"


def test_the_same_bytes_again_are_written_down_and_not_run(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/delta-1.csv")
    (batch_key,) = tick(zone, book, instance)
    zone.deliver_bytes(OFFERS, "shops/delta-2.csv")
    assert tick(zone, book, instance) == []
    assert [row["batch_key"] for row in book.deliveries().to_pylist()] == [batch_key, batch_key]
    assert sorted(state for _, state in states(book)) == ["repeated", "requested"]


def test_of_two_sensors_one_gets_the_batch(zone: LandingBucket, book: PostgresBatchBook) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    waiting = look(zone, book).waiting
    assert book.claim(waiting) == list(waiting)
    assert book.claim(waiting) == []


def test_an_undeclared_file_is_ignored_until_a_contract_declares_it(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/surprise.csv")
    assert tick(zone, book, instance) == []
    assert states(book) == [("shops/surprise.csv", "ignored")]
    zone.deliver_bytes(CONTRACTS + b"  - {source: new, path: surprise.csv, format: csv}\n", "shops/feeds.yaml")
    (batch_key,) = tick(zone, book, instance)
    assert book.batch(batch_key).source == "new"
    assert states(book) == [("shops/surprise.csv", "requested")]


def test_a_broken_contract_is_reported_and_its_feeds_wait(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(b"feeds: [{source: acme, path: offers.csv, format: cvs}]", "shops/feeds.yaml")
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    landed = look(zone, book)
    assert landed.arrivals == ()
    (problem,) = landed.problems
    assert "shops/feeds.yaml" in problem
    assert "did you mean 'csv'?" in problem
    assert states(book) == []
    zone.deliver_bytes(CONTRACTS, "shops/feeds.yaml")
    assert len(tick(zone, book, instance)) == 1


def test_a_corrected_contract_takes_effect_on_what_was_taken_in_already(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (batch_key,) = tick(zone, book, instance)
    book.refuse(batch_key, "the currency is wrong")
    assert [refusal["object_key"] for refusal in book.refusals()] == ["shops/offers.csv"]
    assert tick(zone, book, instance) == []
    zone.deliver_bytes(CONTRACTS.replace(b"EUR", b"USD"), "shops/feeds.yaml")
    assert tick(zone, book, instance) == [batch_key]
    assert book.batch(batch_key).contract["currency"] == "USD"
    assert book.refusals() == []
    assert tick(zone, book, instance) == []


def test_refused_bytes_delivered_again_are_tried_again_and_repeats_keep_the_contract(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (batch_key,) = tick(zone, book, instance)
    book.refuse(batch_key, "the disk was full")
    sleep(1.1)  # the store tells times of delivery apart by the second
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    assert tick(zone, book, instance) == [batch_key]


def roll_back(book: PostgresBatchBook, batch_key: str) -> None:
    """Say that a batch was rolled back; what that does to the catalogue is not the ledger's business."""
    with book.warehouse.transaction() as transaction:
        for statement in ("roll_back_batch", "roll_back_deliveries"):
            transaction.execute(sql("assets.products", statement), batch_key=batch_key)


def test_what_was_rolled_back_stays_out_until_it_is_delivered_again(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (batch_key,) = tick(zone, book, instance)
    roll_back(book, batch_key)
    assert tick(zone, book, instance) == []
    zone.deliver_bytes(CONTRACTS.replace(b"EUR", b"USD"), "shops/feeds.yaml")
    assert tick(zone, book, instance) == [], "a new contract does not bring it back"
    sleep(1.1)  # the store tells times of delivery apart by the second
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    assert tick(zone, book, instance) == [batch_key]


def test_what_was_rolled_back_comes_in_again_when_it_is_accepted(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (batch_key,) = tick(zone, book, instance)
    roll_back(book, batch_key)
    book.accept(batch_key)
    assert tick(zone, book, instance) == [batch_key]


def test_a_batch_whose_rows_are_replayed_waits_for_a_run_by_the_contract_of_today(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (batch_key,) = tick(zone, book, instance)
    book.release(batch_key, "its run came to nothing")
    with book.warehouse.transaction() as transaction:
        transaction.execute(sql("assets.products", "close_deliveries"), batch_key=batch_key, run_id="run-1")
    assert tick(zone, book, instance) == []
    zone.deliver_bytes(CONTRACTS.replace(b"EUR", b"USD"), "shops/feeds.yaml")
    contract = declared_feeds(zone)["acme", "offers.csv"]
    book.replay(batch_key, ["missing_field"], terms(contract))
    assert book.batch(batch_key).replayed == {"missing_field"}
    assert book.batch(batch_key).contract["currency"] == "USD"
    assert tick(zone, book, instance) == [batch_key]
    # Another contract makes the whole batch be read again, which is more than replaying some of its rows.
    book.release(batch_key, "its run came to nothing")
    with book.warehouse.transaction() as transaction:
        transaction.execute(sql("assets.products", "close_deliveries"), batch_key=batch_key, run_id="run-2")
    zone.deliver_bytes(CONTRACTS.replace(b"EUR", b"GBP"), "shops/feeds.yaml")
    assert tick(zone, book, instance) == [batch_key]
    assert book.batch(batch_key).replayed is None


def test_what_was_overwritten_before_it_was_read_is_written_off_and_what_was_read_is_not(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (batch_key,) = tick(zone, book, instance)
    with book.warehouse.transaction() as transaction:
        transaction.execute(sql("assets.products", "close_deliveries"), batch_key=batch_key, run_id="run-1")
    zone.deliver_bytes(CONTRACTS.replace(b"EUR", b"USD"), "shops/feeds.yaml")
    assert look(zone, book).waiting == (batch_key,)
    zone.deliver_bytes(OFFERS + b"2,Toaster\n", "shops/offers.csv")
    (newer,) = look(zone, book).waiting
    assert newer != batch_key, "it cannot be read again"
    assert dict(stands(book)) == {batch_key: "applied", newer: "pending"}
    assert sorted(state for _, state in states(book)) == ["ingested", "pending"]

    zone.deliver_bytes(OFFERS + b"3,Mixer\n", "shops/offers.csv")
    (newest,) = look(zone, book).waiting
    assert dict(stands(book)) == {batch_key: "applied", newer: "superseded", newest: "pending"}


def test_what_was_never_read_is_not_the_newest_delivery_that_later_ones_repeat(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (never_read,) = look(zone, book).waiting
    zone.deliver_bytes(OFFERS + b"2,Toaster\n", "shops/offers.csv")
    (wrong,) = tick(zone, book, instance)
    roll_back(book, wrong)
    sleep(1.1)  # the store tells times of delivery apart by the second
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    assert tick(zone, book, instance) == [never_read]


def stands(book: PostgresBatchBook) -> list[tuple[str, str]]:
    return [(row["batch_key"], row["state"]) for row in book.newest(99)]


def test_a_version_that_is_gone_is_said_to_be_gone(zone: LandingBucket, tmp_path: Path) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (listed,) = (version for version in zone.versions() if version.key == "shops/offers.csv")
    assert zone.fetch(listed.key, listed.etag, tmp_path).read_bytes() == OFFERS
    zone.deliver_bytes(OFFERS + b"2,Toaster\n", "shops/offers.csv")
    with pytest.raises(DeliveryGone, match=r"offers\.csv"):
        zone.fetch(listed.key, listed.etag, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "accepted.partial",
        "rejected.parquet",
        "n" * 250 + ".csv",
        "..%2F..%2Fetc%2Fpasswd",
        "-rf ~ $(id) `id`.csv",
        "=cmd|' /C calc'!A0.csv",
        "größe 🙂 مرحبا.csv",
    ],
)
def test_no_name_of_an_object_leads_out_of_the_folder_or_onto_another_file(
    zone: LandingBucket, name: str, tmp_path: Path
) -> None:
    zone.deliver_bytes(OFFERS, f"shops/{name}")
    (listed,) = (version for version in zone.versions() if version.key == f"shops/{name}")
    beside = tmp_path / "folder"
    beside.mkdir()
    delivered = zone.fetch(listed.key, listed.etag, beside)
    assert delivered.parent == beside
    contract = FeedContract.model_validate({"source": "acme", "path": "offers.csv", "format": "csv"})
    intake = read_feed(delivered, contract, beside, name=listed.key)
    assert (intake.read, intake.accepted) == (1, 1)
    assert delivered.read_bytes() == OFFERS
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_of_an_object_put_in_the_place_of_a_contract_no_more_is_read_than_a_contract_may_have(
    zone: LandingBucket, book: PostgresBatchBook
) -> None:
    zone.deliver_bytes(CONTRACTS + b"#" * MAX_CONTRACT_BYTES, "shops/feeds.yaml")
    assert len(zone.read("shops/feeds.yaml", MAX_CONTRACT_BYTES)) == MAX_CONTRACT_BYTES + 1
    assert zone.read("shops/feeds.yaml", len(CONTRACTS) - 1) == CONTRACTS
    (problem,) = look(zone, book).problems
    assert problem.startswith("shops/feeds.yaml: expected a contract of at most")


def test_a_lost_request_waits_again_and_is_given_up_in_the_end(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    for _ in range(MAX_ATTEMPTS):
        assert len(tick(zone, book, instance)) == 1
        release_lost_requests(book, instance, datetime.now(UTC))
        assert [state for _, state in states(book)] == ["requested"], "it has hardly begun"
        release_lost_requests(book, instance, datetime.now(UTC) + PATIENCE + timedelta(seconds=1))
    ((_, state),) = states(book)
    assert state == "failed"
    (row,) = book.deliveries().to_pylist()
    assert f"its run never started, {MAX_ATTEMPTS} times" in row["reason"]
    assert f"offerline accept {row['batch_key']}" in row["reason"]
    assert tick(zone, book, instance) == []
    book.accept(row["batch_key"])
    assert not book.batch(row["batch_key"]).is_accepted, "nobody has said that it may delist much"
    assert tick(zone, book, instance) == [row["batch_key"]]


def test_what_a_dead_process_claimed_waits_again_at_once(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    waiting = look(zone, book).waiting
    now = datetime.now(UTC)
    assert book.claim(waiting, "4711@1.00") == list(waiting)
    release_lost_requests(book, instance, now)
    release_lost_requests(book, instance, now, lambda name: name == "4711@1.00")
    assert [state for _, state in states(book)] == ["requested"], "its run may come any moment"
    release_lost_requests(book, instance, now, lambda name: name != "4711@1.00")
    assert [state for _, state in states(book)] == ["pending"]
    assert tick(zone, book, instance) == list(waiting)
    release_lost_requests(book, instance, now, lambda _: False)
    assert [state for _, state in states(book)] == ["requested"], "now it is the sensor's"


def test_dagster_is_told_of_a_batch_whose_run_died_before_it_could_say_so(
    zone: LandingBucket, book: PostgresBatchBook, instance: dg.DagsterInstance
) -> None:
    zone.deliver_bytes(OFFERS, "shops/offers.csv")
    (batch_key,) = tick(zone, book, instance)
    instance.add_dynamic_partitions(str(BATCHES.name), [batch_key])

    @dg.asset(key=asset_key(CATALOGUE), partitions_def=BATCHES)
    def applied(context: dg.AssetExecutionContext) -> None:
        with book.warehouse.transaction() as transaction:
            transaction.execute(
                "UPDATE catalog.batches SET state = 'applied', applied_at = now(), run_id = :run_id",
                run_id=context.run.run_id,
            )
        if context.run.tags.get("dies"):
            raise RuntimeError("killed")

    def run(**tags: str) -> None:
        dg.materialize([applied], instance=instance, partition_key=batch_key, tags=tags, raise_on_error=False)

    def told() -> int:
        tell_of_applied(book, instance)
        return len(instance.fetch_materializations(asset_key(CATALOGUE), limit=10).records)

    assert told() == 0
    run(dies="yes")
    assert (told(), told()) == (1, 1), "once is enough"
    change = newest_change(instance)
    assert change is not None and change.partition_key == batch_key
    run()
    assert told() == 2, "that run spoke for itself"
    run(dies="yes")
    assert (told(), told()) == (3, 3), "another death is another matter"


def test_an_unreachable_bucket_is_not_an_empty_one(zone: LandingBucket, book: PostgresBatchBook) -> None:
    gone = LandingBucket(zone.store, "no-such-bucket-anywhere")
    with pytest.raises(Exception, match="no-such-bucket-anywhere"):
        look(gone, book)


def test_an_unknown_batch_is_named(book: PostgresBatchBook) -> None:
    with pytest.raises(UnknownBatch, match="acme-0"):
        book.batch("acme-0")
