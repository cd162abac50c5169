"""How a product becomes a Qdrant point and back, the same for the embedded engine and the server.

Belongs here: ids, payloads and the fields that are filtered by; telling our points from others. Not here: either
adapter.

Vectors are stored in half precision and compared by dot product: Qdrant's cosine distance would normalise them again
on the way in, and the store would no longer hold the same bits as the others.
"""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from assets.embeddings.ports import IndexedProduct, SearchFilter

#: Never to be changed: the ids of all stored points follow from it.
_NAMESPACE = UUID("6f66666c-6572-5c6e-8069-6e6465780001")
#: Fields that are only compared as a whole.
KEYWORD_FIELDS = ("source", "brand_key")
#: The price as a number; the exact one is kept beside it as text.
PRICE_FIELD = "price"


#: Begins the key of a point that is no product's; no product id has a space before its colon.
_FOREIGN = "foreign point "


def point_id(product_id: str) -> UUID | int:
    """Return the point's id, which follows from the product's alone; that of a foreign point is part of its key."""
    if product_id.startswith(_FOREIGN):
        number = product_id.removeprefix(_FOREIGN)
        return int(number) if number.isdecimal() else UUID(number)
    return uuid5(_NAMESPACE, product_id)


def key_of(point: UUID | int | str, payload: dict[str, Any]) -> str:
    """Return the id of the product that a point is of, or a key of its own for a point that nobody here has written."""
    product_id = payload.get("product_id")
    ours = isinstance(product_id, str) and str(uuid5(_NAMESPACE, product_id)) == str(point)
    return str(product_id) if ours else f"{_FOREIGN}{point}"


def to_payload(product: IndexedProduct) -> dict[str, Any]:
    """Return what is kept beside the vector; absent values are left out."""
    payload = {
        "product_id": product.product_id,
        "fingerprint": product.fingerprint,
        "source": product.source,
        "title": product.title,
        "brand": product.brand,
        "brand_key": None if product.brand is None else product.brand.casefold(),
        "exact_price": None if product.price is None else str(product.price),
        PRICE_FIELD: None if product.price is None else float(product.price),
        "currency": product.currency,
    }
    return {field: value for field, value in payload.items() if value is not None}


def from_point(point: UUID | int | str, payload: dict[str, Any]) -> IndexedProduct:
    """Return the product that a point was made from; one without a fingerprint where it was made from none, or altered.

    A product is kept twice in part (the exact price and its number, the brand and its key); the parts must agree.
    """
    key = key_of(point, payload)
    try:
        product = from_payload(payload)
        if product.product_id == key and to_payload(product) == payload:
            return product
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        pass  # whoever wrote it may have written anything
    return IndexedProduct(product_id=key, fingerprint="", source="", title=str(payload.get("title", "")))


def from_payload(payload: dict[str, Any]) -> IndexedProduct:
    """Return the product that `to_payload` was given."""
    price = payload.get("exact_price")
    return IndexedProduct(
        product_id=payload["product_id"],
        fingerprint=payload["fingerprint"],
        source=payload["source"],
        title=payload["title"],
        brand=payload.get("brand"),
        price=None if price is None else Decimal(price),
        currency=payload.get("currency"),
    )


def keywords(where: SearchFilter) -> dict[str, str]:
    """Return `payload field -> value` that a hit must have."""
    wanted = {"source": where.source, "brand_key": None if where.brand is None else where.brand.casefold()}
    return {field: value for field, value in wanted.items() if value is not None}


def price_range(where: SearchFilter) -> tuple[float | None, float | None] | None:
    """Return the smallest and largest price of a hit, or `None` where any will do."""
    if where.min_price is None and where.max_price is None:
        return None
    return (
        None if where.min_price is None else float(where.min_price),
        None if where.max_price is None else float(where.max_price),
    )
