"""Who writes which summary: kept from last time, worded by a model, or by the template.

Belongs here: which records are written again, and what becomes of a model's failures. Not here: the sentences
(`wording`), the question (`prompting`), the judgement (`verification`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pyarrow as pa

from assets.language_model import LanguageModel, LanguageModelError, ModelRejected, ModelUnavailable
from assets.summaries.facts import FactRules, Facts
from assets.summaries.prompting import PROMPT_VERSION, answer_in, request_for
from assets.summaries.schema import CLUSTER_SUMMARIES, GOLDEN_RECORDS
from assets.summaries.verification import AnswerRules, fault_of
from assets.summaries.wording import TEMPLATE, Wording, written_from

#: Reasons that say nothing about the answer, so that the next run asks again.
_OVER_BUDGET = "over_budget"
_PASSING = (ModelUnavailable.code, ModelRejected.code, _OVER_BUDGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingRules:
    """How a model is used.

    Attributes:
        budget: Most records a model is asked about in one run; clusters with most offers go first.
        concurrency: Questions under way at once.
        patience: Questions in a row that the service did not answer after which the others are not asked.
        facts: How much of a record is passed on.
        answer: What an answer must keep to.
    """

    budget: int = 2000
    concurrency: int = 4
    patience: int = 3
    facts: FactRules = field(default_factory=FactRules)
    answer: AnswerRules = field(default_factory=AnswerRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summaries:
    """The summaries, and how they came to be.

    Attributes:
        table: `CLUSTER_SUMMARIES`, one row per record, sorted by `cluster_id`.
        kept: Rows taken over from last time.
        asked: Records a model was asked about.
        worded: Of those, how many answers were used.
        fallbacks: How many records fell back to the template in this run, by the code of the reason.
    """

    table: pa.Table
    kept: int
    asked: int
    worded: int
    fallbacks: Mapping[str, int]


def summarise(
    records: pa.Table,
    model: LanguageModel | None = None,
    previous: pa.Table | None = None,
    rules: WritingRules | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Summaries:
    """Write one summary per golden record.

    Without a model the template writes them all, which costs less than comparing. With one, a record is asked
    about only if its digest is new to this model and this wording of the question; an answer that fails the check
    is not asked for again until the record changes, one that could not be had is.

    Args:
        records: `GOLDEN_RECORDS`.
        model: Who puts the facts into words; the template alone otherwise.
        previous: `CLUSTER_SUMMARIES` as last written, to take over what has not changed.
        rules: How the model is used; the defaults otherwise.
        progress: Called with the number of answers in since it was last called.

    Returns:
        The table and the counts.
    """
    rules = rules or WritingRules()
    rows: list[dict[str, Any]] = GOLDEN_RECORDS.conform(records).sort_by("cluster_id").to_pylist()
    if model is None:
        written = [_row(record, written_from(Facts.of(record, rules.facts))) for record in rows]
        return Summaries(table=_table(written), kept=0, asked=0, worded=0, fallbacks={})

    author = f"{model.name} (prompt {PROMPT_VERSION})"
    kept = _still_good(rows, previous, author)
    changed = [record for record in rows if record["cluster_id"] not in kept]
    brands = frozenset(record["brand"] for record in rows if record["brand"])
    writer = _Writer(model=model, author=author, rules=rules, brands=brands)
    written_now = {row["cluster_id"]: row for row in writer.write(changed, progress or (lambda _: None))}
    return Summaries(
        table=_table([kept.get(key) or written_now[key] for key in (record["cluster_id"] for record in rows)]),
        kept=len(kept),
        asked=writer.asked,
        worded=sum(row["author"] == author for row in written_now.values()),
        fallbacks=Counter(code for row in written_now.values() if (code := _code(row["fallback_reason"], author))),
    )


@dataclass(slots=True, kw_only=True)
class _Writer:
    """Asks one model about many records, and stops asking when that is hopeless."""

    model: LanguageModel
    author: str
    rules: WritingRules
    brands: frozenset[str]
    asked: int = 0
    unanswered: int = 0
    hopeless: LanguageModelError | None = None
    lock: Lock = field(default_factory=Lock)

    def write(self, records: list[dict[str, Any]], progress: Callable[[int], None]) -> Iterator[dict[str, Any]]:
        """Write the records with most offers by the model as far as the budget goes, all others by the template."""
        queue = sorted(records, key=lambda record: (-record["offers"], record["cluster_id"]))
        within, beyond = queue[: self.rules.budget], queue[self.rules.budget :]
        with ThreadPoolExecutor(max_workers=self.rules.concurrency, thread_name_prefix="summaries") as pool:
            for row in pool.map(self._write_one, within):
                progress(1)
                yield row
        reason = f"the run's {self.rules.budget} questions were asked"
        yield from (
            self._fallback(record, Facts.of(record, self.rules.facts), _OVER_BUDGET, reason) for record in beyond
        )

    def _write_one(self, record: dict[str, Any]) -> dict[str, Any]:
        """Ask about one record and check the answer."""
        facts = Facts.of(record, self.rules.facts)
        if self.hopeless:
            return self._fallback(record, facts, self.hopeless.code, str(self.hopeless))
        with self.lock:
            self.asked += 1
        try:
            completion = self.model.complete(request_for(facts, self.rules.answer))
            self._note(None)
            answer = answer_in(completion.content)
        except LanguageModelError as error:
            if isinstance(error, ModelUnavailable | ModelRejected):
                self._note(error)
            return self._fallback(record, facts, error.code, str(error))
        if fault := fault_of(answer, facts, known_brands=self.brands, rules=self.rules.answer):
            return self._fallback(record, facts, fault.code, fault.detail)
        return _row(record, answer, author=self.author)

    def _note(self, failure: ModelUnavailable | ModelRejected | None) -> None:
        """Count failures of the service in a row: soon the next question need not be asked to know its answer."""
        with self.lock:
            self.unanswered = self.unanswered + 1 if failure else 0
            if failure and self.unanswered >= self.rules.patience:
                self.hopeless = failure

    def _fallback(self, record: dict[str, Any], facts: Facts, code: str, detail: str) -> dict[str, Any]:
        """The template's text, with the reason why it is not the model's."""
        return _row(record, written_from(facts), reason=f"{self.author}: {code}: {detail}")


def _still_good(rows: list[dict[str, Any]], previous: pa.Table | None, author: str) -> dict[str, dict[str, Any]]:
    """Rows of last time whose record is unchanged and that this author wrote, or failed to write for good."""
    if previous is None:
        return {}
    digests = {record["cluster_id"]: record["record_digest"] for record in rows}
    good: dict[str, dict[str, Any]] = {}
    for row in CLUSTER_SUMMARIES.conform(previous).to_pylist():
        code = _code(row["fallback_reason"], author)
        settled = row["author"] == author or (code is not None and code not in _PASSING)
        if settled and digests.get(row["cluster_id"]) == row["record_digest"]:
            good[row["cluster_id"]] = row
    return good


def _code(reason: str | None, author: str) -> str | None:
    """Code of the reason why this author's words were not used."""
    if reason is None or not reason.startswith(f"{author}: "):
        return None
    return reason.removeprefix(f"{author}: ").partition(":")[0]


def _row(
    record: Mapping[str, Any], words: Wording, *, author: str = TEMPLATE, reason: str | None = None
) -> dict[str, Any]:
    """One row of `CLUSTER_SUMMARIES`."""
    return {
        "cluster_id": record["cluster_id"],
        "headline": words.headline,
        "summary": words.summary,
        "author": author,
        "fallback_reason": reason,
        "record_digest": record["record_digest"],
    }


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table of the contract."""
    return CLUSTER_SUMMARIES.conform(pa.Table.from_pylist(rows, schema=CLUSTER_SUMMARIES.arrow))
