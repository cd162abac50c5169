"""The checks of the clusters stage; those that protect the next stage are blocking.

Belongs here: laws of this stage as Dagster checks. Not here: the derivation of expectations from a contract.
"""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.catalogue import Catalogue
from assets.clusters.applying import stored_members
from assets.clusters.schema import CANDIDATE_PAIRS, CLUSTER_EVENTS, MATCH_MODEL, PRODUCT_CLUSTERS, SCORED_PAIRS
from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from assets.presentation import asset_key, markdown_table
from assets.quality_gate import contract_check

#: A cluster of more offers than this, or of more than this share of all products, is a sign of a bridge.
LARGEST_CLUSTER = 200
LARGEST_SHARE = 0.05
#: Below this many products a share says nothing.
SHARE_COUNTS_FROM = 500


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
    description=f"No cluster holds over {LARGEST_CLUSTER} offers or over {LARGEST_SHARE:.0%} of the catalogue: "
    "an offer that reads like two products has bridged them.",
)
def no_giant_cluster(clusters: pa.Table) -> dg.AssetCheckResult:
    """Look at the largest clusters."""
    limit = LARGEST_CLUSTER
    if clusters.num_rows >= SHARE_COUNTS_FROM:
        limit = min(limit, int(clusters.num_rows * LARGEST_SHARE))
    sizes = clusters.group_by("cluster_id").aggregate([("product_id", "count")])
    largest = sizes.sort_by([("product_id_count", "descending"), ("cluster_id", "ascending")]).slice(0, 10).to_pylist()
    biggest = largest[0]["product_id_count"] if largest else 0
    return dg.AssetCheckResult(
        passed=biggest <= limit,
        description=f"The largest cluster holds {biggest} offers; the limit is {limit}.",
        metadata={
            "largest cluster": biggest,
            "limit": limit,
            "largest": markdown_table(
                ("cluster", "offers"), [(row["cluster_id"], row["product_id_count"]) for row in largest]
            ),
        },
    )


@dg.asset_check(
    asset=asset_key(SCORED_PAIRS),
    name="every_candidate_is_scored",
    blocking=True,
    additional_ins={"candidates": dg.AssetIn(key=asset_key(CANDIDATE_PAIRS))},
    description="Every candidate pair has a score, and nothing else has one; a vetoed pair has probability 0.",
)
def every_candidate_is_scored(scored: pa.Table, candidates: pa.Table) -> dg.AssetCheckResult:
    """Compare the pairs, and the probabilities of the vetoed ones."""
    sides = ("left_id", "right_id")
    wanted = set(zip(*(candidates.column(side).to_pylist() for side in sides), strict=True))
    found = set(zip(*(scored.column(side).to_pylist() for side in sides), strict=True))
    vetoed = scored.filter(scored.column("veto").is_valid())
    leaking = int(pc.sum(pc.greater(vetoed.column("probability"), 0)).as_py() or 0)
    return dg.AssetCheckResult(
        passed=wanted == found and leaking == 0,
        description=f"{len(wanted)} candidates, {len(found)} scores, {leaking} vetoed pairs above 0.",
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
    stored = stored_members(catalogue)
    ids, labels = (clusters.column(name).to_pylist() for name in ("product_id", "cluster_id"))
    wanted = dict(zip(ids, labels, strict=True))
    differing = sorted(key for key in stored.keys() | wanted.keys() if stored.get(key) != wanted.get(key))
    return dg.AssetCheckResult(
        passed=not differing,
        description=f"{len(differing)} of {len(wanted)} products differ.",
        metadata={"differing": differing[:20], "events": events.num_rows},
    )


CHECKS = (
    contract_check(CANDIDATE_PAIRS),
    contract_check(MATCH_MODEL),
    contract_check(SCORED_PAIRS),
    contract_check(PRODUCT_CLUSTERS),
    contract_check(CLUSTER_EVENTS),
    every_product_in_one_cluster,
    no_giant_cluster,
    every_candidate_is_scored,
    catalogue_holds_the_clusters,
)
