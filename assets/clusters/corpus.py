"""The catalogue as the matcher sees it: sellers, term matrices, prices, identifiers, in one canonical row order.

Belongs here: turning the products' table and vectors into aligned arrays, once. Not here: pairs.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.clusters.matrices import (
    Floats,
    Ints,
    Matrix,
    indicators,
    rarity,
    scale_columns,
    unit_rows,
    weighted_indicators,
)
from assets.clusters.parsing import Parsed, fold, grams, parse, squash, stems, tokenise
from assets.clusters.rules import ParsingRules
from assets.clusters.variants import Dimension, read_dimensions

APOSTROPHE = re.compile(r"(?<=\w)['’](?=s\b)")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Products as arrays; every array's first axis is the product, in the order of `ids`, which is sorted.

    Sorting makes everything that follows independent of the order in which the products were given.

    Attributes:
        ids: Product ids, ascending.
        titles: Titles as given, for people.
        parsed: What titles and descriptions say.
        seller: Number of the (source, seller), shape (n,).
        exclusive: Whether that seller lists a product once, shape (n,).
        vectors: Embeddings, shape (n, dimensions), float16, unit rows.
        words: Binary words of titles (and brands), shape (n, words).
        word_terms: The words, one per column.
        word_stems: Binary stems of each word that holds a digit, shape (words, stems of words).
        word_wholes: Which stem each word is itself, on the same columns.
        word_rarity: Weight of each word, shape (words,).
        word_vectors: Unit rows of `words` weighted by rarity.
        gram_vectors: Unit rows of character 3-grams of the canonical titles, weighted by rarity.
        text_vectors: Unit rows of the words of title and description together.
        description_vectors: Unit rows of the words of descriptions alone.
        text_words: Binary words of title and description, on the columns of `words`.
        codes: Binary codes of titles, shape (n, codes).
        text_codes: Binary codes of titles and descriptions, on the same columns.
        code_terms: The codes, one per column.
        code_rarity: Weight of each code, shape (codes,).
        stems: How much of the title's longest such code each stem makes up, shape (n, stems).
        text_stems: Binary stems of the codes of titles and descriptions, on the same columns.
        stem_rarity: Weight of each stem, shape (stems,).
        stem_vectors: Unit rows of the stems of titles and descriptions, weighted by rarity and share of the code.
        brand: Number of the brand, -1 where unknown, shape (n,).
        described: Whether the product has a description, shape (n,).
        price: Price, NaN where unknown, shape (n,).
        currency: Number of the currency, -1 where unknown, shape (n,).
        gtin: Number of the GTIN, -1 where unknown, shape (n,).
        condition: Number of the condition, shape (n,); an offer that does not say is new.
        pack_size: Items in the pack, shape (n,).
        dimensions: What the products state of their variant, by name of the dimension.
    """

    ids: list[str]
    titles: list[str]
    parsed: Parsed
    seller: Ints
    exclusive: NDArray[np.bool_]
    vectors: NDArray[np.float16]
    words: Matrix
    word_terms: list[str]
    word_stems: Matrix
    word_wholes: Matrix
    word_rarity: Floats
    word_vectors: Matrix
    gram_vectors: Matrix
    text_vectors: Matrix
    description_vectors: Matrix
    text_words: Matrix
    codes: Matrix
    text_codes: Matrix
    code_terms: list[str]
    code_rarity: Floats
    stems: Matrix
    text_stems: Matrix
    stem_rarity: Floats
    stem_vectors: Matrix
    brand: Ints
    described: NDArray[np.bool_]
    price: NDArray[np.float64]
    currency: Ints
    gtin: Ints
    condition: Ints
    pack_size: Ints
    dimensions: Mapping[str, Dimension]

    def __len__(self) -> int:
        """Number of products."""
        return len(self.ids)

    def exclusion_groups(self) -> Ints:
        """Groups whose members are never one product, shape (n,): an exclusive seller's offers; others alone."""
        alone = self.seller.max(initial=0) + 1 + np.arange(len(self))
        return np.where(self.exclusive, self.seller, alone).astype(np.int32)

    def with_exclusive(self, exclusive: NDArray[np.bool_]) -> "Corpus":
        """The same corpus with another opinion of which sellers list a product once."""
        return dataclasses.replace(self, exclusive=exclusive)


def encode(values: pa.ChunkedArray | pa.Array) -> Ints:
    """Number the distinct values in ascending order, -1 for null; shape (rows,)."""
    texts = np.array([value if value is not None else "" for value in values.to_pylist()], dtype=object).astype(str)
    numbers = np.unique(texts, return_inverse=True)[1].astype(np.int32)
    numbers[texts == ""] = -1
    return numbers


def shares_of(codes: Iterable[str], rules: ParsingRules) -> dict[str, float]:
    """How much of the longest of these codes that holds it each stem makes up, in 0..1."""
    shares: dict[str, float] = {}
    for code in codes:
        for stem in stems(code, rules):
            shares[stem] = max(shares.get(stem, 0.0), len(stem) / len(code))
    return shares


def read_corpus(products: pa.Table, vectors: NDArray[np.float16], rules: ParsingRules) -> Corpus:
    """Read the products' table (columns of `CLEANED_PRODUCTS`) and its vectors, row by row the same products.

    All sellers with company are taken to list a product once; `sellers.find_exclusive` looks whether they do.

    Raises:
        ValueError: the vectors do not match the rows, or a product id repeats.
    """
    if len(vectors) != products.num_rows:
        raise ValueError(f"products have {products.num_rows} rows, vectors {len(vectors)}: expected one per product")
    order = pc.sort_indices(products.column("product_id")).to_numpy()
    table = products.take(pa.array(order))
    ids: list[str] = table.column("product_id").to_pylist()
    if len(set(ids)) != len(ids):
        repeated = next(a for a, b in itertools.pairwise(ids) if a == b)
        raise ValueError(f"product id {repeated!r} occurs more than once: expected one row per product")

    titles: list[str] = table.column("title").to_pylist()
    brands = [tokenise(brand or "") for brand in table.column("brand").to_pylist()]
    mpns = [[squash(mpn)] if mpn and squash(mpn) else [] for mpn in table.column("mpn").to_pylist()]
    parsed = parse(
        [APOSTROPHE.sub("", title) for title in titles],
        [APOSTROPHE.sub("", text) if text else None for text in table.column("description").to_pylist()],
        [brand + mpn for brand, mpn in zip(brands, mpns, strict=True)],
        rules,
    )
    words = indicators([text.words for text in parsed.titles])
    word_stems = indicators([set(stems(word, rules)) for word in words.terms])
    text_words = indicators([(*t.words, *d.words) for t, d in zip(parsed.titles, parsed.descriptions, strict=True)])
    descriptions = indicators([text.words for text in parsed.descriptions])
    three_grams = indicators(grams([" ".join(text.words) for text in parsed.titles])).matrix
    text_codes = indicators([(*t.codes, *d.codes) for t, d in zip(parsed.titles, parsed.descriptions, strict=True)])
    text_stems = weighted_indicators(
        [shares_of((*t.codes, *d.codes), rules) for t, d in zip(parsed.titles, parsed.descriptions, strict=True)]
    )
    stem_rarity = rarity(text_stems.matrix)
    word_rarity, code_rarity = rarity(words.matrix), rarity(text_codes.matrix)
    offerer = [
        f"{source}\0{seller}"
        for source, seller in zip(*(table.column(c).to_pylist() for c in ("source", "seller")), strict=True)
    ]
    seller = encode(pa.array(offerer, pa.string()))
    return Corpus(
        ids=ids,
        titles=titles,
        parsed=parsed,
        seller=seller,
        exclusive=np.full(len(ids), len(np.unique(seller)) > 1),
        vectors=vectors[order],
        words=words.matrix,
        word_terms=words.terms,
        word_stems=word_stems.matrix,
        word_wholes=indicators([[word] for word in words.terms]).columns_of(word_stems.terms),
        word_rarity=word_rarity,
        word_vectors=unit_rows(scale_columns(words.matrix, word_rarity)),
        gram_vectors=unit_rows(scale_columns(three_grams, rarity(three_grams))),
        text_vectors=unit_rows(scale_columns(text_words.matrix, rarity(text_words.matrix))),
        description_vectors=unit_rows(scale_columns(descriptions.matrix, rarity(descriptions.matrix))),
        text_words=text_words.columns_of(words.terms),
        codes=indicators([text.codes for text in parsed.titles]).columns_of(text_codes.terms),
        text_codes=text_codes.matrix,
        code_terms=text_codes.terms,
        code_rarity=code_rarity,
        stems=weighted_indicators([shares_of(t.codes, rules) for t in parsed.titles]).columns_of(text_stems.terms),
        text_stems=(text_stems.matrix > 0).astype(np.float32),
        stem_rarity=stem_rarity,
        stem_vectors=unit_rows(scale_columns(text_stems.matrix, stem_rarity)),
        brand=encode(pc.utf8_lower(table.column("brand"))),
        described=np.array([bool(text.words) for text in parsed.descriptions], dtype=bool),
        price=np.array([float(p) if p else np.nan for p in table.column("price").to_pylist()], dtype=np.float64),
        currency=encode(table.column("currency")),
        gtin=encode(table.column("gtin")),
        condition=encode(pc.replace_substring(table.column("condition"), "unknown", "new")),
        pack_size=table.column("pack_size").to_numpy().astype(np.int32),
        dimensions=read_dimensions([fold(title) for title in titles], table.column("measures").to_pylist()),
    )
