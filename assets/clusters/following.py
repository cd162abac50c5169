"""A matching that follows its catalogue: only what a change touches is computed, and the result is that of a new one.

Belongs here: telling what changed, and carrying over what did not. Not here: the stages themselves (`matching`).

What is known of the catalogue and the weights are frozen in the matching. What was read of an offer depends on the
offer alone, the log-odds of a pair on its two offers, and a list of neighbours on the set of offers (`neighbours`): all
of these are carried over wherever nothing they depend on has changed. Competition and clustering look at all pairs, for
one new offer may move a whole chain of others; both are a small part of the cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.clusters.candidates import SEARCHES, Candidates, follow_neighbours, merge, propose
from assets.clusters.corpus import build_corpus, term_lists
from assets.clusters.matching import (
    NOTHING,
    Evidence,
    Following,
    Matching,
    MatchState,
    Progress,
    Stages,
    conclude,
    examine,
    find_friends,
)
from assets.clusters.matrices import Ints, look_up, pair_keys
from assets.clusters.neighbours import Neighbours
from assets.clusters.reading import READ, digest_of, in_order, read_offers
from assets.clusters.rules import MatchRules, ParsingRules
from assets.clusters.scoring import PRIOR, MatchModel
from assets.clusters.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the offers of a matching.

    Attributes:
        place: Row that each former row has now, -1 where it has left, shape (former rows,).
        moved: Whether each row of now is new or is searched by other values than before, shape (n,).
        revised: Whether each row of now is new or is compared by other values than before, shape (n,).
    """

    place: Ints
    moved: NDArray[np.bool_]
    revised: NDArray[np.bool_]


def follow(
    before: MatchState,
    products: pa.Table,
    vectors: NDArray[np.float16],
    *,
    rules: MatchRules,
    prior: MatchModel = PRIOR,
    progress: Progress | None = None,
) -> Matching:
    """Bring a matching up to date with its catalogue, with the statistics and the model that it has.

    Args:
        before: What is remembered of the catalogue as it was.
        products: Columns of `CLEANED_PRODUCTS`, one row per product of now.
        vectors: Embeddings of the same rows, shape (n, dimensions), unit rows.
        rules: The rules that `before` was made by.
        prior: The prior that it was made with.
        progress: Told the name of each stage as it begins.

    Returns:
        The very matching that following an empty catalogue (`start`) to this one would give.

    Raises:
        ValueError: the vectors do not match the rows, or a product id repeats.
    """
    stage = Stages(progress)
    with stage("prepare"):
        products, vectors = in_order(products, vectors)
        offers = read_changed(before, products, rules.parsing)
        change = compare_offers(before.offers, offers)
        corpus = build_corpus(offers, term_lists(offers), vectors, before.statistics)
    with stage("candidates"):
        centres = before.statistics.centres
        lists = follow_neighbours(before.neighbours, corpus, centres, change.place, change.moved, rules.candidates)
        pairs = propose(lists, len(corpus), rules.candidates)
    examined = partial(examine, corpus, rules=rules, model=before.model, prior=prior)
    with stage("features"):
        known = carry_over(before, change)
        evidence, new = complete(known, pairs, len(corpus), examined)
    with stage("friends"):
        friends = find_friends(corpus, pairs, evidence.prior, evidence.vetoes, rules)
        theirs, newer = complete(known, friends, len(corpus), examined)
        pairs, order = merge(pairs, friends)
        evidence = evidence.join(theirs).take(order)
    now = MatchState(
        offers=offers,
        statistics=before.statistics,
        neighbours=lists,
        candidates=pairs,
        evidence=evidence,
        model=before.model,
    )
    came, left = int(change.revised.sum()), int((change.place < 0).sum())
    return conclude(now, corpus, rules, stage, Following(came, left, new + newer))


def start(statistics: Statistics, model: MatchModel) -> MatchState:
    """The state of an empty catalogue, by these statistics and this model."""
    empty = np.empty(0, dtype=np.int32)
    lists = Neighbours(empty, empty, np.empty(0, dtype=np.float32), np.empty(0, dtype=np.bool_))
    return MatchState(
        offers=READ.empty_table(),
        statistics=statistics,
        model=model,
        neighbours=dict.fromkeys(SEARCHES, lists),
        candidates=Candidates(empty, empty, np.empty(0, dtype=np.uint8)),
        evidence=NOTHING,
    )


def read_changed(before: MatchState, products: pa.Table, rules: ParsingRules) -> pa.Table:
    """What is to be read of the products of now, ordered by product id: where nothing has changed, what was read."""
    known = pc.index_in(products.column("product_id"), value_set=before.offers.column("product_id").combine_chunks())
    digests = before.offers.column("digest").take(known)
    changed = pc.invert(pc.fill_null(pc.equal(digests, digest_of(products)), fill_value=False))
    fresh = read_offers(products.filter(changed), before.statistics.spellings, rules)
    rows = known.to_numpy(zero_copy_only=False).copy()
    rows[changed.to_numpy()] = before.offers.num_rows + np.arange(fresh.num_rows)
    return pa.concat_tables([before.offers, fresh]).take(pa.array(rows.astype(np.int64))).combine_chunks()


def compare_offers(former: pa.Table, offers: pa.Table) -> Change:
    """Tell what became of offers, both tables of `READ`, ordered by product id."""
    here, there = (table.column("product_id").combine_chunks() for table in (offers, former))
    place = pc.fill_null(pc.index_in(there, value_set=here), -1).to_numpy(zero_copy_only=False).astype(np.int32)
    back = pc.index_in(here, value_set=there)

    def differs(name: str) -> NDArray[np.bool_]:
        same = pc.equal(former.column(name).combine_chunks().take(back), offers.column(name).combine_chunks())
        equal: NDArray[np.bool_] = pc.fill_null(same, fill_value=False).to_numpy(zero_copy_only=False)
        return ~equal

    moved = differs("searched")
    return Change(place, moved, moved | differs("compared"))


@dataclass(frozen=True, slots=True)
class Known:
    """Evidence of pairs that nothing has changed, by rows of now.

    Attributes:
        left: Row of the first offer, shape (pairs,).
        right: Row of the second, larger; the pairs are sorted.
        evidence: What is known of them.
    """

    left: Ints
    right: Ints
    evidence: Evidence


def carry_over(before: MatchState, change: Change) -> Known:
    """The evidence of all pairs of which both offers stay as they are; they stay in order, too."""
    left, right = change.place[before.candidates.left], change.place[before.candidates.right]
    stays = (left >= 0) & (right >= 0)
    stays[stays] = ~(change.revised[left[stays]] | change.revised[right[stays]])
    kept = np.flatnonzero(stays)
    return Known(left[kept], right[kept], before.evidence.take(kept))


def complete(
    known: Known, pairs: Candidates, size: int, examine: Callable[[Ints, Ints], Evidence]
) -> tuple[Evidence, int]:
    """The evidence of all pairs, what is known and what `examine` finds of the others, and how many these are.

    Args:
        known: What is known.
        pairs: The pairs, of rows of a corpus of `size`.
        size: How many rows it has.
        examine: Compares and weighs the pairs of given rows.
    """
    found = look_up(pair_keys(known.left, known.right, size), pair_keys(pairs.left, pairs.right, size))
    new, old = np.flatnonzero(found < 0), np.flatnonzero(found >= 0)
    result = Evidence(np.empty(len(pairs)), np.empty(len(pairs)), np.empty(len(pairs), dtype=np.uint8))
    for places, part in (
        (old, known.evidence.take(found[old])),
        (new, examine(pairs.left[new], pairs.right[new])),
    ):
        result.prior[places], result.log_odds[places], result.vetoes[places] = part.prior, part.log_odds, part.vetoes
    return result, len(new)
