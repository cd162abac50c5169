"""One contract for every vector index, and what is special about each.

Belongs here: adapters against real engines (PostgreSQL, Qdrant's embedded one) and Qdrant's client in memory. Not
here: what should be in an index (see tests/embeddings).
"""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import count
from itertools import product as product_of
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import killed_writer
import numpy as np
import pytest
from killed_writer import ACKNOWLEDGED, MOMENTS, rows
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ResponseHandlingException

from assets.embeddings.index_sync import WantedIndex, sync
from assets.embeddings.ports import HalfVectors, IndexedProduct, SearchFilter, VectorIndex
from assets.embeddings.schema import DIMENSIONS
from orchestration.settings import Endpoints
from resources.patience import Patience
from resources.pgvector_index import PgVectorIndex, PgVectorRules
from resources.qdrant_embedded import QdrantEmbeddedIndex, QdrantEmbeddedRules
from resources.qdrant_points import from_payload, from_point, key_of, point_id, to_payload
from resources.qdrant_server import QdrantServerIndex, QdrantServerRules
from resources.vector_index import IndexRejected, IndexUnavailable
from resources.warehouse import Warehouse

# What Qdrant's client says about its in-memory stand-in.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

BRANDS = ("Sony", "SONY", "Müller", "MÜLLER", "Große", None)
SOURCES = ("abt", "buy", "käufer")
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def warehouse_url(stack: Endpoints) -> str:
    Warehouse(stack.database_url).migrate()
    return stack.database_url


@pytest.fixture
def pgvector(warehouse_url: str) -> Iterator[PgVectorIndex]:
    warehouse = Warehouse(warehouse_url)
    with warehouse.transaction() as transaction:
        transaction.execute("TRUNCATE catalog.product_vectors")
    warehouse.close()
    index = PgVectorIndex(warehouse_url)
    yield index
    index.close()


@pytest.fixture(
    params=[
        pytest.param("pgvector", marks=pytest.mark.stack),
        "qdrant_embedded",
        "qdrant_embedded_graph",
        "qdrant_client",
    ]
)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    """Every adapter; Qdrant's client talks to its own in-memory stand-in, as no server can be run here."""
    match request.param:
        case "pgvector":
            yield request.getfixturevalue("pgvector")
        case "qdrant_client":
            yield QdrantServerIndex("in memory", client=QdrantClient(":memory:"))
        case kind:
            graph_from = 100 if kind.endswith("graph") else 50_000
            embedded = QdrantEmbeddedIndex(tmp_path / "qdrant", rules=QdrantEmbeddedRules(graph_from=graph_from))
            with embedded.held():  # opening the folder anew for every call is tried further below
                yield embedded


def unit_vectors(count: int, *, seed: int = 0) -> HalfVectors:
    """Clustered directions, as embeddings are: near ones and far ones, no two alike."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(1, count // 8), DIMENSIONS))
    raw = centres[random.integers(len(centres), size=count)] + 0.4 * random.normal(size=(count, DIMENSIONS))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float16)


def products(count: int, *, version: str = "1") -> list[IndexedProduct]:
    return [
        IndexedProduct(
            product_id=f"{SOURCES[i % 3]}:{i:04}-ñ✓'\"",
            fingerprint=f"{version}-{i}",
            source=SOURCES[i % 3],
            title=f'Kettle {i} "½ l" 電気ケトル',
            brand=BRANDS[i % len(BRANDS)],
            price=None if i % 5 == 4 else Decimal(i) + Decimal("0.99"),
            currency=None if i % 5 == 4 else "EUR",
        )
        for i in range(count)
    ]


def stored_vectors(index: VectorIndex) -> dict[str, np.ndarray]:
    """Every stored vector by its product."""
    return {
        product.product_id: vector
        for products, vectors in index.contents()
        for product, vector in zip(products, vectors, strict=True)
    }


def cosines(vectors: HalfVectors, query: HalfVectors) -> np.ndarray:
    exact, wanted = vectors.astype(np.float64), query.astype(np.float64)
    return exact @ wanted / (np.linalg.norm(exact, axis=1) * np.linalg.norm(wanted))


def meets(product: IndexedProduct, where: SearchFilter) -> bool:
    """The filter's meaning in plain words, against which the stores' own are held."""
    return (
        (where.source is None or product.source == where.source)
        and (where.brand is None or (product.brand or "").casefold() == where.brand.casefold())
        and (where.min_price is None or (product.price is not None and product.price >= where.min_price))
        and (where.max_price is None or (product.price is not None and product.price <= where.max_price))
    )


FILTERS = {
    "nothing": SearchFilter(),
    "source": SearchFilter(source="käufer"),
    "brand in other case": SearchFilter(brand="sOnY"),
    "brand with umlaut in other case": SearchFilter(brand="mÜlLeR"),
    "brand with sharp s in capitals": SearchFilter(brand="GROSSE"),
    "least price": SearchFilter(min_price=Decimal("100.99")),
    "greatest price": SearchFilter(max_price=Decimal("20.99")),
    "price range": SearchFilter(min_price=Decimal("50"), max_price=Decimal("60.5")),
    "exactly one price": SearchFilter(min_price=Decimal("57.99"), max_price=Decimal("57.99")),
    "all at once": SearchFilter(source="abt", brand="müller", min_price=Decimal(10), max_price=Decimal(120)),
    "no product": SearchFilter(source="nobody"),
    "hostile text": SearchFilter(brand="'; DROP TABLE catalog.product_vectors; --", source="%"),
}


class TestContract:
    """What every adapter promises."""

    def test_an_empty_index_answers(self, index: VectorIndex) -> None:
        query = unit_vectors(1)[0]
        assert index.fingerprints() == {}
        assert stored_vectors(index) == {}
        assert index.nearest(query, limit=5) == []
        assert index.nearest(query, limit=5, where=SearchFilter(brand="Sony")) == []
        index.delete(["abt:1"])
        index.upsert([], np.empty((0, DIMENSIONS), np.float16))
        assert index.fingerprints() == {}

    def test_it_returns_what_was_stored(self, index: VectorIndex) -> None:
        stored, vectors = products(60), unit_vectors(60)
        index.upsert(stored, vectors)

        assert dict(index.fingerprints()) == {p.product_id: p.fingerprint for p in stored}
        for product, vector in zip(stored, vectors, strict=True):
            best = index.nearest(vector, limit=1)[0]
            assert best.product == product
            assert best.similarity == pytest.approx(1, abs=1e-3)

    def test_it_returns_the_same_bits(self, index: VectorIndex) -> None:
        stored, vectors = products(60), unit_vectors(60)
        index.upsert(stored, vectors)

        found = stored_vectors(index)

        assert found.keys() == {p.product_id for p in stored}
        for product, vector in zip(stored, vectors, strict=True):
            assert found[product.product_id].dtype == np.float16
            assert found[product.product_id].tobytes() == vector.tobytes()

    def test_it_tells_all_it_holds_beside_the_vectors(self, index: VectorIndex) -> None:
        stored, vectors = products(60), unit_vectors(60)
        index.upsert(stored, vectors)
        with index.held():
            told = [product for products, _ in index.contents() for product in products]
        assert sorted(told, key=lambda product: product.product_id) == sorted(stored, key=lambda p: p.product_id)

    def test_nearest_equals_comparing_with_all(self, index: VectorIndex) -> None:
        stored, vectors = products(240), unit_vectors(240)
        index.upsert(stored, vectors)
        position = {product.product_id: row for row, product in enumerate(stored)}

        for (name, where), query in product_of(FILTERS.items(), unit_vectors(4, seed=1)):
            found = index.nearest(query, limit=10, where=where)

            allowed = [row for row, product in enumerate(stored) if meets(product, where)]
            expected = cosines(vectors, query)
            best = sorted(expected[allowed], reverse=True)[:10]
            rows = [position[neighbour.product.product_id] for neighbour in found]
            similarities = [neighbour.similarity for neighbour in found]
            assert set(rows) <= set(allowed), name
            assert len(set(rows)) == len(rows) == min(10, len(allowed)), name
            assert similarities == pytest.approx(expected[rows], abs=1e-3), name
            assert similarities == sorted(similarities, reverse=True), name
            assert similarities == pytest.approx(best, abs=1e-3), name

    def test_more_may_be_asked_for_than_there_is(self, index: VectorIndex) -> None:
        index.upsert(products(30), unit_vectors(30))
        assert len(index.nearest(unit_vectors(1)[0], limit=2000)) == 30
        assert index.nearest(unit_vectors(1)[0], limit=0) == []

    def test_upsert_replaces(self, index: VectorIndex) -> None:
        index.upsert(products(20), unit_vectors(20))
        newer, vectors = products(10, version="2"), unit_vectors(10, seed=2)
        index.upsert(newer, vectors)

        fingerprints = index.fingerprints()
        assert len(fingerprints) == 20
        assert sorted(f for f in fingerprints.values() if f.startswith("2")) == sorted(p.fingerprint for p in newer)
        assert stored_vectors(index)[newer[3].product_id].tobytes() == vectors[3].tobytes()
        assert index.nearest(vectors[3], limit=1)[0].product == newer[3]

    def test_upsert_forgets_what_the_newer_product_lacks(self, index: VectorIndex) -> None:
        (vector,) = unit_vectors(1)
        full = IndexedProduct(
            product_id="a:1", fingerprint="1", source="a", title="t", brand="B", price=Decimal(1), currency="EUR"
        )
        bare = IndexedProduct(product_id="a:1", fingerprint="2", source="a", title="t")
        index.upsert([full], vector[np.newaxis])
        index.upsert([bare], vector[np.newaxis])

        assert index.nearest(vector, limit=1)[0].product == bare
        assert index.nearest(vector, limit=1, where=SearchFilter(brand="B")) == []
        assert index.nearest(vector, limit=1, where=SearchFilter(min_price=Decimal(0))) == []

    def test_the_same_again_changes_nothing(self, index: VectorIndex) -> None:
        for _ in range(2):
            index.upsert(products(20), unit_vectors(20))
        assert len(index.fingerprints()) == 20
        assert len(index.nearest(unit_vectors(1)[0], limit=50)) == 20

    def test_delete_removes_and_ignores_the_unknown(self, index: VectorIndex) -> None:
        stored, vectors = products(20), unit_vectors(20)
        index.upsert(stored, vectors)
        gone = [product.product_id for product in stored[:5]]
        for _ in range(2):
            index.delete([*gone, "abt:unknown"])

        assert index.fingerprints().keys() == {p.product_id for p in stored[5:]}
        assert not stored_vectors(index).keys() & set(gone)
        assert not {n.product.product_id for n in index.nearest(vectors[0], limit=20)} & set(gone)

    def test_a_large_batch(self, index: VectorIndex) -> None:
        stored, vectors = products(1200), unit_vectors(1200)
        index.upsert(stored, vectors)
        assert len(index.fingerprints()) == 1200
        assert len(stored_vectors(index)) == 1200
        index.delete([p.product_id for p in stored[100:]])
        assert index.fingerprints().keys() == {p.product_id for p in stored[:100]}

    def test_rows_that_do_not_belong_together_are_refused(self, index: VectorIndex) -> None:
        stored, vectors = products(3), unit_vectors(3)
        with pytest.raises(ValueError, match=r"\(3, 384\)"):
            index.upsert(stored, vectors[:2])
        with pytest.raises(ValueError, match="float16"):
            index.upsert(stored, vectors.astype(np.float32))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="more than once"):
            index.upsert([stored[0], stored[0], stored[1]], vectors)
        assert index.fingerprints() == {}


@pytest.mark.stack
class TestPgVector:
    def test_a_rare_filter_loses_no_hit(self, pgvector: PgVectorIndex, warehouse_url: str) -> None:
        """The graph's scan may visit few rows, and the hits are rare and far away: the plain search takes over."""
        stored, vectors = products(1500), unit_vectors(1500)
        query = vectors[0]
        far = {stored[row].product_id for row in np.argsort(cosines(vectors, query))[:7]}
        pgvector.upsert(
            [replace(product, source="rare") if product.product_id in far else product for product in stored], vectors
        )
        through_the_graph = f"{warehouse_url}?options=-c%20enable_seqscan%3Doff"
        warehouse = Warehouse(through_the_graph)
        with warehouse.transaction() as transaction:
            plan = transaction.connection.exec_driver_sql(
                "EXPLAIN SELECT product_id FROM catalog.product_vectors "
                f"ORDER BY vector <=> '{query.tolist()}'::halfvec LIMIT 10"
            ).all()
        warehouse.close()
        assert "product_vectors_nearest" in str(plan)

        hasty = PgVectorIndex(through_the_graph, rules=PgVectorRules(ef_search=10, max_scan_tuples=50))
        found = hasty.nearest(query, limit=5, where=SearchFilter(source="rare"))
        hasty.close()

        assert len(found) == 5
        assert {neighbour.product.product_id for neighbour in found} <= far

    def test_a_bulk_write_leaves_the_graph_as_it_was(self, pgvector: PgVectorIndex, warehouse_url: str) -> None:
        warehouse = Warehouse(warehouse_url)

        def graph() -> str:
            with warehouse.transaction() as transaction:
                return str(transaction.scalar("SELECT pg_get_indexdef('catalog.product_vectors_nearest'::regclass)"))

        before = graph()
        bulk = PgVectorIndex(warehouse_url, rules=PgVectorRules(build_from=10))
        bulk.upsert(products(20), unit_vectors(20))
        bulk.upsert(products(30, version="2"), unit_vectors(30))
        bulk.close()
        assert len(pgvector.fingerprints()) == 30
        assert graph() == before
        warehouse.close()

    def test_an_upsert_is_all_or_nothing(self, pgvector: PgVectorIndex) -> None:
        stored = products(5)
        stored[4] = replace(stored[4], source="nul\x00")
        with pytest.raises(Exception, match=r"0x00|NUL"):
            pgvector.upsert(stored, unit_vectors(5))
        assert pgvector.fingerprints() == {}


def test_a_server_that_cannot_be_reached_is_named() -> None:
    index = QdrantServerIndex("http://127.0.0.1:9", rules=QdrantServerRules(patience=Patience(tries=2)))
    with pytest.raises(IndexUnavailable, match=r"127\.0\.0\.1:9"):
        index.fingerprints()


class MortalQdrant:
    """Qdrant's stand-in in memory, whose server dies after some requests and comes back with what it had taken."""

    def __init__(self) -> None:
        self._client = QdrantClient(":memory:")
        self.requests_left = math.inf
        #: The stand-in keeps none.
        self.payload_indexes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            if not self.requests_left:
                raise ResponseHandlingException(ConnectionError("nobody listens there any more"))
            self.requests_left -= 1
            answer = getattr(self._client, name)(*args, **kwargs)
            if name == "create_payload_index":
                self.payload_indexes.append(args[1])
            if name == "get_collection":
                answer.payload_schema = dict.fromkeys(self.payload_indexes)
            return answer

        return ask


@pytest.mark.laws
def test_a_qdrant_server_may_die_before_any_request() -> None:
    """What a run could not write the next one does; the server itself cannot be run here, so its stand-in dies."""
    vectors = unit_vectors(20)
    before = WantedIndex(tuple(products(16)), vectors[:16])
    after = WantedIndex(
        tuple(products(10, version="2") + products(20)[14:]), np.concatenate([vectors[:10], vectors[14:]])
    )
    rules = QdrantServerRules(write_points=3, page_points=5, patience=Patience(tries=1))
    for requests in count():
        server = MortalQdrant()
        index = QdrantServerIndex("in memory", rules=rules, client=cast(QdrantClient, server))
        server.requests_left = requests
        died = False
        try:
            sync(index, before)
            sync(index, after)
        except IndexUnavailable:
            died = True
        server.requests_left = math.inf
        sync(index, after)
        assert sorted(server.payload_indexes) == ["brand_key", "price", "source"], f"died after {requests} requests"
        assert index.fingerprints() == {product.product_id: product.fingerprint for product in after.products}
        held = {p.product_id: v.tobytes() for found, rows in index.contents() for p, v in zip(found, rows, strict=True)}
        wanted = {p.product_id: v.tobytes() for p, v in zip(after.products, after.vectors, strict=True)}
        assert held == wanted, f"the server died after {requests} requests"
        if not died:
            break
    assert requests > 20


class TestQdrantEmbedded:
    def test_it_lasts(self, tmp_path: Path) -> None:
        stored, vectors = products(50), unit_vectors(50)
        QdrantEmbeddedIndex(tmp_path / "qdrant").upsert(stored, vectors)

        reopened = QdrantEmbeddedIndex(tmp_path / "qdrant")

        assert reopened.fingerprints() == {p.product_id: p.fingerprint for p in stored}
        assert reopened.nearest(vectors[7], limit=1)[0].product == stored[7]

    def test_two_may_share_a_folder_in_turn(self, tmp_path: Path) -> None:
        one, other = QdrantEmbeddedIndex(tmp_path / "qdrant"), QdrantEmbeddedIndex(tmp_path / "qdrant")
        stored, vectors = products(4), unit_vectors(4)
        one.upsert(stored[:2], vectors[:2])
        other.upsert(stored[2:], vectors[2:])
        assert len(one.fingerprints()) == len(other.fingerprints()) == 4

    def test_a_folder_that_is_held_is_refused_by_name_after_a_while(self, tmp_path: Path) -> None:
        one = QdrantEmbeddedIndex(tmp_path / "qdrant")
        other = QdrantEmbeddedIndex(tmp_path / "qdrant", rules=QdrantEmbeddedRules(patience_seconds=0.1))
        with one.held():
            one.upsert(products(1), unit_vectors(1))
            with pytest.raises(IndexUnavailable, match="held by another process"):
                other.fingerprints()
        assert len(other.fingerprints()) == 1

    def test_an_error_inside_lets_go_of_the_folder(self, tmp_path: Path) -> None:
        index = QdrantEmbeddedIndex(tmp_path / "qdrant")
        with pytest.raises(ZeroDivisionError), index.held():
            _ = 1 / 0
        assert QdrantEmbeddedIndex(tmp_path / "qdrant").fingerprints() == {}

    def test_an_unreadable_folder_is_named(self, tmp_path: Path) -> None:
        folder = tmp_path / "qdrant"
        folder.mkdir()
        (folder / "edge_config.json").write_text("{")
        with pytest.raises(IndexRejected, match="cannot be opened"):
            QdrantEmbeddedIndex(folder).fingerprints()

    def test_a_draft_left_by_a_killed_process_is_no_hindrance(self, tmp_path: Path) -> None:
        (tmp_path / "qdrant.new").mkdir()
        (tmp_path / "qdrant.new" / "junk").write_text("x")
        (tmp_path / "qdrant").mkdir()
        assert QdrantEmbeddedIndex(tmp_path / "qdrant").fingerprints() == {}

    @pytest.mark.laws
    @pytest.mark.parametrize("moment", MOMENTS)
    def test_a_killed_process_leaves_a_readable_index(self, tmp_path: Path, moment: str) -> None:
        """SIGKILL, three times on the same folder; what was acknowledged is there, and the work can be finished."""
        stored, vectors = rows()
        for _ in range(3):
            ended = subprocess.run(
                [sys.executable, killed_writer.__file__, str(tmp_path / "qdrant"), moment],
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == -signal.SIGKILL, ended.stderr
            found = QdrantEmbeddedIndex(tmp_path / "qdrant").fingerprints()
            if moment != "before the first write":
                assert found.keys() >= {p.product_id for p in stored[:ACKNOWLEDGED]}

        index = QdrantEmbeddedIndex(tmp_path / "qdrant")
        index.upsert(stored, vectors)
        assert index.fingerprints() == {p.product_id: p.fingerprint for p in stored}
        found_vectors = stored_vectors(index)
        for product, vector in zip(stored, vectors, strict=True):
            assert found_vectors[product.product_id].tobytes() == vector.tobytes()


def test_a_point_becomes_the_product_it_was_made_from() -> None:
    for product in products(12):
        assert from_payload(to_payload(product)) == product
        assert from_point(point_id(product.product_id), to_payload(product)) == product
    assert point_id("abt:1") == point_id("abt:1") != point_id("abt:2")


@pytest.mark.parametrize(
    "change",
    [{"brand_key": "other"}, {"price": 1.0}, {"exact_price": "x"}, {"brand": 5}, {"title": None}, {"more": 1}],
    ids=str,
)
def test_an_altered_point_is_its_products_and_shows_no_fingerprint(change: dict[str, object]) -> None:
    product = products(1)[0]
    found = from_point(point_id(product.product_id), to_payload(product) | change)
    assert (found.product_id, found.fingerprint) == (product.product_id, "")


@pytest.mark.parametrize("point", [7, uuid4(), point_id("abt:2")], ids=["a number", "another", "another product's"])
@pytest.mark.parametrize(
    "payload", [{}, {"product_id": 1}, {"product_id": "foreign point x"}, to_payload(products(1)[0])]
)
def test_a_foreign_point_has_a_key_that_leads_back_to_it(point: UUID | int, payload: dict[str, object]) -> None:
    key = key_of(point, payload)
    assert point_id(key) == point
    assert from_point(point, payload).product_id == key
    assert key not in (payload.get("product_id"), "abt:2")


def test_point_ids_never_change() -> None:
    assert str(point_id("abt:1")) == "6a92967f-ee23-58d3-88cb-877d920a341f"
