"""The checks of the clusters stage fail on a table that was made wrong, and pass on a sound one."""

import itertools
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from assets.clusters.checks import (
    CHECKS,
    COHESION,
    FEW_MERGED,
    catalogue_holds_the_clusters,
    every_candidate_is_scored,
    every_product_in_one_cluster,
    few_clusters_merged,
    no_giant_cluster,
)
from assets.clusters.cohesion import find_bridge, measure_cohesion


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


def pairs_of(*pairs: tuple[str, str, float]) -> pa.Table:
    left, right, probability = zip(*pairs, strict=True) if pairs else ((), (), ())
    return pa.table(
        {
            "left_id": pa.array(left, pa.string()),
            "right_id": pa.array(right, pa.string()),
            "probability": pa.array(probability, pa.float64()),
            "judgement": pa.nulls(len(left), pa.string()),
        }
    )


def judged(scored: pa.Table, *said: str | None) -> pa.Table:
    """The same pairs with what a judge said of each."""
    return scored.drop_columns("judgement").append_column("judgement", pa.array(said, pa.string()))


def named(*names: str, sellers: int = 1) -> pa.Table:
    """Products called after their ids, of so many sellers in turn."""
    shops = pa.array([f"shop{number % sellers}" for number in range(len(names))], pa.string())
    titles = pa.array([f"title of {name}" for name in names], pa.string())
    return pa.table({"product_id": pa.array(names, pa.string()), "title": titles, "source": shops, "seller": shops})


def clique(size: int, probability: float) -> tuple[pa.Table, pa.Table, list[str]]:
    """One cluster whose pairs are all equally likely."""
    names = [f"p{number:03}" for number in range(size)]
    scored = pairs_of(*((a, b, probability) for a, b in itertools.combinations(names, 2)))
    return clustered(*((name, "c1", size) for name in names)), scored, names


def test_cohesion_counts_pairs_that_were_never_proposed() -> None:
    clusters = clustered(("a", "x", 3), ("b", "x", 3), ("c", "x", 3), ("d", "y", 2), ("e", "y", 2), ("f", "z", 1))
    scored = pairs_of(("a", "b", 0.9), ("b", "c", 0.6), ("d", "e", 0.4), ("c", "d", 1.0))
    assert measure_cohesion(clusters, scored).to_pylist() == [
        {"cluster_id": "y", "offers": 2, "cohesion": pytest.approx(0.4)},
        {"cluster_id": "x", "offers": 3, "cohesion": pytest.approx(0.5)},
    ]


def test_what_a_judge_joined_holds_together() -> None:
    """Its yes to an unlikely pair is no sign of a slipped threshold, and its no to a likely one is."""
    clusters = clustered(("a", "x", 2), ("b", "x", 2), ("c", "y", 2), ("d", "y", 2))
    scored = judged(pairs_of(("a", "b", 0.05), ("c", "d", 0.9)), "yes", "no")
    assert measure_cohesion(clusters, scored).column("cohesion").to_pylist() == [0.0, 1.0]
    assert verdict(no_giant_cluster(clusters, judged(scored, "yes", "unsure"), named(*"abcd"))).passed
    assert not verdict(no_giant_cluster(clusters, judged(scored, "unsure", "yes"), named(*"abcd"))).passed


def test_the_bridge_is_the_offer_whose_neighbours_are_not_alike() -> None:
    groups = ["abc", "def"]
    scored = pairs_of(
        *((one, other, 0.9) for group in groups for one, other in itertools.combinations(group, 2)),
        ("a", "m", 0.8), ("b", "m", 0.8), ("d", "m", 0.7), ("e", "m", 0.8),
    )  # fmt: skip
    bridge, one, other = find_bridge("x", clustered(*((name, "x", 7) for name in "abcdefm")), scored)
    assert bridge == "m"
    assert {one, other} in ({"a", "e"}, {"b", "e"}, {"a", "d"}, {"b", "d"})
    assert find_bridge("x", clustered(("a", "x", 2), ("b", "x", 2)), scored) == ["a", "b"]


@pytest.mark.parametrize(
    ("size", "probability", "sellers", "passes"),
    [
        (2, COHESION.loosest, 1, True),
        (2, COHESION.loosest - 0.01, 1, False),
        (30, COHESION.loosest + 0.01, 1, True),
        (30, COHESION.loosest - 0.01, 1, False),
        (COHESION.most_offers, 0.9, 1, True),
        (COHESION.most_offers + 1, 0.9, 1, False),
        (COHESION.most_offers + 1, 0.9, COHESION.most_offers + 1, True),
    ],
)
def test_a_cluster_is_loose_or_crowded_in_a_catalogue_of_any_size(
    size: int, probability: float, sellers: int, passes: bool
) -> None:
    clusters, scored, names = clique(size, probability)
    result = verdict(no_giant_cluster(clusters, scored, named(*names, sellers=sellers)))
    assert result.passed == passes
    metadata = result.metadata or {}
    assert metadata["largest cluster"] == dg.MetadataValue.int(size)
    assert metadata["loosest cluster"].value == pytest.approx(probability)
    assert ("title of p000" in metadata["clusters"].value) is not passes
    assert ("c1" in str(result.description)) is not passes


def test_a_catalogue_in_which_nothing_was_joined_holds_together() -> None:
    assert verdict(no_giant_cluster(clustered(), pairs_of(), named())).passed
    alone = clustered(("a", "x", 1), ("b", "y", 1))
    assert verdict(no_giant_cluster(alone, pairs_of(("a", "b", 0.1)), named("a", "b"))).passed


@pytest.mark.parametrize(("merged", "passes"), [(0, True), (FEW_MERGED, True), (FEW_MERGED + 1, False)])
def test_a_run_that_merges_many_clusters_warns(merged: int, passes: bool) -> None:
    names = [f"{letter}{number:02}" for number in range(30) for letter in "ab"]
    before = Catalogue(**{name: f"of {name}" for name in names})
    after = clustered(*((name, f"of a{name[1:]}" if int(name[1:]) < merged else f"of {name}", 0) for name in names))
    result = verdict(few_clusters_merged(after, named(*names), catalogue=before))
    assert (result.passed, result.severity) == (passes, dg.AssetCheckSeverity.WARN)
    assert f"{merged} of 60 clusters" in str(result.description)
    assert ("title of b00 | title of a00" in (result.metadata or {})["largest"].value) == (merged > 0)


def test_a_first_clustering_merges_nothing() -> None:
    assert verdict(few_clusters_merged(clustered(("a", "x", 1)), named("a"), catalogue=Catalogue())).passed


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
        [("a", "b", 0.9, None), ("a", "b", 0.9, None), ("b", "c", 0.1, None)],
        [("a", "b", 0.9, None), ("c", "b", 0.1, None)],
        [("a", "b", 0.9, None), ("b", "c", 0.01, "gtin")],
    ],
    ids=["unscored", "not a candidate", "scored twice", "turned round", "vetoed and still possible"],
)
def test_scores_that_are_not_those_of_the_candidates_fail(rows: Sequence[tuple[str, str, float, str | None]]) -> None:
    assert not verdict(every_candidate_is_scored(scored(*rows), candidates(("a", "b"), ("b", "c")))).passed


class Catalogue:
    """A catalogue that holds some memberships."""

    def __init__(self, **homes: str) -> None:
        self.homes = homes

    def read(self, sql: str, schema: pa.Schema, **params: Any) -> pa.Table:
        assert "cluster_members" in sql
        homes = ((product, *home.partition("@")) for product, home in self.homes.items())
        rows = [(product, cluster, float(confidence or 1)) for product, cluster, _, confidence in homes]
        return pa.Table.from_pylist([dict(zip(schema.names, row, strict=False)) for row in rows], schema=schema)


@pytest.mark.parametrize(
    ("homes", "differing"),
    [
        ({"a": "x", "b": "x"}, {}),
        ({"a": "x"}, {"missing": ["b"]}),
        ({"a": "x", "b": "x", "z": "y"}, {"too many": ["z"]}),
        ({"a": "x", "b": "y"}, {"altered": ["b"]}),
        ({"a": "x", "b": "x@0.5"}, {"altered": ["b"]}),
        ({}, {"missing": ["a", "b"]}),
        ({"a": "y", "z": "x"}, {"missing": ["b"], "altered": ["a"], "too many": ["z"]}),
    ],
    ids=["equal", "missing", "surplus", "elsewhere", "less sure", "empty", "all at once"],
)
def test_the_catalogue_must_hold_the_clusters_of_the_artifact(
    homes: dict[str, str], differing: dict[str, list[str]]
) -> None:
    artifact = clustered(("a", "x", 2), ("b", "x", 2)).append_column("confidence", pa.array([1.0, 1.0]))
    result = verdict(catalogue_holds_the_clusters(pa.table({"kind": []}), artifact, catalogue=Catalogue(**homes)))
    assert result.passed == (not differing)
    assert {kind: named.value for kind, named in (result.metadata or {}).items() if kind != "listings"} == differing


def test_every_check_of_the_stage_is_blocking() -> None:
    specs = [spec for check in CHECKS for spec in check.check_specs]
    assert all(spec.blocking for spec in specs)
    assert len({spec.key for spec in specs}) == len(specs) == 10
