"""Average linkage in rounds: against an independent implementation, and under its constraints."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from assets.clusters.resolution import CONTRADICTION, NEVER, certainty, link, resolve

Arrays = tuple[int, np.ndarray, np.ndarray, np.ndarray]


@st.composite
def graphs(draw: st.DrawFn) -> Arrays:
    """A graph whose probabilities are all different, so that average linkage is unique."""
    size = draw(st.integers(2, 14))
    every = [(i, j) for i in range(size) for j in range(i + 1, size)]
    kept = draw(st.lists(st.sampled_from(every), unique=True, min_size=1))
    dice = np.random.default_rng(draw(st.integers(0, 2**31)))
    left, right = (np.array(side, dtype=np.int32) for side in zip(*sorted(kept), strict=True))
    return size, left, right, dice.uniform(0.01, 1, len(kept))


def run(graph: Arrays, threshold: float = 0.3, groups: np.ndarray | None = None, vetoed: np.ndarray | None = None):
    size, left, right, probability = graph
    return link(
        size,
        left,
        right,
        probability if vetoed is None else np.where(vetoed, NEVER, probability),
        np.arange(size, dtype=np.int32) if groups is None else groups,
        threshold,
    )


def blocks(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


@given(graphs(), st.floats(0.05, 0.9))
@settings(deadline=None)
def test_rounds_give_what_joining_one_at_a_time_gives(graph: Arrays, threshold: float) -> None:
    size, left, right, probability = graph
    distance = np.ones((size, size)) - np.eye(size)
    distance[left, right] = distance[right, left] = 1 - probability
    tree = linkage(squareform(distance), method="average")
    assert blocks(run(graph, threshold)) == blocks(fcluster(tree, 1 - threshold, criterion="distance"))


@given(graphs(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_pairs_does_not_matter(graph: Arrays, dice) -> None:
    size, left, right, probability = graph
    order = list(range(len(left)))
    dice.shuffle(order)
    assert np.array_equal(run(graph), run((size, left[order], right[order], probability[order])))


@given(graphs(), st.data())
@settings(deadline=None)
def test_no_cluster_holds_two_of_a_group_nor_a_vetoed_pair(graph: Arrays, data: st.DataObject) -> None:
    size, left, right, _ = graph
    groups = np.array(data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)), dtype=np.int32)
    vetoed = np.array(data.draw(st.lists(st.booleans(), min_size=len(left), max_size=len(left))), dtype=bool)
    labels = run(graph, 0.05, groups, vetoed)
    assert not (labels[left] == labels[right])[vetoed].any()
    for block in blocks(labels):
        assert len({groups[row] for row in block}) == len(block)


def test_a_bridge_does_not_join_two_groups() -> None:
    groups = [(a, b, 0.9) for part in (range(4), range(4, 8)) for a in part for b in part if a < b]
    left, right, probability = (np.array(c) for c in zip(*groups, (3, 8, 0.8), (4, 8, 0.8), strict=True))
    labels = run((9, left.astype(np.int32), right.astype(np.int32), probability), threshold=0.3)
    assert labels[0] != labels[4]
    assert len(set(labels.tolist())) == 3


def test_a_contradiction_parts_a_pair_and_is_outweighed_by_many_sure_ones() -> None:
    """Two that contradict each other stay apart; one misread title of many does not break a cluster."""
    assert run((2, np.array([0], np.int32), np.array([1], np.int32), np.array([CONTRADICTION])), 0.0).tolist() == [0, 1]
    every = [(a, b, 0.95) for a in range(6) for b in range(a + 1, 6)]
    pairs = [(a, b, CONTRADICTION if (a, b) == (4, 5) else weight) for a, b, weight in every]
    left, right, weight = (np.array(column) for column in zip(*pairs, strict=True))
    assert set(run((6, left.astype(np.int32), right.astype(np.int32), weight)).tolist()) == {0}


def test_clusters_are_numbered_by_their_first_member() -> None:
    labels = run((5, np.array([1], np.int32), np.array([4], np.int32), np.array([0.9])))
    assert labels.tolist() == [0, 1, 2, 3, 1]


def test_nothing_to_join() -> None:
    nothing = np.empty(0, dtype=np.int32)
    assert run((3, nothing, nothing, np.empty(0))).tolist() == [0, 1, 2]
    assert run((0, nothing, nothing, np.empty(0))).tolist() == []


def test_confidence_is_the_mean_over_the_others_and_the_weakest_is_shared() -> None:
    left, right = np.array([0, 0], np.int32), np.array([1, 2], np.int32)
    confidence, weakest = certainty(np.array([0, 0, 0, 1], np.int32), left, right, np.array([0.8, 0.4]))
    assert confidence.tolist() == pytest.approx([0.6, 0.4, 0.2, 1])
    assert weakest.tolist() == pytest.approx([0.2, 0.2, 0.2, 1])


def test_resolve_returns_labels_and_certainty() -> None:
    found = resolve(2, *(np.array([n], np.int32) for n in (0, 1)), np.array([0.7]), np.array([0.7]), np.arange(2), 0.5)
    assert found.labels.tolist() == [0, 0]
    assert found.weakest.tolist() == pytest.approx([0.7, 0.7])
