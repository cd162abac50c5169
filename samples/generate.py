"""Writes the demo shops' feeds, their contracts, the truth and the list of what was spoilt.

    python -m samples.generate [FOLDER]

Belongs here: who sells what, and the order of things. Not here: how a shop words an offer.
No clock and no environment is read: the same tables give the same bytes.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from random import Random

import yaml

from samples import mess
from samples.catalogue import FOLDER, Product, load_products
from samples.offers import Condition, Offer, Shop
from samples.shops import SHOPS

SEED = "offerline samples, 1"
#: Share of the products that one shop sells, two shops, and so on, where so many carry their kind.
SHOPS_PER_PRODUCT = (0.15, 0.20, 0.27, 0.28, 0.10)
#: How far chance may move a shop's need when shops are chosen for a product.
CHANCE = 0.6
#: Departments and price (USD) from which on a product is worth refurbishing, or selling second hand.
WORTH_REFURBISHING = frozenset({"electronics", "gaming", "home"})
REFURBISHED_FROM_USD = 150
#: In-store numbers: every shop counts its own from the same first number on, as shops do.
IN_STORE_PREFIX = "2000000"
#: How much dearer, besides one, a listing is where it is published again with another price.
CONFLICT = Decimal("1.07")


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A row that was spoilt: the shop, the listing (empty where it lost its id) and the fault."""

    source: str
    listing_id: str
    fault: str


@dataclass(frozen=True, slots=True)
class Feed:
    """A shop's feed: its rows in order, and those of them that were spoilt."""

    shop: Shop
    rows: tuple[Offer, ...]
    spoilt: tuple[Spoilt, ...]

    def truth(self) -> list[tuple[str, str, str]]:
        """Source, listing and product of every listing that can become a product."""
        fatal = {s.listing_id for s in self.spoilt if s.fault in mess.FATAL}
        kept = {offer.listing_id: offer.truth_id for offer in self.rows if offer.listing_id not in fatal}
        return [(self.shop.source, listing, product) for listing, product in kept.items() if listing]


def assign(products: Sequence[Product]) -> dict[str, list[Product]]:
    """Decide which shop sells which product new; by source.

    Shops are chosen by how much of their room is left, moved a little by chance, so that all of them fill up.
    """
    rng = Random(f"{SEED}/assign")
    carried = {shop.source: sum(shop.carries(p) for p in products) for shop in SHOPS}
    room = {
        shop.source: shop.size - shop.repeats - shop.conflicts - shop.second_sellers - shop.refurbished - shop.used
        for shop in SHOPS
    }
    sold: dict[str, list[Product]] = {shop.source: [] for shop in SHOPS}
    for product in sorted(products, key=lambda p: Random(f"{SEED}/order/{p.product_id}").random()):
        shops = [shop.source for shop in SHOPS if shop.carries(product)]
        wanted = 1 + rng.choices(range(len(SHOPS_PER_PRODUCT)), SHOPS_PER_PRODUCT)[0]
        need = {s: (room[s] - len(sold[s])) / max(carried[s], 1) + CHANCE * rng.random() for s in shops}
        for source in sorted(shops, key=lambda s: -need[s])[:wanted]:
            if len(sold[source]) < room[source]:
                sold[source].append(product)
        for source in shops:
            carried[source] -= 1
    return sold


def build_feed(shop: Shop, products: Sequence[Product], refurbished: Sequence[Product]) -> Feed:
    """Word a shop's offers, spoil some, repeat some, and put them in order."""
    rng = Random(f"{SEED}/{shop.source}")
    second = rng.sample(products, shop.second_sellers)
    carried = [product for product in refurbished if shop.carries(product)]
    sales = [(product, Condition.NEW, 0) for product in products]
    sales += [(product, Condition.NEW, 1) for product in second]
    sales += [(product, Condition.REFURBISHED, 0) for product in carried[: shop.refurbished]]
    sales += [(product, Condition.USED, 0) for product in rng.sample(carried, shop.used)]
    offers: list[Offer] = []
    taken: set[str] = set()
    for number, (product, condition, copy) in enumerate(sales):
        own = Random(f"{SEED}/{shop.source}/{product.product_id}/{condition}/{copy}")
        # The first and the second seller of a product are never the same.
        names = Random(f"{SEED}/sellers/{product.product_id}").sample(shop.sellers, min(len(shop.sellers), 2))
        listing_id = shop.new_id(product, own)
        while listing_id in taken:
            listing_id = shop.new_id(product, own)
        taken.add(listing_id)
        offers.append(
            shop.offer(
                product, listing_id=listing_id, seller=names[copy], condition=condition,
                own_gtin=in_store_gtin(number), rng=own,
            )
        )  # fmt: skip
    rng.shuffle(offers)
    return Feed(shop, *_spoil(shop, offers, rng))


def in_store_gtin(number: int) -> str:
    """A GTIN-13 of the range for restricted circulation: it means something in the shop that made it only."""
    digits = f"{IN_STORE_PREFIX}{number:05d}"
    return f"{digits}{mess.gtin_check_digit(digits)}"


def _spoil(shop: Shop, offers: list[Offer], rng: Random) -> tuple[tuple[Offer, ...], tuple[Spoilt, ...]]:
    rows = list(offers)
    victims = rng.sample(shop.spoilable(rows), len(shop.faults) + shop.repeats + shop.conflicts)
    spoilt = []
    for at, (fault, spoil) in zip(victims, shop.faults, strict=False):
        rows[at] = spoil(rows[at])
        spoilt.append(Spoilt(shop.source, rows[at].listing_id, fault))
    again = []
    for number, at in enumerate(victims[len(shop.faults) :]):
        offer = rows[at]
        exact = number < shop.repeats
        if not exact:
            dearer = shop.rounded(offer.amount * CONFLICT + 1)
            offer = replace(offer, price=shop.price_text(dearer, offer.seller))
        spoilt.append(Spoilt(shop.source, offer.listing_id, "exact_repeat" if exact else "conflicting_repeat"))
        again.append((at, offer))
    for at, offer in sorted(again, key=lambda found: -found[0]):
        rows.insert(rng.randrange(at + 1, len(rows) + 1), offer)
    return tuple(rows), tuple(spoilt)


def build_feeds() -> tuple[Feed, ...]:
    """All five feeds."""
    products = load_products()
    sold = assign(products)
    worth = [
        product
        for product in products
        if product.kind.department in WORTH_REFURBISHING
        and product.price_usd >= REFURBISHED_FROM_USD
        and not product.market
    ]
    # One list for all shops, from its beginning, so that they refurbish the same products.
    refurbished = Random(f"{SEED}/refurbished").sample(worth, max(shop.refurbished for shop in SHOPS))
    return tuple(build_feed(shop, sold[shop.source], refurbished) for shop in SHOPS)


def write_samples(folder: Path) -> None:
    """Write the feeds, `feeds.yaml`, `truth.csv` and `mess.csv` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    feeds = build_feeds()
    for feed in feeds:
        feed.shop.write(folder / feed.shop.file, feed.rows)
    contracts = [{"source": f.shop.source, "path": f.shop.file, **f.shop.contract} for f in feeds]
    text = yaml.safe_dump({"feeds": contracts}, sort_keys=False, default_flow_style=None, width=110)
    (folder / "feeds.yaml").write_text(text, encoding="utf-8", newline="\n")
    truth = [row for feed in feeds for row in feed.truth()]
    _write_table(folder / "truth.csv", ("source", "listing_id", "product_id"), truth)
    spoilt = [(s.source, s.listing_id, s.fault) for feed in feeds for s in feed.spoilt]
    _write_table(folder / "mess.csv", ("source", "listing_id", "fault"), spoilt)


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the demo shops' feeds, their contracts and their truth.")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to (default: %(default)s)")
    write_samples(parser.parse_args().folder)
