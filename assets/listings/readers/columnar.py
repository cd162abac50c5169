"""Parquet: batches of columns, given row by row.

Belongs here: bounding what a Parquet file may make us hold, and its values as text. Not here: what a column means.
"""

import io
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.json_values import json_text
from assets.listings.readers.rows import Found, ReadLimits, Trouble, flat_fields, require_columns
from assets.listings.readers.unpacking import seekable

_BATCH_ROWS = 1_024
#: Text that a batch may unfold to at once; dictionaries can repeat one long value in every row.
_BATCH_CHARS = 32 << 20
_READ_BYTES = 1 << 20


def read_parquet(
    content: io.BufferedReader, contract: FeedContract, *, name: str, limits: ReadLimits
) -> Iterator[Found]:
    """Read the rows of a Parquet file; numbers, dates and flags become text, structures and lists stay nested.

    Raises:
        FeedUnreadable: not Parquet, corrupt, without a column of the contract, or beyond the limits.
    """
    with seekable(content) as delivered:
        size = delivered.seek(0, io.SEEK_END)
        number = 0
        unfolded = 0
        try:
            file = _open(delivered, contract, name=name, limits=limits, size=size)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for value in _rows(batch):
                    number += 1
                    found = _row(value, limits)
                    unfolded += len(found.raw) if isinstance(found, Trouble) else _chars(found)
                    if unfolded > max(limits.ratio_from_bytes, limits.ratio * size):
                        raise FeedUnreadable(
                            name, f"text of more than {limits.ratio:g} times the file's size", position=f"row {number}"
                        )
                    yield found
        except (pa.ArrowException, OSError, MemoryError, OverflowError, UnicodeDecodeError) as error:
            said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise FeedUnreadable(name, f"expected intact Parquet; {said}", position=f"after row {number}") from error


def _open(delivered: IO[bytes], contract: FeedContract, *, name: str, limits: ReadLimits, size: int) -> pq.ParquetFile:
    plain = pq.ParquetFile(delivered, page_checksum_verification=True)
    schema = plain.schema_arrow
    if len(set(schema.names)) != len(schema.names):
        twice = sorted({n for n in schema.names if schema.names.count(n) > 1})
        raise FeedUnreadable(name, f"columns {twice} appear more than once; expected once", position="header")
    if len(plain.schema) > limits.columns:
        raise FeedUnreadable(name, f"{len(plain.schema)} columns; expected at most {limits.columns}", position="header")
    if any(_depth(field.type) > limits.depth for field in schema):
        raise FeedUnreadable(name, f"columns nested deeper than {limits.depth} levels", position="header")
    stated = sum(plain.metadata.row_group(i).total_byte_size for i in range(plain.metadata.num_row_groups))
    if stated > limits.unpacked_bytes or stated > max(limits.ratio_from_bytes, limits.ratio * size):
        raise FeedUnreadable(name, f"{stated} bytes of content in a file of {size}, beyond the reader's limit")
    require_columns(contract, _paths(schema), name)
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
    # Dictionaries stay folded, so that a long value repeated in every row is held once.
    return pq.ParquetFile(
        delivered, page_checksum_verification=True, read_dictionary=texts, pre_buffer=False, buffer_size=_READ_BYTES
    )


def _depth(type_: pa.DataType) -> int:
    if isinstance(type_, pa.DictionaryType):
        return _depth(type_.value_type)
    return 1 + max((_depth(type_.field(i).type) for i in range(type_.num_fields)), default=0)


def _paths(schema: pa.Schema) -> Iterator[str]:
    def below(field: pa.Field, prefix: str) -> Iterator[str]:
        yield prefix + field.name
        if pa.types.is_struct(field.type):
            for i in range(field.type.num_fields):
                yield from below(field.type.field(i), f"{prefix}{field.name}.")

    for field in schema:
        yield from below(field, "")


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    columns = {name: _as_text(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    texts = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    widest = sum(_longest(column) for column in texts.columns)
    step = max(1, min(texts.num_rows, _BATCH_CHARS // max(widest, 1)))
    for start in range(0, texts.num_rows, step):
        part = texts.slice(start, step)
        try:
            yield from part.to_pylist()
        except UnicodeDecodeError:
            for at in range(part.num_rows):
                yield {name: _decoded(column[at]) for name, column in zip(part.schema.names, part.columns, strict=True)}


def _as_text(column: pa.Array) -> pa.Array:
    """Numbers, dates and flags as text, in Arrow's shortest notation; text, structures and lists as they are."""
    if isinstance(column, pa.DictionaryArray):
        return column
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float32()) if pa.types.is_float16(column.type) else column
        return pc.if_else(pc.is_nan(column), None, column).cast(pa.string())
    if pa.types.is_nested(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return column


def _longest(column: pa.Array) -> int:
    values = column.dictionary if isinstance(column, pa.DictionaryArray) else column
    if len(values) and (pa.types.is_binary(values.type) or pa.types.is_string(values.type)):
        longest: int | None = pc.max(pc.binary_length(values)).as_py()
        return longest or 0
    return int(max(1, values.nbytes // max(len(values), 1)))


def _decoded(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return error.object


def _row(value: dict[str, Any], limits: ReadLimits) -> Found:
    readable = {key: _plain(inner) for key, inner in value.items()}
    bad = [key for key, inner in readable.items() if isinstance(inner, bytes)]
    if bad:
        shown = {k: v.decode(errors="backslashreplace") if isinstance(v, bytes) else v for k, v in readable.items()}
        return Trouble("invalid_encoding", f"column {bad[0]!r}: bytes that are not utf-8", json_text(shown))
    return flat_fields(readable, limits)


def _plain(value: Any) -> Any:
    """What JSON can hold; bytes are text where they can be."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, dict):
        return {str(key): _inner(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_inner(inner) for inner in value]
    return str(value)


def _inner(value: Any) -> Any:
    plain = _plain(value)
    return plain.decode(errors="backslashreplace") if isinstance(plain, bytes) else plain


def _chars(fields: Found) -> int:
    return (
        sum(len(v) if isinstance(v, str) else len(json_text(v)) for v in fields.values() if v)
        if isinstance(fields, dict)
        else 0
    )
