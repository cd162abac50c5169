"""What can be started as a whole: taking in one batch, and bringing the catalogue up to date.

Belongs here: jobs as selections of assets. Not here: when they start (see `sensors`).
"""

import dagster as dg

from assets.presentation import asset_key
from assets.products.schema import CURRENT_PRODUCTS
from orchestration.step_retries import STEP_RETRIES

#: Stages of one batch, run once per partition and in parallel with other batches.
BATCH_STAGES = ("listings", "products")
#: Stages of the whole catalogue, run once for all batches that came since.
CATALOGUE_STAGES = ("embeddings", "clusters", "summaries", "marts")
#: Tag by which the run queue keeps the whole-catalogue runs one at a time.
STAGE_TAG = "offerline/stage"

_CURRENT_PRODUCTS = dg.AssetSelection.assets(asset_key(CURRENT_PRODUCTS))

INGEST = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.groups(*BATCH_STAGES) - _CURRENT_PRODUCTS,
    description="Take in one delivered batch: listings, cleaned products, current catalogue.",
    tags={STAGE_TAG: "batch"},
    op_retry_policy=STEP_RETRIES,
)

CATALOGUE = dg.define_asset_job(
    "catalogue",
    selection=dg.AssetSelection.groups(*CATALOGUE_STAGES) | _CURRENT_PRODUCTS,
    description="Bring the whole catalogue up to date: current products, embeddings, clusters, summaries, marts.",
    tags={STAGE_TAG: "catalogue"},
    op_retry_policy=STEP_RETRIES,
)
