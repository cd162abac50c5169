"""What is embedded of a product, and the digests by which a change is noticed.

Belongs here: the embedded text and which values count as a product's content. Not here: vectors, comparing states.
"""

import json
from collections.abc import Mapping
from decimal import Decimal

import xxhash

from assets.products.schema import CLEANED_PRODUCTS
from assets.products.text import fold

#: Words of the embedded text; the model reads 128 tokens at most, and its time grows with them.
MAX_WORDS = 40

#: Columns that follow from the others or judge them; a better rule for quality changes no product.
_DERIVED = frozenset({"issues", "quality", "quality_parts", "embedding_text", "text_hash", "product_digest"})
#: Columns whose values are a product's content, in the order in which they are hashed.
CONTENT_COLUMNS = tuple(name for name in CLEANED_PRODUCTS.names if name not in _DERIVED)


def embedding_text(title: str, brand: str | None) -> str:
    """Return the text to embed: the title, preceded by the brand where it does not hold it, cut to `MAX_WORDS`.

    The description is left out. It is boilerplate more often than not, it differs between shops where the title
    agrees, and what identifies the product in it is matched by words and codes instead of by meaning.
    """
    if brand and _letters(brand) not in _letters(title):
        title = f"{brand} {title}"
    words = title.split(maxsplit=MAX_WORDS)
    return " ".join(words[:MAX_WORDS])


def text_hash(text: str) -> str:
    """xxh3-128 of a text, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(text.encode())


def product_digest(product: Mapping[str, object]) -> str:
    """xxh3-128 of a product's content (`CONTENT_COLUMNS`), 32 hexadecimal digits."""
    content = [product[name] for name in CONTENT_COLUMNS]
    return text_hash(_ENCODER.encode(content))


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, fold(text)))


def _plain(value: object) -> str:
    """An exact amount as text without trailing zeros, so that 9.9 and 9.9000 are one."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    raise TypeError(f"{type(value).__name__} is no content of a product")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain)
