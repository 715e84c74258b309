"""`bench plan --detect`: the number of draws that detects a difference, from a known or an assumed variance."""

import math
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UsageError
from harness.ledger.database import display_name, is_url
from harness.results.query import ResultQuery
from harness.results.runs import comparison_of
from harness.study import request
from harness.study.grid_options import GridOptions
from harness.wording import duration, plural
from reports.analysis.contrasts import Contrast, draws_needed
from reports.analysis.inferences import FEWEST_TASKS, Inference, fewest_draws, fewest_draws_at
from reports.statistics.conventions import ALPHA
from reports.statistics.sample_size import MOST, DrawsNeeded, Variance, draws_on_these_tasks

TEST_ROWS = (300, 1000, 2000)  # of a task, for an assumed variance
# Share of the test rows on which two methods differ in every draw. In `results.db.example` the quartiles
# over pairs, tasks and sizes are .004, .018 and .045.
DISAGREEMENT = 0.05


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
    """Yield a line for each number of test rows, or for each claim of a comparison in the database.

    Args:
        detect: The difference to detect, in points.
        spread: The standard deviation of the difference in one draw, in points; None: both variances are
            those of the database.
        tasks: The number of planned tasks.
        methods: The number of planned methods; all but one are compared with that one.
        query: The results that give the variance.

    Raises:
        UsageError: A number is wrong, or there are no results to take a variance from.
    """
    points = _points("--detect", detect)
    if spread is not None:
        variance = _points("--spread", spread) ** 2
        for rows in TEST_ROWS:
            level = ALPHA / max(methods - 1, 1)
            needed = draws_on_these_tasks(
                points,
                draw=Variance(variance / tasks, math.inf),
                rows=Variance(100**2 * DISAGREEMENT / rows / tasks, math.inf),
                tasks=tasks,
                alpha=level,
            )
            needed = _at_least(needed, fewest_draws_at(level, tasks))
            yield _answer(f"on {plural(tasks, 'task')} with {rows} test rows", points, needed)
        yield (
            f"This assumes that draw after draw the same {DISAGREEMENT:.0%} of the test rows are answered "
            "differently by the two methods."
        )
        return
    if not is_url(query.db) and not Path(query.db).exists():
        raise UsageError(
            f"--detect: there is no {query.db} to estimate a variance from; state one with --spread POINTS"
        )
    tests = [test for test in comparison_of(query, None).family("overall") if test.pairs]
    if not tests:
        raise UsageError(
            f"--detect: {display_name(query.db)} compares no two methods; state a variance with --spread POINTS"
        )
    for test in tests:
        for claim in test.inferences:
            yield _line(test, claim, points)


def _line(test: Contrast, claim: Inference, points: float) -> str:
    """Return the answer for one claim of a comparison in the database."""
    subject = f"{test.method} minus {test.baseline}, {claim.population}"
    if math.isnan(test.noise.value):
        return (
            f"{subject}: a single draw does not show how much draws differ; "
            "run a few, or state it with --spread POINTS"
        )
    if test.noise.value == 0:
        return f"{subject}: the draws in the database do not differ"
    if claim.population == "other tasks" and claim.n < FEWEST_TASKS:
        return f"{subject}: a claim takes at least {FEWEST_TASKS} tasks; the database has {claim.n}"
    needed = _at_least(draws_needed(test, claim, points), fewest_draws(test.these))
    cost = ""
    if test.draws_mean < needed.high <= MOST:
        seconds = test.seconds * (needed.high - test.draws_mean)
        cost = f"; the missing ones take at most {duration(seconds)} of device time"
    return f"{_answer(subject, points, needed)} (the database has {test.draws[0]}{cost})"


def _at_least(needed: DrawsNeeded, draws: int) -> DrawsNeeded:
    """Return the numbers of draws that detect a difference and that a claim takes."""
    return DrawsNeeded(*(number if math.isnan(number) else max(number, draws) for number in needed))


def _answer(subject: str, points: float, needed: DrawsNeeded) -> str:
    """Return a sentence with the number of draws that detect a difference."""
    difference = f"{points:g} {'point' if points == 1 else 'points'}"
    low, high = needed
    if math.isnan(low):
        return f"{subject}: these tasks allow no p of .05; use more tasks"
    if math.isinf(low):
        return f"{subject}: no number of draws detects {difference}; use more tasks or test rows"
    if low > MOST:
        return f"{subject}: more than {MOST:,} draws detect {difference}"
    many = f"{low:.0f} to {high:.0f}" if low < high <= MOST else f"{low:.0f}"
    many += " or more" if high > MOST else ""
    verb = "detects" if many == "1" else "detect"
    remark = "" if low == high else " (90 % interval)"
    return f"{subject}: {many} draw{'s' * (many != '1')} {verb} {difference} with a power of 80 %{remark}"


def _points(option: str, text: str) -> float:
    try:
        value = float(text)
        if not 0 < value <= 100:
            raise ValueError
    except ValueError:
        raise UsageError(f"{option} must be points between 0 and 100, got {text!r}") from None
    return value
