"""Optimism: the dev score of the selected checkpoint against its test score (Cawley and Talbot 2010)."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes

from reports.analysis.comparison import Comparison
from reports.analysis.run import Run, has_score
from reports.analysis.selection_rules import RuleComparison, mean_optimism, optimism_of_best
from reports.document import plural
from reports.figures.canvas import LINES, Canvas, empty_figure, grid_lines, zero_line
from reports.figures.coincidence import Lanes, extent
from reports.figures.measure import Measure, metrics_sentence, of_any_task, of_average
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, MethodStyle, estimate, folded, method_styles, short, styled

NAME: Final = "optimism"
TITLE: Final = "Dev score against test score of the selected checkpoints"
MAX_DOTS: Final = 200  # runs drawn as dots
SCATTER: Final = Lanes(near=1.0, step=2.5, room=12.0)  # runs with the same two scores
MAX_COUNTS: Final = 8  # points of a line over numbers of runs


@styled
def optimism(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw dev against test scores, the mean optimism (dev - test), and the optimism of the best of n runs.

    A fourth panel shows the test score by selection rule if several rules were tested.
    """
    runs = [
        run
        for run in comparison.runs
        if has_score(run) and run.dev_score is not None and math.isfinite(run.dev_score)
    ]
    if not runs:
        return empty_figure(NAME, TITLE, "No finished run has a dev score.", options.layout)
    rules = by_rule(comparison.rules)
    styles = method_styles(comparison.methods, comparison.baseline)
    canvas = Canvas(NAME, TITLE, options.layout)
    panels = _add_panels(canvas, 4 if rules else 3, _height(styles))
    step = math.ceil(len(runs) / MAX_DOTS)
    _dots(canvas, panels[0], runs[::step], styles, of_any_task(comparison))
    name = of_any_task(comparison).name
    average = of_average(comparison)._replace(name=name)
    _means(canvas, panels[1], runs, styles, average)
    _best_of(canvas, panels[2], runs, styles, average)
    if rules:
        _rules(canvas, panels[3], rules, styles, average)
    canvas.add_method_legend(comparison.methods, styles, line=False)
    text = (
        f"{plural(len(runs), 'run')}; right of the dashed line, the dev score exceeds the test score. Mean optimism: "
        "all tasks have equal weight, 95 % t intervals over draws, on these test rows. Best of n: expected dev - "
        "test of the run with the best dev score among n runs of a task and size (Dodge et al. 2019, without "
        "replacement)"
    )
    text += f". One run in {step} is drawn as a dot" if step > 1 else ""
    if rules:
        text += (
            ". Rules: means over runs that tested every rule, all tasks with equal weight; "
            "ring: the rule that selected the checkpoint"
        )
    return canvas.finish(f"{text}.{metrics_sentence(comparison)}")


def _add_panels(canvas: Canvas, count: int, height: float) -> list[Axes]:
    """Add the panels, as many beside each other as fit, in rows of equal length where possible."""
    columns = canvas.columns(count, each=2.3)
    if count % columns and columns > 2:
        columns = 2
    rows = math.ceil(count / columns)
    canvas.set_figheight(rows * height)
    ratios = [1.15, 1, 1] if columns == 3 else None
    grid = canvas.add_gridspec(rows, columns, width_ratios=ratios)
    return [canvas.add_subplot(grid[i // columns, i % columns]) for i in range(count)]


def _height(styles: Mapping[str, MethodStyle]) -> float:
    """Return the height of a panel in inches that leaves enough room for the names of the methods."""
    lines = max(_label(method).count("\n") + 1 for method in styles)
    return max(2.45, 0.65 + 0.12 * lines * len(styles))


def _label(method: str) -> str:
    return folded(method, lines=2)


def _dots(
    canvas: Canvas,
    axes: Axes,
    runs: Sequence[Run],
    styles: Mapping[str, MethodStyle],
    measure: Measure,
) -> None:
    equal: dict[tuple[str, float, float], list[Run]] = {}  # runs of a method with the same scores
    for run in runs:
        equal.setdefault((run.method, run.dev_score or 0.0, run.score or 0.0), []).append(run)
    for (method, *scores), group in equal.items():
        dev, test = (100 * score for score in scores)
        style = styles[method]
        (dot,) = axes.plot(
            [dev],
            [test],
            color=style.color,
            marker=style.marker,
            linestyle="",
            markersize=3,
            alpha=0.75,
        )
        canvas.add_tooltips(dot, [_tooltip(group)])
        canvas.keep_apart(axes, [dot], [extent(dev, test)], SCATTER)
    both = [100 * value for run in runs for value in (run.dev_score or 0.0, run.score or 0.0)]
    ends = [min(both), max(both)]
    axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    grid_lines(axes, "both")
    axes.set_xlabel(measure.called("dev {}").label)
    axes.set_ylabel(measure.called("test {}").label)
    canvas.limit(axes.xaxis, measure.bounds)
    canvas.limit(axes.yaxis, measure.bounds)


def _tooltip(equal: Sequence[Run]) -> str:
    run = equal[0]
    dev, test = 100 * (run.dev_score or 0.0), 100 * (run.score or 0.0)
    more = f", and {plural(len(equal) - 1, 'run')} with the same scores" if len(equal) > 1 else ""
    return f"{run.method}, {run.task}, size {run.size}, draw {run.draw}{more}: dev {dev:.1f}, test {test:.1f}"


def _means(
    canvas: Canvas,
    axes: Axes,
    runs: Sequence[Run],
    styles: Mapping[str, MethodStyle],
    measure: Measure,
) -> None:
    zero_line(axes, vertical=True)
    grid_lines(axes, "x")
    for position, (method, style) in enumerate(styles.items()):
        mean, low, high, *_ = mean_optimism([run for run in runs if run.method == method])
        if math.isfinite(mean):
            axes.hlines([position], [low], [high], color=style.color, linewidth=1)
            (dot,) = axes.plot(
                [mean],
                [position],
                color=style.color,
                marker=style.marker,
                linestyle="",
                markersize=5,
            )
            canvas.add_tooltips(dot, [f"{method}: dev - test {estimate(mean, low, high)}"])
    axes.set_yticks(range(len(styles)), [_label(method) for method in styles])
    axes.set_ylim(len(styles) - 0.4, -0.6)
    axes.set_xlabel(measure.called("mean dev - test {}").label)
    canvas.limit(axes.xaxis, measure.difference().bounds)


def _best_of(
    canvas: Canvas,
    axes: Axes,
    runs: Sequence[Run],
    styles: Mapping[str, MethodStyle],
    measure: Measure,
) -> None:
    zero_line(axes)
    grid_lines(axes)
    most = 0
    for method, style in styles.items():
        gaps = optimism_of_best([run for run in runs if run.method == method], spaced_counts)
        (line,) = axes.plot(
            [math.log2(n) for n in gaps],
            list(gaps.values()),
            color=style.color,
            marker=style.marker,
            linestyle=style.dash,
            markersize=3,
        )
        canvas.add_tooltips(
            line, [f"{method}, best of {n}: dev - test {gap:.1f}" for n, gap in gaps.items()]
        )
        places = [extent(math.log2(n), gap) for n, gap in gaps.items()]
        canvas.keep_apart(axes, [line], places, LINES)
        most = max(most, *gaps, 0)
    axes.set_xticks(
        [math.log2(n) for n in spaced_counts(most)], [str(n) for n in spaced_counts(most)]
    )
    axes.set_xlabel("best of n runs")
    axes.set_ylabel(measure.called("dev - test {}").label)
    canvas.limit(axes.yaxis, measure.difference().bounds)


def spaced_counts(most: int) -> list[int]:
    """Return at most `MAX_COUNTS` counts from 1 to `most`, evenly spaced on a logarithmic scale."""
    return (
        sorted({round(most ** (position / (MAX_COUNTS - 1))) for position in range(MAX_COUNTS)})
        if most
        else []
    )


def by_rule(rules: Sequence[RuleComparison]) -> dict[str, dict[str, RuleComparison]]:
    """Return the rules by name and method; `stochastic`, which few methods have, comes first."""
    names = sorted({rule.name for rule in rules}, key=lambda name: (name != "stochastic", name))
    return {name: {rule.method: rule for rule in rules if rule.name == name} for name in names}


def _rules(
    canvas: Canvas,
    axes: Axes,
    rules: Mapping[str, Mapping[str, RuleComparison]],
    styles: Mapping[str, MethodStyle],
    measure: Measure,
) -> None:
    for method, style in styles.items():
        matching = [
            (position, by_method[method])
            for position, by_method in enumerate(rules.values())
            if method in by_method and math.isfinite(by_method[method].score)
        ]
        positions = [position for position, _ in matching]
        scores = [rule.score for _, rule in matching]
        (line,) = axes.plot(
            positions, scores, color=style.color, marker=style.marker, linewidth=0.7
        )
        canvas.add_tooltips(
            line, [f"{method}, rule {rule.name}: {rule.score:.1f}" for _, rule in matching]
        )
        own = [position for position, (_, rule) in enumerate(matching) if rule.own]
        (rings,) = axes.plot(
            positions,
            scores,
            color=style.color,
            marker="o",
            fillstyle="none",
            markersize=9,
            linestyle="",
            markevery=own,
        )
        places = [extent(*place) for place in zip(positions, scores, strict=True)]
        canvas.keep_apart(axes, (line, rings), places, LINES)
    axes.set_xticks(range(len(rules)), [short(rule, 14) for rule in rules])
    axes.set_xlim(-0.4, len(rules) - 0.6)
    axes.set_xlabel("selection rule")
    axes.set_ylabel(measure.called("test {}").label)
    canvas.limit(axes.yaxis, measure.bounds)
    grid_lines(axes)
