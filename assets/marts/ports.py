"""What the marts need from outside: someone who runs dbt.

Belongs here: the protocol. Not here: its implementation (see `resources`), which node is which asset (`graph`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import dagster as dg

DbtEvent = (
    dg.Output[Any] | dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckResult | dg.AssetCheckEvaluation
)


class DbtRunner(Protocol):
    """Runs a dbt project against the warehouse."""

    def build(
        self,
        context: dg.AssetExecutionContext,
        *,
        nodes: Sequence[str] | None,
        asset_key: Callable[[Mapping[str, Any]], dg.AssetKey],
    ) -> Iterator[DbtEvent]:
        """Build and test the project, telling Dagster of each model and test as it is done.

        Args:
            context: The execution of the assets.
            nodes: Names of the models and tests to run; all of them when None.
            asset_key: Asset that a node of the manifest is.

        Raises:
            Exception: a model could not be built, or a test that protects others failed.
        """
        ...
