"""Snapshots that would delist too much are held until somebody accepts them, in a real PostgreSQL."""

import pytest
from shops import DELTA, SNAPSHOT, TEN, Offer, Offers, Shops, listings_of, some

from assets.products.applying import Applied
from assets.products.guarding import SnapshotRules, guard
from resources.batch_book import NotHeld, UnknownBatch

pytestmark = [pytest.mark.stack, pytest.mark.laws]


@pytest.mark.parametrize(
    ("offers", "path", "most", "held"),
    [
        (some(5), SNAPSHOT, 0.5, False),
        (some(4), SNAPSHOT, 0.5, True),
        ({}, SNAPSHOT, 0.5, True),
        ({}, SNAPSHOT, 1.0, False),
        (some(9), SNAPSHOT, 0.0, True),
        ({"new": Offer()}, SNAPSHOT, 0.5, True),
        ({}, DELTA, 0.5, False),
    ],
    ids=["half", "more than half", "an empty file", "no guard", "none allowed", "another shop's", "a delta"],
)
def test_a_snapshot_that_would_delist_too_much_is_held(
    shops: Shops, offers: Offers, path: str, most: float, *, held: bool
) -> None:
    shops.deliver(0, TEN)
    batch_key, verdict = shops.guard(1, offers, path=path, most=most)
    assert verdict.is_held is held
    [batch] = shops.rows("SELECT state FROM catalog.batches WHERE batch_key = :key", key=batch_key)
    assert batch["state"] == ("held" if held else "pending")
    assert [refusal["batch_key"] for refusal in shops.book.refusals()] == ([batch_key] if held else [])
    assert len(shops.current()) == 10, "nothing is delisted by looking"


def test_a_feed_that_was_no_snapshot_after_all_lists_again_what_its_newest_one_lacked(shops: Shops) -> None:
    shops.deliver(1, TEN)
    shops.deliver(2, some(9))
    shops.landing.mode = "delta"
    (batch_key,) = shops.look()
    assert shops.apply(shops.book.batch(batch_key), some(9)).listings == {"relisted": 1}
    assert len(shops.current()) == 10
    assert shops.apply(shops.book.batch(batch_key), some(9)) == Applied(), "it is the same again"


def test_a_first_snapshot_and_one_that_is_late_are_not_held(shops: Shops) -> None:
    assert not shops.guard(1, some(2))[1].is_held
    shops.deliver(2, TEN)
    assert not shops.guard(1.5, {})[1].is_held, "what came later is not its to delist"


def test_a_held_snapshot_is_applied_once_somebody_accepts_it(shops: Shops) -> None:
    shops.deliver(0, TEN)
    batch_key, verdict = shops.guard(1, some(2))
    assert verdict.reason == ("Held: it would delist 8 of the feed's 10 listings (80%), and 50% are allowed.")
    [refusal] = shops.book.refusals()
    assert f"offerline accept {batch_key}" in refusal["reason"]
    assert shops.book.claim([batch_key]) == [], "it is not tried again by itself"

    shops.book.accept(batch_key)
    shops.book.accept(batch_key)
    assert shops.book.claim([batch_key]) == [batch_key]
    batch = shops.book.batch(batch_key)
    again = guard(shops.warehouse, shops.book, batch, listings_of("shop", some(2)), SnapshotRules())
    assert not again.is_held
    assert again.reason.startswith("Somebody has accepted it")
    shops.apply(batch, some(2))
    assert sorted(shops.current()) == ["0", "1"]
    assert shops.book.refusals() == []


def test_only_what_is_held_can_be_accepted(shops: Shops) -> None:
    with pytest.raises(UnknownBatch, match="'nothing' was ever delivered"):
        shops.book.accept("nothing")
    batch = shops.write_down(0, TEN)
    with pytest.raises(NotHeld, match="is pending, neither held nor rolled back"):
        shops.book.accept(batch.batch_key)


def test_a_newer_snapshot_takes_the_place_of_a_held_one(shops: Shops) -> None:
    shops.deliver(0, TEN)
    batch_key, _ = shops.guard(1, some(2))
    assert not shops.guard(2, some(9))[1].is_held
    shops.deliver(2, some(9))
    assert shops.book.refusals() == []
    shops.book.accept(batch_key)
    assert shops.apply(shops.book.batch(batch_key), some(2)) == Applied(made_anew_from=3)
    assert len(shops.current()) == 9


def test_a_held_snapshot_does_not_come_in_by_being_delivered_again(shops: Shops) -> None:
    shops.deliver(1, {})
    shops.deliver(2, TEN)
    batch_key, verdict = shops.guard(3, {})
    assert verdict.is_held
    made_of = shops.current_batches()
    assert shops.deliver(4, {}) == Applied()
    [refusal] = shops.book.refusals()
    assert f"offerline accept {batch_key}" in refusal["reason"], "the newest delivery says only that it repeats"
    assert shops.deliver(2.5, {"new": Offer()}, path=DELTA).made_anew_from == 0
    shops.deliver(1.5, {"old": Offer()}, path=DELTA)
    assert sorted(shops.current()) == [*sorted(TEN), "new", "old"]
    assert set(made_of) < set(shops.current_batches()), "what was made of its first delivery stays"

    shops.book.accept(batch_key)
    assert shops.look() == (batch_key,)
    shops.apply(shops.book.batch(batch_key), {})
    assert sorted(shops.current()) == ["new", "old"]
    assert shops.history("0") == [("added", 2, 3), ("delisted", 3, None)]


def test_accepting_a_snapshot_once_is_not_accepting_its_bytes_for_ever(shops: Shops) -> None:
    shops.deliver(1, TEN)
    batch_key, _ = shops.guard(2, {})
    shops.book.accept(batch_key)
    shops.apply(shops.book.batch(batch_key), {})
    assert shops.current() == {}
    shops.deliver(3, TEN)
    again, verdict = shops.guard(30, {})
    assert (again, verdict.is_held) == (batch_key, True)
    assert len(shops.current()) == 10


def test_a_snapshot_that_comes_late_between_others_is_held_for_what_it_would_delist_there(shops: Shops) -> None:
    shops.deliver(1, TEN)
    shops.deliver(3, TEN | {"new": Offer()})
    _, verdict = shops.guard(2, some(2))
    assert verdict.is_held
    assert (verdict.delisting.listed, verdict.delisting.missing) == (10, 8)


def test_a_snapshot_that_is_read_again_is_compared_with_what_it_was(shops: Shops) -> None:
    shops.deliver(1, TEN)
    batch_key, _ = shops.guard(2, some(2))
    shops.book.accept(batch_key)
    shops.apply(shops.book.batch(batch_key), some(2))
    shops.landing.currency = "USD"
    assert shops.look() == (batch_key,)
    rules = SnapshotRules()
    read_again = shops.book.batch(batch_key)
    assert not guard(shops.warehouse, shops.book, read_again, listings_of("shop", some(2)), rules).is_held
    made_of = shops.current_batches()
    by_a_broken_contract = guard(shops.warehouse, shops.book, read_again, listings_of("shop", {}), rules)
    assert (by_a_broken_contract.is_held, by_a_broken_contract.delisting.listed) == (True, 2)
    assert shops.current_batches() == made_of == [batch_key], "it is held, and the catalogue is made of it still"
