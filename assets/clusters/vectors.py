"""The vectors of products, row by row.

Belongs here: aligning two tables. Not here: making vectors.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.embeddings.schema import DIMENSIONS


def aligned_vectors(products: pa.Table, embeddings: pa.Table) -> NDArray[np.float16]:
    """Return the vector of each product, shape (len(products), dimensions).

    Args:
        products: Column `product_id`.
        embeddings: `PRODUCT_EMBEDDINGS`, holding at least these products.

    Raises:
        ValueError: a product has no vector.
    """
    ids = embeddings.column("product_id").combine_chunks()
    places = pc.index_in(products.column("product_id"), value_set=ids)
    if places.null_count:
        missing = products.column("product_id").filter(places.is_null())[0]
        raise ValueError(f"{places.null_count} products have no vector, such as {missing}: embed the catalogue first")
    flat = embeddings.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix: NDArray[np.float16] = flat.astype(np.float16, copy=False).reshape(-1, DIMENSIONS)
    aligned: NDArray[np.float16] = matrix[places.to_numpy()]
    return aligned
