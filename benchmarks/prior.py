"""The weights that the matcher starts from: fitted on folders whose truth is known, judged by leaving one folder out.

Belongs here: the fit, the judgement, and the table of both. Not here: what a catalogue makes of the prior without any
truth (`assets.clusters.scoring`).

    python -m benchmarks.prior ../shared/data/abt_buy ../shared/data/amazon_google ../shared/data/pricerunner samples

prints, for every folder, the scores of a prior that was fitted on the *other* folders, with sellers and without, and
then the weights of a prior fitted on all of them, as they stand in `PRIOR_WEIGHTS`. Every folder weighs the same,
and takes part twice: as it is, and with its sellers hidden.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from assets.clusters import matching
from assets.clusters.features import Features
from assets.clusters.quality import read_truth
from assets.clusters.rules import MatchRules
from assets.clusters.scoring import MatchModel, fit_weights
from benchmarks.matching import (
    TRUTH,
    Figures,
    clean_feeds,
    embed_products,
    judge,
    product_embedder,
    read_feeds,
    without_sellers,
)

#: Negatives of a folder that take part at most, drawn evenly; they stand for all of them.
MOST_NEGATIVES = 60_000
#: Weight of all true pairs of a folder together.
FOLDER_WEIGHT = 300.0
#: Cost of moving a weight by one standard deviation of its feature away from 0.
STRENGTH = 1.0
#: Log-odds of a pair before the fit; candidates are seldom one product.
FIRST_GUESS = -4.0


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of offers with its truth, ready to be matched."""

    name: str
    products: pa.Table
    vectors: NDArray[np.float16]
    truth: dict[str, str]


@dataclass(frozen=True, slots=True)
class Lessons:
    """Rows that teach: features (rows, features), whether they are one product, and weights, shape (rows,)."""

    features: Features
    target: NDArray[np.float64]
    weight: NDArray[np.float64]


def read_folder(path: Path, cache: Path) -> Folder:
    """Read, clean and embed a folder; embeddings are kept in `cache`."""
    with tempfile.TemporaryDirectory() as scratch:
        products = clean_feeds(read_feeds(path, Path(scratch)))
    texts = products.column("embedding_text").to_pylist()
    vectors, _ = embed_products(texts, product_embedder(cache), cache)
    return Folder(path.name, products, vectors, read_truth((path / TRUTH).read_bytes(), str(path / TRUTH)))


def lessons_of(folder: Folder, rules: MatchRules, *, hide_sellers: bool) -> Lessons:
    """Candidate pairs of a folder and what the truth says of them."""
    products = without_sellers(folder.products) if hide_sellers else folder.products
    prepared = matching.prepare(products, folder.vectors, rules)
    corpus, pairs = prepared.corpus, matching.find_candidates(prepared, rules)
    comparison = matching.compare_pairs(corpus, pairs, rules)
    product_of = [folder.truth.get(product, product) for product in corpus.ids]
    number = {name: n for n, name in enumerate(dict.fromkeys(product_of))}
    product = np.array([number[name] for name in product_of])
    same = product[pairs.left] == product[pairs.right]
    others = np.flatnonzero(~same)
    kept = others[np.linspace(0, len(others) - 1, min(MOST_NEGATIVES, len(others))).astype(np.int64)]
    rows = np.concatenate([np.flatnonzero(same), kept])
    weight = np.where(same[rows], 1.0, len(others) / max(len(kept), 1)) * FOLDER_WEIGHT / max(same.sum(), 1)
    values = comparison.features.values[rows]
    return Lessons(Features(comparison.features.names, values), same[rows].astype(np.float64), weight)


def fit_prior(lessons: Sequence[Lessons]) -> MatchModel:
    """Logistic regression over all lessons, rounded to what a person would write down."""
    names = lessons[0].features.names
    values = np.concatenate([lesson.features.values for lesson in lessons]).astype(np.float64)
    weights, intercept = fit_weights(
        values,
        np.concatenate([lesson.target for lesson in lessons]),
        np.concatenate([lesson.weight for lesson in lessons]),
        np.zeros(len(names)),
        FIRST_GUESS,
        STRENGTH,
        free_intercept=True,
    )
    return MatchModel(
        weights={name: round(float(weight), 2) for name, weight in zip(names, weights, strict=True)},
        intercept=round(intercept, 2),
    )


def judge_prior(folder: Folder, prior: MatchModel, rules: MatchRules, *, hide_sellers: bool) -> Figures:
    """Match a folder from this prior and compare with its truth."""
    products = without_sellers(folder.products) if hide_sellers else folder.products
    found = matching.match(products, folder.vectors, rules=rules, prior=prior)
    costs = {"seconds": sum(found.seconds.values()), "cpu_seconds": 0.0, "peak_mb": 0.0, "embedded": 0}
    return judge(found, folder.truth, folder=folder.name, stages=dict(found.seconds), **costs)


def print_scores(console: Console, rows: Sequence[tuple[str, str, Figures]]) -> None:
    """Print the scores of priors."""
    table = Table("folder", "sellers", "precision", "recall", "F1", box=None, padding=(0, 2, 0, 0))
    table.title, table.title_justify = "Pairwise scores; each folder by a prior fitted on the others", "left"
    for name, sellers, figures in rows:
        table.add_row(name, sellers, *(f"{score:.3f}" for score in (figures.precision, figures.recall, figures.f1)))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, judge and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prior", description=__doc__.partition("\n\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders with feeds.yaml, feeds and truth.csv")
    parser.add_argument("--cache", type=Path, default=Path(".offerline/benchmarks"), help="where embeddings are kept")
    options = parser.parse_args(arguments)
    rules, console = MatchRules(), Console()
    folders = [read_folder(path, options.cache) for path in track(options.folders, "reading", transient=True)]
    lessons = {
        folder.name: [lessons_of(folder, rules, hide_sellers=hidden) for hidden in (False, True)]
        for folder in track(folders, "comparing", transient=True)
    }
    rows: list[tuple[str, str, Figures]] = []
    for folder in track(folders, "leaving one out", transient=True):
        prior = fit_prior([lesson for name, both in lessons.items() if name != folder.name for lesson in both])
        rows += [
            (folder.name, "hidden" if hidden else "known", judge_prior(folder, prior, rules, hide_sellers=hidden))
            for hidden in (False, True)
        ]
    print_scores(console, rows)
    prior = fit_prior([lesson for both in lessons.values() for lesson in both])
    console.print(f"\nA prior fitted on all folders: PRIOR_INTERCEPT = {prior.intercept}, PRIOR_WEIGHTS =")
    for name, weight in prior.weights.items():
        console.print(f'        "{name}": {weight},', highlight=False)


if __name__ == "__main__":
    main()
