"""What reading a large feed takes, beside one of a tenth of its size: time, and memory that must not grow.

Belongs here: feeds of any size made of a folder's offers, each read in a process of its own. Not here: printing,
formats (`assets.listings.readers`).

Reading is what a run does with a delivered file: it is unpacked and parsed, every row is judged and looked for among
those before it, listings and rejected rows are written.
"""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count, cycle, islice
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from assets.listings.feeds import FeedContract
from assets.listings.intake import read_feed
from assets.listings.schema import CANONICAL_FIELDS
from benchmarks.matching import CONTRACTS, MEBIBYTE, NotABenchmark, Stopwatch, peak_memory, read_feeds

GIGABYTE = 10**9
MEGABYTE = 10**6
COLUMNS = pa.schema([(name, pa.string()) for name in CANONICAL_FIELDS])

Offer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRules:
    """Which feeds are made.

    Attributes:
        forms: Formats, with what packs them behind a dot.
        share: Size of the smaller feed of each form, as a share of the larger.
        at_once: Rows that are written together.
        seed: What tells a repeated offer's price and links from the other's.
    """

    forms: tuple[str, ...] = ("csv", "csv.zst", "jsonl", "parquet")
    share: float = 0.1
    at_once: int = 20_000
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One feed, read.

    Attributes:
        form: Its format, with what packs it behind a dot.
        megabytes: Its size unpacked, in 10**6 bytes; of Parquet, that of its values.
        file_megabytes: Its size as delivered.
        rows: Rows it held.
        accepted: Rows that became listings.
        seconds: Wall time.
        start_mb: Largest resident memory of the process before, in MiB: the program itself.
        peak_mb: The same afterwards.
    """

    form: str
    megabytes: float
    file_megabytes: float
    rows: int
    accepted: int
    seconds: float
    start_mb: float
    peak_mb: float

    @property
    def megabytes_per_second(self) -> float:
        """Unpacked content read in a second."""
        return self.megabytes / self.seconds


def benchmark_reading(
    folder: Path,
    *,
    gigabytes: float = 2.0,
    cache: Path | None = None,
    rules: FeedRules | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Reading]:
    """Write a small and a large feed of a folder's offers in every form, and read each.

    Args:
        folder: Folder with `feeds.yaml` and feeds.
        gigabytes: Size of the large feeds, unpacked, in 10**9 bytes.
        cache: Folder in which the feeds lie while they are read; that of the system's temporary files, which may be
            in memory, by default.
        rules: Which feeds are made.
        progress: Told what is being done.

    Raises:
        NotABenchmark: the folder holds no feed.
        OSError: there is no room for the feeds.
    """
    if not (folder / CONTRACTS).is_file():
        raise NotABenchmark(f"{folder}: expected {CONTRACTS} beside the feeds")
    tell, rules = progress or (lambda news: None), rules or FeedRules()
    readings = []
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="offerline-reading-", dir=cache) as name:
        scratch = Path(name)
        offers = [row for table in read_feeds(folder, scratch) for row in table.select(CANONICAL_FIELDS).to_pylist()]
        for form in rules.forms:
            for size in (gigabytes * rules.share, gigabytes):
                tell(f"writing {size:,.2g} GB of {form}")
                path = scratch / "feed"
                content = write_feed(path, form, offers, int(size * GIGABYTE), rules)
                tell(f"reading {size:,.2g} GB of {form}")
                readings.append(read_apart(path, form, content))
                path.unlink()
    return readings


def write_feed(path: Path, form: str, offers: Sequence[Offer], size: int, rules: FeedRules) -> int:
    """Write offers over and over, each time as others, until there are `size` bytes; return how many there are."""
    written = 0
    rows = _others(offers, Random(rules.seed))
    with _opened(path, form) as add:
        while written < size:
            written += add(list(islice(rows, rules.at_once)))
    return written


def read_apart(path: Path, form: str, content: int) -> Reading:
    """Read a feed in a process of its own, so that no other's memory is counted."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(read_here, path, form, content).result()


def read_here(path: Path, form: str, content: int) -> Reading:
    """Read a feed in this process; arguments as for `read_apart`."""
    contract = FeedContract.model_validate({"source": "shop", "path": "feed", "format": form.partition(".")[0]})
    start = peak_memory()
    with tempfile.TemporaryDirectory(dir=path.parent) as into:
        watch = Stopwatch()
        intake = read_feed(path, contract, Path(into))
        watch.stop()
    return Reading(
        form=form,
        megabytes=round(content / MEGABYTE, 1),
        file_megabytes=round(path.stat().st_size / MEGABYTE, 1),
        rows=intake.read,
        accepted=intake.accepted,
        seconds=watch.seconds,
        start_mb=round(start / MEBIBYTE, 1),
        peak_mb=round(peak_memory() / MEBIBYTE, 1),
    )


def _others(offers: Sequence[Offer], random: Random) -> Iterator[Offer]:
    """The offers again and again, under ids that are scattered as shops' are, with prices and links of their own."""
    for number, offer in zip(count(1), cycle(offers), strict=False):
        code = f"{number * 2_654_435_761 % (1 << 32):08x}"
        yield {
            **offer,
            "listing_id": code,
            "price": f"{random.randrange(100, 200_000) / 100:.2f}",
            "url": f"https://shop.example/p/{code}?ref={random.getrandbits(64):016x}",
            "image_url": f"https://img.shop.example/{random.getrandbits(64):016x}/1.jpg",
        }


@contextmanager
def _opened(path: Path, form: str) -> Iterator[Callable[[Sequence[Offer]], int]]:
    """Open a feed for writing: a function that adds rows and returns how many bytes they are."""
    kind, _, packing = form.partition(".")
    if kind == "parquet":
        with pq.ParquetWriter(path, COLUMNS, compression="zstd") as writer:

            def add_columns(rows: Sequence[Offer]) -> int:
                table = pa.Table.from_pylist(rows, COLUMNS)
                writer.write_table(table)
                return int(table.nbytes)

            yield add_columns
        return
    encode = _csv_lines if kind == "csv" else _json_lines
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) if packing else nullcontext(file) as f:

        def add(rows: Sequence[Offer]) -> int:
            data = encode(rows)
            f.write(data)
            return len(data)

        if kind == "csv":
            add([dict(zip(CANONICAL_FIELDS, CANONICAL_FIELDS, strict=True))])
        yield add


def _csv_lines(rows: Sequence[Offer]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, CANONICAL_FIELDS).writerows(rows)
    return text.getvalue().encode()


def _json_lines(rows: Sequence[Offer]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
