"""Product vectors in PostgreSQL, searched by pgvector.

Belongs here: SQL on `catalog.product_vectors`. Not here: the table itself (see `migrations`), connections and COPY
(see `warehouse`), or what should be in the index (see `assets.embeddings`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import text

from assets.embeddings.ports import HalfVectors, IndexedProduct, Neighbour, SearchFilter
from assets.embeddings.schema import DIMENSIONS
from resources.vector_index import IndexRejected, IndexUnavailable, as_similarity, require_rows
from resources.warehouse import Transaction, Warehouse, WarehouseRejected, WarehouseUnavailable

_VECTOR = pa.list_(pa.float16(), DIMENSIONS)
_ROWS = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("brand", pa.string()),
        pa.field("price", pa.decimal128(18, 4)),
        pa.field("currency", pa.string()),
        pa.field("vector", _VECTOR, nullable=False),
    ]
)
_PRODUCT_FIELDS = tuple(name for name in _ROWS.names if name != "vector")
_COLUMNS = ", ".join(_ROWS.names)

_MERGE = f"""
    INSERT INTO catalog.product_vectors ({_COLUMNS})
    SELECT {_COLUMNS} FROM incoming
    ON CONFLICT (product_id) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in _ROWS.names if name != "product_id")}
"""  # noqa: S608 - constants of this module

#: A filter's field -> its condition. Case is folded by Unicode's rules, whatever the database's locale.
_CONDITIONS = {
    "brand": "casefold(brand COLLATE pg_unicode_fast) = casefold(CAST(:brand AS text) COLLATE pg_unicode_fast)",
    "source": "source = :source",
    "min_price": "price >= :min_price",
    "max_price": "price <= :max_price",
}
_GRAPH = "catalog.product_vectors_nearest"
#: The most that pgvector accepts.
_MAX_EF_SEARCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PgVectorRules:
    """How the index is searched and filled.

    Attributes:
        ef_search: Candidates the HNSW scan keeps; raised to the number of hits asked for.
        max_scan_tuples: Rows the scan visits at most while it looks for hits that meet the conditions.
        build_from: Products in one write from which the graph is built anew rather than grown row by row, if the
            table holds no more than come in; searches wait meanwhile.
    """

    ef_search: int = 100
    max_scan_tuples: int = 20_000
    build_from: int = 1_000


class PgVectorIndex:
    """The `VectorIndex` in PostgreSQL: half-precision vectors under an HNSW index by cosine."""

    name = "pgvector"

    def __init__(self, url: str, *, rules: PgVectorRules | None = None) -> None:
        """Remember where to connect to.

        Args:
            url: SQLAlchemy URL with the driver named, `postgresql+psycopg://…`, of a migrated warehouse.
            rules: How to search.
        """
        self._warehouse = Warehouse(url)
        self._rules = rules or PgVectorRules()

    def close(self) -> None:
        """Close idle connections; a later call opens new ones."""
        self._warehouse.close()

    def fingerprints(self) -> Mapping[str, str]:
        """See `VectorIndex.fingerprints`."""
        with self._transaction() as transaction:
            rows = transaction.query("SELECT product_id, fingerprint FROM catalog.product_vectors")
        return dict(zip(rows["product_id"].to_pylist(), rows["fingerprint"].to_pylist(), strict=True))

    def held(self) -> AbstractContextManager[None]:
        """Nothing is to be opened: connections are pooled."""
        return nullcontext()

    def contents(self) -> Iterator[tuple[Sequence[IndexedProduct], HalfVectors]]:
        """Yield everything stored, bit for bit; see `VectorIndex.contents`."""
        with self._transaction() as transaction:
            for rows in transaction.query_batches("SELECT * FROM catalog.product_vectors", _ROWS):
                products = [IndexedProduct(**row) for row in rows.select(_PRODUCT_FIELDS).to_pylist()]
                yield products, rows["vector"].flatten().to_numpy().reshape(-1, DIMENSIONS)

    def upsert(self, products: Sequence[IndexedProduct], vectors: HalfVectors) -> None:
        """Store or replace products in one transaction, all or none; see `VectorIndex.upsert`.

        Raises:
            ValueError: products and vectors do not belong together.
            IndexUnavailable: the server cannot be reached.
        """
        require_rows(products, vectors)
        if not products:
            return
        with self._transaction() as transaction:
            transaction.stage("incoming", _as_rows(products, vectors))
            if self._is_bulk(transaction, len(products)):
                _merge_and_build(transaction)
            else:
                transaction.execute(_MERGE)

    def delete(self, product_ids: Sequence[str]) -> None:
        """See `VectorIndex.delete`."""
        if product_ids:
            with self._transaction() as transaction:
                transaction.execute(
                    "DELETE FROM catalog.product_vectors WHERE product_id = ANY(:ids)", ids=list(product_ids)
                )

    def nearest(self, vector: NDArray[np.float16], *, limit: int, where: SearchFilter | None = None) -> list[Neighbour]:
        """Return the nearest products; see `VectorIndex.nearest`.

        The scan of the index goes on until enough hits meet the conditions or its budget is used up. Where it comes
        back with fewer than `limit`, the search is done again without the index, so that no hit is lost.

        Raises:
            IndexUnavailable: the server cannot be reached.
        """
        if limit <= 0:
            return []
        given = {name: getattr(where, name) for name in _CONDITIONS} if where else {}
        conditions = {name: value for name, value in given.items() if value is not None}
        with self._transaction() as transaction:
            self._tune(transaction, limit)
            found = _search(transaction, vector, limit, conditions)
            if len(found) < limit:
                transaction.execute("SET LOCAL enable_indexscan = off")
                found = _search(transaction, vector, limit, conditions)
        return found

    def _is_bulk(self, transaction: Transaction, incoming: int) -> bool:
        if incoming < self._rules.build_from:
            return False
        transaction.lock("catalog.product_vectors")  # two bulk writers would wait for each other for ever
        return incoming >= int(transaction.scalar("SELECT count(*) FROM catalog.product_vectors"))

    def _tune(self, transaction: Transaction, limit: int) -> None:
        transaction.execute(
            """
            SELECT set_config('hnsw.ef_search', :ef_search, true),
                   set_config('hnsw.iterative_scan', 'relaxed_order', true),
                   set_config('hnsw.max_scan_tuples', :max_scan_tuples, true)
            """,
            ef_search=str(min(_MAX_EF_SEARCH, max(self._rules.ef_search, limit))),
            max_scan_tuples=str(self._rules.max_scan_tuples),
        )

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        try:
            with self._warehouse.transaction() as transaction:
                yield transaction
        except WarehouseUnavailable as error:
            raise IndexUnavailable(f"{self.name}: {error}") from error
        except WarehouseRejected as error:
            raise IndexRejected(f"{self.name}: {error}") from error


def _as_rows(products: Sequence[IndexedProduct], vectors: HalfVectors) -> pa.Table:
    columns = [
        pa.array([getattr(product, name) for product in products], _ROWS.field(name).type) for name in _PRODUCT_FIELDS
    ]
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    columns.append(pa.FixedSizeListArray.from_arrays(flat, type=_VECTOR))
    return pa.table(columns, schema=_ROWS)


def _merge_and_build(transaction: Transaction) -> None:
    """Merge without the graph, then build it at once: about a third of the time of inserting row by row."""
    definition = transaction.scalar(f"SELECT pg_get_indexdef('{_GRAPH}'::regclass)")
    transaction.execute(f"DROP INDEX {_GRAPH}")
    transaction.execute(_MERGE)
    transaction.execute(definition)


def _search(
    transaction: Transaction, vector: NDArray[np.float16], limit: int, conditions: Mapping[str, Any]
) -> list[Neighbour]:
    meets = " AND ".join(_CONDITIONS[name] for name in conditions) or "true"
    # The scan may hand out its rows slightly out of order, so what it found is sorted outside.
    statement = text(f"""
        WITH found AS MATERIALIZED (
            SELECT {", ".join(_PRODUCT_FIELDS)}, vector <=> CAST(:vector AS halfvec) AS distance
            FROM catalog.product_vectors WHERE {meets}
            ORDER BY vector <=> CAST(:vector AS halfvec) LIMIT :limit
        )
        SELECT * FROM found ORDER BY distance, product_id
    """)  # noqa: S608 - constants of this module; every value is a parameter
    values = {"vector": str(vector.tolist()), "limit": limit, **conditions}
    rows = transaction.connection.execute(statement, values).mappings()
    return [
        Neighbour(
            product=IndexedProduct(**{name: row[name] for name in _PRODUCT_FIELDS}),
            similarity=as_similarity(1.0 - row["distance"]),
        )
        for row in rows
    ]
