"""Whether the stores of vectors hold what the artifacts hold, and find in it what is nearest.

Belongs here: what is compared, and the exact neighbours. Not here: reading a database or an artifact, bringing a store
up to date (see `index_sync`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from assets.agreement import Agreement, told
from assets.embeddings.incremental import KnownVectors, vectors_of
from assets.embeddings.index_sync import WantedIndex
from assets.embeddings.ports import IndexedProduct, Neighbour, VectorIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRules:
    """How the neighbours are compared.

    An index may search approximately, and orders products of equal similarity as it likes. So a hit counts if no
    product that was left out is nearer by more than rounding explains, and a few may be missing.

    Attributes:
        sample: Products whose neighbours are compared.
        seed: Which ones.
        neighbours: Nearest products that are compared, the product itself among them.
        asked: Hits asked for. An index that searches approximately looks at no fewer candidates, so that it misses few
            of the nearest unless something is wrong with it, however large the catalogue is.
        least_recall: Share of the nearest ones that must be found, over the whole sample.
        rounding: How far two similarities of the same vectors may be apart: they are in half precision, Qdrant's
            lengths are not quite one.
    """

    sample: int = 50
    seed: int = 0
    neighbours: int = 10
    asked: int = 400
    least_recall: float = 0.9
    rounding: float = 2e-3


def compare_index(index: VectorIndex, wanted: WantedIndex, rules: AgreementRules | None = None) -> Agreement:
    """Compare everything an index holds with what it should hold, and its answers with the exact ones.

    Reads every product and vector once: fingerprints alone would not show a vector that was altered beside them.
    """
    with index.held():
        held = {
            product.product_id: _digest(product, vector)
            for products, vectors in index.contents()
            for product, vector in zip(products, vectors, strict=True)
        }
        recall, fault = _compare_neighbours(index, wanted, rules or AgreementRules())
    return Agreement.between(
        index.name,
        {product.product_id: _digest(product, vector) for product, vector in wanted},
        held,
        fault=fault,
        recall=recall,
    )


def compare_texts(store: str, embeddings: pa.Table, held: KnownVectors) -> Agreement:
    """Compare the vectors that are kept by text with those of the listings.

    Args:
        store: Name of the store.
        embeddings: `PRODUCT_EMBEDDINGS`, of one model.
        held: What the store has of that model; texts that no listing has any more may be among them.
    """
    by_text = dict(zip(held.hashes.to_pylist(), map(_vector_digest, held.vectors), strict=True))
    ids, hashes = (embeddings.column(name).to_pylist() for name in ("product_id", "text_hash"))
    return Agreement.between(
        store,
        dict(zip(ids, map(_vector_digest, vectors_of(embeddings)), strict=True)),
        {listing: by_text[text] for listing, text in zip(ids, hashes, strict=True) if text in by_text},
    )


def _compare_neighbours(index: VectorIndex, wanted: WantedIndex, rules: AgreementRules) -> tuple[float | None, str]:
    """Return the share of the nearest products that the index finds, and what is wrong with its answers."""
    count = len(wanted.products)
    if not count:
        return None, ""
    rows = np.random.default_rng(rules.seed).choice(count, min(rules.sample, count), replace=False)
    units = wanted.vectors.astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    row_of = {product.product_id: row for row, product in enumerate(wanted.products)}
    limit, asked = (min(number, count) for number in (rules.neighbours, rules.asked))
    found, poor, off = 0, [], []
    for row in sorted(rows):
        exact = units @ units[row]
        hits = index.nearest(wanted.vectors[row], limit=asked)
        near = _near(hits[:limit], exact, row_of, limit, rules)
        found += near
        if near < limit:
            poor.append(wanted.products[row].product_id)
        if any(abs(hit.similarity - exact[place]) > rules.rounding for hit, place in _placed(hits, row_of)):
            off.append(wanted.products[row].product_id)
    recall = found / (limit * len(rows))
    faults = []
    if recall < rules.least_recall:
        faults.append(
            f"finds {recall:.1%} of the nearest listings, expected {rules.least_recall:.0%}: "
            + told(f"of {len(rows)} listings find too few", tuple(poor))
        )
    if off:
        faults.append(told(f"of {len(rows)} listings find others at a wrong similarity", tuple(off)))
    return recall, "; ".join(faults)


def _near(
    hits: list[Neighbour],
    exact: NDArray[np.float32],
    row_of: Mapping[str, int],
    limit: int,
    rules: AgreementRules,
) -> int:
    """Count the hits that are among the nearest, whichever of equally near ones they are."""
    farthest = np.partition(exact, -limit)[-limit]
    places = list({place for _, place in _placed(hits, row_of)})
    return int((exact[places] >= farthest - rules.rounding).sum())


def _placed(hits: list[Neighbour], row_of: Mapping[str, int]) -> list[tuple[Neighbour, int]]:
    return [(hit, row_of[hit.product.product_id]) for hit in hits if hit.product.product_id in row_of]


def _digest(product: IndexedProduct, vector: NDArray[np.float16]) -> str:
    """Digest of everything an index holds of a product."""
    price = None if product.price is None else format(product.price.normalize(), "f")
    shown = (product.fingerprint, product.source, product.title, product.brand, price, product.currency)
    return xxhash.xxh3_128_hexdigest(repr(shown).encode() + vector.tobytes())


def _vector_digest(vector: NDArray[np.float16]) -> str:
    return xxhash.xxh3_128_hexdigest(vector.tobytes())
