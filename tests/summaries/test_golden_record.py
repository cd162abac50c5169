"""The rules of the golden record, field by field, and the law that row order does not matter."""

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from summary_examples import cluster_id, clusters_table, one_cluster, product, products_table

from assets.summaries.golden_record import PRODUCT_COLUMNS, golden_records
from assets.summaries.schema import GOLDEN_RECORDS


def test_brand_is_voted_across_spellings_and_spelled_as_the_best_member_does() -> None:
    found = one_cluster(
        product("a:1", brand="SONY", brand_origin="feed", quality=0.6),
        product("b:1", brand="Sony", brand_origin="feed", quality=0.7),
        product("c:1", brand="Samsung", brand_origin="feed", quality=1.0),
    )
    assert (found["brand"], found["provenance"]["brand"]) == ("Sony", "b:1")
    assert found["disagreements"]["brand"] == ["Samsung", "Sony"]


def test_a_brand_found_in_titles_weighs_less_than_a_stated_one() -> None:
    found = one_cluster(
        product("a:1", brand="Acme", brand_origin="title"),
        product("b:1", brand="Bolt", brand_origin="feed"),
    )
    assert found["brand"] == "Bolt"


def test_spellings_alone_are_no_disagreement() -> None:
    found = one_cluster(
        product("a:1", brand="Bang & Olufsen", colour="black"), product("b:1", brand="BANG-OLUFSEN", colour="Black")
    )
    assert found["disagreements"] == {}


def test_ties_go_to_the_better_member_and_then_to_the_first() -> None:
    better = one_cluster(product("a:1", gtin="0" * 14, quality=0.4), product("b:1", gtin="1" * 14, quality=0.41))
    first = one_cluster(product("b:1", gtin="0" * 14), product("a:1", gtin="1" * 14))
    assert (better["gtin"], first["gtin"]) == ("1" * 14, "1" * 14)


@pytest.mark.parametrize(
    ("titles", "best"),
    [
        (["ACME PHONE X 64 GB BLACK EDITION", "Acme Phone X 64 GB black", "Acme Phone X 64 GB black NEW!!!"], 1),
        (["Phone", "Acme Phone X 64 GB", "Acme Phone X 64 GB smartphone"], 2),
        (["Acme Phone X 64 GB", "Acme Phone X 64 GB", "Garden hose 20 m with nozzle, green"], 0),
        (["Acme Phone X 64 GB " + "best cheap price " * 20, "Acme Phone X 64 GB dual SIM"], 1),
    ],
    ids=["not shouting", "informative", "what the others say", "right length"],
)
def test_the_title_says_what_the_others_say(titles: list[str], best: int) -> None:
    rows = [product(f"s{number}:1", title=title) for number, title in enumerate(titles)]
    found = one_cluster(*rows)
    assert found["title"] == titles[best]
    assert found["provenance"]["title"] == f"s{best}:1"


def test_the_description_is_the_longest_plain_one_of_nearly_the_best() -> None:
    found = one_cluster(
        product("a:1", description="<b>Long</b> " * 50, quality=0.9),
        product("b:1", description="A plain sentence about it.", quality=0.85),
        product("c:1", description="A plain sentence.", quality=0.9),
        product("d:1", description="By far the longest of all, but of a listing that is poor. " * 9, quality=0.2),
        product("e:1", description=None, quality=1.0),
    )
    assert found["provenance"]["description"] == "b:1"


def test_prices_are_of_the_most_frequent_currency_only() -> None:
    found = one_cluster(
        product("a:1", price="10.00"),
        product("b:1", price="12.50"),
        product("c:1", price="1.00", currency="USD"),
        product("d:1", price="20.01"),
        product("e:1"),
        product("f:1", price="30.00"),
    )
    assert found["currency"] == "EUR"
    assert (found["price_min"], found["price_max"]) == (Decimal("10.0000"), Decimal("30.0000"))
    assert found["price_median"] == Decimal("16.2550")
    assert (found["provenance"]["price_min"], found["provenance"]["price_max"]) == ("a:1", "f:1")


def test_without_a_price_there_is_no_currency() -> None:
    found = one_cluster(product("a:1", currency="EUR"), product("b:1", price=None))
    assert [found[name] for name in ("currency", "price_min", "price_median", "price_max")] == [None] * 4
    assert "price_min" not in found["provenance"]


def test_measures_are_voted_key_by_key() -> None:
    found = one_cluster(
        product("a:1", measures={"storage_gb": 64, "screen_in": 15.6}),
        product("b:1", measures={"storage_gb": 128, "screen_in": 15.61}),
        product("c:1", measures={"storage_gb": 128.0, "weight_kg": 1}),
    )
    assert found["measures"] == {"screen_in": 15.6, "storage_gb": 128, "weight_kg": 1}
    assert found["disagreements"] == {"measures.storage_gb": [64, 128]}
    assert found["provenance"]["measures.weight_kg"] == "c:1"


def test_offers_sellers_pack_sizes_and_conditions() -> None:
    found = one_cluster(
        product("a:1", pack_size=1, condition="new"),
        product("a:2", pack_size=10, condition="unknown"),
        product("b:1", pack_size=2, condition="used"),
    )
    assert (found["offers"], found["sellers"]) == (3, 2)
    assert found["disagreements"] == {"pack_size": [1, 2, 10], "condition": ["new", "used"]}


def test_the_digest_changes_with_the_record_and_only_then() -> None:
    same, again = (
        one_cluster(product("a:1", price="1.00")),
        one_cluster(product("a:1", price="1.00", url="https://x.y")),
    )
    other = one_cluster(product("a:1", price="1.01"))
    assert same["record_digest"] == again["record_digest"] != other["record_digest"]


def test_what_moved_between_two_reads_is_left_out() -> None:
    table = golden_records(
        products_table([product("a:1"), product("new:1")]), clusters_table({"a": ["a:1", "gone:1"], "b": ["gone:2"]})
    )
    assert table["cluster_id"].to_pylist() == [cluster_id("a")]
    assert table["offers"].to_pylist() == [1]
    assert golden_records(products_table([]), clusters_table({})).equals(GOLDEN_RECORDS.empty())


words = st.sampled_from(["Acme", "ACME", "phone", "X", "64", "GB", "black", "ÄPFEL", "日本", "<b>"])
texts = st.lists(words, min_size=1, max_size=6).map(" ".join)


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    rows = [
        product(
            f"{draw(st.sampled_from('abc'))}:{number}",
            title=draw(texts),
            brand=draw(st.none() | words),
            brand_origin=draw(st.sampled_from([None, "feed", "title"])),
            colour=draw(st.sampled_from([None, "red", "Red", "blue"])),
            description=draw(st.none() | texts),
            price=draw(st.none() | st.integers(0, 10**15).map(lambda cents: Decimal(cents).scaleb(-4))),
            condition=draw(st.sampled_from(["new", "used", "unknown"])),
            pack_size=draw(st.integers(1, 3)),
            measures=draw(
                st.dictionaries(st.sampled_from(["storage_gb", "size"]), st.integers(0, 3) | st.floats(0, 3))
            ),
            quality=draw(st.sampled_from([0.0, 0.3, 0.3000001, 1.0])),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    members: dict[str, list[str]] = {}
    for row in rows:
        members.setdefault(draw(st.sampled_from("xyz")), []).append(row["product_id"])
    return rows, members


@settings(deadline=None)
@given(catalogues(), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(
    catalogue: tuple[list[dict[str, Any]], dict[str, list[str]]], luck: random.Random
) -> None:
    rows, members = catalogue
    products, clusters = products_table(rows), clusters_table(members)
    one = golden_records(products, clusters)
    order, cluster_order = list(range(len(rows))), list(range(clusters.num_rows))
    luck.shuffle(order)
    luck.shuffle(cluster_order)
    other = golden_records(products.take(order).select(list(PRODUCT_COLUMNS)), clusters.take(cluster_order))
    assert one.equals(other)


@settings(deadline=None)
@given(catalogues())
def test_every_value_is_a_members_own(catalogue: tuple[list[dict[str, Any]], dict[str, list[str]]]) -> None:
    rows, members = catalogue
    stated = {row["product_id"]: row for row in rows}
    table = golden_records(products_table(rows), clusters_table(members))
    assert table.num_rows == len(members)
    for record in table.to_pylist():
        ids = members[record["cluster_id"][-1]]
        assert record["offers"] == len(ids)
        found = one_cluster(*(stated[member] for member in ids))
        for field, origin in found["provenance"].items():
            assert origin in ids
            if field in ("title", "brand", "colour", "description"):
                assert found[field] == stated[origin][field]
        if found["price_min"] is not None:
            assert found["price_min"] <= found["price_median"] <= found["price_max"]
