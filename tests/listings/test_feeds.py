"""Contracts: what is understood, what is refused and in which words, and which file falls under which."""

from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.listings.feeds import ContractError, DeliveryMode, FeedContract, FeedContracts, FeedFormat, load_contracts

GOOD = b"""
feeds:
  - source: abt
    path: abt.csv
    format: csv
    currency: USD
    fields: {listing_id: id, title: name, price: price}
  - source: mall
    path: drops/**/*.jsonl
    format: jsonl
    mode: delta
    seller: The Mall
    fields: {brand: [maker, vendor], gtin: null}
  - {source: shop, path: shop/, format: shopify}
"""


def contracts_of(text: str | bytes) -> FeedContracts:
    return load_contracts(text, origin="feeds.yaml")


def refusal_of(text: str | bytes) -> str:
    with pytest.raises(ContractError) as caught:
        contracts_of(text)
    message = str(caught.value)
    assert message.startswith("feeds.yaml")
    assert "Traceback" not in message and "pydantic" not in message
    return message


def test_a_contract_is_read_with_its_defaults() -> None:
    abt, mall, shop = contracts_of(GOOD)
    assert (abt.mode, abt.currency, abt.encoding, abt.separator) == (DeliveryMode.SNAPSHOT, "USD", "utf-8", ",")
    assert abt.columns["title"] == ("name",)
    assert abt.columns["description"] == ("description",), "unnamed fields keep the format's default"
    assert mall.columns["brand"] == ("maker", "vendor")
    assert "gtin" not in mall.columns, "null leaves a field empty"
    assert (mall.seller, mall.mode) == ("The Mall", DeliveryMode.DELTA)
    assert shop.columns["gtin"] == ("barcode",)


def test_a_column_claimed_by_one_field_is_no_longer_the_default_of_another() -> None:
    (feed,) = contracts_of("feeds: [{source: a, path: a.csv, format: csv, fields: {seller: brand}}]")
    assert feed.columns["seller"] == ("brand",)
    assert "brand" not in feed.columns


@pytest.mark.parametrize("fmt", list(FeedFormat))
def test_every_format_can_do_without_fields(fmt: FeedFormat) -> None:
    contract = FeedContract(source="a", path="a", format=fmt)
    assert set(contract.promised) == {"listing_id", "title"}


@pytest.mark.parametrize(
    ("delivered", "source"),
    [
        ("abt.csv", "abt"),
        ("abt.csv.gz", "abt"),
        ("abt.csv.zst", "abt"),
        ("abt.csv.bz2", None),
        ("xabt.csv", None),
        ("deep/abt.csv", None),
        ("drops/a.jsonl", "mall"),
        ("drops/2026/11/a.jsonl.zst", "mall"),
        ("drops/a.json", None),
        ("shop/products.json", "shop"),
        ("shop/page/2.json.gz", "shop"),
        ("shop/", None),
        ("shop", None),
        ("../abt.csv", None),
        ("drops/../abt.csv", None),
        ("/abt.csv", None),
        ("shop/a\nb.json", None),
        ("", None),
    ],
)
def test_a_delivered_file_finds_its_contract(delivered: str, source: str | None) -> None:
    found = contracts_of(GOOD).match(delivered)
    assert (found.source if found else None) == source


def test_an_exact_path_wins_over_an_earlier_pattern() -> None:
    contracts = contracts_of(
        "feeds: [{source: all, path: '*.csv', format: csv}, {source: one, path: a.csv, format: csv}]"
    )
    found = contracts.match("a.csv.gz")
    assert found is not None and found.source == "one"


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ("{path: a, format: csv}", "feed 1, field 'source': is missing"),
        ("{source: A b, path: a, format: csv}", "field 'source': expected a slug"),
        ("{source: 12, path: a, format: csv}", "field 'source': expected text; got 12 (quote it?)"),
        ("{source: a, path: a, format: cvs}", "did you mean 'csv'?"),
        ("{source: a, path: /etc/passwd, format: csv}", "expected a path relative to"),
        ("{source: a, path: 'C:/x', format: csv}", "expected a path relative to"),
        ("{source: a, path: ../a, format: csv}", "without '..'"),
        ("{source: a, path: 'a//b', format: csv}", "empty parts"),
        ("{source: a, path: 'a**.csv', format: csv}", "'**' as a folder of its own"),
        ("{source: a, path: '***/a.csv', format: csv}", "'**' as a folder of its own"),
        ('{source: a, path: "a\\\\b", format: csv}', "'/' between folders"),
        ("{source: a, path: a, format: csv, currency: UDS}", "ISO 4217"),
        ("{source: a, path: a, format: csv, encoding: utf-7}", "field 'encoding': expected one of"),
        ("{source: a, path: a, format: csv, delimiter: ';;'}", "one single character"),
        ("{source: a, path: a, format: csv, delimiter: '\"'}", "cannot also be the delimiter"),
        ("{source: a, path: a, format: shopify, delimiter: ';'}", "format shopify has none"),
        ("{source: a, path: a, format: csv, modus: delta}", "field 'modus': is unknown (did you mean 'mode'?)"),
        ("{source: a, path: a, format: csv, mode: full}", "expected one of snapshot, delta; got 'full'"),
        ("{source: a, path: a, format: csv, fields: {titel: t}}", "did you mean 'title'?"),
        ("{source: a, path: a, format: csv, fields: {title: 3}}", "title: expected a column name"),
        ("{source: a, path: a, format: csv, fields: {title: null}}", "fields.title: expected a column"),
        ("{source: a, path: a, format: csv, fields: [title]}", "expected a mapping"),
        ("12", "feed 1: expected a mapping with source, path and format; got 12"),
    ],
)
def test_a_wrong_contract_is_refused_in_words(feed: str, said: str) -> None:
    assert said in refusal_of(f"feeds:\n  - {feed}")


def test_every_problem_is_named_at_once() -> None:
    message = refusal_of("feeds: [{source: a, path: /a, format: x}, {source: b}]")
    assert message.count("\n") == 3
    assert "feed 1 (source 'a'), field 'path'" in message and "feed 2 (source 'b'), field 'format'" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected one key, 'feeds'"),
        ("feeds:", "at least one feed"),
        ("feeds: []", "at least one feed"),
        ("other: 1", "got keys ['other']"),
        ("feeds: [", "line 1, column 9"),
        ("feeds: 2026-99-99", "expected YAML"),
        ("feeds: !!python/object/apply:os.system [id]", "tags are not allowed"),
        ("a: &a [x]\nfeeds: [*a, *a]", "aliases are not allowed"),
        ("feeds: !!float ''", "tags are not allowed"),
        ("feeds: [!!timestamp x]", "line 1, column 9: expected YAML; tags are not allowed"),
        ("? !!set {a}\n: b", "tags are not allowed"),
        ("feeds: [{source: a, source: b}]", "'source' is given twice"),
        ("? [a]\n: b", "expected YAML"),
        ("[" * 5_000, "expected YAML"),
        (b"\xff\xfe\x00", "expected YAML"),
        (b"feeds: \xff", "expected YAML"),
        ("#" * (1 << 20) + "\n", "at most 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_contract_is_refused_in_words(text: str | bytes, said: str) -> None:
    assert said in refusal_of(text)


def test_a_path_is_declared_once() -> None:
    feed = "{source: a, path: a.csv, format: csv}"
    assert "'a.csv' is already declared by feed 1" in refusal_of(f"feeds: [{feed}, {feed}]")
    assert "already declared" in refusal_of(f"feeds: [{feed}, {{source: b, path: a.csv, format: csv}}]")


def test_the_digest_tells_promises_apart_and_survives_storage() -> None:
    abt, mall, _ = contracts_of(GOOD)
    assert abt.digest != mall.digest
    assert len(abt.digest) == 32
    for contract in (abt, mall):
        stored = FeedContract.model_validate_json(contract.model_dump_json())
        assert (stored, stored.digest, stored.columns) == (contract, contract.digest, contract.columns)
    assert abt.model_copy(update={"currency": "EUR"}).digest != abt.digest


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_no_text_makes_the_loader_stumble(text: str | bytes) -> None:
    try:
        contracts_of(text)
    except ContractError as error:
        assert str(error).startswith("feeds.yaml")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.text(max_size=9),
    st.sampled_from(["csv", "delta", "EUR", "utf_16", "*/", "**/x", "..", "\0", "\ud800", ".nan", "0x1", "1:30"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(SCALARS, inner, max_size=3)),
    max_leaves=6,
)
#: A feed in which any field may hold anything, beside fields that are right.
FEEDS = st.builds(
    lambda right, wrong: {**right, **wrong},
    st.just({"source": "a", "path": "a.csv", "format": "csv"}),
    st.dictionaries(st.one_of(st.sampled_from(sorted(FeedContract.model_fields)), SCALARS), VALUES, max_size=3),
)
MARKS = [
    *"[]{}=|?~#!'\"\\\n\t\0\u2028",
    ": ",
    "- ",
    ", ",
    "---",
    "%YAML 1.1",
    "feeds",
    "&x",
    "*x",
    "<<",
    "!!int",
    "!!set",
]
MARKS += ["!!float", "2001-01-01", "0b_", "1_", ".inf"]


@given(st.one_of(st.lists(st.one_of(FEEDS, VALUES), max_size=2), VALUES), st.booleans())
def test_any_values_in_a_contract_are_taken_or_refused_in_words(feeds: Any, as_bytes: bool) -> None:
    text = yaml.dump({"feeds": feeds}, allow_unicode=True)
    taken_or_refused(text.encode(errors="surrogatepass") if as_bytes else text)


@given(st.lists(st.sampled_from(MARKS), max_size=30).map("".join))
def test_any_yaml_in_a_contract_is_taken_or_refused_in_words(text: str) -> None:
    for written in (text, f"feeds: {text}", f"feeds: [{{source: a, path: a, format: csv, {text}}}]"):
        taken_or_refused(written)


def taken_or_refused(text: str | bytes) -> None:
    try:
        contracts = contracts_of(text)
    except ContractError as error:
        assert str(error).startswith("feeds.yaml")
        assert str(error).isprintable() or "\n" in str(error), "a message is for a person"
        return
    for contract in contracts:
        assert FeedContract.model_validate_json(contract.model_dump_json()) == contract
        assert contract.promised.keys() >= {"listing_id", "title"}
        assert contract.pattern.fullmatch(contract.path.rstrip("/") + ("/a" if contract.path.endswith("/") else ""))


FOLDERS = st.lists(st.sampled_from(["a", "b", "ab", "aab", "ba.b"]), min_size=1, max_size=5).map("/".join)
PARTS = ["**", "a", "*", "?", "a*", "*b", "a*b", "*a*b*", "?b", "ba.b"]
GLOBS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("/".join)


@settings(max_examples=400)
@given(GLOBS, st.booleans(), FOLDERS)
def test_a_glob_means_what_it_says(glob: str, is_prefix: bool, name: str) -> None:
    contract = FeedContract.model_validate({"source": "a", "path": glob + "/" * is_prefix, "format": "csv"})
    assert bool(contract.pattern.fullmatch(name)) is follows(name.split("/"), contract.path.split("/"))


def follows(names: list[str], parts: list[str]) -> bool:
    """What a glob means, said once more in the plainest way."""
    if not names or not parts:
        return not names and not parts
    if parts == [""] or parts == ["**"]:
        return True
    if parts[0] == "**":
        return any(follows(names[skipped:], parts[1:]) for skipped in range(len(names)))
    return fnmatchcase(names[0], parts[0]) and follows(names[1:], parts[1:])


def test_no_glob_is_busy_with_a_name() -> None:
    feeds = (("*a" * 40, "*.csv"), ("*" + "?*" * 60, "b"), ("**/" * 40, "x"), ("**/*a/" * 40, "x"))
    for number, (start, end) in enumerate(feeds):
        contracts = contracts_of(f"feeds: [{{source: a{number}, path: '{start}{end}', format: csv}}]")
        assert contracts.match("a" * 1_000) is None
        assert contracts.match("a/" * 500 + "y") is None


@given(st.text(max_size=60))
def test_any_path_can_be_asked_for(path: str) -> None:
    contracts_of(GOOD).match(path)
