"""The difference between a method and the baseline on one task, from the blocks that both finished."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis import estimates
from reports.analysis.estimates import TaskEstimate
from reports.analysis.paired_runs import Block, PairedRuns
from reports.analysis.run import Run, has_score, run_status


@dataclass(frozen=True)
class PairedDifference:
    """The difference on one task, and the number of blocks behind it."""

    estimate: TaskEstimate
    used: int
    planned: int
    failed: int
    collapsed: int
    trained: list[float]  # differences in points of the pairs in which no run collapsed or diverged


def paired_difference(
    paired_runs: PairedRuns, method: str, task: str, sizes: Sequence[int]
) -> PairedDifference:
    """Return the difference of a method from the baseline on one task, over the draws that have all sizes."""
    planned, failed = 0, 0
    by_size: list[list[tuple[Run, Run]]] = []
    for size in sizes:
        blocks = paired_runs.blocks[task, size]
        planned += len(blocks)
        at_size: list[tuple[Run, Run]] = []
        for first, second in (_pair(paired_runs, method, block) for block in blocks):
            if has_score(first) and has_score(second) and first.rows == second.rows:
                at_size.append((first, second))
            else:
                failed += any(
                    not has_score(run) and run_status(run) in ("failed", "diverged", "undefined")
                    for run in (first, second)
                )
        by_size.append(at_size)
    draws = [{first.draw for first, _ in pairs} for pairs in by_size]
    complete = set.intersection(*draws) if draws else set()
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
        ),
        len(used),
        planned,
        failed,
        len(used) - len(trained),
        trained,
    )


def _lost(run: Run) -> bool:
    return run.collapsed or run.status == "diverged"


def _pair(paired_runs: PairedRuns, method: str, block: Block) -> tuple[Run | None, Run | None]:
    return paired_runs.index.get((method, block)), paired_runs.index.get(
        (paired_runs.baseline, block)
    )
