"""Text as people read it: no markup, no invisible characters, one notation for one character.

Belongs here: Unicode, HTML and whitespace, and the folding by which texts are compared. Not here: what a text
means (prices, identifiers, attributes, brands).
"""

import html
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import ftfy
from selectolax.lexbor import LexborHTMLParser


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRules:
    """Limits of text cleaning.

    Attributes:
        max_raw: Characters of a published text that are looked at; a page pasted into a field is cut here.
        max_length: Characters that are kept of a cleaned text.
        passes: How often escaped markup is unescaped before its markers are dropped instead. Feeds that went
            through two systems are escaped twice; more is an attack.
    """

    max_raw: int = 60_000
    max_length: int = 8_000
    passes: int = 5


#: Printable ASCII without markup characters needs its whitespace collapsed and nothing else.
_SUSPICIOUS = re.compile(r"[^\x20-\x7e\t\n\r]|[<&]")
#: `&amp;amp;lt;` and `&#38;lt;` are `&lt;`, however often they were escaped.
_REPEATED_AMPERSAND = re.compile(r"&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+")
#: Entities end in a semicolon here: the old ones without would turn `Salt&notebook` into `Salt¬ebook`.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
#: `DacEasy(TM)`; `headlight (R)` stands apart and is the right one.
_TRADEMARK = re.compile(r"(?<=\w)\((?:tm|r)\)", re.IGNORECASE)
_TAG = re.compile(r"<(?:/?[A-Za-z][^<>]*>|!|\?|/?(?:script|style)\b)", re.IGNORECASE)
_INVISIBLE_ELEMENTS = ["script", "style", "template", "noscript", "iframe", "object", "svg", "head", "title"]
_INLINE_ELEMENTS = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd",
    "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr",
]  # fmt: skip

#: Characters whose compatibility form (NFKC) would say something else, and signs that only decorate.
_BEFORE_NFKC = str.maketrans(
    {
        **dict.fromkeys("™®©℠", ""),
        **dict.fromkeys("″‶˝", '"'),
        **dict.fromkeys("′‵´`", "'"),
        **dict.fromkeys("¨¯¸˘˙˛", " "),
        **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
        "⁄": "/",
        "…": "...",
    }
)
_VULGAR_FRACTION = re.compile(r"(?<=\d)\s?([¼½¾⅐-⅞])")
_FRACTION_SLASH = str.maketrans({"⁄": "/"})
_DROPPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_VARIATION_SELECTORS = re.compile("[︀-️]")

_FTFY = ftfy.TextFixerConfig(unescape_html=False, normalization=None, explain=False)
_FORMULA = re.compile(r"^\s*(?:=|[+\-@]\s*[A-Za-z_.]+\s*[(!|])")


def clean_text(raw: str | None, rules: TextRules | None = None) -> str:
    """Return `raw` as one line of plain text; case is preserved, and cleaning twice changes nothing.

    Mojibake is repaired (ftfy), entities are unescaped also where they were escaped twice, elements are dropped
    with their markup (and scripts and styles with their content), ™ and ® disappear, compatibility characters
    take their plain form (NFKC) except where that would join numbers (`3½` is `3 1/2`), dashes and primes become
    ASCII, and controls, zero-width, bidirectional and pictographic characters are removed.

    A spreadsheet formula or a command stays what it is: text. `looks_like_formula` says which texts an export to
    a spreadsheet has to quote.
    """
    if not raw:
        return ""
    limits = rules or TextRules()
    text = raw[: limits.max_raw]
    if "\x1b" in text:
        text = ftfy.fixes.remove_terminal_escapes(text)
    if _SUSPICIOUS.search(text):
        for _ in range(limits.passes):
            before = text
            text = _characters(_markup(text))
            if text == before:
                break
        else:
            text = _characters(text.replace("<", " ").replace("&", " "))
    else:
        text = " ".join(_without_trademarks(text).split())
    return text if len(text) <= limits.max_length else text[: limits.max_length].rstrip()


def fold(text: str) -> str:
    """Return `text` for comparison: lower case, without accents (`Müller` and `MULLER` are one), ß as ss."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def looks_like_formula(text: str) -> bool:
    """Whether a spreadsheet might execute `text`: `=HYPERLINK(...)`, `+cmd|...`, `@SUM(...)`."""
    return text[:1] in "=+-@" and _FORMULA.match(text) is not None


def _markup(text: str) -> str:
    """One pass of unescaping and of dropping elements."""
    if "&" in text:
        text = _REPEATED_AMPERSAND.sub("&", text)
        text = _ENTITY.sub(lambda found: html.unescape(found.group()), text)
    if "<" in text and _TAG.search(text):
        tree = LexborHTMLParser(text.replace("&", "&amp;"))
        tree.strip_tags(_INVISIBLE_ELEMENTS)
        tree.unwrap_tags(_INLINE_ELEMENTS)
        tree.merge_text_nodes()
        text = tree.text(separator=" ")
    return text


def _characters(text: str) -> str:
    """One notation per character, nothing invisible, single spaces."""
    if not text.isascii():
        text = ftfy.fix_text(text, _FTFY)
        text = _VULGAR_FRACTION.sub(r" \1", text.translate(_BEFORE_NFKC))
        text = unicodedata.normalize("NFKC", text).translate(_FRACTION_SLASH)
        text = _VARIATION_SELECTORS.sub("", text)
    if not text.isprintable() or not text.isascii():
        text = "".join(map(_kept, text))
    return " ".join(_without_trademarks(text).split())


def _without_trademarks(text: str) -> str:
    return _TRADEMARK.sub(" ", text) if "(" in text else text


@lru_cache(maxsize=4096)
def _kept(character: str) -> str:
    """What becomes of one character: itself, a space, or nothing."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category in _DROPPED_CATEGORIES:
        return ""
    # Pictures and dingbats; the degree sign is of the same category.
    return " " if category == "So" and character != "°" else character
