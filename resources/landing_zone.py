"""The bucket where sources deliver their feeds.

Belongs here: listing, delivering and fetching objects of the landing bucket. Not here: what a delivery means.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from assets.listings.ports import DeliveryGone
from resources.object_store import ObjectChanged, ObjectNotFound, ObjectStore, ObjectVersion

#: The file that a fetched object becomes.
FETCHED = "delivered"
#: A file that says which listings are the same product; read for scoring only.
TRUTH_FILE = "truth.csv"


@dataclass(frozen=True, slots=True)
class LandingBucket:
    """The landing bucket; satisfies the ports `LandingZone` (listings) and `TruthShelf` (clusters)."""

    store: ObjectStore
    bucket: str

    def versions(self) -> list[ObjectVersion]:
        """Return every object that is there now; raises rather than returning less than there is."""
        return list(self.store.list(self.bucket, ""))

    def read(self, object_key: str, at_most: int) -> bytes:
        """Return an object whole, or of one that is larger than `at_most` bytes one byte more than those."""
        with self.store.open(self.bucket, object_key) as stream:
            return stream.read(at_most + 1)

    def fetch(self, object_key: str, etag: str, into: Path) -> Path:
        """Download exactly that version of the object and return its path.

        Raises:
            DeliveryGone: it was deleted or replaced since.
        """
        # A name of our own: the object's may be too long for a file, or that of one that will lie beside it.
        path = into / FETCHED
        try:
            self.store.download(self.bucket, object_key, path, etag=etag)
        except (ObjectChanged, ObjectNotFound) as error:
            raise DeliveryGone(str(error)) from error
        return path

    def truths(self, at_most: int) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of every truth file that was delivered beside feeds; see `read`."""
        for version in self.versions():
            if PurePosixPath(version.key).name == TRUTH_FILE:
                yield version.key, self.read(version.key, at_most)

    def deliver(self, path: Path, object_key: str) -> None:
        """Put a local file into the bucket, replacing what has the same key."""
        self.store.put_file(self.bucket, object_key, path)

    def withdraw(self, object_key: str) -> None:
        """Take an object out of the bucket again."""
        self.store.delete(self.bucket, object_key)

    def deliver_bytes(self, data: bytes, object_key: str) -> None:
        """Put a small object into the bucket, replacing what has the same key."""
        self.store.put_bytes(self.bucket, object_key, data)


def etag_of(path: Path) -> str:
    """Return the ETag that an object of a file's bytes gets when it is delivered as `LandingBucket.deliver` does.

    It is the MD5 of a small file, and of a large one that goes in parts the MD5 of the parts' digests with their number
    (the form that S3 servers share). Reads the file once, part by part.
    """
    from minio.helpers import get_part_info

    size = path.stat().st_size
    part_size, parts = get_part_info(size, 0)
    if parts <= 1:
        with path.open("rb") as file:
            return hashlib.file_digest(file, _md5).hexdigest()
    digests = _md5()
    with path.open("rb") as file:
        while part := file.read(part_size):
            digests.update(_md5(part).digest())
    return f"{digests.hexdigest()}-{parts}"


def _md5(data: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)
