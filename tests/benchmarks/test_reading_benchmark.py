"""The reading benchmark on small feeds made of the samples."""

import errno
import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.matching import NotABenchmark
from benchmarks.reading import FeedRules, Reading, benchmark_reading, write_feed
from orchestration.cli import app
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


def test_a_full_disk_is_said_in_one_line_and_the_feeds_lie_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def fill(path: Path, *_: object) -> int:
        written.append(path)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setenv("OFFERLINE_HOME", str(tmp_path))
    monkeypatch.setattr("benchmarks.reading.write_feed", fill)
    done = CliRunner().invoke(app, ["benchmark", "reading", str(SAMPLES), "--gigabytes", "500"])
    (feed,) = written
    assert tmp_path in feed.parents
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == f"error: {feed} cannot be written: No space left on device"
    assert not feed.parent.exists()

    def break_down(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("benchmarks.reading.write_feed", break_down)
    done = CliRunner().invoke(app, ["benchmark", "reading", str(SAMPLES)])
    assert isinstance(done.exception, OSError), "what else goes wrong has its traceback"
