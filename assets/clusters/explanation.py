"""Why two offers were joined or parted, for a person.

Belongs here: the evidence of one pair, its score, and what the clustering made of it. Not here: printing, plots.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assets.clusters.candidates import CHANNELS
from assets.clusters.features import HARD_VETOES, VETOES, Features, is_hard
from assets.clusters.matching import Matching, compare_alone, weigh_pairs
from assets.clusters.parsing import Text
from assets.clusters.ports import Answer
from assets.clusters.resolution import CONTRADICTION, Doubles


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two offers as the matcher saw it."""

    product_id: str
    title: str
    parsed: Text
    cluster_members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that decided about a pair.

    Attributes:
        left: The offer whose id sorts first.
        right: The other.
        channels: Searches that proposed the pair; none if it was never a candidate.
        features: Value of each feature.
        contributions: What each feature with a weight added to the log-odds, largest in size first.
        intercept: Log-odds before any evidence.
        log_odds: Intercept plus contributions.
        shift: Added before rivals compete.
        rivals: What rivals took from the log-odds (0 or negative).
        probability: That both are one product, after rivals and vetoes.
        veto: The conflict that keeps them apart, if any.
        judgement: What a judge said of the pair, if one was asked.
        judged_beside: Other pairs of the same clusters that a judge decided.
        joined: Whether they are in one cluster.
        linkage: Mean probability of the pairs between the two clusters, contradictions counted against; of the pairs
            within, where joined. What a judge decided is certain.
        threshold: What two clusters need to join.
        verdict: The decision in one sentence, and where a judge had a part in it, in another.
    """

    left: Side
    right: Side
    channels: tuple[str, ...]
    features: Mapping[str, float]
    contributions: Mapping[str, float]
    intercept: float
    log_odds: float
    shift: float
    rivals: float
    probability: float
    veto: str | None
    judgement: str | None
    judged_beside: int
    joined: bool
    linkage: float
    threshold: float
    verdict: str

    def steps(self, most: int | None = None) -> list["Step"]:
        """The way from nothing to the contested log-odds, which all parts add up to.

        Args:
            most: Contributions shown on their own, the largest; the others are one step.
        """
        named = [Step(name.replace("_", " "), self.features[name], part) for name, part in self.contributions.items()]
        shown, others = named[:most], named[len(named[:most]) :]
        return [
            Step("before any evidence", None, self.intercept),
            *shown,
            *([Step(f"{len(others)} others", None, sum(step.part for step in others))] if others else []),
            Step("shift of the clustering", None, self.shift),
            Step("better rivals", None, self.rivals),
        ]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a waterfall: what it is called, the feature's value if it is one, and what it adds."""

    name: str
    value: float | None
    part: float


def explain(matching: Matching, one: str, other: str) -> Explanation:
    """Explain what was decided about two products; see `explain_pairs`."""
    (explanation,) = explain_pairs(matching, [(one, other)])
    return explanation


def explain_pairs(matching: Matching, pairs: Sequence[tuple[str, str]]) -> list[Explanation]:
    """Explain what was decided about some pairs of products.

    Raises:
        KeyError: a product is not in the matching.
        ValueError: both products of a pair are the same.
    """
    row_of = {product: row for row, product in enumerate(matching.corpus.ids)}
    for one, other in pairs:
        if one == other:
            raise ValueError(f"{one!r} is compared with itself: expected two products")
        for product in (one, other):
            if product not in row_of:
                raise KeyError(f"product {product!r} is not in the catalogue that was clustered")
    rows = np.array([sorted((row_of[one], row_of[other])) for one, other in pairs], dtype=np.int32).reshape(-1, 2)
    compared = compare_alone(matching.corpus, rows[:, 0], rows[:, 1], matching.rules)
    features, vetoes = compared.features, compared.vetoes
    weighed = weigh_pairs(matching.evidence.vetoes, matching.scores, matching.answers)
    return [
        _explain(
            matching, int(a), int(b), Features(features.names, features.values[[n]]), VETOES[vetoes[n]] or None, weighed
        )
        for n, (a, b) in enumerate(rows)
    ]


def _explain(
    matching: Matching,
    left: int,
    right: int,
    features: Features,
    veto: str | None,
    weighed: tuple[Doubles, Doubles],
) -> Explanation:
    corpus, pairs, labels = matching.corpus, matching.candidates, matching.resolution.labels
    log_odds = float(matching.model.log_odds(features)[0])
    found = np.flatnonzero((pairs.left == left) & (pairs.right == right))
    proposed = len(found) > 0
    channels = [name for bit, name in enumerate(CHANNELS) if proposed and pairs.channels[found[0]] >> bit & 1]
    contested = float(matching.scores.contested[found[0]]) if proposed else log_odds + matching.model.shift
    probability = float(matching.scores.probability[found[0]]) if proposed else 0.0
    weights = matching.model.contributions(features)[0]
    contributions = {name: float(w) for name, w in zip(features.names, weights, strict=True) if w}

    joined = bool(labels[left] == labels[right])
    here, there = np.flatnonzero(labels == labels[left]), np.flatnonzero(labels == labels[right])
    between = np.isin(pairs.left, here) & np.isin(pairs.right, there)
    between |= np.isin(pairs.left, there) & np.isin(pairs.right, here)
    possible = len(here) * (len(here) - 1) // 2 if joined else len(here) * len(there)
    sure, weight = weighed
    # What the linkage saw: pairs that contradict each other count against, they do not merely not count.
    linkage = float((sure if joined else np.maximum(weight, CONTRADICTION))[between].sum() / possible)
    groups = corpus.exclusion_groups()
    shared_seller = bool(np.intersect1d(groups[here], groups[there]).size) and not joined
    threshold = matching.rules.resolution.needed
    vetoed_between = bool(is_hard(matching.evidence.vetoes[between]).any())
    judgement = matching.answers.get(int(found[0])) if proposed else None
    decided = [pair for pair, said in matching.answers.items() if said is not Answer.UNSURE]
    beside = int(between[decided].sum()) - (judgement in (Answer.YES, Answer.NO))
    agreed = judgement is (Answer.YES if joined else Answer.NO)
    decisive = agreed and not (shared_seller or vetoed_between)
    verdict = (
        describe_judged(joined, probability)
        if decisive
        else describe(joined, probability, linkage, threshold, proposed, veto, shared_seller, vetoed_between)
    )
    verdict = " ".join([verdict, *asides(None if decisive else judgement, agreed, beside)])

    def side(row: int, members: np.ndarray) -> Side:
        read = matching.offers.slice(row, 1).select(["words", "codes", "numbers", "colours"]).to_pylist()[0]
        parsed = Text(**{name: tuple(terms) for name, terms in read.items()})
        return Side(corpus.ids[row], corpus.titles[row], parsed, tuple(corpus.ids[m] for m in members))

    return Explanation(
        left=side(left, here),
        right=side(right, there),
        channels=tuple(channels),
        features={name: float(v) for name, v in zip(features.names, features.values[0], strict=True)},
        contributions=dict(sorted(contributions.items(), key=lambda item: -abs(item[1]))),
        intercept=matching.model.intercept,
        log_odds=log_odds,
        shift=matching.model.shift,
        rivals=min(contested - log_odds - matching.model.shift, 0.0) if proposed and veto is None else 0.0,
        probability=probability,
        veto=veto,
        judgement=judgement,
        judged_beside=beside,
        joined=joined,
        linkage=linkage,
        threshold=threshold,
        verdict=verdict,
    )


def describe(
    joined: bool,
    probability: float,
    linkage: float,
    threshold: float,
    proposed: bool,
    veto: str | None,
    shared_seller: bool,
    vetoed_between: bool,
) -> str:
    """The decision in one sentence."""
    if joined and probability >= threshold:
        return f"Joined: the pair itself is likely enough ({probability:.2f}), and so is its cluster ({linkage:.2f})."
    if joined:
        return f"Joined by their cluster (mean {linkage:.2f}), although the pair alone is unlikely ({probability:.2f})."
    if veto in HARD_VETOES:
        return f"Parted: their {veto} conflicts, which nothing outweighs."
    if veto:
        return f"Parted: what they state conflicts ({veto}), and no other offers outweigh that."
    if shared_seller:
        return "Parted: together their clusters would hold two offers of a seller that lists each product once."
    if vetoed_between:
        return "Parted: other members of their clusters conflict in a way that nothing outweighs."
    if not proposed:
        return "Parted: no search proposed the pair, and their clusters are not alike enough without it."
    if linkage < threshold:
        return (
            f"Parted: the pairs between their clusters are too unlikely (mean {linkage:.2f}, needed {threshold:.2f})."
        )
    return "Parted: each cluster was closer to another one, and joined that first."


def describe_judged(joined: bool, probability: float) -> str:
    """The decision in one sentence, where the judge made it."""
    said = "Joined: the judge said that both are" if joined else "Parted: the judge said that they are not"
    return f"{said} one product; left alone, the matcher gave the pair {probability:.2f}."


def asides(judgement: Answer | None, agreed: bool, beside: int) -> Iterator[str]:
    """What else the judge said: of the pair, where that did not decide, and of others of the same clusters."""
    if judgement is Answer.UNSURE:
        yield "The judge was not sure about this pair."
    elif judgement:
        outcome = "as well" if agreed else "and was outweighed by the rest of their clusters"
        yield f"The judge said {judgement} about this pair {outcome}."
    if beside:
        yield f"The judge decided {beside} other {'pair' if beside == 1 else 'pairs'} of their clusters."
