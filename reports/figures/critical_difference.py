"""Critical difference diagram: mean ranks over tasks; bars join methods without a settled pair.

The diagram is Demšar's (2006). As Benavoli, Corani and Mangili (2016) recommend, pairwise tests
replace the single critical distance; they are the claims of the report.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes

from reports.analysis.comparison import Comparison
from reports.analysis.inferences import FEWEST_TASKS
from reports.analysis.rankings import Ranking
from reports.document import plural
from reports.figures.canvas import Canvas, empty_figure
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, MethodStyle, method_styles, short, styled

NAME: Final = "diagram"
TITLE: Final = "Mean ranks over tasks"
LABEL_STEP: Final = 0.6  # vertical distance of two labels


@styled
def critical_difference(comparison: Comparison, _: Options = DEFAULT) -> Canvas:
    """Draw the mean ranks over the tasks that all methods finished."""
    standing = comparison.ranking
    if standing is None:
        return empty_figure(NAME, TITLE, "Ranks need two methods and two tasks that both finished.")
    methods, ranks = standing.methods, standing.ranks
    half = math.ceil(len(methods) / 2)
    bars = _bars(standing)
    canvas = Canvas(NAME, TITLE, width=7.1, height=0.9 + 0.24 * half + 0.1 * len(bars))
    axes = canvas.add_subplot()
    styles = method_styles(comparison.methods, comparison.baseline)
    _axis(axes, len(methods), depth=0.6 + 0.3 * len(bars) + LABEL_STEP * half)
    for number, group in enumerate(bars):
        _bar(axes, [ranks[i] for i in group], 0.35 + 0.3 * number)
    _labels(
        canvas,
        axes,
        {method: ranks[i] for i, method in enumerate(methods)},
        styles,
        start=0.7 + 0.3 * len(bars),
    )
    return canvas.finish(_caption(standing))


def _caption(standing: Ranking) -> str:
    tasks, methods = plural(len(standing.tasks), "task"), plural(len(standing.methods), "method")
    pairs = plural(standing.m, "pair")
    parts = [
        f"N = {tasks}, k = {methods}, mean score of each task",
        f"A bar joins methods without a settled pair: claims for other tasks, sign-flip test, Holm over {pairs}",
    ]
    if len(standing.tasks) < FEWEST_TASKS:
        parts.append(f"Fewer than {FEWEST_TASKS} tasks support no such claim")
    if standing.left_out:
        parts.append(f"Left out, because scores are missing: {', '.join(standing.left_out)}")
    return ". ".join(parts) + "."


def _bars(standing: Ranking) -> list[list[int]]:
    """Return the methods that each bar joins, as indices in the order of their ranks."""
    ranks = standing.ranks
    groups = (sorted(group, key=lambda i: (ranks[i], i)) for group in standing.cliques)
    return sorted(groups, key=lambda group: [ranks[i] for i in group])


def _axis(axes: Axes, k: int, *, depth: float) -> None:
    axes.set_ylim(depth, -0.1)
    axes.set_xlim(0.6, max(k, 2) + 0.4)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(1, max(k, 2) + 1))
    axes.set_xlabel("mean rank over tasks (1, on the left, is best)")
    axes.set_yticks([])
    for side, spine in axes.spines.items():
        spine.set_visible(side == "top")


def _bar(axes: Axes, ranks: Sequence[float], y: float) -> None:
    """Draw a bar with a dot at each method that it joins; a bar may pass other methods."""
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
    styles: Mapping[str, MethodStyle],
    *,
    start: float,
) -> None:
    """Write the better half of the names on the left, the others on the right, joined to their ranks."""
    order = sorted(ranks, key=lambda method: (ranks[method], method))
    half = math.ceil(len(order) / 2)
    left, right = axes.get_xlim()
    for position, method in enumerate(order):
        on_left = position < half
        y = start + LABEL_STEP * (position if on_left else len(order) - 1 - position)
        rank, end = ranks[method], left if on_left else right
        name, style = short(method, 30), styles[method]
        axes.plot([rank, rank, end], [0, y, y], color=style.color, linewidth=0.9, clip_on=False)
        (dot,) = axes.plot(
            [rank],
            [0],
            color=style.color,
            marker=style.marker,
            markersize=5,
            linestyle="",
            clip_on=False,
        )
        canvas.add_tooltips(dot, [f"{method}: mean rank {rank:.2f}"])
        axes.annotate(
            f"{name}  {rank:.2f}" if on_left else f"{rank:.2f}  {name}",
            (end, y),
            xytext=(-4 if on_left else 4, 0),
            textcoords="offset points",
            ha="right" if on_left else "left",
            va="center",
            annotation_clip=False,
        )
