"""The checks of the embeddings stage; those that protect the next stage are blocking.

Belongs here: laws of this stage as Dagster checks. Not here: the derivation of expectations from a contract.
"""

import dagster as dg
import numpy as np
import pyarrow as pa

from assets.embeddings.assets import PGVECTOR_KEY, QDRANT_KEY
from assets.embeddings.incremental import vectors_of
from assets.embeddings.ports import VectorIndex
from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from assets.presentation import asset_key
from assets.products.schema import CURRENT_PRODUCTS
from assets.quality_gate import contract_check

#: How far from one the length of a vector may be: half precision keeps three decimal digits.
LENGTH_TOLERANCE = 2e-3
#: Products whose stored vectors are compared with the artifact.
COMPARED = 200


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


def _index_agrees(key: dg.AssetKey, resource: str) -> dg.AssetChecksDefinition:
    """Return the check that an index holds what the artifact holds."""

    @dg.asset_check(
        asset=key,
        name="index_agrees",
        additional_ins={"embeddings": dg.AssetIn(key=asset_key(PRODUCT_EMBEDDINGS))},
        required_resource_keys={resource},
        description="Law 5: the index holds the same products and, for a sample, the very same vectors.",
    )
    def index_agrees(context: dg.AssetCheckExecutionContext, embeddings: pa.Table) -> dg.AssetCheckResult:
        index: VectorIndex = getattr(context.resources, resource)
        ids: list[str] = embeddings.column("product_id").to_pylist()
        stored = set(index.fingerprints())
        rows = np.unique(np.linspace(0, max(len(ids) - 1, 0), num=min(COMPARED, len(ids)), dtype=np.intp))
        sample = [ids[row] for row in rows]
        kept = index.vectors(sample)
        wanted = vectors_of(embeddings)
        differing = [
            product_id
            for product_id, row in zip(sample, rows, strict=True)
            if product_id not in kept or not np.array_equal(kept[product_id], wanted[row])
        ]
        missing, surplus = sorted(set(ids) - stored), sorted(stored - set(ids))
        return dg.AssetCheckResult(
            passed=not (missing or surplus or differing),
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{len(missing)} products missing, {len(surplus)} too many, {len(differing)} of {len(sample)} "
            "vectors differ.",
            metadata={
                "products": len(ids),
                "missing": missing[:20],
                "too many": surplus[:20],
                "differing": differing[:20],
            },
        )

    return index_agrees


CHECKS = (
    contract_check(PRODUCT_EMBEDDINGS),
    one_unit_vector_per_product,
    _index_agrees(PGVECTOR_KEY, "pgvector"),
    _index_agrees(QDRANT_KEY, "qdrant"),
)
