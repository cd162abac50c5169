"""The searches that propose pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from assets.clusters.candidates import CHANNELS, sparse_neighbours, unite, vector_neighbours
from assets.clusters.matrices import rank_within, unit_rows
from assets.clusters.rules import CandidateRules


def unit_vectors(rows: int, seed: int = 7) -> np.ndarray:
    """Pairs of rows (0, 1), (2, 3), ... that are nearly the same, among random others."""
    dice = np.random.default_rng(seed)
    found = np.repeat(dice.normal(size=(rows // 2, 32)), 2, axis=0) + 0.05 * dice.normal(size=(rows, 32))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("exact_vectors", [10_000, 0], ids=["all against all", "by cells"])
def test_near_vectors_find_each_other(exact_vectors: int) -> None:
    vectors, group = unit_vectors(400), np.arange(400, dtype=np.int32)
    rows, columns = vector_neighbours(vectors, group, 2, CandidateRules(exact_vectors=exact_vectors, block=64))
    found = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert sum((row, row + 1) in found for row in range(0, 400, 2)) >= 195
    assert all(row != column for row, column in found)


def test_vectors_of_one_group_do_not_meet() -> None:
    vectors, group = unit_vectors(40), np.repeat(np.arange(20, dtype=np.int32), 2)
    rows, columns = vector_neighbours(vectors, group, 3, CandidateRules())
    assert len(rows)
    assert not (group[rows] == group[columns]).any()


def test_a_frequent_term_does_not_search_but_ranks() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=np.float32))
    alone = np.arange(5, dtype=np.int32)
    rows, columns = sparse_neighbours(unit_rows(matrix), alone, 3, most=2, terms=2, rules=CandidateRules())
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_a_pair_found_twice_is_one_candidate_with_both_channels() -> None:
    one, other = np.array([1, 0], np.int32), np.array([0, 2], np.int32)
    found = unite({"words": (one, other), "codes": (other[:1], one[:1])}, 3)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == [(0, 1), (0, 2)]
    names = [{c for bit, c in enumerate(CHANNELS) if mask >> bit & 1} for mask in found.channels]
    assert names == [{"words", "codes"}, {"words"}]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5))))
def test_ranks_count_the_larger_and_the_earlier_equal(rows: list[tuple[int, int]]) -> None:
    groups = np.array([group for group, _ in rows], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.float64)
    expected = [
        sum(g == group and (v > value or (v == value and j < i)) for j, (g, v) in enumerate(rows))
        for i, (group, value) in enumerate(rows)
    ]
    assert rank_within(groups, values).tolist() == expected
