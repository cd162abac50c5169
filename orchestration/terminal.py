"""What others wrote, made fit for a terminal or for a program that reads from one.

Belongs here: escaping, wherever a command shows a title, a row, a name or a message with one in it. Not here: how
answers look (see `tables`).

A terminal obeys what it is shown: some characters move its cursor, hide what stands before, or fill the clipboard.
"""

import json
from typing import Any

from rich import markup

#: Characters that are not printable and yet only part words or lines.
BLANKS = frozenset("\n\t\u00a0\u202f\u3000")


def visible(text: str) -> str:
    r"""Return the text with what cannot be seen written out: `\x1b`, `\u202e` and so on; it may be given to `Text`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in BLANKS else _escaped(each) for each in text)


def escape(text: str) -> str:
    """Return a text that others wrote as it may stand in a line with markup of ours."""
    return markup.escape(visible(text))


def print_json(value: Any) -> None:
    """Print a value as one JSON document: for programs, and harmless where a terminal shows it."""
    document = json.dumps(value, default=str, ensure_ascii=False, indent=2)
    print("".join(each if each.isprintable() or each in BLANKS else json.dumps(each)[1:-1] for each in document))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
