"""Scoring a peer's clusters, and finding the setting at which they are best.

Belongs here: the truth meeting a peer's answer, after its process has ended. Not here: the measures themselves
(`assets.clusters.evaluation`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from assets.clusters.evaluation import Quality, evaluate
from benchmarks.peers.exchange import Alternatives, ScoredPairs

Labels = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRules:
    """How finely thresholds are tried: this many, at ranks of the pairs that grow by a constant factor."""

    steps: int = 200


class Judge:
    """Compares labels of offers with the truth, over all offers the truth knows, as `benchmarks.matching` does."""

    def __init__(self, ids: Sequence[str], truth: Mapping[str, str]) -> None:
        row_of = {offer: row for row, offer in enumerate(ids)}
        number_of = {product: number for number, product in enumerate(dict.fromkeys(truth.values()))}
        self._count = len(ids)
        self._rows = np.array([row_of.get(offer, -1) for offer in truth], dtype=np.int64)
        self._actual = np.array([number_of[product] for product in truth.values()], dtype=np.int64)

    def quality(self, labels: Labels) -> Quality:
        """The quality of one label per offer; an offer that did not become a product is alone in its cluster."""
        clusters = np.unique(np.asarray(labels, dtype=np.int64), return_inverse=True)[1]
        alone = self._count + np.arange(len(self._rows))
        return evaluate(np.where(self._rows < 0, alone, clusters[self._rows]), self._actual)

    def best(self, alternatives: Alternatives, rules: SweepRules | None = None) -> tuple[float, Quality] | None:
        """The setting with the best F1, and its quality. The truth chooses: no user without labels can do so."""
        tried = ((setting, self.quality(labels)) for setting, labels in self._settings(alternatives, rules))
        return max(tried, key=lambda found: found[1].f1, default=None)

    def _settings(self, alternatives: Alternatives, rules: SweepRules | None) -> Iterator[tuple[float, Labels]]:
        yield from alternatives.labels.items()
        if alternatives.pairs is not None:
            for threshold in thresholds(alternatives.pairs, rules or SweepRules()):
                yield threshold, clusters_at(alternatives.pairs, threshold, self._count)


def thresholds(pairs: ScoredPairs, rules: SweepRules) -> list[float]:
    """Thresholds to try, rising: fine where few pairs pass, as one more or less matters there."""
    score = np.sort(np.asarray(pairs.score, dtype=np.float64))[::-1]
    if not len(score):
        return []
    ranks = np.unique(np.geomspace(1, len(score), rules.steps).astype(np.int64)) - 1
    return [float(value) for value in np.unique(score[ranks])]


def clusters_at(pairs: ScoredPairs, threshold: float, count: int) -> NDArray[np.int32]:
    """Labels, shape (count,), of the connected components of all pairs at or above a threshold."""
    kept = np.asarray(pairs.score) >= threshold
    left, right = np.asarray(pairs.left, dtype=np.int64)[kept], np.asarray(pairs.right, dtype=np.int64)[kept]
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(count, count))
    labels: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return labels
