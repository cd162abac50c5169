"""How good the matcher is and what it costs, on folders of feeds whose truth is known.

Belongs here: the product's real path from a folder's feeds to clusters, in a process of its own per folder, and the
figures. Not here: printing, the measures themselves (`assets.clusters.evaluation`).

A folder holds `feeds.yaml`, the feeds it names, and `truth.csv` (`source,listing_id,product_id`), which is opened
only when the clusters stand.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from assets.clusters.evaluation import Reliability, candidate_recall, evaluate, measure_reliability
from assets.clusters.matching import Matching, match
from assets.clusters.quality import read_truth
from assets.clusters.rules import MatchRules
from assets.embeddings.ports import TextEmbedder
from assets.listings.feeds import load_contracts
from assets.listings.intake import read_feed
from assets.products.cleaning import CleaningRules, clean_listings, lexicon_of

CONTRACTS = "feeds.yaml"
TRUTH = "truth.csv"
MEBIBYTE = 1 << 20


class NotABenchmark(ValueError):
    """A folder has no `feeds.yaml`, no `truth.csv`, or a feed that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one folder gave.

    Attributes:
        folder: Name of the folder.
        offers: Offers the truth knows.
        precision: Pairwise, over all pairs of offers.
        recall: Pairwise, over all true pairs.
        f1: Harmonic mean of both.
        bcubed_f1: B-cubed F1.
        candidate_recall: Share of all true pairs that were compared at all.
        candidates_per_offer: Pairs compared per offer.
        reliability: What share of the pairs of each probability are one product.
        calibration_error: Expected gap between the two.
        seconds: Wall time from products and embeddings to clusters.
        peak_mb: Largest resident memory of the folder's process, reading, cleaning and embedding included, in MiB.
        cpu_seconds: CPU time of the same as `seconds`, over all threads.
        embedded: Texts that had to be embedded, because the cache did not hold them.
        stages: Wall time of every stage.
    """

    folder: str
    offers: int
    precision: float
    recall: float
    f1: float
    bcubed_f1: float
    candidate_recall: float
    candidates_per_offer: float
    reliability: Reliability
    calibration_error: float
    seconds: float
    peak_mb: float
    cpu_seconds: float
    embedded: int
    stages: dict[str, float]


def benchmark_matching(
    folders: Sequence[Path],
    *,
    cache: Path | None = None,
    rules: MatchRules | None = None,
    hide_sellers: bool = False,
    embedder: Callable[[Path], TextEmbedder] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Run the matcher on each folder with one configuration and compare with the truth.

    Args:
        folders: Folders with `feeds.yaml`, feeds and `truth.csv`.
        cache: Where embeddings are kept from one benchmark to the next; nowhere by default.
        rules: The configuration.
        hide_sellers: Treat all offers of a folder as one source's without a seller.
        embedder: Makes the embedder, given a folder for its own files; a function of a module, for it is called in
            another process. The product's own by default.
        progress: Told the name of each folder as it begins.

    Returns:
        One object per folder, with the attributes of `Figures`.

    Raises:
        NotABenchmark: see there.
        TruthError: a truth file cannot be used.
    """
    for folder in folders:
        require_benchmark(folder)
    results = []
    for folder in folders:
        if progress:
            progress(folder.name)
        # A fresh process, so that one folder's peak memory is not another's.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            figures = pool.submit(
                measure, folder, cache, rules or MatchRules(), hide_sellers, embedder or product_embedder
            ).result()
        results.append(asdict(figures))
    return results


def require_benchmark(folder: Path) -> None:
    """Raise `NotABenchmark` where the folder lacks its contracts or its truth."""
    if missing := [name for name in (CONTRACTS, TRUTH) if not (folder / name).is_file()]:
        raise NotABenchmark(f"{folder}: expected {' and '.join(missing)} beside the feeds")


def product_embedder(files: Path) -> TextEmbedder:
    """The embedder the product uses by default; it keeps its exported model in `files`."""
    from resources.embedder import OnnxEmbedder

    return OnnxEmbedder(cache=files)


def measure(
    folder: Path,
    cache: Path | None,
    rules: MatchRules,
    hide_sellers: bool,
    embedder: Callable[[Path], TextEmbedder],
) -> Figures:
    """Run one folder in this process; arguments as for `benchmark_matching`."""
    with tempfile.TemporaryDirectory() as scratch:
        kept = cache or Path(scratch) / "embeddings"
        started = time.perf_counter()
        listings = read_feeds(folder, Path(scratch))
        read = time.perf_counter()
        products = clean_feeds(listings)
        cleaned = time.perf_counter()
        vectors, embedded = embed_products(products.column("embedding_text").to_pylist(), embedder(kept), kept)
        ready = time.perf_counter()
    if hide_sellers:
        products = without_sellers(products)
    watch = Stopwatch()
    matching = match(products, vectors, rules=rules)
    watch.stop()
    stages = {"read": read - started, "clean": cleaned - read, "embed": ready - cleaned, **matching.seconds}
    return judge(
        matching,
        read_truth((folder / TRUTH).read_bytes(), str(folder / TRUTH)),
        folder=folder.name,
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
        peak_mb=round(peak_memory() / MEBIBYTE, 1),
        embedded=embedded,
        stages={name: round(seconds, 3) for name, seconds in stages.items()},
    )


class Stopwatch:
    """Wall and CPU time, over all threads, from its making to `stop`; rounded to milliseconds."""

    seconds: float
    cpu_seconds: float

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Note the times."""
        now = time.perf_counter(), time.process_time()
        self.seconds, self.cpu_seconds = (round(end - start, 3) for end, start in zip(now, self._start, strict=True))


def read_feeds(folder: Path, scratch: Path) -> list[pa.Table]:
    """Read all feeds of a folder by its contracts, one table of listings each."""
    origin = folder / CONTRACTS
    tables: list[pa.Table] = []
    for contract in load_contracts(origin.read_bytes(), origin=str(origin)):
        paths = sorted(folder.glob(contract.path))
        if not paths:
            raise NotABenchmark(f"{origin}: no file matches {contract.path!r} of source {contract.source!r}")
        for path in paths:
            into = scratch / f"feed-{len(tables)}"
            into.mkdir()
            tables.append(pq.read_table(read_feed(path, contract, into).accepted_path))
    if not tables:
        raise NotABenchmark(f"{origin}: expected at least one feed")
    return tables


def clean_feeds(feeds: Sequence[pa.Table]) -> pa.Table:
    """Clean one feed after the other as the pipeline does."""
    return pa.concat_tables(
        clean_listings(listings, rules=CleaningRules(), brands=lexicon_of(listings)).products for listings in feeds
    )


def without_sellers(products: pa.Table) -> pa.Table:
    """The same offers as if one source had delivered them all without naming a seller."""
    nobody = pa.array([""] * products.num_rows, pa.string())
    for name in ("source", "seller"):
        products = products.set_column(products.column_names.index(name), name, nobody)
    return products


def embed_products(
    texts: Sequence[str], embedder: TextEmbedder, cache: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[NDArray[np.float16], int]:
    """One vector per text, shape (len(texts), dimensions), and how many were not in the cache.

    The cache is a file per model, keyed by the text's hash; it only grows. `progress` is told how many of the missing
    texts are embedded, of how many.
    """
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"vectors-{xxhash.xxh3_64_hexdigest(embedder.model_version.encode())}.npz"
    known: dict[str, NDArray[np.float16]] = {}
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            known = dict(zip(stored["hashes"].tolist(), stored["vectors"], strict=True))
    hashes = [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts]
    missing = embed_missing(dict(zip(hashes, texts, strict=True)), embedder, known, progress)
    if missing:
        partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npz")
        np.savez(partial, hashes=np.array(list(known)), vectors=np.stack(list(known.values())))
        partial.replace(path)
    return np.stack([known[key] for key in hashes]), missing


def embed_missing(
    texts: Mapping[str, str],
    embedder: TextEmbedder,
    known: dict[str, NDArray[np.float16]],
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Add to the known vectors those of the texts whose keys they lack, and return how many these were."""
    missing = {key: text for key, text in texts.items() if key not in known}
    done = 0

    def report(more: int) -> None:
        nonlocal done
        done += more
        if progress:
            progress(done, len(missing))

    if missing:
        known |= zip(missing, embedder.embed(list(missing.values()), progress=report), strict=True)
    return len(missing)


def judge(matching: Matching, truth: dict[str, str], **costs: Any) -> Figures:
    """Compare clusters with the truth, over all offers the truth knows.

    An offer that did not become a product is alone in its cluster; a product the truth does not know is left out.
    """
    row_of = {product: row for row, product in enumerate(matching.corpus.ids)}
    true_number = {product: number for number, product in enumerate(dict.fromkeys(truth.values()))}
    labels = matching.resolution.labels
    alone = len(labels)
    predicted = np.array([labels[row_of[p]] if p in row_of else alone + n for n, p in enumerate(truth)], dtype=np.int64)
    actual = np.array([true_number[product] for product in truth.values()], dtype=np.int64)
    quality = evaluate(predicted, actual)

    # The truth by row of the corpus, then the offers that never became a row: they count as true, not as found.
    lost = [true_number[truth[product]] for product in truth if product not in row_of]
    by_row = [true_number[truth[p]] if p in truth else -1 - row for row, p in enumerate(matching.corpus.ids)]
    pairs, known = matching.candidates, np.array(by_row)
    reliability = measure_reliability(matching.scores.probability, known[pairs.left] == known[pairs.right])
    return Figures(
        offers=len(truth),
        precision=round(quality.precision, 4),
        recall=round(quality.recall, 4),
        f1=round(quality.f1, 4),
        bcubed_f1=round(quality.bcubed_f1, 4),
        candidate_recall=round(candidate_recall(pairs.left, pairs.right, np.array(by_row + lost)), 4),
        candidates_per_offer=round(len(pairs) / max(len(matching.corpus), 1), 2),
        reliability=reliability,
        calibration_error=round(reliability.error, 4),
        **costs,
    )


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # `ru_maxrss` of a spawned process starts at its parent's; the kernel's own high-water mark does not.
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # macOS counts in bytes, the others in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
