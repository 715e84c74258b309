"""Scores against costs, with the Pareto front."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Final, NamedTuple

from matplotlib.axis import XAxis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.document import plural
from reports.figures.canvas import WHISKERS, Canvas, empty_figure, grid_lines
from reports.figures.coincidence import extent
from reports.figures.measure import metrics_sentence, of_average
from reports.figures.options import COSTS, DEFAULT, Options
from reports.figures.style import INK, amount, estimate, folded, method_styles, styled

NAME: Final = "pareto"
TITLE: Final = "Score against cost"


class ParetoPoint(NamedTuple):
    """The mean cost and the mean score of one method."""

    method: str
    cost: float
    cell: Cell


@styled
def pareto(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw mean scores over all tasks and sizes, with 95 % intervals, over mean costs, and the Pareto front."""
    points, left_out = _points(comparison, COSTS[options.cost][0])
    if not points:
        reason = f"No method has both a complete average and a cost above 0: {', '.join(left_out)}."
        return empty_figure(NAME, TITLE, reason, options.layout)
    canvas = Canvas(NAME, TITLE, options.layout, width=4.6, height=2.9)
    axes = canvas.add_subplot()
    styles = method_styles(comparison.methods, comparison.baseline)
    best = front(points)
    low, high = min(p.cost for p in points), max(p.cost for p in points)
    margin = max(1.6, (high / low) ** 0.1)
    axes.set_xscale("log")
    axes.step(
        [*(p.cost for p in best), high * margin],
        [*(p.cell.mean for p in best), best[-1].cell.mean],
        where="post",
        color=INK,
        alpha=0.45,
        linewidth=1,
        zorder=1,
    )
    for point in points:
        style, cell = styles[point.method], point.cell
        whisker = axes.vlines(
            [point.cost], [cell.low], [cell.high], color=style.color, linewidth=0.9
        )
        (dot,) = axes.plot(
            [point.cost],
            [cell.mean],
            color=style.color,
            marker=style.marker,
            markersize=6,
            linestyle="",
        )
        on_front = " (on the front)" if point in best else ""
        score = estimate(cell.mean, cell.low, cell.high)
        cost = f"{amount(point.cost)} {COSTS[options.cost][1]}"
        canvas.add_tooltips(dot, [f"{point.method}: {score}, {cost}{on_front}"])
        place = extent(point.cost, cell.mean, cell.low, cell.high)
        canvas.keep_apart(axes, (dot, whisker), [place], WHISKERS)
    axes.set_xlim(low / margin, high * margin)
    _ticks(axes.xaxis, decades=math.log10(high / low))
    axes.set_xlabel(f"{COSTS[options.cost][1]} (logarithmic)")
    measure = of_average(comparison)
    axes.set_ylabel(measure.label)
    canvas.limit(axes.yaxis, measure.bounds)
    grid_lines(axes)
    canvas.add_method_legend([point.method for point in points], styles, line=False)
    return canvas.finish(_caption(comparison, options, left_out))


def _ticks(axis: XAxis, *, decades: float) -> None:
    """Label powers of ten, and also 2 and 5 times these if the axis spans less than two decades."""
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axis.set_minor_formatter(NullFormatter())


def front(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Return the Pareto front, cheapest first: no other method is cheaper and scores at least as much."""
    best: list[ParetoPoint] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.cell.mean, point.method)):
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
    text = (
        f"Whiskers: 95 % intervals ({comparison.covered}), as in the report's tables. "
        "Line: the best mean score up to each cost. Methods of nearly equal cost and score stand side by side"
    )
    shared = sum(run.shared for run in comparison.runs)
    if shared and options.cost in ("seconds", "evaluation"):
        text += (
            f". The seconds of {plural(shared, 'run')} are shares of a pack or of shared features"
        )
    if left_out:
        names = ", ".join(map(folded, left_out))
        text += f". Not shown, because the average or the cost is incomplete: {names}"
    return f"{text}.{metrics_sentence(comparison)}"
