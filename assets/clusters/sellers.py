"""Which sellers list a product once: estimated from their own offers, not assumed.

Belongs here: the estimate. Not here: what follows from it (candidates, competition, resolution).
"""

from collections.abc import Sequence

import numpy as np

from assets.clusters.candidates import twins
from assets.clusters.corpus import Corpus
from assets.clusters.features import compare
from assets.clusters.rules import CandidateRules, SellerRules
from assets.clusters.scoring import MatchModel


def find_listing_twice(
    corpus: Corpus, offerers: Sequence[str], rules: SellerRules, candidates: CandidateRules, prior: MatchModel
) -> frozenset[str]:
    """The sellers that list a product more than once, of `offerers`, the seller of each row of the corpus.

    It is a seller many of whose offers have a twin, worded differently, among its own: a marketplace whose feed names
    no seller.
    """
    if not corpus.exclusive.any():
        return frozenset()
    pairs = twins(corpus, rules.neighbours, candidates)
    log_odds = prior.log_odds(compare(corpus, pairs.left, pairs.right))
    # Offers that read the same word for word are more often variants whose difference the feed leaves out.
    alike = (log_odds >= rules.twin_log_odds) & (corpus.texts[pairs.left] != corpus.texts[pairs.right])
    has_twin = np.zeros(len(corpus), dtype=bool)
    has_twin[pairs.left[alike]] = True
    has_twin[pairs.right[alike]] = True
    share = np.bincount(corpus.seller, weights=has_twin) / np.maximum(np.bincount(corpus.seller), 1)
    return frozenset(offerers[row] for row in np.flatnonzero(share[corpus.seller] > rules.twin_share).tolist())
