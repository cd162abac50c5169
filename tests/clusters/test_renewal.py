"""When a matching goes on from the last one, and when it is made from scratch."""

from collections.abc import Callable

import pyarrow as pa
import pytest
from matcher_examples import offers, vectors

from assets.clusters.keeping import pack
from assets.clusters.renewal import Renewal, is_current, renew
from assets.clusters.rules import MatchRules


def catalogue(size: int, shops: str = "ab") -> pa.Table:
    """So many products, each offered by every shop."""
    return offers(
        *(
            {"product_id": f"{shop}:{n}", "source": shop, "title": f"Acme drill AX{n:03} {shop}"}
            for shop in shops
            for n in range(size)
        )
    )


def renewed(table: pa.Table, kept: bytes | None, *, from_scratch: bool = False) -> Renewal:
    return renew(table, vectors(table), kept, rules=MatchRules(), made_by="us", from_scratch=from_scratch)


@pytest.fixture(scope="module")
def kept() -> bytes:
    """The state of twenty products of two shops."""
    return pack(renewed(catalogue(20), None).matching, "us")


def test_what_changed_little_is_followed(kept: bytes) -> None:
    renewal = renewed(catalogue(22), kept)
    assert "4 offers came or changed, 0 left" in renewal.way
    assert renewal.matching.change is not None
    assert 0 < renewal.matching.change.compared < len(renewal.matching.candidates)
    assert "0 offers came or changed, 4 left" in renewed(catalogue(18), kept).way


@pytest.mark.parametrize(
    ("table", "damage", "reason"),
    [
        (catalogue(20), lambda state: None, "no earlier matching is kept"),
        (catalogue(20), lambda state: state[:-30], "no state of a matching"),
        (catalogue(26), lambda state: state, "52 offers of 2 sellers are no longer the 40 of 2"),
        (catalogue(15), lambda state: state, "30 offers of 2 sellers are no longer the 40 of 2"),
    ],
    ids=["nothing kept", "broken", "grown", "shrunk"],
)
def test_otherwise_it_is_made_from_scratch_and_says_why(
    kept: bytes, table: pa.Table, damage: Callable[[bytes], bytes | None], reason: str
) -> None:
    renewal = renewed(table, damage(kept))
    assert renewal.way.startswith("from scratch")
    assert reason in renewal.way
    assert renewal.matching.change is None


def test_a_first_rival_makes_a_catalogue_of_one_seller_another() -> None:
    kept = pack(renewed(catalogue(20, "a"), None).matching, "us")
    joined = pa.concat_tables([catalogue(20, "a"), catalogue(1, "b")])
    assert "of 2 sellers are no longer the 20 of 1" in renewed(joined, kept).way


def test_somebody_may_want_it_from_scratch(kept: bytes) -> None:
    assert "it was asked for" in renewed(catalogue(20), kept, from_scratch=True).way


def test_a_catalogue_that_has_not_changed_is_known_at_once(kept: bytes) -> None:
    same = catalogue(20)
    assert is_current(kept, same.take(list(reversed(range(same.num_rows)))), "us")
    assert not is_current(kept, same.slice(1), "us")
    assert not is_current(kept, catalogue(21), "us")
    assert not is_current(kept, same, "them")
    assert not is_current(kept[:100], same, "us")
    assert not is_current(None, same, "us")
