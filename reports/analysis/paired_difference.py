"""The difference between a method and the baseline on one task, from the blocks that both finished.

And what bars its claims: pairs that are missing or cannot be formed, and cells that did not train.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from reports.analysis import estimates
from reports.analysis.estimates import TaskEstimate
from reports.analysis.paired_runs import (
    Block,
    PairedRuns,
    common_draws,
    draw_count,
    sizes_of,
)
from reports.analysis.run import Run, bounds, has_score, run_status
from reports.document import plural

IN_UNITS_OF_LABELS: Final = frozenset({"mse", "rmse"})


class Bar(NamedTuple):
    """Why nothing may be claimed from a comparison, whatever its p is."""

    kind: Literal["infeasible", "incomplete", "scales", "untrained"]
    text: str
    advice: str


@dataclass(frozen=True)
class PairedDifference:
    """The difference on one task, and the number of blocks behind it."""

    estimate: TaskEstimate
    used: int
    planned: int
    outside: int  # planned pairs of draws that not all sizes have, which are not in use
    missing: int  # planned pairs without both scores, unless a method cannot be run there
    failed: int  # missing pairs that ended without a score
    collapsed: int
    trained: list[float]  # differences in points of the pairs in which no run collapsed or diverged


def paired_difference(
    paired_runs: PairedRuns, method: str, task: str, sizes: Sequence[int]
) -> PairedDifference:
    """Return the difference of a method from the baseline on one task, over the draws that have all sizes."""
    known: dict[tuple[str, str, tuple[int, ...]], PairedDifference] = paired_runs.known_differences
    key = method, task, tuple(sizes)
    if key not in known:
        known[key] = _computed(paired_runs, method, task, sizes)
    return known[key]


def _computed(
    paired_runs: PairedRuns, method: str, task: str, sizes: Sequence[int]
) -> PairedDifference:
    planned, missing, failed = 0, 0, 0
    by_size: list[list[tuple[Run, Run]]] = []
    for size in sizes:
        blocks = paired_runs.blocks[task, size]
        planned += len(blocks)
        at_size: list[tuple[Run, Run]] = []
        for first, second in (_pair(paired_runs, method, block) for block in blocks):
            if has_score(first) and has_score(second) and first.rows == second.rows:
                at_size.append((first, second))
            elif "infeasible" not in (run_status(first), run_status(second)):
                missing += 1
                failed += any(
                    not has_score(run) and run_status(run) in ("failed", "diverged", "undefined")
                    for run in (first, second)
                )
        by_size.append(at_size)
    draws = [{first.draw for first, _ in pairs} for pairs in by_size]
    complete = set.intersection(*draws) if draws else set()
    shared = common_draws(paired_runs, task, sizes)
    used = [pair for pairs in by_size for pair in pairs if pair[0].draw in complete]
    trained = [
        100 * ((first.score or 0.0) - (second.score or 0.0))
        for first, second in used
        if not (_lost(first) or _lost(second))
    ]
    return PairedDifference(
        estimates.task_difference(
            [[first for first, _ in pairs] for pairs in by_size],
            [[second for _, second in pairs] for pairs in by_size],
            paired_runs.row_tables,
        ),
        len(used),
        planned,
        sum(block.draw not in shared for size in sizes for block in paired_runs.blocks[task, size]),
        missing,
        failed,
        len(used) - len(trained),
        trained,
    )


def _lost(run: Run) -> bool:
    return (run.collapsed and run.by_steps) or run.status == "diverged"


def _pair(paired_runs: PairedRuns, method: str, block: Block) -> tuple[Run | None, Run | None]:
    return paired_runs.index.get((method, block)), paired_runs.index.get(
        (paired_runs.baseline, block)
    )


def bars_of(
    paired_runs: PairedRuns,
    method: str,
    tasks: Sequence[str],
    scope: int | None,
    pairs: Sequence[PairedDifference],
) -> Iterator[Bar]:
    """Yield what bars every claim: cells that cannot be run, pairs that are missing, cells that did not train."""
    if nowhere := _infeasible(paired_runs, (method, paired_runs.baseline), tasks, scope):
        yield Bar("infeasible", *nowhere)
    missing = sum(pair.missing for pair in pairs)
    if missing:
        failed = sum(pair.failed for pair in pairs)
        because = f", {failed} because runs have no score" if failed else ""
        verb = "is" if missing == 1 else "are"
        text = f"{missing} of {sum(pair.planned for pair in pairs)} pairs {verb} missing{because}"
        yield Bar("incomplete", text, "run the same command again, or leave out tasks with --tasks")
    scales = [paired_runs.metrics[task] for task in tasks if task in paired_runs.metrics]
    unlike = len(set(scales)) > 1 and any(math.isinf(low) for low, _ in map(bounds, scales))
    # Errors have the unit of the labels, which two tasks need not share.
    if unlike or (len(scales) > 1 and any(IN_UNITS_OF_LABELS & set(names) for names in scales)):
        yield Bar(
            "scales", "the scores of the tasks have no common scale", "choose tasks with --tasks"
        )
    for name in (method, paired_runs.baseline):
        failures = [
            f"{name} did not train on {task} size {size} ({failure})"
            for task in tasks
            for size in sizes_of(paired_runs, task, scope)
            if (failure := paired_runs.untrained.get((name, task, size)))
        ]
        if failures:
            more = (
                f" (and in {plural(len(failures) - 1, 'more cell')})" if len(failures) > 1 else ""
            )
            yield Bar("untrained", f"{failures[0]}{more}", "raise --steps or the learning rate")


def _infeasible(
    paired_runs: PairedRuns, methods: Sequence[str], tasks: Sequence[str], scope: int | None
) -> tuple[str, str] | None:
    """Return which method cannot be run where, and what to leave out; None if every method can be run.

    Args:
        paired_runs: The runs.
        methods: The two methods of a comparison.
        tasks: The tasks of the comparison.
        scope: Its size; None: all sizes.
    """
    cells = [
        (method, task, size)
        for method in methods
        for task in tasks
        for size in sizes_of(paired_runs, task, scope)
        if any(
            run is not None and run.status == "infeasible"
            for run in paired_runs.runs(method, task, size)
        )
    ]
    if not cells:
        return None
    method, task, size = cells[0]
    more = f" (and in {plural(len(cells) - 1, 'more cell')})" if len(cells) > 1 else ""
    lost_tasks, lost_sizes = {cell[1] for cell in cells}, {cell[2] for cell in cells}
    options = [
        f"--{what} {','.join(map(str, kept))}"
        for what, kept in (
            ("sizes", [size for size in paired_runs.sizes if size not in lost_sizes]),
            ("tasks", [task for task in paired_runs.tasks if task not in lost_tasks]),
        )
        if kept
    ]
    names = ", ".join(dict.fromkeys(cell[0] for cell in cells))
    advice = (
        f"report with {' or '.join(options)}" if options else f"leave out {names} with --methods"
    )
    return f"{method} cannot be run on {task} size {size}{more}", advice


def unequal_draws(paired_runs: PairedRuns) -> dict[str, str]:
    """Return how many draws each size of a task has, for the tasks whose sizes have different draws."""
    return {
        task: _described(paired_runs, task)
        for task in paired_runs.tasks
        if len(common_draws(paired_runs, task, sizes_of(paired_runs, task, None)))
        < draw_count(paired_runs, task, None)
    }


def _described(paired_runs: PairedRuns, task: str) -> str:
    """Return `rte (6 draws at size 50, 4 draws at size 200: 4 in common)`."""
    sizes = [
        f"{plural(draw_count(paired_runs, task, size), 'draw')} at size {size}"
        for size in sizes_of(paired_runs, task, None)
    ]
    common = len(common_draws(paired_runs, task, sizes_of(paired_runs, task, None)))
    return f"{task} ({', '.join(sizes)}: {common} in common)"
