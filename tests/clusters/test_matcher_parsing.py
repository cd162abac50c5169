"""Reading titles for matching."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matcher_examples import offers

from assets.clusters import parsing
from assets.clusters.corpus import gram_incidence
from assets.clusters.parsing import Text, glue, spellings, tokenise
from assets.clusters.reading import find_spellings, read_offers
from assets.clusters.rules import ParsingRules

RULES = ParsingRules()


def read(*titles: str) -> list[Text]:
    tokens = [tokenise(title) for title in titles]
    known = spellings(tokens, RULES)
    return [parsing.read(glue(each, known, RULES), RULES) for each in tokens]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Café Olé", ("cafe", "ole")),
        ("Finale II", ("finale", "2")),
        ("Acid v7.0", ("acid", "7")),
        ("LG 1.8GHz", ("lg", "1.8", "ghz")),
        ("freezer 60 litres", ("freezer", "60", "l")),
        ("freezer 60L", ("freezer", "60", "l")),
        ('TV 32" weiß', ("tv", "32", "inch", "white")),
        ("Laptop Gris", ("laptop", "grey")),
        ("SSD 1TB", ("ssd", "1000", "gb")),
        ("SSD 0.5 tb", ("ssd", "500", "gb")),
        ("bank 20000 mAh", ("bank", "20000", "mah")),
        ("1,000 photos", ("1000", "photos")),
    ],
)
def test_words_are_canonical(title: str, words: tuple[str, ...]) -> None:
    assert read(title)[0].words == words


def test_codes_written_apart_are_glued_if_somebody_writes_them_together() -> None:
    apart, together, slashed = read("Samson SPM K30", "samson spmk30 mic", "Sony MDR-ED12LP/RED")
    assert apart.codes == together.codes == ("spmk30",)
    assert slashed.codes == ("ed12lp",)


def test_a_code_is_glued_where_somebody_writes_it_with_an_ending() -> None:
    over_ear, in_ear, listed, other = read("Sony WH-1000XM4", "Sony WF-1000XM4", "WH1000XM4B.CE7", "WF1000XM4B Sony")
    assert (over_ear.codes, in_ear.codes) == (("wh1000xm4",), ("wf1000xm4",))
    assert listed.codes[0] == "wh1000xm4b"
    assert other.codes == ("wf1000xm4b",)


@pytest.mark.parametrize("title", ["washer 1400rpm", "disk 500gb", "office 2007", "led tv 4k", "pack of 12"])
def test_measures_years_and_short_tokens_are_no_codes(title: str) -> None:
    assert read(title)[0].codes == ()


def test_measures_know_value_and_unit() -> None:
    assert read("8kg 1400 rpm washer 60 cm")[0].measures == (("kg", "8"), ("rpm", "1400"), ("cm", "60"))


def test_an_identifier_from_another_field_counts_as_a_code_of_the_title() -> None:
    table = offers({"product_id": "a:1", "source": "a", "title": "Camera", "mpn": "DSC-W150"})
    found = read_offers(table, find_spellings(table, RULES), RULES)
    assert found.column("codes").to_pylist() == [["dscw150"]]


@given(st.text(max_size=80) | st.text("0123456789.,vgtb mi-/", max_size=30))
def test_any_text_can_be_read(text: str) -> None:
    found = read(text)[0]
    assert all(word and word == word.casefold() for word in found.words)
    assert set(found.numbers) <= set(found.words)
    assert all(len(gram) == 3 for gram in gram_incidence([" ".join(tokenise(text)) or "-"]).terms)


@given(st.lists(st.text("ab é中", max_size=8).map(str.strip), max_size=6))
def test_grams_are_those_of_every_text_padded(texts: list[str]) -> None:
    found = gram_incidence(texts)
    for text, row in zip(texts, found.matrix.toarray(), strict=True):
        padded = f" {text} "
        expected = {padded[i : i + 3] for i in range(len(padded) - 2)}
        assert {gram for gram, held in zip(found.terms, row, strict=True) if held} == expected
    assert found.terms == sorted(found.terms)
