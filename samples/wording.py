"""How quantities are written: the same terabyte as `1TB`, `1000 GB` or `1 To`.

Belongs here: units, packs and generations in the shops' languages. Not here: a shop's own habits.
"""

from decimal import Decimal

from samples.catalogue import Language, Product

GB_PER_TB = 1000
QUARTS_PER_LITRE = Decimal("1.0566882")
CM_PER_INCH = Decimal("2.54")
#: A volume is called by its quarts where it is this near to a whole number of them.
QUART_TOLERANCE = Decimal("0.04")

#: Kinds whose screen is said in the title; of a phone or a watch hardly any shop says it.
SCREEN_IN_TITLE = frozenset({"laptop", "tablet", "tv", "monitor"})
#: Kinds where the noun tells products apart (beans or ground coffee, SD or microSD).
NOUN_IN_TITLE = frozenset(
    {"coffee_beans", "ground_coffee", "coffee_capsules", "tea", "ink", "toner", "lego", "lens", "sd", "microsd"}
)

_PACKS: dict[str, dict[Language, str]] = {
    "coffee_capsules": {"en": "{} Capsules", "de": "{} Kapseln", "fr": "{} capsules"},
    "tea": {"en": "{} Tea Bags", "de": "{} Beutel", "fr": "{} sachets"},
    "instant_film": {"en": "{} Shots", "de": "{} Aufnahmen", "fr": "{} poses"},
    "soft_drink": {"en": "{} Cans", "de": "{} Dosen", "fr": "{} canettes"},
}
_ANY_PACK: dict[Language, str] = {"en": "{} Pack", "de": "{}er-Pack", "fr": "lot de {}"}


def number(value: Decimal | int, language: Language) -> str:
    """A number with the language's decimal mark, without trailing zeros."""
    text = f"{Decimal(value):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if language == "en" else text.replace(".", ",")


def bytes_of(gigabytes: int, language: Language, *, space: str = " ", as_tb: bool = True) -> str:
    """A capacity: `1 TB`, with `as_tb=False` `1000 GB`, in French `1 To`."""
    unit = "o" if language == "fr" else "B"
    if as_tb and gigabytes % GB_PER_TB == 0:
        return f"{gigabytes // GB_PER_TB}{space}T{unit}"
    return f"{gigabytes}{space}G{unit}"


def screen(inches: Decimal, style: str, language: Language) -> str:
    """A screen diagonal in inches, with `cm` in the style also in centimetres: `55 Zoll (140 cm)`."""
    said = style.format(number(inches, language))
    return said.replace("cm", f"{round(inches * CM_PER_INCH)} cm")


def volume(litres: Decimal, language: Language, *, quarts: bool = False) -> str:
    """A volume in litres, or in quarts where it is a whole number of them."""
    in_quarts = litres * QUARTS_PER_LITRE
    if quarts and abs(in_quarts - round(in_quarts)) < QUART_TOLERANCE:
        return f"{round(in_quarts)}-Quart"
    return f"{number(litres, language)} {'l' if language == 'de' else 'L'}"


def mass(grams: int, *, space: str = " ") -> str:
    """A mass in kilograms where it is a whole number of them, else in grams."""
    return f"{grams // 1000}{space}kg" if grams % 1000 == 0 else f"{grams}{space}g"


def pack(product: Product, language: Language) -> str:
    """The number of items in the pack, empty for a single item."""
    if product.pack is None or product.pack == 1:
        return ""
    return _PACKS.get(product.kind.key, _ANY_PACK)[language].format(product.pack)


def ordinal(generation: int) -> str:
    """An English ordinal: 1st, 2nd, 3rd, 4th."""
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(generation if generation not in (11, 12, 13) else 0, "th")
    return f"{generation}{suffix}"


def generation(product: Product, style: str) -> str:
    """The generation in a style such as `({} Generation)`, empty where the name has none; `{}` may be `{n}`."""
    if product.generation is None:
        return ""
    return style.format(ordinal(product.generation), n=product.generation)


def words(*parts: str) -> str:
    """The parts that say something, one space between them."""
    return " ".join(part for part in parts if part)


def sizes(product: Product, language: Language, *, space: str = " ", as_tb: bool = True) -> list[str]:
    """Memory, storage, case, volume, mass and pack, as far as the product has them."""
    return [
        bytes_of(product.memory_gb, language, space=space) + " RAM"
        if product.memory_gb and product.kind.key in ("laptop", "ram", "sbc")
        else "",
        bytes_of(product.storage_gb, language, space=space, as_tb=as_tb) if product.storage_gb else "",
        f"{product.case_mm}{space}mm" if product.case_mm else "",
        volume(product.volume_l, language) if product.volume_l else "",
        mass(product.mass_g, space=space) if product.mass_g else "",
        pack(product, language),
    ]


def screen_in_title(product: Product, style: str, language: Language) -> str:
    """The screen, for kinds whose titles say it."""
    if product.screen_in is None or product.kind.key not in SCREEN_IN_TITLE:
        return ""
    return screen(product.screen_in, style, language)


def facts(product: Product, language: Language) -> list[str]:
    """What a list of key features would say."""
    colour = product.colour.get(language, "")
    pieces = {"en": "{} pieces", "de": "{} Teile", "fr": "{} pièces"}[language]
    inches = {"en": "{}-inch display", "de": "{} Zoll Display", "fr": "Écran {} pouces"}[language]
    return [
        fact
        for fact in (
            product.detail,
            screen(product.screen_in, inches, language) if product.screen_in else "",
            *sizes(product, language),
            pieces.format(product.pieces) if product.pieces else "",
            colour,
        )
        if fact
    ]
