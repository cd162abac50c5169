"""What tells variants of one product apart, by dimension: quantities, and what titles state in words.

Belongs here: who states what, and which pairs of products contradict each other. Not here: reading titles
(`statements`) and quantities (`cleaned_products.measures`), what follows from a contradiction.

A statement is a value of a *dimension*. Two products contradict each other in a dimension where both state something
and either share nothing, or state equally much and not the same (`8 GB RAM, 256 GB` and `8 GB, 512 GB`). A product that
states nothing contradicts nobody.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from assets.clusters.matrices import Floats, Indicators, Ints, Matrix, dots, indicators
from assets.clusters.statements import (
    read_accessory,
    read_editions,
    read_generation,
    read_kit,
    read_packaging,
    read_platforms,
    read_sizes,
    read_years,
)

#: Two quantities are one where they differ by less than about this share: `55"` is `139 cm`, 1 TB is 1024 GB.
TOLERANCE: Final = 0.03
NEAR: Final = (-1, 0, 1)
_STEP: Final = math.log1p(TOLERANCE)
#: Quantities that are easily misread, and by which factor: a single prime is feet or inches.
MISREAD: Final = MappingProxyType({"length_mm": (12.0,)})
#: Dimensions that titles state in words, and their readers.
READERS: Final[Mapping[str, Callable[[str], set[str]]]] = MappingProxyType(
    {
        "generation": read_generation,
        "year": read_years,
        "platform": read_platforms,
        "packaging": read_packaging,
        "kit": read_kit,
        "size": read_sizes,
        "edition": read_editions,
        "accessory": read_accessory,
    }
)


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

    def differs(self, left: Ints, right: Ints) -> NDArray[np.bool_]:
        """Whether one states a value that the other does not, shape (pairs,); silence differs from a statement."""
        both, shared = self._shared(left, right)
        result = (self.stated[left] > 0) | (self.stated[right] > 0)
        result[both] = (shared < self.stated[left[both]]) | (shared < self.stated[right[both]])
        return np.asarray(result, dtype=np.bool_)

    def take(self, rows: Ints) -> "Dimension":
        """The same of some products."""
        return Dimension(self.stated[rows], self.values[rows], self.alike[rows])

    def _shared(self, left: Ints, right: Ints) -> tuple[NDArray[np.int64], Floats]:
        """Positions of the pairs that both state something, few of all, and how many values those share."""
        both = np.flatnonzero((self.stated[left] > 0) & (self.stated[right] > 0))
        return both, dots(self.values, self.alike, left[both], right[both])


@dataclass(frozen=True, slots=True)
class Statements:
    """What one offer states: terms `dimension=value`, and those that are equal to one of them."""

    stated: list[str]
    alike: list[str]


def state(folded_title: str, measures: str) -> Statements:
    """Read what an offer states of its variant.

    Args:
        folded_title: The title, lower case, without accents.
        measures: JSON object of quantities in base units, as in `cleaned_products.measures`.
    """
    stated = [f"{name}={value}" for name, read in READERS.items() for value in sorted(read(folded_title))]
    alike = list(stated)
    for name, quantities in json.loads(measures).items():
        factors = [1.0, *MISREAD.get(name, ()), *(1 / factor for factor in MISREAD.get(name, ()))]
        values = [value for value in as_list(quantities) if value > 0]
        stated += dict.fromkeys(f"{name}={bucket(value)}" for value in values)
        alike += dict.fromkeys(
            f"{name}={bucket(value * factor) + near}" for value in values for factor in factors for near in NEAR
        )
    return Statements(stated, alike)


def as_list(value: float | list[float] | None) -> list[float]:
    """A quantity as `cleaned_products.measures` has it: one value, several, or none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def dimensions_of(stated: Indicators, alike: Indicators) -> dict[str, Dimension]:
    """Every dimension that has a reader or in which some product states something, from the terms of `state`."""
    names = [term.partition("=")[0] for term in alike.terms]
    columns: dict[str, list[int]] = {name: [] for name in READERS}
    for column, name in enumerate(names):
        columns.setdefault(name, []).append(column)
    values = stated.columns_of(alike.terms).tocsc()
    equal = alike.matrix.tocsc()
    found = {}
    for name, chosen in columns.items():
        exact = values[:, chosen].tocsr()
        found[name] = Dimension(np.diff(exact.indptr).astype(np.int32), exact, equal[:, chosen].tocsr())
    return found


def read_dimensions(folded_titles: Sequence[str], measures: Sequence[str]) -> dict[str, Dimension]:
    """The dimensions of some products; arguments as for `state`, one per product."""
    read = [state(title, quantities) for title, quantities in zip(folded_titles, measures, strict=True)]
    return dimensions_of(indicators([one.stated for one in read]), indicators([one.alike for one in read]))
