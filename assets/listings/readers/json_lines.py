"""JSON Lines: one object per line.

Belongs here: telling good lines from bad ones. Not here: JSON documents that span lines.
"""

import io
from collections.abc import Iterator

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.delimited import BoundedLines, RowTooLong, too_long
from assets.listings.readers.json_values import DECODER, depth_of, may_be_deeper
from assets.listings.readers.rows import Found, ReadLimits, Trouble, flat_fields
from assets.listings.readers.unpacking import as_text, printable, undecodable


def read_json_lines(
    content: io.BufferedReader, contract: FeedContract, *, name: str, limits: ReadLimits
) -> Iterator[Found]:
    """Read one object per line; numbers keep the notation they were published in.

    Raises:
        FeedUnreadable: the file is one JSON array, or not one of its lines is an object.
    """
    lines = BoundedLines(as_text(content, contract.encoding, name, newline="\n"), limits.row_chars)
    seen = readable = 0
    while True:
        lines.begin_row()
        try:
            line = next(lines, None)
        except RowTooLong:
            seen += 1
            yield too_long(lines, limits)
            continue
        if line is None:
            break
        line = line.strip(" \t\r\n")
        if not line:
            continue
        if not seen and line.startswith("["):
            raise FeedUnreadable(name, "a JSON array; expected one JSON object per line", position="line 1")
        seen += 1
        found_row = _read_line(line, contract, lines.number, limits)
        readable += not isinstance(found_row, Trouble)
        yield found_row
    if seen and not readable:
        raise FeedUnreadable(name, f"none of its {seen} lines is a JSON object; expected one on each line")


def _read_line(line: str, contract: FeedContract, number: int, limits: ReadLimits) -> Found:
    if undecodable(line):
        return Trouble("invalid_encoding", f"line {number}: bytes that are not {contract.encoding}", printable(line))
    try:
        value = DECODER.decode(line)
        too_deep = may_be_deeper(line, limits.depth) and depth_of(value) > limits.depth
    except ValueError as error:
        return Trouble("invalid_json", f"line {number}: expected a JSON object; {error}", printable(line))
    except RecursionError:
        too_deep = True
    if too_deep:
        return Trouble("nested_too_deep", f"line {number}: expected at most {limits.depth} levels", printable(line))
    if not isinstance(value, dict):
        return Trouble("not_an_object", f"line {number}: expected a JSON object, in braces", printable(line))
    return flat_fields(value, limits)
