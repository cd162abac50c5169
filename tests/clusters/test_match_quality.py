"""Scoring against a truth that somebody wrote down: what a truth file must be, and what counts as found."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.clusters.assets import QUALITY_KEY, match_quality
from assets.clusters.quality import MAX_TRUTH_BYTES, TruthError, read_truth, score_clusters
from assets.clusters.schema import PRODUCT_CLUSTERS
from assets.presentation import asset_key
from assets.tracking import TrackingDelayed, TrackingRejected

HEADER = b"source,listing_id,product_id\n"


def clusters(**homes: str) -> pa.Table:
    """A clustering: `shop_1="c1"` puts `shop:1` into c1."""
    names = [name.replace("_", ":") for name in homes]
    return pa.table({"product_id": names, "cluster_id": list(homes.values())})


def test_a_truth_is_read_by_the_names_of_its_columns() -> None:
    data = b"product_id,note,listing_id,source\np1,x,001,shop\np2,y,2,other\n"
    assert read_truth(data, "shop/truth.csv") == {"shop:001": "p1", "other:2": "p2"}, "an id keeps its zeros"
    assert read_truth(HEADER, "shop/truth.csv") == {}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"source,listing_id\nshop,1\n", "expected the columns source, listing_id, product_id; product_id missing"),
        (b"id\n1\n", "source, listing_id, product_id missing"),
        (HEADER + b"shop,1,p1\nshop,2\n", "expected a CSV with the columns source, listing_id, product_id"),
        (b"", "expected a CSV with the columns source, listing_id, product_id"),
        pytest.param(
            "source,listing_id,product_id,größe\nshop,1,p1,L\n".encode("latin-1"),
            "expected",
        ),
        (HEADER + b"shop,1,p1\nshop,2,p1\nshop,1,p2\n", "1 listings are named more than once"),
        (HEADER + b"shop,1,p1\nshop,1,p1\n", "1 listings are named more than once"),
        (HEADER[:-1] + b",source\nshop,1,p1,mall\n", "expected every column once; source appear more than once"),
        (HEADER + b"#" * MAX_TRUTH_BYTES, "expected at most 67108864 bytes"),
    ],
)
def test_a_truth_that_cannot_be_used_is_named_with_what_was_expected(data: bytes, expected: str) -> None:
    with pytest.raises(TruthError) as raised:
        read_truth(data, "shop/truth.csv")
    assert str(raised.value).startswith("shop/truth.csv: ")
    assert expected in str(raised.value)


PIECES = [b"source", b"listing_id", b"product_id", b",", b"\n", b"\r", b'"', b"a", b"1", b"\0", b"\xff"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), st.booleans())
def test_any_bytes_are_a_truth_or_refused_in_words(data: bytes, below_a_header: bool) -> None:
    try:
        truth = read_truth(HEADER + data if below_a_header else data, "shop/truth.csv")
    except TruthError as error:
        assert str(error).startswith("shop/truth.csv: ")
    else:
        assert all(isinstance(product, str) and ":" in listing for listing, product in truth.items())


def test_a_perfect_clustering_scores_one() -> None:
    quality = score_clusters(clusters(a_1="x", b_1="x", a_2="y"), {"a:1": "p", "b:1": "p", "a:2": "q"})
    assert quality is not None
    assert (quality.precision, quality.recall, quality.f1, quality.bcubed_f1) == (1, 1, 1, 1)


def test_products_without_a_truth_do_not_count() -> None:
    truth = {"a:1": "p", "b:1": "p"}
    quality = score_clusters(clusters(a_1="x", b_1="x", z_1="x", z_2="x"), truth)
    assert quality is not None
    assert (quality.precision, quality.recall) == (1, 1)


def test_a_listing_that_never_became_a_product_counts_as_not_found() -> None:
    quality = score_clusters(clusters(a_1="x", b_1="x"), {"a:1": "p", "b:1": "p", "c:1": "p"})
    assert quality is not None
    assert quality.precision == 1
    assert quality.recall == pytest.approx(1 / 3)
    lost = score_clusters(clusters(a_1="x"), {"a:1": "p", "b:1": "q", "c:1": "q"})
    assert lost is not None
    assert lost.recall == 0, "two that are both lost are not thereby together"


def test_a_false_join_costs_precision() -> None:
    quality = score_clusters(clusters(a_1="x", b_1="x", c_1="x"), {"a:1": "p", "b:1": "p", "c:1": "q"})
    assert quality is not None
    assert quality.precision == pytest.approx(1 / 3)
    assert quality.recall == 1


def test_a_truth_about_other_listings_is_none_about_these() -> None:
    assert score_clusters(clusters(a_1="x"), {"b:1": "p"}) is None
    assert score_clusters(clusters(a_1="x"), {}) is None


class Shelf:
    """Truth files, as if they were delivered."""

    def __init__(self, **files: bytes) -> None:
        self.files = files

    def truths(self, at_most: int) -> Iterator[tuple[str, bytes]]:
        yield from ((f"{folder}/truth.csv", data) for folder, data in self.files.items())


class Tracker:
    """An experiment tracker that remembers metrics, is away, or refuses."""

    def __init__(self, link: str | None = "http://mlflow/run", away: bool = False, refuses: bool = False) -> None:
        self.link, self.away, self.refuses = link, away, refuses
        self.metrics: dict[str, float] = {}

    def add_metrics(self, experiment: str, dagster_run_id: str, metrics: dict[str, float]) -> str | None:
        if self.away:
            raise TrackingDelayed("kept for later: MLflow cannot be reached")
        if self.refuses:
            raise TrackingRejected("set aside: MLflow refuses the record")
        self.metrics |= metrics
        return self.link


def metadata_of(shelf: Shelf, tracker: Tracker) -> dict[str, Any]:
    """What a run of the asset says, over a clustering of three offers."""

    @dg.asset(key=asset_key(PRODUCT_CLUSTERS))
    def product_clusters() -> pa.Table:
        return clusters(a_1="x", b_1="x", a_2="y")

    result = dg.materialize(
        [product_clusters, match_quality],
        resources={"landing_zone": shelf, "tracking": tracker, "io_manager": dg.mem_io_manager},
    )
    (event,) = result.asset_materializations_for_node(match_quality.node_def.name)
    return {name: plain(value) for name, value in event.metadata.items()}


def plain(value: dg.MetadataValue[Any]) -> Any:
    """The value as given, where a bare one was given."""
    return value.value if isinstance(value, dg.FloatMetadataValue | dg.TextMetadataValue) else value


def test_every_delivered_truth_is_scored_on_its_own() -> None:
    tracker = Tracker()
    shelf = Shelf(good=HEADER + b"a,1,p\nb,1,p\na,2,q\n", poor=HEADER + b"a,1,p\nb,1,q\n", foreign=HEADER + b"z,1,p\n")
    metadata = metadata_of(shelf, tracker)
    assert metadata["good_f1"] == 1
    assert metadata["poor_precision"] == 0
    assert {name.partition("_")[0] for name in tracker.metrics} == {"good", "poor"}
    assert metadata["mlflow"] == dg.MetadataValue.url("http://mlflow/run")
    assert len((metadata["scores"].md_str).splitlines()) == 4


def test_one_broken_truth_does_not_hide_the_others() -> None:
    metadata = metadata_of(Shelf(broken=b"id\n1\n", good=HEADER + b"a,1,p\nb,1,p\n"), Tracker())
    assert metadata["good_f1"] == 1
    assert "expected the columns" in metadata["scores"].md_str


def test_nothing_stops_where_there_is_no_truth_or_no_tracker() -> None:
    assert metadata_of(Shelf(), Tracker(away=True)) == {"scores": "no truth known"}
    truth = Shelf(good=HEADER + b"a,1,p\nb,1,p\n")
    assert metadata_of(truth, Tracker(away=True))["mlflow"] == "kept for later: MLflow cannot be reached"
    assert metadata_of(truth, Tracker(refuses=True))["mlflow"] == "set aside: MLflow refuses the record"
    assert metadata_of(truth, Tracker(link=None))["mlflow"] == "no run to add the scores to"


def test_nothing_is_made_from_the_truth() -> None:
    from orchestration.build import build_definitions
    from orchestration.settings import Settings

    graph = build_definitions(Settings()).resolve_asset_graph()
    assert graph.get(QUALITY_KEY).child_keys == set()
