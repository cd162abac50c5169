"""How much a product's data can be relied upon, between 0 and 1.

Belongs here: the parts of quality and their weights. Not here: the values that are judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityWeights:
    """Weight of each part; they need not add up to 1.

    Attributes:
        title: Long enough to say what it is, short enough to be one.
        brand: Known, and better from the feed than from the title.
        identifier: A GTIN is worth more than a part number, and that more than a code in the title.
        price: An amount with its currency.
        description: Said in a few sentences.
        image: There is a picture.
        attributes: Category, condition, availability, colour, measures and attributes of the feed.
        soundness: How little had to be dropped or guessed.
    """

    title: float = 0.2
    brand: float = 0.15
    identifier: float = 0.2
    price: float = 0.15
    description: float = 0.1
    image: float = 0.05
    attributes: float = 0.1
    soundness: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityEvidence:
    """What is known of a product; `details` counts the known ones of `possible_details`."""

    title_words: int
    shouting: bool
    brand_origin: str | None
    has_gtin: bool
    has_mpn: bool
    has_code: bool
    has_price: bool
    has_currency: bool
    description_length: int
    has_image: bool
    details: int
    possible_details: int
    issues: int


#: Words of a title that says what the item is, and of one that says everything about it.
_TITLE_WORDS = (4, 30)
#: Characters of a description that is one.
_DESCRIPTION_LENGTH = 200
#: Issues after which nothing of a listing is taken on trust.
_MANY_ISSUES = 4
#: What a title in capitals loses.
_SHOUTING = 0.2


def rate(evidence: QualityEvidence, weights: QualityWeights | None = None) -> tuple[float, dict[str, float]]:
    """Return the weighted mean of the parts and the parts, each between 0 and 1."""
    scale = weights or QualityWeights()
    words = evidence.title_words
    title = min(1.0, words / _TITLE_WORDS[0], _TITLE_WORDS[1] / max(words, 1))
    parts = {
        "title": max(0.0, title - _SHOUTING * evidence.shouting),
        "brand": {"feed": 1.0, "title": 0.7}.get(evidence.brand_origin or "", 0.0),
        "identifier": 1.0 if evidence.has_gtin else 0.7 if evidence.has_mpn else 0.5 if evidence.has_code else 0.0,
        "price": 0.0 if not evidence.has_price else 1.0 if evidence.has_currency else 0.5,
        "description": min(1.0, evidence.description_length / _DESCRIPTION_LENGTH),
        "image": float(evidence.has_image),
        "attributes": min(1.0, evidence.details / max(evidence.possible_details, 1)),
        "soundness": 1.0 - min(1.0, evidence.issues / _MANY_ISSUES),
    }
    return _mean(parts, scale), {name: round(part, 3) for name, part in parts.items()}


def _mean(parts: Mapping[str, float], weights: QualityWeights) -> float:
    total = mean = 0.0
    for name, part in parts.items():
        weight: float = getattr(weights, name)
        total += weight
        mean += weight * part
    return round(mean / total, 4) if total else 0.0
