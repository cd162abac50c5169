"""A listing in the object store: tables, texts and pictures of the artifacts, and the files it was delivered in.

Belongs here: how each kind of object is rewritten or deleted. Not here: what names a listing (see `mentions`).
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assets.clusters.keeping import NotThisState, forget
from orchestration.erasure.database import Rows
from orchestration.erasure.mentions import Mentions
from orchestration.erasure.receipt import Removed
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore, ObjectStoreUnavailable
from resources.state_shelf import KEY as STATE

PARQUET = "application/vnd.apache.parquet"
#: Folders of the artifacts bucket whose files are texts for people: one that names the listing goes as a whole.
TEXTS = ("data_docs/", "dagster/storage/")
#: Tables of pairs, as MLflow keeps them, whose first rows a picture shows.
PICTURES = {
    "least_certain_joins.csv": "plots/least_certain_joins.png",
    "nearest_misses.csv": "plots/nearest_misses.png",
}
PICTURED_ROWS = "rows, and their picture"
#: What reading a ZIP file raises that is none, is broken, or was packed in a way that nobody here packs.
NO_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
#: Where records wait while MLflow is away (see `resources.tracking_outbox`).
OUTBOX = "tracking/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """The objects that may hold a listing.

    Attributes:
        store: The object store.
        bucket: Its bucket of artifacts.
        landing: Where feeds are delivered; None leaves delivered files alone.
        rows: What PostgreSQL knows of batches and vectors.
    """

    store: ObjectStore
    bucket: str
    landing: LandingBucket | None
    rows: Rows

    def erase(self, mentions: Mentions) -> Iterator[Removed]:
        """Go through every object once, and tell what was removed as soon as it is."""
        for version in self.store.list(self.bucket):
            path = PurePosixPath(version.key)
            if path.suffix == ".parquet":
                yield from self._from_table(version.key, mentions)
            elif path.suffix == ".csv":
                yield from self._from_csv(version.key, mentions)
            elif version.key.startswith(OUTBOX):
                yield from self._from_record(version.key, mentions)
            elif version.key == STATE:
                yield from self._from_state(mentions)
            elif version.key.startswith(TEXTS):
                yield from self._from_text(version.key, self._read(version.key), mentions)

    def _from_table(self, key: str, mentions: Mentions) -> Iterator[Removed]:
        """Take the listing's rows out of a Parquet object; what leads from them to other places goes first."""
        name, batch_key = PurePosixPath(key).parts[-3], unquote(PurePosixPath(key).parts[-2])
        place = f"{self.bucket}/{key}"
        try:
            with self.store.filesystem().open_input_file(place) as file:
                # What can name a listing is read first: vectors are most of the bytes, and name nobody.
                parquet = pq.ParquetFile(file)
                telling = [each.name for each in parquet.schema_arrow if not pa.types.is_fixed_size_list(each.type)]
                found = parquet.read(telling)
                mask = mentions.in_table(found, name, batch_key)
                rows = pc.sum(mask).as_py() or 0
                if not rows:
                    return
                table = parquet.read().filter(pc.invert(mask))
        except OSError as error:
            raise ObjectStoreUnavailable(f"{place}: {error}") from error
        if "text_hash" in telling:
            yield from self.rows.erase_vectors(mentions, found.filter(mask).column("text_hash").to_pylist())
        if batch_key in mentions.contracts:
            yield from self._from_landing(batch_key)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._write(key, sink.getvalue().to_pybytes(), PARQUET)
        yield Removed(store="artifacts", place=key, count=rows, what="rows")

    def _from_landing(self, batch_key: str) -> Iterator[Removed]:
        """Delete the delivered files of a batch, in whatever name they were delivered."""
        if self.landing is None:
            return
        delivered = self.rows.delivered(self.landing.bucket, batch_key)
        for version in self.landing.versions():
            if (version.key, version.etag) in delivered:
                self.landing.store.delete(self.landing.bucket, version.key)
                yield Removed(store="landing bucket", place=version.key, count=1, what="files")

    def _from_csv(self, key: str, mentions: Mentions) -> Iterator[Removed]:
        data = self._read(key)
        try:
            data, rows = mentions.cut_from_csv(data)
        except csv.Error:
            yield from self._from_text(key, data, mentions, store="MLflow")
            return
        if rows:
            path = PurePosixPath(key)
            if path.name in PICTURES:
                self.store.delete(self.bucket, str(path.parent / PICTURES[path.name]))
            self._write(key, data, "text/csv")
            yield Removed(store="MLflow", place=key, count=rows, what=_rows_of(path.name))

    def _from_record(self, key: str, mentions: Mentions) -> Iterator[Removed]:
        """Take the listing's rows out of what waits for MLflow or was refused; what is no record is text."""
        data = self._read(key)
        try:
            data, cut = _cut_from_record(data, mentions)
        except (*NO_ZIP, csv.Error):
            yield from self._from_text(key, data, mentions, store="MLflow")
            return
        if cut:
            self._write(key, data, "application/zip")
        for table, rows in cut.items():
            yield Removed(store="MLflow", place=f"{key}: {table}", count=rows, what=_rows_of(table))

    def _from_state(self, mentions: Mentions) -> Iterator[Removed]:
        """Take the listing out of the state of the matching; one that cannot be read is of no use, and goes whole."""
        try:
            without = forget(self._read(STATE), mentions.product_id)
        except NotThisState:
            self.store.delete(self.bucket, STATE)
            yield Removed(store="artifacts", place=STATE, count=1, what="files")
            return
        if without is not None:
            self._write(STATE, without, "application/zip")
            yield Removed(store="artifacts", place=STATE, count=1, what="rows")

    def _from_text(self, key: str, data: bytes, mentions: Mentions, store: str = "artifacts") -> Iterator[Removed]:
        if mentions.in_text(data.decode(errors="replace")):
            self.store.delete(self.bucket, key)
            yield Removed(store=store, place=key, count=1, what="files")

    def _read(self, key: str) -> bytes:
        return self.store.get_bytes(self.bucket, key)

    def _write(self, key: str, data: bytes, content_type: str) -> None:
        self.store.put_bytes(self.bucket, key, data, content_type=content_type)


def _rows_of(table: str) -> str:
    return PICTURED_ROWS if table in PICTURES else "rows"


def _cut_from_record(data: bytes, mentions: Mentions) -> tuple[bytes, dict[str, int]]:
    """Return a record that waits for MLflow without what names the listing: table -> rows that were cut out of it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    rows: dict[str, int] = {}
    for table in [name for name in parts if name.endswith(".csv")]:
        parts[table], cut = mentions.cut_from_csv(parts[table])
        if cut:
            folder, _, name = table.rpartition("/")
            rows[name] = cut
            parts.pop(f"{folder}/{PICTURES.get(name, '')}", None)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue(), rows
