"""Dev scores of sampled models, one per copy of the dev rows, and their correlation with test scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from reports.analysis.run import Run, has_score
from reports.statistics import correlation, multiple_testing
from reports.statistics.correlation import Correlation, Points


@dataclass(frozen=True, kw_only=True)
class SampledDevScores:
    """The sampled dev scores of the runs of one method at the selected step, in points."""

    method: str
    runs: int
    copies: tuple[int, int]  # fewest and most per run
    mean: float  # mean over the copies of a run; tasks have equal weight
    spread: float  # standard deviation over the copies of a run; tasks have equal weight
    by_spread: Correlation  # of `spread` with the test score, over draws within task and size
    by_mean: Correlation  # of `mean` with the test score
    spread_p_adj: float = math.nan  # adjusted by Holm over both correlations of all methods
    mean_p_adj: float = math.nan


def sampled_dev_scores(runs: Sequence[Run], methods: Sequence[str]) -> tuple[SampledDevScores, ...]:
    """Return the sampled dev scores of each method that was evaluated with sampled models."""
    results = []
    for method in methods:
        sampled = [
            run for run in runs if run.method == method and has_score(run) and len(run.sampled) > 1
        ]
        if not sampled:
            continue
        copies = [len(run.sampled) for run in sampled]
        means = [fmean(run.sampled) for run in sampled]
        spreads = [stdev(run.sampled) for run in sampled]
        results.append(
            SampledDevScores(
                method=method,
                runs=len(sampled),
                copies=(min(copies), max(copies)),
                mean=_over_tasks(sampled, means),
                spread=_over_tasks(sampled, spreads),
                by_spread=_correlated(sampled, spreads),
                by_mean=_correlated(sampled, means),
            )
        )
    return _adjusted(results)


def _adjusted(results: Sequence[SampledDevScores]) -> tuple[SampledDevScores, ...]:
    raw = [test.p for result in results for test in (result.by_spread, result.by_mean)]
    # A correlation that cannot be tested yet is still one of the planned tests.
    adjusted = multiple_testing.holm([1.0 if math.isnan(p) else p for p in raw])
    kept = [
        math.nan if math.isnan(p) else float(after) for p, after in zip(raw, adjusted, strict=True)
    ]
    return tuple(
        replace(result, spread_p_adj=spread, mean_p_adj=mean)
        for result, spread, mean in zip(results, kept[::2], kept[1::2], strict=True)
    )


def _over_tasks(runs: Sequence[Run], values: Sequence[float]) -> float:
    tasks: dict[str, list[float]] = {}
    for run, value in zip(runs, values, strict=True):
        tasks.setdefault(run.task, []).append(100 * value)
    return fmean(fmean(values) for values in tasks.values())


def _correlated(runs: Sequence[Run], values: Sequence[float]) -> Correlation:
    """Correlate values with test scores over the draws of a cell; seeds are averaged within draws."""
    cells: dict[tuple[str, int], dict[int, list[tuple[float, float]]]] = {}
    for run, value in zip(runs, values, strict=True):
        cells.setdefault((run.task, run.size), {}).setdefault(run.draw, []).append(
            (value, run.score or 0.0)
        )
    tasks = sorted({task for task, _ in cells})
    return correlation.within(
        [[_cell(draws) for (name, _), draws in cells.items() if name == task] for task in tasks]
    )


def _cell(draws: dict[int, list[tuple[float, float]]]) -> Points:
    """Return the mean value and the mean test score of each draw."""
    means = [tuple(map(fmean, zip(*seeds, strict=True))) for seeds in draws.values()]
    return [value for value, _ in means], [score for _, score in means]
