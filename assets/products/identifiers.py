"""Identifiers: trade item numbers, part numbers, and the model codes that titles carry.

Belongs here: what counts as an identifier, and its one notation. Not here: whether two of them mean one product.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stdnum import ean, isbn

from assets.products.units import is_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRules:
    """What in a title is a model code.

    Attributes:
        min_length: Shortest code that mixes letters and digits.
        min_digits: Shortest code of digits alone; a year has four.
        max_length: Longest code; beyond it is an address or a digest.
        max_count: Codes kept of one listing.
        max_mpn: Longest part number that is kept.
    """

    min_length: int = 4
    min_digits: int = 5
    max_length: int = 30
    max_count: int = 12
    max_mpn: int = 70


@dataclass(frozen=True, slots=True)
class Gtin:
    """A trade item number as GTIN-14, or the reason why there is none (None for a field left blank)."""

    value: str | None
    issue: str | None = None


#: What feeds write into a field they must fill.
_PLACEHOLDER = re.compile(
    r"(?:n\W?a|none|null|nan|nil|unknown|tba|tbd|undefined|missing|does not apply|doesn'?t apply|not applicable|"
    r"not available|unavailable|no (?:ean|upc|gtin|mpn|isbn)|nicht zutreffend|non applicable|no aplicable|exempt|"
    r"default|x+|[\W_]*)",
    re.IGNORECASE,
)
_SCIENTIFIC = re.compile(r"\d[.,]?\d*[eE]\+?\d{1,2}")
_LABEL = re.compile(
    r"^(?:e\W?a\W?n|u\W?p\W?c(?:-?a)?|gtin|isbn|jan|barcode)(?:\W?1[0-4]|\W?8)?(?!\d)\W*", re.IGNORECASE
)
_FLOAT_TAIL = re.compile(r"\.0+$")
_SEVERAL = re.compile(r"[,;|/\s]+(?=[0-9]{8})")
_GTIN_SEPARATORS = str.maketrans("", "", " -.'\"\u00a0")

#: Prefixes of the GTIN-13 form that shops and regions hand out themselves: one number, many products.
_RESTRICTED = re.compile(r"0?(?:02|04|2)")
_COUPON = re.compile(r"(?:05|98|99)")
#: Numbers from documentation.
_SAMPLES = frozenset({"01234567890128", "00012345678905", "00123456789012", "09780000000002", "00000012345670"})


def parse_gtin(raw: str | None) -> Gtin:
    """Return the GTIN-14 that `raw` states, its check digit verified (python-stdnum).

    GTIN-8, -12, -13 and -14, ISBN-10 (as the ISBN-13 it is today), labels (`EAN: ...`), separators, the
    apostrophe and the `.0` of spreadsheets, and the leading zero they drop from a GTIN-12 (`gtin_zero_restored`)
    are understood. Of several numbers the first valid one is taken.

    Numbers that cannot tell products apart give no value: `gtin_in_store` (prefixes 02, 04 and 20 to 29, which
    shops assign), `gtin_coupon` (05, 98, 99), `gtin_placeholder` (zeros, one repeated digit, samples). Other
    issues: `gtin_mangled` (`4.00638E+12`), `gtin_length`, `gtin_check_digit`, `gtin_unreadable`.
    """
    text = (raw or "").strip().lstrip("'\"`=").rstrip("'\"").strip()
    if _PLACEHOLDER.fullmatch(text):
        return Gtin(None)
    if _SCIENTIFIC.fullmatch(text):
        return Gtin(None, "gtin_mangled")
    first: Gtin | None = None
    for part in _SEVERAL.split(text[:200]):
        found = _one_gtin(part)
        if found.value:
            return found
        first = first or found
    return first or Gtin(None, "gtin_unreadable")


def _one_gtin(text: str) -> Gtin:
    """`parse_gtin` of a text that holds one number."""
    number = _FLOAT_TAIL.sub("", _LABEL.sub("", text)).translate(_GTIN_SEPARATORS).upper()
    if len(number) == 10 and isbn.isbn_type(number) == "ISBN10":
        return Gtin(isbn.to_isbn13(number).zfill(14))
    if not (number.isascii() and number.isdigit()):
        return Gtin(None, "gtin_unreadable")
    if not number.strip("0") or len(set(number)) == 1:
        return Gtin(None, "gtin_placeholder")
    issue = None
    if len(number) == 11:
        number, issue = number.zfill(12), "gtin_zero_restored"
    elif len(number) not in (8, 12, 13, 14):
        return Gtin(None, "gtin_length")
    if not ean.is_valid(number):
        return Gtin(None, "gtin_check_digit")
    if number.zfill(14) in _SAMPLES:
        return Gtin(None, "gtin_placeholder")
    # A GTIN-8 has prefixes of its own; a GTIN-14 carries its packing level before the GTIN-13's.
    prefix = number if len(number) == 8 else number.zfill(14)[1:]
    if (re.match("[02]", prefix) if len(number) == 8 else _RESTRICTED.match(prefix)) or number.zfill(14)[0] == "9":
        return Gtin(None, "gtin_in_store")
    if len(number) > 8 and _COUPON.match(prefix):
        return Gtin(None, "gtin_coupon")
    return Gtin(number.zfill(14), issue)


def clean_mpn(text: str, rules: CodeRules | None = None) -> tuple[str | None, str | None]:
    """Return a part number without spreadsheet residue, and an issue: `mpn_mangled`, `mpn_unusable`.

    `text` is cleaned text. Separators are kept: they are the maker's own notation.
    """
    limits = rules or CodeRules()
    mpn = text.lstrip("'#=\"").rstrip("'\"").strip()
    if _PLACEHOLDER.fullmatch(mpn):
        return None, None
    if re.fullmatch(r"\d[.,]\d+[eE]\+\d{1,2}", mpn):
        return None, "mpn_mangled"
    if len(mpn) > limits.max_mpn:
        return None, "mpn_unusable"
    return mpn, None


_WORD_WITH_DIGIT = re.compile(r"[^\s,;:()\[\]{}|<>\"“”]*\d[^\s,;:()\[\]{}|<>\"“”]*")
_SPLIT = re.compile(r"[/+&*=]")
_PIECE = re.compile(r"[A-Za-z0-9]+")
_DECIMAL = re.compile(r"(?<!\d)\d{1,3}\.\d{1,2}(?!\d)")
_ROUND = re.compile(r"[1-9]\d?0{3,}")
#: Letters from which on a part of a hyphenated word is a word and not a series' name.
_WORD_LENGTH = 4
_YEAR = re.compile(r"(?:19|20)\d\d")
#: Standards, interfaces and ordinals: shared by thousands of products, so that they identify none.
_STANDARD = re.compile(
    r"\d+(?:ST|ND|RD|TH)|(?:\d+X)+\d+[A-Z]{0,4}|\d{3,4}[PI]|"
    r"(?:USB|MPEG|WIN|WINDOWS|DDR|GDDR|LPDDR|SDRAM|LGA|FCLGA|SOCKET|PCI|PCIE|PCIX|SATA|SAS|HDMI|DP|DVI|CAT|RJ|RS|IP|IPX|IPV|WIFI|"
    r"BT|BLUETOOTH|HDR|HDCP|DVB|DVBT|DVBS|ISO|IEEE|HTML|MP|MP3|H|X|CD|DVD|IOS|ANDROID|GEN|VERSION|VER|V|VOL|"
    r"CHANNEL|CORE|AGES?|GRADE|GRADES|TOP|SERIES|SERIE|LEVEL|EU|UK|US|R)\d{1,4}[A-Z]?",
)  # fmt: skip
#: Sockets and standards have four digits at most; a model of such a name (`RS140`, `V2405`) has a longer suffix.
_SHORT_PREFIX = re.compile(r"(?:RS|R|H|X|V|MP|DP|EU|UK|US|IP|BT|CD|TOP)\d{3,4}[A-Z]?")
_WELL_KNOWN = frozenset(
    {"H264", "H265", "X264", "X265", "RS232", "RS422", "RS485", "MP3S", "MP4S", "IP65", "IP67", "IP68"}
)


def model_codes(title: str, mpn: str | None = None, rules: CodeRules | None = None) -> list[str]:
    """Return the model codes of a title and a part number, in order of appearance, each once.

    A code has at least `min_length` letters and digits with a digit among them, or `min_digits` digits. Hyphens
    and dots join (`WAQ-283` is `WAQ283`), slashes split, and a short tail after a slash also gives the code with
    it (`DSCW150/B` is `DSCW150` and `DSCW150B`). Quantities (`500GB`, `1080p`, `30pk`), standards (`USB3`,
    `LGA1151`), ranges and years are no codes; nor is a GTIN, which has a column of its own. In a part number
    spaces join too.
    """
    limits = rules or CodeRules()
    codes: dict[str, None] = {}
    for word in _WORD_WITH_DIGIT.findall(title):
        codes.update(dict.fromkeys(_codes_of(word, limits)))
    if mpn:
        codes.update(dict.fromkeys(_codes_of("".join(mpn.split()), limits)))
    return list(codes)[: limits.max_count]


def gtin_in_text(text: str) -> str | None:
    """Return the GTIN-14 of the first number of 12 to 14 digits in `text` that is a valid one."""
    for number in re.findall(r"(?<![\w.-])\d{12,14}(?![\w-])", text):
        found = parse_gtin(number)
        if found.value:
            return found.value
    return None


def _codes_of(word: str, limits: CodeRules) -> Iterator[str]:
    """The codes in one word."""
    whole: list[str] = []
    for number, part in enumerate(_SPLIT.split(word)):
        pieces = _PIECE.findall(part)
        code = "".join(pieces).upper()
        if _is_code(code, pieces, part, limits):
            yield code
            whole = [code]
        elif whole and number and code.isalnum() and len(code) <= 3:
            whole.append(code)
        else:
            whole = []
        if len(whole) > 1 and len(joined := "".join(whole)) <= limits.max_length:
            yield joined


def _is_code(code: str, pieces: list[str], written: str, limits: CodeRules) -> bool:
    """Whether `code`, joined from `pieces` as `written`, identifies a model."""
    digits = sum(map(str.isdigit, code))
    if not limits.min_length <= len(code) <= limits.max_length or not digits or _DECIMAL.fullmatch(written):
        return False
    if digits == len(code):
        return _is_number_code(code, pieces, limits)
    if is_quantity(code) or is_quantity(written.strip(".-'")) or _is_standard(code):
        return False
    if len(pieces) == 1:
        return True
    mixed = [piece for piece in pieces if _mixed(piece)]
    words = [piece for piece in pieces if piece.isalpha()]
    if mixed:
        # `17mm-85mm`, `preschool-1st`: quantities and ordinals joined to each other or to words.
        return not all(is_quantity(piece) or _is_standard(piece.upper()) for piece in mixed) or any(
            len(word) < _WORD_LENGTH for word in words
        )
    # `8-port`, `2-in-1`, `blu-ray-2007` are words and small numbers; `DSC-150`, `PIXMA-4500` are models.
    numbers = [piece for piece in pieces if piece.isdigit()]
    longest = max(map(len, numbers))
    if pieces[0].isdigit() and longest <= 3:
        return False
    return not all(map(_YEAR.fullmatch, numbers)) and (longest > 2 or max(map(len, words)) <= _WORD_LENGTH)


def _is_number_code(code: str, pieces: list[str], limits: CodeRules) -> bool:
    """Whether digits alone identify a model: no year, range, round number or GTIN."""
    if len(code) < limits.min_digits or all(map(_YEAR.fullmatch, pieces)) or _ROUND.fullmatch(code):
        return False
    # `10-100` is a range; `960-000048` is a part number.
    if len(pieces) > 1 and max(map(len, pieces)) < limits.min_length:
        return False
    return not (12 <= len(code) <= 14 and parse_gtin(code).value)


def _mixed(piece: str) -> bool:
    """Whether a piece holds letters and digits."""
    return not piece.isalpha() and not piece.isdigit()


def _is_standard(code: str) -> bool:
    """Whether a code names an interface, a standard or an ordinal."""
    return code in _WELL_KNOWN or (_STANDARD.fullmatch(code) is not None and _SHORT_PREFIX.fullmatch(code) is None)
