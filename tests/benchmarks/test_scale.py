"""Catalogues of any size out of a small folder: as many offers as asked for, other products in every world."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from assets.clusters.evaluation import Reliability
from assets.clusters.matching import match
from assets.products.schema import CLEANED_PRODUCTS
from benchmarks.matching import Figures, NotABenchmark, clean_feeds, read_feeds
from benchmarks.scale import (
    Growth,
    ScaleRules,
    alphabet_of,
    benchmark_scale,
    common_words,
    exponents,
    grow,
    is_plain,
    respelt,
)
from orchestration.tables import growth_table

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RULES = ScaleRules()


class LetterCounts:
    """An embedder that counts letters."""

    model_version = "letters@1"

    def __init__(self, cache: Path | None = None) -> None:
        self.embedded = 0

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> np.ndarray:
        counts = np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], dtype=np.float32)
        self.embedded += len(texts)
        if progress:
            progress(len(texts))
        return (counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-6)).astype(np.float16)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return clean_feeds(read_feeds(SAMPLES, tmp_path_factory.mktemp("feeds")))


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    from assets.clusters.quality import read_truth

    return read_truth((SAMPLES / "truth.csv").read_bytes(), "truth.csv")


@pytest.mark.parametrize("size", [1, 200, 1469, 1470, 3500])
def test_a_catalogue_has_the_size_asked_for_and_whole_products(
    products: pa.Table, truth: dict[str, str], size: int
) -> None:
    grown, grown_truth = grow(products, truth, size, RULES)
    ids = grown.column("product_id").to_pylist()
    assert len(set(ids)) == len(ids) == size
    assert set(ids) == set(grown_truth)
    assert grown.schema == products.schema
    offers_of: dict[str, int] = {}
    for product in truth.values():
        offers_of[product] = offers_of.get(product, 0) + 1
    held: dict[str, int] = {}
    for product in grown_truth.values():
        held[product] = held.get(product, 0) + 1
    # Listings that could not be made into products are in the truth alone.
    assert all(number <= offers_of[product.split("~")[0]] for product, number in held.items())


def test_a_smaller_catalogue_is_part_of_a_larger_one_and_every_one_is_the_same_twice(
    products: pa.Table, truth: dict[str, str]
) -> None:
    small, large = (grow(products, truth, size, RULES)[0] for size in (400, 800))
    assert len(set(small.column("product_id").to_pylist()) - set(large.column("product_id").to_pylist())) < 20
    assert grow(products, truth, 3000, RULES)[0].equals(grow(products, truth, 3000, RULES)[0])


def test_rare_words_are_respelt_alike_everywhere_and_common_ones_stay(products: pa.Table) -> None:
    common = common_words(products, RULES)
    other = respelt(products, 1, common, RULES)
    spelt: dict[str, str] = {}
    for one, two in zip(*(table.column("title").to_pylist() for table in (products, other)), strict=True):
        assert len(one) == len(two)
        for before, after in zip(one.split(), two.split(), strict=True):
            assert spelt.setdefault(before, after) == after
    kept = {before for before, after in spelt.items() if before == after}
    assert 0.1 < len(kept) / len(spelt) < 0.6
    assert len(set(spelt.values())) == len(spelt), "no two words become one"
    assert respelt(products, 0, common, RULES) is products


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        ("camera", True),
        ("w150", False),
        ("tv", True),
        ("16", True),
        ("8kg", True),
        ("2603", False),
        ("dell", False),
    ],
)
def test_common_and_short_words_and_measures_stay(word: str, plain: bool) -> None:
    assert is_plain(word, frozenset({"camera"}), RULES) == plain


@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_alphabet_keeps_the_shape_of_words(world: int) -> None:
    table = alphabet_of(world)
    assert len(table) == 62
    for before, after in table.items():
        letter = chr(before)
        assert letter != after
        assert (letter.isupper(), letter.isdigit()) == (after.isupper(), after.isdigit())
        assert (letter.lower() in "aeiou") == (after.lower() in "aeiou")
    assert "DSC-W150".translate(table) != "DSC-W150".translate(alphabet_of(world + 1))


def test_the_matcher_joins_nothing_across_worlds(products: pa.Table, truth: dict[str, str]) -> None:
    """Word for word the same, and common words alone, are what little the worlds share."""
    grown, _ = grow(products, truth, 2 * len(truth), RULES)
    matching = match(grown, LetterCounts().embed(grown.column("title").to_pylist()))
    worlds: dict[int, set[str]] = {}
    for product, label in matching.labels.items():
        worlds.setdefault(label, set()).add(product.partition("~")[2])
    across = sum(len(found) > 1 for found in worlds.values())
    assert across < 0.03 * len(worlds)


def test_figures_of_every_size_are_measured_and_shown(tmp_path: Path) -> None:
    heard: list[str] = []
    embedder = LetterCounts()
    growth = benchmark_scale(
        SAMPLES,
        cache=tmp_path,
        scale=ScaleRules(sizes=(300, 100)),
        embedder=lambda _: embedder,
        progress=heard.append,
    )
    assert [figure.offers for figure in growth.figures] == [100, 300]
    assert all(figure.peak_mb > 0 and figure.cpu_seconds > 0 for figure in growth.figures)
    assert embedder.embedded == sum(figure.embedded for figure in growth.figures)
    assert set(growth.exponents) == {*growth.figures[0].stages, "total", "cpu", "memory"}
    assert any("texts embedded" in news for news in heard)
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    from dataclasses import asdict

    console.print(growth_table(asdict(growth)))
    text = console.export_text()
    assert all(stage in text for stage in (*growth.figures[0].stages, "total", "peak MB", "pairs per offer"))


def figures(offers: int, **stages: float) -> Figures:
    costs = {"seconds": sum(stages.values()), "cpu_seconds": 1.0, "peak_mb": 100.0 * offers, "embedded": 0}
    scores = dict.fromkeys(("precision", "recall", "f1", "bcubed_f1", "candidate_recall", "candidates_per_offer"), 0.0)
    silent = Reliability(predicted=(), observed=(), pairs=())
    return Figures(
        folder="f", offers=offers, stages=stages, reliability=silent, calibration_error=0.0, **costs, **scores
    )


def test_exponents_tell_linear_from_square() -> None:
    measured = [figures(size, linear=0.01 * size, square=0.01 * size**2) for size in (10, 100, 1000)]
    found = exponents(measured)
    assert (found["linear"], found["square"]) == (pytest.approx(1), pytest.approx(2))
    assert (found["cpu"], found["memory"]) == (pytest.approx(0), pytest.approx(1))
    assert exponents(measured[:1]) == {}


def test_one_size_has_no_growth() -> None:
    from dataclasses import asdict

    table = growth_table(asdict(Growth(folder="f", figures=(figures(10, a=1.0),), exponents={})))
    assert list(table.columns[-1].cells) == [""] * table.row_count


def test_a_folder_without_a_truth_is_named(tmp_path: Path) -> None:
    (tmp_path / "feeds.yaml").write_text("feeds: []")
    with pytest.raises(NotABenchmark, match=r"expected truth\.csv"):
        benchmark_scale(tmp_path)


def test_the_texts_that_are_respelt_are_columns_of_a_product() -> None:
    from benchmarks.scale import TEXTS

    assert set(TEXTS) <= set(CLEANED_PRODUCTS.names)
