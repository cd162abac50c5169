"""Rows that a feed's intake rejected, taken through again once a contract or a rule was mended.

Belongs here: which rows those are, and where they come from. Not here: judging them (see `intake`), asking for it.
"""

import json
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from assets.listings.feeds import FeedContract
from assets.listings.intake import Earlier, Intake, IntakeRules, take_in
from assets.listings.readers import BrokenRow, Row


def replay(
    before: Earlier,
    reasons: Collection[str],
    contract: FeedContract,
    into: Path,
    *,
    read_again: Callable[[], Iterable[Row | BrokenRow]],
    rules: IntakeRules | None = None,
    erased: Container[str] = frozenset(),
) -> Intake:
    """Take the rows that were rejected for these reasons through the intake again, and leave every other as it is.

    Rows that could be parsed were kept whole with their rejection and come from there. Those that could not are read
    again from the feed, by their numbers; if it has another number of rows by now (a product of a nested format that
    was one broken row may be many listings), all of it is taken in anew.

    Args:
        before: What the feed's rows became.
        reasons: Why the rows were rejected.
        contract: What the source promises now.
        into: Folder for the two Parquet files.
        read_again: Reads the feed; called only where a row could not be parsed.
        rules: What a row must keep.
        erased: Digests of listings that do not come in; see `take_in`.

    Raises:
        FeedUnreadable: rows have to be read again, and the feed cannot be.
    """
    is_meant = pc.is_in(before.rejected.column("reason"), pa.array(sorted(reasons), pa.string()))
    meant = before.rejected.filter(is_meant)
    others = Earlier(
        accepted=before.accepted, rejected=before.rejected.filter(pc.invert(is_meant)), repeats=before.repeats
    )
    # A row that names the field that broke the contract was parsed; one that does not is its text.
    unparsed = set(meant.filter(meant.column("field").is_null()).column("row_number").to_pylist())
    again: dict[int, Row | BrokenRow] = {}
    if unparsed:
        rows = 0
        for row in read_again():
            rows += 1
            if row.number in unparsed:
                again[row.number] = row
        if rows != before.rows:
            return take_in(read_again(), contract, into, rules=rules, erased=erased)
    return take_in(_in_order(meant, again), contract, into, rules=rules, erased=erased, earlier=others)


def _in_order(meant: pa.Table, again: Mapping[int, Row | BrokenRow]) -> Iterator[Row | BrokenRow]:
    """Yield the rows as they stood in the feed."""
    for rejected in meant.sort_by("row_number").to_pylist():
        number = rejected["row_number"]
        yield again.get(number) or Row(number, json.loads(rejected["raw"]))
