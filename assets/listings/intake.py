"""From a feed's rows to listings: what is accepted, what is rejected and why, and what was only said twice.

Belongs here: the rules a row must keep and the two tables that come of it. Not here: formats, cleaning, Dagster.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from assets.batches import listing_digest
from assets.contract import TableContract
from assets.listings.feeds import REQUIRED_FIELDS, FeedContract
from assets.listings.readers import BrokenRow, FeedUnreadable, ReadLimits, Row, Value, read_rows
from assets.listings.readers.json_values import json_text
from assets.listings.readers.unpacking import printable
from assets.listings.schema import CANONICAL_FIELDS, RAW_LISTINGS, REJECTED_LISTINGS

#: What a row's digest covers: everything but whose it is, where it stood, and the digest.
DIGESTED = tuple(c.name for c in RAW_LISTINGS if c.name not in ("source", "row_number", "row_digest"))

#: Reason by which rows of erased listings are rejected.
ERASED = "erased"
_ID, _DIGEST = (RAW_LISTINGS.names.index(name) for name in ("listing_id", "row_digest"))
_ATTRIBUTES_JSON = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRules:
    """What a row must keep to be taken in, and how much is held at once.

    Attributes:
        chars: Longest text of each canonical field, in characters.
        attributes_chars: Longest JSON of the remaining fields, in characters.
        chunk_rows: Most rows held before they are written.
        chunk_chars: Most text held before it is written, in characters.
        repeats_cache_kib: Memory for telling repeats, in KiB; beyond it a temporary file is used.
    """

    chars: Mapping[str, int] = field(
        default_factory=lambda: {
            "listing_id": 512,
            "title": 4_000,
            "seller": 512,
            "description": 1_000_000,
            "brand": 1_000,
            "gtin": 200,
            "mpn": 500,
            "category": 4_000,
            "price": 200,
            "currency": 100,
            "url": 8_000,
            "image_url": 8_000,
            "condition": 500,
            "availability": 500,
        }
    )
    attributes_chars: int = 1_000_000
    chunk_rows: int = 16_384
    chunk_chars: int = 16 << 20
    repeats_cache_kib: int = 16 << 10


class RowsLost(RuntimeError):
    """Rows read are not the sum of rows accepted, rejected and repeated: a defect of the intake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What came of a feed.

    Attributes:
        read: Rows the feed held, broken ones included.
        accepted: Rows that became listings.
        rejected: Rows that broke the contract.
        repeats: Rows that say again, word for word, what an earlier row said.
        reasons: How often each reason rejected a row.
        accepted_path: Parquet of `RAW_LISTINGS`.
        rejected_path: Parquet of `REJECTED_LISTINGS`.
        content_digest: 32 hex digits, equal where the same listings were accepted and the same rows rejected for
            the same reasons, in whatever order they stood.
    """

    read: int
    accepted: int
    rejected: int
    repeats: int
    reasons: Counter[str]
    accepted_path: Path
    rejected_path: Path
    content_digest: str

    def __post_init__(self) -> None:
        if self.read != self.accepted + self.rejected + self.repeats or self.rejected != self.reasons.total():
            raise RowsLost(
                f"{self.read} rows read, but {self.accepted} accepted + {self.rejected} rejected "
                f"({self.reasons.total()} with a reason) + {self.repeats} repeats"
            )


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """Why a row is not taken in."""

    reason: str
    detail: str
    field: str | None = None


def read_feed(
    path: Path,
    contract: FeedContract,
    into: Path,
    *,
    name: str | None = None,
    rules: IntakeRules | None = None,
    limits: ReadLimits | None = None,
    erased: Container[str] = frozenset(),
) -> Intake:
    """Read a delivered file from disk and take in its rows.

    Args:
        path: The file, plain or compressed.
        contract: What its source promised.
        into: Folder for the two Parquet files.
        name: How messages call the file; its own name by default.
        rules: What a row must keep.
        limits: How much the file may ask for.
        erased: Digests of listings that do not come in; see `take_in`.

    Raises:
        FeedUnreadable: the file is not there, cannot be read as a whole, or changed while it was read.
    """
    rows = rows_of_file(path, contract, name=name or path.name, limits=limits)
    return take_in(rows, contract, into, rules=rules, erased=erased)


def rows_of_file(
    path: Path, contract: FeedContract, *, name: str, limits: ReadLimits | None = None
) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a delivered file on disk.

    Raises:
        FeedUnreadable: the file is not there, cannot be read as a whole, or changed while it was read.
    """
    try:
        before = state_of(path)
        stream = path.open("rb")
    except OSError as error:
        raise FeedUnreadable(name, f"expected a readable file; {error.strerror or error}") from error
    with stream:
        yield from read_rows(stream, contract, name=name, limits=limits)
    if state_of(path) != before:
        raise FeedUnreadable(name, "the file changed while it was read; expected it to be complete")


def state_of(path: Path) -> tuple[int, ...] | None:
    """Return what is another when a file has changed; None where there is no file."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What an earlier reading of a feed made of the rows that are not read again.

    Attributes:
        accepted: Rows of `RAW_LISTINGS`; a row that is read now and has the id of one of them comes after it.
        rejected: Rows of `REJECTED_LISTINGS`.
        repeats: How many repeats there were.
    """

    accepted: pa.Table
    rejected: pa.Table
    repeats: int

    @property
    def rows(self) -> int:
        """How many rows there were."""
        return int(self.accepted.num_rows + self.rejected.num_rows) + self.repeats


def take_in(
    rows: Iterable[Row | BrokenRow],
    contract: FeedContract,
    into: Path,
    *,
    rules: IntakeRules | None = None,
    erased: Container[str] = frozenset(),
    earlier: Earlier | None = None,
) -> Intake:
    """Judge rows one by one and write the accepted and the rejected ones to two Parquet files.

    Of several rows with one `listing_id` the first is the listing; later ones are repeats where they say the same
    and rejected as `conflicting_repeat` where they do not. Memory is bounded by the rules, not by the feed. The
    files appear only when all rows were taken in, and equal input makes equal bytes.

    Args:
        rows: Rows as `read_rows` yields them; whatever they raise is passed on, and no file is left.
        contract: What the source promised.
        into: Folder for `accepted.parquet` and `rejected.parquet`; made if it is not there.
        rules: What a row must keep.
        erased: Digests of listings that were erased: their rows are rejected as `erased`, and nothing of them is kept.
        earlier: Rows that count as taken in before `rows`, as they are.
    """
    rules = rules or IntakeRules()
    into.mkdir(parents=True, exist_ok=True)
    to_listing = _Mapping(contract, rules, erased)
    read = repeats = 0
    reasons: Counter[str] = Counter()
    accepted_path, rejected_path = into / "accepted.parquet", into / "rejected.parquet"

    with (
        _table(accepted_path, RAW_LISTINGS, rules) as accepted,
        _table(rejected_path, REJECTED_LISTINGS, rules) as rejected,
        closing(_Seen(rules.repeats_cache_kib)) as seen,
    ):

        def reject(number: int, refusal: Refusal, raw: str) -> None:
            reasons[refusal.reason] += 1
            rejected.add(
                (contract.source, number, refusal.reason, refusal.field, refusal.detail, raw),
                xxhash.xxh3_128_hexdigest(f"{refusal.reason}\0{raw}".encode()),
                len(raw),
            )

        if earlier is not None:
            read, repeats = earlier.rows, earlier.repeats
            for kept in _tuples(earlier.accepted, RAW_LISTINGS):
                seen.again(kept[_ID], kept[_DIGEST])
                accepted.add(kept, kept[_DIGEST], sum(len(value) for value in kept if isinstance(value, str)))
            for _, number, reason, field_name, detail, raw in _tuples(earlier.rejected, REJECTED_LISTINGS):
                reject(number, Refusal(reason, detail, field_name), raw)
        for row in rows:
            read += 1
            if isinstance(row, BrokenRow):
                reject(row.number, Refusal(row.reason, row.detail), row.raw)
                continue
            try:
                listing, digest, chars = to_listing(row.fields)
                if seen.again(listing[0], digest):
                    repeats += 1
                else:
                    accepted.add((contract.source, *listing, row.number, digest), digest, chars)
            except Refusal as refusal:
                fields = {} if refusal.reason == ERASED else row.fields
                raw = printable(json_text({k: v for k, v in fields.items() if v is not None}))
                reject(row.number, refusal, raw)
    content = f"{accepted.content:032x}{rejected.content:032x}"
    return Intake(
        read=read,
        accepted=accepted.rows,
        rejected=rejected.rows,
        repeats=repeats,
        reasons=reasons,
        accepted_path=accepted_path,
        rejected_path=rejected_path,
        content_digest=xxhash.xxh3_128_hexdigest(content.encode()),
    )


def _tuples(table: pa.Table, contract: TableContract) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table in the order of the contract's columns."""
    for batch in table.select(contract.names).to_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


class _Mapping:
    """A contract's mapping and the intake's rules, made ready to be applied to many rows."""

    def __init__(self, contract: FeedContract, rules: IntakeRules, erased: Container[str]) -> None:
        self._erased = erased
        self._contract = contract
        self._defaults = {"seller": contract.seller or contract.source, "currency": contract.currency}
        self._plan = [
            (name, contract.columns.get(name, ()), self._defaults.get(name), name in REQUIRED_FIELDS, rules.chars[name])
            for name in DIGESTED
            if name in CANONICAL_FIELDS
        ]
        self._attributes_chars = rules.attributes_chars

    def __call__(self, fields: Mapping[str, Value]) -> tuple[list[str | None], str, int]:
        """Return a row's listing (as `DIGESTED`), its digest, and its length in characters.

        Raises:
            Refusal: the row breaks the contract or a rule.
        """
        rest = {column: value for column, value in fields.items() if value}
        if self._erased and any(listing_digest(each) in self._erased for each in ids_of(rest, self._contract)):
            raise Refusal(ERASED, "this listing was erased and comes in no more", "listing_id")
        used: list[str] = []
        listing: list[str | None] = []
        for name, columns, default, required, longest in self._plan:
            for column in columns:
                value = rest.get(column)
                if type(value) is str and not value.isspace():  # nearly always, and this runs for every field
                    used.append(column)
                    break
                if (value is not None or "." in column) and (value := _nested_text(rest, column, used)):
                    break
            else:
                value = None
                if required:
                    wanted = " or ".join(repr(column) for column in columns)
                    raise Refusal("missing_field", f"no text in {wanted}; expected some", name)
            if value is None:
                listing.append(default)
                continue
            if len(value) > longest:
                raise Refusal("field_too_long", f"{len(value)} characters; expected at most {longest}", name)
            listing.append(value)
        listing[0] = _identifier(listing[0] or "")
        for column in used:
            rest.pop(column, None)
        attributes = _ATTRIBUTES_JSON.encode(rest) if rest else "{}"
        if len(attributes) > self._attributes_chars:
            found = f"{len(attributes)} characters of other fields; expected at most {self._attributes_chars}"
            raise Refusal("field_too_long", found, "attributes")
        listing.append(attributes)
        content = "\0".join([text or "" for text in listing])
        try:
            digest = xxhash.xxh3_128_hexdigest(content.encode())
        except UnicodeEncodeError as error:
            raise _refused_text("invalid_unicode", "half of a surrogate pair", listing, "\ud800", "\udfff") from error
        if content.count("\0") != len(listing) - 1 or ("\\u0000" in attributes and _holds_nul(rest)):
            raise _refused_text("nul_character", "a NUL character", listing, "\0", "\0")
        return listing, digest, len(content)


def ids_of(fields: Mapping[str, Value], contract: FeedContract) -> set[str]:
    """Return every id that a row gives its listing, in any column that the contract names, however broken the rest."""
    texts = (_nested_text(fields, column, []) for column in contract.columns.get("listing_id", ()))
    return {text.strip() for text in texts if text}


def _nested_text(fields: Mapping[str, Value], path: str, used: list[str]) -> str | None:
    """The text of a list or of a dotted path into one; a column that has nothing else to say is noted in `used`."""
    value: Any = fields.get(path)
    if value is None:
        head, *steps = _split_at_list(fields, path)
        value = fields.get(head)
        for step in steps:
            value = _step(value, step)
    elif isinstance(value, list) and len(value) == 1:
        used.append(path)
    if isinstance(value, list):
        value = next((inner for inner in value if isinstance(inner, str) and not inner.isspace()), None)
    return value if isinstance(value, str) and not value.isspace() else None


def _split_at_list(fields: Mapping[str, Value], path: str) -> list[str]:
    """Split `images.0.src` at the column that holds the list; columns have dots of their own."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:cut])
        if isinstance(fields.get(head), list):
            return [head, *parts[cut:]]
    return [path]


def _step(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 9 and int(step) < len(value):
        return value[int(step)]
    return None


def _identifier(published: str) -> str:
    """A listing's id without the blanks around it; odd characters in it would make two ids that look like one."""
    identifier = published.strip()
    if not identifier.isprintable():
        found = identifier.encode("unicode_escape").decode()[:200]
        raise Refusal("unprintable_id", f"{found!r} holds invisible characters; expected printable ones", "listing_id")
    return identifier


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any("\0" in key or _holds_nul(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(_holds_nul(inner) for inner in value)
    return isinstance(value, str) and "\0" in value


def _refused_text(reason: str, what: str, listing: list[str | None], first: str, last: str) -> Refusal:
    for name, text in zip(DIGESTED, listing, strict=True):
        if text and any(first <= character <= last for character in text):
            return Refusal(reason, f"{what}; expected text", name)
    return Refusal(reason, f"{what}; expected text", "attributes")


class _Seen:
    """Which listings were accepted already, and what they said: exact, and in bounded memory."""

    def __init__(self, cache_kib: int) -> None:
        # An unnamed database lives in the cache and spills to a temporary file that nobody else sees.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(f"PRAGMA cache_size = -{int(cache_kib)}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self._cursor = self._database.cursor()

    def again(self, listing_id: str | None, digest: str) -> bool:
        """Whether the very same was accepted before; if not, it is from now on.

        Raises:
            Refusal: something else was accepted under this id.
        """
        self._cursor.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (listing_id, digest))
        if self._cursor.rowcount:
            return False
        (before,) = self._cursor.execute("SELECT digest FROM seen WHERE id = ?", (listing_id,)).fetchone()
        if before != digest:
            said = "an earlier row has this id and says something else; expected one row per listing"
            raise Refusal("conflicting_repeat", said, "listing_id")
        return True

    def close(self) -> None:
        """Forget everything."""
        self._database.close()


class _Table:
    """A Parquet file that grows by chunks of rows.

    Attributes:
        rows: Rows added so far.
        content: Sum of the rows' digests modulo 2**128: equal for equal rows in any order.
    """

    def __init__(self, path: Path, contract: TableContract, rules: IntakeRules) -> None:
        self.rows = 0
        self.content = 0
        self._schema = contract.arrow
        self._rules = rules
        self._chunk: list[tuple[Any, ...]] = []
        self._chars = 0
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, row: tuple[Any, ...], digest: str, chars: int) -> None:
        """Add a row of that many characters."""
        self.rows += 1
        self.content = (self.content + int(digest, 16)) % (1 << 128)
        self._chunk.append(row)
        self._chars += chars
        if len(self._chunk) >= self._rules.chunk_rows or self._chars >= self._rules.chunk_chars:
            self._write()

    def _write(self) -> None:
        columns = zip(*self._chunk, strict=True)
        arrays = [pa.array(column, f.type) for column, f in zip(columns, self._schema, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._chunk = []
        self._chars = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if self._chunk and failed is None:
            self._write()
        self._writer.close()


@contextmanager
def _table(path: Path, contract: TableContract, rules: IntakeRules) -> Iterator[_Table]:
    """Write a table beside its place and move it there when all went well."""
    partial = path.with_suffix(".partial")
    try:
        with _Table(partial, contract, rules) as table:
            yield table
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
