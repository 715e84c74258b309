"""What the dev rows promised of the chosen checkpoint, against what the test rows gave (Cawley and Talbot 2010)."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run, finished
from reports.analysis.selection_rules import Rule, mean_optimism, promised
from reports.figures.canvas import Canvas, empty_figure, grid_lines, handle, zero_line
from reports.figures.options import DEFAULT, Options
from reports.figures.style import INK, MethodStyle, estimate, folded, method_styles, short, styled

NAME: Final = "optimism"
TITLE: Final = "Dev score against test score of the chosen checkpoints"
MAX_DOTS: Final = 200
MAX_COUNTS: Final = 8  # points of a line that grows with the number of runs


@styled
def optimism(comparison: Comparison, _: Options = DEFAULT) -> Canvas:
    """Runs as dots, the mean optimism (dev - test) of each method, and how it grows with the runs of which the best is kept.

    The test score by selection rule is there if others than the own one were tested.
    """
    runs = [
        run
        for run in comparison.runs
        if finished(run) and run.dev_score is not None and math.isfinite(run.dev_score)
    ]
    if not runs:
        return empty_figure(NAME, TITLE, "No finished run has a dev score.")
    rules = by_rule(comparison.rules)
    found = method_styles(comparison.methods, comparison.baseline)
    canvas = Canvas(NAME, TITLE, width=7.1, height=_height(found) * (2 if rules else 1))
    panels = (
        canvas.subplots(2, 2) if rules else canvas.subplots(1, 3, width_ratios=[1.15, 1, 1])
    ).flat
    step = math.ceil(len(runs) / MAX_DOTS)
    _dots(canvas, panels[0], runs[::step], found)
    _means(canvas, panels[1], runs, found)
    _best_of(canvas, panels[2], runs, found)
    if rules:
        _rules(canvas, panels[3], rules, found)
    canvas.add_legend(
        [handle(found[method], line=False) for method in comparison.methods], comparison.methods
    )
    words = (
        f"{len(runs)} runs; right of the dashed line the dev rows promised more than the test rows gave. Mean optimism: tasks "
        "count alike, 95 % t intervals over draws (E1)"
    )
    words += (
        ". Best of several: dev - test of the run with the best dev score among so many of a task and size, as expected (Dodge "
        "et al. 2019, without replacement)"
    )
    words += f". One run in {step} is drawn as a dot" if step > 1 else ""
    words += (
        ". Rules: means of runs that tested every rule, tasks alike; ringed: the rule that chose"
        if rules
        else ""
    )
    return canvas.finish(words + ".")


def _height(found: Mapping[str, MethodStyle]) -> float:
    """Of a panel that has room for the names of the methods in a column."""
    lines = max(_named(method).count("\n") + 1 for method in found)
    return max(2.45, 0.65 + 0.12 * lines * len(found))


def _named(method: str) -> str:
    return folded(method, lines=2)


def _dots(
    canvas: Canvas, axes: Axes, runs: Sequence[Run], found: Mapping[str, MethodStyle]
) -> None:
    for method, look in found.items():
        some = [run for run in runs if run.method == method]
        x, y = (
            [100 * (run.dev_score or 0.0) for run in some],
            [100 * (run.score or 0.0) for run in some],
        )
        (line,) = axes.plot(
            x, y, color=look.color, marker=look.marker, linestyle="", markersize=3, alpha=0.75
        )
        canvas.add_tooltips(line, [_tooltip(run) for run in some])
    both = [100 * value for run in runs for value in (run.dev_score or 0.0, run.score or 0.0)]
    ends = [min(both), max(both)]
    axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    grid_lines(axes, "both")
    axes.set_xlabel("dev score, points")
    axes.set_ylabel("test score, points")


def _tooltip(run: Run) -> str:
    dev, test = 100 * (run.dev_score or 0.0), 100 * (run.score or 0.0)
    return f"{run.method}, {run.task}, size {run.size}, draw {run.draw}: dev {dev:.1f}, test {test:.1f}"


def _means(
    canvas: Canvas, axes: Axes, runs: Sequence[Run], found: Mapping[str, MethodStyle]
) -> None:
    zero_line(axes, vertical=True)
    grid_lines(axes, "x")
    for place, (method, look) in enumerate(found.items()):
        mean, low, high, *_ = mean_optimism([run for run in runs if run.method == method])
        if math.isfinite(mean):
            axes.hlines([place], [low], [high], color=look.color, linewidth=1)
            (dot,) = axes.plot(
                [mean], [place], color=look.color, marker=look.marker, linestyle="", markersize=5
            )
            canvas.add_tooltips(dot, [f"{method}: dev - test {estimate(mean, low, high)}"])
    axes.set_yticks(range(len(found)), [_named(method) for method in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlabel("mean dev - test, points")


def _best_of(
    canvas: Canvas, axes: Axes, runs: Sequence[Run], found: Mapping[str, MethodStyle]
) -> None:
    zero_line(axes)
    grid_lines(axes)
    most = 0
    for method, look in found.items():
        gaps = promised([run for run in runs if run.method == method], few)
        places, shown = [math.log2(n) for n in gaps], list(gaps.values())
        (line,) = axes.plot(
            places, shown, color=look.color, marker=look.marker, linestyle=look.dash, markersize=3
        )
        canvas.add_tooltips(
            line, [f"{method}, best of {n}: dev - test {gap:.1f}" for n, gap in gaps.items()]
        )
        most = max(most, *gaps, 0)
    axes.set_xticks([math.log2(n) for n in few(most)], [str(n) for n in few(most)])
    axes.set_xlabel("best dev score of so many runs")
    axes.set_ylabel("dev - test, points")


def few(most: int) -> list[int]:
    """Some of the counts from 1 to the greatest, evenly on a scale of logarithms."""
    return (
        sorted({round(most ** (place / (MAX_COUNTS - 1))) for place in range(MAX_COUNTS)})
        if most
        else []
    )


def by_rule(rules: Sequence[Rule]) -> dict[str, dict[str, Rule]]:
    """Every rule by name and method, as they stand in the table; the stochastic one, which few methods have, first."""
    names = sorted({rule.name for rule in rules}, key=lambda name: (name != "stochastic", name))
    return {name: {rule.method: rule for rule in rules if rule.name == name} for name in names}


def _rules(
    canvas: Canvas,
    axes: Axes,
    rules: Mapping[str, Mapping[str, Rule]],
    found: Mapping[str, MethodStyle],
) -> None:
    for method, look in found.items():
        some = [
            (place, by_method[method])
            for place, by_method in enumerate(rules.values())
            if method in by_method
        ]
        some = [(place, rule) for place, rule in some if math.isfinite(rule.score)]
        places, scores = [place for place, _ in some], [rule.score for _, rule in some]
        (line,) = axes.plot(places, scores, color=look.color, marker=look.marker, linewidth=0.7)
        canvas.add_tooltips(
            line, [f"{method}, rule {rule.name}: {rule.score:.1f}" for _, rule in some]
        )
        own = [place for place, (_, rule) in enumerate(some) if rule.own]
        axes.plot(
            places,
            scores,
            color=look.color,
            marker="o",
            fillstyle="none",
            markersize=9,
            linestyle="",
            markevery=own,
        )
    axes.set_xticks(
        range(len(rules)), [short(rule, 14) for rule in rules], rotation=90 if len(rules) > 4 else 0
    )
    axes.set_xlim(-0.4, len(rules) - 0.6)
    axes.set_xlabel("selection rule")
    axes.set_ylabel("test score, points")
    grid_lines(axes)
