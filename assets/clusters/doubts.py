"""Where a clustering is least sure: the joins it nearly did not make, and those it nearly made.

Belongs here: choosing pairs worth a person's look. Not here: scoring, resolving.

A clustering decides about groups, not pairs: two offers that are unlike may share a cluster whose other pairs are sure,
and an unlikely pair alone is no doubt. A doubtful join is an offer that the rest of its cluster is not sure of; a near
miss is two clusters between which the pairs are likely, though not likely enough. Each is shown by its best pair: what
spoke for it most.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.clusters.membership import cluster_names, homes, looked_up, places, standing
from assets.clusters.resolution import CONTRADICTION


@dataclass(frozen=True, slots=True)
class Doubts:
    """Pairs with their titles, columns `left_id, right_id, left_title, right_title, probability, linkage, veto`.

    Attributes:
        joins: Of every cluster, the offer that its others are least sure of, with the one most like it; `linkage` is
            the mean probability of its pairs in the cluster, or what a judge said of them. Least sure first.
        misses: Of two clusters, the offers most alike; `linkage` is the mean over all pairs between the clusters,
            contradictions counted against; where a judge decided, what it said. Nearest first.
    """

    joins: pa.Table
    misses: pa.Table


def find_doubts(scored: pa.Table, clusters: pa.Table, products: pa.Table, rows: int = 20) -> Doubts:
    """Return at most `rows` of the least certain joins and as many of the nearest misses.

    Args:
        scored: `SCORED_PAIRS`.
        clusters: Columns `product_id` and `cluster_id`.
        products: Columns `product_id` and `title` of the same products.
        rows: Most pairs of each kind.
    """
    columns = scored.select(["left_id", "right_id", "probability", "veto", "judgement"])
    pairs = columns.sort_by([("left_id", "ascending"), ("right_id", "ascending")])
    names = cluster_names(clusters)
    ids = clusters.column("product_id").take(pc.sort_indices(clusters.column("product_id"))).combine_chunks()
    left, right = (places(pairs.column(side), ids) for side in ("left_id", "right_id"))
    home = homes(pa.chunked_array([ids]), clusters, names)
    size = np.bincount(home, minlength=len(names))
    joins = _joins(pairs, left, right, home, size)
    misses = _misses(pairs, home[left], home[right], size)
    return Doubts(*(_titled(pairs, *found, products, rows) for found in (joins, misses)))


Places = NDArray[np.int64]
#: Rows of the pairs, and the linkage of what each stands for; both sorted by how doubtful it is.
Found = tuple[Places, NDArray[np.float64]]


def _joins(pairs: pa.Table, left: Places, right: Places, home: Places, size: Places) -> Found:
    """The weakest member of every cluster, by its best pair; `left` and `right` are members, as places in `home`."""
    inside = np.flatnonzero(home[left] == home[right])
    pair, member = np.concatenate([inside, inside]), np.concatenate([left[inside], right[inside]])
    probability = standing(pairs)[pair]
    received = np.bincount(member, weights=probability, minlength=len(home))
    linkage = received / np.maximum(size[home] - 1, 1)
    best = _first_of(member, np.lexsort((pair, -probability)), len(home))
    # A member without a candidate in its cluster has no pair to show.
    paired = np.flatnonzero(best >= 0)
    weakest = _first_of(home[paired], np.lexsort((paired, linkage[paired])), len(size))
    weakest = paired[weakest[weakest >= 0]]
    order = weakest[np.lexsort((pair[best[weakest]], linkage[weakest]))]
    return pair[best[order]], linkage[order]


def _misses(pairs: pa.Table, left: Places, right: Places, size: Places) -> Found:
    """Every two clusters with a pair between them, by their best pair; `left` and `right` are clusters."""
    between = np.flatnonzero(left != right)
    low, high = np.minimum(left, right)[between], np.maximum(left, right)[between]
    couples, couple = np.unique(low * len(size) + high, return_inverse=True)
    probability = standing(pairs)[between]
    denied = pc.fill_null(pc.equal(pairs.column("judgement"), "no"), fill_value=False)
    opposed = pc.or_(pairs.column("veto").is_valid(), denied).to_numpy()[between]
    weight = np.bincount(couple, weights=np.where(opposed, CONTRADICTION, probability), minlength=len(couples))
    best = between[_first_of(couple, np.lexsort((between, -probability)), len(couples))]
    linkage = weight / (size[left[best]] * size[right[best]])
    order = np.lexsort((best, -linkage))
    return best[order], linkage[order]


def _first_of(group: Places, order: Places, groups: int) -> Places:
    """The place that comes first in `order` of every group, -1 for an empty one; shape (groups,)."""
    first = np.full(groups, -1, dtype=np.int64)
    first[group[order[::-1]]] = order[::-1]
    return first


def _titled(pairs: pa.Table, chosen: Places, linkage: NDArray[np.float64], products: pa.Table, rows: int) -> pa.Table:
    shown = pairs.take(pa.array(chosen[:rows]))
    titles = {side: looked_up(shown.column(f"{side}_id"), products, "title") for side in ("left", "right")}
    return pa.table(
        {
            "left_id": shown.column("left_id"),
            "right_id": shown.column("right_id"),
            "left_title": titles["left"],
            "right_title": titles["right"],
            "probability": shown.column("probability"),
            "linkage": linkage[:rows],
            "veto": shown.column("veto"),
        }
    )
