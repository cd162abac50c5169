"""Which keys of a store must be written or dropped.

Belongs here: comparing fingerprints. Not here: models, tables, Dagster.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between what is wanted and what is stored, as sorted keys."""

    to_add: tuple[str, ...] = ()
    to_change: tuple[str, ...] = ()
    to_drop: tuple[str, ...] = ()

    @property
    def to_write(self) -> tuple[str, ...]:
        """Keys to store, new and changed alike."""
        return tuple(sorted(self.to_add + self.to_change))

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.to_add or self.to_change or self.to_drop)


def plan(wanted: Mapping[str, str], stored: Mapping[str, str]) -> Plan:
    """Compare `key -> fingerprint` as wanted with the same as stored.

    A fingerprint covers the data and the version of the model or rule, so that a new version changes every key.
    """
    return Plan(
        to_add=tuple(sorted(wanted.keys() - stored.keys())),
        to_change=tuple(sorted(key for key in wanted.keys() & stored.keys() if wanted[key] != stored[key])),
        to_drop=tuple(sorted(stored.keys() - wanted.keys())),
    )
