"""All matchers on all folders, in one run.

Belongs here: the rows of the table and the order in which they come to be. Not here: printing.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assets.clusters.evaluation import Quality
from assets.clusters.quality import read_truth
from assets.embeddings.ports import TextEmbedder
from benchmarks.matching import (
    CONTRACTS,
    TRUTH,
    NotABenchmark,
    benchmark_matching,
    clean_feeds,
    embed_products,
    product_embedder,
    read_feeds,
    without_sellers,
)
from benchmarks.peers.environments import NotAvailable, python_of
from benchmarks.peers.exchange import OFFERS, read_answer
from benchmarks.peers.roster import Peer
from benchmarks.peers.supervision import Bounds, PeerFailed, run_bounded
from benchmarks.peers.sweep import Judge

OFFERLINE = "offerline"
DEFAULTS = "defaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One matcher at one setting on one folder.

    Attributes:
        folder: Name of the folder.
        matcher: Name of the matcher.
        setting: `defaults`, or `best:` and the value the truth chose.
        precision: Pairwise, over all pairs of offers.
        recall: Pairwise, over all true pairs.
        f1: Harmonic mean of both.
        seconds: Wall time from products and embeddings to clusters, at the defaults.
        peak_mb: Largest resident memory of the matcher's processes, in MiB.
        failure: Why there are no figures.
    """

    folder: str
    matcher: str
    setting: str = DEFAULTS
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    seconds: float | None = None
    peak_mb: float | None = None
    failure: str | None = None


def compare(
    folders: Sequence[Path],
    peers: Sequence[Peer],
    *,
    cache: Path,
    bounds: Bounds | None = None,
    hide_sellers: bool = False,
    with_offerline: bool = True,
    embedder: Callable[[Path], TextEmbedder] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Yield Offerline's row and two of every peer, folder by folder.

    Args:
        folders: Folders with `feeds.yaml`, feeds and `truth.csv`.
        peers: Whom to compare with.
        cache: Where embeddings and the peers' environments are kept.
        bounds: What a peer may use for one folder.
        hide_sellers: Treat all offers of a folder as one source's without a seller.
        with_offerline: Whether Offerline takes part.
        embedder: As for `benchmark_matching`.
        progress: Told what runs.

    Raises:
        NotABenchmark: a folder lacks feeds or truth.
    """
    for folder in folders:
        if missing := [name for name in (CONTRACTS, TRUTH) if not (folder / name).is_file()]:
            raise NotABenchmark(f"{folder}: expected {' and '.join(missing)} beside the feeds")
    tell = progress or (lambda _: None)
    for folder in folders:
        if with_offerline:
            tell(f"{folder.name}: {OFFERLINE}")
            for found in benchmark_matching([folder], cache=cache, hide_sellers=hide_sellers, embedder=embedder):
                figures = {name: found[name] for name in ("precision", "recall", "f1", "seconds", "peak_mb")}
                yield Row(folder=folder.name, matcher=OFFERLINE, **figures)
        with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
            tell(f"{folder.name}: offers for the peers")
            offers = offers_of(folder, cache, hide_sellers, embedder or product_embedder)
            path = Path(scratch) / "offers.parquet"
            pq.write_table(offers, path)
            judge = Judge(
                offers.column("id").to_pylist(), read_truth((folder / TRUTH).read_bytes(), str(folder / TRUTH))
            )
            for peer in peers:
                tell(f"{folder.name}: {peer.name}")
                into = Path(scratch) / peer.name
                into.mkdir()
                yield from rows_of(peer, folder.name, path, into, judge, cache / "peers", bounds or Bounds())


def rows_of(
    peer: Peer, folder: str, offers: Path, into: Path, judge: Judge, environments: Path, bounds: Bounds
) -> Iterator[Row]:
    """Run one peer on one folder. One that cannot be had, breaks off or is stopped is a row that says so."""
    try:
        python = python_of(peer, environments)
    except NotAvailable as error:
        yield Row(folder=folder, matcher=peer.name, failure=f"not available: {error}")
        return
    try:
        peak_mb = run_bounded([str(python), "-m", peer.module, str(offers), str(into)], bounds)
    except PeerFailed as error:
        yield Row(folder=folder, matcher=peer.name, failure=str(error))
        return
    answer = read_answer(into)

    def row(setting: str, quality: Quality) -> Row:
        return Row(
            folder=folder,
            matcher=peer.name,
            setting=setting,
            precision=round(quality.precision, 4),
            recall=round(quality.recall, 4),
            f1=round(quality.f1, 4),
            seconds=round(answer.seconds, 3),
            peak_mb=round(peak_mb, 1),
        )

    default = judge.quality(answer.labels)
    yield row(DEFAULTS, default)
    best = judge.best(answer.alternatives)
    # Where a peer's own clusters are more than its pairs, no threshold may come up to the defaults.
    if best is None or best[1].f1 <= default.f1:
        yield row(f"best: {DEFAULTS}", default)
    else:
        yield row(f"best: {best[0]:.2f}", best[1])


def offers_of(folder: Path, cache: Path, hide_sellers: bool, embedder: Callable[[Path], TextEmbedder]) -> pa.Table:
    """The cleaned and embedded products that Offerline matches, with the columns of OFFERS."""
    with tempfile.TemporaryDirectory() as scratch:
        products = clean_feeds(read_feeds(folder, Path(scratch)))
    vectors, _ = embed_products(products.column("embedding_text").to_pylist(), embedder(cache), cache)
    if hide_sellers:
        products = without_sellers(products)
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype("float32").ravel()), vectors.shape[1])
    columns = {name: products.column(name) for name in ("source", "seller", "title", "description", "brand")}
    return pa.table(
        {
            "id": products.column("product_id"),
            **columns,
            "codes": products.column("model_codes"),
            "price": products.column("price").cast(pa.float64()),
            "embedding": embeddings,
        }
    ).cast(OFFERS)
