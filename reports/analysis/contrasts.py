"""Each method against the baseline: effect, interval, test, and what the design could have found, in points.

A method is compared with the baseline on the blocks that both finished on the same rows, and on no
others.
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
    """One method against the baseline: effect, interval, p; everything in points."""

    family: Family
    method: str
    baseline: str
    task: str | None
    size: int | None
    test: str
    estimand: str  # of the p: "E1" new draws on these tasks, "E3" new tasks
    unit: Literal["tasks", "draws"]
    n: int
    planned: int  # units that a complete comparison would have
    draws: tuple[int, int]  # fewest and most per task
    pairs: int  # blocks used
    planned_pairs: int
    failed: int = 0  # planned pairs that are missing because a run failed
    effect: float
    ci: tuple[float, float]  # not adjusted for other comparisons
    ci_estimand: Estimand  # what the interval speaks of: E1 other draws, E2 other test rows as well
    sd: float  # of the units
    wins: int
    ties: int
    losses: int
    p_raw: float
    p_adj: float = math.nan
    correction: str = ""
    m: int = 0
    # the smallest adjusted p that is possible; units without a difference have no sign to flip
    smallest: float
    reach: float  # the smallest that the design allows, where no unit is tied
    mde: float  # what a power of 80 % detects at .05 / m; NaN if p cannot get there
    needed: int | None = None  # units that would settle a difference of this size
    noise: float = math.nan  # variance of the difference in a single draw, the mean over tasks
    seconds: float = 0.0  # of device time for one draw more of both methods
    draws_mean: float = math.nan  # draws a task; the harmonic mean, as their noise goes
    # draws a task that would detect `rope`, infinite if no number does; see
    # `reports.statistics.sample_size`
    draws_needed: float = math.nan
    rope: float = ROPE  # points to either side of 0 that do not matter
    planned_for: bool = (
        False  # the study's own comparison, said before its first result: tested alone
    )
    differences: Mapping[str, tuple[float, ...]] = field(
        default_factory=dict
    )  # overall: points of each draw, by task
    notes: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether the adjusted p is at most .05, and no run was lost by failing: what fails may not be left out."""
        return self.p_adj <= ALPHA and not self.failed

    @property
    def tied(self) -> bool:
        """Whether it is for units without a difference that no p of .05 is possible."""
        return self.smallest > ALPHA >= self.reach


def contrasts(paired_runs: PairedRuns) -> list[Contrast]:
    """Overall by Holm over the methods, at single sizes over methods and sizes, all cells by Benjamini and Hochberg."""
    others = _others(paired_runs)
    cells: list[Contrast] = []
    sizes = paired_runs.sizes if len(paired_runs.sizes) > 1 else ()
    per_size = [
        _contrast(paired_runs, "per size", method, paired_runs.tasks, size)
        for size in sizes
        for method in others
    ]
    if len(paired_runs.tasks) > 1:
        cells = [
            _contrast(paired_runs, "cells", m, (t,), s)
            for s in paired_runs.sizes
            for t in paired_runs.tasks
            for m in others
        ]
    cells = [test for test in cells if test.planned_pairs]
    return [
        *overall(paired_runs),
        *_adjusted(per_size, "Holm"),
        *_adjusted(cells, "Benjamini-Hochberg"),
    ]


def overall(paired_runs: PairedRuns) -> list[Contrast]:
    """Each method over all tasks and sizes, by Holm over the methods.

    A comparison that the study was declared to be for is tested alone, before the others.
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
    """The differences of one task, and how many blocks they come from."""

    found: TaskEstimate
    used: int
    planned: int
    failed: int
    overlap: float


def _paired(paired_runs: PairedRuns, method: str, task: str, sizes: Sequence[int]) -> _Paired:
    planned, failed = 0, 0
    mine: list[list[Run]] = []
    base: list[list[Run]] = []
    for size in sizes:
        blocks = paired_runs.blocks[task, size]
        planned += len(blocks)
        here, there = [], []
        for first, second in (_pair(paired_runs, method, block) for block in blocks):
            if finished(first) and finished(second) and first.rows == second.rows:
                here.append(first)
                there.append(second)
            else:
                failed += any(
                    not finished(run) and run_status(run) in ("failed", "diverged")
                    for run in (first, second)
                )
        mine.append(here)
        base.append(there)
    whole = set.intersection(*({run.draw for run in runs} for runs in mine)) if mine else set()
    used = sum(run.draw in whole for runs in mine for run in runs)
    return _Paired(
        estimates.differences(mine, base),
        used,
        planned,
        failed,
        overlap([run for runs in mine for run in runs]),
    )


def _pair(paired_runs: PairedRuns, method: str, block: Block) -> tuple[Run | None, Run | None]:
    return paired_runs.index.get((method, block)), paired_runs.index.get(
        (paired_runs.baseline, block)
    )


def _contrast(
    paired_runs: PairedRuns, family: Family, method: str, tasks: Sequence[str], scope: int | None
) -> Contrast:
    """One method against the baseline over the tasks at one size or all; p and notes of the family come later.

    The unit is the task, so that the p answers for other tasks; with one task it can only be the
    draw.
    """
    planned = [task for task in tasks if sizes_of(paired_runs, task, scope)]
    pairs = [
        _paired(paired_runs, method, task, sizes_of(paired_runs, task, scope)) for task in planned
    ]
    used = [pair for pair in pairs if pair.found.values]
    interval, covered = estimates.pooled([pair.found for pair in used])
    over_tasks = len(tasks) > 1
    corrected = not over_tasks and any(pair.overlap > 0 for pair in used)
    units = (
        [pair.found.draws.mean for pair in used]
        if over_tasks
        else used[0].found.values
        if used
        else []
    )
    values = np.round(np.array(units, dtype=np.float64), DIGITS)
    n = int(values.size)
    factor = (
        math.sqrt(1 + n * used[0].overlap) if corrected else 1.0
    )  # the draws are worth that much less
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
    counts = [len(pair.found.values) for pair in used]
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
            t: tuple(p.found.values) for t, p in zip(planned, pairs, strict=True) if p.found.values
        }
        if family == "overall"
        else {},
        seconds=_seconds(paired_runs, (method, paired_runs.baseline), planned, scope),
        rope=paired_runs.rope,
        smallest=0.0 if corrected else smallest_p(int((values != 0).sum())),
        reach=0.0 if corrected else smallest_p(n),
        mde=sd * factor,  # the standard deviation that counts; `_adjusted` makes it a difference
    )


def _noise(used: Sequence[_Paired]) -> float:
    """The variance of the difference in one draw; the mean over tasks."""
    found = [
        standard_deviation(pair.found.values) ** 2 for pair in used if len(pair.found.values) > 1
    ]
    return sum(found) / len(found) if found else math.nan


def _seconds(
    paired_runs: PairedRuns, methods: Sequence[str], tasks: Sequence[str], scope: int | None
) -> float:
    """What one more draw of each method on each task and size would take, as those at hand took on the average."""
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
    """The tests of one family with adjusted p, what they can detect, and what is doubtful about them."""
    # A comparison that cannot be made yet is still one of those that were planned, and loosens
    # nothing for the others.
    held = [test for test in tests if correction == "Holm" or not math.isnan(test.p_raw)]
    adjust = multiple_testing.holm if correction == "Holm" else multiple_testing.benjamini_hochberg
    adjusted_p = adjust([1.0 if math.isnan(test.p_raw) else test.p_raw for test in held])
    values = iter(p for test, p in zip(held, adjusted_p, strict=True) if not math.isnan(test.p_raw))
    m = len(held) if any(not math.isnan(test.p_raw) for test in tests) else 0
    strict = m if correction == "Holm" else 1  # a false discovery rate has no fixed level per test
    result = []
    for test in tests:
        p = math.nan if math.isnan(test.p_raw) else float(next(values))
        alpha = ALPHA / max(strict, 1)
        exact = test.smallest > 0
        smallest = min(1.0, test.smallest * max(strict, 1))
        adjusted = replace(
            test,
            p_adj=p,
            correction=correction,
            m=m,
            smallest=smallest,
            reach=min(1.0, test.reach * max(strict, 1)),
            mde=detectable(test.n, test.mde, alpha=alpha, flips=exact)
            if smallest <= ALPHA
            else math.nan,
            needed=pairs_needed(test.effect, test.sd, alpha=alpha) if exact else None,
        )
        adjusted = replace(adjusted, draws_needed=_enough(adjusted, alpha) if exact else math.nan)
        result.append(replace(adjusted, notes=tuple(_doubts(adjusted))))
    return result


def _enough(test: Contrast, alpha: float) -> float:
    tasks = test.n if test.unit == "tasks" else 1
    return draws_needed(
        test.rope, tasks=tasks, sd=test.sd, noise=test.noise, draws=test.draws_mean, alpha=alpha
    )


def _doubts(test: Contrast) -> Iterable[str]:
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
