"""What answers of a judge are worth: F1 by the number of questions, from a stand-in that knows the truth.

Belongs here: the stand-in, the comparison of two orders of asking, and the table. Not here: which pairs the product
asks about (`assets.clusters.judging`), what a language model makes of them.

    python -m benchmarks.judge ../shared/data/* samples
    python -m benchmarks.judge ../shared/data/amazon_google --wrong 0.1

Every folder is matched once; each row only makes its clusters anew. `gain` is the rise of F1 per 100 questions, in
points. Beside it stands the same for as many questions about pairs drawn at random from the same uncertain band, as the
mean of several draws.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from assets.clusters.consulting import consult
from assets.clusters.judging import Positions, ask_about, choose_pairs, open_pairs
from assets.clusters.matching import Matching, match, settle
from assets.clusters.ports import Answer, Question, Ruling
from assets.clusters.rules import JudgeRules, MatchRules
from benchmarks.matching import Figures, without_sellers
from benchmarks.matching import judge as score
from benchmarks.prior import Folder, read_folder

BUDGETS = (0, 100, 200, 400, 800)
#: Draws of pairs at random, from the seeds 0, 1, ...
DRAWS = 5


class TruthJudge:
    """A stand-in that knows the truth and is unsure about what the truth does not name.

    Args:
        truth: `product id -> true product`.
        wrong: Share of questions that it answers wrongly, always the same ones.
    """

    name = "truth"

    def __init__(self, truth: Mapping[str, str], wrong: float = 0.0) -> None:
        self._truth = truth
        self._wrong = wrong

    def judge(self, questions: Sequence[Question]) -> Ruling:
        """Look the pairs up."""
        return Ruling(answers=tuple(self._answer(question) for question in questions))

    def _answer(self, question: Question) -> Answer:
        one, other = (self._truth.get(product) for product in (question.left_id, question.right_id))
        if one is None or other is None:
            return Answer.UNSURE
        errs = int(question.digest, 16) / 16 ** len(question.digest) < self._wrong
        return Answer.YES if (one == other) != errs else Answer.NO


class NoMemory:
    """Forgets every answer, so that every question is asked."""

    def known(self, judge: str, digests: Sequence[str]) -> Mapping[str, Answer]:
        """Return nothing."""
        return {}

    def keep(self, judge: str, answers: Mapping[str, Answer]) -> None:
        """Forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a number of questions brought.

    Attributes:
        folder: Name of the folder.
        questions: Pairs put to the judge; fewer than allowed where no more are in doubt.
        precision: Pairwise, with their answers.
        recall: The same.
        f1: The same.
        gain: Rise of F1 per 100 questions, in points.
        random_f1: Mean F1 with as many answers about pairs drawn at random from the same band.
        random_gain: Its rise per 100 questions, in points.
    """

    folder: str
    questions: int
    precision: float
    recall: float
    f1: float
    gain: float
    random_f1: float
    random_gain: float


def measure(
    folder: Folder, budgets: Sequence[int] = BUDGETS, *, wrong: float = 0.0, hide_sellers: bool = False
) -> Iterator[Gain]:
    """Match a folder once, and make its clusters anew for every number of answers."""
    rules = MatchRules(judging=JudgeRules(questions=max(budgets)))
    products = without_sellers(folder.products) if hide_sellers else folder.products
    matching = match(products, folder.vectors, rules=rules)
    judge = TruthJudge(folder.truth, wrong)

    def answered(pairs: Positions) -> Figures:
        questions = ask_about(matching, products, pairs)
        consultation = consult(pairs, questions, judge, NoMemory(), rules.judging)
        costs = {"seconds": 0.0, "cpu_seconds": 0.0, "peak_mb": 0.0, "embedded": 0}
        settled = settle(matching, consultation.by_pair)
        return score(settled, folder.truth, folder=folder.name, stages={}, **costs)

    chosen = choose_pairs(matching)
    alone = answered(chosen[:0]).f1
    for budget in dict.fromkeys(min(budget, len(chosen)) for budget in budgets):
        figures = answered(chosen[:budget])
        drawn = float(np.mean([answered(draw_pairs(matching, budget, seed)).f1 for seed in range(DRAWS)]))
        hundreds = max(budget, 1) / 100
        yield Gain(
            folder=folder.name,
            questions=budget,
            precision=figures.precision,
            recall=figures.recall,
            f1=figures.f1,
            gain=100 * (figures.f1 - alone) / hundreds,
            random_f1=drawn,
            random_gain=100 * (drawn - alone) / hundreds,
        )


def draw_pairs(matching: Matching, number: int, seed: int) -> Positions:
    """Pairs of the uncertain band in random order."""
    return np.random.default_rng(seed).permutation(np.flatnonzero(open_pairs(matching)))[:number]


def gains_table(gains: Sequence[Gain]) -> Table:
    """One row per folder and number of questions; the gains of no questions are left blank."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("folder")
    for name in ("questions", "precision", "recall", "F1", "gain", "random F1", "gain"):
        table.add_column(name, justify="right")
    for one in gains:
        blank = not one.questions
        if blank and table.row_count:
            table.add_section()
        table.add_row(
            one.folder if blank else "",
            str(one.questions),
            *(f"{value:.3f}" for value in (one.precision, one.recall, one.f1)),
            "" if blank else f"{one.gain:+.2f}",
            "" if blank else f"{one.random_f1:.3f}",
            "" if blank else f"{one.random_gain:+.2f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.judge",
        description="F1 by the number of uncertain pairs that a judge who knows the truth decides.",
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders with feeds.yaml, feeds and truth.csv")
    parser.add_argument("--questions", nargs="+", type=int, default=BUDGETS, metavar="N", help="numbers of questions")
    parser.add_argument("--wrong", type=float, default=0.0, metavar="SHARE", help="share of answers that are wrong")
    parser.add_argument("--hide-sellers", action="store_true", help="read every folder as one source without sellers")
    parser.add_argument("--cache", type=Path, default=Path(".offerline/benchmarks"), help="where embeddings are kept")
    options = parser.parse_args(arguments)
    folders = [folder for folder in options.folders if folder.is_dir()]
    gains: list[Gain] = []
    for path in track(folders, "asking", console=Console(stderr=True), transient=True):
        folder = read_folder(path, options.cache)
        budgets = sorted({0, *options.questions})
        gains += measure(folder, budgets, wrong=options.wrong, hide_sellers=options.hide_sellers)
    console = Console()
    console.print(gains_table(gains))
    console.print(f"gain: points of F1 per 100 questions; random: mean of the seeds 0 to {DRAWS - 1}", highlight=False)
    if options.wrong:
        console.print(f"{options.wrong:.0%} of the answers were wrong", highlight=False)


if __name__ == "__main__":
    main()
