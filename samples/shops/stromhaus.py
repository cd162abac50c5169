"""A German electronics and household shop: a Google Merchant feed with German words, prices and quotes.

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


class Stromhaus(Shop):
    """A German electronics and household shop: a Google Merchant feed with German words, prices and quotes."""

    source = "stromhaus"
    host = "stromhaus.example"
    file = "stromhaus.xml"
    contract: ClassVar[Mapping[str, Any]] = {"format": "google_merchant", "mode": "snapshot", "currency": "EUR"}
    language = "de"
    market = "eu"
    departments = ALL_DEPARTMENTS - {"grocery"}
    currency = "EUR"
    price_level = Decimal("0.99")
    brand_share = 0.95
    part_number_share = 0.85
    in_store_gtin_share = 0.35
    conditions: ClassVar[Mapping[Condition, str]] = {
        Condition.NEW: "new",
        Condition.REFURBISHED: "refurbished",
        Condition.USED: "used",
    }
    in_stock = ("in_stock",)
    out_of_stock = "out_of_stock"
    faults = (
        ("missing_title", mess.missing_title),
        ("double_escaped", mess.double_escaped),
        ("zero_width", mess.zero_width),
        ("wrong_check_digit", mess.wrong_check_digit),
        ("gtin_of_zeros", mess.gtin_of_zeros),
        ("price_garbled", mess.price("1.299.00 EUR")),
        ("price_without_amount", mess.price("EUR")),
        ("javascript_url", mess.javascript_url),
    )

    def new_id(self, product: Product, rng: Random) -> str:
        """`SH-10421`."""
        return f"SH-{rng.randrange(10_000, 99_999)}"

    def title(self, product: Product, condition: Condition, seller: str, rng: Random) -> str:
        """`Sony WH-1000XM5 Bluetooth-Kopfhörer Schwarz (WH1000XM5B.CE7)`."""
        colour = product.colour.get("de", "")
        # Some titles leave the colour to the feed's own field.
        shown = colour if rng.random() < (0.92 if product.colour_matters else 0.6) else ""
        name = words(product.name, wording.generation(product, "({n}. Generation)"))
        style = "{} Zoll (cm)" if product.kind.key == "tv" else "{} Zoll"
        noun = product.kind.noun["de"]
        parts = [wording.screen_in_title(product, style, "de"), *wording.sizes(product, "de"), product.detail, shown]
        if rng.random() < 0.5:
            text = ", ".join(part for part in (words(name, noun), *parts) if part)
        else:
            text = words(name, *parts, noun)
        number = product.part_number("eu")
        if number and number not in text and rng.random() < 0.55:
            text += f" ({number})"
        return f"{text} - generalüberholt" if condition is Condition.REFURBISHED else text

    def describe(self, product: Product, seller: str, rng: Random) -> str:
        """HTML with a list."""
        facts = "".join(f"<li>{fact}</li>" for fact in wording.facts(product, "de"))
        listed = f"<ul>{facts}</ul>" if facts else ""
        return f"<p>{product.kind.about['de']}</p>{listed}<p>Versand aus Deutschland, 30 Tage Rückgabe.</p>"

    def price_text(self, amount: Decimal, seller: str) -> str:
        """`1.299,00 EUR`."""
        return f"{amount:,.2f} EUR".translate(str.maketrans(",.", ".,"))

    def extras(self, product: Product, rng: Random) -> dict[str, str]:
        """The feed's own field for the colour, and what it takes to send it."""
        colour = {"color": product.colour["de"]} if product.colour else {}
        return {**colour, "shipping_label": "Paket" if product.price_usd < 800 else "Spedition"}

    def write(self, path: Path, offers: Sequence[Offer]) -> None:
        """RSS 2.0 with the `g:` namespace."""
        items = [
            {
                "id": o.listing_id, "title": o.title, "description": o.description, "link": o.url,
                "image_link": o.image_url, "brand": o.brand, "gtin": o.gtin, "mpn": o.mpn,
                "product_type": o.category, "price": o.price, "condition": o.condition_text,
                "availability": o.availability, **o.extras,
            }
            for o in offers
        ]  # fmt: skip
        formats.write_google_merchant(path, "Stromhaus", f"https://{self.host}/", items)
