"""JSON as feeds write it: values whose numbers keep their notation, their depth, and their text again.

Belongs here: what every JSON format and every rejected row share. Not here: where in a file the values are.
"""

import json
from typing import Any, NoReturn


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


#: Numbers come as the text they were published in; line breaks inside strings are forgiven, NaN is not.
DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse_constant, strict=False)


def depth_of(value: Any) -> int:
    """Levels of nesting; breadth first, so that depth costs no stack."""
    level: list[Any] = [value]
    depth = 0
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return depth


def may_be_deeper(text: str, depth: int) -> bool:
    """Whether JSON text has brackets enough to nest deeper than `depth`; far cheaper than `depth_of`."""
    return text.count("{") + text.count("[") > depth


def json_text(value: Any) -> str:
    """Compact JSON with sorted keys; escaped to ASCII only where the text is no valid Unicode."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return text
