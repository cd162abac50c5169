"""The sentences that need no model: grammar, money, and hostile listing text."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from summary_examples import record

from assets.summaries.facts import Facts, plain
from assets.summaries.wording import HEADLINE_LENGTH, Wording, written_from


def words(**values: object) -> Wording:
    return written_from(Facts.of(record(**values)))


def test_a_whole_summary() -> None:
    written = words()
    assert written.headline == "Acme Phone X 64 GB black"
    assert written.summary == (
        "For Acme Phone X 64 GB black there are 3 offers from 2 shops. "
        "The listings say: brand Acme, category Phones, colour black, storage 64 GB. "
        "Prices in euros run from €80.00 (listed by beta) to €1,234.50; the median is €90.00. "
        "The offers disagree on colour (black, blue)."
    )


@pytest.mark.parametrize(
    ("offers", "sellers", "said"),
    [
        (1, 1, "there is 1 offer from 1 shop."),
        (2, 1, "there are 2 offers from 1 shop."),
        (1200, 30, "there are 1,200 offers from 30 shops."),
    ],
)
def test_singular_and_plural(offers: int, sellers: int, said: str) -> None:
    assert said in words(offers=offers, sellers=sellers).summary


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"offers": 1, "price_max": Decimal("80")}, "The price is €80.00."),
        ({"price_max": Decimal("80")}, "Every price given in euros is €80.00."),
        ({"currency": None, "price_min": None, "price_max": None}, "No offer names a price."),
        ({"offers": 1, "currency": None, "price_min": None, "price_max": None}, "It names no price."),
        (
            {"currency": "JPY", "price_median": Decimal("90.5")},
            "run from ¥80 (listed by beta) to ¥1,234; the median is ¥90.",
        ),
        ({"price_min": Decimal("0")}, "from €0.00"),
    ],
)
def test_prices(values: dict[str, object], said: str) -> None:
    assert said in words(**values).summary


def test_the_brand_leads_the_headline_where_the_title_does_not_name_it() -> None:
    assert words(title="Phone X", brand="Acme").headline == "Acme Phone X"


def test_many_disagreements_are_shortened() -> None:
    disputed = {
        "measures.storage_gb": [32, 64, 128, 256, 512, 1024],
        "gtin": ["1", "2"],
        "brand": ["A", "B"],
        "zzz": [1, 2],
    }
    said = words(disagreements=disputed).summary
    assert "disagree on brand (A, B), GTIN (1, 2) and storage (32 GB, 64 GB, 128 GB, 256 GB and 2 more)." in said


def test_hostile_text_stays_text() -> None:
    evil = "<script>alert(1)</script> [win](https://evil.example/x) ![i](javascript:1) `rm` \u202edesrever\x00 **NOW**"
    written = words(title=evil, brand=evil, category="a|b\n# c", disagreements={"brand": [evil, "B"]})
    for text in (written.headline, written.summary):
        assert text.isprintable()
        assert not set(text) & set("<>`[]*|")
        assert "://" not in text
    assert len(written.headline) <= HEADLINE_LENGTH


@settings(deadline=None)
@given(st.text(max_size=300), st.integers(1, 80))
def test_plain_text_is_plain_short_and_settled(text: str, limit: int) -> None:
    once = plain(text, limit)
    assert len(once) <= limit
    assert once.isprintable() and not set(once) & set("<>`[]*|")
    assert plain(once, limit) == once


@settings(deadline=None)
@given(st.text(max_size=400), st.text(max_size=100), st.text(max_size=100), st.text(max_size=2000))
def test_no_listing_text_breaks_or_swells_a_summary(title: str, brand: str, colour: str, description: str) -> None:
    written = words(
        title=title, brand=brand, colour=colour, description=description, disagreements={"brand": [brand, "B"]}
    )
    assert 0 < len(written.headline) <= HEADLINE_LENGTH
    assert len(written.summary) < 1200
