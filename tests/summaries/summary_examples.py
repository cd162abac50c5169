"""Small tables for the tests of the summaries room."""

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa

from assets.clusters.schema import PRODUCT_CLUSTERS
from assets.products.schema import CLEANED_PRODUCTS
from assets.summaries.golden_record import golden_records
from assets.summaries.schema import GOLDEN_RECORDS


def cluster_id(name: str) -> str:
    return "c_" + name.rjust(16, "0")


def product(product_id: str, **values: Any) -> dict[str, Any]:
    """A product of quality 0.5 that states little; `values` says the rest."""
    source, _, listing_id = product_id.partition(":")
    row: dict[str, Any] = dict.fromkeys(CLEANED_PRODUCTS.names)
    row |= {
        "product_id": product_id, "source": source, "listing_id": listing_id, "seller": source, "title": "Phone X",
        "model_codes": [], "condition": "new", "availability": "in_stock", "pack_size": 1, "measures": "{}",
        "attributes": "{}", "issues": [], "quality": 0.5, "quality_parts": "{}", "embedding_text": "x",
        "text_hash": "0" * 32, "product_digest": "0" * 32,
    }  # fmt: skip
    if "price" in values:
        row["currency"] = "EUR"
        values["price"] = None if values["price"] is None else Decimal(values["price"])
    if "measures" in values:
        values["measures"] = json.dumps(values["measures"])
    return row | values


def products_table(rows: list[dict[str, Any]]) -> pa.Table:
    return CLEANED_PRODUCTS.conform(pa.Table.from_pylist(rows, schema=CLEANED_PRODUCTS.arrow))


def clusters_table(members: dict[str, list[str]]) -> pa.Table:
    rows = [
        {
            "product_id": member, "cluster_id": cluster_id(name), "cluster_size": len(ids), "confidence": 0.9,
            "weakest_link": 0.9,
        }
        for name, ids in members.items()
        for member in ids
    ]  # fmt: skip
    return PRODUCT_CLUSTERS.conform(pa.Table.from_pylist(rows, schema=PRODUCT_CLUSTERS.arrow))


def one_cluster(*rows: dict[str, Any]) -> dict[str, Any]:
    """The golden record of one cluster of products, its JSON parsed."""
    table = golden_records(products_table(list(rows)), clusters_table({"a": [row["product_id"] for row in rows]}))
    [record] = table.to_pylist()
    return record | {name: json.loads(record[name]) for name in ("measures", "disagreements", "provenance")}


def record(name: str = "a", **values: Any) -> dict[str, Any]:
    """A row of GOLDEN_RECORDS."""
    row: dict[str, Any] = dict.fromkeys(GOLDEN_RECORDS.names)
    row |= {
        "cluster_id": cluster_id(name), "title": "Acme Phone X 64 GB black", "brand": "Acme", "category": "Phones",
        "colour": "black", "measures": {"storage_gb": 64}, "offers": 3, "sellers": 2, "currency": "EUR",
        "price_min": Decimal("80.00"), "price_median": Decimal("90.00"), "price_max": Decimal("1234.50"),
        "disagreements": {"colour": ["black", "blue"]}, "provenance": {"price_min": "beta:1"},
        "record_digest": "1" * 32,
    }  # fmt: skip
    row |= values
    return row | {key: json.dumps(row[key]) for key in ("measures", "disagreements", "provenance")}


def records_table(*rows: dict[str, Any]) -> pa.Table:
    return GOLDEN_RECORDS.conform(pa.Table.from_pylist(list(rows), schema=GOLDEN_RECORDS.arrow))
