"""Whole listings: every column, every rejection, and the laws of the stage."""

import csv
import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.contract import ContractBroken
from assets.listings.schema import RAW_LISTINGS
from assets.products.brands import BrandLexicon
from assets.products.cleaning import Cleaned, CleaningRules, clean_again, clean_listings
from assets.products.fingerprints import CONTENT_COLUMNS, embedding_text
from assets.products.languages import detect_language
from assets.products.links import clean_link
from assets.products.quality import QualityEvidence, QualityWeights, rate
from assets.products.schema import CLEANED_PRODUCTS, REJECTED_PRODUCTS

RULES = CleaningRules()
LEXICON = BrandLexicon.from_feeds(["Sony", "Bosch", "Apple"] * 3)
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def listing(**values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(RAW_LISTINGS.names)
    row.update(source="shop", listing_id="1", seller="shop", title="Thing", attributes="{}", row_number=1)
    row.update(values)
    row["row_digest"] = xxhash.xxh3_128_hexdigest(repr(sorted(values.items())).encode())
    return row


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=RAW_LISTINGS.arrow)


def clean(*rows: dict[str, Any]) -> Cleaned:
    return clean_listings(table(*rows), rules=RULES, brands=LEXICON)


def clean_one(**values: Any) -> dict[str, Any]:
    products = clean(listing(**values)).products.to_pylist()
    assert len(products) == 1
    return dict(products[0])


def test_what_is_cleaned_again_is_what_is_new_or_changed_or_meant_and_what_has_left_is_gone() -> None:
    same, changed, gone = (listing(listing_id=name, title=f"Kettle {name}") for name in ("same", "changed", "gone"))
    meant, spared = listing(listing_id="meant", title=""), listing(listing_id="spared", title="N/A")
    rows = table(same, changed, gone, meant, spared)
    first = clean_listings(rows, rules=RULES, brands=LEXICON)
    assert Counter(first.rejected.column("reason").to_pylist()) == Counter(title_empty=1, title_meaningless=1)
    kept = [{**row, "title": f"as it was: {row['title']}"} for row in first.products.to_pylist()]
    before = Cleaned(pa.Table.from_pylist(kept, schema=first.products.schema), first.rejected)
    now = table(
        same, listing(listing_id="changed", title="Toaster"), meant, spared, listing(listing_id="new", title="Pan")
    )
    again = clean_again(now, rows, before, {"title_empty"}, rules=RULES, brands=LEXICON)
    assert {row["listing_id"]: row["title"] for row in again.products.to_pylist()} == {
        "same": "as it was: Kettle same",
        "changed": "Toaster",
        "new": "Pan",
    }
    assert sorted(again.rejected.column("listing_id").to_pylist()) == ["meant", "spared"]


def test_a_whole_listing() -> None:
    product = clean_one(
        source="tech", listing_id="A-1", seller="Tech &amp; Co",
        title="<b>SONY</b>&nbsp;WH-1000XM5/B Wireless Headphones Black™",
        description="<p>Noise&nbsp;cancelling headphones</p><script>steal()</script><p>with a case for travelling</p>",
        brand="sony", gtin="4548736132610", mpn="WH1000XM5/B", category="Audio &gt; Headphones", price="$1,299.50",
        currency="USD", url="https://shop.example/a?b=1&amp;c=2", image_url="//img.example/1.jpg",
        condition="https://schema.org/NewCondition", availability="in_stock",
        attributes='{"Colour":"Schwarz","Weight":"250 g","":"x","empty":"  "}',
    )  # fmt: skip
    derived = ("quality", "quality_parts", "text_hash", "product_digest")
    assert {name: product[name] for name in product if name not in derived} == {
        "product_id": "tech:A-1", "source": "tech", "listing_id": "A-1", "seller": "Tech & Co",
        "title": "SONY WH-1000XM5/B Wireless Headphones Black",
        "description": "Noise cancelling headphones with a case for travelling",
        "brand": "Sony", "brand_origin": "feed", "gtin": "04548736132610", "mpn": "WH1000XM5/B",
        "model_codes": ["WH1000XM5", "WH1000XM5B"], "category": "Audio > Headphones", "price": Decimal("1299.5000"),
        "currency": "USD", "url": "https://shop.example/a?b=1&c=2", "image_url": "https://img.example/1.jpg",
        "condition": "new", "availability": "in_stock", "colour": "black", "pack_size": 1,
        "measures": '{"mass_g":250.0}', "attributes": '{"Colour":"Schwarz","Weight":"250 g"}', "language": "en",
        "issues": [], "embedding_text": "SONY WH-1000XM5/B Wireless Headphones Black",
    }  # fmt: skip
    assert product["quality"] > 0.9
    assert json.loads(product["quality_parts"]).keys() == {
        "title", "brand", "identifier", "price", "description", "image", "attributes", "soundness",
    }  # fmt: skip


def test_faults_cost_the_value_and_are_named() -> None:
    product = clean_one(
        title="Bosch drill", gtin="4006381333930", price="-1", currency="USD", url="javascript:alert(1)",
        image_url="data:x",
        condition="?", availability="?", mpn="1.2E+09", attributes="[1", description="=HYPERLINK(1)",
    )  # fmt: skip
    assert product["issues"] == [
        "attributes_unreadable", "availability_unknown", "condition_unknown", "formula_text", "gtin_check_digit",
        "image_url_unusable", "mpn_mangled", "price_negative", "url_unusable",
    ]  # fmt: skip
    for name in ("gtin", "price", "currency", "url", "image_url", "mpn", "language"):
        assert product[name] is None
    assert product["description"] == "=HYPERLINK(1)"
    assert (product["brand"], product["brand_origin"]) == ("Bosch", "title")


def test_a_number_in_the_title_stands_in_for_a_missing_one_only() -> None:
    assert clean_one(title="633808035020 wasp nest")["gtin"] == "00633808035020"
    assert clean_one(title="633808035020 wasp nest")["issues"] == ["gtin_from_title"]
    assert clean_one(title="nest", mpn="633808035020")["issues"] == ["gtin_from_mpn"]
    assert clean_one(title="633808035020 wasp nest", gtin="4006381333930")["gtin"] is None


@pytest.mark.parametrize(
    ("values", "reason", "field"),
    [
        ({"title": ""}, "title_empty", "title"),
        ({"title": " \u200b<br> "}, "title_empty", "title"),
        ({"title": "<script>x</script>"}, "title_empty", "title"),
        ({"title": "--- !!"}, "title_meaningless", "title"),
        ({"title": "N/A"}, "title_meaningless", "title"),
        ({"title": "null"}, "title_meaningless", "title"),
        ({"listing_id": "  "}, "listing_id_empty", "listing_id"),
    ],
)
def test_rejections_keep_the_row_whole(values: dict[str, Any], reason: str, field: str) -> None:
    row = listing(**values, price="9", brand="Ünïcode")
    result = clean(row, listing(listing_id="2"))
    (rejected,) = result.rejected.to_pylist()
    assert (rejected["reason"], rejected["field"]) == (reason, field)
    assert json.loads(rejected["raw"]) == row
    assert result.products.column("listing_id").to_pylist() == ["2"]


def test_no_listings_give_empty_tables() -> None:
    result = clean_listings(RAW_LISTINGS.empty(), rules=RULES, brands=LEXICON)
    assert result.products.equals(CLEANED_PRODUCTS.empty())
    assert result.rejected.equals(REJECTED_PRODUCTS.empty())


def test_a_broken_contract_is_named() -> None:
    with pytest.raises(ContractBroken, match="title"):
        clean_listings(table(listing()).drop_columns(["title"]), rules=RULES, brands=LEXICON)


def test_the_digest_covers_content_and_nothing_derived() -> None:
    base = clean_one(title="Sony TV 55 inch", price="10", currency="USD")
    same = clean_one(title="Sony  TV 55 inch", price="10.00", currency="usd", row_number=9)
    other = clean_one(title="Sony TV 55 inch", price="11", currency="USD")
    assert base["product_digest"] == same["product_digest"] != other["product_digest"]
    assert base["text_hash"] == other["text_hash"]
    assert "quality" not in CONTENT_COLUMNS and "price" in CONTENT_COLUMNS


# -- laws ------------------------------------------------------------------------------------------------------------

HOSTILE = st.text(max_size=60) | st.sampled_from(
    ["<script>x</script>", "=cmd|' /C calc'!A0", "\u202eevil", "9" * 400, "1e999", '{"a":' * 50, "4.0E+12",
     "\x00", "&#0;",
     "javascript:alert(1)", "http://[", "https://user:pw@host/", "-0.00", "NaN", "1.234,56 €"]
)  # fmt: skip
ATTRIBUTES = st.sampled_from(["{}", '{"a":[1,{"b":NaN}],"c":1e999}', "[]", "", '{"a":' * 2000])
OPTIONAL = ("description", "brand", "gtin", "mpn", "category", "price", "currency", "url", "image_url", "condition",
            "availability", "seller", "listing_id")  # fmt: skip
LISTINGS = st.lists(
    st.fixed_dictionaries(
        {"title": HOSTILE, "attributes": ATTRIBUTES},
        optional=dict.fromkeys(OPTIONAL, HOSTILE),
    ),
    max_size=5,
)  # fmt: skip


def conforms(products: pa.Table) -> None:
    """What the contract promises beyond types."""
    import re

    CLEANED_PRODUCTS.conform(products)
    for column in CLEANED_PRODUCTS:
        for value in products.column(column.name).to_pylist():
            if value is None:
                continue
            assert column.pattern is None or re.fullmatch(column.pattern, value), (column.name, value)
            assert column.values is None or value in column.values
            assert column.minimum is None or value >= column.minimum
            assert column.maximum is None or value <= column.maximum


@given(LISTINGS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_laws_of_any_listings(values: list[dict[str, Any]], rng: random.Random) -> None:
    rows = [listing(**row) for row in values]
    result = clean(*rows)
    assert len(result.products) + len(result.rejected) == len(rows)
    conforms(result.products)
    REJECTED_PRODUCTS.conform(result.rejected)
    assert result.issues == Counter(code for codes in result.products.column("issues").to_pylist() for code in codes)
    alone = [clean(row) for row in rng.sample(rows, len(rows))]
    assert _sorted(pa.concat_tables([CLEANED_PRODUCTS.empty(), *(one.products for one in alone)])) == _sorted(
        result.products
    )


def _sorted(products: pa.Table) -> list[str]:
    return sorted(map(repr, products.to_pylist()))


def test_cleaning_what_was_cleaned_changes_no_text() -> None:
    first = clean_one(
        title="&lt;b&gt;Sony&lt;/b&gt; WH–1000XM5™ ½ price", description="a &amp;amp; b<br>c", category="A &gt; B"
    )
    again = clean_one(title=first["title"], description=first["description"], category=first["category"])
    assert again == first


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("https://a.example/x", "https://a.example/x"),
        ("HTTP://a.example/x", "http://a.example/x"),
        (" https://a.example/x y ", "https://a.example/x%20y"),
        ("https://a.example/?a=1&amp;b=2", "https://a.example/?a=1&b=2"),
        ("//a.example/x", "https://a.example/x"),
        ("https://", None),
        ("https://user:pw@a.example/", None),
        ("http://[bad", None),
        ("http://a.example:99999/", None),
        ("https://a.example/\u202ex", None),
        ("ftp://a.example/x", None),
        ("javascript:alert(1)", None),
        ("java\nscript:alert(1)", None),
        ("data:text/html,x", None),
        ("www.a.example/x", None),
        ("https://a.example/" + "x" * 3000, None),
        ("", None),
        (None, None),
    ],
)
def test_links(raw: str | None, expected: str | None) -> None:
    assert clean_link(raw) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Wireless noise cancelling headphones with a case", "en"),
        ("Bosch Waschmaschine mit Dampffunktion und großem Display", "de"),
        ("Смартфон с большим экраном и хорошей камерой", "ru"),
        ("ソニー ワイヤレスヘッドホン ノイズキャンセリング", "ja"),
        ("Pralka ładowana od przodu biała z wyświetlaczem", "pl"),
        ("bosch wat2840sgb", None),
        ("SONY WH1000 XM5", None),
        ("", None),
    ],
)
def test_language(title: str, expected: str | None) -> None:
    assert detect_language(title) == expected


def test_embedding_text() -> None:
    assert embedding_text("Bravia 55", "Sony") == "Sony Bravia 55"
    assert embedding_text("SONY Bravia 55", "Sony") == "SONY Bravia 55"
    assert embedding_text("PolkAudio speaker", "Polk Audio") == "PolkAudio speaker"
    assert embedding_text("x", None) == "x"
    assert len(embedding_text("word " * 500, "Sony").split()) == 40


EVIDENCE = st.builds(
    QualityEvidence,
    title_words=st.integers(1, 500), shouting=st.booleans(), brand_origin=st.sampled_from(["feed", "title", None]),
    has_gtin=st.booleans(), has_mpn=st.booleans(), has_code=st.booleans(), has_price=st.booleans(),
    has_currency=st.booleans(),
    description_length=st.integers(0, 10_000), has_image=st.booleans(), details=st.integers(0, 6),
    possible_details=st.just(6),
    issues=st.integers(0, 20),
)  # fmt: skip


@given(EVIDENCE)
def test_quality_is_a_mean_of_its_parts(evidence: QualityEvidence) -> None:
    quality, parts = rate(evidence, QualityWeights())
    assert all(0 <= part <= 1 for part in parts.values())
    assert min(parts.values()) - 1e-4 <= quality <= max(parts.values()) + 1e-4


# -- real offers -------------------------------------------------------------------------------------------------------

OFFERS = {"listing_id": "id", "title": "title", "description": "description", "brand": "manufacturer", "price": "price"}
NAMED = {"listing_id": "id", "title": "name", "description": "description", "price": "price"}
PRICERUNNER = {"listing_id": "offer_id", "title": "title", "seller": "vendor", "category": "category"}
FOLDERS: dict[str, tuple[list[tuple[str, dict[str, str], str | None]], dict[str, float]]] = {
    "abt_buy": ([("abt.csv", NAMED, "USD"), ("buy.csv", NAMED, "USD")], {"brand": 0.9, "codes": 0.88, "price": 0.45}),
    "amazon_google": ([("amazon.csv", OFFERS, "USD"), ("google.csv", OFFERS, "USD")],
                      {"brand": 0.7, "codes": 0.2, "price": 0.9}),
    "pricerunner": ([("offers.csv", PRICERUNNER, None)], {"brand": 0.88, "codes": 0.72}),
}  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_offers_are_all_cleaned(folder: str) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"needs the real offers of ../shared/data/{folder}")
    feeds, least = FOLDERS[folder]
    rows = [
        listing(
            source=file.removesuffix(".csv"),
            currency=currency,
            **{name: row[column] or None for name, column in fields.items()},
        )
        for file, fields, currency in feeds
        for row in _rows(SHARED / folder / file)
    ]
    listings = table(*rows)
    titles = listings.column("title").to_pylist()
    brands = BrandLexicon.from_feeds(listings.column("brand").to_pylist()).merged(BrandLexicon.from_titles(titles))
    result = clean_listings(listings, rules=RULES, brands=brands)
    assert len(result.products) == len(rows)
    conforms(result.products)
    filled = {name: 1 - result.products.column(name).null_count / len(rows) for name in ("brand", "price")}
    filled["codes"] = sum(map(bool, result.products.column("model_codes").to_pylist())) / len(rows)
    assert {name: share for name, share in least.items() if filled[name] < share} == {}
    languages = Counter(result.products.column("language").to_pylist())
    assert languages["en"] > 0.9 * (languages.total() - languages[None])


def _rows(path: Path, limit: int = 2_500) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row for _, row in zip(range(limit), csv.DictReader(file), strict=False)]
