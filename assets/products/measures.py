"""Physical quantities in titles and attributes, each in one unit.

Belongs here: finding quantities, and what an ambiguous one (`"`, `'`, `in`, `GB`, `cm`) measures. Not here: the
units themselves, colours, pack sizes, model codes.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from assets.products.text import fold
from assets.products.units import ATTACHED, BASE_UNITS, UNITS, Unit, factor, join_spellings

#: Measure -> its value, or the sorted values where a text states several.
Measures = dict[str, float | list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRules:
    """Which quantities are believed; pairs are the smallest and the largest.

    Attributes:
        significant_digits: Digits a converted quantity is rounded to.
        screen_inches: Diagonal of a screen.
        screen_centimetres: Diagonal of a screen given in centimetres; below it is a thickness.
        whole_inches: Diagonals from here on are whole inches, whatever their centimetres say.
        refresh_hertz: Refresh rate of a screen; what is below is the mains'.
        spin_rpm: Spin speed, where only the word "spin" says that it is one.
        megapixels: Resolution of a camera.
        same: Relative difference up to which two values of one text are one, rounded twice (`500 ml / 16.9 fl oz`).
        max_values: Values kept of one measure.
        max_text: Characters of one text that are read.
    """

    significant_digits: int = 6
    screen_inches: tuple[float, float] = (0.5, 130.0)
    screen_centimetres: tuple[float, float] = (12.0, 330.0)
    whole_inches: float = 18.0
    refresh_hertz: tuple[float, float] = (75.0, 2000.0)
    spin_rpm: tuple[float, float] = (400.0, 2200.0)
    megapixels: tuple[float, float] = (0.1, 300.0)
    same: float = 0.015
    max_values: int = 8
    max_text: int = 600


_NUMBER = r"\d{1,3}(?:[, ]\d{3})+(?![\d.,])|\d+(?:[.,]\d+)?"
#: A number and the word after it; whether the word is a unit is looked up, which is much faster than to try them all.
_QUANTITY = re.compile(rf"(?<![\w.,/])(?<![a-z]-)({_NUMBER})([\s-]?)([^\W\d_]++(?![\d_])|[\"'])")
_GROUPED = re.compile(r"\d{1,3}(?:[, ]\d{3})+")

_DIMENSIONS = re.compile(r"(?<![\w.])(\d{3,4})\s?[x×]\s?(\d{3,4})[pi]?(?![\w.])")
_LINES = re.compile(r"(?<![\w.])(480|540|576|720|1080|1440|2160|4320)[pi](?![a-z0-9])")
_NAMED_LINES = re.compile(r"\b(?:(8k)|(4k|uhd|ultra[ -]?hd)|(w?qhd)|(full[ -]?hd|fhd)|(hd[ -]?ready))\b")
_LINES_OF_NAME = (4320.0, 2160.0, 1440.0, 1080.0, 720.0)
_FEWEST_LINES = 480.0

_ZOOM = re.compile(r"(?<![\w.,])(\d{1,3}(?:[.,]\d)?)\s?x\s(?:optical\s)?(?:zoom|opt)")
_SPIN = re.compile(r"(?<![\w.,])(\d{3,4})\s?-?spin\b")
_CACHE = re.compile(r"(?<![\w.,])(\d{1,3}(?:[.,]\d+)?)\s?m\s(?:smart\s)?cache\b")
_CACHE_AFTER = re.compile(r"[\s,-]*(?:(?:smart|intel|total|shared|3rd level)\s)*(?:cache|l[123])\b")
_CACHE_BEFORE = re.compile(r"\bcache\W{0,3}$")
_RAM_PAIR = re.compile(r"(?<![\w.,])(\d{1,2})\s?(?:gb)?\s?[/+]\s?(\d{2,4})\s?(gb|tb)(?![a-z0-9])")
_RAM_AFTER = re.compile(r"[\s,-]*(?:of\s)?(?:ram|(?:lp|g)?ddr\d?\w?|memory|arbeitsspeicher|ecc|(?:so|u|r|lr)?-?dimm)\b")
#: `RAM: 16 GB`, but not the memory that another quantity has just been said to be (`16 GB RAM 1 TB`).
_RAM_BEFORE = re.compile(r"(?<![gt]b )(?<![gt]b)(?<!ddr )(?<!ddr\d )\b(?:ram|arbeitsspeicher)\W{0,3}$")
_SCREEN = re.compile(
    r"\b(?:tvs?|hdtv|televisions?|televiseur|televisor|televisore|fernseher|telly|led|oled|qled|lcd|plasma|dlp|uhd|hdr|"
    r"monitors?|monitore|ecran|bildschirm|displays?|screen|widescreen|touchscreen|laptops?|notebooks?|chromebooks?|"
    r"macbook|tablets?|ipad|imac|smartphones?|phones?|iphone|galaxy|all-in-one|handys?|mobile|e-?reader|kindle)\b"
)
_SIZE_AFTER = re.compile(
    r"[\s,.-]*(?:wide|width|deep|depth|high|height|tall|long|length|cables?|breit|hoch|tief|lang|cut|lens|thick|"
    r"diameter|rack|radius|brackets?|stands?|mounts?|cord)\b"
)
#: `5G` is a network and `3G` was one.
_NETWORKS = frozenset({"2", "3", "4", "5", "6"})


def parse_measures(texts: Iterable[str], *, context: str = "", rules: MeasureRules | None = None) -> Measures:
    """Return the quantities that texts state, in the units of `units.BASE_UNITS`.

    Besides those there are `resolution_p` (lines of a picture: 1080, 2160) and `zoom_x`. Bytes are `storage_gb`
    unless said to be memory (`ram_gb`: `16 GB RAM`, `8GB/256GB`) or a processor's (`cache_mb`). Inches and
    centimetres are a diagonal (`screen_in`) only in company of something that has a screen, and lengths otherwise;
    a single prime is inches there and feet elsewhere.

    Args:
        texts: Cleaned texts, each read on its own: the title, and attributes as `name value`.
        context: Text that helps to understand the others (the category) and is itself not read.
        rules: What is believed.
    """
    limits = rules or MeasureRules()
    found: dict[str, set[float]] = {}
    screen_context = bool(context) and _SCREEN.search(fold(context)) is not None
    for text in texts:
        folded = join_spellings(fold(text[: limits.max_text]))
        screen = screen_context or _SCREEN.search(folded) is not None
        for measure, value in _quantities(folded, screen=screen, limits=limits):
            if 0 < value < math.inf:  # a text may hold more digits than any number has
                found.setdefault(measure, set()).add(_rounded(value, limits.significant_digits))
    return {
        measure: values[0] if len(values) == 1 else values
        for measure in sorted(found)
        if (values := _distinct(sorted(found[measure]), limits)[: limits.max_values])
    }


def _quantities(text: str, *, screen: bool, limits: MeasureRules) -> Iterable[tuple[str, float]]:
    """The measures and values of one folded text."""
    for name in _NAMED_LINES.finditer(text):
        yield "resolution_p", _LINES_OF_NAME[(name.lastindex or 1) - 1]
    if not any(map(str.isdigit, text)):
        return
    for lines in _LINES.finditer(text):
        yield "resolution_p", float(lines[1])
    for size in _DIMENSIONS.finditer(text):
        if (lines_of_size := min(float(size[1]), float(size[2]))) >= _FEWEST_LINES:
            yield "resolution_p", lines_of_size
    for zoom in _ZOOM.finditer(text):
        yield "zoom_x", _number(zoom[1])
    for cache in _CACHE.finditer(text):
        yield "cache_mb", _number(cache[1])
    for spin in _SPIN.finditer(text):
        if _within(limits.spin_rpm, float(spin[1])):
            yield "speed_rpm", float(spin[1])
    for pair in _RAM_PAIR.finditer(text):
        storage = float(pair[2]) * factor("terabyte" if pair[3] == "tb" else "gigabyte", "gigabyte")
        if storage > float(pair[1]):
            yield "ram_gb", float(pair[1])
            yield "storage_gb", storage
    text = _RAM_PAIR.sub(" ", text)
    for quantity in _QUANTITY.finditer(text):
        if quantity[3] in UNITS and (sense := _sense(quantity, text, screen=screen, limits=limits)) is not None:
            yield sense


def _sense(quantity: re.Match[str], text: str, *, screen: bool, limits: MeasureRules) -> tuple[str, float] | None:
    """What one quantity measures, in that measure's unit; None where it is no quantity or not believed."""
    number, gap, spelling = quantity.groups()
    unit, value = UNITS[spelling], _number(number)
    after = quantity.end()
    if spelling in ATTACHED and gap == " " and not (spelling == "in" and text[after : after + 1] == "."):
        return None
    if spelling == "g" and number in _NETWORKS:
        return None
    if spelling == "m" and (gap == "-" or _CACHE_AFTER.match(text, after)):
        return None
    if unit.measure == "storage_gb":
        if _CACHE_AFTER.match(text, after) or _CACHE_BEFORE.search(text, 0, quantity.start()):
            return _convert(unit, value, "cache_mb")
        if _RAM_AFTER.match(text, after) or _RAM_BEFORE.search(text, 0, quantity.start()):
            return _convert(unit, value, "ram_gb")
    if spelling == "'" and screen:
        unit = Unit("screen_in", "inch")
    if unit.measure == "screen_in" or unit.name == "centimeter":
        return _diagonal_or_length(unit, value, screen and not _SIZE_AFTER.match(text, after), limits)
    if unit.measure == "refresh_hz" and not _within(limits.refresh_hertz, value):
        return None
    if unit.measure == "resolution_mp" and not _within(limits.megapixels, value):
        return None
    return _convert(unit, value, unit.measure)


def _diagonal_or_length(unit: Unit, value: float, screen: bool, limits: MeasureRules) -> tuple[str, float]:
    """Inches or centimetres, as a screen's diagonal or as a length."""
    if screen and unit.name == "centimeter" and _within(limits.screen_centimetres, value):
        inches = value * factor("centimeter", "inch")
        return "screen_in", float(round(inches)) if inches >= limits.whole_inches else round(inches, 1)
    if screen and unit.name == "inch" and _within(limits.screen_inches, value):
        return "screen_in", value
    return _convert(unit, value, "length_mm")


def _convert(unit: Unit, value: float, measure: str) -> tuple[str, float]:
    return measure, value * factor(unit.name, BASE_UNITS[measure])


def _distinct(values: list[float], limits: MeasureRules) -> list[float]:
    """Sorted values without the doubles that conversion makes; the rounder number stays."""
    kept: list[float] = []
    for value in values:
        if kept and value - kept[-1] <= limits.same * value:
            kept[-1] = min(kept[-1], value, key=lambda number: (len(repr(number)), number))
        else:
            kept.append(value)
    return kept


def _within(bounds: tuple[float, float], value: float) -> bool:
    return bounds[0] <= value <= bounds[1]


def _number(text: str) -> float:
    """`1,5` and `1.5` are one and a half; `10,000` and `10 000` are ten thousand."""
    if _GROUPED.fullmatch(text):
        return float(text.replace(",", "").replace(" ", ""))
    return float(text.replace(",", "."))


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
