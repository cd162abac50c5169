"""The brand lexicon: spellings, inference from titles, look-ups, and its independence of order."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.products.brands import Brand, BrandLexicon, brand_key, clean_brand


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Sony", "Sony"),
        ("  SONY®  ", "SONY"),
        ("Brand: Sony", "Sony"),
        ("Marke: Bosch", "Bosch"),
        ("AT&amp;T", "AT&T"),
        ("3M", "3M"),
        ("n/a", None),
        ("N.A.", None),
        ("Unknown", None),
        ("Generic", None),
        ("no brand", None),
        ("Unbranded", None),
        ("Does not apply", None),
        ("-", None),
        ("12345", None),
        ("", None),
        (None, None),
        ("https://brand.example", None),
        ("This is a sentence that somebody pasted into the field for brands", None),
    ],
)
def test_clean_brand(raw: str | None, expected: str | None) -> None:
    assert clean_brand(raw) == expected


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Adobe Systems Inc.", "adobe"),
        ("adobe software", "Adobe"),
        ("Polk Audio", "PolkAudio"),
        ("De'Longhi", "DELONGHI"),
        ("Müller GmbH & Co. KG", "muller"),
        ("D-Link", "dlink"),
        ("The Learning Company", "learning"),
    ],
)
def test_spellings_of_one_brand_share_a_key(left: str, right: str) -> None:
    assert brand_key(left) == brand_key(right)


FEEDS = ["Sony"] * 5 + ["SONY"] * 3 + ["sony"] * 2 + ["Bosch", "BOSCH", "Black & Decker", "Black & Decker", "n/a", None]
FEEDS += ["Encore Software"] * 3 + ["encore"] + ["The Learning Company"] * 3 + ["Microsoft"] * 3 + ["Sony Ericsson"] * 2


@pytest.fixture(scope="module")
def lexicon() -> BrandLexicon:
    return BrandLexicon.from_feeds(FEEDS)


def test_the_most_frequent_spelling_is_canonical(lexicon: BrandLexicon) -> None:
    assert lexicon.canonical("sony") == "Sony"
    assert lexicon.canonical("encore inc") == "Encore Software"
    assert lexicon.canonical("BOSCH") == "Bosch"  # a tie: mixed case first
    assert lexicon.canonical("New Maker Ltd") == "New Maker Ltd"
    assert lexicon.canonical("n/a") is None


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Sony Bravia 55", "Sony"),
        ("SONY WH-1000", "Sony"),
        ("Sony Ericsson W810i", "Sony Ericsson"),
        ("Black and white printer", None),
        ("Black & Decker drill", "Black & Decker"),
        ("black+decker drill", "Black & Decker"),
        ("adventure workshop (pc) encore", "Encore Software"),
        ("headphones by Sony, new", "Sony"),
        ("case for Sony and Microsoft consoles", None),
        ("machine learning in practice", None),
        ("Learning French", "The Learning Company"),
        ("Sonystyle bag", None),
        ("", None),
    ],
)
def test_brand_in_title(lexicon: BrandLexicon, title: str, expected: str | None) -> None:
    assert lexicon.in_title(title) == expected


def test_counts_are_as_good_as_listings(lexicon: BrandLexicon) -> None:
    counts = Counter(brand for brand in FEEDS if brand is not None)
    assert BrandLexicon.from_feeds(counts) == lexicon


def test_the_feed_comes_first(lexicon: BrandLexicon) -> None:
    assert lexicon.resolve("microsoft", "Sony Vaio") == Brand("Microsoft", "feed")
    assert lexicon.resolve("n/a", "Sony Vaio") == Brand("Sony", "title")
    assert lexicon.resolve(None, "washing machine") is None


TITLES = [
    *(f"Sony {word} {number}" for number, word in enumerate(["Turntable", "Walkman", "Bravia", "Radio"])),
    *(f"Harman Kardon {word}" for word in ["Receiver", "Speaker", "Amplifier", "Tuner"]),
    *(f"D-Link {word}" for word in ["Router", "Switch", "Camera"]),
    *(f"Bosch washing machine {number}kg" for number in range(5)),
    *(f"washing machine {number} bosch" for number in range(3)),
    *(f"The {word} thing" for word in ["red", "blue", "green"]),
    *(f"{number} inch tv" for number in (32, 40, 55)),
    "Onkyo receiver",
]


def test_brands_are_inferred_from_titles() -> None:
    lexicon = BrandLexicon.from_titles(TITLES)
    assert sorted(lexicon.titles) == ["dlink", "harmankardon", "sony"]
    assert lexicon.in_title("harman kardon soundbar") == "Harman Kardon"
    assert lexicon.in_title("D Link switch") == "D-Link"
    assert lexicon.in_title("a remote for Sony") is None  # inferred brands count at the start only


def test_repeated_titles_count_once() -> None:
    assert len(BrandLexicon.from_titles(["Acme a", "Acme a", "Acme a", "Acme b", "Acme b"])) == 0


@given(st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rng: random.Random) -> None:
    feeds, titles = list(FEEDS), list(TITLES)
    rng.shuffle(feeds)
    rng.shuffle(titles)
    shuffled = BrandLexicon.from_feeds(feeds).merged(BrandLexicon.from_titles(titles))
    assert shuffled == BrandLexicon.from_titles(TITLES).merged(BrandLexicon.from_feeds(FEEDS))


BRANDS = st.lists(st.sampled_from(["Sony", "SONY", "sony", "Bosch", "n/a", None, "Sony Inc", "De'Longhi", "delonghi"]))


@given(BRANDS, BRANDS, BRANDS)
def test_merging_is_adding(one: list[str | None], two: list[str | None], three: list[str | None]) -> None:
    build = BrandLexicon.from_feeds
    together = build([*one, *two, *three])
    assert build(one).merged(build(two)).merged(build(three)) == together
    assert build(one).merged(build(two).merged(build(three))) == together
    assert build(two).merged(build(one)) == build(one).merged(build(two))


@given(st.lists(st.text(max_size=30), max_size=8), st.text(max_size=60))
def test_any_text_is_looked_up_without_a_crash(brands: list[str], title: str) -> None:
    lexicon = BrandLexicon.from_feeds(brands * 2).merged(BrandLexicon.from_titles([title, *brands]))
    found = lexicon.resolve(None, title)
    assert found is None or found.origin == "title"
    for brand in brands:
        assert lexicon.canonical(lexicon.canonical(brand)) == lexicon.canonical(brand)
