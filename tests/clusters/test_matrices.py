"""The matcher's sparse arithmetic against the same on dense arrays and plain sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from assets.clusters.matrices import (
    row_maxima,
    strongest_missing,
    strongest_shared,
    weighted_indicators,
)

ROWS = st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([0.25, 0.5, 1.0])), min_size=1, max_size=8)


@given(ROWS)
def test_terms_become_columns_in_order_whatever_their_order_in_a_row(rows: list[dict[str, float]]) -> None:
    found = weighted_indicators(rows)
    turned = weighted_indicators([dict(reversed(row.items())) for row in rows])
    assert found.terms == turned.terms == sorted({term for row in rows for term in row})
    dense = found.matrix.toarray()
    assert dense.tolist() == [[row.get(term, 0.0) for term in found.terms] for row in rows]
    for ends in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(found.matrix, ends), getattr(turned.matrix, ends)), "sums run in one order"


@given(ROWS)
def test_the_largest_of_a_row(rows: list[dict[str, float]]) -> None:
    matrix = weighted_indicators(rows).matrix
    assert row_maxima(matrix).tolist() == [max(row.values(), default=0.0) for row in rows]


@given(ROWS, st.data())
def test_the_strongest_term_that_two_rows_share_or_one_lacks(rows: list[dict[str, float]], data: st.DataObject) -> None:
    places = st.lists(st.integers(0, len(rows) - 1), min_size=3, max_size=3)
    left, right = (np.array(data.draw(places), dtype=np.int32) for _ in "ab")
    weights = weighted_indicators(rows).matrix
    binary = (weights > 0).astype(np.float32)
    pairs = [(rows[a], rows[b]) for a, b in zip(left, right, strict=True)]
    shared = [max((a[term] for term in a if term in b), default=0.0) for a, b in pairs]
    missing = [max((a[term] for term in a if term not in b), default=0.0) for a, b in pairs]
    assert strongest_shared(weights, binary, left, right).tolist() == shared
    assert strongest_missing(weights, binary, left, right).tolist() == missing


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3), (3, 3)])
def test_a_matrix_of_nothing_has_no_largest(shape: tuple[int, int]) -> None:
    assert row_maxima(sparse.csr_matrix(shape, dtype=np.float32)).tolist() == [0.0] * shape[0]
