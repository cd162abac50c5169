"""Product vectors on a Qdrant server.

Belongs here: one collection, through the official client. Not here: what a point looks like (see `qdrant_points`),
or the engine inside this process (see `qdrant_embedded`).
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from assets.embeddings.ports import HalfVectors, IndexedProduct, Neighbour, SearchFilter
from assets.embeddings.schema import DIMENSIONS
from resources.patience import Patience, asked_wait
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
from resources.vector_index import IndexBusy, IndexRejected, IndexUnavailable, as_similarity, require_rows

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

P = ParamSpec("P")
T = TypeVar("T")

_CONFLICT = 409
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class QdrantServerRules:
    """How the server is talked to.

    Attributes:
        collection: Name of the collection; made at the first use.
        timeout_seconds: How long one request may take.
        patience: How requests are tried again while the server cannot be reached or is busy; each may be repeated.
        write_points: Points with their vectors in one request (about 4 kB each).
        page_points: Points read at once when all are listed.
        ef_search: Candidates the graph search keeps; raised to the number of hits asked for.
    """

    collection: str = "products"
    timeout_seconds: int = 30
    patience: Patience = field(default_factory=lambda: Patience(tries=12))
    write_points: int = 500
    page_points: int = 5_000
    ef_search: int = 128


class QdrantServerIndex:
    """The `VectorIndex` on a Qdrant server. May be used from several threads."""

    name = "qdrant"

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        rules: QdrantServerRules | None = None,
        client: "QdrantClient | None" = None,
    ) -> None:
        """Remember where to connect to.

        Args:
            url: Address of the REST interface, e.g. `http://127.0.0.1:6333`.
            api_key: Key of the server, where it asks for one.
            rules: How to talk to it.
            client: A client to use instead of one made from `url`, for tests.
        """
        self._url = url
        self._api_key = api_key
        self._rules = rules or QdrantServerRules()
        self._connecting = threading.Lock()
        self._injected = client
        self._client: QdrantClient | None = None

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._connecting:
            if self._client is not None and self._injected is None:
                self._client.close()
            self._client = None

    def held(self) -> AbstractContextManager[None]:
        """Nothing is to be opened: connections stay open."""
        return nullcontext()

    def fingerprints(self) -> Mapping[str, str]:
        """See `VectorIndex.fingerprints`."""
        stored: dict[str, str] = {}
        for records in self._pages(limit=self._rules.page_points, with_payload=["product_id", "fingerprint"]):
            for record in records:
                payload = record.payload or {}
                stored[key_of(record.id, payload)] = payload.get("fingerprint", "")
        return stored

    def contents(self) -> Iterator[tuple[Sequence[IndexedProduct], HalfVectors]]:
        """Yield everything stored; see `VectorIndex.contents`."""
        for records in self._pages(limit=self._rules.write_points, with_payload=True, with_vectors=True):
            products = [from_point(record.id, record.payload or {}) for record in records]
            yield products, np.array([record.vector for record in records], np.float16).reshape(-1, DIMENSIONS)

    def upsert(self, products: Sequence[IndexedProduct], vectors: HalfVectors) -> None:
        """Store or replace products, searchable when this returns; see `VectorIndex.upsert`.

        Requests are cut up; one that fails leaves the earlier ones in place, each product whole.

        Raises:
            ValueError: products and vectors do not belong together.
            IndexUnavailable: the server cannot be reached or is busy.
            IndexRejected: it refuses.
        """
        from qdrant_client import models

        require_rows(products, vectors)
        client = self._connected()
        for start in range(0, len(products), self._rules.write_points):
            rows = slice(start, start + self._rules.write_points)
            points = [
                models.PointStruct(
                    id=_sent(point_id(product.product_id)), vector=vector.tolist(), payload=to_payload(product)
                )
                for product, vector in zip(products[rows], vectors[rows], strict=True)
            ]
            self._patiently(client.upsert, self._rules.collection, points=points, wait=True)

    def delete(self, product_ids: Sequence[str]) -> None:
        """See `VectorIndex.delete`."""
        from qdrant_client import models

        client = self._connected()
        for start in range(0, len(product_ids), self._rules.page_points):
            part = product_ids[start : start + self._rules.page_points]
            selector = models.PointIdsList(points=[_sent(point_id(product_id)) for product_id in part])
            self._patiently(client.delete, self._rules.collection, selector, wait=True)

    def nearest(self, vector: NDArray[np.float16], *, limit: int, where: SearchFilter | None = None) -> list[Neighbour]:
        """Return the nearest products; see `VectorIndex.nearest`.

        Raises:
            IndexUnavailable: the server cannot be reached or is busy.
            IndexRejected: it refuses.
        """
        from qdrant_client import models

        if limit <= 0:
            return []
        found = self._patiently(
            self._connected().query_points,
            self._rules.collection,
            query=vector.tolist(),
            limit=limit,
            query_filter=_filter(where or SearchFilter()),
            search_params=models.SearchParams(hnsw_ef=max(limit, self._rules.ef_search)),
        )
        return [
            Neighbour(product=from_point(hit.id, hit.payload or {}), similarity=as_similarity(hit.score))
            for hit in found.points
        ]

    def _pages(self, **wanted: Any) -> "Iterator[list[models.Record]]":
        """Yield all points of the collection, a page at a time."""
        client = self._connected()
        offset: Any = None
        while True:
            records, offset = self._patiently(client.scroll, self._rules.collection, offset=offset, **wanted)
            yield records
            if offset is None:
                return

    def _patiently(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Send a request, again while the server is away or busy."""
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        def attempt() -> T:
            try:
                return request(*args, **kwargs)
            except (ApiException, QdrantException) as error:
                raise _failure(error, f"Qdrant at {self._url}: {_explained(error)}") from error

        return self._rules.patience(attempt)

    def _connected(self) -> "QdrantClient":
        with self._connecting:
            if self._client is None:
                client = self._injected or self._connect()
                self._patiently(self._ensure_collection, client)
                self._client = client
            return self._client

    def _connect(self) -> "QdrantClient":
        from qdrant_client import QdrantClient

        return QdrantClient(
            url=self._url,
            api_key=self._api_key,
            timeout=self._rules.timeout_seconds,
            check_compatibility=False,
        )

    def _ensure_collection(self, client: "QdrantClient") -> None:
        from qdrant_client import models
        from qdrant_client.http.exceptions import UnexpectedResponse

        if not client.collection_exists(self._rules.collection):
            try:
                client.create_collection(self._rules.collection, vectors_config=_vector_params())
            except UnexpectedResponse as error:
                if error.status_code != _CONFLICT:  # another process made it since the question
                    raise
        fields = dict.fromkeys(KEYWORD_FIELDS, models.PayloadSchemaType.KEYWORD)
        fields[PRICE_FIELD] = models.PayloadSchemaType.FLOAT
        # Who made the collection may have died before its last index.
        for name in fields.keys() - client.get_collection(self._rules.collection).payload_schema.keys():
            client.create_payload_index(self._rules.collection, name, fields[name])


def _vector_params() -> "models.VectorParams":
    from qdrant_client import models

    return models.VectorParams(size=DIMENSIONS, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16)


def _sent(point: UUID | int) -> int | str:
    return point if isinstance(point, int) else str(point)


def _filter(where: SearchFilter) -> "models.Filter | None":
    from qdrant_client import models

    conditions: list[models.Condition] = [
        models.FieldCondition(key=field, match=models.MatchValue(value=value))
        for field, value in keywords(where).items()
    ]
    if bounds := price_range(where):
        lowest, highest = bounds
        conditions.append(models.FieldCondition(key=PRICE_FIELD, range=models.Range(gte=lowest, lte=highest)))
    return models.Filter(must=conditions) if conditions else None


def _failure(error: Exception, message: str) -> IndexUnavailable | IndexRejected:
    """Tell what passes (no answer, an overloaded server, an error of its own) from what stays."""
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, QdrantException):
        return IndexBusy(message, _asked(error))
    if isinstance(error, UnexpectedResponse):
        status = error.status_code or _SERVER_ERROR
        asked = asked_wait(error.headers.get("Retry-After"))
        if status == _TOO_MANY_REQUESTS or (status >= _SERVER_ERROR and asked is not None):
            return IndexBusy(message, asked)
        if status < _SERVER_ERROR:
            return IndexRejected(message)
    elif isinstance(error, ResponseHandlingException) and isinstance(error.source, ValidationError):
        return IndexRejected(message)  # an answer that is none of Qdrant's
    return IndexUnavailable(message)


def _asked(error: Exception) -> float | None:
    """How long the server asks us to wait: the client reads a number of seconds, and complains of a date."""
    seconds = getattr(error, "retry_after_s", None)
    return float(seconds) if seconds is not None else asked_wait(str(error).partition("valid integer: ")[2])


def _explained(error: Exception) -> str:
    source = getattr(error, "source", None)
    return " ".join(str(source or error).split())
