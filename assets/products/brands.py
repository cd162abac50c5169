"""Brands: one spelling for each, and finding them in titles that no feed field explains.

Belongs here: the lexicon of brands seen, how it is built and how a title is looked up in it. Not here: where the
feeds and titles come from, or whether a brand makes two products one.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from assets.products.text import clean_text, fold


@dataclass(frozen=True, slots=True, kw_only=True)
class BrandRules:
    """When a word is a brand.

    Attributes:
        max_length: Longest text of a brand field that is a brand and not a sentence.
        max_words: Most words of a brand that titles are searched for.
        min_leading: Distinct titles a word has to begin with before it is inferred to be a brand.
        min_lead_share: Share of its occurrences in which such a word begins the title: brands come first, kinds
            of product come anywhere.
        min_successors: Distinct words that follow it: a brand makes several things. A word with fewer is
            prolonged by the next (`harman kardon`).
        max_inferred_words: Most words of a brand inferred from titles; beyond them it is a product line.
        min_certain: Titles after which such a product line is taken for the brand, for want of another.
        min_support: Times a feed has to name a brand before it is looked for inside a title.
        min_inside: Shortest brand, in letters, that is looked for inside a title.
    """

    max_length: int = 60
    max_words: int = 4
    min_leading: int = 3
    min_lead_share: float = 0.6
    min_successors: int = 3
    max_inferred_words: int = 2
    min_certain: int = 20
    min_support: int = 2
    min_inside: int = 3


@dataclass(frozen=True, slots=True)
class Brand:
    """A brand and where it was found: `feed` or `title`."""

    name: str
    origin: str


_JUNK = re.compile(
    r"(?:n\W?a|none|null|nan|nil|unknown|unbranded|un-branded|generic|no\W?(?:brand|name)(?: brand)?|"
    r"not specified|unspecified|"
    r"does not apply|doesn'?t apply|not applicable|other|others|various|misc|miscellaneous|tbd|tba|default|brand|"
    r"manufacturer|markenlos|ohne marke|keine marke|nicht zutreffend|sonstige|sans marque|autre|sin marca|senza marca|"
    r"merkloos|[\W_\d]*)"
)
_LABEL = re.compile(r"^(?:brand|marke|marque|marca|merk|manufacturer|hersteller|by|von)\s?:\s*", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
#: The form of a company and the trade it is in: `Adobe Systems Inc.` and `adobe software` are the brand Adobe.
_FORMS = frozenset(
    [
        "inc",
        "incorporated",
        "corp",
        "corporation",
        "ltd",
        "limited",
        "llc",
        "llp",
        "gmbh",
        "ag",
        "kg",
        "co",
        "plc",
        "sa",
        "sas",
        "srl",
        "spa",
        "bv",
        "nv",
        "ab",
        "oy",
        "as",
        "aps",
        "kk",
        "pte",
        "pty",
        "sdn",
        "bhd",
    ]
)
_TRADES = frozenset(
    [
        "company",
        "intl",
        "international",
        "usa",
        "us",
        "uk",
        "europe",
        "deutschland",
        "global",
        "group",
        "holdings",
        "software",
        "systems",
        "technologies",
        "technology",
        "electronics",
        "entertainment",
        "interactive",
        "publishing",
        "products",
        "industries",
        "appliances",
        "brands",
    ]
)
#: Words that begin titles and are no brands.
_OPENERS = frozenset(
    [
        "the",
        "a",
        "an",
        "new",
        "brand",
        "genuine",
        "original",
        "official",
        "refurbished",
        "renewed",
        "used",
        "for",
        "with",
        "and",
        "by",
        "my",
        "your",
        "super",
        "ultra",
        "mini",
        "pro",
        "set",
        "pack",
        "box",
        "lot",
        "pair",
        "free",
        "premium",
        "professional",
        "home",
        "best",
        "buy",
        "sale",
        "hot",
        "deal",
        "der",
        "die",
        "das",
        "fur",
        "le",
        "la",
        "les",
        "un",
        "une",
        "el",
        "lo",
        "il",
        "de",
        "du",
        "high",
        "low",
        "full",
        "small",
        "large",
        "big",
        "compact",
        "portable",
        "wireless",
        "digital",
        "electric",
        "electronic",
        "automatic",
        "black",
        "white",
        "silver",
        "red",
        "blue",
        "green",
        "pink",
        "grey",
        "gray",
        "gold",
        "integrated",
        "built",
        "freestanding",
        "standing",
        "grade",
        "open",
        "class",
    ]
)


@dataclass(frozen=True)
class BrandLexicon:
    """The brands that were seen, with the evidence for each.

    A lexicon is a value: two lexicons of the same brands and titles are equal, in whatever order they were read,
    and merging is commutative and associative. Keys are `brand_key`'s.

    Attributes:
        feeds: Key -> spelling -> times that feeds named the brand so.
        titles: Key -> spelling -> times that titles began with it so; only keys inferred to be brands.
        rules: When a word is a brand.
    """

    feeds: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    titles: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rules: BrandRules = field(default_factory=BrandRules)

    @classmethod
    def from_feeds(
        cls, brands: Iterable[str | None] | Mapping[str, int], rules: BrandRules | None = None
    ) -> "BrandLexicon":
        """Build the lexicon of the brands that feeds name.

        Args:
            brands: The brand of every listing, or how many listings name each. The counts choose the canonical
                spelling, and `min_support` is about them: distinct brands alone are not enough.
            rules: When a word is a brand.
        """
        limits = rules or BrandRules()
        spellings: dict[str, Counter[str]] = defaultdict(Counter)
        for raw, times in Counter(brands).items():
            if name := clean_brand(raw, limits):
                spellings[brand_key(name)][name] += times
        return cls(feeds=_frozen(spellings), rules=limits)

    @classmethod
    def from_titles(cls, titles: Iterable[str], rules: BrandRules | None = None) -> "BrandLexicon":
        """Infer brands from titles alone: words that begin many, that seldom come later, and that many words follow.

        Repeated titles count once, so that a shop that lists one item often invents no brand.
        """
        limits = rules or BrandRules()
        texts = sorted({clean_text(title) for title in titles})
        words = [_words(text) for text in texts]
        occurrences = Counter(word for found in words for word in set(found))
        leading: dict[str, list[int]] = defaultdict(list)
        for row, found in enumerate(words):
            if found:
                leading[found[0]].append(row)
        spellings: dict[str, Counter[str]] = defaultdict(Counter)
        for word, rows in leading.items():
            if word in _OPENERS or len(rows) < limits.min_lead_share * occurrences[word]:
                continue
            for length, members in _inferred(rows, words, limits):
                for row in members:
                    spelling = _first_words(texts[row], length)
                    spellings[brand_key(spelling)][spelling] += 1
        return cls(titles=_frozen(spellings), rules=limits)

    def merged(self, other: "BrandLexicon") -> "BrandLexicon":
        """Return the lexicon of both; counts add up. The rules are this lexicon's."""
        return BrandLexicon(
            feeds=_added(self.feeds, other.feeds), titles=_added(self.titles, other.titles), rules=self.rules
        )

    def __len__(self) -> int:
        """The number of distinct brands."""
        return len(self._names)

    def canonical(self, raw: str | None) -> str | None:
        """Return the canonical spelling of a feed's brand; its own cleaned spelling where the lexicon lacks it."""
        name = clean_brand(raw, self.rules)
        return self._names.get(brand_key(name), name) if name else None

    def resolve(self, brand: str | None, title: str) -> Brand | None:
        """Return the brand of a listing: the feed's, else the one its (cleaned) title names, else None."""
        if name := self.canonical(brand):
            return Brand(name, "feed")
        found = self.in_title(title)
        return Brand(found, "title") if found else None

    def in_title(self, title: str) -> str | None:
        """Return the brand that `title` names.

        It is the longest brand at its start; else a brand anywhere in it, if it is the only one there and feeds
        named it (brands inferred from titles are looked for at the start only).
        """
        tokens = _words(title)
        at_start = self._longest(tokens, 0, self._names)
        if at_start:
            return self._names[at_start[0]]
        inside = set()
        position = 1
        while position < len(tokens):
            form, length = self._longest(tokens, position, self._inside) or ("", 1)
            position += length
            if form:
                inside.add(self._inside[form])
        return self._names[inside.pop()] if len(inside) == 1 else None

    def _longest(self, tokens: list[str], position: int, known: Mapping[str, str]) -> tuple[str, int] | None:
        """The key in `known` of most words that begins at a token, and how many words it has."""
        for length in range(min(self.rules.max_words, len(tokens) - position), 0, -1):
            key = "".join(tokens[position : position + length])
            if key in known:
                return key, length
        return None

    @cached_property
    def _names(self) -> dict[str, str]:
        """Key -> canonical spelling: the most frequent one that feeds use, else the one that titles use."""
        return {key: _canonical(self.feeds.get(key) or self.titles[key]) for key in {*self.feeds, *self.titles}}

    @cached_property
    def _inside(self) -> dict[str, str]:
        """What is looked for amid a title -> key: the brands feeds name, as often and as fully as they spell them.

        The trade stays here: `The Learning Company` must not claim every title that says "learning".
        """
        forms: dict[str, str] = {}
        for key, spellings in self.feeds.items():
            if sum(spellings.values()) < self.rules.min_support:
                continue
            for spelling in spellings:
                form = "".join(_without_tail(_words(spelling), _FORMS))
                if len(form) >= self.rules.min_inside and not form.isdigit() and form not in _OPENERS:
                    forms[form] = key
        return forms


def clean_brand(raw: str | None, rules: BrandRules | None = None) -> str | None:
    """Return a feed's brand as text, or None where the field says nothing (`n/a`, `generic`, a sentence, a link)."""
    limits = rules or BrandRules()
    name = _LABEL.sub("", clean_text(raw)).strip(" -_.,;:/|'\"")
    if len(name) > limits.max_length or "://" in name or _JUNK.fullmatch(fold(name)) or not brand_key(name):
        return None
    return name


def brand_key(name: str) -> str:
    """Return what spellings of one brand share: its folded words, joined, without company form and trade at the end.

    `Polk Audio` and `PolkAudio` are one, as are `Adobe Systems Inc.` and `adobe software`.
    """
    words = _without_tail(_words(name), _FORMS | _TRADES)
    return "".join(words[1:] if len(words) > 1 and words[0] == "the" else words)


def _without_tail(words: list[str], tail: frozenset[str]) -> list[str]:
    kept = len(words)
    while kept > 1 and words[kept - 1] in tail:
        kept -= 1
    return words[:kept]


def _words(text: str) -> list[str]:
    return _WORD.findall(fold(text).replace("'", ""))


def _first_words(text: str, length: int) -> str:
    """The first words of a text as they are written, with what stands between them (`D-Link`)."""
    ends = [found.end() for found in _WORD.finditer(text)]
    return text[: ends[length - 1]].lstrip("\"'([#*-. ")


def _inferred(
    rows: list[int], words: list[list[str]], limits: BrandRules, length: int = 1
) -> Iterator[tuple[int, list[int]]]:
    """The brands among titles that share their first `length` words: (words of the brand, its titles).

    Many successors make the shared words a brand; few prolong them, once (`harman kardon`).
    """
    opening = words[rows[0]][:length]
    if len(rows) < limits.min_leading or any(map(str.isdigit, "".join(opening))):
        return
    successors: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        if len(words[row]) > length:
            successors[words[row][length]].append(row)
    last = length == limits.max_inferred_words
    if len(successors) >= limits.min_successors or (last and len(rows) >= limits.min_certain):
        if len("".join(opening)) > 1:
            yield length, rows
    elif not last:
        for members in successors.values():
            yield from _inferred(members, words, limits, length + 1)


def _canonical(spellings: Mapping[str, int]) -> str:
    """The most frequent spelling; of equals the one in mixed case, then the shorter, then the first by alphabet."""
    return min(spellings, key=lambda name: (-spellings[name], name.islower() or name.isupper(), len(name), name))


def _frozen(spellings: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """Plain dictionaries in a stable order."""
    return {key: dict(sorted(spellings[key].items())) for key in sorted(spellings)}


def _added(left: Mapping[str, Mapping[str, int]], right: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """The sum of two tables of counts."""
    return _frozen({key: Counter(left.get(key, {})) + Counter(right.get(key, {})) for key in {*left, *right}})
