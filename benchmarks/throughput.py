"""How fast texts become vectors and indexes take and find them: every variant in one run, side by side.

Belongs here: timing the embedders and the index adapters. Not here: whether they are right (see the tests), the
matcher (see `matching`).

Run as `python -m benchmarks.throughput FOLDER [--titles N] [--vectors N] [--database-url URL]`, where FOLDER holds
csv files with a `title` or `name` column. Rows of the table `catalog.product_vectors` that the run writes are removed
again; give the URL of a database that holds no catalogue all the same.
"""

import argparse
import csv
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from assets.embeddings.index_sync import WantedIndex, sync
from assets.embeddings.ports import HalfVectors, IndexedProduct, SearchFilter, TextEmbedder, VectorIndex
from assets.embeddings.schema import DIMENSIONS
from resources.embedder import EmbedderRules, OnnxEmbedder, SentenceTransformersEmbedder
from resources.pgvector_index import PgVectorIndex
from resources.qdrant_embedded import QdrantEmbeddedIndex, QdrantEmbeddedRules
from resources.warehouse import Warehouse

P = ParamSpec("P")
T = TypeVar("T")

SEED = 20
SOURCE = "throughput-benchmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputRules:
    """How much is measured.

    Attributes:
        titles: Titles that every embedder embeds.
        vectors: Vectors that every index takes.
        queries: Queries each index answers, with a filter and without.
        limit: Hits a query asks for.
    """

    titles: int = 1000
    vectors: int = 16_000
    queries: int = 200
    limit: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderFigures:
    """One embedder's figures; `stable` is the share of texts with the same bits when embedded alone."""

    name: str
    start_seconds: float
    titles_per_second: float
    stable: float
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFigures:
    """One index's figures; `recall` is against comparing with all."""

    name: str
    upserts_per_second: float
    again_seconds: float
    list_seconds: float
    query_ms: float
    filtered_ms: float
    recall: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    defaults = ThroughputRules()
    parser = argparse.ArgumentParser(description="Throughput of embedders and vector indexes.")
    parser.add_argument("folder", type=Path, help="folder with csv files that have a title or name column")
    parser.add_argument("--titles", type=int, default=defaults.titles)
    parser.add_argument("--vectors", type=int, default=defaults.vectors)
    parser.add_argument("--queries", type=int, default=defaults.queries)
    parser.add_argument("--database-url", help="a PostgreSQL to measure pgvector in, as postgresql+psycopg://…")
    given = parser.parse_args(arguments)
    rules = ThroughputRules(titles=given.titles, vectors=given.vectors, queries=given.queries)
    titles = list(titles_in(given.folder))
    random.Random(SEED).shuffle(titles)
    titles = titles[: rules.titles]
    console = Console()
    if not titles:
        console.print(f"no csv file under {given.folder} has a title or name column")
        return
    with tempfile.TemporaryDirectory() as folder:
        console.print(embedder_table(measure_embedders(titles, Path(folder))))
        console.print(index_table(measure_indexes(Path(folder), given.database_url, rules)))


def titles_in(folder: Path) -> Iterator[str]:
    """Yield the titles of a folder's csv files."""
    for path in sorted(folder.rglob("*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                if title := row.get("title") or row.get("name"):
                    yield title


def measure_embedders(titles: Sequence[str], cache: Path) -> list[EmbedderFigures]:
    """Embed the same titles with every variant; the first variant is what cosines are taken against."""
    variants: dict[str, Callable[[], TextEmbedder]] = {
        "torch": SentenceTransformersEmbedder,
        "onnx (first start exports)": lambda: OnnxEmbedder(cache=cache),
        "onnx": lambda: OnnxEmbedder(cache=cache),
        "onnx, 1 thread": lambda: OnnxEmbedder(cache=cache, rules=EmbedderRules(threads=1)),
        "onnx, one text at a time": lambda: OnnxEmbedder(cache=cache, rules=EmbedderRules(batch_tokens=1)),
    }
    figures = []
    reference: HalfVectors | None = None
    for name, make in variants.items():
        embedder, start_seconds = _timed(_started, make)
        vectors, seconds = _timed(embedder.embed, titles)
        some = titles[: max(1, len(titles) // 10)]
        alone = np.concatenate([embedder.embed([title]) for title in some])
        reference = vectors if reference is None else reference
        figures.append(
            EmbedderFigures(
                name=name,
                start_seconds=start_seconds,
                titles_per_second=len(titles) / seconds,
                stable=float((alone == vectors[: len(some)]).all(axis=1).mean()),
                cosine=float(_cosines(vectors, reference).min()),
            )
        )
    return figures


def measure_indexes(folder: Path, database_url: str | None, rules: ThroughputRules) -> list[IndexFigures]:
    """Fill every index with the same vectors and ask it the same questions."""
    wanted = sample_index(rules.vectors)
    compared: dict[str, VectorIndex] = {
        "qdrant embedded": QdrantEmbeddedIndex(folder / "plain"),
        "qdrant embedded, graph": QdrantEmbeddedIndex(folder / "graph", rules=QdrantEmbeddedRules(graph_from=1000)),
    }
    if database_url:
        warehouse = Warehouse(database_url)
        warehouse.migrate()
        warehouse.close()
        compared["pgvector"] = PgVectorIndex(database_url)
    figures = []
    for name, index in compared.items():
        try:
            figures.append(_measured(name, index, wanted, rules))
        finally:
            index.delete([product.product_id for product in wanted.products])
    return figures


def sample_index(count: int) -> WantedIndex:
    """Return products with clustered unit vectors, as embeddings are."""
    random_numbers = np.random.default_rng(SEED)
    centres = random_numbers.normal(size=(max(1, count // 30), DIMENSIONS))
    raw = centres[random_numbers.integers(len(centres), size=count)]
    raw += 0.5 * random_numbers.normal(size=raw.shape)
    products = tuple(
        IndexedProduct(
            product_id=f"{SOURCE}:{row:07}",
            fingerprint=str(row),
            source=f"{SOURCE}-{row % 50}",
            title=f"Product number {row} of the benchmark, black, 64 GB",
        )
        for row in range(count)
    )
    return WantedIndex(products, (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float16))


def embedder_table(figures: Sequence[EmbedderFigures]) -> Table:
    """Lay out the embedders, with their speed relative to the first."""
    table = Table(title="Embedders (all-MiniLM-L6-v2)")
    for column in ("variant", "start s", "titles/s", "ratio", "same bits alone", "least cosine"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    for row in figures:
        table.add_row(
            row.name,
            f"{row.start_seconds:.1f}",
            f"{row.titles_per_second:,.0f}",
            f"{row.titles_per_second / figures[0].titles_per_second:.2f}",
            f"{row.stable:.1%}",
            f"{row.cosine:.6f}",
        )
    return table


def index_table(figures: Sequence[IndexFigures]) -> Table:
    """Lay out the indexes, with their speed relative to the first."""
    table = Table(title="Vector indexes")
    for column in ("index", "upserts/s", "ratio", "again s", "list s", "query p50 ms", "filtered p50 ms", "recall"):
        table.add_column(column, justify="left" if column == "index" else "right")
    for row in figures:
        table.add_row(
            row.name,
            f"{row.upserts_per_second:,.0f}",
            f"{row.upserts_per_second / figures[0].upserts_per_second:.2f}",
            f"{row.again_seconds:.2f}",
            f"{row.list_seconds:.2f}",
            f"{row.query_ms:.2f}",
            f"{row.filtered_ms:.2f}",
            f"{row.recall:.3f}",
        )
    return table


def _measured(name: str, index: VectorIndex, wanted: WantedIndex, rules: ThroughputRules) -> IndexFigures:
    _, seconds = _timed(sync, index, wanted)
    _, again_seconds = _timed(sync, index, wanted)
    _, list_seconds = _timed(index.fingerprints)
    if isinstance(index, QdrantEmbeddedIndex):
        with index.held():
            return _asked(name, index, wanted, rules, seconds, again_seconds, list_seconds)
    return _asked(name, index, wanted, rules, seconds, again_seconds, list_seconds)


def _asked(
    name: str,
    index: VectorIndex,
    wanted: WantedIndex,
    rules: ThroughputRules,
    fill_seconds: float,
    again_seconds: float,
    list_seconds: float,
) -> IndexFigures:
    random_numbers = np.random.default_rng(SEED + 1)
    near = wanted.vectors[random_numbers.integers(len(wanted.vectors), size=rules.queries)].astype(np.float32)
    near += random_numbers.normal(scale=0.02, size=near.shape)
    queries = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float16)
    best = np.argsort(-(queries.astype(np.float32) @ wanted.vectors.astype(np.float32).T), axis=1)[:, : rules.limit]
    where = SearchFilter(source=f"{SOURCE}-7")
    plain_times, filtered_times, found = [], [], 0
    for query, rows in zip(queries, best, strict=True):
        hits, seconds = _timed(index.nearest, query, limit=rules.limit)
        plain_times.append(seconds)
        found += len({hit.product.product_id for hit in hits} & {wanted.products[row].product_id for row in rows})
        _, seconds = _timed(index.nearest, query, limit=rules.limit, where=where)
        filtered_times.append(seconds)
    return IndexFigures(
        name=name,
        upserts_per_second=len(wanted.products) / fill_seconds,
        again_seconds=again_seconds,
        list_seconds=list_seconds,
        query_ms=1000 * float(np.median(plain_times)),
        filtered_ms=1000 * float(np.median(filtered_times)),
        recall=found / best.size,
    )


def _started(make: Callable[[], TextEmbedder]) -> TextEmbedder:
    embedder = make()
    embedder.embed(["the first text loads the model"])
    return embedder


def _timed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    start = time.perf_counter()
    return work(*args, **kwargs), time.perf_counter() - start


def _cosines(left: HalfVectors, right: HalfVectors) -> NDArray[np.float64]:
    a, b = left.astype(np.float64), right.astype(np.float64)
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosines


if __name__ == "__main__":
    main()
