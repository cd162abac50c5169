"""The matching benchmark on a tiny folder: the product's real path, judged by a truth that it reads last."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from assets.clusters.rules import MatchRules
from benchmarks.matching import NotABenchmark, benchmark_matching, measure
from orchestration.cli import app

FEEDS = """
feeds:
  - {source: a, path: a.csv, format: csv, currency: EUR, fields: {listing_id: id, title: name}}
  - {source: b, path: b.csv, format: csv, currency: EUR, fields: {listing_id: id, title: name}}
"""
SHOPS = {
    "a": ("Sony DSC-W150 digital camera", "Bosch WAP28390GB washing machine 8kg", ""),
    "b": ("Sony DSCW150 camera", "Garden hose 25 m", "Bosch WAP28390GB 8 kg washer"),
}
TRUTH = "source,listing_id,product_id\na,1,camera\na,2,washer\na,3,hose\nb,1,camera\nb,2,hose\nb,3,washer\n"


class LetterCounts:
    """An embedder that counts letters, and the texts it was asked for."""

    model_version = "letters@1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> np.ndarray:
        self.asked += texts
        counts = np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], dtype=np.float32)
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "feeds.yaml").write_text(FEEDS)
    (tmp_path / "truth.csv").write_text(TRUTH)
    for shop, titles in SHOPS.items():
        rows = [f'{number},"{title}"' for number, title in enumerate(titles, start=1)]
        (tmp_path / f"{shop}.csv").write_text("\n".join(["id,name", *rows]) + "\n")
    return tmp_path


def test_a_lost_offer_counts_as_not_found(folder: Path) -> None:
    figures = measure(folder, None, MatchRules(), False, lambda _: LetterCounts())
    assert (figures.offers, figures.precision) == (6, 1.0)
    # The hose of shop a has no title and was rejected: its pair can be neither proposed nor found.
    assert figures.recall == figures.candidate_recall == pytest.approx(2 / 3, abs=1e-4)
    assert figures.peak_mb > 0
    assert {"read", "clean", "embed", "candidates", "clusters"} <= figures.stages.keys()


def test_embeddings_are_kept_from_one_benchmark_to_the_next(folder: Path, tmp_path: Path) -> None:
    embedder, cache = LetterCounts(), tmp_path / "cache"
    first = measure(folder, cache, MatchRules(), False, lambda _: embedder)
    again = measure(folder, cache, MatchRules(), False, lambda _: embedder)
    assert (first.embedded, again.embedded) == (5, 0)
    assert len(embedder.asked) == 5
    assert again.f1 == first.f1


def test_without_sellers_the_offers_are_one_sources(folder: Path) -> None:
    figures = measure(folder, None, MatchRules(), True, lambda _: LetterCounts())
    assert figures.recall == pytest.approx(2 / 3, abs=1e-4)


def test_a_folder_without_a_truth_is_named(folder: Path) -> None:
    (folder / "truth.csv").unlink()
    with pytest.raises(NotABenchmark, match=r"expected truth\.csv beside the feeds"):
        benchmark_matching([folder])


def test_a_feed_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "b.csv").unlink()
    with pytest.raises(NotABenchmark, match=r"no file matches 'b\.csv' of source 'b'"):
        measure(folder, None, MatchRules(), False, lambda _: LetterCounts())


def test_the_command_draws_how_far_the_probabilities_can_be_trusted(tmp_path: Path) -> None:
    """From the samples, for the command embeds as the product does."""
    picture, figures = tmp_path / "reliability.png", tmp_path / "figures.json"
    folder = Path(__file__).parents[2] / "samples"
    done = CliRunner().invoke(
        app, ["benchmark", "matching", str(folder), "--plot", str(picture), "--json", str(figures)]
    )
    assert done.exit_code == 0, done.output
    (scores,) = json.loads(figures.read_text())
    assert sum(scores["reliability"]["pairs"]) > 1000
    assert f"{scores['calibration_error']:.3f}" in done.stdout
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert image.getcolors(256) is not None
    refused = CliRunner().invoke(app, ["benchmark", "matching", str(folder), "--plot", str(picture), "--scale"])
    assert refused.exit_code == 2
