"""The catalogue as the matcher sees it: sellers, term matrices, prices, identifiers, as aligned arrays.

Belongs here: turning what was read of the offers into arrays, once. Not here: reading (`reading`), pairs.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from assets.clusters.matrices import (
    Floats,
    Indicators,
    Ints,
    Matrix,
    incidence,
    number_values,
    row_argmax,
    scale_columns,
    unit_rows,
)
from assets.clusters.rules import CandidateRules
from assets.clusters.statistics import Statistics, count_terms, pick_centres
from assets.clusters.variants import Dimension, dimensions_of

#: Kinds of terms whose frequencies are known (`Statistics.counts`).
KINDS = ("words", "grams", "text_words", "description_words", "text_codes", "text_stems", "numbers")
#: Character n-grams of titles, and the bits of a character in their number.
GRAM, CHARACTER_BITS = 3, 21


@dataclass(frozen=True, slots=True)
class Terms:
    """Which offers hold which terms of one kind.

    Attributes:
        matrix: How much of each term an offer holds, mostly 1, shape (n, terms).
        names: The terms, ascending.
        rarity: Weight of each term by the frozen statistics, shape (terms,).
        frequency: Offers that held it when they were frozen, shape (terms,).
    """

    matrix: Matrix
    names: list[str]
    rarity: Floats
    frequency: Ints

    @classmethod
    def of(cls, held: Indicators, kind: str, statistics: Statistics) -> "Terms":
        """The terms with what is known of their kind."""
        frequency = statistics.frequency(kind, held.terms)
        return cls(held.matrix, held.terms, statistics.rarity(frequency), frequency)

    def weighted(self) -> Matrix:
        """The matrix weighted by rarity."""
        return scale_columns(self.matrix, self.rarity)

    def unit(self) -> Matrix:
        """The same with rows of unit length."""
        return unit_rows(self.weighted())

    def take(self, rows: Ints) -> "Terms":
        """The same of some offers."""
        return dataclasses.replace(self, matrix=self.matrix[rows])


@dataclass(frozen=True, slots=True)
class Corpus:
    """Offers as arrays; every array's first axis is the offer, in the order of `ids`, which is sorted.

    Sorting makes everything that follows independent of the order in which the offers were given. Terms are sorted,
    too, so that a sum over the terms of an offer does not depend on who else is there.

    Attributes:
        ids: Product ids, ascending.
        titles: Titles as given, for people.
        texts: Canonical words of the title, with spaces between, shape (n,).
        seller: Number of the (source, seller), shape (n,).
        exclusive: Whether that seller lists a product once, shape (n,).
        vectors: Embeddings, shape (n, dimensions), float16, unit rows.
        words: Words of titles (and brands).
        all_words: Words of title and description together.
        description_words: Words of descriptions alone.
        grams: Character 3-grams of the canonical titles.
        numbers: Numbers of titles.
        colours: Colours of titles, binary.
        text_words: `all_words` on the columns of `words`.
        text_codes: Codes of titles and descriptions.
        codes: Codes of titles, on the same columns.
        own_codes: Those of them that are not of what the offer is for.
        main_code: Column of the rarest code of the title, the longest of equally rare ones; -1 without one, shape (n,).
        text_stems: How much of the longest such code of title and description each stem makes up.
        stems: The same of the title, on the same columns.
        brand: Number of the brand, -1 where unknown, shape (n,).
        described: Whether the offer has a description, shape (n,).
        price: Price, NaN where unknown, shape (n,).
        currency: Number of the currency, -1 where unknown, shape (n,).
        gtin: Number of the GTIN, -1 where unknown, shape (n,).
        condition: Number of the condition, shape (n,).
        pack_size: Items in the pack, shape (n,).
        dimensions: What the offers state of their variant, by name of the dimension.
    """

    ids: list[str]
    titles: list[str]
    texts: NDArray[np.object_]
    seller: Ints
    exclusive: NDArray[np.bool_]
    vectors: NDArray[np.float16]
    words: Terms
    all_words: Terms
    description_words: Terms
    grams: Terms
    numbers: Terms
    colours: Matrix
    text_words: Matrix
    text_codes: Terms
    codes: Matrix
    own_codes: Matrix
    main_code: Ints
    text_stems: Terms
    stems: Matrix
    brand: Ints
    described: NDArray[np.bool_]
    price: NDArray[np.float64]
    currency: Ints
    gtin: Ints
    condition: Ints
    pack_size: Ints
    dimensions: Mapping[str, Dimension]

    def __len__(self) -> int:
        """Number of offers."""
        return len(self.ids)

    def exclusion_groups(self) -> Ints:
        """Groups whose members are never one product, shape (n,): an exclusive seller's offers; others alone."""
        alone = self.seller.max(initial=0) + 1 + np.arange(len(self))
        return np.where(self.exclusive, self.seller, alone).astype(np.int32)

    def with_exclusive(self, exclusive: NDArray[np.bool_]) -> "Corpus":
        """The same corpus with another opinion of which sellers list a product once."""
        return dataclasses.replace(self, exclusive=exclusive)

    def take(self, rows: Ints) -> "Corpus":
        """The corpus of some offers alone, ascending; every feature of two of them is the same there."""
        chosen: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                chosen[field.name] = [value[row] for row in rows.tolist()]
            elif isinstance(value, Mapping):
                chosen[field.name] = {name: dimension.take(rows) for name, dimension in value.items()}
            else:
                chosen[field.name] = value.take(rows) if isinstance(value, Terms) else value[rows]
        return dataclasses.replace(self, **chosen)


def encode(values: pa.ChunkedArray) -> Ints:
    """Number the distinct values in ascending order, -1 for null or nothing; shape (rows,)."""
    return number_values(pc.if_else(pc.equal(values, ""), None, values))[0]


def gram_incidence(texts: Sequence[str]) -> Indicators:
    """Character n-grams of texts padded with a space, binary, by the code points of all texts at once."""
    padded = np.frombuffer("".join(f" {text} \n" for text in texts).encode("utf-32-le"), dtype=np.uint32)
    ends = padded == ord("\n")
    row = np.cumsum(ends) - ends
    code = np.zeros(max(len(padded) - GRAM + 1, 0), dtype=np.int64)
    whole = np.ones(len(code), dtype=np.bool_)
    for offset in range(GRAM):
        part = slice(offset, offset + len(code))
        code = (code << CHARACTER_BITS) | padded[part]
        whole &= ~ends[part]
    column, distinct = number_values(pa.chunked_array([code[whole]]))
    numbers = distinct.to_numpy()
    matrix = sparse.csr_matrix(
        (np.ones(len(column), np.float32), (row[: len(code)][whole], column)), shape=(len(texts), len(numbers))
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    letters = [(numbers >> (CHARACTER_BITS * place)) & ((1 << CHARACTER_BITS) - 1) for place in reversed(range(GRAM))]
    return Indicators(
        matrix, ["".join(map(chr, gram)) for gram in zip(*(part.tolist() for part in letters), strict=True)]
    )


def term_lists(read: pa.Table) -> dict[str, Indicators]:
    """The terms of every kind whose frequencies are known (`KINDS`)."""
    shares = {"text_stems": "text_stems_share"}
    held = {
        kind: incidence(read.column(kind), read.column(shares[kind]) if kind in shares else None)
        for kind in KINDS
        if kind != "grams"
    }
    return held | {"grams": gram_incidence(read.column("text").to_pylist())}


def take_statistics(
    read: pa.Table,
    held: Mapping[str, Indicators],
    vectors: NDArray[np.float16],
    spellings: frozenset[str],
    rules: CandidateRules,
) -> Statistics:
    """What is to be known of a catalogue.

    Which sellers list a product twice takes a corpus to tell (`sellers`).

    Args:
        read: As `reading.READ`, ordered by product id.
        held: Its `term_lists`.
        vectors: Embeddings of the same rows.
        spellings: Those that it was read by.
        rules: From which size on vectors are searched by cells.
    """
    return Statistics(
        offers=read.num_rows,
        offerers=len(pc.unique(read.column("offerer"))),
        counts={kind: count_terms(terms) for kind, terms in held.items()},
        spellings=spellings,
        centres=pick_centres(vectors, rules.exact_vectors),
    )


def build_corpus(
    read: pa.Table, held: Mapping[str, Indicators], vectors: NDArray[np.float16], statistics: Statistics
) -> Corpus:
    """Arrays of what was read of some offers, by what is known of a catalogue.

    Args:
        read: As `reading.READ`, ordered by product id.
        held: Its `term_lists`.
        vectors: Embeddings of the same rows.
        statistics: What is known.
    """
    terms = {kind: Terms.of(held[kind], kind, statistics) for kind in KINDS}
    word_names, code_names = terms["words"].names, terms["text_codes"].names
    codes = incidence(read.column("codes")).columns_of(code_names)
    offerers = read.column("offerer").to_pylist()
    return Corpus(
        ids=read.column("product_id").to_pylist(),
        titles=read.column("title").to_pylist(),
        texts=np.array(read.column("text").to_pylist(), dtype=object),
        seller=encode(read.column("offerer")),
        exclusive=statistics.list_once(offerers),
        vectors=vectors,
        words=terms["words"],
        all_words=terms["text_words"],
        description_words=terms["description_words"],
        grams=terms["grams"],
        numbers=terms["numbers"],
        colours=incidence(read.column("colours")).matrix,
        text_words=held["text_words"].columns_of(word_names),
        text_codes=terms["text_codes"],
        codes=codes,
        own_codes=incidence(read.column("own_codes")).columns_of(code_names),
        main_code=row_argmax(codes, by_weight(terms["text_codes"])),
        text_stems=terms["text_stems"],
        stems=incidence(read.column("stems"), read.column("stems_share")).columns_of(terms["text_stems"].names),
        brand=encode(read.column("brand")),
        described=pc.greater(pc.list_value_length(read.column("description_words")), 0).to_numpy(),
        price=pc.fill_null(read.column("price"), float("nan")).to_numpy(),
        currency=encode(read.column("currency")),
        gtin=encode(read.column("gtin")),
        condition=encode(read.column("condition")),
        pack_size=read.column("pack_size").to_numpy(),
        dimensions=dimensions_of(incidence(read.column("stated")), incidence(read.column("alike"))),
    )


def by_weight(codes: Terms) -> Ints:
    """Place of each code in the order of weight, then length, then spelling, shape (codes,)."""
    lengths = np.fromiter(map(len, codes.names), dtype=np.int32, count=len(codes.names))
    place = np.empty(len(lengths), dtype=np.int32)
    # The names are ascending already.
    place[np.lexsort((np.arange(len(lengths)), lengths, codes.rarity))] = np.arange(len(lengths), dtype=np.int32)
    return place
