"""Offers and stand-ins for embeddings, for the tests of the matcher."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assets.products.fingerprints import text_hash
from assets.products.measures import parse_measures
from assets.products.schema import CLEANED_PRODUCTS

#: Folders of real offers; not everybody has them.
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def vectors(table: pa.Table) -> np.ndarray:
    """Hashed character 3-grams: a stand-in for embeddings, a function of the title alone."""
    result = np.zeros((table.num_rows, 64), dtype=np.float32)
    for row, title in enumerate(table.column("title").to_pylist()):
        padded = f"  {title.lower()} "
        for i in range(len(padded) - 2):
            result[row, zlib.crc32(padded[i : i + 3].encode()) % 64] += 1
    return (result / np.linalg.norm(result, axis=1, keepdims=True)).astype(np.float16)


READ = ("product_id", "source", "seller", "title", "description", "brand", "gtin", "mpn", "price", "currency")
READ += ("condition", "pack_size", "measures", "product_digest", "text_hash")


def offers(*rows: dict[str, Any]) -> pa.Table:
    defaults = {"condition": "unknown", "pack_size": 1, "currency": "EUR"}
    fields = [CLEANED_PRODUCTS.arrow.field(name).with_nullable(True) for name in READ]
    return pa.Table.from_pylist(
        [
            {
                **dict.fromkeys(READ),
                **defaults,
                "seller": row["source"],
                "measures": json.dumps(parse_measures([row["title"]])),
                "product_digest": text_hash(repr(sorted(row.items()))),
                "text_hash": text_hash(row["title"]),
                **row,
            }
            for row in rows
        ],
        schema=pa.schema(fields),
    )
