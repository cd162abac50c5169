"""The stages, one room each: listings, products, embeddings, clusters, summaries, marts."""

import warnings

# Used on purpose: per-batch checks and content digests as data versions. Dagster may still change how they are spelled,
# which the tests of the definitions would notice.
warnings.filterwarnings("ignore", message=".*partitions_def on an AssetCheckSpec.*")
warnings.filterwarnings("ignore", message=".*`data_version` of initializer.*")
