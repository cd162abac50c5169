"""An index is brought up to date by writing the difference alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assets.embeddings.index_sync import SyncReport, SyncRules, WantedIndex, sync, wanted_index
from assets.embeddings.ports import HalfVectors, IndexedProduct, Neighbour, SearchFilter
from assets.embeddings.schema import DIMENSIONS, PRODUCT_EMBEDDINGS


class Interrupted(RuntimeError):
    """Stands for a crash."""


class RecordingIndex:
    """An index in memory that records its writes and can break off."""

    name = "recording"

    def __init__(self, *, dies_after: int | None = None) -> None:
        self.rows: dict[str, tuple[IndexedProduct, bytes]] = {}
        self.writes: list[tuple[str, int]] = []
        self.dies_after = dies_after

    def _record(self, kind: str, count: int) -> None:
        if self.dies_after is not None and len(self.writes) >= self.dies_after:
            raise Interrupted
        self.writes.append((kind, count))

    def fingerprints(self) -> Mapping[str, str]:
        return {key: product.fingerprint for key, (product, _) in self.rows.items()}

    def upsert(self, products: Sequence[IndexedProduct], vectors: HalfVectors) -> None:
        self._record("upsert", len(products))
        for product, vector in zip(products, vectors, strict=True):
            self.rows[product.product_id] = product, vector.tobytes()

    def delete(self, product_ids: Sequence[str]) -> None:
        self._record("delete", len(product_ids))
        for product_id in product_ids:
            self.rows.pop(product_id, None)

    def held(self) -> AbstractContextManager[None]:
        return nullcontext()

    def contents(self) -> Iterator[tuple[Sequence[IndexedProduct], HalfVectors]]:
        for product, vector in self.rows.values():
            yield [product], np.frombuffer(vector, np.float16)[np.newaxis]

    def nearest(self, vector: NDArray[np.float16], *, limit: int, where: SearchFilter | None = None) -> list[Neighbour]:
        raise NotImplementedError


def wanted(fingerprints: Mapping[str, str]) -> WantedIndex:
    products = tuple(
        IndexedProduct(product_id=key, fingerprint=value, source="abt", title=value)
        for key, value in sorted(fingerprints.items())
    )
    vectors = np.zeros((len(products), DIMENSIONS), np.float16)
    for row, product in enumerate(products):
        vectors[row, sum(map(ord, product.product_id + product.fingerprint)) % DIMENSIONS] = 1
    return WantedIndex(products, vectors)


def contents(goal: WantedIndex) -> dict[str, tuple[IndexedProduct, bytes]]:
    return {p.product_id: (p, v.tobytes()) for p, v in zip(goal.products, goal.vectors, strict=True)}


states = st.dictionaries(st.text(max_size=3), st.sampled_from("abc"), max_size=10)


@settings(max_examples=50, deadline=None)
@given(st.lists(states, max_size=4), st.integers(1, 4))
def test_after_any_sequence_the_index_holds_what_is_wanted(sequence: list[dict[str, str]], chunk: int) -> None:
    index = RecordingIndex()
    for state in sequence:
        before = dict(index.rows)
        goal = wanted(state)
        report = sync(index, goal, rules=SyncRules(chunk=chunk))
        assert index.rows == contents(goal)
        assert report.total == len(goal.products)
        assert report.dropped == len(before.keys() - state.keys())


@pytest.mark.laws
def test_again_is_free() -> None:
    index, goal = RecordingIndex(), wanted({"a:1": "x", "a:2": "y"})
    assert sync(index, goal) == SyncReport(added=2, changed=0, dropped=0, unchanged=0)
    assert sync(index, goal) == SyncReport(added=0, changed=0, dropped=0, unchanged=2)
    assert index.writes == [("upsert", 2)]


def test_only_the_difference_is_written() -> None:
    index = RecordingIndex()
    sync(index, wanted({"a:1": "x", "a:2": "y", "a:3": "z"}))
    report = sync(index, wanted({"a:1": "x", "a:2": "Y", "a:4": "z"}))
    assert report == SyncReport(added=1, changed=1, dropped=1, unchanged=1)
    assert index.writes[1:] == [("delete", 1), ("upsert", 2)]


@pytest.mark.laws
@settings(max_examples=50, deadline=None)
@given(states, states, st.integers(0, 6))
def test_an_interrupted_run_is_finished_by_the_next(before: dict[str, str], after: dict[str, str], death: int) -> None:
    index, goal = RecordingIndex(), wanted(after)
    sync(index, wanted(before))
    index.dies_after = len(index.writes) + death
    try:
        sync(index, goal, rules=SyncRules(chunk=2))
    except Interrupted:
        index.dies_after = None
        sync(index, goal, rules=SyncRules(chunk=2))
    assert index.rows == contents(goal)


def test_progress_counts_every_write() -> None:
    index, done = RecordingIndex(), []
    sync(index, wanted({"a:1": "x", "a:2": "y"}))
    sync(index, wanted({"a:2": "Y", "a:3": "z"}), rules=SyncRules(chunk=1), progress=done.append)
    assert done == [1, 1, 1]


def cleaned(**changes: object) -> pa.Table:
    row = {
        "product_id": "a:1",
        "source": "a",
        "title": "Kettle",
        "brand": "Bosch",
        "price": Decimal("19.9900"),
        "currency": "EUR",
    } | changes
    schema = pa.schema([(name, pa.decimal128(18, 4) if name == "price" else pa.string()) for name in row])
    return pa.Table.from_pylist([row], schema=schema)


def embedded(product_ids: Sequence[str], text_hash: str = "h", model_version: str = "m") -> pa.Table:
    flat = np.arange(len(product_ids) * DIMENSIONS, dtype=np.float32).astype(np.float16)
    return PRODUCT_EMBEDDINGS.conform(
        pa.table(
            {
                "product_id": pa.array(product_ids, pa.string()),
                "text_hash": pa.array([text_hash] * len(product_ids), pa.string()),
                "model_version": pa.array([model_version] * len(product_ids), pa.string()),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat), DIMENSIONS),
            }
        )
    )


def test_a_product_is_joined_with_its_vector() -> None:
    products = pa.concat_tables([cleaned(product_id=key) for key in ("b:2", "a:1", "c:9")])
    embeddings = embedded(["a:1", "x:7", "b:2"])
    goal = wanted_index(products, embeddings)
    assert [product.product_id for product in goal.products] == ["a:1", "b:2"]
    assert goal.products[0].price == Decimal("19.99")
    rows = np.arange(3 * DIMENSIONS, dtype=np.float32).astype(np.float16).reshape(3, DIMENSIONS)
    assert goal.vectors.tobytes() == rows[[0, 2]].tobytes()


def test_a_fingerprint_follows_from_all_that_is_stored_and_nothing_else() -> None:
    def fingerprint(products: pa.Table, embeddings: pa.Table) -> str:
        return wanted_index(products, embeddings).products[0].fingerprint

    plain = fingerprint(cleaned(), embedded(["a:1"]))
    assert fingerprint(cleaned(), embedded(["a:1"])) == plain
    changed = [
        fingerprint(cleaned(**{name: value}), embedded(["a:1"]))
        for name, value in (
            ("title", "Pot"),
            ("brand", None),
            ("price", Decimal(20)),
            ("currency", "USD"),
            ("source", "b"),
        )
    ]
    changed.append(fingerprint(cleaned(), embedded(["a:1"], text_hash="h2")))
    changed.append(fingerprint(cleaned(), embedded(["a:1"], model_version="m2")))
    assert len({plain, *changed}) == 1 + len(changed)


def test_nothing_wanted_empties_the_index() -> None:
    index = RecordingIndex()
    sync(index, wanted({"a:1": "x"}))
    nothing = wanted_index(cleaned().slice(0, 0), embedded([]))
    assert sync(index, nothing) == SyncReport(added=0, changed=0, dropped=1, unchanged=0)
    assert index.rows == {}


def test_a_report_counts_what_the_index_holds() -> None:
    report = SyncReport(added=1, changed=2, dropped=4, unchanged=8)
    assert report.total == 11
    assert replace(report, dropped=0).total == 11
