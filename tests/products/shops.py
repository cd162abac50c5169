"""Shops that deliver to a catalogue in a real PostgreSQL: what they offer, and what the catalogue then holds."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pyarrow as pa
import xxhash

from assets.batches import Batch, BatchArtifacts
from assets.catalogue import sql
from assets.listings.schema import RAW_LISTINGS
from assets.products.applying import Applied, apply_batch
from assets.products.guarding import SnapshotRules, Verdict, guard
from assets.products.schema import CLEANED_PRODUCTS, REJECTED_PRODUCTS
from resources.batch_book import PostgresBatchBook
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectVersion
from resources.warehouse import Warehouse
from sensors.deliveries import batch_key as batch_key_of
from sensors.landing import look

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


TEN = {str(number): Offer(f"Kettle {number}") for number in range(10)}


def some(count: int) -> Offers:
    """The first so many of `TEN`."""
    return dict(itertools.islice(TEN.items(), count))
