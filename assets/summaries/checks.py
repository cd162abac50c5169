"""The checks of the summaries stage.

Belongs here: laws of this stage as Dagster checks. Not here: the derivation of expectations from a contract.
"""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.clusters.schema import PRODUCT_CLUSTERS
from assets.presentation import asset_key
from assets.quality_gate import contract_check
from assets.summaries.schema import CLUSTER_SUMMARIES, GOLDEN_RECORDS


@dg.asset_check(
    asset=asset_key(GOLDEN_RECORDS),
    name="one_record_per_cluster",
    blocking=True,
    additional_ins={"clusters": dg.AssetIn(key=asset_key(PRODUCT_CLUSTERS))},
    description="Every cluster has exactly one golden record, and together they count every product once.",
)
def one_record_per_cluster(records: pa.Table, clusters: pa.Table) -> dg.AssetCheckResult:
    """Compare clusters and products with records and the offers they count."""
    wanted = set(clusters.column("cluster_id").to_pylist())
    found = set(records.column("cluster_id").to_pylist())
    offers = int(pc.sum(records.column("offers")).as_py() or 0)
    return dg.AssetCheckResult(
        passed=wanted == found and records.num_rows == len(found) and offers == clusters.num_rows,
        description=f"{len(wanted)} clusters, {records.num_rows} records; "
        f"{clusters.num_rows} products, {offers} counted.",
    )


@dg.asset_check(
    asset=asset_key(CLUSTER_SUMMARIES),
    name="summaries_follow_their_records",
    additional_ins={"records": dg.AssetIn(key=asset_key(GOLDEN_RECORDS))},
    description="Every record has one summary, written from the record as it is now.",
)
def summaries_follow_their_records(summaries: pa.Table, records: pa.Table) -> dg.AssetCheckResult:
    """Compare the digests."""
    columns = ["cluster_id", "record_digest"]
    stale = set(map(tuple, _rows(records, columns))) ^ set(map(tuple, _rows(summaries, columns)))
    return dg.AssetCheckResult(
        passed=not stale, description=f"{len(stale)} records or summaries stand alone.", metadata={"stale": len(stale)}
    )


def _rows(table: pa.Table, columns: list[str]) -> list[list[object]]:
    return [list(row.values()) for row in table.select(columns).to_pylist()]


CHECKS = (
    contract_check(GOLDEN_RECORDS),
    contract_check(CLUSTER_SUMMARIES),
    one_record_per_cluster,
    summaries_follow_their_records,
)
