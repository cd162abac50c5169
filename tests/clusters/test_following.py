"""A matching that follows its catalogue is that of a new one, to the last bit."""

import io
import zipfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matcher_examples import offers, vectors

from assets.clusters.following import follow, start
from assets.clusters.identity import assign_ids
from assets.clusters.keeping import NotThisState, forget, pack, signature, unpack
from assets.clusters.matching import Matching, MatchState, match
from assets.clusters.rules import CandidateRules, JudgeRules, MatchRules, VetoRules
from assets.clusters.scoring import PRIOR
from benchmarks.matching import clean_feeds, read_feeds

pytestmark = pytest.mark.laws

SHOPS = "abc"
MODELS = ("Sony DSC-W150", "Sony DSC-W170", "Bosch WAP28390GB", "Kingston Exodia 64GB", "Kingston Exodia 128GB")
WORDS = ("digital camera", "camera red", "washing machine 8kg", "USB stick black", "new", "")
#: Lists so short that every change moves somebody in or out, with little to spare.
TIGHT = MatchRules(candidates=CandidateRules(words=3, grams=3, codes=2, vectors=2, descriptions=2, friends=2, slack=1))

offer = st.tuples(
    st.sampled_from(SHOPS),
    st.integers(0, 9),
    st.sampled_from(MODELS),
    st.sampled_from(WORDS),
    st.sampled_from((None, "9.99", "139.00")),
    st.sampled_from((None, "A camera with 8 megapixels.", "Front loading, 1400 rpm.")),
)
catalogue = st.lists(offer, min_size=1, max_size=24)


def table_of(rows: list[tuple[str, int, str, str, str | None, str | None]]) -> pa.Table:
    """A catalogue in which the last word on an offer counts."""
    last = {
        f"{shop}:{number}": {
            "product_id": f"{shop}:{number}",
            "source": shop,
            "title": f"{model} {words}".strip(),
            "price": Decimal(price) if price else None,
            "description": description,
        }
        for shop, number, model, words, price, description in rows
    }
    return offers(*last.values())


def afresh(before: MatchState, table: pa.Table, rules: MatchRules) -> Matching:
    """The matching from scratch, by the same statistics and model."""
    return follow(start(before.statistics, before.model), table, vectors(table), rules=rules)


def assert_same(one: Matching, other: Matching) -> None:
    """Two matchings are the same, bit by bit."""
    assert one.offers.equals(other.offers)
    for name, arrays in {
        "candidates": ("left", "right", "channels"),
        "evidence": ("prior", "log_odds", "vetoes"),
        "scores": ("contested", "probability"),
        "resolution": ("labels", "confidence", "weakest"),
    }.items():
        for array in arrays:
            ours, theirs = (getattr(getattr(matching, name), array) for matching in (one, other))
            assert np.array_equal(ours, theirs), f"{name}.{array} differs"


@settings(max_examples=60, deadline=None)
@given(first=catalogue, later=st.lists(catalogue, min_size=1, max_size=4), tight=st.booleans())
def test_a_matching_that_follows_is_that_of_a_new_one(
    first: list[tuple[str, int, str, str, str | None, str | None]],
    later: list[list[tuple[str, int, str, str, str | None, str | None]]],
    tight: bool,
) -> None:
    """Offers come, change, change back, leave and come again, one or all at once."""
    rules = TIGHT if tight else MatchRules()
    table = table_of(first)
    state = match(table, vectors(table), rules=rules)
    for rows in later:
        table = table_of(rows)
        matching = follow(state, table, vectors(table), rules=rules)
        assert_same(matching, afresh(state, table, rules))
        state = matching


def test_a_new_catalogue_is_one_that_followed_from_nothing() -> None:
    table = table_of([(shop, n, MODELS[n % 5], WORDS[n % 6], None, None) for shop in SHOPS for n in range(9)])
    matching = match(table, vectors(table))
    assert_same(matching, afresh(matching, table, MatchRules()))


FEW = table_of([(shop, n, MODELS[n % 5], WORDS[n % 6], "9.99", "8 megapixels") for shop in SHOPS for n in range(4)])


def test_a_state_that_was_kept_is_followed_like_one_that_was_not() -> None:
    state = match(FEW, vectors(FEW))
    kept = unpack(pack(state, "us"), "us")
    assert kept.model == state.model
    assert kept.statistics.to_table().equals(state.statistics.to_table(), check_metadata=True)
    fewer = FEW.slice(2)
    assert_same(
        follow(kept, fewer, vectors(fewer), rules=MatchRules()),
        follow(state, fewer, vectors(fewer), rules=MatchRules()),
    )


@pytest.mark.parametrize("product_id", ["a:1", "c:3"])
def test_a_state_that_forgot_an_offer_is_followed_like_one_that_knew_it(product_id: str) -> None:
    known = FEW.set_column(
        FEW.column_names.index("title"),
        "title",
        pa.array(
            f"{title} Secretword" if other == product_id else title
            for other, title in zip(FEW["product_id"].to_pylist(), FEW["title"].to_pylist(), strict=True)
        ),
    )
    kept = pack(match(known, vectors(known)), "us")
    forgotten = forget(kept, product_id)
    assert forgotten is not None
    assert [product_id in unpack(state, "us").offers["product_id"].to_pylist() for state in (kept, forgotten)] == [
        True,
        False,
    ]
    assert "ecretword" in str(unpack(kept, "us").offers.to_pylist())
    assert "ecretword" not in str(unpack(forgotten, "us").offers.to_pylist())
    rest = known.filter(pc.not_equal(known["product_id"], product_id))
    assert_same(
        follow(unpack(forgotten, "us"), rest, vectors(rest), rules=MatchRules()),
        follow(unpack(kept, "us"), rest, vectors(rest), rules=MatchRules()),
    )
    assert forget(forgotten, product_id) is None
    with pytest.raises(NotThisState):
        forget(kept[:-30], product_id)


def test_the_same_state_is_the_same_file() -> None:
    state = match(FEW, vectors(FEW))
    assert pack(state, "us") == pack(unpack(pack(state, "us"), "us"), "us")


def without(name: str, data: bytes) -> bytes:
    """The file without one of its parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(file, "w") as smaller:
        for part in archive.namelist():
            if part != name:
                smaller.writestr(part, archive.read(part))
    return file.getvalue()


def test_a_file_that_is_no_state_of_ours_is_refused() -> None:
    good = pack(match(FEW, vectors(FEW)), "us")
    with pytest.raises(NotThisState, match="other code or rules"):
        unpack(good, "them")
    for bad in (b"", b"PK", good[: len(good) // 2], *(without(f"{part}.arrow", good) for part in ("pairs", "words"))):
        with pytest.raises(NotThisState):
            unpack(bad, "us")


def test_a_state_is_of_its_code_and_of_every_rule_that_makes_it() -> None:
    rules, models = MatchRules(), ["MiniLM@1"]
    ours = signature("1", models, rules)
    assert ours == signature("1", models * 2, MatchRules(judging=JudgeRules(questions=9)))
    others = {
        signature("2", models, rules),
        signature("1", ["MiniLM@2"], rules),
        signature("1", models, TIGHT),
        signature("1", models, MatchRules(vetoes=VetoRules(colours=True))),
    }
    assert len({*others, ours}) == 5


def test_ids_outlast_a_new_model() -> None:
    """The demo's offers under a model that thinks otherwise of editions and codes: nearly all ids go on."""
    products = clean_samples()
    usual = match(products, vectors(products))
    other = replace(PRIOR, weights={**PRIOR.weights, "edition_conflict": -0.5, "code_stem_most": 4.0})
    upgraded = match(products, vectors(products), model=replace(other, shift=usual.model.shift))
    before = assign_ids({}, usual.labels)
    after = assign_ids(before.ids, upgraded.labels)
    assert after.events, "the upgrade changes something"
    names, kept = set(before.ids.values()), set(after.ids.values())
    assert len(names & kept) >= 0.9 * len(names)
    assert all(event.successors for event in after.events if event.kind != "dissolved")


def clean_samples() -> pa.Table:
    """The demo's offers, cleaned."""
    with TemporaryDirectory() as scratch:
        return clean_feeds(read_feeds(Path(__file__).parents[2] / "samples", Path(scratch)))
