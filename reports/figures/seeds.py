"""Every run as a dot; lines join the runs of one block, which the tests pair."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports.analysis.comparison import Comparison
from reports.analysis.run import Run, has_score
from reports.document import plural
from reports.figures.canvas import DOTS, Canvas, empty_figure, grid_lines, label_empty_panel
from reports.figures.coincidence import POINT, Lanes, extent
from reports.figures.measure import differs_by_task, metrics_sentence, of_task
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, PAGE, MethodStyle, method_styles, styled

NAME: Final = "seeds"
TITLE: Final = "Every run; lines join runs with the same examples and random streams"
MAX_DOTS: Final = 240  # of all panels together; more make a large figure that nobody reads
MIN_BLOCKS: Final = 5  # per panel, however many panels there are
AXIS_WIDTH: Final = 45  # points that the labels of a panel take

BlockKey = tuple[int, int]  # draw and seed


@styled
def seeds(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw a panel for each task and size, largest sizes first.

    Collapsed runs are crosses; diverged runs are open triangles.
    """
    panels = [(task, size) for size in reversed(comparison.sizes) for task in comparison.tasks]
    blocks_of = {panel: _blocks(comparison, *panel) for panel in panels}
    panels = [panel for panel in panels if blocks_of[panel]]
    if not panels:
        return empty_figure(NAME, TITLE, "No run is finished.", options.layout)
    canvas = Canvas(NAME, TITLE, options.layout, width=PAGE if len(panels) > 1 else 3.5)
    columns = canvas.columns(len(panels), each=1.75)
    rows = math.ceil(len(panels) / columns)
    canvas.set_figheight(1.4 * rows + 0.3)
    styles = method_styles(comparison.methods, comparison.baseline)
    max_blocks = max(MIN_BLOCKS, MAX_DOTS // (len(panels) * len(comparison.methods)))
    thinned = any(len(blocks_of[panel]) > max_blocks for panel in panels)
    # the dots of a method stay in its column
    width = POINT * canvas.get_figwidth() / columns - AXIS_WIDTH
    lanes = DOTS._replace(room=min(DOTS.room, 0.7 * width / len(comparison.methods)))
    mixed = differs_by_task(comparison)
    for number, (task, size) in enumerate(panels):
        axes = canvas.add_subplot(rows, columns, number + 1)
        blocks = blocks_of[task, size]
        step = math.ceil(len(blocks) / max_blocks)
        _panel(
            canvas,
            axes,
            comparison.methods,
            [blocks[key] for key in sorted(blocks)[::step]],
            styles,
            lanes,
        )
        canvas.add_title(axes, f"{task}, {size}")
        measure = of_task(comparison, task)
        canvas.limit(axes.yaxis, measure.bounds)
        if mixed or number % columns == 0:
            axes.set_ylabel(measure.label)
        if number + columns >= len(panels):
            axes.set_xlabel("method (see legend)")
        axes.set_xticks([])
    canvas.add_method_legend(comparison.methods, styles, line=False)
    entries = _legend_entries(
        [run for panel in panels for block in blocks_of[panel].values() for run in block.values()]
    )
    canvas.add_legend([line for line, _ in entries], [name for _, name in entries])
    return canvas.finish(_caption(comparison, thinned=thinned, max_blocks=max_blocks))


def _caption(comparison: Comparison, *, thinned: bool, max_blocks: int) -> str:
    done = sum(has_score(run) for run in comparison.runs)
    text = (
        f"{plural(done, 'finished run')}. Each dot is one run, each line one draw and seed; "
        "the methods stand in the order of the legend, from left to right"
    )
    text += f"; thinned out to at most {plural(max_blocks, 'block')} per panel" if thinned else ""
    return f"{text}.{metrics_sentence(comparison)}"


def _blocks(comparison: Comparison, task: str, size: int) -> dict[BlockKey, dict[str, Run]]:
    """Return the finished runs of a panel by block and method."""
    blocks: dict[BlockKey, dict[str, Run]] = {}
    for run in comparison.runs:
        if (run.task, run.size) == (task, size) and has_score(run):
            blocks.setdefault((run.draw, run.seed), {})[run.method] = run
    return blocks


def _panel(
    canvas: Canvas,
    axes: Axes,
    methods: Sequence[str],
    blocks: Sequence[Mapping[str, Run]],
    styles: Mapping[str, MethodStyle],
    lanes: Lanes,
) -> None:
    grid_lines(axes)
    x: list[float] = []
    y: list[float] = []
    for block in blocks:
        x += [*range(len(methods)), math.nan]  # one path for all lines, with gaps between blocks
        y += [*(_score(block[m]) if m in block else math.nan for m in methods), math.nan]
    axes.plot(x, y, color=INK, alpha=0.22, linewidth=0.6, zorder=1)
    for position, method in enumerate(methods):
        runs = [block[method] for block in blocks if method in block]
        for state in ("done", "collapsed", "diverged"):
            matching = [run for run in runs if _state(run) == state]
            for run in matching:
                dot = _marker(state, styles[method])
                dot.set_data([position], [_score(run)])
                axes.add_line(dot)
                canvas.add_tooltips(dot, [_tooltip(run)])
                canvas.keep_apart(axes, [dot], [extent(position, _score(run))], lanes)
    axes.set_xlim(-0.6, len(methods) - 0.4)
    axes.autoscale_view(scalex=False)
    if not blocks:
        label_empty_panel(axes)


def _score(run: Run) -> float:
    return 100 * (run.score or 0.0)


def _state(run: Run) -> str:
    return "diverged" if run.status == "diverged" else "collapsed" if run.collapsed else "done"


def _marker(state: str, style: MethodStyle) -> Line2D:
    if state == "collapsed":
        return Line2D(
            [], [], color=INK, marker="x", linestyle="", markersize=4.5, markeredgewidth=1.2
        )
    if state == "diverged":
        return Line2D([], [], color=INK, marker="v", linestyle="", markersize=5, fillstyle="none")
    return Line2D([], [], color=style.color, marker=style.marker, linestyle="", markersize=3.2)


def _legend_entries(runs: Sequence[Run]) -> list[tuple[Line2D, str]]:
    """Return a legend handle and label for each state other than done that occurs."""
    style = MethodStyle(INK, "o", "-")
    states = {_state(run) for run in runs}
    labels = {
        "collapsed": "collapsed: same prediction for every example",
        "diverged": "diverged: scored as a constant prediction",
    }
    return [(_marker(state, style), label) for state, label in labels.items() if state in states]


def _tooltip(run: Run) -> str:
    state = _state(run)
    return (
        f"{run.method}, {run.task}, size {run.size}, draw {run.draw}, seed {run.seed}: {_score(run):.1f}"
        + ("" if state == "done" else f" ({state})")
    )
