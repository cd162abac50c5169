"""An Arrow table as bytes, and back.

Belongs here: the one way in which the matcher writes tables. Not here: what they hold.
"""

import pyarrow as pa

COMPRESSION = "zstd"


def as_ipc(table: pa.Table) -> bytes:
    """Return the table as an Arrow file; the same table is the same bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=COMPRESSION)) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def from_ipc(data: bytes) -> pa.Table:
    """Return the table that `as_ipc` was given.

    Raises:
        pa.ArrowException: the bytes are no such file.
    """
    return pa.ipc.open_file(pa.BufferReader(data)).read_all()
