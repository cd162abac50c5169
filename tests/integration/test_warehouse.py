"""The warehouse on a real PostgreSQL: tables keep their contracts, values come back as they went in."""

import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import psycopg
import pyarrow as pa
import pytest
import sqlalchemy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assets.clusters.schema import CLUSTER_EVENTS, PRODUCT_CLUSTERS, SCORED_PAIRS
from assets.contract import Column, TableContract
from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from assets.listings.schema import RAW_LISTINGS
from assets.products.schema import CLEANED_PRODUCTS
from assets.summaries.schema import CLUSTER_SUMMARIES, GOLDEN_RECORDS
from orchestration.settings import Endpoints
from resources import arrow_copy
from resources.patience import Patience
from resources.warehouse import (
    Warehouse,
    WarehouseError,
    WarehouseRejected,
    WarehouseRules,
    WarehouseUnavailable,
    _translated,
)

pytestmark = pytest.mark.stack

#: Where the catalogue keeps each contract's columns: contract -> table -> columns there (None: all).
KEPT_IN: list[tuple[TableContract, str, dict[str, str] | None]] = [
    (RAW_LISTINGS, "listings", None),
    (CLEANED_PRODUCTS, "products", None),
    (PRODUCT_EMBEDDINGS, "embeddings", {name: name for name in ("text_hash", "model_version", "vector")}),
    (PRODUCT_EMBEDDINGS, "product_vectors", {"product_id": "product_id", "vector": "vector"}),
    (SCORED_PAIRS, "scored_pairs", None),
    (PRODUCT_CLUSTERS, "cluster_members", {name: name for name in ("product_id", "cluster_id", "confidence")}),
    (PRODUCT_CLUSTERS, "clusters", {"cluster_size": "size", "weakest_link": "weakest_link"}),
    (CLUSTER_EVENTS, "cluster_events", None),
    (GOLDEN_RECORDS, "golden_records", None),
    (CLUSTER_SUMMARIES, "cluster_summaries", None),
]


@pytest.fixture(scope="module")
def url(stack: Endpoints) -> Iterator[str]:
    """A database of this module's own, so that it can be migrated back and forth."""
    server = sqlalchemy.create_engine(stack.database_url, isolation_level="AUTOCOMMIT")
    name = f"warehouse_{uuid.uuid4().hex[:8]}"
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield server.url.set(database=name).render_as_string(hide_password=False)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


@pytest.fixture(scope="module")
def warehouse(url: str) -> Iterator[Warehouse]:
    warehouse = Warehouse(url)
    warehouse.migrate()
    yield warehouse
    warehouse.close()


# -- migrations -------------------------------------------------------------------------------------------------


def test_migrations_go_up_down_and_up_again(warehouse: Warehouse) -> None:
    count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'catalog'"
    with warehouse.transaction() as transaction:
        tables = transaction.scalar(count)
    assert warehouse.revision() == "0008"

    warehouse.downgrade("base")
    assert warehouse.revision() is None
    with warehouse.transaction() as transaction:
        assert transaction.scalar(count) == 1  # Alembic's own

    warehouse.migrate()
    warehouse.migrate()
    assert warehouse.revision() == "0008"
    with warehouse.transaction() as transaction:
        assert transaction.scalar(count) == tables


def test_processes_that_start_at_once_migrate_once(warehouse: Warehouse, url: str) -> None:
    warehouse.downgrade("base")
    starting = [Warehouse(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Warehouse.migrate, starting))
    assert {each.revision() for each in starting} == {"0008"}
    for each in starting:
        each.close()


def test_every_column_of_every_contract_has_its_place(warehouse: Warehouse) -> None:
    found = warehouse.read("""
        SELECT c.relname::text AS table, a.attname::text AS column,
               format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'catalog'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
    """)
    columns = {(row["table"], row["column"]): (row["type"], row["required"]) for row in found.to_pylist()}

    def expected(column: Column) -> tuple[str, bool]:
        kind = arrow_copy.postgres_type(pa.field(column.name, column.type))
        return "jsonb" if column.json else kind, not column.nullable

    for contract, table, names in KEPT_IN:
        for column in contract:
            if names is None or column.name in names:
                place = (table, column.name if names is None else names[column.name])
                assert place in columns, f"{contract.name}.{column.name} has no place"
                assert columns[place] == expected(column), f"{contract.name}.{column.name} in {place}"


def test_every_contract_is_kept_somewhere_whole() -> None:
    for contract in {contract.name: contract for contract, _, _ in KEPT_IN}.values():
        kept: set[str] = set()
        for other, _, names in KEPT_IN:
            if other.name == contract.name:
                kept |= set(contract.names if names is None else names)
        assert kept == set(contract.names)


def test_every_table_and_column_says_what_it_is(warehouse: Warehouse) -> None:
    silent = warehouse.read("""
        SELECT c.relname || coalesce('.' || a.attname, '') AS place
        FROM pg_class c
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'catalog'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
          AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)
    """)
    assert silent.column("place").to_pylist() == []


BATCH = """INSERT INTO catalog.batches (batch_key, source, feed_path, object_key, etag, mode, contract, contract_digest,
    delivered_at, rows_read, rows_accepted, rows_rejected, rows_repeated)
    VALUES (:key, 's', 'f', 'o', 'e', 'delta', '{}', 'd', now(), :read, :accepted, 1, 1)"""


def test_a_batch_that_loses_rows_cannot_be_written(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="nothing_is_lost"), warehouse.transaction() as transaction:
        transaction.execute(BATCH, key="b", read=10, accepted=7)


def test_a_listing_has_one_present_state(warehouse: Warehouse) -> None:
    state = """INSERT INTO catalog.listing_history
        (source, listing_id, batch_key, change, valid_from, row_digest, title, record)
        VALUES ('s', '1', 'b', 'added', now(), 'd', 't', '{}')"""
    with pytest.raises(WarehouseError, match="listing_history_open"), warehouse.transaction() as transaction:
        transaction.execute(BATCH, key="b", read=9, accepted=7)
        transaction.execute(state)
        transaction.execute(state)


# -- values come back as they went in ---------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NASTY = st.sampled_from(["", '"', '""', "\\", "\\.", "\\N", "\n", "\r\n", ",", "{}", '{"a"}', "NULL", "null", " "])
WORDS = TEXT | NASTY
MOMENTS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)
VALUES: dict[pa.DataType, st.SearchStrategy[object]] = {
    pa.string(): WORDS,
    pa.bool_(): st.booleans(),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float16(): HALVES.map(np.float16),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.date32(): st.dates(),
    pa.timestamp("us", tz="UTC"): MOMENTS.map(lambda moment: moment.replace(tzinfo=dt.UTC)),
    pa.timestamp("us"): MOMENTS,
    pa.list_(pa.string()): st.lists(st.none() | WORDS, max_size=4),
    pa.list_(pa.int64()): st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4),
    pa.list_(pa.bool_()): st.lists(st.none() | st.booleans(), max_size=4),
    pa.list_(pa.float16(), 3): st.lists(HALVES.map(np.float16), min_size=3, max_size=3),
    pa.list_(pa.float32(), 2): st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2
    ),
    **{
        pa.decimal128(precision, scale): st.integers(-(10**precision) + 1, 10**precision - 1).map(
            lambda unscaled, scale=scale: Decimal(unscaled).scaleb(-scale)
        )
        for precision, scale in ((18, 4), (18, 0), (18, 18), (5, 2), (9, 7))
    },
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=5))
    rows = draw(st.integers(0, 6))
    columns = [pa.array(draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)), kind) for kind in kinds]
    names = draw(
        st.lists(
            WORDS.filter(lambda name: 0 < len(name.encode()) < 60),
            min_size=len(kinds),
            max_size=len(kinds),
            unique=True,
        )
    )
    return pa.table(columns, names=names)


@settings(max_examples=150, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), piece=st.sampled_from([1, 40, 1 << 20]))
@example(table=pa.table({"only": pa.array([None, "", None])}), piece=1)
@example(table=pa.table({"%(x)s :x": pa.array(["100%", ":x", "%s"])}), piece=1 << 20)
def test_tables_come_back_as_they_went_in(warehouse: Warehouse, table: pa.Table, piece: int) -> None:
    small = Warehouse(warehouse.url, WarehouseRules(piece_bytes=piece))
    small._engines.update(warehouse._engines)  # the same pool
    with small.transaction() as transaction:
        assert transaction.stage("thing", table) == table.num_rows
        back = transaction.query("SELECT * FROM thing", table.schema)
    assert back.schema.equals(table.schema)
    assert back.equals(table)


def test_a_numbers_bits_survive(warehouse: Warehouse) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][: 63_488 // 384 * 384]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(halves), 384)
    table = pa.table({"position": pa.array(range(len(vectors)), pa.int32()), "vector": vectors})
    with warehouse.transaction() as transaction:
        transaction.stage("vectors", table)
        back = transaction.query("SELECT * FROM vectors ORDER BY position", table.schema)
        stored = transaction.scalar("SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
                                    "WHERE attrelid = 'vectors'::regclass AND attname = 'vector'")  # fmt: skip
    assert stored == "halfvec(384)"
    got = back.column("vector").combine_chunks().flatten().to_numpy()
    assert np.array_equal(got.view(np.uint16), halves.view(np.uint16))


# -- staging ----------------------------------------------------------------------------------------------------


def test_what_is_staged_lives_as_long_as_its_transaction(warehouse: Warehouse) -> None:
    with warehouse.transaction() as transaction:
        transaction.stage("passing", pa.table({"a": [1, 2]}), key=["a"])
        assert transaction.scalar("SELECT count(*) FROM passing") == 2
    with pytest.raises(WarehouseError, match="passing"):
        warehouse.read("SELECT * FROM passing")


def test_rows_may_come_as_a_stream(warehouse: Warehouse) -> None:
    schema = pa.schema([pa.field("b", pa.int64(), nullable=False), ("a", pa.string())])
    batches = pa.table({"a": ["x", "y", None], "b": [1, 2, 3], "left_out": [0, 0, 0]}).to_batches(max_chunksize=2)
    with warehouse.transaction() as transaction:
        assert transaction.stage("streamed", iter(batches), schema=schema) == 3
        assert transaction.stage("read", pa.RecordBatchReader.from_batches(batches[0].schema, batches)) == 3
        back = transaction.query("SELECT * FROM streamed ORDER BY b DESC")
    assert back.to_pylist() == [{"b": 3, "a": None}, {"b": 2, "a": "y"}, {"b": 1, "a": "x"}]


@pytest.mark.parametrize(
    ("table", "schema", "words"),
    [
        (pa.table({"name": ["a", "b", "x\0y"]}), None, "table 'broken': column 'name', row 3: the character NUL"),
        (pa.table({"names": [["a"], ["x\0y"]]}), None, "column 'names', row 2: the character NUL"),
        (pa.table({"a": [1]}), pa.schema([("b", pa.int64())]), "column 'b' is missing"),
        (pa.table({"a": ["z"]}), pa.schema([("a", pa.int64())]), "column 'a' does not fit int64"),
        (pa.table({"a": [b"z"]}), None, "column 'a'.*binary"),
        (pa.table({"a": [1, None]}), pa.schema([pa.field("a", pa.int64(), nullable=False)]), "null value in column"),
        (pa.table({"v": pa.array([[1.0, None]], pa.list_(pa.float16(), 2))}), None, "column 'v'.*null"),
        (pa.table({"v": pa.array([[1.0, float("nan")]], pa.list_(pa.float16(), 2))}), None, "column v"),
        (pa.table({"p": pa.array([Decimal(1)], pa.decimal128(38, 2))}), None, "column 'p'"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_named(
    warehouse: Warehouse, table: pa.Table, schema: pa.Schema | None, words: str
) -> None:
    with pytest.raises(WarehouseError, match=words) as raised, warehouse.transaction() as transaction:
        transaction.stage("broken", table, schema=schema)
    assert "broken" in str(raised.value)
    assert not isinstance(raised.value, WarehouseUnavailable)


def test_nothing_remains_of_a_transaction_that_raises(warehouse: Warehouse) -> None:
    with pytest.raises(ZeroDivisionError), warehouse.transaction() as transaction:
        transaction.execute("CREATE TABLE catalog.half_done (a int)")
        raise ZeroDivisionError
    with pytest.raises(WarehouseError, match="half_done"):
        warehouse.read("SELECT * FROM catalog.half_done")


# -- queries ----------------------------------------------------------------------------------------------------


def test_parameters_are_values_and_never_sql(warehouse: Warehouse) -> None:
    hostile = "'; DROP TABLE catalog.products; -- 100% :other"
    with warehouse.transaction() as transaction:
        row = transaction.query(
            "SELECT :text AS text, :json::jsonb ->> 'a' AS found, 5 % 3 AS rest, '12:30'::time::text AS noon, "
            ":moment AS moment, 'x' = ANY(:names) AS named, (ARRAY[1, 2, 3])[1:2] AS part, :nothing::text AS nothing",
            text=hostile,
            json='{"a": ":text"}',
            moment=dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
            names=["x", "y"],
            nothing=None,
        ).to_pylist()
        assert transaction.scalar("SELECT :text || '%'", text=hostile) == hostile + "%"
        assert transaction.scalar("SELECT '%s'") == "%s"
    assert row == [
        {
            "text": hostile,
            "found": ":text",
            "rest": 2,
            "noon": "12:30:00",
            "moment": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
            "named": True,
            "part": [1, 2],
            "nothing": None,
        }
    ]


def test_a_statement_that_returns_what_it_changed_runs_once(warehouse: Warehouse) -> None:
    with warehouse.transaction() as transaction:
        transaction.stage("counted", pa.table({"a": [1, 2, 3]}))
        changed = transaction.query("UPDATE counted SET a = a + :by WHERE a > 1 RETURNING a", by=10)
        assert sorted(changed.column("a").to_pylist()) == [12, 13]
        assert transaction.scalar("SELECT sum(a)::int FROM counted") == 26
        assert transaction.execute("DELETE FROM counted WHERE a > :least", least=11) == 2


def test_a_result_keeps_its_order_and_comes_piece_by_piece(warehouse: Warehouse) -> None:
    small = Warehouse(warehouse.url, WarehouseRules(piece_bytes=1000, pool_size=1))
    schema = pa.schema([("n", pa.int32())])
    pieces = list(small.read_batches("SELECT n FROM generate_series(1, 5000) n ORDER BY -n", schema))
    assert len(pieces) > 10
    assert pa.Table.from_batches(pieces).column("n").to_pylist() == list(range(5000, 0, -1))

    some = small.read_batches("SELECT n FROM generate_series(1, 100000) n", schema)
    next(some)
    some.close()  # a reader that has seen enough leaves the connection usable
    assert small.read("SELECT 1 AS n", schema).num_rows == 1
    small.close()


@pytest.mark.parametrize(
    ("sql", "schema", "words"),
    [
        ("SELECT * FROM catalog.nowhere", None, "nowhere"),
        ("SELECT 1 AS a", pa.schema([("b", pa.int32())]), '"b"'),
        ("SELECT 'x' AS a", pa.schema([("a", pa.int32())]), "column 'a'.*'x'"),
        ("SELECT 1.5::numeric AS a", None, "column 'a' of type numeric"),
        ("SELECT '[1,2]'::halfvec AS v", pa.schema([("v", pa.list_(pa.float16(), 3))]), "column 'v'.*3 components"),
        ("SELECT 1 / 0 AS a", pa.schema([("a", pa.int32())]), "division by zero"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_read_says_why(
    warehouse: Warehouse, sql: str, schema: pa.Schema | None, words: str
) -> None:
    with pytest.raises(WarehouseError, match=words):
        warehouse.read(sql, schema)


# -- trouble ----------------------------------------------------------------------------------------------------


def test_the_passing_and_the_lasting_are_told_apart(url: str) -> None:
    impatient = WarehouseRules(patience=Patience(tries=2))
    address = sqlalchemy.make_url(url)
    nobody_there = address.set(port=1).render_as_string(hide_password=False)
    with pytest.raises(WarehouseUnavailable, match="refused"):
        Warehouse(nobody_there, impatient).revision()
    for wrong in (address.set(password="wrong"), address.set(database="nowhere")):
        with pytest.raises(WarehouseError) as raised:
            Warehouse(wrong.render_as_string(hide_password=False), impatient).revision()
        assert not isinstance(raised.value, WarehouseUnavailable)
    assert "wrong" not in repr(Warehouse(url.replace("://", "://wrong")))


def test_a_lost_connection_is_passing_and_leaves_no_trace(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseUnavailable), warehouse.transaction() as transaction:
        transaction.execute("CREATE TABLE catalog.lost (a int)")
        victim = transaction.scalar("SELECT pg_backend_pid()")
        with warehouse.transaction() as other:
            other.execute("SELECT pg_terminate_backend(:victim)", victim=victim)
        transaction.stage("rows", pa.table({"a": ["x" * 1000] * 1000}))
    with warehouse.transaction() as transaction:
        assert transaction.scalar("SELECT to_regclass('catalog.lost')") is None


def test_a_server_that_says_why_it_goes_away_is_no_refusal() -> None:
    """The words arrive with or without a code, as the network has it."""
    words = "sending copy data failed: FATAL:  terminating connection due to administrator command"
    with pytest.raises(WarehouseUnavailable, match=r"table 'a': .*terminating"), _translated("table 'a'"):
        raise psycopg.OperationalError(words)
    refused = 'connection failed: FATAL:  role "nobody" is not permitted to log in'
    with pytest.raises(WarehouseRejected, match="not permitted"), _translated(connecting=True):
        raise psycopg.OperationalError(refused)


@pytest.mark.parametrize("ask", ["execute", "scalar", "query"])
def test_a_value_that_is_no_text_is_refused(warehouse: Warehouse, ask: str) -> None:
    with pytest.raises(WarehouseRejected, match="is no text in UTF-8"), warehouse.transaction() as transaction:
        getattr(transaction, ask)("SELECT :value::text AS value", value="b\udcff")


def test_a_mistake_of_the_caller_stays_one(warehouse: Warehouse) -> None:
    with pytest.raises(UnicodeDecodeError), warehouse.transaction():
        b"\xff".decode()


def test_a_lock_is_held_until_its_transaction_ends(warehouse: Warehouse) -> None:
    order: list[str] = []
    held = threading.Event()

    def second() -> None:
        held.wait(10)
        with warehouse.transaction() as transaction:
            transaction.lock("apply shop")
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    with warehouse.transaction() as transaction:
        transaction.lock("apply shop")
        held.set()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        for _ in range(1000):
            with warehouse.transaction() as other:
                if other.scalar(waits):
                    break
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
