"""What titles state in words, reader by reader."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.clusters.parsing import fold
from assets.clusters.statements import (
    read_accessory,
    read_editions,
    read_kit,
    read_packaging,
    read_platforms,
    read_sizes,
    without_purpose,
)
from assets.clusters.variants import READERS, read_dimensions


@pytest.mark.parametrize(
    ("read", "title", "stated"),
    [
        (read_platforms, "Turtle Beach Recon 70 for PlayStation", {"ps1", "ps2", "ps3", "ps4", "ps5"}),
        (read_platforms, "Elden Ring (PlayStation 5)", {"ps5"}),
        (read_platforms, "Cyberpunk 2077 PC", {"windows"}),
        (read_platforms, "Screwdriver set 12 pc", set()),
        (read_platforms, "Just Dance 2023 Edition Switch code in box", {"switch"}),
        (read_platforms, "Netgear GS308 switch 8 port", set()),
        (read_platforms, "Photoshop Elements (Win/Mac)", set()),
        (read_platforms, "Tamron 28-75mm f/2.8 Sony E", {"mount sony"}),
        (read_packaging, "Intel Core i5-7400 tray", {"bulk"}),
        (read_packaging, "Intel Core i5-7400 retail boxed", {"boxed"}),
        (read_packaging, "Intel Core i5-7400 retail or OEM", set()),
        (read_kit, "Canon EOS 200D body only", {"bare"}),
        (read_kit, "Canon EOS 200D body with 18-55 mm lens", {"18-55"}),
        (read_kit, "Fujifilm X-T20 XC 50-230mm XC 16-50mm", {"16-50+50-230"}),
        (read_kit, "Wooden board 600-400 mm", set()),
        (read_sizes, "Fleece jacket black size M", {"m"}),
        (read_sizes, "Fleece jacket black XL", {"xl"}),
        (read_sizes, "Canon EOS M lens", set()),
        (read_sizes, "Michelin CrossClimate 2 205/55 R16 91V", {"205/55r16"}),
        (read_sizes, "Emma mattress 200 x 90 cm", {"90x200"}),
        (read_sizes, "Curver storage box 40 x 30 x 20 cm", set()),
        (read_sizes, "Curver storage box 40x30x20cm", set()),
        (read_sizes, "Barilla spaghetti 500 gr 12 pieces", set()),
        (read_sizes, "Coin cell size 2032", set()),
        (read_sizes, "Duracell Plus AAA 4 pack", {"aaa"}),
        (read_sizes, "Varta Akku Mignon 2100 mAh", {"aa"}),
        (read_sizes, "Shure AA adapter Micro USB", set()),
        (read_sizes, "Picture frame 40 cm oak", set()),
        (read_sizes, "Kinderjacke rot Gr. 146", {"146"}),
        (read_editions, "Windows 11 Pro", {"professional"}),
        (read_editions, "Galaxy S10+ 128 GB", {"plus"}),
        (read_editions, "LG 49 inch Ultra HD TV", set()),
        (read_editions, "Office Home and Student 2021", {"home", "academic"}),
        (read_accessory, "Silicone case for Apple iPhone 13", {"case"}),
        (read_accessory, "Leather pouch for Apple iPhone 13", {"case"}),
        (read_accessory, "Schutzhülle, Hülle für Apple iPhone 13", {"case"}),
        (read_accessory, "Batteries for Dyson V8", {"battery"}),
        (read_accessory, "Akku für Dyson V8", {"battery"}),
        (read_accessory, "Apple iPhone 13", {"itself"}),
        (read_accessory, "Makita drill with case", set()),
        (read_accessory, "Food for cats", set()),
    ],
)
def test_titles_state(read: Callable[[str], set[str]], title: str, stated: set[str]) -> None:
    assert read(fold(title)) == stated


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        ("Elden Ring PlayStation", "Elden Ring PS4 / PS5 / Xbox", False),
        ("Elden Ring PlayStation", "Elden Ring PlayStation 4", False),
        ("Elden Ring PlayStation", "Elden Ring Xbox", True),
        ("Elden Ring PS4", "Elden Ring PS5", True),
    ],
)
def test_a_playstation_without_a_number_may_be_any(one: str, other: str, *, contradict: bool) -> None:
    platform = read_dimensions([fold(one), fold(other)], ["{}"] * 2)["platform"]
    left, right = (np.array([row], dtype=np.int32) for row in (0, 1))
    assert platform.contradicts(left, right).tolist() == [contradict]


@pytest.mark.parametrize(
    ("title", "own"),
    [
        ("Water tank for Bosch Tassimo TAS1402", "water tank  "),
        ("Speck case for iPhone 3G - IPH3GBLK", "speck case   - iph3gblk"),
        ("Charging dock for PS3 controllers by Nyko 83053", "charging dock   by nyko 83053"),
        ("Bosch Tassimo TAS1402", "bosch tassimo tas1402"),
    ],
)
def test_what_an_offer_is_for_is_not_its_own(title: str, own: str) -> None:
    assert without_purpose(fold(title)).strip() == own.strip()


@given(st.lists(st.text(max_size=60), min_size=1, max_size=6))
def test_any_title_can_be_read_and_never_contradicts_itself(titles: list[str]) -> None:
    twice = [fold(title) for title in [*titles, *titles]]
    dimensions = read_dimensions(twice, ["{}"] * len(twice))
    assert dimensions.keys() == READERS.keys()
    left = np.arange(len(titles), dtype=np.int32)
    for dimension in dimensions.values():
        assert not dimension.contradicts(left, left + len(titles)).any()
        assert not dimension.differs(left, left + len(titles)).any()
