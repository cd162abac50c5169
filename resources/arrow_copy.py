"""Arrow tables through PostgreSQL's COPY, both ways, without a Python object per value.

Belongs here: which PostgreSQL type holds an Arrow type, the bytes COPY wants (binary) and those it gives (CSV).
Not here: connections, transactions, tables that last.

Into the server goes COPY's binary format: nothing to quote or escape, null and empty text are different things,
floats and vectors keep their bits. Out of it comes CSV, because the binary format can only be walked value by
value; arrays travel inside it as JSON and vectors as hexadecimal.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: What a binary COPY starts with: signature, flags, length of the header's extension.
COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
#: What it ends with: a row of -1 fields.
COPY_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
#: PostgreSQL counts days and microseconds from 2000-01-01, Arrow from 1970-01-01.
_EPOCH_DAYS = 10_957
_EPOCH_MICROSECONDS = _EPOCH_DAYS * 86_400_000_000
#: Digits that fit the 64 bits which decimals are encoded through.
_DECIMAL_DIGITS = 18
_DECIMAL_BASE = 10_000
_INTEGER_GROUPS = 5


class UnsupportedColumn(ValueError):
    """A column cannot be stored; the message names the column and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A PostgreSQL type: its name, its OID and, where every value is of one width, its big-endian layout."""

    name: str
    oid: int
    layout: str | None = None


_TEXT = _Scalar("text", 25)
_NUMERIC_OID = 1700
_SCALARS: dict[pa.DataType, _Scalar] = {
    pa.string(): _TEXT,
    pa.bool_(): _Scalar("boolean", 16, "u1"),
    pa.int8(): _Scalar("smallint", 21, ">i2"),
    pa.uint8(): _Scalar("smallint", 21, ">i2"),
    pa.int16(): _Scalar("smallint", 21, ">i2"),
    pa.uint16(): _Scalar("integer", 23, ">i4"),
    pa.int32(): _Scalar("integer", 23, ">i4"),
    pa.uint32(): _Scalar("bigint", 20, ">i8"),
    pa.int64(): _Scalar("bigint", 20, ">i8"),
    pa.float16(): _Scalar("real", 700, ">f4"),
    pa.float32(): _Scalar("real", 700, ">f4"),
    pa.float64(): _Scalar("double precision", 701, ">f8"),
    pa.date32(): _Scalar("date", 1082, ">i4"),
}
_TEXT_TYPES = ("text", "character varying", "character", "name", "json", "jsonb", "uuid", "regclass")
#: What a result's columns are read as when the reader gives no schema.
_READ_AS: dict[str, pa.DataType] = {
    **dict.fromkeys(_TEXT_TYPES, pa.string()),
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "date": pa.date32(),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "text[]": pa.list_(pa.string()),
    "integer[]": pa.list_(pa.int32()),
    "bigint[]": pa.list_(pa.int64()),
    "double precision[]": pa.list_(pa.float64()),
}
_SIZED = re.compile(r"(numeric|halfvec|vector|character varying|character)\((\d+)(?:,(\d+))?\)")


def plain(kind: pa.DataType) -> pa.DataType:
    """The type as it is stored: dictionaries decoded, wide and viewed text as text, time in microseconds."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain(kind.value_type))
    return kind


def is_vector(kind: pa.DataType) -> bool:
    """Whether values are vectors of pgvector: lists of one length of half or single precision numbers."""
    return pa.types.is_fixed_size_list(kind) and kind.value_type in (pa.float16(), pa.float32())


def _scalar(name: str, kind: pa.DataType) -> _Scalar:
    if pa.types.is_timestamp(kind):
        return _Scalar("timestamptz", 1184, ">i8") if kind.tz else _Scalar("timestamp", 1114, ">i8")
    if pa.types.is_decimal128(kind) and 0 <= kind.scale <= kind.precision <= _DECIMAL_DIGITS:
        return _Scalar(f"numeric({kind.precision},{kind.scale})", _NUMERIC_OID)
    if kind not in _SCALARS:
        raise UnsupportedColumn(f"column {name!r}: PostgreSQL has no place for the Arrow type {kind}")
    return _SCALARS[kind]


def postgres_type(field: pa.Field) -> str:
    """Name of the PostgreSQL type that holds the field's values, e.g. `text[]` or `halfvec(384)`.

    Raises:
        UnsupportedColumn: there is none.
    """
    kind = plain(field.type)
    if is_vector(kind):
        return f"{'halfvec' if kind.value_type == pa.float16() else 'vector'}({kind.list_size})"
    if pa.types.is_list(kind):
        if kind.value_type not in _SCALARS or pa.types.is_date(kind.value_type):
            raise UnsupportedColumn(f"column {field.name!r}: lists hold text, numbers or booleans, not {kind}")
        return f"{_scalar(field.name, kind.value_type).name}[]"
    return _scalar(field.name, kind).name


def arrow_type(name: str, type_name: str) -> pa.DataType:
    """Arrow type of a result column, from its type as the server formats it, e.g. `numeric(18,4)`.

    Raises:
        UnsupportedColumn: the column needs a cast, or a schema that says how to read it.
    """
    if type_name in _READ_AS:
        return _READ_AS[type_name]
    if sized := _SIZED.fullmatch(type_name):
        kind, first, second = sized[1], int(sized[2]), int(sized[3] or 0)
        if kind in _TEXT_TYPES:
            return pa.string()
        if kind == "numeric":
            return pa.decimal128(first, second)
        return pa.list_(pa.float16() if kind == "halfvec" else pa.float32(), first)
    raise UnsupportedColumn(f"column {name!r} of type {type_name}: cast it, or say by a schema how to read it")


# -- into the server: binary ------------------------------------------------------------------------------------


def _binary(cells: NDArray[np.uint8]) -> pa.Array:
    """Rows of bytes, shape (rows, width), as an array of binary values."""
    rows, width = cells.shape
    buffer = pa.py_buffer(np.ascontiguousarray(cells))
    return pa.Array.from_buffers(pa.binary(width), rows, [None, buffer]).cast(pa.binary())


def _big_endian(values: NDArray[np.generic], layout: str) -> NDArray[np.uint8]:
    """Numbers as bytes in network order, shape (rows, bytes per number)."""
    return values.astype(layout).view(np.uint8).reshape(len(values), np.dtype(layout).itemsize)


def _lengths(values: pa.Array) -> pa.Array:
    """The four bytes in front of each value of variable width: its length, or -1 for null."""
    return _binary(_big_endian(pc.binary_length(values).fill_null(-1).to_numpy(zero_copy_only=False), ">i4"))


def _framed(cells: NDArray[np.uint8], values: pa.Array) -> pa.Array:
    """Values of one width with their length in front, nulls as their mark alone."""
    length = np.broadcast_to(_big_endian(np.array([cells.shape[1]]), ">i4"), (len(cells), 4))
    framed = _binary(np.concatenate([length, cells], axis=1))
    if not values.null_count:
        return framed
    return pc.if_else(pc.is_valid(values), framed, pa.scalar(_NULL, pa.binary()))


def _decimal_cells(values: pa.Array) -> NDArray[np.uint8]:
    """Decimals as PostgreSQL's numeric: a head of four numbers, then digits in base 10,000 around the point."""
    scale = values.type.scale
    fraction_groups = -(-scale // 4)
    # The low half of a little-endian 128-bit number of at most 18 digits is the number.
    unscaled = np.frombuffer(values.buffers()[1], "<i8")[::2][values.offset : values.offset + len(values)]
    # What lies under a null is not a decimal of ours and must not overflow.
    unscaled = np.where(pc.is_valid(values).to_numpy(zero_copy_only=False), unscaled, 0)
    whole, fraction = np.divmod(np.abs(unscaled), 10**scale)
    groups = [(whole // _DECIMAL_BASE**power) % _DECIMAL_BASE for power in reversed(range(_INTEGER_GROUPS))]
    for group in range(fraction_groups):
        places = scale - 4 * (group + 1)  # digits to the right of the group; negative: it is filled with zeros
        digits = fraction // 10**places if places >= 0 else fraction % 10 ** (4 + places) * 10**-places
        groups.append(digits % _DECIMAL_BASE)
    head = np.empty((len(values), 4), np.int64)
    head[:] = (_INTEGER_GROUPS + fraction_groups, _INTEGER_GROUPS - 1, 0, scale)
    head[:, 2] = np.where(unscaled < 0, 0x4000, 0)
    numbers = np.concatenate([head, np.stack(groups, axis=1)], axis=1)
    return numbers.astype(">i2").view(np.uint8).reshape(len(values), -1)


def _scalar_cells(values: pa.Array, layout: str) -> NDArray[np.uint8]:
    kind = values.type
    if pa.types.is_timestamp(kind):
        numbers = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False) - _EPOCH_MICROSECONDS
    elif pa.types.is_date32(kind):
        numbers = values.cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False) - _EPOCH_DAYS
    else:
        numbers = values.fill_null(pa.array([0], pa.int8()).cast(kind)[0]).to_numpy(zero_copy_only=False)
    return _big_endian(numbers, layout)


def _vector_cells(name: str, values: pa.FixedSizeListArray) -> NDArray[np.uint8]:
    kind = values.type
    layout, itemsize = (">f2", 2) if kind.value_type == pa.float16() else (">f4", 4)
    # Under a null list there may be no numbers at all: give it zeros, `_framed` marks it null.
    if values.null_count:
        zeros = pa.array([[0.0] * kind.list_size], kind)
        values = values.fill_null(zeros[0])
    flat = values.flatten()
    if flat.null_count:
        raise UnsupportedColumn(f"column {name!r}: a vector has a component that is null")
    numbers = flat.to_numpy().astype(layout).view(np.uint8).reshape(len(values), kind.list_size * itemsize)
    head = np.broadcast_to(_big_endian(np.array([kind.list_size << 16]), ">i4"), (len(values), 4))
    return np.concatenate([head, numbers], axis=1)


def _list_payload(name: str, values: pa.ListArray) -> pa.Array:
    """Lists as PostgreSQL's arrays: dimensions, null flag, element OID, length, lower bound, framed elements."""
    elements = values.flatten()
    oid = _scalar(name, elements.type).oid
    lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)
    framed = pc.binary_join_element_wise(*_pieces(name, elements), b"", null_handling="skip")
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    body = pc.binary_join(pa.ListArray.from_arrays(offsets, framed), b"")
    head = np.empty((len(values), 5), np.int64)
    head[:] = (1, int(elements.null_count > 0), oid, 0, 1)
    head[:, 3] = lengths
    head_bytes = _binary(head.astype(">i4").view(np.uint8).reshape(len(values), 20))
    empty = pa.scalar(np.array([0, 0, oid], ">i4").tobytes(), pa.binary())
    heads = pc.if_else(pa.array(lengths == 0), empty, head_bytes)
    payload = pc.binary_join_element_wise(heads, body, b"")
    return pc.if_else(pc.is_valid(values), payload, pa.scalar(None, pa.binary()))


def _pieces(name: str, values: pa.Array) -> list[pa.Array]:
    """Arrays of bytes that, joined row by row, are the column's fields."""
    kind = values.type
    if is_vector(kind):
        return [_framed(_vector_cells(name, values), values)]
    if pa.types.is_list(kind):
        payload = _list_payload(name, values)
        return [_lengths(payload), payload.fill_null(b"")]
    scalar = _scalar(name, kind)
    if pa.types.is_decimal(kind):
        return [_framed(_decimal_cells(values), values)]
    if scalar.layout is not None:
        return [_framed(_scalar_cells(values, scalar.layout), values)]
    return [_lengths(values), values.cast(pa.binary()).fill_null(b"")]


def encode_rows(batch: pa.RecordBatch, schema: pa.Schema, *, rows_before: int = 0) -> bytes:
    """The columns of `schema` in COPY's binary format, without header and trailer.

    Args:
        batch: The rows.
        schema: Columns to take from it, and the types to give them.
        rows_before: Rows that were encoded before these, so that messages number rows from 1.

    Raises:
        UnsupportedColumn: a column is missing, or its type or one of its values has no place in PostgreSQL.
    """
    if not batch.num_rows:
        return b""
    count = np.array([len(schema)], ">i2").tobytes()
    pieces = [pa.repeat(pa.scalar(count, pa.binary()), batch.num_rows)]
    for field in schema:
        position = batch.schema.get_field_index(field.name)
        if position < 0:
            raise UnsupportedColumn(f"column {field.name!r} is missing; there are {batch.schema.names}")
        try:
            values = batch.column(position).cast(plain(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UnsupportedColumn(f"column {field.name!r} does not fit {field.type}: {error}") from error
        _refuse_nul(field.name, values, rows_before)
        pieces += _pieces(field.name, values)
    rows = pc.binary_join_element_wise(*pieces, b"")
    start, end = np.frombuffer(rows.buffers()[1], np.int32)[[rows.offset, rows.offset + len(rows)]]
    return bytes(memoryview(rows.buffers()[2])[start:end])


def _refuse_nul(name: str, values: pa.Array, rows_before: int) -> None:
    """PostgreSQL's text cannot hold the character NUL; say where it is."""
    if values.type == pa.list_(pa.string()):
        values = pc.binary_join(values, "")
    if not pa.types.is_string(values.type):
        return
    first = pc.index(pc.match_substring(values, "\0"), True).as_py()
    if first >= 0:
        raise UnsupportedColumn(f"column {name!r}, row {rows_before + first + 1}: the character NUL (U+0000)")


def slices(batches: Iterable[pa.RecordBatch], *, target_bytes: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about `target_bytes`, so that memory does not grow with a batch."""
    for batch in batches:
        rows = max(1, int(batch.num_rows * target_bytes / max(1, batch.nbytes)))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


# -- out of the server: CSV -------------------------------------------------------------------------------------


def select_expression(field: pa.Field, quoted: str) -> str:
    """The SQL that brings a column into the form `decode_rows` reads; `quoted` is its quoted name."""
    kind = plain(field.type)
    if is_vector(kind):
        send = "halfvec_send" if kind.value_type == pa.float16() else "vector_send"
        return f"encode({send}({quoted}), 'hex') AS {quoted}"
    if pa.types.is_list(kind):
        return f"to_json({quoted}) AS {quoted}"
    if pa.types.is_timestamp(kind):
        return f"(extract(epoch FROM {quoted}) * 1000000)::bigint AS {quoted}"
    if pa.types.is_date32(kind):
        return f"{quoted} - DATE '1970-01-01' AS {quoted}"
    return quoted


def _wire_type(kind: pa.DataType) -> pa.DataType:
    if is_vector(kind) or pa.types.is_list(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_date32(kind):
        return pa.int32()
    return pa.float32() if kind == pa.float16() else kind


def _from_json(name: str, values: pa.Array, kind: pa.DataType) -> pa.Array:
    """JSON arrays, one a value, as lists: read by Arrow's own reader as lines of objects."""
    import pyarrow.json

    lines = pc.binary_join_element_wise('{"v":', values.fill_null("null"), "}\n", "")
    text = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "")[0]
    buffer = text.as_buffer()
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(buffer),
            read_options=pyarrow.json.ReadOptions(block_size=len(buffer) + 1, use_threads=False),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=pa.schema([("v", kind)])),
        )
    except pa.ArrowInvalid as error:
        raise UnsupportedColumn(f"column {name!r}: an array does not fit {kind}: {error}") from error
    return table.column("v").combine_chunks()


def _from_hex(name: str, values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Vectors as their server sends them, in hexadecimal: two 16-bit heads, then the numbers."""
    itemsize = 2 if kind.value_type == pa.float16() else 4
    width = 4 + kind.list_size * itemsize
    valid = values.drop_null()
    data = bytes.fromhex("".join(valid.to_pylist()))
    if len(data) != len(valid) * width:
        raise UnsupportedColumn(f"column {name!r}: vectors are not all of {kind.list_size} components")
    cells = np.frombuffer(data, np.uint8).reshape(len(valid), width)[:, 4:]
    numbers = np.ascontiguousarray(cells).view(f">f{itemsize}").astype(f"<f{itemsize}").reshape(-1)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers, kind.value_type), kind.list_size).cast(kind)
    if not values.null_count:
        return vectors
    positions = np.cumsum(pc.is_valid(values).to_numpy(zero_copy_only=False)) - 1
    return vectors.take(pa.array(positions, mask=pc.is_null(values).to_numpy(zero_copy_only=False)))


def decode_rows(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """Whole rows of COPY's CSV, without header, as a batch of `schema`.

    Raises:
        UnsupportedColumn: a value does not fit the type asked for; the message names the column.
    """
    import pyarrow.csv

    kinds = {field.name: plain(field.type) for field in schema}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(
                column_names=schema.names, use_threads=False, block_size=max(1, len(data)) + 1
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: _wire_type(kind) for name, kind in kinds.items()},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
                true_values=["t"],
                false_values=["f"],
            ),
        )
    except pa.ArrowInvalid as error:
        named = re.sub(r"In CSV column #(\d+)", lambda match: f"column {schema.names[int(match[1])]!r}", str(error))
        raise UnsupportedColumn(f"a value does not fit the schema asked for: {named}") from error
    columns = []
    for field in schema:
        values = table.column(field.name).combine_chunks()
        kind = kinds[field.name]
        if is_vector(kind):
            values = _from_hex(field.name, values, kind)
        elif pa.types.is_list(kind):
            values = _from_json(field.name, values, kind)
        columns.append(values.cast(kind).cast(field.type))
    return pa.record_batch(columns, schema=schema)
