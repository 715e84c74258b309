"""Scores over the number of labelled examples, with the differences from the baseline below."""

import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast
from reports.document import plural
from reports.figures.canvas import Canvas, grid_lines, label_empty_panel, zero_line
from reports.figures.options import DEFAULT, Options
from reports.figures.style import MAX_PANELS, MethodStyle, estimate, method_styles, short, styled

NAME = "curve"
TITLE = "Score over the number of examples, and its difference from the baseline"
MAX_POINTS = 240  # points of all small panels; above it, these panels show lines only
MAX_LINES = 90  # lines of all small panels; above it, panels are left out


@styled
def curve(comparison: Comparison, _: Options = DEFAULT) -> Canvas:
    """Draw mean scores with 95 % intervals over sizes, averaged and per task, and paired differences below."""
    tasks = comparison.tasks if len(comparison.tasks) > 1 else ()
    shown = tasks[: max(4, min(MAX_PANELS, MAX_LINES // len(comparison.methods)))]
    columns = 2 if len(shown) <= 4 else 3
    rows = max(2, math.ceil(len(shown) / columns))
    canvas = Canvas(NAME, TITLE, height=max(3.6, 1.3 * rows), width=7.1 if shown else 4.2)
    outer = canvas.add_gridspec(
        1, 2 if shown else 1, width_ratios=[1, 0.5 * columns] if shown else [1]
    )
    left = outer[0].subgridspec(2, 1)
    top = canvas.add_subplot(left[0])
    bottom = canvas.add_subplot(left[1], sharex=top)
    whole = None if tasks else comparison.tasks[0]
    left_out = _scores(canvas, top, comparison, whole)
    dense = len(shown) * len(comparison.methods) * len(comparison.sizes) > MAX_POINTS
    top.set_title("average over tasks" if whole is None else short(whole, 40))
    top.set_ylabel("points")
    _differences(canvas, bottom, comparison)
    if shown:
        right = outer[1].subgridspec(rows, columns)
        for number, task in enumerate(shown):
            panel = canvas.add_subplot(right[number // columns, number % columns])
            _scores(canvas, panel, comparison, task, dense=dense)
            panel.set_title(short(task, 22))
            _sizes(panel, comparison.sizes)
    _sizes(top, comparison.sizes)
    _sizes(bottom, comparison.sizes)
    bottom.set_xlabel("examples (size)")
    styles = method_styles(comparison.methods, comparison.baseline)
    canvas.add_method_legend(comparison.methods, styles)
    return canvas.finish(_caption(comparison, left_out, len(tasks) - len(shown), dense=dense))


def _caption(comparison: Comparison, left_out: Sequence[str], hidden: int, *, dense: bool) -> str:
    test = next(iter(_contrasts(comparison)), None)
    text = (
        "Points are scores × 100; bands and whiskers: 95 % intervals "
        f"({comparison.covered}), as in the report's tables"
    )
    text += f". Differences: on the same examples, from {comparison.baseline}" if test else ""
    text += f". No average, because runs are missing: {', '.join(left_out)}" if left_out else ""
    text += ". The panels of tasks omit markers and bands, as there are many lines" if dense else ""
    text += f". Not shown: {plural(hidden, 'more task')}; choose with --tasks" if hidden else ""
    return text + "."


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
    x = [math.log2(cell.size or 1) for cell in cells]
    (line,) = axes.plot(
        x,
        [cell.mean for cell in cells],
        color=style.color,
        marker=style.marker,
        linestyle=style.dash,
    )
    canvas.add_tooltips(line, [_tooltip(cell) for cell in cells])
    low, high = [cell.low for cell in cells], [cell.high for cell in cells]
    if len(cells) > 1:
        axes.fill_between(x, low, high, color=style.color, alpha=0.13, linewidth=0)
    else:
        axes.vlines(x, low, high, color=style.color, linewidth=0.8)


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


def _differences(canvas: Canvas, axes: Axes, comparison: Comparison) -> None:
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
        axes.vlines(
            x,
            [test.these.low for test in tests],
            [test.these.high for test in tests],
            color=style.color,
            linewidth=0.8,
        )
        texts = [
            f"{method} - {test.baseline}, size {size}: {estimate(test.effect, test.these.low, test.these.high)}"
            for test, size in zip(tests, sizes, strict=True)
        ]
        canvas.add_tooltips(line, texts)
    if not others or not _contrasts(comparison):
        label_empty_panel(axes, "no other method")
    zero_line(axes)
    grid_lines(axes)
    axes.set_title(f"difference from {short(comparison.baseline, 32)}")
    axes.set_ylabel("points")


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
