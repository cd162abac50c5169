"""The intake: nothing is lost, repeats are told from conflicts, and equal input makes equal output."""

import gzip
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.listings.feeds import FeedContract, FeedUnreadable, load_contracts
from assets.listings.intake import Intake, IntakeRules, RowsLost, read_feed, take_in
from assets.listings.readers import BrokenRow, Row
from assets.listings.schema import RAW_LISTINGS, REJECTED_LISTINGS

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CONTRACT = FeedContract.model_validate({"source": "shop", "path": "a", "format": "jsonl", "currency": "EUR"})


def rows_from(*fields: dict[str, Any]) -> list[Row | BrokenRow]:
    return [Row(number, row) for number, row in enumerate(fields, start=1)]


def accepted_by(intake: Intake) -> list[dict[str, Any]]:
    return pq.read_table(intake.accepted_path).to_pylist()


def rejected_by(intake: Intake) -> list[dict[str, Any]]:
    return pq.read_table(intake.rejected_path).to_pylist()


def check_laws(intake: Intake) -> None:
    """Law 1, and both tables as their contracts promise."""
    accepted = RAW_LISTINGS.conform(pq.read_table(intake.accepted_path))
    rejected = REJECTED_LISTINGS.conform(pq.read_table(intake.rejected_path))
    assert intake.read == intake.accepted + intake.rejected + intake.repeats
    assert (accepted.num_rows, rejected.num_rows) == (intake.accepted, intake.rejected)
    assert Counter(rejected.column("reason").to_pylist()) == intake.reasons
    ids = accepted.column("listing_id").to_pylist()
    assert len(set(ids)) == len(ids)
    numbers = accepted.column("row_number").to_pylist() + rejected.column("row_number").to_pylist()
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= number <= intake.read for number in numbers)
    assert not any("\0" in text for row in rejected.to_pylist() for text in row.values() if isinstance(text, str))


def test_a_row_becomes_a_listing(tmp_path: Path) -> None:
    row = {
        "listing_id": " 7 ",
        "title": " Kettle ",
        "brand": "  ",
        "tags": ["a"],
        "size.cm": "3",
        "note": "",
        "gtin": None,
    }
    (listing,) = accepted_by(take_in(rows_from(row), CONTRACT, tmp_path))
    digest = listing.pop("row_digest")
    assert len(digest) == 32
    assert {key: value for key, value in listing.items() if value is not None} == {
        "source": "shop",
        "listing_id": "7",
        "seller": "shop",
        "title": " Kettle ",
        "currency": "EUR",
        "attributes": '{"brand":"  ","size.cm":"3","tags":["a"]}',
        "row_number": 1,
    }


def test_columns_are_followed_in_order_and_into_lists(tmp_path: Path) -> None:
    fields = {"title": ["name", "label"], "image_url": "images.0.src", "brand": "makers", "price": "offers.price"}
    contract = CONTRACT.model_validate({**CONTRACT.model_dump(mode="json"), "fields": fields, "seller": "Mall"})
    rows = rows_from(
        {"listing_id": "1", "label": "b", "images": [{"src": "u"}], "makers": ["Acme"], "offers.price": "3"},
        {"listing_id": "2", "name": "a", "label": "b", "images": [], "makers": ["Acme", "Co"]},
        {"listing_id": "3", "name": "a", "images": "none", "makers": [[]], "seller": "Own"},
    )
    one, two, three = accepted_by(take_in(rows, contract, tmp_path))
    assert (one["title"], one["image_url"], one["brand"], one["price"], one["seller"]) == (
        "b",
        "u",
        "Acme",
        "3",
        "Mall",
    )
    assert json.loads(one["attributes"]) == {"images": [{"src": "u"}]}
    assert (two["title"], two["image_url"], two["brand"]) == ("a", None, "Acme")
    assert json.loads(two["attributes"]) == {"label": "b", "makers": ["Acme", "Co"]}
    assert (three["brand"], three["seller"]) == (None, "Own")


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        ({"title": "a"}, "missing_field", "listing_id"),
        ({"listing_id": "1", "title": " \n"}, "missing_field", "title"),
        ({"listing_id": "1", "title": [{"a": "b"}]}, "missing_field", "title"),
        ({"listing_id": "1", "title": "x" * 4_001}, "field_too_long", "title"),
        ({"listing_id": "1" * 513, "title": "x"}, "field_too_long", "listing_id"),
        ({"listing_id": "1", "title": "x", "blob": "y" * 1_000_001}, "field_too_long", "attributes"),
        ({"listing_id": "1\u200b", "title": "x"}, "unprintable_id", "listing_id"),
        ({"listing_id": "1\x1b[2J", "title": "x"}, "unprintable_id", "listing_id"),
        ({"listing_id": "1", "title": "x\0"}, "nul_character", "title"),
        ({"listing_id": "1", "title": "x", "a": ["\0"]}, "nul_character", "attributes"),
        ({"listing_id": "1", "title": "x", "a\0": "b"}, "nul_character", "attributes"),
        ({"listing_id": "1", "title": "x\ud800"}, "invalid_unicode", "title"),
        ({"listing_id": "1", "title": "x", "a": "\udfff"}, "invalid_unicode", "attributes"),
    ],
)
def test_a_row_that_breaks_a_rule_is_kept_whole(row: dict[str, Any], reason: str, field: str, tmp_path: Path) -> None:
    intake = take_in(rows_from(row), CONTRACT, tmp_path)
    (rejected,) = rejected_by(intake)
    check_laws(intake)
    assert (rejected["reason"], rejected["field"], rejected["row_number"]) == (reason, field, 1)
    assert json.loads(rejected["raw"]) == row
    assert "expected" in rejected["detail"]


def test_odd_but_honest_text_is_accepted(tmp_path: Path) -> None:
    titles = [
        "=HYPERLINK(1)",
        "<script>alert(1)</script>",
        "\u202eevil",
        "a\u200bb",
        "\\u0000 literally",
        "\U0001f600",
        "x\x07",
    ]
    intake = take_in(
        rows_from(*({"listing_id": str(i), "title": t, "a": t} for i, t in enumerate(titles))), CONTRACT, tmp_path
    )
    assert [listing["title"] for listing in accepted_by(intake)] == titles
    assert [json.loads(listing["attributes"])["a"] for listing in accepted_by(intake)] == titles


def test_repeats_are_counted_and_conflicts_rejected(tmp_path: Path) -> None:
    first = {"listing_id": "1", "title": "a"}
    rows = [*rows_from(first, {"listing_id": "1 ", "title": "a", "note": ""}, {"listing_id": "1", "title": "b"}, first)]
    intake = take_in([*rows, BrokenRow(5, "ragged_row", "2 cells", "1,a")], CONTRACT, tmp_path)
    check_laws(intake)
    assert (intake.read, intake.accepted, intake.rejected, intake.repeats) == (5, 1, 2, 2)
    assert intake.reasons == {"conflicting_repeat": 1, "ragged_row": 1}
    assert [(row["row_number"], row["raw"]) for row in rejected_by(intake)] == [
        (3, '{"listing_id":"1","title":"b"}'),
        (5, "1,a"),
    ]


def test_nothing_is_left_of_a_feed_that_fails_half_way(tmp_path: Path) -> None:
    def failing() -> Iterator[Row | BrokenRow]:
        yield from rows_from({"listing_id": "1", "title": "a"})
        raise FeedUnreadable("feed", "truncated")

    with pytest.raises(FeedUnreadable):
        take_in(failing(), CONTRACT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_redelivery_leaves_the_last_good_files(tmp_path: Path) -> None:
    good = take_in(rows_from({"listing_id": "1", "title": "a"}), CONTRACT, tmp_path)
    with pytest.raises(FeedUnreadable):
        take_in(iter_then_fail(), CONTRACT, tmp_path)
    assert good.accepted_path.exists() and good.rejected_path.exists()


def iter_then_fail() -> Iterator[Row | BrokenRow]:
    yield Row(1, {"listing_id": "2", "title": "b"})
    raise FeedUnreadable("feed", "truncated")


def test_a_missing_or_changing_file_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FeedUnreadable, match=r"gone\.csv: expected a readable file; No such file"):
        read_feed(tmp_path / "gone.csv", CONTRACT, tmp_path / "out")
    feed = tmp_path / "feed.jsonl"
    feed.write_text('{"listing_id": 1, "title": "a"}\n')

    from assets.listings import intake as module

    genuine = module.read_rows

    def while_it_grows(*args: Any, **more: Any) -> Iterator[Row | BrokenRow]:
        yield from genuine(*args, **more)
        feed.write_text(feed.read_text() * 2)

    good = read_feed(feed, CONTRACT, tmp_path / "out")
    monkeypatch.setattr(module, "read_rows", while_it_grows)
    with pytest.raises(FeedUnreadable, match="changed while it was read"):
        read_feed(feed, CONTRACT, tmp_path / "out")
    assert sorted((tmp_path / "out").iterdir()) == [good.accepted_path, good.rejected_path]


def replaced(feed: Path) -> None:
    other = feed.with_name("other")
    other.write_bytes(feed.read_bytes())
    other.replace(feed)


def rewritten_with_its_size_and_time(feed: Path) -> None:
    stat = feed.stat()
    feed.write_bytes(feed.read_bytes().replace(b'"a"', b'"b"'))
    os.utime(feed, ns=(stat.st_atime_ns, stat.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], Any]] = {
    "appended": lambda feed: feed.write_bytes(feed.read_bytes() + b'{"listing_id": 0, "title": "a"}\n'),
    "cut": lambda feed: os.truncate(feed, feed.stat().st_size // 2),
    "emptied": lambda feed: os.truncate(feed, 0),
    "replaced": replaced,
    "removed": Path.unlink,
    "rewritten": rewritten_with_its_size_and_time,
}


@pytest.mark.parametrize("packing", ["plain", "gzip"])
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_taken_of_a_file_that_changes_while_it_is_read(
    change: str, packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assets.listings import intake as module

    genuine = module.read_rows
    feed = tmp_path / "feed.jsonl"
    content = b"".join(b'{"listing_id": %d, "title": "a", "x": "%b"}\n' % (i, b"x" * 900) for i in range(2_000))
    feed.write_bytes(gzip.compress(content, 0) if packing == "gzip" else content)

    def while_it_changes(*args: Any, **more: Any) -> Iterator[Row | BrokenRow]:
        for row in genuine(*args, **more):
            if row.number == 2:
                CHANGES[change](feed)
            yield row

    monkeypatch.setattr(module, "read_rows", while_it_changes)
    with pytest.raises(FeedUnreadable, match=r"changed while it was read|expected intact gzip"):
        read_feed(feed, CONTRACT, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_no_fault_of_the_feed(tmp_path: Path) -> None:
    feed = tmp_path / "feed.jsonl"
    feed.write_text('{"listing_id": 1, "title": "a"}\n')
    with pytest.raises(OSError) as caught:
        read_feed(feed, CONTRACT, feed / "not a folder")
    assert not isinstance(caught.value, FeedUnreadable)


def test_a_lost_row_cannot_go_unnoticed(tmp_path: Path) -> None:
    with pytest.raises(RowsLost):
        Intake(
            read=2,
            accepted=1,
            rejected=0,
            repeats=0,
            reasons=Counter(),
            accepted_path=tmp_path,
            rejected_path=tmp_path,
            content_digest="",
        )


SMALL = st.sampled_from(["", " ", "a", "b", "1", "é", "\0", "\ud800", '"', "\u200b"])
FIELDS = st.dictionaries(
    st.sampled_from(["listing_id", "title", "price", "seller", "x", "y"]),
    st.one_of(st.none(), SMALL, st.lists(SMALL, max_size=2)),
)
BROKEN = st.tuples(st.sampled_from(["ragged_row", "invalid_json"]), SMALL)


@pytest.mark.laws
@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(FIELDS, BROKEN), max_size=40), st.integers(1, 9), st.randoms(use_true_random=False))
def test_nothing_is_lost_whatever_comes(found: list[Any], chunk_rows: int, shuffle: random.Random) -> None:
    rows = [
        Row(number, f)
        if isinstance(f, dict)
        else BrokenRow(number, f[0], "broken", f[1].replace("\0", "").replace("\ud800", ""))
        for number, f in enumerate(found, start=1)
    ]
    with TemporaryDirectory() as folder:
        into = Path(folder)
        intake = take_in(rows, CONTRACT, into / "one", rules=IntakeRules(chunk_rows=chunk_rows))
        check_laws(intake)
        again = take_in(rows, CONTRACT, into / "two", rules=IntakeRules(chunk_rows=chunk_rows))
        assert again.content_digest == intake.content_digest
        for one, two in ((intake.accepted_path, again.accepted_path), (intake.rejected_path, again.rejected_path)):
            assert one.read_bytes() == two.read_bytes(), "equal input must make equal bytes"

        # Replaying the accepted rows twice adds nothing but repeats.
        kept = [row for row in rows if row.number in {listing["row_number"] for listing in accepted_by(intake)}]
        replay = take_in([*kept, *kept], CONTRACT, into / "three")
        assert (replay.accepted, replay.rejected, replay.repeats) == (len(kept), 0, len(kept))

        # Without conflicts, the order of rows is not content.
        shuffled = shuffle.sample(kept, len(kept))
        assert take_in(shuffled, CONTRACT, into / "four").content_digest == replay.content_digest


def test_repeats_are_told_exactly_beyond_the_cache(tmp_path: Path) -> None:
    rows = (Row(n, {"listing_id": f"{n % 5_000:0200d}", "title": "a"}) for n in range(1, 10_001))
    intake = take_in(rows, CONTRACT, tmp_path, rules=IntakeRules(repeats_cache_kib=64, chunk_chars=100_000))
    assert (intake.accepted, intake.repeats, intake.rejected) == (5_000, 5_000, 0)
    assert pq.ParquetFile(intake.accepted_path).num_row_groups > 5, "written in chunks, not at once"


@pytest.mark.skipif(not DATA.is_dir(), reason="the real offers are not beside the repository (../shared/data)")
@pytest.mark.parametrize(("folder", "offers"), [("abt_buy", 2_152), ("amazon_google", 4_393), ("pricerunner", 16_379)])
def test_every_real_offer_is_accepted(folder: str, offers: int, tmp_path: Path) -> None:
    contracts = load_contracts((DATA / folder / "feeds.yaml").read_bytes(), origin=f"{folder}/feeds.yaml")
    taken = [read_feed(DATA / folder / contract.path, contract, tmp_path / contract.source) for contract in contracts]
    for intake in taken:
        check_laws(intake)
    assert sum(intake.accepted for intake in taken) == sum(intake.read for intake in taken) == offers
