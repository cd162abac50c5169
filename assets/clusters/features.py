"""What speaks for and against a pair: named numbers per pair, computed for all pairs at once.

Belongs here: the features and the conflicts that veto. Not here: their weights, thresholds, clusters.

Weights of terms are rarities between 0 and 1, so that a feature means the same in a small catalogue and a large
one; none needs to be standardised.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.clusters.corpus import Corpus
from assets.clusters.matrices import (
    Floats,
    Ints,
    Matrix,
    binary,
    dots,
    indicators,
    row_sums,
    scale_columns,
    strongest_missing,
    strongest_shared,
)
from assets.clusters.parsing import stems
from assets.clusters.rules import ParsingRules, VetoRules
from assets.clusters.statements import NEUTRAL, RANKS

#: Pairs whose vectors are multiplied at once: they fit into the cache of a core.
VECTORS_AT_ONCE = 2_000
#: Two prices that differ by more than this factor differ no less clearly than by it (natural logarithm).
WIDEST_PRICE_GAP = 3.0
#: Two codes of one shape that are at least so alike, and not the same, name two models of one series.
SIBLINGS = 0.6
#: Dimensions that `measures_agree` and `measures_conflict` leave out: one has features of its own, one only vetoes.
WORDED = ("edition", "accessory")
#: Codes of vetoes; 0 is none. The position is the number in the array of vetoes.
VETOES = ("", "gtin", "condition", "variant", "pack", "number", "colour", "accessory")
#: Vetoes that hold for whole clusters; the others part a pair, and many good pairs can outweigh one misread title.
HARD_VETOES = ("gtin", "condition", "colour")


def is_hard(vetoes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each veto holds for whole clusters, same shape."""
    return np.isin(vetoes, [VETOES.index(name) for name in HARD_VETOES])


@dataclass(frozen=True, slots=True)
class Features:
    """Named features of pairs: `values` has shape (pairs, len(names))."""

    names: tuple[str, ...]
    values: Floats

    def __getitem__(self, name: str) -> Floats:
        """One feature, shape (pairs,)."""
        return self.values[:, self.names.index(name)]


Columns = dict[str, NDArray[np.floating[Any]]]


def fuzzy(scorer: Callable[..., float], a: NDArray[np.object_], b: NDArray[np.object_]) -> Floats:
    """Similarity (0 to 100) of a[p] and b[p] for every pair, by a rapidfuzz scorer, scaled to 0..1."""
    from rapidfuzz import process

    return np.asarray(process.cpdist(a, b, scorer=scorer, dtype=np.float32, workers=-1), dtype=np.float32)


def text_features(corpus: Corpus, left: Ints, right: Ints) -> Columns:
    """How alike two titles read, and how much of each the other does not say."""
    from rapidfuzz import fuzz

    words = corpus.words.matrix
    weighted = corpus.words.weighted()
    halved = scale_columns(words, np.sqrt(corpus.words.rarity))
    word_vectors, gram_vectors = corpus.words.unit(), corpus.grams.unit()
    total = np.maximum(row_sums(weighted), 1e-6)
    shared = dots(halved, halved, left, right)
    unsaid = total[left] - shared, total[right] - shared
    missing = (
        strongest_missing(weighted, words, left, right),
        strongest_missing(weighted, words, right, left),
    )
    covered = (
        dots(weighted, corpus.text_words, left, right) / total[left],
        dots(weighted, corpus.text_words, right, left) / total[right],
    )
    text = corpus.texts
    return {
        "words_cosine": dots(word_vectors, word_vectors, left, right),
        "words_contained": shared / np.minimum(total[left], total[right]),
        "words_shared": shared,
        "words_unsaid_both": np.minimum(*unsaid),
        "words_unsaid_most": np.maximum(*unsaid),
        "rarest_shared": strongest_shared(weighted, words, left, right),
        "rarest_unsaid_both": np.minimum(*missing),
        "rarest_unsaid_most": np.maximum(*missing),
        "grams_cosine": dots(gram_vectors, gram_vectors, left, right),
        "covered_least": np.minimum(*covered),
        "covered_most": np.maximum(*covered),
        "tokens_alike": fuzzy(fuzz.token_set_ratio, text[left], text[right]) / 100,
        "tokens_sorted_alike": fuzzy(fuzz.token_sort_ratio, text[left], text[right]) / 100,
    }


def meaning_features(corpus: Corpus, left: Ints, right: Ints) -> Columns:
    """How alike embeddings and descriptions are."""
    embedding = np.empty(len(left), dtype=np.float32)
    # Once for every product: no machine has fast half floats, and a product is in many pairs.
    vectors = corpus.vectors.astype(np.float32)
    for start in range(0, len(left), VECTORS_AT_ONCE):
        chunk = slice(start, start + VECTORS_AT_ONCE)
        embedding[chunk] = np.einsum("ij,ij->i", vectors[left[chunk]], vectors[right[chunk]])
    both = corpus.described[left] & corpus.described[right]
    descriptions = np.zeros(len(left), dtype=np.float32)
    described = corpus.description_words.unit()
    descriptions[both] = dots(described, described, left[both], right[both])
    return {
        "embedding_cosine": embedding,
        "descriptions_cosine": descriptions,
        "descriptions_both": both.astype(np.float32),
    }


def main_codes(corpus: Corpus) -> tuple[NDArray[np.object_], Floats]:
    """The main code of each title and its rarity; "" and 0 without one."""
    # The last stands for none: it is where -1 leads.
    names = np.array([*corpus.text_codes.names, ""], dtype=object)
    return names[corpus.main_code], np.append(corpus.text_codes.rarity, np.float32(0))[corpus.main_code]


def code_shape(code: str) -> str:
    """The order of letters and digits in a code: `a0a` for `gs308e`."""
    return re.sub(r"[^\W\d]+", "a", re.sub(r"\d+", "0", code))


def code_features(corpus: Corpus, left: Ints, right: Ints) -> Columns:
    """Whether model codes agree, nearly agree or conflict, weighted by their rarity."""
    from rapidfuzz import distance, fuzz

    weighted, text_codes = scale_columns(corpus.codes, corpus.text_codes.rarity), corpus.text_codes.matrix
    in_titles = strongest_shared(weighted, corpus.codes, left, right)
    in_texts = np.maximum(
        strongest_shared(weighted, text_codes, left, right), strongest_shared(weighted, text_codes, right, left)
    )
    codes, weight = main_codes(corpus)
    compact = np.array([text.replace(" ", "") for text in corpus.texts], dtype=object)
    stems, text_stems = scale_columns(corpus.stems, corpus.text_stems.rarity), binary(corpus.text_stems.matrix)
    stem_in_right = strongest_shared(stems, text_stems, left, right)
    stem_in_left = strongest_shared(stems, text_stems, right, left)
    a, b = codes[left], codes[right]
    have_a, have_b = weight[left] > 0, weight[right] > 0
    both = have_a & have_b
    prefix = fuzzy(distance.Prefix.normalized_similarity, a, b) * both
    inside = (
        np.maximum(
            fuzzy(fuzz.partial_ratio, a, compact[right]) * have_a, fuzzy(fuzz.partial_ratio, b, compact[left]) * have_b
        )
        / 100
    )
    alike = fuzzy(distance.Indel.normalized_similarity, a, b) * both
    conflict = both * np.minimum(weight[left], weight[right]) * (in_texts == 0) * (inside < 1)
    near = np.flatnonzero((conflict > 0) & (alike >= SIBLINGS))
    shapes = {code: code_shape(code) for code in {*a[near], *b[near]}}
    siblings = np.zeros_like(conflict)
    siblings[near] = [
        amount * (shapes[one] == shapes[other])
        for amount, one, other in zip(conflict[near], a[near], b[near], strict=True)
    ]
    return {
        "code_shared": np.maximum(in_titles, 0.8 * in_texts),
        "code_in_titles": in_titles,
        "code_in_texts": in_texts,
        "code_prefix": prefix,
        "code_stem_least": np.minimum(stem_in_right, stem_in_left),
        "code_stem_most": np.maximum(stem_in_right, stem_in_left),
        "code_alike": alike,
        "code_inside": inside,
        "code_both": both.astype(np.float32),
        "code_one": (have_a ^ have_b).astype(np.float32),
        "code_conflict": conflict.astype(np.float32),
        "code_siblings": siblings.astype(np.float32),
    }


def number_features(corpus: Corpus, left: Ints, right: Ints) -> Columns:
    """Numbers and measures that agree, conflict, or stand on one side only."""
    weighted = scale_columns(corpus.numbers.matrix, np.sqrt(corpus.numbers.rarity))
    total = row_sums(weighted.multiply(weighted))
    shared = dots(weighted, weighted, left, right)
    unsaid = total[left] - shared, total[right] - shared
    agreeing, contradicting = np.zeros(len(left), np.float32), np.zeros(len(left), np.float32)
    for name, dimension in corpus.dimensions.items():
        if name not in WORDED:
            agreeing += dimension.agrees(left, right)
            contradicting += dimension.contradicts(left, right)
    return {
        "numbers_shared": shared,
        "numbers_unsaid_both": np.minimum(*unsaid),
        "numbers_unsaid_most": np.maximum(*unsaid),
        "measures_agree": agreeing,
        "measures_conflict": contradicting,
    }


def statement_features(corpus: Corpus, left: Ints, right: Ints) -> Columns:
    """Editions: words too common to weigh much by rarity, and telling all the same."""
    edition = corpus.dimensions["edition"]
    conflict = edition.contradicts(left, right)
    features = {
        "edition_agrees": edition.agrees(left, right) & ~conflict,
        "edition_conflict": conflict,
        "edition_unsaid": edition.differs(left, right) & ~conflict,
    }
    return {name: values.astype(np.float32) for name, values in features.items()}


def compare_colours(corpus: Corpus, left: Ints, right: Ints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether both name a colour in common, and whether both name some and none in common, shape (pairs,)."""
    coloured = row_sums(corpus.colours) > 0
    same = dots(corpus.colours, corpus.colours, left, right) > 0
    return same, coloured[left] & coloured[right] & ~same


def offer_features(corpus: Corpus, left: Ints, right: Ints) -> Columns:
    """Colour, pack, identifiers and price."""
    same_colour, other_colour = compare_colours(corpus, left, right)
    both_gtin = (corpus.gtin[left] >= 0) & (corpus.gtin[right] >= 0)
    same_gtin = both_gtin & (corpus.gtin[left] == corpus.gtin[right])
    comparable = corpus.currency[left] == corpus.currency[right]
    gap = np.abs(np.log(corpus.price[left] / corpus.price[right]))
    gap = np.where(comparable & np.isfinite(gap), np.minimum(gap, WIDEST_PRICE_GAP), np.nan)
    branded = (corpus.brand[left] >= 0) & (corpus.brand[right] >= 0)
    same_brand = branded & (corpus.brand[left] == corpus.brand[right])
    features = {
        "brand_agrees": same_brand,
        "brand_conflict": branded & ~same_brand,
        "colour_agrees": same_colour,
        "colour_conflict": other_colour,
        "pack_conflict": corpus.pack_size[left] != corpus.pack_size[right],
        "gtin_agrees": same_gtin,
        "gtin_conflict": both_gtin & ~same_gtin,
        "price_known": np.isfinite(gap),
        "price_gap": np.nan_to_num(gap),
    }
    return {name: values.astype(np.float32) for name, values in features.items()}


def compare(corpus: Corpus, left: Ints, right: Ints) -> Features:
    """All features of the pairs of rows `left[p]`, `right[p]`."""
    columns: Columns = {}
    for family in (text_features, meaning_features, code_features, number_features, statement_features, offer_features):
        columns |= family(corpus, left, right)
    names = tuple(columns)
    values = np.empty((len(left), len(names)), dtype=np.float32)
    for place, name in enumerate(names):
        # Taken out one by one: all of them twice would be the matcher's largest need of memory.
        values[:, place] = columns.pop(name)
    return Features(names, values)


def differ_in_numbers_alone(corpus: Corpus, left: Ints, right: Ints, parsing: ParsingRules) -> NDArray[np.bool_]:
    """Whether nothing but words with digits, or words for a rank, tells two titles apart, shape (pairs,).

    `Galaxy S23 black` and `Galaxy S24 black` are two products, and so are `iPhone 15 Pro` and `iPhone 15 Pro Max`.
    Where one title lacks what the other says, only a rank tells, for shops leave codes out; so they do with the endings
    of codes (`KDL50WF663` and `KDL50WF663BU` are one).
    """
    # Some offers hold few of the words of a whole catalogue.
    used = np.unique(corpus.words.matrix.indices)
    names = [corpus.words.names[column] for column in used.tolist()]
    neutral = np.array([word in NEUTRAL for word in names], dtype=np.bool_)
    words = scale_columns(corpus.words.matrix[:, used], (~neutral).astype(np.float32))
    ranks = np.array([word in RANKS for word in names], dtype=np.bool_)
    telling = ranks | np.array([any(map(str.isdigit, word)) for word in names], dtype=np.bool_)
    digits = scale_columns(words, telling.astype(np.float32))
    ranking = scale_columns(words, ranks.astype(np.float32))

    def unsaid(kind: Matrix) -> tuple[Floats, Floats]:
        """How many such words of each title the other lacks."""
        total, shared = row_sums(kind), dots(kind, kind, left, right)
        return total[left] - shared, total[right] - shared

    (left_all, right_all), (left_digits, right_digits) = unsaid(words), unsaid(digits)
    left_ranks, right_ranks = unsaid(ranking)
    told = (left_all == left_digits) & (right_all == right_digits)
    one_side = np.minimum(left_all, right_all) == 0
    ranked = (left_all == left_ranks) & (right_all == right_ranks) & (left_all + right_all > 0)
    alone = np.where(one_side, ranked, told)
    found = np.flatnonzero(alone)
    a, b = digits[left[found]], digits[right[found]]
    common = a.multiply(b)
    only_a, only_b = (a - common).tocsr(), (b - common).tocsr()
    differing = np.unique(np.concatenate([only_a.indices, only_b.indices]))
    only_a, only_b = only_a[:, differing], only_b[:, differing]
    spelt = [names[column] for column in differing.tolist()]
    parts = indicators([set(stems(word, parsing)) for word in spelt])
    wholes = indicators([[word] for word in spelt]).columns_of(parts.terms)
    goes_on = (only_a @ wholes).multiply(only_b @ parts.matrix)
    goes_on += (only_b @ wholes).multiply(only_a @ parts.matrix)
    goes_on = row_sums(goes_on) > 0
    alone[found[goes_on]] = False
    return np.asarray(alone, dtype=np.bool_)


def offers_accessory(corpus: Corpus, left: Ints, right: Ints) -> NDArray[np.bool_]:
    """Whether one is an accessory `for` something, the other is none or another, and they share no code of their own.

    The code of what an accessory is for is not its own.
    """
    result = corpus.dimensions["accessory"].contradicts(left, right)
    found = np.flatnonzero(result)
    result[found[dots(corpus.own_codes, corpus.own_codes, left[found], right[found]) > 0]] = False
    return result


def find_vetoes(
    corpus: Corpus,
    left: Ints,
    right: Ints,
    rules: VetoRules,
    *,
    parsing: ParsingRules | None = None,
    precision_first: bool = False,
) -> NDArray[np.uint8]:
    """Number of the veto (index into `VETOES`) that keeps each pair apart, 0 for none, shape (pairs,).

    Where precision comes first, an offer that is silent where others name a variant may be any of them, and joins none.
    """
    vetoes = np.zeros(len(left), dtype=np.uint8)

    def differ(values: Ints) -> NDArray[np.bool_]:
        a, b = values[left], values[right]
        return np.asarray((a >= 0) & (b >= 0) & (a != b), dtype=np.bool_)

    if rules.numbers:
        alone = differ_in_numbers_alone(corpus, left, right, parsing or ParsingRules())
        vetoes[alone] = VETOES.index("number")
    for name in rules.dimensions:
        if (dimension := corpus.dimensions.get(name)) is not None:
            vetoes[dimension.contradicts(left, right)] = VETOES.index("variant")
    for name in rules.silence if precision_first else ():
        if (dimension := corpus.dimensions.get(name)) is not None:
            vetoes[dimension.differs(left, right)] = VETOES.index("variant")
    if rules.accessories:
        vetoes[offers_accessory(corpus, left, right)] = VETOES.index("accessory")
    # Whoever numbers products has told variants apart better than words do; but packs borrow the number of the single.
    vetoes[(corpus.gtin[left] >= 0) & (corpus.gtin[left] == corpus.gtin[right])] = 0
    if rules.pack:
        vetoes[corpus.pack_size[left] != corpus.pack_size[right]] = VETOES.index("pack")
    if rules.colours:
        vetoes[compare_colours(corpus, left, right)[1]] = VETOES.index("colour")
    if rules.condition:
        vetoes[differ(corpus.condition)] = VETOES.index("condition")
    vetoes[differ(corpus.gtin)] = VETOES.index("gtin")
    return vetoes
