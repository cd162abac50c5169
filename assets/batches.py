"""Batches: one delivered version of one feed, the unit of everything that happens per delivery.

Belongs here: what a batch is, the book that knows all of them, the archive of what was made of them, the partitions.
Not here: deciding what a new batch is (see `sensors.landing`), keeping either (see `resources`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

import dagster as dg
import pyarrow as pa
import xxhash


def listing_digest(listing_id: str) -> str:
    """Return what is kept of the id of an erased listing: xxh3-128, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(listing_id.encode())


#: One partition per batch, added when it is delivered; never one per listing.
BATCHES = dg.DynamicPartitionsDefinition(name="batches")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArtifacts:
    """The names of the four tables that were made of a batch, each of which never changes."""

    raw_listings: str
    rejected_listings: str
    cleaned_products: str
    rejected_products: str

    def to_json(self) -> str:
        """Return a JSON object: table -> name."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "BatchArtifacts":
        """Return what `to_json` was given."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One delivered version of one feed.

    Attributes:
        batch_key: The partition; the same for the same delivered bytes of the same feed.
        source: Source of the feed.
        feed_path: Path of the feed in its contract.
        object_key: Where it was delivered.
        etag: Version of the object; reading another one is an error.
        delivered_at: When the source delivered it last.
        contract: The contract as declared, as JSON values.
        is_accepted: Whether somebody wants it applied, however much it delists.
        artifacts: What the catalogue was made from; None until it was.
        replayed: Reasons whose rejected rows alone are to be taken through again; none: all that was delivered.
    """

    batch_key: str
    source: str
    feed_path: str
    object_key: str
    etag: str
    delivered_at: datetime
    contract: Mapping[str, Any]
    is_accepted: bool = False
    artifacts: BatchArtifacts | None = None
    replayed: frozenset[str] = frozenset()

    @property
    def is_snapshot(self) -> bool:
        """Whether a listing that is missing from this batch has left the shop."""
        return bool(self.contract["mode"] == "snapshot")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeCounts:
    """The fate of a batch's rows: read = accepted + rejected + repeated."""

    read: int
    accepted: int
    rejected: int
    repeated: int
    reasons: Mapping[str, int]


class BatchBook(Protocol):
    """Knows every batch that was ever delivered, and what became of its rows."""

    def batch(self, batch_key: str) -> Batch:
        """Return the batch; raises `LookupError` where no such batch was delivered."""
        ...

    def record_intake(self, batch_key: str, counts: IntakeCounts) -> None:
        """Write down how many rows were read and what became of them."""
        ...

    def intake(self, batch_key: str) -> IntakeCounts:
        """Return what was written down; raises `LookupError` where the batch was not taken in yet."""
        ...

    def erased(self, source: str) -> frozenset[str]:
        """Return the digests of the source's listings that were erased (see `listing_digest`)."""
        ...

    def refuse(self, batch_key: str, reason: str) -> None:
        """Write down that the batch can never be taken in as it is, and why; it is not tried again."""
        ...

    def hold(self, batch_key: str, reason: str) -> None:
        """Write down that the batch waits for somebody to accept it, and why; it is not tried again before."""
        ...


class BatchArchive(Protocol):
    """Keeps the tables that were made of every batch, for as long as the catalogue may be made of them again."""

    def newest(self, batch_key: str) -> BatchArtifacts:
        """Return the names of the batch's tables as they were made last; raises `LookupError` where one never was."""
        ...

    def read(self, name: str) -> pa.Table:
        """Return the table of that name."""
        ...
