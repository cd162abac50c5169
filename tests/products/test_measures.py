"""Quantities in titles: what they measure, and in which unit they end."""

import math

import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.products.measures import MeasureRules, parse_measures
from assets.products.units import BASE_UNITS, UNITS, factor, is_quantity

TABLE: list[tuple[str, str, dict[str, float | list[float]]]] = [
    ("Apple iPhone 15 Pro 256GB Blue", "", {"storage_gb": 256}),
    ("SanDisk 1 TB SSD", "", {"storage_gb": 1000}),
    ("Olympus DS-40 512MB Recorder", "", {"storage_gb": 0.512}),
    ("Galaxy S24 8GB/256GB 5G", "", {"ram_gb": 8, "storage_gb": 256}),
    ("Redmi Note 12 8+128 GB", "", {"ram_gb": 8, "storage_gb": 128}),
    ("Laptop 16 GB DDR4 RAM 1 TB SSD 15,6 Zoll", "", {"ram_gb": 16, "storage_gb": 1000, "screen_in": 15.6}),
    ("Notebook RAM: 16 GB", "", {"ram_gb": 16}),
    ("intel xeon e5 2603 10m cache 1.80 ghz 10mb l3", "", {"cache_mb": 10, "frequency_ghz": 1.8}),
    ("Memory 1333 MHz", "", {"frequency_ghz": 1.333}),
    ("SanDisk 64Go", "", {"storage_gb": 64}),
    ("3 to 5 players", "", {}),
    ('Sony 55" OLED TV', "", {"screen_in": 55}),
    ("Samsung 72' Series 6 Black Widescreen DLP HDTV", "", {"screen_in": 72}),
    ("LG 190.5 cm 75 led tv", "", {"screen_in": 75}),
    ("Sony 139 cm (55 Zoll) Fernseher", "", {"screen_in": 55}),
    ("32in led hd 1366x768 usb2", "TVs", {"screen_in": 32, "resolution_p": 768}),
    ("55-inch 55UN7300", "TVs", {"screen_in": 55}),
    ("frost free 60 in white", "", {}),
    ("hoover 55cm wide freezer", "Freezers", {"length_mm": 550}),
    ("TV wall 55cm wide stand", "", {"length_mm": 550}),
    ("Panasonic 27'' microwave trim kit", "", {"length_mm": 685.8}),
    ("HDMI cable 6'", "", {"length_mm": 1828.8}),
    ("HDMI cable 10ft", "", {"length_mm": 3048}),
    ("Canon 18-55 mm lens", "", {"length_mm": 55}),
    ("Mitsubishi 1920 x 1080p 120Hz", "", {"resolution_p": 1080, "refresh_hz": 120}),
    ("4K TV", "", {"resolution_p": 2160}),
    ("full hd", "", {"resolution_p": 1080}),
    ("230V 50Hz heater 2 kW", "", {"voltage_v": 230, "power_w": 2000}),
    ("LG 7.3 cu.ft. dryer", "", {"volume_l": 206.713}),
    ("Olive oil 500 ml", "", {"volume_l": 0.5}),
    ("Olive oil 75cl", "", {"volume_l": 0.75}),
    ("Cola 6 x 0,33 l", "", {"volume_l": 0.33}),
    ("Perfume 3.4 fl. oz. / 100 ml", "", {"volume_l": 0.1}),
    ("Washer 8kg load 1400 spin", "", {"mass_g": 8000, "speed_rpm": 1400}),
    ("Coffee 1,000 g", "", {"mass_g": 1000}),
    ("Dumbbell 5 lb", "", {"mass_g": 2267.96}),
    ("5G phone", "", {}),
    ("HDD 7200 rpm", "", {"speed_rpm": 7200}),
    ("Anker 10,000mAh 22.5W", "", {"battery_mah": 10000, "power_w": 22.5}),
    ("Makita 18V 5.0Ah", "", {"voltage_v": 18, "battery_mah": 5000}),
    ("20 mega pixel camera 5x optical zoom 3.0 inch screen", "", {"resolution_mp": 20, "zoom_x": 5, "screen_in": 3}),
    ("Nikon 12.1MP", "", {"resolution_mp": 12.1}),
    ("DSC-W150", "", {}),
    ("AC-500V", "", {}),
    ("set 500 g and 250 g", "", {"mass_g": [250, 500]}),
    ("9" * 309 + " kg", "", {}),
    ("9" * 490 + " x zoom 5 kg", "", {"mass_g": 5000}),
    ("", "", {}),
]  # fmt: skip


@pytest.mark.parametrize(("title", "context", "expected"), TABLE)
def test_table(title: str, context: str, expected: dict[str, float | list[float]]) -> None:
    assert parse_measures([title], context=context) == expected


def test_attributes_are_read_on_their_own() -> None:
    assert parse_measures(["Phone", "storage 256 GB", "weight 0.2 kg"]) == {"storage_gb": 256, "mass_g": 200}


def test_every_unit_converts_to_its_measures_base() -> None:
    registry: pint.UnitRegistry[float] = pint.UnitRegistry()
    for unit in set(UNITS.values()):
        expected = registry.Quantity(1, unit.name).to(BASE_UNITS[unit.measure]).magnitude
        assert factor(unit.name, BASE_UNITS[unit.measure]) == pytest.approx(expected)


@given(
    st.text(max_size=120) | st.from_regex(r"[0-9]{300,480} ?(kg|tb|mah|x zoom|in tv)", fullmatch=True),
    st.text(max_size=20),
)
def test_any_text_gives_positive_sorted_values(title: str, context: str) -> None:
    for values in parse_measures([title], context=context).values():
        listed = values if isinstance(values, list) else [values]
        assert listed == sorted(set(listed)) and all(0 < value < math.inf for value in listed)
        assert not isinstance(values, list) or 1 < len(values) <= MeasureRules().max_values


@given(st.integers(1, 9999), st.sampled_from(["GB", "ml", "kg", "W", "mAh", "rpm"]), st.sampled_from(["", " ", "-"]))
def test_a_quantity_is_read_however_it_is_spaced(number: int, unit: str, gap: str) -> None:
    tight = parse_measures([f"thing {number}{unit}"])
    assert tight and parse_measures([f"thing {number}{gap}{unit.lower()} extra"]) == tight


@pytest.mark.parametrize("word", ["500GB", "12-pack", "1TB", "100mm", "2.5in", "30pk", "120hz", "10yr"])
def test_quantities_are_recognised(word: str) -> None:
    assert is_quantity(word)


@pytest.mark.parametrize("word", ["5600G", "3600X", "RS140", "9700K", "W150", "GB500"])
def test_models_are_no_quantities(word: str) -> None:
    assert not is_quantity(word)
