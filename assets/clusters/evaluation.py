"""How good a clustering is, where the truth is known.

Belongs here: measures over two partitions, from contingency counts, never by listing all pairs. Not here: reading a
truth file.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]


def pairs_in(counts: NDArray[np.int64]) -> int:
    """Number of unordered pairs within groups of these sizes."""
    return int(np.sum(counts * (counts - 1) // 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Agreement of a clustering with the truth, pairwise and B-cubed (Bagga and Baldwin, 1998), each in 0..1.

    Pairwise precision of a clustering without any pair is 1, as is recall where the truth has none.
    """

    precision: float
    recall: float
    bcubed_precision: float
    bcubed_recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of pairwise precision and recall."""
        return harmonic(self.precision, self.recall)

    @property
    def bcubed_f1(self) -> float:
        """Harmonic mean of B-cubed precision and recall."""
        return harmonic(self.bcubed_precision, self.bcubed_recall)


def harmonic(precision: float, recall: float) -> float:
    """Harmonic mean, 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def evaluate(predicted: Labels, truth: Labels) -> Quality:
    """Compare two partitions of the same products, both of shape (n,).

    Raises:
        ValueError: the two do not have the same length.
    """
    if len(predicted) != len(truth):
        raise ValueError(f"{len(predicted)} predicted labels, {len(truth)} true ones: expected as many")
    cluster, size = np.unique(predicted, return_inverse=True, return_counts=True)[1:]
    product, actual = np.unique(truth, return_inverse=True, return_counts=True)[1:]
    cell, both = np.unique(
        cluster.astype(np.int64) * max(len(actual), 1) + product, return_inverse=True, return_counts=True
    )[1:]
    common, proposed, true = pairs_in(both), pairs_in(size), pairs_in(actual)
    total = max(len(truth), 1)
    return Quality(
        precision=common / proposed if proposed else 1.0,
        recall=common / true if true else 1.0,
        bcubed_precision=float(np.sum(both[cell] / size[cluster]) / total),
        bcubed_recall=float(np.sum(both[cell] / actual[product]) / total),
    )


def candidate_recall(left: NDArray[np.int32], right: NDArray[np.int32], truth: Labels) -> float:
    """Share of all true pairs that are among the candidate pairs; 1 where there is none."""
    true = pairs_in(np.unique(truth, return_counts=True)[1])
    return float(np.sum(truth[left] == truth[right]) / true) if true else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """What became of pairs that were given one probability, by bins of equal width; all of the same length.

    Attributes:
        predicted: Mean probability of the pairs of each bin.
        observed: Share of them that are one product.
        pairs: How many there are.
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    pairs: tuple[int, ...]

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini, Cooper and Hauskrecht, 2015): mean gap, weighted by pairs."""
        gaps = np.abs(np.array(self.predicted) - np.array(self.observed))
        return float(np.average(gaps, weights=self.pairs)) if self.pairs else 0.0


def measure_reliability(
    probability: NDArray[np.float64], same: NDArray[np.bool_], bins: int = 10, least: float = 0.05
) -> Reliability:
    """Compare probabilities with the truth, both of shape (pairs,); bins without a pair are left out.

    Pairs below `least` are left out: nearly all candidates are there, rightly, and would drown the error of the rest.
    """
    counted = probability >= least
    chance, true = probability[counted], same[counted]
    bin_of = np.minimum((chance * bins).astype(np.int64), bins - 1)
    pairs = np.bincount(bin_of, minlength=bins)
    filled = np.flatnonzero(pairs)
    predicted, observed = (
        np.bincount(bin_of, weights=values, minlength=bins)[filled] / pairs[filled] for values in (chance, true)
    )
    return Reliability(
        predicted=tuple(predicted.tolist()), observed=tuple(observed.tolist()), pairs=tuple(pairs[filled].tolist())
    )
