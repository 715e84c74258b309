"""Selection rules against each other on identical trainings: what each would have chosen, against what was chosen."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import numpy as np

from reports.analysis import estimates
from reports.analysis.contrasts import Contrast, overall
from reports.analysis.paired_runs import Run, finished, overlap, pair_runs, run_status
from reports.statistics import intervals
from reports.statistics.expected_best import expected_best
from reports.statistics.intervals import Interval

OWN: Final = "own"  # the rule that chose the checkpoint which counts


@dataclass(frozen=True, kw_only=True)
class RuleComparison:
    """One selection rule in the trainings of one method; points."""

    method: str
    name: str  # stochastic (the dev score of sampled models), centroid, loss or last
    own: bool  # it chose the checkpoint that counts
    runs: int  # that tested every rule
    moved: int  # of them: those whose test score it changes
    score: float  # mean on the test rows: tasks alike, sizes inside draws
    test: Contrast | None  # against the own rule, on the same trainings; None for that itself
    optimism: (
        Interval | None
    )  # dev - test of what it chose; None where the dev score there was not kept


def rules(runs: Sequence[Run], methods: Sequence[str]) -> tuple[RuleComparison, ...]:
    """Every rule of every method whose runs tested several, the own one first."""
    return tuple(
        rule
        for method in methods
        for rule in _of(method, [run for run in runs if run.method == method])
    )


def _of(method: str, runs: Sequence[Run]) -> Iterator[RuleComparison]:
    scored = [(run, scores) for run in runs if finished(run) and (scores := scores_by_rule(run))]
    names = {name for _, scores in scored for name in scores}
    whole = [(run, scores) for run, scores in scored if scores.keys() == names]
    if not whole:
        return
    own = "stochastic" if whole[0][0].sampled else "centroid"
    tried = {
        name: [_chosen(run, name, scores[name]) for run, scores in whole]
        for name in sorted(names - {OWN, own})
    }
    tried = {OWN: [_chosen(run, OWN, scores[OWN]) for run, scores in whole], **tried}
    # What other rules would have chosen there was not tested: to leave such runs out would flatter
    # the own rule.
    lost = [
        run
        for run in runs
        if run_status(run) == "diverged" and not (finished(run) and scores_by_rule(run))
    ]
    unpaired = [_chosen(run, name, math.nan) for name in tried for run in lost]
    paired = pair_runs([*(run for each in tried.values() for run in each), *unpaired], baseline=OWN)
    tests = {test.method: test for test in overall(paired)}
    for name, chosen in tried.items():
        yield RuleComparison(
            method=method,
            name=own if name == OWN else name,
            own=name == OWN,
            runs=len(whole),
            moved=sum(scores[name] != scores[OWN] for _, scores in whole),
            score=_mean(chosen),
            test=tests.get(name),
            optimism=None
            if any(run.dev_score is None for run in chosen)
            else mean_optimism(list(filter(finished, chosen))),
        )


def _chosen(run: Run, rule: str, score: float) -> Run:
    """The run as it would have been with that rule; its answers row by row are not known."""
    return replace(
        run,
        method=rule,
        score=score,
        dev_score=_promised(run, rule),
        predictions=np.empty(0),
        labels={},
    )


def _promised(run: Run, rule: str) -> float | None:
    """The dev score, taken as the method takes it, where the rule stopped; None where the curve does not tell."""
    if rule == OWN:
        return run.dev_score
    if not run.curve or len(run.losses) != len(run.curve) or rule not in ("last", "loss"):
        return None
    last = len(run.curve) - 1  # of equal losses the later one is kept
    place = (
        last
        if rule == "last"
        else min(range(len(run.curve)), key=lambda place: (run.losses[place], -place))
    )
    return run.curve[place][1]


def _mean(runs: Sequence[Run]) -> float:
    tasks: dict[str, dict[int, list[Run]]] = {}
    for run in runs:
        tasks.setdefault(run.task, {}).setdefault(run.size, []).append(run)
    return intervals.pooled(
        [estimates.scores(list(sizes.values())).draws for sizes in tasks.values()]
    ).mean


def scores_by_rule(run: Run) -> dict[str, float]:
    """The test score of a run by rule, 1.0 = perfect, that of its own rule among them; empty where no other was tested.

    A score is the mean of the task's metrics, those where less is better with the sign turned.
    """
    tested = {metric for rule in run.rules.values() for metric in rule.metrics}
    metrics = sorted(tested & run.metrics.keys())
    if not metrics:
        return {}

    def score(values: Mapping[str, float]) -> float:
        return fmean(
            -values.get(metric, math.nan)
            if run.better.get(metric) == "lower"
            else values.get(metric, math.nan)
            for metric in metrics
        )

    return {OWN: score(run.metrics)} | {
        name: score(rule.metrics) for name, rule in run.rules.items()
    }


def mean_optimism(runs: Sequence[Run]) -> Interval:
    """The mean of dev - test in points: seeds and sizes inside draws, draws inside tasks, tasks alike."""
    tasks: dict[str, dict[int, list[float]]] = {}
    for run in runs:
        difference = 100 * ((run.dev_score or 0.0) - (run.score or 0.0))
        tasks.setdefault(run.task, {}).setdefault(run.draw, []).append(difference)
    strata = [
        [fmean(values) for _, values in sorted(draws.items())] for _, draws in sorted(tasks.items())
    ]
    overlaps = [overlap(run for run in runs if run.task == task) for task in sorted(tasks)]
    pairs = zip(strata, overlaps, strict=True)
    return intervals.pooled(
        [intervals.over_draws(values, overlap=shared) for values, shared in pairs]
    )


def promised(runs: Sequence[Run], counts: Callable[[int], Sequence[int]]) -> dict[int, float]:
    """Dev - test, in points, of the run with the best dev score among n runs of a cell; sizes inside tasks, tasks alike.

    What is to be expected of who trains so often and keeps one (Dodge et al. 2019, without
    replacement).

    Args:
        runs: of one method.
        counts: which n, given as many runs as every cell has.
    """
    cells: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for run in runs:
        both = 100 * (run.dev_score or 0.0), 100 * (run.score or 0.0)
        cells.setdefault(run.task, {}).setdefault(run.size, []).append(both)

    def gap(cell: Sequence[tuple[float, float]], n: int) -> float:
        dev, test = zip(*cell, strict=True)
        return expected_best(dev, n) - expected_best(dev, n, of=test)

    most = min((len(cell) for sizes in cells.values() for cell in sizes.values()), default=0)
    return {
        n: fmean(
            fmean(gap(cell, n) for _, cell in sorted(sizes.items()))
            for _, sizes in sorted(cells.items())
        )
        for n in counts(most)
    }
