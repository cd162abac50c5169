"""The tables that were made of every batch, as Dagster's events name them and the artifacts bucket keeps them.

Belongs here: finding and reading a batch's artifacts outside a run of its own. Not here: writing them (see
`parquet_io`), what is done with them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.batches import CONTRACT_DIGEST, REPEATS, BatchArtifacts
from resources.parquet_io import ParquetIOManager, uri_of

#: Table -> the stage that makes it; together they are its asset's key.
STAGES = {
    "raw_listings": "listings",
    "rejected_listings": "listings",
    "cleaned_products": "products",
    "rejected_products": "products",
}


@dataclass(frozen=True, slots=True)
class ArtifactArchive:
    """Satisfies `assets.batches.BatchArchive`.

    Args:
        artifacts: Where the artifacts lie.
        instance: Dagster's instance, whose events say which of them were finished.
    """

    artifacts: ParquetIOManager
    instance: dg.DagsterInstance

    def newest(self, batch_key: str) -> BatchArtifacts:
        """Return the names of the batch's tables as they were made last, and how its rows were read.

        Raises:
            ArtifactMissing: one of them never was.
        """
        made = {
            name: self.artifacts.newest(self.instance, dg.AssetKey([stage, name]), batch_key)
            for name, stage in STAGES.items()
        }
        told = made["raw_listings"].metadata
        tables: dict[str, Any] = {name: uri_of(each) for name, each in made.items()}
        return BatchArtifacts(
            **tables,
            repeats=int(str(told[REPEATS].value)) if REPEATS in told else None,
            contract_digest=str(told[CONTRACT_DIGEST].value) if CONTRACT_DIGEST in told else None,
        )

    def read(self, name: str) -> pa.Table:
        """Return the table of that name.

        Raises:
            ArtifactMissing: it is gone.
            ObjectStoreUnavailable: the store could not be reached.
        """
        return self.artifacts.read(name)

    def scan(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the table of that name piece by piece; errors as for `read`.

        Args:
            name: Which table.
            columns: Which of its columns; all of them unless given.
        """
        return self.artifacts.scan(name, columns)
