"""Fields of 50 MB and nesting without end, read with the limits of production: stated outcomes, bounded memory.

Each file is read in a process of its own, whose largest resident memory is taken before and after: a fork of one that
has imported everything and read nothing, where the kernel begins to count anew. What it may grow by follows from the
limits: a few copies of the longest row that is looked at, in Python's widest characters.
"""

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.intake import IntakeRules, read_feed
from assets.listings.readers import ReadLimits
from benchmarks.matching import peak_memory

MEGABYTE = 10**6
#: Length of a hostile field.
FIELD = 50 * MEGABYTE
#: One character of four bytes makes Python hold the whole text in four bytes a character.
WIDE = "😀".encode()
#: Bytes of a character at most, in Python.
WIDTH = 4
LIMITS, RULES = ReadLimits(), IntakeRules()
#: What may be held: a row that is decoded, taken apart and written as JSON, the rows that are written together, and
#: what repeats are told by.
ALLOWED = 6 * WIDTH * LIMITS.row_chars + WIDTH * RULES.chunk_chars + (RULES.repeats_cache_kib << 10)

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["assets.listings.intake", "benchmarks.matching", "pytest", "zstandard"])

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="only Linux says what a process alone has held"
)


@dataclass(frozen=True)
class Case:
    """A file, and what must come of it.

    Attributes:
        format: Its format.
        pieces: Its content.
        expected: Rows accepted and those rejected by reason, or words of the refusal.
        allowed: Bytes that reading it may take.
    """

    format: str
    pieces: Callable[[], Iterator[bytes]]
    expected: tuple[int, dict[str, int]] | str
    allowed: int = ALLOWED


@dataclass(frozen=True)
class Spent:
    """What reading came to, and the bytes by which the process grew."""

    outcome: tuple[int, dict[str, int]] | str
    bytes: int = field(compare=False)


def around(before: bytes, after: bytes, filling: bytes = b"x", size: int = FIELD) -> Callable[[], Iterator[bytes]]:
    """A file that begins and ends so, with one field of that size between."""

    def pieces() -> Iterator[bytes]:
        yield before
        if filling == b"x":
            yield WIDE
        for _ in range(size // (len(filling) * 1_000)):
            yield filling * 1_000
        yield after

    return pieces


def packed(pieces: Callable[[], Iterator[bytes]], packer: str) -> Callable[[], Iterator[bytes]]:
    """The same file, compressed."""

    def compressed() -> Iterator[bytes]:
        chosen = zlib.compressobj(wbits=31) if packer == "gzip" else zstandard.ZstdCompressor().compressobj()
        for piece in pieces():
            yield chosen.compress(piece)
        yield chosen.flush()

    return compressed


def columns(rows: int, *, at_once: int) -> Callable[[], Iterator[bytes]]:
    """A Parquet file without compression in which every row has a field of `FIELD` bytes, some in one group."""

    def pieces() -> Iterator[bytes]:
        sink = pa.BufferOutputStream()
        title = pa.array(["x" * FIELD])
        schema = pa.schema([("listing_id", pa.string()), ("title", pa.string()), ("brand", pa.string())])
        with pq.ParquetWriter(sink, schema, compression="none", use_dictionary=False) as writer:
            for _ in range(rows // at_once):
                ids = pa.array([str(n) for n in range(at_once)])
                titles = pa.chunked_array([title] * at_once)
                writer.write_table(pa.table([ids, titles, ids], schema=schema))
            writer.write_table(pa.table([["a"], ["b"], ["c"]], schema=schema))
        yield sink.getvalue()

    return pieces


def folded_lists() -> Iterator[bytes]:
    """A Parquet file of a megabyte whose lists repeat one text of a megabyte, four gigabytes of it."""
    sink = pa.BufferOutputStream()
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 4_000, pa.int32()), pa.array(["x" * 1_000_000]))
    lists = pa.ListArray.from_arrays(pa.array(range(4_001), pa.int32()), text)
    ids = [str(n) for n in range(4_000)]
    pq.write_table(pa.table({"listing_id": ids, "title": ids, "tags": lists}), sink, compression="none")
    yield sink.getvalue()


ROWS = (1, {"row_too_long": 1})
LISTING = b'{"listing_id":"1","title":"'
PRODUCTS = b'{"products":[{"title":"b","variants":[{"id":2}]},'
CASES = {
    "csv": Case("csv", around(b"listing_id,title\n1,", b"\n2,b\n"), ROWS),
    "csv in open quotes": Case("csv", around(b'listing_id,title\n1,"', b"\n2,b\n"), ROWS),
    "csv header": Case("csv", around(b"listing_id,", b"\n1,a\n"), "expected a header of at most"),
    "csv lines in quotes": Case(
        "csv",
        around(b'listing_id,title\n1,"a\n', b'"\n2,b\n', b"x" * 4_999 + b"\n"),
        (1, {"ragged_row": 10_000, "unbalanced_quote": 2}),
    ),
    "tsv": Case("tsv", around(b"listing_id\ttitle\n1\t", b"\n2\tb\n"), ROWS),
    "jsonl": Case("jsonl", around(LISTING, b'"}\n{"listing_id":"2","title":"b"}\n'), ROWS),
    "jsonl nested": Case("jsonl", around(LISTING + b'a"}\n', b"\n", b"["), ROWS),
    "shopify": Case("shopify", around(PRODUCTS + b'{"body_html":"', b'","variants":[{"id":1}]}]}'), ROWS),
    "shopify nested": Case("shopify", around(PRODUCTS, b"", b'[{"a":', 10 * MEGABYTE), "the file ends inside a value"),
    "schema.org": Case(
        "schema_org",
        around(b'[{"@type":"Product","sku":"1","name":"a"},{"@type":"Product","name":"', b'"}]'),
        ROWS,
    ),
    "google": Case(
        "google_merchant",
        around(b"<rss><channel><item><id>2</id><title>b</title></item><item><id>", b"</id></item></channel></rss>"),
        ROWS,
    ),
    "google attribute": Case("google_merchant", around(b'<rss><channel><item a="', b'"/>'), "one tag of more than"),
    "google nested": Case("google_merchant", around(b"<rss><channel><item>", b"", b"<a>"), "at most 10000 levels"),
    "google in zstd": Case(
        "google_merchant",
        packed(around(b"<rss><channel><item><id>", b"</id></item></channel></rss>", b"0123456789abcdef"), "zstd"),
        (0, {"row_too_long": 1}),
    ),
    "gzip bomb": Case(
        "jsonl", packed(around(LISTING, b'"}', b"x", 100 * MEGABYTE), "gzip"), "times its compressed size"
    ),
    # Arrow holds a page whole, and a value in it some times over: beside a row at the limit, never more than one field.
    "parquet": Case("parquet", columns(1, at_once=1), ROWS, ALLOWED + 5 * FIELD),
    "parquet, six in a row": Case("parquet", columns(6, at_once=1), (1, {"row_too_long": 6}), ALLOWED + 5 * FIELD),
    "parquet lists": Case("parquet", folded_lists, "times the file's size", ALLOWED + LIMITS.ratio_from_bytes),
}


def read_here(path: Path, fmt: str) -> Spent:
    """Read a file in this process."""
    contract = FeedContract.model_validate({"source": "shop", "path": "feed", "format": fmt})
    start = peak_memory()
    try:
        intake = read_feed(path, contract, path.parent / "taken")
    except FeedUnreadable as error:
        return Spent(str(error), peak_memory() - start)
    assert intake.read == intake.accepted + intake.rejected + intake.repeats
    return Spent((intake.accepted, dict(intake.reasons)), peak_memory() - start)


@pytest.mark.laws
@pytest.mark.parametrize("name", CASES)
def test_a_huge_field_costs_its_row_and_bounded_memory(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = tmp_path / "feed"
    with path.open("wb") as file:
        file.writelines(case.pieces())
    with ProcessPoolExecutor(1, mp_context=FORKS) as pool:
        spent = pool.submit(read_here, path, case.format).result()
    print(f"{spent.bytes >> 20} of {case.allowed >> 20} MiB")
    if isinstance(case.expected, str):
        assert isinstance(spent.outcome, str) and case.expected in spent.outcome
    else:
        assert spent.outcome == case.expected
    assert spent.bytes <= case.allowed
