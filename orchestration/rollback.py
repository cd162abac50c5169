"""Taking a batch out of the catalogue.

Belongs here: doing so in the catalogue and telling Dagster of it. Not here: how it is done (see
`assets.products.applying`), what is made of the catalogue afterwards (see `refresh`).
"""

import dagster as dg

from assets.batches import BatchArchive
from assets.catalogue import Catalogue
from assets.presentation import asset_key
from assets.products.applying import Applied, roll_back
from assets.products.assets import changes_metadata
from assets.products.schema import CATALOGUE
from orchestration.settings import UserError
from resources.batch_book import PostgresBatchBook, UnknownBatch


def roll_back_batch(
    catalogue: Catalogue, archive: BatchArchive, book: PostgresBatchBook, instance: dg.DagsterInstance, batch_key: str
) -> Applied:
    """Take a batch out and let Dagster know that the catalogue has changed; return what that changed.

    Raises:
        UserError: no such batch was delivered.
    """
    try:
        batch = book.batch(batch_key)
    except UnknownBatch as error:
        raise UserError(str(error)) from error
    undone = roll_back(catalogue, archive, batch)
    if batch.artifacts is not None:
        # Where it was rolled back before, nobody knows what that changed, or whether it was told: say so again.
        is_known = undone.made_anew_from or undone.products
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key(CATALOGUE),
                description=f"{batch_key} was rolled back.",
                partition=batch_key,
                metadata=changes_metadata(undone) if is_known else None,
            )
        )
    return undone
