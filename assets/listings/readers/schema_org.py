"""schema.org products in JSON-LD: every offer of a product becomes a listing.

Belongs here: where products, variants and offers hide in a graph. Not here: streaming JSON, cleaning values.
Vocabulary: schema.org Product, ProductGroup, Offer, AggregateOffer, ItemList.
"""

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.json_documents import read_items
from assets.listings.readers.json_values import json_text
from assets.listings.readers.rows import Found, ReadLimits, Trouble, flat_fields

_LISTS = frozenset({"@graph", "itemListElement"})
_PRODUCTS = frozenset({"Product", "IndividualProduct", "ProductModel", "SomeProducts", "ProductGroup", "Vehicle"})
#: Where a node that is no product may lead to one.
_CONTAINERS = ("@graph", "itemListElement", "item", "mainEntity")
_GTINS = ("gtin", "gtin14", "gtin13", "gtin12", "gtin8")
#: What identifies one member of a group and must not be inherited from it.
_OWN_TO_A_VARIANT = frozenset({"@id", "@type", "sku", "productID", "identifier", "mpn", "hasVariant", *_GTINS})


def read_schema_org(
    content: io.BufferedReader, contract: FeedContract, *, name: str, limits: ReadLimits
) -> Iterator[Found]:
    """Read products from an object, a list, a `@graph`, an `ItemList`, or one document per line.

    A row has the product's keys and its offer's under `offer.`; members of a ProductGroup inherit from it. `brand`,
    `image`, `category`, `gtin` and `offer.seller` are brought to one text each, and `listing_id` is the offer's own
    sku or `@id`, else the product's identity, with the seller behind it where a product has several offers.
    Nodes that are no product (breadcrumbs, the shop itself) are no rows; references between nodes are not followed.

    Raises:
        FeedUnreadable: not JSON, or a file with nodes of which none is a product.
    """
    nodes = rows = 0
    for item in read_items(content, contract, lists=_LISTS, name=name, limits=limits):
        if item.trouble:
            nodes += 1
            rows += 1
            yield item.trouble
            continue
        if item.streamed and not _types(item.value) & _PRODUCTS:
            continue
        nodes += 1
        for product in _products(item.value):
            for found in _listings(product, limits):
                rows += 1
                yield found
    if nodes and not rows:
        raise FeedUnreadable(name, f"none of its {nodes} JSON-LD nodes is a schema.org Product; expected some")


def _types(node: dict[str, Any]) -> set[str]:
    named = node.get("@type")
    types = named if isinstance(named, list) else [named]
    return {t.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1] for t in types if isinstance(t, str)}


def _products(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for inner in node:
            yield from _products(inner)
    elif isinstance(node, dict):
        if _types(node) & _PRODUCTS:
            yield node
        else:
            for key in _CONTAINERS:
                yield from _products(node.get(key))


def _listings(product: dict[str, Any], limits: ReadLimits) -> Iterator[Found]:
    raw_chars = len(json_text(product))
    most = min(limits.variants, max(limits.expanded_chars // raw_chars, 1))
    # Members times offers may be billions: they are not even counted beyond the limit.
    pairs = list(islice(_pairs(product), most + 1))
    if len(pairs) > most:
        found = f"more than {most} offers of a product of {raw_chars} characters"
        expected = f"expected at most {limits.variants}, and {limits.expanded_chars} characters between them"
        yield Trouble("too_many_variants", f"{found}; {expected}", json_text(product))
        return
    for member, offer, among_several in pairs:
        yield _listing(member, offer, among_several, limits)


def _pairs(product: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], bool]]:
    """Every member of a product with every offer of it, and whether that is one among several."""
    for member in _members(product):
        offers = _offers(member)
        for offer in offers:
            yield member, offer, len(offers) > 1


def _members(product: dict[str, Any]) -> Iterator[dict[str, Any]]:
    variants = product.get("hasVariant")
    members = [v for v in (variants if isinstance(variants, list) else [variants]) if isinstance(v, dict)]
    if not members:
        yield product
    inherited = {key: value for key, value in product.items() if key not in _OWN_TO_A_VARIANT}
    for member in members:
        yield {**inherited, **member}


def _offers(product: dict[str, Any]) -> list[dict[str, Any]]:
    given = product.get("offers")
    offers: list[dict[str, Any]] = []
    for offer in given if isinstance(given, list) else [given]:
        if not isinstance(offer, dict):
            continue
        inner = offer.get("offers")
        inside = [o for o in (inner if isinstance(inner, list) else [inner]) if isinstance(o, dict)]
        shared = {key: offer[key] for key in ("priceCurrency", "seller") if key in offer}
        offers += [{**shared, **o} for o in inside] or [offer]
    return offers or [{}]


def _listing(product: dict[str, Any], offer: dict[str, Any], among_several: bool, limits: ReadLimits) -> Found:
    seller = _text(offer.get("seller")) or _text(offer.get("offeredBy"))
    derived: dict[str, Any] = {
        key: _text(product.get(key)) for key in ("name", "description", "brand", "image", "category", "mpn", "url")
    }
    derived["brand"] = derived["brand"] or _text(product.get("manufacturer"))
    derived["gtin"] = next(
        (text for holder in (product, offer) for key in _GTINS if (text := _text(holder.get(key)))), None
    )
    price = {**_price(offer), "seller": seller}
    for key in ("url", "itemCondition", "availability"):
        price[key] = _text(offer.get(key))
    identity = _text(offer.get("sku")) or _lasting_id(offer)
    if not identity:
        identity = _identity(product, derived)
        identity = f"{identity}|{seller}" if identity and among_several and seller else identity
    rest = {k: v for k, v in product.items() if k not in derived and k not in ("offers", "hasVariant", "@context")}
    rest_of_offer = {k: v for k, v in offer.items() if k not in price and k != "offers"}
    # A list of pictures or categories has more to say than the one text made of it.
    several = {f"{k}s": v for k in ("image", "category") if isinstance(v := product.get(k), list) and len(v) > 1}
    return flat_fields(
        {**several, **rest, **derived, "listing_id": identity, "offer": {**rest_of_offer, **price}}, limits
    )


def _price(offer: dict[str, Any]) -> dict[str, Any]:
    """Price and currency of an offer, from where shops put them: itself, its specification, its lower bound."""
    given = offer.get("priceSpecification")
    specification = next((s for s in (given if isinstance(given, list) else [given]) if isinstance(s, dict)), {})
    price = _text(offer.get("price")) or _text(specification.get("price")) or _text(offer.get("lowPrice"))
    currency = _text(offer.get("priceCurrency")) or _text(specification.get("priceCurrency"))
    return {"price": price, "priceCurrency": currency}


def _identity(product: dict[str, Any], derived: dict[str, Any]) -> str | None:
    own = (_text(product.get(key)) for key in ("sku", "productID"))
    identifier = product.get("identifier")
    named = identifier.get("value") if isinstance(identifier, dict) else identifier
    candidates = (*own, _text(named), _lasting_id(product), derived["gtin"], derived["url"], derived["mpn"])
    return next((text for text in candidates if text), None)


def _lasting_id(node: dict[str, Any]) -> str | None:
    """The node's `@id`, unless it only has a meaning inside its page."""
    text = _text(node.get("@id"))
    return None if text is None or text.startswith(("#", "_:")) else text


def _text(value: Any) -> str | None:
    """One text out of JSON-LD's ways to write one: plain, a list, `@value`, a thing with a name or an address."""
    if isinstance(value, list):
        return next((text for inner in value if (text := _text(inner))), None)
    if isinstance(value, dict):
        return next((t for k in ("@value", "name", "url", "contentUrl", "@id") if (t := _text(value.get(k)))), None)
    return value.strip() or None if isinstance(value, str) else None
