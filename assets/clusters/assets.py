"""The assets of the clusters stage: candidate pairs, the model, scored pairs, clusters, and what happened to them.

Belongs here: reading, calling the pure code, storing, reporting. Not here: matching, identity, SQL.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from assets.catalogue import Catalogue
from assets.clusters.answers import CatalogueMemory
from assets.clusters.applying import apply_clusters, lasting_ids
from assets.clusters.consulting import Consultation, count_answers, judge_uncertain, judged_table
from assets.clusters.doubts import Doubts, find_doubts
from assets.clusters.explanation import Explanation, explain_pairs
from assets.clusters.ipc import as_ipc
from assets.clusters.keeping import pack, signature
from assets.clusters.matching import Matching
from assets.clusters.ports import PairJudge, StateShelf, TruthShelf
from assets.clusters.quality import MAX_TRUTH_BYTES, TruthError, read_truth, score_clusters
from assets.clusters.recording import EXPERIMENT, pictures_of, record_of
from assets.clusters.renewal import is_current, renew
from assets.clusters.rules import MatchRules
from assets.clusters.schema import CANDIDATE_PAIRS, CLUSTER_EVENTS, MATCH_MODEL, PRODUCT_CLUSTERS, SCORED_PAIRS
from assets.clusters.tables import candidate_table, cluster_table, model_table, scored_table
from assets.clusters.vectors import aligned_vectors
from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from assets.presentation import (
    ML_OWNERS,
    OWNERS,
    asset_key,
    column_lineage,
    markdown_table,
    picture,
    preview,
    table_metadata,
)
from assets.products.schema import CURRENT_PRODUCTS
from assets.tracking import ExperimentTracker, RunRecord, delivered
from assets.versions import code_version, table_digest

CODE_VERSION = code_version("assets.clusters")
STAGE = PRODUCT_CLUSTERS.stage
QUALITY_KEY = dg.AssetKey([STAGE, "match_quality"])
#: Name of the registered model in MLflow.
REGISTERED_NAME = "offerline-matcher"
#: Doubtful pairs of each kind that are explained step by step.
EXPLAINED = 3
PAIR_COLUMNS = {"left_id": ("product_id",), "right_id": ("product_id",)}


def _out(contract: Any, description: str, kinds: set[str], lineage: dg.TableColumnLineage | None = None) -> dg.AssetOut:
    return dg.AssetOut(
        key=asset_key(contract),
        group_name=STAGE,
        description=description,
        code_version=CODE_VERSION,
        owners=ML_OWNERS,
        kinds={"python", "parquet", *kinds},
        metadata=table_metadata(contract, lineage),
    )


class MatchConfig(dg.Config):
    """What one run may be told."""

    from_scratch: bool = Field(
        default=False, description="Match the whole catalogue anew and learn a new model, whatever the last run left."
    )


@dg.multi_asset(
    name="clusters__match",
    ins={
        "embeddings": dg.AssetIn(key=asset_key(PRODUCT_EMBEDDINGS)),
        "products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS)),
    },
    outs={
        "candidate_pairs": _out(
            CANDIDATE_PAIRS,
            "Pairs worth comparing: whatever embeddings, rare words, character n-grams or model codes propose, and "
            "offers with a likely partner in common.",
            {"numpy"},
            column_lineage(CANDIDATE_PAIRS, CURRENT_PRODUCTS, PAIR_COLUMNS),
        ),
        "match_model": _out(
            MATCH_MODEL,
            "The weights that score pairs, learned from this catalogue without labels and registered in MLflow.",
            {"mlflow"},
        ),
        "scored_pairs": _out(
            SCORED_PAIRS,
            "Every candidate pair with the evidence for and against, feature by feature, and its probability.",
            {"numpy"},
            column_lineage(SCORED_PAIRS, CANDIDATE_PAIRS),
        ),
        "product_clusters": _out(
            PRODUCT_CLUSTERS,
            "The cluster of every product, with a lasting id and how sure its place is.",
            {"numpy"},
            column_lineage(
                PRODUCT_CLUSTERS,
                SCORED_PAIRS,
                {
                    "product_id": ("left_id", "right_id"),
                    "cluster_id": ("left_id", "right_id", "probability"),
                    "confidence": ("probability",),
                    "weakest_link": ("probability",),
                },
            ),
        ),
    },
    internal_asset_deps={
        "candidate_pairs": {asset_key(CURRENT_PRODUCTS), asset_key(PRODUCT_EMBEDDINGS)},
        "match_model": {asset_key(CANDIDATE_PAIRS)},
        "scored_pairs": {asset_key(CANDIDATE_PAIRS), asset_key(MATCH_MODEL)},
        "product_clusters": {asset_key(SCORED_PAIRS)},
    },
)
def match_products(
    context: dg.AssetExecutionContext,
    config: MatchConfig,
    embeddings: pa.Table,
    products: pa.Table,
    catalogue: dg.ResourceParam[Catalogue],
    tracking: dg.ResourceParam[ExperimentTracker],
    match_rules: dg.ResourceParam[MatchRules],
    match_state: dg.ResourceParam[StateShelf],
    judge: dg.ResourceParam[PairJudge | None],
) -> Iterator[dg.Output[pa.Table]]:
    """Match the current catalogue, from where the last run left off; the stages share one corpus, so they are one step.

    The state is kept before anything is handed on: whichever state a run finds, its result is the same.
    """
    models = pc.unique(embeddings.column("model_version")).to_pylist()
    made_by = signature(CODE_VERSION, models, match_rules)
    kept = None if config.from_scratch else match_state.load()
    renewal = renew(
        products,
        aligned_vectors(products, embeddings),
        kept,
        rules=match_rules,
        made_by=made_by,
        from_scratch=config.from_scratch,
        progress=context.log.info,
    )
    context.log.info(renewal.way)
    matching = renewal.matching
    if not is_current(kept, products, made_by):
        match_state.keep(pack(matching, made_by))
    consultation = None
    if judge is not None:
        matching, consultation = judge_uncertain(matching, products, judge, CatalogueMemory(catalogue))
    identity = lasting_ids(catalogue, matching.labels)

    candidates = candidate_table(matching.corpus, matching.candidates)
    model = model_table(matching.model)
    scored = scored_table(matching)
    clusters = cluster_table(matching.corpus, matching.resolution, identity)
    doubts = find_doubts(scored, clusters, products)
    examples = _examples(matching, doubts)
    pictures = pictures_of(candidates, model, scored, clusters, products, examples)
    record = record_of(matching, products, clusters, scored, doubts, pictures, context.run.run_id, consultation)

    yield _output(
        candidates,
        "candidate_pairs",
        {
            "pairs per product": candidates.num_rows * 2 / max(products.num_rows, 1),
            "channels": picture(pictures["candidate_channels"]),
        },
    )
    yield _output(
        model,
        "match_model",
        {
            "weights": picture(pictures["weights"]),
            **_register(context, tracking, matching, record),
        },
    )
    yield _output(
        scored,
        "scored_pairs",
        {
            "scores": picture(pictures["scores"]),
            "vetoed": scored.num_rows - scored.column("veto").null_count,
        },
    )
    yield _output(
        clusters,
        "product_clusters",
        {
            "clusters": len(set(clusters.column("cluster_id").to_pylist())),
            "way": renewal.way,
            "sizes": picture(pictures["cluster_sizes"]),
            "price spread": picture(pictures["price_spread"]),
            "least certain joins": preview(doubts.joins, rows=20),
            "nearest misses": preview(doubts.misses, rows=20),
            **{f"{name.replace('_', ' ')}, step by step": picture(pictures[name]) for name in examples},
            **_consulted(context, matching, consultation),
            "seconds by stage": {stage: round(spent, 3) for stage, spent in matching.seconds.items()},
            **delivered(lambda: {"mlflow": dg.MetadataValue.url(tracking.record(record))}, context.log.warning),
        },
    )


def _output(table: pa.Table, name: str, metadata: dict[str, Any]) -> dg.Output[pa.Table]:
    return dg.Output(table, name, metadata=metadata, data_version=dg.DataVersion(table_digest(table)))


def _consulted(
    context: dg.AssetExecutionContext, matching: Matching, consultation: Consultation | None
) -> dict[str, Any]:
    """Say what a judge was asked and what it said; that it could not be had is reported and does not stop anything."""
    if consultation is None:
        return {}
    told = {
        "judge": consultation.judge,
        "judge answers": markdown_table(("what", "count"), count_answers(consultation).items()),
        "judged pairs": preview(judged_table(consultation, matching), rows=50),
    }
    if consultation.faults:
        told["judge faults"] = markdown_table(("reason", "answers ignored"), sorted(consultation.faults.items()))
    if consultation.failure:
        context.log.warning(f"the judge was given up, the clustering went on without it: {consultation.failure}")
        told["judge failure"] = consultation.failure
    return told


def _examples(matching: Matching, doubts: Doubts) -> dict[str, list[Explanation]]:
    """Explain the first of each kind of doubt, where there are any, by the name of the picture they make."""
    first = {
        name: list(zip(*(table.column(side).to_pylist()[:EXPLAINED] for side in ("left_id", "right_id")), strict=True))
        for name, table in (("least_certain_joins", doubts.joins), ("nearest_misses", doubts.misses))
    }
    return {name: explain_pairs(matching, pairs) for name, pairs in first.items() if pairs}


def _register(
    context: dg.AssetExecutionContext, tracking: ExperimentTracker, matching: Matching, record: RunRecord
) -> dict[str, Any]:
    model = matching.model
    run = RunRecord(
        experiment="match-models",
        name=model.version,
        dagster_run_id=context.run.run_id,
        datasets=record.datasets,
        params={"seeds": model.seeds, "rivals": model.rivals},
    )

    def deliver() -> dict[str, Any]:
        version = tracking.register(
            REGISTERED_NAME,
            model.version,
            {
                "match_model.json": model.to_json().encode(),
                "statistics.arrow": as_ipc(matching.statistics.to_table()),
                "rules.json": json.dumps(asdict(matching.rules)).encode(),
            },
            run=run,
            description="Weights that score pairs of offers, learned without labels, and the statistics they go by.",
        )
        return {"registered version": version.version, "mlflow": dg.MetadataValue.url(version.link)}

    return delivered(deliver, context.log.warning)


@dg.asset(
    key=asset_key(CLUSTER_EVENTS),
    group_name=STAGE,
    code_version=CODE_VERSION,
    owners=OWNERS,
    kinds={"postgres", "sql", "parquet"},
    ins={
        "clusters": dg.AssetIn(key=asset_key(PRODUCT_CLUSTERS)),
        "scored": dg.AssetIn(key=asset_key(SCORED_PAIRS)),
    },
    description=(
        "What happened to the clusters since last time, stored with them in one transaction. An id that is gone leads "
        "to where its members are now."
    ),
    metadata=table_metadata(
        CLUSTER_EVENTS,
        column_lineage(
            CLUSTER_EVENTS, PRODUCT_CLUSTERS, {"members_after": ("product_id",), "successors": ("cluster_id",)}
        ),
    ),
)
def cluster_events(
    context: dg.AssetExecutionContext, clusters: pa.Table, scored: pa.Table, catalogue: dg.ResourceParam[Catalogue]
) -> dg.MaterializeResult[pa.Table]:
    """Bring the checked clustering into the catalogue and say what it changed."""
    events = apply_clusters(catalogue, clusters, scored, context.run.run_id)
    kinds = events.group_by("kind").aggregate([("kind", "count")]).to_pylist()
    return dg.MaterializeResult(
        value=events,
        data_version=dg.DataVersion(table_digest(events)),
        metadata={
            "events": markdown_table(("kind", "clusters"), sorted((row["kind"], row["kind_count"]) for row in kinds)),
        },
    )


@dg.asset(
    key=QUALITY_KEY,
    group_name=STAGE,
    code_version=CODE_VERSION,
    owners=ML_OWNERS,
    kinds={"python", "mlflow"},
    ins={"clusters": dg.AssetIn(key=asset_key(PRODUCT_CLUSTERS))},
    description="Scores of the clustering wherever a truth.csv was delivered. Nothing is made from them.",
)
def match_quality(
    context: dg.AssetExecutionContext,
    clusters: pa.Table,
    landing_zone: dg.ResourceParam[TruthShelf],
    tracking: dg.ResourceParam[ExperimentTracker],
) -> dg.MaterializeResult[None]:
    """Score the clustering per delivered truth and add the scores to its MLflow run."""
    rows: list[tuple[object, ...]] = []
    metrics: dict[str, float] = {}
    for key, data in landing_zone.truths(MAX_TRUTH_BYTES):
        name = re.sub(r"[^\w.-]", "_", key.rpartition("/")[0]) or "root"
        try:
            quality = score_clusters(clusters, read_truth(data, key))
        except TruthError as error:
            # Anybody may deliver such a file: it costs its own score and nothing else.
            context.log.warning(str(error))
            rows.append((name, str(error), "", "", ""))
            continue
        if quality is None:
            continue
        rows.append(
            (name, f"{quality.precision:.3f}", f"{quality.recall:.3f}", f"{quality.f1:.3f}", f"{quality.bcubed_f1:.3f}")
        )
        metrics |= {
            f"{name}_precision": quality.precision,
            f"{name}_recall": quality.recall,
            f"{name}_f1": quality.f1,
            f"{name}_bcubed_f1": quality.bcubed_f1,
        }
    metadata: dict[str, Any] = {
        "scores": markdown_table(("truth", "precision", "recall", "F1", "B-cubed F1"), rows)
        if rows
        else "no truth known",
        **metrics,
    }

    def add_scores() -> dict[str, Any]:
        link = tracking.add_metrics(EXPERIMENT, context.run.run_id, metrics)
        return {"mlflow": dg.MetadataValue.url(link) if link else "no run to add the scores to"}

    if metrics:
        metadata |= delivered(add_scores, context.log.warning)
    return dg.MaterializeResult(metadata=metadata)


ASSETS = (match_products, cluster_events, match_quality)
