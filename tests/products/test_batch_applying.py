"""The catalogue after one batch and another, in a real PostgreSQL."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pyarrow as pa
import pytest
from shops import DELTA, TABLES, TEN, Offer, Shops, digest, hour, products_of, state

from assets.batches import listing_digest
from assets.catalogue import sql
from assets.products.applying import Applied
from assets.products.schema import CLEANED_PRODUCTS
from resources.batch_book import PostgresBatchBook
from resources.warehouse import WarehouseError

pytestmark = [pytest.mark.stack, pytest.mark.laws]


def test_a_batch_counts_as_what_it_was_read_as_however_its_feed_is_declared_by_now(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer(), "2": Offer()}, path=DELTA)
    read_as_delta = shops.write_down(2, {"3": Offer()}, path=DELTA)
    with shops.warehouse.transaction() as transaction:
        transaction.execute("""UPDATE catalog.batches SET mode = 'snapshot', contract = '{"mode": "snapshot"}'""")
    shops.apply(read_as_delta, {"3": Offer()})
    assert set(shops.current()) == {"1", "2", "3"}, "nobody has looked at what a snapshot would delist"
    made = shops.deliver(0, {"0": Offer()}, path=DELTA)
    assert made.made_anew_from == 3
    assert set(shops.current()) == {"0", "1", "2", "3"}
    again = shops.book.batch(read_as_delta.batch_key)
    assert again.is_snapshot
    shops.apply(again, {"3": Offer()})
    assert set(shops.current()) == {"3"}, "read once more, it is a snapshot"


def test_a_snapshot_adds_changes_delists_and_relists(shops: Shops) -> None:
    first = shops.deliver(1, {"1": Offer(), "2": Offer("Toaster"), "3": Offer("Pan")})
    assert first == Applied(listings={"added": 3}, products={"added": 3})
    second = shops.deliver(2, {"1": Offer("Kettle XL"), "3": Offer("Pan"), "4": Offer("Lid")})
    assert second.listings == second.products == {"added": 1, "changed": 1, "delisted": 1}
    third = shops.deliver(3, {"1": Offer("Kettle XL"), "2": Offer("Toaster"), "4": Offer("Lid")})
    assert third.listings == third.products == {"delisted": 1, "relisted": 1}
    assert {name: title for name, (title, _) in shops.current().items()} == {
        "1": "Kettle XL",
        "2": "Toaster",
        "4": "Lid",
    }
    assert shops.history("1") == [("added", 1, 2), ("changed", 2, None)]
    assert shops.history("2") == [("added", 1, 2), ("delisted", 2, 3), ("relisted", 3, None)]
    assert shops.history("3") == [("added", 1, 3), ("delisted", 3, None)]
    assert shops.prices("2") == [(10, "in_stock", 1, 2), (10, "in_stock", 3, None)]
    (kept,) = shops.rows("SELECT first_seen_at, changed_at, delisted_at FROM catalog.listings WHERE listing_id = '2'")
    assert (hour(kept["first_seen_at"]), hour(kept["changed_at"]), kept["delisted_at"]) == (1, 3, None)
    shops.check_laws()


def test_a_row_is_kept_as_it_was_published(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer("Wasserkocher „Öko“ \\ \t\n '; DROP TABLE catalog.listings; --")})
    ((title, product),) = shops.current().values()
    assert title == product == "Wasserkocher „Öko“ \\ \t\n '; DROP TABLE catalog.listings; --"
    (row,) = shops.rows("SELECT record::text AS record, title FROM catalog.listing_history")
    assert json.loads(row["record"])["title"] == row["title"] == title


def test_the_same_batch_twice_writes_nothing(shops: Shops) -> None:
    offers = {"1": Offer(), "2": Offer("Toaster", price=None), "3": Offer("?")}
    shops.deliver(1, offers)
    before = shops.written()
    assert shops.deliver(1, offers) == Applied()
    assert shops.written() == before
    assert state(shops, 1) == ("applied", "ingested")


def test_the_same_rows_in_a_new_batch_write_no_history(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer(), "2": Offer("Toaster")})
    before = shops.written()
    assert shops.deliver(2, {"2": Offer("Toaster"), "1": Offer()}) == Applied()
    after = shops.written()
    assert {table: after[table] for table in TABLES[1:]} == {table: before[table] for table in TABLES[1:]}
    rows = shops.rows("SELECT last_seen_at, changed_at FROM catalog.listings")
    assert {(hour(row["last_seen_at"]), hour(row["changed_at"])) for row in rows} == {(2, 1)}


def test_a_delta_never_delists(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer(), "2": Offer("Toaster")}, path=DELTA)
    assert shops.deliver(2, {"2": Offer("Toaster II")}, path=DELTA).listings == {"changed": 1}
    assert shops.deliver(3, {}, path=DELTA) == Applied()
    assert list(shops.current()) == ["1", "2"]


def test_an_empty_snapshot_delists_all_that_its_feed_listed_and_nothing_else(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer(), "2": Offer("Toaster")})
    shops.deliver(1.5, {"9": Offer("Lid")}, path=DELTA)
    shops.deliver(1.5, {"1": Offer()}, source="other")
    assert shops.deliver(2, {}).listings == {"delisted": 2}
    assert (list(shops.current()), list(shops.current("other"))) == (["9"], ["1"])
    shops.check_laws()


def test_a_snapshot_that_comes_late_changes_nothing_but_what_was_before(shops: Shops) -> None:
    shops.deliver(2, {"1": Offer("Kettle II")})
    late = shops.deliver(1, {"1": Offer("Kettle I"), "2": Offer("Toaster")})
    assert late == Applied(made_anew_from=2)
    assert shops.current() == {"1": ("Kettle II", "Kettle II")}
    assert shops.history("1") == [("added", 1, 2), ("changed", 2, None)]
    assert shops.history("2") == [("added", 1, 2), ("delisted", 2, None)]
    assert state(shops, 1) == state(shops, 2) == ("applied", "ingested")
    shops.check_laws()


def test_only_what_comes_before_others_of_its_source_makes_it_anew(shops: Shops) -> None:
    shops.deliver(2, {"1": Offer()}, source="other")
    with pytest.raises(WarehouseError):
        shops.deliver(4, {"1": Offer(price=-1)})
    assert state(shops, 4) == ("pending", "pending")
    assert shops.deliver(1, {"1": Offer()}) == Applied(listings={"added": 1}, products={"added": 1})
    assert shops.deliver(3, {"7": Offer("Lid")}, path=DELTA).made_anew_from == 0
    assert shops.deliver(2, {"1": Offer("Kettle II")}) == Applied(
        listings={"changed": 1}, products={"changed": 1}, made_anew_from=3
    )
    assert state(shops, 4) == ("pending", "pending")


def test_an_older_delta_that_comes_late_does_not_overwrite_newer_rows(shops: Shops) -> None:
    shops.deliver(2, {"1": Offer("Kettle II"), "2": Offer("Toaster")}, path=DELTA)
    late = shops.deliver(1, {"1": Offer("Kettle I"), "3": Offer("Pan")}, path=DELTA)
    assert late == Applied(listings={"added": 1}, products={"added": 1}, made_anew_from=2)
    assert {name: title for name, (title, _) in shops.current().items()} == {
        "1": "Kettle II",
        "2": "Toaster",
        "3": "Pan",
    }
    shops.check_laws()


def test_a_row_that_a_newer_delta_repeated_is_safe_from_an_older_one(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer("Kettle")}, path=DELTA)
    shops.deliver(3, {"1": Offer("Kettle")}, path=DELTA)
    there_and_back = {"changed": 2}
    assert shops.deliver(2, {"1": Offer("Kettle, wrong")}, path=DELTA) == Applied(
        listings=there_and_back, products=there_and_back
    )
    assert shops.history() == [("added", 1, 2), ("changed", 2, 3), ("changed", 3, None)]
    assert shops.current() == {"1": ("Kettle", "Kettle")}


A, B = {"1": Offer("Kettle A")}, {"1": Offer("Kettle B")}


def test_the_newest_bytes_that_come_late_once_more_take_their_place_before_what_they_replaced(shops: Shops) -> None:
    shops.deliver(3, A)
    early, late = shops.write_down(1, A), shops.write_down(2, B)
    assert shops.apply(late, B).made_anew_from == 2
    shops.apply(early, A)
    assert shops.history() == [("added", 1, 2), ("changed", 2, 3), ("changed", 3, None)]
    assert shops.look() == ()


def test_a_repeat_comes_back_once_something_late_stands_between_it_and_what_it_repeats(shops: Shops) -> None:
    shops.deliver(1, A)
    assert shops.deliver(3, A) == Applied()
    assert shops.delivery(3)["state"] == "repeated"
    shops.deliver(2, B)
    assert shops.history() == [("added", 1, 2), ("changed", 2, 3), ("changed", 3, None)]
    assert shops.deliver(4, B).made_anew_from == 0, "all before it is applied"
    assert shops.history()[2:] == [("changed", 3, 4), ("changed", 4, None)]


def test_bytes_that_repeat_what_waits_come_in_with_it(shops: Shops) -> None:
    batch = shops.write_down(1, A)
    assert shops.write_down(3, A).batch_key == batch.batch_key
    assert shops.delivery(3)["state"] == "repeated"
    shops.apply(batch, A)
    shops.deliver(2, B)
    assert shops.current() == {"1": ("Kettle A", "Kettle A")}


def test_bytes_that_repeat_what_is_being_applied_come_in_with_it(shops: Shops) -> None:
    batch = shops.write_down(1, A)
    with ThreadPoolExecutor(1) as pool:
        with shops.warehouse.transaction() as applying:
            applying.execute(sql("assets.products", "hold_batch"), batch_key=batch.batch_key)
            applying.execute(sql("assets.products", "close_deliveries"), batch_key=batch.batch_key, run_id="run-1")
            repeat = pool.submit(shops.write_down, 3, A)
            while not repeat.done() and not shops.rows("SELECT pid FROM pg_locks WHERE NOT granted"):
                sleep(0.01)
            assert not repeat.done()
        repeat.result(timeout=60)
    found = shops.rows("SELECT state, run_id FROM catalog.deliveries ORDER BY last_modified")
    assert found == [{"state": "ingested", "run_id": "run-1"}, {"state": "repeated", "run_id": "run-1"}]


def test_a_batch_that_a_run_is_taking_in_is_not_replayed_beside_it(shops: Shops) -> None:
    batch = shops.write_down(1, A)
    assert shops.book.claim([batch.batch_key]) == [batch.batch_key]
    shops.book.replay(batch.batch_key, ["missing_field"])
    assert shops.book.batch(batch.batch_key).replayed is None
    assert shops.look() == ()


def test_a_listing_that_left_comes_back_where_another_feed_had_taken_it_over_before(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer()})
    shops.deliver(3, {})
    assert shops.deliver(2, {"1": Offer("Kettle II")}, path=DELTA).listings == {"relisted": 1}
    assert shops.deliver(2.5, {}) == Applied(made_anew_from=3)
    assert shops.current() == {"1": ("Kettle II", "Kettle II")}, "another feed lists it"


def test_sources_are_independent(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer("Kettle")})
    shops.deliver(2, {"1": Offer("Toaster")}, source="other")
    shops.deliver(3, {})
    assert (shops.current(), shops.current("other")) == ({}, {"1": ("Toaster", "Toaster")})
    shops.check_laws()


def test_a_product_that_cleaning_rejects_is_delisted_and_comes_back(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer(), "2": Offer("Toaster")})
    rejected = shops.deliver(2, {"1": Offer("??"), "2": Offer("Toaster")})
    assert (rejected.listings, rejected.products) == ({"changed": 1}, {"delisted": 1})
    assert shops.current() == {"1": ("??", None), "2": ("Toaster", "Toaster")}
    (batch,) = shops.rows(
        "SELECT products_accepted, products_rejected, reject_reasons::text AS reasons FROM catalog.batches "
        "WHERE products_rejected > 0"
    )
    assert batch == {"products_accepted": 1, "products_rejected": 1, "reasons": '{"no_title": 1}'}
    shops.check_laws()
    assert shops.deliver(3, {"1": Offer(), "2": Offer("Toaster")}).products == {"relisted": 1}
    assert shops.prices() == [(10, "in_stock", 1, 2), (10, "in_stock", 3, None)]
    shops.check_laws()


def test_a_buyer_sees_a_change_of_price_and_stock_and_of_nothing_else(shops: Shops) -> None:
    steps = [
        Offer(), Offer("Kettle, new title"), Offer("Kettle, new title", price=12),
        Offer("Kettle", price=12, stock="out_of_stock"), Offer("Kettle", price=None, stock="out_of_stock"),
    ]  # fmt: skip
    for number, offer in enumerate(steps, start=1):
        shops.deliver(number, {"1": offer})
    assert shops.prices() == [
        (10, "in_stock", 1, 3),
        (12, "in_stock", 3, 4),
        (12, "out_of_stock", 4, 5),
        (None, "out_of_stock", 5, None),
    ]
    assert len(shops.history()) == 5
    shops.check_laws()


def test_a_product_cleaned_anew_from_the_same_rows_is_changed(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer()})
    (row,) = shops.rows("SELECT batch_key FROM catalog.batches")
    batch = shops.book.batch(row["batch_key"])
    better = products_of("shop", {"1": Offer()}).to_pylist()
    better[0] |= {"product_digest": digest("better"), "brand": "Acme", "brand_origin": "title"}
    anew = shops.apply(batch, {"1": Offer()}, pa.Table.from_pylist(better, schema=CLEANED_PRODUCTS.arrow))
    assert anew == Applied(products={"changed": 1}, made_anew_from=1)
    assert [row["brand"] for row in shops.rows("SELECT brand FROM catalog.products")] == ["Acme"]
    assert shops.prices() == [(10, "in_stock", 1, None)], "its price is the same"


def test_a_batch_that_fails_leaves_nothing(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer()})
    before = shops.written()
    with pytest.raises(WarehouseError, match="products_price_check"):
        shops.deliver(2, {"2": Offer("Toaster"), "3": Offer("Pan", price=-1)})
    assert shops.written() == before
    assert state(shops, 2) == ("pending", "pending")
    assert shops.deliver(3, {"2": Offer("Toaster")}).listings == {"added": 1, "delisted": 1}


def test_what_was_erased_while_its_batch_was_on_its_way_does_not_come_in(shops: Shops) -> None:
    shops.deliver(1, {"1": Offer()})
    for digested, source in (("2", "shop"), ("3", "another")):
        with shops.warehouse.transaction() as transaction:
            transaction.execute(
                "INSERT INTO catalog.erasures (source, listing_digest) VALUES (:source, :digest)",
                source=source,
                digest=listing_digest(digested),
            )
    late = {"1": Offer(), "2": Offer("Toaster"), "3": Offer("Pan")}
    assert shops.deliver(2, late).products == {"added": 1}
    assert shops.deliver(3, {"2": Offer("Toaster")}, path=DELTA) == Applied()
    assert shops.current() == {"1": ("Kettle", "Kettle"), "3": ("Pan", "Pan")}
    assert shops.rows("SELECT * FROM catalog.listing_history WHERE listing_id = '2'") == []


def test_batches_of_one_source_that_run_at_once_wait_for_each_other(shops: Shops) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = [
            pool.submit(shops.deliver, number, {str(n): Offer(f"Kettle {number}") for n in range(20)}, path=DELTA)
            for number in range(1, 9)
        ]
        assert len([one.result(timeout=60) for one in done]) == 8
    assert {title for title, _ in shops.current().values()} == {"Kettle 8"}
    shops.check_laws()


def test_a_contract_that_is_corrected_while_a_run_reads_by_the_one_before_is_not_lost(shops: Shops) -> None:
    batch = shops.write_down(1, TEN)
    assert shops.book.claim([batch.batch_key]) == [batch.batch_key]
    shops.landing.currency = "USD"
    assert shops.look() == (), "no second run beside the first one"
    shops.apply(batch, TEN)
    assert len(shops.current()) == 10
    assert shops.look() == (batch.batch_key,)
    again = shops.book.batch(batch.batch_key)
    assert again.contract["currency"] == "USD"
    shops.apply(again, TEN)
    assert shops.look() == ()
    assert state(shops, 1) == ("applied", "ingested")


@pytest.mark.parametrize("put_aside", [PostgresBatchBook.refuse, PostgresBatchBook.hold])
def test_what_was_put_aside_by_the_contract_before_is_tried_by_the_corrected_one(
    shops: Shops, put_aside: Callable[..., None]
) -> None:
    batch = shops.write_down(1, TEN)
    assert shops.book.claim([batch.batch_key]) == [batch.batch_key]
    shops.landing.currency = "USD"
    assert shops.look() == ()
    put_aside(shops.book, batch.batch_key, "no title in any row", read_by=batch.contract_digest)
    assert shops.look() == (batch.batch_key,)
    corrected = shops.book.batch(batch.batch_key)
    put_aside(shops.book, batch.batch_key, "no title in any row", read_by=corrected.contract_digest)
    assert shops.look() == ()
    assert [refusal["reason"] for refusal in shops.book.refusals()] == ["no title in any row"]
