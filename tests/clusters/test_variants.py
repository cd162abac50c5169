"""Near variants stay apart and differently worded equals join: the corpus of pairs, and floors by kind.

Belongs here: what must hold of the corpus, and the least accuracy of every kind. Not here: how a catalogue is made of
it and judged (`benchmarks/variants.py`). Shown with `pytest -s`, and by `python -m benchmarks.variants`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pytest

from assets.clusters.rules import MatchRules, VetoRules
from benchmarks.variants import (
    CORPUS,
    EQUALS,
    KINDS,
    VARIANTS,
    Judged,
    VariantCatalogue,
    VariantPair,
    build_catalogue,
    by_kind,
    figures_table,
    judge_pairs,
    main,
    match_catalogue,
    mistake_lines,
    read_pairs,
    rendered,
    strangers,
)

#: Least accuracy of every kind, a little under what is measured; `colour` with the colour rule switched on. A change
#: of the matcher that lifts a kind for good lifts its floor with it.
FLOORS: Final = MappingProxyType(
    {
        "size": 0.95,
        "capacity": 0.95,
        "pack": 0.86,
        "generation": 0.78,
        "condition": 0.95,
        "model": 0.57,
        "edition": 0.45,
        "accessory": 0.63,
        "platform": 0.93,
        "colour": 0.55,
        "wording": 0.95,
        "units": 0.96,
        "language": 0.93,
        "code_spelling": 0.96,
        "typos": 0.95,
        "numerals": 0.95,
    }
)
#: Most offers of different pairs that may meet in one cluster: each is a join that nobody asked for. A variant that is
#: kept apart from its near twin has nobody left of its own, and is free to meet others.
MOST_STRANGERS: Final = 10
#: Least share of variants kept apart where both shops carry both of them.
STOCKED_FLOOR: Final = 0.98
FEWEST_PAIRS: Final = 15


class LetterCounts:
    """An embedder that counts letters."""

    model_version = "letters@1"

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> np.ndarray:
        counts = np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], dtype=np.float32)
        return (counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)).astype(np.float16)


def small_catalogue(cache: Path, *pairs: VariantPair, **more: Any) -> VariantCatalogue:
    return build_catalogue(pairs, cache, lambda _: LetterCounts(), **more)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model and its vectors."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def catalogue(cache: Path) -> VariantCatalogue:
    """The whole corpus with the product's own embeddings."""
    return build_catalogue(read_pairs(), cache)


class TestCorpus:
    def test_every_kind_has_enough_pairs_and_equals_are_near_half(self) -> None:
        pairs = read_pairs()
        assert len(pairs) >= 260
        counts = Counter(pair.kind for pair in pairs)
        assert counts.keys() == set(KINDS) == set(FLOORS)
        assert min(counts.values()) >= FEWEST_PAIRS, counts
        assert 0.4 <= sum(pair.same for pair in pairs) / len(pairs) <= 0.5

    def test_nothing_is_said_twice(self) -> None:
        pairs = read_pairs()
        spellings = Counter(frozenset((pair.left.casefold(), pair.right.casefold())) for pair in pairs)
        assert [sorted(titles) for titles, times in spellings.items() if times > 1 or len(titles) == 1] == []
        # A shop lists a product once, and an equal could not join an offer that has joined another.
        for side in ("left", "right"):
            titles = Counter(getattr(pair, side).casefold() for pair in pairs)
            assert [title for title, times in titles.items() if times > 1] == []

    def test_titles_are_as_shops_publish_them(self) -> None:
        for pair in read_pairs():
            for title in (pair.left, pair.right):
                assert title == " ".join(title.split()), title
                assert 5 < len(title) <= 150, title

    def test_a_kind_is_of_variants_or_of_equals(self, tmp_path: Path) -> None:
        assert not VARIANTS.keys() & EQUALS.keys()
        for line in ("size,1,a,b", "shape,0,a,b", "units,1,a,"):
            (tmp_path / "pairs.csv").write_text(f"kind,same,left_title,right_title\n{line}\n")
            with pytest.raises(ValueError, match=r"pairs\.csv, line 2: expected kind, same"):
                read_pairs(tmp_path / "pairs.csv")
        (tmp_path / "pairs.csv").write_text("kind,left_title,right_title\n")
        with pytest.raises(ValueError, match="expected the columns kind, same"):
            read_pairs(tmp_path / "pairs.csv")


class TestCatalogue:
    def test_an_offer_of_two_pairs_is_one_product(self, tmp_path: Path) -> None:
        small = small_catalogue(
            tmp_path,
            VariantPair("pack", False, "Duracell Plus AA 4 pack", "Duracell Plus AA 8 pack"),
            VariantPair("wording", True, "Duracell Plus AA 4 pack", "AA batteries Duracell Plus, pack of 4"),
        )
        assert small.ids == (("left:pack-1", "right:pack-1"), ("left:pack-1", "right:wording-1"))
        assert small.mentions == {"left:pack-1": {0, 1}, "right:pack-1": {0}, "right:wording-1": {1}}
        assert small.products.column("product_id").to_pylist() == ["left:pack-1", "right:pack-1", "right:wording-1"]

    def test_every_title_becomes_a_product(self, catalogue: VariantCatalogue) -> None:
        assert {name for pair in catalogue.ids for name in pair} == set(
            catalogue.products.column("product_id").to_pylist()
        )
        assert catalogue.products.num_rows == len(catalogue.vectors) == 2 * len(catalogue.pairs)

    def test_offers_of_different_pairs_that_join_are_named(self, tmp_path: Path) -> None:
        small = small_catalogue(
            tmp_path,
            VariantPair("accessory", False, "Sony DSC-W150 digital camera", "Garden hose 25 m green"),
            VariantPair("accessory", False, "Garden gnome with lantern", "Sony DSC-W150 digital camera"),
        )
        matching = match_catalogue(small, MatchRules())
        assert strangers(small, matching) == [("Sony DSC-W150 digital camera", "Sony DSC-W150 digital camera")]

    def test_stocked_shops_carry_both_variants_and_equals_once(self, tmp_path: Path) -> None:
        small = small_catalogue(
            tmp_path,
            VariantPair("size", False, "Pan 24 cm", "Pan 28 cm"),
            VariantPair("wording", True, "Garden hose", "Hose for the garden"),
            stocked=True,
        )
        titles = dict(zip(*(small.products.column(name).to_pylist() for name in ("product_id", "title")), strict=True))
        assert titles == {
            "left:size-1": "Pan 24 cm",
            "left:size-1-too": "Pan 28 cm",
            "left:wording-1": "Garden hose",
            "right:size-1": "Pan 28 cm",
            "right:size-1-too": "Pan 24 cm",
            "right:wording-1": "Hose for the garden",
        }
        assert small.ids == (("left:size-1", "right:size-1"), ("left:wording-1", "right:wording-1"))

    def test_a_background_stands_beside_the_corpus(self, tmp_path: Path) -> None:
        (tmp_path / "feeds.yaml").write_text("feeds: [{source: c, path: c.csv, format: csv}]\n")
        (tmp_path / "c.csv").write_text("listing_id,title\n1,Sony DSC-W150 camera\n2,Sony DSC-W150 camera\n")
        pair = VariantPair("wording", True, "Sony DSC-W150 camera", "Camera Sony DSCW150")
        small = small_catalogue(tmp_path, pair, among=tmp_path)
        assert small.products.num_rows == len(small.vectors) == 4
        assert strangers(small, match_catalogue(small, MatchRules())) == []


def judge(catalogue: VariantCatalogue, rules: MatchRules) -> list[Judged]:
    return judge_pairs(catalogue, match_catalogue(catalogue, rules))


def assert_floors(judged: Sequence[Judged]) -> None:
    decided = [one for one in judged if one.expected is not None]
    report = "\n".join((rendered(figures_table(judged)), *mistake_lines(judged)))
    print(rendered(figures_table(judged)))
    low = {
        kind: (round(row.accuracy, 3), FLOORS[kind])
        for kind, row in by_kind(decided).items()
        if row.accuracy < FLOORS[kind]
    }
    assert not low, f"accuracy and floor: {low}\n{report}"


def test_accuracy_by_kind(catalogue: VariantCatalogue) -> None:
    matching = match_catalogue(catalogue, MatchRules())
    assert_floors(judge_pairs(catalogue, matching))
    met = strangers(catalogue, matching)
    assert len(met) <= MOST_STRANGERS, met


def test_the_colour_rule_parts_colours_and_nothing_else(catalogue: VariantCatalogue) -> None:
    strict = judge(catalogue, MatchRules(vetoes=VetoRules(colours=True)))
    assert_floors(strict)
    assert {one.pair.kind for one in strict if one.expected is None} == set()
    free = judge(catalogue, MatchRules())
    assert {one.pair.kind for one in free if one.expected is None} == {"colour"}
    lost = [one.pair for one, before in zip(strict, free, strict=True) if one.pair.same and one.wrong > before.wrong]
    assert lost == []


def test_shops_that_carry_both_variants_keep_them_apart(cache: Path) -> None:
    stocked = build_catalogue(read_pairs(), cache, stocked=True)
    variants = [one for one in judge(stocked, MatchRules()) if not one.pair.same]
    joined = [one.pair for one in variants if one.joined]
    assert len(joined) <= (1 - STOCKED_FLOOR) * len(variants), joined


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert CORPUS.name in shown
    assert all(kind in shown for kind in KINDS)
