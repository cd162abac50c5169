"""Product vectors in Qdrant's own engine, inside this process.

Belongs here: one shard in one folder: opening, locking, writing, searching. Not here: what a point looks like (see
`qdrant_points`), or the server (see `qdrant_server`).

The engine lets one process at a time open a folder. So the folder is opened for each operation (under 0.1 s) and
closed again, and whoever comes meanwhile waits. `held` keeps it open across several operations.
"""

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from assets.embeddings.ports import HalfVectors, IndexedProduct, Neighbour, SearchFilter
from assets.embeddings.schema import DIMENSIONS
from resources.qdrant_points import (
    KEYWORD_FIELDS,
    PRICE_FIELD,
    from_point,
    key_of,
    keywords,
    point_id,
    price_range,
    to_payload,
)
from resources.vector_index import IndexRejected, IndexUnavailable, as_similarity, require_rows

_BYTES_PER_VECTOR = DIMENSIONS * np.dtype(np.float16).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class QdrantEmbeddedRules:
    """How the folder is shared and when the engine builds an index.

    Attributes:
        patience_seconds: How long to wait for another process that holds the folder.
        graph_from: Vectors in a segment from which an HNSW graph is built; below, every search compares with all,
            which is exact and takes about 4 ms at 100,000.
        write_points: Points in one write to the engine, and read at once with their vectors.
        page_points: Points read at once when all are listed.
        ef_search: Candidates the graph search keeps; raised to the number of hits asked for.
    """

    patience_seconds: float = 30.0
    graph_from: int = 50_000
    write_points: int = 1000
    page_points: int = 10_000
    ef_search: int = 128


class QdrantEmbeddedIndex:
    """The `VectorIndex` in Qdrant's engine, stored in a folder of this machine.

    May be used from several threads and several processes; they take turns.
    """

    name = "qdrant"

    def __init__(self, path: Path, *, rules: QdrantEmbeddedRules | None = None) -> None:
        """Remember the folder; it is made at the first use.

        Args:
            path: Folder of the shard, owned by this index alone. Beside it come `<name>.lock` and, while it is
                being made, `<name>.new`.
            rules: How to share the folder and when to index.
        """
        self._path = path
        self._rules = rules or QdrantEmbeddedRules()
        self._turn = threading.RLock()
        self._lock = FileLock(path.with_name(f"{path.name}.lock"), thread_local=False)
        self._shard: engine.EdgeShard | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder open, and everybody else out, for several operations.

        Raises:
            IndexUnavailable: another process holds the folder for too long.
            IndexRejected: it cannot be read.
        """
        with self._opened():
            yield

    def fingerprints(self) -> Mapping[str, str]:
        """See `VectorIndex.fingerprints`."""
        stored: dict[str, str] = {}
        offset = None
        with self._opened() as shard:
            while True:
                request = engine.ScrollRequest(
                    offset=offset, limit=self._rules.page_points, with_payload=["product_id", "fingerprint"]
                )
                records, offset = shard.scroll(request)
                for record in records:
                    payload = record.payload or {}
                    stored[key_of(record.id, payload)] = payload.get("fingerprint", "")
                if offset is None:
                    return stored

    def contents(self) -> Iterator[tuple[Sequence[IndexedProduct], HalfVectors]]:
        """Yield everything stored, bit for bit; see `VectorIndex.contents`. Holds the folder meanwhile."""
        offset = None
        with self._opened() as shard:
            while True:
                request = engine.ScrollRequest(
                    offset=offset, limit=self._rules.write_points, with_payload=True, with_vector=True
                )
                records, offset = shard.scroll(request)
                products = [from_point(record.id, record.payload or {}) for record in records]
                yield products, np.array([record.vector for record in records], np.float16).reshape(-1, DIMENSIONS)
                if offset is None:
                    return

    def upsert(self, products: Sequence[IndexedProduct], vectors: HalfVectors) -> None:
        """Store or replace products; on disk when this returns; see `VectorIndex.upsert`.

        A process killed meanwhile leaves a part of the products written, each of them whole.

        Raises:
            ValueError: products and vectors do not belong together.
            IndexUnavailable: the folder is taken.
            IndexRejected: it cannot be read.
        """
        require_rows(products, vectors)
        points = (
            engine.Point(point_id(product.product_id), vector.tolist(), to_payload(product))
            for product, vector in zip(products, vectors, strict=True)
        )
        self._write(engine.UpdateOperation.upsert_points(part) for part in _parts(points, self._rules))

    def delete(self, product_ids: Sequence[str]) -> None:
        """See `VectorIndex.delete`."""
        ids = (point_id(product_id) for product_id in product_ids)
        self._write(engine.UpdateOperation.delete_points(part) for part in _parts(ids, self._rules))

    def nearest(self, vector: NDArray[np.float16], *, limit: int, where: SearchFilter | None = None) -> list[Neighbour]:
        """Return the nearest products; see `VectorIndex.nearest`.

        Raises:
            IndexUnavailable: the folder is taken.
            IndexRejected: it cannot be read.
        """
        if limit <= 0:
            return []
        request = engine.QueryRequest(
            limit=limit,
            query=engine.Query.Nearest(vector.tolist()),
            filter=_filter(where or SearchFilter()),
            params=engine.SearchParams(hnsw_ef=max(limit, self._rules.ef_search)),
            with_payload=True,
        )
        with self._opened() as shard:
            hits = shard.query(request)
        return [
            Neighbour(product=from_point(hit.id, hit.payload or {}), similarity=as_similarity(hit.score))
            for hit in hits
        ]

    def _write(self, operations: Iterator[engine.UpdateOperation]) -> None:
        with self._opened() as shard:
            for operation in operations:
                shard.update(operation)
            shard.flush()
            # Returns at once while nothing has outgrown the thresholds.
            if shard.optimize():
                shard.flush()

    @contextmanager
    def _opened(self) -> Iterator[engine.EdgeShard]:
        with self._turn:
            if self._shard is not None:
                yield self._shard
                return
            with self._locked():
                self._shard = self._load()
                try:
                    yield self._shard
                finally:
                    shard, self._shard = self._shard, None
                    shard.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=self._rules.patience_seconds)
        except Timeout as error:
            raise IndexUnavailable(
                f"the Qdrant index in {self._path} is held by another process "
                f"(waited {self._rules.patience_seconds:g} s); try again when it has finished"
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    def _load(self) -> engine.EdgeShard:
        if not self._path.exists() or not any(self._path.iterdir()):
            self._create()
        try:
            return engine.EdgeShard.load(str(self._path))
        except Exception as error:  # the engine raises nothing more precise
            raise IndexRejected(
                f"the Qdrant index in {self._path} cannot be opened: {error}. It holds nothing that is not stored "
                "elsewhere: move the folder away and materialise the index again"
            ) from error

    def _create(self) -> None:
        # A shard that was killed before its first flush cannot be loaded again, so it is made aside.
        draft = self._path.with_name(f"{self._path.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        shard = engine.EdgeShard.create(str(draft), _config(self._rules))
        try:
            for field in KEYWORD_FIELDS:
                shard.update(engine.UpdateOperation.create_field_index(field, engine.PayloadSchemaType.Keyword))
            shard.update(engine.UpdateOperation.create_field_index(PRICE_FIELD, engine.PayloadSchemaType.Float))
            shard.flush()
        finally:
            shard.close()
        if self._path.exists():
            self._path.rmdir()
        draft.rename(self._path)


def _config(rules: QdrantEmbeddedRules) -> engine.EdgeConfig:
    return engine.EdgeConfig(
        vectors=engine.EdgeVectorParams(
            size=DIMENSIONS,
            distance=engine.Distance.Dot,
            datatype=engine.VectorStorageDatatype.Float16,
        ),
        optimizers=engine.EdgeOptimizersConfig(
            indexing_threshold=rules.graph_from * _BYTES_PER_VECTOR // 1024,
        ),
    )


def _filter(where: SearchFilter) -> engine.Filter | None:
    conditions: list[Any] = [
        engine.FieldCondition(key=field, match=engine.MatchValue(value)) for field, value in keywords(where).items()
    ]
    if bounds := price_range(where):
        lowest, highest = bounds
        conditions.append(engine.FieldCondition(key=PRICE_FIELD, range=engine.RangeFloat(gte=lowest, lte=highest)))
    return engine.Filter(must=conditions) if conditions else None


def _parts(items: Iterator[Any], rules: QdrantEmbeddedRules) -> Iterator[list[Any]]:
    while part := list(islice(items, rules.write_points)):
        yield part
