"""Ids that last: which new cluster carries which old id, and what happened to the rest.

Belongs here: comparing two partitions by their members. Not here: clustering, storage.

An id stays where most of its members stay. One that is gone comes back with most of its members, where they are
together without a living id. A new id is named after the members it was born with, never after the order or numbering
of a run. An old id that nobody carries on leads to the clusters that hold its members now.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

#: Letters of an id: digits and lower case, 32 of them, five bits each.
ALPHABET = "0123456789abcdefghijklmnopqrstuv"
ID_LETTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEvent:
    """What happened to one cluster id.

    Attributes:
        cluster_id: The id it happened to.
        kind: `created`: the id is new, or back with members that it had. `grown`, `shrunk`: it kept its id and gained
            members, or lost some that are no longer in the catalogue. `split`: some of its members are in other
            clusters now. `merged`: its id is gone, all its remaining members are in one other cluster. `dissolved`:
            none of its members remains.
        members_before: Product ids before, ascending.
        members_after: Product ids after, ascending; none where the id is gone.
        successors: Clusters that hold its former members now, largest share first.
    """

    cluster_id: str
    kind: str
    members_before: tuple[str, ...]
    members_after: tuple[str, ...]
    successors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Cluster id of every product of the current partition, and the events since the previous one."""

    ids: Mapping[str, str]
    events: tuple[ClusterEvent, ...]


def name_cluster(members: Iterable[str], taken: Collection[str] = ()) -> str:
    """Name a cluster after its members; a name that is taken is never given twice."""
    text = "\n".join(sorted(members))
    attempt = 0
    while True:
        salted = text if attempt == 0 else f"{text}\n\n{attempt}"
        number = int.from_bytes(hashlib.blake2b(salted.encode(), digest_size=10).digest(), "big")
        name = "c_" + "".join(ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(ID_LETTERS)))
        if name not in taken:
            return name
        attempt += 1


def carry_over(
    overlaps: Mapping[tuple[str, Hashable], int], first_member: Mapping[Hashable, str], age: Mapping[str, int]
) -> dict[Hashable, str]:
    """Give old ids to new clusters, largest overlap first, each at most once; ties go to the older id.

    An id that was given out earlier is one that more people have stored, and where a cluster is put together again it
    is the one that it had.
    """
    carried: dict[Hashable, str] = {}
    used: set[str] = set()
    for (old, cluster), _ in sorted(
        overlaps.items(),
        key=lambda item: (-item[1], age.get(item[0][0], len(age)), item[0][0], first_member[item[0][1]]),
    ):
        if old not in used and cluster not in carried:
            carried[cluster] = old
            used.add(old)
    return carried


def gather(assignment: Mapping[str, Hashable]) -> dict[Hashable, set[str]]:
    """Members of every cluster."""
    members: dict[Hashable, set[str]] = defaultdict(set)
    for product, cluster in assignment.items():
        members[cluster].add(product)
    return members


@dataclass(frozen=True, slots=True)
class GoneHome:
    """A cluster whose id nobody carries, and the products that were last in it."""

    cluster_id: str
    members: frozenset[str]


def never_seen(products: Collection[str]) -> Mapping[str, GoneHome]:
    """Return the gone cluster of every product: none, where there was no catalogue before."""
    return MappingProxyType({})


def assign_ids(
    previous: Mapping[str, str],
    current: Mapping[str, Hashable],
    *,
    given: Sequence[str] = (),
    gone_homes: Callable[[Collection[str]], Mapping[str, GoneHome]] = never_seen,
) -> Identity:
    """Give lasting ids to a partition.

    Args:
        previous: Product id -> cluster id, as of the previous clustering.
        current: Product id -> any cluster label, as of this one.
        given: Every id that was ever given out, oldest first; none of them is given out again to other members.
        gone_homes: Of these products those that were in a cluster whose id nobody carries now -> the last such one.
            Its id comes back where more than half of those of its members are together that are in the catalogue now.

    Returns:
        Product id -> cluster id, and the events, ordered by cluster id and kind. An unchanged partition keeps all
        ids and has no events.
    """
    before, clusters = gather(previous), gather(current)
    first_member = {label: min(members) for label, members in clusters.items()}
    age = {name: rank for rank, name in enumerate(given)}
    carried = carry_over(_overlaps(previous, current), first_member, age)
    without = {product: label for product, label in current.items() if label not in carried}
    homes = gone_homes(without) if without else {}
    back = {product: home.cluster_id for product, home in homes.items() if home.cluster_id not in before}
    here = {home.cluster_id: len(home.members & current.keys()) for home in homes.values()}
    shares = {pair: count for pair, count in _overlaps(back, without).items() if 2 * count > here[pair[0]]}
    carried |= carry_over(shares, first_member, age)

    taken = {*given, *previous.values()}
    ids: dict[Hashable, str] = dict(carried)
    for label in sorted(clusters.keys() - carried.keys(), key=lambda label: first_member[label]):
        ids[label] = name_cluster(clusters[label], taken)
        taken.add(ids[label])
    return Identity(
        MappingProxyType({product: ids[label] for product, label in current.items()}),
        tuple(find_events(before, {ids[label]: members for label, members in clusters.items()})),
    )


def _overlaps(homes: Mapping[str, str], current: Mapping[str, Hashable]) -> dict[tuple[str, Hashable], int]:
    """How many products each old id has in common with each new cluster, where there are any."""
    overlaps: dict[tuple[str, Hashable], int] = defaultdict(int)
    for product, label in current.items():
        if product in homes:
            overlaps[homes[product], label] += 1
    return overlaps


def find_events(before: Mapping[Hashable, set[str]], after: Mapping[str, set[str]]) -> list[ClusterEvent]:
    """What happened between two partitions that carry ids, ordered by cluster id and kind."""
    home = {product: cluster for cluster, members in after.items() for product in members}
    events: list[ClusterEvent] = []
    for cluster in sorted({*map(str, before), *after}):
        old, new = before.get(cluster, set()), after.get(cluster, set())
        shares: dict[str, int] = defaultdict(int)
        for product in old:
            if product in home:
                shares[home[product]] += 1
        successors = tuple(sorted(shares, key=lambda name: (-shares[name], name)))
        kinds = []
        if not old:
            kinds.append("created")
        elif not successors:
            kinds.append("dissolved")
        elif cluster in after:
            kinds += ["grown"] * bool(new - old) + ["split"] * (len(successors) > 1)
            kinds += ["shrunk"] * any(product not in home for product in old)
        else:
            kinds.append("merged" if len(successors) == 1 else "split")
        events += [
            ClusterEvent(
                cluster_id=cluster,
                kind=kind,
                members_before=tuple(sorted(old)),
                members_after=tuple(sorted(new)),
                successors=successors if old else (cluster,),
            )
            for kind in sorted(kinds)
        ]
    return events
