"""Measures of a clustering, against a brute-force reading of their definitions."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.clusters.evaluation import candidate_recall, evaluate, measure_reliability

partitions = st.integers(1, 25).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 6), min_size=n, max_size=n) for _ in range(2)))
)


@given(partitions)
def test_measures_equal_their_definitions(labels: tuple[list[int], list[int]]) -> None:
    predicted, truth = labels
    rows = range(len(truth))
    proposed = {(i, j) for i, j in combinations(rows, 2) if predicted[i] == predicted[j]}
    true = {(i, j) for i, j in combinations(rows, 2) if truth[i] == truth[j]}

    def share(i: int, mine: list[int], other: list[int]) -> float:
        together = [j for j in rows if mine[j] == mine[i]]
        return sum(other[j] == other[i] for j in together) / len(together)

    quality = evaluate(np.array(predicted), np.array(truth))

    assert quality.precision == pytest.approx(len(proposed & true) / len(proposed) if proposed else 1)
    assert quality.recall == pytest.approx(len(proposed & true) / len(true) if true else 1)
    assert quality.bcubed_precision == pytest.approx(np.mean([share(i, predicted, truth) for i in rows]))
    assert quality.bcubed_recall == pytest.approx(np.mean([share(i, truth, predicted) for i in rows]))


@given(partitions)
def test_names_of_clusters_do_not_matter(labels: tuple[list[int], list[int]]) -> None:
    predicted, truth = np.array(labels[0]), np.array(labels[1])
    assert evaluate(predicted, truth) == evaluate(-7 * predicted - 3, truth * 1000)


def test_a_perfect_clustering_scores_one_and_singletons_find_nothing() -> None:
    truth = np.array([0, 0, 1, 1, 2])
    assert evaluate(truth, truth).f1 == evaluate(truth, truth).bcubed_f1 == 1
    alone = evaluate(np.arange(5), truth)
    assert (alone.precision, alone.recall, alone.f1) == (1, 0, 0)


def test_labels_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 predicted labels, 3 true ones"):
        evaluate(np.zeros(2, int), np.zeros(3, int))


def test_candidate_recall_counts_true_pairs_that_were_compared() -> None:
    truth = np.array([0, 0, 0, 1])
    left, right = np.array([0, 0], dtype=np.int32), np.array([1, 3], dtype=np.int32)
    assert candidate_recall(left, right, truth) == pytest.approx(1 / 3)
    assert candidate_recall(left[:0], right[:0], np.arange(4)) == 1


@given(st.integers(0, 2**32 - 1))
def test_calibrated_scores_have_no_error_to_speak_of_and_others_theirs(seed: int) -> None:
    dice = np.random.default_rng(seed)
    chance = dice.uniform(0.05, 1, 40_000)
    same = dice.uniform(size=len(chance)) < chance
    assert measure_reliability(chance, same).error < 0.02
    # Whoever says the square of the chance is wrong by c - c * c on average, 0.17 over this range.
    assert measure_reliability(chance**2, same, least=0.0).error == pytest.approx(0.17, abs=0.02)


def test_reliability_counts_pairs_by_bins_and_leaves_the_sure_ones_out() -> None:
    chance = np.array([0.0, 0.04, 0.06, 0.12, 0.18, 1.0])
    found = measure_reliability(chance, np.array([True, True, False, True, False, True]))
    assert found.pairs == (1, 2, 1)
    assert found.predicted == pytest.approx((0.06, 0.15, 1.0))
    assert found.observed == (0.0, 0.5, 1.0)
    assert found.error == pytest.approx((0.06 + 2 * 0.35 + 0) / 4)
    assert measure_reliability(chance[:0], np.zeros(0, dtype=bool)).error == 0.0
