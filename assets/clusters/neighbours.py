"""Every offer's nearest offers by one search, found anew or brought up to date, with the same result to the last bit.

Belongs here: the searches and their lists. Not here: which searches there are and what is made of them (`candidates`).

Both kinds of search score a pair by the two offers alone and break ties by the place in the corpus. A list is therefore
a function of the set of offers, and it can follow a change of that set: who left is struck out, who came takes his
place, and only a list that has lost more than its slack is searched for again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from assets.clusters.matrices import Floats, Ints, Matrix, descending_keys, places_in_runs, rank_within

#: Found pairs: row, column, score, all of one length.
Found = tuple[Ints, Ints, Floats]
#: Largest number that a coded component has; sums of 384 such products are exact in float32.
CODED = 127
#: Rows that are made whole numbers at once: they fit into the cache of a core.
CODED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Ranked lists of one search, by row; in a row by score, largest first, then by column.

    Attributes:
        rows: Whose neighbour it is, ascending, shape (entries,).
        columns: The neighbour, shape (entries,).
        scores: How near it is, shape (entries,).
        whole: Whether the list holds all neighbours there are, shape (n,); the others hold the nearest.
    """

    rows: Ints
    columns: Ints
    scores: Floats
    whole: NDArray[np.bool_]

    def nearest(self, limit: int) -> tuple[Ints, Ints]:
        """Rows and columns of the first `limit` of every list."""
        kept = places_in_runs(self.rows) < limit
        return self.rows[kept], self.columns[kept]


class Search(Protocol):
    """A search over the rows of a corpus."""

    def find(self, rows: Ints, columns: Ints, most: int) -> Iterator[Found]:
        """Yield the pairs of one of `rows` and one of `columns`, both ascending, that are neighbours.

        The pairs of a row come in one piece: all, or more than `most` and among them the nearest.
        """
        ...

    def __len__(self) -> int:
        """Rows of the corpus."""
        ...


@dataclass(frozen=True, slots=True)
class SparseSearch:
    """Cosine of sparse rows over the terms that search.

    A row searches by its heaviest terms of those that few rows hold, and therefore meets a bounded number of others,
    whatever the size of the corpus.

    Attributes:
        queries: The terms by which each row searches, shape (n, terms).
        index: The terms by which it is found, on the same columns.
        group: Rows of one group are no neighbours, shape (n,).
        least: Smallest score of a neighbour.
        block: Rows searched at once; bounds the memory.
    """

    queries: Matrix
    index: Matrix
    group: Ints
    least: float
    block: int

    @classmethod
    def over(
        cls,
        weights: Matrix,
        searching: NDArray[np.bool_],
        terms: int,
        group: Ints,
        least: float,
        block: int,
        searchers: NDArray[np.bool_] | None = None,
    ) -> "SparseSearch":
        """Search by unit rows, each by its `terms` heaviest of the terms that are `searching`, shape (terms,).

        Of `searchers`, shape (n,), only those search; everybody is found.
        """
        index = weights[:, np.flatnonzero(searching)].tocsr()
        queries = heaviest_terms(index, terms)
        if searchers is not None:
            queries = (sparse.diags_array(searchers.astype(np.float32)) @ queries).tocsr()
            queries.eliminate_zeros()
        return cls(queries, index, group, least, block)

    def __len__(self) -> int:
        """Rows of the corpus."""
        return len(self.group)

    def find(self, rows: Ints, columns: Ints, most: int) -> Iterator[Found]:
        """See `Search`."""
        del most  # What has few terms in common is no neighbour, and the others are not many.
        index = self.index[columns].T.tocsr()
        for start in range(0, len(rows), self.block):
            chosen = rows[start : start + self.block]
            product = (self.queries[chosen] @ index).tocoo()
            row, column = chosen[product.row], columns[product.col]
            kept = (self.group[row] != self.group[column]) & (product.data >= self.least)
            yield row[kept], column[kept], product.data[kept]


@dataclass(frozen=True, slots=True)
class VectorSearch:
    """Cosine of embeddings, coded in 8 bits so that it is exact in whatever order it is summed.

    Attributes:
        coded: Whole numbers of at most `CODED`, shape (n, dimensions), float32.
        scale: What each row's numbers are to be multiplied by, shape (n,).
        cells: Which cells each row belongs to, binary, shape (n, cells); rows meet within cells.
        group: Rows of one group are no neighbours, shape (n,).
        block: Rows searched at once; bounds the memory.
    """

    coded: Floats
    scale: Floats
    cells: Matrix
    group: Ints
    block: int

    @classmethod
    def over(
        cls, vectors: NDArray[np.float16], centres: NDArray[np.float16], group: Ints, cells: int, block: int
    ) -> "VectorSearch":
        """Search embeddings, shape (n, dimensions): each in the `cells` nearest cells around `centres`, or in one."""
        coded, scale = encode_vectors(vectors)
        size = len(vectors)
        if not len(centres):
            return cls(coded, scale, sparse.csr_matrix(np.ones((size, 1), dtype=np.float32)), group, block)
        around, width = encode_vectors(centres)
        members = [np.empty((0, cells), dtype=np.int64)]
        for start in range(0, size, block):
            nearness = (coded[start : start + block] @ around.T) * width
            members.append(np.argpartition(-nearness, cells - 1, axis=1)[:, :cells])
        column = np.concatenate(members).ravel()
        row = np.repeat(np.arange(size), cells)
        shape = (size, len(centres))
        return cls(
            coded, scale, sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape), group, block
        )

    def __len__(self) -> int:
        """Rows of the corpus."""
        return len(self.group)

    def find(self, rows: Ints, columns: Ints, most: int) -> Iterator[Found]:
        """See `Search`; a pair that shares two cells is found once."""
        if self.cells.shape[1] == 1:
            for start in range(0, len(rows), self.block):
                yield self._within(rows[start : start + self.block], columns, most)
            return
        near, mates = self.cells[rows].tocsc(), self.cells[columns].tocsc()
        found = [nothing()]
        for cell in range(self.cells.shape[1]):
            inside = rows[np.sort(near.indices[near.indptr[cell] : near.indptr[cell + 1]])]
            others = columns[np.sort(mates.indices[mates.indptr[cell] : mates.indptr[cell + 1]])]
            starts = range(0, len(inside), self.block)
            found.extend(self._within(inside[start : start + self.block], others, most) for start in starts)
        row, column, score = (np.concatenate(part) for part in zip(*found, strict=True))
        first = np.unique(row.astype(np.int64) * len(self) + column, return_index=True)[1]
        yield row[first], column[first], score[first]

    def _within(self, rows: Ints, columns: Ints, most: int) -> Found:
        """The nearest of `columns` for each of `rows`, one more than `most` and those as near as the last."""
        score = (self.coded[rows] @ self.coded[columns].T) * self.scale[columns] * self.scale[rows][:, None]
        score[self.group[rows][:, None] == self.group[columns][None, :]] = -np.inf
        near = score > -np.inf
        if len(columns) > most + 1:
            near &= score >= np.partition(score, len(columns) - most - 1, axis=1)[:, [len(columns) - most - 1]]
        row, column = np.nonzero(near)
        return rows[row], columns[column], score[near]


def encode_vectors(vectors: NDArray[np.float16]) -> tuple[Floats, Floats]:
    """Whole numbers in proportion to the components of each row, the largest `CODED`, and each row's proportion."""
    coded, scale = np.empty(vectors.shape, dtype=np.float32), np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), CODED_AT_ONCE):
        chunk = slice(start, start + CODED_AT_ONCE)
        dense = vectors[chunk].astype(np.float32)
        largest = np.maximum(np.abs(dense).max(axis=1, initial=0), np.float32(1e-6))
        coded[chunk], scale[chunk] = np.rint(dense * (CODED / largest)[:, None]), largest / CODED
    return coded, scale


def heaviest_terms(matrix: Matrix, limit: int) -> Matrix:
    """Keep the `limit` largest entries of each row."""
    lengths = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(lengths)), lengths)
    long = np.flatnonzero(lengths[row] > limit)
    kept = np.ones(len(row), dtype=np.bool_)
    kept[long] = rank_within(row[long], matrix.data[long]) < limit
    ends = np.append(0, np.cumsum(np.minimum(lengths, limit)))
    heaviest = sparse.csr_matrix((matrix.data[kept], matrix.indices[kept], ends), shape=matrix.shape)
    heaviest.sort_indices()
    return heaviest


def search_for(search: Search, rows: Ints, most: int) -> Neighbours:
    """The lists of some rows over the whole corpus, each of at most `most` entries; the others' are empty and whole."""
    everybody = np.arange(len(search), dtype=np.int32)
    parts: list[Found] = [nothing()]
    whole = np.ones(len(search), dtype=np.bool_)
    for found in search.find(rows, everybody, most):
        part = ranked(found, most)
        parts.append(part)
        lengths = np.bincount(found[0], minlength=len(search))
        whole &= lengths <= most
    row, column, score = (np.concatenate(piece) for piece in zip(*parts, strict=True))
    return Neighbours(row, column, score, whole)


def follow(
    before: Neighbours, search: Search, place: Ints, moved: NDArray[np.bool_], *, limit: int, slack: int
) -> Neighbours:
    """The lists after a change, the first `limit` of each the same as `search_for` would find.

    Args:
        before: Lists of the corpus before, of at most `limit + slack` entries.
        search: The search over the corpus now.
        place: Row that each former row has now, -1 where it has left, shape (former rows,); ascending otherwise.
        moved: Whether each row of now is new or reads otherwise than before, shape (n,).
        limit: How many neighbours a list must have.
        slack: How many more it may have.
    """
    rows, columns = place[before.rows], place[before.columns]
    stays = (rows >= 0) & (columns >= 0)
    stays[stays] = ~moved[rows[stays]] & ~moved[columns[stays]]
    kept: Found = rows[stays], columns[stays], before.scores[stays]
    whole = np.zeros(len(moved), dtype=np.bool_)
    known = np.flatnonzero(place >= 0)
    whole[place[known]] = before.whole[known]

    # A list is right down to its last entry; who comes in below that may have others above him that are not listed.
    length = np.bincount(kept[0], minlength=len(moved))
    last = np.cumsum(length) - 1
    settled, arriving = (np.flatnonzero(mask).astype(np.int32) for mask in (~moved, moved))
    parts = [kept]
    for row, column, score in search.find(settled, arriving, limit + slack):
        above = np.zeros(len(row), dtype=np.bool_)
        listed = np.flatnonzero(length[row] > 0)
        lowest = last[row[listed]]
        nearer, level = score[listed] > kept[2][lowest], score[listed] == kept[2][lowest]
        above[listed] = nearer | (level & (column[listed] < kept[1][lowest]))
        taken = whole[row] | above
        parts.append((row[taken], column[taken], score[taken]))
    arrived = np.concatenate([kept[0][:0], *(row for row, _, _ in parts[1:])])
    length += np.bincount(arrived, minlength=len(moved))
    whole &= length <= limit + slack
    short = ~whole & (length < limit)
    again = moved | short
    anew = search_for(search, np.flatnonzero(again).astype(np.int32), limit + slack)

    # Only lists that somebody has joined are to be ranked again.
    joined = np.zeros(len(moved), dtype=np.bool_)
    joined[arrived] = True
    mixed = ranked(chosen(parts, joined & ~again), limit + slack)
    pieces = [chosen(parts[:1], ~joined & ~again), mixed, (anew.rows, anew.columns, anew.scores)]
    row, column, score = (np.concatenate(piece) for piece in zip(*pieces, strict=True))
    order = np.argsort(row, kind="stable")
    return Neighbours(row[order], column[order], score[order], np.where(again, anew.whole, whole))


def chosen(parts: Sequence[Found], rows: NDArray[np.bool_]) -> Found:
    """The pairs of some rows, by a mask of shape (n,), of all parts."""
    row, column, score = (np.concatenate(piece) for piece in zip(*parts, strict=True))
    kept = rows[row]
    return row[kept], column[kept], score[kept]


def ranked(found: Found, most: int) -> Found:
    """The first `most` of every row, by row, score and column."""
    rows, columns, scores = found
    order = np.lexsort((columns, descending_keys(rows, scores)))
    rows, columns, scores = rows[order], columns[order], scores[order]
    kept = places_in_runs(rows) < most
    return rows[kept], columns[kept], scores[kept]


def nothing() -> Found:
    """No pairs."""
    return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
