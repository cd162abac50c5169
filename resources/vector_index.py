"""What the vector indexes share: their errors, and the checks on what they are given.

Belongs here: whatever holds for every adapter. Not here: an adapter (see `pgvector_index`, `qdrant_embedded`,
`qdrant_server`), or how a product becomes a Qdrant point (see `qdrant_points`).
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from assets.embeddings.ports import HalfVectors, IndexedProduct
from assets.embeddings.schema import DIMENSIONS
from assets.failures import PermanentFailure, RateLimited, TransientFailure


class IndexUnavailable(TransientFailure):
    """The index cannot be reached or is taken just now; the message says which and what to do."""


class IndexBusy(IndexUnavailable, RateLimited):
    """The index's server asks us to wait."""


class IndexRejected(PermanentFailure):
    """The index cannot be read, or refuses a request as it is; the message says which and what to do."""


def require_rows(products: Sequence[IndexedProduct], vectors: HalfVectors) -> None:
    """Check that every product comes once and with one half-precision vector of the right width.

    Raises:
        ValueError: they do not belong together; nothing must be written then.
    """
    if vectors.shape != (len(products), DIMENSIONS) or vectors.dtype != np.float16:
        raise ValueError(
            f"expected vectors of shape ({len(products)}, {DIMENSIONS}) in float16, "
            f"got {vectors.shape} in {vectors.dtype}"
        )
    repeated = [key for key, count in Counter(p.product_id for p in products).items() if count > 1]
    if repeated:
        raise ValueError(f"product ids come more than once in one call: {repeated[:3]}")


def as_similarity(value: float) -> float:
    """Bring a cosine computed from rounded vectors back into [-1, 1]."""
    return min(1.0, max(-1.0, value))
