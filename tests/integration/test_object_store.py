"""The object store on a real S3 server, and on one whose connections break."""

import os
import socket
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.settings import Endpoints
from resources.object_store import (
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreDenied,
    ObjectStoreUnavailable,
    StoreRules,
)
from resources.patience import Patience

pytestmark = pytest.mark.stack

QUICK = StoreRules(patience=Patience(tries=4, longest_pause_seconds=0.05), stream_bytes=64 << 10)


@pytest.fixture(scope="module")
def store(stack: Endpoints) -> ObjectStore:
    return ObjectStore(stack.s3_endpoint, stack.s3_access_key, stack.s3_secret_key, stack.s3_region, rules=QUICK)


@pytest.fixture(scope="module")
def bucket(store: ObjectStore) -> str:
    name = f"store-{uuid.uuid4().hex[:8]}"
    store.ensure_bucket(name)
    store.ensure_bucket(name)
    return name


class Wire:
    """A TCP wire to the server that can be cut: while waiting, or after some bytes of an answer."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.refusals = 0  # connections still to be closed at once
        self.cuts: list[int] = []  # answers to be cut after that many bytes
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refusals:
                self.refusals -= 1
                client.close()
                continue
            server = socket.create_connection(self._target)
            cut = self.cuts.pop(0) if self.cuts else None
            threading.Thread(target=self._pump, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, cut), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, cut: int | None) -> None:
        with suppress(OSError):
            while cut != 0 and (data := source.recv(16384)):
                data = data[:cut]
                sink.sendall(data)
                cut = None if cut is None else cut - len(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def wire(stack: Endpoints) -> Iterator[Wire]:
    wire = Wire(stack.s3_endpoint)
    yield wire
    wire.close()


def over(wire: Wire, stack: Endpoints) -> ObjectStore:
    return ObjectStore(wire.endpoint, stack.s3_access_key, stack.s3_secret_key, stack.s3_region, rules=QUICK)


# -- reading and writing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["plain.csv", "a/b/c", "é ü 😀.csv", "a b+c%2Fd&e=f?g#h", "tab\there", "(1)'\"~!*"])
def test_any_key_can_be_written_listed_and_read(store: ObjectStore, bucket: str, key: str) -> None:
    data = key.encode() * 3
    etag = store.put_bytes(bucket, f"keys/{key}", data)
    assert store.get_bytes(bucket, f"keys/{key}") == data
    (found,) = [version for version in store.list(bucket, "keys/") if version.key == f"keys/{key}"]
    assert (found.etag, found.size, found.version_id) == (etag, len(data), None)
    assert found.last_modified.tzinfo is not None
    assert store.stat(bucket, f"keys/{key}") == found


def test_files_go_up_and_come_down_whole(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    data = os.urandom(6 << 20)  # more than one part
    (tmp_path / "up").write_bytes(data)
    store.put_file(bucket, "large", tmp_path / "up")
    store.download(bucket, "large", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == data
    with store.open(bucket, "large") as stream:
        assert stream.read(10) == data[:10]
        assert stream.read(100_000) == data[10:100_010]
    with pytest.raises(ObjectNotFound):
        store.download(bucket, "absent", tmp_path / "absent")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["down", "up"]


def test_empty_objects_and_deletion(store: ObjectStore, bucket: str) -> None:
    store.put_bytes(bucket, "empty", b"", if_absent=True)
    assert store.get_bytes(bucket, "empty") == b""
    store.delete(bucket, "empty")
    store.delete(bucket, "empty")
    with pytest.raises(ObjectNotFound):
        store.get_bytes(bucket, "empty")


def test_of_many_writers_one_wins(store: ObjectStore, bucket: str) -> None:
    def write(number: int) -> int | None:
        try:
            store.put_bytes(bucket, "contested", f"writer {number}".encode(), if_absent=True)
        except ObjectExists:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        (winner,) = [number for number in pool.map(write, range(16)) if number is not None]
    assert store.get_bytes(bucket, "contested") == f"writer {winner}".encode()
    # The winner may have lost the answer and asks again: that is no conflict.
    assert store.put_bytes(bucket, "contested", f"writer {winner}".encode(), if_absent=True)


def test_a_link_opens_without_keys(store: ObjectStore, bucket: str) -> None:
    store.put_bytes(bucket, "page.html", b"<p>", content_type="text/html")
    with urllib.request.urlopen(store.presigned_url(bucket, "page.html")) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"<p>", "text/html")


def test_arrow_reads_and_writes_there(store: ObjectStore, bucket: str) -> None:
    table = pa.table({"a": [1, 2]})
    pq.write_table(table, f"{bucket}/arrow/table.parquet", filesystem=store.filesystem())
    assert pq.read_table(f"{bucket}/arrow/table.parquet", filesystem=store.filesystem()).equals(table)


# -- versions ---------------------------------------------------------------------------------------------------


def test_a_replaced_object_is_not_read_as_the_one_that_was_listed(
    store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    store.put_bytes(bucket, "feeds/replaced.csv", b"first")
    (listed,) = store.list(bucket, "feeds/replaced.csv")
    assert store.get_bytes(bucket, listed.key, etag=listed.etag) == b"first"
    store.put_bytes(bucket, "feeds/replaced.csv", b"second")
    with pytest.raises(ObjectChanged):
        store.get_bytes(bucket, listed.key, etag=listed.etag)
    with pytest.raises(ObjectChanged):
        store.download(bucket, listed.key, tmp_path / "feed", etag=listed.etag)
    assert list(tmp_path.iterdir()) == []


def test_an_object_replaced_while_it_is_read_is_noticed(
    store: ObjectStore, bucket: str, wire: Wire, stack: Endpoints
) -> None:
    store.put_bytes(bucket, "moving", b"1" * 500_000)
    wire.cuts = [200_000]
    with over(wire, stack).open(bucket, "moving") as stream:
        stream.read(10_000)
        store.put_bytes(bucket, "moving", b"2" * 500_000)
        with pytest.raises(ObjectChanged):
            stream.read()


# -- listings ---------------------------------------------------------------------------------------------------


def test_a_listing_is_complete_and_sorted(store: ObjectStore, bucket: str) -> None:
    keys = [f"many/{number:04d}" for number in range(1050)] + ["many/a-b", "many/a.b", "many/a/b", "many/a"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put_bytes(bucket, key, b""), keys))
    assert [version.key for version in store.list(bucket, "many/")] == sorted(keys)
    assert list(store.list(bucket, "none/")) == []


def test_a_failed_listing_is_not_an_empty_one(store: ObjectStore, bucket: str, wire: Wire, stack: Endpoints) -> None:
    with pytest.raises(ObjectNotFound):
        store.list(f"absent-{uuid.uuid4().hex[:8]}")
    with pytest.raises(ObjectStoreDenied):
        ObjectStore(stack.s3_endpoint, stack.s3_access_key, "wrong", rules=QUICK).list(bucket)
    wire.refusals = 1000
    with pytest.raises(ObjectStoreUnavailable):
        over(wire, stack).list(bucket)
    assert wire.connections == QUICK.patience.tries


# -- trouble ----------------------------------------------------------------------------------------------------


def test_passing_trouble_is_waited_out(bucket: str, wire: Wire, stack: Endpoints) -> None:
    store = over(wire, stack)
    wire.refusals = 2
    store.put_bytes(bucket, "patient", b"data", if_absent=True)
    assert wire.connections == 3
    wire.refusals = 0
    assert store.get_bytes(bucket, "patient") == b"data"


def test_a_stream_goes_on_where_its_connection_broke(
    store: ObjectStore, bucket: str, wire: Wire, stack: Endpoints, tmp_path: Path
) -> None:
    data = os.urandom(1 << 20)
    store.put_bytes(bucket, "streamed", data)
    wire.cuts = [300_000, 100_000, 500, 400_000]
    over(wire, stack).download(bucket, "streamed", tmp_path / "streamed")
    assert (tmp_path / "streamed").read_bytes() == data
    assert wire.connections == 5


def test_lasting_trouble_is_not_tried_again(bucket: str, wire: Wire, stack: Endpoints) -> None:
    stranger = ObjectStore(wire.endpoint, "nobody", "wrong", rules=QUICK)
    with pytest.raises(ObjectStoreDenied):
        stranger.put_bytes(bucket, "x", b"")
    assert wire.connections == 1
    assert "wrong" not in repr(stranger)
