"""The object store: feeds that land and artifacts that stay, over plain S3.

Belongs here: reading and writing objects whole or as streams, listings that are complete or fail, errors told apart
by whether trying again helps. Not here: what an object means, which bucket or key it belongs in.
"""

import base64
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from resources.object_errors import (
    PRECONDITION_FAILED,
    Connections,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnavailable,
    failure_of_status,
    translated,
)
from resources.patience import Patience, asked_wait

if TYPE_CHECKING:
    import pyarrow.fs
    import urllib3
    from minio import Minio

__all__ = [
    "ObjectChanged",
    "ObjectExists",
    "ObjectNotFound",
    "ObjectStore",
    "ObjectStoreDenied",
    "ObjectStoreError",
    "ObjectStoreUnavailable",
    "ObjectVersion",
    "StoreRules",
]

T = TypeVar("T")
_BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """One version of an object, as a listing shows it; `size` in bytes, `etag` without quotes."""

    key: str
    etag: str
    size: int
    last_modified: datetime
    version_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRules:
    """How patiently the store is asked, and in which pieces.

    Attributes:
        patience: How a request is tried again while the store cannot answer.
        connect_timeout_seconds: How long a connection may take.
        read_timeout_seconds: How long the store may be silent.
        stream_bytes: Bytes a stream asks for at once.
    """

    patience: Patience = field(default_factory=Patience)
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 60.0
    stream_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """An S3 endpoint (with scheme) and the keys to it."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    rules: StoreRules = field(default_factory=StoreRules, kw_only=True)
    _clients: dict[int, tuple["Minio", "urllib3.PoolManager"]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it is there."""

        def make() -> None:
            if not self._client.bucket_exists(bucket):
                try:
                    self._client.make_bucket(bucket, self.region)
                except Exception as error:
                    if getattr(error, "code", "") not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                        raise

        self._ask(make, bucket)

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectVersion]:
        """Every object whose key starts with `prefix`, ordered by key.

        The listing is whole before its first element is given: a failed read raises, and never looks like a store
        from which objects have vanished.

        Raises:
            ObjectNotFound: there is no such bucket.
            ObjectStoreUnavailable: the listing could not be completed.
        """

        def collect() -> list[ObjectVersion]:
            return [
                ObjectVersion(
                    key=found.object_name,
                    etag=_bare(found.etag),
                    size=found.size,
                    last_modified=found.last_modified,
                    version_id=_version(found.version_id),
                )
                for found in self._client.list_objects(bucket, prefix=prefix, recursive=True)
                if not found.is_dir
            ]

        return iter(sorted(self._ask(collect, bucket, prefix), key=lambda version: version.key))

    def stat(self, bucket: str, key: str) -> ObjectVersion:
        """The version an object has now."""
        found = self._ask(lambda: self._client.stat_object(bucket, key), bucket, key)
        return ObjectVersion(
            key=key,
            etag=_bare(found.etag),
            size=found.size,
            last_modified=found.last_modified,
            version_id=_version(found.version_id),
        )

    def get_bytes(self, bucket: str, key: str, *, etag: str | None = None) -> bytes:
        """An object whole; see `open`."""
        with self.open(bucket, key, etag=etag) as stream:
            return stream.read()

    def open(self, bucket: str, key: str, *, etag: str | None = None) -> BinaryIO:
        """A stream of the object's bytes, all of one version, that survives a lost connection.

        Args:
            bucket: Its bucket.
            key: Its key.
            etag: The version to read, from a listing; the present one unless given.

        Raises:
            ObjectChanged: here, or while reading: the object is not, or no longer, that version.
            ObjectNotFound: there is no such object.
        """
        stream = _ObjectStream(self, bucket, key, etag)
        return cast(BinaryIO, io.BufferedReader(stream, self.rules.stream_bytes))

    def download(self, bucket: str, key: str, path: Path, *, etag: str | None = None) -> None:
        """Copy an object to a file, which appears only when it is complete; see `open`."""
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with self.open(bucket, key, etag=etag) as stream, part.open("wb") as file:
                while piece := stream.read(self.rules.stream_bytes):
                    file.write(piece)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def put_bytes(
        self, bucket: str, key: str, data: bytes, *, if_absent: bool = False, content_type: str = _BYTES
    ) -> str:
        """Write an object and return its ETag; see `put_file`."""
        return self._put(bucket, key, lambda: io.BytesIO(data), len(data), if_absent, content_type)

    def put_file(
        self, bucket: str, key: str, path: Path, *, if_absent: bool = False, content_type: str = _BYTES
    ) -> str:
        """Write a file as an object and return its ETag.

        With `if_absent` it is one request that the store carries out for one writer only (`If-None-Match: *`), of at
        most 5 GB; otherwise large files go in parts.

        Raises:
            ObjectExists: `if_absent`, and there is one already, with other content.
        """
        return self._put(bucket, key, lambda: path.open("rb"), path.stat().st_size, if_absent, content_type)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        self._ask(lambda: self._client.remove_object(bucket, key), bucket, key)

    def presigned_url(self, bucket: str, key: str, *, expires: timedelta = timedelta(hours=12)) -> str:
        """A link by which anyone can read the object until it expires (at most 7 days)."""
        return str(self._client.presigned_get_object(bucket, key, expires=expires))

    def filesystem(self) -> "pyarrow.fs.S3FileSystem":
        """The store as Arrow reads and writes it; paths are `bucket/key`."""
        import pyarrow.fs

        parts = urlsplit(self.endpoint)
        return pyarrow.fs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            scheme=parts.scheme,
            endpoint_override=parts.netloc,
            connect_timeout=self.rules.connect_timeout_seconds,
            request_timeout=self.rules.read_timeout_seconds,
        )

    # -- how it is done -----------------------------------------------------------------------------------------

    @property
    def _client(self) -> Any:
        return self._connection()[0]

    def _connection(self) -> tuple["Minio", "urllib3.PoolManager"]:
        """The client of this process, made when it is first needed; retries are ours alone."""
        process = os.getpid()
        if process not in self._clients:
            import urllib3
            from minio import Minio

            parts = urlsplit(self.endpoint)
            pool = Connections(
                timeout=urllib3.Timeout(
                    connect=self.rules.connect_timeout_seconds, read=self.rules.read_timeout_seconds
                ),
                retries=False,
                maxsize=10,
            )
            client = Minio(
                parts.netloc,
                access_key=self.access_key,
                secret_key=self.secret_key,
                region=self.region,
                secure=parts.scheme == "https",
                http_client=pool,
            )
            self._clients.setdefault(process, (client, pool))
        return self._clients[process]

    def _put(
        self,
        bucket: str,
        key: str,
        source: Callable[[], BinaryIO],
        size: int,
        if_absent: bool,
        content_type: str,
    ) -> str:
        def write() -> str:
            if if_absent:
                return self._put_if_absent(bucket, key, source, size, content_type)
            with source() as stream:
                written = self._client.put_object(bucket, key, stream, size, content_type=content_type)
            return _bare(written.etag)

        return self._ask(write, bucket, key)

    def _put_if_absent(
        self, bucket: str, key: str, source: Callable[[], BinaryIO], size: int, content_type: str
    ) -> str:
        """A put with a condition, which the SDK's own cannot carry: by a presigned link and the SDK's connections.

        A try that was carried out although its answer was lost finds its own object when tried again; the digest
        tells it from another writer's.
        """
        client, pool = self._connection()
        digest = hashlib.md5(usedforsecurity=False)
        with source() as stream:
            while piece := stream.read(self.rules.stream_bytes):
                digest.update(piece)
        url = cast(Any, client).presigned_put_object(bucket, key, expires=timedelta(hours=1))
        with source() as stream:
            answer = pool.request(
                "PUT",
                url,
                body=stream,
                headers={
                    "If-None-Match": "*",
                    "Content-Length": str(size),
                    "Content-Type": content_type,
                    "Content-MD5": base64.b64encode(digest.digest()).decode(),
                },
            )
        if answer.status == PRECONDITION_FAILED:
            found = _bare(cast(Any, client).stat_object(bucket, key).etag)
            if found == digest.hexdigest():
                return found
            raise ObjectExists(f"{bucket}/{key} exists already, with other content")
        if not 200 <= answer.status < 300:
            message = answer.data.decode(errors="replace")[:300]
            asked = asked_wait(answer.headers.get("Retry-After"))
            raise failure_of_status(answer.status, f"{bucket}/{key}", message, asked)
        return _bare(answer.headers.get("ETag", ""))

    def _ask(self, request: Callable[[], T], bucket: str, key: str = "") -> T:
        def attempt() -> T:
            with translated(f"{bucket}/{key}"):
                return request()

        return self.rules.patience(attempt)


class _ObjectStream(io.RawIOBase):
    """One version of an object, read from where the last answer broke off when a connection is lost."""

    def __init__(self, store: ObjectStore, bucket: str, key: str, etag: str | None) -> None:
        self._store, self._bucket, self._key, self._etag = store, bucket, key, etag
        self._position = 0
        self._response: Any = None
        self._store._ask(self._request, bucket, key)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._store._ask(lambda: self._read(len(buffer)), self._bucket, self._key)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._release()
        super().close()

    def _read(self, size: int) -> bytes:
        if self._response is None:
            self._request()
        try:
            return cast(bytes, self._response.read(size))
        except Exception:
            self._release()  # the next try asks again, from here
            raise

    def _request(self) -> None:
        headers = {"If-Match": f'"{self._etag}"'} if self._etag else {}
        if self._position:
            headers["Range"] = f"bytes={self._position}-"
        response = self._store._client.get_object(self._bucket, self._key, request_headers=headers)
        found = _bare(response.headers.get("ETag", ""))
        if self._etag is None:
            self._etag = found
        elif found != self._etag:
            response.close()
            raise ObjectChanged(f"{self._bucket}/{self._key} is now version {found}, not {self._etag}")
        self._response = response

    def _release(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response.release_conn()
            self._response = None


def _bare(etag: str | None) -> str:
    return (etag or "").removeprefix("W/").strip('"')


def _version(version_id: str | None) -> str | None:
    """The version's id; buckets that keep none say `null`."""
    return None if version_id in (None, "", "null") else version_id
