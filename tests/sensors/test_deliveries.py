"""What is new is a pure function of two listings."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from assets.listings.feeds import FeedContracts, load_contracts
from sensors.deliveries import (
    Arrival,
    KnownDelivery,
    LandingPlan,
    NewestBatch,
    ObjectVersion,
    batch_key,
    plan_landing,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONTRACTS = load_contracts(
    b"feeds:\n"
    b"- {source: acme, path: 'offers-*.csv', format: csv, mode: delta}\n"
    b"- {source: zeta, path: all.csv, format: csv}\n",
    origin="feeds.yaml",
)


def version(key: str, etag: str, minute: int = 0) -> ObjectVersion:
    return ObjectVersion(NOON + timedelta(minutes=minute), key, etag, size=10)


def plan(
    listed: list[ObjectVersion],
    known: list[KnownDelivery] | None = None,
    contracts: FeedContracts = CONTRACTS,
    current: dict[tuple[str, str], NewestBatch] | None = None,
) -> LandingPlan:
    return plan_landing(listed, known or [], {"shop": contracts}, current or {})


def known(number: int, of: ObjectVersion, state: str = "ingested", key: str | None = None) -> KnownDelivery:
    return KnownDelivery(delivery_id=number, object=of, state=state, batch_key=key)


def newest(
    path: str, etag: str, minute: int = 0, *, refused: bool = False, contracts: FeedContracts = CONTRACTS
) -> NewestBatch:
    contract = contracts.match(path)
    assert contract is not None
    key = batch_key(contract.source, contract.path, etag)
    delivered_at = NOON + timedelta(minutes=minute)
    return NewestBatch(batch_key=key, contract_digest=contract.digest, delivered_at=delivered_at, refused=refused)


def test_a_new_object_is_a_delivery_of_the_feed_that_declares_it() -> None:
    (arrival,) = plan([version("shop/all.csv", "e1"), version("shop/feeds.yaml", "c1")]).arrivals
    assert arrival.contract is not None
    assert arrival.contract.source == "zeta"
    assert arrival.batch_key == batch_key("zeta", "all.csv", "e1")
    assert not arrival.repeats


def test_an_overwritten_object_is_new_and_the_waiting_version_is_void() -> None:
    old, new = version("shop/all.csv", "e1"), version("shop/all.csv", "e2", 5)
    decided = plan([new], [known(1, old, "pending")])
    assert [arrival.object for arrival in decided.arrivals] == [new]
    assert decided.replaced == (1,)


def test_a_late_object_with_an_older_time_is_new() -> None:
    seen, late = version("shop/offers-2.csv", "e2", 10), version("shop/offers-1.csv", "e1", 1)
    assert [arrival.object for arrival in plan([seen, late], [known(1, seen)]).arrivals] == [late]


def test_a_deleted_object_changes_nothing() -> None:
    gone, kept = version("shop/offers-9.csv", "e9", 9), version("shop/offers-1.csv", "e1", 1)
    assert plan([kept], [known(1, gone), known(2, kept)]) == LandingPlan()


def test_the_same_bytes_under_two_names_are_one_batch() -> None:
    first, second = plan([version("shop/offers-1.csv", "e"), version("shop/offers-2.csv", "e", 1)]).arrivals
    assert first.batch_key == second.batch_key
    assert (first.repeats, second.repeats) == (False, True)


def test_bytes_that_come_back_after_others_are_taken_in_again() -> None:
    first, second, third = (version("shop/all.csv", etag, minute) for minute, etag in enumerate(("a", "b", "a")))
    keys = {etag: batch_key("zeta", "all.csv", etag) for etag in "ab"}
    before = [known(1, first, key=keys["a"]), known(2, second, key=keys["b"])]
    decided = plan([third], before, current={("zeta", "all.csv"): newest("all.csv", "b")})
    assert [arrival.repeats for arrival in decided.arrivals] == [False]


def test_an_undeclared_object_is_ignored_with_a_reason_and_comes_back_once_declared() -> None:
    stray = version("shop/notes.txt", "e1")
    (arrival,) = plan([stray]).arrivals
    assert arrival.batch_key is None
    assert arrival.reason == "no feed in shop/feeds.yaml has the path 'notes.txt'"
    assert plan([stray], [known(7, stray, "ignored")]) == LandingPlan()
    declared = load_contracts(b"feeds: [{source: notes, path: notes.txt, format: csv}]", origin="feeds.yaml")
    decided = plan([stray], [known(7, stray, "ignored")], declared)
    assert decided.declared == (7,)
    assert [arrival.batch_key for arrival in decided.arrivals] == [batch_key("notes", "notes.txt", "e1")]


def test_without_any_contract_the_reason_says_so() -> None:
    (arrival,) = plan_landing([version("elsewhere/all.csv", "e1")], [], {}, {}).arrivals
    assert arrival == Arrival(object=version("elsewhere/all.csv", "e1"), reason="no feeds.yaml beside it or above it")


CORRECTED = load_contracts(b"feeds: [{source: zeta, path: all.csv, format: csv, currency: USD}]", origin="feeds.yaml")


def test_a_corrected_contract_reads_the_newest_batch_again() -> None:
    there = version("shop/all.csv", "e1")
    ledger = [known(1, there, key=batch_key("zeta", "all.csv", "e1"))]
    current = {("zeta", "all.csv"): newest("all.csv", "e1")}
    ((again, contract),) = plan([there], ledger, CORRECTED, current).reread
    assert again == batch_key("zeta", "all.csv", "e1")
    assert contract.currency == "USD"
    read_so = {("zeta", "all.csv"): newest("all.csv", "e1", contracts=CORRECTED)}
    assert plan([there], ledger, CORRECTED, read_so) == LandingPlan()


def test_a_newer_delivery_makes_the_reading_of_the_older_one_needless() -> None:
    old, new = version("shop/all.csv", "e1"), version("shop/all.csv", "e2", 5)
    current = {("zeta", "all.csv"): newest("all.csv", "e1")}
    decided = plan([new], [known(1, old, key=batch_key("zeta", "all.csv", "e1"))], CORRECTED, current)
    assert [arrival.object for arrival in decided.arrivals] == [new]
    assert decided.reread == ()


def test_the_bytes_of_the_newest_delivery_that_come_late_take_their_own_place() -> None:
    ledger = [known(1, version("shop/offers-3.csv", "a", 3), key=batch_key("acme", "offers-*.csv", "a"))]
    late = [version("shop/offers-1.csv", "a", 1), version("shop/offers-2.csv", "b", 2)]
    current = {("acme", "offers-*.csv"): newest("offers-3.csv", "a", 3)}
    decided = plan([*late, version("shop/offers-4.csv", "a", 4)], ledger, current=current)
    assert [(arrival.object.etag, arrival.repeats) for arrival in decided.arrivals] == [
        ("a", False),
        ("b", False),
        ("a", True),
    ]


def test_what_is_replayed_from_the_rows_that_were_kept_does_not_need_its_object() -> None:
    old, new = version("shop/all.csv", "e1"), version("shop/all.csv", "e2", 5)
    waits = replace(known(1, old, "pending", batch_key("zeta", "all.csv", "e1")), is_kept=True)
    decided = plan([new], [waits], current={("zeta", "all.csv"): newest("all.csv", "e1")})
    assert [arrival.object for arrival in decided.arrivals] == [new]
    assert decided.replaced == ()


def test_refused_bytes_that_are_delivered_again_are_tried_again() -> None:
    first, second = version("shop/all.csv", "e1"), version("shop/all.csv", "e1", 5)
    ledger = [known(1, first, "failed", batch_key("zeta", "all.csv", "e1"))]
    (arrival,) = plan([second], ledger, current={("zeta", "all.csv"): newest("all.csv", "e1", refused=True)}).arrivals
    assert not arrival.repeats


OBJECTS = st.lists(
    st.builds(
        version,
        st.sampled_from(["shop/all.csv", "shop/offers-1.csv", "shop/offers-2.csv", "shop/stray.txt"]),
        st.sampled_from("abcd"),
        st.integers(0, 5),
    ),
    unique_by=lambda v: v.object_key,
    max_size=4,
)


@given(st.lists(OBJECTS, min_size=1, max_size=6))
def test_no_version_is_missed_and_none_arrives_twice(history: list[list[ObjectVersion]]) -> None:
    ledger: list[KnownDelivery] = []
    current: dict[tuple[str, str], NewestBatch] = {}
    arrived: list[ObjectVersion] = []
    for listed in history:
        decided = plan(listed, ledger, current=current)
        for arrival in decided.arrivals:
            arrived.append(arrival.object)
            state = "ignored" if arrival.batch_key is None else "ingested"
            ledger.append(known(len(ledger), arrival.object, state, arrival.batch_key))
            if arrival.contract is not None and arrival.batch_key is not None:
                feed, at = (arrival.contract.source, arrival.contract.path), arrival.object.last_modified
                if feed not in current or current[feed].delivered_at <= at:
                    current[feed] = NewestBatch(
                        batch_key=arrival.batch_key, contract_digest=arrival.contract.digest, delivered_at=at
                    )
        assert plan(listed, ledger, current=current) == LandingPlan(), "looking again finds nothing new"
    assert sorted(set(arrived)) == sorted(arrived), "a version arrived twice"
    assert set(arrived) == {v for listed in history for v in listed}, "a version was missed"
