"""The matcher's arrays as the tables of `schema.py`.

Belongs here: conversion, column by column. Not here: any computation of what they hold.
"""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import logit

from assets.clusters.candidates import CHANNELS, Candidates
from assets.clusters.corpus import Corpus
from assets.clusters.features import VETOES, Features
from assets.clusters.identity import Identity
from assets.clusters.matching import Matching, compare_alone
from assets.clusters.matrices import PAIRS_AT_ONCE
from assets.clusters.resolution import Resolution
from assets.clusters.schema import CANDIDATE_PAIRS, CLUSTER_EVENTS, MATCH_MODEL, PRODUCT_CLUSTERS, SCORED_PAIRS
from assets.clusters.scoring import MatchModel

#: Contributions that would be printed as zero are left out of the evidence.
EVIDENCE_DECIMALS = 3
#: Pairs that are less likely by their features alone are told only where their offers are in one cluster.
LEAST_TOLD = 0.1


def pair_ids(corpus: Corpus, pairs: Candidates) -> tuple[pa.Array, pa.Array]:
    """Ids of both sides; rows are sorted by id and `left < right`, so the left id sorts first."""
    ids = pa.array(corpus.ids, pa.string())
    return ids.take(pa.array(pairs.left)), ids.take(pa.array(pairs.right))


def candidate_table(corpus: Corpus, pairs: Candidates) -> pa.Table:
    """`CANDIDATE_PAIRS`: one row per pair."""
    names = [[channel for bit, channel in enumerate(CHANNELS) if mask >> bit & 1] for mask in range(1 << len(CHANNELS))]
    left, right = pair_ids(corpus, pairs)
    channels = pa.array(names, pa.list_(pa.string())).take(pa.array(pairs.channels))
    return CANDIDATE_PAIRS.conform(pa.table({"left_id": left, "right_id": right, "channels": channels}))


def read_candidates(table: pa.Table, corpus: Corpus) -> Candidates:
    """The inverse of `candidate_table`, for a stage that starts from the stored table.

    Raises:
        ValueError: a pair names a product that the corpus does not hold.
    """
    ids = pa.array(corpus.ids, pa.string())
    sides = [pc.index_in(table.column(name), value_set=ids).combine_chunks() for name in ("left_id", "right_id")]
    if any(side.null_count for side in sides):
        raise ValueError(
            "candidate_pairs name products that are not among the cleaned products: rebuild the candidates"
        )
    left, right = (side.to_numpy(zero_copy_only=False).astype(np.int32) for side in sides)
    channels = np.zeros(len(left), dtype=np.uint8)
    lists = table.column("channels").combine_chunks()
    rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    bits = pc.index_in(pc.list_flatten(lists), value_set=pa.array(CHANNELS)).to_numpy(zero_copy_only=False)
    np.bitwise_or.at(channels, rows, (1 << bits.astype(np.int64)).astype(np.uint8))
    order = np.lexsort((right, left))
    return Candidates(left[order], right[order], channels[order])


def evidence_texts(matching: Matching) -> pa.ChunkedArray:
    """Contribution of each feature to the log-odds of every pair, with the intercept, as JSON objects.

    Null where the pair is unlikely and its offers are in two clusters: nearly all candidates are such. In chunks, for
    the texts of all parts of all pairs at once are many times the memory of the matcher.
    """
    pairs, labels = matching.candidates, matching.resolution.labels
    told = (matching.evidence.log_odds >= logit(LEAST_TOLD)) | (labels[pairs.left] == labels[pairs.right])
    texts = []
    for begin, end in pairwise([0, *np.flatnonzero(told)[PAIRS_AT_ONCE::PAIRS_AT_ONCE], len(pairs)]):
        is_told = told[begin:end]
        rows = begin + np.flatnonzero(is_told)
        # To compare these once more takes less than to carry their features, or texts, from run to run.
        features = compare_alone(matching.corpus, pairs.left[rows], pairs.right[rows], matching.rules).features
        texts.append(_evidence(features, matching.model).take(pa.array(np.cumsum(is_told) - 1, mask=~is_told)))
    return pa.chunked_array(texts, pa.string())


def told_pairs(scored: pa.Table) -> pa.Table:
    """Return the rows of `SCORED_PAIRS` that have evidence to tell: those of likely pairs, and within clusters."""
    return scored.filter(scored.column("evidence").is_valid())


def _evidence(features: Features, model: MatchModel) -> pa.Array:
    columns = dict(zip(features.names, model.contributions(features).T, strict=True))
    columns["intercept"] = np.full(len(features.values), model.intercept)
    parts = []
    for name in sorted(columns):
        rounded = np.round(columns[name], EVIDENCE_DECIMALS)
        number = pa.array(rounded, pa.float64(), mask=rounded == 0).cast(pa.string())
        parts.append(pc.binary_join_element_wise(f'"{name}":', number, "", null_handling="emit_null"))
    body = pc.binary_join_element_wise(*parts, ",", null_handling="skip")
    return pc.binary_join_element_wise("{", body, "}", "")


def scored_table(matching: Matching) -> pa.Table:
    """`SCORED_PAIRS`: one row per pair, vetoed ones included."""
    pairs = matching.candidates
    left, right = pair_ids(matching.corpus, pairs)
    vetoes = pa.array([veto or None for veto in VETOES], pa.string())
    version = pa.array([matching.model.version], pa.string())
    return SCORED_PAIRS.conform(
        pa.table(
            {
                "left_id": left,
                "right_id": right,
                "probability": matching.scores.probability,
                "log_odds": matching.evidence.log_odds,
                "veto": vetoes.take(pa.array(matching.evidence.vetoes)),
                "judgement": pa.array([matching.answers.get(pair) for pair in range(len(pairs))], pa.string()),
                "evidence": evidence_texts(matching),
                "model_version": version.take(pa.array(np.zeros(len(pairs), np.int8))),
            }
        )
    )


def cluster_table(corpus: Corpus, resolution: Resolution, identity: Identity) -> pa.Table:
    """`PRODUCT_CLUSTERS`: one row per product, ordered by product id."""
    sizes = np.bincount(resolution.labels, minlength=1)[resolution.labels].astype(np.int32)
    return PRODUCT_CLUSTERS.conform(
        pa.table(
            {
                "product_id": corpus.ids,
                "cluster_id": pa.array([identity.ids[product] for product in corpus.ids], pa.string()),
                "cluster_size": sizes,
                "confidence": resolution.confidence,
                "weakest_link": resolution.weakest,
            }
        )
    )


def event_table(identity: Identity) -> pa.Table:
    """`CLUSTER_EVENTS`: one row per event."""
    fields = ("cluster_id", "kind", "members_before", "members_after", "successors")
    types = {name: CLUSTER_EVENTS.arrow.field(name).type for name in fields}
    return CLUSTER_EVENTS.conform(
        pa.table({name: pa.array([getattr(e, name) for e in identity.events], types[name]) for name in fields})
    )


def model_table(model: MatchModel) -> pa.Table:
    """`MATCH_MODEL`: one row per weight, the intercept among them."""
    weights = {**model.weights, "intercept": model.intercept}
    return MATCH_MODEL.conform(
        pa.table(
            {
                "feature": sorted(weights),
                "weight": pa.array([weights[name] for name in sorted(weights)], pa.float64()),
                "model_version": pa.array([model.version] * len(weights), pa.string()),
            }
        )
    )
