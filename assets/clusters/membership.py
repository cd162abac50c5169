"""Which cluster the offers of a pair are in, and what else tables say of them.

Belongs here: looking products up by id, for those who read the stage's tables. Not here: what follows from it.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: What a judge's word makes of a probability.
DECIDED: Final = {"yes": 1.0, "no": 0.0}


def looked_up(ids: pa.ChunkedArray, table: pa.Table, column: str) -> pa.ChunkedArray:
    """Return the value of `column` for every product id; `table` has one row per `product_id`."""
    places = pc.index_in(ids, value_set=table.column("product_id").combine_chunks())
    return table.column(column).take(places)


def cluster_names(clusters: pa.Table) -> pa.Array:
    """Return the distinct cluster ids, ascending: the numbering of `homes`."""
    return pa.array(sorted(pc.unique(clusters.column("cluster_id")).to_pylist()), pa.string())


def places(values: pa.ChunkedArray, known: pa.Array) -> NDArray[np.int64]:
    """Return where each value is among the `known` ones, which hold all of them, shape (values,)."""
    found = pc.index_in(values, value_set=known).combine_chunks()
    numbers: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def homes(ids: pa.ChunkedArray, clusters: pa.Table, names: pa.Array) -> NDArray[np.int64]:
    """Return the cluster of every product id as its place in `names`, shape (ids,)."""
    return places(looked_up(ids, clusters, "cluster_id"), names)


def standing(scored: pa.Table) -> NDArray[np.float64]:
    """Return the probability of every pair as the clustering took it: 1 or 0 where a judge decided, shape (pairs,).

    Args:
        scored: Columns `probability` and `judgement`.
    """
    said = pc.index_in(scored.column("judgement"), value_set=pa.array(list(DECIDED), pa.string()))
    chance = pa.array(list(DECIDED.values()), pa.float64()).take(said.combine_chunks())
    taken: NDArray[np.float64] = pc.coalesce(chance, scored.column("probability")).to_numpy()
    return taken
