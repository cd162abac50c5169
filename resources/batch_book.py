"""The book of batches and the ledger of deliveries, in PostgreSQL.

Belongs here: reading and writing `catalog.batches` and `catalog.deliveries` outside a batch's own transaction. Not
here: deciding what is new (see `sensors.deliveries`), applying a batch (see the products room).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from assets.batches import Batch, BatchArtifacts, IntakeCounts
from resources.warehouse import Transaction, Warehouse

TEXT = pa.string()
MOMENT = pa.timestamp("us", tz="UTC")
ROWS = pa.int64()

BATCH = pa.schema(
    [(name, TEXT) for name in ("batch_key", "source", "feed_path", "object_key", "etag", "contract", "contract_digest")]
    + [("delivered_at", MOMENT), ("is_accepted", pa.bool_()), ("artifacts", TEXT), ("replayed", pa.list_(TEXT))]
)
INTAKE = pa.schema([(name, ROWS) for name in ("read", "accepted", "rejected", "repeated")] + [("reasons", TEXT)])
DELIVERIES = pa.schema(
    [
        ("delivery_id", pa.int64()),
        ("object_key", TEXT),
        ("etag", TEXT),
        ("size", pa.int64()),
        ("last_modified", MOMENT),
        ("state", TEXT),
        ("batch_key", TEXT),
        ("attempts", pa.int64()),
        ("updated_at", MOMENT),
        ("reason", TEXT),
        ("claimed_by", TEXT),
        ("is_kept", pa.bool_()),
    ]
)
NEWEST = pa.schema(
    [(name, TEXT) for name in ("source", "feed_path", "batch_key", "contract_digest")]
    + [("delivered_at", MOMENT), ("refused", pa.bool_())]
)
REFUSALS = pa.schema([(name, TEXT) for name in ("object_key", "batch_key", "reason")])
BATCH_KEYS = pa.schema([("batch_key", TEXT)])
ERASED = pa.schema([("listing_digest", TEXT)])
OVERVIEW = pa.schema(
    [("batch_key", TEXT), ("delivered_at", MOMENT), ("object_key", TEXT), ("state", TEXT)]
    + [(name, ROWS) for name in ("rows_read", "rows_accepted", "rows_rejected")]
)
APPLIED = pa.schema([("batch_key", TEXT), ("run_id", TEXT)])
STANDING = pa.schema(
    [("state", TEXT), ("contract_digest", TEXT), ("is_accepted", pa.bool_()), ("is_replayed", pa.bool_())]
)
#: A batch as it stands, held until the transaction ends. Replayed is one whose other rows are in the catalogue.
_STANDING_SQL = """
SELECT state, contract_digest, accepted_at IS NOT NULL AS is_accepted, replayed IS NOT NULL AND EXISTS (
           SELECT FROM catalog.deliveries d WHERE d.batch_key = b.batch_key AND d.run_id IS NOT NULL) AS is_replayed
FROM catalog.batches b WHERE batch_key = :batch_key FOR UPDATE
"""

_DELIVERIES_SQL = """
SELECT d.delivery_id, d.object_key, d.etag, d.size, d.last_modified, d.state, batch_key, d.attempts, d.updated_at,
       d.reason, d.claimed_by, b.replayed IS NOT NULL AS is_kept
FROM catalog.deliveries d LEFT JOIN catalog.batches b USING (batch_key)
WHERE d.bucket = :bucket AND {where}
ORDER BY d.last_modified, d.delivery_id
"""


class UnknownBatch(LookupError):
    """No such batch was delivered, or it was not taken in yet; the message says which."""


class NotHeld(ValueError):
    """A batch cannot be accepted: nothing keeps it from coming in; the message says what it is instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One delivery to write down."""

    object_key: str
    etag: str
    size: int
    last_modified: datetime
    state: str
    reason: str | None = None
    batch_key: str | None = None
    source: str | None = None
    feed_path: str | None = None
    mode: str | None = None
    contract: str | None = None
    contract_digest: str | None = None


@dataclass(frozen=True, slots=True)
class PostgresBatchBook:
    """Batches and deliveries in the warehouse; satisfies `assets.batches.BatchBook`."""

    warehouse: Warehouse
    bucket: str

    def batch(self, batch_key: str) -> Batch:
        """Return the batch.

        Raises:
            UnknownBatch: no such batch was delivered.
        """
        found = self.warehouse.read(
            "SELECT batch_key, source, feed_path, object_key, etag, contract::text AS contract, contract_digest, "
            "delivered_at, accepted_at IS NOT NULL AS is_accepted, artifacts::text AS artifacts, replayed "
            "FROM catalog.batches WHERE batch_key = :batch_key",
            BATCH,
            batch_key=batch_key,
        ).to_pylist()
        if not found:
            raise UnknownBatch(f"no batch {batch_key!r} was ever delivered")
        (row,) = found
        artifacts = BatchArtifacts.from_json(row["artifacts"]) if row["artifacts"] else None
        return Batch(
            **{
                **row,
                "contract": json.loads(row["contract"]),
                "artifacts": artifacts,
                "replayed": None if row["replayed"] is None else frozenset(row["replayed"]),
            }
        )

    def newest(self, limit: int, source: str | None = None) -> list[dict[str, Any]]:
        """Return the batches that were delivered last, newest first, with what became of them and of their rows."""
        rows: list[dict[str, Any]] = self.warehouse.read(
            "SELECT batch_key, delivered_at, object_key, state, rows_read, rows_accepted, rows_rejected "
            "FROM catalog.batches WHERE CAST(:source AS text) IS NULL OR source = :source "
            "ORDER BY delivered_at DESC, batch_key LIMIT :limit",
            OVERVIEW,
            limit=limit,
            source=source,
        ).to_pylist()
        return rows

    def last_applied(self, limit: int) -> list[dict[str, Any]]:
        """Return the batches that came into the catalogue last, newest first: batch key, run that brought them."""
        rows: list[dict[str, Any]] = self.warehouse.read(
            "SELECT batch_key, run_id FROM catalog.batches WHERE state = 'applied' AND run_id IS NOT NULL "
            "ORDER BY applied_at DESC LIMIT :limit",
            APPLIED,
            limit=limit,
        ).to_pylist()
        return rows

    def record_intake(self, batch_key: str, counts: IntakeCounts) -> None:
        """Write down how many rows were read and what became of them."""
        with self.warehouse.transaction() as transaction:
            transaction.execute(
                "UPDATE catalog.batches SET rows_read = :read, rows_accepted = :accepted, rows_rejected = :rejected, "
                "rows_repeated = :repeated, reject_reasons = CAST(:reasons AS jsonb) WHERE batch_key = :batch_key",
                batch_key=batch_key,
                read=counts.read,
                accepted=counts.accepted,
                rejected=counts.rejected,
                repeated=counts.repeated,
                reasons=json.dumps(dict(counts.reasons), sort_keys=True),
            )

    def intake(self, batch_key: str) -> IntakeCounts:
        """Return what was written down of a batch's rows.

        Raises:
            UnknownBatch: no such batch was delivered.
        """
        found = self.warehouse.read(
            "SELECT rows_read AS read, rows_accepted AS accepted, rows_rejected AS rejected, "
            "rows_repeated AS repeated, reject_reasons::text AS reasons "
            "FROM catalog.batches WHERE batch_key = :batch_key",
            INTAKE,
            batch_key=batch_key,
        ).to_pylist()
        if not found:
            raise UnknownBatch(f"no batch {batch_key!r} was ever delivered")
        (row,) = found
        return IntakeCounts(**{**row, "reasons": json.loads(row["reasons"])})

    def erased(self, source: str) -> frozenset[str]:
        """Return the digests of the source's listings that were erased."""
        found = self.warehouse.read(
            "SELECT listing_digest FROM catalog.erasures WHERE source = :source", ERASED, source=source
        )
        return frozenset(found.column("listing_digest").to_pylist())

    def replay(self, batch_key: str, reasons: Sequence[str], contract: tuple[str, str, str] | None = None) -> None:
        """Let the rows that a batch rejected for these reasons be taken through again.

        A batch that waits for a run, or that one is taking in, is left to that.

        Args:
            batch_key: A batch that was applied.
            reasons: Why they were rejected.
            contract: By which contract: mode, contract as JSON, its digest; the batch's own unless given.
        """
        with self.warehouse.transaction() as transaction:
            if not self._retry_newest(transaction, batch_key, "its rejected rows are taken through again"):
                return
            if contract is not None:
                self._reopen(transaction, batch_key, *contract)
            transaction.execute(
                "UPDATE catalog.batches SET state = 'applied', replayed = :reasons WHERE batch_key = :batch_key",
                batch_key=batch_key,
                reasons=list(reasons),
            )

    def refuse(self, batch_key: str, reason: str, *, read_by: str | None = None) -> None:
        """Write down that the batch cannot be taken in as it is, and why; see `assets.batches.BatchBook`."""
        self._put_aside(batch_key, "failed", reason, read_by)

    def hold(self, batch_key: str, reason: str, *, read_by: str | None = None) -> None:
        """Write down that the batch waits for somebody to accept it, and why; see `assets.batches.BatchBook`."""
        self._put_aside(batch_key, "held", reason, read_by)

    def _put_aside(self, batch_key: str, state: str, reason: str, read_by: str | None) -> None:
        with self.warehouse.transaction() as transaction:
            (standing,) = transaction.query(_STANDING_SQL, STANDING, batch_key=batch_key).to_pylist()
            if standing["state"] == "rolled_back":
                return  # meanwhile, and so it stays until it is accepted
            delivery_state = "failed"
            if read_by not in (None, standing["contract_digest"]):
                state, delivery_state, reason = "pending", "pending", "its contract has changed"
            elif state == "failed" and standing["is_replayed"]:
                state, delivery_state = "applied", "ingested"
            transaction.execute(
                "UPDATE catalog.batches SET state = :state, "
                "replayed = CASE WHEN :state = 'applied' THEN NULL ELSE replayed END WHERE batch_key = :batch_key",
                batch_key=batch_key,
                state=state,
            )
            transaction.execute(
                "UPDATE catalog.deliveries SET state = :state, reason = :reason, updated_at = now() "
                "WHERE batch_key = :batch_key AND state IN ('pending', 'requested')",
                batch_key=batch_key,
                state=delivery_state,
                reason=reason,
            )

    def accept(self, batch_key: str) -> None:
        """Let a batch be taken in that is held, was rolled back or was given up; accepting it twice changes nothing.

        One that the catalogue was made of before comes in again from what was made of it then; its object may be gone.
        That it may delist much is accepted only of one that was held or rolled back.

        Raises:
            UnknownBatch: no such batch was delivered.
            NotHeld: the batch does not wait for anybody.
        """
        with self.warehouse.transaction() as transaction:
            found = transaction.query(_STANDING_SQL, STANDING, batch_key=batch_key).to_pylist()
            if not found:
                raise UnknownBatch(f"no batch {batch_key!r} was ever delivered")
            (row,) = found
            if row["state"] not in ("held", "rolled_back", "failed"):
                if row["is_accepted"]:
                    return
                raise NotHeld(
                    f"batch {batch_key!r} is {row['state']}, neither held nor rolled back nor given up: "
                    "there is nothing to accept"
                )
            transaction.execute(
                "UPDATE catalog.batches SET state = 'pending', "
                "accepted_at = CASE WHEN state = 'failed' THEN accepted_at ELSE now() END, "
                "replayed = CASE WHEN state = 'rolled_back' AND artifacts IS NOT NULL THEN '{}' ELSE replayed END "
                "WHERE batch_key = :batch_key",
                batch_key=batch_key,
            )
            transaction.execute(
                "UPDATE catalog.deliveries SET state = 'pending', attempts = 0, reason = 'it was accepted', "
                "updated_at = now() WHERE batch_key = :batch_key AND CASE WHEN :state = 'rolled_back' "
                "THEN state = 'rolled_back' ELSE delivery_id = (SELECT max(delivery_id) FROM catalog.deliveries "
                "WHERE batch_key = :batch_key AND state = 'failed') END",
                batch_key=batch_key,
                state=row["state"],
            )

    def deliveries(self) -> pa.Table:
        """Return every delivery of the bucket that was ever written down, oldest first."""
        return self._deliveries("true")

    def open_deliveries(self) -> list[dict[str, Any]]:
        """Return those that wait for a run or that one is taking in, oldest first: few, however many there were."""
        rows: list[dict[str, Any]] = self._deliveries("d.state IN ('pending', 'requested')").to_pylist()
        return rows

    def _deliveries(self, where: str) -> pa.Table:
        return self.warehouse.read(_DELIVERIES_SQL.format(where=where), DELIVERIES, bucket=self.bucket)

    def newest_batches(self) -> list[dict[str, Any]]:
        """Return the newest delivery of every feed: source, feed path, batch key, contract, time, whether refused.

        What was rolled back, or overwritten before it was read, counts as never delivered.
        """
        rows: list[dict[str, Any]] = self.warehouse.read(
            "SELECT DISTINCT ON (d.source, d.feed_path) d.source, d.feed_path, d.batch_key, b.contract_digest, "
            "d.last_modified AS delivered_at, b.state = 'failed' AS refused "
            "FROM catalog.deliveries d JOIN catalog.batches b USING (batch_key) "
            "WHERE d.bucket = :bucket AND d.state NOT IN ('rolled_back', 'superseded') "
            "ORDER BY d.source, d.feed_path, d.last_modified DESC, d.delivery_id DESC",
            NEWEST,
            bucket=self.bucket,
        ).to_pylist()
        return rows

    def write_down(
        self,
        entries: Iterable[LedgerEntry],
        replaced: Sequence[int],
        declared: Sequence[int],
        reread: Iterable[tuple[str, str, str, str]] = (),
    ) -> None:
        """Write down deliveries and their batches in one transaction; writing one down twice changes nothing.

        Args:
            entries: New deliveries in order of delivery.
            replaced: Ids of waiting deliveries whose object was overwritten before it was read.
            declared: Ids of ignored deliveries that are among `entries` again, now with a contract.
            reread: Batches to be read again by another contract: batch key, mode, contract as JSON, its digest.
        """
        with self.warehouse.transaction() as transaction:
            transaction.execute(
                "UPDATE catalog.deliveries SET state = CASE WHEN run_id IS NULL THEN 'superseded' ELSE 'ingested' END, "
                "reason = 'overwritten before it was read', updated_at = now() "
                "WHERE delivery_id = ANY(:ids) AND state = 'pending'",
                ids=list(replaced),
            )
            transaction.execute(
                "UPDATE catalog.batches b SET state = CASE WHEN known.is_applied THEN 'applied' ELSE 'superseded' END "
                "FROM (SELECT batch_key, bool_or(run_id IS NOT NULL) AS is_applied FROM catalog.deliveries "
                "WHERE batch_key IN (SELECT batch_key FROM catalog.deliveries WHERE delivery_id = ANY(:ids)) "
                "GROUP BY batch_key HAVING NOT bool_or(state IN ('pending', 'requested'))) known "
                "WHERE b.batch_key = known.batch_key AND b.state = 'pending'",
                ids=list(replaced),
            )
            transaction.execute(
                "DELETE FROM catalog.deliveries WHERE delivery_id = ANY(:ids) AND state = 'ignored'",
                ids=list(declared),
            )
            for entry in entries:
                values = {name: getattr(entry, name) for name in LedgerEntry.__slots__}
                written = transaction.execute(
                    "INSERT INTO catalog.deliveries (bucket, prefix, object_key, etag, size, last_modified, state, "
                    "reason, source, feed_path, batch_key) VALUES (:bucket, :prefix, :object_key, :etag, :size, "
                    ":last_modified, :state, :reason, :source, :feed_path, :batch_key) "
                    "ON CONFLICT (bucket, object_key, etag, last_modified) DO NOTHING",
                    bucket=self.bucket,
                    prefix=entry.object_key.rpartition("/")[0],
                    **{name: value for name, value in values.items() if not name.startswith(("mode", "contract"))},
                )
                if written and entry.batch_key is not None:
                    # The same bytes delivered again move the batch forward in time; they do not make a second batch.
                    transaction.execute(
                        "INSERT INTO catalog.batches AS b (batch_key, source, feed_path, object_key, etag, mode, "
                        "contract, contract_digest, delivered_at) VALUES (:batch_key, :source, :feed_path, "
                        ":object_key, :etag, :mode, CAST(:contract AS jsonb), :contract_digest, :last_modified) "
                        "ON CONFLICT (batch_key) DO UPDATE SET object_key = EXCLUDED.object_key, "
                        "etag = EXCLUDED.etag, delivered_at = GREATEST(b.delivered_at, EXCLUDED.delivered_at)",
                        **{name: values[name] for name in values if name not in ("size", "state", "reason")},
                    )
                if written and entry.state == "repeated":
                    # It is in the catalogue where that is which it repeats; else it will be with the run of its batch.
                    transaction.execute(
                        "UPDATE catalog.deliveries d SET run_id = (SELECT e.run_id FROM catalog.deliveries e WHERE "
                        "e.batch_key = d.batch_key AND e.state <> 'rolled_back' AND e.delivery_id <> d.delivery_id "
                        "AND e.last_modified <= d.last_modified ORDER BY e.last_modified DESC, e.delivery_id DESC "
                        "LIMIT 1) WHERE d.bucket = :bucket AND d.object_key = :object_key AND d.etag = :etag "
                        "AND d.last_modified = :last_modified",
                        bucket=self.bucket,
                        **{name: values[name] for name in ("object_key", "etag", "last_modified")},
                    )
                if written and entry.batch_key is not None and entry.state == "pending":
                    self._reopen(transaction, entry.batch_key, entry.mode, entry.contract, entry.contract_digest)
            for batch_key, mode, contract, digest in reread:
                self._reopen(transaction, batch_key, mode, contract, digest)
                self._retry_newest(transaction, batch_key, "its contract has changed")

    @staticmethod
    def _retry_newest(transaction: Transaction, batch_key: str, reason: str) -> int:
        """Let the batch's newest delivery wait for a run again, unless one waits already or is under way.

        It stays part of the catalogue meanwhile. A run that is under way sees at its end whether the contract is
        another by then. Returns how many deliveries wait for that.
        """
        return transaction.execute(
            "UPDATE catalog.deliveries SET state = 'pending', attempts = 0, updated_at = now(), reason = :reason "
            "WHERE delivery_id = (SELECT max(delivery_id) FROM catalog.deliveries WHERE batch_key = :batch_key "
            "AND state NOT IN ('rolled_back', 'superseded') "
            "HAVING NOT bool_or(state IN ('pending', 'requested')))",
            batch_key=batch_key,
            reason=reason,
        )

    @staticmethod
    def _reopen(
        transaction: Transaction, batch_key: str, mode: str | None, contract: str | None, digest: str | None
    ) -> None:
        """Let a batch be taken in (again) by this contract; what was accepted before was something else."""
        transaction.execute(
            "UPDATE catalog.batches SET state = 'pending', mode = :mode, contract = CAST(:contract AS jsonb), "
            "contract_digest = :digest, replayed = NULL, accepted_at = NULL WHERE batch_key = :batch_key",
            batch_key=batch_key,
            mode=mode,
            contract=contract,
            digest=digest,
        )

    def refusals(self) -> list[dict[str, Any]]:
        """Return the feeds whose newest delivery could not be taken in: object key, batch key, reason."""
        rows: list[dict[str, Any]] = self.warehouse.read(
            "SELECT newest.object_key, newest.batch_key, failed.reason FROM ("
            "SELECT DISTINCT ON (source, feed_path) object_key, batch_key FROM catalog.deliveries "
            "WHERE bucket = :bucket AND batch_key IS NOT NULL "
            "ORDER BY source, feed_path, last_modified DESC, delivery_id DESC) newest "
            "JOIN catalog.batches b USING (batch_key) "
            # The newest one may only repeat the one that says why.
            "JOIN LATERAL (SELECT reason FROM catalog.deliveries d WHERE d.batch_key = b.batch_key "
            "AND d.state = 'failed' ORDER BY last_modified DESC, delivery_id DESC LIMIT 1) failed ON true "
            "WHERE b.state IN ('failed', 'held') ORDER BY newest.object_key",
            REFUSALS,
            bucket=self.bucket,
        ).to_pylist()
        return rows

    def claim(self, batch_keys: Sequence[str], claimed_by: str | None = None) -> list[str]:
        """Mark waiting batches as requested and return those that this call marked: of two callers one wins each.

        Args:
            batch_keys: The batches.
            claimed_by: The process that will run them itself, by a name that tells whether it still lives.
        """
        with self.warehouse.transaction() as transaction:
            claimed = transaction.query(
                "UPDATE catalog.deliveries SET state = 'requested', attempts = attempts + 1, updated_at = now(), "
                "claimed_by = :claimed_by WHERE batch_key = ANY(:batch_keys) AND state = 'pending' RETURNING batch_key",
                BATCH_KEYS,
                batch_keys=list(batch_keys),
                claimed_by=claimed_by,
            )
        won = set(claimed.column("batch_key").to_pylist())
        return [batch_key for batch_key in batch_keys if batch_key in won]

    def release(self, batch_key: str, reason: str) -> None:
        """Let a requested batch wait again, because the run that should have taken it in came to nothing."""
        with self.warehouse.transaction() as transaction:
            transaction.execute(
                "UPDATE catalog.deliveries SET state = 'pending', reason = :reason, updated_at = now() "
                "WHERE batch_key = :batch_key AND state = 'requested'",
                batch_key=batch_key,
                reason=reason,
            )
