"""Which pairs are worth comparing: the union of several cheap searches, each across sellers.

Belongs here: the channels and their union, near-linear in the number of products, and the friends that likely pairs
have in common. Not here: judging how likely a pair is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.clusters.corpus import Corpus, Terms
from assets.clusters.matrices import Ints, look_up, pair_keys, rank_within, run_starts, symmetric
from assets.clusters.neighbours import (
    Neighbours,
    Search,
    SparseSearch,
    VectorSearch,
    follow,
    heaviest_terms,
    search_for,
)
from assets.clusters.rules import CandidateRules

#: The searches; the position is the bit in `Candidates.channels`.
CHANNELS = ("words", "grams", "codes", "vectors", "descriptions", "friends")
#: Those that search the corpus.
SEARCHES = CHANNELS[:-1]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of rows of the corpus, `left < right`, sorted, without repeats.

    Attributes:
        left: Row of the first product, shape (pairs,).
        right: Row of the second, shape (pairs,).
        channels: Bit `1 << CHANNELS.index(name)` of every search that proposed the pair, shape (pairs,).
    """

    left: Ints
    right: Ints
    channels: NDArray[np.uint8]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.left)


def unite(found: Mapping[str, tuple[Ints, Ints]], size: int) -> Candidates:
    """One sorted list of pairs out of what every channel found among `size` rows."""
    width = len(CHANNELS)
    marked = [np.empty(0, dtype=np.int64)]
    for name, (rows, columns) in found.items():
        marked.append(pair_keys(rows, columns, size) * width + CHANNELS.index(name))
    # Sorted as plain numbers, the channel in the last place: much faster than to sort positions.
    pair, channel = np.divmod(np.sort(np.concatenate(marked)), width)
    if not len(pair):
        return Candidates(pair.astype(np.int32), pair.astype(np.int32), pair.astype(np.uint8))
    first = run_starts(pair)
    channels = np.bitwise_or.reduceat(np.left_shift(1, channel).astype(np.uint8), first)
    left, right = np.divmod(pair[first], size)
    return Candidates(left.astype(np.int32), right.astype(np.int32), channels)


def searches_over(corpus: Corpus, centres: NDArray[np.float16], rules: CandidateRules) -> dict[str, Search]:
    """Every search over the corpus, by the name of its channel.

    Offers of a seller that lists each product once (`corpus.exclusive`) are not compared with each other.

    Args:
        corpus: The offers.
        centres: Embeddings around which vectors are compared, shape (cells, dimensions); all with all where none.
        rules: How the searches search.
    """
    group = corpus.exclusion_groups()

    def by(terms: Terms, most: int, searching: int, searchers: NDArray[np.bool_] | None = None) -> Search:
        return SparseSearch.over(
            terms.unit(), terms.frequency <= most, searching, group, rules.least_similarity, rules.block, searchers
        )

    return {
        "words": by(corpus.words, rules.word_frequency, rules.word_terms),
        "grams": by(corpus.grams, rules.gram_frequency, rules.gram_terms),
        "codes": by(corpus.text_stems, rules.code_frequency, rules.word_terms),
        "vectors": VectorSearch.over(corpus.vectors, centres, group, rules.cells, rules.block),
        "descriptions": by(corpus.all_words, rules.word_frequency, rules.gram_terms, corpus.described),
    }


def find_neighbours(corpus: Corpus, centres: NDArray[np.float16], rules: CandidateRules) -> dict[str, Neighbours]:
    """The lists of every search; arguments as for `searches_over`."""
    everybody = np.arange(len(corpus), dtype=np.int32)
    return {
        channel: search_for(search, everybody, getattr(rules, channel) + rules.slack)
        for channel, search in searches_over(corpus, centres, rules).items()
    }


def follow_neighbours(
    before: Mapping[str, Neighbours],
    corpus: Corpus,
    centres: NDArray[np.float16],
    place: Ints,
    moved: NDArray[np.bool_],
    rules: CandidateRules,
) -> dict[str, Neighbours]:
    """The lists of every search after a change of the catalogue; see `neighbours.follow`."""
    return {
        channel: follow(before[channel], search, place, moved, limit=getattr(rules, channel), slack=rules.slack)
        for channel, search in searches_over(corpus, centres, rules).items()
    }


def propose(neighbours: Mapping[str, Neighbours], size: int, rules: CandidateRules) -> Candidates:
    """The union of what every search proposes among `size` rows."""
    return unite({name: lists.nearest(getattr(rules, name)) for name, lists in neighbours.items()}, size)


def find_friends(corpus: Corpus, pairs: Candidates, chance: NDArray[np.float64], rules: CandidateRules) -> Candidates:
    """Pairs that no search proposed, of offers with a likely partner in common, without those in `pairs`.

    A title of nothing but a code and one without it read unlike each other, and both like a third that says it all. An
    offer follows its likeliest partners, and those theirs, so that an offer that everybody resembles costs no more.

    Args:
        corpus: The offers.
        pairs: What the searches proposed.
        chance: How likely each pair is one product by itself, shape (pairs,); 0 where it must not count.
        rules: How likely is likely, and how many friends an offer gets.
    """
    size, group = len(corpus), corpus.exclusion_groups()
    likely = chance >= rules.friend_chance
    partners = symmetric(pairs.left[likely], pairs.right[likely], chance[likely].astype(np.float32), size)
    partners = heaviest_terms(partners.tocsr(), rules.friend_partners)
    known = pair_keys(pairs.left, pairs.right, size)
    found = [(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))]
    for start in range(0, size, rules.block):
        paths = (partners[start : start + rules.block] @ partners).tocoo()
        rows, columns = (paths.row + start).astype(np.int32), paths.col.astype(np.int32)
        apart = np.flatnonzero(group[rows] != group[columns])
        keys = pair_keys(rows[apart], columns[apart], size)
        # Sorted first: looked up here and there in millions, each would wait for the memory.
        order = np.argsort(keys)
        new = np.sort(apart[order[look_up(known, keys[order]) < 0]])
        rows, columns, strength = rows[new], columns[new], np.round(paths.data[new], 4)
        nearest = rank_within(rows, strength) < rules.friends
        found.append((rows[nearest], columns[nearest]))
    rows, columns = (np.concatenate(side) for side in zip(*found, strict=True))
    return unite({"friends": (rows, columns)}, size)


def merge(some: Candidates, others: Candidates) -> tuple[Candidates, NDArray[np.int64]]:
    """Both lists, which share no pair, as one sorted list; and the order in which it takes them, shape (pairs,)."""
    size = int(max(part.right.max(initial=0) for part in (some, others))) + 1
    ours, theirs = (pair_keys(part.left, part.right, size) for part in (some, others))
    # The others are few: each has its place among the many, which keep their order.
    place = np.searchsorted(ours, theirs) + np.arange(len(others))
    order = np.empty(len(some) + len(others), dtype=np.int64)
    is_other = np.zeros(len(order), dtype=np.bool_)
    is_other[place] = True
    order[place], order[~is_other] = len(some) + np.arange(len(others)), np.arange(len(some))
    joined = (
        np.concatenate([getattr(some, name), getattr(others, name)])[order] for name in ("left", "right", "channels")
    )
    return Candidates(*joined), order


def twins(corpus: Corpus, neighbours: int, rules: CandidateRules) -> Candidates:
    """Pairs *within* a seller that read most alike; they tell whether the seller lists a product twice."""
    everybody = np.arange(len(corpus), dtype=np.int32)
    words = corpus.words
    alike = SparseSearch.over(
        words.unit(), words.frequency <= rules.word_frequency, rules.word_terms, everybody,
        rules.least_similarity, rules.block,
    )  # fmt: skip
    rows, columns = search_for(alike, everybody, neighbours).nearest(neighbours)
    same = corpus.seller[rows] == corpus.seller[columns]
    return unite({"words": (rows[same], columns[same])}, len(corpus))
