"""All stores of one catalogue in real servers, damaged one at a time: what differs is named, and mended at once."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
import qdrant_edge as engine
import xxhash
from numpy.typing import NDArray
from word_embedder import WordEmbedder

from assets.agreement import NAMED
from assets.catalogue import upsert_columns
from assets.clusters.assets import cluster_events
from assets.clusters.schema import PRODUCT_CLUSTERS, SCORED_PAIRS
from assets.embeddings.assets import pgvector_index, product_embeddings, qdrant_index
from assets.embeddings.checks import CHECKS
from assets.embeddings.ports import HalfVectors, IndexedProduct, Neighbour, SearchFilter
from assets.embeddings.schema import DIMENSIONS, PRODUCT_EMBEDDINGS
from assets.presentation import asset_key
from assets.products.assets import current_products
from assets.products.schema import CURRENT_PRODUCTS
from assets.versions import table_digest
from benchmarks.matching import clean_feeds, read_feeds
from orchestration.jobs import CATALOGUE
from orchestration.stores import Comparison, NothingToCompare, NotRepairable, Stores
from resources.object_store import ObjectStore
from resources.parquet_io import URI, ParquetIOManager, uri_of
from resources.pgvector_index import PgVectorIndex
from resources.qdrant_embedded import QdrantEmbeddedIndex
from resources.qdrant_points import point_id
from resources.warehouse import Warehouse

pytestmark = [
    pytest.mark.stack,
    pytest.mark.laws,
    pytest.mark.filterwarnings("ignore:Parameter `data_version`:dagster.BetaWarning"),
]

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PRODUCTS = "PostgreSQL products"
EMBEDDINGS = "PostgreSQL embeddings"
MEMBERS = "PostgreSQL cluster_members"
AGREEMENT_CHECKS = [check for check in CHECKS if "agrees" in str(check.check_key) or "holds" in str(check.check_key)]


@dataclass
class Platform:
    """A small catalogue in every store, made by the stages themselves, with clusters by brand."""

    warehouse: Warehouse
    store: ObjectStore
    bucket: str
    folder: Path
    pgvector: PgVectorIndex
    qdrant: QdrantEmbeddedIndex
    instance: dg.DagsterInstance

    @property
    def stores(self) -> Stores:
        """The stores, knowing nothing yet of any artifact."""
        artifacts = ParquetIOManager(self.store, self.bucket)
        return Stores(self.instance, artifacts, self.warehouse, (self.pgvector, self.qdrant))

    def run(self, selection: Sequence[Any], clusters: Callable[[pa.Table], pa.Table] | None = None) -> None:
        """Materialise these assets; the matcher is a stand-in."""

        @dg.multi_asset(
            name="match",
            ins={"products": dg.AssetIn(key=asset_key(CURRENT_PRODUCTS))},
            outs={contract.name: dg.AssetOut(key=asset_key(contract)) for contract in (PRODUCT_CLUSTERS, SCORED_PAIRS)},
        )
        def match(products: pa.Table) -> Iterator[dg.Output[pa.Table]]:
            made = (clusters or by_brand)(products)
            yield dg.Output(made, "product_clusters", data_version=dg.DataVersion(table_digest(made)))
            yield dg.Output(SCORED_PAIRS.empty(), "scored_pairs")

        assets = [current_products, product_embeddings, pgvector_index, qdrant_index, match, cluster_events]
        done = dg.materialize(
            [*assets, *AGREEMENT_CHECKS],
            instance=self.instance,
            selection=dg.AssetSelection.assets(*(match if part == "match" else part for part in selection)),
            resources={
                "io_manager": ParquetIOManager(self.store, self.bucket),
                "catalogue": self.warehouse,
                "embedder": WordEmbedder(),
                "pgvector": self.pgvector,
                "qdrant": self.qdrant,
            },
        )
        assert done.success

    def execute(self, statement: str, **params: Any) -> None:
        with self.warehouse.transaction() as transaction:
            assert transaction.execute(statement, **params), "nothing was damaged"

    def add(self, products: pa.Table) -> None:
        """Put products into PostgreSQL, as a batch does."""
        with self.warehouse.transaction() as transaction:
            transaction.execute(
                "INSERT INTO catalog.batches (batch_key, source, feed_path, object_key, etag, mode, contract, "
                "contract_digest, delivered_at, state) VALUES ('b', 's', 'f', 'f', 'e', 'delta', '{}', 'd', now(), "
                "'applied') ON CONFLICT DO NOTHING"
            )
            transaction.stage("incoming", products, schema=CURRENT_PRODUCTS.arrow)
            columns = upsert_columns(CURRENT_PRODUCTS, "i")
            transaction.execute(
                "INSERT INTO catalog.products ({columns}, batch_key, first_seen_at, updated_at) "
                "SELECT {incoming}, 'b', now(), now() FROM incoming i".format(**columns)
            )

    def altered_point(self, *, at: Any, **payload: Any) -> None:
        """Write a point straight into Qdrant's engine."""
        with self.qdrant._opened() as shard:
            vector = WordEmbedder().embed(["anything"])[0].tolist()
            shard.update(engine.UpdateOperation.upsert_points([engine.Point(at, vector, payload)]))
            shard.flush()


def by_brand(products: pa.Table) -> pa.Table:
    brands = [
        brand or product
        for brand, product in zip(*(products.column(n).to_pylist() for n in ("brand", "product_id")), strict=True)
    ]
    ids = [f"c_{xxhash.xxh3_64_hexdigest(brand.casefold().encode())}" for brand in brands]
    sizes = [ids.count(cluster) for cluster in ids]
    return PRODUCT_CLUSTERS.conform(
        pa.table(
            {
                "product_id": products.column("product_id"), "cluster_id": ids, "cluster_size": sizes,
                "confidence": [1.0] * len(ids), "weakest_link": [1.0] * len(ids),
            }
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Some products of the samples, and three more that no run has seen."""
    products = clean_feeds(read_feeds(SAMPLES, tmp_path_factory.mktemp("samples")))
    return CURRENT_PRODUCTS.conform(products.sort_by("text_hash").slice(0, 123))


@pytest.fixture(scope="module")
def made(
    new_warehouse: Callable[[str], AbstractContextManager[Warehouse]],
    new_bucket: Callable[[str], str],
    store: ObjectStore,
    cleaned: pa.Table,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("stores") / "qdrant"
    with new_warehouse("stores") as warehouse, dg.DagsterInstance.ephemeral() as instance:
        pgvector = PgVectorIndex(warehouse.url)
        platform = Platform(
            warehouse, store, new_bucket("stores"), folder, pgvector, QdrantEmbeddedIndex(folder), instance
        )
        platform.add(cleaned.slice(3))
        platform.run([current_products, product_embeddings, pgvector_index, qdrant_index, "match", cluster_events])
        yield platform
        pgvector.close()


@pytest.fixture
def platform(made: Platform) -> Iterator[Platform]:
    """The platform, sound before a test and mended after it."""
    assert_sound(made.stores.compare())
    yield made
    made.stores.repair(made.stores.compare())


def assert_sound(comparison: Comparison) -> None:
    assert [
        (agreement.store, agreement.description) for agreement in comparison.agreements if not agreement.agrees
    ] == []
    assert comparison.due_by_kind == {}


@pytest.fixture
def some(platform: Platform) -> list[str]:
    """The listings of the catalogue that have a text of their own, in order."""
    texts = platform.warehouse.read(
        "SELECT min(product_id) AS product_id FROM catalog.products WHERE delisted_at IS NULL "
        "GROUP BY text_hash HAVING count(*) = 1"
    )
    return sorted(texts.column("product_id").to_pylist())


def test_stores_that_were_made_together_agree(platform: Platform) -> None:
    found = platform.stores.compare()
    assert found.agrees
    assert [(agreement.store, agreement.holds) for agreement in found.agreements] == [
        (store, 120)
        for store in (
            "artifact current_products", "artifact product_embeddings", "artifact product_clusters", PRODUCTS,
            EMBEDDINGS, MEMBERS, "pgvector", "qdrant",
        )
    ]  # fmt: skip
    assert [agreement.recall for agreement in found.agreements][-2:] == [1.0, 1.0]


def lose_points(platform: Platform, some: list[str]) -> None:
    platform.qdrant.delete(some[:12])


def leave_a_point_stale(platform: Platform, some: list[str]) -> None:
    stale = IndexedProduct(product_id=some[0], fingerprint="of last week", source="s", title="Kettle")
    platform.qdrant.upsert([stale], WordEmbedder().embed(["Kettle"]))


def slip_in_a_point_of_nobody(platform: Platform, some: list[str]) -> None:
    platform.altered_point(at=7, colour="red")


def slip_in_a_second_point(platform: Platform, some: list[str]) -> None:
    platform.altered_point(at=point_id("nobody:1"), product_id=some[0], fingerprint="f", source="s", title="t")


def slip_in_a_product(platform: Platform, some: list[str]) -> None:
    foreign = IndexedProduct(product_id="nobody:1", fingerprint="f", source="nobody", title="Kettle")
    for index in (platform.qdrant, platform.pgvector):
        index.upsert([foreign], WordEmbedder().embed(["Kettle"]))


def lose_rows(platform: Platform, some: list[str]) -> None:
    platform.execute("DELETE FROM catalog.product_vectors WHERE product_id = ANY(:ids)", ids=some[:2])


def alter_a_vector(platform: Platform, some: list[str]) -> None:
    platform.execute(
        "UPDATE catalog.product_vectors v SET vector = o.vector FROM catalog.product_vectors o "
        "WHERE v.product_id = :a AND o.product_id = :b",
        a=some[0],
        b=some[1],
    )


def alter_a_title(platform: Platform, some: list[str]) -> None:
    platform.execute("UPDATE catalog.product_vectors SET title = 'Kettle' WHERE product_id = :id", id=some[0])


def lose_a_text(platform: Platform, some: list[str]) -> None:
    platform.execute(
        "DELETE FROM catalog.embeddings "
        "WHERE text_hash = (SELECT text_hash FROM catalog.products WHERE product_id = :id)",
        id=some[0],
    )


def alter_a_text(platform: Platform, some: list[str]) -> None:
    platform.execute(
        "UPDATE catalog.embeddings SET vector = (SELECT vector FROM catalog.product_vectors WHERE product_id = :b) "
        "WHERE text_hash = (SELECT text_hash FROM catalog.products WHERE product_id = :a)",
        a=some[0],
        b=some[1],
    )


def move_a_member(platform: Platform, some: list[str]) -> None:
    platform.execute("UPDATE catalog.cluster_members SET cluster_id = 'c_0' WHERE product_id = :id", id=some[0])


def lose_and_invent_members(platform: Platform, some: list[str]) -> None:
    platform.execute("DELETE FROM catalog.cluster_members WHERE product_id = ANY(:ids)", ids=some[:11])
    platform.execute("INSERT INTO catalog.cluster_members VALUES ('nobody:1', 'c_0', 1)")


def alter_a_product(platform: Platform, some: list[str]) -> None:
    platform.execute(
        """UPDATE catalog.products SET price = 0.01, measures = '{"volume_l": 3}' WHERE product_id = :id""", id=some[0]
    )


#: Damage -> the stores that show it, each with the listings that differ: by their place among `some`, or by name.
DAMAGES: list[tuple[Callable[[Platform, list[str]], None], dict[str, dict[str, Any]]]] = [
    (lose_points, {"qdrant": {"missing": 12}}),
    (leave_a_point_stale, {"qdrant": {"altered": 1}}),
    (slip_in_a_point_of_nobody, {"qdrant": {"too many": ("foreign point 7",)}}),
    (slip_in_a_second_point, {"qdrant": {"too many": (f"foreign point {point_id('nobody:1')}",)}}),
    (slip_in_a_product, {"qdrant": {"too many": ("nobody:1",)}, "pgvector": {"too many": ("nobody:1",)}}),
    (lose_rows, {"pgvector": {"missing": 2}}),
    (alter_a_vector, {"pgvector": {"altered": 1}}),
    (alter_a_title, {"pgvector": {"altered": 1}}),
    (lose_a_text, {EMBEDDINGS: {"missing": 1}}),
    (alter_a_text, {EMBEDDINGS: {"altered": 1}}),
    (move_a_member, {MEMBERS: {"altered": 1}}),
    (lose_and_invent_members, {MEMBERS: {"missing": 11, "too many": ("nobody:1",)}}),
    (alter_a_product, {PRODUCTS: {"altered": 1}}),
]


@pytest.mark.parametrize(("damage", "expected"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_named_by_listing_and_mended(
    platform: Platform,
    some: list[str],
    damage: Callable[[Platform, list[str]], None],
    expected: dict[str, dict[str, Any]],
) -> None:
    damage(platform, some)
    found = platform.stores.compare()
    named = {
        store: {kind: tuple(some[:of]) if isinstance(of, int) else of for kind, of in kinds.items()}
        for store, kinds in expected.items()
    }
    assert {agreement.store: agreement.differing for agreement in found.agreements if agreement.differing} == named
    assert not found.agrees
    for agreement in found.agreements:
        for kind, listings in agreement.differing.items():
            assert f"{len(listings)} {kind} ({listings[0]}" in agreement.description

    assert set(platform.stores.repair(found)) == named.keys()
    assert_sound(platform.stores.compare())


def test_a_qdrant_that_is_gone_is_made_again(platform: Platform, some: list[str]) -> None:
    shutil.rmtree(platform.folder)
    [qdrant] = [agreement for agreement in platform.stores.compare().agreements if not agreement.agrees]
    assert (qdrant.store, qdrant.holds, qdrant.recall) == ("qdrant", 0, 0.0)
    assert len(qdrant.differing["missing"]) == 120
    platform.stores.repair(platform.stores.compare())
    assert_sound(platform.stores.compare())


def test_mending_one_store_leaves_the_others_alone(platform: Platform, some: list[str]) -> None:
    def written() -> list[Any]:
        tables = ("products", "embeddings", "cluster_members", "clusters", "cluster_events", "product_vectors")
        return [
            platform.warehouse.read(f"SELECT xmin::text AS at, t::text AS row FROM catalog.{table} t ORDER BY t::text")
            for table in tables
        ]

    before = written()
    lose_points(platform, some)
    platform.stores.repair(platform.stores.compare())
    assert written() == before
    move_a_member(platform, some)
    platform.stores.repair(platform.stores.compare())
    after = written()
    assert after[4] == before[4], "nothing happened to the clusters: there is no event"
    assert [now == then for now, then in zip(after, before, strict=True)].count(False) == 1, "one row of one table"


def test_a_store_that_cannot_be_reached_is_a_fault_of_its_own(platform: Platform) -> None:
    away = replace(platform, qdrant=QdrantEmbeddedIndex(platform.folder.parent / "broken"))
    (platform.folder.parent / "broken").mkdir()
    (platform.folder.parent / "broken" / "edge_config.json").write_text("{")
    [qdrant] = [agreement for agreement in away.stores.compare().agreements if not agreement.agrees]
    assert qdrant.store == "qdrant"
    assert "cannot be opened" in qdrant.description
    # By the time of the repair it answers again, and nothing that it holds is touched.
    answers = away.stores
    found = answers.compare()
    held = platform.qdrant.fingerprints()
    with pytest.raises(NotRepairable, match=r"qdrant: .* nothing is repaired before it can be compared"):
        replace(answers, indexes=(platform.pgvector, platform.qdrant)).repair(found)
    assert platform.qdrant.fingerprints() == held


def test_what_was_made_anew_since_the_comparison_is_left_alone(platform: Platform, some: list[str]) -> None:
    stores = platform.stores
    move_a_member(platform, some)
    found = stores.compare()
    assert [agreement.store for agreement in found.agreements if not agreement.agrees] == [MEMBERS]

    def renamed(products: pa.Table) -> pa.Table:
        clusters = by_brand(products)
        ids = [f"c_{name[:1:-1]}" for name in clusters.column("cluster_id").to_pylist()]
        place = clusters.column_names.index("cluster_id")
        return PRODUCT_CLUSTERS.conform(clusters.set_column(place, "cluster_id", pa.array(ids)))

    platform.run(["match", cluster_events], renamed)
    held = platform.warehouse.read("SELECT * FROM catalog.cluster_members ORDER BY product_id")
    with pytest.raises(NotRepairable, match="was made anew since"):
        stores.repair(found)
    assert platform.warehouse.read("SELECT * FROM catalog.cluster_members ORDER BY product_id") == held
    assert_sound(platform.stores.compare())
    platform.run(["match", cluster_events])


class ForgetfulIndex:
    """An index that holds everything and finds only what was written since it was emptied."""

    name = "qdrant"

    def __init__(self, index: QdrantEmbeddedIndex) -> None:
        self.index = index
        self.found: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.index, name)

    def upsert(self, products: Sequence[IndexedProduct], vectors: HalfVectors) -> None:
        self.index.upsert(products, vectors)
        self.found |= {product.product_id for product in products}

    def nearest(self, vector: NDArray[np.float16], *, limit: int, where: SearchFilter | None = None) -> list[Neighbour]:
        return [hit for hit in self.index.nearest(vector, limit=limit) if hit.product.product_id in self.found]


def test_an_index_that_does_not_find_what_it_holds_is_made_anew(platform: Platform) -> None:
    forgetful = replace(platform, qdrant=ForgetfulIndex(platform.qdrant))  # type: ignore[arg-type]
    found = forgetful.stores.compare()
    [qdrant] = [agreement for agreement in found.agreements if not agreement.agrees]
    assert (qdrant.recall, qdrant.differing) == (0.0, {})
    assert qdrant.description.startswith("finds 0.0% of the nearest listings, expected 90%")
    forgetful.stores.repair(found)
    assert_sound(forgetful.stores.compare())


# -- what is no fault -------------------------------------------------------------------------------------------


def test_what_batches_changed_since_the_last_run_is_due_and_no_fault(
    platform: Platform, cleaned: pa.Table, some: list[str]
) -> None:
    came = cleaned.slice(0, 3)
    platform.add(came)
    platform.execute("UPDATE catalog.products SET delisted_at = now() WHERE product_id = :id", id=some[0])
    platform.execute(
        "UPDATE catalog.products SET title = 'New', product_digest = repeat('0', 32) WHERE product_id = :id", id=some[1]
    )
    platform.execute("UPDATE catalog.products SET quality = 0.5 WHERE product_id = :id", id=some[2])
    found = platform.stores.compare()
    assert found.agrees
    assert found.due_by_kind == {
        "came": tuple(sorted(came.column("product_id").to_pylist())),
        "changed": tuple(some[1:3]),
        "left": (some[0],),
    }
    assert platform.stores.repair(found) == ()
    assert platform.stores.compare().due == found.due, "a repair takes nothing up"

    alter_a_product(platform, some[5:])
    mixed = platform.stores.compare()
    assert {agreement.store: agreement.differing for agreement in mixed.agreements if agreement.differing} == {
        PRODUCTS: {"altered": (some[5],)}
    }
    assert mixed.due == found.due
    platform.stores.repair(mixed)
    assert platform.stores.compare() == found

    platform.run([current_products, product_embeddings, pgvector_index, qdrant_index, "match", cluster_events])
    assert_sound(platform.stores.compare())


def test_a_run_that_ended_early_leaves_no_fault_behind(platform: Platform, some: list[str]) -> None:
    platform.execute(
        "UPDATE catalog.products SET title = title || '!', text_hash = :h WHERE product_id = :id",
        h="0" * 32,
        id=some[-1],
    )
    platform.run([current_products])
    found = platform.stores.compare()
    assert found.agrees
    assert found.due_by_kind == {"changed": (some[-1],)}
    platform.run([product_embeddings, pgvector_index, qdrant_index])
    assert_sound(platform.stores.compare())


def test_a_clustering_that_was_never_brought_in_is_not_what_postgresql_should_hold(platform: Platform) -> None:
    """Such as one that failed its blocking checks."""

    def all_in_one(products: pa.Table) -> pa.Table:
        return by_brand(
            products.set_column(products.column_names.index("brand"), "brand", pa.array(["x"] * len(products)))
        )

    platform.run(["match"], all_in_one)
    assert_sound(platform.stores.compare())
    platform.run([cluster_events])
    assert_sound(platform.stores.compare())
    members = platform.warehouse.read("SELECT count(DISTINCT cluster_id) AS clusters FROM catalog.cluster_members")
    assert members.to_pylist() == [{"clusters": 1}]


# -- what cannot be mended ---------------------------------------------------------------------------------------


def newest(platform: Platform, asset: dg.AssetKey) -> str:
    event = platform.instance.get_latest_materialization_event(asset)
    assert event is not None and event.asset_materialization is not None
    return str(event.asset_materialization.metadata[URI].value).removeprefix(f"s3://{platform.bucket}/")


def test_an_altered_artifact_is_noticed_and_nothing_is_mended_from_it(
    platform: Platform, tmp_path: Path, some: list[str]
) -> None:
    key = newest(platform, asset_key(PRODUCT_EMBEDDINGS))
    original = platform.store.get_bytes(platform.bucket, key)
    lose_rows(platform, some)
    table = ParquetIOManager(platform.store, platform.bucket)
    event = platform.instance.get_latest_materialization_event(asset_key(PRODUCT_EMBEDDINGS))
    assert event is not None and event.asset_materialization is not None
    held = table.read(uri_of(event.asset_materialization))
    place = held.column_names.index("vector")
    other = WordEmbedder().embed(["other"] * held.num_rows).reshape(-1)
    altered = held.set_column(place, "vector", pa.FixedSizeListArray.from_arrays(pa.array(other), DIMENSIONS))
    table._write(tmp_path / "altered.parquet", altered)
    platform.store.put_file(platform.bucket, key, tmp_path / "altered.parquet")
    try:
        found = platform.stores.compare()
        [artifact] = [agreement for agreement in found.agreements if agreement.store == "artifact product_embeddings"]
        assert artifact.description == "its content is not what was written"
        with pytest.raises(NotRepairable, match=r"artifact product_embeddings: .*offerline run --force"):
            platform.stores.repair(found)
        assert not platform.pgvector.fingerprints().keys() & set(some[:2]), "nothing was written"
    finally:
        platform.store.put_bytes(platform.bucket, key, original)


def test_nothing_is_mended_while_the_catalogue_is_being_made(platform: Platform, some: list[str]) -> None:
    lose_rows(platform, some)
    run = dg.DagsterRun(job_name=CATALOGUE.name, status=dg.DagsterRunStatus.STARTED)
    platform.instance.add_run(run)
    try:
        with pytest.raises(NotRepairable, match="being made just now"):
            platform.stores.repair(platform.stores.compare())
    finally:
        platform.instance.delete_run(run.run_id)
    assert not platform.pgvector.fingerprints().keys() & set(some[:2])


def test_without_a_catalogue_there_is_nothing_to_compare(platform: Platform) -> None:
    with dg.DagsterInstance.ephemeral() as empty, pytest.raises(NothingToCompare, match="offerline run"):
        replace(platform, instance=empty).stores.compare()


# -- in Dagster --------------------------------------------------------------------------------------------------


def verdicts(platform: Platform) -> dict[str, dg.AssetCheckEvaluation]:
    done = dg.materialize(
        [current_products, product_embeddings, pgvector_index, qdrant_index, *AGREEMENT_CHECKS],
        instance=platform.instance,
        selection=dg.AssetSelection.checks(*AGREEMENT_CHECKS),
        resources={
            "io_manager": ParquetIOManager(platform.store, platform.bucket),
            "catalogue": platform.warehouse,
            "embedder": WordEmbedder(),
            "pgvector": platform.pgvector,
            "qdrant": platform.qdrant,
        },
    )
    return {check.asset_key.path[-1]: check for check in done.get_asset_check_evaluations()}


def test_the_checks_in_dagster_name_what_differs(platform: Platform, some: list[str]) -> None:
    assert {name: check.passed for name, check in verdicts(platform).items()} == {
        "product_embeddings": True, "pgvector_index": True, "qdrant_index": True,
    }  # fmt: skip
    lose_points(platform, some)
    alter_a_vector(platform, some)
    lose_a_text(platform, some)
    found = verdicts(platform)
    assert not any(check.passed for check in found.values())
    assert {check.severity for check in found.values()} == {dg.AssetCheckSeverity.ERROR}
    assert found["qdrant_index"].metadata["missing"].value == some[:NAMED]
    assert found["pgvector_index"].metadata["altered"].value == some[:1]
    assert found["product_embeddings"].metadata["missing"].value == some[:1]


def test_a_comparison_is_plain_values_for_programs(platform: Platform, some: list[str]) -> None:
    lose_rows(platform, some)
    summary = platform.stores.compare().summary()
    assert summary["agrees"] is False
    [pgvector] = [store for store in summary["stores"] if not store["agrees"]]
    assert pgvector == {
        "store": "pgvector", "agrees": False, "holds": len(platform.pgvector.fingerprints()),
        "recall": pgvector["recall"], "fault": "",
        "differing": {"missing": tuple(some[:2])},
    }  # fmt: skip
