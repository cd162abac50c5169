"""What two of the demo shops deliver on two days: products that both sell, and some spoilt rows.

Belongs here: the files of a day. Not here: how a shop words an offer (see `samples`), landing.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml

from samples.generate import Feed, build_feeds
from samples.offers import Offer

#: One shop sends everything it has, the other only what is new.
SNAPSHOT, DELTA = "circuit_barn", "bazaar_lane"
#: Products that both sell: on the first day, gone on the second, and new on the second.
PRODUCTS, GONE, NEW = 17, 2, 2
#: Spoilt rows of each shop.
SPOILT = 3


def first_day(folder: Path) -> Iterator[Path]:
    """Write the contracts and a feed of each shop, and yield the files."""
    yield _contracts(folder)
    yield _written(folder, SNAPSHOT, "", _rows(SNAPSHOT, 0, PRODUCTS))
    yield _written(folder, DELTA, "-1", _rows(DELTA, 0, PRODUCTS - 1))


def second_day(folder: Path) -> Iterator[Path]:
    """Write what comes next: offers that are gone, new, dearer, and called something else."""
    yield _contracts(folder)
    dearer, renamed, *others = _rows(SNAPSHOT, GONE, PRODUCTS + NEW)
    shop = _feeds()[SNAPSHOT].shop
    dearer = replace(dearer, price=shop.price_text(shop.rounded(dearer.amount + 10), dearer.seller))
    yield _written(folder, SNAPSHOT, "", [dearer, replace(renamed, title=f"{renamed.title} (boxed)"), *others])
    renamed, *others = _rows(DELTA, PRODUCTS - 2, PRODUCTS + NEW)
    yield _written(folder, DELTA, "-2", [replace(renamed, title=f"{renamed.title}, boxed"), *others])


def _contracts(folder: Path) -> Path:
    shops = {source: _feeds()[source].shop for source in (SNAPSHOT, DELTA)}
    declared = [
        {"source": SNAPSHOT, "path": shops[SNAPSHOT].file, **shops[SNAPSHOT].contract},
        {"source": DELTA, "path": _file(DELTA, "-*"), **shops[DELTA].contract, "mode": "delta"},
    ]
    path = folder / "feeds.yaml"
    path.write_text(yaml.safe_dump({"feeds": declared}))
    return path


def _written(folder: Path, source: str, which: str, rows: list[Offer]) -> Path:
    path = folder / _file(source, which)
    _feeds()[source].shop.write(path, rows)
    return path


def _file(source: str, which: str) -> str:
    return _feeds()[source].shop.file.replace(source, f"{source}{which}")


def _rows(source: str, start: int, stop: int) -> list[Offer]:
    """A shop's offers of some of the products that both sell, in order, and its first spoilt rows."""
    offers = {shop: {row.truth_id: row for row in feed.rows} for shop, feed in _feeds().items()}
    common = sorted(offers[SNAPSHOT].keys() & offers[DELTA].keys())[start:stop]
    spoilt = [row for row in _feeds()[source].rows if not row.listing_id or not row.title.strip() or row.damage]
    return [*(offers[source][product] for product in common), *spoilt[:SPOILT]]


@cache
def _feeds() -> dict[str, Feed]:
    return {feed.shop.source: feed for feed in build_feeds() if feed.shop.source in (SNAPSHOT, DELTA)}
