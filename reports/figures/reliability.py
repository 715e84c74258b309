"""Reliability diagram: how often predictions are correct, against the probability that the model gives them."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from reports.analysis.classification import scaled_runs
from reports.analysis.comparison import Comparison
from reports.analysis.run import Run
from reports.document import plural
from reports.figures.canvas import Canvas, empty_figure, grid_lines
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, PAGE, MethodStyle, method_styles, styled
from reports.statistics.reliability import Pool, ReliabilityBin, reliability_curve

NAME: Final = "reliability"
TITLE: Final = "Accuracy against the probability of the predicted class"
SCALED: Final = ", scaled by a temperature"
BINS: Final = 10
FEWEST_BINS: Final = 5
MAX_POINTS: Final = 160  # of all panels together, unless that leaves too few bins
ROWS_PER_BIN: Final = 5  # test rows of a draw

Panel = tuple[str, int]  # task and size


@styled
def reliability(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw a panel for each task and size, largest sizes first, with a curve for each method."""
    title = TITLE + SCALED * options.temperature
    runs = scaled_runs(comparison.runs) if options.temperature else comparison.runs
    cells = _cells(runs)
    panels = [
        (task, size)
        for size in reversed(comparison.sizes)
        for task in comparison.tasks
        if any((method, task, size) in cells for method in comparison.methods)
    ]
    if not panels:
        missing = "a temperature" if options.temperature else "class probabilities"
        return empty_figure(NAME, title, f"No run stores {missing}.", options.layout)
    methods = [name for name in comparison.methods if any(key[0] == name for key in cells)]
    bins = max(FEWEST_BINS, min(BINS, MAX_POINTS // (len(methods) * len(panels))))
    canvas = Canvas(NAME, title, options.layout, width=min(PAGE, 3.5 * len(panels)))
    columns = canvas.columns(len(panels), each=1.75)
    lines = math.ceil(len(panels) / columns)
    canvas.set_figheight((canvas.get_figwidth() / columns + 0.1) * lines)
    styles = method_styles(comparison.methods, comparison.baseline)
    for number, panel in enumerate(panels):
        axes = canvas.add_subplot(lines, columns, number + 1)
        curves = {
            method: _curve(cells[method, *panel], bins)
            for method in methods
            if (method, *panel) in cells
        }
        _panel(canvas, axes, curves, styles)
        canvas.add_title(axes, f"{panel[0]}, {panel[1]}")
        canvas.limit(axes.xaxis, (0, 100))
        canvas.limit(axes.yaxis, (0, 100))
        if number % columns == 0:
            axes.set_ylabel("accuracy, %")
        if number + columns >= len(panels):
            axes.set_xlabel("mean probability, %")
    canvas.add_method_legend(methods, styles)
    return canvas.finish(_caption([run for found in cells.values() for run in found], bins))


def _cells(runs: Sequence[Run]) -> dict[tuple[str, str, int], list[Run]]:
    """Return the runs with stored probabilities by method, task and size."""
    cells: dict[tuple[str, str, int], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.draw, run.seed)):
        if run.probabilities:
            cells.setdefault((run.method, run.task, run.size), []).append(run)
    return cells


def _curve(runs: Sequence[Run], bins: int) -> list[ReliabilityBin]:
    """Return the curve of several runs of one method on one task and size."""
    probabilities = [np.concatenate(list(run.probabilities.values())) for run in runs]
    labels = [np.concatenate(list(run.labels.values())) for run in runs]
    pool = Pool(
        confidence=np.concatenate([values.max(axis=1) for values in probabilities]),
        correct=np.concatenate(
            [
                (values.argmax(axis=1) == truth).astype(np.float64)
                for values, truth in zip(probabilities, labels, strict=True)
            ]
        ),
        draw=np.concatenate([np.full(len(run.row_groups), run.draw) for run in runs]),
        row=np.concatenate([run.row_groups for run in runs]).astype(np.int64),
    )
    least = min(len(values) for values in labels)
    return reliability_curve(pool, max(1, min(bins, least // ROWS_PER_BIN)))


def _panel(
    canvas: Canvas,
    axes: Axes,
    curves: Mapping[str, Sequence[ReliabilityBin]],
    styles: Mapping[str, MethodStyle],
) -> None:
    grid_lines(axes)
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, alpha=0.6, linestyle=(0, (4, 2)))
    for method, curve in curves.items():
        style = styles[method]
        x = [100 * one.confidence for one in curve]
        ends = [
            value for one in curve for value in (100 * one.low, 100 * one.high, math.nan)
        ]  # one path for all whiskers, with gaps between them
        axes.plot(np.repeat(x, 3), ends, color=style.color, linewidth=0.7, alpha=0.6)
        (line,) = axes.plot(
            x,
            [100 * one.accuracy for one in curve],
            color=style.color,
            marker=style.marker,
            linestyle=style.dash,
            markersize=3,
            linewidth=0.9,
        )
        canvas.add_tooltips(line, [_tooltip(method, one) for one in curve])
    low = min(100 * one.confidence for curve in curves.values() for one in curve)
    axes.set_xlim(10 * math.floor(low / 10), 100)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100])


def _caption(runs: Sequence[Run], bins: int) -> str:
    rows, draws = {run.n_test for run in runs}, {run.draw for run in runs}
    tested = f"{min(rows):,}" if len(rows) == 1 else f"{min(rows):,} to {max(rows):,}"
    covers = (
        "test rows; a single draw" if len(draws) < 2 else "draws and test rows, which draws share"
    )
    return (
        f"{plural(len(runs), 'run')} with stored probabilities of {tested} test rows, {plural(len(draws), 'draw')}. "
        "Predictions of all draws together, by the probability of the predicted class, in at most "
        f"{bins} bins of equal count. Whiskers: 95 % intervals over {covers}. "
        "Dashed diagonal: accuracy equals probability; below it, the model is overconfident."
    )


def _tooltip(method: str, one: ReliabilityBin) -> str:
    return (
        f"{method}: probability {100 * one.confidence:.1f}, accuracy {100 * one.accuracy:.1f} "
        f"[{100 * one.low:.1f}, {100 * one.high:.1f}], {plural(one.predictions, 'prediction')}"
    )
