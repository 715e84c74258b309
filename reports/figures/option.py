"""Scores over the values of one option of a method, such as the rank of LoRA or the length of a prefix."""

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from reports.analysis.cells import Cell
from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import NothingToCompare
from reports.figures.canvas import Canvas, empty_figure, grid_lines, handle, label_empty_panel
from reports.figures.coincidence import extent
from reports.figures.measure import metrics_sentence, of_average
from reports.figures.options import DEFAULT, Options
from reports.figures.style import MethodStyle, amount, estimate, numbered_style, short, styled

NAME: Final = "option"
TITLE: Final = "Score over the values of an option"
DEFAULT_LABEL: Final = "default"
LOG_RATIO: Final = 8.0  # use a logarithmic axis if the greatest value is this many times the least
_METHOD: Final = re.compile(r"([^()]+)\((.*)\)", re.DOTALL)


class Variant(NamedTuple):
    """One method of a line."""

    value: str | None  # None: the name of the method does not hold the option
    method: str


class Mark(NamedTuple):
    """One point of a line: its position on the x axis, the variant and its overall cell."""

    x: float
    variant: Variant
    cell: Cell


@styled
def option(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw a line for each method and combination of its other options, over the values of one option.

    Raises:
        Nothing: no method's name holds the requested option.
    """
    known = _known(comparison.methods)
    option_name, _, default = (options.option or (known[0] if known else "")).partition("=")
    if options.option and option_name not in known:
        hint = (
            f"the names of these methods hold the options {', '.join(known)}"
            if known
            else "no method's name holds an option"
        )
        raise NothingToCompare(f"no option {option_name!r}; {hint}")
    if not known:
        reason = "No method's name holds an option, such as prefix(length=20)."
        return empty_figure(NAME, TITLE, reason, options.layout)
    lines = group_variants(comparison.methods, option_name, default or None)
    canvas = Canvas(NAME, TITLE, options.layout, width=4.6, height=2.7)
    axes = canvas.add_subplot()
    handles = _draw_lines(canvas, axes, comparison, lines)
    axes.set_xlabel(short(option_name, 40))
    measure = of_average(comparison)
    axes.set_ylabel(measure.label)
    canvas.limit(axes.yaxis, measure.bounds)
    canvas.add_legend(handles, [f"{base}({rest})" if rest else base for base, rest in lines])
    text = f"Whiskers: 95 % intervals ({comparison.covered}), as in the report's tables"
    if any(variant.value is None for variants in lines.values() for variant in variants):
        text += (
            f". {DEFAULT_LABEL}: the option is not in the method's name; "
            f"--option {option_name}=VALUE gives its value"
        )
    return canvas.finish(f"{text}.{metrics_sentence(comparison)}")


def _known(methods: Sequence[str]) -> list[str]:
    """Return the options in the names of methods, those with the most values first."""
    values: dict[str, set[str]] = {}
    for method in methods:
        for name, value in parse_name(method)[1].items():
            values.setdefault(name, set()).add(value)
    return sorted(values, key=lambda name: (-len(values[name]), name))


def parse_name(method: str) -> tuple[str, dict[str, str]]:
    """Split the name of a method, such as `prefix(length=20, depth=all)`, into its base and its options."""
    match = _METHOD.fullmatch(method)
    if match is None:
        return method, {}
    pairs = [part.partition("=") for part in match[2].split(",")]
    return match[1], {name.strip(): value.strip() for name, sign, value in pairs if sign}


def group_variants(
    methods: Sequence[str], option_name: str, default: str | None
) -> dict[tuple[str, str], list[Variant]]:
    """Group methods that differ in one option only, by base and other options.

    Groups in which no name holds the option are left out.
    """
    lines: dict[tuple[str, str], list[Variant]] = {}
    varied = set()
    for method in methods:
        base, others = parse_name(method)
        value = others.pop(option_name, None)
        key = (base, ", ".join(f"{name}={text}" for name, text in sorted(others.items())))
        if value is not None:
            varied.add(key)
        lines.setdefault(key, []).append(Variant(default if value is None else value, method))
    return {key: variants for key, variants in lines.items() if key in varied}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _draw_lines(
    canvas: Canvas,
    axes: Axes,
    comparison: Comparison,
    lines: dict[tuple[str, str], list[Variant]],
) -> list[Line2D]:
    """Draw all lines, on a numeric axis if every value is a number; return the legend handles."""
    variants = [variant for group in lines.values() for variant in group]
    values = list(dict.fromkeys(v.value for v in variants if v.value is not None))
    numbers = sorted(map(_number, values))
    numeric = all(map(math.isfinite, numbers))
    log = numeric and numbers[0] > 0 and numbers[-1] / numbers[0] >= LOG_RATIO
    values = values if numeric else sorted(values)
    positions: dict[str | None, float] = {
        value: _number(value) if numeric else float(i) for i, value in enumerate(values)
    }
    ticks = {positions[v]: amount(positions[v]) if numeric else short(v, 16) for v in values}
    if len(values) < len({v.value for v in variants}):  # some names do not hold the option
        step = _step(numbers, log=log) if numeric else 1.0
        first = numbers[0] if numeric else 0.0
        positions[None] = first / step if log else first - step
        ticks = {positions[None]: DEFAULT_LABEL} | ticks
    handles = []
    for i, group in enumerate(lines.values()):
        style = numbered_style(i)
        marks = [Mark(positions[v.value], v, _overall_cell(comparison, v.method)) for v in group]
        marks = sorted((m for m in marks if math.isfinite(m.cell.mean)), key=lambda mark: mark.x)
        _draw_line(canvas, axes, marks, style)
        handles.append(handle(style))
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(sorted(ticks), [ticks[x] for x in sorted(ticks)])
    grid_lines(axes)
    return handles


def _draw_line(canvas: Canvas, axes: Axes, marks: Sequence[Mark], style: MethodStyle) -> None:
    color, marker, dash = style
    joined = [mark for mark in marks if mark.variant.value is not None]
    axes.plot([m.x for m in joined], [m.cell.mean for m in joined], color=color, linestyle=dash)
    x, means = [mark.x for mark in marks], [mark.cell.mean for mark in marks]
    low, high = [mark.cell.low for mark in marks], [mark.cell.high for mark in marks]
    whiskers = axes.vlines(x, low, high, color=color, linewidth=0.9)
    (dots,) = axes.plot(x, means, color=color, marker=marker, linestyle="")
    texts = [
        f"{variant.method}: {estimate(cell.mean, cell.low, cell.high)}"
        for _, variant, cell in marks
    ]
    canvas.add_tooltips(dots, texts)
    places = [extent(*place) for place in zip(x, means, low, high, strict=True)]
    canvas.keep_apart(axes, (dots, whiskers), places)
    if not marks:
        label_empty_panel(axes, "no complete average")


def _step(numbers: Sequence[float], *, log: bool) -> float:
    """Return the mean distance of values, or their mean ratio; the default stands this far to their left."""
    if len(numbers) < 2 or numbers[0] == numbers[-1]:
        return 1.0
    if log:
        return math.exp(math.log(numbers[-1] / numbers[0]) / (len(numbers) - 1))
    return fmean(b - a for a, b in pairwise(numbers))


def _overall_cell(comparison: Comparison, method: str) -> Cell:
    """Return the cell of a method over all tasks and sizes."""
    size = None if len(comparison.sizes) > 1 else comparison.sizes[0]
    task = None if len(comparison.tasks) > 1 else comparison.tasks[0]
    return comparison.cell(method, task, size)
