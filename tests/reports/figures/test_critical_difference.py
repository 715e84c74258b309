"""The critical difference diagram shows ranks and significant differences."""

from dataclasses import replace

import numpy as np
import pytest

from reports.figures.style import style
from reports.statistics.ranks import cliques
from tests.support.drawing import drawn, values


def test_diagram_ranks_and_joins(grid):
    """The best method has rank 1, bars join methods without a settled pair, and the caption names the test."""
    few = drawn("diagram", grid({"a": 0.0, "b": 0.2, "c": 0.1}, noise=0))
    assert {text: x for text, x, _ in values(few)} == {
        "b: mean rank 1.00": 1,
        "c: mean rank 2.00": 2,
        "a: mean rank 3.00": 3,
    }
    assert "N = 6 tasks, k = 3 methods" in few.caption
    assert "Fewer than 8 tasks support no such claim" in few.caption
    assert "is best" in few.axes[0].get_xlabel()
    many = drawn("diagram", grid({"a": 0.0, "b": 0.0, "c": 0.1}, tasks=[f"t{i}" for i in range(9)]))
    bars = [line.get_xdata() for line in many.axes[0].lines if line.get_linewidth() > 2]
    ranks = {text[0]: x for text, x, _ in values(many)}
    assert [sorted(bar) for bar in bars] == [sorted((ranks["a"], ranks["b"]))]
    assert "Holm over 3 pairs" in many.caption


def test_many_equal_methods_share_one_bar():
    """Forty methods take no exponential time; one significant pair splits the group in two."""
    differ = np.zeros((40, 40), dtype=bool)
    assert cliques(differ) == [tuple(range(40))]
    differ[0, 39] = differ[39, 0] = True
    assert cliques(differ) == [tuple(range(39)), tuple(range(1, 40))]


def test_a_pair_that_is_barred_shares_a_bar(grid):
    """A large difference is not settled if a method did not train on a task."""
    runs = grid({"a": 0.0, "c": 0.1}, tasks=[f"t{i}" for i in range(9)])
    barred = [replace(r, collapsed=(r.method, r.task) == ("c", "t0")) for r in runs]
    counts = [
        sum(line.get_linewidth() > 2 for line in drawn("diagram", each).axes[0].lines)
        for each in (runs, barred)
    ]
    assert counts == [0, 1]


@pytest.mark.parametrize("dpi", [200, 300])
def test_no_label_leaves_the_figure(dpi, grid):
    """Names on both sides of a diagram end inside the figure, at the resolution of a PNG and of the layout."""
    canvas = drawn(
        "diagram",
        grid({"fine-tuning(layers=none)": 0.0, "fine-tuning(lr=0.0005)": 0.1, "lora": 0.05}),
    )
    with style():
        canvas.set_dpi(dpi)
        canvas.draw_without_rendering()
        boxes = [text.get_window_extent() for text in canvas.axes[0].texts]
    assert min(box.x0 for box in boxes) / dpi > -0.02
    assert max(box.x1 for box in boxes) / dpi < canvas.get_figwidth() + 0.02
