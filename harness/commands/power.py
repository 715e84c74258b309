"""What `plan --detect` says: how many draws a difference needs, from the variance of results at hand or a stated one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from harness.commands.stored_runs import ResultQuery, comparison_of
from harness.errors import UsageError
from harness.ledger.database import is_url, shown
from harness.scheduling.display import duration
from harness.study import request
from harness.study.grid_options import GridOptions
from reports.analysis.contrasts import Contrast
from reports.statistics import paired_tests
from reports.statistics.sample_size import MOST, draws_needed


def show_draws(grid: GridOptions, db: str, detect: str | None, spread: str | None) -> None:
    """`bench plan --detect`.

    Raises:
        UsageError: as `lines`; or there is a variance and nothing to detect.
    """
    if detect is None:
        raise UsageError("--spread belongs to --detect POINTS")
    wanted, _ = request.read(grid)
    query = ResultQuery(db=db)
    for line in lines(
        detect, spread, tasks=len(wanted.tasks), methods=len(wanted.methods), query=query
    ):
        print(line)  # noqa: T201  # the answer


def lines(
    detect: str, spread: str | None, *, tasks: int, methods: int, query: ResultQuery
) -> Iterator[str]:
    """The answer, a line for each comparison that results are at hand for; or one, from a stated variance.

    Args:
        detect: points that should be found.
        spread: standard deviation of the difference in a single draw, in points; None: as in the
            ledger.
        tasks: how many are planned.
        methods: how many are planned; all but one are compared with that one.
        query: where results are.

    Raises:
        UsageError: no numbers, or nothing to take a variance from.
    """
    points = _points("--detect", detect)
    if spread is not None:
        noise = _points("--spread", spread) ** 2
        alpha = paired_tests.ALPHA / max(methods - 1, 1)
        needed = draws_needed(
            points,
            tasks=tasks,
            sd=noise**0.5 if tasks == 1 else 0.0,
            noise=noise,
            draws=1,
            alpha=alpha,
        )
        yield _said(
            f"{tasks} task{'' if tasks == 1 else 's'}",
            tasks,
            points,
            needed,
            "; tasks are taken not to differ" * (tasks > 1),
        )
        return
    if not is_url(query.db) and not Path(query.db).exists():
        raise UsageError(
            f"--detect: there is no {query.db} to take a variance from; state one with --spread POINTS"
        )
    tests = [test for test in comparison_of(query, None).family("overall") if test.n > 1]
    if not tests:
        raise UsageError(
            f"--detect: {shown(query.db)} compares no two methods; state a variance with --spread POINTS"
        )
    for test in tests:
        yield _line(test, points)


def _line(test: Contrast, points: float) -> str:
    alpha = paired_tests.ALPHA / max(test.m, 1)
    over = test.n if test.unit == "tasks" else 1
    where = f"{test.method} over {test.baseline}, {test.n} {test.unit}"
    if test.reach == 0:
        return f"{where}: draws share held-out rows here, so more of them tell less and less; a test file (--test) would help"
    if math.isnan(test.noise):
        return f"{where}: a single draw does not tell how much draws differ; run a few, or state it with --spread POINTS"
    needed = draws_needed(
        points, tasks=over, sd=test.sd, noise=test.noise, draws=test.draws_mean, alpha=alpha
    )
    more = (
        f"; {duration(test.seconds * max(needed - test.draws_mean, 0))} of device time more"
        if needed <= MOST
        else ""
    )
    return _said(where, over, points, needed, f" (there are {test.draws[0]}{more})")


def _said(where: str, tasks: int, points: float, needed: float, tail: str) -> str:
    what = f"{points:g} point{'' if points == 1 else 's'}"
    if math.isnan(needed):
        few = (
            f"no number of draws: over {tasks} tasks no p of .05 is possible"
            if tasks > 1
            else "the draws at hand do not differ"
        )
        return f"{where}: {few}{tail}{'; more tasks would do' if tasks > 1 else ''}"
    if needed > MOST and tasks > 1 and math.isinf(needed):
        return f"{where}: no number of draws detects {what}, as tasks differ too much{tail}; more tasks would"
    if needed > MOST:
        return f"{where}: more than {MOST:,} draws detect {what}{tail}"
    return f"{where}: {needed} draws detect {what} with a power of 80 %{tail}"


def _points(option: str, text: str) -> float:
    try:
        value = float(text)
        if not 0 < value <= 100:
            raise ValueError
    except ValueError:
        raise UsageError(f"{option} wants points between 0 and 100, got {text!r}") from None
    return value
