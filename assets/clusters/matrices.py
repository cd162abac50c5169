"""Sparse linear algebra of the matcher: indicator matrices, weights, products along a list of pairs.

Belongs here: arithmetic that knows nothing of products. Not here: what the rows and columns mean.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
#: scipy ships no types; a CSR matrix of float32.
Matrix = Any

PAIRS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Indicators:
    """Which row has which term, by how much: a CSR matrix of shape (rows, terms), the terms sorted."""

    matrix: Matrix
    terms: list[str]

    def columns_of(self, terms: Sequence[str]) -> Matrix:
        """The matrix with its columns rearranged to `terms`; a term nobody has is an empty column."""
        position = {term: column for column, term in enumerate(terms)}
        kept = [(column, position[term]) for column, term in enumerate(self.terms) if term in position]
        source = np.fromiter((s for s, _ in kept), dtype=np.int64, count=len(kept))
        target = np.fromiter((t for _, t in kept), dtype=np.int64, count=len(kept))
        move = sparse.csr_matrix(
            (np.ones(len(kept), dtype=np.float32), (source, target)), shape=(len(self.terms), len(terms))
        )
        return (self.matrix @ move).tocsr()


def indicators(terms_of: Sequence[Iterable[str]]) -> Indicators:
    """Index ragged terms, one iterable per row, into a binary matrix."""
    return weighted_indicators([dict.fromkeys(terms, 1.0) for terms in terms_of])


def weighted_indicators(weights_of: Sequence[Mapping[str, float]]) -> Indicators:
    """Index ragged terms with a value each, one mapping per row."""
    vocabulary = sorted({term for weights in weights_of for term in weights})
    index = {term: column for column, term in enumerate(vocabulary)}
    lengths = np.fromiter((len(weights) for weights in weights_of), dtype=np.int64, count=len(weights_of))
    size = int(lengths.sum())
    columns = np.fromiter((index[term] for weights in weights_of for term in weights), dtype=np.int32, count=size)
    values = np.fromiter((value for weights in weights_of for value in weights.values()), np.float32, count=size)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    matrix = sparse.csr_matrix((values, columns, offsets), shape=(len(weights_of), len(vocabulary)))
    # The terms of a row come in any order; products are to be summed in one.
    matrix.sort_indices()
    return Indicators(matrix, vocabulary)


def incidence(lists: pa.ChunkedArray, shares: pa.ChunkedArray | None = None) -> Indicators:
    """The same of a column of lists of distinct strings; `shares` has the value of every term, 1 where not given."""
    columns, terms = number_values(pc.list_flatten(lists))
    values = np.ones(len(columns), np.float32) if shares is None else pc.list_flatten(shares).to_numpy().copy()
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(pc.list_value_length(lists).to_numpy())])
    matrix = sparse.csr_matrix((values, columns, offsets), shape=(len(lists), len(terms)))
    matrix.sort_indices()
    return Indicators(matrix, terms.to_pylist())


def number_values(values: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Number the distinct values in ascending order: the number of each, -1 for null, and the values themselves."""
    coded = values.combine_chunks().dictionary_encode()
    order = pc.sort_indices(coded.dictionary)
    # The last stands for null: it is where -1 leads.
    place = np.full(len(order) + 1, -1, dtype=np.int32)
    place[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return place[pc.fill_null(coded.indices, -1).to_numpy()], coded.dictionary.take(order)


def symmetric(left: Ints, right: Ints, values: NDArray[np.floating[Any]], size: int) -> Matrix:
    """The values of pairs of rows, in both directions; shape (size, size)."""
    places = np.concatenate([left, right]), np.concatenate([right, left])
    return sparse.csr_matrix((np.concatenate([values, values]), places), shape=(size, size))


def frequency(matrix: Matrix) -> NDArray[np.int64]:
    """Rows that hold each column, shape (columns,)."""
    return np.asarray(np.bincount(matrix.indices, minlength=matrix.shape[1]), dtype=np.int64)


def binary(matrix: Matrix) -> Matrix:
    """1 where the matrix holds anything."""
    return (matrix > 0).astype(np.float32)


def scale_columns(matrix: Matrix, weights: Floats) -> Matrix:
    """Multiply each column by its weight."""
    return (matrix @ sparse.diags_array(weights.astype(np.float32))).tocsr()


def row_sums(matrix: Matrix) -> Floats:
    """Sum of each row, shape (rows,)."""
    return np.asarray(matrix.sum(axis=1), dtype=np.float32).ravel()


def row_maxima(matrix: Matrix) -> Floats:
    """Largest value of each row of a matrix without negative values, 0 for an empty row; shape (rows,)."""
    compressed = matrix.tocsr()
    filled = np.flatnonzero(np.diff(compressed.indptr))
    result = np.zeros(compressed.shape[0], dtype=np.float32)
    if len(filled):
        result[filled] = np.maximum.reduceat(compressed.data, compressed.indptr[filled])
    return result


def row_argmax(matrix: Matrix, weights: Ints) -> Ints:
    """Column of the largest weight among those that each row holds, -1 for an empty row; shape (rows,)."""
    held = matrix.tocsr()
    result = np.full(held.shape[0], -1, dtype=np.int32)
    filled = np.flatnonzero(np.diff(held.indptr))
    if len(filled):
        largest = np.maximum.reduceat(weights[held.indices], held.indptr[filled])
        column = np.empty(len(weights), dtype=np.int32)
        column[weights] = np.arange(len(weights), dtype=np.int32)
        result[filled] = column[largest]
    return result


def unit_rows(matrix: Matrix) -> Matrix:
    """Scale every row to unit length; empty rows stay empty."""
    norms = np.sqrt(row_sums(matrix.multiply(matrix)))
    return (sparse.diags_array((1 / np.maximum(norms, 1e-9)).astype(np.float32)) @ matrix).tocsr()


def dots(a: Matrix, b: Matrix, left: Ints, right: Ints) -> Floats:
    """Dot product of row `left[p]` of `a` with row `right[p]` of `b` for every pair p."""
    result = np.empty(len(left), dtype=np.float32)
    for start in range(0, len(left), PAIRS_AT_ONCE):
        chunk = slice(start, start + PAIRS_AT_ONCE)
        result[chunk] = row_sums(a[left[chunk]].multiply(b[right[chunk]]))
    return result


def shared_entries(
    a: Matrix, b: Matrix, left: Ints, right: Ints
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]]:
    """Columns that row `left[p]` of `a` and row `right[p]` of `b` both hold, some pairs at a time.

    Yields:
        Number p of the pair, value in `a` and value in `b` of every such column, each of shape (entries,).
    """
    numbered, held = [], []
    for matrix in (a, b):
        # Entries are numbered from 1, so that the product keeps track of where each came from.
        numbers = np.arange(1, matrix.nnz + 1, dtype=np.float64)
        numbered.append(sparse.csr_matrix((numbers, matrix.indices, matrix.indptr), shape=matrix.shape))
        held.append(sparse.csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape))
    for start in range(0, len(left), PAIRS_AT_ONCE):
        chunk = slice(start, start + PAIRS_AT_ONCE)
        from_a = numbered[0][left[chunk]].multiply(held[1][right[chunk]]).tocsr()
        from_b = held[0][left[chunk]].multiply(numbered[1][right[chunk]]).tocsr()
        for found in (from_a, from_b):
            found.sort_indices()
        pairs = start + np.repeat(np.arange(from_a.shape[0]), np.diff(from_a.indptr))
        yield pairs, a.data[from_a.data.astype(np.int64) - 1], b.data[from_b.data.astype(np.int64) - 1]


def strongest_shared(a: Matrix, b: Matrix, left: Ints, right: Ints) -> Floats:
    """Largest value of row `left[p]` of `a` among the columns that row `right[p]` of the binary `b` holds."""
    result = np.zeros(len(left), dtype=np.float32)
    if not a.shape[1]:
        return result
    for start in range(0, len(left), PAIRS_AT_ONCE):
        chunk = slice(start, start + PAIRS_AT_ONCE)
        result[chunk] = row_maxima(a[left[chunk]].multiply(b[right[chunk]]))
    return result


def strongest_missing(a: Matrix, b: Matrix, left: Ints, right: Ints) -> Floats:
    """Largest value of row `left[p]` of `a` among the columns that row `right[p]` of the binary `b` lacks."""
    result = np.zeros(len(left), dtype=np.float32)
    if not a.shape[1]:
        return result
    for start in range(0, len(left), PAIRS_AT_ONCE):
        chunk = slice(start, start + PAIRS_AT_ONCE)
        rows = a[left[chunk]]
        result[chunk] = row_maxima(rows - rows.multiply(b[right[chunk]]))
    return result


def descending_keys(groups: NDArray[np.integer[Any]], values: Floats) -> NDArray[np.int64]:
    """One number per value, in the order of the groups and, in a group, of the values from the largest on.

    One sort of such numbers takes a fifth of the time of a sort by two arrays.
    """
    bits = (values + np.float32(0)).view(np.int32)  # no negative zero
    # The bits of floats are in order as whole numbers; those of negative ones are the other way round.
    return (groups.astype(np.int64) << 32) - np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)


def rank_within(groups: NDArray[np.integer[Any]], values: Floats) -> NDArray[np.int64]:
    """Rank (from 0) of each value within its group, largest first; ties keep the given order."""
    order = np.argsort(descending_keys(groups, values), kind="stable")
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = places_in_runs(groups[order])
    return ranks


def places_in_runs(ordered: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Place (from 0) of each value in its run of equal neighbours."""
    starts = run_starts(ordered)
    places: NDArray[np.int64] = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.append(starts, len(ordered))))
    return places


def run_starts(ordered: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Where each run of equal neighbours begins."""
    starts: NDArray[np.int64] = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    return starts


def pair_keys(one: NDArray[np.integer[Any]], other: NDArray[np.integer[Any]], size: int) -> NDArray[np.int64]:
    """One number per unordered pair of numbers below `size`; sorted pairs have ascending ones."""
    keys: NDArray[np.int64] = np.minimum(one, other).astype(np.int64) * size + np.maximum(one, other)
    return keys


def look_up(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each wanted number among ascending keys, -1 where it is none of them."""
    if not len(keys):
        return np.full(len(wanted), -1, dtype=np.int64)
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, found, -1)
