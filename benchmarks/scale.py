"""What the matcher costs as a catalogue grows, per stage: seconds per 1,000 offers, memory, and the exponent of growth.

Belongs here: catalogues of any size out of a folder of real offers, and the figures of each. Not here: printing, a
single folder's scores (see `matching`).

A larger catalogue is the folder and parallel worlds of it: in each world every rare word, model code and brand is
spelt with other letters and digits, the same everywhere in that world, so that no offer of one world is a product of
another, while rarity, near variants, shared stems of codes and typing errors are those of real offers. Common words
stay, as they do in a catalogue that grows. A smaller one is a sample of whole products.
"""

import json
import re
import string
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from assets.clusters.matching import match
from assets.clusters.parsing import MEASURE
from assets.clusters.quality import read_truth
from assets.clusters.rules import UNITS, MatchRules
from assets.embeddings.ports import TextEmbedder
from benchmarks.matching import (
    MEBIBYTE,
    TRUTH,
    Figures,
    Stopwatch,
    clean_feeds,
    embed_products,
    judge,
    peak_memory,
    product_embedder,
    read_feeds,
    require_benchmark,
    without_sellers,
)

WORD = re.compile(r"[^\W_]+")
VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxyz"
#: Columns of a product that hold words.
TEXTS = ("title", "description", "brand", "mpn", "gtin", "embedding_text")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRules:
    """Which catalogues are made.

    Attributes:
        sizes: Offers of each, ascending.
        common: A word that more than this share of the folder's offers hold is spelt the same in every world.
        shortest: Words of fewer letters are spelt the same, too.
    """

    sizes: tuple[int, ...] = (4_000, 16_000, 64_000)
    common: float = 0.02
    shortest: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What a folder gave.

    Attributes:
        folder: Name of the folder.
        figures: Of each size, smallest first; `embedded` counts texts that the cache did not hold.
        exponents: Slope of log cost over log offers of every stage, of `total`, `cpu` and `memory`; 1 is linear. None
            with one size.
    """

    folder: str
    figures: tuple[Figures, ...]
    exponents: Mapping[str, float]


def benchmark_scale(
    folder: Path,
    *,
    cache: Path | None = None,
    rules: MatchRules | None = None,
    scale: ScaleRules | None = None,
    hide_sellers: bool = False,
    embedder: Callable[[Path], TextEmbedder] = product_embedder,
    progress: Callable[[str], None] | None = None,
) -> Growth:
    """Match catalogues of several sizes made of one folder, each in a process of its own.

    Args:
        folder: Folder with `feeds.yaml`, feeds and `truth.csv`.
        cache: Where embeddings are kept from one benchmark to the next; nowhere by default.
        rules: The matcher's configuration.
        scale: Which catalogues are made.
        hide_sellers: Treat all offers as one source's without a seller.
        embedder: Makes the embedder, given a folder for its own files.
        progress: Told what is being done.

    Raises:
        NotABenchmark: the folder holds no benchmark.
        TruthError: its truth file cannot be used.
    """
    require_benchmark(folder)
    tell, scale = progress or (lambda news: None), scale or ScaleRules()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        kept = cache or scratch / "embeddings"
        tell(f"reading {folder.name}")
        products = clean_feeds(read_feeds(folder, scratch))
        truth = read_truth((folder / TRUTH).read_bytes(), str(folder / TRUTH))
        model = embedder(kept)

        def measured(size: int) -> Figures:
            def embedding(done: int, of: int) -> None:
                tell(f"{folder.name}, {size:,} offers: {done:,} of {of:,} texts embedded")

            tell(f"{folder.name}: making {size:,} offers")
            grown, grown_truth = grow(products, truth, size, scale)
            vectors, embedded = embed_products(grown.column("embedding_text").to_pylist(), model, kept, embedding)
            pq.write_table(without_sellers(grown) if hide_sellers else grown, scratch / "products.parquet")
            np.save(scratch / "vectors.npy", vectors)
            (scratch / "truth.json").write_text(json.dumps(grown_truth), encoding="utf-8")
            tell(f"{folder.name}: matching {grown.num_rows:,} offers")
            # A fresh process, so that neither the embedder's memory nor another size's is counted.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                job = pool.submit(measure_size, scratch, folder.name, rules or MatchRules(), embedded)
                return job.result()

        figures = tuple(measured(size) for size in sorted(scale.sizes))
    return Growth(folder=folder.name, figures=figures, exponents=exponents(figures))


def measure_size(scratch: Path, name: str, rules: MatchRules, embedded: int) -> Figures:
    """Match the catalogue that lies in `scratch`, in this process."""
    products, vectors = pq.read_table(scratch / "products.parquet"), np.load(scratch / "vectors.npy")
    watch = Stopwatch()
    matching = match(products, vectors, rules=rules)
    watch.stop()
    return judge(
        matching,
        json.loads((scratch / "truth.json").read_text(encoding="utf-8")),
        folder=name,
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
        peak_mb=round(peak_memory() / MEBIBYTE, 1),
        embedded=embedded,
        stages={stage: round(spent, 3) for stage, spent in matching.seconds.items()},
    )


def grow(products: pa.Table, truth: Mapping[str, str], size: int, rules: ScaleRules) -> tuple[pa.Table, dict[str, str]]:
    """Make a catalogue of about `size` offers, and its truth.

    Args:
        products: `CLEANED_PRODUCTS` of the folder.
        truth: Product of every offer of the folder.
        size: Offers wanted; whole products are taken as long as they fit.
        rules: What a world keeps.
    """
    ids = products.column("product_id").to_pylist()
    of = [truth.get(offer, offer) for offer in ids]
    members: dict[str, list[int]] = {}
    for row, product in enumerate(of):
        members.setdefault(product, []).append(row)
    # By hash, so that every size takes the same products first, whatever the order of the feeds.
    order = sorted(members, key=lambda product: xxhash.xxh3_64_intdigest(product.encode()))
    common = common_words(products, rules)
    worlds: list[pa.Table] = []
    grown_truth: dict[str, str] = {}
    left = size
    while left > 0 and products.num_rows:
        rows: list[int] = []
        for product in order:
            if len(rows) + len(members[product]) <= left:
                rows += members[product]
        if not rows:
            break
        number = len(worlds)
        grown_truth |= {in_world(ids[row], number): in_world(of[row], number) for row in rows}
        worlds.append(respelt(products.take(pa.array(sorted(rows))), number, common, rules))
        left -= len(rows)
    return pa.concat_tables([products.slice(0, 0), *worlds]), grown_truth


def common_words(products: pa.Table, rules: ScaleRules) -> frozenset[str]:
    """Words that too many offers hold to tell one product from another."""
    held: Counter[str] = Counter()
    for texts in zip(*(products.column(name).to_pylist() for name in TEXTS), strict=True):
        held.update({word.lower() for text in texts if text for word in WORD.findall(text)})
    return frozenset(word for word, offers in held.items() if offers > rules.common * products.num_rows)


def respelt(products: pa.Table, world: int, common: frozenset[str], rules: ScaleRules) -> pa.Table:
    """The same offers in another world; world 0 is the real one."""
    if world == 0:
        return products
    alphabet = alphabet_of(world)

    def spell(found: re.Match[str]) -> str:
        word = found[0]
        return word if is_plain(word.lower(), common, rules) else word.translate(alphabet)

    changed = {"product_id": [in_world(offer, world) for offer in products.column("product_id").to_pylist()]}
    for name in TEXTS:
        changed[name] = [WORD.sub(spell, text) if text else text for text in products.column(name).to_pylist()]
    for name, values in changed.items():
        field = products.schema.field(name)
        products = products.set_column(products.schema.get_field_index(name), field, pa.array(values, field.type))
    return products


def is_plain(word: str, common: frozenset[str], rules: ScaleRules) -> bool:
    """Whether a word says the same in every world: a common one, a short one, a measure."""
    if word in common or len(word) < rules.shortest:
        return True
    measure = MEASURE.fullmatch(word)
    return measure is not None and measure[2] in UNITS


def alphabet_of(world: int) -> dict[int, str]:
    """Another letter for every letter and another digit for every digit: vowels stay vowels, capitals capitals."""
    dice = np.random.default_rng(world)
    table: dict[str, str] = {}
    for kind in (VOWELS, CONSONANTS, VOWELS.upper(), CONSONANTS.upper(), string.digits):
        if kind.isupper():
            table |= {letter: table[letter.lower()].upper() for letter in kind}
            continue
        # A cycle through all of them leaves none in its place.
        cycle = dice.permutation(list(kind)).tolist()
        table |= dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    return str.maketrans(table)


def in_world(name: str, world: int) -> str:
    """The id of an offer or product in a world."""
    return f"{name}~{world}" if world else name


def exponents(figures: Sequence[Figures]) -> dict[str, float]:
    """Slope of log cost over log offers, by least squares."""
    if len({figure.offers for figure in figures}) < 2:
        return {}
    costs: dict[str, list[float]] = {
        stage: [figure.stages[stage] for figure in figures] for stage in figures[0].stages
    } | {
        "total": [figure.seconds for figure in figures],
        "cpu": [figure.cpu_seconds for figure in figures],
        "memory": [figure.peak_mb for figure in figures],
    }
    offers = np.log([figure.offers for figure in figures])
    # What takes no time that the clock can tell does not grow.
    return {
        name: round(float(np.polyfit(offers, np.log(np.maximum(spent, 1e-3)), 1)[0]), 2)
        for name, spent in costs.items()
    }
