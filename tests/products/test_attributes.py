"""Colour, pack size, condition and availability in the languages of feeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.products.attributes import (
    AttributeRules,
    parse_availability,
    parse_colour,
    parse_condition,
    parse_pack_size,
)
from assets.products.schema import AVAILABILITIES, CONDITIONS

COLOURS = [
    ("Sony WH-1000XM5 Black", "black"),
    ("Sony WH-1000XM5 schwarz", "black"),
    ("Casque Sony noir", "black"),
    ("Bosch Waschmaschine weiß", "white"),
    ("Bosch Waschmaschine weiss", "white"),
    ("Lave-linge blanc", "white"),
    ("Lavatrice bianca", "white"),
    ("Apple Watch Space Grey", "grey"),
    ("MacBook space gray", "grey"),
    ("iPhone 13 Graphite", "grey"),
    ("Läufer hellgrau", "grey"),
    ("Stuhl anthrazit", "grey"),
    ("iPhone Rose Gold 64GB", "rose gold"),
    ("iPhone gold", "gold"),
    ("LG stainless steel fridge", "steel"),
    ("Siemens Edelstahl", "steel"),
    ("Denon AVR Black/Silver", "black/silver"),
    ("Denon AVR silver and black", "black/silver"),
    ("AKG schwarz/rot/blau/grün", "multicolour"),
    ("Canon CLI-8 cyan ink", "cyan"),
    ("navy shirt", "blue"),
    ("midnight blue dress", "blue"),
    ("зеленый чай черный", "black/green"),
    ("Black & Decker drill", None),
    ("BLACK+DECKER drill", None),
    ("Samsung Blu-ray player", None),
    ("Red Dead Redemption", None),
    ("WD Red 4TB", None),
    ("Bluetooth headset", None),
    ("Blackberry phone", None),
    ("", None),
]


@pytest.mark.parametrize(("title", "expected"), COLOURS)
def test_colour_of_titles(title: str, expected: str | None) -> None:
    assert parse_colour(title) == expected


def test_colour_of_fields_and_descriptions() -> None:
    assert parse_colour("Sofa red", fields={"Farbe": "Anthrazit"}) == "grey"
    assert parse_colour("Sofa red", fields={"colour": "n/a"}) == "red"
    assert parse_colour("Sofa", fields={"size": "black"}) is None
    assert parse_colour("Sony TV", description="HDMI/ Black Finish/ two") == "black"
    assert parse_colour("Sony TV", description="plays black and white films") is None


PACKS = [
    ("Duracell AA 4-pack", 4), ("Duracell AA 4 pack", 4), ("oem 30pk", 30), ("pack of 12 pens", 12),
    ("4er Pack Batterien", 4), ("8er-Pack", 8), ("AA Batteries x4", 4), ("bottle (x6)", 6), ("cable × 2", 2),
    ("2 x 500ml", 2), ("6x330 ml", 6), ("Kingston 2x8GB", 2), ("set of 3", 3), ("lot de 3", 3),
    ("confezione da 6", 6), ("paquete de 4", 4), ("3 Stück", 3), ("12 pcs", 12), ("24 count", 24), ("twin pack", 2),
    ("Doppelpack", 2), ("(pack of 1)", 1), ("Moto X4", 1), ("Galaxy x10", 1), ("1920x1080", 1), ("16x zoom", 1),
    ("pack of 99999", 1), ("0-pack", 1), ("Sony TV", 1), ("", 1),
]  # fmt: skip


@pytest.mark.parametrize(("title", "expected"), PACKS)
def test_pack_size(title: str, expected: int) -> None:
    assert parse_pack_size(title) == expected


CONDITION_TABLE = [
    ("https://schema.org/NewCondition", "x", "new", None),
    ("http://schema.org/RefurbishedCondition", "", "refurbished", None),
    ("https://schema.org/UsedCondition", "", "used", None),
    ("new", "", "new", None),
    ("Neu", "", "new", None),
    ("brand new", "", "new", None),
    ("Used - very good", "", "used", None),
    ("gebraucht", "", "used", None),
    ("d'occasion", "", "used", None),
    ("manufacturer refurbished", "", "refurbished", None),
    ("generalüberholt", "", "refurbished", None),
    ("reconditionné", "", "refurbished", None),
    ("open box", "", "used", None),
    ("", "iPhone 12 Renewed", "refurbished", None),
    ("", "Dell laptop - used", "used", None),
    ("", "(used) Dell laptop", "used", None),
    ("", "guide used in schools", "unknown", None),
    ("", "New Balance 574", "unknown", None),
    ("new", "iPhone (Refurbished)", "refurbished", "condition_conflict"),
    ("weird", "", "unknown", "condition_unknown"),
    ("", "", "unknown", None),
]


@pytest.mark.parametrize(("published", "title", "expected", "issue"), CONDITION_TABLE)
def test_condition(published: str, title: str, expected: str, issue: str | None) -> None:
    assert parse_condition(published, title) == (expected, issue)


AVAILABILITY_TABLE = {
    "in_stock": ["https://schema.org/InStock", "InStock", "in_stock", "In Stock", "in stock", "1", "12", "3.0", "true",
                 "yes", "available", "lieferbar", "auf Lager", "en stock", "disponible", "LimitedAvailability",
                 "http://schema.org/InStoreOnly", "Only 3 left"],
    "out_of_stock": ["https://schema.org/OutOfStock", "out of stock", "out_of_stock", "OutOfStock", "sold out",
                     "SoldOut", "0", "-3", "false", "no", "nicht lieferbar", "ausverkauft", "rupture de stock",
                     "agotado", "esaurito", "Discontinued", "not available", "not in stock", "unavailable"],
    "preorder": ["preorder", "pre-order", "https://schema.org/PreOrder", "BackOrder", "backorder", "Vorbestellung"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("published", "expected"), [(text, state) for state, texts in AVAILABILITY_TABLE.items() for text in texts]
)
def test_availability(published: str, expected: str) -> None:
    assert parse_availability(published) == (expected, None)


def test_availability_that_says_nothing() -> None:
    assert parse_availability("") == ("unknown", None)
    assert parse_availability("maybe") == ("unknown", "availability_unknown")


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_stays_in_the_vocabularies(published: str, title: str) -> None:
    assert parse_condition(published, title)[0] in CONDITIONS
    assert parse_availability(published)[0] in AVAILABILITIES
    assert 1 <= parse_pack_size(title) <= AttributeRules().max_pack
    colour = parse_colour(title, fields={"colour": published}, description=published)
    assert colour is None or colour.split("/") == sorted(set(colour.split("/")))
