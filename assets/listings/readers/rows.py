"""What reading a feed yields: rows, and rows that broke.

Belongs here: these values, the limits of reading, and the shape of a row's fields. Not here: any format.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.json_values import json_text

#: A field of a row: text as published, nothing, or a list as JSON knows it.
Value = str | list[Any] | None


class Row(NamedTuple):
    """One row of a feed: its 1-based number and its fields under the feed's own names (dots for nesting)."""

    number: int
    fields: dict[str, Value]


class BrokenRow(NamedTuple):
    """A row that could not be read: its number, a stable reason, what was expected, and its text whole."""

    number: int
    reason: str
    detail: str
    raw: str


class Trouble(NamedTuple):
    """What a format's reader says about a row it cannot read; its number is not the format's business."""

    reason: str
    detail: str
    raw: str


#: What a format's reader yields for each row.
Found = dict[str, Value] | Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """How much a feed may ask of the reader; the defaults are far above what real feeds need.

    Attributes:
        unpacked_bytes: Largest size of a file, decompressed.
        ratio: Largest decompressed size per compressed byte, once `ratio_from_bytes` have come out.
        ratio_from_bytes: Decompressed bytes below which the ratio is not looked at.
        row_chars: Longest row, and longest product of a nested format, in characters.
        kept_chars: How much of a longer row is kept with its rejection, in characters.
        columns: Most fields of one row.
        depth: Deepest nesting of one row.
        variants: Most listings that one product of a nested format may hold.
        expanded_chars: Most text the listings of one product may repeat between them, in characters.
    """

    unpacked_bytes: int = 64 << 30
    ratio: float = 250.0
    ratio_from_bytes: int = 64 << 20
    row_chars: int = 4 << 20
    kept_chars: int = 64 << 10
    columns: int = 2_000
    depth: int = 32
    variants: int = 4_096
    expanded_chars: int = 64 << 20


def flat_fields(value: Mapping[str, Any], limits: ReadLimits) -> Found:
    """Bring a JSON object to a row's fields: dots for nesting, lists as they are, scalars as text."""
    fields: dict[str, Value] = {}
    chars = 0
    for path, leaf in _leaves(value, ""):
        chars += len(path)
        if chars > limits.expanded_chars:  # every leaf repeats the names above it
            detail = f"names of more than {limits.expanded_chars} characters once nesting is written out"
            return Trouble("too_many_fields", f"{detail}; expected fewer", json_text(value))
        if path in fields:
            detail = f"{path!r} is both a field and a path into one; expected either"
            return Trouble("ambiguous_field", detail, json_text(value))
        fields[path] = leaf
    if len(fields) > limits.columns:
        detail = f"{len(fields)} fields; expected at most {limits.columns}"
        return Trouble("too_many_fields", detail, json_text(value))
    return fields


def _leaves(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    for key, inner in value.items():
        path = prefix + key
        if isinstance(inner, dict):
            yield from _leaves(inner, path + ".")
        elif isinstance(inner, bool):
            yield path, "true" if inner else "false"
        else:
            yield path, inner


def require_columns(contract: FeedContract, present: Iterable[str], name: str, *, hint: str = "") -> None:
    """Raise unless a header keeps every column that the contract names.

    Raises:
        FeedUnreadable: names the first canonical field none of whose columns is there, and what is there.
    """
    present = list(present)
    known = set(present)
    for field, columns in contract.promised.items():
        # A path with an index leads into a list, which a header shows as one column.
        starts = [{c, *(c.rsplit(".", cut)[0] for cut in range(1, c.count(".") + 1))} for c in columns]
        if not any(known & heads for heads in starts):
            wanted = " or ".join(repr(column) for column in columns)
            shown = ", ".join(repr(column[:60]) for column in present[:20]) + (", ..." if len(present) > 20 else "")
            raise FeedUnreadable(name, f"no column {wanted} for {field}; found {shown}{hint}", position="header")
