"""Which sellers list a product once: estimated from their own offers, not assumed.

Belongs here: the estimate. Not here: what follows from it (candidates, competition, resolution).
"""

import numpy as np
from numpy.typing import NDArray

from assets.clusters.candidates import twins
from assets.clusters.corpus import Corpus
from assets.clusters.features import compare
from assets.clusters.rules import CandidateRules, SellerRules
from assets.clusters.scoring import MatchModel


def find_exclusive(
    corpus: Corpus, rules: SellerRules, candidates: CandidateRules, prior: MatchModel
) -> NDArray[np.bool_]:
    """Whether the seller of each product lists a product once, shape (n,).

    A seller many of whose offers have a twin, worded differently, among its own (a marketplace whose feed names no
    seller) is open. A catalogue of one seller is open, too: there is nobody else to compare with.
    """
    if not corpus.exclusive.any():
        return corpus.exclusive
    pairs = twins(corpus, rules.neighbours, candidates)
    log_odds = prior.log_odds(compare(corpus, pairs.left, pairs.right))
    # Offers that read the same word for word are more often variants whose difference the feed leaves out.
    text = np.array([" ".join(title.words) for title in corpus.parsed.titles], dtype=object)
    alike = (log_odds >= rules.twin_log_odds) & (text[pairs.left] != text[pairs.right])
    has_twin = np.zeros(len(corpus), dtype=bool)
    has_twin[pairs.left[alike]] = True
    has_twin[pairs.right[alike]] = True
    share = np.bincount(corpus.seller, weights=has_twin) / np.maximum(np.bincount(corpus.seller), 1)
    return (corpus.exclusive & (share[corpus.seller] <= rules.twin_share)).astype(bool)
