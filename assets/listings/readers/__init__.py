"""From a delivered file to its rows, whatever the format, without ever holding the file.

Belongs here: the one door `read_rows`; each module behind it knows one format. Not here: which rows are acceptable.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from assets.listings.feeds import FeedContract, FeedFormat, FeedUnreadable
from assets.listings.readers.columnar import read_parquet
from assets.listings.readers.delimited import read_delimited
from assets.listings.readers.json_lines import read_json_lines
from assets.listings.readers.merchant import read_merchant
from assets.listings.readers.rows import BrokenRow, Found, ReadLimits, Row, Trouble, Value
from assets.listings.readers.schema_org import read_schema_org
from assets.listings.readers.shopify import read_shopify
from assets.listings.readers.unpacking import unpack

__all__ = ["BrokenRow", "FeedUnreadable", "ReadLimits", "Row", "Value", "read_rows"]

_READERS: dict[FeedFormat, Callable[..., Iterator[Found]]] = {
    FeedFormat.CSV: read_delimited,
    FeedFormat.TSV: read_delimited,
    FeedFormat.JSONL: read_json_lines,
    FeedFormat.PARQUET: read_parquet,
    FeedFormat.GOOGLE_MERCHANT: read_merchant,
    FeedFormat.SHOPIFY: read_shopify,
    FeedFormat.SCHEMA_ORG: read_schema_org,
}


def read_rows(
    stream: BinaryIO, contract: FeedContract, *, name: str, limits: ReadLimits | None = None
) -> Iterator[Row | BrokenRow]:
    """Read a delivered file row by row.

    A row that cannot be read comes as a `BrokenRow` and reading goes on. Rows and broken rows share one numbering,
    from 1, without gaps. Memory is bounded by the limits, not by the file.

    Args:
        stream: The file as delivered, plain or in gzip or zstd (told by its first bytes); it is used up and closed.
        contract: Format, encoding and columns the source promised.
        name: How messages call the file.
        limits: How much the file may ask for.

    Yields:
        Every row of the file, in its order.

    Raises:
        FeedUnreadable: the file as a whole cannot be read, also in the middle of it: apply nothing of what came
            before.
    """
    limits = limits or ReadLimits()
    content = unpack(stream, name, limits)
    reader = _READERS[contract.format](content, contract, name=name, limits=limits)
    for number, found in enumerate(reader, start=1):
        if isinstance(found, Trouble):
            yield BrokenRow(number, *found)
        else:
            yield Row(number, found)
