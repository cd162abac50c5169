"""The pairs that a person should look at first."""

import pyarrow as pa
import pytest

from assets.clusters.doubts import Doubts, find_doubts
from assets.clusters.schema import SCORED_PAIRS

HOMES = {"a:1": "c1", "a:2": "c1", "b:1": "c1", "b:2": "c2", "c:1": "c2", "c:2": "c3"}
CLUSTERS = pa.table({"product_id": list(HOMES), "cluster_id": list(HOMES.values())})
# In another order than the clusters: rows are found by id, not by place.
PRODUCTS = pa.table(
    {"title": [f"title of {name}" for name in sorted(HOMES, reverse=True)], "product_id": sorted(HOMES, reverse=True)}
)


def scored(*pairs: tuple[str, str, float, str | None], said: dict[tuple[str, str], str] | None = None) -> pa.Table:
    rows = [
        {
            "left_id": left, "right_id": right, "probability": probability, "log_odds": 0.0, "veto": veto,
            "judgement": (said or {}).get((left, right)), "evidence": "{}", "model_version": "m",
        }
        for left, right, probability, veto in pairs
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCORED_PAIRS.arrow)


SCORED = scored(
    ("a:1", "a:2", 0.99, None),
    ("a:1", "b:1", 0.61, None),
    ("a:2", "b:1", 0.00, None),
    ("a:1", "b:2", 0.45, None),
    ("a:2", "b:2", 0.00, "gtin"),
    ("a:2", "c:1", 0.00, None),
    ("b:1", "c:2", 0.49, None),
    ("b:2", "c:1", 0.61, None),
    ("b:2", "c:2", 0.30, None),
    ("c:1", "c:2", 0.40, None),
)


def pairs(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(table.column("left_id").to_pylist(), table.column("right_id").to_pylist(), strict=True))


def test_a_doubtful_join_is_the_weakest_member_of_a_cluster_with_what_joined_it() -> None:
    """a:2 and b:1 are unlike and yet no doubt of their own: it is b:1 that the cluster is not sure of."""
    joins = find_doubts(SCORED, CLUSTERS, PRODUCTS).joins
    assert pairs(joins) == [("a:1", "b:1"), ("b:2", "c:1")]
    assert joins.column("linkage").to_pylist() == pytest.approx([0.61 / 2, 0.61])
    assert joins.column("probability").to_pylist() == [0.61, 0.61]


def test_a_near_miss_is_two_clusters_and_their_best_pair() -> None:
    """The one pair that contradicts itself takes away what the likely one gives."""
    misses = find_doubts(SCORED, CLUSTERS, PRODUCTS).misses
    assert pairs(misses) == [("c:1", "c:2"), ("b:1", "c:2"), ("a:1", "b:2")]
    assert misses.column("linkage").to_pylist() == pytest.approx([0.7 / 2, 0.49 / 3, (0.45 - 1) / 6])


def test_every_pair_shows_its_titles_and_its_veto() -> None:
    doubts = find_doubts(SCORED, CLUSTERS, PRODUCTS)
    for table in (doubts.joins, doubts.misses):
        assert table.column_names == [
            "left_id",
            "right_id",
            "left_title",
            "right_title",
            "probability",
            "linkage",
            "veto",
        ]
        for row in table.to_pylist():
            assert (row["left_title"], row["right_title"]) == (
                f"title of {row['left_id']}",
                f"title of {row['right_id']}",
            )
    assert all(veto is None for veto in doubts.misses.column("veto").to_pylist())
    (vetoed,) = find_doubts(SCORED.slice(4, 1), CLUSTERS, PRODUCTS).misses.to_pylist()
    assert (vetoed["veto"], vetoed["linkage"]) == ("gtin", pytest.approx(-1 / 6))


def test_no_more_than_asked_for_are_returned_whatever_the_order_of_the_pairs() -> None:
    few = find_doubts(SCORED, CLUSTERS, PRODUCTS, rows=2)
    assert (few.joins.num_rows, few.misses.num_rows) == (2, 2)
    turned = find_doubts(SCORED.take(list(reversed(range(SCORED.num_rows)))), CLUSTERS, PRODUCTS, rows=2)
    assert turned.joins.equals(few.joins)
    assert turned.misses.equals(few.misses)


def test_a_catalogue_without_pairs_has_no_doubts() -> None:
    nothing: Doubts = find_doubts(SCORED.slice(0, 0), CLUSTERS, PRODUCTS)
    assert (nothing.joins.num_rows, nothing.misses.num_rows) == (0, 0)
    alone = find_doubts(SCORED.slice(0, 0), CLUSTERS.slice(0, 0), PRODUCTS.slice(0, 0))
    assert alone.joins.num_rows == 0


def test_what_a_judge_decided_is_no_doubt() -> None:
    """A yes makes a sure pair, and a no keeps two clusters further apart than silence."""
    pairs_given = (("a:1", "a:2", 0.1, None), ("b:1", "b:2", 0.6, None), ("b:2", "c:1", 0.7, None))
    doubts = find_doubts(scored(*pairs_given, said={("a:1", "a:2"): "yes", ("b:1", "b:2"): "no"}), CLUSTERS, PRODUCTS)
    assert pairs(doubts.joins) == [("a:1", "a:2"), ("b:2", "c:1")]
    assert doubts.joins.column("linkage").to_pylist() == pytest.approx([0.5, 0.7])
    assert doubts.misses.column("linkage").to_pylist() == pytest.approx([-1 / 6])
