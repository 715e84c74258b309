"""Curves show the scores and differences of the comparison."""

import itertools
import math

from reports import compare
from reports.figures import FIGURES, Options
from tests.support.drawing import drawn, values


def test_curve_shows_the_means(grid):
    """Every score is the mean of its cell at the logarithm of its size, with mean and interval as tooltip."""
    comparison = compare(grid())
    canvas = FIGURES["curve"].draw(comparison, Options())
    points = {text.split(":")[0]: (x, y, text) for text, x, y in values(canvas)}
    for method, task, size in itertools.product(
        comparison.methods, [*comparison.tasks, None], comparison.sizes
    ):
        cell = comparison.cell(method, task, size)
        x, y, text = points[f"{method}, {task or 'average'}, size {size}"]
        assert (x, y) == (math.log2(size), cell.mean)
        assert text.endswith(f"{cell.mean:.1f} [{cell.low:.1f}, {cell.high:.1f}]")
    for test in comparison.family("per size"):
        _, y, text = points[f"{test.method} - {test.baseline}, size {test.size}"]
        assert y == test.effect
        assert text.endswith(f"{test.effect:.1f} [{test.these.low:.1f}, {test.these.high:.1f}]")


def test_curve_names_methods_without_an_average(grid):
    """A method that lacks a task has no average, and the caption names it."""
    canvas = drawn("curve", [run for run in grid() if (run.method, run.task) != ("prefix", "rte")])
    assert "runs are missing: prefix" in canvas.caption
    assert not [text for text, *_ in values(canvas) if text.startswith("prefix, average")]
