"""Shopify's `products.json`: every variant of a product becomes a listing.

Belongs here: how Shopify nests variants, options and images. Not here: streaming JSON.
"""

import io
from collections.abc import Iterator
from typing import Any

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.json_documents import read_items
from assets.listings.readers.json_values import json_text
from assets.listings.readers.rows import Found, ReadLimits, Trouble, flat_fields

_LISTS = frozenset({"products"})
#: The only variant of a product without options is called this.
_NO_VARIANT = "Default Title"
_OPTION_PLACES = 3
#: Keys that come out of the nesting under other names.
_PRODUCT_KEYS_USED = frozenset({"variants", "options", "images", "image"})
_VARIANT_KEYS_USED = frozenset({"title", "featured_image", "product_id"}) | {
    f"option{place}" for place in range(1, _OPTION_PLACES + 1)
}


def read_shopify(
    content: io.BufferedReader, contract: FeedContract, *, name: str, limits: ReadLimits
) -> Iterator[Found]:
    """Read `{"products": [...]}`, a bare list of products, or one such document or product per line.

    A row has the variant's own keys; the title is the product's with the variant's behind it; options appear
    under their own names ("Color"), the product's other keys under `product.`, the fitting picture as `image_url`.

    Raises:
        FeedUnreadable: not JSON, or an object that is neither a product nor a list of them.
    """
    for item in read_items(content, contract, lists=_LISTS, name=name, limits=limits):
        if item.trouble:
            yield item.trouble
        elif item.streamed is None:
            yield from _listings(item.value, limits)
        elif isinstance(item.value.get("product"), dict):
            yield from _listings(item.value["product"], limits)
        elif "variants" in item.value:
            yield from _listings(item.value, limits)
        elif not item.streamed:
            found = ", ".join(sorted(item.value)[:10]) or "nothing"
            raise FeedUnreadable(name, f'expected {{"products": [...]}} or products; found an object with {found:.200}')


def _listings(product: Any, limits: ReadLimits) -> Iterator[Found]:
    raw = json_text(product)
    if not isinstance(product, dict):
        yield Trouble("not_an_object", "expected a product as a JSON object", raw)
        return
    variants = product.get("variants")
    if not isinstance(variants, list) or not variants:
        yield Trouble("no_variants", "expected a product with a list of variants", raw)
        return
    shared = flat_fields({"product": _without(product, _PRODUCT_KEYS_USED)}, limits)
    if isinstance(shared, Trouble):
        yield shared
        return
    repeated_chars = len(variants) * (len(raw) - len(json_text(variants)))
    if len(variants) > limits.variants or repeated_chars > limits.expanded_chars:
        found = f"{len(variants)} variants that repeat {repeated_chars} characters"
        expected = f"expected at most {limits.variants} and {limits.expanded_chars}"
        yield Trouble("too_many_variants", f"{found}; {expected}", raw)
        return
    for variant in variants:
        yield _listing(product, variant, shared, limits)


def _listing(product: dict[str, Any], variant: Any, shared: Found, limits: ReadLimits) -> Found:
    if not isinstance(variant, dict):
        return Trouble("not_an_object", "expected a variant as a JSON object", json_text(variant))
    own = flat_fields(_without(variant, _VARIANT_KEYS_USED), limits)
    if isinstance(own, Trouble) or isinstance(shared, Trouble):
        return own
    fields = {**shared, **own}
    for option, value in _options(product, variant):
        fields[f"option.{option}" if option in fields else option] = value
    titles = [product.get("title"), variant.get("title")]
    fields["title"] = " - ".join(t for t in titles if isinstance(t, str) and t and t != _NO_VARIANT) or None
    fields["image_url"] = _image(product, variant)
    if own.get("available") in ("true", "false"):
        fields["availability"] = "in stock" if fields.pop("available") == "true" else "out of stock"
    return fields


def _options(product: dict[str, Any], variant: dict[str, Any]) -> Iterator[tuple[str, str]]:
    named = product.get("options")
    options = named if isinstance(named, list) else []
    for place in range(1, _OPTION_PLACES + 1):
        value = variant.get(f"option{place}")
        if isinstance(value, str) and value and value != _NO_VARIANT:
            option = options[place - 1] if place <= len(options) else None
            label = option.get("name") if isinstance(option, dict) else option
            yield (label if isinstance(label, str) and label else f"option{place}"), value


def _image(product: dict[str, Any], variant: dict[str, Any]) -> str | None:
    images = product.get("images")
    known = [image for image in images if isinstance(image, dict)] if isinstance(images, list) else []
    fitting = [image for image in known if variant.get("image_id") and image.get("id") == variant["image_id"]]
    for image in (variant.get("featured_image"), *fitting, product.get("image"), *known[:1]):
        if isinstance(image, dict) and isinstance(image.get("src"), str):
            return str(image["src"])
    return None


def _without(value: dict[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key not in keys}
