"""Listings become products: every parser of this room, applied to every row.

Belongs here: the order of the steps, what is rejected, the issues of a row. Not here: any single rule (the other
modules of this room), tables' columns, Dagster.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from assets.listings.schema import RAW_LISTINGS
from assets.products.attributes import (
    AttributeRules,
    parse_availability,
    parse_colour,
    parse_condition,
    parse_pack_size,
)
from assets.products.brands import BrandLexicon
from assets.products.feed_fields import FieldRules, clean_fields, text_fields, to_json
from assets.products.fingerprints import embedding_text, product_digest, text_hash
from assets.products.identifiers import CodeRules, Gtin, clean_mpn, gtin_in_text, model_codes, parse_gtin
from assets.products.languages import LanguageRules, detect_language
from assets.products.links import clean_link
from assets.products.measures import MeasureRules, parse_measures
from assets.products.prices import PriceRules, parse_price
from assets.products.quality import QualityEvidence, QualityWeights, rate
from assets.products.schema import CLEANED_PRODUCTS, REJECTED_PRODUCTS
from assets.products.text import TextRules, clean_text, fold, looks_like_formula

#: Rows that are Python objects at one time: as such they take several times the room of columns.
ROWS_AT_ONCE = 10_000
#: Titles that say that there is none.
_NO_TITLES = frozenset({"n/a", "na", "none", "null", "nan", "nil", "undefined", "untitled", "no title", "title", "tbd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningRules:
    """Every tunable of cleaning, by part. What counts as a brand belongs to the lexicon.

    Attributes:
        title: Limits of titles.
        short_text: Limits of fields that name something (seller, category).
        description: Limits of descriptions.
        attributes: Colours and packs.
        codes: Model codes and part numbers.
        fields: The feed's remaining fields.
        languages: When a language is sure.
        max_field_text: Longest remaining field, in characters, that is read for quantities.
        measures: Which quantities are believed.
        prices: Limits of prices.
        quality: Weights of the parts of quality.
    """

    title: TextRules = field(default_factory=lambda: TextRules(max_raw=4_000, max_length=500))
    short_text: TextRules = field(default_factory=lambda: TextRules(max_raw=2_000, max_length=300))
    description: TextRules = field(default_factory=TextRules)
    attributes: AttributeRules = field(default_factory=AttributeRules)
    codes: CodeRules = field(default_factory=CodeRules)
    fields: FieldRules = field(default_factory=FieldRules)
    languages: LanguageRules = field(default_factory=LanguageRules)
    max_field_text: int = 80
    measures: MeasureRules = field(default_factory=MeasureRules)
    prices: PriceRules = field(default_factory=PriceRules)
    quality: QualityWeights = field(default_factory=QualityWeights)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of a table of listings.

    Attributes:
        products: Rows of `CLEANED_PRODUCTS`, in the order of the listings.
        rejected: Rows of `REJECTED_PRODUCTS`, likewise. Both together are as many as the listings.
        issues: How often each issue occurs among the products.
    """

    products: pa.Table
    rejected: pa.Table
    issues: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Rejection:
    reason: str
    field: str
    detail: str


def lexicon_of(listings: pa.Table) -> BrandLexicon:
    """Return the brands to clean a batch by: those that its own rows name, and those that its titles show.

    What other batches name is left out, so that a product follows from its own batch, whatever came before it.

    Args:
        listings: The batch, following `RAW_LISTINGS`.
    """
    named = BrandLexicon.from_feeds(listings.column("brand").to_pylist())
    return named.merged(BrandLexicon.from_titles(listings.column("title").to_pylist()))


def clean_listings(listings: pa.Table, *, rules: CleaningRules, brands: BrandLexicon) -> Cleaned:
    """Clean listings (`RAW_LISTINGS`) into products.

    Each row's result depends on that row, the rules and the lexicon alone: neither on the other rows nor on their
    order. Rows without a usable title are rejected (`title_empty`, `title_meaningless`, `listing_id_empty`); every
    other fault costs the faulty value only, which is then null and named in `issues`.

    Raises:
        assets.contract.ContractBroken: `listings` does not have the promised columns.
    """
    listings = RAW_LISTINGS.conform(listings)
    parts = [_clean(part, rules, brands) for part in listings.to_batches(max_chunksize=ROWS_AT_ONCE)]
    return Cleaned(
        products=pa.concat_tables([CLEANED_PRODUCTS.arrow.empty_table(), *(part.products for part in parts)]),
        rejected=pa.concat_tables([REJECTED_PRODUCTS.arrow.empty_table(), *(part.rejected for part in parts)]),
        issues=sum((part.issues for part in parts), Counter()),
    )


def _clean(listings: pa.RecordBatch, rules: CleaningRules, brands: BrandLexicon) -> Cleaned:
    products: dict[str, list[Any]] = {name: [] for name in CLEANED_PRODUCTS.names}
    rejected: dict[str, list[Any]] = {name: [] for name in REJECTED_PRODUCTS.names}
    issues: Counter[str] = Counter()
    for listing in listings.to_pylist():
        outcome = _product(listing, rules, brands)
        if isinstance(outcome, _Rejection):
            _append(rejected, _rejected(listing, outcome))
        else:
            _append(products, outcome)
            issues.update(outcome["issues"])
    return Cleaned(
        products=pa.table(products, schema=CLEANED_PRODUCTS.arrow),
        rejected=pa.table(rejected, schema=REJECTED_PRODUCTS.arrow),
        issues=issues,
    )


def clean_again(
    listings: pa.Table,
    earlier: pa.Table,
    before: Cleaned,
    reasons: Collection[str],
    *,
    rules: CleaningRules,
    brands: BrandLexicon,
) -> Cleaned:
    """Clean those listings that are new or changed, or were rejected for a reason; the others stay what they became.

    Args:
        listings: The batch, following `RAW_LISTINGS`.
        earlier: The batch as it was cleaned before.
        before: What became of its listings then.
        reasons: Why listings were rejected that are to be cleaned again.
        rules: Every tunable.
        brands: The batch's lexicon; see `lexicon_of`.
    """
    unchanged = listings.filter(_is_among(listings, "row_digest", earlier))
    is_meant = pc.is_in(before.rejected.column("reason"), pa.array(sorted(reasons), pa.string()))
    spared = before.rejected.filter(pc.invert(is_meant))
    products, rejected = (
        table.filter(_is_among(table, "listing_id", unchanged)) for table in (before.products, spared)
    )
    known = pa.concat_tables([table.select(["listing_id"]) for table in (products, rejected)])
    again = listings.filter(pc.invert(_is_among(listings, "listing_id", known)))
    cleaned = clean_listings(again, rules=rules, brands=brands)
    products = pa.concat_tables([products, cleaned.products])
    return Cleaned(
        products=products,
        rejected=pa.concat_tables([rejected, cleaned.rejected]),
        issues=Counter(pc.list_flatten(products.column("issues")).to_pylist()),
    )


def _is_among(table: pa.Table, column: str, others: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(table.column(column), others.column(column).combine_chunks())


def _append(columns: Mapping[str, list[Any]], row: Mapping[str, Any]) -> None:
    for name, values in columns.items():
        values.append(row[name])


def _rejected(listing: Mapping[str, Any], rejection: _Rejection) -> dict[str, Any]:
    return {
        "source": listing["source"],
        "listing_id": listing["listing_id"],
        "reason": rejection.reason,
        "field": rejection.field,
        "detail": rejection.detail,
        "raw": to_json(listing),
    }


def _rejection(listing: Mapping[str, Any], title: str) -> _Rejection | None:
    """Why a listing cannot be a product; None where it can."""
    if not listing["listing_id"].strip():
        return _Rejection("listing_id_empty", "listing_id", "Expected an id, found blanks.")
    if not title:
        return _Rejection(
            "title_empty",
            "title",
            f"Expected a title, found {listing['title'][:80]!r}, of which cleaning leaves nothing.",
        )
    if not any(map(str.isalnum, title)) or fold(title) in _NO_TITLES:
        return _Rejection("title_meaningless", "title", f"Expected a title, found {title[:80]!r}.")
    return None


def _product(listing: Mapping[str, Any], rules: CleaningRules, brands: BrandLexicon) -> dict[str, Any] | _Rejection:
    """The product of one listing, or why there is none."""
    title = clean_text(listing["title"], rules.title)
    if (rejection := _rejection(listing, title)) is not None:
        return rejection
    issues: list[str | None] = []
    short = rules.short_text
    description = clean_text(listing["description"], rules.description)
    category = clean_text(listing["category"], short)
    fields, issue = clean_fields(listing["attributes"], rules.fields)
    issues.append(issue)
    texts = text_fields(fields)

    brand = brands.resolve(listing["brand"], title)
    mpn, issue = clean_mpn(clean_text(listing["mpn"], short), rules.codes)
    issues.append(issue)
    gtin = _gtin(listing["gtin"], title, mpn)
    price = parse_price(listing["price"], listing["currency"], rules.prices)
    condition, issue = parse_condition(clean_text(listing["condition"], short), title)
    issues.append(issue)
    availability, issue = parse_availability(clean_text(listing["availability"], short))
    issues.append(issue)
    links = {name: clean_link(listing[name]) for name in ("url", "image_url")}
    issues += [f"{name}_unusable" for name, link in links.items() if link is None and (listing[name] or "").strip()]
    if len(title) >= rules.title.max_length:
        issues.append("title_cut")
    if any(map(looks_like_formula, (title, description, mpn or "", *texts.values()))):
        issues.append("formula_text")
    issues += [gtin.issue, *price.issues]

    codes = model_codes(title, mpn, rules.codes)
    colour = parse_colour(title, fields=texts, description=description, rules=rules.attributes)
    measured = [f"{name} {text}" for name, text in texts.items() if len(text) <= rules.max_field_text]
    measures = parse_measures([title, *measured], context=category, rules=rules.measures)
    found = sorted({issue for issue in issues if issue})
    quality, parts = rate(
        QualityEvidence(
            title_words=title.count(" ") + 1,
            shouting=title.isupper(),
            brand_origin=brand.origin if brand else None,
            has_gtin=gtin.value is not None,
            has_mpn=mpn is not None,
            has_code=bool(codes),
            has_price=price.amount is not None,
            has_currency=price.currency is not None,
            description_length=len(description),
            has_image=links["image_url"] is not None,
            details=_known(category, colour, measures, fields, condition != "unknown", availability != "unknown"),
            possible_details=6,
            issues=len(found),
        ),
        rules.quality,
    )
    embedded = embedding_text(title, brand.name if brand else None)
    product: dict[str, Any] = {
        "product_id": f"{listing['source']}:{listing['listing_id']}",
        "source": listing["source"],
        "listing_id": listing["listing_id"],
        "seller": clean_text(listing["seller"], short) or listing["source"],
        "title": title,
        "description": description or None,
        "brand": brand.name if brand else None,
        "brand_origin": brand.origin if brand else None,
        "gtin": gtin.value,
        "mpn": mpn,
        "model_codes": codes,
        "category": category or None,
        "price": price.amount,
        "currency": price.currency,
        **links,
        "condition": condition,
        "availability": availability,
        "colour": colour,
        "pack_size": parse_pack_size(title, rules.attributes),
        "measures": to_json(measures),
        "attributes": to_json(fields),
        "language": detect_language(title, description, rules.languages),
        "issues": found,
        "quality": quality,
        "quality_parts": to_json(parts),
        "embedding_text": embedded,
        "text_hash": text_hash(embedded),
    }
    product["product_digest"] = product_digest(product)
    return product


def _gtin(published: str | None, title: str, mpn: str | None) -> Gtin:
    """The feed's trade item number; where the feed names none, the one its title or part number holds."""
    gtin = parse_gtin(published)
    if gtin.value or gtin.issue:
        return gtin
    if (found := gtin_in_text(title)) is not None:
        return Gtin(found, "gtin_from_title")
    if mpn and (found := gtin_in_text(mpn)) is not None:
        return Gtin(found, "gtin_from_mpn")
    return gtin


def _known(*details: Sequence[object] | Mapping[str, object] | str | bool | None) -> int:
    """How many of the details are known."""
    return sum(map(bool, details))
