"""The matcher's façade: products and vectors in, clusters out.

Belongs here: the stages in order, and their results in one value. Not here: how any stage works.

    matching = match(products, vectors)
    dict(zip(matching.corpus.ids, matching.resolution.labels))

The stages can be run one at a time (`prepare`, `find_candidates`, `compare_pairs`, `extend_pairs`, `fit_model`,
`score_pairs`, `resolve_clusters`), each from the results of the earlier ones. Where a judge has answered questions
about pairs (`consulting`), `settle` makes the clusters anew.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from assets.clusters import candidates, features, resolution, scoring
from assets.clusters.candidates import Candidates
from assets.clusters.corpus import Corpus, read_corpus
from assets.clusters.features import Features
from assets.clusters.ports import Answer
from assets.clusters.resolution import Resolution
from assets.clusters.rules import MatchRules
from assets.clusters.scoring import PRIOR, Doubles, MatchModel, Scores
from assets.clusters.sellers import find_exclusive

#: Told the name of each stage as it begins.
Progress = Callable[[str], None]
#: What a judge said of candidate pairs, by their number.
Answers = Mapping[int, Answer]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is known of each candidate pair before any weight: features and vetoes (index into `features.VETOES`)."""

    features: Features
    vetoes: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Matching:
    """The results of all stages. Rows are those of `corpus` (sorted product ids), pairs those of `candidates`.

    Attributes:
        corpus: The products as the matcher saw them; `corpus.ids[row]` names a row.
        candidates: Pairs compared.
        comparison: Their features and vetoes.
        model: The weights.
        scores: Log-odds and probabilities.
        resolution: Clusters: `labels`, `confidence` and `weakest` per row.
        rules: The configuration.
        seconds: Wall time per stage.
        answers: What a judge said of pairs, where one was asked.
    """

    corpus: Corpus
    candidates: Candidates
    comparison: Comparison
    model: MatchModel
    scores: Scores
    resolution: Resolution
    rules: MatchRules
    seconds: Mapping[str, float]
    answers: Answers = field(default_factory=dict)

    @property
    def labels(self) -> Mapping[str, int]:
        """Cluster number of every product id."""
        return dict(zip(self.corpus.ids, self.resolution.labels.tolist(), strict=True))


def prepare(products: pa.Table, vectors: NDArray[np.float16], rules: MatchRules, prior: MatchModel = PRIOR) -> Corpus:
    """Read products (columns of `CLEANED_PRODUCTS`) and vectors (n, dimensions), and look how clean each seller is."""
    corpus = read_corpus(products, vectors, rules.parsing)
    return corpus.with_exclusive(find_exclusive(corpus, rules.sellers, rules.candidates, prior))


def find_candidates(corpus: Corpus, rules: MatchRules) -> Candidates:
    """Pairs worth comparing."""
    return candidates.find_candidates(corpus, rules.candidates)


def compare_pairs(corpus: Corpus, pairs: Candidates, rules: MatchRules) -> Comparison:
    """Features and vetoes of the candidate pairs."""
    strict = rules.resolution.precision_first
    return Comparison(
        features.compare(corpus, pairs.left, pairs.right),
        features.find_vetoes(corpus, pairs.left, pairs.right, rules.vetoes, precision_first=strict),
    )


def extend_pairs(
    corpus: Corpus, pairs: Candidates, comparison: Comparison, rules: MatchRules, prior: MatchModel = PRIOR
) -> tuple[Candidates, Comparison]:
    """The candidates and those that no search proposed: offers with a partner in common that is likely by the prior.

    By the prior, for the candidates are what the catalogue's own model learns from.
    """
    chance = np.where(comparison.vetoes > 0, 0.0, expit(prior.log_odds(comparison.features)))
    friends = candidates.find_friends(corpus, pairs, chance, rules.candidates)
    if not len(friends):
        return pairs, comparison
    more = compare_pairs(corpus, friends, rules)
    together, order = candidates.merge(pairs, friends)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    values = np.empty((len(order), len(comparison.features.names)), dtype=np.float32)
    vetoes = np.empty(len(order), dtype=np.uint8)
    # Written in place: concatenated and then put in order, the features would be in memory once more.
    for part, rows in ((comparison, place[: len(pairs)]), (more, place[len(pairs) :])):
        values[rows], vetoes[rows] = part.features.values, part.vetoes
    return together, Comparison(Features(comparison.features.names, values), vetoes)


def fit_model(
    corpus: Corpus, pairs: Candidates, comparison: Comparison, rules: MatchRules, prior: MatchModel = PRIOR
) -> MatchModel:
    """The catalogue's own model, learned without labels."""
    return scoring.fit_model(corpus, pairs, comparison.features, comparison.vetoes, rules.scoring, prior)


def score_pairs(corpus: Corpus, pairs: Candidates, comparison: Comparison, model: MatchModel) -> Scores:
    """Log-odds and probabilities of the candidate pairs."""
    return scoring.score(corpus, pairs, comparison.features, comparison.vetoes, model)


def weigh_pairs(comparison: Comparison, scores: Scores, answers: Answers) -> tuple[Doubles, Doubles]:
    """Probability of each pair, 1 or 0 where a judge decided, and its weight in the linkage; both of shape (pairs,)."""
    opposed = np.where(features.is_hard(comparison.vetoes), resolution.NEVER, resolution.CONTRADICTION)
    probability = scores.probability.copy()
    weight = np.where(comparison.vetoes > 0, opposed, probability)
    for answer, chance, force in (
        (Answer.YES, 1.0, resolution.CONFIRMED),
        (Answer.NO, 0.0, resolution.CONTRADICTION),
    ):
        judged = [pair for pair, said in answers.items() if said is answer]
        probability[judged], weight[judged] = chance, force
    return probability, weight


def resolve_clusters(
    corpus: Corpus,
    pairs: Candidates,
    comparison: Comparison,
    scores: Scores,
    rules: MatchRules,
    answers: Answers = MappingProxyType({}),
) -> Resolution:
    """Clusters, and how sure each product's place in them is."""
    probability, weight = weigh_pairs(comparison, scores, answers)
    return resolution.resolve(
        len(corpus),
        pairs.left,
        pairs.right,
        probability,
        weight,
        corpus.exclusion_groups(),
        rules.resolution.needed,
    )


def settle(matching: Matching, answers: Answers) -> Matching:
    """The same matching with its clusters made anew from what a judge said of candidate pairs."""
    clusters = resolve_clusters(
        matching.corpus, matching.candidates, matching.comparison, matching.scores, matching.rules, answers
    )
    return replace(matching, resolution=clusters, answers=answers)


def match(
    products: pa.Table,
    vectors: NDArray[np.float16],
    *,
    rules: MatchRules | None = None,
    model: MatchModel | None = None,
    prior: MatchModel = PRIOR,
    progress: Progress | None = None,
) -> Matching:
    """Cluster products; the result does not depend on the order of the rows.

    Args:
        products: Columns of `CLEANED_PRODUCTS`, one row per product.
        vectors: Embeddings of the same rows, shape (n, dimensions), unit rows.
        rules: The configuration.
        model: Scores with these weights instead of learning the catalogue's own.
        prior: What the catalogue's own weights are held at.
        progress: Told the name of each stage as it begins.

    Raises:
        ValueError: the vectors do not match the rows, or a product id repeats.
    """
    rules = rules or MatchRules()
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        if progress:
            progress(name)
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    with stage("prepare"):
        corpus = prepare(products, vectors, rules, prior)
    with stage("candidates"):
        pairs = find_candidates(corpus, rules)
    with stage("features"):
        comparison = compare_pairs(corpus, pairs, rules)
    with stage("friends"):
        pairs, comparison = extend_pairs(corpus, pairs, comparison, rules, prior)
    with stage("model"):
        model = model or fit_model(corpus, pairs, comparison, rules, prior)
    with stage("scores"):
        scores = score_pairs(corpus, pairs, comparison, model)
    with stage("clusters"):
        clusters = resolve_clusters(corpus, pairs, comparison, scores, rules)
    return Matching(corpus, pairs, comparison, model, scores, clusters, rules, seconds)
