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
from reports.figures.style import INK, MethodStyle, method_styles, short, styled
from reports.statistics.reliability import Pool, ReliabilityBin, reliability_curve

NAME: Final = "reliability"
TITLE: Final = "Accuracy against the probability of the predicted class"
SCALED: Final = ", scaled by a temperature"
BINS: Final = 10
FEWEST_BINS: Final = 5
MAX_PANELS: Final = 8
MAX_POINTS: Final = 160  # of all panels together; more make a large file that nobody reads
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
        return empty_figure(NAME, title, f"No run stores {missing}.")
    methods = [name for name in comparison.methods if any(key[0] == name for key in cells)]
    most = max(1, min(MAX_PANELS, MAX_POINTS // (len(methods) * FEWEST_BINS)))
    shown = panels[:most]
    bins = max(FEWEST_BINS, min(BINS, MAX_POINTS // (len(methods) * len(shown))))
    columns = min(len(shown), 4)
    lines = math.ceil(len(shown) / columns)
    width = 7.1 if columns > 2 else 3.5 * columns
    canvas = Canvas(NAME, title, width=width, height=(width / columns + 0.1) * lines)
    styles = method_styles(comparison.methods, comparison.baseline)
    for number, panel in enumerate(shown):
        axes = canvas.add_subplot(lines, columns, number + 1)
        curves = {
            method: _curve(cells[method, *panel], bins)
            for method in methods
            if (method, *panel) in cells
        }
        _panel(canvas, axes, curves, styles)
        drawn = [run for method in curves for run in cells[method, *panel]]
        axes.set_title(_title(panel, drawn))
        if number % columns == 0:
            axes.set_ylabel("accuracy, %")
        if number + columns >= len(shown):
            axes.set_xlabel("mean probability, %")
    canvas.add_method_legend(methods, styles)
    stored = [
        run for panel in shown for method in methods for run in cells.get((method, *panel), [])
    ]
    return canvas.finish(_caption(stored, bins, len(panels) - len(shown)))


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
    axes.set_xlim(10 * math.floor(low / 10) - 1, 101)
    axes.set_ylim(-2, 102)
    axes.set_yticks([0, 25, 50, 75, 100])


def _title(panel: Panel, runs: Sequence[Run]) -> str:
    rows = {run.n_test for run in runs}
    count = f"{min(rows):,}" if len(rows) == 1 else f"{min(rows):,} to {max(rows):,}"
    draws = len({run.draw for run in runs})
    return f"{short(panel[0], 18)}, {panel[1]}\n{count} test rows × {plural(draws, 'draw')}"


def _caption(runs: Sequence[Run], bins: int, hidden: int) -> str:
    alone = len({run.draw for run in runs}) < 2
    covers = "test rows; a single draw" if alone else "draws and test rows, which draws share"
    text = (
        f"{plural(len(runs), 'run')} with stored probabilities. Predictions of all draws together, by the "
        f"probability of the predicted class, in at most {bins} bins of equal count. Whiskers: 95 % intervals over "
        f"{covers}. Dashed diagonal: accuracy equals probability; below it, the model is overconfident"
    )
    if hidden:
        text += f". Not shown: {plural(hidden, 'more panel')}; choose with --tasks and --sizes"
    return text + "."


def _tooltip(method: str, one: ReliabilityBin) -> str:
    return (
        f"{method}: probability {100 * one.confidence:.1f}, accuracy {100 * one.accuracy:.1f} "
        f"[{100 * one.low:.1f}, {100 * one.high:.1f}], {plural(one.predictions, 'prediction')}"
    )
