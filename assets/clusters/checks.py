"""The checks of the clusters stage; those that protect the next stage are blocking.

Belongs here: laws of this stage as Dagster checks. Not here: the derivation of expectations from a contract.
"""

from collections.abc import Sequence

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.catalogue import Catalogue
from assets.clusters.applying import compare_members, stored_members
from assets.clusters.cohesion import CohesionRules, alarming, find_bridge, measure_cohesion
from assets.clusters.identity import find_events, gather
from assets.clusters.schema import CANDIDATE_PAIRS, CLUSTER_EVENTS, MATCH_MODEL, PRODUCT_CLUSTERS, SCORED_PAIRS
from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from assets.presentation import asset_key, markdown_table
from assets.products.schema import CURRENT_PRODUCTS
from assets.quality_gate import agreement_result, contract_check

COHESION = CohesionRules()
#: Clusters that one run may merge into others, as a share of all and at least. Doubling a catalogue merged 1.1% at
#: most on every folder of real offers; weights whose intercept slipped by 5 merge 6 to 30%.
MOST_MERGED = 0.03
FEW_MERGED = 10
#: Of the clusters that a check complains of, this many are shown.
SHOWN = 10


@dg.asset_check(
    asset=asset_key(PRODUCT_CLUSTERS),
    name="every_product_in_one_cluster",
    blocking=True,
    additional_ins={"embeddings": dg.AssetIn(key=asset_key(PRODUCT_EMBEDDINGS))},
    description="The clusters are a partition: every current product is in exactly one, of the size it states.",
)
def every_product_in_one_cluster(clusters: pa.Table, embeddings: pa.Table) -> dg.AssetCheckResult:
    """Compare the products that were clustered with those that were embedded, and the sizes with the members."""
    wanted = sorted(embeddings.column("product_id").to_pylist())
    found = sorted(clusters.column("product_id").to_pylist())
    sizes = clusters.group_by("cluster_id").aggregate([("product_id", "count"), ("cluster_size", "min_max")])
    smallest, largest = (pc.struct_field(sizes.column("cluster_size_min_max"), end) for end in ("min", "max"))
    members = sizes.column("product_id_count")
    differs = pc.or_(pc.not_equal(smallest, members), pc.not_equal(largest, members))
    wrong = int(pc.sum(differs).as_py() or 0)
    return dg.AssetCheckResult(
        passed=wanted == found and wrong == 0,
        description=f"{len(wanted)} products, {len(found)} memberships, {wrong} clusters of another size than stated.",
    )


@dg.asset_check(
    asset=asset_key(PRODUCT_CLUSTERS),
    name="no_giant_cluster",
    blocking=True,
    additional_ins={
        "scored": dg.AssetIn(key=asset_key(SCORED_PAIRS)),
        "products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS)),
    },
    description="Every cluster holds together: the pairs of its offers, those never proposed included, are likely by "
    f"{COHESION.loosest:.0%} on average, and no cluster has over {COHESION.most_offers} offers. Else an offer that "
    "reads like two products has bridged them, or the threshold has slipped.",
)
def no_giant_cluster(clusters: pa.Table, scored: pa.Table, products: pa.Table) -> dg.AssetCheckResult:
    """Measure every cluster, and show those that are loose or too large with the offer that seems to bridge them."""
    cohesion = measure_cohesion(clusters, scored)
    sellers = products.group_by(["source", "seller"]).aggregate([]).num_rows
    wrong = alarming(cohesion, sellers, COHESION)
    shown = wrong.sort_by([("offers", "descending"), ("cluster_id", "ascending")]).slice(0, SHOWN).to_pylist()
    bridges = [find_bridge(row["cluster_id"], clusters, scored) for row in shown]
    title_of = _titles(products, [product for bridge in bridges for product in bridge])
    rows = []
    for row, bridge in zip(shown, bridges, strict=True):
        titles = [title_of.get(product, product) for product in bridge]
        rows.append((row["cluster_id"], row["offers"], row["cohesion"], *titles, *[""] * (3 - len(titles))))
    worst = f"; the largest, {rows[0][0]}, has {rows[0][1]} offers likely by {rows[0][2]:.1%}" if rows else ""
    several = cohesion.num_rows > 0
    return dg.AssetCheckResult(
        passed=not rows,
        description=f"{wrong.num_rows} of {cohesion.num_rows} clusters of several offers do not hold together{worst}.",
        metadata={
            "largest cluster": pc.max(cohesion.column("offers")).as_py() if several else min(clusters.num_rows, 1),
            "loosest cluster": pc.min(cohesion.column("cohesion")).as_py() if several else 1.0,
            "clusters": markdown_table(("cluster", "offers", "cohesion", "bridge", "connects", "with"), rows),
        },
    )


@dg.asset_check(
    asset=asset_key(PRODUCT_CLUSTERS),
    name="few_clusters_merged",
    blocking=True,  # It only warns; but it has to look before the catalogue is brought up to date.
    additional_ins={"products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS))},
    description=f"At most {MOST_MERGED:.0%} of the catalogue's clusters were merged into others since last time. More "
    "offers merge few; another model, threshold or rule may merge many, and only a person can tell whether it should.",
)
def few_clusters_merged(
    clusters: pa.Table, products: pa.Table, catalogue: dg.ResourceParam[Catalogue]
) -> dg.AssetCheckResult:
    """Compare the clustering with the one that the catalogue still holds."""
    before = gather(stored_members(catalogue))
    ids, names = (clusters.column(name).to_pylist() for name in ("product_id", "cluster_id"))
    after = gather(dict(zip(ids, names, strict=True)))
    events = find_events(before, {str(name): members for name, members in after.items()})
    merged = [event for event in events if event.kind == "merged"]
    limit = max(FEW_MERGED, int(MOST_MERGED * len(before)))
    met_in = []
    for event in sorted(merged, key=lambda event: (-len(event.members_before), event.cluster_id))[:SHOWN]:
        (into,) = event.successors
        before_it = set(event.members_before)
        # Whoever it met may have left meanwhile.
        moved, met = min(after[into] & before_it, default=""), min(after[into] - before_it, default="")
        met_in.append((event.cluster_id, into, moved, met))
    title_of = _titles(products, [product for *_, moved, met in met_in for product in (moved, met)])
    rows = [(*named, title_of.get(moved, moved), title_of.get(met, met)) for *named, moved, met in met_in]
    return dg.AssetCheckResult(
        passed=len(merged) <= limit,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(merged)} of {len(before)} clusters were merged into others; the limit is {limit}.",
        metadata={"merged": len(merged), "largest": markdown_table(("cluster", "into", "offer", "meets"), rows)},
    )


def _titles(products: pa.Table, wanted: Sequence[str]) -> dict[str, str]:
    shown = products.filter(pc.is_in(products.column("product_id"), value_set=pa.array(wanted, pa.string())))
    return dict(zip(*(shown.column(name).to_pylist() for name in ("product_id", "title")), strict=True))


@dg.asset_check(
    asset=asset_key(SCORED_PAIRS),
    name="every_candidate_is_scored",
    blocking=True,
    additional_ins={"candidates": dg.AssetIn(key=asset_key(CANDIDATE_PAIRS))},
    description="Every candidate pair has a score, and nothing else has one; a vetoed pair has probability 0.",
)
def every_candidate_is_scored(scored: pa.Table, candidates: pa.Table) -> dg.AssetCheckResult:
    """Compare the pairs, and the probabilities of the vetoed ones."""
    sides = ["left_id", "right_id"]
    order = [(side, "ascending") for side in sides]
    wanted, found = candidates.select(sides), scored.select(sides)
    # The matcher writes both in one order; to sort millions of pairs takes longer than all else.
    are_the_same = found.equals(wanted) or found.sort_by(order).equals(wanted.sort_by(order))
    vetoed = scored.filter(scored.column("veto").is_valid())
    leaking = int(pc.sum(pc.greater(vetoed.column("probability"), 0)).as_py() or 0)
    return dg.AssetCheckResult(
        passed=are_the_same and leaking == 0,
        description=f"{wanted.num_rows} candidates, {found.num_rows} scores"
        f"{'' if are_the_same else ', not of the same pairs'}; {leaking} vetoed pairs above 0.",
    )


@dg.asset_check(
    asset=asset_key(CLUSTER_EVENTS),
    name="catalogue_holds_the_clusters",
    blocking=True,
    additional_ins={"clusters": dg.AssetIn(key=asset_key(PRODUCT_CLUSTERS))},
    description="Law 5: PostgreSQL holds the very clusters of the artifact.",
)
def catalogue_holds_the_clusters(
    events: pa.Table, clusters: pa.Table, catalogue: dg.ResourceParam[Catalogue]
) -> dg.AssetCheckResult:
    """Compare the stored memberships with the artifact."""
    del events  # the check runs once they are stored
    return agreement_result(compare_members(catalogue, clusters))


CHECKS = (
    contract_check(CANDIDATE_PAIRS),
    contract_check(MATCH_MODEL),
    contract_check(SCORED_PAIRS),
    contract_check(PRODUCT_CLUSTERS),
    contract_check(CLUSTER_EVENTS),
    every_product_in_one_cluster,
    no_giant_cluster,
    few_clusters_merged,
    every_candidate_is_scored,
    catalogue_holds_the_clusters,
)
