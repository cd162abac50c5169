"""An offer on its way into a feed, and what every shop has in common.

Belongs here: the offer value and the base of the shops' personas. Not here: any one shop's habits, file formats.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from samples.catalogue import Language, Product


class Condition(StrEnum):
    """Condition of the item; anything but new is a product of its own in the truth."""

    NEW = "new"
    REFURBISHED = "refurbished"
    USED = "used"


class Damage(StrEnum):
    """What happens to a row while it is written."""

    NONE = ""
    TRUNCATED = "truncated_row"
    INVALID_UTF8 = "invalid_utf8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One row of a feed before it takes the feed's form; texts are as the shop publishes them.

    Attributes:
        product: The product it offers.
        amount: What `price` says, before it was spoilt.
        truth_id: Its product in the truth: the product, and its condition where that is not new.
        extras: Fields beside the canonical ones, under the feed's own names.
        damage: What happens to the row while it is written.
    """

    product: Product
    condition: Condition
    truth_id: str
    listing_id: str
    title: str
    seller: str
    brand: str
    description: str
    gtin: str
    mpn: str
    category: str
    amount: Decimal
    price: str
    url: str
    image_url: str
    condition_text: str
    availability: str
    extras: Mapping[str, str] = field(default_factory=dict)
    damage: Damage = Damage.NONE


Spoil = Callable[[Offer], Offer]

#: Lowest and highest share of the typical price that a shop asks, by condition.
PRICE_SPREAD: Mapping[Condition, tuple[float, float]] = {
    Condition.NEW: (0.88, 1.10),
    Condition.REFURBISHED: (0.68, 0.80),
    Condition.USED: (0.50, 0.65),
}
SHARE_IN_STOCK = 0.85

ALL_DEPARTMENTS = frozenset({"electronics", "gaming", "home", "tools", "toys", "care", "grocery"})


class Shop(ABC):
    """A shop: what it sells, how it words it, and how it writes its feed.

    Attributes:
        source: Its name in the contracts.
        host: Where its links lead; a reserved domain.
        file: Its feed, below the folder of the samples.
        contract: The rest of its entry in `feeds.yaml`.
        language: Language of its words.
        market: Market it sells in, `us` or `eu`.
        departments: Departments of `kinds.csv` that it carries.
        currency: ISO 4217 code of its prices.
        price_level: Its prices for a product of one US dollar, taxes included (not an exchange rate).
        size: Rows of its feed, repeats included.
        brand_share: Share of the offers that name the brand in a field of its own.
        part_number_share: Share of the offers whose manufacturer part number it publishes.
        in_store_gtin_share: Share of the offers that carry a number of its own, of the GS1 range for
            restricted circulation (prefix 2). Two shops may use one number for different products.
        sellers: Who sells there; the shop itself where it is no marketplace.
        second_sellers: New products that a second seller sells too.
        refurbished: Offers of refurbished products.
        used: Offers of used products.
        faults: How its rows are spoilt, each one row.
        repeats: Rows that it publishes twice.
        conflicts: Listings that it publishes twice with different prices.
    """

    source: ClassVar[str]
    host: ClassVar[str]
    file: ClassVar[str]
    contract: ClassVar[Mapping[str, Any]]
    language: ClassVar[Language]
    market: ClassVar[str]
    departments: ClassVar[frozenset[str]]
    currency: ClassVar[str]
    price_level: ClassVar[Decimal]
    size: ClassVar[int] = 300
    brand_share: ClassVar[float] = 1.0
    part_number_share: ClassVar[float] = 1.0
    in_store_gtin_share: ClassVar[float] = 0.0
    sellers: ClassVar[tuple[str, ...]] = ("",)
    second_sellers: ClassVar[int] = 0
    refurbished: ClassVar[int] = 0
    used: ClassVar[int] = 0
    faults: ClassVar[tuple[tuple[str, Spoil], ...]]
    repeats: ClassVar[int] = 1
    conflicts: ClassVar[int] = 0
    conditions: ClassVar[Mapping[Condition, str]]
    in_stock: ClassVar[tuple[str, ...]]
    out_of_stock: ClassVar[str]

    @abstractmethod
    def new_id(self, product: Product, rng: Random) -> str:
        """An id in the shop's own scheme."""

    @abstractmethod
    def title(self, product: Product, condition: Condition, seller: str, rng: Random) -> str:
        """The title in the shop's own habit."""

    @abstractmethod
    def describe(self, product: Product, seller: str, rng: Random) -> str:
        """The description in the shop's own habit."""

    @abstractmethod
    def price_text(self, amount: Decimal, seller: str) -> str:
        """The price in the shop's own notation."""

    @abstractmethod
    def write(self, path: Path, offers: Sequence[Offer]) -> None:
        """Write the feed."""

    def carries(self, product: Product) -> bool:
        """Whether the shop sells this product."""
        return product.kind.department in self.departments and product.market in ("", self.market)

    def spoilable(self, offers: Sequence[Offer]) -> list[int]:
        """Positions of the offers that a fault may befall."""
        return list(range(len(offers)))

    def extras(self, product: Product, rng: Random) -> dict[str, str]:
        """Fields beside the canonical ones."""
        return {}

    def offer(
        self, product: Product, *, listing_id: str, seller: str, condition: Condition, own_gtin: str, rng: Random
    ) -> Offer:
        """Word one offer."""
        part_number = product.part_number(self.market) if rng.random() < self.part_number_share else ""
        in_stock = rng.random() < SHARE_IN_STOCK
        amount = self._amount(product, condition, rng)
        new = condition is Condition.NEW
        return Offer(
            product=product,
            condition=condition,
            truth_id=product.product_id if new else f"{product.product_id}--{condition}",
            listing_id=listing_id,
            title=self.title(product, condition, seller, rng),
            seller=seller,
            brand=product.brand if rng.random() < self.brand_share else "",
            description=self.describe(product, seller, rng),
            gtin=product.gtin or (own_gtin if rng.random() < self.in_store_gtin_share else ""),
            mpn=part_number,
            category=product.kind.category[self.language],
            amount=amount,
            price=self.price_text(amount, seller),
            url=f"https://{self.host}/p/{listing_id}?utm_source=feed&utm_medium=cpc",
            image_url=f"https://img.{self.host}/{listing_id}/1.jpg",
            condition_text=self.conditions[condition],
            availability=rng.choice(self.in_stock) if in_stock else self.out_of_stock,
            extras=self.extras(product, rng),
        )

    def _amount(self, product: Product, condition: Condition, rng: Random) -> Decimal:
        low, high = PRICE_SPREAD[condition]
        asked = product.price_usd * self.price_level * Decimal(str(round(low + (high - low) * rng.random(), 4)))
        return self.rounded(asked)

    def rounded(self, amount: Decimal) -> Decimal:
        """The price the shop would put on the tag: `…9.99` where it is large, `….x9` where it is small."""
        if amount >= 20:
            return amount.quantize(Decimal(1), ROUND_HALF_UP) - Decimal("0.01")
        return max(amount.quantize(Decimal("0.1"), ROUND_HALF_UP) - Decimal("0.01"), Decimal("0.49"))
