"""How well near variants are kept apart and differently worded equals are found, by kind of difference.

Belongs here: the corpus beside this file, the catalogue that is made of it, the figures by kind and their table. Not
here: floors (see tests/clusters/test_variants.py), whole feeds with a truth (see `matching`).

`variants.csv` holds pairs of titles, written for this project after real products in the manner of many shops. All
left titles are the feed of one shop and all right titles that of another, so that every offer competes with several
hundred others. The feeds take the product's own path: contracts, cleaning, embedding, matching. Titles are all there
is: no price, no description, no identifier.

Near variants stand there without their true counterpart, which is the hard case: a shop that carries both is told
apart by assignment alone. More than half of the pairs that look like lessons are variants then; `among` puts the
corpus into an ordinary catalogue, and `stocked` lets both shops carry both variants.
"""

import argparse
import csv
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from assets.clusters.explanation import explain
from assets.clusters.matching import Matching, match
from assets.clusters.rules import MatchRules, ResolutionRules, VetoRules
from assets.embeddings.ports import TextEmbedder
from benchmarks.matching import clean_feeds, embed_products, product_embedder, read_feeds, without_sellers

CORPUS = Path(__file__).with_name("variants.csv")
COLUMNS = ("kind", "same", "left_title", "right_title")
SHOPS = ("left", "right")
CONTRACTS = """feeds:
  - {source: left, path: left.csv, format: csv, currency: EUR, fields: {listing_id: id, title: title}}
  - {source: right, path: right.csv, format: csv, currency: EUR, fields: {listing_id: id, title: title}}
"""

#: Kinds of pairs that are two products -> what tells them apart.
VARIANTS: Final = MappingProxyType(
    {
        "size": "inches, kilograms of load, clothes, shoes, beds, tyres, focal lengths",
        "capacity": "storage, memory, battery, litres, contents of a jar",
        "pack": "how many are in it",
        "generation": "Mark II and III, 4th and 5th, 2021 and 2022, S23 and S24, Ti and SUPER",
        "condition": "new, and refurbished, used or opened",
        "model": "a letter or a digit of the model code",
        "edition": "what the box holds: Home or Pro, upgrade or full, body or kit, Wi-Fi or LTE",
        "accessory": "a product, and a case, battery or filter for it",
        "platform": "console, operating system, lens mount",
        "colour": "the colour alone; whether that makes two products is a rule",
    }
)
#: Kinds of pairs that are one product -> what differs in how it is written.
EQUALS: Final = MappingProxyType(
    {
        "wording": "order, abbreviations, words too many or missing",
        "units": "1 TB and 1000 GB, 50 inch and 126 cm, 70cl and 0.7 l",
        "language": "German, French, Italian or Spanish on one side",
        "code_spelling": "WH-CH720N and WHCH720N",
        "typos": "misspelt brands and words",
        "numerals": "Mark IV and Mk 4, 2nd generation and Gen 2, VII and 7",
    }
)
KINDS: Final = MappingProxyType({**VARIANTS, **EQUALS})


@dataclass(frozen=True, slots=True)
class VariantPair:
    """Two titles, and whether they name one product."""

    kind: str
    same: bool
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class VariantCatalogue:
    """The corpus as products.

    Attributes:
        pairs: The corpus.
        ids: The two offers of each pair; an offer that occurs in several pairs is one product.
        mentions: Numbers of the pairs whose titles each offer bears; offers of a background are not in it.
        products: Rows of `CLEANED_PRODUCTS`.
        vectors: Their embeddings, shape (len(products), dimensions).
    """

    pairs: tuple[VariantPair, ...]
    ids: tuple[tuple[str, str], ...]
    mentions: Mapping[str, frozenset[int]]
    products: pa.Table
    vectors: NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the matcher made of a pair.

    Attributes:
        pair: The pair.
        joined: Whether both offers ended in one cluster.
        expected: Whether they should; None where the rules leave it open (colour).
        probability: That both are one product, as scored; 0 where vetoed or never proposed.
        verdict: The decision in one sentence.
    """

    pair: VariantPair
    joined: bool
    expected: bool | None
    probability: float
    verdict: str

    @property
    def wrong(self) -> bool:
        """Whether the decision differs from what was expected."""
        return self.expected is not None and self.joined != self.expected


@dataclass(frozen=True, slots=True)
class KindFigures:
    """Pairs of one kind: how many there are, how many were judged right, and how many ended in one cluster."""

    pairs: int
    right: int
    joined: int

    @property
    def accuracy(self) -> float:
        """Share judged right."""
        return self.right / self.pairs


def read_pairs(path: Path = CORPUS) -> tuple[VariantPair, ...]:
    """Read the corpus.

    Raises:
        ValueError: a line does not hold a known kind with the `same` that belongs to it, and two titles.
    """
    pairs = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: expected the columns {', '.join(COLUMNS)}, found {reader.fieldnames}")
        for row in reader:
            expected = "1" if row["kind"] in EQUALS else "0" if row["kind"] in VARIANTS else None
            if row["same"] != expected or not row["left_title"] or not row["right_title"]:
                raise ValueError(
                    f"{path}, line {reader.line_num}: expected kind, same ({expected or 'of a known kind'}) and two "
                    f"titles, found {row}"
                )
            pairs.append(VariantPair(row["kind"], row["same"] == "1", row["left_title"], row["right_title"]))
    return tuple(pairs)


def build_catalogue(
    pairs: Sequence[VariantPair],
    cache: Path,
    embedder: Callable[[Path], TextEmbedder] = product_embedder,
    *,
    stocked: bool = False,
    among: Path | None = None,
) -> VariantCatalogue:
    """Make products and vectors of all pairs together, by way of the feeds of two shops.

    Args:
        pairs: The corpus.
        cache: Folder that keeps the exported model and the vectors.
        embedder: Makes the embedder, given that folder.
        stocked: Let both shops carry both products of a pair of variants, word for word.
        among: A folder with `feeds.yaml` and feeds, whose offers stand beside the corpus.
    """
    listed: dict[str, dict[str, str]] = {shop: {} for shop in SHOPS}
    mentions: defaultdict[str, set[int]] = defaultdict(set)
    numbers: Counter[str] = Counter()
    ids = []
    for position, pair in enumerate(pairs):
        numbers[pair.kind] += 1
        name = f"{pair.kind}-{numbers[pair.kind]}"
        own = [listed[shop].setdefault(title, name) for shop, title in zip(SHOPS, titles(pair), strict=True)]
        ids.append((f"left:{own[0]}", f"right:{own[1]}"))
        offers = list(ids[-1])
        if stocked and not pair.same:
            for shop, title in zip(SHOPS, reversed(titles(pair)), strict=True):
                offers.append(f"{shop}:{listed[shop].setdefault(title, f'{name}-too')}")
        for offer in offers:
            mentions[offer].add(position)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "feeds.yaml").write_text(CONTRACTS, encoding="utf-8")
        for shop, wares in listed.items():
            with (folder / f"{shop}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("id", "title"))
                writer.writerows((listing, title) for title, listing in wares.items())
        feeds = read_feeds(folder, folder)
        if among:
            (folder / "among").mkdir()
            feeds += read_feeds(among, folder / "among")
        products = clean_feeds(feeds)
    vectors, _ = embed_products(products.column("embedding_text").to_pylist(), embedder(cache), cache)
    frozen = {offer: frozenset(positions) for offer, positions in mentions.items()}
    return VariantCatalogue(tuple(pairs), tuple(ids), frozen, products, vectors)


def titles(pair: VariantPair) -> tuple[str, str]:
    """The two titles in the order of `SHOPS`."""
    return pair.left, pair.right


def match_catalogue(catalogue: VariantCatalogue, rules: MatchRules, *, hide_sellers: bool = False) -> Matching:
    """Match the whole corpus at once; `hide_sellers` as if one source had delivered all offers."""
    products = without_sellers(catalogue.products) if hide_sellers else catalogue.products
    return match(products, catalogue.vectors, rules=rules)


def judge_pairs(catalogue: VariantCatalogue, matching: Matching) -> list[Judged]:
    """Compare the clusters with the corpus."""
    judged = []
    for pair, (left, right) in zip(catalogue.pairs, catalogue.ids, strict=True):
        why = explain(matching, left, right)
        is_open = pair.kind == "colour" and not matching.rules.vetoes.colours
        judged.append(Judged(pair, why.joined, None if is_open else pair.same, why.probability, why.verdict))
    return judged


def strangers(catalogue: VariantCatalogue, matching: Matching) -> list[tuple[str, str]]:
    """Titles of different pairs that ended in one cluster; offers of a background are left out."""
    corpus, mentions = matching.corpus, catalogue.mentions
    members: defaultdict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(matching.resolution.labels.tolist()):
        if corpus.ids[row] in mentions:
            members[label].append(row)
    return [
        (corpus.titles[one], corpus.titles[other])
        for rows in members.values()
        for one, other in combinations(rows, 2)
        if not mentions[corpus.ids[one]] & mentions[corpus.ids[other]]
    ]


def by_kind(judged: Iterable[Judged]) -> Mapping[str, KindFigures]:
    """Figures of every kind, variants before equals."""
    pairs, right, joined = Counter[str](), Counter[str](), Counter[str]()
    for one in judged:
        pairs[one.pair.kind] += 1
        right[one.pair.kind] += not one.wrong
        joined[one.pair.kind] += one.joined
    return {kind: KindFigures(pairs[kind], right[kind], joined[kind]) for kind in KINDS if kind in pairs}


def figures_table(judged: Sequence[Judged]) -> Table:
    """Accuracy by kind; what the rules leave open counts in no sum."""
    table = Table(title="Pairs judged right, by kind")
    for column in ("kind", "should be", "pairs", "right", "accuracy"):
        table.add_column(column, justify="left" if column in ("kind", "should be") else "right")
    decided = [one for one in judged if one.expected is not None]
    for kinds, wanted in ((VARIANTS, "apart"), (EQUALS, "together")):
        for kind, row in by_kind(one for one in decided if one.pair.kind in kinds).items():
            table.add_row(kind, wanted, str(row.pairs), str(row.right), f"{row.accuracy:.2f}")
        for kind, row in by_kind(one for one in judged if one.expected is None and one.pair.kind in kinds).items():
            table.add_row(kind, "either", str(row.pairs), f"{row.joined} joined", "")
        table.add_section()
        add_sum(table, f"all {wanted}", [one for one in decided if one.pair.kind in kinds])
        table.add_section()
    add_sum(table, "all", decided)
    return table


def add_sum(table: Table, name: str, judged: Sequence[Judged]) -> None:
    """Add the sum over several kinds to `figures_table`."""
    right = sum(not one.wrong for one in judged)
    table.add_row(name, "", str(len(judged)), str(right), share(right, len(judged)))


def share(part: int, whole: int) -> str:
    """A share with three decimals, nothing of nothing left blank."""
    return f"{part / whole:.3f}" if whole else ""


def rendered(table: Table) -> str:
    """A table as text, for a file or the message of a test."""
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def mistake_lines(judged: Sequence[Judged]) -> Iterator[str]:
    """The pairs judged wrong, kind by kind, most probable first; for equals that were parted, why."""
    for kind, row in by_kind(judged).items():
        wrong = [one for one in judged if one.pair.kind == kind and one.wrong]
        if wrong:
            done = "parted" if wrong[0].expected else "joined"
            yield f"{kind}: {len(wrong)} of {row.pairs} {done} (probability, titles)"
        for one in sorted(wrong, key=lambda one: -one.probability):
            yield f"  {one.probability:.3f}  {one.pair.left}"
            yield f"         {one.pair.right}"
            if one.expected:
                yield f"         {one.verdict}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Match the corpus and print."""
    kinds = [f"  {kind:<14} {'together' if kind in EQUALS else 'apart':<9} {text}" for kind, text in KINDS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.variants",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Accuracy of the matcher on near variants and differently worded equals.\n\n"
            f"All pairs of benchmarks/{CORPUS.name} are matched in one catalogue of two shops,\n"
            "whose offers have titles only. Printed are the accuracy by kind, each pair that\n"
            "was judged wrong with its probability, and offers of different pairs that met\n"
            "in one cluster. Without --colours, pairs of the kind colour count in no sum."
        ),
        epilog="\n".join(
            (
                "kinds, what should become of them, and what differs:",
                *kinds,
                "",
                "examples:",
                "  python -m benchmarks.variants --colours --kind colour --cache /tmp/variants",
                "  python -m benchmarks.variants --among samples --cache /tmp/variants",
            )
        ),
    )
    parser.add_argument("--colours", action="store_true", help="two stated colours make two products")
    parser.add_argument("--precision-first", action="store_true", help="rather part equals than join variants")
    parser.add_argument("--hide-sellers", action="store_true", help="all offers in one source that names no seller")
    parser.add_argument("--stocked", action="store_true", help="both shops carry both variants (easier)")
    parser.add_argument(
        "--among", type=Path, metavar="FOLDER", help="put the offers of this folder's feeds beside the corpus"
    )
    parser.add_argument(
        "--kind",
        action="append",
        choices=list(KINDS),
        metavar="KIND",
        help="list the mistakes of this kind only; can be repeated",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="folder that keeps model and vectors for the next run"
    )
    given = parser.parse_args(arguments)
    rules = MatchRules(
        vetoes=VetoRules(colours=given.colours), resolution=ResolutionRules(precision_first=given.precision_first)
    )
    with tempfile.TemporaryDirectory() as scratch:
        catalogue = build_catalogue(
            read_pairs(), given.cache or Path(scratch), stocked=given.stocked, among=given.among
        )
    matching = match_catalogue(catalogue, rules, hide_sellers=given.hide_sellers)
    judged = judge_pairs(catalogue, matching)
    print(rendered(figures_table(judged)))
    print("\n".join(mistake_lines([one for one in judged if not given.kind or one.pair.kind in given.kind])))
    met = strangers(catalogue, matching)
    print(f"offers of different pairs in one cluster: {len(met)}")
    for one, other in met:
        print(f"  {one}\n  {other}\n")


if __name__ == "__main__":
    main()
