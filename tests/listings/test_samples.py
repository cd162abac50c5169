"""The demo shops: reproducible, honest about their truth, and as messy as they say."""

import csv
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from stdnum import ean

from assets.listings.feeds import FeedContract, load_contracts
from assets.listings.intake import read_feed
from samples import mess
from samples.catalogue import load_products
from samples.generate import build_feeds, write_samples
from samples.shops import SHOPS

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
WRITTEN = ("feeds.yaml", "truth.csv", "mess.csv", *(shop.file for shop in SHOPS))
NOT_TELLING_APART = {"product_id", "family", "mpn", "mpn_us", "gtin", "price_usd"}
G = "{http://base.google.com/ns/1.0}"


def table(name: str) -> list[dict[str, str]]:
    with (SAMPLES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def content(path: Path) -> bytes:
    """The bytes, but those inside the gzip: how well they are packed is zlib's business."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _csv_rows() -> list[tuple[str, str]]:
    text = content(SAMPLES / "circuit_barn.csv").decode(errors="replace")
    return [(row["sku"], row["name"]) for row in csv.DictReader(text.splitlines()) if row["product_url"]]


def _xml_rows() -> list[tuple[str, str]]:
    items = ElementTree.fromstring(content(SAMPLES / "stromhaus.xml")).iter("item")
    return [(item.findtext(f"{G}id", ""), item.findtext(f"{G}title", "")) for item in items]


def _jsonl_rows() -> list[tuple[str, str]]:
    rows = []
    for line in content(SAMPLES / "bazaar_lane.jsonl.gz").decode().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows.append((row["item_id"], row["item_title"]))
    return rows


def _shopify_rows() -> list[tuple[str, str]]:
    products = json.loads(content(SAMPLES / "fern_and_volt.json"))["products"]
    return [(str(v["id"] or ""), p["title"]) for p in products for v in p["variants"]]


def _schema_org_rows() -> list[tuple[str, str]]:
    graph = json.loads(content(SAMPLES / "maison_alpine.jsonld"))["@graph"]
    return [(node["sku"], node.get("name", "")) for node in graph if node["@type"] == "Product"]


ROWS: Mapping[str, Callable[[], list[tuple[str, str]]]] = {
    "circuit_barn": _csv_rows,
    "stromhaus": _xml_rows,
    "bazaar_lane": _jsonl_rows,
    "fern_and_volt": _shopify_rows,
    "maison_alpine": _schema_org_rows,
}


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, str]]:
    """Source to listing to product."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in table("truth.csv"):
        assert row["listing_id"] not in found[row["source"]], f"{row} is said twice"
        found[row["source"]][row["listing_id"]] = row["product_id"]
    return found


@pytest.fixture(scope="module")
def contracts() -> dict[str, FeedContract]:
    feeds = load_contracts((SAMPLES / "feeds.yaml").read_bytes(), origin="samples/feeds.yaml")
    return {feed.source: feed for feed in feeds}


def test_writing_them_again_gives_what_is_kept(tmp_path: Path) -> None:
    write_samples(tmp_path)
    for name in WRITTEN:
        assert content(tmp_path / name) == content(SAMPLES / name), f"{name}: run python -m samples.generate"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(WRITTEN)


def test_five_contracts_in_five_formats_name_every_feed(contracts: dict[str, FeedContract]) -> None:
    assert {source: feed.path for source, feed in contracts.items()} == {s.source: s.file for s in SHOPS}
    assert len({feed.format for feed in contracts.values()}) == len(SHOPS) == 5
    assert all((SAMPLES / feed.path).is_file() for feed in contracts.values())
    assert sum((SAMPLES / name).stat().st_size for name in WRITTEN) < 2_000_000


@pytest.mark.parametrize("source", ROWS)
def test_a_plain_parser_reads_about_300_rows_and_all_of_the_truth(source: str, truth: Any) -> None:
    rows = ROWS[source]()
    assert 280 <= len(rows) <= 310
    titles = dict(rows)
    assert truth[source].keys() <= titles.keys()
    assert all(titles[listing].strip() for listing in truth[source])


@pytest.mark.parametrize("source", ROWS)
def test_what_the_pipeline_accepts_is_what_the_truth_covers(
    source: str, truth: Any, contracts: dict[str, FeedContract], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    contract = contracts[source]
    intake = read_feed(SAMPLES / contract.path, contract, tmp_path)
    accepted = pq.read_table(intake.accepted_path).column("listing_id").to_pylist()
    assert set(accepted) == set(truth[source])
    faults = Counter(row["fault"] for row in table("mess.csv") if row["source"] == source)
    assert intake.repeats == faults["exact_repeat"] > 0
    assert intake.rejected == sum(n for fault, n in faults.items() if fault in mess.FATAL | {"conflicting_repeat"})
    assert intake.read == intake.accepted + intake.rejected + intake.repeats


def test_products_differ_and_their_gtins_are_sound() -> None:
    products = load_products()
    assert len({p.product_id for p in products}) == len(products)
    told_apart = Counter(
        tuple(value for name, value in row.items() if name not in NOT_TELLING_APART) for row in table("products.csv")
    )
    assert max(told_apart.values()) == 1, "two rows are the same product"
    gtins = [p.gtin for p in products if p.gtin]
    assert gtins and len(set(gtins)) == len(gtins)
    assert all(ean.is_valid(gtin) and not gtin.startswith("2") for gtin in gtins)


def test_no_feed_asserts_a_gtin_that_is_not_the_products_own() -> None:
    for feed in build_feeds():
        for offer in feed.rows:
            in_store = offer.gtin.startswith("2") or not offer.gtin.strip("0")
            assert in_store or offer.gtin == offer.product.gtin, offer


def test_shops_overlap_and_near_variants_meet(truth: Any) -> None:
    sources: dict[str, set[str]] = defaultdict(set)
    offers: Counter[str] = Counter()
    for source, listings in truth.items():
        for product in listings.values():
            sources[product].add(source)
            offers[product] += 1
    known = {p.product_id: p for p in load_products()}
    sold = {product.partition("--")[0] for product in sources}
    assert sold <= known.keys()
    assert len(sold) >= 0.99 * len(known), "nearly every product survives somewhere"
    alone = sum(len(found) == 1 for found in sources.values()) / len(sources)
    assert 0.10 < alone < 0.20
    assert any(len(found) == 5 for found in sources.values())
    assert any(offers[product] > len(found) for product, found in sources.items()), "two sellers of one marketplace"
    families = Counter(p.family for p in known.values())
    assert sum(size > 1 for size in families.values()) > 80
    assert any(product.endswith("--refurbished") and len(found) > 1 for product, found in sources.items())


def test_two_shops_use_one_in_store_number_for_different_products() -> None:
    named: dict[str, set[str]] = defaultdict(set)
    for feed in build_feeds():
        for offer in feed.rows:
            if offer.gtin.startswith("2"):
                named[offer.gtin].add(offer.truth_id)
    assert sum(len(products) > 1 for products in named.values()) >= 5


def test_no_shop_words_two_products_alike() -> None:
    for feed in build_feeds():
        worded: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for offer in feed.rows:
            if offer.title.strip():
                worded[(offer.title.casefold(), *offer.extras.values())].add(offer.truth_id)
        assert all(len(products) == 1 for products in worded.values()), feed.shop.source


def test_mess_is_small_and_of_every_kind() -> None:
    spoilt = table("mess.csv")
    rows = sum(len(feed.rows) for feed in build_feeds())
    assert 0.02 <= len(spoilt) / rows <= 0.04
    assert {row["fault"] for row in spoilt} >= mess.FATAL | {
        "exact_repeat", "conflicting_repeat", "html_in_title", "double_escaped", "wrong_check_digit", "emoji",
        "zero_width", "price_on_request", "price_zero", "price_garbled", "price_without_amount",
        "script_in_description", "instruction_in_description", "javascript_url", "formula_in_description",
    }  # fmt: skip


def test_links_lead_nowhere_real() -> None:
    for feed in build_feeds():
        for offer in feed.rows:
            for link in (offer.url, offer.image_url):
                parts = urlsplit(link)
                assert parts.scheme == "javascript" or str(parts.hostname).endswith(".example"), link
