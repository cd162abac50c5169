"""The matcher's façade: products and vectors in, clusters out.

Belongs here: the stages in order, and their results in one value. Not here: how any stage works, what happens to a
matching when its catalogue changes (`following`).

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
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from assets.clusters import candidates, features, resolution, scoring
from assets.clusters.candidates import Candidates
from assets.clusters.corpus import Corpus, build_corpus, take_statistics, term_lists
from assets.clusters.features import Features
from assets.clusters.matrices import PAIRS_AT_ONCE, Ints
from assets.clusters.neighbours import Neighbours
from assets.clusters.ports import Answer
from assets.clusters.reading import find_spellings, in_order, read_offers
from assets.clusters.resolution import Resolution
from assets.clusters.rules import MatchRules
from assets.clusters.scoring import PRIOR, Doubles, MatchModel, Scores
from assets.clusters.sellers import find_listing_twice
from assets.clusters.statistics import Statistics

#: Told the name of each stage as it begins.
Progress = Callable[[str], None]
#: What a judge said of candidate pairs, by their number.
Answers = Mapping[int, Answer]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is known of each pair before any weight: features and vetoes (index into `features.VETOES`)."""

    features: Features
    vetoes: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is kept of the comparison of each pair; all arrays have shape (pairs,).

    Attributes:
        prior: Log-odds by the prior.
        log_odds: Log-odds by the catalogue's own model.
        vetoes: Conflicts (index into `features.VETOES`).
    """

    prior: Doubles
    log_odds: Doubles
    vetoes: NDArray[np.uint8]

    def take(self, pairs: NDArray[np.int64]) -> "Evidence":
        """The same of some pairs."""
        return Evidence(self.prior[pairs], self.log_odds[pairs], self.vetoes[pairs])

    def join(self, other: "Evidence") -> "Evidence":
        """The same with that of other pairs behind it."""
        return Evidence(
            np.concatenate([self.prior, other.prior]),
            np.concatenate([self.log_odds, other.log_odds]),
            np.concatenate([self.vetoes, other.vetoes]),
        )


#: The evidence of no pairs.
NOTHING: Final = Evidence(np.empty(0), np.empty(0), np.empty(0, dtype=np.uint8))


@dataclass(frozen=True, slots=True)
class Following:
    """What a matching that followed another one had to look at.

    Attributes:
        came: Offers that are new, or not what they were.
        left: Offers that are gone.
        compared: Pairs of which the features were computed.
    """

    came: int
    left: int
    compared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchState:
    """What a matching has to remember in order to follow its catalogue.

    Attributes:
        offers: What was read of the offers, one row each, ordered by product id (`reading.READ`).
        statistics: What is known of the catalogue.
        neighbours: What each search found.
        candidates: Pairs compared, by rows of `offers`.
        evidence: What came of it.
        model: The weights.
    """

    offers: pa.Table
    statistics: Statistics
    neighbours: Mapping[str, Neighbours]
    candidates: Candidates
    evidence: Evidence
    model: MatchModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching(MatchState):
    """The results of all stages. Rows are those of `corpus` (sorted product ids), pairs those of `candidates`.

    Attributes:
        corpus: The offers as the matcher saw them; `corpus.ids[row]` names a row.
        scores: Log-odds and probabilities.
        resolution: Clusters: `labels`, `confidence` and `weakest` per row.
        rules: The configuration.
        seconds: Wall time per stage.
        answers: What a judge said of pairs, where one was asked.
        change: What it had to look at, where it followed another one.
    """

    corpus: Corpus
    scores: Scores
    resolution: Resolution
    rules: MatchRules
    seconds: Mapping[str, float]
    answers: Answers = field(default_factory=dict)
    change: Following | None = None

    @property
    def labels(self) -> Mapping[str, int]:
        """Cluster number of every product id."""
        return dict(zip(self.corpus.ids, self.resolution.labels.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A catalogue, read and known: see `Matching`."""

    offers: pa.Table
    corpus: Corpus
    statistics: Statistics


def prepare(products: pa.Table, vectors: NDArray[np.float16], rules: MatchRules, prior: MatchModel = PRIOR) -> Prepared:
    """Read a catalogue, and learn from it how rare terms are, how codes are spelt and how clean each seller is.

    Args:
        products: Columns of `CLEANED_PRODUCTS`, one row per product.
        vectors: Embeddings of the same rows, shape (n, dimensions), unit rows.
        rules: The configuration.
        prior: By which two offers of one seller are taken for one product.

    Raises:
        ValueError: the vectors do not match the rows, or a product id repeats.
    """
    products, vectors = in_order(products, vectors)
    spellings = find_spellings(products, rules.parsing)
    offers = read_offers(products, spellings, rules.parsing)
    held = term_lists(offers)
    statistics = take_statistics(offers, held, vectors, spellings, rules.candidates)
    corpus = build_corpus(offers, held, vectors, statistics)
    offerers = offers.column("offerer").to_pylist()
    twice = find_listing_twice(corpus, offerers, rules.sellers, rules.candidates, prior)
    statistics = replace(statistics, listing_twice=twice)
    return Prepared(offers, corpus.with_exclusive(statistics.list_once(offerers)), statistics)


def find_candidates(prepared: Prepared, rules: MatchRules) -> Candidates:
    """Pairs worth comparing that some search proposes."""
    corpus, centres = prepared.corpus, prepared.statistics.centres
    lists = candidates.find_neighbours(corpus, centres, rules.candidates)
    return candidates.propose(lists, len(corpus), rules.candidates)


def compare_pairs(corpus: Corpus, pairs: Candidates, rules: MatchRules) -> Comparison:
    """Features and vetoes of the candidate pairs."""
    vetoes = features.find_vetoes(
        corpus,
        pairs.left,
        pairs.right,
        rules.vetoes,
        parsing=rules.parsing,
        precision_first=rules.resolution.precision_first,
    )
    return Comparison(features.compare(corpus, pairs.left, pairs.right), vetoes)


def find_friends(
    corpus: Corpus, pairs: Candidates, prior: Doubles, vetoes: NDArray[np.uint8], rules: MatchRules
) -> Candidates:
    """Pairs that no search proposed, of offers with a partner in common that is likely by the prior.

    By the prior, for the candidates are what the catalogue's own model learns from.
    """
    chance = np.where(vetoes > 0, 0.0, expit(prior))
    return candidates.find_friends(corpus, pairs, chance, rules.candidates)


def extend_pairs(
    corpus: Corpus, pairs: Candidates, comparison: Comparison, rules: MatchRules, prior: MatchModel = PRIOR
) -> tuple[Candidates, Comparison]:
    """The candidates and their comparison with those of friends."""
    friends = find_friends(corpus, pairs, prior.log_odds(comparison.features), comparison.vetoes, rules)
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


def weigh(comparison: Comparison, model: MatchModel, prior: MatchModel = PRIOR) -> Evidence:
    """What the weights make of the features."""
    return Evidence(prior.log_odds(comparison.features), model.log_odds(comparison.features), comparison.vetoes)


def compare_alone(corpus: Corpus, left: Ints, right: Ints, rules: MatchRules) -> Comparison:
    """Features and vetoes of some pairs of rows, in a corpus of those rows alone, where they are the same."""
    rows, numbers = np.unique(np.concatenate([left, right]), return_inverse=True)
    ours, theirs = np.split(numbers.astype(np.int32), 2)
    return compare_pairs(corpus.take(rows), Candidates(ours, theirs, np.zeros(len(ours), dtype=np.uint8)), rules)


def examine(
    corpus: Corpus, left: Ints, right: Ints, rules: MatchRules, model: MatchModel, prior: MatchModel
) -> Evidence:
    """Compare and weigh the pairs `left[p]`, `right[p]`, some at a time: their features are never held together."""
    evidence = NOTHING
    for begin in range(0, len(left), EXAMINED_AT_ONCE):
        chunk = slice(begin, begin + EXAMINED_AT_ONCE)
        evidence = evidence.join(weigh(compare_alone(corpus, left[chunk], right[chunk], rules), model, prior))
    return evidence


#: Pairs that are compared at once where their features are not kept.
EXAMINED_AT_ONCE = 4 * PAIRS_AT_ONCE


def score_pairs(corpus: Corpus, pairs: Candidates, evidence: Evidence, model: MatchModel) -> Scores:
    """Log-odds and probabilities of the candidate pairs."""
    return scoring.score(corpus, pairs, evidence.log_odds, evidence.vetoes, model.shift)


def weigh_pairs(vetoes: NDArray[np.uint8], scores: Scores, answers: Answers) -> tuple[Doubles, Doubles]:
    """Probability of each pair, 1 or 0 where a judge decided, and its weight in the linkage; both of shape (pairs,)."""
    opposed = np.where(features.is_hard(vetoes), resolution.NEVER, resolution.CONTRADICTION)
    probability = scores.probability.copy()
    weight = np.where(vetoes > 0, opposed, probability)
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
    vetoes: NDArray[np.uint8],
    scores: Scores,
    rules: MatchRules,
    answers: Answers = MappingProxyType({}),
) -> Resolution:
    """Clusters, and how sure each product's place in them is."""
    probability, weight = weigh_pairs(vetoes, scores, answers)
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
        matching.corpus, matching.candidates, matching.evidence.vetoes, matching.scores, matching.rules, answers
    )
    return replace(matching, resolution=clusters, answers=answers)


class Stages:
    """Tells who listens of every stage as it begins, and keeps how long it took."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Run one stage."""
        if self._progress:
            self._progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


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
    rules, stage = rules or MatchRules(), Stages(progress)
    with stage("prepare"):
        prepared = prepare(products, vectors, rules, prior)
    corpus, centres = prepared.corpus, prepared.statistics.centres
    with stage("candidates"):
        lists = candidates.find_neighbours(corpus, centres, rules.candidates)
        pairs = candidates.propose(lists, len(corpus), rules.candidates)
    with stage("features"):
        comparison = compare_pairs(corpus, pairs, rules)
    with stage("friends"):
        pairs, comparison = extend_pairs(corpus, pairs, comparison, rules, prior)
    with stage("model"):
        model = model or fit_model(corpus, pairs, comparison, rules, prior)
        model = replace(model, statistics=prepared.statistics.digest())
        evidence = weigh(comparison, model, prior)
        del comparison
    state = MatchState(
        offers=prepared.offers,
        statistics=prepared.statistics,
        neighbours=lists,
        candidates=pairs,
        evidence=evidence,
        model=model,
    )
    return conclude(state, corpus, rules, stage)


def conclude(
    state: MatchState, corpus: Corpus, rules: MatchRules, stage: Stages, change: Following | None = None
) -> Matching:
    """The last stages, which look at all pairs: let them compete, and make clusters of them.

    Args:
        state: What is known of the offers and the pairs.
        corpus: The offers, row by row those of `state.offers`.
        rules: The configuration.
        stage: Takes the time.
        change: What had to be looked at, where another matching was followed.
    """
    with stage("scores"):
        scores = score_pairs(corpus, state.candidates, state.evidence, state.model)
    with stage("clusters"):
        clusters = resolve_clusters(corpus, state.candidates, state.evidence.vetoes, scores, rules)
    return Matching(
        offers=state.offers,
        statistics=state.statistics,
        neighbours=state.neighbours,
        candidates=state.candidates,
        evidence=state.evidence,
        model=state.model,
        corpus=corpus,
        scores=scores,
        resolution=clusters,
        rules=rules,
        seconds=stage.seconds,
        change=change,
    )
