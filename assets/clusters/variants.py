"""What a title says that tells variants of one product apart: size, capacity, generation, year, platform.

Belongs here: reading such statements, and which pairs of products contradict each other. Not here: the quantities
themselves (`cleaned_products.measures` has them in base units), what follows from a contradiction.

A statement is a value of a *dimension*. Two products contradict each other in a dimension where both state something
and either share nothing, or state equally much and not the same (`8 GB RAM, 256 GB` and `8 GB, 512 GB`). A product that
states nothing contradicts nobody.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from assets.clusters.matrices import Floats, Ints, Matrix, dots, indicators
from assets.clusters.rules import ROMAN

#: Two quantities are one where they differ by less than about this share: `55"` is `139 cm`, 1 TB is 1024 GB.
TOLERANCE: Final = 0.03
NEAR: Final = (-1, 0, 1)
_STEP: Final = math.log1p(TOLERANCE)
#: Quantities that are easily misread, and by which factor: a single prime is feet or inches.
MISREAD: Final = MappingProxyType({"length_mm": (12.0,)})

_WORDS_OF_NUMBERS: Final = MappingProxyType(
    {
        word: str(number)
        for number, words in {
            1: "first erste premiere prima primera",
            2: "second zweite deuxieme seconda segunda",
            3: "third dritte troisieme terza tercera",
            4: "fourth vierte quatrieme quarta cuarta",
            5: "fifth funfte cinquieme quinta",
        }.items()
        for word in words.split()
    }
)
_GENERATION: Final = r"(?:generations?|generazione|generacion|gen)"
_MARK: Final = r"(?:mark|mk|gen(?:eration)?|generazione|generacion|serie(?:s)?)"
_ORDINAL: Final = re.compile(rf"\b(\d{{1,2}})\s?(?:st|nd|rd|th|e|eme|er|ere|[aª]|\.)?\s{_GENERATION}\b")
_WORDED: Final = re.compile(rf"\b({'|'.join(_WORDS_OF_NUMBERS)})\s{_GENERATION}\b")
_NUMBERED: Final = re.compile(rf"\b{_MARK}[\s.-]?(\d{{1,2}}|{'|'.join(ROMAN)})\b(?!\s?[.,]\d)")
_YEAR: Final = re.compile(r"(?<![\w.,/-])((?:19[89]|20[0-4])\d)(?![\w,/]|\.\d|\s?(?:w|mah|mb|gb|rpm|x|dpi|ml|mm)\b)")

_PLATFORMS: Final = MappingProxyType(
    {
        spelling: platform
        for platform, spellings in {
            "windows": "windows win win98 winxp win32",
            "mac": "mac macos macintosh osx macosx",
            "linux": "linux",
            "ps3": "ps3 playstation3",
            "ps4": "ps4 playstation4",
            "ps5": "ps5 playstation5",
            "xbox": "xbox",
            "switch": "switch",
            "wii": "wii",
            "android": "android",
        }.items()
        for spelling in spellings.split()
    }
)
_PLAYSTATION: Final = re.compile(r"\bplaystation\s(?=[345]\b)")
#: `switch` is a console only beside its maker's name; elsewhere it joins cables.
_CONSOLE_MAKER: Final = "nintendo"
_BOTH: Final = re.compile(r"\b(?:hybrid|win/mac|mac/win|pc/mac|mac/pc)\b")


def read_generation(text: str) -> set[str]:
    """Generations that a folded title states: `mark ii`, `mk2`, `gen 3`, `2nd generation`, `second generation`."""
    found = {match[1] for match in _ORDINAL.finditer(text)}
    found |= {_WORDS_OF_NUMBERS[match[1]] for match in _WORDED.finditer(text)}
    found |= {ROMAN.get(match[1], match[1]) for match in _NUMBERED.finditer(text)}
    return {number.lstrip("0") or "0" for number in found}


def read_years(text: str) -> set[str]:
    """Years of a model or an edition that a folded title states."""
    return {match[1] for match in _YEAR.finditer(text)}


def read_platforms(text: str) -> set[str]:
    """Systems a folded title says it is for; those that say to be for several state nothing."""
    if _BOTH.search(text):
        return set()
    words = re.findall(r"[a-z0-9]+", _PLAYSTATION.sub("playstation", text))
    found = {_PLATFORMS[word] for word in words if word in _PLATFORMS}
    return found if _CONSOLE_MAKER in words else found - {"switch"}


def bucket(value: float) -> int:
    """Number of a quantity's step on a logarithmic scale; equal quantities are at most one step apart."""
    return round(math.log(value) / _STEP)


@dataclass(frozen=True, slots=True)
class Dimension:
    """Who states what in one dimension.

    Attributes:
        stated: Number of values each product states, shape (n,).
        values: Binary values of each product, shape (n, values).
        alike: Binary values that are equal to one of the product's, shape (n, values).
    """

    stated: Ints
    values: Matrix
    alike: Matrix

    def contradicts(self, left: Ints, right: Ints) -> NDArray[np.bool_]:
        """Whether products `left[p]` and `right[p]` contradict each other, shape (pairs,)."""
        both, shared = self._shared(left, right)
        stated, other = self.stated[left[both]], self.stated[right[both]]
        result = np.zeros(len(left), dtype=np.bool_)
        result[both] = (shared == 0) | ((stated == other) & (shared < stated))
        return result

    def agrees(self, left: Ints, right: Ints) -> NDArray[np.bool_]:
        """Whether both state a value and share one, shape (pairs,)."""
        both, shared = self._shared(left, right)
        result = np.zeros(len(left), dtype=np.bool_)
        result[both] = shared > 0
        return result

    def _shared(self, left: Ints, right: Ints) -> tuple[NDArray[np.int64], Floats]:
        """Positions of the pairs that both state something, few of all, and how many values those share."""
        both = np.flatnonzero((self.stated[left] > 0) & (self.stated[right] > 0))
        return both, dots(self.values, self.alike, left[both], right[both])


def named(values_of: Sequence[Iterable[str]]) -> Dimension:
    """A dimension whose values are equal or not."""
    matrix = indicators(values_of).matrix
    return Dimension(np.diff(matrix.indptr).astype(np.int32), matrix, matrix)


def measured(values_of: Sequence[Iterable[float]], misread: Sequence[float] = ()) -> Dimension:
    """A dimension of positive quantities, equal within `TOLERANCE`, also where one is `misread` times the other."""
    factors = [1.0, *misread, *(1 / factor for factor in misread)]
    exact = indicators([{str(bucket(value)) for value in values if value > 0} for values in values_of])
    wide = indicators(
        [
            {str(bucket(value * factor) + near) for value in values if value > 0 for factor in factors for near in NEAR}
            for values in values_of
        ]
    )
    return Dimension(np.diff(exact.matrix.indptr).astype(np.int32), exact.columns_of(wide.terms), wide.matrix)


def as_list(value: float | list[float] | None) -> list[float]:
    """A quantity as `cleaned_products.measures` has it: one value, several, or none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def read_dimensions(folded_titles: Sequence[str], measures: Sequence[str]) -> dict[str, Dimension]:
    """Every dimension that some product states something in.

    Args:
        folded_titles: Titles, lower case, without accents.
        measures: JSON objects of quantities in base units, as in `cleaned_products.measures`.
    """
    stated = [json.loads(text) for text in measures]
    names = sorted({name for values in stated for name in values})
    quantities = {name: [as_list(values.get(name)) for values in stated] for name in names}
    return {
        **{name: measured(values, MISREAD.get(name, ())) for name, values in quantities.items()},
        "generation": named([read_generation(text) for text in folded_titles]),
        "year": named([read_years(text) for text in folded_titles]),
        "platform": named([read_platforms(text) for text in folded_titles]),
    }
