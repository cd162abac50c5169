"""Pictures of the vectors.

Belongs here: what to draw. Not here: Dagster, models.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assets.embeddings.ports import HalfVectors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Products whose nearest neighbour is looked up for the picture; it need not cost more than a glance is worth.
SAMPLE = 1000


def nearest_similarities(vectors: HalfVectors, sample: int = SAMPLE) -> NDArray[np.float32]:
    """Return the cosine similarity of evenly spread rows to their nearest other row, shape (at most `sample`,)."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, num=min(sample, len(vectors)), dtype=np.intp))
    if len(vectors) < 2:
        return np.empty(0, np.float32)
    full = vectors.astype(np.float32)
    similarities = full[rows] @ full.T
    similarities[np.arange(len(rows)), rows] = -1.0
    nearest: NDArray[np.float32] = similarities.max(axis=1)
    return nearest


def draw_neighbourhood(axes: "Axes", vectors: HalfVectors) -> None:
    """Draw how near the nearest other product is: duplicates gather at the right."""
    axes.hist(nearest_similarities(vectors), bins=np.linspace(0, 1, 41).tolist(), color="#33658a")
    axes.set_xlabel(f"cosine similarity to the nearest other product ({min(SAMPLE, len(vectors)):,} products)")
    axes.set_ylabel("products")
