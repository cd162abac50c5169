"""The searches that propose pairs, and how their lists follow a change."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from assets.clusters.candidates import CHANNELS, unite
from assets.clusters.matrices import rank_within, unit_rows
from assets.clusters.neighbours import Neighbours, Search, SparseSearch, VectorSearch, follow, search_for
from assets.clusters.statistics import pick_centres


def everybody(search: Search) -> np.ndarray:
    return np.arange(len(search), dtype=np.int32)


def unit_vectors(rows: int, seed: int = 7) -> np.ndarray:
    """Pairs of rows (0, 1), (2, 3), ... that are nearly the same, among random others."""
    dice = np.random.default_rng(seed)
    found = np.repeat(dice.normal(size=(rows // 2, 32)), 2, axis=0) + 0.05 * dice.normal(size=(rows, 32))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("exact_vectors", [10_000, 0], ids=["all against all", "by cells"])
def test_near_vectors_find_each_other(exact_vectors: int) -> None:
    vectors, group = unit_vectors(400), np.arange(400, dtype=np.int32)
    search = VectorSearch.over(vectors, pick_centres(vectors, exact_vectors), group, cells=3, block=64)
    rows, columns = search_for(search, everybody(search), 2).nearest(2)
    found = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert sum((row, row + 1) in found for row in range(0, 400, 2)) >= 195
    assert all(row != column for row, column in found)


def test_vectors_of_one_group_do_not_meet() -> None:
    vectors, group = unit_vectors(40), np.repeat(np.arange(20, dtype=np.int32), 2)
    search = VectorSearch.over(vectors, pick_centres(vectors, 1000), group, cells=3, block=1024)
    rows, columns = search_for(search, everybody(search), 3).nearest(3)
    assert len(rows)
    assert not (group[rows] == group[columns]).any()


def test_a_frequent_term_does_not_search() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=np.float32))
    rare = np.array([False, True, True])
    search = SparseSearch.over(unit_rows(matrix), rare, 2, np.arange(5, dtype=np.int32), 0.08, 1024)
    rows, columns = search_for(search, everybody(search), 3).nearest(3)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_who_does_not_search_is_found_all_the_same() -> None:
    matrix = unit_rows(sparse.csr_matrix(np.ones((3, 1), dtype=np.float32)))
    searchers = np.array([True, False, False])
    search = SparseSearch.over(matrix, np.array([True]), 2, np.arange(3, dtype=np.int32), 0.08, 1024, searchers)
    rows, columns = search_for(search, everybody(search), 3).nearest(3)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (0, 2)]


def sparse_search(world: np.ndarray, group: np.ndarray) -> Search:
    """Rows by a few of twelve terms."""
    return SparseSearch.over(
        unit_rows(sparse.csr_matrix(world)), np.ones(world.shape[1], dtype=bool), 3, group, 0.08, block=7
    )


def vector_search(world: np.ndarray, group: np.ndarray) -> Search:
    """The same as vectors, all against all."""
    return VectorSearch.over(world.astype(np.float16), np.empty((0, 0), np.float16), group, cells=2, block=7)


def cell_search(world: np.ndarray, group: np.ndarray) -> Search:
    """The same as vectors, around four corners."""
    return VectorSearch.over(world.astype(np.float16), np.eye(12)[:4].astype(np.float16), group, cells=2, block=7)


@pytest.mark.parametrize("make", [sparse_search, vector_search, cell_search])
@given(seed=st.integers(0, 2**32 - 1), slack=st.integers(0, 3), steps=st.integers(1, 4))
def test_lists_that_follow_are_those_of_a_new_search(
    make: Callable[[np.ndarray, np.ndarray], Search], seed: int, slack: int, steps: int
) -> None:
    """Whoever comes, leaves or changes, with ties, duplicates and groups: the first of every list are the same."""
    dice, limit = np.random.default_rng(seed), 3
    world = dice.integers(0, 3, size=(24, 12)).astype(np.float32)
    group = dice.integers(0, 20, size=24).astype(np.int32)
    here = dice.random(24) < 0.7
    search = make(world[here], group[here])
    lists = search_for(search, everybody(search), limit + slack)
    for _ in range(steps):
        before, former = here, world
        here, changes = dice.random(24) < 0.7, dice.random(24) < 0.2
        world = np.where(changes[:, None], dice.integers(0, 3, size=world.shape), former).astype(np.float32)
        place = np.where(here, np.cumsum(here) - 1, -1)[before].astype(np.int32)
        moved = (~before | changes)[here]
        search = make(world[here], group[here])
        lists = follow(lists, search, place, moved, limit=limit, slack=slack)
        fresh = search_for(search, everybody(search), limit)
        assert same(lists, fresh, limit)


def same(one: Neighbours, other: Neighbours, limit: int) -> bool:
    """Whether the first of all lists are the same."""
    return all(np.array_equal(a, b) for a, b in zip(one.nearest(limit), other.nearest(limit), strict=True))


def test_a_pair_found_twice_is_one_candidate_with_both_channels() -> None:
    one, other = np.array([1, 0], np.int32), np.array([0, 2], np.int32)
    found = unite({"words": (one, other), "codes": (other[:1], one[:1])}, 3)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == [(0, 1), (0, 2)]
    names = [{c for bit, c in enumerate(CHANNELS) if mask >> bit & 1} for mask in found.channels]
    assert names == [{"words", "codes"}, {"words"}]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3).map(lambda third: third / 3))))
def test_ranks_count_the_larger_and_the_earlier_equal(rows: list[tuple[int, float]]) -> None:
    groups = np.array([group for group, _ in rows], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.float32)
    expected = [
        sum(g == group and (v > value or (v == value and j < i)) for j, (g, v) in enumerate(rows))
        for i, (group, value) in enumerate(rows)
    ]
    assert rank_within(groups, values).tolist() == expected
