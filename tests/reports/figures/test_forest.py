"""The forest plot shows the differences of the comparison."""

import itertools
from statistics import fmean

import pytest

from reports import compare
from reports.figures import FIGURES, Options
from tests.support.drawing import drawn, values


def test_forest_shows_the_contrast_of_each_task(grid):
    """A row is the mean paired difference over sizes and draws; the diamond is the overall effect."""
    runs = grid()
    comparison = compare(runs)
    points = {
        text.split(":")[0]: x
        for text, x, _ in values(FIGURES["forest"].draw(comparison, Options()))
    }
    scores = {(run.method, run.task, run.size, run.draw): 100 * run.score for run in runs}
    for method, task in itertools.product(("prefix", "simplex"), comparison.tasks):
        pairs = itertools.product((50, 200), range(5))
        expected = fmean(
            scores[method, task, s, d] - scores["fine-tuning", task, s, d] for s, d in pairs
        )
        assert points[f"{method}, {task}"] == pytest.approx(expected)
    for test in comparison.family("overall"):
        assert points[f"{test.method}, overall"] == test.effect


def test_forest_shows_the_prediction_for_one_more_task(grid):
    """The prediction interval and the heterogeneity match the appendix, and the caption explains both."""
    comparison = compare(grid(sizes=(50,)))
    canvas = FIGURES["forest"].draw(comparison, Options())
    for detail in comparison.secondary:
        found = detail.pooled
        ends = [
            x
            for text, x, _ in values(canvas)
            if text.startswith(f"{detail.method}, one more task: ")
        ]
        assert ends == [found.predicted_low, found.predicted_high]
        assert f"τ² {found.tau2:.3g}, I² {100 * found.i2:.0f} %" in [
            text.get_text() for axes in canvas.axes for text in axes.texts
        ]
    assert (
        "95 % prediction interval of the difference on one more task (random effects"
        in canvas.caption
    )
    assert "one more task" not in drawn("forest", grid(tasks=("rte",))).caption
