"""The catalogue after batches of every kind and in every order, in a real PostgreSQL."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import sleep
from typing import Any, cast

import pyarrow as pa
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.batches import Batch, BatchArtifacts, listing_digest
from assets.catalogue import sql
from assets.listings.schema import RAW_LISTINGS
from assets.products.applying import Applied, apply_batch, roll_back
from assets.products.guarding import SnapshotRules, Verdict, guard
from assets.products.schema import CLEANED_PRODUCTS, REJECTED_PRODUCTS
from resources.batch_book import NotHeld, PostgresBatchBook, UnknownBatch
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectVersion
from resources.warehouse import Warehouse, WarehouseError
from sensors.deliveries import batch_key as batch_key_of
from sensors.landing import look

pytestmark = [pytest.mark.stack, pytest.mark.laws]

START = datetime(2026, 11, 1, tzinfo=UTC)
SNAPSHOT, DELTA = "all-*.csv", "changes-*.csv"
SOURCES = ("shop", "other", "mixed")
TABLES = ("listings", "listing_history", "products", "product_history")


@dataclass(frozen=True)
class Offer:
    """What a shop says of one listing; a title that cannot be cleaned makes no product."""

    title: str = "Kettle"
    price: int | None = 10
    stock: str = "in_stock"

    @property
    def is_clean(self) -> bool:
        return not self.title.startswith("?")


Offers = Mapping[str, Offer]


class Archive:
    """The artifacts of batches, in memory."""

    def __init__(self) -> None:
        self.tables: dict[str, pa.Table] = {}

    def keep(self, **tables: pa.Table) -> BatchArtifacts:
        """Keep the tables of a run, each under a name of its own."""
        names = {name: f"{name}-{len(self.tables)}" for name in tables}
        self.tables |= {names[name]: table for name, table in tables.items()}
        return BatchArtifacts(**names, rejected_listings="nobody reads them")

    def newest(self, batch_key: str) -> BatchArtifacts:
        raise AssertionError(f"{batch_key}: a batch that was applied says what from")

    def read(self, name: str) -> pa.Table:
        return self.tables[name]


@pytest.fixture(scope="module")
def warehouse(new_warehouse: Callable[[str], AbstractContextManager[Warehouse]]) -> Iterator[Warehouse]:
    with new_warehouse("batches") as warehouse:
        yield warehouse


class Landing:
    """A landing bucket with a contract for every source, in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, ObjectVersion] = {}
        self.currency, self.mode = "EUR", "snapshot"
        for source in SOURCES:
            self.put(f"{source}/feeds.yaml", "contracts", START)

    def put(self, key: str, etag: str, moment: datetime) -> None:
        self.objects[key] = ObjectVersion(key=key, etag=etag, size=1, last_modified=moment)

    def versions(self) -> list[ObjectVersion]:
        return list(self.objects.values())

    def read(self, object_key: str, at_most: int) -> bytes:
        feed = {"source": object_key.partition("/")[0], "format": "csv", "currency": self.currency}
        feeds = [{**feed, "path": SNAPSHOT, "mode": self.mode}, {**feed, "path": DELTA, "mode": "delta"}]
        return json.dumps({"feeds": feeds}).encode()


class Shops:
    """The catalogue, and shops that deliver to it; hours count from `START`."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.book = PostgresBatchBook(warehouse, "landing")
        self.archive = Archive()
        self.landing = Landing()

    def deliver(self, hour: float, offers: Offers, *, source: str = "shop", path: str = SNAPSHOT) -> Applied:
        """Write down a batch as the landing sensor does, and apply it; what only repeats is not run."""
        batch = self.write_down(hour, offers, source=source, path=path)
        return Applied() if self.delivery(hour, source)["state"] == "repeated" else self.apply(batch, offers)

    def write_down(self, hour: float, offers: Offers, *, source: str = "shop", path: str = SNAPSHOT) -> Batch:
        """Let the landing sensor see a batch; the same offers are the same bytes, and so the same batch."""
        etag = digest(path, [(name, repr(offer)) for name, offer in offers.items()])
        key = f"{source}/{path.replace('*', f'{hour:g}')}"
        self.landing.put(key, etag, START + timedelta(hours=hour))
        self.look()
        return self.book.batch(batch_key_of(source, path, etag))

    def look(self) -> tuple[str, ...]:
        """Let the landing sensor look, and return the batches that wait for a run."""
        return look(cast(LandingBucket, self.landing), self.book).waiting

    def delivery(self, hour: float, source: str = "shop") -> dict[str, Any]:
        """What the ledger says of the delivery of an hour."""
        found = [
            row
            for row in self.book.deliveries().to_pylist()
            if row["last_modified"] == START + timedelta(hours=hour) and row["object_key"].startswith(f"{source}/")
        ]
        assert len(found) == 1
        return dict(found[0])

    def guard(self, hour: float, offers: Offers, *, path: str = SNAPSHOT, most: float = 0.5) -> tuple[str, Verdict]:
        """Write down a batch and look at it, as the blocking check does before it is applied."""
        batch = self.write_down(hour, offers, path=path)
        rules = SnapshotRules(most_delisted=most)
        return batch.batch_key, guard(self.warehouse, self.book, batch, listings_of(batch.source, offers), rules)

    def apply(self, batch: Batch, offers: Offers, products: pa.Table | None = None) -> Applied:
        artifacts = self.archive.keep(
            raw_listings=listings_of(batch.source, offers),
            cleaned_products=products_of(batch.source, offers) if products is None else products,
            rejected_products=rejected_of(batch.source, offers),
        )
        read = replace(artifacts, repeats=0, contract_digest=batch.contract_digest)
        return apply_batch(self.warehouse, self.archive, batch, read, run_id="run-1")

    def current_batches(self) -> list[str]:
        """The batches that the catalogue is made of, oldest first."""
        rows = self.rows("SELECT batch_key FROM catalog.current_batches ORDER BY delivered_at")
        return [row["batch_key"] for row in rows]

    def rows(self, query: str, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.warehouse.read(query, **params).to_pylist()
        return found

    def current(self, source: str = "shop") -> dict[str, tuple[str, str | None]]:
        """Current listings: id -> title as published, title of the current product."""
        rows = self.rows(
            "SELECT l.listing_id, l.title, p.title AS product FROM catalog.listings l LEFT JOIN catalog.products p "
            "ON p.product_id = l.source || ':' || l.listing_id AND p.delisted_at IS NULL "
            "WHERE l.source = :source AND l.delisted_at IS NULL ORDER BY l.listing_id",
            source=source,
        )
        return {row["listing_id"]: (row["title"], row["product"]) for row in rows}

    def history(self, listing_id: str = "1", source: str = "shop") -> list[tuple[str, float, float | None]]:
        """What happened to a listing: change, from which hour, until which."""
        return [
            (row["change"], hour(row["valid_from"]), hour(row["valid_to"]))
            for row in self.rows(
                "SELECT change, valid_from, valid_to FROM catalog.listing_history "
                "WHERE source = :source AND listing_id = :listing_id ORDER BY history_id",
                source=source,
                listing_id=listing_id,
            )
        ]

    def prices(self, listing_id: str = "1") -> list[tuple[Any, ...]]:
        """What a buyer saw of a product: price, availability, from which hour, until which."""
        return [
            (row["price"], row["availability"], hour(row["valid_from"]), hour(row["valid_to"]))
            for row in self.rows(
                "SELECT price, availability, valid_from, valid_to FROM catalog.product_history "
                "WHERE product_id = 'shop:' || CAST(:listing_id AS text) ORDER BY history_id",
                listing_id=listing_id,
            )
        ]

    def written(self) -> dict[str, list[tuple[str, str]]]:
        """Every row with the transaction that wrote it last, so that writing the same again shows too."""
        return {
            table: [
                (row["at"], row["content"])
                for row in self.rows(
                    f"SELECT xmin::text AS at, t::text AS content FROM catalog.{table} t ORDER BY t::text"
                )
            ]
            for table in TABLES
        }

    def content(self) -> dict[str, list[str]]:
        """Every row, but for the numbers of the history's entries."""
        return {
            table: [
                row["content"]
                for row in self.rows(
                    f"SELECT (to_jsonb(t) - 'history_id')::text AS content FROM catalog.{table} t ORDER BY 1"
                )
            ]
            for table in TABLES
        }

    def check_laws(self) -> None:
        """What holds after any batch, in whatever order they came."""
        for source in SOURCES:
            counted = self.rows(sql("assets.products", "catalogue_laws"), source=source)
            assert not any(row["violations"] for row in counted), counted
        orphaned = self.rows(
            "SELECT h.product_id FROM catalog.product_history h JOIN catalog.products p USING (product_id) "
            "WHERE h.valid_to IS NULL AND p.delisted_at IS NOT NULL"
        )
        assert orphaned == [], "who is gone has no price"
        listings = self.rows(
            "SELECT source || ':' || listing_id AS id, valid_from, valid_to, change = 'delisted' AS gone "
            "FROM catalog.listing_history ORDER BY history_id"
        )
        products = self.rows(
            "SELECT product_id AS id, valid_from, valid_to FROM catalog.product_history ORDER BY history_id"
        )
        for rows, has_gaps in ((listings, False), (products, True)):
            by_id = itertools.groupby(sorted(rows, key=lambda row: row["id"]), key=lambda row: row["id"])
            for name, entries in by_id:
                check_intervals(name, list(entries), has_gaps=has_gaps)
        delisted = {row["id"] for row in listings if row["gone"] and row["valid_to"] is None}
        stored = self.rows(
            "SELECT source || ':' || listing_id AS id FROM catalog.listings WHERE delisted_at IS NOT NULL"
        )
        assert delisted == {row["id"] for row in stored}, "the history's last word is the catalogue's"


def check_intervals(name: str, entries: Sequence[dict[str, Any]], *, has_gaps: bool) -> None:
    """Exactly the newest interval is open, none overlaps the next, and without gaps each ends where the next begins."""
    assert sum(entry["valid_to"] is None for entry in entries) <= 1, name
    if not has_gaps:
        assert entries[-1]["valid_to"] is None, name
    for before, after in itertools.pairwise(entries):
        assert before["valid_to"] is not None, name
        assert before["valid_from"] <= before["valid_to"] <= after["valid_from"], name
        assert has_gaps or before["valid_to"] == after["valid_from"], name


def hour(moment: datetime | None) -> Any:
    return None if moment is None else (moment - START) / timedelta(hours=1)


def digest(*parts: object) -> str:
    return xxhash.xxh3_128_hexdigest(repr(parts).encode())


def listings_of(source: str, offers: Offers) -> pa.Table:
    rows = [
        {
            "source": source, "listing_id": name, "seller": source, "title": offer.title, "attributes": "{}",
            "price": None if offer.price is None else str(offer.price), "currency": "EUR",
            "availability": offer.stock, "row_number": number, "row_digest": digest(source, name, offer),
        }
        for number, (name, offer) in enumerate(offers.items(), start=1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=RAW_LISTINGS.arrow)


def products_of(source: str, offers: Offers) -> pa.Table:
    rows = [
        {
            "product_id": f"{source}:{name}", "source": source, "listing_id": name, "seller": source,
            "title": offer.title, "model_codes": ["K100"], "condition": "new", "availability": offer.stock,
            "price": None if offer.price is None else Decimal(offer.price), "currency": offer.price and "EUR",
            "pack_size": 1, "measures": "{}", "attributes": "{}", "issues": [], "quality": 0.5, "quality_parts": "{}",
            "embedding_text": offer.title, "text_hash": digest(offer.title),
            "product_digest": digest("product", source, name, offer),
        }
        for name, offer in offers.items()
        if offer.is_clean
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CLEANED_PRODUCTS.arrow)


def rejected_of(source: str, offers: Offers) -> pa.Table:
    rows = [
        {"source": source, "listing_id": name, "reason": "no_title", "detail": "Expected a title.", "raw": "{}"}
        for name, offer in offers.items()
        if not offer.is_clean
    ]
    return pa.Table.from_pylist(rows, schema=REJECTED_PRODUCTS.arrow)


@pytest.fixture
def shops(warehouse: Warehouse) -> Shops:
    empty(warehouse)
    return Shops(warehouse)


def empty(warehouse: Warehouse) -> None:
    tables = ", ".join(f"catalog.{table}" for table in (*TABLES, "deliveries", "batches", "erasures"))
    with warehouse.transaction() as transaction:
        transaction.execute(f"TRUNCATE {tables} CASCADE")


def state(shops: Shops, hour: float) -> tuple[str, str]:
    (row,) = shops.rows(
        "SELECT b.state, d.state AS delivery FROM catalog.batches b JOIN catalog.deliveries d USING (batch_key) "
        "WHERE b.delivered_at = :at",
        at=START + timedelta(hours=hour),
    )
    return row["state"], row["delivery"]


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


@dataclass(frozen=True)
class Delivery:
    """One batch of a random sequence."""

    feed: tuple[str, str]
    offers: Offers


#: The feeds of `mixed` share an offer: it belongs to whichever spoke of it last.
FEEDS = {("shop", SNAPSHOT): "12345", ("other", DELTA): "12345", ("mixed", SNAPSHOT): "123", ("mixed", DELTA): "389"}
OFFERS = st.builds(
    Offer, title=st.sampled_from(["Kettle", "Toaster", "?"]), price=st.sampled_from([5, 7]), stock=st.just("in_stock")
)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    feed = draw(st.sampled_from(sorted(FEEDS)))
    return Delivery(feed, draw(st.dictionaries(st.sampled_from(FEEDS[feed]), OFFERS, max_size=4)))


@st.composite
def sequences(draw: st.DrawFn) -> list[Delivery]:
    """What is delivered hour after hour; some shops deliver the same few files again and again."""
    few = draw(st.lists(deliveries(), min_size=1, max_size=3))
    again = draw(st.booleans())
    return draw(st.lists(st.sampled_from(few) if again else deliveries(), min_size=1, max_size=7))


def expected(sequence: Sequence[Delivery]) -> dict[str, dict[str, Offer]]:
    """The model: what every source offers after orderly deliveries."""
    sources: dict[str, dict[str, tuple[str, Offer]]] = {source: {} for source, _ in FEEDS}
    newest: dict[tuple[str, str], list[tuple[str, Offer]]] = {}
    for delivery in sequence:
        if newest.get(delivery.feed) == list(delivery.offers.items()):
            continue  # it repeats the delivery before it
        newest[delivery.feed] = list(delivery.offers.items())
        source, path = delivery.feed
        kept = {
            name: (feed, offer) for name, (feed, offer) in sources[source].items() if path != SNAPSHOT or feed != path
        }
        sources[source] = kept | {name: (path, offer) for name, offer in delivery.offers.items()}
    return {source: {name: offer for name, (_, offer) in offers.items()} for source, offers in sources.items()}


def deliver_in_order(shops: Shops, sequence: Sequence[Delivery], order: Iterable[int]) -> None:
    """Begin with an empty catalogue and deliver what was made at each hour, in the order in which it arrives."""
    empty(shops.warehouse)
    shops.landing = Landing()
    for number in order:
        source, path = sequence[number].feed
        shops.deliver(number, sequence[number].offers, source=source, path=path)
        shops.check_laws()


def deliver_and_then_run(shops: Shops, sequence: Sequence[Delivery], looked: Iterable[int], run: Iterable[int]) -> None:
    """Begin with an empty catalogue, let everything be seen in one order, and run what waits in another."""
    empty(shops.warehouse)
    shops.landing = Landing()
    batches = {}
    for number in looked:
        source, path = sequence[number].feed
        batches[number] = shops.write_down(number, sequence[number].offers, source=source, path=path)
    waiting = shops.look()
    for number in run:
        if batches[number].batch_key in waiting:
            shops.apply(batches[number], sequence[number].offers)
            shops.check_laws()
    assert shops.look() == ()


RANDOM_SEQUENCES = settings(
    max_examples=15, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@RANDOM_SEQUENCES
@given(sequences(), st.data())
def test_in_whatever_order_and_however_often_batches_come_the_catalogue_is_that_of_orderly_deliveries(
    shops: Shops, sequence: list[Delivery], data: st.DataObject
) -> None:
    numbers = list(range(len(sequence)))
    order = data.draw(st.permutations([*numbers, *data.draw(st.lists(st.sampled_from(numbers), max_size=3))]))
    deliver_in_order(shops, sequence, numbers)
    orderly = shops.content()
    deliver_in_order(shops, sequence, order)
    for source, offers in expected(sequence).items():
        wanted = {name: (offer.title, offer.title if offer.is_clean else None) for name, offer in offers.items()}
        assert shops.current(source) == wanted
    assert shops.content() == orderly, "history and times too"
    looked, run = data.draw(st.permutations(numbers)), data.draw(st.permutations(numbers))
    deliver_and_then_run(shops, sequence, looked, run)
    assert shops.content() == orderly, "in whatever order they are seen and then run"
    before = shops.written()
    newest = sequence[-1]
    assert shops.deliver(len(sequence) - 1, newest.offers, source=newest.feed[0], path=newest.feed[1]) == Applied()
    assert shops.written() == before


@RANDOM_SEQUENCES
@given(sequences(), st.data())
def test_a_batch_that_is_rolled_back_might_never_have_come_and_accepted_again_might_never_have_gone(
    shops: Shops, sequence: list[Delivery], data: st.DataObject
) -> None:
    numbers = list(range(len(sequence)))
    undone = data.draw(st.sampled_from(sequence))
    deliver_in_order(shops, sequence, [number for number in numbers if sequence[number] != undone])
    without = shops.content()
    deliver_in_order(shops, sequence, data.draw(st.permutations(numbers)))
    whole = shops.content()
    source, path = undone.feed
    batch = shops.write_down(sequence.index(undone), undone.offers, source=source, path=path)

    assert roll_back(shops.warehouse, shops.archive, batch).made_anew_from < len(sequence)
    assert shops.content() == without
    shops.check_laws()
    assert roll_back(shops.warehouse, shops.archive, batch) == Applied(), "it is out already"
    assert shops.apply(batch, undone.offers) == Applied(), "and stays out"
    assert shops.content() == without

    shops.book.accept(batch.batch_key)
    shops.apply(shops.book.batch(batch.batch_key), undone.offers)
    assert shops.content() == whole
    shops.check_laws()


TEN = {str(number): Offer(f"Kettle {number}") for number in range(10)}


def some(count: int) -> Offers:
    """The first so many of `TEN`."""
    return dict(itertools.islice(TEN.items(), count))


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
