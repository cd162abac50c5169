"""What a listing says about the item in words: colour, pack size, condition, availability.

Belongs here: the vocabularies of several languages and the closed sets they lead to. Not here: physical quantities,
identifiers, brands, money.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from assets.products.text import fold


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeRules:
    """Limits of attributes.

    Attributes:
        max_pack: Largest pack that is believed; beyond it a number is something else.
        max_colours: Colours of one item before it is `multicolour`.
        max_text: Characters of one text that are read.
    """

    max_pack: int = 1000
    max_colours: int = 3
    max_text: int = 600


# -- colour ---------------------------------------------------------------------------------------------------------

#: Canonical colour -> words for it. Words that mean something else in another language are left out
#: (`or`, `sort`, `wit`, `rod`), as are shades that are mostly flavours or editions (chocolate, cherry, platinum).
_COLOURS: Mapping[str, str] = {
    "black": "black schwarz noir noire negro negra nero nera zwart svart czarny czarna preto preta cerny siyah "
             "черный черная blk",
    "white": "white weiss blanc blanche blanco blanca bianco bianca vit hvid hvit bialy biala branco branca bily "
             "beyaz белый белая wht",
    "grey": "grey gray grau gris grigio grigia grijs gra szary cinza sedy gri серый anthracite anthrazit antracite "
            "antraciet graphite graphit grafit graphit charcoal slate gunmetal",
    "silver": "silver silber argent argento plata zilver solv srebrny prata stribrny gumus серебристый chrome",
    "gold": "gold golden dore doree dorado oro goud guld zloty dourado altin золотой",
    "rose gold": "",
    "steel": "stainless inox edelstahl steel",
    "red": "red rot rouge rojo roja rosso rossa rood czerwony vermelho cerveny kirmizi красный burgundy maroon",
    "blue": "blue blau bleu bleue azul azzurro blauw bla niebieski modry mavi синий navy marineblau",
    "turquoise": "turquoise turkis turkoise teal aqua turquesa turchese petrol",
    "cyan": "cyan",
    "magenta": "magenta",
    "green": "green grun verde vert verte groen gron zielony zeleny yesil зеленый khaki olivgrun",
    "yellow": "yellow gelb jaune amarillo amarilla giallo gialla geel gul zolty amarelo zluty желтый",
    "orange": "orange naranja arancione oranje pomaranczowy laranja turuncu оранжевый",
    "purple": "purple violet violett violette violeta lila lilac lavender paars fioletowy roxo фиолетовый",
    "pink": "pink rosa rose roze rozowy ruzovy pembe розовый",
    "brown": "brown braun brun brune marron marrone bruin brazowy marrom hnedy kahverengi коричневый tan cognac",
    "beige": "beige cream creme ivory ecru bisque champagne elfenbein",
    "bronze": "bronze copper kupfer cuivre cobre",
    "clear": "transparent klar durchsichtig trasparente transparente",
    "multicolour": "multicolour multicolor multicolore multicoloured multicolored mehrfarbig bunt",
}  # fmt: skip
_COLOUR_OF = {fold(word): colour for colour, words in _COLOURS.items() for word in words.split()}
_PHRASES = (
    (re.compile(r"\b(?:rose[ -]?gold|roségold|rosegold|or rose)\b"), "rose gold"),
    (re.compile(r"\b(?:space|sky|dark|light|slate|dunkel|hell)[ -]?gr[ae]y\b|\b(?:dunkel|hell)grau\b"), "grey"),
    (re.compile(r"\bstainless[ -]steel\b|\bacier inox(?:ydable)?\b"), "steel"),
    (re.compile(r"\b(?:dunkel|hell|marine)blau\b|\b(?:light|dark|navy|sky|midnight) blue\b"), "blue"),
    (re.compile(r"\b(?:off|pearl)[ -]?white\b"), "white"),
)
#: Names that hold a colour's word and no colour.
_NO_COLOUR = re.compile(
    r"\bblack\s?(?:&|and|\+|n)\s?decker\b|\bblack friday\b|\bblu[ -]?rays?\b|\bred dead\b|\bblue yeti\b|"
    r"\bwhite (?:paper|noise)\b|\bgold (?:edition|standard|box|plated)\b|"
    r"\b(?:wd|caviar) (?:black|blue|red|green|gold|purple)\b|"
    r"\b80\s?(?:plus|\+)\s?(?:gold|silver|bronze|white)\b|\bgreen tea\b|\borange juice\b|\bgolden (?:axe|eye|sun)\b|"
    r"\b(?:blue|white) ray\b|\bsteel ?series\b|\bsilver ?light\b|\bgreen ?house\b|\bred ?hat\b|\bpink panther\b|"
    r"\bminisplit\b|\bxeon (?:gold|silver|bronze)\b|\bblack (?:ops|flag|ink bottle)\b|\bpentium (?:gold|silver)\b"
)
_WORD = re.compile(r"[^\W\d_]+")
_STATED_COLOUR = re.compile(
    r"\b([^\W\d_]+) (?:finish|colou?r)\b|\b(?:colou?r|farbe|couleur|colore|kleur) ?: ?([^\W\d_]+)"
)
_COLOUR_FIELD = re.compile(
    r"(?:colou?r|farbe|couleur|colore|kleur|farve|farg|kolor|cor|barva|renk|цвет)s?\b|.*[ _-]colou?r$"
)


def parse_colour(
    title: str, *, fields: Mapping[str, str] | None = None, description: str = "", rules: AttributeRules | None = None
) -> str | None:
    """Return the canonical colour of an item, or its colours sorted and joined by `/` (`black/silver`).

    A field for the colour comes first, then the title, then a description that says so (`Black Finish`,
    `Farbe: schwarz`). Shades are their broad colour (space grey and anthracite are `grey`, navy is `blue`); metals
    that shops tell apart stay apart (`rose gold`, `gold`, `silver`, `steel`), as do the colours of ink.
    """
    limits = rules or AttributeRules()
    for name, value in (fields or {}).items():
        if _COLOUR_FIELD.match(fold(name)) and (colours := _colours(value[: limits.max_text])):
            return _joined(colours, limits)
    if colours := _colours(title):
        return _joined(colours, limits)
    stated = {
        colour
        for found in _STATED_COLOUR.finditer(fold(description[: limits.max_text]))
        if (colour := _COLOUR_OF.get(found[1] or found[2]))
    }
    return _joined(stated, limits) if len(stated) == 1 else None


def _colours(text: str) -> set[str]:
    """The canonical colours named in a text."""
    folded = fold(text)
    words = _WORD.findall(folded)
    if not any(word in _COLOUR_OF or word in ("rosegold", "dunkelgrau", "hellgrau") for word in words):
        return set()
    folded = _NO_COLOUR.sub(" ", folded)
    colours = set()
    for phrase, colour in _PHRASES:
        if phrase.search(folded):
            colours.add(colour)
            folded = phrase.sub(" ", folded)
    return colours | {_COLOUR_OF[word] for word in _WORD.findall(folded) if word in _COLOUR_OF}


def _joined(colours: Iterable[str], limits: AttributeRules) -> str:
    names = sorted(colours)
    return "multicolour" if len(names) > limits.max_colours or "multicolour" in names else "/".join(names)


# -- pack size ------------------------------------------------------------------------------------------------------

_PACK = re.compile(
    r"(?<![\w.,/-])(?:"
    r"(\d{1,4})[\s-]?(?:er[\s-]?)?(?:packs?|pks?|pcs|pieces?|ct|count|stuck|stueck|stk|piezas?|pezzi|sztuk|szt)\b|"
    r"(\d{1,4})er[\s-](?:set|box|sparpack)\b|"
    r"(?:packs?|sets?|box|lot|case|bundle|pakke|paquete|confezione|paket|pachet)\s(?:of|de|da|mit|von|av|med|à|a)\s(\d{1,4})\b|"
    r"(\d{1,3})\s?[x×]\s?\d+(?:[.,]\d+)?\s?(?:ml|cl|l|g|kg|oz|floz|fl oz|gb|tb|sheets|blatt)\b"
    r")"
)
_TIMES = re.compile(
    r"[(\[]\s?[x×]\s?(\d{1,4})\s?[)\]]|×\s?(\d{1,4})\b(?!\s?\d)|(?:\d(?:ml|cl|l|g|kg|oz)|s|aaa?)\sx\s?(\d{1,4})$"
)
_TWIN = re.compile(r"\b(?:twin|double|duo|dual)[\s-]pack\b|\bdoppelpack\b|\bpair of\b")


def parse_pack_size(title: str, rules: AttributeRules | None = None) -> int:
    """Return how many items a title offers together, 1 unless it says so.

    `4-pack`, `pack of 4`, `4er Pack`, `lot de 4`, `(x4)` and `4 x 500 ml` are four.
    """
    limits = rules or AttributeRules()
    folded = fold(title[: limits.max_text])
    for pattern in (_PACK, _TIMES):
        for found in pattern.finditer(folded):
            size = int(next(group for group in found.groups() if group))
            if 1 <= size <= limits.max_pack:
                return size
    return 2 if _TWIN.search(folded) else 1


# -- condition ------------------------------------------------------------------------------------------------------

_CONDITION_WORDS = (
    ("refurbished", re.compile(
        r"refurb|renewed|recondition|remanufactured|generaluberholt|erneuert|recondicionn?|reconditionne|ricondizionat|"
        r"reacondicionad|recondicionad|gereviseerd|renoverad|odnowion|repasovan|восстановлен")),
    ("used", re.compile(
        r"\bused\b|gebraucht|\boccasion\b|d'occasion|\busat[oa]\b|\busad[oa]\b|pre-?owned|second[ -]?hand|"
        r"begagnad|\bbrugt\b|"
        r"tweedehands|open[ -]?box|b-ware|damaged|uzywan|like new|wie neu|zustand: gut|"
        r"ex[ -]?(?:display|demo)|graded?\b|ausstellungsstuck|vorfuhr")),
    ("new", re.compile(
        r"\bnew\b|\bneuf?\b|\bneu(?:ware)?\b|\bnuev[oa]\b|\bnuov[oa]\b|\bnov[oay]\b|\bnieuw\b|\bny\b|\bnowy\b|\bновы|"
        r"brand ?new")),
)  # fmt: skip
#: In a title "used" and "new" are ordinary words; only where they stand apart do they state the condition.
_TITLE_USED = re.compile(
    r"open[ -]box\b|\blike new\b|\bas new\b|\bwie neu\b|\bex[ -]?(?:display|demo)\b|\bausstellungsstuck\b|"
    r"\bgrade [abc][12]?\b(?! (?:energy|rated))|\bpre-?owned\b|\bgebraucht\b|\bd'occasion\b|\bb-ware\b|"
    r"[(\[-]\s?(?:used|usato|usado|second hand)\b|^used\b|\bused$|"
    r"\bsecond[ -]hand\b"
)


def parse_condition(published: str, title: str) -> tuple[str, str | None]:
    """Return the condition (`new`, `refurbished`, `used`, `unknown`) and an issue.

    The field is read first: a schema.org URL or words of several languages (`condition_unknown` where it says
    something else). A title that says the item is not new overrules a field that says it is (`condition_conflict`).
    """
    field = fold(_schema_org(published))
    stated = next((condition for condition, words in _CONDITION_WORDS if words.search(_spaced(field))), None)
    folded = fold(title)
    of_title = None
    if _CONDITION_WORDS[0][1].search(folded):
        of_title = "refurbished"
    elif _TITLE_USED.search(folded):
        of_title = "used"
    if of_title and stated in (None, "new"):
        return of_title, "condition_conflict" if stated else None
    if stated is None:
        return "unknown", "condition_unknown" if field else None
    return stated, None


# -- availability ---------------------------------------------------------------------------------------------------

#: Order matters: "not in stock" holds "in stock".
_AVAILABILITY_WORDS = (
    ("preorder", re.compile(
        r"pre-?\s?order|presale|back-?\s?order|vorbestell|precommande|preventa|preordine|coming soon")),
    ("out_of_stock", re.compile(
        r"out ?of ?stock|sold ?out|not (?:in stock|available)|unavailable|no stock|discontinued|"
        r"ausverkauft|nicht|rupture|"
        r"indisponible|epuise|agotado|no disponible|esaurito|non disponibile|uitverkocht|slutsald|udsolgt|"
        r"niedostepn|wyprzedan|esgotado|^(?:0|false|no|n|none|nein|out)$|^-\d+")),
    ("in_stock", re.compile(
        r"in ?stock|available|instoreonly|onlineonly|auf lager|lieferbar|verfugbar|vorratig|en stock|"
        r"disponible|disponibile|"
        r"op voorraad|i lager|pa lager|disponivel|dostepn|^(?:true|yes|y|ja|oui|si|in|[1-9]\d*(?:\.0+)?\+?)$|ships|"
        r"only \d+ left|limited")),
)  # fmt: skip


def parse_availability(published: str) -> tuple[str, str | None]:
    """Return the availability (`in_stock`, `out_of_stock`, `preorder`, `unknown`) and an issue.

    Understood are schema.org URLs, `in stock` and `in_stock`, words of several languages, truth values and
    counts. Back-ordered items can be bought and are not there: `preorder`. What a field says otherwise is
    `availability_unknown`.
    """
    field = _spaced(fold(_schema_org(published))).strip()
    if not field:
        return "unknown", None
    compact = field.replace(" ", "")
    for availability, words in _AVAILABILITY_WORDS:
        if words.search(field) or words.search(compact):
            return availability, None
    return "unknown", "availability_unknown"


def _schema_org(published: str) -> str:
    """The term of a schema.org URL (`https://schema.org/NewCondition`), its words parted; other text unchanged."""
    if "schema.org/" not in published.lower():
        return published
    term = re.split(r"schema\.org/", published, flags=re.IGNORECASE)[-1].strip("/ ")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", term)


def _spaced(text: str) -> str:
    return text.replace("_", " ")
