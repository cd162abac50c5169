"""The checks of the listings stage; those that protect the next stage are blocking.

Belongs here: laws of this stage as Dagster checks. Not here: the derivation of expectations from a contract.
"""

import dagster as dg
import pyarrow as pa

from assets.batches import BATCHES, BatchBook
from assets.listings.schema import RAW_LISTINGS, REJECTED_LISTINGS
from assets.presentation import asset_key
from assets.quality_gate import contract_check

#: Share of a feed's rows that may be rejected before a person should look.
REJECTED_SHARE_WARNING = 0.2


@dg.asset_check(
    asset=asset_key(RAW_LISTINGS),
    name="nothing_is_lost",
    blocking=True,
    partitions_def=BATCHES,
    additional_ins={"rejected": dg.AssetIn(key=asset_key(REJECTED_LISTINGS))},
    description="Law 1: rows read = rows accepted + rows rejected + exact repeats, counted again from what was stored.",
)
def nothing_is_lost(
    context: dg.AssetCheckExecutionContext,
    accepted: pa.Table,
    rejected: pa.Table,
    batch_book: dg.ResourceParam[BatchBook],
) -> dg.AssetCheckResult:
    """Count the stored rows against the rows that were read."""
    intake = batch_book.intake(context.partition_key)
    stored = accepted.num_rows + rejected.num_rows + intake.repeated
    return dg.AssetCheckResult(
        passed=stored == intake.read,
        description=f"{intake.read} rows read; {accepted.num_rows} accepted + {rejected.num_rows} rejected + "
        f"{intake.repeated} exact repeats = {stored}.",
        metadata={"rows read": intake.read, "exact repeats": intake.repeated, "rows stored": stored},
    )


@dg.asset_check(
    asset=asset_key(REJECTED_LISTINGS),
    name="few_rows_rejected",
    partitions_def=BATCHES,
    additional_ins={"accepted": dg.AssetIn(key=asset_key(RAW_LISTINGS))},
    description=f"Warns when more than {REJECTED_SHARE_WARNING:.0%} of a feed's rows broke its contract.",
)
def few_rows_rejected(rejected: pa.Table, accepted: pa.Table) -> dg.AssetCheckResult:
    """Compare the rejected share with the warning level."""
    rows = rejected.num_rows + accepted.num_rows
    share = rejected.num_rows / rows if rows else 0.0
    return dg.AssetCheckResult(
        passed=share <= REJECTED_SHARE_WARNING,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{rejected.num_rows} of {rows} rows rejected ({share:.1%}).",
        metadata={"rejected share": share},
    )


CHECKS = (
    contract_check(RAW_LISTINGS, partitions_def=BATCHES),
    contract_check(REJECTED_LISTINGS, partitions_def=BATCHES),
    nothing_is_lost,
    few_rows_rejected,
)
