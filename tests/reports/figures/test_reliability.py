"""The reliability diagram shows the stored probabilities, with the number of rows and draws."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from reports import compare, render
from reports.figures import FIGURES, Layout, Options, inline
from tests.support.drawing import drawn, hostile, outside, overlapping, values, xml
from tests.support.predicted_runs import with_probabilities


def test_points_are_those_of_scikit_learn(grid):
    """With bins of equal count over all draws, mean probability and accuracy agree."""
    runs = with_probabilities(grid({"lora": 0.0}, tasks=("rte",), sizes=(50,)))
    canvas = drawn("reliability", runs)
    confidence = np.concatenate([run.probabilities[""].max(axis=1) for run in runs])
    correct = np.concatenate([run.predictions == run.labels[""] for run in runs])
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10, strategy="quantile")
    points = list(values(canvas))
    assert [x for _, x, _ in points] == pytest.approx(100 * mean, abs=0.5)
    assert [y for _, _, y in points] == pytest.approx(100 * accuracy, abs=2)
    assert all(text.endswith("100 predictions") for text, _, _ in points)


def test_every_panel_is_drawn_and_the_caption_names_rows_and_draws(grid):
    """No task and size is left out; the caption names runs, test rows and draws."""
    tasks = [f"task-{number}" for number in range(8)]
    runs = with_probabilities(grid(tasks=tasks, draws=4))
    canvas = drawn("reliability", runs)
    titles = [axes.get_title(loc="left") for axes in canvas.axes]
    assert len(titles) == 16
    assert titles[0] == "task-0, 200"
    assert "192 runs with stored probabilities of 200 test rows, 4 draws" in canvas.caption


@pytest.mark.parametrize("width", [None, 3.0, 12.5])
def test_texts_are_whole_and_apart(grid, width):
    """Every text lies within the figure and on no other text; the axes end at 0 and 100 %."""
    runs = with_probabilities(grid(tasks=("rte", "a-task-with-a-rather-long-name", "cola")))
    options = Options(layout=Layout(width=width))
    canvas = FIGURES["reliability"].draw(compare(runs), options)
    assert outside(canvas) == []
    assert overlapping(canvas) == []
    for axes in canvas.axes:
        assert axes.get_ylim() == (0, 100)
        assert axes.get_xlim()[1] == 100


def test_the_order_of_runs_does_not_matter(grid):
    """Runs in another order give the same drawing."""
    runs = with_probabilities(grid(tasks=("rte", "cola"), sizes=(50,), seeds=2))
    assert inline(drawn("reliability", runs)) == inline(drawn("reliability", runs[::-1]))


def test_results_without_probabilities_have_no_diagram(grid):
    """The figure says so; a page has the diagram only where probabilities are stored."""
    runs = grid(tasks=("rte",), sizes=(50,))
    canvas = drawn("reliability", runs)
    assert (len(canvas.axes), canvas.caption) == (0, "No run stores class probabilities.")
    page = render(compare(runs), format="html")
    assert "figure-reliability" not in page
    page = render(compare(with_probabilities(runs)), format="html")
    assert 'id="figure-reliability"' in page


def test_probabilities_are_scaled_on_request(grid):
    """With the temperature, only runs that store one are drawn, at their scaled probabilities; the title says so."""
    runs = with_probabilities(grid({"lora": 0.0}, tasks=("rte",), sizes=(50,)))
    runs = [replace(run, temperature=2.0) for run in runs[:3]] + runs[3:]
    canvas = drawn("reliability", runs, temperature=True)
    assert canvas.title.endswith("scaled by a temperature")
    assert "3 runs with stored probabilities" in canvas.caption
    expected = np.concatenate([run.probabilities[""].max(axis=1) for run in runs[:3]])
    roots = np.sqrt(expected) / (np.sqrt(expected) + np.sqrt(1 - expected))
    mean = np.average([x for _, x, _ in values(canvas)])
    assert mean == pytest.approx(100 * roots.mean(), abs=0.01)
    nothing = drawn("reliability", runs[3:], temperature=True)
    assert nothing.caption == "No run stores a temperature."


def test_many_methods_and_hostile_names_fit_a_page(grid):
    """The figure stays small, with a legible panel at least, whatever the names."""
    methods = {f"m(rank={number})": 0.0 for number in range(15)}
    many = with_probabilities(grid(methods, tasks=[f"t{n}" for n in range(14)], draws=2), rows=60)
    for runs in (many, with_probabilities(hostile(grid), rows=60)):
        canvas = drawn("reliability", runs)
        piece = inline(canvas)
        assert len(piece) < 50_000 + 1_000 * 15 * len(canvas.axes)
        assert xml(piece).get("role") == "img"


def test_few_rows_and_one_draw(grid):
    """Four test rows of one draw have one bin, and the caption says what the interval covers."""
    runs = with_probabilities(grid({"lora": 0.0}, tasks=("rte",), sizes=(50,), draws=1), rows=4)
    canvas = drawn("reliability", runs)
    assert len(list(values(canvas))) == 1
    assert "intervals over test rows; a single draw" in canvas.caption
