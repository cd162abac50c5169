"""Which of several offers' titles says best what the product is.

Belongs here: the score of a title among the titles of its cluster. Not here: other fields (`golden_record`).
"""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: A run of letters and digits; a decimal number stays whole.
_TOKEN = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_LETTERS = re.compile(r"[^\W\d_]{4,}")
#: Scores are compared as whole numbers, so that two equal titles never differ in the last bit of a float.
_RESOLUTION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleRules:
    """What makes a title good; weights are in points that add up.

    Attributes:
        agreement: Points of a title all of whose tokens stand in all other titles.
        coverage: Points of a title that holds every token most titles hold.
        detail: Points of a title of `detail_tokens` tokens or more; fewer earn their share.
        detail_tokens: Distinct tokens beyond which a title does not say more.
        quality: Points of a member of quality 1.
        shouting: Points lost where most longer words are in capitals.
        misfit: Points lost outside `length`.
        length: Shortest and longest title, in characters, that reads well.
    """

    agreement: float = 1.0
    coverage: float = 1.0
    detail: float = 0.8
    detail_tokens: int = 8
    quality: float = 0.3
    shouting: float = 0.4
    misfit: float = 0.4
    length: tuple[int, int] = (20, 140)


def title_scores(
    titles: pa.Array, cluster: NDArray[np.int64], quality: NDArray[np.float64], rules: TitleRules
) -> NDArray[np.int64]:
    """Score every title against the titles of its own cluster.

    A title is good when the others confirm what it says (agreement: the mean share of other titles that hold
    each of its tokens) and when it says what most of them say (coverage): together they pick the medoid.

    Args:
        titles: One title per row, no nulls.
        cluster: Number of each row's cluster, from 0.
        quality: Quality of each row's member, between 0 and 1.
        rules: The weights.

    Returns:
        One whole number per row; the larger the better.
    """
    texts: list[str] = titles.to_pylist()
    rows, tokens = _token_positions(texts)
    held = np.bincount(rows, minlength=len(texts))
    width = int(tokens.max(initial=0)) + 1
    pairs, pair = np.unique(cluster[rows] * width + tokens, return_inverse=True)
    frequency = np.bincount(pair)
    size = np.bincount(cluster)
    others = np.maximum(size[cluster] - 1, 1)
    confirmed = np.bincount(rows, weights=frequency[pair] - 1, minlength=len(texts))
    agreement = confirmed / np.maximum(held, 1) / others

    common = 2 * frequency > size[pairs // width]
    expected = np.bincount((pairs // width)[common], minlength=len(size))[cluster]
    coverage = np.bincount(rows, weights=common[pair], minlength=len(texts)) / np.maximum(expected, 1)

    length = np.array([len(text) for text in texts])
    misfit = (length < rules.length[0]) | (length > rules.length[1])
    shouting = np.array([_shouts(text) for text in texts], dtype=bool)
    points = (
        rules.agreement * agreement
        + rules.coverage * coverage
        + rules.detail * np.minimum(held, rules.detail_tokens) / rules.detail_tokens
        + rules.quality * quality
        - rules.shouting * shouting
        - rules.misfit * misfit
    )
    scores: NDArray[np.int64] = np.rint(points * _RESOLUTION).astype(np.int64)
    return scores


def _token_positions(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and token number of every distinct token of every text."""
    numbers: dict[str, int] = {}
    rows: list[int] = []
    tokens: list[int] = []
    for row, text in enumerate(texts):
        found = {numbers.setdefault(token, len(numbers)) for token in _TOKEN.findall(text.casefold())}
        rows.extend([row] * len(found))
        tokens.extend(found)
    return np.array(rows, dtype=np.int64), np.array(tokens, dtype=np.int64)


def _shouts(text: str) -> bool:
    """Whether most of a title's longer words are in capitals."""
    words = _LETTERS.findall(text)
    return bool(words) and 2 * sum(word.isupper() for word in words) > len(words)
