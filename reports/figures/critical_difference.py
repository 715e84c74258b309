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
from reports.figures.measure import metrics_sentence, of_any_task
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, MethodStyle, folded, method_styles, styled

NAME: Final = "diagram"
TITLE: Final = "Mean ranks over tasks"
LABEL_STEP: Final = 0.6  # vertical distance of two labels
TWO_SIDED: Final = 5.0  # inches; in a narrower figure all names stand on the right
LETTERS_PER_INCH: Final = (
    5.2  # of a name on either side, so that half of the width is left for the axis
)


@styled
def critical_difference(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw the mean ranks of the methods that finished every task."""
    standing = comparison.ranking
    if standing is None:
        reason = "Ranks need two methods that finished two tasks or more, and all of them."
        return empty_figure(NAME, TITLE, reason, options.layout)
    methods, ranks = standing.methods, standing.ranks
    bars = _bars(standing)
    canvas = Canvas(NAME, TITLE, options.layout)
    on_left = math.ceil(len(methods) / 2) if canvas.get_figwidth() >= TWO_SIDED else 0
    letters = min(
        30, int(canvas.get_figwidth() * (LETTERS_PER_INCH if on_left else 2 * LETTERS_PER_INCH))
    )
    names = {method: folded(method, width=letters, lines=2) for method in methods}
    lines = 1 + any("\n" in name for name in names.values())
    depth = 0.6 + 0.3 * len(bars) + LABEL_STEP * (len(methods) - on_left + 0.5 * bool(on_left))
    canvas.set_figheight(0.75 + (0.06 + 0.13 * lines) * depth / LABEL_STEP)
    axes = canvas.add_subplot()
    styles = method_styles(comparison.methods, comparison.baseline)
    _axis(axes, len(methods), depth=depth)
    axes.set_xlabel(
        f"mean rank by {_metric(comparison)} (1, on the left, is best)",
        loc="center" if on_left else "left",
    )
    for number, group in enumerate(bars):
        _bar(axes, [ranks[i] for i in group], 0.35 + 0.3 * number)
    _labels(
        canvas,
        axes,
        {method: ranks[i] for i, method in enumerate(methods)},
        names,
        styles,
        start=0.7 + 0.3 * len(bars),
        on_left=on_left,
    )
    return canvas.finish(_caption(standing) + metrics_sentence(comparison))


def _metric(comparison: Comparison) -> str:
    return of_any_task(comparison).name


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
    names: Mapping[str, str],
    styles: Mapping[str, MethodStyle],
    *,
    start: float,
    on_left: int,
) -> None:
    """Write the names of the best methods on the left, the others on the right, joined to their ranks.

    The marker stands where the line to the name bends. No two names have the same height, so that
    methods of equal rank do not hide each other.
    """
    order = sorted(ranks, key=lambda method: (ranks[method], method))
    left, right = axes.get_xlim()
    for position, method in enumerate(order):
        is_left = position < on_left
        y = start + LABEL_STEP * (position if is_left else len(order) - 1 - position)
        y += 0 if is_left or not on_left else LABEL_STEP / 2
        rank, end = ranks[method], left if is_left else right
        name, style = names[method], styles[method]
        axes.plot([rank, rank, end], [0, y, y], color=style.color, linewidth=0.9, clip_on=False)
        (dot,) = axes.plot(
            [rank],
            [y],
            color=style.color,
            marker=style.marker,
            markersize=5,
            linestyle="",
            clip_on=False,
            zorder=3,
        )
        canvas.add_tooltips(dot, [f"{method}: mean rank {rank:.2f}"])
        axes.annotate(
            f"{name}  {rank:.2f}" if is_left else f"{rank:.2f}  {name}",
            (end, y),
            xytext=(-4 if is_left else 4, 0),
            textcoords="offset points",
            ha="right" if is_left else "left",
            va="center",
            linespacing=0.95,
            annotation_clip=False,
        )
