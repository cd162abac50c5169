"""Units: how shops spell them, what they measure, and conversion (pint).

Belongs here: the vocabulary of units. Not here: finding quantities in texts and deciding what an ambiguous one means.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pint import UnitRegistry


class Unit(NamedTuple):
    """A unit as a shop means it: the measure it states, and its name in pint."""

    measure: str
    name: str


#: measure -> the unit (pint's name) it is kept in.
BASE_UNITS: Mapping[str, str] = {
    "battery_mah": "milliampere_hour",
    "cache_mb": "megabyte",
    "energy_wh": "watt_hour",
    "frequency_ghz": "gigahertz",
    "length_mm": "millimeter",
    "mass_g": "gram",
    "power_w": "watt",
    "ram_gb": "gigabyte",
    "refresh_hz": "hertz",
    "resolution_mp": "count",
    "screen_in": "inch",
    "speed_rpm": "revolutions_per_minute",
    "storage_gb": "gigabyte",
    "voltage_v": "volt",
    "volume_l": "liter",
}

_SPELLINGS: Mapping[Unit, str] = {
    Unit("storage_gb", "terabyte"): "tb terabyte terabytes to",
    Unit("storage_gb", "gigabyte"): "gb gbyte gigabyte gigabytes gig gigs go",
    Unit("storage_gb", "megabyte"): "mb mbyte megabyte megabytes",
    Unit("volume_l", "liter"): "l lt ltr ltrs litre litres liter liters litro litros litri",
    Unit("volume_l", "milliliter"): "ml millilitre millilitres milliliter milliliters",
    Unit("volume_l", "centiliter"): "cl",
    Unit("volume_l", "deciliter"): "dl",
    Unit("volume_l", "fluid_ounce"): "floz",
    Unit("volume_l", "gallon"): "gal gallon gallons",
    Unit("volume_l", "foot**3"): "cuft",
    Unit("mass_g", "kilogram"): "kg kgs kilo kilos kilogram kilograms",
    Unit("mass_g", "gram"): "g gr gram grams gramm grammes",
    Unit("mass_g", "pound"): "lb lbs pound pounds",
    Unit("mass_g", "ounce"): "oz ounce ounces",
    Unit("length_mm", "millimeter"): "mm",
    Unit("length_mm", "centimeter"): "cm",
    Unit("length_mm", "meter"): "m mtr metre metres meter meters",
    Unit("length_mm", "foot"): "ft feet foot '",
    Unit("screen_in", "inch"): 'inch inches in " zoll pouce pouces pulgada pulgadas pulg pollici tum tommer',
    Unit("power_w", "watt"): "w watt watts",
    Unit("power_w", "kilowatt"): "kw kilowatt kilowatts",
    Unit("frequency_ghz", "gigahertz"): "ghz",
    Unit("frequency_ghz", "megahertz"): "mhz",
    Unit("refresh_hz", "hertz"): "hz hertz",
    Unit("speed_rpm", "revolutions_per_minute"): "rpm upm",
    Unit("resolution_mp", "count"): "mp mpx mpix mpixel megapixel megapixels",
    Unit("battery_mah", "milliampere_hour"): "mah",
    Unit("battery_mah", "ampere_hour"): "ah",
    Unit("energy_wh", "watt_hour"): "wh",
    Unit("energy_wh", "kilowatt_hour"): "kwh",
    Unit("voltage_v", "volt"): "v volt volts vdc vac",
}
#: spelling after folding and `join_spellings` -> what it means.
UNITS: Mapping[str, Unit] = {word: unit for unit, words in _SPELLINGS.items() for word in words.split()}
#: Spellings that are words of their own: a unit only where no space parts them from the number.
ATTACHED = frozenset({"in", "to", "go"})

#: Units of several words, and what replaces them.
_JOINED = (
    (re.compile(r"''|´´"), '"'),
    (re.compile(r"\bfl\.?\s?oz\b\.?|(?<=\d)fl\.?\s?oz\b\.?"), "floz"),
    (re.compile(r"(?<![a-z])cu(?:bic)?\.?\s?(?:ft|feet|foot)\b\.?"), "cuft"),
    (re.compile(r"(?<![a-z])(?:mega|mio\.?)[\s-]?pixels?\b"), "megapixel"),
    (re.compile(r"(?<![a-z])(?:u/min|tr/min|r\.p\.m\.?)"), "rpm"),
)
_JOINABLE = re.compile(r"''|´´|fl|cu|pixel|/min|r\.p\.m")

#: Words that count what is no physical quantity; with a number they make no model code either.
_COUNTERS = (
    "k khz kb kbps mbps gbps bit bits byte bytes p i x db dba nm um hp ps btu dpi ppm ipm cpm fps cd nits lm "
    "lumen lumens kelvin ch channel channels way port ports pin pins disc discs disk disks core cores thread "
    "threads user users usr pc pcs pack packs pk pks er count ct piece pieces pair pairs set sheet sheets "
    "page pages yr yrs year years month months mth day days hr hrs hour hours min mins minute minutes s sec "
    "secs ms amp amps a va kva ma mw m2 m3 sqm d c f bar psi pa n ohm ohms player players game games speed "
    "stage star stars level key keys button bay bays outlet outlets band bands grade nd rd st th spin "
)  # fmt: skip
_QUANTITY_WORD = re.compile(
    r"\d+(?:[.,]\d+)?(?:x\d+(?:[.,]\d+)?)*-?(?:"
    + "|".join(sorted({*_COUNTERS.split(), *filter(str.isalpha, UNITS)}, key=lambda word: (-len(word), word)))
    + ")"
)
#: With these letters four digits are a model (`5600G`, `3600X`, `9700K`), fewer a quantity.
_MODEL_SUFFIX = re.compile(r"\d{4,}[acdfgiklmnpstvx]")


def join_spellings(folded: str) -> str:
    """Return a folded text in which units of several words are one word (`fl. oz`, `cu.ft.`, `mega pixel`)."""
    if _JOINABLE.search(folded):
        for pattern, word in _JOINED:
            folded = pattern.sub(word, folded)
    return folded


def is_quantity(word: str) -> bool:
    """Whether a word is a number with its unit (`500GB`, `12-pack`), and so no model code."""
    lowered = word.lower()
    return _QUANTITY_WORD.fullmatch(lowered) is not None and _MODEL_SUFFIX.fullmatch(lowered) is None


@lru_cache(maxsize=256)
def factor(unit: str, base: str) -> float:
    """Return how many `base` one `unit` is, both by pint's names.

    Raises:
        pint.DimensionalityError: the two do not measure the same.
    """
    return float(_registry().Quantity(1, unit).to(base).magnitude)


@lru_cache(maxsize=1)
def _registry() -> "UnitRegistry[Any]":
    """Pint's registry takes 0.3 s to build: once, and only where something is converted."""
    import pint

    return pint.UnitRegistry()
