"""Small matchings and stand-in judges for the tests of judging.

Belongs here: what several of these tests need. Not here: the stand-in that knows the truth (`benchmarks.judge`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from matcher_examples import vectors
from scipy.special import logit

from assets.clusters.candidates import Candidates
from assets.clusters.features import VETOES
from assets.clusters.matching import Evidence, Matching, match, settle
from assets.clusters.ports import Answer, Question, Ruling
from assets.clusters.rules import JudgeRules, MatchRules
from assets.clusters.scoring import Scores
from assets.language_model import TokenUsage
from assets.products.schema import CLEANED_PRODUCTS
from benchmarks.matching import TRUTH, clean_feeds, read_feeds
from benchmarks.prior import Folder

ROOT = Path(__file__).resolve().parents[2]


def folder_at(path: Path, scratch: Path) -> Folder:
    """A folder of feeds as products, with stand-ins for embeddings, and its truth."""
    from assets.clusters.quality import read_truth

    products = clean_feeds(read_feeds(path, scratch))
    return Folder(path.name, products, vectors(products), read_truth((path / TRUTH).read_bytes(), TRUTH))


def products_of(names: Sequence[str], **told: Mapping[str, str]) -> pa.Table:
    """Products `source:id`; `told` gives fields, each by product id."""
    rows = [
        {
            "product_id": name,
            "source": name[0],
            "seller": name[0],
            "title": f"title of {name}",
            "condition": "unknown",
            "pack_size": 1,
            "measures": "{}",
            **{column: values[name] for column, values in told.items() if name in values},
        }
        for name in names
    ]
    fields = [column.with_nullable(True) for column in CLEANED_PRODUCTS.arrow]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def matching_of(
    pairs: Mapping[tuple[str, str], float | str], *, questions: int = 100, exclusive: bool = False
) -> Matching:
    """A matching as if these had been its candidate pairs: a probability each, or the name of a veto."""
    names = sorted({name for pair in pairs for name in pair})
    products = products_of(names)
    blank = match(products, vectors(products), rules=MatchRules(judging=JudgeRules(questions=questions)))
    places = {name: row for row, name in enumerate(names)}
    ordered = sorted(pairs, key=lambda pair: (places[pair[0]], places[pair[1]]))
    left, right = (np.array([places[pair[side]] for pair in ordered], dtype=np.int32) for side in (0, 1))
    given = [pairs[pair] for pair in ordered]
    vetoes = np.array([VETOES.index(value) if isinstance(value, str) else 0 for value in given], dtype=np.uint8)
    probability = np.array([0.0 if isinstance(value, str) else value for value in given])
    log_odds = logit(np.clip(probability, 1e-9, 1 - 1e-9))
    made = replace(
        blank,
        corpus=blank.corpus.with_exclusive(np.full(len(names), exclusive)),
        candidates=Candidates(left, right, np.ones(len(left), dtype=np.uint8)),
        evidence=Evidence(log_odds, log_odds, vetoes),
        scores=Scores(log_odds, probability),
    )
    return settle(made, {})


def pairs_in(matching: Matching, chosen: Sequence[int]) -> list[tuple[str, str]]:
    """Product ids of candidate pairs."""
    pairs, ids = matching.candidates, matching.corpus.ids
    return [(ids[pairs.left[pair]], ids[pairs.right[pair]]) for pair in chosen]


def numbers_of(matching: Matching) -> dict[tuple[str, str], int]:
    """Number of every candidate pair."""
    return {pair: number for number, pair in enumerate(pairs_in(matching, range(len(matching.candidates))))}


def groups_in(matching: Matching) -> set[str]:
    """The clusters of several, each as its product ids in order."""
    found: dict[int, list[str]] = {}
    for product, label in sorted(matching.labels.items()):
        found.setdefault(label, []).append(product)
    return {" ".join(members) for members in found.values() if len(members) > 1}


@dataclass
class StandIn:
    """A judge that answers as it is told, and remembers what it was asked."""

    answer: Callable[[Question], Answer | None] = lambda _: Answer.YES
    name: str = "stand-in"
    asked: list[Question] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def judge(self, questions: Sequence[Question]) -> Ruling:
        self.asked += questions
        self.batches.append(len(questions))
        answers = tuple(self.answer(question) for question in questions)
        usage = TokenUsage(requests=1, prompt_tokens=100, completion_tokens=10)
        faults = {"missing": answers.count(None)} if None in answers else {}
        return Ruling(answers=answers, faults=faults, usage=usage)


@dataclass
class Memory:
    """A memory that lasts as long as the test."""

    kept: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def known(self, judge: str, digests: Sequence[str]) -> Mapping[str, Answer]:
        return {digest: self.kept[judge, digest] for digest in digests if (judge, digest) in self.kept}

    def keep(self, judge: str, answers: Mapping[str, Answer]) -> None:
        self.kept |= {(judge, digest): answer for digest, answer in answers.items()}
