"""Parquet: batches of columns, given row by row.

Belongs here: bounding what a Parquet file may make us hold, and its values as text. Not here: what a column means.

Held at once are a batch, sized by what the footer states of its row group, and of every column the page it is in:
Arrow decodes pages whole, so that one long value costs its own size several times, and never that of the file.
"""

import io
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from assets.listings.feeds import FeedContract, FeedUnreadable
from assets.listings.readers.json_values import json_text
from assets.listings.readers.rows import Found, ReadLimits, Trouble, Value, flat_fields, require_columns
from assets.listings.readers.unpacking import printable, seekable

_BATCH_ROWS = 1_024
#: Content of a batch as the footer states it.
_BATCH_BYTES = 32 << 20
#: What one number, flag or empty value takes in memory.
_VALUE_BYTES = 8
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
            for batch in _batches(file):
                for found in _rows(batch, limits):
                    number += 1
                    unfolded += len(found.raw) if isinstance(found, Trouble) else _text_chars(found)
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
    groups = [plain.metadata.row_group(i) for i in range(plain.metadata.num_row_groups)]
    # A value takes no byte of its own where runs of one value are folded; unfolded it does.
    stated = max(sum(group.total_byte_size for group in groups), sum(map(_values, groups)))
    if stated > limits.unpacked_bytes or stated > max(limits.ratio_from_bytes, limits.ratio * size):
        raise FeedUnreadable(name, f"{stated} bytes of content in a file of {size}, beyond the reader's limit")
    require_columns(contract, _paths(schema), name)
    leaves = [plain.schema.column(i) for i in range(len(plain.schema))]
    # Dictionaries stay folded, nested ones too, so that a long value repeated in every row is held once.
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.converted_type != "DECIMAL"]
    return pq.ParquetFile(
        delivered, page_checksum_verification=True, read_dictionary=texts, pre_buffer=False, buffer_size=_READ_BYTES
    )


def _values(group: pq.RowGroupMetaData) -> int:
    """How many values a row group's columns hold."""
    return sum(group.column(i).num_values for i in range(group.num_columns))


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The file's rows, fewer at once the more a row group's rows hold."""
    for place in range(file.num_row_groups):
        group = file.metadata.row_group(place)
        row_bytes = max(group.total_byte_size, _VALUE_BYTES * _values(group)) / max(group.num_rows, 1)
        rows = int(_BATCH_BYTES / max(row_bytes, 1))
        yield from file.iter_batches(batch_size=min(max(rows, 1), _BATCH_ROWS), row_groups=[place])


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


def _rows(batch: pa.RecordBatch, limits: ReadLimits) -> Iterator[Found]:
    columns = {name: _as_text(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    texts = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    chars = sum(map(_chars, texts.columns), np.zeros(texts.num_rows, np.int64))
    too_long = chars > limits.row_chars
    step = max(1, _BATCH_CHARS // max(1, int(chars[~too_long].max(initial=0))))
    start = 0
    for stop in [*np.flatnonzero(too_long).tolist(), texts.num_rows]:
        for at in range(start, stop, step):
            for value in _as_python(texts.slice(at, min(step, stop - at))):
                yield _row(value, limits)
        if stop < texts.num_rows:
            yield _too_long(texts.slice(stop, 1), int(chars[stop]), limits)
        start = stop + 1


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


def _as_python(rows: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    try:
        yield from rows.to_pylist()
    except UnicodeDecodeError:
        for at in range(rows.num_rows):
            yield {name: _decoded(column[at]) for name, column in zip(rows.schema.names, rows.columns, strict=True)}


def _chars(column: pa.Array) -> NDArray[np.int64]:
    """How long each row's text is in characters, or bytes where it is no text; what is nested counts one for each."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        lengths = pc.take(pa.array(_chars(column.dictionary)), column.indices)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        lengths = pc.utf8_length(column)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        lengths = pc.binary_length(column)
    elif pa.types.is_struct(kind):
        return sum(map(_chars, column.flatten()), np.ones(len(column), np.int64))
    elif pa.types.is_nested(kind):
        return _chars_of_lists(column)
    else:
        return np.ones(len(column), np.int64)
    counted: NDArray[np.int64] = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return counted


def _chars_of_lists(column: pa.Array) -> NDArray[np.int64]:
    kind = column.type
    inside = _chars(column.keys) + _chars(column.items) if pa.types.is_map(kind) else _chars(column.values)
    before = np.concatenate([[0], np.cumsum(1 + inside)])
    if pa.types.is_fixed_size_list(kind):
        starts = (column.offset + np.arange(len(column))) * kind.list_size
        ends = starts + kind.list_size
    elif pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        starts = column.offsets.to_numpy()
        ends = starts + column.sizes.to_numpy()
    else:
        starts, ends = column.offsets.to_numpy()[:-1], column.offsets.to_numpy()[1:]
    lengths: NDArray[np.int64] = before[ends] - before[starts]
    return lengths


def _too_long(row: pa.RecordBatch, chars: int, limits: ReadLimits) -> Trouble:
    """What to say about a row beyond the limit, of which only the beginnings of its texts are kept."""
    kept = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        value = column[0]
        if isinstance(value, pa.DictionaryScalar) and value.is_valid:
            value = column.dictionary[value.index.as_py()]
        if isinstance(value, pa.StringScalar | pa.BinaryScalar) and value.is_valid:
            kept[name] = value.as_buffer()[: limits.kept_chars].to_pybytes().decode(errors="replace")
    found = f"{chars} characters; expected at most {limits.row_chars}, and kept the first {limits.kept_chars}"
    return Trouble("row_too_long", found, printable(json_text(kept)[: limits.kept_chars]))


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


def _text_chars(fields: dict[str, Value]) -> int:
    return sum(len(v) if isinstance(v, str) else len(json_text(v)) for v in fields.values() if v)
