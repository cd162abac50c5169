"""The real products that the demo shops sell.

Belongs here: reading `products.csv`, `kinds.csv` and `colours.csv` into values. Not here: how a shop words them.
"""

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

Language = Literal["en", "de", "fr"]
LANGUAGES: tuple[Language, ...] = ("en", "de", "fr")

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of product: what it is called, where shops file it, and a sentence that is true of all of it."""

    key: str
    department: str
    noun: Mapping[Language, str]
    category: Mapping[Language, str]
    about: Mapping[Language, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One real product in one variant.

    Attributes:
        product_id: Readable id, unique in the table; the truth.
        family: Products that a careless matcher would confuse.
        generation: Manufacturer's generation, where it is part of the name.
        detail: Rest of the name that needs no translation (mount, kit, edition, platform).
        mpn: Manufacturer part number outside North America, where known.
        mpn_us: The same for North America, where it differs.
        gtin: True GTIN, only where surely known.
        colour: Manufacturer's colour name in English; translations are in `colours.csv`.
        colour_matters: Whether another product differs from this one in colour only.
        market: `us` or `eu` (with UK and Switzerland) where it is not sold elsewhere.
        price_usd: Typical price at launch, in US dollars.
    """

    product_id: str
    family: str
    kind: Kind
    brand: str
    model: str
    generation: int | None
    detail: str
    mpn: str
    mpn_us: str
    gtin: str
    storage_gb: int | None
    memory_gb: int | None
    screen_in: Decimal | None
    case_mm: int | None
    volume_l: Decimal | None
    mass_g: int | None
    pieces: int | None
    pack: int | None
    colour: Mapping[Language, str]
    market: str
    price_usd: Decimal
    colour_matters: bool = False

    @property
    def name(self) -> str:
        """Brand and model, the brand said once."""
        return self.model if self.model.startswith(self.brand) else f"{self.brand} {self.model}"

    def part_number(self, market: str) -> str:
        """The manufacturer part number in a market, empty where unknown."""
        return self.mpn_us or self.mpn if market == "us" else self.mpn


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _whole(text: str) -> int | None:
    return int(text) if text else None


def _exact(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def load_kinds() -> dict[str, Kind]:
    """Read `kinds.csv`, by key."""
    return {
        row["kind"]: Kind(
            key=row["kind"],
            department=row["department"],
            noun={language: row[f"noun_{language}"] for language in LANGUAGES},
            category={language: row[f"category_{language}"] for language in LANGUAGES},
            about={language: row[f"about_{language}"] for language in LANGUAGES},
        )
        for row in _rows("kinds.csv")
    }


def load_products() -> tuple[Product, ...]:
    """Read `products.csv` in its order."""
    kinds = load_kinds()
    colours: dict[str, Mapping[Language, str]] = {
        row["colour"]: {"en": row["colour"].title(), "de": row["de"], "fr": row["fr"]} for row in _rows("colours.csv")
    }
    products = [
        Product(
            product_id=row["product_id"],
            family=row["family"],
            kind=kinds[row["kind"]],
            brand=row["brand"],
            model=row["model"],
            generation=_whole(row["generation"]),
            detail=row["detail"],
            mpn=row["mpn"],
            mpn_us=row["mpn_us"],
            gtin=row["gtin"],
            storage_gb=_whole(row["storage_gb"]),
            memory_gb=_whole(row["memory_gb"]),
            screen_in=_exact(row["screen_in"]),
            case_mm=_whole(row["case_mm"]),
            volume_l=_exact(row["volume_l"]),
            mass_g=_whole(row["mass_g"]),
            pieces=_whole(row["pieces"]),
            pack=_whole(row["pack"]),
            colour=colours[row["colour"]] if row["colour"] else {},
            market=row["market"],
            price_usd=Decimal(row["price_usd"]),
        )
        for row in _rows("products.csv")
    ]
    siblings = Counter(_but_for_colour(product) for product in products)
    return tuple(replace(p, colour_matters=siblings[_but_for_colour(p)] > 1) for p in products)


def _but_for_colour(product: Product) -> tuple[object, ...]:
    return (
        product.kind.key, product.brand, product.model, product.generation, product.detail, product.storage_gb,
        product.memory_gb, product.screen_in, product.case_mm, product.volume_l, product.mass_g, product.pack,
    )  # fmt: skip
