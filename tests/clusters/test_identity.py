"""Lasting ids: law 4, ids last, and an old id always leads to where its members are now."""

import random
import re
from collections import defaultdict
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.clusters.identity import GoneHome, Identity, assign_ids, name_cluster

products = st.sampled_from([f"shop:{n}" for n in range(14)])
partition = st.dictionaries(products, st.integers(0, 5), max_size=14)


def born(labels: dict[str, int]) -> dict[str, str]:
    return dict(assign_ids({}, labels).ids)


def kinds(identity: Identity) -> list[tuple[str, str]]:
    return [(event.cluster_id, event.kind) for event in identity.events]


def members(ids: dict[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for product, cluster in ids.items():
        found[cluster].add(product)
    return found


@pytest.mark.laws
@given(partition, st.integers(1, 99))
def test_an_unchanged_partition_keeps_its_ids_and_has_no_events(labels: dict[str, int], factor: int) -> None:
    ids = born(labels)
    again = assign_ids(ids, {product: label * factor for product, label in labels.items()})
    assert dict(again.ids) == ids
    assert again.events == ()


@pytest.mark.laws
@given(partition, partition, st.randoms(use_true_random=False))
def test_order_and_numbering_do_not_matter(first: dict[str, int], then: dict[str, int], dice: random.Random) -> None:
    previous = born(first)
    shuffled = list(then.items())
    dice.shuffle(shuffled)
    names = list(range(100, 106))
    dice.shuffle(names)
    backwards = dict(reversed(previous.items()))
    assert assign_ids(previous, then) == assign_ids(backwards, {product: names[label] for product, label in shuffled})


@pytest.mark.laws
@given(partition, partition)
def test_every_old_id_leads_to_where_its_members_are_now(first: dict[str, int], then: dict[str, int]) -> None:
    previous = born(first)
    identity = assign_ids(previous, then)
    events = defaultdict(list)
    for event in identity.events:
        events[event.cluster_id].append(event)
    for old, before in members(previous).items():
        now = {identity.ids[product] for product in before if product in then}
        if old not in events:
            assert now == {old}
        for event in events[old]:
            assert set(event.successors) == now
            assert event.members_before == tuple(sorted(before))
            assert event.members_after == tuple(sorted(members(dict(identity.ids)).get(old, ())))


@pytest.mark.laws
@given(partition, partition)
def test_ids_are_unique_and_well_formed(first: dict[str, int], then: dict[str, int]) -> None:
    identity = assign_ids(born(first), then)
    pairs = {(label, identity.ids[product]) for product, label in then.items()}
    assert len(pairs) == len({label for label, _ in pairs}) == len({cluster for _, cluster in pairs})
    assert all(re.fullmatch(r"c_[0-9a-z]{16}", cluster) for _, cluster in pairs)
    assert len({(e.cluster_id, e.kind) for e in identity.events}) == len(identity.events)


@pytest.mark.laws
@given(partition, partition)
def test_a_cluster_keeps_its_id_while_most_of_its_members_stay_together(
    first: dict[str, int], then: dict[str, int]
) -> None:
    """Most of the old cluster are in the new one, and of the new one's that were there before, most come from it."""
    previous = born(first)
    identity = assign_ids(previous, then)
    now = members(dict(identity.ids))
    for old, before in members(previous).items():
        for new, after in now.items():
            together, known = len(before & after), len(after & previous.keys())
            if 2 * together > len(before) and 2 * together > known:
                assert new == old


def test_a_cluster_that_gains_and_loses_members_keeps_its_id() -> None:
    old = born({"a": 1, "b": 1, "c": 1})
    identity = assign_ids(old, {"a": 1, "b": 1, "d": 1})
    assert {identity.ids[p] for p in "abd"} == {old["a"]}
    assert kinds(identity) == [(old["a"], "grown"), (old["a"], "shrunk")]


def test_a_merge_keeps_the_larger_id_and_the_smaller_leads_to_it() -> None:
    old = born({"a": 1, "b": 1, "c": 1, "x": 2, "y": 2})
    identity = assign_ids(old, dict.fromkeys("abcxy", 0))
    assert set(identity.ids.values()) == {old["a"]}
    merged = next(event for event in identity.events if event.kind == "merged")
    assert (merged.cluster_id, merged.successors) == (old["x"], (old["a"],))


def test_a_split_keeps_the_id_with_the_larger_part_and_names_the_other_after_its_members() -> None:
    old = born(dict.fromkeys("abcde", 0))
    identity = assign_ids(old, {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1})
    part = name_cluster(["d", "e"])
    assert identity.ids["a"] == old["a"]
    assert identity.ids["d"] == part
    split = next(event for event in identity.events if event.kind == "split")
    assert (split.cluster_id, split.successors) == (old["a"], (old["a"], part))
    assert (part, "created") in kinds(identity)


@pytest.mark.laws
@given(partition.filter(bool))
def test_a_cluster_that_is_parted_and_put_together_again_has_its_id_back(parts: dict[str, int]) -> None:
    whole = dict.fromkeys(parts, 0)
    ids = born(whole)
    parted = dict(assign_ids(ids, parts, given=sorted(set(ids.values()))).ids)
    (first,) = set(ids.values())
    later = sorted(set(parted.values()) - {first})
    assert dict(assign_ids(parted, whole, given=[first, *later]).ids) == ids


def test_members_without_a_living_id_bring_back_the_one_they_had() -> None:
    asked: list[set[str]] = []

    def gone(products: Collection[str]) -> dict[str, GoneHome]:
        asked.append(set(products))
        homes = {"c": ("c_gone", "cdx"), "d": ("c_gone", "cdx"), "e": ("c_older", "e"), "f": ("c_living", "f")}
        return {product: GoneHome(name, frozenset(members)) for product, (name, members) in homes.items()}

    old = {"a": "c_living", "b": "c_living"}
    now = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 1, "f": 2, "g": 3}
    ids = dict(assign_ids(old, now, given=["c_older", "c_gone", "c_living"], gone_homes=gone).ids)
    assert asked == [{"c", "d", "e", "f", "g"}], "who has a living id is not asked for"
    assert {product: ids[product] for product in "abcde"} == {**old, **dict.fromkeys("cde", "c_gone")}
    assert ids["f"] == name_cluster(["f"]), "one id is one cluster's"
    assert ids["g"] == name_cluster(["g"])


def test_a_part_of_those_that_had_an_id_does_not_take_it_from_the_others() -> None:
    """Ten went into another cluster, where the old id leads; one of them leaves it alone."""
    ten = [f"m{number}" for number in range(10)]
    old = dict.fromkeys([*ten, *(f"y{number}" for number in range(20))], "c_larger")
    now = {product: int(product == "m9") for product in old}
    home = GoneHome("c_smaller", frozenset(ten))
    identity = assign_ids(old, now, given=["c_smaller", "c_larger"], gone_homes=lambda _: {"m9": home})
    assert identity.ids["m9"] == name_cluster(["m9"])
    half = {product: int(product in ten[:5]) for product in old}
    parted = assign_ids(old, half, given=["c_smaller", "c_larger"], gone_homes=lambda _: dict.fromkeys(ten[:5], home))
    assert parted.ids["m0"] == name_cluster(ten[:5])
    most = {product: int(product in ten[:6]) for product in old}
    parted = assign_ids(old, most, given=["c_smaller", "c_larger"], gone_homes=lambda _: dict.fromkeys(ten[:6], home))
    assert parted.ids["m0"] == "c_smaller"


def test_a_cluster_that_left_the_catalogue_is_dissolved() -> None:
    old = born({"a": 1, "b": 2})
    assert kinds(assign_ids(old, {"b": 2})) == [(old["a"], "dissolved")]


def test_a_taken_name_is_never_given_twice() -> None:
    first = name_cluster(["a", "b"])
    second = name_cluster(["b", "a"], taken={first})
    assert second != first
    assert second == name_cluster(["a", "b"], taken={first})
    assert set(assign_ids({}, {"a": 0, "b": 0}, given=[first]).ids.values()) == {second}
