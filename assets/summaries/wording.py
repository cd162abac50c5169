"""The summary that needs no model: a headline and two to four sentences made from a record's facts.

Belongs here: the sentences, in English. Not here: which facts there are (`facts`), models (`prompting`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from babel.numbers import format_currency, get_currency_name

from assets.summaries.facts import Disagreement, Facts, plain

#: What `author` says of a summary written here.
TEMPLATE = "template"
#: Locale of the sentences, and so of the amounts in them.
LOCALE = "en"
#: Longest headline, in characters.
HEADLINE_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Wording:
    """A summary in words: what it is in one line, and the sentences."""

    headline: str
    summary: str


def written_from(facts: Facts) -> Wording:
    """Write the summary of a record: what it is, how many offers, the price range, where they disagree."""
    sentences = (_offers(facts), _attributes(facts), _prices(facts), _disputes(facts.disagreements))
    return Wording(headline=_headline(facts), summary=" ".join(sentence for sentence in sentences if sentence))


@lru_cache(maxsize=4096)
def money(amount: Decimal, currency: str) -> str:
    """An amount as a reader writes it, e.g. `€1,234.50`."""
    return str(format_currency(amount, currency, locale=LOCALE))


def _headline(facts: Facts) -> str:
    """The title, with the brand in front where the title does not name it."""
    named = not facts.brand or facts.brand.casefold() in facts.title.casefold()
    return plain(facts.title if named else f"{facts.brand} {facts.title}", HEADLINE_LENGTH)


def _offers(facts: Facts) -> str:
    """How many offers from how many shops."""
    be = "is" if facts.offers == 1 else "are"
    return f"For {facts.title} there {be} {_count(facts.offers, 'offer')} from {_count(facts.sellers, 'shop')}."


def _attributes(facts: Facts) -> str:
    """What the listings say it is."""
    named = (("brand", facts.brand), ("category", facts.category), ("colour", facts.colour), *facts.measures.items())
    stated = [f"{name} {value}" for name, value in named if value]
    return f"The listings say: {', '.join(stated)}." if stated else ""


def _prices(facts: Facts) -> str:
    """The price range in the record's currency."""
    if facts.currency is None or facts.price_min is None or facts.price_max is None:
        return "No offer names a price." if facts.offers > 1 else "It names no price."
    lowest, highest = money(facts.price_min, facts.currency), money(facts.price_max, facts.currency)
    if facts.offers == 1:
        return f"The price is {lowest}."
    currency = get_currency_name(facts.currency, count=2, locale=LOCALE)
    if facts.price_min == facts.price_max:
        return f"Every price given in {currency} is {lowest}."
    cheapest = f" (listed by {facts.cheapest_source})" if facts.cheapest_source else ""
    median = f"; the median is {money(facts.price_median, facts.currency)}" if facts.price_median is not None else ""
    return f"Prices in {currency} run from {lowest}{cheapest} to {highest}{median}."


def _disputes(disagreements: Sequence[Disagreement]) -> str:
    """Where the offers disagree."""
    if not disagreements:
        return ""
    named = []
    for disagreement in disagreements:
        more = f" and {disagreement.more} more" if disagreement.more else ""
        named.append(f"{disagreement.field} ({', '.join(disagreement.values)}{more})")
    return f"The offers disagree on {_listed(named)}."


def _listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _count(number: int, noun: str) -> str:
    """`1 offer`, `2 offers`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
