"""The critical difference diagram: mean ranks over tasks, and bars over methods that no test tells apart.

Demšar (2006), with the pairwise tests of Benavoli, Corani and Mangili (2016) in the place of a
single distance.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from reports.analysis.comparison import Comparison
from reports.figures.canvas import Canvas, empty_figure, label_empty_panel
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, MethodStyle, folded, method_styles, styled
from reports.statistics import paired_tests
from reports.statistics.paired_tests import Array
from reports.statistics.ranks import cliques, mean_ranks, pairwise

NAME: Final = "diagram"
TITLE: Final = "Mean ranks over tasks"
LEVEL: Final = 0.6  # between two labels


@styled
def critical_difference(comparison: Comparison, _: Options = DEFAULT) -> Canvas:
    """Mean ranks of the methods that have a score on every task; a bar joins methods no pair of which is told apart."""
    scores, left_out = _complete(comparison)
    methods = list(scores)
    if not methods:
        return empty_figure(
            NAME, TITLE, f"No method has a score on every task: {', '.join(left_out)}."
        )
    table = np.array([scores[method] for method in methods])  # (methods, tasks)
    several = len(methods) > 1
    ranks = mean_ranks(table.T) if several else np.ones(1)
    half = math.ceil(len(methods) / 2)
    bars = _bars(table.T, ranks) if several and table.shape[1] > 1 else []
    canvas = Canvas(NAME, TITLE, width=7.1, height=0.9 + 0.24 * half + 0.1 * len(bars))
    axes = canvas.add_subplot()
    found = method_styles(comparison.methods, comparison.baseline)
    _axis(axes, len(methods), depth=0.6 + 0.3 * len(bars) + LEVEL * half)
    for number, group in enumerate(bars):
        _bar(axes, [ranks[i] for i in group], 0.35 + 0.3 * number)
    _labels(
        canvas,
        axes,
        {method: ranks[i] for i, method in enumerate(methods)},
        found,
        start=0.7 + 0.3 * len(bars),
    )
    if len(methods) < 2:
        label_empty_panel(axes, "")
    return canvas.finish(_caption(table, left_out))


def _caption(table: Array, left_out: Sequence[str]) -> str:
    k, n = table.shape
    pairs = k * (k - 1) // 2
    words = f"N = {n} tasks, k = {k} methods"
    if n > 1 and pairs:
        words += (
            ", mean scores of each task. A bar joins methods no pair of which is told apart: sign flip over tasks, "
            f"Holm over {pairs} pairs, α\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{paired_tests.ALPHA:g}"
        )
        least = min(1.0, paired_tests.smallest(n) * pairs)
        if least > paired_tests.ALPHA:
            words += f". {n} tasks allow no adjusted p below {least:.2g}, so nothing can be told apart here"
    else:
        words += ": one task or one method allows no test"
    words += f". Not every task has a score: {', '.join(left_out)}" if left_out else ""
    return words + "."


def _complete(comparison: Comparison) -> tuple[dict[str, list[float]], list[str]]:
    """The task means of methods that have them all, and the other methods."""
    scope = None if len(comparison.sizes) > 1 else comparison.sizes[0]
    scores, left_out = {}, []
    for method in comparison.methods:
        means = [comparison.cell(method, task, scope).mean for task in comparison.tasks]
        if all(map(math.isfinite, means)):
            scores[method] = means
        else:
            left_out.append(method)
    return scores, left_out


def _bars(scores: Array, ranks: Array) -> list[list[int]]:
    """The methods under each bar, by rank."""
    groups = (
        sorted(group, key=lambda i: (ranks[i], i)) for group in cliques(pairwise(scores).adjusted)
    )
    return sorted(groups, key=lambda group: [ranks[i] for i in group])


def _axis(axes: Axes, k: int, *, depth: float) -> None:
    axes.set_ylim(depth, -0.1)
    axes.set_xlim(0.6, max(k, 2) + 0.4)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(1, max(k, 2) + 1))
    axes.set_xlabel("mean rank over tasks (1, at the left, is best)")
    axes.set_yticks([])
    for side, spine in axes.spines.items():
        spine.set_visible(side == "top")


def _bar(axes: Axes, ranks: Sequence[float], y: float) -> None:
    """A bar with a knot at each method that it joins; it says nothing of methods that it only passes."""
    axes.plot(
        [min(ranks), max(ranks)],
        [y, y],
        color=INK,
        linewidth=2.2,
        alpha=0.55,
        solid_capstyle="round",
    )
    axes.plot(list(ranks), [y] * len(ranks), color=INK, linestyle="", marker="o", markersize=3.4)


def _labels(
    canvas: Canvas,
    axes: Axes,
    ranks: Mapping[str, float],
    found: Mapping[str, MethodStyle],
    *,
    start: float,
) -> None:
    """Names at both sides, the better half at the left, each with an elbow to its rank."""
    order = sorted(ranks, key=lambda method: (ranks[method], method))
    half = math.ceil(len(order) / 2)
    left, right = axes.get_xlim()
    for place, method in enumerate(order):
        first = place < half
        y = start + LEVEL * (place if first else len(order) - 1 - place)
        rank, end = ranks[method], left if first else right
        look = found[method]
        axes.plot([rank, rank, end], [0, y, y], color=look.color, linewidth=0.9, clip_on=False)
        (dot,) = axes.plot(
            [rank],
            [0],
            color=look.color,
            marker=look.marker,
            markersize=5,
            linestyle="",
            clip_on=False,
        )
        canvas.add_tooltips(dot, [f"{method}: mean rank {rank:.2f}"])
        axes.annotate(
            f"{folded(method, lines=1, width=30)}  {rank:.2f}"
            if first
            else f"{rank:.2f}  {folded(method, lines=1, width=30)}",
            (end, y),
            xytext=(-4 if first else 4, 0),
            textcoords="offset points",
            ha="right" if first else "left",
            va="center",
            annotation_clip=False,
        )
