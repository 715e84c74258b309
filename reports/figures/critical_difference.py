"""Critical difference diagram: mean ranks over tasks; bars join methods that do not differ significantly.

The diagram is Demšar's (2006). As Benavoli, Corani and Mangili (2016) recommend, pairwise tests
replace the single critical distance.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from reports.analysis.comparison import Comparison
from reports.document import plural
from reports.figures.canvas import Canvas, empty_figure
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, MethodStyle, method_styles, short, styled
from reports.statistics.conventions import ALPHA, Array
from reports.statistics.ranks import cliques, mean_ranks, pairwise
from reports.statistics.sign_flip import smallest_p

NAME: Final = "diagram"
TITLE: Final = "Mean ranks over tasks"
LABEL_STEP: Final = 0.6  # vertical distance of two labels


@styled
def critical_difference(comparison: Comparison, _: Options = DEFAULT) -> Canvas:
    """Draw the mean ranks of the methods that have a score on every task."""
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
    return canvas.finish(_caption(table, left_out))


def _caption(table: Array, left_out: Sequence[str]) -> str:
    k, n = table.shape
    pairs = k * (k - 1) // 2
    text = f"N = {plural(n, 'task')}, k = {plural(k, 'method')}"
    if n > 1 and pairs:
        text += (
            ", mean score of each task. A bar joins methods of which no two differ significantly: "
            f"sign-flip test over tasks, Holm over {plural(pairs, 'pair')}, "
            f"α\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{ALPHA:g}"
        )
        least = min(1.0, smallest_p(n) * pairs)
        if least > ALPHA:
            text += (
                f". {n} tasks allow no adjusted p below {least:.2g}, "
                "so no difference can be significant here"
            )
    else:
        text += ": one task or one method allows no test"
    text += f". Left out, because scores are missing: {', '.join(left_out)}" if left_out else ""
    return text + "."


def _complete(comparison: Comparison) -> tuple[dict[str, list[float]], list[str]]:
    """Return the task means of the methods that have a score on every task, and the other methods."""
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
    """Return the methods that each bar joins, as indices in the order of their ranks."""
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
