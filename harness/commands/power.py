"""`bench plan --detect`: the number of draws that detects a difference, from a known or an assumed variance."""

import math
from collections.abc import Iterator
from pathlib import Path

from harness.commands.stored_runs import ResultQuery, comparison_of
from harness.errors import UsageError
from harness.ledger.database import display_name, is_url
from harness.study import request
from harness.study.grid_options import GridOptions
from harness.wording import duration, plural
from reports.analysis.contrasts import Contrast
from reports.statistics.conventions import ALPHA
from reports.statistics.sample_size import MOST, draws_needed


def show_draws(grid: GridOptions, db: str, detect: str | None, spread: str | None) -> None:
    """Print how many draws detect a difference.

    Raises:
        UsageError: As for `lines`; or --spread is given without --detect.
    """
    if detect is None:
        raise UsageError("--spread needs --detect POINTS")
    checked, _ = request.read(grid)
    tasks, methods = len(checked.tasks), len(checked.methods)
    for line in lines(detect, spread, tasks=tasks, methods=methods, query=ResultQuery(db=db)):
        print(line)  # noqa: T201


def lines(
    detect: str, spread: str | None, *, tasks: int, methods: int, query: ResultQuery
) -> Iterator[str]:
    """Yield one line for an assumed variance, or one for each comparison in the database.

    Args:
        detect: The difference to detect, in points.
        spread: The standard deviation of the difference in one draw, in points; None: as in the
            database.
        tasks: The number of planned tasks.
        methods: The number of planned methods; all but one are compared with that one.
        query: The results that give the variance.

    Raises:
        UsageError: A number is wrong, or there are no results to take a variance from.
    """
    points = _points("--detect", detect)
    if spread is not None:
        noise = _points("--spread", spread) ** 2
        needed = draws_needed(
            points,
            tasks=tasks,
            sd=noise**0.5 if tasks == 1 else 0.0,
            noise=noise,
            draws=1,
            alpha=ALPHA / max(methods - 1, 1),
        )
        yield _answer(
            plural(tasks, "task"),
            tasks,
            points,
            needed,
            "; tasks are assumed not to differ" if tasks > 1 else "",
        )
        return
    if not is_url(query.db) and not Path(query.db).exists():
        raise UsageError(
            f"--detect: there is no {query.db} to estimate a variance from; state one with --spread POINTS"
        )
    tests = [test for test in comparison_of(query, None).family("overall") if test.n > 1]
    if not tests:
        raise UsageError(
            f"--detect: {display_name(query.db)} compares no two methods; state a variance with --spread POINTS"
        )
    for test in tests:
        yield _line(test, points)


def _line(test: Contrast, points: float) -> str:
    """Return the answer for one comparison of the database."""
    tasks = test.n if test.unit == "tasks" else 1
    subject = f"{test.method} over {test.baseline}, {plural(test.n, test.unit.removesuffix('s'))}"
    if test.reach == 0:
        return (
            f"{subject}: draws share held-out rows here, so more draws add less and less information; "
            "a test file (--test) would help"
        )
    if math.isnan(test.noise):
        return (
            f"{subject}: a single draw does not show how much draws differ; "
            "run a few, or state it with --spread POINTS"
        )
    needed = draws_needed(
        points,
        tasks=tasks,
        sd=test.sd,
        noise=test.noise,
        draws=test.draws_mean,
        alpha=ALPHA / max(test.m, 1),
    )
    cost = ""
    if needed <= MOST:
        seconds = test.seconds * max(needed - test.draws_mean, 0)
        cost = f"; the missing ones take {duration(seconds)} of device time"
    return _answer(subject, tasks, points, needed, f" (the database has {test.draws[0]}{cost})")


def _answer(subject: str, tasks: int, points: float, needed: float, remark: str) -> str:
    """Return a sentence with the number of draws.

    Args:
        subject: What is compared.
        tasks: The number of tasks.
        points: The difference to detect.
        needed: The number of draws; infinite or NaN if none is enough.
        remark: What follows the number.
    """
    difference = f"{points:g} {'point' if points == 1 else 'points'}"
    impossible = f"{subject}: no number of draws detects {difference}"
    if math.isnan(needed) and tasks > 1:
        return f"{impossible}, since {tasks} tasks allow no p of .05{remark}; use more tasks"
    if math.isnan(needed):
        return f"{subject}: the draws in the database do not differ{remark}"
    if math.isinf(needed) and tasks > 1:
        return f"{impossible}, since tasks differ too much{remark}; use more tasks"
    if needed > MOST:
        return f"{subject}: more than {MOST:,} draws detect {difference}{remark}"
    verb = "detects" if needed == 1 else "detect"
    return (
        f"{subject}: {plural(int(needed), 'draw')} {verb} {difference} with a power of 80 %{remark}"
    )


def _points(option: str, text: str) -> float:
    try:
        value = float(text)
        if not 0 < value <= 100:
            raise ValueError
    except ValueError:
        raise UsageError(f"{option} must be points between 0 and 100, got {text!r}") from None
    return value
