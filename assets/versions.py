"""Versions that are digests: of a room's code, and of a table's content.

Belongs here: what makes equal input and equal code leave downstream assets fresh. Not here: what is stored.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash


@cache
def code_version(package: str) -> str:
    """Return a digest of the code of a room, so that a change of code shows in Dagster by itself.

    It covers the Python and SQL files of `package` with its sub-packages, and the modules that all rooms share.
    """
    digest = hashlib.sha256()
    for top in (files(__package__ or "assets"), files(package)):
        for name, content in _code(top, "", deep=top.name != (__package__ or "assets")):
            digest.update(f"{name}\0".encode() + content)
    return digest.hexdigest()[:16]


def _code(folder: Traversable, prefix: str, *, deep: bool) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the code files below a folder, in a fixed order."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and deep:
            yield from _code(entry, f"{prefix}{entry.name}/", deep=True)
        elif entry.name.endswith((".py", ".sql")):
            yield f"{prefix}{entry.name}", entry.read_bytes()


def table_digest(table: pa.Table) -> str:
    """Return a digest of the content of `table`: its schema and its values in row order, and nothing else.

    It is taken of the table as Parquet, which writes values only: how an Arrow table was cut into chunks, and the bits
    that lie unused under a null, do not show.
    """
    digest = xxhash.xxh3_128()
    plain = table.replace_schema_metadata(None).combine_chunks()
    pq.write_table(plain, pa.PythonFile(_DigestSink(digest), mode="w"), compression="none", store_schema=False)
    digest.update(plain.schema.to_string().encode())
    return digest.hexdigest()


class _DigestSink:
    """A write-only file that keeps nothing of what is written but its digest."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self.closed = False

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self.closed = True
