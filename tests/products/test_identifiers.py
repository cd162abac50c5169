"""Trade item numbers, part numbers and model codes, as feeds write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import ean

from assets.products.identifiers import CodeRules, Gtin, clean_mpn, gtin_in_text, model_codes, parse_gtin

GTINS = [
    ("4006381333931", "04006381333931", None),
    ("4006381333931.0", "04006381333931", None),
    ("'4006381333931", "04006381333931", None),
    ("04006381333931", "04006381333931", None),
    ("EAN: 4006381333931", "04006381333931", None),
    ("EAN-13 4006381333931", "04006381333931", None),
    ("4006381-333931", "04006381333931", None),
    ("4 006381 333931", "04006381333931", None),
    ("036000291452", "00036000291452", None),
    ("36000291452", "00036000291452", "gtin_zero_restored"),
    ("UPC 036000291452", "00036000291452", None),
    ("73513537", "00000073513537", None),
    ("10036000291459", "10036000291459", None),
    ("0-306-40615-2", "09780306406157", None),
    ("ISBN 0306406152", "09780306406157", None),
    ("080442957X", "09780804429573", None),
    ("978-0-306-40615-7", "09780306406157", None),
    ("4006381333930, 4006381333931", "04006381333931", None),
    ("4006381333931;036000291452", "04006381333931", None),
    ("4006381333930", None, "gtin_check_digit"),
    ("4.00638E+12", None, "gtin_mangled"),
    ("4,00638E+12", None, "gtin_mangled"),
    ("2012345678903", None, "gtin_in_store"),
    ("0212345678909", None, "gtin_in_store"),
    ("0412345678903", None, "gtin_in_store"),
    ("212345678909", None, "gtin_in_store"),
    ("20000004", None, "gtin_in_store"),
    ("9912345678909", None, "gtin_coupon"),
    ("0000000000000", None, "gtin_placeholder"),
    ("1111111111111", None, "gtin_placeholder"),
    ("1234567890128", None, "gtin_placeholder"),
    ("12345", None, "gtin_length"),
    ("123456789", None, "gtin_length"),
    ("ABC4006381333", None, "gtin_unreadable"),
    ("see box", None, "gtin_unreadable"),
    ("n/a", None, None),
    ("Does not apply", None, None),
    ("-", None, None),
    ("", None, None),
    (None, None, None),
]


@pytest.mark.parametrize(("raw", "value", "issue"), GTINS)
def test_gtin(raw: str | None, value: str | None, issue: str | None) -> None:
    assert parse_gtin(raw) == Gtin(value, issue)


@given(st.integers(min_value=300, max_value=976), st.integers(min_value=0, max_value=10**9 - 1))
def test_every_valid_number_is_one_in_all_its_notations(prefix: int, rest: int) -> None:
    stem = f"{prefix}{rest:09d}"
    number = stem + ean.calc_check_digit(stem)
    expected = Gtin(number.zfill(14))
    if len(set(number)) > 1:
        for written in (number, f"'{number}", f" {number[:7]} {number[7:]} ", f"0{number}", f"{number}.0"):
            assert parse_gtin(written) == expected
        assert parse_gtin(expected.value) == expected


@given(st.text(max_size=40) | st.from_regex(r"[0-9 .\-E+']{0,16}", fullmatch=True))
def test_gtin_of_any_text_is_valid_or_absent(raw: str) -> None:
    found = parse_gtin(raw)
    assert found.value is None or (len(found.value) == 14 and ean.is_valid(found.value))


def test_gtin_in_a_title() -> None:
    assert gtin_in_text("633808035020 wasp nest ccd suite") == "00633808035020"
    assert gtin_in_text("633808035021 wrong check digit") is None
    assert gtin_in_text("phone 5 64gb") is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("DSC-W150/B", ("DSC-W150/B", None)),
        ("'00123", ("00123", None)),
        ('="00123"', ("00123", None)),
        ("#EL012A", ("EL012A", None)),
        ("N/A", (None, None)),
        ("", (None, None)),
        ("1.23457E+11", (None, "mpn_mangled")),
        ("x" * 5 + "y" * 80, (None, "mpn_unusable")),
    ],
)
def test_mpn(raw: str, expected: tuple[str | None, str | None]) -> None:
    assert clean_mpn(raw) == expected


CODES = [
    ("Sony Turntable - PSLX350H", "PSLX350H"),
    ("bosch waq283s1gb 1400 spin 8kg load washing machine", "WAQ283S1GB"),
    ("bosch wat2840sgb/wat2840sgb", "WAT2840SGB"),
    ("Bosch WAQ-283", "WAQ283"),
    ("Sony Cyber-shot DSC-W150 Silver - DSCW150/B", "DSCW150 DSCW150B"),
    ("samsung ww90k7615ow/eu ecobubble 9kg 1600 spin", "WW90K7615OW WW90K7615OWEU"),
    ("Logitech QuickCam Pro 9000 Webcam - 960-000048", "960000048"),
    ("Canon 9517A002 EF-S 17mm - 85mm f/4.0-5.6 IS Lens - 9517A002", "9517A002"),
    ("Acer LX.ALC0X.001", "LXALC0X001"),
    ("sony media manager for psp (98598)", "98598"),
    ("WH-1000XM5", "WH1000XM5"),
    ("AMD Ryzen 5 5600G", "5600G"),
    ("Sennheiser RS140", "RS140"),
    ("Xerox PIXMA-4500", "PIXMA4500"),
    ("Samsung 55 inch 55NU7500 4K", "55NU7500"),
    # no codes
    ("iPhone 15 Pro 256GB 5G", ""),
    ("Seagate 500gb 7200rpm 2.5in", ""),
    ("Full HD 1080p 60Hz 12v TV 2019", ""),
    ("Intel 5.0ghz 8MB cache LGA1151 DDR4", ""),
    ("16gb USB3 stick 30pk 10-pack 24-bit/192kHz", ""),
    ("2-in-1 5-disc 8-port switch 10/100", ""),
    ("802.11g router v2.0 mp3 h264", ""),
    ("Canon EF-S 18-55mm", ""),
    ("1920x1080 60x90cm 2007-2008", ""),
    ("art explosion 600000 images", ""),
    ("2nd edition preschool-1st windows-98", ""),
    ("633808035020 wasp nest", ""),
    ("no digits at all", ""),
    ("", ""),
]


@pytest.mark.parametrize(("title", "expected"), CODES)
def test_codes_of_titles(title: str, expected: str) -> None:
    assert model_codes(title) == expected.split()


@pytest.mark.parametrize(
    ("mpn", "expected"),
    [
        ("WAQ-283 S1/GB", "WAQ283S1 WAQ283S1GB"),
        ("DSC-W150/B", "DSCW150 DSCW150B"),
        ("KPRA", ""),
        ("4006381333931", ""),
        ("C11CC98201", "C11CC98201"),
    ],
)
def test_codes_of_part_numbers(mpn: str, expected: str) -> None:
    assert model_codes("x", mpn) == expected.split()


def test_codes_keep_order_and_are_unique() -> None:
    assert model_codes("B2000X then A1000X then b-2000x", "A1000X") == ["B2000X", "A1000X"]


@given(st.text(max_size=80), st.none() | st.text(max_size=20))
def test_codes_of_any_text_are_codes(title: str, mpn: str | None) -> None:
    rules = CodeRules()
    codes = model_codes(title, mpn, rules)
    assert len(codes) == len(set(codes)) <= rules.max_count
    for code in codes:
        assert code.isascii() and code.isalnum() and code == code.upper()
        assert any(map(str.isdigit, code)) and rules.min_length <= len(code) <= rules.max_length
        assert not code.isdigit() or len(code) >= rules.min_digits
