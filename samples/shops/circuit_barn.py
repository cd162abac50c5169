"""A large US electronics retailer: tidy titles, `Brand - Model ... - Colour`, and an exporter with bad days.

Belongs here: its words, notation and faults. Not here: its file format, what it sells.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from samples import formats, mess, wording
from samples.catalogue import Product
from samples.offers import ALL_DEPARTMENTS, Condition, Offer, Shop
from samples.wording import words


class CircuitBarn(Shop):
    """A large US electronics retailer: tidy titles, `Brand - Model ... - Colour`, and an exporter with bad days."""

    source = "circuit_barn"
    host = "circuit-barn.example"
    file = "circuit_barn.csv"
    contract: ClassVar[Mapping[str, Any]] = {
        "format": "csv",
        "mode": "snapshot",
        "currency": "USD",
        "fields": {
            "listing_id": "sku", "title": "name", "description": "long_description", "brand": "manufacturer",
            "gtin": "upc", "mpn": "model_number", "category": "department", "price": "price", "url": "product_url",
            "image_url": "image", "condition": "condition", "availability": "stock_status",
        },
    }  # fmt: skip
    language = "en"
    market = "us"
    departments = ALL_DEPARTMENTS - {"grocery"}
    currency = "USD"
    price_level = Decimal("1.00")
    part_number_share = 0.9
    refurbished = 10
    conditions: ClassVar[Mapping[Condition, str]] = {
        Condition.NEW: "New",
        Condition.REFURBISHED: "Refurbished",
        Condition.USED: "Open-Box",
    }
    in_stock = ("In Stock", "In Stock", "Ships in 1-2 days")
    out_of_stock = "Sold Out"
    faults = (
        ("missing_id", mess.missing_id),
        ("blank_title", mess.blank_title),
        ("truncated_row", mess.truncated),
        ("invalid_utf8", mess.invalid_utf8),
        ("html_in_title", mess.html_in_title),
        ("double_escaped", mess.double_escaped),
        ("wrong_check_digit", mess.wrong_check_digit),
        ("price_on_request", mess.price("Call for price")),
        ("price_zero", mess.price("$0.00")),
        ("formula_in_description", mess.formula_in_description),
    )
    conflicts = 1

    def new_id(self, product: Product, rng: Random) -> str:
        """Seven digits."""
        return str(rng.randrange(6_000_000, 6_700_000))

    def title(self, product: Product, condition: Condition, seller: str, rng: Random) -> str:
        """`Sony - WH-1000XM5 Wireless Headphones - Black`."""
        style = '{}"' if rng.random() < 0.5 else "{}-inch"
        sizes = wording.sizes(product, "en", space="")
        if product.volume_l:
            sizes[3] = wording.volume(product.volume_l, "en", quarts=True)
        model = words(product.model, wording.generation(product, "({} Generation)"))
        colour = product.colour.get("en", "")
        middle = words(
            wording.screen_in_title(product, style, "en"), model, *sizes, product.detail, product.kind.noun["en"]
        )
        tail = f" - {colour}" if colour and (product.colour_matters or rng.random() < 0.8) else ""
        renewed = " (Refurbished)" if condition is Condition.REFURBISHED else ""
        return f"{product.brand} - {middle}{renewed}{tail}"

    def describe(self, product: Product, seller: str, rng: Random) -> str:
        """A sentence and the features, as plain text."""
        features = "; ".join(wording.facts(product, "en"))
        return words(product.kind.about["en"], f"Key features: {features}." if features else "")

    def price_text(self, amount: Decimal, seller: str) -> str:
        """`$1,299.99`."""
        return f"${amount:,.2f}"

    def write(self, path: Path, offers: Sequence[Offer]) -> None:
        """CSV with a header."""
        header = [*self.contract["fields"].values()]
        rows = [
            (
                [o.listing_id, o.title, o.description, o.brand, o.gtin, o.mpn, o.category, o.price, o.url,
                 o.image_url, o.condition_text, o.availability],
                o.damage,
            )
            for o in offers
        ]  # fmt: skip
        formats.write_csv(path, header, rows)
