"""Prices: from what a shop wrote to an exact amount and an ISO 4217 code.

Belongs here: which number in a text is the price, and what its separators mean. Not here: the currencies
themselves, exchange rates, comparing prices.
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from assets.products.currencies import Mention, currency_code, decimal_mark, find_currency, minor_digits
from assets.products.text import TextRules, clean_text


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRules:
    """Limits of prices.

    Attributes:
        maximum: Largest believable amount, in any currency.
        places: Decimal places that are kept.
        max_characters: Longest text that is still read as a price.
    """

    maximum: Decimal = Decimal(10) ** 12
    places: Decimal = Decimal("0.0001")
    max_characters: int = 200


@dataclass(frozen=True, slots=True)
class Price:
    """What a price text says.

    Attributes:
        amount: The amount in `currency`, positive; None where the text names no usable one.
        currency: ISO 4217 code; None without an amount, or where nobody named a currency.
        issues: Codes of what was dropped or guessed.
    """

    amount: Decimal | None
    currency: str | None
    issues: tuple[str, ...] = ()


class _Unreadable(ValueError):
    """The separators of a number contradict each other."""


_PLAIN = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,2})?")
_BLANK = re.compile(r"(?:n\W?a|none|null|nan|unknown|tba|[\W_]*)", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,3}(?: \d{3})+(?:[.,]\d+)?(?![\d])|\d[\d.,']*\d|\d|(?<![\w.,])\.\d{1,4}")
_SCIENTIFIC = re.compile(r"\d[eE][+-]?\d")
#: What a spreadsheet would compute (not `="12.99"`, which it exports), and a share of something.
_COMPUTED = re.compile(r"=(?=\s?[A-Za-z]|.*[-+*/^(&])|[-+@]\s*[A-Za-z_.]+\s*[(!|]|\d+\s?/\s?\d+$")
#: `12⁹⁹` has cents, `12,99¹` has a footnote; without their notation either is one long number.
_RAISED_CENTS = re.compile(r"(?<=\d)[.,]?([⁰¹²³⁴⁵⁶⁷⁸⁹]{2})(?![⁰¹²³⁴⁵⁶⁷⁸⁹])")
_FOOTNOTES = str.maketrans(dict.fromkeys("⁰¹²³⁴⁵⁶⁷⁸⁹", " "))
#: `12€99`: the sign as the decimal mark.
_SIGN_AS_MARK = re.compile(r"(\d)\s?€\s?(\d\d)(?!\d)")
_INSTALMENTS = re.compile(
    r"\d\s*[x×*]\s*\D{0,4}\d|(?:/|\bper|\bpro|\bpar|\bal|\bpor)\s*(?:mo\b|mth|month|monat|mois|mes\b|mese)|\bmonthly\b|\bmtl\b",
    re.IGNORECASE,
)
_ON_REQUEST = re.compile(
    r"call|request|quote|contact|anfrage|demande|consult|richiesta|p\.?o\.?a\b|ask\b", re.IGNORECASE
)
_GRATIS = re.compile(r"\b(?:free|gratis|kostenlos|gratuit|grátis)\b", re.IGNORECASE)
_FROM = re.compile(r"\b(?:from|ab|starting|from:|à partir|a partir|desde|da|vanaf|från|fra|od|dès)\b", re.IGNORECASE)
_NOW = re.compile(r"\b(?:now|jetzt|sale|nur|only|maintenant|ahora|adesso|nu|deal)\b\W*\D{0,4}$", re.IGNORECASE)
_WAS = re.compile(
    r"\b(?:was|were|rrp|msrp|uvp|statt|instead of|before|avant|antes|prima|"
    r"list|retail|reg(?:ular)?|save|spare|shipping|versand)\b\W*(?:price)?\D{0,4}$",
    re.IGNORECASE,
)
#: What follows a number that counts or measures something and is no price.
_COUNTS = re.compile(
    r"\s?(?:%|(?:ml|cl|l|g|kg|lb|oz|cm|mm|pcs|pieces|stück|stk|for|für|pour|months?|years?|x)\b)", re.IGNORECASE
)
_RANGE = re.compile(r"\s*\D{0,4}?\s*(?:-|~|\bto\b|\bbis\b|\bà\b|\ba\b)\s*\D{0,4}?\s*", re.IGNORECASE)
_MINUS = re.compile(r"^-\s?\D{0,4}$|[\s(]-[^\d\s]{0,4}$|[^\d\s.,:]-$")
_CENTS = re.compile(r"\s?(?:¢|cents?\b)", re.IGNORECASE)
_PENCE = re.compile(r"p\b")

#: The separators of Arabic notation, and the typographic apostrophe of the Swiss one.
_SEPARATORS = str.maketrans("٫٬،’", ".,,'")

#: Prices are short; markup and mojibake in them are rare but real.
_TEXT = TextRules(max_raw=1_000, max_length=400)


def parse_price(text: str | None, currency: str | None = None, rules: PriceRules | None = None) -> Price:
    """Read the price that `text` states.

    Args:
        text: A price as published: `1.234,56 €`, `US$ 1,234.56`, `1'299.-`, `from 9.99`, `10 - 20 EUR`.
        currency: What the row or its feed says the currency is. A code or unambiguous sign in `text` overrides
            it (`currency_conflict`); an ambiguous sign (`$`, `kr`) is read in its light.
        rules: Limits.

    What a separator means: two kinds, and the last is the decimal mark; one kind several times, and it groups;
    one alone is the decimal mark unless exactly three digits follow one to three. Then (`1.234`, `1,234`) it is
    a decimal mark in currencies with three minor digits whose home writes it so (KWD, TND) and after a zero. A
    comma groups otherwise. A full stop groups too, except in currencies with minor units whose home writes it as
    the decimal mark (USD, GBP): machines write `12.605`, nobody writes `$1.234` for a thousand. Whenever the other
    reading was possible there is the issue `price_ambiguous`.

    Zero is not a price: feeds write it for "unknown" (`price_zero`). Of a range or of "from" prices the lowest
    is kept (`price_range`, `price_from`). Of several amounts the one after "now" or else the first that is not
    named as old, as saving or as shipping (`price_several`). Other issues: `price_negative`, `price_unreadable`,
    `price_on_request`, `price_instalments`, `price_too_large`, `currency_missing`, `currency_unknown`,
    `currency_guessed`.
    """
    limits = rules or PriceRules()
    hint, unknown = _hint(currency)
    if text is None or not text.strip():
        return Price(None, None)
    if _PLAIN.fullmatch(text):
        return _priced(Decimal(text), hint, [*unknown], limits)
    if not text.isascii():
        text = _RAISED_CENTS.sub(lambda cents: f".{unicodedata.normalize('NFKC', cents[1])}", text)
        text = text.translate(_FOOTNOTES)
    cleaned = _ascii_digits(clean_text(text, _TEXT))
    if _BLANK.fullmatch(cleaned):
        return Price(None, None)
    if len(cleaned) > limits.max_characters or _SCIENTIFIC.search(cleaned) or _COMPUTED.match(cleaned):
        return Price(None, None, ("price_unreadable",))
    if cleaned.count("€") == 1:
        cleaned = _SIGN_AS_MARK.sub(r"\1,\2 €", cleaned)
    if _INSTALMENTS.search(cleaned):
        return Price(None, None, ("price_instalments",))

    numbers = _price_numbers(cleaned)
    if not numbers:
        if _GRATIS.search(cleaned):
            return Price(None, None, ("price_zero",))
        return Price(None, None, ("price_on_request" if _ON_REQUEST.search(cleaned) else "price_unreadable",))

    issues: list[str] = []
    mention = find_currency(cleaned)
    code = _resolve(mention, hint, issues)
    if code is None or mention is None:
        issues.extend(unknown)
    try:
        amounts = [_amount(number, cleaned, code, issues) for number in numbers]
    except _Unreadable:
        return Price(None, None, ("price_unreadable",))
    amount = _choose(amounts, numbers, cleaned, issues)
    return _priced(amount, code, issues, limits)


def _hint(currency: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The ISO code a currency field names, and the issue where it names none."""
    if not currency or not currency.strip():
        return None, ()
    code = currency_code(currency)
    return code, () if code else ("currency_unknown",)


def _resolve(mention: Mention | None, hint: str | None, issues: list[str]) -> str | None:
    """The currency of a price from its text and the row's."""
    if mention is None or hint in mention.codes:
        return hint
    if hint is not None and mention.default is None:
        return hint
    if mention.default is not None:
        if hint is not None:
            issues.append("currency_conflict")
        elif len(mention.codes) > 1:
            issues.append("currency_guessed")
    return mention.default


def _priced(amount: Decimal, currency: str | None, issues: list[str], limits: PriceRules) -> Price:
    """Check the amount's bounds; the last step of every reading."""
    if amount < 0:
        return Price(None, None, ("price_negative",))
    if amount > limits.maximum:
        return Price(None, None, ("price_too_large",))
    rounded = amount.quantize(limits.places, ROUND_HALF_EVEN)
    if not rounded:
        return Price(None, None, ("price_zero",))
    if currency is None and "currency_unknown" not in issues:
        issues.append("currency_missing")
    return Price(rounded, currency, tuple(sorted(set(issues))))


def _ascii_digits(text: str) -> str:
    """Digits and separators of other scripts as `0-9`, `.` and `,`."""
    if text.isascii():
        return text
    digits = (str(unicodedata.decimal(character, character)) for character in text)
    return "".join(digits).translate(_SEPARATORS)


def _price_numbers(text: str) -> list[re.Match[str]]:
    """The numbers of `text` that state a price now."""
    found = list(_NUMBER.finditer(text))
    prices = [
        number
        for number in found
        if not _COUNTS.match(text, number.end()) and text[: number.start()].rstrip()[-1:] not in ("/", "+")
    ]
    current = [number for number in prices if not _WAS.search(text[: number.start()])]
    return current or prices


def _choose(amounts: list[Decimal], numbers: list[re.Match[str]], text: str, issues: list[str]) -> Decimal:
    """The price among several amounts."""
    if _FROM.search(text[: numbers[0].start()]):
        issues.append("price_from")
    if len(amounts) == 1:
        return amounts[0]
    between = text[numbers[0].end() : numbers[1].start()]
    if len(amounts) == 2 and _RANGE.fullmatch(between):
        issues.append("price_range")
        return min(abs(amount) for amount in amounts)
    if len(set(amounts)) > 1:
        issues.append("price_several")
    for amount, number in zip(amounts, numbers, strict=True):
        if _NOW.search(text[: number.start()]):
            return amount
    return amounts[0]


def _amount(number: re.Match[str], text: str, currency: str | None, issues: list[str]) -> Decimal:
    """The signed value of one number of `text`.

    Raises:
        _Unreadable: its separators contradict each other.
    """
    token = number.group().replace("'", "").replace(" ", "")
    whole, fraction = _split(token, currency, issues)
    amount = Decimal(f"{whole or 0}.{fraction or 0}")
    before, after = text[: number.start()], text[number.end() :]
    if _CENTS.match(after) or (currency == "GBP" and "£" not in text and _PENCE.match(after)):
        amount /= 100
    accounting = before.rstrip().endswith("(") and after.lstrip().startswith(")") and not before.rstrip("( ")
    trailing_minus = bool(fraction) and after.strip() == "-"
    return -amount if accounting or trailing_minus or _MINUS.search(before) else amount


def _split(token: str, currency: str | None, issues: list[str]) -> tuple[str, str]:
    """Split a number into the digits before and after its decimal mark."""
    dots, commas = token.count("."), token.count(",")
    if dots and commas:
        mark = "." if token.rfind(".") > token.rfind(",") else ","
        if token.count(mark) == 1:
            whole, _, fraction = token.partition(mark)
            return _ungrouped(whole, "," if mark == "." else "."), fraction
        raise _Unreadable(token)
    if not dots and not commas:
        if len(token) > 1 and token.startswith("0"):
            raise _Unreadable(token)
        return token, ""
    mark = "." if dots else ","
    if dots + commas > 1:
        return _ungrouped(token, mark), ""
    whole, _, fraction = token.partition(mark)
    if len(fraction) != 3 or not 1 <= len(whole) <= 3 or whole == "0":
        return whole, fraction
    return (whole, fraction) if _is_decimal_mark(mark, currency, issues) else (whole + fraction, "")


def _is_decimal_mark(mark: str, currency: str | None, issues: list[str]) -> bool:
    """Whether the only separator of `1.234` or `1,234` is a decimal mark; the rule is `parse_price`'s."""
    digits = minor_digits(currency)
    if digits == 0:
        return False
    home = decimal_mark(currency) if currency else None
    if digits == 3:
        if mark != home:
            issues.append("price_ambiguous")
        return mark == home
    if mark == "," and home == ".":
        return False
    issues.append("price_ambiguous")
    return mark == "." and home == "."


def _ungrouped(whole: str, separator: str) -> str:
    """Remove grouping after checking it: groups of three, or of two before the last (Indian).

    Raises:
        _Unreadable: the groups are of other sizes.
    """
    head, *groups = whole.split(separator)
    indian = len(groups) > 1 and all(len(group) == 2 for group in groups[:-1])
    if groups and (
        not 1 <= len(head) <= 3 or len(groups[-1]) != 3 or not (indian or all(len(group) == 3 for group in groups))
    ):
        raise _Unreadable(whole)
    return head + "".join(groups)
