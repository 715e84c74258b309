"""Each method against the baseline, task by task, with the overall difference below."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes

from reports.comparison import Comparison
from reports.contrasts import Contrast, contrasts
from reports.estimates import explained
from reports.figures.look import INK, NEUTRAL, PANELS, Look, estimate, looks, short, styled
from reports.figures.options import DEFAULT, Options
from reports.figures.sheet import Sheet, blank, grid, nothing_here, zero
from reports.frame import Nothing, arrange

NAME: Final = "forest"
TITLE: Final = "Differences from the baseline, task by task"
DOTS: Final = 120  # rows of all panels; more make a large file that nobody reads


class Row(NamedTuple):
    """One line of a panel."""

    label: str
    test: Contrast


@styled
def forest(comparison: Comparison, _: Options = DEFAULT) -> Sheet:
    """A panel for each method: the mean difference of each task with its 95 % interval, and a diamond for all of them.

    With a single task the rows are its sizes. The shaded region is that of differences too small to matter.
    """
    others = [method for method in comparison.methods if method != comparison.baseline]
    overall = {test.method: test for test in comparison.family("overall")}
    rows = _rows(comparison)
    labels = list(dict.fromkeys(row.label for row in rows))
    shown = [method for method in others if method in overall][: max(3, min(PANELS, DOTS // max(len(labels), 1)))]
    if not shown:
        return blank(NAME, TITLE, f"There is no method beside the baseline {comparison.baseline}.")
    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)
    sheet = Sheet(NAME, TITLE, width=7.1 if columns > 1 else 4.2, height=lines * max(1.35, 0.75 + 0.17 * len(labels)))
    panels = sheet.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    found = looks(comparison.methods, comparison.baseline)
    for number, axes in enumerate(panels.flat):
        if number >= len(shown):
            axes.set_visible(False)
            continue
        method = shown[number]
        _panel(sheet, axes, labels, [row for row in rows if row.test.method == method], overall[method], found[method])
        axes.set_title(short(method, 30))
        if number + columns >= len(shown):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("difference, points")
    hidden, rope = len(others) - len(shown), overall[shown[0]].rope
    covered = explained(test.ci_estimand for test in (*overall.values(), *(row.test for row in rows)))
    return sheet.close_with(
        f"Baseline: {comparison.baseline}. Whiskers and diamonds: 95 % intervals ({covered}), paired on the same rows"
        f"{', all sizes together' if len(comparison.sizes) > 1 and len(comparison.tasks) > 1 else ''}; not adjusted for "
        f"the number of rows. Diamond: overall. Shaded: less than {rope:g} point{'' if rope == 1 else 's'} either way."
        + (f" {hidden} more methods are not shown: choose with --methods." if hidden else "")
    )


def _rows(comparison: Comparison) -> list[Row]:
    """The difference of each task over all sizes; of a single task, that of each size."""
    if len(comparison.tasks) == 1:
        return [Row(f"size {test.size}", test) for test in comparison.family("per size")]
    rows = []
    for task in comparison.tasks:
        runs = [run for run in comparison.runs if run.task == task]
        try:
            frame = arrange(runs, baseline=comparison.baseline, methods=comparison.methods)
        except Nothing:  # the baseline was never planned on this task
            continue
        rows += [Row(task, test) for test in contrasts(frame) if test.family == "overall"]
    return rows


def _panel(sheet: Sheet, axes: Axes, labels: Sequence[str], rows: Sequence[Row], overall: Contrast, look: Look) -> None:
    axes.axvspan(-overall.rope, overall.rope, color=NEUTRAL, alpha=0.22, linewidth=0)
    zero(axes, vertical=True)
    grid(axes, "x")
    kept = [row for row in rows if math.isfinite(row.test.effect)]
    y = [labels.index(row.label) for row in kept]
    low, high = [row.test.ci[0] for row in kept], [row.test.ci[1] for row in kept]
    axes.hlines(y, low, high, color=look.color, linewidth=1)
    (line,) = axes.plot([row.test.effect for row in kept], y, color=look.color, marker=look.marker, linestyle="")
    sheet.hover(line, [f"{row.test.method}, {row.label}: {_says(row.test)}" for row in kept])
    if math.isfinite(overall.effect):
        _diamond(sheet, axes, overall, len(labels) + 0.1)
    else:
        nothing_here(axes, "no pairs on the same rows")
    axes.set_yticks(range(len(labels) + 1), [*(short(label, 22) for label in labels), "overall"])
    axes.set_ylim(len(labels) + 0.7, -0.6)
    axes.axhline(len(labels) - 0.45, color=INK, linewidth=0.5, alpha=0.4)


def _says(test: Contrast) -> str:
    return f"{estimate(test.effect, *test.ci)} over {test.n} {test.unit}"


def _diamond(sheet: Sheet, axes: Axes, test: Contrast, y: float) -> None:
    low, high = test.ci
    if math.isfinite(low):
        axes.fill([low, test.effect, high, test.effect], [y, y - 0.3, y, y + 0.3], color=INK, linewidth=0)
    (dot,) = axes.plot([test.effect], [y], color=INK, marker="d", markersize=3, linestyle="")
    sheet.hover(dot, [f"{test.method}, overall: {_says(test)}, adjusted p {test.p_adj:.3g}"])
