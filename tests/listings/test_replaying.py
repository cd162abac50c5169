"""Rejected rows taken through again: exactly those, none lost, and what the whole feed would have come to by then."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.batches import listing_digest
from assets.listings.feeds import FeedContract
from assets.listings.intake import ERASED, Earlier, Intake, take_in
from assets.listings.readers import BrokenRow, Row
from assets.listings.replaying import replay

pytestmark = pytest.mark.laws

DECLARED: dict[str, Any] = {"source": "shop", "path": "a", "format": "jsonl", "fields": {"title": "name"}}
BROKEN = FeedContract.model_validate(DECLARED)
MENDED = FeedContract.model_validate({**DECLARED, "fields": {"title": ["name", "label"]}})
FIELDS = st.fixed_dictionaries(
    {"listing_id": st.sampled_from("abcdefgh")},
    optional={"name": st.just("Kettle"), "label": st.just("Toaster"), "note": st.sampled_from(["x", "y"])},
)


def numbered(rows: Iterable[dict[str, Any]]) -> list[Row | BrokenRow]:
    return [Row(number, row) for number, row in enumerate(rows, start=1)]


def earlier(intake: Intake) -> Earlier:
    return Earlier(
        accepted=pq.read_table(intake.accepted_path),
        rejected=pq.read_table(intake.rejected_path),
        repeats=intake.repeats,
    )


def nothing_to_read() -> Iterator[Row | BrokenRow]:
    raise AssertionError("rows that were parsed are read again from nowhere but their rejection")


def titles(intake: Intake) -> dict[str, str]:
    rows = pq.read_table(intake.accepted_path).to_pylist()
    return {row["listing_id"]: row["title"] for row in rows}


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.lists(FIELDS, max_size=12, unique_by=lambda row: row["listing_id"]))
def test_rows_replayed_by_a_mended_contract_are_as_if_it_had_been_right_from_the_start(
    rows: list[dict[str, Any]],
) -> None:
    with TemporaryDirectory() as folder:
        first = take_in(numbered(rows), BROKEN, Path(folder, "first"))
        again = replay(earlier(first), {"missing_field"}, MENDED, Path(folder, "again"), read_again=nothing_to_read)
        whole = take_in(numbered(rows), MENDED, Path(folder, "whole"))
        assert (again.read, again.accepted, again.reasons) == (whole.read, whole.accepted, whole.reasons)
        assert again.content_digest == whole.content_digest


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.lists(FIELDS, max_size=12), st.sets(st.sampled_from(["missing_field", "conflicting_repeat", "unheard_of"])))
def test_no_row_is_lost_and_no_other_is_touched(rows: list[dict[str, Any]], reasons: set[str]) -> None:
    with TemporaryDirectory() as folder:
        first = take_in(numbered(rows), BROKEN, Path(folder, "first"))
        before = earlier(first)
        again = replay(before, reasons, MENDED, Path(folder, "again"), read_again=nothing_to_read)
        assert again.read == first.read == again.accepted + again.rejected + again.repeats
        after = pq.read_table(again.accepted_path).to_pylist()
        assert after[: first.accepted] == before.accepted.to_pylist()
        spared = [row for row in before.rejected.to_pylist() if row["reason"] not in reasons]
        assert pq.read_table(again.rejected_path).to_pylist()[: len(spared)] == spared


def unreadable(rows: Sequence[dict[str, Any]], number: int) -> list[Row | BrokenRow]:
    found: list[Row | BrokenRow] = numbered(rows)
    found[number - 1] = BrokenRow(number, "ragged_row", "3 fields; expected 2", "2,Toaster,")
    return found


def test_a_row_that_could_not_be_parsed_is_read_again_from_the_feed(tmp_path: Path) -> None:
    rows = [{"listing_id": str(number), "name": f"Kettle {number}"} for number in range(1, 5)]
    first = take_in(unreadable(rows, 2), BROKEN, tmp_path / "first")
    assert first.reasons == Counter(ragged_row=1)
    changed = [{**row, "name": "something else"} for row in rows]
    again = replay(earlier(first), {"ragged_row"}, BROKEN, tmp_path / "again", read_again=lambda: numbered(changed))
    assert titles(again) == {"1": "Kettle 1", "2": "something else", "3": "Kettle 3", "4": "Kettle 4"}
    assert (again.read, again.rejected) == (4, 0)


def test_a_feed_that_is_numbered_in_another_way_is_taken_in_as_a_whole(tmp_path: Path) -> None:
    rows = [{"listing_id": str(number), "name": f"Kettle {number}"} for number in range(1, 4)]
    first = take_in(unreadable(rows, 2), BROKEN, tmp_path / "first")
    unfolded = [rows[0], {"listing_id": "2a", "name": "Red"}, {"listing_id": "2b", "name": "Blue"}, rows[2]]
    again = replay(earlier(first), {"ragged_row"}, BROKEN, tmp_path / "again", read_again=lambda: numbered(unfolded))
    assert sorted(titles(again)) == ["1", "2a", "2b", "3"]
    assert again.read == 4


def test_nothing_of_an_erased_listing_comes_in_or_is_kept_as_rejected(tmp_path: Path) -> None:
    rows = [
        {"listing_id": " 7 ", "name": "Kettle"},
        {"listing_id": "8", "name": "Pan"},
        {"listing_id": "7", "secret": "x"},
    ]
    taken = take_in(numbered(rows), BROKEN, tmp_path / "taken", erased={listing_digest("7")})
    assert (taken.accepted, taken.reasons) == (1, Counter({ERASED: 2}))
    assert titles(taken) == {"8": "Pan"}
    assert [row["raw"] for row in pq.read_table(taken.rejected_path).to_pylist()] == ["{}", "{}"]


def test_a_contract_may_take_the_id_from_another_column(tmp_path: Path) -> None:
    contract = FeedContract.model_validate({**DECLARED, "fields": {"title": "name", "listing_id": ["sku", "nr"]}})
    rows = [{"sku": "7", "name": "Kettle"}, {"nr": "7", "name": "Pan"}, {"listing_id": "7", "nr": "9", "name": "Lid"}]
    taken = take_in(numbered(rows), contract, tmp_path / "taken", erased={listing_digest("7")})
    assert titles(taken) == {"9": "Lid"}


def test_what_was_rejected_before_counts_once(tmp_path: Path) -> None:
    rows = [
        {"listing_id": "1", "name": "Kettle"},
        {"listing_id": "1", "name": "Kettle"},
        {"listing_id": "1", "name": "Pan"},
    ]
    first = take_in(numbered(rows), BROKEN, tmp_path / "first")
    assert (first.accepted, first.repeats, first.reasons) == (1, 1, Counter(conflicting_repeat=1))
    kept = earlier(first)
    again = replay(kept, {"conflicting_repeat"}, BROKEN, tmp_path / "again", read_again=nothing_to_read)
    assert (again.accepted, again.repeats, again.reasons) == (1, 1, Counter(conflicting_repeat=1))
    assert again.content_digest == first.content_digest
    twice = replace(kept, repeats=2)
    assert replay(twice, (), BROKEN, tmp_path / "twice", read_again=nothing_to_read).read == 4
