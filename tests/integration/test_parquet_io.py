"""The I/O manager in real runs on a real object store: the event commits, the object never changes."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from resources.object_store import ObjectStore, ObjectStoreDenied
from resources.parquet_io import ArtifactMissing, ParquetIOManager, ParquetRules, object_folder, regrouped

pytestmark = pytest.mark.stack

KEY = dg.AssetKey(["room", "numbers"])
INPUT = {"table": dg.AssetIn(KEY)}
BATCHES = dg.DynamicPartitionsDefinition(name="test_batches")


@pytest.fixture(scope="module")
def bucket(new_bucket: Callable[[str], str]) -> str:
    return new_bucket("io")


@pytest.fixture
def manager(store: ObjectStore, bucket: str) -> ParquetIOManager:
    return ParquetIOManager(store, bucket)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def numbers(*values: int) -> pa.Table:
    return pa.table({"n": pa.array(values, pa.int64())})


def producer(value: Any, **options: Any) -> dg.AssetsDefinition:
    """An asset that returns `value`, or what it gives when called with the run's context."""

    @dg.asset(key=KEY, **options)
    def produced(context: dg.AssetExecutionContext) -> Any:
        return value(context) if callable(value) else value

    return produced


class Reader:
    """A downstream asset that keeps what it read."""

    def __init__(self, annotation: Any = pa.Table, **options: Any) -> None:
        self.seen: list[Any] = []

        def read(context: dg.AssetExecutionContext, table: Any) -> None:
            self.seen.append(table)

        read.__annotations__["table"] = annotation
        self.asset = dg.asset(name="reader", ins=INPUT, **options)(read)

    @property
    def last(self) -> Any:
        return self.seen[-1]


def run(
    assets: list[Any], instance: dg.DagsterInstance, manager: dg.IOManager, **options: Any
) -> dg.ExecuteInProcessResult:
    options.setdefault("raise_on_error", False)
    return dg.materialize(assets, instance=instance, resources={"io_manager": manager}, **options)


def materialized(instance: dg.DagsterInstance, key: dg.AssetKey = KEY) -> dict[str, Any]:
    """Metadata of the last materialisation."""
    event = instance.get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    data = result.get_step_failure_events()[0].step_failure_data
    assert data.error is not None
    return str(data.error.cause or data.error)


def test_a_table_is_read_whole_or_lazily(instance: dg.DagsterInstance, manager: ParquetIOManager) -> None:
    whole, lazy, unsaid = Reader(), Reader(ds.Dataset), Reader(Any)
    for reader in (whole, lazy, unsaid):
        assert run([producer(numbers(1, 2, 3)), reader.asset], instance, manager).success
    assert whole.last.equals(numbers(1, 2, 3))
    assert unsaid.last.equals(numbers(1, 2, 3))
    assert isinstance(lazy.last, ds.Dataset)
    assert lazy.last.to_table(filter=ds.field("n") > 1).column("n").to_pylist() == [2, 3]


def test_a_table_is_read_piece_by_piece_as_it_was_written(
    instance: dg.DagsterInstance, store: ObjectStore, bucket: str
) -> None:
    manager = ParquetIOManager(store, bucket, ParquetRules(row_group_rows=2))
    table = numbers(*range(5)).append_column("text", pa.array(list("abcde")))
    assert run([producer(table)], instance, manager).success
    uri = materialized(instance)["dagster/uri"]
    pieces = list(manager.scan(uri))
    assert [piece.num_rows for piece in pieces] == [2, 2, 1]
    assert pa.Table.from_batches(pieces).equals(table)
    assert pa.Table.from_batches(manager.scan(uri, ["text"])).equals(table.select(["text"]))
    store.delete(bucket, uri.removeprefix(f"s3://{bucket}/"))
    with pytest.raises(ArtifactMissing, match="its object is gone"):
        next(manager.scan(uri))


def test_the_materialisation_says_what_was_written(
    instance: dg.DagsterInstance, manager: ParquetIOManager, store: ObjectStore, bucket: str
) -> None:
    result = run([producer(numbers(1, 2, 3))], instance, manager)
    said = materialized(instance)
    key = f"room/numbers/_/{result.run_id}.parquet"
    assert said == {
        "dagster/uri": f"s3://{bucket}/{key}",
        "dagster/row_count": 3,
        "size_bytes": store.stat(bucket, key).size,
    }


def test_streams_and_finished_files_are_taken_over(
    instance: dg.DagsterInstance, manager: ParquetIOManager, tmp_path: Path
) -> None:
    reader = Reader()
    stream = pa.RecordBatchReader.from_batches(numbers().schema, numbers(*range(10)).to_batches(max_chunksize=3))
    assert run([producer(stream), reader.asset], instance, manager).success
    assert reader.last.equals(numbers(*range(10)))

    path = tmp_path / "finished.parquet"
    pq.write_table(numbers(7, 8), path)
    assert run([producer(path), reader.asset], instance, manager).success
    assert reader.last.equals(numbers(7, 8))
    assert not path.exists()


def test_nested_types_and_bits_survive(instance: dg.DagsterInstance, manager: ParquetIOManager) -> None:
    vectors = np.random.default_rng(7).standard_normal((5, 384)).astype(np.float16)
    table = PRODUCT_EMBEDDINGS.conform(
        pa.table(
            {
                "product_id": [f"p{row}" for row in range(5)],
                "text_hash": ["0" * 32] * 5,
                "model_version": ["m"] * 5,
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 384),
            }
        )
    )
    reader = Reader()
    assert run([producer(table), reader.asset], instance, manager).success
    assert reader.last.schema.equals(table.schema)
    assert reader.last.equals(table)


def test_equal_tables_are_equal_bytes(tmp_path: Path, manager: ParquetIOManager) -> None:
    small = ParquetIOManager(manager._store, manager._bucket, ParquetRules(row_group_rows=4))
    table = numbers(*range(11))
    pieces = pa.concat_tables([table.slice(0, 3), table.slice(3, 1), table.slice(4)])
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))
    digests = set()
    for name, rows in (("whole", table), ("pieces", pieces), ("stream", stream)):
        small._write(tmp_path / name, rows)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        assert pq.read_metadata(tmp_path / name).num_row_groups == 3
    assert len(digests) == 1


@given(sizes=st.lists(st.integers(0, 7), max_size=8), rows=st.integers(1, 5))
def test_regrouping_loses_nothing(sizes: list[int], rows: int) -> None:
    schema = numbers().schema
    whole = numbers(*range(sum(sizes)))
    batches = []
    for size in sizes:
        start = sum(batch.num_rows for batch in batches)
        batches.append(pa.record_batch([whole.column("n").slice(start, size).combine_chunks()], schema=schema))
    groups = list(regrouped(batches, schema, rows))
    assert pa.concat_tables([schema.empty_table(), *groups]).equals(whole)
    assert all(group.num_rows == rows for group in groups[:-1])
    assert all(0 < group.num_rows <= rows for group in groups)


# -- the event commits ------------------------------------------------------------------------------------------


class DiesBeforeTheEvent(ParquetIOManager):
    """Stores the object, and then the process is gone."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        super().handle_output(context, obj)
        raise RuntimeError("killed")


def test_a_run_that_dies_before_the_event_leaves_the_last_good_version(
    instance: dg.DagsterInstance, manager: ParquetIOManager, store: ObjectStore, bucket: str
) -> None:
    reader = Reader()
    assert run([producer(numbers(1))], instance, manager).success
    died = run([producer(numbers(2))], instance, DiesBeforeTheEvent(store, bucket))
    assert "killed" in failure(died)
    assert store.stat(bucket, f"room/numbers/_/{died.run_id}.parquet").size > 0

    assert run([producer(numbers(3)), reader.asset], instance, manager, selection=[reader.asset]).success
    assert reader.last.equals(numbers(1))


def test_every_version_stays_readable(
    instance: dg.DagsterInstance, manager: ParquetIOManager, store: ObjectStore
) -> None:
    uris = []
    for value in (1, 2):
        run([producer(numbers(value))], instance, manager)
        uris.append(materialized(instance)["dagster/uri"])
    assert len(set(uris)) == 2
    for value, uri in zip((1, 2), uris, strict=True):
        assert pq.read_table(uri.removeprefix("s3://"), filesystem=store.filesystem()).equals(numbers(value))


def test_a_step_that_is_tried_again_overwrites_nothing(
    instance: dg.DagsterInstance, store: ObjectStore, bucket: str, manager: ParquetIOManager
) -> None:
    class DiesOnce(ParquetIOManager):
        died = False

        def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
            super().handle_output(context, obj)
            if not self.died:
                self.died = True
                raise RuntimeError("killed")

    retry = dg.RetryPolicy(max_retries=1)
    again = producer(lambda context: numbers(context.retry_number), retry_policy=retry)
    result = run([again], instance, DiesOnce(store, bucket))
    assert result.success
    assert materialized(instance)["dagster/uri"].endswith(f"{result.run_id}-2.parquet")

    same = producer(numbers(5), retry_policy=retry)
    result = run([same], instance, DiesOnce(store, bucket))
    assert materialized(instance)["dagster/uri"].endswith(f"{result.run_id}.parquet")


def test_an_object_that_is_gone_is_named(
    instance: dg.DagsterInstance, manager: ParquetIOManager, store: ObjectStore, bucket: str
) -> None:
    reader = Reader()
    made = run([producer(numbers(1))], instance, manager)
    key = f"room/numbers/_/{made.run_id}.parquet"
    store.delete(bucket, key)
    message = failure(run([producer(None), reader.asset], instance, manager, selection=[reader.asset]))
    assert "room/numbers was materialised, but its object is gone" in message
    assert f"s3://{bucket}/{key}" in message


def test_a_key_that_is_refused_is_no_outage(manager: ParquetIOManager, store: ObjectStore, bucket: str) -> None:
    locked_out = ParquetIOManager(replace(store, secret_key="wrong"), bucket)
    for read in (locked_out._table, locked_out._dataset):
        with pytest.raises(ObjectStoreDenied):
            read([f"s3://{bucket}/room/numbers/_/any.parquet"], "room/numbers")


# -- nothing, and what is not possible --------------------------------------------------------------------------


def test_what_was_never_written(instance: dg.DagsterInstance, manager: ParquetIOManager) -> None:
    needed, optional = Reader(), Reader(pa.Table | None)
    both = [producer(None), needed.asset]
    assert "room/numbers has not been materialised yet" in failure(
        run(both, instance, manager, selection=[needed.asset])
    )
    assert run([producer(None), optional.asset], instance, manager, selection=[optional.asset]).success
    assert optional.last is None

    assert "names no object" in failure(run(both, instance, manager))  # materialised, with nothing
    assert run([producer(None), optional.asset], instance, manager).success
    assert optional.last is None
    assert run([producer(numbers(1)), optional.asset], instance, manager).success
    assert optional.last.equals(numbers(1))


def test_outputs_and_inputs_of_other_kinds_are_refused(
    instance: dg.DagsterInstance, manager: ParquetIOManager, tmp_path: Path
) -> None:
    assert "room/numbers returned dict; expected pa.Table" in failure(run([producer({"a": 1})], instance, manager))
    (tmp_path / "text").write_text("not parquet")
    assert "not Parquet: text" in failure(run([producer(tmp_path / "text")], instance, manager))
    assert (tmp_path / "text").exists()
    assert "does not exist: absent" in failure(run([producer(tmp_path / "absent")], instance, manager))
    reader = Reader(list)
    assert "expected pa.Table or pyarrow.dataset.Dataset" in failure(
        run([producer(numbers(1)), reader.asset], instance, manager)
    )


def test_of_several_outputs_each_has_its_own_object(instance: dg.DagsterInstance, manager: ParquetIOManager) -> None:
    @dg.multi_asset(
        outs={
            "accepted": dg.AssetOut(key=["room", "accepted"]),
            "rejected": dg.AssetOut(key=["room", "rejected"], is_required=False),
        }
    )
    def split() -> Iterator[dg.Output[pa.Table]]:
        yield dg.Output(numbers(1, 2), "accepted")

    seen: list[Any] = []

    @dg.asset(ins={name: dg.AssetIn(["room", name]) for name in ("accepted", "rejected")})
    def reader(accepted: pa.Table, rejected: pa.Table | None) -> None:
        seen.extend([accepted.num_rows, rejected])

    assert run([split], instance, manager).success
    assert run([split, reader], instance, manager, selection=[reader]).success
    assert seen == [2, None]
    assert "/room/accepted/_/" in materialized(instance, dg.AssetKey(["room", "accepted"]))["dagster/uri"]


# -- partitions -------------------------------------------------------------------------------------------------


def batch_numbers(context: dg.AssetExecutionContext) -> pa.Table:
    return numbers(*(ord(letter) for letter in context.partition_key))


def test_a_partition_reads_its_own_and_a_global_asset_reads_all(
    instance: dg.DagsterInstance, manager: ParquetIOManager
) -> None:
    instance.add_dynamic_partitions("test_batches", ["a", "b", "c"])
    made = producer(batch_numbers, partitions_def=BATCHES)
    own, everything, lazy = Reader(partitions_def=BATCHES), Reader(), Reader(ds.Dataset)
    for partition in ("a", "b", "a"):
        assert run([made, own.asset], instance, manager, partition_key=partition).success
    assert [table.column("n").to_pylist() for table in own.seen] == [[ord("a")], [ord("b")], [ord("a")]]

    # Partition c was never written: it is left out, not made up.
    for reader in (everything, lazy):
        assert run([made, reader.asset], instance, manager, selection=[reader.asset]).success
    assert everything.last.column("n").to_pylist() == [ord("a"), ord("b")]
    assert lazy.last.count_rows() == 2

    assert "room/numbers[c] has not been materialised yet" in failure(
        run([made, own.asset], instance, manager, selection=[own.asset], partition_key="c")
    )


def test_a_check_reads_what_it_speaks_of(instance: dg.DagsterInstance, manager: ParquetIOManager) -> None:
    instance.add_dynamic_partitions("test_batches", ["a", "b"])
    seen: list[tuple[str, list[int]]] = []

    @dg.asset_check(asset=KEY, blocking=True)
    def plain(table: pa.Table) -> dg.AssetCheckResult:
        seen.append(("plain", table.column("n").to_pylist()))
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=KEY, blocking=True, partitions_def=BATCHES)
    def partitioned(table: pa.Table) -> dg.AssetCheckResult:
        seen.append(("partitioned", table.column("n").to_pylist()))
        return dg.AssetCheckResult(passed=True)

    made = producer(batch_numbers, partitions_def=BATCHES)
    for partition in ("a", "b"):
        assert run([made, plain, partitioned], instance, manager, partition_key=partition).success
    # Dagster holds a check without partitions to speak of the whole asset.
    assert sorted(seen) == [
        ("partitioned", [ord("a")]),
        ("partitioned", [ord("b")]),
        ("plain", [ord("a")]),
        ("plain", [ord("a"), ord("b")]),
    ]


def test_an_asset_that_lost_its_partitions_is_not_read_in_part(
    instance: dg.DagsterInstance, manager: ParquetIOManager
) -> None:
    instance.add_dynamic_partitions("test_batches", ["a"])
    made = producer(batch_numbers, partitions_def=BATCHES)
    assert run([made], instance, manager, partition_key="a").success
    reader = Reader()
    now_whole = [producer(None), reader.asset]
    assert "was last written for the partition 'a'" in failure(
        run(now_whole, instance, manager, selection=[reader.asset])
    )


def test_later_columns_are_null_in_earlier_partitions(instance: dg.DagsterInstance, manager: ParquetIOManager) -> None:
    instance.add_dynamic_partitions("test_batches", ["old", "new"])
    versions = {"old": numbers(1), "new": pa.table({"n": [2], "added": ["x"]})}
    made = producer(lambda context: versions[context.partition_key], partitions_def=BATCHES)
    for partition in versions:
        assert run([made], instance, manager, partition_key=partition).success
    reader = Reader()
    assert run([made, reader.asset], instance, manager, selection=[reader.asset]).success
    assert reader.last.to_pylist() == [{"n": 1, "added": None}, {"n": 2, "added": "x"}]


@pytest.mark.parametrize("partition", ["_", "..", "a/b", "../../etc", "é 😀", "50%", "a%2Fb", "x?y#z&"])
def test_any_partition_has_a_place_of_its_own(
    instance: dg.DagsterInstance, manager: ParquetIOManager, partition: str
) -> None:
    instance.add_dynamic_partitions("test_batches", [partition])
    reader = Reader(partitions_def=BATCHES)
    made = producer(batch_numbers, partitions_def=BATCHES)
    assert run([made, reader.asset], instance, manager, partition_key=partition).success
    assert reader.last.num_rows == len(partition)
    assert materialized(instance)["dagster/partition_row_count"] == len(partition)


@given(st.lists(st.none() | st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_two_partitions_never_share_a_folder(partitions: list[str | None]) -> None:
    folders = [object_folder(KEY, partition) for partition in partitions]
    assert folders[0] != folders[1]
    for folder in folders:
        assert folder.count("/") == 2
        assert not folder.endswith("/..")
