"""What the catalogue of a source is made of: its deliveries, in the order in which it made them.

Belongs here: that order, what in it is void, and what a batch that comes in means for it. Not here: SQL, tables.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One delivery of a batch.

    Attributes:
        batch_key: The batch.
        feed_path: Its feed.
        is_snapshot: Whether a listing of the feed that is missing from it has left the shop.
        delivered_at: When it was delivered.
        is_applied: Whether the catalogue is made of it already.
    """

    batch_key: str
    feed_path: str
    is_snapshot: bool
    delivered_at: datetime
    is_applied: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be applied, in this order, and whether the source is emptied before."""

    entries: tuple[Entry, ...] = ()
    anew: bool = False


def plan_timeline(deliveries: Sequence[Entry], *, anew: bool = False) -> Plan:
    """Decide how the catalogue of a source comes to be what orderly deliveries would have made of it.

    Deliveries that come after all that was applied are applied to what is there. One that belongs before any of those
    makes the source be made anew, from all its deliveries: what a late one changes depends on what came after it. The
    cost is that of the rows of all deliveries of the source; it is paid for what is late, read again, or taken back.

    Args:
        deliveries: Those that are or shall be applied, in the order of delivery.
        anew: Whether something that was applied is not what it was.
    """
    entries = _without_repeats(deliveries)
    applied = _without_repeats(entry for entry in deliveries if entry.is_applied)
    if not anew and entries[: len(applied)] == applied:
        return Plan(entries[len(applied) :])
    return Plan(entries, anew=True)


def _without_repeats(deliveries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Leave out what says again what the delivery of the feed before it has said."""
    last: dict[str, str] = {}
    kept = []
    for entry in deliveries:
        if last.get(entry.feed_path) != entry.batch_key:
            kept.append(entry)
        last[entry.feed_path] = entry.batch_key
    return tuple(kept)
