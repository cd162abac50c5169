"""What goes wrong in real feeds, as functions that spoil one offer.

Belongs here: one function per fault. Not here: which shop suffers from which, repeats and damaged bytes (writers).
"""

from dataclasses import replace
from html import escape

from samples.offers import Damage, Offer, Spoil

ZERO_WIDTH_SPACE = "\u200b"
RIGHT_TO_LEFT_MARK = "\u200f"

#: Faults after which nothing of a row can become a product.
FATAL = frozenset({"missing_id", "blank_title", "missing_title", Damage.TRUNCATED, Damage.INVALID_UTF8})


def missing_id(offer: Offer) -> Offer:
    """The id is empty."""
    return replace(offer, listing_id="")


def missing_title(offer: Offer) -> Offer:
    """The title is empty."""
    return replace(offer, title="")


def blank_title(offer: Offer) -> Offer:
    """The title is made of spaces."""
    return replace(offer, title="   ")


def truncated(offer: Offer) -> Offer:
    """The row breaks off."""
    return replace(offer, damage=Damage.TRUNCATED)


def invalid_utf8(offer: Offer) -> Offer:
    """One byte of the row is not UTF-8."""
    return replace(offer, damage=Damage.INVALID_UTF8)


def html_in_title(offer: Offer) -> Offer:
    """Markup in the title."""
    return replace(offer, title=f"<b>{offer.title}</b><br/><i>NEW!</i>")


def double_escaped(offer: Offer) -> Offer:
    """Title and description went through an escaper twice."""
    title = escape(escape(f"{offer.title} & case", quote=False), quote=False)
    return replace(offer, title=title, description=escape(escape(offer.description)))


def zero_width(offer: Offer) -> Offer:
    """Invisible characters inside the title's words."""
    middle = len(offer.title) // 2
    return replace(offer, title=offer.title[:middle] + ZERO_WIDTH_SPACE + offer.title[middle:] + RIGHT_TO_LEFT_MARK)


def emoji(offer: Offer) -> Offer:
    """Emoji around the title."""
    return replace(offer, title=f"🔥🔥 {offer.title} ✅ 🚚")


def wrong_check_digit(offer: Offer) -> Offer:
    """A number of the in-store range whose check digit is wrong: it names no product at all."""
    digits = "200000000999"
    right = gtin_check_digit(digits)
    return replace(offer, gtin=f"{digits}{(right + 5) % 10}")


def gtin_of_zeros(offer: Offer) -> Offer:
    """A placeholder where the number should be."""
    return replace(offer, gtin="0000000000000")


def price(text: str) -> Spoil:
    """The price is some text that is no price, or no sensible one."""

    def spoil(offer: Offer) -> Offer:
        return replace(offer, price=text)

    return spoil


def script_in_description(offer: Offer) -> Offer:
    """A script in the description."""
    return replace(offer, description=f"<script>alert('{offer.listing_id}')</script>{offer.description}")


def instruction_in_description(text: str) -> Spoil:
    """The description talks to a language model."""

    def spoil(offer: Offer) -> Offer:
        return replace(offer, description=f"{offer.description} {text}")

    return spoil


def formula_in_description(offer: Offer) -> Offer:
    """The description is a spreadsheet formula."""
    return replace(offer, description='=HYPERLINK("http://phish.example/login","Click for your refund")')


def javascript_url(offer: Offer) -> Offer:
    """The link runs code."""
    return replace(offer, url="javascript:alert(document.cookie)")


def gtin_check_digit(digits: str) -> int:
    """The GS1 check digit of a GTIN's leading digits (weights 3 and 1 from the right)."""
    return -sum(int(d) * (3, 1)[i % 2] for i, d in enumerate(reversed(digits))) % 10
