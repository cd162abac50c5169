"""Putting pairs to a judge: what is known is not asked again, and a judge that is not there stops nothing.

Belongs here: memory, requests, failures, and the account of them. Not here: which pairs (`judging`), what a judge is
(`ports`), what an answer does to the clusters (`matching.settle`).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from assets.clusters.judging import Positions, ask_about, choose_pairs
from assets.clusters.matching import Answers, Matching, settle
from assets.clusters.ports import Answer, AnswerMemory, PairJudge, Question, Ruling
from assets.clusters.rules import JudgeRules
from assets.language_model import AnswerUnusable, ModelRejected, ModelUnavailable, TokenUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Consultation:
    """What a judge was asked in one clustering, and what came of it.

    Attributes:
        judge: Who judged.
        pairs: Candidate pairs that were worth a question, most valuable first.
        questions: The question about each.
        answers: What is known now, by the digest of the question.
        remembered: Questions that needed no asking.
        asked: Questions put to the judge in this run; pairs that read the same are one question.
        faults: Answers that were ignored, by the code of the reason.
        usage: What it cost.
        failure: Why the judge was given up, if it was; the questions that were left are asked in the next run.
    """

    judge: str
    pairs: Positions
    questions: tuple[Question, ...]
    answers: Mapping[str, Answer]
    remembered: int = 0
    asked: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    usage: TokenUsage = field(default_factory=TokenUsage)
    failure: str | None = None

    @property
    def by_pair(self) -> Answers:
        """The answers by the number of the candidate pair."""
        said = ((pair, self.answers.get(question.digest)) for pair, question in self.numbered())
        return {pair: answer for pair, answer in said if answer}

    def numbered(self) -> list[tuple[int, Question]]:
        """The questions with the number of their pair."""
        return list(zip(self.pairs.tolist(), self.questions, strict=True))


def judge_uncertain(
    matching: Matching, products: pa.Table, judge: PairJudge, memory: AnswerMemory
) -> tuple[Matching, Consultation]:
    """Have a judge decide the most valuable uncertain pairs, as many as the rules allow, and make the clusters anew.

    Args:
        matching: What the matcher made alone.
        products: The products that were matched.
        judge: Whom to ask what the memory does not know.
        memory: Where answers are kept.
    """
    start = time.perf_counter()
    pairs = choose_pairs(matching)
    consultation = consult(pairs, ask_about(matching, products, pairs), judge, memory, matching.rules.judging)
    settled = settle(matching, consultation.by_pair)
    return replace(settled, seconds={**matching.seconds, "judge": time.perf_counter() - start}), consultation


def recall(matching: Matching, products: pa.Table, judge: str, memory: AnswerMemory) -> Matching:
    """The same from memory alone, asking nobody: what a clustering has learned from this judge."""
    pairs = choose_pairs(matching)
    questions = ask_about(matching, products, pairs)
    known = memory.known(judge, [question.digest for question in questions])
    return settle(matching, Consultation(judge=judge, pairs=pairs, questions=questions, answers=known).by_pair)


def consult(
    pairs: Positions, questions: Sequence[Question], judge: PairJudge, memory: AnswerMemory, rules: JudgeRules
) -> Consultation:
    """Answer questions from memory, and put the others to the judge.

    Answers are kept as they come in, so that a run that dies has paid for them once. A judge that cannot be reached, or
    refuses to work as it is configured, is not asked further; an answer of no use costs its own questions only.
    """
    distinct = {question.digest: question for question in questions}
    answers = dict(memory.known(judge.name, list(distinct)))
    waiting = [question for digest, question in distinct.items() if digest not in answers]
    remembered, asked, usage, failure = len(distinct) - len(waiting), 0, TokenUsage(), None
    faults: Counter[str] = Counter()
    batches = [waiting[start : start + rules.batch] for start in range(0, len(waiting), rules.batch)]

    def put(batch: list[Question]) -> Ruling | AnswerUnusable | ModelUnavailable | ModelRejected:
        try:
            return judge.judge(batch)
        except (AnswerUnusable, ModelUnavailable, ModelRejected) as error:
            return error

    with ThreadPoolExecutor(rules.concurrency, thread_name_prefix="judge") as pool:
        for start in range(0, len(batches), rules.concurrency):
            wave = batches[start : start + rules.concurrency]
            learned: dict[str, Answer] = {}
            for batch, outcome in zip(wave, pool.map(put, wave), strict=True):
                asked += len(batch)
                if isinstance(outcome, Ruling):
                    usage += outcome.usage
                    faults.update(outcome.faults)
                    said = zip(batch, outcome.answers, strict=True)
                    learned |= {question.digest: answer for question, answer in said if answer}
                    continue
                faults[outcome.code] += len(batch)
                if not isinstance(outcome, AnswerUnusable):
                    failure = f"{outcome.code}: {outcome}"
            memory.keep(judge.name, learned)
            answers |= learned
            if failure:
                break
    return Consultation(
        judge=judge.name,
        pairs=pairs,
        questions=tuple(questions),
        answers=answers,
        remembered=remembered,
        asked=asked,
        faults=faults,
        usage=usage,
        failure=failure,
    )


def count_answers(consultation: Consultation) -> dict[str, int]:
    """The consultation in numbers: what was asked, known and said, and what it cost."""
    said = Counter(consultation.by_pair.values())
    return {
        "questions": len(consultation.questions),
        "asked": consultation.asked,
        "remembered": consultation.remembered,
        **{str(answer): said[answer] for answer in Answer},
        "unanswered": len(consultation.questions) - said.total(),
        "requests": consultation.usage.requests,
        "prompt_tokens": consultation.usage.prompt_tokens,
        "completion_tokens": consultation.usage.completion_tokens,
    }


def judged_table(consultation: Consultation, matching: Matching) -> pa.Table:
    """The pairs that were put to the judge, in the order of their value, with what was said and what became of them."""
    corpus, labels = matching.corpus, matching.resolution.labels
    left, right = matching.candidates.left[consultation.pairs], matching.candidates.right[consultation.pairs]
    return pa.table(
        {
            "left_id": [corpus.ids[row] for row in left],
            "right_id": [corpus.ids[row] for row in right],
            "left_title": [corpus.titles[row] for row in left],
            "right_title": [corpus.titles[row] for row in right],
            "probability": matching.scores.probability[consultation.pairs],
            "answer": [consultation.answers.get(question.digest) for question in consultation.questions],
            "joined": np.asarray(labels[left] == labels[right], dtype=np.bool_),
        },
        schema=JUDGED_PAIRS,
    )


JUDGED_PAIRS = pa.schema(
    [
        *[(name, pa.string()) for name in ("left_id", "right_id", "left_title", "right_title")],
        ("probability", pa.float64()),
        ("answer", pa.string()),
        ("joined", pa.bool_()),
    ]
)
