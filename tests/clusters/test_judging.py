"""Which pairs are put to a judge, what is told of them, and what its answers do to the clusters."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_examples import ROOT, folder_at, groups_in, matching_of, numbers_of, pairs_in, products_of

from assets.clusters.explanation import explain
from assets.clusters.judging import ask_about, choose_pairs, open_pairs, tell_offers, value_answers
from assets.clusters.matching import Matching, match, settle
from assets.clusters.ports import Answer
from assets.clusters.rules import JudgeRules, MatchRules
from assets.clusters.tables import scored_table
from benchmarks.prior import Folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return folder_at(ROOT / "samples", tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def matched(samples: Folder) -> Matching:
    return match(samples.products, samples.vectors, rules=asking(100_000))


def asking(questions: int) -> MatchRules:
    return MatchRules(judging=JudgeRules(questions=questions))


def worth(matching: Matching) -> dict[tuple[str, str], float]:
    values = value_answers(matching, np.arange(len(matching.candidates)))
    return {pair: round(float(values[number]), 6) for pair, number in numbers_of(matching).items()}


# -- choosing ---------------------------------------------------------------------------------------------------


def test_a_question_is_worth_what_its_answer_sets_right() -> None:
    matching = matching_of({("a:1", "b:1"): 0.9, ("a:2", "b:2"): 0.4, ("a:1", "a:2"): 0.3, ("c:1", "d:1"): 0.1})
    assert groups_in(matching) == {"a:1 b:1", "a:2 b:2"}
    assert worth(matching) == {
        ("a:1", "b:1"): 0.01,  # a no, at a tenth, frees one offer of one pair, doubtful by a tenth
        ("a:2", "b:2"): 0.36,
        ("a:1", "a:2"): 1.2,  # a yes, at 0.3, finds four pairs
        ("c:1", "d:1"): 0.1,
    }
    assert pairs_in(matching, choose_pairs(matching)) == [
        ("a:1", "a:2"), ("a:2", "b:2"), ("c:1", "d:1"), ("a:1", "b:1"),
    ]  # fmt: skip


def test_where_clusters_cannot_join_a_yes_swaps_one_pair_for_another() -> None:
    pairs: dict[tuple[str, str], float | str] = {("a:1", "b:1"): 0.6, ("a:1", "b:2"): 0.35, ("b:1", "b:2"): "number"}
    assert worth(matching_of(pairs, exclusive=True))["a:1", "b:2"] == 0.7
    conflict = matching_of({("a:1", "b:1"): 0.6, ("a:1", "c:1"): 0.15, ("b:1", "c:1"): "gtin"})
    assert worth(conflict)["a:1", "c:1"] == 0.3, "a hard conflict bars the join as a seller does"


def test_one_question_is_asked_per_pair_of_clusters() -> None:
    between = {(f"a:{one}", f"b:{two}"): 0.05 + one / 100 for one in (1, 2, 3) for two in (1, 2, 3)}
    inside = {(f"{side}:{one}", f"{side}:{two}"): 0.7 for side in "ab" for one, two in ((1, 2), (1, 3), (2, 3))}
    chosen = pairs_in(matching_of(between | inside), choose_pairs(matching_of(between | inside)))
    assert chosen == [("a:3", "b:1"), ("a:1", "a:2"), ("b:1", "b:2")]


def test_neither_conflicts_nor_sure_pairs_are_asked_about() -> None:
    matching = matching_of(
        {("a:1", "b:1"): 0.99, ("a:2", "b:2"): 0.01, ("a:3", "b:3"): "variant", ("a:4", "b:4"): "gtin",
         ("a:5", "b:5"): 0.98, ("a:6", "b:6"): 0.02}
    )  # fmt: skip
    assert sorted(pairs_in(matching, choose_pairs(matching))) == [("a:5", "b:5"), ("a:6", "b:6")]


@pytest.mark.parametrize("questions", [0, 1, 7, 60, 100_000])
def test_the_budget_is_held_and_more_of_it_only_adds(matched: Matching, questions: int) -> None:
    chosen, all_of_them = choose_pairs(replace(matched, rules=asking(questions))), choose_pairs(matched)
    assert len(chosen) == min(questions, len(all_of_them))
    assert chosen.tolist() == all_of_them[:questions].tolist()
    assert len(set(all_of_them.tolist())) == len(all_of_them) > 300
    assert open_pairs(matched)[chosen].all()


@pytest.mark.laws
@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_rows_raises_no_other_questions(samples: Folder, matched: Matching, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(samples.products.num_rows)
    shuffled = samples.products.take(pa.array(order))
    again = match(shuffled, samples.vectors[order], rules=matched.rules)
    questions = ask_about(matched, samples.products, choose_pairs(matched))
    assert questions == ask_about(again, shuffled, choose_pairs(again)), f"seed {seed}"
    assert len({question.digest for question in questions}) > 300


@pytest.mark.parametrize("rows", [0, 1])
def test_a_catalogue_without_pairs_has_no_questions(samples: Folder, rows: int) -> None:
    few = samples.products.slice(0, rows)
    matching = match(few, samples.vectors[:rows], rules=asking(10))
    assert ask_about(matching, few, choose_pairs(matching)) == ()


# -- what is told -----------------------------------------------------------------------------------------------


def test_an_offer_is_told_by_what_identifies_it() -> None:
    products = products_of(
        ["a:1", "b:1"],
        description={"a:1": "x" * 900},
        condition={"b:1": "refurbished"},
        gtin={"b:1": "00840244706111"},
        price={"a:1": Decimal("9.9900")},
    )
    told = tell_offers(products, ["a:1", "b:1"], JudgeRules(description=5))
    assert told == {
        "a:1": {"title": "title of a:1", "description": "xxxxx"},
        "b:1": {"title": "title of b:1", "gtin": "00840244706111", "condition": "refurbished"},
    }, "neither a price, which changes daily, nor what a feed did not say"


def test_the_same_texts_are_the_same_question_whoever_offers_them() -> None:
    titles = {"a:1": "Acme X1", "b:1": "Acme X-1 black", "c:1": "Acme X-1 black", "d:1": "Acme X1", "e:1": "Acme X2"}
    matching = matching_of({("a:1", "b:1"): 0.3, ("c:1", "d:1"): 0.5, ("a:1", "e:1"): 0.1})
    products = products_of(list(titles), title=titles)
    one, two, other = ask_about(matching, products, np.array([0, 2, 1]))
    assert {(one.left_id, one.right_id), (two.left_id, two.right_id)} == {("a:1", "b:1"), ("c:1", "d:1")}
    assert one.digest == two.digest != other.digest


# -- what answers do --------------------------------------------------------------------------------------------


def answered(matching: Matching, **answers: Answer) -> Matching:
    """`a1_b1=Answer.YES` answers the pair `a:1`, `b:1`."""
    numbers = numbers_of(matching)
    return settle(
        matching,
        {
            numbers[f"{name[0]}:{name[1]}", f"{name[3]}:{name[4]}"]: answer for name, answer in answers.items()
        },
    )  # fmt: skip


def test_a_yes_joins_a_no_parts_and_unsure_leaves() -> None:
    matching = matching_of({("a:1", "b:1"): 0.3, ("a:2", "b:2"): 0.1})
    assert groups_in(matching) == {"a:1 b:1"}
    turned = answered(matching, a1_b1=Answer.NO, a2_b2=Answer.YES)
    assert groups_in(turned) == {"a:2 b:2"}
    assert turned.resolution.confidence.tolist() == [1.0] * 4, "what a judge decided is certain"
    left = answered(matching, a1_b1=Answer.UNSURE, a2_b2=Answer.UNSURE)
    assert groups_in(left) == groups_in(matching)
    assert np.array_equal(left.resolution.confidence, matching.resolution.confidence)
    assert groups_in(settle(turned, {})) == groups_in(matching), "the scores themselves are as they were"


def test_a_yes_takes_an_offer_from_its_rival() -> None:
    matching = matching_of({("a:1", "b:1"): 0.6, ("a:1", "b:2"): 0.35}, exclusive=True)
    assert groups_in(matching) == {"a:1 b:1"}
    assert groups_in(answered(matching, a1_b2=Answer.YES)) == {"a:1 b:2"}


@pytest.mark.laws
@given(st.lists(st.sampled_from(Answer), min_size=4, max_size=4))
def test_no_answer_breaks_what_nothing_outweighs(answers: list[Answer]) -> None:
    chain: dict[tuple[str, str], float | str] = {
        ("a:1", "b:1"): 0.5, ("b:1", "c:1"): 0.5, ("c:1", "d:1"): 0.5, ("a:1", "d:1"): "gtin", ("a:2", "b:1"): 0.5,
    }  # fmt: skip
    matching = matching_of(chain, exclusive=True)
    numbers = [number for pair, number in numbers_of(matching).items() if pair != ("a:1", "d:1")]
    for group in groups_in(settle(matching, dict(zip(numbers, answers, strict=True)))):
        assert not {"a:1", "d:1"} <= set(group.split()), answers
        assert not {"a:1", "a:2"} <= set(group.split()), answers


def test_every_scored_pair_says_how_it_was_judged() -> None:
    matching = answered(matching_of({("a:1", "b:1"): 0.3, ("a:2", "b:2"): 0.1}), a2_b2=Answer.YES)
    table = scored_table(matching)
    assert table.column("judgement").to_pylist() == [None, "yes"]
    assert table.column("probability").to_pylist() == [0.3, 0.1]


def test_an_explanation_says_where_the_judge_decided() -> None:
    matching = matching_of({("a:1", "b:1"): 0.3, ("a:2", "b:2"): 0.1, ("a:1", "c:1"): 0.3, ("b:1", "c:1"): 0.4})
    assert "judge" not in explain(matching, "a:2", "b:2").verdict
    yes = explain(answered(matching, a2_b2=Answer.YES), "a:2", "b:2")
    assert (yes.joined, yes.judgement, yes.linkage) == (True, "yes", 1.0)
    assert yes.verdict.startswith("Joined: the judge said that both are one product; left alone,")
    no = explain(answered(matching, a1_b1=Answer.NO), "a:1", "b:1")
    assert (no.joined, no.judgement) == (False, "no")
    assert no.verdict.startswith("Parted: the judge said that they are not one product; left alone,")

    beside = explain(answered(matching, b1_c1=Answer.YES), "a:1", "b:1")
    assert (beside.joined, beside.judgement, beside.judged_beside) == (True, None, 1)
    assert beside.verdict.endswith("The judge decided 1 other pair of their clusters.")
    unsure = explain(answered(matching, a2_b2=Answer.UNSURE), "a:2", "b:2")
    assert unsure.verdict.startswith("Parted: ") and unsure.verdict.endswith("The judge was not sure about this pair.")


def test_an_answer_that_others_outweigh_is_told() -> None:
    group = {(f"{one}:1", f"{two}:1"): 0.95 for one, two in ("ab", "ac", "ad", "bc", "bd", "cd")}
    kept = explain(answered(matching_of(group), a1_b1=Answer.NO), "a:1", "b:1")
    assert kept.joined
    assert kept.verdict.endswith("The judge said no about this pair and was outweighed by the rest of their clusters.")


def test_what_parts_two_clusters_anyway_is_told_before_the_judge() -> None:
    matching = matching_of({("a:1", "b:1"): 0.6, ("a:1", "b:2"): 0.35}, exclusive=True)
    parted = explain(answered(matching, a1_b2=Answer.NO), "a:1", "b:2")
    assert parted.verdict == (
        "Parted: together their clusters would hold two offers of a seller that lists each product once. "
        "The judge said no about this pair as well."
    )
