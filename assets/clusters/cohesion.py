"""How tightly clusters hold together, and which are held by a bridge.

Belongs here: measuring finished clusters by the scored pairs, whatever made them. Not here: making clusters, Dagster.

The measure is the mean probability over *all* pairs of a cluster's offers, a pair that was never proposed counting as
0, one that a judge decided as 1 or 0. One offer that reads like two products adds a few likely pairs to a group that
lacks most of them, and an offer has a bounded number of candidates: whatever is held by bridges is loose, and so is
whatever is giant, in a catalogue of thirty offers as in one of a million. Average linkage joins nothing below its
threshold, so that no cluster it made alone can be looser than that; a cluster that is was not made by the rules as they
are meant.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.clusters.matrices import symmetric
from assets.clusters.membership import cluster_names, homes, standing


@dataclass(frozen=True, slots=True, kw_only=True)
class CohesionRules:
    """When a cluster is a sign that something went wrong.

    Attributes:
        loosest: Mean probability of a cluster's pairs below which it does not hold together. On purpose a number of
            its own, somewhat below the threshold of `ResolutionRules`: an alarm that follows a slipped threshold is
            none.
        most_offers: More offers in one cluster are too many, unless more sellers than that offer it.
    """

    loosest: float = 0.15
    most_offers: int = 200


def measure_cohesion(clusters: pa.Table, scored: pa.Table) -> pa.Table:
    """Return `cluster_id, offers, cohesion` of every cluster of two offers or more, loosest first.

    Args:
        clusters: Columns `product_id` and `cluster_id`.
        scored: Columns `left_id, right_id, probability, judgement`.
    """
    names = cluster_names(clusters)
    left, right = (homes(scored.column(side), clusters, names) for side in ("left_id", "right_id"))
    inside = left == right
    probability = standing(scored)
    held = np.bincount(left[inside], weights=probability[inside], minlength=len(names))
    offers = np.bincount(homes(clusters.column("product_id"), clusters, names), minlength=len(names))
    several = np.flatnonzero(offers > 1)
    cohesion = held[several] / (offers[several] * (offers[several] - 1) / 2)
    order = several[np.lexsort((several, -offers[several], cohesion))]
    return pa.table(
        {
            "cluster_id": names.take(pa.array(order)),
            "offers": offers[order],
            "cohesion": np.sort(cohesion),
        }
    )


def alarming(cohesion: pa.Table, sellers: int, rules: CohesionRules) -> pa.Table:
    """Return the clusters that are loose or have too many offers.

    Args:
        cohesion: As `measure_cohesion` returns it.
        sellers: Sellers of the catalogue; each may list a product once.
        rules: The limits.
    """
    loose = pc.less(cohesion.column("cohesion"), rules.loosest)
    crowded = pc.greater(cohesion.column("offers"), max(rules.most_offers, sellers))
    return cohesion.filter(pc.or_(loose, crowded))


def find_bridge(cluster_id: str, clusters: pa.Table, scored: pa.Table) -> list[str]:
    """Return the offer that holds a cluster together, then two that it alone connects; of a cluster of two, both.

    The bridge is the offer with the most probable pairs of neighbours that are themselves not alike.
    """
    members = clusters.filter(pc.equal(clusters.column("cluster_id"), cluster_id)).column("product_id").combine_chunks()
    left, right = (pc.index_in(scored.column(side), value_set=members) for side in ("left_id", "right_id"))
    inside = pc.and_(left.is_valid(), right.is_valid())
    a, b = (side.filter(inside).to_numpy() for side in (left, right))
    probability = standing(scored.filter(inside))
    likeness = symmetric(a, b, probability, len(members))
    likely = np.asarray(likeness.sum(axis=1)).ravel()
    open_pairs = likely**2 - np.asarray(likeness.power(2).sum(axis=1)).ravel()
    open_pairs -= np.asarray((likeness @ likeness).multiply(likeness).sum(axis=1)).ravel()
    bridge = int(np.argmax(open_pairs))
    near = likeness[bridge].toarray().ravel()
    one = int(np.argmax(near))
    apart = near * (1 - likeness[one].toarray().ravel())
    apart[[bridge, one]] = -1.0
    shown = [bridge, one, int(np.argmax(apart))] if len(members) > 2 else [0, 1]
    return [members[place].as_py() for place in shown]
