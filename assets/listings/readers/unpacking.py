"""From a delivered file's bytes to its content: decompression, size limits, encodings.

Belongs here: what is true of every format's bytes. Not here: the formats.
"""

import codecs
import io
import re
import shutil
import tempfile
from typing import IO, BinaryIO, cast

import pyarrow as pa

from assets.listings.feeds import FeedUnreadable
from assets.listings.readers.rows import ReadLimits

_BUFFER_BYTES = 1 << 18
#: Copies up to this size stay in memory.
_SPOOL_BYTES = 8 << 20

#: First bytes of what is read through.
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
#: First bytes of what people send by mistake.
_NOT_FEEDS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"PK\x05\x06": "an empty zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an old Office document",
}
_FOREIGN_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}

#: Bytes that could not be decoded are carried as these code points, which no encoding can produce.
_UNDECODABLE_BASE = 0xDC00
_UNDECODABLE = re.compile("[\udc00-\udcff]")
_ERRORS = "offerline.mark_undecodable"


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_UNDECODABLE_BASE + byte) for byte in error.object[error.start : error.end]), error.end


# Like `surrogateescape`, which refuses bytes below 0x80 and therefore most multi-byte encodings.
codecs.register_error(_ERRORS, _mark_undecodable)


class Content(io.RawIOBase):
    """The content of a delivered file, decompressed, that refuses to grow beyond its limits.

    Attributes:
        name: The file, for messages.
        stream: The file as delivered.
        given: Bytes handed out so far.
        compression: What it is compressed with, told by its first bytes.
    """

    def __init__(self, stream: BinaryIO, name: str, limits: ReadLimits) -> None:
        self.name = name
        self.stream = stream
        self.given = 0
        self._limits = limits
        self._packed = _Counted(stream)
        head = self._packed.peek()
        if not head:
            raise FeedUnreadable(name, "the file is empty; expected a feed")
        for magic, what in _NOT_FEEDS.items():
            if head.startswith(magic):
                raise FeedUnreadable(name, f"the file is {what}; expected a feed, plain or in gzip or zstd")
        self.compression = next((kind for magic, kind in _COMPRESSIONS.items() if head.startswith(magic)), None)
        if self.compression:
            # zstandard's own stream reader takes a truncated frame for the end of the file; Arrow's says so.
            self._source = pa.CompressedInputStream(pa.PythonFile(self._packed, mode="r"), self.compression)
        else:
            self._source = self._packed

    def readable(self) -> bool:
        """Always: it is a source of bytes."""
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        """Fill `buffer` with the next bytes.

        Raises:
            FeedUnreadable: truncated or corrupt compression, or more content than the limits allow.
        """
        try:
            data = self._source.read(len(buffer))
        except OSError as error:
            raise FeedUnreadable(
                self.name,
                f"expected intact {self.compression or 'content'}; {error}",
                position=f"byte {self._packed.given}",
            ) from error
        self.given += len(data)
        limits = self._limits
        if self.given > limits.unpacked_bytes:
            self._refuse(f"more than {limits.unpacked_bytes} bytes of content")
        allowed = max(limits.ratio_from_bytes, limits.ratio * self._packed.given)
        if self.compression and self.given > allowed:
            self._refuse(f"content of more than {limits.ratio:g} times its compressed size")
        buffer[: len(data)] = data
        return len(data)

    def _refuse(self, excess: str) -> None:
        raise FeedUnreadable(self.name, f"{excess}, beyond the reader's limit", position=f"byte {self._packed.given}")


class _Counted(io.RawIOBase):
    """A stream that can be looked into and that knows how many bytes it gave."""

    def __init__(self, stream: BinaryIO) -> None:
        self.given = 0
        self._buffered = io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER_BYTES)

    def readable(self) -> bool:
        return True

    def peek(self) -> bytes:
        return self._buffered.peek(16)[:16]

    def read(self, size: int = -1) -> bytes:
        data = self._buffered.read(size)
        self.given += len(data)
        return data


def unpack(stream: BinaryIO, name: str, limits: ReadLimits) -> io.BufferedReader:
    """Open a delivered file's content.

    Compression is told by the first bytes, never by the name.

    Raises:
        FeedUnreadable: the file is empty or of a kind that is no feed. Reading raises it too, see `Content`.
    """
    content = Content(stream, name, limits)
    buffered = io.BufferedReader(content, _BUFFER_BYTES)
    if not buffered.peek(1):
        raise FeedUnreadable(name, "the file is empty; expected a feed")
    return cast(io.BufferedReader, buffered)


def seekable(content: io.BufferedReader) -> IO[bytes]:
    """The content of `unpack` as a file one can seek in: the delivered file itself where it is plain, else a copy.

    The copy is temporary, on disk beyond some megabytes. Closing what is returned is left to the caller.
    """
    delivered = content.raw
    if isinstance(delivered, Content) and not delivered.compression and delivered.stream.seekable():
        delivered.stream.seek(0)
        return delivered.stream
    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - it outlives this function
    shutil.copyfileobj(content, spool, _BUFFER_BYTES)
    spool.seek(0)
    return cast(IO[bytes], spool)


def as_text(content: io.BufferedReader, encoding: str, name: str, *, newline: str) -> io.TextIOWrapper:
    """Decode content, marking what cannot be decoded instead of failing (see `undecodable`).

    Args:
        content: The bytes.
        encoding: Encoding as the contract states it.
        name: The file, for messages.
        newline: As for `open`: "" splits at any line break, "\\n" only there; neither translates.

    Raises:
        FeedUnreadable: a byte order mark speaks of another encoding.
    """
    head = content.peek(2)[:2]
    if head in _FOREIGN_MARKS and not encoding.startswith("utf-16"):
        found = _FOREIGN_MARKS[head]
        raise FeedUnreadable(name, f"the file is marked as {found}; the contract says {encoding}", position="byte 0")
    if encoding == "utf-8":
        encoding = "utf-8-sig"
    return io.TextIOWrapper(content, encoding=encoding, errors=_ERRORS, newline=newline)


def undecodable(text: str) -> bool:
    """Whether `text` holds marks of bytes that could not be decoded."""
    return not text.isascii() and _UNDECODABLE.search(text) is not None


def printable(text: str) -> str:
    r"""Make `text` safe to store: undecodable bytes, other lone surrogates and NULs as `\x..` and `\u....`."""
    shown = _UNDECODABLE.sub(lambda mark: f"\\x{ord(mark[0]) - _UNDECODABLE_BASE:02x}", text)
    return shown.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
