"""Cleaning text: examples from feeds, and the laws."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assets.products.text import TextRules, clean_text, fold, looks_like_formula

EXAMPLES = [
    ("  Sony \t Bravia\n 55 ", "Sony Bravia 55"),
    ("Sony\u00a0Bravia", "Sony Bravia"),
    ("AT&amp;T Phone", "AT&T Phone"),
    ("AT&amp;amp;T Phone", "AT&T Phone"),
    ("Black & Decker", "Black & Decker"),
    ("Salt&notebook", "Salt&notebook"),
    ("B&W &quot;Px7&quot;", 'B&W "Px7"'),
    ("55&#8243; TV", '55" TV'),
    ("55&#x2033; TV", '55" TV'),
    ("<b>Galaxy</b> S24", "Galaxy S24"),
    ("Gala<b>xy</b> S24", "Galaxy S24"),
    ("H<sub>2</sub>O filter", "H2O filter"),
    ("<p>One</p><p>Two</p>", "One Two"),
    ("One<br>Two<br/>Three", "One Two Three"),
    ("<ul><li>a</li><li>b</li></ul>", "a b"),
    ("&lt;b&gt;Bold&lt;/b&gt; title", "Bold title"),
    ("&amp;lt;b&amp;gt;Bold&amp;lt;/b&amp;gt; title", "Bold title"),
    ("Case<script>alert(1)</script> for phone", "Case for phone"),
    ("Case <style>.a{color:red}</style>for phone", "Case for phone"),
    ("Case &lt;script&gt;alert(1)&lt;/script&gt;", "Case"),
    ("Case <img src=x onerror=alert(1)> red", "Case red"),
    ("Case <!-- hidden --> red", "Case red"),
    ("Size < 5 and > 3", "Size < 5 and > 3"),
    ("I <3 music", "I <3 music"),
    ("Logitech® MX™ Master", "Logitech MX Master"),
    ("Logitech&reg; MX&trade;", "Logitech MX"),
    ("DacEasy(TM) 2007 VersaCheck(r)", "DacEasy 2007 VersaCheck"),
    ("Headlight (R) front", "Headlight (R) front"),
    ("LaserJet&#153;", "LaserJet"),
    ("3½ inch drive", "3 1/2 inch drive"),
    ("½ price", "1/2 price"),
    ("55″ OLED", '55" OLED'),
    ("55” OLED", '55" OLED'),
    ("55´´ OLED", "55'' OLED"),
    ("10 ㎏ bag", "10 kg bag"),
    ("5 m² rug", "5 m2 rug"),
    ("ＳＯＮＹ　ＷＨ－１０００ＸＭ５", "SONY WH-1000XM5"),
    ("Bosch – Serie 6 — weiß", "Bosch - Serie 6 - weiß"),
    ("non\u2011breaking", "non-breaking"),
    ("zero\u200bwidth\u200d\ufeff", "zerowidth"),
    ("soft\u00adhyphen", "softhyphen"),
    ("evil \u202egnp.exe\u202c", "evil gnp.exe"),
    ("NUL\x00 and \x07bell", "NUL and bell"),
    ("\x1b[31mred\x1b[0m", "red"),
    ("🔥 HOT 🔥 Deal ☆☆☆", "HOT Deal"),
    ("☎️ phone", "phone"),
    ("20 °C cooler", "20 °C cooler"),
    ("solos \ufffd many", "solos many"),
    ("schÃ¶n", "schön"),
    ("Itâ€™s here", "It's here"),
    ("ﬁne ﬂute", "fine flute"),
    ("cafe\u0301", "café"),
    ("холодильник", "холодильник"),
    ("洗濯機 8kg", "洗濯機 8kg"),
    ("=HYPERLINK(\"http://x\",\"y\")", '=HYPERLINK("http://x","y")'),
    ("", ""),
    (None, ""),
    ("\u200b", ""),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), EXAMPLES)
def test_examples(raw: str | None, expected: str) -> None:
    assert clean_text(raw) == expected


@given(st.text(max_size=200))
@example("&amp;#38;amp;lt;b>")
@example("&" + "amp;" * 50 + "lt;b&gt;x")
@example("&lt;" * 20)
@example("<" + "&lt;" * 9 + "b>")
@example("ÃƒÂ¶" * 4)
@example("½½½")
def test_cleaning_is_idempotent_and_leaves_one_printable_line(raw: str) -> None:
    once = clean_text(raw)
    assert clean_text(once) == once
    assert once == " ".join(once.split())
    assert once.encode() is not None
    assert all(character.isprintable() for character in once)


MARKUP = st.lists(
    st.sampled_from(["<b>", "</b>", "<script>", "</script>", "<!--", "-->", "&lt;", "&gt;", "&amp;", "&#60;", "<", ">",
                     "a", " ", "&", "amp;", "lt;", "<p", "/", "'", '"', "=", "™", "½", "3"]),
    max_size=40,
).map("".join)  # fmt: skip


@given(MARKUP)
def test_no_element_survives_however_it_is_nested(raw: str) -> None:
    once = clean_text(raw)
    assert clean_text(once) == once
    assert "<script" not in once.lower()
    assert "<b>" not in once
    assert "<!--" not in once


def test_long_and_deep_input_stays_bounded() -> None:
    rules = TextRules(max_raw=20_000, max_length=100)
    assert clean_text("x" * 1_000_000, rules) == "x" * 100
    assert clean_text("&" + "amp;" * 500_000, rules) == "&amp"  # the last one is cut off
    assert clean_text("<div>" * 100_000 + "deep", rules) == ""


@pytest.mark.parametrize(
    ("left", "right"),
    [("Müller", "MULLER"), ("GROSS", "groß"), ("Électro", "electro"), ("Łódź", "łodz"), ("Ångström", "angstrom")],
)
def test_folding_joins_spellings(left: str, right: str) -> None:
    assert fold(left) == fold(right)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", True),
        ("@SUM(A1)", True),
        ("+cmd|' /C calc'!A0", True),
        ("-cmd|x", True),
        ("-10°C cooler", False),
        ("+ Size", False),
        ("@home kit", False),
        ("Sony = good", False),
        ("", False),
    ],
)
def test_formulas_are_recognised(text: str, expected: bool) -> None:
    assert looks_like_formula(text) is expected
