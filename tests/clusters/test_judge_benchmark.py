"""What answers are worth: the stand-in that knows the truth, on the samples and on real offers."""

from pathlib import Path

import pytest
from judge_examples import ROOT, folder_at, matching_of, pairs_in, products_of
from matcher_examples import DATA

from assets.clusters.judging import ask_about, open_pairs
from assets.clusters.ports import Answer
from benchmarks.judge import BUDGETS, TruthJudge, draw_pairs, gains_table, measure
from benchmarks.variants import rendered


def test_answers_about_real_offers_raise_f1(tmp_path: Path) -> None:
    """100 questions on amazon_google, hashed 3-grams standing in for embeddings."""
    path = DATA / "amazon_google"
    if not path.is_dir():
        pytest.skip(f"the real offers are not at {path}")
    alone, hundred = measure(folder_at(path, tmp_path), (0, 100))
    assert (alone.questions, hundred.questions) == (0, 100)
    assert hundred.f1 > alone.f1 + 0.02
    assert hundred.precision > alone.precision
    assert hundred.recall > alone.recall
    assert hundred.f1 > hundred.random_f1 + 0.01, "the order of asking is worth something"


def test_the_measurement_can_be_repeated_and_reads_as_a_table(tmp_path: Path) -> None:
    samples = folder_at(ROOT / "samples", tmp_path)
    gains = list(measure(samples, (0, 50, 100)))
    assert [one.questions for one in gains] == [0, 50, 100]
    assert [one.f1 for one in gains] == sorted(one.f1 for one in gains)
    assert gains[1].gain == pytest.approx(200 * (gains[1].f1 - gains[0].f1))
    assert list(measure(samples, (0, 50, 100))) == gains
    table = rendered(gains_table(gains)).splitlines()
    assert len([line for line in table if line.strip()]) == 1 + len(gains)
    assert BUDGETS[0] == 0


def test_the_stand_in_knows_the_truth_and_nothing_else() -> None:
    matching = matching_of({("a:1", "b:1"): 0.3, ("a:2", "b:2"): 0.1, ("a:3", "b:3"): 0.1})
    products = products_of(matching.corpus.ids)
    questions = ask_about(matching, products, open_pairs(matching).nonzero()[0])
    truth = {"a:1": "p", "b:1": "p", "a:2": "p", "b:2": "q", "a:3": "r"}
    assert TruthJudge(truth).judge(questions).answers == (Answer.YES, Answer.NO, Answer.UNSURE)
    assert TruthJudge(truth, wrong=1.0).judge(questions).answers == (Answer.NO, Answer.YES, Answer.UNSURE)


def test_pairs_drawn_at_random_follow_the_seed() -> None:
    matching = matching_of({(f"a:{n}", f"b:{n}"): 0.3 for n in range(40)} | {("a:0", "b:1"): "pack"})
    first = draw_pairs(matching, 10, 0)
    assert len(set(pairs_in(matching, first.tolist()))) == 10
    assert draw_pairs(matching, 10, 0).tolist() == first.tolist() != draw_pairs(matching, 10, 1).tolist()
    assert len(draw_pairs(matching, 100, 0)) == 40, "what is vetoed is not drawn"
