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

from assets.batches import BATCHES, Batch, BatchArchive, BatchBook, IntakeCounts
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
        try:
            if (before := _earlier(batch, batch_book, batch_archive)) is not None:
                intake = replay(before, batch.replayed, contract, Path(folder), read_again=delivered, erased=erased)
            else:
                intake = take_in(delivered(), contract, Path(folder), erased=erased)
        except (DeliveryGone, FeedUnreadable) as error:
            # Nothing of an unreadable feed is applied: half a snapshot would delist the other half.
            batch_book.refuse(batch.batch_key, str(error))
            raise dg.Failure(str(error), allow_retries=False) from error
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
            metadata=_accepted_metadata(intake, batch.object_key),
            data_version=dg.DataVersion(f"{intake.content_digest}-accepted"),
        )
        yield dg.Output(
            intake.rejected_path,
            "rejected_listings",
            metadata=_rejected_metadata(intake),
            data_version=dg.DataVersion(f"{intake.content_digest}-rejected"),
        )


def _earlier(batch: Batch, book: BatchBook, archive: BatchArchive) -> Earlier | None:
    """Return what the batch's rows became, where only some of them are to be taken through again."""
    if not batch.replayed or batch.artifacts is None:
        return None
    accepted = archive.read(batch.artifacts.raw_listings)
    rejected = archive.read(batch.artifacts.rejected_listings)
    # Replaying moves rows from one fate to another and changes their sum never, even in a run that came to nothing.
    repeats = book.intake(batch.batch_key).read - accepted.num_rows - rejected.num_rows
    return Earlier(accepted=accepted, rejected=rejected, repeats=repeats)


def _accepted_metadata(intake: Intake, object_key: str) -> dict[str, Any]:
    sample = _beginning(intake.accepted_path, rows=8)
    metadata: dict[str, Any] = {
        "feed": object_key,
        "rows read": intake.read,
        "rows accepted": intake.accepted,
        "rows rejected": intake.rejected,
        "exact repeats": intake.repeats,
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
