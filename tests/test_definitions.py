"""Every asset introduces itself, and the graph is the one that the design draws."""

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from orchestration.build import RESOURCES, build_definitions
from orchestration.settings import Settings

#: The picture in the design: asset -> what it is made from.
GRAPH = {
    "listings/raw_listings": set(),
    "listings/rejected_listings": set(),
    "products/cleaned_products": {"listings/raw_listings"},
    "products/rejected_products": {"listings/raw_listings"},
    "products/catalogue": {"listings/raw_listings", "products/cleaned_products", "products/rejected_products"},
    "products/current_products": {"products/catalogue"},
    "embeddings/embedding_model": set(),
    "embeddings/product_embeddings": {"products/current_products", "embeddings/embedding_model"},
    "embeddings/pgvector_index": {"products/current_products", "embeddings/product_embeddings"},
    "embeddings/qdrant_index": {"products/current_products", "embeddings/product_embeddings"},
    "clusters/candidate_pairs": {"products/current_products", "embeddings/product_embeddings"},
    "clusters/match_model": {"clusters/candidate_pairs"},
    "clusters/scored_pairs": {"clusters/candidate_pairs", "clusters/match_model"},
    "clusters/product_clusters": {"clusters/scored_pairs"},
    "clusters/cluster_events": {"clusters/product_clusters", "clusters/scored_pairs"},
    "clusters/match_quality": {"clusters/product_clusters"},
    "summaries/golden_records": {"products/current_products", "clusters/product_clusters", "clusters/cluster_events"},
    "summaries/cluster_summaries": {"summaries/golden_records"},
}
STAGES = {"listings", "products", "embeddings", "clusters", "summaries", "marts"}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(Settings())


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_the_graph_is_the_one_of_the_design(specs: dict[str, dg.AssetSpec]) -> None:
    built = {
        name: {dep.asset_key.to_user_string() for dep in spec.deps}
        for name, spec in specs.items()
        if not name.startswith("marts/")
    }
    assert built == GRAPH


def test_every_asset_introduces_itself(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        assert spec.group_name == spec.key.path[0], f"{name}: its group is not the first part of its key"
        assert spec.group_name in STAGES, name
        assert spec.description, f"{name} has no description"
        assert spec.owners, f"{name} has no owner"
        assert spec.kinds, f"{name} has no kind"
        assert spec.code_version, f"{name} has no code version"


def test_every_table_shows_its_columns(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        schema = spec.metadata.get("dagster/column_schema")
        if schema is None:
            assert {"mlflow", "qdrant", "pgvector"} & spec.kinds, f"{name} shows no columns and is no model or index"
            continue
        assert isinstance(schema, dg.TableSchema)
        assert schema.columns, name
        for column in schema.columns:
            assert column.description, f"{name}.{column.name} has no description"


def test_column_lineage_names_columns_that_exist(specs: dict[str, dg.AssetSpec]) -> None:
    lineages = {
        name: spec.metadata["dagster/column_lineage"]
        for name, spec in specs.items()
        if "dagster/column_lineage" in spec.metadata
    }
    assert len(lineages) >= 4
    for name, lineage in lineages.items():
        for column, sources in lineage.deps_by_column.items():
            assert column in _columns(specs[name]), f"{name}.{column}"
            for source in sources:
                upstream = source.asset_key.to_user_string()
                assert source.column_name in _columns(specs[upstream]), (
                    f"{name}.{column} <- {upstream}.{source.column_name}"
                )


def _columns(spec: dg.AssetSpec) -> set[str]:
    return {column.name for column in spec.metadata["dagster/column_schema"].columns}


def test_every_stage_boundary_is_guarded_by_a_blocking_check(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    blocking = {key.asset_key.path[0] for key in graph.asset_check_keys if graph.get(key).blocking}
    assert STAGES - {"marts"} <= blocking


def test_the_readme_draws_the_graph(specs: dict[str, dg.AssetSpec]) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    drawing = re.search(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert drawing
    drawn = {
        (source, target)
        for sources, targets in re.findall(r"([\w& ]+) --> ([\w& ]+)", drawing[1])
        for source in sources.split(" & ")
        for target in targets.strip().split(" & ")
    }
    wanted = {(dependency.asset_key.path[-1], spec.key.path[-1]) for spec in specs.values() for dependency in spec.deps}
    assert {(source.strip(), target) for source, target in drawn} == wanted


def test_what_happens_per_batch_is_partitioned_and_nothing_else_is(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        if spec.key.path[0] in ("listings", "products") and name != "products/current_products":
            assert spec.partitions_def is not None, name
        else:
            assert spec.partitions_def is None, name


def test_definitions_load_without_any_service_and_without_heavy_libraries() -> None:
    heavy = (
        "torch",
        "mlflow",
        "sentence_transformers",
        "great_expectations",
        "sklearn",
        "matplotlib",
        "dbt",
        "onnxruntime",
    )
    code = (
        "import sys; from orchestration.build import build_definitions; from orchestration.settings import Settings; "
        "build_definitions(Settings()).resolve_asset_graph(); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert loaded.stdout.strip() == "[]"


def test_a_resource_can_be_replaced() -> None:
    stand_in = object()
    definitions = build_definitions(Settings(), overrides={"embedder": stand_in})
    assert definitions.resources is not None
    assert definitions.resources["embedder"] is stand_in
    assert set(RESOURCES) <= set(definitions.resources)
