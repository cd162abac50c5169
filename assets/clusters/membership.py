"""Which cluster the offers of a pair are in, and what else tables say of them.

Belongs here: looking products up by id, for those who read the stage's tables. Not here: what follows from it.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def looked_up(ids: pa.ChunkedArray, table: pa.Table, column: str) -> pa.ChunkedArray:
    """Return the value of `column` for every product id; `table` has one row per `product_id`."""
    places = pc.index_in(ids, value_set=table.column("product_id").combine_chunks())
    return table.column(column).take(places)


def cluster_names(clusters: pa.Table) -> pa.Array:
    """Return the distinct cluster ids, ascending: the numbering of `homes`."""
    return pa.array(sorted(pc.unique(clusters.column("cluster_id")).to_pylist()), pa.string())


def homes(ids: pa.ChunkedArray, clusters: pa.Table, names: pa.Array) -> NDArray[np.int64]:
    """Return the cluster of every product id as its place in `names`, shape (ids,)."""
    places = pc.index_in(looked_up(ids, clusters, "cluster_id"), value_set=names)
    numbers: NDArray[np.int64] = places.combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
