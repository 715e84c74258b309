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
from reports.analysis.paired_runs import Nothing
from reports.figures.canvas import Canvas, empty_figure, grid_lines, label_empty_panel
from reports.figures.options import DEFAULT, Options
from reports.figures.style import MAX_PANELS, amount, estimate, numbered_style, short, styled

NAME: Final = "option"
TITLE: Final = "Score over the values of an option"
USUAL: Final = "default"
WIDE: Final = 8.0  # a range of values with this quotient is drawn on a logarithmic axis
_METHOD: Final = re.compile(r"([^()]+)\((.*)\)", re.DOTALL)


class Variant(NamedTuple):
    """One method of a line."""

    value: str | None  # None: the option is not named, so that it has its default
    method: str


@styled
def option(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """A line for each method and its other options; a value that no name tells is the default's.

    Raises:
        Nothing: no method names the option that was asked for.
    """
    known = _known(comparison.methods)
    wanted, _, usual = (options.option or (known[0] if known else "")).partition("=")
    if options.option and wanted not in known:
        has = (
            f"the options in the names of these methods are {', '.join(known)}"
            if known
            else "no method's name holds an option"
        )
        raise Nothing(f"no option {wanted!r}; {has}")
    if not known:
        return empty_figure(
            NAME, TITLE, "No method's name holds an option, such as prefix(length=20)."
        )
    lines = grouped(comparison.methods, wanted, usual or None)
    tasks = comparison.tasks[:MAX_PANELS] if len(comparison.tasks) > 1 else ()
    canvas = Canvas(NAME, TITLE, width=4.6, height=2.7)
    axes = canvas.add_subplot()
    handles = _draw(canvas, axes, comparison, lines)
    axes.set_xlabel(short(wanted, 40))
    axes.set_ylabel("mean score, points" if tasks else "score, points")
    canvas.add_legend(handles, [_called(key) for key in lines])
    words = f"Whiskers: 95 % intervals ({comparison.covered}), as in the report's tables"
    if any(variant.value is None for variants in lines.values() for variant in variants):
        words += f". {USUAL}: the option is not in the method's name; --option {wanted}=VALUE puts it in its place"
    return canvas.finish(words + ".")


def _known(methods: Sequence[str]) -> list[str]:
    """The options in the names of methods, those with the most values first."""
    values: dict[str, set[str]] = {}
    for method in methods:
        for name, value in parsed(method)[1].items():
            values.setdefault(name, set()).add(value)
    return sorted(values, key=lambda name: (-len(values[name]), name))


def parsed(method: str) -> tuple[str, dict[str, str]]:
    """`prefix(length=20, depth=all)` as its name and its options."""
    match = _METHOD.fullmatch(method)
    if match is None:
        return method, {}
    pairs = [part.partition("=") for part in match[2].split(",")]
    return match[1], {name.strip(): value.strip() for name, sign, value in pairs if sign}


def grouped(
    methods: Sequence[str], wanted: str, usual: str | None
) -> dict[tuple[str, str], list[Variant]]:
    """The variants that differ in one option only, by name and other options, where any of them names it."""
    lines: dict[tuple[str, str], list[Variant]] = {}
    naming = set()
    for method in methods:
        base, given = parsed(method)
        value = given.pop(wanted, None)
        key = (base, ", ".join(f"{name}={text}" for name, text in sorted(given.items())))
        if value is not None:
            naming.add(key)
        lines.setdefault(key, []).append(Variant(usual if value is None else value, method))
    return {key: variants for key, variants in lines.items() if key in naming}


def _called(key: tuple[str, str]) -> str:
    base, rest = key
    return f"{base}({rest})" if rest else base


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan


def _draw(
    canvas: Canvas, axes: Axes, comparison: Comparison, lines: dict[tuple[str, str], list[Variant]]
) -> list[Line2D]:
    """All lines on one axis, numeric if every named value is a number; gives back what the legend shows."""
    named = list(
        dict.fromkeys(
            v.value for variants in lines.values() for v in variants if v.value is not None
        )
    )
    numbers = sorted(_number(value) for value in named)
    numeric = all(map(math.isfinite, numbers))
    log = numeric and numbers[0] > 0 and numbers[-1] / numbers[0] >= WIDE
    words = named if numeric else sorted(named)
    span = _span(numbers, log=log) if numeric else 1.0
    start = (
        numbers[0] / span if log else numbers[0] - span if numeric else -1.0
    )  # where the default stands
    places = {value: _number(value) if numeric else float(words.index(value)) for value in named}
    handles = []
    for i, variants in enumerate(lines.values()):
        color, marker, dash = numbered_style(i)
        found = [
            (start if v.value is None else places[v.value], v, _whole(comparison, v.method))
            for v in variants
        ]
        found = sorted((one for one in found if math.isfinite(one[2].mean)), key=lambda one: one[0])
        inside = [one for one in found if one[1].value is not None]
        axes.plot(
            [x for x, _, _ in inside], [c.mean for _, _, c in inside], color=color, linestyle=dash
        )
        axes.vlines(
            [x for x, _, _ in found],
            [c.low for _, _, c in found],
            [c.high for _, _, c in found],
            color=color,
            linewidth=0.9,
        )
        (dots,) = axes.plot(
            [x for x, _, _ in found],
            [c.mean for _, _, c in found],
            color=color,
            marker=marker,
            linestyle="",
        )
        canvas.add_tooltips(
            dots, [f"{v.method}: {estimate(c.mean, c.low, c.high)}" for _, v, c in found]
        )
        handles.append(Line2D([], [], color=color, marker=marker, linestyle=dash))
        if not found:
            label_empty_panel(axes, "no complete average")
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    unnamed = any(v.value is None for variants in lines.values() for v in variants)
    ticks = [
        *([(start, USUAL)] if unnamed else []),
        *((places[v], amount(places[v]) if numeric else short(v, 16)) for v in words),
    ]
    ticks = sorted(dict(ticks).items())
    axes.set_xticks([x for x, _ in ticks], [text for _, text in ticks])
    grid_lines(axes)
    return handles


def _span(numbers: Sequence[float], *, log: bool) -> float:
    """A step of the axis: the default stands one to the left of all values."""
    if len(numbers) < 2 or numbers[0] == numbers[-1]:
        return 1.0
    if log:
        return math.exp(math.log(numbers[-1] / numbers[0]) / (len(numbers) - 1))
    return fmean(b - a for a, b in pairwise(numbers))


def _whole(comparison: Comparison, method: str) -> Cell:
    """The method over everything that is compared."""
    scope = None if len(comparison.sizes) > 1 else comparison.sizes[0]
    return comparison.cell(
        method, None if len(comparison.tasks) > 1 else comparison.tasks[0], scope
    )
