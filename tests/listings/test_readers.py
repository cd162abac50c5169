"""The formats: what each yields from a feed as its makers write it, plain and compressed."""

import codecs
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers import BrokenRow, ReadLimits, Row, merchant, read_rows

PLAIN_FIELDS = [
    {"listing_id": "1", "title": "Kettle, 1.7 l", "price": "29.90", "colour": "red"},
    {"listing_id": "2", "title": "Wasserkocher „Öko“", "price": "1.234,00", "colour": ""},
]


def contract_for(fmt: str, **more: Any) -> FeedContract:
    return FeedContract.model_validate({"source": "shop", "path": "feed", "format": fmt, **more})


def rows_of(data: bytes, fmt: str, *, limits: ReadLimits | None = None, **more: Any) -> list[Row | BrokenRow]:
    return list(read_rows(io.BytesIO(data), contract_for(fmt, **more), name="feed", limits=limits))


def fields_of(data: bytes, fmt: str, **more: Any) -> list[dict[str, Any]]:
    rows = rows_of(data, fmt, **more)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.fields for row in rows if isinstance(row, Row)]


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row.values()] for row in rows]
    lines = [delimiter.join(rows[0]), *(delimiter.join(row) for row in quoted)]
    return "\r\n".join(lines).encode()


def as_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


PLAIN_FEEDS: dict[str, bytes] = {
    "csv": as_csv(PLAIN_FIELDS),
    "tsv": as_csv(PLAIN_FIELDS, "\t"),
    "jsonl": b"\n".join(json.dumps(row).encode() for row in PLAIN_FIELDS),
    "parquet": as_parquet(pa.Table.from_pylist(PLAIN_FIELDS)),
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip in two members": lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:]),
    "zstd": zstandard.compress,
    "zstd in two frames": lambda data: zstandard.compress(data[:40]) + zstandard.compress(data[40:]),
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("fmt", PLAIN_FEEDS)
def test_a_plain_format_reads_the_same_however_it_is_packed(fmt: str, compression: str) -> None:
    assert fields_of(COMPRESSIONS[compression](PLAIN_FEEDS[fmt]), fmt) == PLAIN_FIELDS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "utf-16-le"])
@pytest.mark.parametrize("fmt", ["csv", "jsonl"])
def test_text_is_read_in_the_encoding_of_its_contract(fmt: str, encoding: str) -> None:
    data = PLAIN_FEEDS[fmt].decode().encode(encoding)
    assert fields_of(data, fmt, encoding=encoding) == PLAIN_FIELDS


def test_a_stream_that_cannot_seek_is_enough() -> None:
    class Wire(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.inner = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.inner.readinto(memoryview(buffer)[:7])

    for fmt, data in PLAIN_FEEDS.items():
        rows = list(read_rows(Wire(data), contract_for(fmt), name="feed"))  # type: ignore[arg-type]
        assert [row.fields for row in rows if isinstance(row, Row)] == PLAIN_FIELDS


class TestDelimited:
    def test_quotes_hold_delimiters_breaks_and_quotes(self) -> None:
        data = b'listing_id,title\n1,"a ""b"", c\nd"\n\n2,5" pipe\n'
        assert [f["title"] for f in fields_of(data, "csv")] == ['a "b", c\nd', '5" pipe']

    def test_surplus_empty_cells_and_blank_lines_are_forgiven(self) -> None:
        assert fields_of(b"\n\nlisting_id,title,\n1,a,\n\n2,b,,,\n3,c\n", "csv") == [
            {"listing_id": "1", "title": "a"},
            {"listing_id": "2", "title": "b"},
            {"listing_id": "3", "title": "c"},
        ]

    def test_a_column_that_repeats_becomes_a_list(self) -> None:
        (row,) = fields_of(b"listing_id,title,pic,pic,\n1,a,x,y,\n", "csv")
        assert row["pic"] == ["x", "y"]

    def test_ragged_rows_are_broken_and_keep_their_text(self) -> None:
        first, good, last = rows_of(b"listing_id,title,price\n1,a,b,c\n2,b,3\n3,c", "csv")
        assert isinstance(first, BrokenRow) and isinstance(last, BrokenRow) and isinstance(good, Row)
        assert (first.reason, first.raw) == ("ragged_row", "1,a,b,c")
        assert "line 2: 4 cells; expected 3" in first.detail
        assert (last.reason, last.raw, last.number) == ("truncated_row", "3,c", 3)

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (b'1,"never closed,9\n', "unbalanced_quote"),
            (b'1,"closed" early,9\n', "unbalanced_quote"),
            (b"1,caf\xe9,9\n", "invalid_encoding"),
            (b"1,a\0b,9\n", "nul_character"),
            (b"1," + b"x" * 300 + b",9\n", "row_too_long"),
        ],
    )
    def test_a_bad_row_costs_itself_only(self, bad: bytes, reason: str) -> None:
        limits = ReadLimits(row_chars=200, kept_chars=20)
        good = b'%d,"quoted, title %d",5\n'
        data = b"listing_id,title,price\n" + good % (0, 0) + bad + b"".join(good % (i, i) for i in range(2, 30))
        rows = rows_of(data, "csv", limits=limits)
        assert [(row.number, row.reason) for row in rows if isinstance(row, BrokenRow)] == [(2, reason)]
        assert len(rows) == 30

    def test_a_quote_left_open_at_the_end_of_the_file_swallows_nothing(self) -> None:
        rows = rows_of(b'listing_id,title\n1,"a\n2,b\n3,c\n4,"d', "csv")
        assert [row.number for row in rows] == [1, 2, 3, 4]
        assert [row.reason if isinstance(row, BrokenRow) else "" for row in rows] == [
            "unbalanced_quote",
            "",
            "",
            "truncated_row",
        ]
        assert rows[3].detail.startswith("line 5:")

    def test_text_without_quotes_can_be_declared(self) -> None:
        (row,) = fields_of(b'listing_id\ttitle\n1\t"Heroes" box\n', "tsv", quote=None)
        assert row["title"] == '"Heroes" box'

    def test_a_wrong_delimiter_is_recognised(self) -> None:
        with pytest.raises(FeedUnreadable, match=r"feed, header: no column 'listing_id'.*separated by ';'"):
            rows_of(b"listing_id;title\n1;a\n", "csv")

    def test_every_column_the_contract_names_must_be_there(self) -> None:
        with pytest.raises(FeedUnreadable, match=r"no column 'maker' or 'vendor' for brand; found 'id', 'title'"):
            rows_of(b"id,title\n1,a\n", "csv", fields={"listing_id": "id", "brand": ["maker", "vendor"]})

    @given(
        st.lists(
            st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)] * 2),
            min_size=1,
            max_size=8,
        )
    )
    def test_any_text_survives_a_round_trip(self, cells: list[tuple[str, str]]) -> None:
        rows = [{"listing_id": a, "title": b} for a, b in cells]
        assert fields_of(as_csv(rows), "csv") == rows


class TestJsonLines:
    def test_nesting_becomes_dots_and_numbers_keep_their_notation(self) -> None:
        (row,) = fields_of(
            b'{"listing_id": 7, "title": "a", "offer": {"price": 1.10, "ok": true}, "tags": ["x", null]}', "jsonl"
        )
        assert row == {"listing_id": "7", "title": "a", "offer.price": "1.10", "offer.ok": "true", "tags": ["x", None]}

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (b'{"title": ', "invalid_json"),
            (b'{"price": NaN}', "invalid_json"),
            (b"[1]", "not_an_object"),
            (b"null", "not_an_object"),
            (b'"text"', "not_an_object"),
            (b"[" * 100_000, "nested_too_deep"),
            (b'{"a":' * 40 + b"1" + b"}" * 40, "nested_too_deep"),
            (b'{"a.b": 1, "a": {"b": 2}}', "ambiguous_field"),
            (b'{"title": "\xff"}', "invalid_encoding"),
            (b"{" + b",".join(b'"k%d":1' % i for i in range(2_001)) + b"}", "too_many_fields"),
        ],
    )
    def test_a_bad_line_costs_itself_only(self, bad: bytes, reason: str) -> None:
        good = b'{"listing_id": 1, "title": "a"}\n'
        rows = rows_of(good + bad + b"\n\n" + good, "jsonl")
        assert len(rows) == 3
        assert isinstance(rows[1], BrokenRow)
        assert rows[1].reason == reason

    @pytest.mark.parametrize(
        ("data", "said"), [(b'[{"a": 1}]', "a JSON array"), (b"a,b\n1,2\n", "none of its 2 lines")]
    )
    def test_another_format_is_no_feed(self, data: bytes, said: str) -> None:
        with pytest.raises(FeedUnreadable, match=said):
            rows_of(data, "jsonl")


class TestParquet:
    def test_values_become_the_text_a_person_would_write(self) -> None:
        table = pa.table(
            {
                "listing_id": pa.array([1, 2], pa.int64()),
                "title": pa.array(["a", "b"], pa.large_string()),
                "price": pa.array([9.99, float("nan")], pa.float32()),
                "seen": pa.array([0, None], pa.date32()),
                "ok": [True, None],
                "half": pa.array([0.5, None], pa.float16()),
                "offer": [{"price": 1.5, "tags": ["x"]}, None],
                "code": pa.array([b"abc", None], pa.binary()),
            }
        )
        first, second = fields_of(as_parquet(table), "parquet", fields={"currency": "offer.price"})
        assert first == {
            "listing_id": "1",
            "title": "a",
            "price": "9.99",
            "seen": "1970-01-01",
            "ok": "true",
            "half": "0.5",
            "offer.price": "1.5",
            "offer.tags": ["x"],
            "code": "abc",
        }
        assert {key: value for key, value in second.items() if value is not None} == {"listing_id": "2", "title": "b"}

    def test_bytes_that_are_no_text_break_their_row_only(self) -> None:
        table = pa.table({"listing_id": ["1", "2"], "title": pa.array([b"a", b"\xff"], pa.binary())})
        good, bad = rows_of(as_parquet(table), "parquet")
        assert isinstance(good, Row) and isinstance(bad, BrokenRow)
        assert (bad.reason, bad.number) == ("invalid_encoding", 2)

    def test_one_long_value_in_every_row_is_a_bomb(self) -> None:
        table = pa.table({"listing_id": [str(i) for i in range(400)], "title": ["x" * 20_000] * 400})
        with pytest.raises(FeedUnreadable, match=r"beyond the reader's limit|times the file's size"):
            rows_of(as_parquet(table), "parquet", limits=ReadLimits(ratio_from_bytes=1 << 20))

    def test_a_missing_column_is_named(self) -> None:
        with pytest.raises(FeedUnreadable, match="no column 'title' for title; found 'id'"):
            rows_of(as_parquet(pa.table({"id": [1]})), "parquet", fields={"listing_id": "id"})


RSS = b"""<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>The shop</title>
<item><g:id>1</g:id><title>Plain &amp; simple</title><g:title>Google's</g:title><g:price>15.00 USD</g:price>
  <link>https://shop.example/1</link><g:shipping><g:country>US</g:country><g:price>5 USD</g:price></g:shipping>
  <g:additional_image_link>a</g:additional_image_link><g:additional_image_link>b</g:additional_image_link></item>
<item><g:id>2</g:id><title><![CDATA[<b>Second</b>]]></title></item>
</channel></rss>"""

ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:ns0="http://base.google.com/ns/1.0">
<entry><ns0:id>1</ns0:id><title>One</title><link href="https://shop.example/1"/></entry></feed>"""


class TestGoogleMerchant:
    def test_rss(self) -> None:
        first, second = fields_of(RSS, "google_merchant")
        assert first == {
            "id": "1",
            "title": "Google's",
            "feed:title": "Plain & simple",
            "price": "15.00 USD",
            "link": "https://shop.example/1",
            "shipping.country": "US",
            "shipping.price": "5 USD",
            "additional_image_link": ["a", "b"],
        }
        assert second == {"id": "2", "title": "<b>Second</b>"}

    def test_atom_with_a_prefix_of_its_own(self) -> None:
        assert fields_of(ATOM, "google_merchant") == [{"id": "1", "title": "One", "link": "https://shop.example/1"}]

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_marked_encodings(self, encoding: str) -> None:
        data = RSS.decode().replace('<?xml version="1.0"?>', "").strip().encode(encoding)
        assert len(fields_of(data, "google_merchant")) == 2

    @pytest.mark.parametrize("encoding", ["nonsense", "utf-7", "shift_jis", "rot13", "idna", "punycode"])
    def test_an_encoding_that_no_parser_knows(self, encoding: str) -> None:
        data = f'<?xml version="1.0" encoding="{encoding}"?><rss/>'.encode()
        with pytest.raises(FeedUnreadable, match="expected XML in a known encoding"):
            rows_of(data, "google_merchant")

    @pytest.mark.parametrize("mistake", [IndexError, ValueError])
    @pytest.mark.parametrize("where", ["startElement", "characters", "endElement"])
    def test_a_mistake_of_ours_is_not_the_shops(
        self, where: str, mistake: type[Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken = getattr(merchant._Items, where)

        def mistaken(items: merchant._Items, *given: Any) -> None:
            taken(items, *given)
            raise mistake("ours")

        monkeypatch.setattr(merchant._Items, where, mistaken)
        with pytest.raises(mistake, match=r"^ours$") as raised:
            rows_of(RSS, "google_merchant")
        assert not isinstance(raised.value, FeedUnreadable)

    def test_table(self) -> None:
        data = b"ID\tTitle\tImage Link\tadditional_image_link\tadditional_image_link\n1\ta\tp\tx\ty\n"
        assert fields_of(data, "google_merchant") == [
            {"id": "1", "title": "a", "image_link": "p", "additional_image_link": ["x", "y"]}
        ]

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (RSS[:-30], "expected well-formed XML"),
            (RSS.replace(b"</g:id>", b"</g:di>", 1), "line 3.*mismatched tag"),
            (b"<html><body>404</body></html>", "root element is <html>"),
            (b'<!DOCTYPE rss [<!ENTITY a "b">]><rss><item><id>&a;</id></item></rss>', "declares a document type"),
            (b'<!DOCTYPE rss SYSTEM "file:///etc/passwd"><rss/>', "declares a document type"),
            (b'<?xml version="1.0" encoding="klingon"?><rss/>', "encoding"),
        ],
    )
    def test_xml_that_cannot_be_trusted(self, data: bytes, said: str) -> None:
        with pytest.raises(FeedUnreadable, match=said):
            rows_of(data, "google_merchant")

    def test_items_beyond_a_limit_cost_themselves_only(self) -> None:
        long = b"<item><id>1</id><title>" + b"x" * 900 + b"</title></item>"
        deep = b"<item>" + b"<a>" * 40 + b"</a>" * 40 + b"</item>"
        data = b"<rss><channel>" + long + deep + b"<item>text</item><item><id>4</id></item></channel></rss>"
        rows = rows_of(data, "google_merchant", limits=ReadLimits(row_chars=800, depth=8))
        reasons = [row.reason if isinstance(row, BrokenRow) else None for row in rows]
        assert reasons == ["row_too_long", "nested_too_deep", "not_an_object", None]


PRODUCT = {
    "id": 10,
    "title": "Shirt",
    "vendor": "Acme",
    "body_html": "<p>Nice</p>",
    "product_type": "Shirts",
    "tags": ["a", "b"],
    "options": [{"name": "Color", "values": ["Red", "Blue"]}, {"name": "Size"}],
    "images": [{"id": 1, "src": "https://cdn.example/1.jpg"}, {"id": 2, "src": "https://cdn.example/2.jpg"}],
    "variants": [
        {
            "id": 101,
            "title": "Red / M",
            "option1": "Red",
            "option2": "M",
            "sku": "S1",
            "price": "9.90",
            "available": True,
        },
        {"id": 102, "title": "Blue / M", "option1": "Blue", "option2": "M", "price": "9.95", "image_id": 2},
    ],
}
SIMPLE = {"id": 11, "title": "Mug", "variants": [{"id": 111, "title": "Default Title", "option1": "Default Title"}]}


class TestShopify:
    @pytest.mark.parametrize(
        "data",
        [
            json.dumps({"products": [PRODUCT, SIMPLE]}).encode(),
            json.dumps([PRODUCT, SIMPLE]).encode(),
            b"\n".join(json.dumps(p).encode() for p in (PRODUCT, SIMPLE)),
            b"\n".join(json.dumps({"products": [p]}).encode() for p in (PRODUCT, SIMPLE)),
            b"\n".join(json.dumps({"product": p}).encode() for p in (PRODUCT, SIMPLE)),
        ],
        ids=["products", "list", "product per line", "page per line", "single product"],
    )
    def test_every_variant_becomes_a_listing(self, data: bytes) -> None:
        red, blue, mug = fields_of(data, "shopify")
        assert red["title"] == "Shirt - Red / M"
        assert (red["id"], red["sku"], red["price"], red["availability"]) == ("101", "S1", "9.90", "in stock")
        assert (red["Color"], red["Size"], red["product.vendor"]) == ("Red", "M", "Acme")
        assert red["image_url"] == "https://cdn.example/1.jpg"
        assert blue["image_url"] == "https://cdn.example/2.jpg"
        assert mug["title"] == "Mug"
        assert not any(key.startswith("option") for key in mug)

    def test_an_empty_shop_is_a_feed_of_no_rows(self) -> None:
        assert fields_of(b'{"products": []}', "shopify") == []

    def test_products_that_are_none_are_broken_rows(self) -> None:
        broken = [{"id": 1, "title": "a"}, 7, {"variants": [None]}, {"variants": [{}] * 9}]
        rows = rows_of(json.dumps(broken).encode(), "shopify", limits=ReadLimits(variants=8))
        assert [row.reason for row in rows if isinstance(row, BrokenRow)] == [
            "no_variants",
            "not_an_object",
            "not_an_object",
            "too_many_variants",
        ]

    @pytest.mark.parametrize("data", [b'{"errors": "Not Found"}', b'{"products": [', b"<html>", b"7", b"{}"])
    def test_an_answer_that_is_no_feed(self, data: bytes) -> None:
        with pytest.raises(FeedUnreadable):
            rows_of(data, "shopify")


def product(**more: Any) -> dict[str, Any]:
    return {"@type": "Product", "sku": "P1", "name": "Lamp", **more}


OFFER = {"@type": "Offer", "price": 12.50, "priceCurrency": "EUR", "availability": "https://schema.org/InStock"}


class TestSchemaOrg:
    @pytest.mark.parametrize(
        "document",
        [
            product(offers=OFFER),
            [product(offers=OFFER)],
            {"@context": "https://schema.org", "@graph": [{"@type": "WebSite"}, product(offers=[OFFER])]},
            {"@type": "ItemList", "itemListElement": [{"@type": "ListItem", "item": product(offers=OFFER)}]},
            {
                "@graph": [
                    {"@type": "WebPage", "mainEntity": product(offers={"@type": "AggregateOffer", "offers": [OFFER]})}
                ]
            },
            {**product(offers=OFFER), "@type": ["http://schema.org/Product", "Thing"]},
        ],
        ids=["object", "list", "graph", "item list", "main entity", "several types"],
    )
    def test_products_are_found_wherever_they_hide(self, document: Any) -> None:
        (row,) = fields_of(json.dumps(document).encode(), "schema_org")
        assert (row["listing_id"], row["name"], row["offer.price"]) == ("P1", "Lamp", "12.5")
        assert (row["offer.priceCurrency"], row["offer.availability"]) == ("EUR", "https://schema.org/InStock")

    def test_documents_may_follow_each_other(self) -> None:
        data = b"\n".join(json.dumps(product(sku=sku)).encode() for sku in ("a", "b"))
        assert [row["listing_id"] for row in fields_of(data, "schema_org")] == ["a", "b"]

    def test_values_come_in_many_shapes(self) -> None:
        (row,) = fields_of(
            json.dumps(
                product(
                    name={"@value": "Lamp", "@language": "en"},
                    brand={"@type": "Brand", "name": "Acme"},
                    image=[{"@type": "ImageObject", "url": "https://a.example/1"}, "https://a.example/2"],
                    gtin13="4006381333931",
                    offers={"@type": "AggregateOffer", "lowPrice": "10", "highPrice": "20", "priceCurrency": "EUR"},
                )
            ).encode(),
            "schema_org",
        )
        assert (row["name"], row["brand"], row["image"]) == ("Lamp", "Acme", "https://a.example/1")
        assert (row["gtin"], row["offer.price"], row["offer.highPrice"]) == ("4006381333931", "10", "20")
        assert len(row["images"]) == 2

    def test_every_offer_and_every_variant_becomes_a_listing(self) -> None:
        offers = [{**OFFER, "seller": {"name": "A"}}, {**OFFER, "seller": "B"}, {**OFFER, "sku": "own"}]
        rows = fields_of(json.dumps(product(offers=offers)).encode(), "schema_org")
        assert [row["listing_id"] for row in rows] == ["P1|A", "P1|B", "own"]
        group = {
            "@type": "ProductGroup",
            "name": "Lamp",
            "brand": "Acme",
            "sku": "G",
            "hasVariant": [{"@type": "Product", "sku": "V1", "color": "red"}, {"@type": "Product", "sku": "V2"}],
        }
        rows = fields_of(json.dumps(group).encode(), "schema_org")
        assert [(row["listing_id"], row["name"], row["brand"]) for row in rows] == [
            ("V1", "Lamp", "Acme"),
            ("V2", "Lamp", "Acme"),
        ]

    def test_a_page_without_products_is_no_feed(self) -> None:
        with pytest.raises(FeedUnreadable, match="none of its 1 JSON-LD nodes"):
            rows_of(b'{"@type": "WebSite"}', "schema_org")

    def test_a_deep_product_costs_itself_only(self) -> None:
        deep = b'{"@type": "Product", "a": ' + b"[" * 50 + b"]" * 50 + b"}"
        data = b"[" + deep + b"," + json.dumps(product()).encode() + b"]"
        rows = rows_of(data, "schema_org")
        assert [row.reason if isinstance(row, BrokenRow) else None for row in rows] == ["nested_too_deep", None]


def test_a_byte_order_mark_of_another_encoding_is_refused() -> None:
    for fmt in ("csv", "jsonl", "shopify"):
        with pytest.raises(FeedUnreadable, match="marked as UTF-16; the contract says utf-8"):
            rows_of(codecs.BOM_UTF16_LE + "a".encode("utf-16-le"), fmt)
