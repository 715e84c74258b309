"""The dev scores of sampled models, one for each copy of the dev rows, against what the test rows gave."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from reports.analysis.paired_runs import Run, finished
from reports.statistics import correlation, multiple_testing
from reports.statistics.correlation import Cell, Correlation


@dataclass(frozen=True, kw_only=True)
class SampledDevScores:
    """What the sampled dev scores of one method's runs are, at the step chosen; points."""

    method: str
    runs: int
    copies: tuple[int, int]  # fewest and most
    mean: float  # of a run's sampled scores; tasks alike
    spread: float  # their standard deviation in a run; tasks alike
    by_spread: Correlation  # of that with the test score, over draws within task and size
    by_mean: Correlation  # of the mean with the test score
    spread_p_adj: float = math.nan  # by Holm, over both correlations of all methods
    mean_p_adj: float = math.nan


def samples(runs: Sequence[Run], methods: Sequence[str]) -> tuple[SampledDevScores, ...]:
    """One for each method whose dev rows were seen by sampled models."""
    found = []
    for method in methods:
        mine = [
            run for run in runs if run.method == method and finished(run) and len(run.sampled) > 1
        ]
        if mine:
            copies = [len(run.sampled) for run in mine]
            found.append(
                SampledDevScores(
                    method=method,
                    runs=len(mine),
                    copies=(min(copies), max(copies)),
                    mean=_over_tasks(mine, [fmean(run.sampled) for run in mine]),
                    spread=_over_tasks(mine, [stdev(run.sampled) for run in mine]),
                    by_spread=_correlated(mine, [stdev(run.sampled) for run in mine]),
                    by_mean=_correlated(mine, [fmean(run.sampled) for run in mine]),
                )
            )
    return _adjusted(found)


def _adjusted(found: Sequence[SampledDevScores]) -> tuple[SampledDevScores, ...]:
    raw = [each.p for one in found for each in (one.by_spread, one.by_mean)]
    # what cannot be tested yet is still one of the tests that were planned
    holm = multiple_testing.holm([1.0 if math.isnan(p) else p for p in raw])
    kept = [
        math.nan if math.isnan(p) else float(adjusted)
        for p, adjusted in zip(raw, holm, strict=True)
    ]
    pairs = zip(found, kept[::2], kept[1::2], strict=True)
    return tuple(replace(one, spread_p_adj=spread, mean_p_adj=mean) for one, spread, mean in pairs)


def _over_tasks(runs: Sequence[Run], values: Sequence[float]) -> float:
    tasks: dict[str, list[float]] = {}
    for run, value in zip(runs, values, strict=True):
        tasks.setdefault(run.task, []).append(100 * value)
    return fmean(fmean(each) for each in tasks.values())


def _correlated(runs: Sequence[Run], values: Sequence[float]) -> Correlation:
    """Over the draws of a cell, seeds averaged inside them."""
    cells: dict[tuple[str, int], dict[int, list[tuple[float, float]]]] = {}
    for run, value in zip(runs, values, strict=True):
        cells.setdefault((run.task, run.size), {}).setdefault(run.draw, []).append(
            (value, run.score or 0.0)
        )
    tasks = sorted({task for task, _ in cells})
    return correlation.within(
        [[_cell(draws) for (name, _), draws in cells.items() if name == task] for task in tasks]
    )


def _cell(draws: dict[int, list[tuple[float, float]]]) -> Cell:
    means: Iterator[tuple[float, float]] = (
        (fmean(x for x, _ in each), fmean(y for _, y in each)) for each in draws.values()
    )
    pairs = list(means)
    return [x for x, _ in pairs], [y for _, y in pairs]
