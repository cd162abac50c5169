"""CSV and TSV: rows of cells below a header.

Belongs here: lines, quotes, headers and ragged rows. Not here: what a column means.
"""

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.rows import Found, ReadLimits, Trouble, Value, require_columns
from assets.listings.readers.unpacking import as_text, printable, undecodable

#: Delimiters worth naming in a message when the contract's own does not fit.
_USUAL_DELIMITERS = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'"}


class RowTooLong(Exception):
    """A row goes on for longer than the limit; what lies beyond has been skipped."""


class BoundedLines:
    """The lines of a text, none of them unbounded, which remembers the current row's and takes lines back.

    Attributes:
        taken: The current row's lines so far, terminators included.
        skipped: Characters of the last line that lay beyond the limit and were dropped.
        number: 1-based number of the line taken last.
    """

    def __init__(self, text: io.TextIOBase, limit: int) -> None:
        self.taken: list[str] = []
        self.skipped = 0
        self.number = 0
        self._text = text
        self._limit = limit
        self._chars = 0
        self._returned: deque[tuple[str, int]] = deque()

    def __iter__(self) -> "BoundedLines":
        return self

    def __next__(self) -> str:
        if self._returned:
            line, self.skipped = self._returned.popleft()
        else:
            line = self._text.readline(self._limit)
            self.skipped = self._skip_rest(line) if len(line) == self._limit else 0
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        self._chars += len(line)
        if self.skipped or self._chars > self._limit:
            raise RowTooLong
        return line

    def begin_row(self) -> None:
        """Forget the lines of the row before."""
        self.taken.clear()
        self._chars = 0

    def keep_first(self) -> None:
        """Take back all lines of the current row but its first: they will be read again as rows of their own."""
        last = len(self.taken) - 1
        self._returned.extendleft(
            (line, self.skipped if at == last else 0) for at, line in reversed(list(enumerate(self.taken))) if at
        )
        self.number -= last
        if last:
            del self.taken[1:]
            self.skipped = 0

    def _skip_rest(self, line: str) -> int:
        skipped = 0
        while line and not line.endswith(("\n", "\r")):
            line = self._text.readline(self._limit)
            skipped += len(line)
        return skipped


def read_delimited(
    content: io.BufferedReader,
    contract: FeedContract,
    *,
    name: str,
    limits: ReadLimits,
    normal_name: Callable[[str], str] = str.strip,
) -> Iterator[Found]:
    """Read rows of cells.

    Quotes follow RFC 4180, strictly. A quote that is never closed, or closed in the middle of a cell, costs its
    own line and no other: the lines it had swallowed are read again. Blank lines are no rows; surplus cells
    are forgiven where they are empty. Columns that repeat become one list, unless the contract maps them.

    Args:
        content: The decompressed bytes.
        contract: Encoding, delimiter, quotes and the columns to insist on.
        name: The file, for messages.
        limits: How long a row may be.
        normal_name: Brings a header's cell to the name a contract uses.

    Raises:
        FeedUnreadable: no header, or one that cannot be read or lacks a column of the contract.
    """
    if csv.field_size_limit() < limits.row_chars:
        csv.field_size_limit(limits.row_chars)  # global in the csv module; rows are bounded by `BoundedLines`
    lines = BoundedLines(as_text(content, contract.encoding, name, newline=""), limits.row_chars)
    parser = csv.reader(
        lines,
        delimiter=contract.separator or ",",
        quotechar=contract.quote,
        quoting=csv.QUOTE_MINIMAL if contract.quote else csv.QUOTE_NONE,
        strict=True,
    )
    header = _read_header(parser, lines, contract, name, limits, normal_name)
    repeated = {column: [i for i, c in enumerate(header) if c == column] for column in header}
    repeated = {column: places for column, places in repeated.items() if len(places) > 1}
    width = len(header)
    while True:
        lines.begin_row()
        try:
            cells = next(parser, None)
        except csv.Error as error:
            yield _bad_quotes(lines, error)
            continue
        except RowTooLong:
            yield _not_closed(lines, limits) if len(lines.taken) > 1 else too_long(lines, limits)
            continue
        if cells is None:
            return
        if not cells:
            continue
        raw = lines.taken[0] if len(lines.taken) == 1 else "".join(lines.taken)
        if undecodable(raw):
            yield _trouble(lines, "invalid_encoding", f"bytes that are not {contract.encoding}")
        elif "\0" in raw:
            yield _trouble(lines, "nul_character", "a NUL character; expected text")
        elif len(cells) != width and (len(cells) < width or any(cells[width:])):
            cut = len(cells) < width and not raw.endswith(("\n", "\r"))
            found = f"{len(cells)} cells; expected {width}" + (", and the file ends here" if cut else "")
            yield _trouble(lines, "truncated_row" if cut else "ragged_row", found)
        else:
            fields: dict[str, Value] = dict(zip(header, cells, strict=False))
            for column, places in repeated.items():
                fields[column] = [cells[i] for i in places if cells[i]]
            yield fields


def _trouble(lines: BoundedLines, reason: str, detail: str) -> Trouble:
    return Trouble(reason, f"line {lines.number}: {detail}", printable("".join(lines.taken).rstrip("\r\n")))


def _bad_quotes(lines: BoundedLines, error: csv.Error) -> Trouble:
    at_end = "unexpected end" in str(error)
    if at_end and len(lines.taken) == 1:
        return _trouble(lines, "truncated_row", "the file ends inside a quoted cell")
    lines.keep_first()
    detail = "a quoted cell is never closed" if at_end else f"{error}, so a quote is missing, surplus or not doubled"
    return _trouble(lines, "unbalanced_quote", detail)


def _not_closed(lines: BoundedLines, limits: ReadLimits) -> Trouble:
    lines.keep_first()
    return _trouble(lines, "unbalanced_quote", f"a quoted cell is not closed within {limits.row_chars} characters")


def too_long(lines: BoundedLines, limits: ReadLimits) -> Trouble:
    """What to say about a line beyond the limit, of which only the beginning is kept."""
    length = len(lines.taken[0]) + lines.skipped
    lines.taken[0] = lines.taken[0][: limits.kept_chars]
    found = f"{length} characters; expected at most {limits.row_chars}, and kept the first {limits.kept_chars}"
    return _trouble(lines, "row_too_long", found)


def _read_header(
    parser: "Iterator[list[str]]",
    lines: BoundedLines,
    contract: FeedContract,
    name: str,
    limits: ReadLimits,
    normal_name: Callable[[str], str],
) -> list[str]:
    try:
        cells = next((cells for cells in parser if cells), None)
    except csv.Error as error:
        raise FeedUnreadable(name, f"expected a header; {error}", position="line 1") from error
    except RowTooLong as error:
        found = f"expected a header of at most {limits.row_chars} characters"
        raise FeedUnreadable(name, found, position="line 1") from error
    if cells is None:
        raise FeedUnreadable(name, "the file holds blank lines only; expected a header")
    text = "".join(cells)
    if undecodable(text) or "\0" in text:
        raise FeedUnreadable(
            name, f"expected a header in {contract.encoding}; found {printable(text)[:200]!r}", position="line 1"
        )
    if len(cells) > limits.columns:
        raise FeedUnreadable(name, f"{len(cells)} columns; expected at most {limits.columns}", position="header")
    header = [normal_name(cell) or f"column_{place}" for place, cell in enumerate(cells, start=1)]
    while len(header) > 1 and not cells[-1].strip():  # a delimiter too many at the line's end
        cells.pop()
        header.pop()
    require_columns(contract, header, name, hint=_delimiter_hint(lines, contract, text))
    mapped = {column for columns in contract.columns.values() for column in columns}
    twice = sorted({column for column in header if column in mapped and header.count(column) > 1})
    if twice:
        raise FeedUnreadable(name, f"mapped columns {twice} appear more than once; expected once", position="header")
    return header


def _delimiter_hint(lines: BoundedLines, contract: FeedContract, text: str) -> str:
    counts = {mark: text.count(mark) for mark in _USUAL_DELIMITERS if mark != contract.separator}
    likely = max(counts, key=lambda mark: counts[mark])
    if not counts[likely]:
        return ""
    return f"; the header looks separated by {_USUAL_DELIMITERS[likely]}: set the contract's `delimiter`"
