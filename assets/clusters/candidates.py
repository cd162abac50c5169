"""Which pairs are worth comparing: the union of several cheap searches, each across sellers.

Belongs here: the channels and their union, near-linear in the number of products, and the friends that likely pairs
have in common. Not here: judging how likely a pair is.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from assets.clusters.corpus import Corpus
from assets.clusters.matrices import Ints, Matrix, frequency, rank_within, symmetric
from assets.clusters.rules import CandidateRules

#: The searches; the position is the bit in `Candidates.channels`.
CHANNELS = ("words", "grams", "codes", "vectors", "descriptions", "friends")


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


def heaviest_terms(matrix: Matrix, limit: int) -> Matrix:
    """Keep the `limit` largest entries of each row."""
    entries = matrix.tocoo()
    kept = rank_within(entries.row.astype(np.int64), entries.data) < limit
    return sparse.csr_matrix((entries.data[kept], (entries.row[kept], entries.col[kept])), shape=matrix.shape)


def sparse_neighbours(
    weights: Matrix, group: Ints, limit: int, *, most: int, terms: int, rules: CandidateRules
) -> tuple[Ints, Ints]:
    """The most similar rows of other groups, by cosine of sparse rows, over the terms that search.

    A row searches by its `terms` heaviest terms of those that at most `most` rows hold, and therefore meets at most
    `terms * most` others, whatever the size of the corpus. To rank what was found by all terms again finds no more.

    Args:
        weights: Unit rows, shape (rows, terms).
        group: Rows of one group do not meet, shape (rows,).
        limit: Neighbours per row.
        most: Rows that may hold a searching term.
        terms: Searching terms per row.
        rules: Least similarity and block size.

    Returns:
        Row and neighbour, both of shape (found,).
    """
    searching = weights[:, np.flatnonzero(frequency(weights) <= most)].tocsr()
    queries = heaviest_terms(searching, terms)
    index = searching.T.tocsr()
    found = [(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))]
    for start in range(0, weights.shape[0], rules.block):
        product = (queries[start : start + rules.block] @ index).tocoo()
        rows, columns = (product.row + start).astype(np.int32), product.col.astype(np.int32)
        kept = (group[rows] != group[columns]) & (product.data >= rules.least_similarity)
        rows, columns = rows[kept], columns[kept]
        nearest = rank_within(rows.astype(np.int64), product.data[kept]) < limit
        found.append((rows[nearest], columns[nearest]))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([columns for _, columns in found])


def dense_neighbours(
    queries: NDArray[np.float32], rows: Ints, vectors: NDArray[np.float32], columns: Ints, group: Ints, limit: int
) -> tuple[Ints, Ints]:
    """The `limit` nearest of `columns` for each of `rows`, in other groups; both index the whole corpus."""
    similarity = queries @ vectors.T
    similarity[group[rows][:, None] == group[columns][None, :]] = -np.inf
    width = min(limit, len(columns))
    nearest = np.argpartition(-similarity, width - 1, axis=1)[:, :width]
    allowed = np.isfinite(np.take_along_axis(similarity, nearest, axis=1))
    found = np.broadcast_to(rows[:, None], nearest.shape)[allowed], columns[nearest[allowed]]
    return found[0].astype(np.int32), found[1].astype(np.int32)


def vector_neighbours(
    vectors: NDArray[np.float16], group: Ints, limit: int, rules: CandidateRules
) -> tuple[Ints, Ints]:
    """The nearest rows of other groups by embedding, shape of `vectors` (rows, dimensions), unit rows.

    Small corpora are compared whole; large ones within overlapping cells around sampled rows, each row in its
    `rules.cells` nearest, so that the cost grows as rows to the power of 1.5.
    """
    dense = vectors.astype(np.float32)
    size = len(dense)
    everything = np.arange(size, dtype=np.int32)
    found = [(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))]
    if size <= rules.exact_vectors:
        for start in range(0, size, rules.block):
            rows = everything[start : start + rules.block]
            found.append(dense_neighbours(dense[rows], rows, dense, everything, group, limit))
    else:
        centres = dense[np.linspace(0, size - 1, int(np.sqrt(size))).astype(np.int64)]
        member = np.concatenate(
            [
                np.argpartition(-(dense[start : start + rules.block] @ centres.T), rules.cells - 1, axis=1)[
                    :, : rules.cells
                ]
                for start in range(0, size, rules.block)
            ]
        )
        cells = member.ravel()
        order = np.argsort(cells, kind="stable")
        owners = np.repeat(everything, rules.cells)[order]
        bounds = np.searchsorted(cells[order], np.arange(len(centres) + 1))
        for first, last in itertools.pairwise(bounds):
            cell = owners[first:last]
            for start in range(0, len(cell), rules.block):
                rows = cell[start : start + rules.block]
                found.append(dense_neighbours(dense[rows], rows, dense[cell], cell, group, limit))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([columns for _, columns in found])


def unite(found: Mapping[str, tuple[Ints, Ints]], size: int) -> Candidates:
    """One sorted list of pairs out of what every channel found among `size` rows."""
    keys, bits = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint8)]
    for name, (rows, columns) in found.items():
        low, high = np.minimum(rows, columns).astype(np.int64), np.maximum(rows, columns)
        keys.append(np.unique(low * size + high))
        bits.append(np.full(len(keys[-1]), 1 << CHANNELS.index(name), dtype=np.uint8))
    pairs, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    channels = np.zeros(len(pairs), dtype=np.uint8)
    np.bitwise_or.at(channels, inverse, np.concatenate(bits))
    return Candidates((pairs // max(size, 1)).astype(np.int32), (pairs % max(size, 1)).astype(np.int32), channels)


def find_candidates(corpus: Corpus, rules: CandidateRules) -> Candidates:
    """Union of all channels over the corpus.

    Offers of a seller that lists each product once (`corpus.exclusive`) are not compared with each other.
    """
    group = corpus.exclusion_groups()
    found = {
        "words": sparse_neighbours(
            corpus.word_vectors, group, rules.words, most=rules.word_frequency, terms=rules.word_terms, rules=rules
        ),
        "grams": sparse_neighbours(
            corpus.gram_vectors, group, rules.grams, most=rules.gram_frequency, terms=rules.gram_terms, rules=rules
        ),
        "codes": sparse_neighbours(
            corpus.stem_vectors, group, rules.codes, most=rules.code_frequency, terms=rules.word_terms, rules=rules
        ),
        "vectors": vector_neighbours(corpus.vectors, group, rules.vectors, rules),
    }
    if corpus.described.any():
        found["descriptions"] = sparse_neighbours(
            corpus.text_vectors,
            group,
            rules.descriptions,
            most=rules.word_frequency,
            terms=rules.gram_terms,
            rules=rules,
        )
    return unite(found, len(corpus))


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
    # Sorted, as the pairs are; the last is no pair, so that a search always ends at one.
    known = np.append(pairs.left.astype(np.int64) * size + pairs.right, size * size)
    found = [(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32))]
    for start in range(0, size, rules.block):
        paths = (partners[start : start + rules.block] @ partners).tocoo()
        rows, columns = (paths.row + start).astype(np.int32), paths.col.astype(np.int32)
        low, high = np.minimum(rows, columns).astype(np.int64), np.maximum(rows, columns)
        key = low * size + high
        known_already = known[np.searchsorted(known, key)] == key
        new = (group[rows] != group[columns]) & ~known_already
        rows, columns, strength = rows[new], columns[new], np.round(paths.data[new], 4)
        nearest = rank_within(rows.astype(np.int64), strength) < rules.friends
        found.append((rows[nearest], columns[nearest]))
    rows, columns = (np.concatenate(side) for side in zip(*found, strict=True))
    return unite({"friends": (rows, columns)}, size)


def merge(some: Candidates, others: Candidates) -> tuple[Candidates, NDArray[np.int64]]:
    """Both lists, which share no pair, as one sorted list; and the order in which it takes them, shape (pairs,)."""
    left, right = np.concatenate([some.left, others.left]), np.concatenate([some.right, others.right])
    order = np.lexsort((right, left))
    return Candidates(left[order], right[order], np.concatenate([some.channels, others.channels])[order]), order


def twins(corpus: Corpus, neighbours: int, rules: CandidateRules) -> Candidates:
    """Pairs *within* a seller that read most alike; they tell whether the seller lists a product twice."""
    everybody_alone = np.arange(len(corpus), dtype=np.int32)
    rows, columns = sparse_neighbours(
        corpus.word_vectors, everybody_alone, neighbours, most=rules.word_frequency, terms=rules.word_terms, rules=rules
    )
    same = corpus.seller[rows] == corpus.seller[columns]
    return unite({"words": (rows[same], columns[same])}, len(corpus))
