"""What judges have answered, kept in the catalogue by the content of the question.

Belongs here: reading and writing answers by the statements in `sql/`. Not here: asking (`consulting`), connections.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from assets.catalogue import Catalogue, sql
from assets.clusters.ports import Answer

ANSWERS = pa.schema([("question_digest", pa.string()), ("answer", pa.string())])


class CatalogueMemory:
    """An `AnswerMemory` in PostgreSQL; the first answer to a question stays."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def known(self, judge: str, digests: Sequence[str]) -> Mapping[str, Answer]:
        """Return the answers that this judge has given to these questions."""
        if not digests:
            return {}
        rows = self._catalogue.read(
            sql("assets.clusters", "known_answers"), ANSWERS, judge=judge, digests=list(digests)
        ).to_pylist()
        return {row["question_digest"]: Answer(row["answer"]) for row in rows}

    def keep(self, judge: str, answers: Mapping[str, Answer]) -> None:
        """Keep answers by the digest of their question."""
        if not answers:
            return
        rows = pa.table({"question_digest": list(answers), "answer": list(answers.values())}, schema=ANSWERS)
        with self._catalogue.transaction() as transaction:
            transaction.stage("incoming_answers", rows, schema=ANSWERS)
            transaction.execute(sql("assets.clusters", "keep_answers"), judge=judge)
