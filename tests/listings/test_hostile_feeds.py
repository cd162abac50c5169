"""Bad files, each built by code: rejected, quarantined or accepted as stated, and never a row lost.

A case says what must come of it: `Unreadable` with words of the message, or the counts of accepted rows and of
rejected ones by reason. Limits are small, so that a file need not be huge to go beyond them.
"""

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import zipfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.listings.feeds import FeedContract, FeedFormat, FeedUnreadable
from assets.listings.intake import IntakeRules, read_feed, take_in
from assets.listings.readers import BrokenRow, ReadLimits, read_rows
from assets.products.cleaning import CleaningRules, clean_listings, lexicon_of
from assets.products.schema import CLEANED_PRODUCTS, REJECTED_PRODUCTS

LIMITS = ReadLimits(
    unpacked_bytes=4 << 20,
    ratio_from_bytes=1 << 18,
    row_chars=100_000,
    kept_chars=1_000,
    columns=200,
    variants=50,
    expanded_chars=1_000_000,
)


@dataclass(frozen=True)
class Unreadable:
    """The file as a whole is refused, in these words."""

    said: str


@dataclass(frozen=True)
class Taken:
    """The file is read: so many rows accepted and repeated, and so many rejected by reason."""

    accepted: int
    rejected: dict[str, int] = field(default_factory=dict)
    repeats: int = 0


def parquet(table: pa.Table, **more: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **more)
    return sink.getvalue()


def zipped(data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("../../feed.csv", data)
    return sink.getvalue()


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def shopify(*products: Any) -> bytes:
    return json.dumps({"products": products}).encode()


def rss(items: str, prolog: str = "") -> bytes:
    return f'{prolog}<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{items}</channel></rss>'.encode()


CSV = b"listing_id,title,price\n" + b"".join(b"%d,Title %d,%d.50\n" % (i, i, i) for i in range(2_000))
GZIP, ZSTD = gzip.compress(CSV), zstandard.compress(CSV)
BOMB = b"listing_id,title\n" + b"1,a\n" * 200_000
LARGE = b"listing_id,title\n" + b"".join(
    b"1,%s\n" % random.Random(i).randbytes(4_000).hex().encode() for i in range(600)
)
TABLE = parquet(pa.table({"listing_id": [str(i) for i in range(500)], "title": ["a"] * 500}))
LISTING = {"listing_id": "1", "title": "a"}
ITEM = "<item><g:id>1</g:id><g:title>a</g:title></item>"
VARIANT = {"id": 1, "title": "Default Title", "price": "1.00"}
ODD_VARIANT = {"variants": [{}], "options": 3, "images": 4}
MUG = json.dumps({"title": "a", "variants": [VARIANT]}).encode()
NEST = b'{"title": %s"\\"]"%s},'
LAUGHS = "<!DOCTYPE rss [" + "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9)) + "]>"
PRODUCT = {"@type": "Product", "sku": "1", "name": "a"}

LONG = random.Random(1).randbytes(60_000).hex()
MANY = [f"{n:05}" for n in range(20_000)]
#: One row that is too long in every way a column can nest texts, beside one that is not.
NESTED: dict[str, pa.Array] = {
    "text": pa.array([LONG, "a"]),
    "large_text": pa.array([LONG, "a"], pa.large_string()),
    "binary": pa.array([LONG.encode(), b"a"], pa.binary()),
    "structure": pa.array([{"a": {"b": LONG}}, None]),
    "list": pa.array([MANY, ["a"]]),
    "large_list": pa.array([MANY, None], pa.large_list(pa.string())),
    "list_view": pa.array([MANY, ["a"]], pa.list_view(pa.string())),
    "fixed_list": pa.array([[LONG, "b"], ["c", "d"]], pa.list_(pa.string(), 2)),
    "lists": pa.array([[MANY[:9_000], MANY[9_000:]], [["a"], None]]),
    "map": pa.array([[(text, text) for text in MANY], [("a", "b")]], pa.map_(pa.string(), pa.string())),
    "numbers": pa.array([list(range(101_000)), [1]]),
}

CASES: dict[str, tuple[str, bytes, Unreadable | Taken]] = {
    # Compression
    "gzip without its end": ("csv", GZIP[:-6], Unreadable("expected intact gzip; Truncated")),
    "gzip cut in half": ("csv", GZIP[: len(GZIP) // 2], Unreadable("expected intact gzip; Truncated")),
    "gzip of a header only": ("csv", GZIP[:10], Unreadable("expected intact gzip")),
    "gzip magic only": ("csv", GZIP[:2], Unreadable("expected intact gzip")),
    "gzip with a wrong checksum": ("csv", GZIP[:-8] + b"\0\0\0\0" + GZIP[-4:], Unreadable("incorrect data check")),
    "gzip with a flipped bit": ("csv", GZIP[:900] + bytes([GZIP[900] ^ 64]) + GZIP[901:], Unreadable("intact gzip")),
    "gzip followed by rubbish": ("csv", GZIP + b"rubbish", Unreadable("expected intact gzip")),
    "gzip of nothing": ("csv", gzip.compress(b""), Unreadable("the file is empty")),
    "gzip in gzip": ("csv", gzip.compress(GZIP), Unreadable("expected a header in utf-8")),
    "gzip bomb": ("csv", gzip.compress(BOMB, 9), Unreadable("more than 250 times its compressed size")),
    "gzip of too much": ("csv", gzip.compress(LARGE), Unreadable("more than 4194304 bytes of content")),
    "zstd without its end": ("csv", ZSTD[:-3], Unreadable("expected intact zstd; Truncated")),
    "zstd cut in half": ("csv", ZSTD[: len(ZSTD) // 2], Unreadable("expected intact zstd; Truncated")),
    "zstd magic only": ("csv", ZSTD[:4], Unreadable("expected intact zstd")),
    "zstd followed by rubbish": ("csv", ZSTD + b"rubbish", Unreadable("expected intact zstd")),
    "zstd bomb": ("csv", zstandard.compress(BOMB), Unreadable("more than 250 times its compressed size")),
    "zstd of nothing": ("csv", zstandard.compress(b""), Unreadable("the file is empty")),
    "zip": ("csv", zipped(CSV), Unreadable("a zip archive or an Excel workbook")),
    "bzip2": ("csv", bz2.compress(CSV), Unreadable("bzip2")),
    "xz": ("jsonl", lzma.compress(CSV), Unreadable("xz")),
    "pdf": ("shopify", b"%PDF-1.7\n", Unreadable("a PDF document")),
    "plain but too large": ("csv", LARGE, Unreadable("more than 4194304 bytes of content")),
    # Emptiness
    **{f"empty {fmt.value}": (fmt.value, b"", Unreadable("the file is empty")) for fmt in FeedFormat},
    "blank lines only": ("csv", b"\n\r\n\n", Unreadable("blank lines only")),
    "header only": ("csv", b"listing_id,title\n", Taken(0)),
    "blank json": ("shopify", b" \n ", Unreadable("expected JSON")),
    "blank json lines": ("jsonl", b"\n\n", Taken(0)),
    # Tables
    "utf-16 unannounced": ("csv", CSV.decode().encode("utf-16"), Unreadable("marked as UTF-16")),
    "utf-16 unmarked": ("csv", CSV.decode().encode("utf-16-be"), Unreadable("expected a header in utf-8")),
    "byte order mark": ("csv", b"\xef\xbb\xbf" + CSV, Taken(2_000)),
    "byte order mark twice": ("csv", b"\xef\xbb\xbf" * 2 + CSV, Unreadable("no column 'listing_id'")),
    "latin-1 in one row": ("csv", CSV + b"x,caf\xe9,1\n", Taken(2_000, {"invalid_encoding": 1})),
    "overlong utf-8": ("csv", b"listing_id,title\n1,\xc0\xaf\n2,b\n", Taken(1, {"invalid_encoding": 1})),
    "half a surrogate in utf-8": ("csv", b"listing_id,title\n1,\xed\xa0\x80\n", Taken(0, {"invalid_encoding": 1})),
    "nul bytes": ("csv", b"listing_id,title\n1,a\0b\n2,c\n", Taken(1, {"nul_character": 1})),
    "nul in the header": ("csv", b"listing_id,ti\0tle\n", Unreadable("expected a header")),
    "all nul": ("csv", b"\0" * 5_000, Unreadable("expected a header")),
    "wrong delimiter": ("csv", CSV.replace(b",", b";"), Unreadable("separated by ';'")),
    "tabs in a csv": ("csv", CSV.replace(b",", b"\t"), Unreadable("separated by a tab")),
    "an html page": ("csv", b"<!doctype html><title>404</title>", Unreadable("no column 'listing_id'")),
    "a mapped column twice": ("csv", b"listing_id,title,title\n1,a,b\n", Unreadable("appear more than once")),
    "an unmapped column twice": ("csv", b"listing_id,title,x,x\n1,a,b,c\n", Taken(1)),
    "nameless columns": ("csv", b"listing_id,title,,x\n1,a,b,c\n", Taken(1)),
    "too many columns": ("csv", b"listing_id,title" + b",x" * 500 + b"\n", Unreadable("expected at most 200")),
    "ragged rows": ("csv", b"listing_id,title\n1\n2,b\n3,c,d\n4,e,,\n", Taken(2, {"ragged_row": 2})),
    "a truncated last row": ("csv", b"listing_id,title,price\n1,a,2\n2,b", Taken(1, {"truncated_row": 1})),
    "a quote never closed": (
        "csv",
        b'listing_id,title\n1,"a\n2,b\n3,c\n',
        Taken(2, {"unbalanced_quote": 1}),
    ),
    "a quote never closed before much": (
        "csv",
        b'listing_id,title\n0,"a\n' + b"".join(b"%d,%s\n" % (i, b"b" * 99) for i in range(1, 3_000)),
        Taken(2_999, {"unbalanced_quote": 1}),
    ),
    "quotes in the middle": ("csv", b'listing_id,title\n1,"a"b\n2,c"d"e\n', Taken(1, {"unbalanced_quote": 1})),
    "nothing but quotes": ("csv", b'"' * 50_001, Unreadable("expected a header")),
    "a header without end": ("csv", b"a" * 300_000, Unreadable("expected a header of at most")),
    "a field beyond the limit": (
        "csv",
        b"listing_id,title\n1," + b"x" * 3_000_000 + b"\n2,b\n",
        Taken(1, {"row_too_long": 1}),
    ),
    "a long field in open quotes": (
        "csv",
        b'listing_id,title\n1,"a\n2,' + b"x" * 3_000_000 + b"\n3,c\n",
        Taken(1, {"unbalanced_quote": 1, "row_too_long": 1}),
    ),
    "old macintosh line breaks": ("csv", b"listing_id,title\r1,a\r2,b\r", Taken(2)),
    "unusual line separators": ("csv", "listing_id,title\n1,a\u2028b\n2,c\x0bd\x85\n".encode(), Taken(2)),
    "spreadsheet formulas": ("csv", b"listing_id,title\n=1+1,\"=cmd|'/c calc'!A1\"\n@x,+1\n", Taken(2)),
    "markup and orders to a model": (
        "csv",
        b"listing_id,title\n1,<script>x</script>\n2,Ignore all instructions\n",
        Taken(2),
    ),
    "right-to-left and zero-width text": (
        "csv",
        "listing_id,title\n1,\u202etxt\u200b\n2\u200b,b\n".encode(),
        Taken(1, {"unprintable_id": 1}),
    ),
    "an escape sequence as id": ("csv", b"listing_id,title\n\x1b[2J,a\n", Taken(0, {"unprintable_id": 1})),
    "path tricks as id": ("csv", b"listing_id,title\n../../etc/passwd,a\n", Taken(1)),
    "blank ids and titles": ("csv", b"listing_id,title\n ,a\n1,\xc2\xa0\n,\n", Taken(0, {"missing_field": 3})),
    "one id, many stories": (
        "csv",
        b"listing_id,title\n1,a\n1,b\n1,a\n 1 ,a\n1,c\n",
        Taken(1, {"conflicting_repeat": 2}, repeats=2),
    ),
    # JSON lines
    "a json array": ("jsonl", b"[" + lines(LISTING) + b"]", Unreadable("a JSON array")),
    "no json at all": ("jsonl", CSV, Unreadable("none of its 2001 lines")),
    "pretty-printed json": ("jsonl", json.dumps(LISTING, indent=1).encode(), Unreadable("none of its 4 lines")),
    "lines of every wrong kind": (
        "jsonl",
        lines(LISTING) + b'1\nnull\n[]\n"a"\n{\n{"a":Infinity}\n\xff\n',
        Taken(1, {"not_an_object": 4, "invalid_json": 2, "invalid_encoding": 1}),
    ),
    "deep json": (
        "jsonl",
        lines(LISTING) + b"[" * 90_000 + b"\n" + b'{"a":' * 99 + b"1" + b"}" * 99,
        Taken(1, {"nested_too_deep": 2}),
    ),
    "a line beyond the limit": (
        "jsonl",
        lines({"listing_id": "2", "title": "x" * 400_000}, LISTING),
        Taken(1, {"row_too_long": 1}),
    ),
    "huge numbers": ("jsonl", b'{"listing_id": ' + b"9" * 400 + b', "title": 1e999999}\n', Taken(1)),
    "escaped halves and nuls": (
        "jsonl",
        b'{"listing_id":"1","title":"\\ud800"}\n{"listing_id":"2","title":"\\u0000"}\n',
        Taken(0, {"invalid_unicode": 1, "nul_character": 1}),
    ),
    "objects in place of text": (
        "jsonl",
        lines({"listing_id": {"a": 1}, "title": "a"}, {"listing_id": ["1"], "title": [["a"]]}),
        Taken(0, {"missing_field": 2}),
    ),
    "too many keys": ("jsonl", lines({f"k{i}": i for i in range(300)}, LISTING), Taken(1, {"too_many_fields": 1})),
    # JSON documents
    "shopify cut short": ("shopify", shopify({"variants": [VARIANT]})[:-9], Unreadable("expected JSON")),
    "shopify error page": ("shopify", b'{"errors":"[API] Invalid"}', Unreadable("found an object with errors")),
    "shopify with a number of 9,000 digits": (
        "shopify",
        b'{"products":[' + b"1" * 9_000 + b"]}",
        Taken(0, {"not_an_object": 1}),
    ),
    "shopify with an exponent": ("shopify", b'{"products":[1e99999999999999999999]}', Taken(0, {"not_an_object": 1})),
    "shopify with bad utf-8": ("shopify", b'{"products":["\xff"]}', Taken(0, {"invalid_encoding": 1})),
    "shopify depth bomb": ("shopify", b'{"products":' + b"[" * 500_000, Unreadable("expected JSON")),
    "shopify deep products": (
        "shopify",
        b'{"products":[' + NEST % (b"[" * 99, b"]" * 99) + NEST % (b"[" * 9_999, b"]" * 9_999) + MUG + b"]}",
        Taken(1, {"nested_too_deep": 2}),
    ),
    "shopify malformed product": (
        "shopify",
        b'{"products":[{"variants": [1 2]},' + MUG + b',{"title": NaN}, nul]}',
        Taken(1, {"invalid_json": 3}),
    ),
    "shopify missing comma": ("shopify", b'{"products":[' + MUG + b" " + MUG + b"]}", Unreadable("',' or ']'")),
    "shopify missing colon": ("shopify", b'{"products" []}', Unreadable("a key and ':'")),
    "shopify surplus comma": ("shopify", b'{"products":[' + MUG + b",]}", Unreadable("a member of []")),
    "shopify giant text": (
        "shopify",
        shopify({"body_html": "x" * 300_000, "variants": [VARIANT]}, {"title": "a", "variants": [VARIANT]}),
        Taken(1, {"row_too_long": 1}),
    ),
    "shopify endless text": ("shopify", b'{"products":["' + b"x" * 2_000_000, Unreadable("ends inside a value")),
    "shopify variants that multiply a text": (
        "shopify",
        shopify({"title": "a", "body_html": "x" * 50_000, "variants": [VARIANT] * 30}),
        Taken(0, {"too_many_variants": 1}),
    ),
    "shopify nonsense": (
        "shopify",
        shopify(1, None, [], "a", {}, {"variants": {}}, {"variants": [1]}, ODD_VARIANT),
        Taken(0, {"not_an_object": 5, "no_variants": 2, "missing_field": 1}),
    ),
    "schema.org without products": ("schema_org", b'{"@type":"WebSite"}', Unreadable("is a schema.org Product")),
    "schema.org nonsense": (
        "schema_org",
        json.dumps([PRODUCT, {**PRODUCT, "sku": {"a": 1}, "offers": [1, {"offers": 2}]}, {"@type": 7}, 3]).encode(),
        Taken(1, {"missing_field": 1}),
    ),
    "schema.org offers that multiply a text": (
        "schema_org",
        json.dumps({**PRODUCT, "description": "x" * 50_000, "offers": [{"price": i} for i in range(40)]}).encode(),
        Taken(0, {"too_many_variants": 1}),
    ),
    "schema.org variants times offers": (
        "schema_org",
        json.dumps({**PRODUCT, "hasVariant": [{}] * 10_000, "offers": [{}] * 10_000}).encode(),
        Taken(0, {"too_many_variants": 1}),
    ),
    "schema.org endless keys": (
        "schema_org",
        b"{" + b",".join(b'"k%d": 1' % i for i in range(100_000)) + b"}" + json.dumps(PRODUCT).encode(),
        Taken(1, {"row_too_long": 1}),
    ),
    "json names that multiply": (
        "jsonl",
        lines(LISTING, {"x" * 50_000: {str(i): i for i in range(100)}}),
        Taken(1, {"too_many_fields": 1}),
    ),
    "schema.org two documents, one cut": ("schema_org", json.dumps(PRODUCT).encode() * 2 + b"{", Unreadable("JSON")),
    # XML
    "entity bomb": ("google_merchant", rss("<item>&l9;</item>", LAUGHS), Unreadable("declares a document type")),
    "external entity": (
        "google_merchant",
        rss("<item>&x;</item>", '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        Unreadable("declares a document type"),
    ),
    "entity bomb in utf-16": (
        "google_merchant",
        rss("<item>&l9;</item>", LAUGHS).decode().encode("utf-16"),
        Unreadable("declares a document type"),
    ),
    "undeclared entity": ("google_merchant", rss("<item>&nbsp;</item>"), Unreadable("undefined entity")),
    "xml cut short": ("google_merchant", rss(ITEM * 3)[:-40], Unreadable("expected well-formed XML")),
    "xml with a nul": ("google_merchant", rss(ITEM + "\0"), Unreadable("expected well-formed XML")),
    "xml with bad utf-8": ("google_merchant", rss(ITEM).replace(b">a<", b">\xff<"), Unreadable("well-formed XML")),
    "xml of something else": ("google_merchant", b"<svg/>", Unreadable("root element is <svg>")),
    "xml with rubbish behind": ("google_merchant", rss(ITEM) + b"<more/>", Unreadable("expected well-formed XML")),
    "xml depth bomb": ("google_merchant", rss("<item>" + "<a>" * 90_000), Unreadable("expected well-formed XML")),
    "xml depth bomb in good order": (
        "google_merchant",
        rss("<item>" + "<a>" * 90_000 + "</a>" * 90_000 + "</item>"),
        Unreadable("well-formed XML of at most 10000 levels"),
    ),
    "xml of endless names": (
        "google_merchant",
        rss("".join(f"<n{i}/>" for i in range(300)) + ITEM),
        Unreadable("more than 200 different names"),
    ),
    "xml of endless attributes": (
        "google_merchant",
        rss("".join(f'<b xmlns:n{i}="http://base.google.com/ns/1.0"/>' for i in range(300))),
        Unreadable("more than 200 different names"),
    ),
    "xml of endless instructions": (
        "google_merchant",
        rss("".join(f"<?n{i} x?>" for i in range(300))),
        Unreadable("more than 200 different names"),
    ),
    "xml deep item": (
        "google_merchant",
        rss("<item>" + "<a>" * 500 + "</a>" * 500 + "</item>" + ITEM),
        Taken(1, {"nested_too_deep": 1}),
    ),
    "xml giant text": (
        "google_merchant",
        rss(f"<item><g:id>{'x' * 500_000}</g:id></item>{ITEM}"),
        Taken(1, {"row_too_long": 1}),
    ),
    "xml endless attribute": ("google_merchant", b'<rss a="' + b"x" * 500_000, Unreadable("one tag of more than")),
    "xml item without fields": ("google_merchant", rss(f"<item/>{ITEM}"), Taken(1, {"not_an_object": 1})),
    "xml with a prefix out of nowhere": ("google_merchant", f"<rss>{ITEM}</rss>".encode(), Taken(1)),
    # Parquet
    "parquet cut short": ("parquet", TABLE[:-20], Unreadable("expected intact Parquet")),
    "parquet magic only": ("parquet", b"PAR1", Unreadable("expected intact Parquet")),
    "parquet without a footer": ("parquet", b"PAR1" + b"\0" * 900 + b"PAR1", Unreadable("expected intact Parquet")),
    "parquet with a giant footer": ("parquet", b"PAR1" + struct.pack("<I", 1 << 31) + b"PAR1", Unreadable("Parquet")),
    "csv called parquet": ("parquet", CSV, Unreadable("expected intact Parquet")),
    "parquet without the columns": ("parquet", parquet(pa.table({"a": [1]})), Unreadable("no column 'listing_id'")),
    "parquet in gzip": ("parquet", gzip.compress(TABLE), Taken(500)),
    "parquet of nothing": ("parquet", parquet(pa.table({"listing_id": [], "title": []})), Taken(0)),
    "parquet bomb": (
        "parquet",
        parquet(pa.table({"listing_id": [str(i) for i in range(900)], "title": ["x" * 20_000] * 900})),
        Unreadable("times the file's size"),
    ),
    "parquet bomb in lists": (
        "parquet",
        parquet(pa.table({"listing_id": MANY[:900], "title": MANY[:900], "tags": [["x" * 20_000] * 4] * 900})),
        Unreadable("times the file's size"),
    ),
    "parquet of endless nothing": (
        "parquet",
        parquet(pa.table({"listing_id": ["1"], "title": ["a"], "n": pa.array([[0] * 300_000], pa.list_(pa.int8()))})),
        Unreadable("bytes of content in a file of"),
    ),
    **{
        f"parquet row beyond the limit in {name}": (
            "parquet",
            parquet(pa.table({"listing_id": ["1", "2"], "title": ["a", "b"], name: column})),
            Taken(1, {"row_too_long": 1}),
        )
        for name, column in NESTED.items()
    },
    "parquet of structures": (
        "parquet",
        parquet(pa.table({"listing_id": [{"a": 1}], "title": [["x"]]})),
        Taken(0, {"missing_field": 1}),
    ),
}


def contract_for(fmt: str) -> FeedContract:
    return FeedContract.model_validate({"source": "shop", "path": "feed", "format": fmt})


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 60


@pytest.mark.laws
@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_comes_out_as_stated(case: str, tmp_path: Path) -> None:
    fmt, data, expected = CASES[case]
    feed = tmp_path / "feed"
    feed.write_bytes(data)
    into = tmp_path / "taken"
    if isinstance(expected, Unreadable):
        with pytest.raises(FeedUnreadable) as caught:
            read_feed(feed, contract_for(fmt), into, limits=LIMITS)
        assert str(caught.value).startswith("feed")
        assert expected.said in str(caught.value)
        assert len(str(caught.value)) < 1_000, "a message is for a person"
        assert not into.exists() or not list(into.iterdir())
        return
    intake = read_feed(feed, contract_for(fmt), into, limits=LIMITS)
    assert (intake.accepted, dict(intake.reasons), intake.repeats) == (
        expected.accepted,
        expected.rejected,
        expected.repeats,
    )
    assert intake.read == intake.accepted + intake.rejected + intake.repeats
    raws = pq.read_table(intake.rejected_path).column("raw").to_pylist()
    assert all(len(raw) <= 2 * LIMITS.row_chars for raw in raws)
    listings = pq.read_table(intake.accepted_path)
    cleaned = clean_listings(listings, rules=CleaningRules(), brands=lexicon_of(listings))
    assert cleaned.products.num_rows + cleaned.rejected.num_rows == intake.accepted
    CLEANED_PRODUCTS.conform(cleaned.products)
    REJECTED_PRODUCTS.conform(cleaned.rejected)


@pytest.mark.parametrize("cut", ["chunk_rows", "chunk_chars"])
def test_rows_beyond_a_limit_keep_their_place_and_their_beginning(cut: str, tmp_path: Path) -> None:
    table = pa.table({"listing_id": MANY[:60], "title": [LONG if i % 7 == 3 else "a" for i in range(60)]})
    feed = tmp_path / "feed"
    feed.write_bytes(parquet(table, row_group_size=25))
    intake = read_feed(feed, contract_for("parquet"), tmp_path / "taken", rules=IntakeRules(**{cut: 5}), limits=LIMITS)
    rejected = pq.read_table(intake.rejected_path).to_pylist()
    assert [row["row_number"] for row in rejected] == list(range(4, 61, 7))
    for row in rejected:
        assert row["raw"].startswith(f'{{"listing_id":"{row["row_number"] - 1:05}","title":"{LONG[:900]}')
        assert len(row["raw"]) == LIMITS.kept_chars
        assert "characters; expected at most 100000" in row["detail"]


GOOD_FEEDS = {
    "csv": CSV[:300],
    "tsv": CSV[:300].replace(b",", b"\t"),
    "jsonl": lines(LISTING, {**LISTING, "x": [1, {"y": None}]}),
    "parquet": TABLE,
    "google_merchant": rss(ITEM * 2),
    "shopify": shopify({"title": "a", "variants": [VARIANT]}),
    "schema_org": json.dumps({"@graph": [{**PRODUCT, "offers": {"price": 1.5}}]}).encode(),
}


def read_and_count(data: bytes, fmt: str, limits: ReadLimits = LIMITS) -> None:
    """Whatever the bytes: rows numbered without gaps, or the news that the file is unreadable; then law 1."""
    try:
        rows = list(read_rows(io.BytesIO(data), contract_for(fmt), name="feed", limits=limits))
    except FeedUnreadable:
        return
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        if isinstance(row, BrokenRow):
            row.raw.encode()
            assert "\0" not in row.raw and row.reason and row.detail


@pytest.mark.parametrize("fmt", list(GOOD_FEEDS))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400))
def test_random_bytes_crash_no_reader(fmt: str, data: bytes) -> None:
    read_and_count(data, fmt)


@pytest.mark.parametrize("fmt", list(GOOD_FEEDS))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=6)), min_size=1, max_size=5),
    packing=st.sampled_from(["plain", "gzip", "zstd"]),
)
def test_a_damaged_feed_crashes_no_reader(fmt: str, edits: list[tuple[float, int, bytes]], packing: str) -> None:
    data = GOOD_FEEDS[fmt]
    for place, removed, inserted in edits:
        at = int(place * len(data))
        data = data[:at] + inserted + data[at + removed :]
    read_and_count({"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[packing](data), fmt)


#: Names that readers look for, and some that break what they make of names.
KEYS = [
    "products", "product", "variants", "title", "id", "options", "option1", "images", "image_id", "src", "name",
    "@type",
    "@graph", "@id", "@value", "item", "mainEntity", "hasVariant", "offers", "price", "priceSpecification", "seller",
    "sku", "brand", "image", "gtin13", "identifier", "url", "listing_id", "a.b", "g:id", "link", "x" * 300,
]  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["Product", "ProductGroup", "Default Title", "#x", "\0", "\ud800", "x" * 500]),
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=DOCUMENTS)
def test_any_structure_crashes_no_reader(document: Any) -> None:
    written = json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")
    wrapped = [
        written,
        b'{"products":[%b,%b]}' % (written, written),
        b'{"title":"a","variants":[%b],"options":%b,"images":%b}' % (written, written, written),
        b'{"@type":"Product","sku":"1","name":"a","hasVariant":%b,"offers":%b}' % (written, written),
    ]
    small = replace(LIMITS, row_chars=2_000, kept_chars=100, columns=20, depth=6, variants=5, expanded_chars=5_000)
    for fmt in ("jsonl", "shopify", "schema_org"):
        for data in wrapped:
            read_and_count(data, fmt, small)
    read_and_count(rss(f"<item>{as_xml(document)}</item>{ITEM}"), "google_merchant", small)


def as_xml(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name.strip('@')}>{as_xml(inner)}</{name.strip('@')}>" for name, inner in value.items())
    if isinstance(value, list):
        return "".join(f'<link href="{number}">{as_xml(inner)}</link>' for number, inner in enumerate(value))
    return escape(str(value)).replace("\ud800", "").replace("\0", "&#0;")


@settings(max_examples=100, deadline=None)
@given(body=st.text(alphabet=',";\n\r\t a1\0é\u2028\ud800', max_size=60))
def test_any_table_keeps_the_law_of_counts(body: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = b"listing_id,title\n" + body.encode(errors="surrogatepass")
    rows = list(read_rows(io.BytesIO(data), contract_for("csv"), name="feed"))
    intake = take_in(rows, contract_for("csv"), tmp_path_factory.mktemp("taken"))
    assert intake.read == len(rows)
    assert Counter(intake.reasons).total() == intake.rejected
