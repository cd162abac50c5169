"""The feed's remaining fields: the JSON object that no canonical column took.

Belongs here: reading it safely, cleaning its texts, writing it in one form. Not here: what the fields mean.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from assets.products.text import TextRules, clean_text

_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRules:
    """Limits of the remaining fields.

    Attributes:
        max_fields: Fields of one object, and values of one list, that are kept.
        max_depth: Levels that are kept; what is nested deeper is dropped.
        max_json: Characters of the published object; a larger one is dropped whole.
        max_name: Characters of a field's name.
        text: How texts are cleaned.
    """

    max_fields: int = 200
    max_depth: int = 4
    max_json: int = 200_000
    max_name: int = 80
    text: TextRules = field(default_factory=lambda: TextRules(max_length=1_000))


def clean_fields(published: str, rules: FieldRules | None = None) -> tuple[dict[str, Json], str | None]:
    """Return the cleaned object, without empty values, and an issue: `attributes_unreadable`, `attributes_cut`.

    Where two names become one by cleaning, the value of the name that sorts first stays.
    """
    limits = rules or FieldRules()
    if published == "{}":
        return {}, None
    if len(published) > limits.max_json:
        return {}, "attributes_unreadable"
    try:
        found = json.loads(published)
    except (ValueError, RecursionError):  # no JSON; numbers of thousands of digits; nesting without end
        return {}, "attributes_unreadable"
    if not isinstance(found, dict):
        return {}, "attributes_unreadable"
    cleaned = _cleaned(found, limits, depth=1)
    cut = len(found) > limits.max_fields
    return (cleaned if isinstance(cleaned, dict) else {}), "attributes_cut" if cut else None


def to_json(value: Mapping[str, object]) -> str:
    """Compact JSON with sorted keys, the one form in which objects are stored and hashed."""
    return _ENCODER.encode(value) if value else "{}"


def text_fields(fields: Mapping[str, Json]) -> dict[str, str]:
    """The fields that are one text or number, as text."""
    return {
        name: str(value) for name, value in fields.items() if isinstance(value, (str, int, float)) and value is not True
    }


def _cleaned(value: object, limits: FieldRules, depth: int) -> Json:
    """The value with clean texts; None where nothing is left."""
    if isinstance(value, str):
        return clean_text(value, limits.text) or None
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > limits.max_depth:
        return None
    if isinstance(value, list):
        items = (_cleaned(item, limits, depth + 1) for item in value[: limits.max_fields])
        return [item for item in items if item is not None] or None
    result: dict[str, Json] = {}
    if isinstance(value, dict):
        for raw_name in sorted(value)[: limits.max_fields]:
            name = clean_text(raw_name[: limits.max_name * 4], limits.text)[: limits.max_name].strip()
            cleaned = _cleaned(value[raw_name], limits, depth + 1)
            if name and cleaned is not None:
                result.setdefault(name, cleaned)
    return result or None
