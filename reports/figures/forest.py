"""Forest plot: the difference of each method from the baseline, for each task and overall."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes

from reports.analysis.comparison import Comparison
from reports.analysis.contrasts import Contrast, contrasts
from reports.analysis.estimates import describe_populations
from reports.analysis.inferences import coverage
from reports.analysis.paired_runs import NothingToCompare, pair_runs
from reports.analysis.secondary import SecondaryEstimates
from reports.analysis.verdict import probability
from reports.document import plural
from reports.figures.canvas import Canvas, empty_figure, grid_lines, label_empty_panel, zero_line
from reports.figures.measure import metrics_sentence, of_any_task, of_average
from reports.figures.options import DEFAULT, Options
from reports.figures.style import (
    INK,
    NEUTRAL,
    PAGE,
    SMALL,
    MethodStyle,
    amount,
    estimate,
    method_styles,
    short,
    styled,
)

NAME: Final = "forest"
TITLE: Final = "Differences from the baseline, task by task"
NEW_TASK: Final = (
    " Dashed line: 95 % prediction interval of the difference on one more task (random effects); "
    "τ²: variance of the true differences between tasks; I²: share of τ² in the variance between tasks."
)


class ForestRow(NamedTuple):
    """One line of a panel."""

    label: str
    test: Contrast


@styled
def forest(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw a panel for each method: the mean difference and its 95 % interval on each task and overall.

    With a single task, the rows are its sizes. The shaded region holds differences that are too
    small to matter.
    """
    others = [method for method in comparison.methods if method != comparison.baseline]
    overall = {test.method: test for test in comparison.family("overall")}
    pooled = {detail.method: detail for detail in comparison.secondary}
    rows = _rows(comparison)
    labels = list(dict.fromkeys(row.label for row in rows))
    shown = [method for method in others if method in overall]
    if not shown:
        reason = f"There is no method besides the baseline {comparison.baseline}."
        return empty_figure(NAME, TITLE, reason, options.layout)
    canvas = Canvas(NAME, TITLE, options.layout, width=PAGE if len(shown) > 1 else 4.2)
    columns = canvas.columns(len(shown), each=1.9, beside=1.3)
    lines = math.ceil(len(shown) / columns)
    canvas.set_figheight(lines * max(1.35, 0.75 + 0.17 * (len(labels) + 2 * bool(pooled))))
    panels = canvas.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    ticks = [*(short(label, 22) for label in labels), "overall", *["one more task"] * bool(pooled)]
    panels[0, 0].set_yticks(range(len(ticks)), ticks)  # all panels share this axis
    panels[0, 0].set_ylim(len(ticks) - 0.3 + bool(pooled), -0.6)
    styles = method_styles(comparison.methods, comparison.baseline)
    measure = (of_any_task if len(comparison.tasks) > 1 else of_average)(comparison).difference()
    for number, axes in enumerate(panels.flat):
        if number >= len(shown):
            axes.set_visible(False)
            continue
        method = shown[number]
        _panel(
            canvas,
            axes,
            labels,
            [row for row in rows if row.test.method == method],
            overall[method],
            styles[method],
        )
        canvas.add_title(axes, method)
        canvas.limit(axes.xaxis, measure.bounds)
        if method in pooled:
            _new_task(canvas, axes, pooled[method], len(labels) + 1)
        if number + columns >= len(shown):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(measure.label)
    tests = [*overall.values(), *(row.test for row in rows)]
    caption = _caption(comparison, tests, new_task=bool(pooled))
    return canvas.finish(caption)


def _caption(comparison: Comparison, tests: Sequence[Contrast], *, new_task: bool) -> str:
    sizes = ", over all sizes" if len(comparison.sizes) > 1 and len(comparison.tasks) > 1 else ""
    covered = describe_populations(test.these.population for test in tests)
    return (
        f"Baseline: {comparison.baseline}. Whiskers and diamonds: "
        f"{coverage(test.these for test in tests)} intervals ({covered}), paired on the same "
        f"examples{sizes}, not adjusted for multiple comparisons. Diamond: overall. "
        f"Shaded: differences below {plural(tests[0].rope, 'point')}."
        + (NEW_TASK if new_task else "")
        + metrics_sentence(comparison)
    )


def _rows(comparison: Comparison) -> list[ForestRow]:
    """Return the difference on each task over all sizes; with a single task, its difference at each size."""
    if len(comparison.tasks) == 1:
        return [ForestRow(f"size {test.size}", test) for test in comparison.family("per size")]
    rows = []
    for task in comparison.tasks:
        runs = [run for run in comparison.runs if run.task == task]
        try:
            paired_runs = pair_runs(runs, baseline=comparison.baseline, methods=comparison.methods)
        except NothingToCompare:  # the baseline has no runs on this task
            continue
        rows += [
            ForestRow(task, test) for test in contrasts(paired_runs) if test.family == "overall"
        ]
    return rows


def _panel(
    canvas: Canvas,
    axes: Axes,
    labels: Sequence[str],
    rows: Sequence[ForestRow],
    overall: Contrast,
    style: MethodStyle,
) -> None:
    axes.axvspan(-overall.rope, overall.rope, color=NEUTRAL, alpha=0.22, linewidth=0)
    zero_line(axes, vertical=True)
    grid_lines(axes, "x")
    kept = [row for row in rows if math.isfinite(row.test.effect)]
    y = [labels.index(row.label) for row in kept]
    low, high = [row.test.these.low for row in kept], [row.test.these.high for row in kept]
    axes.hlines(y, low, high, color=style.color, linewidth=1)
    (line,) = axes.plot(
        [row.test.effect for row in kept], y, color=style.color, marker=style.marker, linestyle=""
    )
    canvas.add_tooltips(
        line, [f"{row.test.method}, {row.label}: {_tooltip(row.test)}" for row in kept]
    )
    if math.isfinite(overall.effect):
        _diamond(canvas, axes, overall, len(labels) + 0.1)
    else:
        label_empty_panel(axes, "no pairs on the same examples")
    axes.axhline(len(labels) - 0.45, color=INK, linewidth=0.5, alpha=0.4)


def _new_task(canvas: Canvas, axes: Axes, detail: SecondaryEstimates, y: float) -> None:
    """Draw the prediction interval of one more task; write τ² and I² below it (Higgins et al. 2009)."""
    pooled = detail.pooled
    if not math.isfinite(pooled.tau2):
        return
    ends = [pooled.predicted_low, pooled.predicted_high]
    if all(map(math.isfinite, ends)):
        (line,) = axes.plot(
            ends, [y, y], color=INK, linewidth=0.9, linestyle=(0, (3, 2)), marker="|", markersize=5
        )
        text = f"{detail.method}, one more task: {ends[0]:+.1f} to {ends[1]:+.1f}"
        canvas.add_tooltips(line, [text, text])
    axes.annotate(
        f"τ² {amount(pooled.tau2)}, I² {100 * pooled.i2:.0f} %",
        (1, y),
        xytext=(0, -11),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=SMALL,
        alpha=0.75,
        annotation_clip=False,
    )


def _tooltip(test: Contrast) -> str:
    return f"{estimate(test.effect, test.these.low, test.these.high)} over {test.n} {test.unit}"


def _diamond(canvas: Canvas, axes: Axes, test: Contrast, y: float) -> None:
    low, high = test.these.low, test.these.high
    if math.isfinite(low):
        axes.fill(
            [low, test.effect, high, test.effect], [y, y - 0.3, y, y + 0.3], color=INK, linewidth=0
        )
    (dot,) = axes.plot([test.effect], [y], color=INK, marker="d", markersize=3, linestyle="")
    canvas.add_tooltips(
        dot,
        [f"{test.method}, overall: {_tooltip(test)}, adjusted p {probability(test.these.p_adj)}"],
    )
