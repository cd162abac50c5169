"""What the clusters stage needs from outside, beside the catalogue and the tracker.

Truth files, a shelf for the state of the last matching, and a judge of pairs.

Belongs here: the protocols and the values they exchange. Not here: any implementation.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import xxhash

from assets.language_model import TokenUsage


class TruthShelf(Protocol):
    """Where truth files lie that somebody delivered beside the feeds."""

    def truths(self, at_most: int) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of every truth file; of one larger than `at_most` bytes one byte more than those."""
        ...


class StateShelf(Protocol):
    """Keeps the state of the last matching, as a file. What it loses costs time and nothing else."""

    def load(self) -> bytes | None:
        """Return what was kept last; None where nothing is."""
        ...

    def keep(self, state: bytes) -> None:
        """Keep a state in place of the last one."""
        ...


class Answer(StrEnum):
    """What a judge may say of two offers."""

    YES = "yes"
    NO = "no"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Question:
    """Whether two offers are one product.

    Attributes:
        left_id: The product whose id sorts first; for us alone, no part of the question.
        right_id: The other.
        offers: What the two say of themselves, field by field, in an order that does not depend on their ids.
    """

    left_id: str
    right_id: str
    offers: tuple[Mapping[str, str], Mapping[str, str]]

    @property
    def digest(self) -> str:
        """Digest of what is asked, 32 hex digits: the same texts are the same question, whoever offers them."""
        return xxhash.xxh3_128_hexdigest(json.dumps(self.offers, sort_keys=True).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a judge made of some questions.

    Attributes:
        answers: One per question; None where there was none to use.
        faults: How much of what it said was ignored, by the code of the reason.
        usage: What it cost.
    """

    answers: tuple[Answer | None, ...]
    faults: Mapping[str, int] = field(default_factory=dict)
    usage: TokenUsage = field(default_factory=TokenUsage)


class PairJudge(Protocol):
    """Says whether offers are one product, where the matcher is not sure."""

    @property
    def name(self) -> str:
        """Who judges, by which instructions: an answer is good for another run only if both are the same."""
        ...

    def judge(self, questions: Sequence[Question]) -> Ruling:
        """Answer a few questions at once; may be called by several threads.

        Raises:
            ModelUnavailable: it cannot be reached; a later run may succeed.
            ModelRejected: it will not answer anything as it is configured.
            AnswerUnusable: what it said to these questions is of no use.
        """
        ...


class AnswerMemory(Protocol):
    """Keeps answers, so that no question is asked twice."""

    def known(self, judge: str, digests: Sequence[str]) -> Mapping[str, Answer]:
        """Return `digest -> answer` for those of the questions that this judge has answered before."""
        ...

    def keep(self, judge: str, answers: Mapping[str, Answer]) -> None:
        """Keep this judge's answers by the digest of the question."""
        ...
