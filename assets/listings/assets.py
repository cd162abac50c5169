"""The assets of the listings stage: a delivered feed becomes accepted and rejected rows.

Belongs here: reading, calling the pure code, reporting. Not here: formats, contracts, validation.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from assets.batches import BATCHES, CONTRACT_DIGEST, REPEATS, Batch, BatchArchive, BatchBook, IntakeCounts
from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.intake import Earlier, Intake, rows_of_file, take_in
from assets.listings.plots import draw_intake
from assets.listings.ports import DeliveryGone, LandingZone
from assets.listings.readers import BrokenRow, Row
from assets.listings.replaying import replay
from assets.listings.schema import RAW_LISTINGS, REJECTED_LISTINGS
from assets.presentation import OWNERS, asset_key, markdown_table, plot, preview, table_metadata
from assets.versions import code_version


@dg.multi_asset(
    name="listings__take_in_feed",
    partitions_def=BATCHES,
    code_version=code_version("assets.listings"),
    outs={
        "raw_listings": dg.AssetOut(
            key=asset_key(RAW_LISTINGS),
            group_name=RAW_LISTINGS.stage,
            description="Offers of one delivered feed that keep the source's contract, exactly as published.",
            owners=OWNERS,
            kinds={"python", "parquet", "s3"},
            metadata=table_metadata(RAW_LISTINGS),
            dagster_type=Path,
        ),
        "rejected_listings": dg.AssetOut(
            key=asset_key(REJECTED_LISTINGS),
            group_name=RAW_LISTINGS.stage,
            description="Rows of the feed that broke the contract, kept whole, each with its reason.",
            owners=OWNERS,
            kinds={"python", "parquet", "s3"},
            metadata=table_metadata(REJECTED_LISTINGS),
            dagster_type=Path,
        ),
    },
)
def take_in_feed(
    context: dg.AssetExecutionContext,
    batch_book: dg.ResourceParam[BatchBook],
    batch_archive: dg.ResourceParam[BatchArchive],
    landing_zone: dg.ResourceParam[LandingZone],
) -> Iterator[dg.Output[Path]]:
    """Read the batch's file once, as a stream, and part its rows into accepted and rejected ones.

    Where only rejected rows are to be taken through again, all others stay what they became the first time.
    """
    batch = batch_book.batch(context.partition_key)
    contract = FeedContract.model_validate(batch.contract)
    with TemporaryDirectory(prefix="offerline-feed-") as folder:

        def delivered() -> Iterator[Row | BrokenRow]:
            file = landing_zone.fetch(batch.object_key, batch.etag, Path(folder))
            return rows_of_file(file, contract, name=batch.object_key)

        erased = batch_book.erased(batch.source)
        before = _earlier(batch, batch_archive)
        try:
            if batch.replayed is not None and before is not None:
                intake = replay(before, batch.replayed, contract, Path(folder), read_again=delivered, erased=erased)
            else:
                intake = take_in(delivered(), contract, Path(folder), erased=erased)
        except (DeliveryGone, FeedUnreadable) as error:
            # Nothing of an unreadable feed is applied: half a snapshot would delist the other half.
            reason = str(error) if before is None else f"the rejected rows cannot be read again; they stay: {error}"
            batch_book.refuse(batch.batch_key, reason, read_by=batch.contract_digest)
            raise dg.Failure(reason, allow_retries=False) from error
        batch_book.record_intake(
            batch.batch_key,
            IntakeCounts(
                read=intake.read,
                accepted=intake.accepted,
                rejected=intake.rejected,
                repeated=intake.repeats,
                reasons=intake.reasons,
            ),
        )
        yield dg.Output(
            intake.accepted_path,
            "raw_listings",
            metadata=_accepted_metadata(intake, batch),
            data_version=dg.DataVersion(f"{intake.content_digest}-accepted"),
        )
        yield dg.Output(
            intake.rejected_path,
            "rejected_listings",
            metadata=_rejected_metadata(intake),
            data_version=dg.DataVersion(f"{intake.content_digest}-rejected"),
        )


def _earlier(batch: Batch, archive: BatchArchive) -> Earlier | None:
    """Return what the batch's rows became, where only some of them are to be taken through again.

    Where nobody wrote down how many repeats there were, all of it is read anew.
    """
    kept = batch.artifacts
    if batch.replayed is None or kept is None or kept.repeats is None:
        return None
    return Earlier(
        accepted=archive.read(kept.raw_listings), rejected=archive.read(kept.rejected_listings), repeats=kept.repeats
    )


def _accepted_metadata(intake: Intake, batch: Batch) -> dict[str, Any]:
    sample = _beginning(intake.accepted_path, rows=8)
    metadata: dict[str, Any] = {
        "feed": batch.object_key,
        CONTRACT_DIGEST: batch.contract_digest,
        "rows read": intake.read,
        "rows accepted": intake.accepted,
        "rows rejected": intake.rejected,
        REPEATS: intake.repeats,
        "fate of the rows": plot(lambda axes: draw_intake(axes, intake.accepted, intake.repeats, intake.reasons)),
    }
    if sample is not None:
        metadata["preview"] = preview(sample, ["listing_id", "seller", "title", "price", "currency"])
    return metadata


def _rejected_metadata(intake: Intake) -> dict[str, Any]:
    metadata: dict[str, Any] = {"reasons": markdown_table(("reason", "rows"), intake.reasons.most_common())}
    if (sample := _beginning(intake.rejected_path, rows=20)) is not None:
        metadata["examples"] = preview(sample, ["row_number", "reason", "field", "detail"], rows=20)
    return metadata


def _beginning(path: Path, *, rows: int) -> pa.RecordBatch | None:
    """Return the first rows of a Parquet file; None where it has none."""
    with pq.ParquetFile(path) as file:
        return next(file.iter_batches(batch_size=rows), None)


ASSETS = (take_in_feed,)
