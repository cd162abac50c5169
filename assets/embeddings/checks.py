"""The checks of the embeddings stage; those that protect the next stage are blocking.

Belongs here: laws of this stage as Dagster checks. Not here: the derivation of expectations from a contract.
"""

import dagster as dg
import numpy as np
import pyarrow as pa

from assets.catalogue import Catalogue
from assets.embeddings.agreement import compare_index, compare_texts
from assets.embeddings.assets import PGVECTOR_KEY, QDRANT_KEY
from assets.embeddings.incremental import vectors_of
from assets.embeddings.index_sync import wanted_index
from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from assets.embeddings.vector_memory import EMBEDDINGS, held_vectors
from assets.presentation import asset_key
from assets.products.schema import CURRENT_PRODUCTS
from assets.quality_gate import agreement_result, contract_check

#: How far from one the length of a vector may be: half precision keeps three decimal digits.
LENGTH_TOLERANCE = 2e-3


@dg.asset_check(
    asset=asset_key(PRODUCT_EMBEDDINGS),
    name="one_unit_vector_per_product",
    blocking=True,
    additional_ins={"products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS))},
    description="Every current product has exactly one vector, of the text it has now, of length one.",
)
def one_unit_vector_per_product(embeddings: pa.Table, products: pa.Table) -> dg.AssetCheckResult:
    """Compare the vectors with the products, and measure them."""
    wanted = set(zip(*(products.column(name).to_pylist() for name in ("product_id", "text_hash")), strict=True))
    found = set(zip(*(embeddings.column(name).to_pylist() for name in ("product_id", "text_hash")), strict=True))
    lengths = np.linalg.norm(vectors_of(embeddings).astype(np.float32), axis=1)
    odd = int((np.abs(lengths - 1) > LENGTH_TOLERANCE).sum())
    return dg.AssetCheckResult(
        passed=wanted == found and not odd,
        description=f"{len(wanted - found)} products without their vector, {len(found - wanted)} vectors without "
        f"their product, {odd} not of length one.",
        metadata={"products": len(wanted), "vectors": embeddings.num_rows, "of odd length": odd},
    )


@dg.asset_check(
    asset=asset_key(PRODUCT_EMBEDDINGS),
    name="catalogue_holds_the_vectors",
    description="Law 5: PostgreSQL keeps the very vectors of the artifact, by text.",
)
def catalogue_holds_the_vectors(embeddings: pa.Table, catalogue: dg.ResourceParam[Catalogue]) -> dg.AssetCheckResult:
    """Compare the vectors that are kept with the artifact."""
    return agreement_result(compare_texts(EMBEDDINGS, embeddings, held_vectors(catalogue, embeddings)))


def _index_agrees(key: dg.AssetKey, resource: str) -> dg.AssetChecksDefinition:
    """Return the check that an index holds what the artifact holds."""

    @dg.asset_check(
        asset=key,
        name="index_agrees",
        additional_ins={
            "embeddings": dg.AssetIn(key=asset_key(PRODUCT_EMBEDDINGS)),
            "products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS)),
        },
        required_resource_keys={resource},
        description="Law 5: the index holds the very products and vectors of the artifacts, and finds the nearest ones "
        "of a sample.",
    )
    def index_agrees(
        context: dg.AssetCheckExecutionContext, embeddings: pa.Table, products: pa.Table
    ) -> dg.AssetCheckResult:
        return agreement_result(compare_index(getattr(context.resources, resource), wanted_index(products, embeddings)))

    return index_agrees


CHECKS = (
    contract_check(PRODUCT_EMBEDDINGS),
    one_unit_vector_per_product,
    catalogue_holds_the_vectors,
    _index_agrees(PGVECTOR_KEY, "pgvector"),
    _index_agrees(QDRANT_KEY, "qdrant"),
)
