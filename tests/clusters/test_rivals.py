"""What rivals take from a pair, against the enumeration of all ways to put three offers together."""

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.clusters.candidates import Candidates, find_friends, merge
from assets.clusters.rules import CandidateRules
from assets.clusters.scoring import allied_odds, contest, rival_odds

ODDS = st.floats(0.001, 1000)


class Offers:
    """Offers of which only the sellers are known."""

    def __init__(self, *sellers: int, exclusive: bool) -> None:
        self.seller = np.array(sellers, dtype=np.int32)
        self.exclusive = np.full(len(sellers), exclusive)

    def __len__(self) -> int:
        return len(self.seller)

    def exclusion_groups(self) -> Any:
        return self.seller if self.exclusive.all() else np.arange(len(self), dtype=np.int32)


def pairs_of(*pairs: tuple[int, int]) -> Candidates:
    left, right = np.array(pairs, dtype=np.int32).T
    return Candidates(left, right, np.ones(len(pairs), dtype=np.uint8))


@given(ODDS, ODDS, ODDS)
def test_allies_are_counted_as_the_five_ways_to_divide_three_offers_say(ij: float, ik: float, jk: float) -> None:
    corpus = cast(Any, Offers(0, 0, 0, exclusive=False))
    at_left, at_right = allied_odds(corpus, pairs_of((0, 1), (0, 2), (1, 2)), np.array([ij, ik, jk]))
    # The ways in which i has company: with j, with k, with both; given one of these, j and k are one as often as:
    all_three = ij * ik * jk / (ij + ik + ij * ik * jk)
    assert at_left[0] == pytest.approx(ik * all_three, rel=1e-6)
    all_three = ij * jk * ik / (ij + jk + ij * jk * ik)
    assert at_right[0] == pytest.approx(jk * all_three, rel=1e-6)


@given(ODDS, ODDS)
def test_offers_of_a_seller_that_lists_a_product_once_are_rivals_in_full(ij: float, ik: float) -> None:
    corpus = cast(Any, Offers(0, 1, 1, exclusive=True))
    pairs, log_odds = pairs_of((0, 1), (0, 2)), np.log([ij, ik])
    at_left, at_right = rival_odds(corpus, pairs, log_odds)
    assert at_left == pytest.approx([ik, ij], rel=1e-6)
    assert at_right.tolist() == [0.0, 0.0]
    left = contest(corpus, pairs, log_odds, 0.0)
    assert (left <= log_odds).all()
    assert np.argsort(left).tolist() == np.argsort(log_odds).tolist() or ij == pytest.approx(ik)


def test_friends_share_a_likely_partner_and_no_exclusive_seller() -> None:
    corpus = cast(Any, Offers(0, 1, 2, 0, exclusive=True))
    pairs = pairs_of((0, 1), (1, 2), (1, 3))
    friends = find_friends(corpus, pairs, np.array([0.9, 0.8, 0.7]), CandidateRules())
    # (0, 3) have offer 1 in common, too, and are of one seller.
    assert list(zip(friends.left.tolist(), friends.right.tolist(), strict=True)) == [(0, 2), (2, 3)]
    assert not len(find_friends(corpus, pairs, np.array([0.9, 0.05, 0.02]), CandidateRules()))
    # Whoever follows one partner alone finds the friends of that one only: offer 1 is nearest to offer 0.
    one = find_friends(corpus, pairs, np.array([0.9, 0.8, 0.7]), CandidateRules(friend_partners=1))
    assert list(zip(one.left.tolist(), one.right.tolist(), strict=True)) == [(0, 2)]
    together, order = merge(pairs, friends)
    assert list(zip(together.left.tolist(), together.right.tolist(), strict=True)) == [
        *((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))
    ]
    assert order.tolist() == [0, 3, 1, 2, 4]
