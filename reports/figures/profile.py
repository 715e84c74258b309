"""Performance profiles: how often does a method reach a score? (Dolan and Moré 2002; Agarwal et al. 2021)."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from reports.analysis.comparison import Comparison
from reports.analysis.paired_runs import Run, fate, finished
from reports.figures.canvas import Canvas, empty_figure, grid_lines, handles
from reports.figures.options import DEFAULT, Options
from reports.figures.style import method_styles, styled
from reports.statistics.paired_tests import Array

NAME: Final = "profile"
TITLE: Final = "How many runs reach a score"
STEPS: Final = 81  # scores at which runs are counted
RESAMPLES: Final = 2000
MAX_BANDS: Final = 8  # methods whose bands can be told apart
MARKED: Final = 10  # markers of a line


@styled
def profile(comparison: Comparison, _: Options = DEFAULT) -> Canvas:
    """The fraction of each method's runs with at least the score on the x axis, with a pointwise 95 % band."""
    runs = [run for run in comparison.runs if finished(run) or fate(run) in ("failed", "diverged")]
    scores = [100 * (run.score or 0.0) for run in runs if finished(run)]
    if not scores:
        return empty_figure(NAME, TITLE, "No run is finished.")
    low, high = min(scores), max(scores)
    room = max(0.03 * (high - low), 0.5)
    taus = np.linspace(low - room, high + room, STEPS)
    canvas = Canvas(NAME, TITLE, width=4.6, height=2.9)
    axes = canvas.add_subplot()
    found = method_styles(comparison.methods, comparison.baseline)
    shown = [method for method in comparison.methods if any(run.method == method for run in runs)]
    for number, method in enumerate(shown):
        look = found[method]
        line, below, above = fractions([run for run in runs if run.method == method], taus)
        axes.plot(taus, line, color=look.color, linestyle=look.dash)
        if len(shown) <= MAX_BANDS:
            axes.fill_between(taus, below, above, color=look.color, alpha=0.12, linewidth=0)
        places = list(range((number * 3) % MARKED, STEPS, STEPS // MARKED))
        (dots,) = axes.plot(
            taus[places],
            line[places],
            color=look.color,
            marker=look.marker,
            linestyle="",
            markersize=3,
        )
        canvas.add_tooltips(
            dots, [f"{method}: {100 * line[i]:.0f} % of runs reach {taus[i]:.1f}" for i in places]
        )
    axes.set_xlabel("score τ, points")
    axes.set_ylabel("fraction of runs with score ≥ τ")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(taus[0], taus[-1])
    grid_lines(axes, "both")
    canvas.add_legend(handles(shown, comparison.baseline), shown)
    return canvas.finish(_caption(runs, bands=len(shown) <= MAX_BANDS))


def _caption(runs: Sequence[Run], *, bands: bool) -> str:
    failed = sum(not finished(run) for run in runs)
    words = f"{len(runs)} runs of all tasks and sizes"
    words += f", {failed} of which failed and reach nothing" if failed else ""
    band = f"Bands: pointwise 95 %, by resampling the draws of tasks whole ({RESAMPLES} times; E1)"
    return (
        f"{words}. {band if bands else 'No bands, being so many methods: choose with --methods'}."
    )


def fractions(runs: Sequence[Run], taus: Array) -> tuple[Array, Array, Array]:
    """The fraction of runs at or above each of taus (n,), and its band by a bootstrap over clusters (task, draw).

    The runs of a draw share their examples, so clusters are resampled, not runs. No band for a
    single cluster.
    """
    clusters: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        score = 100 * (run.score or 0.0) if finished(run) else -np.inf
        clusters.setdefault((run.task, run.draw), []).append(score)
    ordered = [np.array(values) for _, values in sorted(clusters.items())]
    reached = np.array(
        [(values[:, None] >= taus).sum(axis=0) for values in ordered], dtype=np.float64
    )  # (clusters, n)
    counts = np.array([values.size for values in ordered], dtype=np.float64)
    line = reached.sum(axis=0) / counts.sum()
    if len(ordered) < 2:
        return line, line, line
    rng = np.random.default_rng(0)  # fixed: the same runs give the same picture
    weights = rng.multinomial(
        len(ordered), [1 / len(ordered)] * len(ordered), size=RESAMPLES
    ).astype(np.float64)
    samples = (weights @ reached) / (weights @ counts)[:, None]
    below, above = np.quantile(samples, [0.025, 0.975], axis=0)
    return line, below, above
