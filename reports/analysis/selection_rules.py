"""Selection rules compared on the same trainings: what each rule would choose, against the rule in use."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import numpy as np

from reports.analysis import estimates
from reports.analysis.contrasts import Contrast, overall_contrasts
from reports.analysis.paired_runs import holdout_ratio, pair_runs
from reports.analysis.run import Run, has_score, run_status
from reports.statistics import intervals
from reports.statistics.expected_best import expected_best
from reports.statistics.intervals import Interval

OWN: Final = "own"  # the rule that chose the checkpoint of the run


@dataclass(frozen=True, kw_only=True)
class RuleComparison:
    """One selection rule on the trainings of one method, in points."""

    method: str
    name: str  # stochastic (the dev score of sampled models), centroid, loss or last
    own: bool  # whether it chose the checkpoint of the run
    runs: int  # number of runs that tested every rule
    moved: int  # number of these runs in which the rule changes the test score
    score: float  # mean test score; tasks have equal weight, sizes are averaged within draws
    test: Contrast | None  # against the method's own rule; None for that rule itself
    optimism: Interval | None  # dev - test of its choices; None if their dev score was not stored


def compare_rules(runs: Sequence[Run], methods: Sequence[str]) -> tuple[RuleComparison, ...]:
    """Compare the rules of every method whose runs tested several, the method's own rule first."""
    return tuple(
        rule
        for method in methods
        for rule in _rules_of(method, [run for run in runs if run.method == method])
    )


def _rules_of(method: str, runs: Sequence[Run]) -> Iterator[RuleComparison]:
    scored = [(run, scores) for run in runs if has_score(run) and (scores := scores_by_rule(run))]
    names = {name for _, scores in scored for name in scores}
    complete = [(run, scores) for run, scores in scored if scores.keys() == names]
    if not complete:
        return
    own = "stochastic" if complete[0][0].sampled else "centroid"
    runs_by_rule = {
        name: [_as_chosen_by(run, name, scores[name]) for run, scores in complete]
        for name in (OWN, *sorted(names - {OWN, own}))
    }
    # A training whose own rule ends without a score was not tested by other rules. Such runs stay
    # as lost pairs, because leaving them out would favour the own rule.
    lost = [
        run
        for run in runs
        if run_status(run) in ("diverged", "undefined")
        and not (has_score(run) and scores_by_rule(run))
    ]
    unpaired = [_as_chosen_by(run, name, math.nan) for name in runs_by_rule for run in lost]
    paired_runs = pair_runs(
        [*(run for chosen in runs_by_rule.values() for run in chosen), *unpaired], baseline=OWN
    )
    tests = {test.method: test for test in overall_contrasts(paired_runs, answers_needed=False)}
    for name, chosen in runs_by_rule.items():
        yield RuleComparison(
            method=method,
            name=own if name == OWN else name,
            own=name == OWN,
            runs=len(complete),
            moved=sum(scores[name] != scores[OWN] for _, scores in complete),
            score=_mean_score(chosen),
            test=tests.get(name),
            optimism=None
            if any(run.dev_score is None for run in chosen)
            else mean_optimism(list(filter(has_score, chosen))),
        )


def _as_chosen_by(run: Run, rule: str, score: float) -> Run:
    """Return the run as it would be with that rule; its answers to single rows are not known."""
    return replace(
        run,
        method=rule,
        score=score,
        dev_score=_dev_score(run, rule),
        predictions=np.empty(0),
        labels={},
    )


def _dev_score(run: Run, rule: str) -> float | None:
    """Return the dev score at the step that the rule chooses, or None if the curve does not contain it."""
    if rule == OWN:
        return run.dev_score
    if not run.curve or len(run.losses) != len(run.curve) or rule not in ("last", "loss"):
        return None
    if rule == "last":
        return run.curve[-1][1]
    steps = range(len(run.curve))  # of equal losses the later one is chosen
    return run.curve[min(steps, key=lambda step: (run.losses[step], -step))][1]


def _mean_score(runs: Sequence[Run]) -> float:
    tasks: dict[str, dict[int, list[Run]]] = {}
    for run in runs:
        tasks.setdefault(run.task, {}).setdefault(run.size, []).append(run)
    return intervals.pooled(
        [estimates.task_score(list(sizes.values())).draws for sizes in tasks.values()]
    ).mean


def scores_by_rule(run: Run) -> dict[str, float]:
    """Return the test score of a run by rule (1.0 = perfect), `OWN` among them.

    A score is the mean of the task's metrics; metrics of which lower is better count negatively.
    The result is empty if the run tested no other rule.
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
    """Return the mean of dev - test in points, with its interval, which ends at the bounds of the score.

    Seeds and sizes are averaged within a draw and draws within a task; tasks have equal weight.
    """
    tasks: dict[str, dict[int, list[float]]] = {}
    spans = {}  # by task: the highest score minus the lowest
    for run in runs:
        low, high = run.bounds
        spans[run.task] = high - low
        difference = 100 * ((run.dev_score or 0.0) - (run.score or 0.0))
        tasks.setdefault(run.task, {}).setdefault(run.draw, []).append(difference)
    strata = [
        [fmean(values) for _, values in sorted(draws.items())] for _, draws in sorted(tasks.items())
    ]
    overlaps = [holdout_ratio(run for run in runs if run.task == task) for task in sorted(tasks)]
    pairs = zip(strata, overlaps, strict=True)
    interval = intervals.pooled(
        [intervals.over_draws(values, overlap=shared) for values, shared in pairs]
    )
    span = fmean(spans.values()) if spans else math.inf
    return interval.within(-span, span)


def optimism_of_best(
    runs: Sequence[Run], counts: Callable[[int], Sequence[int]]
) -> dict[int, float]:
    """Return the expected dev - test, in points, of the run with the best dev score among n runs.

    This is what a study reports that trains n times on a task and size and keeps one run (Dodge et
    al. 2019, without replacement). Sizes are averaged within a task; tasks have equal weight.

    Args:
        runs: The runs of one method.
        counts: Returns the values of n for the smallest number of runs of a task and size.
    """
    cells: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for run in runs:
        both = 100 * (run.dev_score or 0.0), 100 * (run.score or 0.0)
        cells.setdefault(run.task, {}).setdefault(run.size, []).append(both)

    def gap(cell: Sequence[tuple[float, float]], n: int) -> float:
        dev, test = zip(*cell, strict=True)
        return expected_best(dev, n) - expected_best(dev, n, of=test)

    fewest = min((len(cell) for sizes in cells.values() for cell in sizes.values()), default=0)
    return {
        n: fmean(
            fmean(gap(cell, n) for _, cell in sorted(sizes.items()))
            for _, sizes in sorted(cells.items())
        )
        for n in counts(fewest)
    }
