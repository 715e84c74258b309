"""Scores over the number of labelled examples, with the differences from the baseline below."""

import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.figures.canvas import LINES, Canvas, grid_lines, label_empty_panel, zero_line
from reports.figures.coincidence import extent
from reports.figures.measure import Measure, differs_by_task, metrics_sentence, of_average, of_task
from reports.figures.options import DEFAULT, Options
from reports.figures.style import PAGE, MethodStyle, estimate, method_styles, styled

NAME = "curve"
TITLE = "Score over the number of examples, and its difference from the baseline"
MAX_POINTS = 240  # points of all small panels; above it, these panels show lines only
WIDE = 5.0  # inches; in a narrower figure all panels stand below each other


@styled
def curve(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw mean scores with 95 % intervals over sizes, averaged and per task, and paired differences below."""
    tasks = comparison.tasks if len(comparison.tasks) > 1 else ()
    canvas = Canvas(NAME, TITLE, options.layout, width=PAGE if tasks else 4.2)
    columns = _columns(canvas, len(tasks))
    top, bottom, *panels = _add_panels(canvas, len(tasks), columns)
    whole = None if tasks else comparison.tasks[0]
    measure = of_average(comparison)
    left_out = _scores(canvas, top, comparison, whole)
    canvas.add_title(top, "average over tasks" if whole is None else whole)
    top.set_ylabel(measure.label)
    canvas.limit(top.yaxis, measure.bounds)
    _differences(canvas, bottom, comparison, measure.difference())
    dense = len(tasks) * len(comparison.methods) * len(comparison.sizes) > MAX_POINTS
    for number, (panel, task) in enumerate(zip(panels, tasks, strict=True)):
        measure = of_task(comparison, task)
        _scores(canvas, panel, comparison, task, dense=dense)
        canvas.add_title(panel, task)
        canvas.limit(panel.yaxis, measure.bounds)
        if number % columns == 0 or differs_by_task(comparison):
            panel.set_ylabel(measure.label)
    for axes in (top, bottom, *panels):
        _sizes(axes, comparison.sizes)
    for axes in (bottom, *panels[-columns:]):
        axes.set_xlabel("examples (size)")
    styles = method_styles(comparison.methods, comparison.baseline)
    canvas.add_method_legend(comparison.methods, styles)
    return canvas.finish(_caption(comparison, left_out, dense=dense))


def _is_wide(canvas: Canvas) -> bool:
    return canvas.get_figwidth() >= WIDE


def _columns(canvas: Canvas, tasks: int) -> int:
    """Return the number of columns of the panels of tasks."""
    columns = canvas.columns(max(tasks, 1), each=1.45, beside=2.6 if _is_wide(canvas) else 0.0)
    return min(columns, 2) if tasks <= 4 else columns


def _add_panels(canvas: Canvas, tasks: int, columns: int) -> list[Axes]:
    """Add a panel for the average, one for the differences, and one for each task.

    Those of the tasks stand on the right, or below the others if the figure is narrow.
    """
    rows = math.ceil(tasks / columns)
    if tasks and _is_wide(canvas):
        rows = max(rows, 2)
        canvas.set_figheight(max(3.6, 1.3 * rows))
        outer = canvas.add_gridspec(1, 2, width_ratios=[1, 0.5 * columns])
        left, right = outer[0].subgridspec(max(rows, 4), 1), outer[1].subgridspec(rows, columns)
        half = 2 if rows > 4 else max(rows, 4) // 2
        places = [left[:half], left[half : 2 * half]]
    else:
        canvas.set_figheight(3.6 + 1.35 * rows)
        outer = canvas.add_gridspec(
            2 + bool(rows), 1, height_ratios=[1.8, 1.8, 1.35 * rows][: 2 + bool(rows)]
        )
        right = outer[-1].subgridspec(max(rows, 1), columns)
        places = [outer[0], outer[1]]
    places += [right[number // columns, number % columns] for number in range(tasks)]
    return [canvas.add_subplot(place) for place in places]


def _caption(comparison: Comparison, left_out: Sequence[str], *, dense: bool) -> str:
    test = next(iter(_contrasts(comparison)), None)
    text = (
        "Points are scores × 100; bands and whiskers: 95 % intervals "
        f"({comparison.covered}), as in the report's tables"
    )
    text += f". Differences: on the same examples, from {comparison.baseline}" if test else ""
    text += f". No average, because runs are missing: {', '.join(left_out)}" if left_out else ""
    text += ". The panels of tasks omit markers and bands, as there are many lines" if dense else ""
    return f"{text}.{metrics_sentence(comparison)}"


def _scores(
    canvas: Canvas, axes: Axes, comparison: Comparison, task: str | None, *, dense: bool = False
) -> list[str]:
    """Draw a line for each method, with a band unless `dense`; return the methods without any number."""
    styles = method_styles(comparison.methods, comparison.baseline)
    left_out = []
    for method in comparison.methods:
        cells = [comparison.cell(method, task, size) for size in comparison.sizes]
        cells = [cell for cell in cells if math.isfinite(cell.mean)]
        if cells and dense:
            _thin_line(axes, cells, styles[method])
        elif cells:
            _line(canvas, axes, cells, styles[method])
        else:
            left_out.append(method)
    if len(left_out) == len(comparison.methods):
        label_empty_panel(axes, "no complete average" if task is None else "no finished runs")
    grid_lines(axes)
    return left_out


def _line(canvas: Canvas, axes: Axes, cells: Sequence[Cell], style: MethodStyle) -> None:
    x, means = [math.log2(cell.size or 1) for cell in cells], [cell.mean for cell in cells]
    (line,) = axes.plot(
        x,
        means,
        color=style.color,
        marker=style.marker,
        linestyle=style.dash,
    )
    canvas.add_tooltips(line, [_tooltip(cell) for cell in cells])
    low, high = [cell.low for cell in cells], [cell.high for cell in cells]
    moving: list[Artist] = [line]
    if len(cells) > 1:
        axes.fill_between(x, low, high, color=style.color, alpha=0.13, linewidth=0)
    else:
        moving.append(axes.vlines(x, low, high, color=style.color, linewidth=0.8))
    canvas.keep_apart(axes, moving, [extent(*at) for at in zip(x, means, strict=True)], LINES)


def _thin_line(axes: Axes, cells: Sequence[Cell], style: MethodStyle) -> None:
    """Draw a line without markers and band; with a single size, draw its marker."""
    x = [math.log2(cell.size or 1) for cell in cells]
    axes.plot(
        x,
        [cell.mean for cell in cells],
        color=style.color,
        linestyle=style.dash,
        marker=style.marker if len(cells) == 1 else "",
        linewidth=0.9,
    )


def _tooltip(cell: Cell) -> str:
    score = estimate(cell.mean, cell.low, cell.high)
    return f"{cell.method}, {cell.task or 'average'}, size {cell.size}: {score}"


def _contrasts(comparison: Comparison) -> list[Contrast]:
    """Return the contrasts of each size; with a single size, these are the overall contrasts."""
    return comparison.family("per size" if len(comparison.sizes) > 1 else "overall")


def _differences(canvas: Canvas, axes: Axes, comparison: Comparison, measure: Measure) -> None:
    styles = method_styles(comparison.methods, comparison.baseline)
    others = [method for method in comparison.methods if method != comparison.baseline]
    gap = _gap(comparison.sizes) / max(len(others), 1)
    for position, method in enumerate(others):
        tests = [
            test
            for test in _contrasts(comparison)
            if test.method == method and math.isfinite(test.effect)
        ]
        sizes = [test.size or comparison.sizes[0] for test in tests]
        shift = gap * (position - (len(others) - 1) / 2)  # whiskers stand side by side
        x = [math.log2(size) + shift for size in sizes]
        style = styles[method]
        (line,) = axes.plot(
            x,
            [test.effect for test in tests],
            color=style.color,
            marker=style.marker,
            linestyle=style.dash,
        )
        whiskers = axes.vlines(
            x,
            [test.these.low for test in tests],
            [test.these.high for test in tests],
            color=style.color,
            linewidth=0.8,
        )
        places = [extent(at, test.effect) for at, test in zip(x, tests, strict=True)]
        canvas.keep_apart(axes, (line, whiskers), places, LINES)
        texts = [
            f"{method} - {test.baseline}, size {size}: {estimate(test.effect, test.these.low, test.these.high)}"
            for test, size in zip(tests, sizes, strict=True)
        ]
        canvas.add_tooltips(line, texts)
    if not others or not _contrasts(comparison):
        label_empty_panel(axes, "no other method")
    zero_line(axes)
    grid_lines(axes)
    canvas.add_title(axes, f"difference from {comparison.baseline}")
    axes.set_ylabel(measure.label)
    canvas.limit(axes.yaxis, measure.bounds)


def _gap(sizes: Sequence[int]) -> float:
    """Return the width on the axis for the whiskers of one size."""
    steps = [math.log2(b / a) for a, b in pairwise(sizes)]
    return min(0.25 * min(steps, default=1.0), 0.3)


def _sizes(axes: Axes, sizes: Sequence[int]) -> None:
    """Place sizes at their logarithms, with at most six tick labels."""
    step = math.ceil(len(sizes) / 6)
    named = sizes[::step]
    margin = max(0.35, 0.12 * math.log2(sizes[-1] / sizes[0]))
    axes.set_xticks([math.log2(size) for size in named], [str(size) for size in named])
    axes.set_xlim(math.log2(sizes[0]) - margin, math.log2(sizes[-1]) + margin)
