"""What a golden record says, as plain and bounded text: all that a summary may be written from.

Belongs here: reading a record, and making hostile listing text harmless. Not here: sentences (`wording`), models
(`prompting`), judging an answer (`verification`).
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from babel.numbers import format_decimal, get_currency_precision

_URL = re.compile(r"(?:https?|ftp)://\S*|\bwww\.\S+", re.IGNORECASE)
#: Characters that would be markup in HTML or Markdown, and what reads the same without being it.
_HARMLESS = str.maketrans({"<": "‹", ">": "›", "`": "'", "[": "(", "]": ")", "*": "·", "|": "/"})
#: How the units that end a measure's key are written.
_UNITS = {
    "a": "A", "db": "dB", "ghz": "GHz", "gb": "GB", "hz": "Hz", "l": "L", "mah": "mAh", "mb": "MB", "mhz": "MHz",
    "mp": "MP", "ml": "mL", "pct": "%", "tb": "TB", "v": "V", "va": "VA", "w": "W", "wh": "Wh",
}  # fmt: skip
_FIELD_NAMES = {"gtin": "GTIN", "pack_size": "pack size"}
_MEASURE = "measures."


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRules:
    """How much of a listing's text is passed on, in characters and values.

    Attributes:
        title_length: Longest title.
        value_length: Longest other value.
        description_length: Longest description.
        measures: Most measures.
        disagreements: Most fields said to be disputed.
        values: Most values named of a disputed field.
    """

    title_length: int = 160
    value_length: int = 60
    description_length: int = 600
    measures: int = 4
    disagreements: int = 3
    values: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A field that members state differently: its name, the values named, and how many more there are."""

    field: str
    values: tuple[str, ...]
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One golden record, ready to be put into words; text is plain, on one line and of bounded length."""

    title: str
    brand: str | None
    category: str | None
    colour: str | None
    description: str | None
    measures: Mapping[str, str]
    offers: int
    sellers: int
    currency: str | None
    price_min: Decimal | None
    price_median: Decimal | None
    price_max: Decimal | None
    cheapest_source: str | None
    disagreements: tuple[Disagreement, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any], rules: FactRules | None = None) -> "Facts":
        """Read one row of `GOLDEN_RECORDS`."""
        rules = rules or FactRules()
        measures: dict[str, Any] = json.loads(record["measures"])
        cheapest = json.loads(record["provenance"]).get("price_min")
        return cls(
            title=plain(record["title"], rules.title_length) or "Unnamed product",
            brand=_optional(record["brand"], rules.value_length),
            category=_optional(record["category"], rules.value_length),
            colour=_optional(record["colour"], rules.value_length),
            description=_optional(record["description"], rules.description_length),
            measures={
                _measure_name(key): _measure_text(key, value, rules.value_length)
                for key, value in sorted(measures.items())[: rules.measures]
            },
            offers=record["offers"],
            sellers=record["sellers"],
            currency=record["currency"],
            price_min=_shown(record["price_min"], record["currency"]),
            price_median=_shown(record["price_median"], record["currency"]),
            price_max=_shown(record["price_max"], record["currency"]),
            cheapest_source=_optional(cheapest and cheapest.partition(":")[0], rules.value_length),
            disagreements=tuple(_disagreements(json.loads(record["disagreements"]), rules)),
        )

    def texts(self) -> Iterable[str]:
        """All text in the facts, for looking up what an answer may mention."""
        named = (
            self.title,
            self.brand,
            self.category,
            self.colour,
            self.description,
            self.currency,
            self.cheapest_source,
        )
        yield from (text for text in named if text)
        for name, text in self.measures.items():
            yield f"{name} {text}"
        for disagreement in self.disagreements:
            yield " ".join((disagreement.field, *disagreement.values))

    @property
    def prices(self) -> tuple[Decimal, ...]:
        """Lowest, median and highest price, where there are any."""
        return tuple(price for price in (self.price_min, self.price_median, self.price_max) if price is not None)


def plain(text: str, limit: int) -> str:
    """Make listing text harmless: one line, no links, no markup, no invisible characters, at most `limit` long.

    Nothing is escaped: the result needs no unescaping and is safe as HTML or Markdown text as it stands.
    """
    text = _URL.sub(" ", unicodedata.normalize("NFC", text))
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    text = " ".join(text.translate(_HARMLESS).split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    # Cut at a word where that does not cost much of the text.
    at = cut.rfind(" ")
    return (cut[:at] if at > limit // 2 else cut).rstrip(" ,;:.-") + "…"


def _optional(text: str | None, limit: int) -> str | None:
    """Plain text, None where nothing is left of it."""
    return (plain(text, limit) or None) if text else None


def _shown(price: Decimal | None, currency: str | None) -> Decimal | None:
    """A price in the decimal places its currency is written with."""
    if price is None or currency is None:
        return None
    return round(price, get_currency_precision(currency))


def _measure_name(key: str) -> str:
    """`storage_gb` -> `storage`."""
    name, _, unit = key.rpartition("_")
    return plain((name if name and unit else key).replace("_", " "), 40)


def _measure_text(key: str, value: Any, limit: int) -> str:
    """`storage_gb`, 64 -> `64 GB`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(str(value), limit)
    name, _, unit = key.rpartition("_")
    number = format_decimal(value, format="#,##0.###", locale="en")
    return plain(f"{number} {_UNITS.get(unit, unit)}" if name else number, limit)


def _disagreements(stated: Mapping[str, list[Any]], rules: FactRules) -> Iterable[Disagreement]:
    """The disputed fields in a fixed order, each with its first values."""
    for field in sorted(stated)[: rules.disagreements]:
        values = stated[field]
        measure = field.removeprefix(_MEASURE)
        if field.startswith(_MEASURE):
            name, texts = (
                _measure_name(measure),
                [_measure_text(measure, value, rules.value_length) for value in values],
            )
        else:
            name = plain(_FIELD_NAMES.get(field, field), rules.value_length)
            texts = [plain(str(value), rules.value_length) for value in values]
        shown = tuple(dict.fromkeys(text for text in texts if text))[: rules.values]
        yield Disagreement(field=name, values=shown, more=max(len(values) - len(shown), 0))
