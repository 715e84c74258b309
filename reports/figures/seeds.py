"""Every run as a dot, and lines that join the runs of one block: the pairing that the tests rest on."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run, finished
from reports.figures.canvas import Canvas, empty_figure, grid_lines, handle, label_empty_panel
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, MethodStyle, method_styles, short, styled

NAME: Final = "seeds"
TITLE: Final = "Every run; lines join runs on the same examples and streams"
MAX_PANELS: Final = 8  # panels: each has names below it
MAX_DOTS: Final = 240  # more would make a file that nobody opens, and a picture that nobody reads

Group = tuple[int, int]  # draw and seed


@styled
def seeds(comparison: Comparison, _: Options = DEFAULT) -> Canvas:
    """One panel for each task and size, largest sizes first; collapsed runs are crosses, diverged ones open triangles."""
    panels = [(task, size) for size in reversed(comparison.sizes) for task in comparison.tasks]
    grouped = {panel: _blocks(comparison, *panel) for panel in panels}
    panels = [panel for panel in panels if grouped[panel]]
    if not panels:
        return empty_figure(NAME, TITLE, "No run is finished.")
    shown = panels[:MAX_PANELS]
    columns = min(len(shown), 4)
    rows = math.ceil(len(shown) / columns)
    canvas = Canvas(NAME, TITLE, width=7.1 if columns > 1 else 3.5, height=1.4 * rows + 0.3)
    found = method_styles(comparison.methods, comparison.baseline)
    most = max(1, MAX_DOTS // (len(shown) * len(comparison.methods)))  # blocks of a panel
    thinned = any(len(grouped[panel]) > most for panel in shown)
    for number, (task, size) in enumerate(shown):
        axes = canvas.add_subplot(rows, columns, number + 1)
        blocks = grouped[task, size]
        step = math.ceil(len(blocks) / most)
        _panel(
            canvas, axes, comparison.methods, [blocks[key] for key in sorted(blocks)[::step]], found
        )
        axes.set_title(f"{short(task, 18)}, {size}")
        if number % columns == 0:
            axes.set_ylabel("points")
        axes.set_xticks([])  # the legend names methods in the order in which they stand
    canvas.add_legend(
        [handle(found[method], line=False) for method in comparison.methods], comparison.methods
    )
    marks = _marks(
        [run for panel in shown for block in grouped[panel].values() for run in block.values()]
    )
    canvas.add_legend([line for line, _ in marks], [name for _, name in marks])
    return canvas.finish(_caption(comparison, len(panels) - len(shown), thinned=thinned, most=most))


def _caption(comparison: Comparison, hidden: int, *, thinned: bool, most: int) -> str:
    done = sum(finished(run) for run in comparison.runs)
    words = f"{done} finished runs. Each dot is one run, each line one draw and seed; methods stand in the order of the legend"
    words += f"; thinned out to at most {most} evenly spaced blocks in a panel" if thinned else ""
    words += (
        f". {hidden} more panels are not shown: choose with --tasks and --sizes" if hidden else ""
    )
    return words + "."


def _blocks(comparison: Comparison, task: str, size: int) -> dict[Group, dict[str, Run]]:
    """The finished runs of a panel by block and method."""
    blocks: dict[Group, dict[str, Run]] = {}
    for run in comparison.runs:
        if (run.task, run.size) == (task, size) and finished(run):
            blocks.setdefault((run.draw, run.seed), {})[run.method] = run
    return blocks


def _panel(
    canvas: Canvas,
    axes: Axes,
    methods: Sequence[str],
    blocks: Sequence[Mapping[str, Run]],
    found: Mapping[str, MethodStyle],
) -> None:
    grid_lines(axes)
    x: list[float] = []
    y: list[float] = []
    for block in blocks:
        x += [*range(len(methods)), math.nan]  # one path for all lines, broken between blocks
        y += [*(_points(block[m]) if m in block else math.nan for m in methods), math.nan]
    axes.plot(x, y, color=INK, alpha=0.22, linewidth=0.6, zorder=1)
    for place, method in enumerate(methods):
        runs = [block[method] for block in blocks if method in block]
        for kind in ("done", "collapsed", "diverged"):
            some = [run for run in runs if _kind(run) == kind]
            if some:
                line = _mark(kind, found[method])
                line.set_data([place] * len(some), [_points(run) for run in some])
                axes.add_line(line)
                canvas.add_tooltips(line, [_tooltip(run) for run in some])
    axes.set_xlim(-0.6, len(methods) - 0.4)
    axes.autoscale_view(scalex=False)
    if not blocks:
        label_empty_panel(axes)


def _points(run: Run) -> float:
    return 100 * (run.score or 0.0)


def _kind(run: Run) -> str:
    return "diverged" if run.status == "diverged" else "collapsed" if run.collapsed else "done"


def _mark(kind: str, look: MethodStyle) -> Line2D:
    if kind == "collapsed":
        return Line2D(
            [], [], color=INK, marker="x", linestyle="", markersize=4.5, markeredgewidth=1.2
        )
    if kind == "diverged":
        return Line2D([], [], color=INK, marker="v", linestyle="", markersize=5, fillstyle="none")
    return Line2D([], [], color=look.color, marker=look.marker, linestyle="", markersize=3.2)


def _marks(runs: Sequence[Run]) -> list[tuple[Line2D, str]]:
    """What the legend has to explain."""
    look = MethodStyle(INK, "o", "-")
    kinds = {_kind(run) for run in runs}
    words = {
        "collapsed": "collapsed: one answer for every row",
        "diverged": "diverged: counts as one constant answer",
    }
    return [(_mark(kind, look), text) for kind, text in words.items() if kind in kinds]


def _tooltip(run: Run) -> str:
    kind = _kind(run)
    return (
        f"{run.method}, {run.task}, size {run.size}, draw {run.draw}, seed {run.seed}: {_points(run):.1f}"
        + ("" if kind == "done" else f" ({kind})")
    )
