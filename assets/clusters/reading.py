"""What the matcher reads of each offer, one row per offer: a function of the offer and the spellings alone.

Belongs here: from the products' table to lists of terms. Not here: how rare terms are (`statistics`), matrices
(`corpus`).

The table is made once per offer and kept; an offer that changes is read again, the others are not.
"""

import itertools
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from assets.clusters.parsing import Text, fold, glue, read, spellings, squash, stems, tokenise
from assets.clusters.rules import ParsingRules
from assets.clusters.statements import without_purpose
from assets.clusters.variants import state

APOSTROPHE = re.compile(r"(?<=\w)['’](?=s\b)")
TERMS = pa.list_(pa.string())
#: What is read of an offer. The columns named `..._share` have a value for every term of the column before.
READ = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("searched", pa.string(), nullable=False),
        pa.field("compared", pa.string(), nullable=False),
        pa.field("offerer", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        *[
            pa.field(name, TERMS, nullable=False)
            for name in ("words", "numbers", "colours", "codes", "own_codes", "stems")
        ],
        pa.field("stems_share", pa.list_(pa.float32()), nullable=False),
        *[
            pa.field(name, TERMS, nullable=False)
            for name in ("text_words", "description_words", "text_codes", "text_stems")
        ],
        pa.field("text_stems_share", pa.list_(pa.float32()), nullable=False),
        *[pa.field(name, TERMS, nullable=False) for name in ("stated", "alike")],
        *[pa.field(name, pa.string()) for name in ("brand", "currency", "gtin")],
        pa.field("condition", pa.string(), nullable=False),
        pa.field("pack_size", pa.int32(), nullable=False),
        pa.field("price", pa.float64()),
    ]
)
#: Columns of the products' table that a search sees, and the others that a comparison does.
SEARCHED = ("source", "seller", "title", "brand", "mpn", "description", "text_hash")
COMPARED = ("gtin", "price", "currency", "condition", "pack_size", "measures")


def in_order(products: pa.Table, vectors: NDArray[np.float16]) -> tuple[pa.Table, NDArray[np.float16]]:
    """Both by product id, ascending.

    Raises:
        ValueError: the vectors do not match the rows, or a product id repeats.
    """
    if len(vectors) != products.num_rows:
        raise ValueError(f"products have {products.num_rows} rows, vectors {len(vectors)}: expected one per product")
    order = pc.sort_indices(products.column("product_id"))
    ids = products.column("product_id").take(order).combine_chunks()
    repeated = ids[1:].filter(pc.equal(ids[1:], ids[:-1]))
    if len(repeated):
        raise ValueError(f"product id {repeated[0].as_py()!r} occurs more than once: expected one row per product")
    if np.array_equal(order.to_numpy(), np.arange(len(order))):
        return products, vectors
    return products.take(order), vectors[order.to_numpy()]


def find_spellings(products: pa.Table, rules: ParsingRules) -> frozenset[str]:
    """The codes that some offer writes as one token, and their stems, to which others' split spellings are glued."""
    return spellings(itertools.chain(title_tokens(products), description_tokens(products, rules)), rules)


def title_tokens(products: pa.Table) -> list[list[str]]:
    """Tokens of every title, and after them those of the brand and the MPN, which count as if the title said them."""
    titles, brands, mpns = (products.column(name).to_pylist() for name in ("title", "brand", "mpn"))
    return [
        [*tokenise(APOSTROPHE.sub("", title)), *tokenise(brand or ""), *filter(None, [squash(mpn or "")])]
        for title, brand, mpn in zip(titles, brands, mpns, strict=True)
    ]


def description_tokens(products: pa.Table, rules: ParsingRules) -> list[list[str]]:
    """The first tokens of every description."""
    texts = products.column("description").to_pylist()
    return [tokenise(APOSTROPHE.sub("", text or ""))[: rules.description_tokens] for text in texts]


def read_offers(products: pa.Table, known: frozenset[str], rules: ParsingRules) -> pa.Table:
    """Read offers one by one into a table of the schema `READ`, row by row the same offers.

    Args:
        products: Columns of `CLEANED_PRODUCTS`.
        known: Spellings that tokens are glued to.
        rules: How to read.
    """
    titles = [read(glue(tokens, known, rules), rules) for tokens in title_tokens(products)]
    descriptions = [read(glue(tokens, known, rules), rules) for tokens in description_tokens(products, rules)]
    folded = [fold(title) for title in products.column("title").to_pylist()]
    both = [
        (dict.fromkeys((*title.words, *text.words)), dict.fromkeys((*title.codes, *text.codes)))
        for title, text in zip(titles, descriptions, strict=True)
    ]
    own = [shares_of(title.codes, rules) for title in titles]
    all_stems = [shares_of(codes, rules) for _, codes in both]
    stated = [
        state(title, measures) for title, measures in zip(folded, products.column("measures").to_pylist(), strict=True)
    ]
    sellers = zip(products.column("source").to_pylist(), products.column("seller").to_pylist(), strict=True)
    columns = {
        "product_id": products.column("product_id"),
        "title": products.column("title"),
        "digest": digest_of(products),
        "searched": digests(products, SEARCHED),
        "compared": digests(products, COMPARED),
        "offerer": [f"{source}\0{seller}" for source, seller in sellers],
        "text": [" ".join(title.words) for title in titles],
        "words": [title.words for title in titles],
        "numbers": [title.numbers for title in titles],
        "colours": [title.colours for title in titles],
        "codes": [title.codes for title in titles],
        "own_codes": [own_codes(title, text) for title, text in zip(titles, folded, strict=True)],
        "stems": [list(shares) for shares in own],
        "stems_share": [list(shares.values()) for shares in own],
        "text_words": [list(words) for words, _ in both],
        "description_words": [text.words for text in descriptions],
        "text_codes": [list(codes) for _, codes in both],
        "text_stems": [list(shares) for shares in all_stems],
        "text_stems_share": [list(shares.values()) for shares in all_stems],
        "stated": [one.stated for one in stated],
        "alike": [one.alike for one in stated],
        "brand": pc.utf8_lower(products.column("brand")),
        "currency": products.column("currency"),
        "gtin": products.column("gtin"),
        # An offer that does not say is new.
        "condition": pc.replace_substring(products.column("condition"), "unknown", "new"),
        "pack_size": products.column("pack_size"),
        "price": products.column("price").cast(pa.float64()),
    }
    return pa.table({field.name: as_column(columns[field.name], field.type) for field in READ}, schema=READ)


def as_column(values: Sequence[object] | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """The values as an Arrow column of the type."""
    return values.cast(kind) if isinstance(values, pa.ChunkedArray) else pa.array(values, kind)


def catalogue_digests(products: pa.Table) -> pa.Table:
    """Columns `product_id` and `digest` of all products, ordered by product id."""
    table = pa.table({"product_id": products.column("product_id"), "digest": digest_of(products)})
    return table.sort_by("product_id").combine_chunks()


def digest_of(products: pa.Table) -> pa.ChunkedArray:
    """Digest of every product with its embedding: where it is the same, so is everything that is read."""
    both = pc.binary_join_element_wise(products.column("product_digest"), products.column("text_hash"), " ")
    return pc.fill_null(both, "")


def digests(products: pa.Table, columns: Sequence[str]) -> list[str]:
    """Digest of some columns of every row, by which it is known that they have not changed."""
    rows = zip(*(products.column(name).to_pylist() for name in columns), strict=True)
    return [xxhash.xxh3_128_hexdigest(repr(row).encode()) for row in rows]


def shares_of(codes: Iterable[str], rules: ParsingRules) -> dict[str, float]:
    """How much of the longest of these codes that holds it each stem makes up, in 0..1."""
    shares: dict[str, float] = {}
    for code in codes:
        for stem in stems(code, rules):
            shares[stem] = max(shares.get(stem, 0.0), len(stem) / len(code))
    return shares


def own_codes(title: Text, folded: str) -> list[str]:
    """The codes of a title without those of what its offer is for."""
    named = squash(without_purpose(folded))
    return [code for code in title.codes if code in named]
