"""Which pairs are worth a question to somebody who can read: those whose answer would change most.

Belongs here: choosing pairs, and what is told of their offers. Not here: asking (`consulting`), how a language model is
asked (`model_judge`), what an answer does to the clusters (`matching.settle`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.clusters.features import is_hard
from assets.clusters.matching import Matching
from assets.clusters.matrices import Ints, pair_keys
from assets.clusters.ports import Question
from assets.clusters.resolution import memberships, shares
from assets.clusters.rules import JudgeRules

Positions = NDArray[np.int64]
#: What a judge is told of an offer, beside its description. No price: it changes daily, and with it the question.
TOLD = ("title", "brand", "mpn", "gtin", "colour", "condition")
#: What a yes sets right where clusters cannot join: the pair, and the one whose place it takes.
SWAPPED = 2


def choose_pairs(matching: Matching) -> Positions:
    """Candidate pairs that are worth a question, the most valuable first, at most `rules.judging.questions`.

    Of all pairs between two clusters, and of all within one, a single pair is asked about. The choice is a function of
    the matching before any answer: the same catalogue raises the same questions, whatever is known already.
    """
    rules, pairs = matching.rules.judging, matching.candidates
    uncertain = np.flatnonzero(open_pairs(matching))
    worth = np.round(value_answers(matching, uncertain), 9)
    order = uncertain[np.lexsort((pairs.right[uncertain], pairs.left[uncertain], -worth))]
    first = np.unique(cluster_pairs(matching, order), return_index=True)[1]
    return order[np.sort(first)][: rules.questions]


def open_pairs(matching: Matching) -> NDArray[np.bool_]:
    """Whether each pair is in the uncertain band and no conflict settles it, shape (pairs,)."""
    rules, probability = matching.rules.judging, matching.scores.probability
    uncertain = (probability >= rules.least) & (probability <= rules.most)
    return np.asarray(uncertain & (matching.evidence.vetoes == 0), dtype=np.bool_)


def value_answers(matching: Matching, chosen: Positions) -> NDArray[np.float64]:
    """Pairs that the answer is expected to set right, shape (len(chosen),).

    It is the chance of the answer that changes something, times what that changes. Within a cluster this is a "no":
    the less certain of the two offers leaves, with as many false pairs as its place was doubtful. Between two clusters
    it is a "yes": all pairs between them are found, or, where the two cannot be one cluster, this one pair instead of a
    false one.
    """
    left, right = matching.candidates.left[chosen], matching.candidates.right[chosen]
    labels, confidence = matching.resolution.labels, matching.resolution.confidence
    probability = matching.scores.probability[chosen]
    size = np.bincount(labels)
    a, b = labels[left], labels[right]
    doubt = 1 - np.minimum(confidence[left], confidence[right])
    within = (1 - probability) * doubt * (size[a] - 1)
    between = probability * np.where(cannot_join(matching, chosen), SWAPPED, size[a] * size[b])
    return np.where(a == b, within, between)


def cannot_join(matching: Matching, chosen: Positions) -> NDArray[np.bool_]:
    """Whether a seller or a hard conflict keeps the clusters of each pair apart whatever is said of the pair."""
    labels = matching.resolution.labels
    membership = memberships(labels, matching.corpus.exclusion_groups())
    a, b = labels[matching.candidates.left[chosen]], labels[matching.candidates.right[chosen]]
    barred = np.unique(cluster_pairs(matching, np.flatnonzero(is_hard(matching.evidence.vetoes))))
    return shares(membership, a, b) | np.isin(cluster_pairs(matching, chosen), barred)


def cluster_pairs(matching: Matching, chosen: Positions) -> NDArray[np.int64]:
    """One number per unordered pair of clusters, shape (len(chosen),)."""
    labels, pairs = matching.resolution.labels, matching.candidates
    return pair_keys(labels[pairs.left[chosen]], labels[pairs.right[chosen]], len(labels))


def ask_about(matching: Matching, products: pa.Table, chosen: Positions) -> tuple[Question, ...]:
    """One question per chosen pair.

    Args:
        matching: The matching.
        products: The products that were matched, with `product_id`, `description` and the columns of `TOLD`.
        chosen: Numbers of candidate pairs.
    """
    left, right = matching.candidates.left[chosen], matching.candidates.right[chosen]
    told = tell_offers(products, named(matching, np.union1d(left, right)), matching.rules.judging)
    return tuple(
        Question(one, other, in_order(told[one], told[other]))
        for one, other in zip(named(matching, left), named(matching, right), strict=True)
    )


def named(matching: Matching, rows: Ints) -> list[str]:
    """Product ids of rows of the corpus."""
    return [matching.corpus.ids[row] for row in rows.tolist()]


def tell_offers(products: pa.Table, wanted: Sequence[str], rules: JudgeRules) -> dict[str, Mapping[str, str]]:
    """What is told of each wanted product: the fields that say something, the description cut short."""
    chosen = products.select(["product_id", *TOLD, "description"]).filter(
        pc.is_in(products.column("product_id"), value_set=pa.array(wanted, pa.string()))
    )
    return {row.pop("product_id"): dict(said(row, rules)) for row in chosen.to_pylist()}


def said(row: Mapping[str, str | None], rules: JudgeRules) -> Iterable[tuple[str, str]]:
    """Fields of an offer that say something."""
    for name, value in row.items():
        if value and value != "unknown":
            yield name, value[: rules.description] if name == "description" else value


def in_order(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Both offers, ordered by what they say."""
    first, second = sorted((one, other), key=json.dumps)
    return first, second
