"""What a title states in words that tells variants of one product apart: generation, platform, edition, packaging.

Belongs here: reading such statements, in the languages shops use. Not here: quantities (`cleaned_products.measures` has
them), which statements contradict each other (`variants`).

Every reader takes a folded title (lower case, without accents) and returns the values it states, none where it says
nothing clear.
"""

import re
from types import MappingProxyType
from typing import Final

from assets.clusters.rules import ROMAN

_WORDS_OF_NUMBERS: Final = MappingProxyType(
    {
        word: str(number)
        for number, words in {
            1: "first erste premiere prima primera",
            2: "second zweite deuxieme seconda segunda",
            3: "third dritte troisieme terza tercera",
            4: "fourth vierte quatrieme quarta cuarta",
            5: "fifth funfte cinquieme quinta",
        }.items()
        for word in words.split()
    }
)
_GENERATION: Final = r"(?:generations?|generazione|generacion|gen)"
_MARK: Final = r"(?:mark|mk|gen(?:eration)?|generazione|generacion|serie(?:s)?)"
_ORDINAL: Final = re.compile(rf"\b(\d{{1,2}})\s?(?:st|nd|rd|th|e|eme|er|ere|[aª]|\.)?\s{_GENERATION}\b")
_WORDED: Final = re.compile(rf"\b({'|'.join(_WORDS_OF_NUMBERS)})\s{_GENERATION}\b")
_NUMBERED: Final = re.compile(rf"\b{_MARK}[\s.-]?(\d{{1,2}}|{'|'.join(ROMAN)})\b(?!\s?[.,]\d)")
_YEAR: Final = re.compile(r"(?<![\w.,/-])((?:19[89]|20[0-4])\d)(?![\w,/]|\.\d|\s?(?:w|mah|mb|gb|rpm|x|dpi|ml|mm)\b)")


def _by_spelling(values: dict[str, str]) -> MappingProxyType[str, str]:
    """Turn `value -> spellings` around."""
    return MappingProxyType({spelling: value for value, words in values.items() for spelling in words.split()})


_PLATFORMS: Final = _by_spelling(
    {
        "windows": "windows win win98 winxp win32",
        "mac": "mac macos macintosh osx macosx",
        "linux": "linux",
        "ps1": "ps1 psone playstation1",
        "ps2": "ps2 playstation2",
        "ps3": "ps3 playstation3",
        "ps4": "ps4 playstation4",
        "ps5": "ps5 playstation5",
        "xbox": "xbox",
        "switch": "switch",
        "wii": "wii",
        "android": "android",
    }
)
_PLAYSTATION: Final = re.compile(r"\bplaystation\s(?=[1-5]\b)")
#: A PlayStation without a number may be any.
_PLAYSTATIONS: Final = frozenset({"ps1", "ps2", "ps3", "ps4", "ps5"})
#: `switch` is a console only beside its maker's name or where a game is for it; elsewhere it joins cables.
_SWITCH: Final = re.compile(r"\bnintendo\b|\bswitch (?:games?|code|edition)\b|[(\[]switch[)\]]")
_BOTH: Final = re.compile(r"\b(?:hybrid|win/mac|mac/win|pc/mac|mac/pc)\b")
#: `12 pc set` counts pieces.
_PC: Final = re.compile(r"(?:^|\D\s|\d{4}\s|[(\[/])pc\b|\bpc\s(?:dvd|cd|games?|digital)\b")
#: What lenses, flashes and batteries of other makers are made for.
_MOUNT: Final = re.compile(
    r"\b(canon)\s(?:ef|rf)(?:-[ms])?\b|\b(nikon)\s[fz]\b|\b(sony)\s(?:e|fe|a)\b|\b(fuji)(?:film)?\sx\b|\b(l)[\s-]mount\b|"
    r"\b(pentax)\sk\b|\b(m)ft\b|\b(m)icro\s?four\s?thirds\b"
)

#: How a part is packed for its buyer: bare for those who build machines, or in a shop's box.
_PACKAGING: Final = _by_spelling({"bulk": "oem tray bulk", "boxed": "box boxed retail"})
_ZOOM: Final = re.compile(r"(?<![\d.])(\d{2,3})\s?[-/\s]\s?(\d{2,3})\s?mm\b")
_BARE: Final = re.compile(r"\b(?:body|gehause|gehaeuse|boitier|corpo macchina|cuerpo)\b")

#: Numbers are sizes of adults or, in centimetres, of children; `500 gr` and `size 2032` are none.
_LETTERED_SIZE: Final = re.compile(
    r"(?<!\d\s)\b(?:size|frame|groesse|grosse|gr|taille|talla|taglia|maat|rahmen)\.?:?\s?"
    r"(x{0,3}s|m|x{0,3}l|(?:[2-6]\d|1[0-7]\d)(?!\s?(?:x|[cm]m|ml|g|kg|w|in|inch|zoll|l)\b|[.,/-]\d))\b|"
    r"\b(x{1,3}[sl])(?=\s*$)"
)
_TYRE: Final = re.compile(r"\b(\d{3}/\d{2})\s?z?r\s?(\d{2})\b")
#: Two sides and no third.
_SIDES: Final = re.compile(r"(?<![\d.,])(?<!\dx)(?<!\d x)(?<!x )(\d{2,4})\s?(?:cm\s?)?x\s?(\d{2,4})\s?cm\b(?!\s?x)")

#: Sizes of round cells, by letters and by their German names, where it is cells that are offered.
_CELL: Final = re.compile(r"\b(a{2,4}|mignon|micro)\b")
_CELLS: Final = re.compile(r"\b(?:batter\w*|akkus?|piles?|pilas?|cells?|duracell|energizer|varta|eneloop)\b")
_CELL_NAMES: Final = MappingProxyType({"mignon": "aa", "micro": "aaa"})

_EDITIONS: Final = _by_spelling(
    {
        "professional": "professional pro prof",
        "standard": "standard std",
        "home": "home",
        "premium": "premium",
        "deluxe": "deluxe dlx",
        "ultimate": "ultimate",
        "enterprise": "enterprise",
        "academic": "academic edu education educational student teacher",
        "upgrade": "upgrade upg upsell",
        "business": "business",
        "premier": "premier",
        "basic": "basic",
        "starter": "starter",
        "advanced": "advanced",
        "extended": "extended",
        "suite": "suite",
        "server": "server",
        "client": "client",
        "platinum": "platinum",
        "junior": "junior jr",
        "collection": "collection",
        "expansion": "expansion extension",
        "max": "max",
        "plus": "plus",
        "mini": "mini",
        "lite": "lite",
        "ultra": "ultra",
        "slim": "slim",
        "special": "se fe",
        "cellular": "cellular lte",
        "combo": "combo bundle",
        "xl": "xl",
        "ti": "ti",
        "xt": "xt xtx",
    }
)
#: Words for a model's rank or edition: alone they tell two products apart.
RANKS: Final = frozenset({*_EDITIONS, "super", "air", "bluetooth", "wifi", *"23456789"})
#: Words that tell nothing beside a rank or an edition.
NEUTRAL: Final = frozenset({"edition", "version"})
#: Names of techniques that hold an edition's word.
_TECHNIQUE: Final = re.compile(
    r"\bultra[\s-]?(?:hd|high|wide|violet)|\bhdr?[\s-]?(?:pro|premium|plus)\b|\b(?:pro|premium|plus)[\s-]hdr?\b|"
    r"\bhome[\s-](?:theat|cinema)|\bnetwork adv"
)

#: Shops call one part by several words: they are one name here.
_ACCESSORIES: Final = _by_spelling(
    {
        "case": "case cover sleeve pouch bag skin bumper holster hulle huelle tasche housse coque etui funda custodia",
        "charger": "charger adapter adaptor ladegerat ladegeraet chargeur cargador caricatore",
        "battery": "battery batterie batterij batteria bateria akku",
        "cable": "cable kabel cavo",
        "holder": "holder stand mount bracket dock cradle",
        "ink": "cartridge toner refill",
        "lamp": "lamp bulb",
        **{part: part for part in ["strap", "protector", "remote", "filter", "lid", "attachment", "blade", "brush"]},
        **{part: part for part in ["head", "tank", "hose", "pad", "cushion"]},
    }
)
_ACCESSORY: Final = re.compile(rf"\b(?:(batter)ies|({'|'.join(_ACCESSORIES)})(?:s|es|n)?)\b")
_FOR: Final = re.compile(r"\b(?:for|fits|compatible with|fur|fuer|pour|para|per|voor)\b")
_WHAT_FOR: Final = re.compile(_FOR.pattern + r".*?(?=\s[-–|/]\s|[,;(\[]|\sby\s|$)")
#: What a title states that neither names an accessory nor says what it is for.
_ITSELF: Final = "itself"


def read_generation(text: str) -> set[str]:
    """Generations that a folded title states: `mark ii`, `mk2`, `gen 3`, `2nd generation`, `second generation`."""
    found = {match[1] for match in _ORDINAL.finditer(text)}
    found |= {_WORDS_OF_NUMBERS[match[1]] for match in _WORDED.finditer(text)}
    found |= {ROMAN.get(match[1], match[1]) for match in _NUMBERED.finditer(text)}
    return {number.lstrip("0") or "0" for number in found}


def read_years(text: str) -> set[str]:
    """Years of a model or an edition that a folded title states."""
    return {match[1] for match in _YEAR.finditer(text)}


def read_platforms(text: str) -> set[str]:
    """Systems and mounts a folded title says it is for; those that say to be for several systems state nothing."""
    if _BOTH.search(text):
        return set()
    words = _words(_PLAYSTATION.sub("playstation", text))
    found = {_PLATFORMS[word] for word in words if word in _PLATFORMS}
    if "playstation" in words and not found & _PLAYSTATIONS:
        found |= _PLAYSTATIONS
    if _PC.search(text):
        found.add("windows")
    if not _SWITCH.search(text):
        found.discard("switch")
    return found | {"mount " + next(filter(None, match.groups())) for match in _MOUNT.finditer(text)}


def read_packaging(text: str) -> set[str]:
    """Whether a part is sold in bulk or in a shop's box; a title that says both states nothing."""
    found = {_PACKAGING[word] for word in _words(text) if word in _PACKAGING}
    return found if len(found) == 1 else set()


def read_kit(text: str) -> set[str]:
    """The lenses that come with a camera, as one value (`18-55+55-200`), or that it comes bare."""
    lenses = {f"{short}-{long}" for short, long in _ZOOM.findall(text) if int(short) < int(long)}
    if lenses:
        return {"+".join(sorted(lenses))}
    return {"bare"} if _BARE.search(text) else set()


def read_sizes(text: str) -> set[str]:
    """Sizes of clothes and frames, of tyres, of round cells, and of what has two sides, as one value: `90x200`."""
    found = {named or last for named, last in _LETTERED_SIZE.findall(text)}
    found |= {f"{profile}r{rim}" for profile, rim in _TYRE.findall(text)}
    if _CELLS.search(text):
        found |= {_CELL_NAMES.get(cell, cell) for cell in _CELL.findall(text)}
    return found | {"x".join(sorted(sides, key=int)) for sides in _SIDES.findall(text)}


def read_editions(text: str) -> set[str]:
    """Words that name an edition or a model's rank: `professional`, `upgrade`, `max`."""
    return {_EDITIONS[word] for word in _words(_TECHNIQUE.sub(" ", text)) if word in _EDITIONS}


def read_accessory(text: str) -> set[str]:
    """What accessory `for` something else the title offers, or that it offers no accessory; nothing where unclear."""
    named = [(match.start(), _ACCESSORIES[match[2] or match[1] + "y"]) for match in _ACCESSORY.finditer(text)]
    is_for = [match.start() for match in _FOR.finditer(text)]
    if named and is_for and named[0][0] < is_for[-1]:
        return {name for _, name in named}
    return set() if named or is_for else {_ITSELF}


def without_purpose(text: str) -> str:
    """What a folded title says beside what its offer is for: its own names and codes."""
    return _WHAT_FOR.sub(" ", text)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text)
