"""The checks of the clusters stage fail on a table that was made wrong, and pass on a sound one."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from assets.clusters.checks import (
    CHECKS,
    LARGEST_CLUSTER,
    SHARE_COUNTS_FROM,
    catalogue_holds_the_clusters,
    every_candidate_is_scored,
    every_product_in_one_cluster,
    no_giant_cluster,
)


def verdict(result: Any) -> dg.AssetCheckResult:
    assert isinstance(result, dg.AssetCheckResult)
    assert result.description
    return result


def embedded(*names: str) -> pa.Table:
    return pa.table({"product_id": pa.array(names, pa.string())})


def clustered(*rows: tuple[str, str, int]) -> pa.Table:
    """Rows of product, cluster, stated size."""
    names, homes, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "product_id": pa.array(names, pa.string()),
            "cluster_id": pa.array(homes, pa.string()),
            "cluster_size": pa.array(sizes, pa.int32()),
        }
    )


def test_a_partition_of_all_products_passes() -> None:
    sound = clustered(("b", "x", 2), ("a", "x", 2), ("c", "y", 1))
    assert verdict(every_product_in_one_cluster(sound, embedded("a", "b", "c"))).passed
    assert verdict(every_product_in_one_cluster(clustered(), embedded())).passed


@pytest.mark.parametrize(
    ("rows", "products", "expected"),
    [
        ([("a", "x", 1)], "ab", "2 products, 1 memberships"),
        ([("a", "x", 1), ("b", "y", 1)], "a", "1 products, 2 memberships"),
        ([("a", "x", 1), ("a", "y", 1)], "a", "1 products, 2 memberships"),
        ([("a", "x", 1), ("a", "y", 1)], "ab", "2 products, 2 memberships"),
        ([("a", "x", 2), ("b", "y", 1)], "ab", "1 clusters of another size than stated"),
        ([("a", "x", 1), ("b", "x", 1)], "ab", "1 clusters of another size than stated"),
        pytest.param(
            [("a", "x", 1), ("b", "x", 2)],
            "ab",
            "1 clusters of another size than stated",
        ),
    ],
    ids=["missing", "foreign", "twice", "one twice, one missing", "too large", "too small", "two sizes"],
)
def test_what_is_no_partition_fails(rows: Sequence[tuple[str, str, int]], products: str, expected: str) -> None:
    result = verdict(every_product_in_one_cluster(clustered(*rows), embedded(*products)))
    assert not result.passed
    assert expected in str(result.description)


def sized(*sizes: int) -> pa.Table:
    return clustered(
        *((f"{cluster}-{member}", f"c{cluster}", size) for cluster, size in enumerate(sizes) for member in range(size))
    )


@pytest.mark.parametrize(
    ("sizes", "passes"),
    [
        ([], True),
        ([LARGEST_CLUSTER], True),
        ([LARGEST_CLUSTER + 1], False),
        ([25, *[1] * (SHARE_COUNTS_FROM - 25)], True),
        ([26, *[1] * (SHARE_COUNTS_FROM - 26)], False),
        ([26, *[1] * (SHARE_COUNTS_FROM - 27)], True),
        ([LARGEST_CLUSTER, *[1] * 5000], True),
        ([LARGEST_CLUSTER + 1, *[1] * 5000], False),
    ],
)
def test_a_giant_cluster_fails_by_its_size_or_by_its_share_of_many(sizes: list[int], passes: bool) -> None:
    result = verdict(no_giant_cluster(sized(*sizes)))
    assert result.passed == passes
    assert (result.metadata or {})["largest cluster"] == dg.MetadataValue.int(max(sizes, default=0))


def candidates(*pairs: tuple[str, str]) -> pa.Table:
    return pa.table(
        {side: pa.array([pair[at] for pair in pairs], pa.string()) for at, side in ((0, "left_id"), (1, "right_id"))}
    )


def scored(*rows: tuple[str, str, float, str | None]) -> pa.Table:
    schema = pa.schema(
        [("left_id", pa.string()), ("right_id", pa.string()), ("probability", pa.float64()), ("veto", pa.string())]
    )
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def test_scores_of_exactly_the_candidates_pass() -> None:
    sound = scored(("b", "c", 0.0, "gtin"), ("a", "b", 0.9, None))
    assert verdict(every_candidate_is_scored(sound, candidates(("a", "b"), ("b", "c")))).passed
    assert verdict(every_candidate_is_scored(scored(), candidates())).passed


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "b", 0.9, None)],
        [("a", "b", 0.9, None), ("b", "c", 0.1, None), ("a", "c", 0.1, None)],
        [("a", "b", 0.9, None), ("c", "b", 0.1, None)],
        [("a", "b", 0.9, None), ("b", "c", 0.01, "gtin")],
    ],
    ids=["unscored", "not a candidate", "turned round", "vetoed and still possible"],
)
def test_scores_that_are_not_those_of_the_candidates_fail(rows: Sequence[tuple[str, str, float, str | None]]) -> None:
    assert not verdict(every_candidate_is_scored(scored(*rows), candidates(("a", "b"), ("b", "c")))).passed


class Catalogue:
    """A catalogue that holds some memberships."""

    def __init__(self, **homes: str) -> None:
        self.homes = homes

    def read(self, sql: str, schema: pa.Schema, **params: Any) -> pa.Table:
        assert "cluster_members" in sql
        return pa.table({"product_id": list(self.homes), "cluster_id": list(self.homes.values())}, schema=schema)


@pytest.mark.parametrize(
    ("homes", "differing"),
    [
        ({"a": "x", "b": "x"}, []),
        ({"a": "x"}, ["b"]),
        ({"a": "x", "b": "x", "z": "y"}, ["z"]),
        ({"a": "x", "b": "y"}, ["b"]),
        ({}, ["a", "b"]),
    ],
    ids=["equal", "missing", "surplus", "elsewhere", "empty"],
)
def test_the_catalogue_must_hold_the_clusters_of_the_artifact(homes: dict[str, str], differing: list[str]) -> None:
    artifact = clustered(("a", "x", 2), ("b", "x", 2))
    result = verdict(catalogue_holds_the_clusters(pa.table({"kind": []}), artifact, catalogue=Catalogue(**homes)))
    assert result.passed == (not differing)
    assert (result.metadata or {})["differing"].value == differing


def test_every_check_of_the_stage_is_blocking() -> None:
    specs = [spec for check in CHECKS for spec in check.check_specs]
    assert all(spec.blocking for spec in specs)
    assert len({spec.key for spec in specs}) == len(specs) == 9
