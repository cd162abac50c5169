"""The dbt project as assets: which model is which asset, and which test is which check.

Belongs here: reading a manifest. Not here: running dbt, importing it (that takes longer than all other
definitions together).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.presentation import OWNERS

#: Group of the models' assets and first part of their keys.
STAGE = "marts"

Node = Mapping[str, Any]


def asset_key(node: Node) -> dg.AssetKey:
    """Name the asset that a model or a source's table is.

    A model is `marts/<name>`; a source's table is `<source>/<table>`, unless its meta names the asset that writes it.
    """
    named = node["config"].get("meta", {}).get("dagster", {}).get("asset_key")
    if named:
        return dg.AssetKey(named)
    if node["resource_type"] == "source":
        return dg.AssetKey([node["source_name"], node["name"]])
    return dg.AssetKey([STAGE, node["name"]])


def model_specs(manifest: Mapping[str, Any]) -> Sequence[dg.AssetSpec]:
    """Describe every model of a manifest as an asset."""
    return [
        dg.AssetSpec(
            key=asset_key(model),
            deps=sorted({asset_key(_node(manifest, parent)) for parent in model["depends_on"]["nodes"]}),
            description=model["description"],
            group_name=STAGE,
            owners=list(OWNERS),
            kinds={"dbt", "postgres", model["config"]["materialized"]},
            # The checksum is of the SQL; the columns' promises are part of what a model does too.
            code_version=model["checksum"]["checksum"][:16],
            skippable=True,
            metadata={
                "dagster/column_schema": _column_schema(model),
                "dagster/table_name": f"{model['schema']}.{model['alias']}",
                "dagster/storage_kind": "postgres",
                "dbt/sql": dg.MetadataValue.md(f"```sql\n{model['raw_code']}\n```"),
            },
        )
        for model in _nodes(manifest, "model")
    ]


def check_specs(manifest: Mapping[str, Any]) -> Sequence[dg.AssetCheckSpec]:
    """Describe every test of a manifest as a check of the model it is about.

    A test that stops the models after it (severity `error`) is a blocking check.
    """
    specs = []
    for test in _nodes(manifest, "test"):
        subject = asset_key(_node(manifest, _subject(manifest, test)))
        parents = {asset_key(_node(manifest, parent)) for parent in test["depends_on"]["nodes"]}
        specs.append(
            dg.AssetCheckSpec(
                name=test["name"],
                asset=subject,
                additional_deps=sorted(parents - {subject}),
                description=test["description"] or _test_description(test),
                blocking=str(test["config"]["severity"]).lower() == "error",
            )
        )
    return specs


def selected_nodes(context: dg.AssetExecutionContext) -> Sequence[str] | None:
    """Names of the models and tests that an execution is to run; None for all."""
    if not context.is_subset:
        return None
    models = {key.path[-1] for key in context.selected_asset_keys}
    return sorted(models | {key.name for key in context.selected_asset_check_keys})


def _nodes(manifest: Mapping[str, Any], kind: str) -> Iterator[Node]:
    """Nodes of a kind in a fixed order."""
    nodes = manifest["nodes"]
    return (nodes[unique_id] for unique_id in sorted(nodes) if nodes[unique_id]["resource_type"] == kind)


def _node(manifest: Mapping[str, Any], unique_id: str) -> Node:
    """A model or a source's table."""
    node: Node = manifest["nodes"].get(unique_id) or manifest["sources"][unique_id]
    return node


def _subject(manifest: Mapping[str, Any], test: Node) -> str:
    """Id of the model that a test is about.

    Raises:
        ValueError: a test reads several models and does not say which of them it judges.
    """
    parents: list[str] = test["depends_on"]["nodes"]
    if len(set(parents)) == 1:
        return parents[0]
    named = test["config"].get("meta", {}).get("dagster", {}).get("ref", {}).get("name")
    if named:
        return f"model.{test['package_name']}.{named}"
    if attached := test.get("attached_node"):
        return str(attached)
    raise ValueError(
        f"dbt test {test['name']} ({test['original_file_path']}) reads {len(parents)} models: "
        "name the one it judges in config(meta={'dagster': {'ref': {'name': ...}}})"
    )


def _test_description(test: Node) -> str:
    """What a test demands, from its kind and its arguments."""
    generic = test.get("test_metadata")
    if not generic:
        return f"No row may be returned by {test['original_file_path']}."
    arguments = {name: value for name, value in generic["kwargs"].items() if name not in ("model", "column_name")}
    told = ", ".join(f"{name} = {value}" for name, value in sorted(arguments.items()))
    demand = f"{generic['name'].replace('_', ' ')}{f' ({told})' if told else ''}"
    return f"{test['column_name']}: {demand}" if test.get("column_name") else demand


def _column_schema(model: Node) -> dg.TableSchema:
    """The columns that a model promises."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=name, type=column["data_type"] or "?", description=column["description"])
            for name, column in model["columns"].items()
        ]
    )
