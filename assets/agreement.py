"""Whether a store holds what it should, listing by listing.

Belongs here: the outcome of a comparison, and how it reads. Not here: reading a store, what a digest is taken of,
bringing a store up to date.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from assets.planning import Plan, plan

#: Listings of each kind that are named.
NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What a store holds beside what it should hold.

    Attributes:
        store: Name of the store.
        holds: How many listings it holds.
        difference: What would have to be written and dropped, by listing (`source:listing_id`).
        fault: What is wrong beside single listings, in words; empty where nothing is.
        recall: Share of the nearest neighbours of a sample that the store finds; None where it is not searched.
        was_read: Whether the store could be read; where not, the fault says why, and nothing is known of what it holds.
    """

    store: str
    holds: int
    difference: Plan = field(default_factory=Plan)
    fault: str = ""
    recall: float | None = None
    was_read: bool = True

    @classmethod
    def between(
        cls,
        store: str,
        wanted: Mapping[str, str],
        held: Mapping[str, str],
        *,
        fault: str = "",
        recall: float | None = None,
    ) -> "Agreement":
        """Compare `listing -> digest of its content` as wanted with the same as held."""
        return cls(store=store, holds=len(held), difference=plan(wanted, held), fault=fault, recall=recall)

    @property
    def agrees(self) -> bool:
        """Whether the store holds all it should, as it should, and nothing else."""
        return not (self.difference or self.fault)

    @property
    def differing(self) -> dict[str, tuple[str, ...]]:
        """The listings that differ, by how they do."""
        difference = self.difference
        kinds = {"missing": difference.to_add, "altered": difference.to_change, "too many": difference.to_drop}
        return {kind: listings for kind, listings in kinds.items() if listings}

    @property
    def description(self) -> str:
        """The outcome in one line, with the first listings of each kind."""
        parts = [told(kind, listings) for kind, listings in self.differing.items()]
        if self.fault:
            parts.append(self.fault)
        return "; ".join(parts) or f"{self.holds:,} listings, each as it should be."


def told(kind: str, listings: tuple[str, ...]) -> str:
    """Say how many listings are of a kind, and name the first of them."""
    more = ", …" if len(listings) > NAMED else ""
    return f"{len(listings):,} {kind} ({', '.join(listings[:NAMED])}{more})"
