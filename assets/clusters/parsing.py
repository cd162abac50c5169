"""What a title says, for matching: tokens, model codes, numbers, measures, colours.

Belongs here: reading text into lists of terms. Parsing for matching differs from
cleaning for display: it may be lossy, and it looks across the corpus (`spm k30` is `spmk30` if somebody writes
it so). Not here: comparing two products, frequencies turned into weights.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from assets.clusters.rules import COLOURS, MULTIPLES, ROMAN, UNITS, ParsingRules

INCH_MARK = re.compile(r"(?<=\d)\s?(?:''|[\"'”″](?!\w))")
#: `S10+` is the S10 Plus; `A+` is a class of energy.
PLUS_MARK = re.compile(r"(?<=\w\w)\+(?![\w+])")
TOKEN = re.compile(r"[vfh]?\d+(?:[.,]\d+)+|[^\W_]+")
NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
MEASURE = re.compile(r"([0-9]+)([a-z]+)")
VERSION = re.compile(r"v[0-9]+(?:[.,][0-9]+)*|[fh][0-9]+(?:[.,][0-9]+)+")
RUN = re.compile(r"[0-9]+|[a-z]+")


def fold(text: str) -> str:
    """The text in lower case and without accents, `S10+` as `s10 plus`."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return PLUS_MARK.sub(" plus", "".join(c for c in folded if not unicodedata.combining(c)))


def tokenise(text: str) -> list[str]:
    """Split into lower-case alphanumeric tokens; decimal numbers stay whole, accents go, `32"` gets its inch."""
    return TOKEN.findall(INCH_MARK.sub(" inch ", fold(text)))


@dataclass(frozen=True, slots=True)
class Text:
    """One text, read: tokens as compared, and which of them are codes, numbers, measures or colours."""

    words: tuple[str, ...]
    codes: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    measures: tuple[tuple[str, str], ...] = ()
    colours: tuple[str, ...] = ()


def squash(text: str) -> str:
    """The text's letters and digits alone, lower case: how codes and identifiers are compared."""
    return "".join(tokenise(text)).replace(".", "").replace(",", "")


def is_code(token: str, rules: ParsingRules) -> bool:
    """Whether a token may be a model code: letters and digits mixed, or many digits, and not a measure."""
    if not token.isascii() or not token.isalnum():
        return False
    if token.isdigit():
        return len(token) >= rules.digits_length
    if len(token) < rules.code_length or token.isalpha():
        return False
    measure = MEASURE.fullmatch(token)
    return measure is None or measure[2] not in UNITS


def stems(code: str, rules: ParsingRules) -> Iterator[str]:
    """The code, and what is left of it without runs of letters or digits at its ends: `ww70k5410uw` -> `k5410`, ...

    Makers add regions, colours and sizes at the ends, and shops leave them out: offers of one product, or of its
    variants, share a stem.
    """
    runs = RUN.findall(code)
    for first in range(len(runs)):
        for last in range(first + 1, len(runs) + 1):
            stem = "".join(runs[first:last])
            if len(stem) >= rules.code_length and any(run.isdigit() for run in runs[first:last]):
                yield stem


def spellings(tokens: Iterable[Sequence[str]], rules: ParsingRules) -> frozenset[str]:
    """The codes that somebody wrote as one token, and their stems, to which others' split spellings are glued.

    `WH-1000XM4` is told from `WF-1000XM4` once somebody writes `WH1000XM4B`.
    """
    codes = {token for text in tokens for token in text if is_code(token, rules)}
    return frozenset(stem for code in codes for stem in stems(code, rules) if is_code(stem, rules))


def glue(tokens: Sequence[str], known: frozenset[str], rules: ParsingRules) -> list[str]:
    """Write neighbours together where the corpus knows the result as one code, longest first."""
    result: list[str] = []
    position = 0
    while position < len(tokens):
        for width in range(min(rules.glue, len(tokens) - position), 1, -1):
            joined = "".join(tokens[position : position + width])
            if joined in known:
                result.append(joined)
                position += width
                break
        else:
            result.append(tokens[position])
            position += 1
    return result


def canonical_number(text: str) -> str:
    """`2.0` and `2` are one number, `1,5` and `1.5` too; `1,000` is a thousand."""
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        text = text.replace(",", "")
    text = text.replace(",", ".")
    if text.count(".") == 1:
        text = text.rstrip("0").rstrip(".")
    return text.lstrip("0") or "0"


def in_base(unit: str, number: str) -> tuple[str, str]:
    """Unit and number in the unit that the measure is compared in."""
    base, factor = MULTIPLES.get(unit, (unit, 1))
    if factor == 1 or number.count(".") > 1:
        return unit, number
    return base, canonical_number(f"{Decimal(number) * factor:f}")


def find_measure(token: str, following: str) -> tuple[str, str, bool] | None:
    """Unit and number that a token states, alone (`8kg`) or with the next (`8 kg`, then True)."""
    if (fused := MEASURE.fullmatch(token)) and fused[2] in UNITS:
        return *in_base(UNITS[fused[2]], canonical_number(fused[1])), False
    if is_number(token) and following in UNITS:
        return *in_base(UNITS[following], canonical_number(token)), True
    return None


def is_number(token: str) -> bool:
    """Whether a token is a number as a person writes it."""
    return NUMBER.fullmatch(token) is not None


def read(tokens: Sequence[str], rules: ParsingRules) -> Text:
    """Read glued tokens into words, codes, numbers, measures and colours."""
    words: list[str] = []
    codes: list[str] = []
    numbers: list[str] = []
    measures: list[tuple[str, str]] = []
    colours: list[str] = []
    is_read = False
    for token, following in zip(tokens, [*tokens, ""][1:], strict=True):
        if is_read:
            is_read = False
            continue
        if measure := find_measure(token, following):
            unit, value, is_read = measure
            measures.append((unit, value))
            numbers.append(value)
            words += [value, unit]
        elif is_number(token) and not is_code(token, rules):
            numbers.append(canonical_number(token))
            words.append(numbers[-1])
        elif token in ROMAN or (VERSION.fullmatch(token) and not is_code(token, rules)):
            numbers.append(ROMAN.get(token) or canonical_number(token.lstrip("vfh")))
            words.append(numbers[-1])
        elif is_code(token, rules):
            codes.append(token)
            words.append(token)
        else:
            if token in COLOURS:
                colours.append(COLOURS[token])
            words.append(COLOURS.get(token, token))
    return Text(
        words=tuple(dict.fromkeys(words)),
        codes=tuple(dict.fromkeys(codes)),
        numbers=tuple(dict.fromkeys(numbers)),
        measures=tuple(dict.fromkeys(measures)),
        colours=tuple(dict.fromkeys(colours)),
    )
