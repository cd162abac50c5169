"""Whether a model's answer says only what the facts say, and all that it must.

Belongs here: judging an answer. Not here: asking for one (`prompting`), what happens after a failure (`writing`).

A wrong rejection costs a nicer sentence, a wrong acceptance a false statement, so every doubt is a rejection.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal

from babel.core import get_global
from babel.numbers import get_currency_name, get_currency_symbol

from assets.summaries.facts import Facts
from assets.summaries.wording import HEADLINE_LENGTH, LOCALE, Wording

_NUMBER = re.compile(r"\d+(?:[.,'’]\d+)*")
_WORD = re.compile(r"[^\W_]+(?:[-'’.&][^\W_]+)*")
_SENTENCE_START = re.compile(r"(?:\A|\n|[.!?…][\"”)]?\s+)[\"“(]?\Z")
_MARKUP = re.compile(r"[<>`*\[\]|\\{}]|&#?\w+;|^\s*(?:#|-\s|\d+\.\s)|__", re.MULTILINE)
_LINK = re.compile(
    r"://|\bwww\.|\S@\w|\b[\w-]+\.(?:com|net|org|io|co|de|fr|uk|eu|info|shop|store|example)\b", re.IGNORECASE
)
_SMALL_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_NUMBER_WORDS = {word: number for number, word in enumerate(_SMALL_NUMBERS)} | {
    "thirty": 30, "forty": 40, "fifty": 50, "dozen": 12, "hundred": 100, "thousand": 1000, "single": 1,
}  # fmt: skip
_OFFERS, _SHOPS = r"offers?|listings?", r"shops?|sellers?|stores?|retailers?|merchants?|vendors?|sources?"
_COUNT = re.compile(
    rf"\b(?P<number>\d[\d,]*|{'|'.join(_NUMBER_WORDS)})\s+(?:[a-z]+\s+)?(?:(?P<offers>{_OFFERS})|(?P<shops>{_SHOPS}))\b",
    re.IGNORECASE,
)
#: Words that need no fact behind them: `one` is a pronoun, `single` an adjective.
_LOOSE_NUMBER_WORDS = {"one", "single"}
_MONEY_WORDS = "euros?|cents?|dollars?|pounds?|yen|yuan|francs?|kron(?:a|or|er)|zloty|rupees?|rubles?|bucks?"
#: Words of the longest brand that is looked for.
_BRAND_WORDS = 3
#: Capitalised words that are no name.
_NO_NAMES = {"i", "ok", "gtin", "ean", "iso"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRules:
    """What an answer must keep to.

    Attributes:
        headline_length: Longest headline, in characters.
        summary_length: Shortest and longest summary, in characters.
        headline_share: Smallest share of the headline's words that the facts' text holds.
    """

    headline_length: int = HEADLINE_LENGTH
    summary_length: tuple[int, int] = (40, 700)
    headline_share: float = 0.6


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an answer is not used: a stable code, and the part of the answer that shows it."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def fault_of(
    answer: Wording, facts: Facts, *, known_brands: Collection[str] = frozenset(), rules: AnswerRules | None = None
) -> Fault | None:
    """Find the first thing in an answer that the facts do not cover, or that is missing from it.

    Args:
        answer: The model's words.
        facts: What they were to be written from.
        known_brands: Brands of the whole catalogue as they are spelled; one that the facts do not name is invented.
        rules: Lengths and shares; the defaults otherwise.

    Returns:
        The fault, or None where the answer may be used.
    """
    rules = rules or AnswerRules()
    # Compatibility forms are folded first: `①`, `½` and full-width digits are numbers too.
    headline, summary = (unicodedata.normalize("NFKC", text) for text in (answer.headline, answer.summary))
    text = f"{headline}\n{summary}"
    known = _Known(facts)
    checks: tuple[Callable[[], Iterator[Fault]], ...] = (
        lambda: _form(headline, summary, rules),
        lambda: _money(text, known),
        lambda: _counts(text, known),
        lambda: _numbers(text, known),
        lambda: _brands(text, known, known_brands),
        lambda: _names(text, known),
        lambda: _missing(headline, summary, known, rules),
    )
    for check in checks:
        for fault in check():
            return fault
    return None


class _Known:
    """The facts, in the form in which an answer is looked up in them."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.text = unicodedata.normalize("NFKC", "\n".join(facts.texts()))
        self.words = {part for word in _words(self.text) for part in (word, *re.split(r"[-'’.&]", word))}
        self.numbers = {reading for number in _NUMBER.findall(self.text) for reading in _readings(number)}
        self.numbers |= {Decimal(facts.offers), Decimal(facts.sellers), *facts.prices}
        self.amounts = set(facts.prices)
        if facts.price_min is not None and facts.price_max is not None:
            self.amounts.add(facts.price_max - facts.price_min)
        self.currency_marks: set[str] = set()
        if facts.currency:
            name = get_currency_name(facts.currency, count=2, locale=LOCALE)
            symbol = unicodedata.normalize("NFKC", get_currency_symbol(facts.currency, locale=LOCALE))
            self.currency_marks = {facts.currency.casefold(), symbol.casefold(), symbol[-1:], *_words(name)}
            self.currency_marks |= {word.removesuffix("s") for word in _words(name)}
            self.words |= {facts.currency.casefold(), *_words(name)}


def _form(headline: str, summary: str, rules: AnswerRules) -> Iterator[Fault]:
    """Length, and nothing but plain text."""
    shortest, longest = rules.summary_length
    if not headline.strip() or len(headline) > rules.headline_length:
        yield Fault("headline_length", f"{len(headline)} characters, expected 1 to {rules.headline_length}")
    if not shortest <= len(summary) <= longest:
        yield Fault("summary_length", f"{len(summary)} characters, expected {shortest} to {longest}")
    for text in (headline, summary):
        if not text.isprintable():
            odd = next(character for character in text if not character.isprintable())
            yield Fault("control_character", f"U+{ord(odd):04X}")
        if found := _LINK.search(text):
            yield Fault("link", found.group()[:40])
        if found := _MARKUP.search(text):
            yield Fault("markup", found.group()[:40])


def _money(text: str, known: _Known) -> Iterator[Fault]:
    """Every amount of money is one of the record's, in its currency."""
    for found in _amounts(text):
        number, mark = found
        if mark.casefold() not in known.currency_marks and f"{mark.casefold()}s" not in known.currency_marks:
            yield Fault("wrong_currency", f"{number} {mark}")
        elif not _readings(number) & known.amounts:
            yield Fault("invented_price", f"{number} {mark}")


def _amounts(text: str) -> Iterator[tuple[str, str]]:
    """Numbers that stand beside a currency's symbol, code or name, with it."""
    for found in _NUMBER.finditer(text):
        before = re.search(r"([^\s\d]+)\s?$", text[: found.start()])
        after = re.match(r"\s?([^\s\d.,;:!?)]+)", text[found.end() :])
        for neighbour in (before, after):
            if neighbour and (mark := _currency_mark(neighbour.group(1).strip("(\"'“"))):
                yield found.group(), mark


def _currency_mark(text: str) -> str | None:
    """The symbol, code or name of a currency that a word is, if it is one."""
    if symbol := next((character for character in text if unicodedata.category(character) == "Sc"), None):
        return symbol
    if text in get_global("all_currencies") or re.fullmatch(_MONEY_WORDS, text, re.IGNORECASE):
        return text
    return None


def _counts(text: str, known: _Known) -> Iterator[Fault]:
    """Offers and shops are counted right."""
    for number, kind in _counted(text):
        wanted = known.facts.offers if kind == "offers" else known.facts.sellers
        if number != wanted:
            yield Fault("wrong_count", f"{number} {kind}, not {wanted}")


def _counted(text: str) -> Iterator[tuple[int, str]]:
    """Numbers of offers and of shops that a text states."""
    for found in _COUNT.finditer(text):
        word = found["number"].casefold().replace(",", "")
        yield int(word) if word.isdigit() else _NUMBER_WORDS[word], "offers" if found["offers"] else "shops"


def _numbers(text: str, known: _Known) -> Iterator[Fault]:
    """Every other number stands somewhere in the facts."""
    allowed = known.numbers | known.amounts
    for number in _NUMBER.findall(text):
        if not _readings(number) & allowed:
            yield Fault("invented_number", number)
    for word in _words(text):
        loose = word in _LOOSE_NUMBER_WORDS or word in known.words
        if not loose and word in _NUMBER_WORDS and Decimal(_NUMBER_WORDS[word]) not in allowed:
            yield Fault("invented_number", word)


def _readings(number: str) -> set[Decimal]:
    """What a written number may mean: `1.234` is one and a bit, or over a thousand."""
    parts = re.split(r"[.,'’]", number)
    readings = {Decimal("".join(parts[:-1]) + "." + parts[-1])} if len(parts) > 1 else {Decimal(parts[0])}
    if all(len(part) == 3 for part in parts[1:]):
        readings.add(Decimal("".join(parts)))
    return readings


def _brands(text: str, known: _Known, known_brands: Collection[str]) -> Iterator[Fault]:
    """Every brand of the catalogue that is named stands in the facts, at the start of a sentence too."""
    folded = known.text.casefold()
    words = [found.group() for found in _WORD.finditer(text)]
    for size in range(1, _BRAND_WORDS + 1):
        for start in range(len(words) - size + 1):
            phrase = " ".join(words[start : start + size])
            if phrase in known_brands and phrase.casefold() not in folded:
                yield Fault("invented_brand", phrase)


def _names(text: str, known: _Known) -> Iterator[Fault]:
    """Every capitalised word inside a sentence stands in the facts: it may be a name."""
    for found in _WORD.finditer(text):
        word = found.group()
        if word.casefold() in known.words or word.casefold() in _NO_NAMES:
            continue
        capital = any(character.isupper() for character in word)
        if capital and not _SENTENCE_START.search(text[: found.start()]):
            yield Fault("invented_name", word)


def _missing(headline: str, summary: str, known: _Known, rules: AnswerRules) -> Iterator[Fault]:
    """The answer says what it is, how many shops sell it, and what it costs."""
    facts = known.facts
    named = _words(headline)
    if sum(word in known.words for word in named) < rules.headline_share * len(named) or not named:
        yield Fault("headline_off_topic", headline[:60])
    if (facts.sellers, "shops") not in set(_counted(summary)):
        yield Fault("missing_shops", f"does not say that {facts.sellers} shops offer it")
    stated = {reading for number, _ in _amounts(summary) for reading in _readings(number)}
    for price in {facts.price_min, facts.price_max}:
        if price is not None and price not in stated:
            yield Fault("missing_price", f"does not name {price.normalize():f}")


def _words(text: str) -> list[str]:
    """Words without case."""
    return [word.casefold() for word in _WORD.findall(text)]
