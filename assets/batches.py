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


#: By what the metadata of a batch's accepted rows says how many rows beside them were exact repeats.
REPEATS = "exact repeats"
#: By what it says which contract they were judged by.
CONTRACT_DIGEST = "contract"
#: One partition per batch, added when it is delivered; never one per listing.
BATCHES = dg.DynamicPartitionsDefinition(name="batches")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArtifacts:
    """What was made of a batch, which never changes.

    Attributes:
        raw_listings: Name of the table of accepted rows.
        rejected_listings: Of rejected rows.
        cleaned_products: Of listings that became products.
        rejected_products: Of listings that did not.
        repeats: Rows beside these that only said again what an accepted one says; None where nobody wrote it down.
        contract_digest: By which contract the rows were judged; None where nobody wrote it down.
        is_snapshot: Whether they were applied as all that the feed lists; None until they were.
    """

    raw_listings: str
    rejected_listings: str
    cleaned_products: str
    rejected_products: str
    repeats: int | None = None
    contract_digest: str | None = None
    is_snapshot: bool | None = None

    def to_json(self) -> str:
        """Return a JSON object: attribute -> value."""
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
        contract_digest: By what that contract is told from another.
        is_accepted: Whether somebody wants it applied, however much it delists.
        artifacts: What the catalogue was made from; None until it was.
        replayed: Reasons whose rejected rows alone are to be taken through again, all others staying what they became;
            None: all that was delivered is read.
    """

    batch_key: str
    source: str
    feed_path: str
    object_key: str
    etag: str
    delivered_at: datetime
    contract: Mapping[str, Any]
    contract_digest: str
    is_accepted: bool = False
    artifacts: BatchArtifacts | None = None
    replayed: frozenset[str] | None = None

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

    def refuse(self, batch_key: str, reason: str, *, read_by: str | None = None) -> None:
        """Write down that the batch cannot be taken in as it is, and why; it is not tried again.

        One whose rejected rows only were to be taken through again stays what it was. Where another contract has come
        since the one of the digest `read_by`, the batch is tried again by that.
        """
        ...

    def hold(self, batch_key: str, reason: str, *, read_by: str | None = None) -> None:
        """Write down that the batch waits for somebody to accept it, and why; it is not tried again before.

        Where another contract has come since the one of the digest `read_by`, the batch is tried again by that.
        """
        ...


class BatchArchive(Protocol):
    """Keeps the tables that were made of every batch, for as long as the catalogue may be made of them again."""

    def newest(self, batch_key: str) -> BatchArtifacts:
        """Return the names of the batch's tables as they were made last; raises `LookupError` where one never was."""
        ...

    def read(self, name: str) -> pa.Table:
        """Return the table of that name."""
        ...
