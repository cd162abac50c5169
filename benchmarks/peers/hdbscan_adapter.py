"""HDBSCAN (scikit-learn) over the embeddings that Offerline uses too.

Belongs here: its documented defaults, and the cuts of its tree. Not here: any other clustering of embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN

# The tree of one fit, cut anew: fitting again for every epsilon would cost minutes and give the same tree.
from sklearn.cluster._hdbscan._tree import tree_to_labels

from benchmarks.peers.exchange import Alternatives, serve


@dataclass(frozen=True, slots=True, kw_only=True)
class HdbscanRules:
    """How HDBSCAN is used.

    Attributes:
        min_cluster_size: The documented default is 5; most products have two offers, which it would call noise.
        epsilons: Values of `cluster_selection_epsilon` to choose from; distances of unit vectors.
    """

    min_cluster_size: int = 2
    epsilons: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 25))


class HdbscanAdapter:
    """All else is left as scikit-learn has it: Euclidean distance, excess of mass, `min_samples` as the size."""

    def __init__(self, rules: HdbscanRules | None = None) -> None:
        self._rules = rules or HdbscanRules()
        self._tree: NDArray[Any] | None = None

    def cluster(self, offers: pa.Table) -> Sequence[int]:
        """Fit, and give every offer that is noise a cluster of its own."""
        flat = offers.column("embedding").combine_chunks().flatten().to_numpy()
        model = HDBSCAN(min_cluster_size=self._rules.min_cluster_size, copy=True)
        model.fit(flat.reshape(offers.num_rows, -1).astype(np.float64))
        self._tree = model._single_linkage_tree_
        return alone_if_noise(model.labels_)

    def alternatives(self) -> Alternatives:
        """The clusters for every epsilon."""
        if self._tree is None:
            return Alternatives()
        size = self._rules.min_cluster_size
        return Alternatives(
            labels={
                epsilon: alone_if_noise(
                    tree_to_labels(self._tree, min_cluster_size=size, cluster_selection_epsilon=epsilon)[0]
                )
                for epsilon in self._rules.epsilons
            }
        )


def alone_if_noise(labels: NDArray[np.int64]) -> list[int]:
    """Replace the label -1, which means noise, by labels that occur once."""
    own = labels.max(initial=-1) + 1 + np.arange(len(labels))
    return [int(label) for label in np.where(labels < 0, own, labels)]


if __name__ == "__main__":
    serve(HdbscanAdapter())
