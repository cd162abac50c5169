"""The golden record of a cluster: its best value for each field, and the listing each value came from.

Belongs here: the rules that choose between members, over whole tables. Not here: which title reads best
(`titles`), wording (`wording`), what a cluster is, Dagster.

The rules, field by field:

- **brand, gtin, mpn, category, colour, each measure**: a vote. A member's vote weighs what its quality weighs;
  a brand that was only found in a title weighs less than one the feed states. Spellings that differ in case or
  separators vote together, and the best member's spelling is kept.
- **title**: the one that says what the others say, of a readable length, not shouting (see `titles`).
- **description**: among the members nearly as good as the best that has one, the longest that is plain text.
- **image_url**: the picture of the member of the highest quality.
- **prices**: only offers in the currency that most of the cluster's priced offers use.

Every tie goes to the better member, then to the one whose `product_id` sorts first; votes are whole numbers. So
the record depends on the members alone, never on the order of rows.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from assets.clusters.schema import PRODUCT_CLUSTERS
from assets.summaries.schema import GOLDEN_RECORDS
from assets.summaries.titles import TitleRules, title_scores

#: Columns of `CLEANED_PRODUCTS` that a golden record is made of.
PRODUCT_COLUMNS = (
    "product_id", "seller", "title", "description", "brand", "brand_origin", "gtin", "mpn", "category", "price",
    "currency", "image_url", "condition", "colour", "pack_size", "measures", "quality",
)  # fmt: skip

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_UNSTATED_CONDITION = "unknown"
_SEPARATORS = re.compile(r"[\W_]+")
_MARKUP = re.compile(r"</?[a-z!]|&#?\w+;|https?://", re.IGNORECASE)
#: One currency unit in the fractions that `decimal128(18, 4)` counts.
_PRICE_UNIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRules:
    """How members are weighed against each other.

    Attributes:
        least_vote: Vote of a member of quality 0, in thousandths; one of quality 1 has 1000 more.
        title_brand_share: What a brand found in a title counts, as a share of one the feed states.
        measure_digits: Significant digits in which two measures must agree to be the same.
        description_margin: How far below the best described member's quality a description may come from.
        description_length: Length in characters beyond which a longer description is no better.
        title: How titles are compared.
    """

    least_vote: int = 100
    title_brand_share: float = 0.5
    measure_digits: int = 3
    description_margin: float = 0.1
    description_length: int = 2000
    title: TitleRules = field(default_factory=TitleRules)


def golden_records(products: pa.Table, clusters: pa.Table, rules: GoldenRules | None = None) -> pa.Table:
    """Choose each cluster's best value for each field.

    A product without a cluster and a member that is no longer in the catalogue are left out: the catalogue may
    have moved between the two reads. A cluster none of whose members is left has no record.

    Args:
        products: The current catalogue: `CLEANED_PRODUCTS`, or its `PRODUCT_COLUMNS`.
        clusters: `PRODUCT_CLUSTERS`.
        rules: How members are weighed; the defaults otherwise.

    Returns:
        `GOLDEN_RECORDS`, one row per cluster, sorted by `cluster_id`.
    """
    rules = rules or GoldenRules()
    members = _Members.of(products, clusters, rules)
    if not members.clusters:
        return GOLDEN_RECORDS.empty()

    columns: dict[str, Any] = {"cluster_id": members.cluster_ids}
    scores = title_scores(members.column("title"), members.cluster, members.quality, rules.title)
    columns["title"] = members.keep("title", members.best(scores))
    for name, normalise in (
        ("brand", _folded),
        ("gtin", str),
        ("mpn", _folded),
        ("category", _folded),
        ("colour", _folded),
    ):
        codes = _codes(members.column(name), normalise)
        votes = members.brand_votes(rules) if name == "brand" else members.votes
        columns[name] = members.keep(name, _elected(members.cluster, codes, votes, members.clusters))
        if name in ("brand", "gtin", "colour"):
            members.dispute(name, codes)
    columns["description"] = members.keep("description", _described(members, rules))
    columns["image_url"] = members.keep("image_url", members.best(members.votes, members.stated("image_url")))
    members.dispute("pack_size", members.numbers("pack_size"))
    members.dispute("condition", _codes(members.column("condition"), _known_condition))
    columns["measures"] = _measures(members, rules)
    columns["offers"] = np.bincount(members.cluster, minlength=members.clusters)
    columns["sellers"] = members.distinct(_codes(members.column("seller"), str))
    columns |= _prices(members)
    columns["disagreements"] = [_json(found) for found in members.disagreements]
    columns["provenance"] = [_json(found) for found in members.provenance]
    columns["record_digest"] = _digests(columns)
    arrays = [pa.array(columns[column.name], type=column.type) for column in GOLDEN_RECORDS]
    return GOLDEN_RECORDS.conform(pa.table(arrays, names=list(GOLDEN_RECORDS.names)))


@dataclass(slots=True)
class _Members:
    """The members of all clusters, sorted by cluster and product, and what has been decided about them so far.

    A *row* is a position in `table`; a *cluster number* counts the clusters in the order of their ids.
    """

    table: pa.Table
    cluster: Numbers
    cluster_ids: list[str]
    votes: Numbers
    quality: NDArray[np.float64]
    product_ids: list[str]
    provenance: list[dict[str, str]]
    disagreements: list[dict[str, list[Any]]]

    @classmethod
    def of(cls, products: pa.Table, clusters: pa.Table, rules: GoldenRules) -> "_Members":
        """Join products with their clusters."""
        membership = PRODUCT_CLUSTERS.conform(clusters).select(["product_id", "cluster_id"])
        table = products.select(list(PRODUCT_COLUMNS)).join(membership, keys="product_id", join_type="inner")
        table = table.sort_by([("cluster_id", "ascending"), ("product_id", "ascending")]).combine_chunks()
        encoded = table["cluster_id"].combine_chunks().dictionary_encode()
        cluster_ids = encoded.dictionary.to_pylist()
        quality = table["quality"].to_numpy().astype(np.float64)
        return cls(
            table=table,
            cluster=encoded.indices.to_numpy().astype(np.int64),
            cluster_ids=cluster_ids,
            votes=rules.least_vote + np.rint(quality * 1000).astype(np.int64),
            quality=quality,
            product_ids=table["product_id"].to_pylist(),
            provenance=[{} for _ in cluster_ids],
            disagreements=[{} for _ in cluster_ids],
        )

    @property
    def clusters(self) -> int:
        """How many clusters there are."""
        return len(self.cluster_ids)

    def column(self, name: str) -> pa.Array:
        """A column as one Arrow array."""
        return self.table[name].combine_chunks()

    def numbers(self, name: str) -> Numbers:
        """A column of whole numbers without nulls."""
        numbers: Numbers = self.table[name].to_numpy().astype(np.int64)
        return numbers

    def stated(self, name: str) -> Flags:
        """Which rows state the field."""
        stated: Flags = self.table[name].is_valid().to_numpy()
        return stated

    def brand_votes(self, rules: GoldenRules) -> Numbers:
        """Votes, less where the brand was only found in the title."""
        found = pc.fill_null(pc.equal(self.column("brand_origin"), "title"), False).to_numpy(zero_copy_only=False)
        return np.where(found, np.rint(self.votes * rules.title_brand_share), self.votes).astype(np.int64)

    def best(self, score: Numbers, eligible: Flags | None = None) -> Numbers:
        """Row of the highest score per cluster among the eligible rows, -1 where there is none."""
        rows = np.arange(len(score)) if eligible is None else np.flatnonzero(eligible)
        return _first_per_group(self.cluster, rows, (self.votes, score), self.clusters)

    def keep(self, name: str, rows: Numbers) -> list[Any]:
        """Values of the chosen rows (None for -1), noting in the provenance where each came from."""
        chosen = np.flatnonzero(rows >= 0)
        for number in chosen:
            self.provenance[number][name] = self.product_ids[rows[number]]
        values: list[Any] = self.column(name).take(pa.array(rows, mask=rows < 0)).to_pylist()
        return values

    def distinct(self, codes: Numbers) -> Numbers:
        """How many different codes (-1 left out) each cluster holds."""
        pairs = np.unique(np.stack([self.cluster[codes >= 0], codes[codes >= 0]]), axis=1)
        return np.bincount(pairs[0], minlength=self.clusters)

    def dispute(self, name: str, codes: Numbers) -> None:
        """Note the values that members state for a field, where there is more than one."""
        disputed = (self.distinct(codes) > 1)[self.cluster] & (codes >= 0)
        rows = np.flatnonzero(disputed)
        pair = _pair_numbers(self.cluster[rows], codes[rows])
        spokesmen = _first_per_group(pair, np.arange(len(rows)), (self.votes[rows],), int(pair.max(initial=-1)) + 1)
        values = self.column(name).take(pa.array(rows[spokesmen])).to_pylist()
        for number, value in sorted(zip(self.cluster[rows[spokesmen]].tolist(), values, strict=True)):
            self.disagreements[number].setdefault(name, []).append(value)


def _first_per_group(group: Numbers, rows: Numbers, keys: Sequence[Numbers], groups: int) -> Numbers:
    """Of each group's rows the one with the largest keys (the last key decides first), then the first; else -1."""
    order = rows[np.lexsort((rows, *(-key[rows] for key in keys), group[rows]))]
    ordered = group[order]
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    chosen = np.full(groups, -1, dtype=np.int64)
    chosen[ordered[first]] = order[first]
    return chosen


def _pair_numbers(group: Numbers, code: Numbers) -> Numbers:
    """Number the distinct pairs of group and code: one number per row."""
    width = int(code.max(initial=0)) + 1
    numbers: Numbers = np.unique(group * width + code, return_inverse=True)[1]
    return numbers


def _elected(group: Numbers, codes: Numbers, votes: Numbers, groups: int) -> Numbers:
    """Row that speaks for each group's most voted code: the best of those that state it; -1 where none does."""
    rows = np.flatnonzero(codes >= 0)
    pair = _pair_numbers(group[rows], codes[rows])
    totals = np.zeros(len(codes), dtype=np.int64)
    totals[rows] = np.bincount(pair, weights=votes[rows]).astype(np.int64)[pair]
    return _first_per_group(group, rows, (votes, totals), groups)


def _codes(values: pa.Array, normalise: Callable[[str], str | None]) -> Numbers:
    """Number the values so that equal numbers mean equal after `normalise`; -1 where nothing is stated."""
    encoded = values.dictionary_encode()
    seen: dict[str | None, int] = {None: -1}
    numbers = [seen.setdefault(normalise(value), len(seen) - 1) for value in encoded.dictionary.to_pylist()]
    # The last entry answers for null, whose index is -1.
    codes: Numbers = np.array([*numbers, -1], dtype=np.int64)[encoded.indices.fill_null(-1).to_numpy()]
    return codes


def _folded(text: str) -> str:
    """Text without case and separators; itself where nothing else is in it."""
    return _SEPARATORS.sub("", text.casefold()) or text


def _known_condition(text: str) -> str | None:
    """A condition that says something."""
    return None if text == _UNSTATED_CONDITION else text


def _described(members: _Members, rules: GoldenRules) -> Numbers:
    """Row of each cluster's description."""
    texts = members.column("description")
    stated = members.stated("description")
    best = np.zeros(members.clusters)
    np.maximum.at(best, members.cluster[stated], members.quality[stated])
    eligible = stated & (members.quality >= best[members.cluster] - rules.description_margin)
    length = np.minimum(pc.fill_null(pc.utf8_length(texts), 0).to_numpy(), rules.description_length)
    plain = np.array([bool(text) and not _MARKUP.search(text) for text in texts.to_pylist()], dtype=bool)
    return members.best(length + plain * (rules.description_length + 1), eligible)


def _measures(members: _Members, rules: GoldenRules) -> list[str]:
    """Each cluster's measures as JSON, every key by a vote of its own."""
    rows, keys, values, spellings = [], [], [], []
    parsed: dict[str, Mapping[str, Any]] = {}
    for row, text in enumerate(members.column("measures").to_pylist()):
        if text not in parsed:
            parsed[text] = json.loads(text)
        for key, value in parsed[text].items():
            if value is not None:
                rows.append(row)
                keys.append(key)
                values.append(value)
                spellings.append(_rounded(value, rules.measure_digits))
    entry_row = np.array(rows, dtype=np.int64)
    names = sorted(set(keys))
    position = {name: number for number, name in enumerate(names)}
    key_code = np.array([position[key] for key in keys], dtype=np.int64)
    # Entries of one cluster and key form a group; the vote runs over all groups at once.
    group = _pair_numbers(members.cluster[entry_row], key_code)
    codes = _codes(pa.array(spellings, type=pa.string()), str)
    winners = _elected(group, codes, members.votes[entry_row], int(group.max(initial=-1)) + 1)
    chosen: list[dict[str, Any]] = [{} for _ in members.cluster_ids]
    for entry in winners.tolist():
        number, key = int(members.cluster[rows[entry]]), keys[entry]
        chosen[number][key] = values[entry]
        members.provenance[number][f"measures.{key}"] = members.product_ids[rows[entry]]
    stated: dict[tuple[int, str], dict[str, Any]] = {}
    for entry, row in enumerate(rows):
        stated.setdefault((int(members.cluster[row]), keys[entry]), {}).setdefault(spellings[entry], values[entry])
    for (number, key), found in stated.items():
        if len(found) > 1:
            members.disagreements[number][f"measures.{key}"] = sorted(found.values(), key=_order)
    return [_json(found) for found in chosen]


def _rounded(value: Any, digits: int) -> str:
    """What two measures must have in common to be the same."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.{digits - 1}e}"
    return _json(value).casefold()


def _order(value: Any) -> tuple[int, float, str]:
    """Sort key of measures: numbers by size, then everything else by its text."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, _json(value)


def _prices(members: _Members) -> dict[str, Any]:
    """Currency, lowest, median and highest price of each cluster."""
    prices, currencies = members.column("price"), members.column("currency")
    priced = pc.and_(prices.is_valid(), currencies.is_valid()).to_numpy(zero_copy_only=False)
    codes = np.where(priced, _codes(currencies, str), -1)
    currency_row = _elected(members.cluster, codes, np.ones_like(codes), members.clusters)
    counted = priced & (codes == np.append(codes, -2)[currency_row][members.cluster])
    units = pc.fill_null(pc.multiply(prices, pa.scalar(Decimal(_PRICE_UNIT))), 0).cast(pa.int64()).to_numpy()

    rows = np.flatnonzero(counted)
    rows = rows[np.lexsort((rows, units[rows], members.cluster[rows]))]
    counts = np.bincount(members.cluster[rows], minlength=members.clusters)
    none = counts == 0
    start = np.cumsum(counts) - counts
    ordered = np.append(units[rows], 0)
    low, high = ordered[np.where(none, -1, start + (counts - 1) // 2)], ordered[np.where(none, -1, start + counts // 2)]
    found = {
        "currency": currencies.take(pa.array(currency_row, mask=currency_row < 0)),
        "price_min": prices.take(pa.array(lowest := members.best(-units, counted), mask=none)),
        "price_median": _money((low + high) // 2, none),
        "price_max": prices.take(pa.array(highest := members.best(units, counted), mask=none)),
    }
    for name, chosen in (("price_min", lowest), ("price_max", highest)):
        for number in np.flatnonzero(~none):
            members.provenance[number][name] = members.product_ids[chosen[number]]
    return found


def _money(units: Numbers, absent: Flags) -> pa.Array:
    """Whole numbers of price units as decimals."""
    scaled = pc.multiply(pa.array(units, mask=absent).cast(pa.decimal128(19, 0)), pa.scalar(Decimal(1) / _PRICE_UNIT))
    return scaled.cast(pa.decimal128(18, 4))


def _digests(columns: Mapping[str, Any]) -> list[str]:
    """Hash of every record, all its columns counted."""
    names = sorted(columns)
    rows = zip(*(_plain(columns[name]) for name in names), strict=True)
    return [xxhash.xxh3_128_hexdigest(json.dumps(row, default=str).encode()) for row in rows]


def _plain(values: Any) -> list[Any]:
    """A column as plain Python values."""
    plain: list[Any] = pa.array(values).to_pylist() if isinstance(values, np.ndarray | pa.Array) else values
    return plain


def _json(value: Any) -> str:
    """Compact JSON with sorted keys."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
