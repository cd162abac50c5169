"""Asking a judge: nothing twice, nothing beyond the budget, and nothing stops when it is away."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from judge_examples import Memory, StandIn, groups_in, matching_of, pairs_in, products_of

from assets.clusters.consulting import Consultation, consult, count_answers, judge_uncertain, judged_table, recall
from assets.clusters.judging import ask_about, choose_pairs
from assets.clusters.matching import Matching
from assets.clusters.ports import Answer, Question, Ruling
from assets.clusters.rules import JudgeRules
from assets.language_model import (
    AnswerRefused,
    AnswerTruncated,
    LanguageModelError,
    ModelRejected,
    ModelUnavailable,
    TokenUsage,
)

#: Twelve offers of one shop, each with one of another that may or may not be the same.
PAIRS = {(f"a:{chr(97 + n)}", f"b:{chr(97 + n)}"): 0.1 + n / 20 for n in range(12)}
PRODUCTS = products_of(sorted({name for pair in PAIRS for name in pair}))


@dataclass
class Failing:
    """A judge that fails from a certain request on."""

    error: LanguageModelError
    after: int = 0
    only: int | None = None
    name: str = "stand-in"
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, questions: Sequence[Question]) -> Ruling:
        with self.lock:
            self.requests += 1
            number = self.requests
        if number > self.after and (self.only is None or number == self.only):
            raise self.error
        return StandIn().judge(questions)


def matching(questions: int = 100) -> Matching:
    return matching_of(PAIRS, questions=questions)


def consulted(judge: StandIn | Failing, memory: Memory | None = None, rules: JudgeRules | None = None) -> Consultation:
    found = matching((rules or JudgeRules(questions=100)).questions)
    chosen = choose_pairs(found)
    return consult(chosen, ask_about(found, PRODUCTS, chosen), judge, memory or Memory(), rules or found.rules.judging)


ONE_BY_ONE = JudgeRules(questions=100, batch=2, concurrency=1)


def test_a_question_is_asked_once_and_then_remembered() -> None:
    judge, memory = StandIn(), Memory()
    first = consulted(judge, memory)
    assert (first.asked, first.remembered, len(judge.asked)) == (12, 0, 12)
    again = consulted(judge, memory)
    assert (again.asked, again.remembered, len(judge.asked)) == (0, 12, 12)
    assert again.by_pair == first.by_pair
    assert again.usage == TokenUsage()


def test_another_judge_is_asked_anew() -> None:
    memory = Memory()
    consulted(StandIn(), memory)
    assert consulted(StandIn(name="stand-in (prompt 2)"), memory).asked == 12


def test_known_answers_count_as_questions() -> None:
    memory = Memory()
    consulted(StandIn(), memory, JudgeRules(questions=5))
    again = consulted(StandIn(), memory, JudgeRules(questions=5))
    assert (again.asked, len(again.by_pair)) == (0, 5), "the second run asks nothing, not the next five"
    assert consulted(StandIn(), memory, JudgeRules(questions=8)).asked == 3


@pytest.mark.parametrize(("questions", "batches"), [(0, []), (1, [1]), (10, [5, 5]), (12, [5, 5, 2])])
def test_the_budget_is_spent_in_batches(questions: int, batches: list[int]) -> None:
    judge = StandIn()
    found = consulted(judge, rules=JudgeRules(questions=questions, batch=5, concurrency=1))
    assert judge.batches == batches
    assert found.usage.requests == len(batches)
    assert len(judge.asked) == questions


def test_pairs_that_read_the_same_are_one_question() -> None:
    titles = dict.fromkeys((name for pair in PAIRS for name in pair), "Acme X1")
    judge, found = StandIn(), matching()
    settled, consultation = judge_uncertain(found, products_of(list(titles), title=titles), judge, Memory())
    assert (len(judge.asked), consultation.asked, len(consultation.by_pair)) == (1, 1, 12)
    assert len(groups_in(settled)) == 12


@pytest.mark.parametrize("error", [ModelUnavailable("down"), ModelRejected("401: wrong key")])
def test_a_judge_that_is_away_is_given_up_and_what_it_said_is_kept(error: LanguageModelError) -> None:
    judge, memory = Failing(error, after=2), Memory()
    found = consulted(judge, memory, ONE_BY_ONE)
    assert (judge.requests, found.asked, len(found.by_pair), len(memory.kept)) == (3, 6, 4, 4)
    assert found.failure == f"{error.code}: {error}"
    assert found.faults == {error.code: 2}
    assert consulted(StandIn(), memory, ONE_BY_ONE).asked == 8, "the next run asks for what is missing"


@pytest.mark.parametrize("error", [AnswerTruncated("cut off"), AnswerRefused("no")])
def test_an_answer_of_no_use_costs_its_own_questions_only(error: LanguageModelError) -> None:
    judge, memory = Failing(error, only=2), Memory()
    found = consulted(judge, memory, ONE_BY_ONE)
    assert (judge.requests, found.failure, len(found.by_pair)) == (6, None, 10)
    assert found.faults[error.code] == 2
    assert consulted(StandIn(), memory, ONE_BY_ONE).asked == 2


def test_requests_under_way_at_once_give_what_one_after_the_other_gives() -> None:
    def answer(question: Question) -> Answer:
        return Answer.YES if int(question.digest, 16) % 2 else Answer.NO

    alone = consulted(StandIn(answer), rules=ONE_BY_ONE)
    together = consulted(StandIn(answer), rules=JudgeRules(questions=100, batch=2, concurrency=4))
    assert together.by_pair == alone.by_pair
    assert set(alone.by_pair.values()) == {Answer.YES, Answer.NO}


def test_a_clustering_is_the_same_without_a_judge_that_answers() -> None:
    found = matching()
    settled, consultation = judge_uncertain(found, PRODUCTS, Failing(ModelUnavailable("down")), Memory())
    assert consultation.failure == "unavailable: down"
    assert groups_in(settled) == groups_in(found)
    assert settled.answers == {}


def test_what_was_answered_can_be_recalled_without_asking() -> None:
    memory, found = Memory(), matching()
    settled, _ = judge_uncertain(found, PRODUCTS, StandIn(lambda _: Answer.NO), memory)
    assert groups_in(settled) == set() != groups_in(found)
    assert recall(found, PRODUCTS, "stand-in", memory).answers == settled.answers
    assert recall(found, PRODUCTS, "somebody else", memory).answers == {}


def test_the_account_of_a_consultation() -> None:
    said: Callable[[Question], Answer | None] = {
        "a:a": Answer.YES, "a:b": Answer.NO, "a:c": Answer.UNSURE, "a:d": None,
    }.get  # fmt: skip
    judge = StandIn(lambda question: said(question.left_id) if question.left_id < "a:e" else Answer.YES)
    settled, consultation = judge_uncertain(matching(), PRODUCTS, judge, Memory())
    assert count_answers(consultation) == {
        "questions": 12, "asked": 12, "remembered": 0, "yes": 9, "no": 1, "unsure": 1, "unanswered": 1,
        "requests": 2, "prompt_tokens": 200, "completion_tokens": 20,
    }  # fmt: skip
    rows = {row["left_id"]: row for row in judged_table(consultation, settled).to_pylist()}
    assert (rows["a:a"]["answer"], rows["a:a"]["joined"]) == ("yes", True)
    assert (rows["a:b"]["answer"], rows["a:b"]["joined"]) == ("no", False)
    assert rows["a:d"]["answer"] is None
    assert rows["a:a"]["left_title"] == "title of a:a"
    assert [row["left_id"] for row in rows.values()] == [left for left, _ in pairs_in(settled, consultation.pairs)]
    assert "judge" in settled.seconds
