"""The assets of the embeddings stage: the model, the vectors, and the indexes that search them.

Belongs here: reading, calling the pure code, storing, reporting. Not here: models, indexes, plans.
"""

from typing import Any

import dagster as dg
import pyarrow as pa

from assets.catalogue import Catalogue
from assets.embeddings.incremental import embed_catalogue, vectors_of
from assets.embeddings.index_sync import SyncReport, sync, wanted_index
from assets.embeddings.plots import draw_neighbourhood
from assets.embeddings.ports import TextEmbedder, VectorIndex
from assets.embeddings.schema import DIMENSIONS, PRODUCT_EMBEDDINGS
from assets.embeddings.vector_memory import keep_vectors, known_vectors
from assets.presentation import ML_OWNERS, asset_key, column_lineage, plot, table_metadata
from assets.products.schema import CURRENT_PRODUCTS
from assets.tracking import ExperimentTracker, RunRecord, delivered
from assets.versions import code_version, table_digest

CODE_VERSION = code_version("assets.embeddings")
EMBEDDING_MODEL_KEY = dg.AssetKey([PRODUCT_EMBEDDINGS.stage, "embedding_model"])
PGVECTOR_KEY = dg.AssetKey([PRODUCT_EMBEDDINGS.stage, "pgvector_index"])
QDRANT_KEY = dg.AssetKey([PRODUCT_EMBEDDINGS.stage, "qdrant_index"])
#: Name of the registered model in MLflow.
REGISTERED_NAME = "offerline-embedder"


@dg.asset(
    key=EMBEDDING_MODEL_KEY,
    group_name=PRODUCT_EMBEDDINGS.stage,
    code_version=CODE_VERSION,
    owners=ML_OWNERS,
    kinds={"mlflow", "huggingface"},
    description=(
        "The sentence model that embeds products, as a registered model in MLflow: a version per content of its files, "
        "the alias `champion` on the one in use."
    ),
)
def embedding_model(
    context: dg.AssetExecutionContext,
    embedder: dg.ResourceParam[TextEmbedder],
    tracking: dg.ResourceParam[ExperimentTracker],
) -> dg.MaterializeResult[None]:
    """Register the model unless this very model is registered."""
    metadata: dict[str, Any] = {"model version": embedder.model_version}
    run = RunRecord(
        experiment="embedding-models",
        name=embedder.model_version,
        dagster_run_id=context.run.run_id,
        params={"model_version": embedder.model_version, "dimensions": DIMENSIONS},
    )

    def deliver() -> dict[str, Any]:
        version = tracking.register(
            REGISTERED_NAME,
            embedder.model_version,
            embedder.model_files,
            run=run,
            description=f"Embeds product texts: {embedder.model_version}",
        )
        return {"registered version": version.version, "mlflow": dg.MetadataValue.url(version.link)}

    metadata |= delivered(deliver, context.log.warning)
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(embedder.model_version))


@dg.asset(
    key=asset_key(PRODUCT_EMBEDDINGS),
    group_name=PRODUCT_EMBEDDINGS.stage,
    code_version=CODE_VERSION,
    owners=ML_OWNERS,
    kinds={"python", "parquet", "postgres"},
    ins={"products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS))},
    deps=[EMBEDDING_MODEL_KEY],
    description="A vector for every current product. Only texts that no product ever had are embedded.",
    metadata=table_metadata(
        PRODUCT_EMBEDDINGS, column_lineage(PRODUCT_EMBEDDINGS, CURRENT_PRODUCTS, {"vector": ("embedding_text",)})
    ),
)
def product_embeddings(
    context: dg.AssetExecutionContext,
    products: pa.Table,
    catalogue: dg.ResourceParam[Catalogue],
    embedder: dg.ResourceParam[TextEmbedder],
) -> dg.MaterializeResult[pa.Table]:
    """Embed what is new, store it, and put every product's vector together."""
    version = embedder.model_version
    finished = 0

    def log_progress(texts: int) -> None:
        nonlocal finished
        finished += texts
        context.log.info(f"{finished} texts embedded")

    embedded = embed_catalogue(products, known_vectors(catalogue, version), embedder, progress=log_progress)
    if embedded.fresh.num_rows:
        keep_vectors(catalogue, embedded.fresh)
    return dg.MaterializeResult(
        value=embedded.table,
        data_version=dg.DataVersion(table_digest(embedded.table)),
        metadata={
            "texts embedded": embedded.fresh.num_rows,
            "texts reused": embedded.reused,
            "model version": version,
            "nearest neighbours": plot(lambda axes: draw_neighbourhood(axes, vectors_of(embedded.table))),
        },
    )


@dg.asset(
    key=PGVECTOR_KEY,
    group_name=PRODUCT_EMBEDDINGS.stage,
    code_version=CODE_VERSION,
    owners=ML_OWNERS,
    kinds={"postgres", "pgvector"},
    ins={
        "embeddings": dg.AssetIn(key=asset_key(PRODUCT_EMBEDDINGS)),
        "products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS)),
    },
    description="Product vectors in PostgreSQL under an HNSW index, with what a search filters by.",
    metadata={"dagster/table_name": "catalog.product_vectors"},
)
def pgvector_index(
    embeddings: pa.Table, products: pa.Table, pgvector: dg.ResourceParam[VectorIndex]
) -> dg.MaterializeResult[None]:
    """Bring the index up to date by fingerprints."""
    return _synced(pgvector, embeddings, products)


@dg.asset(
    key=QDRANT_KEY,
    group_name=PRODUCT_EMBEDDINGS.stage,
    code_version=CODE_VERSION,
    owners=ML_OWNERS,
    kinds={"qdrant"},
    ins={
        "embeddings": dg.AssetIn(key=asset_key(PRODUCT_EMBEDDINGS)),
        "products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS)),
    },
    description="The same vectors in Qdrant: its server where one is configured, its engine in the process otherwise.",
)
def qdrant_index(
    embeddings: pa.Table, products: pa.Table, qdrant: dg.ResourceParam[VectorIndex]
) -> dg.MaterializeResult[None]:
    """Bring the index up to date by fingerprints."""
    return _synced(qdrant, embeddings, products)


def _synced(index: VectorIndex, embeddings: pa.Table, products: pa.Table) -> dg.MaterializeResult[None]:
    report = sync(index, wanted_index(products, embeddings))
    return dg.MaterializeResult(metadata=_sync_metadata(index, report))


def _sync_metadata(index: VectorIndex, report: SyncReport) -> dict[str, Any]:
    return {
        "store": index.name,
        "dagster/row_count": report.total,
        "added": report.added,
        "changed": report.changed,
        "dropped": report.dropped,
        "unchanged": report.unchanged,
    }


ASSETS = (embedding_model, product_embeddings, pgvector_index, qdrant_index)
