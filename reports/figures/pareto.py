"""Quality against cost, and the methods that none beats at both."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Final, NamedTuple

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.figures.canvas import Canvas, empty_figure, grid_lines, handle
from reports.figures.options import COSTS, DEFAULT, Options
from reports.figures.style import INK, amount, estimate, folded, method_styles, styled

NAME: Final = "pareto"
TITLE: Final = "Score against cost"


class ParetoPoint(NamedTuple):
    """One method."""

    method: str
    cost: float
    cell: Cell


@styled
def pareto(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Mean score over all tasks and sizes, with its 95 % interval, over the mean cost; the step line is the front."""
    points, left_out = _points(comparison, COSTS[options.cost][0])
    if not points:
        return empty_figure(
            NAME,
            TITLE,
            f"No method has both an average of all runs and a cost above 0: {', '.join(left_out)}.",
        )
    canvas = Canvas(NAME, TITLE, width=4.6, height=2.9)
    axes = canvas.add_subplot()
    found = method_styles(comparison.methods, comparison.baseline)
    best = front(points)
    axes.set_xscale("log")
    axes.step(
        [*(p.cost for p in best), 1.6 * max(p.cost for p in points)],
        [*(p.cell.mean for p in best), best[-1].cell.mean],
        where="post",
        color=INK,
        alpha=0.45,
        linewidth=1,
        zorder=1,
    )
    for point in points:
        look, cell = found[point.method], point.cell
        axes.vlines([point.cost], [cell.low], [cell.high], color=look.color, linewidth=0.9)
        (dot,) = axes.plot(
            [point.cost],
            [cell.mean],
            color=look.color,
            marker=look.marker,
            markersize=6,
            linestyle="",
        )
        on = " (on the front)" if point in best else ""
        says = f"{point.method}: {estimate(cell.mean, cell.low, cell.high)}, {amount(point.cost)} {COSTS[options.cost][1]}"
        canvas.add_tooltips(dot, [says + on])
    low, high = min(p.cost for p in points), max(p.cost for p in points)
    axes.set_xlim(low / 1.6, high * 1.6)
    _ticks(axes.xaxis, decades=math.log10(high / low))
    axes.set_xlabel(f"{COSTS[options.cost][1]} (logarithmic)")
    axes.set_ylabel("mean score, points")
    grid_lines(axes)
    methods = [point.method for point in points]
    canvas.add_legend([handle(found[method], line=False) for method in methods], methods)
    return canvas.finish(_caption(comparison, options, left_out))


def _ticks(axis: object, *, decades: float) -> None:
    """Round numbers in plain letters; between the powers of ten too where there are few of those."""
    from matplotlib.axis import XAxis

    assert isinstance(axis, XAxis)
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axis.set_minor_formatter(NullFormatter())


def front(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """The points that no other beats at cost and score at once, the cheapest first."""
    best: list[ParetoPoint] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.cell.mean, one.method)):
        if not best or point.cell.mean > best[-1].cell.mean:
            best.append(point)
    return best


def _points(comparison: Comparison, cost: str) -> tuple[list[ParetoPoint], list[str]]:
    scope = None if len(comparison.sizes) > 1 else comparison.sizes[0]
    whole = None if len(comparison.tasks) > 1 else comparison.tasks[0]
    points, left_out = [], []
    for method in comparison.methods:
        cell = comparison.cell(method, whole, scope)
        costs = [comparison.cell(method, task, scope).costs.get(cost) for task in comparison.tasks]
        known = [value for value in costs if value is not None]
        if math.isfinite(cell.mean) and known and fmean(known) > 0:
            points.append(ParetoPoint(method, fmean(known), cell))
        else:
            left_out.append(method)
    return points, left_out


def _caption(comparison: Comparison, options: Options, left_out: Sequence[str]) -> str:
    words = f"Whiskers: 95 % intervals ({comparison.covered}), as in the report's tables. Line: the best mean score up to each cost"
    shared = sum(run.shared for run in comparison.runs)
    if shared and options.cost in ("seconds", "evaluation"):
        words += (
            f". {shared} runs shared a pack or features with others, and their seconds are shares"
        )
    words += (
        f". Not shown, for want of a complete average or of a cost: {', '.join(map(folded, left_out))}"
        if left_out
        else ""
    )
    return words + "."
