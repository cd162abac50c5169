"""Prices and trade item numbers of every wrong kind, as rows of a feed: what is stated of each, and no row lost.

Belongs here: hostile values by the whole path from a feed's bytes to products, and parsers under any text. Not here:
what right values mean (the parsers' own tests).
"""

import csv
import io
import json
import math
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stdnum import ean

import assets.products
from assets.listings.feeds import FeedContract
from assets.listings.intake import read_feed
from assets.products.attributes import parse_availability, parse_colour, parse_condition, parse_pack_size
from assets.products.brands import BrandLexicon, brand_key, clean_brand
from assets.products.cleaning import Cleaned, CleaningRules, clean_listings, lexicon_of
from assets.products.currencies import active_currencies, currency_code, decimal_mark, find_currency, minor_digits
from assets.products.feed_fields import FieldRules, clean_fields, text_fields, to_json
from assets.products.fingerprints import embedding_text, text_hash
from assets.products.identifiers import CodeRules, clean_mpn, gtin_in_text, model_codes, parse_gtin
from assets.products.languages import LanguageRules, detect_language
from assets.products.links import MAX_LENGTH, clean_link
from assets.products.measures import parse_measures
from assets.products.prices import PriceRules, parse_price
from assets.products.schema import AVAILABILITIES, CONDITIONS
from assets.products.text import TextRules, clean_text, fold, looks_like_formula
from assets.products.units import is_quantity, join_spellings

# -- rows ------------------------------------------------------------------------------------------------------------

#: What a price field holds -> why there is no price; "" where the field says nothing.
WRONG_PRICES = {
    **dict.fromkeys(["NaN", "∞", "null", "N/A", "-", "--", "?", ".", "$", "[]", "{}", "<script>9</script>"], ""),
    **dict.fromkeys(["0", "000", "-0", "-0.00", "0,00 €", "0.00001", "free", "gratis"], "price_zero"),
    **dict.fromkeys(["-1", "−5", "--5", "(5)", "$-12.99", "12.99-"], "price_negative"),
    **dict.fromkeys(["1000000000001", "1" + "0" * 150, "9" * 200], "price_too_large"),
    **dict.fromkeys(["call us", "Preis auf Anfrage", "P.O.A."], "price_on_request"),
    **dict.fromkeys(["3 x 4.99", "24 * 12.99", "9,99 € / Monat", "${7*7}"], "price_instalments"),
    **dict.fromkeys(["inf", "-Infinity", "1e5", "1.2999E+03", "1E+400", "1_000"], "price_unreadable"),
    **dict.fromkeys(["true", "abc", "twelve", "十二", "Ⅻ", "EUR", "#N/A", "#REF!", "5%", "10 kg"], "price_unreadable"),
    **dict.fromkeys(["=1+1", "=A1", "=2*3", "@SUM(1)", "-cmd|' /C calc'!A0", "1/2", "½", "+5"], "price_unreadable"),
    **dict.fromkeys(["12.99.99", "1..2", "1,,2", "12,3456,789", "2024-01-01", "../../9.99"], "price_unreadable"),
    **dict.fromkeys(["'; DROP TABLE offers; --", "%s%n", "&nbsp;x"], "price_unreadable"),
}  # fmt: skip
#: What looks wrong and has one meaning -> the amount.
ODD_PRICES = {
    "٣٫٥": "3.5", "９.９９": "9.99", "१२.५०": "12.5", "9\u200b.99": "9.99", "\u202e9.99": "9.99", "<b>9.99</b>": "9.99",
    "12,99 €¹": "12.99", "12,99²": "12.99", "12⁹⁹ €": "12.99", '="12.99"': "12.99", "12.99*": "12.99", "007": "7",
}  # fmt: skip
#: What a GTIN field holds -> why there is no number; "" where the field says nothing.
WRONG_GTINS = {
    **dict.fromkeys(["NaN", "null", "N/A", "-", "xxx", "Does not apply", "no EAN", "{}"], ""),
    **dict.fromkeys(["4006381333930", "400638133393", "40063813339310", "12345678"], "gtin_check_digit"),
    **dict.fromkeys(["123", "123456789", "4006381333931" * 3, "0306406153"], "gtin_length"),
    **dict.fromkeys(["0", "0000000000000", "1111111111111", "4" * 150, "1234567890128"], "gtin_placeholder"),
    **dict.fromkeys(["4.00638E+12", "4,00638E+12", "1e12"], "gtin_mangled"),
    **dict.fromkeys(["2012345678903", "0412345678903", "20000004"], "gtin_in_store"),
    "9912345678909": "gtin_coupon",
    **dict.fromkeys(["true", "ABC4006381333", "0x3A4F", "=1+1", "٤٠٠٦٣٨١٣٣٣٩٣١", "⁴006381333931"], "gtin_unreadable"),
    **dict.fromkeys(["4006381333931\u200b", "\u202e1393333186004", "<b>4006381333931</b>"], "gtin_unreadable"),
    **dict.fromkeys(["4,006,381,333,931", "[4006381333931]", "'; DROP TABLE", "../../x"], "gtin_unreadable"),
}  # fmt: skip


def products_of(tmp_path: Path, fmt: str, data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The products of a feed, by the whole path from its bytes, and how many rows were rejected."""
    feed = tmp_path / "feed"
    feed.write_bytes(data)
    contract = FeedContract.model_validate({"source": "shop", "path": "feed", "format": fmt, "currency": "EUR"})
    intake = read_feed(feed, contract, tmp_path / "taken")
    listings = pq.read_table(intake.accepted_path)
    cleaned: Cleaned = clean_listings(listings, rules=CleaningRules(), brands=lexicon_of(listings, {}))
    assert intake.read == cleaned.products.num_rows + cleaned.rejected.num_rows + intake.rejected + intake.repeats
    return cleaned.products.to_pylist(), cleaned.rejected.num_rows + intake.rejected


def feed_of(column: str, values: list[str], fmt: str) -> bytes:
    rows = [{"listing_id": str(n), "title": "Kettle", column: value} for n, value in enumerate(values)]
    if fmt == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if fmt == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


@pytest.mark.laws
@pytest.mark.parametrize("fmt", ["csv", "jsonl", "parquet"])
def test_a_wrong_price_costs_itself_and_says_why(fmt: str, tmp_path: Path) -> None:
    products, rejected = products_of(tmp_path, fmt, feed_of("price", [*WRONG_PRICES, *ODD_PRICES], fmt))
    assert (len(products), rejected) == (len(WRONG_PRICES) + len(ODD_PRICES), 0)
    found = {text: (p["price"], p["currency"], p["issues"]) for text, p in zip(WRONG_PRICES, products, strict=False)}
    assert found == {text: (None, None, [issue] if issue else []) for text, issue in WRONG_PRICES.items()}
    odd = products[len(WRONG_PRICES) :]
    assert {text: f"{p['price'].normalize():f}" for text, p in zip(ODD_PRICES, odd, strict=True)} == ODD_PRICES


@pytest.mark.laws
@pytest.mark.parametrize("fmt", ["csv", "jsonl", "parquet"])
def test_a_wrong_trade_item_number_costs_itself_and_says_why(fmt: str, tmp_path: Path) -> None:
    products, rejected = products_of(tmp_path, fmt, feed_of("gtin", list(WRONG_GTINS), fmt))
    assert (len(products), rejected) == (len(WRONG_GTINS), 0)
    found = {text: (p["gtin"], p["issues"]) for text, p in zip(WRONG_GTINS, products, strict=True)}
    assert found == {text: (None, [issue] if issue else []) for text, issue in WRONG_GTINS.items()}


@pytest.mark.laws
@pytest.mark.parametrize("column", ["price", "gtin"])
def test_what_is_no_text_in_place_of_a_value_costs_itself(column: str, tmp_path: Path) -> None:
    wrong = [None, True, False, [], {}, [[1]], [{}], {"a": 1}, {"amount": {"value": 1}}, [None], [True], "", " "]
    rows = [{"listing_id": str(n), "title": "Kettle", column: value} for n, value in enumerate(wrong)]
    products, rejected = products_of(tmp_path, "jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    assert (len(products), rejected) == (len(wrong), 0)
    assert {product[column] for product in products} == {None}


# -- any text --------------------------------------------------------------------------------------------------------

#: What texts are made of that a parser might stumble over.
PIECES = [
    "9", "1.", "1,", "0", "'", '"', " ", "-", "(", ")", "/", "x", "×", "a", "kg", " kg", "fl. oz", "cu.ft", "gb ram",
    "in", "€", "$", "kr", "EUR", "now ", "was ", "from ", "per ", "²", "½", "&", "&amp;", "&lt;", "<", "<b>", "</",
    "<script>", "<!--", "Ã", "é", "\u202e", "\u200b", "\u0301", "ﷺ", "中", "_", "=", "pack of ", "er ", "in stock",
    "schema.org/", "http://", "//", "[", "]", "@", ":", "%", "\\", "nan", "e9", "ram:", "cache", ".", "ß", "İ", "ſ",
    "Σ", "٣", "१", "𝟗", "\x1b[", "\0", "\t", "\n", "\ud800", "{", "}", "null", "true", '{"a":', "9" * 50,
]  # fmt: skip
HOSTILE = st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


def check_text(text: str) -> None:
    cleaned = clean_text(text, TextRules(max_length=50))
    assert cleaned.isprintable() and len(cleaned) <= 50 and "<script" not in cleaned.lower()
    assert isinstance(looks_like_formula(text), bool) and isinstance(fold(text), str)


def check_prices(text: str) -> None:
    for price in (parse_price(text), parse_price(text, "EUR"), parse_price("1.234", text)):
        assert price.amount is None or 0 < price.amount <= PriceRules().maximum
        assert price.currency is None or (price.amount is not None and price.currency in active_currencies())
        assert all(re.fullmatch(r"(price|currency)_[a-z_]+", issue) for issue in price.issues)


def check_currencies(text: str) -> None:
    code, mention = currency_code(text), find_currency(text)
    assert code is None or code in active_currencies()
    if code is not None:
        assert 0 <= minor_digits(code) <= 4 and decimal_mark(code) in (".", ",")
    assert mention is None or (mention.codes and active_currencies().issuperset(mention.codes))
    assert mention is None or mention.default in (None, *mention.codes)


def check_identifiers(text: str) -> None:
    for value in (parse_gtin(text).value, gtin_in_text(text)):
        assert value is None or (re.fullmatch(r"[0-9]{14}", value) and ean.is_valid(value))
    mpn, issue = clean_mpn(clean_text(text))
    assert mpn is None or (0 < len(mpn) <= CodeRules().max_mpn and issue is None)
    assert all(re.fullmatch(r"[A-Z0-9]{4,30}", code) for code in model_codes(text, mpn))


def check_measures(text: str) -> None:
    measures = parse_measures([text, f"weight {text}"], context=text)
    assert json.loads(to_json(measures)) == measures, "it can be stored"
    listed = [value for values in measures.values() for value in (values if isinstance(values, list) else [values])]
    assert all(0 < value < math.inf for value in listed)


def check_units(text: str) -> None:
    assert isinstance(is_quantity(text), bool)
    assert join_spellings(join_spellings(text)) == join_spellings(text)


def check_attributes(text: str) -> None:
    assert parse_condition(text, text)[0] in CONDITIONS
    assert parse_availability(text)[0] in AVAILABILITIES
    assert parse_pack_size(text) >= 1
    colour = parse_colour(text, fields={text: text, "colour": text}, description=text)
    assert colour is None or re.fullmatch(r"[a-z /]+", colour)


def check_links(text: str) -> None:
    for raw in (text, f"https://{text}", f"//shop.example/{text}", f"http://{text}@shop.example/{text}"):
        link = clean_link(raw)
        if link is not None:
            assert re.fullmatch(r"https?://\S+", link) and link.isprintable() and len(link) <= MAX_LENGTH * 3
            assert clean_link(link) == link, "a link that survives survives again"


def check_languages(text: str) -> None:
    for language in (detect_language(text), detect_language(f"{text} the und les {text}", text)):
        assert language is None or language in LanguageRules().languages


def check_feed_fields(text: str) -> None:
    limits = FieldRules()
    for published in (text, json.dumps({"a": text}), json.dumps({text: [text, {text: text}]}), f'{{"a":{text}}}'):
        fields, issue = clean_fields(published)
        assert issue in (None, "attributes_unreadable", "attributes_cut")
        assert json.loads(to_json(fields)) == fields, "it can be stored"
        assert all(0 < len(name) <= limits.max_name for name in fields)
        assert all(isinstance(value, str) for value in text_fields(fields).values())


def check_brands(text: str) -> None:
    name = clean_brand(text)
    assert name is None or (len(name) <= 60 and brand_key(name))
    lexicon = BrandLexicon.from_feeds([text] * 2).merged(BrandLexicon.from_titles([f"{text} {n}" for n in "abcde"]))
    found = lexicon.resolve(text, f"{text} {text}")
    assert found is None or (found.name and found.origin in ("feed", "title"))


def check_fingerprints(text: str) -> None:
    embedded = embedding_text(clean_text(text), clean_brand(text))
    assert re.fullmatch(r"[0-9a-f]{32}", text_hash(embedded))


CHECKS: dict[str, Callable[[str], None]] = {
    name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")
}
#: Modules of the room that read no text.
NO_PARSERS = {"applying", "assets", "checks", "cleaning", "guarding", "plots", "quality", "schema"}


def test_no_parser_of_the_room_is_forgotten() -> None:
    modules = {module.name for module in pkgutil.iter_modules(assets.products.__path__)}
    assert modules - NO_PARSERS == set(CHECKS)


@pytest.mark.parametrize("parser", CHECKS)
@given(text=HOSTILE)
@example(text="9" * 400 + " kg")
@example(text='{"a":' * 3_000)
@example(text="\ud800\udfff")
def test_no_text_crashes_a_parser(parser: str, text: str) -> None:
    CHECKS[parser](text)
