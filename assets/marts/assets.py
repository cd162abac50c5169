"""The marts: tables that readers of prices ask, built and tested by dbt.

Belongs here: the asset shell around dbt. Not here: SQL (see `dbt_project`), what the manifest says (`graph`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from assets.marts.graph import asset_key, check_specs, model_specs, selected_nodes
from assets.marts.ports import DbtEvent, DbtRunner


def build_marts_assets(manifest: Mapping[str, Any]) -> dg.AssetsDefinition:
    """Build the assets and checks of all models and tests in a dbt manifest.

    Models and tests may be selected one by one. The assets need the resource `dbt` (a `DbtRunner`).
    """

    @dg.multi_asset(
        name="marts__build",
        specs=model_specs(manifest),
        check_specs=check_specs(manifest),
        can_subset=True,
    )
    def build(context: dg.AssetExecutionContext, dbt: dg.ResourceParam[DbtRunner]) -> Iterator[DbtEvent]:
        """Run `dbt build` for what was selected."""
        yield from dbt.build(context, nodes=selected_nodes(context), asset_key=asset_key)

    return build
