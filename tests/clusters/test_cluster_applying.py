"""Clusterings in a real PostgreSQL: stored whole, changed as little as possible, every old id leads on."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.clusters.applying import apply_clusters, lasting_ids, stored_members
from assets.clusters.schema import CLUSTER_EVENTS, PRODUCT_CLUSTERS, SCORED_PAIRS
from orchestration.report import UnknownCluster, show
from resources.warehouse import Warehouse, WarehouseError

pytestmark = [pytest.mark.stack, pytest.mark.laws]

TABLES = ("clusters", "cluster_members", "cluster_events", "scored_pairs")
NO_PAIRS = SCORED_PAIRS.empty()


@pytest.fixture(scope="module")
def warehouse(new_warehouse: Callable[[str], AbstractContextManager[Warehouse]]) -> Iterator[Warehouse]:
    with new_warehouse("clusters") as warehouse:
        yield warehouse


@pytest.fixture
def clusters(warehouse: Warehouse) -> "Clusters":
    return Clusters(warehouse)


class Clusters:
    """The stored clusters, starting from none."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        with warehouse.transaction() as transaction:
            transaction.execute(f"TRUNCATE {', '.join(f'catalog.{table}' for table in TABLES)} CASCADE")

    def apply(self, *groups: str, scored: pa.Table = NO_PAIRS, run_id: str = "run") -> dict[str, str]:
        """Store a partition, a word per group and a letter per product, as the matcher does; product -> cluster id."""
        labels = {product: group for group in groups for product in group}
        ids = dict(lasting_ids(self.warehouse, labels).ids)
        self.events = apply_clusters(self.warehouse, table_of(ids), scored, run_id)
        return ids

    def rows(self, query: str, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.warehouse.read(query, **params).to_pylist()
        return found

    def kept(self) -> dict[str, dict[str, Any]]:
        rows = self.rows("SELECT cluster_id, size, weakest_link, dissolved_at FROM catalog.clusters")
        return {row.pop("cluster_id"): row for row in rows}

    def written(self) -> dict[str, list[tuple[str, str]]]:
        """Every row with the transaction that wrote it last."""
        return {
            table: [
                (row["at"], row["content"])
                for row in self.rows(
                    f"SELECT xmin::text AS at, t::text AS content FROM catalog.{table} t ORDER BY t::text"
                )
            ]
            for table in TABLES
        }

    def leads_to(self, cluster_id: str) -> set[str]:
        return {cluster.cluster_id for cluster in show(self.warehouse, cluster_id)}


def table_of(ids: Mapping[str, str], confidence: float = 0.9) -> pa.Table:
    members = list(ids.values())
    sizes = [members.count(cluster_id) for cluster_id in members]
    sure = [1.0 if size == 1 else confidence for size in sizes]
    return PRODUCT_CLUSTERS.conform(
        pa.table(
            {
                "product_id": list(ids), "cluster_id": members, "cluster_size": sizes, "confidence": sure,
                "weakest_link": sure,
            }
        )
    )  # fmt: skip


def pairs_of(*rows: tuple[str, str, float]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "left_id": left, "right_id": right, "probability": probability, "log_odds": 1.0, "veto": None,
                "evidence": '{"title": 1.0}', "model_version": "m1",
            }
            for left, right, probability in rows
        ],
        schema=SCORED_PAIRS.arrow,
    )  # fmt: skip


def kinds(events: pa.Table) -> dict[str, set[str]]:
    """What happened to each cluster."""
    found: dict[str, set[str]] = {}
    for row in events.to_pylist():
        found.setdefault(row["cluster_id"], set()).add(row["kind"])
    return found


def test_the_first_clustering_is_stored_whole(clusters: Clusters) -> None:
    ids = clusters.apply("abc", "d", scored=pairs_of(("a", "b", 0.9), ("b", "c", 0.8)))
    assert stored_members(clusters.warehouse) == ids
    assert clusters.kept() == {
        ids["a"]: {"size": 3, "weakest_link": 0.9, "dissolved_at": None},
        ids["d"]: {"size": 1, "weakest_link": 1.0, "dissolved_at": None},
    }
    assert kinds(clusters.events) == {ids["a"]: {"created"}, ids["d"]: {"created"}}
    assert clusters.events.schema.equals(CLUSTER_EVENTS.arrow)
    (pair, _) = clusters.rows("SELECT left_id, evidence::text AS evidence, run_id FROM catalog.scored_pairs ORDER BY 1")
    assert pair == {"left_id": "a", "evidence": '{"title": 1.0}', "run_id": "run"}


def test_the_same_clustering_twice_writes_nothing(clusters: Clusters) -> None:
    scored = pairs_of(("a", "b", 0.9), ("b", "c", 0.8))
    ids = clusters.apply("abc", "d", scored=scored)
    before = clusters.written()
    assert clusters.apply("d", "cba", scored=scored, run_id="another run") == ids
    assert clusters.events.num_rows == 0
    assert clusters.written() == before


def test_what_is_gone_from_the_catalogue_is_gone_from_the_clusters(clusters: Clusters) -> None:
    ids = clusters.apply("ab", "c", scored=pairs_of(("a", "b", 0.9), ("b", "c", 0.1)))
    clusters.apply("a", scored=pairs_of())
    assert stored_members(clusters.warehouse) == {"a": ids["a"]}
    assert clusters.rows("SELECT 1 AS pair FROM catalog.scored_pairs") == []
    assert kinds(clusters.events) == {ids["a"]: {"shrunk"}, ids["c"]: {"dissolved"}}
    kept = clusters.kept()
    assert (kept[ids["a"]]["size"], kept[ids["a"]]["dissolved_at"]) == (1, None)
    assert (kept[ids["c"]]["size"], kept[ids["c"]]["dissolved_at"] is not None) == (0, True)
    assert clusters.leads_to(ids["c"]) == set(), "nothing is left of it"


def test_clusters_that_merge_leave_an_id_that_leads_on(clusters: Clusters) -> None:
    ids = clusters.apply("abc", "de")
    merged = clusters.apply("abcde")
    assert set(merged.values()) == {ids["a"]}, "the larger part keeps its id"
    (event,) = [row for row in clusters.events.to_pylist() if row["cluster_id"] == ids["d"]]
    assert event == {
        "cluster_id": ids["d"], "kind": "merged", "members_before": ["d", "e"], "members_after": [],
        "successors": [ids["a"]],
    }  # fmt: skip
    kept = clusters.kept()
    assert (kept[ids["a"]]["size"], kept[ids["d"]]["size"]) == (5, 0)
    assert kept[ids["d"]]["dissolved_at"] is not None
    assert clusters.leads_to(ids["d"]) == {ids["a"]}
    (shown,) = show(clusters.warehouse, ids["d"])
    assert (shown.cluster_id, shown.asked_for) == (ids["a"], ids["d"])
    assert [event["kind"] for event in shown.events] == ["created", "grown"]


def test_a_cluster_that_splits_keeps_its_id_with_the_larger_part(clusters: Clusters) -> None:
    ids = clusters.apply("abcde")
    split = clusters.apply("abc", "de")
    assert split["a"] == ids["a"]
    assert kinds(clusters.events) == {ids["a"]: {"split"}, split["d"]: {"created"}}
    (event,) = [row for row in clusters.events.to_pylist() if row["kind"] == "split"]
    assert event["successors"] == [ids["a"], split["d"]]
    assert clusters.kept()[ids["a"]]["size"] == 3
    assert clusters.leads_to(ids["a"]) == {ids["a"]}, "an id that lives leads to itself"


def test_an_id_leads_on_through_every_step(clusters: Clusters) -> None:
    first = clusters.apply("ab", "cde", "fghijk")
    second = clusters.apply("abcde", "fghijk")
    assert second["a"] == first["c"]
    third = clusters.apply("abcdefghijk")
    assert set(third.values()) == {first["f"]}
    assert clusters.leads_to(first["a"]) == clusters.leads_to(first["c"]) == {first["f"]}
    fourth = clusters.apply("abcde", "fghijk")
    assert fourth["f"] == first["f"]
    assert fourth["a"] == first["c"], "its members have back the id that they had last"
    assert clusters.leads_to(first["a"]) == clusters.leads_to(first["c"]) == {first["c"]}
    fifth = clusters.apply("abcd", "fghijk", "xy")
    assert fifth["x"] not in first.values(), "an id is never given to members that it did not have"
    with pytest.raises(UnknownCluster, match="c_nothing"):
        show(clusters.warehouse, "c_nothing")


def test_an_id_whose_members_went_apart_leads_to_all_of_them(clusters: Clusters) -> None:
    first = clusters.apply("abc", "defg", "hijk")
    second = clusters.apply("abdefg", "chijk")
    assert (second["d"], second["h"]) == (first["d"], first["h"])
    (event,) = [row for row in clusters.events.to_pylist() if row["cluster_id"] == first["a"]]
    assert (event["kind"], event["successors"]) == ("split", [first["d"], first["h"]]), "the largest share first"
    assert clusters.leads_to(first["a"]) == {first["d"], first["h"]}


def test_a_cluster_that_comes_back_has_its_id_back(clusters: Clusters) -> None:
    first = clusters.apply("ab", "c")
    clusters.apply("c")
    kept = clusters.kept()
    assert kept[first["a"]]["dissolved_at"] is not None
    again = clusters.apply("abd", "c")
    assert again["a"] == again["d"] == first["a"]
    assert kinds(clusters.events) == {first["a"]: {"created"}}
    assert clusters.kept()[first["a"]] == {"size": 3, "weakest_link": 0.9, "dissolved_at": None}
    assert clusters.leads_to(first["a"]) == {first["a"]}


def test_members_that_come_back_apart_leave_the_id_with_the_larger_part(clusters: Clusters) -> None:
    first = clusters.apply("abc", "d")
    clusters.apply("d")
    again = clusters.apply("a", "bc", "d")
    assert again["b"] == first["a"]
    assert again["a"] not in first.values()
    living = clusters.apply("abc", "d")
    assert living["a"] == first["a"]


def test_what_another_cluster_carries_is_not_brought_back(clusters: Clusters) -> None:
    first = clusters.apply("abc")
    clusters.apply("ab")
    apart = clusters.apply("ab", "c")
    assert apart["a"] == first["a"]
    assert apart["c"] != first["a"]


def test_another_confidence_is_stored_and_is_no_event(clusters: Clusters) -> None:
    ids = clusters.apply("ab", scored=pairs_of(("a", "b", 0.9)))
    events = apply_clusters(clusters.warehouse, table_of(ids, confidence=0.7), pairs_of(("a", "b", 0.7)), "run-2")
    assert events.num_rows == 0
    assert clusters.kept()[ids["a"]]["weakest_link"] == 0.7
    assert clusters.rows("SELECT DISTINCT confidence FROM catalog.cluster_members") == [{"confidence": 0.7}]
    assert clusters.rows("SELECT probability, run_id FROM catalog.scored_pairs") == [
        {"probability": 0.7, "run_id": "run-2"}
    ]


def test_pairs_without_evidence_to_tell_are_left_to_the_artifact(clusters: Clusters) -> None:
    scored = pairs_of(("a", "b", 0.9), ("a", "c", 0.001))
    untold = scored.set_column(
        scored.column_names.index("evidence"), "evidence", pa.array([scored["evidence"][0].as_py(), None])
    )
    clusters.apply("ab", "c", scored=untold)
    assert clusters.rows("SELECT left_id, right_id FROM catalog.scored_pairs") == [{"left_id": "a", "right_id": "b"}]


def test_a_clustering_that_fails_leaves_nothing(clusters: Clusters) -> None:
    clusters.apply("ab", scored=pairs_of(("a", "b", 0.9)))
    before = clusters.written()
    with pytest.raises(WarehouseError, match="scored_pairs"):
        clusters.apply("a", "b", scored=pairs_of(("b", "a", 0.1)))
    assert clusters.written() == before


@settings(max_examples=15, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 3)).map(
            lambda labels: ["".join(sorted(p for p in labels if labels[p] == label)) for label in set(labels.values())]
        ),
        min_size=1,
        max_size=5,
    )
)
def test_after_any_clusterings_every_id_leads_to_where_its_members_are(
    warehouse: Warehouse, partitions: list[list[str]]
) -> None:
    clusters = Clusters(warehouse)
    given: set[str] = set()
    before: dict[str, str] = {}
    for groups in partitions:
        homes = clusters.apply(*groups)
        given |= set(homes.values())
        assert stored_members(warehouse) == homes
        kept = clusters.kept()
        assert set(kept) == given, "every id that was ever given is kept"
        for cluster_id, row in kept.items():
            assert row["size"] == list(homes.values()).count(cluster_id)
            assert (row["dissolved_at"] is None) == (cluster_id in homes.values())
            reached = clusters.leads_to(cluster_id)
            assert reached <= set(homes.values())
            if cluster_id in homes.values():
                assert reached == {cluster_id}
            elif cluster_id in before.values():
                assert reached == {homes[p] for p, home in before.items() if home == cluster_id and p in homes}
        before = homes


@settings(max_examples=15, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 3), min_size=1),
    st.sets(st.integers(0, 3)),
    st.sets(st.integers(0, 3)),
)
def test_clusters_that_leave_and_come_back_have_their_ids_back(
    warehouse: Warehouse, labels: dict[str, int], left: set[int], left_too: set[int]
) -> None:
    def groups_but(gone: set[int]) -> list[str]:
        return ["".join(p for p in labels if labels[p] == label) for label in {*labels.values()} - gone]

    clusters = Clusters(warehouse)
    first = clusters.apply(*groups_but(set()))
    for gone in (left, left_too, set[int]()):
        assert clusters.apply(*groups_but(gone)).items() <= first.items()
    assert stored_members(warehouse) == first
