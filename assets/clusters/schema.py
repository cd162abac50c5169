"""The tables of the clusters stage: pairs, scores, clusters and what happened to them.

Belongs here: their columns. Not here: how pairs are found, scored or resolved.
"""

import pyarrow as pa

from assets.contract import Column, TableContract

TEXT = pa.string()
JUDGEMENTS = ("yes", "no", "unsure")
EVENT_KINDS = ("created", "grown", "shrunk", "merged", "split", "dissolved")

CANDIDATE_PAIRS = TableContract(
    stage="clusters",
    name="candidate_pairs",
    description="Pairs of products worth comparing, each with the channels that proposed it.",
    key=("left_id", "right_id"),
    columns=(
        Column(name="left_id", type=TEXT, nullable=False, description="The product whose id sorts first."),
        Column(name="right_id", type=TEXT, nullable=False, description="The product whose id sorts last."),
        Column(name="channels", type=pa.list_(TEXT), nullable=False, description="Which searches proposed the pair."),
    ),
)  # fmt: skip

MATCH_MODEL = TableContract(
    stage="clusters",
    name="match_model",
    description="The model that scored this catalogue: the weight of every feature in the log-odds.",
    key=("feature",),
    columns=(
        Column(name="feature", type=TEXT, nullable=False, description="Name of the feature, or `intercept`."),
        Column(name="weight", type=pa.float64(), nullable=False, description="Change of the log-odds per unit of the feature."),
        Column(name="model_version", type=TEXT, nullable=False, description="Digest of the whole model."),
    ),
)  # fmt: skip

SCORED_PAIRS = TableContract(
    stage="clusters",
    name="scored_pairs",
    description="Candidate pairs with the evidence for and against, and the probability that they are one product.",
    key=("left_id", "right_id"),
    columns=(
        Column(name="left_id", type=TEXT, nullable=False, description="The product whose id sorts first."),
        Column(name="right_id", type=TEXT, nullable=False, description="The product whose id sorts last."),
        Column(name="probability", type=pa.float64(), nullable=False, minimum=0, maximum=1, description="Probability that both are one product."),
        Column(name="log_odds", type=pa.float64(), nullable=False, description="Log-odds of the same, before vetoes."),
        Column(name="veto", type=TEXT, description="Code of the hard conflict that keeps the two apart, where there is one."),
        Column(name="judgement", type=TEXT, values=JUDGEMENTS, description="What a judge said of the pair, where one was asked; it decides instead of the probability."),
        Column(name="evidence", type=TEXT, json=True, description="JSON object: contribution of each feature to the log-odds; none where the pair is unlikely and its offers were not joined."),
        Column(name="model_version", type=TEXT, nullable=False, description="Version of the match model."),
    ),
)  # fmt: skip

PRODUCT_CLUSTERS = TableContract(
    stage="clusters",
    name="product_clusters",
    description="The cluster of every product of the current catalogue; a product that matches nothing is a cluster of one.",
    key=("product_id",),
    columns=(
        Column(name="product_id", type=TEXT, nullable=False, description="The product."),
        Column(name="cluster_id", type=TEXT, nullable=False, pattern=r"^c_[0-9a-z]{16}$", description="Lasting id of its cluster."),
        Column(name="cluster_size", type=pa.int32(), nullable=False, minimum=1, description="Members of the cluster."),
        Column(name="confidence", type=pa.float64(), nullable=False, minimum=0, maximum=1, description="Mean probability of this product's pairs inside the cluster, 1 or 0 where a judge decided; 1 for a cluster of one."),
        Column(name="weakest_link", type=pa.float64(), nullable=False, minimum=0, maximum=1, description="Smallest of the members' confidences in the cluster; 1 for a cluster of one."),
    ),
)  # fmt: skip

CLUSTER_EVENTS = TableContract(
    stage="clusters",
    name="cluster_events",
    description="What happened to the clusters since the previous clustering; old ids lead to where their members are now.",
    key=("cluster_id", "kind"),
    columns=(
        Column(name="cluster_id", type=TEXT, nullable=False, pattern=r"^c_[0-9a-z]{16}$", description="The cluster it happened to."),
        Column(name="kind", type=TEXT, nullable=False, values=EVENT_KINDS, description="What happened."),
        Column(name="members_before", type=pa.list_(TEXT), nullable=False, description="Product ids before."),
        Column(name="members_after", type=pa.list_(TEXT), nullable=False, description="Product ids after."),
        Column(name="successors", type=pa.list_(TEXT), nullable=False, description="Clusters that hold its former members now, largest share first."),
    ),
)  # fmt: skip
