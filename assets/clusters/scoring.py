"""One score per pair, learned without labels, and what rivals make of it.

Belongs here: the prior, the seeds, the fit, the competition. Not here: features, clusters.

The score is a logistic model over the features. Its prior is a set of weights that hold for any shop's offers; a
catalogue with enough evidence of its own moves them: pairs that are each other's best by a clear gap
serve as positives, their rivals (the same offer with another offer of the same seller) as negatives, and the fit is
held at the prior (maximum a posteriori). Rivals then compete: an offer has at most one partner in a seller that
lists each product once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from assets.clusters.candidates import Candidates
from assets.clusters.corpus import Corpus
from assets.clusters.features import Features
from assets.clusters.matrices import PAIRS_AT_ONCE, shared_entries, symmetric
from assets.clusters.rules import ScoringRules

Doubles = NDArray[np.float64]
#: Log-odds beyond which exponentials are cut off.
STEEPEST = 30.0
#: Log-odds from which a pair competes with others: two thirds of all candidates are less likely, by 1 to 3,000.
LEAST_POSSIBLE = -8.0

#: Log-odds per unit of a feature, before the catalogue has spoken; features not named weigh nothing. Fitted on folders
#: whose truth is known, and judged by leaving one out, by `python -m benchmarks.prior`; only `gtin_agrees` is set by
#: hand, for hardly an offer of those folders has a GTIN.
PRIOR_WEIGHTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "words_cosine": 2.41,
        "words_contained": -2.78,
        "words_shared": -0.2,
        "words_unsaid_both": -0.09,
        "words_unsaid_most": 0.14,
        "rarest_shared": 7.79,
        "rarest_unsaid_both": -0.76,
        "rarest_unsaid_most": 1.69,
        "grams_cosine": 4.57,
        "covered_least": 1.33,
        "covered_most": 2.99,
        "tokens_alike": -0.24,
        "tokens_sorted_alike": -4.4,
        "embedding_cosine": 2.24,
        "descriptions_cosine": -1.41,
        "descriptions_both": -0.05,
        "code_shared": -1.7,
        "code_in_titles": -0.71,
        "code_in_texts": -1.91,
        "code_prefix": 0.28,
        "code_stem_least": -0.11,
        "code_stem_most": 6.22,
        "code_alike": -0.35,
        "code_inside": 1.94,
        "code_both": -1.89,
        "code_one": -0.49,
        "code_conflict": -2.6,
        "code_siblings": -1.21,
        "numbers_shared": 0.48,
        "numbers_unsaid_both": -1.91,
        "numbers_unsaid_most": -0.12,
        "measures_agree": 0.01,
        "measures_conflict": -1.91,
        "edition_agrees": 0.34,
        "edition_conflict": -2.75,
        "edition_unsaid": -1.24,
        "brand_agrees": 0.66,
        "brand_conflict": -0.22,
        "colour_agrees": 0.94,
        "colour_conflict": -2.01,
        "pack_conflict": -1.82,
        "gtin_agrees": 6.0,
        "gtin_conflict": -4.3,
        "price_known": -0.41,
        "price_gap": -1.78,
    }
)
PRIOR_INTERCEPT: Final = -11.53


@dataclass(frozen=True, slots=True)
class MatchModel:
    """Weights of the logistic score; JSON in, JSON out.

    Attributes:
        weights: Log-odds per unit of each feature.
        intercept: Log-odds of a pair of which all features are 0.
        shift: Added before rivals compete.
        seeds: Pairs that taught it; 0 for the prior.
        rivals: Pairs that served as negatives.
        statistics: Digest of the statistics that the features are measured by; none of a prior.
    """

    weights: Mapping[str, float]
    intercept: float
    shift: float = 0.0
    seeds: int = 0
    rivals: int = 0
    statistics: str = ""

    def vector(self, names: tuple[str, ...]) -> Doubles:
        """The weights in the order of `names`, 0 where the model has none."""
        return np.array([self.weights.get(name, 0.0) for name in names], dtype=np.float64)

    def contributions(self, features: Features) -> Doubles:
        """What each feature adds to the log-odds, shape (pairs, features)."""
        return features.values * self.vector(features.names)

    def log_odds(self, features: Features) -> Doubles:
        """Log-odds that each pair is one product, before rivals and vetoes, shape (pairs,)."""
        weights, result = self.vector(features.names), np.empty(len(features.values))
        for start in range(0, len(result), PAIRS_AT_ONCE):
            # Row by row: a product of matrices sums in an order that depends on how many rows it has.
            chunk = slice(start, start + PAIRS_AT_ONCE)
            result[chunk] = (features.values[chunk] * weights).sum(axis=1) + self.intercept
        return result

    def to_json(self) -> str:
        """The model as compact JSON with sorted keys."""
        fields = {name: getattr(self, name) for name in ("intercept", "shift", "seeds", "rivals", "statistics")}
        return json.dumps(fields | {"weights": dict(self.weights)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: the text is not a match model.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["weights"] = {str(name): float(weight) for name, weight in fields["weights"].items()}
            return cls(**fields)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a match model: {error}") from error

    @property
    def version(self) -> str:
        """Digest of the model's content, 16 hex digits: of all that decides what a pair of two offers scores."""
        return xxhash.xxh3_64_hexdigest(self.to_json().encode())


PRIOR: Final = MatchModel(weights=PRIOR_WEIGHTS, intercept=PRIOR_INTERCEPT)


def rival_odds(corpus: Corpus, pairs: Candidates, log_odds: Doubles) -> tuple[Doubles, Doubles]:
    """Odds that compete with each pair for its left offer, and for its right; both of shape (pairs,).

    The rivals of (i, j) at i are the pairs (i, k) with k of the seller of j. Where that seller lists a product once,
    each counts in full, for j and k are two products; otherwise it counts as far as j and k are (`allied_odds`).
    """
    left, right, size = pairs.left, pairs.right, len(corpus)
    odds = np.exp(np.clip(log_odds, -STEEPEST, STEEPEST))
    # An offer may stand on either side of its pairs, so the sum over those with one seller runs over both.
    key = np.concatenate([left, right]).astype(np.int64) * size + corpus.seller[np.concatenate([right, left])]
    groups, number = np.unique(key, return_inverse=True)
    total = np.bincount(number, weights=np.concatenate([odds, odds]), minlength=len(groups))
    at_left, at_right = np.split(total[number], 2)
    for_left, for_right = allied_odds(corpus, pairs, odds)
    return np.maximum(at_left - odds - for_left, 0.0), np.maximum(at_right - odds - for_right, 0.0)


def allied_odds(corpus: Corpus, pairs: Candidates, odds: Doubles) -> tuple[Doubles, Doubles]:
    """Odds of pairs (i, k) that support (i, j), for j and k are one product themselves; at i and at j.

    Three offers fall into products in five ways, each as likely as the product of the odds of its pairs. If i is one
    with j, with k, or with both, it is with both as `odds(jk) * h` is to 1, `h` being the odds of (i, j) and (i, k)
    put in parallel. Only offers of an open seller support each other. Both arrays have shape (pairs,).
    """
    left, right, size = pairs.left, pairs.right, len(corpus)
    together = (corpus.seller[left] == corpus.seller[right]) & ~corpus.exclusive[left]
    if not together.any():
        return np.zeros(len(pairs)), np.zeros(len(pairs))

    everything = symmetric(left, right, odds, size)
    open_sellers = symmetric(left[together], right[together], odds[together], size)
    sides = []
    for offer, other in ((left, right), (right, left)):
        allies = np.zeros(len(pairs))
        for pair, to_offer, to_other in shared_entries(everything, open_sellers, offer, other):
            parallel = odds[pair] * to_offer / (odds[pair] + to_offer)
            chance = to_other * parallel / (1 + to_other * parallel)
            allies += np.bincount(pair, weights=to_offer * chance, minlength=len(pairs))
        sides.append(allies)
    return sides[0], sides[1]


def contest(corpus: Corpus, pairs: Candidates, log_odds: Doubles, shift: float) -> Doubles:
    """Log-odds after rivals have taken their share, shape (pairs,): a softmax over rivals and "none of them".

    Each side divides the odds by one and the odds of its rivals; what counts is the geometric mean of both sides.
    """
    shifted = log_odds + shift
    at_left, at_right = rival_odds(corpus, pairs, shifted)
    return shifted - (np.log1p(at_left) + np.log1p(at_right)) / 2


@dataclass(frozen=True, slots=True)
class Lessons:
    """Pairs that teach: masks of shape (pairs,)."""

    seeds: NDArray[np.bool_]
    rivals: NDArray[np.bool_]


def find_lessons(
    corpus: Corpus, pairs: Candidates, log_odds: Doubles, vetoes: NDArray[np.uint8], rules: ScoringRules
) -> Lessons:
    """Pairs of sellers that list a product once which lead all their rivals by a clear gap, and the rivals they lead.

    Where nobody knows who sells, a leading pair is as often two variants as one product, and teaches nothing.
    """
    with np.errstate(divide="ignore"):
        lead = log_odds - np.log(np.maximum(*rival_odds(corpus, pairs, log_odds)))
    clean = corpus.exclusive[pairs.left] & corpus.exclusive[pairs.right] & (vetoes == 0)
    seeds = clean & (log_odds >= rules.seed_floor) & (lead >= rules.seed_gap)
    size = len(corpus)
    toward_right = pairs.left.astype(np.int64) * size + corpus.seller[pairs.right]
    toward_left = pairs.right.astype(np.int64) * size + corpus.seller[pairs.left]
    taken = np.concatenate([toward_right[seeds], toward_left[seeds]])
    rivals = ~seeds & (np.isin(toward_right, taken) | np.isin(toward_left, taken)) & (lead <= -rules.seed_gap)
    return Lessons(seeds, rivals)


def thin_out(mask: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Positions where `mask` holds, evenly thinned out to at most `most`."""
    positions = np.flatnonzero(mask)
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).astype(np.int64)]


def fit_weights(
    values: Doubles,
    target: Doubles,
    weight: Doubles,
    prior: Doubles,
    intercept: float,
    strength: float,
    *,
    free_intercept: bool = False,
) -> tuple[Doubles, float]:
    """Maximum a posteriori logistic regression around a prior.

    Args:
        values: Rows that teach, shape (rows, features).
        target: 1 for one product, 0 for two, shape (rows,).
        weight: Weight of each row, shape (rows,).
        prior: Weights the fit is held at, shape (features,).
        intercept: Intercept of the prior.
        strength: Cost of moving a weight by one standard deviation of its feature.
        free_intercept: Whether the mean log-odds are fitted, too; otherwise they stay the prior's, for rows that were
            picked as clear cases do not tell how many pairs are one product.

    Returns:
        Weights, shape (features,), and intercept.
    """
    mean, spread = values.mean(axis=0), values.std(axis=0)
    varies = spread > 0
    scaled = (values[:, varies] - mean[varies]) / spread[varies]
    offset = intercept + float(mean @ prior)
    start = prior[varies] * spread[varies]

    def loss(point: Doubles) -> tuple[float, Doubles]:
        weights, log_odds = point[:-1], scaled @ point[:-1] + point[-1]
        cost = weight @ (np.logaddexp(0.0, log_odds) - target * log_odds) + strength * np.sum((weights - start) ** 2)
        slope = weight * (expit(log_odds) - target)
        return float(cost), np.append(
            scaled.T @ slope + 2 * strength * (weights - start), slope.sum() if free_intercept else 0.0
        )

    found = minimize(loss, np.append(start, offset), jac=True, method="L-BFGS-B").x
    weights = prior.copy()
    weights[varies] = found[:-1] / spread[varies]
    return weights, float(found[-1]) - float(mean @ weights)


def fit_model(
    corpus: Corpus,
    pairs: Candidates,
    features: Features,
    vetoes: NDArray[np.uint8],
    rules: ScoringRules,
    prior: MatchModel = PRIOR,
) -> MatchModel:
    """Learn the catalogue's own weights, held at the prior; without enough seeds the prior itself.

    Half of the training's weight is on rows whose code features are blanked: seeds lean on codes, and a model that
    saw nothing else would find no offer without one.
    """
    lessons = find_lessons(corpus, pairs, prior.log_odds(features), vetoes, rules)
    seeds, rivals = (thin_out(mask, rules.most_lessons) for mask in (lessons.seeds, lessons.rivals))
    if min(len(seeds), len(rivals)) < rules.fewest_seeds:
        return replace(prior, shift=rules.shift)
    rows = features.values[np.concatenate([seeds, rivals])].astype(np.float64)
    blanked = rows.copy()
    blanked[:, [name.startswith("code_") for name in features.names]] = 0
    target = np.concatenate([np.ones(len(seeds)), np.zeros(len(rivals))])
    weight = np.where(target == 1, 1 / len(seeds), 1 / len(rivals)) * rules.training_weight / 2
    weights, intercept = fit_weights(
        np.concatenate([rows, blanked]),
        np.concatenate([target, target]),
        np.concatenate([weight, weight]),
        prior.vector(features.names),
        prior.intercept,
        rules.prior_strength,
    )
    # Rounded, so that the stored model scores the same as the fitted one, on any machine.
    return MatchModel(
        weights={name: round(float(w), 6) for name, w in zip(features.names, weights, strict=True)},
        intercept=round(intercept, 6),
        shift=rules.shift,
        seeds=len(seeds),
        rivals=len(rivals),
    )


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model says of each pair; all arrays have shape (pairs,).

    Attributes:
        contested: Log-odds after rivals.
        probability: Of the contested log-odds; 0 where vetoed.
    """

    contested: Doubles
    probability: Doubles


def score(corpus: Corpus, pairs: Candidates, log_odds: Doubles, vetoes: NDArray[np.uint8], shift: float) -> Scores:
    """Let the pairs compete by their log-odds, shape (pairs,)."""
    contested = log_odds + shift
    possible = np.flatnonzero((vetoes == 0) & (contested >= LEAST_POSSIBLE))
    rivals = Candidates(pairs.left[possible], pairs.right[possible], pairs.channels[possible])
    contested[possible] = contest(corpus, rivals, log_odds[possible], shift)
    return Scores(contested, np.where(vetoes > 0, 0.0, expit(contested)))
