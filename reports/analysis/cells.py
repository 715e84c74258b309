"""Cells of the score tables: one method on one task at one size, and averages; in points (score × 100)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal

import numpy as np

from reports.analysis import estimates
from reports.analysis.contrasts import Contrast
from reports.analysis.estimates import Population
from reports.analysis.paired_runs import PairedRuns, sizes_of
from reports.analysis.run import STATUSES, Run, has_score, run_status
from reports.statistics.conventions import standard_deviation, tied_scores
from reports.statistics.intervals import Interval

State = Literal[
    "complete",
    "incomplete",
    "infeasible",
    "diverged",
    "undefined",
    "failed",
    "missing",
    "unplanned",
]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method on one task (None: the average over tasks) at one size (None: over all sizes)."""

    method: str
    task: str | None
    size: int | None
    without_seen: bool = False  # an average that leaves out the tasks marked as seen
    state: State
    done: int
    planned: int
    fates: Mapping[str, int]  # number of planned runs by status
    collapsed: int = 0
    diverged: int = 0  # diverged runs, which count with the score of one constant answer
    draws: int = 0  # number of draws behind the interval; in an average the fewest of any task
    mean: float = math.nan  # points
    low: float = math.nan
    high: float = math.nan
    sd: float = math.nan  # over draws; over tasks in an average
    df: float = math.nan
    interval: str = ""  # kind of the interval, or the reason why there is none
    population: Population = "these rows"  # that the interval covers
    best: bool = False
    # against the baseline, by the adjusted p of its family
    direction: Literal["better", "worse", ""] = ""
    # means per run; peak_bytes is the maximum
    costs: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # means in the units of the metrics
    undefined: Mapping[str, int] = field(default_factory=dict)  # number of runs without a value


def method_cells(paired_runs: PairedRuns, method: str, scope: int | None) -> list[Cell]:
    """Return the cells of a method at one size (None: over all sizes), followed by their averages."""
    cells = [_cell(paired_runs, method, task, scope) for task in paired_runs.tasks]
    planned = [cell for cell in cells if sizes_of(paired_runs, cell.task or "", scope)]
    averages = []
    if len(paired_runs.tasks) > 1:
        averages.append(_average(paired_runs, method, scope, planned, without_seen=False))
        unseen = [cell for cell in planned if cell.task not in paired_runs.seen]
        if 0 < len(unseen) < len(planned):
            averages.append(_average(paired_runs, method, scope, unseen, without_seen=True))
    return [*cells, *averages]


def _cell(paired_runs: PairedRuns, method: str, task: str, scope: int | None) -> Cell:
    sizes = sizes_of(paired_runs, task, scope) or list(
        paired_runs.sizes if scope is None else (scope,)
    )
    runs = [run for size in sizes for run in paired_runs.runs(method, task, size)]
    fates: dict[str, int] = {
        name: count for name in STATUSES if (count := sum(run_status(run) == name for run in runs))
    }
    done = [run for run in runs if has_score(run)]
    estimate = estimates.task_score(
        [[run for run in done if run.size == size] for size in sizes], paired_runs.row_tables
    )
    metrics, undefined = _metrics(done) if scope is not None else ({}, {})
    cell = Cell(
        method=method,
        task=task,
        size=scope,
        state=_state(fates, len(done), len(runs)),
        done=len(done),
        planned=len(runs),
        fates=fates,
        collapsed=sum(run.collapsed for run in done),
        diverged=sum(run.status == "diverged" for run in done),
        draws=len(estimate.values),
        costs=_costs([run for run in done if run.status == "done"]),
        metrics=metrics,
        undefined=undefined,
    )
    interval, population = estimates.pooled([estimate], sd=standard_deviation(estimate.values))
    if estimate.corrected:
        kind = "t over draws, corrected for shared rows"
    else:
        kind = f"t over draws{' and test rows' * (population == 'these tasks')}"
    return _estimated(cell, interval, population, kind)


def _state(fates: Mapping[str, int], done: int, planned: int) -> State:
    if planned == 0:
        return "unplanned"
    if done:
        return "complete" if done == planned else "incomplete"
    if "failed" in fates:
        return "failed"
    if "diverged" in fates:
        return "diverged"
    if "undefined" in fates:
        return "undefined"
    return "missing" if "missing" in fates else "infeasible"


def _estimated(cell: Cell, estimate: Interval, population: Population, kind: str) -> Cell:
    """Return the cell with its mean and interval, or with the reason why it has no interval."""
    if cell.draws < 2:
        kind = "none: fewer than two draws"
    elif math.isnan(estimate.low):
        kind = "none: no variance"
    return replace(
        cell,
        mean=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        sd=estimate.sd,
        df=estimate.df,
        interval=kind,
        population=population,
    )


def _costs(runs: Sequence[Run]) -> dict[str, float]:
    if not runs:
        return {}
    names = (
        "trained",
        "stored",
        "seconds_training",
        "seconds_evaluation",
        "n_train",
        "n_dev",
        "n_test",
    )
    costs = {name: fmean(float(getattr(run, name)) for run in runs) for name in names}
    dev = [run.dev_score for run in runs if run.dev_score is not None]
    costs["packed"] = float(sum(run.shared for run in runs))
    return {
        **costs,
        "peak_bytes": float(max(run.peak_bytes for run in runs)),
        **({"dev": 100 * fmean(dev)} if dev else {}),
    }


def _metrics(runs: Sequence[Run]) -> tuple[dict[str, float], dict[str, int]]:
    """Return the mean of each metric over the runs that define it, and the number of runs that do not."""
    measured = [
        {
            **run.metrics,
            **{
                rule.column(name): value
                for rule in run.rules.values()
                for name, value in rule.metrics.items()
            },
        }
        for run in runs
    ]
    defined = {
        name: [values[name] for values in measured if math.isfinite(values.get(name, math.nan))]
        for name in sorted(set().union(*measured))
    }
    means = {name: fmean(values) if values else math.nan for name, values in defined.items()}
    return means, {
        name: len(runs) - len(values) for name, values in defined.items() if len(values) < len(runs)
    }


def _average(
    paired_runs: PairedRuns,
    method: str,
    scope: int | None,
    cells: Sequence[Cell],
    *,
    without_seen: bool,
) -> Cell:
    """Return the unweighted mean over tasks, if every planned run of every task has a score."""
    done, planned = sum(cell.done for cell in cells), sum(cell.planned for cell in cells)
    fates: dict[str, int] = {
        name: count
        for name in STATUSES
        if (count := sum(cell.fates.get(name, 0) for cell in cells))
    }
    common = Cell(
        method=method,
        task=None,
        size=scope,
        without_seen=without_seen,
        state=_state(fates, done, planned),
        done=done,
        planned=planned,
        fates=fates,
        collapsed=sum(cell.collapsed for cell in cells),
        draws=min((cell.draws for cell in cells), default=0),
        interval="none: not complete",
    )
    if common.state != "complete" or common.draws == 0:
        return common
    strata = [
        estimates.task_score(
            [
                [run for run in paired_runs.runs(method, task, size) if has_score(run)]
                for size in sizes_of(paired_runs, task, scope)
            ],
            paired_runs.row_tables,
        )
        for task in (cell.task or "" for cell in cells)
    ]
    interval, population = estimates.pooled(strata)
    rows = " and test rows" if population == "these tasks" else ""
    return _estimated(common, interval, population, f"stratified t over draws{rows}")


def mark_cells(
    cells: Sequence[Cell], contrasts: Sequence[Contrast], paired_runs: PairedRuns
) -> list[Cell]:
    """Mark the best cell of each column, and the direction of each difference that stands out."""
    columns: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        if cell.state == "complete" and math.isfinite(cell.mean):
            columns.setdefault((cell.task, cell.size, cell.without_seen), []).append(cell)
    best = set()
    for column in columns.values():
        scores = tied_scores([cell.mean for cell in column])
        best |= {id(column[i]) for i in np.flatnonzero(scores == scores.max())}
    signs = {
        (test.method, test.task, test.size): math.copysign(1, test.effect)
        for test in contrasts
        if test.marked
    }
    result = []
    for cell in cells:
        task = (
            cell.task if len(paired_runs.tasks) > 1 else None
        )  # the only task is the whole comparison
        size = None if task is None and len(paired_runs.sizes) == 1 else cell.size
        sign = 0 if cell.without_seen else signs.get((cell.method, task, size), 0)
        result.append(
            replace(
                cell,
                best=len(paired_runs.methods) > 1 and id(cell) in best,
                direction="better" if sign > 0 else "worse" if sign < 0 else "",
            )
        )
    return result
