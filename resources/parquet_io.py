"""The I/O manager: what one asset returns and the next one reads, as immutable Parquet in the object store.

Belongs here: naming objects, writing them, and finding the one that the last materialisation names.
Not here: what a table must hold (the stages' contracts and checks say so).

An object is committed by its materialisation event alone: readers look for the event, never for the newest object.
A run that dies between the two leaves an object nobody reads, and the last good version stays in place.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote, urlsplit

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from assets.failures import PermanentFailure
from resources.object_store import ObjectExists, ObjectNotFound, ObjectStore, ObjectStoreUnavailable

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    import pyarrow.fs

URI = "dagster/uri"
#: Stands where a partition would, for assets that have none.
UNPARTITIONED = "_"
_CONTENT_TYPE = "application/vnd.apache.parquet"
_EVENTS_AT_ONCE = 1000


class ArtifactMissing(PermanentFailure, LookupError):
    """What an input needs was never written, or is gone; the message names asset, partition and object."""


class ArtifactUnreadable(PermanentFailure, TypeError):
    """An output is not something that can be stored, or an input asks for something that cannot be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetRules:
    """How files are laid out. Equal tables give equal bytes.

    Attributes:
        row_group_rows: Rows that are compressed, and can be skipped, together.
        compression: Codec.
        compression_level: Its level.
    """

    row_group_rows: int = 50_000
    compression: str = "zstd"
    compression_level: int = 3


class ParquetIOManager(dg.IOManager):
    """Writes `s3://<bucket>/<asset key>/<partition or _>/<run id>.parquet` and reads what events name.

    An output is a `pa.Table`, a `pa.RecordBatchReader` (written as it is read), or the `Path` of a finished Parquet
    file, which the I/O manager takes over: it is deleted once it is stored. `None` writes nothing.

    An input's annotation says how it is read: `pa.Table` whole, `pyarrow.dataset.Dataset` as a lazy view that reads
    columns and rows when they are asked for (by Arrow's own client, whose errors it then raises). An input of several
    partitions is their concatenation, in the order of the partitions. Where nothing was written, `pa.Table | None` gets
    None and the others an error.
    """

    def __init__(self, store: ObjectStore, bucket: str = "artifacts", rules: ParquetRules | None = None) -> None:
        self._store = store
        self._bucket = bucket
        self._rules = rules or ParquetRules()

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store an output under a name of its own, and name it in the materialisation's metadata.

        Raises:
            ArtifactUnreadable: the output is of another type, or the file is not Parquet.
            ObjectStoreUnavailable: the store could not be reached.
        """
        if obj is None:
            return
        asset = context.asset_key.to_user_string()
        with TemporaryDirectory(prefix="offerline-") as scratch:
            if isinstance(obj, Path):
                path = obj
            elif isinstance(obj, pa.Table | pa.RecordBatchReader):
                path = Path(scratch, "output.parquet")
                self._write(path, obj)
            else:
                raise ArtifactUnreadable(
                    f"{asset} returned {type(obj).__name__}; expected pa.Table, pa.RecordBatchReader, the Path of a "
                    "Parquet file, or None"
                )
            rows = _row_count(path, asset)
            size = path.stat().st_size
            folder = object_folder(context.asset_key, _partition(context))
            key = self._publish(folder, context.run_id, path)
            if path is obj:
                path.unlink()
        row_counts = {"dagster/row_count": rows}
        if context.has_asset_partitions:
            row_counts["dagster/partition_row_count"] = rows
        context.add_output_metadata({URI: f"s3://{self._bucket}/{key}", "size_bytes": size, **row_counts})

    def load_input(self, context: dg.InputContext) -> "pa.Table | ds.Dataset | None":
        """Open what the last materialisation of the upstream asset wrote.

        Raises:
            ArtifactMissing: there is none, or its object is gone.
            ArtifactUnreadable: the input's annotation is not one of those above.
            ObjectStoreUnavailable: the store could not be reached, however patiently it was asked.
        """
        wanted, optional = _annotation(context)
        uris = self._committed(context)
        if not uris:
            if optional:
                return None
            raise ArtifactMissing(f"{_describe(context)} has not been materialised yet")
        return (self._table if wanted is pa.Table else self._dataset)(uris, _describe(context))

    def newest(self, instance: dg.DagsterInstance, asset_key: dg.AssetKey, partition: str) -> dg.AssetMaterialization:
        """Return the last materialisation of a partition; see `uri_of`.

        Raises:
            ArtifactMissing: there is none.
        """
        found = _latest(instance, asset_key, [partition]).get(partition)
        if found is None:
            raise ArtifactMissing(f"{asset_key.to_user_string()}[{partition}] has not been materialised yet")
        return found

    def read(self, uri: str) -> pa.Table:
        """Return the table at a URI that a materialisation names.

        Raises:
            ArtifactMissing: it is gone.
            ObjectStoreUnavailable: the store could not be reached, however patiently it was asked.
        """
        return self._table([uri], uri)

    def scan(self, uri: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the table at a URI piece by piece, as it was written, however large all of it is.

        Args:
            uri: As a materialisation names it.
            columns: Which columns; all of them unless given.

        Raises:
            ArtifactMissing: it is gone.
            ObjectStoreUnavailable: the store could not be reached, however patiently it was asked.
        """
        with self._fetched([uri], uri) as rows:
            # Without threads nothing is read ahead of what is asked for.
            yield from rows.to_batches(
                columns=None if columns is None else list(columns), batch_readahead=0, use_threads=False
            )

    def _write(self, path: Path, rows: pa.Table | pa.RecordBatchReader) -> None:
        with pq.ParquetWriter(
            path,
            rows.schema,
            compression=self._rules.compression,
            compression_level=self._rules.compression_level,
        ) as writer:
            batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
            for group in regrouped(batches, rows.schema, self._rules.row_group_rows):
                writer.write_table(group, row_group_size=self._rules.row_group_rows)

    def _publish(self, folder: str, run_id: str, path: Path) -> str:
        """Store the file under the run's name; a step that is tried again with another result gets the next name."""
        for attempt in count(1):
            key = f"{folder}/{run_id}{'' if attempt == 1 else f'-{attempt}'}.parquet"
            try:
                self._store.put_file(self._bucket, key, path, if_absent=True, content_type=_CONTENT_TYPE)
            except ObjectExists:
                continue
            return key
        raise AssertionError("count() does not end")  # pragma: no cover

    def _committed(self, context: dg.InputContext) -> list[str]:
        """The objects that the last materialisations name, one per partition, in the order of the partitions."""
        if not context.has_asset_partitions:
            event = context.instance.get_latest_materialization_event(context.asset_key)
            found = event.asset_materialization if event else None
            if found is not None and found.partition is not None:
                raise ArtifactMissing(
                    f"{_describe(context)} was last written for the partition {found.partition!r}, and the input "
                    "names none"
                )
            return [] if found is None else _uris([found], context)
        partitions = context.asset_partition_keys
        latest = _latest(context.instance, context.asset_key, partitions)
        absent = [partition for partition in partitions if partition not in latest]
        if absent and latest:
            context.log.warning(
                f"{context.asset_key.to_user_string()}: {len(absent)} of {len(partitions)} partitions were never "
                f"materialised and are left out: {', '.join(absent[:10])}"
            )
        return _uris([latest[partition] for partition in partitions if partition in latest], context)

    def _table(self, uris: Sequence[str], described: str) -> pa.Table:
        """The objects' rows."""
        with self._fetched(uris, described) as rows:
            return rows.to_table()

    @contextmanager
    def _fetched(self, uris: Sequence[str], described: str) -> "Iterator[ds.Dataset]":
        """A view of copies of the objects: our client outwaits an outage, Arrow's calls it an `OSError`."""
        import pyarrow.fs

        with TemporaryDirectory(prefix="offerline-") as scratch:
            copies: list[Path] = []
            for bucket, key in self._located(uris, described):
                copies.append(Path(scratch, f"{len(copies)}.parquet"))
                self._store.download(bucket, key, copies[-1])
            yield _joined(pyarrow.fs.LocalFileSystem(), [str(copy) for copy in copies])

    def _dataset(self, uris: Sequence[str], described: str) -> "ds.Dataset":
        """A view of the objects, which are there and readable."""
        paths = ["/".join(place) for place in self._located(uris, described)]
        try:
            return _joined(self._store.filesystem(), paths)
        except OSError as error:
            raise ObjectStoreUnavailable(f"{described}: {', '.join(uris[:3])}: {error}") from error

    def _located(self, uris: Sequence[str], described: str) -> list[tuple[str, str]]:
        """Bucket and key of every object; those that are gone are told together."""
        places, missing = [], []
        for uri in uris:
            places.append((urlsplit(uri).netloc, urlsplit(uri).path.removeprefix("/")))
            try:
                self._store.stat(*places[-1])
            except ObjectNotFound:
                missing.append(uri)
        if missing:
            raise ArtifactMissing(
                f"{described} was materialised, but its object is gone: {', '.join(missing)}; materialise it again"
            )
        return places


def _joined(filesystem: "pyarrow.fs.FileSystem", paths: Sequence[str]) -> "ds.Dataset":
    """The rows of all files, in order. Older versions of an asset may lack columns that newer ones have."""
    import pyarrow.dataset as ds

    factory = ds.FileSystemDatasetFactory(filesystem, paths, ds.ParquetFileFormat())
    return factory.finish(factory.inspect(promote_options="default", fragments=len(paths)))


def uri_of(materialization: dg.AssetMaterialization) -> str:
    """Return the URI of what a materialisation wrote.

    Raises:
        ArtifactMissing: it names no object.
    """
    uri = materialization.metadata.get(URI)
    if uri is None:
        name = materialization.asset_key.to_user_string()
        raise ArtifactMissing(f"{name}: its last materialisation names no object; materialise it again")
    return str(uri.value)


def object_folder(asset_key: dg.AssetKey, partition: str | None) -> str:
    """Where the objects of an asset and partition lie, whatever characters their names hold."""
    if partition is None:
        last = UNPARTITIONED
    else:
        last = quote(partition, safe="")
        if last.startswith((".", UNPARTITIONED)):  # neither a path upwards nor the name of no partition
            last = f"%{ord(last[0]):02X}{last[1:]}"
    return "/".join([*(quote(part, safe="") for part in asset_key.path), last])


def regrouped(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows (the last may be shorter), whatever the batches were."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        while held + batch.num_rows >= rows:
            head = batch.slice(0, rows - held)
            yield pa.Table.from_batches([*waiting, head], schema).combine_chunks()
            batch = batch.slice(rows - held)
            waiting, held = [], 0
        if batch.num_rows:
            waiting.append(batch)
            held += batch.num_rows
    if held:
        yield pa.Table.from_batches(waiting, schema).combine_chunks()


def _latest(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, dg.AssetMaterialization]:
    """The last materialisation of each partition that has one."""
    latest: dict[str, dg.AssetMaterialization] = {}
    cursor = None
    while open_partitions := [partition for partition in partitions if partition not in latest]:
        page = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset_key, asset_partitions=open_partitions),
            limit=_EVENTS_AT_ONCE,
            cursor=cursor,
        )
        for record in page.records:  # newest first
            if record.asset_materialization is not None and record.partition_key is not None:
                latest.setdefault(record.partition_key, record.asset_materialization)
        if not page.has_more:
            break
        cursor = page.cursor
    return latest


def _uris(materializations: Iterable[dg.AssetMaterialization], context: dg.InputContext) -> list[str]:
    uris = []
    for materialization in materializations:
        uri = materialization.metadata.get(URI)
        if uri is not None:
            uris.append(str(uri.value))
        elif not _annotation(context)[1]:
            raise ArtifactMissing(
                f"{_describe(context, materialization.partition)}: its last materialisation names no object (it was "
                "reported by hand, or returned nothing); materialise it again"
            )
    return uris


def _annotation(context: dg.InputContext) -> tuple[Any, bool]:
    """What the input asks for, and whether it may be None."""
    import pyarrow.dataset as ds

    annotation: Any = context.dagster_type.typing_type
    choices = get_args(annotation)
    optional = NoneType in choices
    if optional:
        (annotation,) = (choice for choice in choices if choice is not NoneType)
    if annotation is Any:
        annotation = pa.Table
    if annotation not in (pa.Table, ds.Dataset):
        raise ArtifactUnreadable(
            f"the input {_describe(context)} is annotated {annotation}; expected pa.Table or pyarrow.dataset.Dataset"
        )
    return annotation, optional


def _partition(context: dg.OutputContext) -> str | None:
    if not context.has_asset_partitions:
        return None
    partitions = context.asset_partition_keys
    if len(partitions) != 1:
        raise ArtifactUnreadable(
            f"{context.asset_key.to_user_string()}: a run writes one partition, not {len(partitions)}"
        )
    return partitions[0]


def _describe(context: dg.InputContext, partition: str | None = None) -> str:
    name = context.asset_key.to_user_string()
    if partition is None and context.has_asset_partitions and len(context.asset_partition_keys) == 1:
        partition = context.asset_partition_key
    return f"{name}[{partition}]" if partition else name


def _row_count(path: Path, asset: str) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError as error:
        raise ArtifactUnreadable(f"{asset} returned the path of a file that does not exist: {path.name}") from error
    except pa.ArrowInvalid as error:
        raise ArtifactUnreadable(f"{asset} returned a file that is not Parquet: {path.name}: {error}") from error
