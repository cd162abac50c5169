"""Where a clustering is least sure: the joins it nearly did not make, and the pairs it nearly joined.

Belongs here: choosing pairs worth a person's look. Not here: scoring, resolving.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Doubts:
    """Pairs with their titles, columns `left_id, right_id, left_title, right_title, probability, veto`.

    Attributes:
        joins: Pairs inside one cluster, least probable first.
        misses: Pairs of two clusters, most probable first.
    """

    joins: pa.Table
    misses: pa.Table


def find_doubts(scored: pa.Table, clusters: pa.Table, products: pa.Table, rows: int = 20) -> Doubts:
    """Return at most `rows` of the least certain joins and as many of the nearest misses.

    Args:
        scored: `SCORED_PAIRS`.
        clusters: `PRODUCT_CLUSTERS`.
        products: Columns `product_id` and `title` of the same products.
        rows: Most pairs of each kind.
    """
    left, right = (_looked_up(scored.column(side), clusters, "cluster_id") for side in ("left_id", "right_id"))
    same = pc.equal(left, right)
    joins = scored.filter(same).sort_by(
        [("probability", "ascending"), ("left_id", "ascending"), ("right_id", "ascending")]
    )
    misses = scored.filter(pc.invert(same)).sort_by(
        [("probability", "descending"), ("left_id", "ascending"), ("right_id", "ascending")]
    )
    return Doubts(_titled(joins.slice(0, rows), products), _titled(misses.slice(0, rows), products))


def _titled(pairs: pa.Table, products: pa.Table) -> pa.Table:
    titles = {side: _looked_up(pairs.column(f"{side}_id"), products, "title") for side in ("left", "right")}
    return pa.table(
        {
            "left_id": pairs.column("left_id"),
            "right_id": pairs.column("right_id"),
            "left_title": titles["left"],
            "right_title": titles["right"],
            "probability": pairs.column("probability"),
            "veto": pairs.column("veto"),
        }
    )


def _looked_up(ids: pa.ChunkedArray, table: pa.Table, column: str) -> pa.ChunkedArray:
    """Return the value of `column` for every product id."""
    places = pc.index_in(ids, value_set=table.column("product_id").combine_chunks())
    return table.column(column).take(places)
