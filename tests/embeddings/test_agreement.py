"""Stores are compared listing by listing, and what an index finds with what is nearest."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from assets.agreement import NAMED, Agreement
from assets.embeddings.agreement import AgreementRules, compare_index, compare_texts
from assets.embeddings.incremental import KnownVectors
from assets.embeddings.index_sync import WantedIndex
from assets.embeddings.ports import HalfVectors, IndexedProduct, Neighbour, SearchFilter
from assets.embeddings.schema import DIMENSIONS
from assets.planning import Plan

pytestmark = pytest.mark.laws

digests = st.dictionaries(st.text(max_size=3), st.sampled_from("abc"), max_size=8)


class Index:
    """An exact index in memory, with faults: products it does not find, and similarities that are off."""

    name = "memory"

    def __init__(self, wanted: WantedIndex) -> None:
        self.rows = {product.product_id: (product, vector) for product, vector in wanted}
        self.overlooked: frozenset[str] = frozenset()
        self.off = 0.0

    def held(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fingerprints(self) -> Mapping[str, str]:
        return {key: product.fingerprint for key, (product, _) in self.rows.items()}

    def contents(self) -> Iterator[tuple[Sequence[IndexedProduct], HalfVectors]]:
        for product, vector in self.rows.values():
            yield [product], vector[np.newaxis]

    def upsert(self, products: Sequence[IndexedProduct], vectors: HalfVectors) -> None:
        raise NotImplementedError

    def delete(self, product_ids: Sequence[str]) -> None:
        raise NotImplementedError

    def nearest(self, vector: NDArray[np.float16], *, limit: int, where: SearchFilter | None = None) -> list[Neighbour]:
        hits = [
            Neighbour(product=product, similarity=float(np.dot(held.astype(np.float64), vector)) + self.off)
            for product, held in self.rows.values()
            if product.product_id not in self.overlooked
        ]
        return sorted(hits, key=lambda hit: -hit.similarity)[:limit]


def wanted(count: int = 60, *, distinct: int | None = None) -> WantedIndex:
    """Products with unit vectors, of which only some are distinct."""
    random = np.random.default_rng(1)
    raw = random.normal(size=(distinct or count, DIMENSIONS))
    units = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float16)
    return WantedIndex(
        tuple(
            IndexedProduct(
                product_id=f"a:{row:03}", fingerprint=f"f{row}", source="a", title=f"Kettle {row}", brand="Bosch",
                price=Decimal("19.90"), currency="EUR",
            )
            for row in range(count)
        ),
        units[np.arange(count) % len(units)],
    )  # fmt: skip


def altered(index: Index, key: str, **changes: object) -> None:
    product, vector = index.rows[key]
    index.rows[key] = replace(product, **changes), vector  # type: ignore[arg-type]


@given(digests, digests)
def test_a_store_agrees_exactly_when_it_holds_the_same(held: dict[str, str], should: dict[str, str]) -> None:
    found = Agreement.between("s", should, held)
    assert found.agrees == (held == should)
    assert found.holds == len(held)
    differing = {key for listings in found.differing.values() for key in listings}
    assert differing == {key for key in held.keys() | should.keys() if held.get(key) != should.get(key)}


def test_a_report_says_how_many_differ_and_names_the_first() -> None:
    many = {f"a:{number:02}": "x" for number in range(NAMED + 2)}
    told = Agreement.between("s", many, {"a:00": "y", "b:1": "x"}).description
    assert told == (
        f"{NAMED + 1} missing ({', '.join(f'a:{number:02}' for number in range(1, NAMED + 1))}, …); "
        "1 altered (a:00); 1 too many (b:1)"
    )
    assert Agreement.between("s", many, many).description == f"{NAMED + 2} listings, each as it should be."
    assert Agreement(store="s", holds=0, fault="it is gone").description == "it is gone"


def test_an_index_that_holds_and_finds_everything_agrees() -> None:
    found = compare_index(Index(wanted()), wanted())
    assert found == Agreement(store="memory", holds=60, recall=1.0)
    assert compare_index(Index(wanted(0)), wanted(0)) == Agreement(store="memory", holds=0)
    assert compare_index(Index(wanted(3)), wanted(3)).recall == 1


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "g"}, {"source": "b"}, {"title": "Kettle"}, {"brand": None}, {"price": Decimal("19.91")},
        {"currency": "USD"},
    ],
    ids=str,
)  # fmt: skip
def test_everything_that_is_stored_of_a_product_is_compared(change: dict[str, object]) -> None:
    index = Index(wanted())
    altered(index, "a:007", **change)
    assert compare_index(index, wanted()).difference == Plan(to_change=("a:007",))


def test_a_price_is_the_same_in_any_number_of_decimals() -> None:
    index = Index(wanted())
    altered(index, "a:007", price=Decimal("19.9000"))
    assert compare_index(index, wanted()).agrees


def test_a_vector_altered_beside_its_fingerprint_is_noticed_to_the_last_bit() -> None:
    index = Index(wanted())
    product, vector = index.rows["a:007"]
    bits = vector.copy()
    bits.view(np.uint16)[5] ^= 1
    index.rows["a:007"] = product, bits
    assert compare_index(index, wanted()).differing == {"altered": ("a:007",)}


def test_missing_and_foreign_products_are_named() -> None:
    index = Index(wanted())
    index.rows["z:9"] = replace(index.rows["a:001"][0], product_id="z:9"), index.rows.pop("a:001")[1]
    assert compare_index(index, wanted()).differing == {"missing": ("a:001",), "too many": ("z:9",)}


def test_an_index_that_holds_everything_and_does_not_find_it_is_at_fault() -> None:
    index = Index(wanted())
    index.overlooked = frozenset(f"a:{row:03}" for row in range(30))
    found = compare_index(index, wanted())
    assert not found.difference and not found.agrees
    assert found.recall is not None and found.recall < 0.8
    assert found.fault.startswith(f"finds {found.recall:.1%} of the nearest listings, expected 90%: ")
    assert "a:000" in found.fault


def test_a_few_may_be_missed_by_an_approximate_search() -> None:
    index = Index(wanted())
    index.overlooked = frozenset({"a:000"})
    rules = AgreementRules(sample=60)
    found = compare_index(index, wanted(), rules)
    assert found.recall is not None and 0.9 <= found.recall < 1
    assert found.agrees
    assert not compare_index(index, wanted(), replace(rules, least_recall=1.0)).agrees


def test_of_equally_near_products_any_will_do() -> None:
    twins = wanted(60, distinct=3)
    index = Index(twins)
    index.rows = dict(reversed(index.rows.items()))
    first = [hit.product.product_id for hit in index.nearest(twins.vectors[0], limit=10)]
    assert first != [hit.product.product_id for hit in Index(twins).nearest(twins.vectors[0], limit=10)]
    assert compare_index(index, twins).recall == 1


def test_similarities_are_compared_within_half_precision() -> None:
    index = Index(wanted())
    index.off = AgreementRules().rounding * 0.4
    assert compare_index(index, wanted()).agrees
    index.off = AgreementRules().rounding * 5
    assert "at a wrong similarity" in compare_index(index, wanted()).fault


def test_the_sample_is_seeded() -> None:
    class Asked(Index):
        def nearest(self, vector: NDArray[np.float16], **options: object) -> list[Neighbour]:
            asked.append(vector.tobytes())
            return super().nearest(vector, limit=10)

    asked: list[bytes] = []
    for seed in (0, 0, 1):
        compare_index(Asked(wanted()), wanted(), AgreementRules(sample=5, seed=seed))
    assert len(asked) == 15
    assert asked[:5] == asked[5:10]
    assert set(asked[:5]) != set(asked[10:])


def embedded(*rows: tuple[str, str], vectors: HalfVectors) -> pa.Table:
    """Rows of product and text hash, with the vector of each."""
    flat = pa.array(vectors.reshape(-1))
    return pa.table(
        {
            "product_id": [product for product, _ in rows],
            "text_hash": [text for _, text in rows],
            "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS),
        }
    )


def test_vectors_kept_by_text_are_compared_for_every_listing_of_the_text() -> None:
    vectors = wanted(3).vectors
    table = embedded(("a:1", "h1"), ("a:2", "h2"), ("b:1", "h1"), vectors=vectors[[0, 1, 0]])
    sound = KnownVectors(pa.array(["h2", "h1", "of a product that left"]), vectors[[1, 0, 2]])
    assert compare_texts("s", table, sound) == Agreement(store="s", holds=3)
    lost = KnownVectors(pa.array(["h2"]), vectors[[1]])
    assert compare_texts("s", table, lost).differing == {"missing": ("a:1", "b:1")}
    exchanged = KnownVectors(pa.array(["h1", "h2"]), vectors[[2, 1]])
    assert compare_texts("s", table, exchanged).differing == {"altered": ("a:1", "b:1")}
