"""What a change of the catalogue costs, beside the whole catalogue, in one run.

Belongs here: a large catalogue made of one folder, a batch that changes a share of it, and both measured. Not here:
printing, how a matching follows (`assets.clusters.following`).

Measured is the work from cleaned products to clusters and the state that is kept: texts are embedded, neighbours found,
pairs compared, clusters made. Intake, PostgreSQL and Dagster are left out of both sides, and so is the cleaning, which
is done per batch.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assets.clusters.following import follow, start
from assets.clusters.keeping import pack
from assets.clusters.matching import Matching, Stages
from assets.clusters.quality import read_truth
from assets.clusters.renewal import is_current, renew
from assets.clusters.rules import MatchRules
from assets.clusters.vectors import aligned_vectors
from assets.embeddings.incremental import KnownVectors, embed_catalogue, vectors_of
from assets.embeddings.ports import HalfVectors, TextEmbedder
from assets.products.fingerprints import embedding_text, product_digest, text_hash
from benchmarks.matching import (
    MEBIBYTE,
    TRUTH,
    Stopwatch,
    clean_feeds,
    peak_memory,
    product_embedder,
    read_feeds,
    require_benchmark,
)
from benchmarks.scale import ScaleRules, grow

MADE_BY = "benchmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """What the batch does: the share of the catalogue that each kind of change touches.

    Attributes:
        repriced: Offers of another price.
        retitled: Offers of another title.
        new: Offers that were not there.
        delisted: Offers that are gone.
        seed: Which offers.
    """

    repriced: float = 0.004
    retitled: float = 0.002
    new: float = 0.002
    delisted: float = 0.002
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Figures of one benchmark; times in seconds of wall time.

    Attributes:
        folder: Name of the folder.
        offers: Offers in the catalogue.
        changed: Offers that the batch added, changed or took away.
        full_seconds: The whole catalogue from nothing.
        incremental_seconds: The batch.
        ratio: The second by the first.
        noop_seconds: What matching has to do where nothing has changed: to tell so. A batch that changes no product
            starts no run over the catalogue in the first place (see `sensors.catalogue`).
        equal: Whether the batch left the very clusters, pairs and probabilities of a matching from nothing.
        embedded: Texts that the batch had to embed.
        compared: Pairs that it had to compare, of `pairs`.
        pairs: Candidate pairs.
        full_stages: Where the time of the whole went.
        incremental_stages: Where the time of the batch went.
        state_mb: Size of the state that is kept, in MiB.
        peak_mb: Largest resident memory of the process, in MiB.
    """

    folder: str
    offers: int
    changed: int
    full_seconds: float
    incremental_seconds: float
    ratio: float
    noop_seconds: float
    equal: bool
    embedded: int
    compared: int
    pairs: int
    full_stages: dict[str, float]
    incremental_stages: dict[str, float]
    state_mb: float
    peak_mb: float


def benchmark_incremental(
    folder: Path,
    *,
    offers: int = 100_000,
    batch: BatchRules | None = None,
    rules: MatchRules | None = None,
    cache: Path | None = None,
    embedder: Callable[[Path], TextEmbedder] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Cost:
    """Make a catalogue, match it, change it, and match it again.

    Args:
        folder: Folder with `feeds.yaml`, feeds and `truth.csv`.
        offers: Offers of the catalogue; more than the folder holds are respelt copies.
        batch: What the batch does.
        rules: The matcher's configuration.
        cache: Where the embedder keeps its exported model; no vectors are kept.
        embedder: Makes the embedder, given a folder for its own files; the product's own by default.
        progress: Told what is being done.

    Raises:
        NotABenchmark: the folder holds no benchmark.
        TruthError: its truth file cannot be used.
    """
    require_benchmark(folder)
    tell, rules, batch = progress or (lambda news: None), rules or MatchRules(), batch or BatchRules()
    with tempfile.TemporaryDirectory() as name:
        tell(f"making {offers:,} offers of {folder.name}")
        products = clean_feeds(read_feeds(folder, Path(name)))
        truth = read_truth((folder / TRUTH).read_bytes(), str(folder / TRUTH))
        everybody, _ = grow(products, truth, offers, ScaleRules())
        before, after = change(with_text_hashes(everybody), batch)
        model = (embedder or product_embedder)(cache or Path(name))
        model.embed(["warm"])

        tell("matching the whole catalogue")
        full = work(before, None, model, KnownVectors.none(), rules, tell)
        idle = Stopwatch()
        if not is_current(full.kept, before, MADE_BY):
            raise AssertionError("a catalogue that has not changed is taken for another")
        idle.stop()
        tell("matching what the batch changed")
        part = work(after, full.kept, model, full.known, rules, tell)

        tell("matching the whole again, to compare")
        matching, changed = part.matching, part.matching.change
        again = follow(start(matching.statistics, matching.model), after, part.vectors, rules=rules)
    return Cost(
        folder=folder.name,
        offers=after.num_rows,
        changed=changed.came + changed.left if changed else after.num_rows,
        full_seconds=full.seconds,
        incremental_seconds=part.seconds,
        ratio=round(part.seconds / full.seconds, 4),
        noop_seconds=idle.seconds,
        equal=is_same(matching, again),
        embedded=part.embedded,
        compared=changed.compared if changed else len(matching.candidates),
        pairs=len(matching.candidates),
        full_stages=full.stages,
        incremental_stages=part.stages,
        state_mb=round(len(part.kept) / MEBIBYTE, 1),
        peak_mb=round(peak_memory() / MEBIBYTE, 1),
    )


@dataclass(frozen=True, slots=True)
class Work:
    """One catalogue, matched.

    Attributes:
        matching: The outcome.
        kept: The state that is kept of it.
        known: All texts that were ever embedded.
        vectors: Those of the products, shape (n, dimensions).
        embedded: Texts that had to be embedded.
        seconds: Wall time of all of it.
        stages: Where it went; reading and writing the state take what no other stage did.
    """

    matching: Matching
    kept: bytes
    known: KnownVectors
    vectors: HalfVectors
    embedded: int
    seconds: float
    stages: dict[str, float]


def work(
    products: pa.Table,
    kept: bytes | None,
    model: TextEmbedder,
    known: KnownVectors,
    rules: MatchRules,
    tell: Callable[[str], None],
) -> Work:
    """Do what a run does with a catalogue: embed what is new, match from the kept state, and keep the new one."""
    watch, stage, done = Stopwatch(), Stages(None), 0

    def report(more: int) -> None:
        nonlocal done
        done += more
        tell(f"{done:,} texts embedded")

    with stage("embed"):
        embedded = embed_catalogue(products, known, model, progress=report)
        vectors = aligned_vectors(products, embedded.table)
    matching = renew(products, vectors, kept, rules=rules, made_by=MADE_BY).matching
    state = pack(matching, MADE_BY)
    watch.stop()
    stages = {**stage.seconds, **matching.seconds}
    stages["state"] = watch.seconds - sum(stages.values())
    rounded = {name: round(seconds, 3) for name, seconds in stages.items()}
    fresh = embedded.fresh
    known = known.with_more(fresh.column("text_hash").combine_chunks(), vectors_of(fresh))
    return Work(matching, state, known, vectors, fresh.num_rows, watch.seconds, rounded)


def with_text_hashes(products: pa.Table) -> pa.Table:
    """The same products with the hashes of their own texts: those of another world still have those of the real one."""
    hashes = [text_hash(text) for text in products.column("embedding_text").to_pylist()]
    return products.set_column(products.schema.get_field_index("text_hash"), "text_hash", pa.array(hashes))


def change(everybody: pa.Table, batch: BatchRules) -> tuple[pa.Table, pa.Table]:
    """The catalogue before the batch and after it, both cut from `everybody`."""
    size = everybody.num_rows
    order = np.random.default_rng(batch.seed).permutation(size)
    counts = [int(share * size) for share in (batch.new, batch.delisted, batch.retitled, batch.repriced)]
    new, gone, retitled, repriced = np.split(order[: sum(counts)], np.cumsum(counts)[:-1])
    before, after = np.ones(size, dtype=np.bool_), np.ones(size, dtype=np.bool_)
    before[new] = after[gone] = False
    touched, titled = np.sort(np.concatenate([retitled, repriced])), set(retitled.tolist())
    rows = everybody.take(pa.array(touched)).to_pylist()
    for place, row in zip(touched.tolist(), rows, strict=True):
        if place in titled:
            row["title"] = f"{row['title']} {place % 97}"
            row["embedding_text"] = embedding_text(row["title"], row["brand"])
            row["text_hash"] = text_hash(row["embedding_text"])
        else:
            row["price"] = (row["price"] or Decimal(place % 1000)) + 1
        row["product_digest"] = product_digest(row)
    others = np.ones(size, dtype=np.bool_)
    others[touched] = False
    kept = everybody.filter(pa.array(others & after))
    changed = pa.concat_tables([kept, pa.Table.from_pylist(rows, everybody.schema)])
    # In order and in one piece, as the stage before hands them on.
    first, second = (table.sort_by("product_id").combine_chunks() for table in (everybody.filter(before), changed))
    return first, second


def is_same(one: Matching, other: Matching) -> bool:
    """Whether two matchings have the same clusters, pairs, evidence and probabilities, to the last bit."""
    values: list[tuple[Any, Any]] = [
        (one.evidence.log_odds, other.evidence.log_odds),
        (one.corpus.ids, other.corpus.ids),
        (one.candidates.left, other.candidates.left),
        (one.candidates.right, other.candidates.right),
        (one.scores.probability, other.scores.probability),
        (one.resolution.labels, other.resolution.labels),
    ]
    return all(np.array_equal(a, b) for a, b in values)
