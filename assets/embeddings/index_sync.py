"""Brings a vector index to what the catalogue holds, writing only the difference.

Belongs here: what an index should hold, and carrying out a plan. Not here: comparing (see `assets.planning` and
`agreement`), any index.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from assets.embeddings.incremental import vectors_of
from assets.embeddings.ports import HalfVectors, IndexedProduct, VectorIndex
from assets.planning import Plan, plan

#: What a search filters by and shows, from the cleaned products.
_PRODUCT_COLUMNS = ("product_id", "source", "title", "brand", "price", "currency")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRules:
    """How the work is cut up.

    Attributes:
        chunk: Products in one write; what an interrupted run has to do again at most.
    """

    chunk: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What a run did to an index, in products."""

    added: int
    changed: int
    dropped: int
    unchanged: int

    @property
    def total(self) -> int:
        """Products the index holds now."""
        return self.added + self.changed + self.unchanged


@dataclass(frozen=True, slots=True)
class WantedIndex:
    """What an index should hold, row by row.

    Attributes:
        products: Each product once.
        vectors: Their vectors, shape (len(products), dimensions).
    """

    products: tuple[IndexedProduct, ...]
    vectors: HalfVectors

    def __iter__(self) -> Iterator[tuple[IndexedProduct, NDArray[np.float16]]]:
        """Each product with its vector."""
        return zip(self.products, self.vectors, strict=True)


def wanted_index(products: pa.Table, embeddings: pa.Table) -> WantedIndex:
    """Say what an index should hold.

    Args:
        products: Columns `product_id, source, title, brand, price, currency` of `CLEANED_PRODUCTS`.
        embeddings: `PRODUCT_EMBEDDINGS`. Products without a vector are left out, and vectors without a product.

    Returns:
        The products in the order of their ids.
    """
    columns = products.select(_PRODUCT_COLUMNS)
    places = pa.array(range(len(embeddings)), pa.int64())
    known = embeddings.select(["product_id", "text_hash", "model_version"]).append_column("row", places)
    joined = columns.join(known, "product_id", join_type="inner").sort_by("product_id")
    return WantedIndex(
        tuple(_indexed(row) for row in joined.to_pylist()),
        vectors_of(embeddings)[joined["row"].to_numpy()],
    )


def sync(
    index: VectorIndex,
    wanted: WantedIndex,
    *,
    rules: SyncRules | None = None,
    progress: Callable[[int], None] | None = None,
) -> SyncReport:
    """Write to the index what it lacks or holds in another version, and remove what nobody wants any more.

    Every chunk stands on its own, so that an interrupted run is finished by the next one; an index that is up to
    date is only asked for its fingerprints.

    Args:
        index: Any index.
        wanted: What it should hold.
        rules: How to cut up the work.
        progress: Called with the number of products written or removed since it was last called.
    """
    stored = index.fingerprints()
    todo = plan({product.product_id: product.fingerprint for product in wanted.products}, stored)
    carry_out(todo, index, wanted, rules=rules, progress=progress)
    return SyncReport(
        added=len(todo.to_add),
        changed=len(todo.to_change),
        dropped=len(todo.to_drop),
        unchanged=len(wanted.products) - len(todo.to_write),
    )


def carry_out(
    todo: Plan,
    index: VectorIndex,
    wanted: WantedIndex,
    *,
    rules: SyncRules | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Drop and write what a plan names, in chunks; see `sync`."""
    rules = rules or SyncRules()
    row_of = {product.product_id: row for row, product in enumerate(wanted.products)}
    for part in _chunks(todo.to_drop, rules.chunk):
        index.delete(part)
        if progress:
            progress(len(part))
    for part in _chunks(todo.to_write, rules.chunk):
        rows = [row_of[product_id] for product_id in part]
        index.upsert([wanted.products[row] for row in rows], wanted.vectors[rows])
        if progress:
            progress(len(part))


def _indexed(row: dict[str, Any]) -> IndexedProduct:
    shown = {name: row[name] for name in _PRODUCT_COLUMNS}
    return IndexedProduct(fingerprint=_fingerprint(row["text_hash"], row["model_version"], shown), **shown)


def _fingerprint(text_hash: str, model_version: str, shown: dict[str, Any]) -> str:
    """Hash of all that decides what is stored: the text and the model (hence the vector), and the payload."""
    content = json.dumps([text_hash, model_version, shown], sort_keys=True, ensure_ascii=False, default=str)
    return xxhash.xxh3_128_hexdigest(content.encode())


def _chunks(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
