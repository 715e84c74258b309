"""Performance profiles: the fraction of runs that reach each score (Dolan and Moré 2002; Agarwal et al. 2021)."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from reports.analysis.comparison import Comparison
from reports.analysis.run import Run, has_score, run_status
from reports.document import plural
from reports.figures.canvas import Canvas, empty_figure, grid_lines
from reports.figures.measure import metrics_sentence, of_any_task
from reports.figures.options import DEFAULT, Options
from reports.figures.style import method_styles, styled
from reports.statistics.conventions import Array

NAME: Final = "profile"
TITLE: Final = "Fraction of runs that reach a score"
STEPS: Final = 81  # scores at which runs are counted
RESAMPLES: Final = 2000  # of the bootstrap
MAX_BANDS: Final = 8  # more bands cannot be distinguished
MARKERS_PER_LINE: Final = 10


@styled
def profile(comparison: Comparison, options: Options = DEFAULT) -> Canvas:
    """Draw the fraction of each method's runs that score at least τ, with pointwise 95 % bands."""
    runs = [
        run
        for run in comparison.runs
        if has_score(run) or run_status(run) in ("failed", "diverged", "undefined")
    ]
    scores = [100 * (run.score or 0.0) for run in runs if has_score(run)]
    if not scores:
        return empty_figure(NAME, TITLE, "No run is finished.", options.layout)
    measure = of_any_task(comparison)
    low, high = min(scores), max(scores)
    room = max(0.03 * (high - low), 0.5)
    # a score outside the bounds, of a metric that is not the one of that name here, stays inside
    taus = np.linspace(
        max(low - room, min(measure.low, low)), min(high + room, max(measure.high, high)), STEPS
    )
    canvas = Canvas(NAME, TITLE, options.layout, width=4.6, height=2.9)
    axes = canvas.add_subplot()
    styles = method_styles(comparison.methods, comparison.baseline)
    shown = [method for method in comparison.methods if any(run.method == method for run in runs)]
    for number, method in enumerate(shown):
        style = styles[method]
        line, below, above = fractions([run for run in runs if run.method == method], taus)
        axes.plot(taus, line, color=style.color, linestyle=style.dash)
        if len(shown) <= MAX_BANDS:
            axes.fill_between(taus, below, above, color=style.color, alpha=0.12, linewidth=0)
        # no two methods are marked at the same score, so that equal lines show both markers
        step = max(STEPS // MARKERS_PER_LINE, len(shown))
        marked = list(range(number * step // len(shown), STEPS, step))
        (dots,) = axes.plot(
            taus[marked],
            line[marked],
            color=style.color,
            marker=style.marker,
            linestyle="",
            markersize=3,
        )
        canvas.add_tooltips(
            dots, [f"{method}: {100 * line[i]:.0f} % of runs reach {taus[i]:.1f}" for i in marked]
        )
    axes.set_xlabel(measure.called("τ: {}").label)
    axes.set_ylabel("fraction of runs that reach τ")
    axes.set_ylim(0, 1)
    axes.set_xlim(taus[0], taus[-1])
    canvas.limit(axes.xaxis, measure.bounds)
    grid_lines(axes, "both")
    canvas.add_method_legend(shown, styles)
    caption = _caption(runs, bands=len(shown) <= MAX_BANDS)
    return canvas.finish(caption + metrics_sentence(comparison))


def _caption(runs: Sequence[Run], *, bands: bool) -> str:
    failed = sum(not has_score(run) for run in runs)
    text = f"{plural(len(runs), 'run')} of all tasks and sizes"
    text += f", of which {failed} failed and count as reaching no score" if failed else ""
    if bands:
        return f"{text}. Bands: pointwise 95 %, bootstrap over whole draws ({RESAMPLES} resamples; on these test rows)."
    return f"{text}. No bands for more than {MAX_BANDS} methods; choose with --methods."


def fractions(runs: Sequence[Run], taus: Array) -> tuple[Array, Array, Array]:
    """Return the fraction of runs at or above each of `taus`, and the lower and upper end of its band.

    The band is a bootstrap over clusters (task, draw), because the runs of a draw share their
    examples. With a single cluster, the band has no width.

    Args:
        runs: finished and failed runs; a failed run reaches no score.
        taus: scores in points, shape (n,).

    Returns:
        Three arrays of shape (n,).
    """
    clusters: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        score = 100 * (run.score or 0.0) if has_score(run) else -np.inf
        clusters.setdefault((run.task, run.draw), []).append(score)
    ordered = [np.array(values) for _, values in sorted(clusters.items())]
    reached = np.array(
        [(values[:, None] >= taus).sum(axis=0) for values in ordered], dtype=np.float64
    )  # (clusters, n)
    counts = np.array([values.size for values in ordered], dtype=np.float64)
    line = reached.sum(axis=0) / counts.sum()
    if len(ordered) < 2:
        return line, line, line
    rng = np.random.default_rng(0)  # fixed, so that the same runs give the same figure
    weights = rng.multinomial(
        len(ordered), [1 / len(ordered)] * len(ordered), size=RESAMPLES
    ).astype(np.float64)
    samples = (weights @ reached) / (weights @ counts)[:, None]
    below, above = np.quantile(samples, [0.025, 0.975], axis=0)
    return line, below, above
