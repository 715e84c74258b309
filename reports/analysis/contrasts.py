"""Each method against the baseline, in points: effect, interval, test, and what the design can detect.

A method is compared with the baseline only on the blocks that both finished on the same rows.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from reports.analysis import estimates
from reports.analysis.estimates import Estimand, TaskEstimate
from reports.analysis.hypothesis import ROPE
from reports.analysis.paired_runs import (
    Block,
    PairedRuns,
    Run,
    finished,
    overlap,
    run_status,
    sizes_of,
)
from reports.statistics import multiple_testing
from reports.statistics.conventions import ALPHA, DIGITS, standard_deviation
from reports.statistics.power import detectable, pairs_needed
from reports.statistics.sample_size import draws_needed
from reports.statistics.sign_flip import EXACT_PAIRS, sign_flip, smallest_p
from reports.statistics.t_test import t_test

Family = Literal["overall", "per size", "cells"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The comparison of one method with the baseline; effects are in points."""

    family: Family
    method: str
    baseline: str
    task: str | None
    size: int | None
    test: str
    estimand: str  # population of the p: "E1" other draws on these tasks, "E3" other tasks
    unit: Literal["tasks", "draws"]
    n: int  # number of units
    planned: int  # number of units of a complete comparison
    draws: tuple[int, int]  # fewest and most per task
    pairs: int  # blocks in use
    planned_pairs: int
    failed: int = 0  # planned pairs that are missing because a run failed
    effect: float
    ci: tuple[float, float]  # not adjusted for other comparisons
    ci_estimand: Estimand  # population of the interval: E1 other draws, E2 also other test rows
    sd: float  # of the units
    wins: int
    ties: int
    losses: int
    p_raw: float
    p_adj: float = math.nan
    correction: str = ""
    m: int = 0  # number of tests that are adjusted together
    smallest: float  # smallest possible adjusted p; units without a difference have no sign to flip
    reach: float  # smallest adjusted p of the design, if no unit is tied
    mde: float  # difference detected with a power of 80 % at .05 / m; NaN if p cannot reach .05
    needed: int | None = None  # units that would settle a difference of this size
    noise: float = math.nan  # variance of the difference in a single draw, mean over tasks
    seconds: float = 0.0  # device time of one more draw of both methods
    draws_mean: float = (
        math.nan
    )  # draws per task: the harmonic mean, because noise goes with 1/draws
    # draws per task that detect `rope`, infinite if no number does; see
    # `reports.statistics.sample_size`
    draws_needed: float = math.nan
    rope: float = ROPE  # differences up to this many points from 0 do not matter
    planned_for: bool = False  # the declared comparison of the study, which is tested alone
    # overall: points of each draw, by task
    differences: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether the adjusted p is at most .05 and no pair is missing because a run failed."""
        return self.p_adj <= ALPHA and not self.failed

    @property
    def tied(self) -> bool:
        """Whether p cannot reach .05 because of units without a difference."""
        return self.smallest > ALPHA >= self.reach


def contrasts(paired_runs: PairedRuns) -> list[Contrast]:
    """Return all comparisons with the baseline.

    Overall comparisons are adjusted by Holm over the methods, those at single sizes by Holm over
    methods and sizes, and single cells by Benjamini and Hochberg.
    """
    others = _others(paired_runs)
    per_size = [
        _contrast(paired_runs, "per size", method, paired_runs.tasks, size)
        for size in paired_runs.sizes
        for method in others
        if len(paired_runs.sizes) > 1
    ]
    cells = [
        test
        for size in paired_runs.sizes
        for task in paired_runs.tasks
        for method in others
        if len(paired_runs.tasks) > 1
        and (test := _contrast(paired_runs, "cells", method, (task,), size)).planned_pairs
    ]
    return [
        *overall_contrasts(paired_runs),
        *_adjusted(per_size, "Holm"),
        *_adjusted(cells, "Benjamini-Hochberg"),
    ]


def overall_contrasts(paired_runs: PairedRuns) -> list[Contrast]:
    """Compare each method with the baseline over all tasks and sizes, by Holm over the methods.

    The declared comparison of a study is tested alone, and the others without it.
    """
    tests = [
        _contrast(paired_runs, "overall", method, paired_runs.tasks, None)
        for method in _others(paired_runs)
    ]
    first = [
        replace(test, planned_for=True) for test in tests if test.method == paired_runs.planned
    ]
    return [
        *_adjusted(first, "Holm"),
        *_adjusted([test for test in tests if test.method != paired_runs.planned], "Holm"),
    ]


def _others(paired_runs: PairedRuns) -> list[str]:
    return (
        [method for method in paired_runs.methods if method != paired_runs.baseline]
        if paired_runs.baseline in paired_runs.methods
        else []
    )


@dataclass(frozen=True)
class _Paired:
    """The difference on one task, and the number of blocks behind it."""

    estimate: TaskEstimate
    used: int
    planned: int
    failed: int
    overlap: float


def _paired(paired_runs: PairedRuns, method: str, task: str, sizes: Sequence[int]) -> _Paired:
    planned, failed = 0, 0
    method_runs: list[list[Run]] = []
    baseline_runs: list[list[Run]] = []
    for size in sizes:
        blocks = paired_runs.blocks[task, size]
        planned += len(blocks)
        at_size: list[tuple[Run, Run]] = []
        for first, second in (_pair(paired_runs, method, block) for block in blocks):
            if finished(first) and finished(second) and first.rows == second.rows:
                at_size.append((first, second))
            else:
                failed += any(
                    not finished(run) and run_status(run) in ("failed", "diverged")
                    for run in (first, second)
                )
        method_runs.append([first for first, _ in at_size])
        baseline_runs.append([second for _, second in at_size])
    draws = [{run.draw for run in runs} for runs in method_runs]
    complete = set.intersection(*draws) if draws else set()
    used = sum(run.draw in complete for runs in method_runs for run in runs)
    return _Paired(
        estimates.task_difference(method_runs, baseline_runs),
        used,
        planned,
        failed,
        overlap([run for runs in method_runs for run in runs]),
    )


def _pair(paired_runs: PairedRuns, method: str, block: Block) -> tuple[Run | None, Run | None]:
    return paired_runs.index.get((method, block)), paired_runs.index.get(
        (paired_runs.baseline, block)
    )


def _contrast(
    paired_runs: PairedRuns, family: Family, method: str, tasks: Sequence[str], scope: int | None
) -> Contrast:
    """Compare a method with the baseline over the tasks, at one size or all (`scope` None).

    The unit is the task, so that the p covers other tasks; with a single task the unit is the draw.
    `_adjusted` adds the adjusted p and the notes.
    """
    planned = [task for task in tasks if sizes_of(paired_runs, task, scope)]
    pairs = [
        _paired(paired_runs, method, task, sizes_of(paired_runs, task, scope)) for task in planned
    ]
    used = [pair for pair in pairs if pair.estimate.values]
    interval, covered = estimates.pooled([pair.estimate for pair in used])
    over_tasks = len(tasks) > 1
    corrected = not over_tasks and any(pair.overlap > 0 for pair in used)
    units = (
        [pair.estimate.draws.mean for pair in used]
        if over_tasks
        else used[0].estimate.values
        if used
        else []
    )
    values = np.round(np.array(units, dtype=np.float64), DIGITS)
    n = int(values.size)
    # Draws that share rows carry less information.
    factor = math.sqrt(1 + n * used[0].overlap) if corrected else 1.0
    if corrected:
        test, p = (
            "t test corrected for shared rows (Nadeau-Bengio)",
            t_test(values, overlap=used[0].overlap),
        )
    else:
        name = "exact sign flip" if n <= EXACT_PAIRS else "sign flip, sampled"
        test, p = (
            f"{name} over {'tasks' if over_tasks else 'draws'}",
            sign_flip(values) if n > 1 else math.nan,
        )
    sd = (
        float(np.std(values, ddof=1))
        if n > 1 and np.ptp(values) > 0
        else 0.0
        if n > 1
        else math.nan
    )
    counts = [len(pair.estimate.values) for pair in used]
    return Contrast(
        family=family,
        method=method,
        baseline=paired_runs.baseline,
        task=tasks[0] if family == "cells" else None,
        size=scope,
        test=test,
        estimand="E3" if over_tasks else "E1",
        unit="tasks" if over_tasks else "draws",
        n=n,
        planned=len(planned)
        if over_tasks
        else max((_draws(paired_runs, task, scope) for task in planned), default=0),
        draws=(min(counts, default=0), max(counts, default=0)),
        pairs=sum(pair.used for pair in pairs),
        planned_pairs=sum(pair.planned for pair in pairs),
        failed=sum(pair.failed for pair in pairs),
        effect=interval.mean,
        ci=(interval.low, interval.high),
        ci_estimand=covered,
        sd=sd,
        wins=int((values > 0).sum()),
        ties=int((values == 0).sum()),
        losses=int((values < 0).sum()),
        p_raw=p,
        noise=_noise(used),
        draws_mean=len(counts) / sum(1 / count for count in counts) if counts else math.nan,
        differences={
            t: tuple(p.estimate.values)
            for t, p in zip(planned, pairs, strict=True)
            if p.estimate.values
        }
        if family == "overall"
        else {},
        seconds=_seconds(paired_runs, (method, paired_runs.baseline), planned, scope),
        rope=paired_runs.rope,
        smallest=0.0 if corrected else smallest_p(int((values != 0).sum())),
        reach=0.0 if corrected else smallest_p(n),
        mde=sd * factor,  # the effective standard deviation, which `_adjusted` turns into the MDE
    )


def _noise(used: Sequence[_Paired]) -> float:
    """Return the variance of the difference in a single draw, as the mean over tasks."""
    variances = [
        standard_deviation(pair.estimate.values) ** 2
        for pair in used
        if len(pair.estimate.values) > 1
    ]
    return sum(variances) / len(variances) if variances else math.nan


def _seconds(
    paired_runs: PairedRuns, methods: Sequence[str], tasks: Sequence[str], scope: int | None
) -> float:
    """Return the device seconds of one more draw of each method on each task and size, from the mean so far."""
    total = 0.0
    for method in methods:
        for task in tasks:
            for size in sizes_of(paired_runs, task, scope):
                runs = [run for run in paired_runs.runs(method, task, size) if finished(run)]
                spent = sum(run.seconds_training + run.seconds_evaluation for run in runs)
                total += spent / max(len({run.draw for run in runs}), 1)
    return total


def _draws(paired_runs: PairedRuns, task: str, scope: int | None) -> int:
    return len(
        {
            block.draw
            for size in sizes_of(paired_runs, task, scope)
            for block in paired_runs.blocks[task, size]
        }
    )


def _adjusted(
    tests: Sequence[Contrast], correction: Literal["Holm", "Benjamini-Hochberg"]
) -> list[Contrast]:
    """Return the tests of one family with adjusted p, detectable differences and notes."""
    # A comparison without a p is still one of the planned comparisons: with Holm it counts in m.
    counted = [test for test in tests if correction == "Holm" or not math.isnan(test.p_raw)]
    adjust = multiple_testing.holm if correction == "Holm" else multiple_testing.benjamini_hochberg
    adjusted_p = adjust([1.0 if math.isnan(test.p_raw) else test.p_raw for test in counted])
    values = iter(
        p for test, p in zip(counted, adjusted_p, strict=True) if not math.isnan(test.p_raw)
    )
    m = len(counted) if any(not math.isnan(test.p_raw) for test in tests) else 0
    divisor = m if correction == "Holm" else 1  # B-H has no fixed level per test
    result = []
    for test in tests:
        p = math.nan if math.isnan(test.p_raw) else float(next(values))
        alpha = ALPHA / max(divisor, 1)
        exact = test.smallest > 0
        smallest = min(1.0, test.smallest * max(divisor, 1))
        adjusted = replace(
            test,
            p_adj=p,
            correction=correction,
            m=m,
            smallest=smallest,
            reach=min(1.0, test.reach * max(divisor, 1)),
            mde=detectable(test.n, test.mde, alpha=alpha, flips=exact)
            if smallest <= ALPHA
            else math.nan,
            needed=pairs_needed(test.effect, test.sd, alpha=alpha) if exact else None,
            draws_needed=draws_needed(
                test.rope,
                tasks=test.n if test.unit == "tasks" else 1,
                sd=test.sd,
                noise=test.noise,
                draws=test.draws_mean,
                alpha=alpha,
            )
            if exact
            else math.nan,
        )
        result.append(replace(adjusted, notes=tuple(_notes(adjusted))))
    return result


def _notes(test: Contrast) -> Iterable[str]:
    if math.isnan(test.p_raw):
        yield "NO_TEST"
    elif test.reach > ALPHA:
        yield "NOT_REACHABLE"
    if test.n > 1 and test.sd == 0:
        yield "NO_VARIANCE"
    if test.n > 1 and not test.settled and not test.mde <= test.rope:
        yield "UNDERPOWERED"
    if test.ties > 0.3 * max(test.n, 1) or test.tied:
        yield "ZERO_DIFFS"
    if test.pairs < test.planned_pairs:
        yield "INCOMPLETE"
