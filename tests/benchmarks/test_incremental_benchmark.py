"""The incremental benchmark on a small catalogue of the samples."""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from test_scale import LetterCounts

from assets.embeddings.schema import DIMENSIONS
from benchmarks.incremental import BatchRules, Cost, benchmark_incremental
from orchestration.tables import incremental_table

SAMPLES = Path(__file__).parents[2] / "samples"


class WideLetterCounts(LetterCounts):
    """The same in as many dimensions as the product's vectors have."""

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> np.ndarray:
        counts = super().embed(texts, progress=progress)
        return np.pad(counts, ((0, 0), (0, DIMENSIONS - counts.shape[1])))


@pytest.fixture(scope="module")
def cost() -> Cost:
    batch = BatchRules(repriced=0.02, retitled=0.01, new=0.01, delisted=0.01)
    return benchmark_incremental(SAMPLES, offers=600, batch=batch, embedder=lambda _: WideLetterCounts())


def test_the_batch_leaves_what_matching_from_nothing_gives(cost: Cost) -> None:
    assert cost.equal
    assert (cost.offers, cost.changed) == (594, 30)


def test_only_new_texts_are_embedded_and_only_new_pairs_compared(cost: Cost) -> None:
    assert 0 < cost.embedded <= 12
    assert 0 < cost.compared < cost.pairs / 4


def test_the_table_shows_every_stage(cost: Cost) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(incremental_table(cost))
    text = console.export_text()
    assert all(stage in text for stage in ("embed", *cost.full_stages, *cost.incremental_stages, "all"))
    assert "matching from nothing gives: yes" in text
    assert asdict(cost)["ratio"] == pytest.approx(cost.incremental_seconds / cost.full_seconds, abs=1e-3)
