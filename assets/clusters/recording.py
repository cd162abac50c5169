"""What is worth keeping of a clustering for those who compare models.

Belongs here: choosing parameters, counts, plots and tables. Not here: MLflow (see `assets.tracking`).
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from assets.clusters.consulting import Consultation, count_answers, judged_table
from assets.clusters.doubts import Doubts
from assets.clusters.explanation import Explanation
from assets.clusters.matching import Matching
from assets.clusters.plots import (
    WATERFALL_HEIGHT,
    draw_channels,
    draw_price_spread,
    draw_scores,
    draw_sizes,
    draw_weights,
    waterfalls,
)
from assets.presentation import png
from assets.tracking import Dataset, RunRecord
from assets.versions import table_digest

EXPERIMENT = "clustering"


def record_of(
    matching: Matching,
    products: pa.Table,
    clusters: pa.Table,
    scored: pa.Table,
    doubts: Doubts,
    pictures: Mapping[str, bytes],
    run_id: str,
    consultation: Consultation | None = None,
) -> RunRecord:
    """Return the record of one clustering.

    Args:
        matching: What the matcher did.
        products: `CLEANED_PRODUCTS`, those that were clustered.
        clusters: `PRODUCT_CLUSTERS`.
        scored: `SCORED_PAIRS`.
        doubts: The least certain pairs.
        pictures: PNG files by name (`pictures_of`).
        run_id: The Dagster run.
        consultation: What a judge was asked, where there is one.
    """
    sizes = np.unique(clusters.column("cluster_id").to_numpy(zero_copy_only=False), return_counts=True)[1]
    counts = {
        "products": clusters.num_rows,
        "candidate_pairs": scored.num_rows,
        "vetoed_pairs": scored.num_rows - scored.column("veto").null_count,
        "clusters": len(sizes),
        "clusters_of_several": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max(initial=0)),
        "joined_products": int(sizes[sizes > 1].sum()),
        "seeds": matching.model.seeds,
    }
    seconds = {f"seconds_{stage}": spent for stage, spent in matching.seconds.items()}
    judged = count_answers(consultation) | dict(consultation.faults) if consultation else {}
    return RunRecord(
        experiment=EXPERIMENT,
        name=f"{clusters.num_rows} products, {len(sizes)} clusters",
        dagster_run_id=run_id,
        datasets=(
            Dataset(
                name="current_products",
                digest=table_digest(products.select(["product_id", "product_digest"])),
                source="catalog.products",
                rows=clusters.num_rows,
            ),
        ),
        params={
            "model_version": matching.model.version,
            **flattened(asdict(matching.rules)),
            **({"judge": consultation.judge} if consultation else {}),
        },
        seconds=sum(matching.seconds.values()),
        metrics={
            **{name: float(value) for name, value in counts.items()},
            **{f"judge_{name}": float(value) for name, value in judged.items()},
            **seconds,
        },
        tags={"judge_failure": consultation.failure} if consultation and consultation.failure else {},
        files={
            **{f"plots/{name}.png": image for name, image in pictures.items()},
            "least_certain_joins.csv": as_csv(doubts.joins),
            "nearest_misses.csv": as_csv(doubts.misses),
            **({"judged_pairs.csv": as_csv(judged_table(consultation, matching))} if consultation else {}),
            "match_model.json": matching.model.to_json().encode(),
            "rules.json": json.dumps(asdict(matching.rules), indent=2).encode(),
        },
    )


def pictures_of(
    candidates: pa.Table,
    model: pa.Table,
    scored: pa.Table,
    clusters: pa.Table,
    products: pa.Table,
    examples: Mapping[str, Sequence[Explanation]],
) -> dict[str, bytes]:
    """Draw a clustering: PNG files by name, for whoever shows them.

    Args:
        candidates: `CANDIDATE_PAIRS`.
        model: `MATCH_MODEL`.
        scored: `SCORED_PAIRS`.
        clusters: `PRODUCT_CLUSTERS`.
        products: `CLEANED_PRODUCTS`, those that were clustered.
        examples: Doubtful pairs explained, by the name of their picture.
    """
    return {
        "scores": png(lambda axes: draw_scores(axes, scored)),
        "cluster_sizes": png(lambda axes: draw_sizes(axes, clusters)),
        "candidate_channels": png(lambda axes: draw_channels(axes, candidates)),
        "price_spread": png(lambda axes: draw_price_spread(axes, clusters, products)),
        "weights": png(lambda axes: draw_weights(axes, model), height=4.5),
        **{name: png(*waterfalls(explained), height=WATERFALL_HEIGHT) for name, explained in examples.items()},
    }


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted names: `{"a": {"b": 1}}` -> `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def as_csv(table: pa.Table) -> bytes:
    """Return the table as CSV with a header."""
    buffer = io.BytesIO()
    pacsv.write_csv(table, buffer)
    return buffer.getvalue()
