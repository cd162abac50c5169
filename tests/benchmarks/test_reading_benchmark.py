"""The reading benchmark on small feeds made of the samples."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.matching import NotABenchmark
from benchmarks.reading import FeedRules, Reading, benchmark_reading, write_feed
from orchestration.tables import reading_table

SAMPLES = Path(__file__).parents[2] / "samples"
RULES = FeedRules(at_once=200)
OFFERS = [{"listing_id": "1", "title": "Kettle, 1.7 l", "brand": "Ünïcode"}, {"listing_id": "2", "title": 'A "pan"'}]


@pytest.fixture(scope="module")
def readings() -> list[Reading]:
    return benchmark_reading(SAMPLES, gigabytes=0.002, rules=RULES)


def test_every_form_is_read_whole_at_both_sizes(readings: list[Reading]) -> None:
    assert [reading.form for reading in readings] == [form for form in RULES.forms for _ in range(2)]
    for small, large in zip(readings[::2], readings[1::2], strict=True):
        assert 0.2 <= small.megabytes < 0.4 and 2 <= large.megabytes < 2.2
        assert small.rows == small.accepted and large.rows == large.accepted
        assert large.rows > 5 * small.rows
        assert large.start_mb <= large.peak_mb
        assert large.megabytes_per_second == pytest.approx(large.megabytes / large.seconds)
    packed = {reading.form: reading.file_megabytes < reading.megabytes / 2 for reading in readings}
    assert packed == {"csv": False, "csv.zst": True, "jsonl": False, "parquet": True}


@pytest.mark.parametrize("form", RULES.forms)
def test_equal_rules_make_equal_feeds(form: str, tmp_path: Path) -> None:
    sizes = {write_feed(tmp_path / name, form, OFFERS, 100_000, RULES) for name in ("one", "two")}
    assert len(sizes) == 1 and sizes.pop() >= 100_000
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    write_feed(tmp_path / "other", form, OFFERS, 100_000, FeedRules(at_once=200, seed=8))
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def test_the_table_shows_both_sizes_side_by_side(readings: list[Reading]) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(reading_table(readings))
    text = console.export_text()
    assert "of 0.0002 GB and of 0.002 GB" in text
    for small, large in zip(readings[::2], readings[1::2], strict=True):
        (line,) = (line.split() for line in text.splitlines() if line.split()[:1] == [small.form])
        assert (line[1], line[5]) == (f"{small.rows:,}", f"{large.rows:,}")
        assert (line[4], line[8]) == (f"{small.peak_mb:,.0f}", f"{large.peak_mb:,.0f}")


def test_a_folder_without_feeds_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(NotABenchmark, match=r"expected feeds\.yaml beside the feeds"):
        benchmark_reading(tmp_path)
