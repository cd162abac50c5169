"""An explanation as a picture: every step is there, adds up, and can be read."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from matcher_examples import vectors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from test_matcher import CATALOGUE

from assets.clusters.explanation import Explanation, explain, explain_pairs
from assets.clusters.matching import Matching, match
from assets.clusters.plots import BLUE, RED, SHOWN_STEPS, TITLE_WIDTH, WATERFALL_HEIGHT, draw_waterfall, waterfalls
from assets.presentation import png

PAIRS = [("a:1", "b:1"), ("a:4", "b:3"), ("a:1", "a:2"), ("b:4", "c:1")]


@pytest.fixture(scope="module")
def matching() -> Matching:
    return match(CATALOGUE, vectors(CATALOGUE))


def drawn(explanation: Explanation) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.0, WATERFALL_HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw_waterfall(axes, explanation)
    figure.canvas.draw()
    return figure, axes


@pytest.mark.parametrize("most", [None, 0, 3, 1000])
def test_the_steps_add_up_however_many_are_shown(matching: Matching, most: int | None) -> None:
    for explanation in explain_pairs(matching, PAIRS):
        steps = explanation.steps(most)
        total = explanation.log_odds + explanation.shift + explanation.rivals
        assert sum(step.part for step in steps) == pytest.approx(total)
        named = [step for step in steps if step.value is not None]
        assert len(named) == min(
            len(explanation.contributions), len(explanation.contributions) if most is None else most
        )
        assert any("others" in step.name for step in steps) == (len(named) < len(explanation.contributions))


def test_pairs_are_explained_together_as_alone(matching: Matching) -> None:
    assert explain_pairs(matching, PAIRS) == [explain(matching, *pair) for pair in PAIRS]
    assert explain_pairs(matching, []) == []


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_bars_go_on_where_the_last_one_ended(matching: Matching, pair: tuple[str, str]) -> None:
    explanation = explain(matching, *pair)
    _, axes = drawn(explanation)
    *steps, last = axes.patches[: SHOWN_STEPS + 5]
    level = 0.0
    for bar, step in zip(steps, explanation.steps(SHOWN_STEPS), strict=True):
        assert bar.get_x() == pytest.approx(level)
        assert bar.get_width() == pytest.approx(step.part)
        assert np.allclose(bar.get_facecolor()[:3], hex_colour(BLUE if step.part > 0 else RED))
        level += step.part
    assert (last.get_x(), last.get_width()) == (0, pytest.approx(level))
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "before any evidence"
    assert labels[-1] == "log-odds"
    assert any(label.startswith(next(iter(explanation.contributions)).replace("_", " ")) for label in labels)
    assert f"{explanation.probability:.3f}" in axes.get_xlabel()
    assert (explanation.veto is not None) == ("conflicts" in axes.get_xlabel())


def hex_colour(text: str) -> list[float]:
    return [int(text[place : place + 2], 16) / 255 for place in (1, 3, 5)]


@pytest.mark.parametrize("title", ["WIDE CAPITALS " * 20, "costs $5 to $10_{now}$ only \\frac", "Ø", "word" * 60])
def test_nothing_is_cut_off_and_titles_are_plain_text(matching: Matching, title: str) -> None:
    explanation = explain(matching, *PAIRS[0])
    explanation = dataclasses.replace(explanation, left=dataclasses.replace(explanation.left, title=title))
    figure, axes = drawn(explanation)
    shown = axes.get_title(loc="left").splitlines()
    assert len(shown) == 3
    assert shown[0][:10] == title[:10]
    assert len(shown[0]) <= TITLE_WIDTH
    page = figure.bbox
    for text in [*axes.get_yticklabels(), *axes.texts, axes.xaxis.label, axes._left_title]:
        box = text.get_window_extent()
        assert box.x0 >= page.x0 - 1, text.get_text()
        assert box.x1 <= page.x1 + 1, text.get_text()


def test_panels_are_drawn_below_each_other(matching: Matching) -> None:
    one, three = (png(*waterfalls(explain_pairs(matching, PAIRS[:count]))) for count in (1, 3))
    sizes = [(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) for data in (one, three)]
    assert sizes[1][0] == sizes[0][0]
    assert sizes[1][1] == pytest.approx(3 * sizes[0][1], abs=3)
