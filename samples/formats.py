"""The shops' feed formats, written so that the same rows give the same bytes.

Belongs here: CSV, Google Merchant XML, JSON Lines, Shopify and JSON-LD. Not here: what a shop says.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from samples.catalogue import Product
from samples.offers import Damage, Offer

GOOGLE_NAMESPACE = "http://base.google.com/ns/1.0"
#: A truncated CSV row keeps this many cells.
CELLS_KEPT = 5
#: Stands for the byte that is no UTF-8 until the row is encoded.
PLACEHOLDER = "\ue000"
#: A trademark sign in Windows-1252.
STRAY_BYTE = b"\x99"
#: Options a Shopify product may have.
MAX_OPTIONS = 3


def write_csv(path: Path, header: Sequence[str], rows: Iterable[tuple[list[str], Damage]]) -> None:
    """Write CSV with a header; damaged rows break off or hold a byte that is no UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for cells, damage in rows:
        if damage is Damage.TRUNCATED:
            cells = cells[:CELLS_KEPT]
        elif damage is Damage.INVALID_UTF8:
            cells = [cells[0], cells[1] + PLACEHOLDER, *cells[2:]]
        writer.writerow(cells)
    path.write_bytes(text.getvalue().encode().replace(PLACEHOLDER.encode(), STRAY_BYTE))


def write_google_merchant(path: Path, title: str, link: str, items: Iterable[Mapping[str, str]]) -> None:
    """Write RSS 2.0 with Google's elements; empty ones are left out."""
    ElementTree.register_namespace("g", GOOGLE_NAMESPACE)
    rss = ElementTree.Element("rss", version="2.0")
    channel = ElementTree.SubElement(rss, "channel")
    for name, value in (("title", title), ("link", link)):
        ElementTree.SubElement(channel, name).text = value
    for item in items:
        element = ElementTree.SubElement(channel, "item")
        for name, value in item.items():
            if value:
                ElementTree.SubElement(element, f"{{{GOOGLE_NAMESPACE}}}{name}").text = value
    ElementTree.indent(rss, space=" ")
    path.write_bytes(ElementTree.tostring(rss, encoding="utf-8", xml_declaration=True) + b"\n")


def json_number(text: str) -> float | str:
    """A number where the text is one, else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def write_json_lines_gz(path: Path, rows: Iterable[tuple[Mapping[str, Any], Damage]]) -> None:
    """Write one object a line, in gzip without a time stamp; damaged lines break off."""
    lines = []
    for row, damage in rows:
        line = json.dumps(row, ensure_ascii=False)
        lines.append(line[: len(line) // 2] if damage is Damage.TRUNCATED else line)
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))


def shopify_group(product: Product) -> tuple[str, ...]:
    """What the variants of one Shopify product have in common."""
    return (product.kind.key, product.brand, product.model, str(product.generation or ""), product.detail)


def write_shopify(path: Path, offers: Sequence[Offer]) -> None:
    """Write `products.json`; the offers' extras are the variants' options."""
    groups: dict[tuple[str, ...], list[Offer]] = {}
    for offer in offers:
        groups.setdefault(shopify_group(offer.product), []).append(offer)
    products = [_shopify_product(number, members) for number, members in enumerate(groups.values(), start=1)]
    _write_lines_of_json(path, '{"products": [', products)


def _shopify_product(number: int, members: Sequence[Offer]) -> dict[str, Any]:
    first = members[0]
    names = list(dict.fromkeys(name for offer in members for name in offer.extras))
    if len(names) > MAX_OPTIONS:
        raise ValueError(f"{first.product.product_id}: options {names}; Shopify allows {MAX_OPTIONS}")
    variants = [
        {
            "id": int(offer.listing_id) if offer.listing_id else None,
            "title": " / ".join(offer.extras[name] for name in names if name in offer.extras) or "Default Title",
            **{f"option{place}": offer.extras.get(name) for place, name in enumerate(names, start=1)},
            "sku": offer.mpn,
            "price": offer.price,
            "available": offer.availability == "true",
        }
        for offer in members
    ]
    handle = "-".join("".join(c if c.isalnum() else " " for c in first.product.name.lower()).split())
    return {
        "id": 8_100_000_000_000 + number,
        "title": first.title,
        "handle": f"{handle}-{number}",
        "body_html": first.description,
        "vendor": first.brand,
        "product_type": first.category,
        "url": f"{first.url.partition('/p/')[0]}/products/{handle}-{number}",
        "options": [{"name": name, "position": place} for place, name in enumerate(names, start=1)],
        "images": [{"src": first.image_url}],
        "variants": variants,
    }


def write_schema_org(path: Path, offers: Iterable[Offer], *, shop: str, currency: str) -> None:
    """Write one JSON-LD document whose graph holds the shop itself and its products."""
    graph: list[dict[str, Any]] = [{"@type": "OnlineStore", "@id": f"{shop}#store", "url": shop}]
    graph += [_schema_org_product(offer, currency) for offer in offers]
    _write_lines_of_json(path, '{"@context": "https://schema.org", "@graph": [', graph)


def _schema_org_product(offer: Offer, currency: str) -> dict[str, Any]:
    node = {
        "@type": "Product",
        "sku": offer.listing_id,
        "name": offer.title,
        "description": offer.description,
        "brand": {"@type": "Brand", "name": offer.brand} if offer.brand else None,
        "gtin13": offer.gtin,
        "mpn": offer.mpn,
        "category": offer.category,
        "image": [offer.image_url],
        "url": offer.url,
        "offers": {
            "@type": "Offer",
            "price": offer.price,
            "priceCurrency": currency,
            "itemCondition": offer.condition_text,
            "availability": offer.availability,
        },
    }
    return {name: value for name, value in node.items() if value}


def _write_lines_of_json(path: Path, head: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Write `head`, which opens a list, and one item a line, so that a person can read a difference."""
    lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    path.write_text(f"{head}\n{lines}\n]}}\n", encoding="utf-8", newline="\n")
