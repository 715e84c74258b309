"""The rate at which each test is wrong and each interval covers, on simulated scores whose truth is known.

    python -m tests.benchmarks.coverage [--runs N]
    python -m tests.benchmarks.coverage --verdicts --runs 5000 --workers 2

Differences are in points. Draws are normal with a standard deviation of 2 unless it says
"collapsing": there one draw in six loses 10 points, as few-shot training does. "Tasks sd 1" is how
much true effects differ from task to task. `~` is an approximation, which may be off by its slack;
the rest are exact, and the nominal rate is theirs to keep.
"""

import argparse
import math
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reports.statistics import intervals
from reports.statistics.conventions import ALPHA
from reports.statistics.equivalence import equivalence
from reports.statistics.random_effects import random_effects
from reports.statistics.sign_flip import sign_flip
from tests.support import verdicts
from tests.support.simulated_runs import Study

SD, LEVEL, TASKS = 2.0, 0.95, 8
Trial = Callable[[np.random.Generator], int]


@dataclass(frozen=True, kw_only=True)
class Procedure:
    """A test or an interval in one setting, and the rate that it promises."""

    name: str
    setting: str
    kind: Literal["false positives", "coverage", "least coverage", "false claims"]
    nominal: float  # the lowest that is allowed for least coverage, the highest for false claims
    trial: Trial  # whether the test rejected, or the interval held the truth
    slack: float = 0.0  # how far an approximation is known to be off
    cost: int = 1  # in trials of the cheap ones

    def __str__(self) -> str:
        return f"{self.name}, {self.setting}"

    def measure(self, runs: int) -> tuple[float, float]:
        """The rate over `runs` trials of a fixed stream, and its Monte-Carlo standard error if the promise is kept."""
        rng = np.random.default_rng(
            zlib.crc32(str(self).encode())
        )  # one stream for all would make their errors alike
        rate = sum(self.trial(rng) for _ in range(runs)) / runs
        return rate, math.sqrt(self.nominal * (1 - self.nominal) / runs)

    def kept(self, rate: float, runs: int) -> bool:
        """Whether a rate found in `runs` trials is within four standard errors of what may be."""
        error = math.sqrt(self.nominal * (1 - self.nominal) / runs)
        if self.kind == "false claims":
            return rate <= self.nominal + 4 * error
        if self.kind == "least coverage":
            return rate >= self.nominal - 4 * error
        return abs(rate - self.nominal) <= self.slack + 4 * error


def attainable(n: int) -> float:
    """The largest rate at or below .05 at which `n` flipped signs can reject."""
    return 2 * math.floor(ALPHA * 2 ** (n - 1)) / 2**n


def normal(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, SD, shape)


def collapsing(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    return normal(rng, shape) - 10 * (rng.random(shape) < 1 / 6) + 10 / 6


def tasks(rng: np.random.Generator, draws: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """The true effects (tasks,) around zero and the differences measured (tasks, draws)."""
    truth = rng.normal(0, spread, TASKS) if spread else np.zeros(TASKS)
    return truth, truth[:, None] + normal(rng, (TASKS, draws)) * np.linspace(0.5, 1.5, TASKS)[
        :, None
    ]


def covered_by_t(draws: int, make: Callable[..., np.ndarray] = normal) -> Trial:
    def trial(rng: np.random.Generator) -> bool:
        interval = intervals.t_interval(make(rng, draws))
        return interval.low <= 0 <= interval.high

    return trial


def rejected(
    test: Callable[[np.ndarray], float], n: int, make: Callable[..., np.ndarray] = normal
) -> Trial:
    return lambda rng: test(make(rng, n)) <= ALPHA


def covered_by_strata(draws: int, spread: float) -> Trial:
    def trial(rng: np.random.Generator) -> bool:
        truth, values = tasks(rng, draws, spread)
        interval = intervals.pooled(
            [intervals.over_draws(draws_of_task) for draws_of_task in values]
        )
        return interval.low <= truth.mean() <= interval.high

    return trial


def rejected_over_tasks(spread: float) -> Trial:
    return lambda rng: sign_flip(tasks(rng, 5, spread)[1].mean(axis=1)) <= ALPHA


def covered_by_task_means(spread: float) -> Trial:
    def trial(rng: np.random.Generator) -> bool:
        interval = intervals.t_interval(tasks(rng, 5, spread)[1].mean(axis=1))
        return interval.low <= 0 <= interval.high

    return trial


def predicted(draws: int, spread: float) -> Trial:
    def trial(rng: np.random.Generator) -> bool:
        _, values = tasks(rng, draws, spread)
        found = random_effects(values.mean(axis=1), values.var(axis=1, ddof=1) / draws)
        return found.predicted_low <= rng.normal(0, spread) <= found.predicted_high

    return trial


def equal(margin: float, n: int) -> Trial:
    return lambda rng: equivalence(margin + normal(rng, n), margin=margin).equivalent


def holds(
    name: str,
    setting: str,
    trial: Trial,
    *,
    nominal: float = LEVEL,
    slack: float = 0.0,
    cost: int = 1,
) -> Procedure:
    return Procedure(
        name=name,
        setting=setting,
        kind="coverage",
        nominal=nominal,
        trial=trial,
        slack=slack,
        cost=cost,
    )


def alarms(
    name: str,
    setting: str,
    trial: Trial,
    *,
    nominal: float = ALPHA,
    slack: float = 0.0,
    cost: int = 1,
) -> Procedure:
    return Procedure(
        name=name,
        setting=setting,
        kind="false positives",
        nominal=nominal,
        trial=trial,
        slack=slack,
        cost=cost,
    )


def at_least(name: str, setting: str, trial: Trial, lowest: float, *, cost: int = 1) -> Procedure:
    return Procedure(
        name=name, setting=setting, kind="least coverage", nominal=lowest, trial=trial, cost=cost
    )


def at_most(name: str, setting: str, trial: Trial, highest: float, *, cost: int = 1) -> Procedure:
    return Procedure(
        name=name, setting=setting, kind="false claims", nominal=highest, trial=trial, cost=cost
    )


ONE_CELL = (
    *(holds("t interval", f"{n} draws", covered_by_t(n)) for n in (5, 10, 20)),
    *(
        holds("t interval", f"{n} draws, collapsing", covered_by_t(n, collapsing), slack=0.1)
        for n in (5, 10, 20)
    ),
    *(
        alarms("sign flip", f"{n} draws", rejected(sign_flip, n), nominal=attainable(n))
        for n in (5, 6, 10, 20)
    ),
    alarms("sign flip, sampled", "25 draws", rejected(sign_flip, 25), cost=10),
    alarms(
        "sign flip",
        "10 draws, collapsing",
        rejected(sign_flip, 10, collapsing),
        nominal=attainable(10),
        slack=0.08,
    ),
    *(
        alarms("equivalence", f"10 draws, at the margin of {m}", equal(m, 10), slack=0.04)
        for m in (1, 4)
    ),
)
TWO_METHODS = (
    *(
        holds(
            "stratified t, E1",
            f"8 tasks sd {spread}, {draws} draws",
            covered_by_strata(draws, spread),
            slack=0.01,
        )
        for draws in (5, 10, 20)
        for spread in (0, 2)
    ),
    *(
        alarms(
            "sign flip over tasks, E3",
            f"8 tasks sd {spread}, 5 draws",
            rejected_over_tasks(spread),
            nominal=attainable(TASKS),
        )
        for spread in (0, 1, 2)
    ),
    *(
        holds(
            "t over task means, E3",
            f"8 tasks sd {spread}, 5 draws",
            covered_by_task_means(spread),
            slack=0.01,
        )
        for spread in (0, 1, 2)
    ),
    *(
        holds(
            "prediction, one more task",
            f"8 tasks sd {spread}, {draws} draws",
            predicted(draws, spread),
            slack=0.05,
        )
        for draws in (5, 20)
        for spread in (1, 2)
    ),
)
# From arranged runs to the verdict.
VERDICTS = (
    *(
        at_least(
            "these tasks",
            f"{draws} draws, {rows} rows, draw sd {by_draw}",
            verdicts.covered(Study(draws=draws, rows=rows, by_draw=by_draw)),
            0.94,
            cost=2,
        )
        for draws in (5, 10, 20, 50)
        for rows in (200, 2000)
        for by_draw in (0.05, 0.15, 0.4)
    ),
    *(
        holds(
            "these tasks, held-out rows",
            f"{draws} draws, file of {rows} rows",
            verdicts.covered(Study(draws=draws, rows=rows, holdout=True)),
            slack=0.02,
            cost=2,
        )
        for draws in (5, 10)
        for rows in (200, 1000, 2000)
    ),
    *(
        holds(
            "these tasks, groups",
            f"groups of {group}, held out: {holdout}",
            verdicts.covered(
                Study(draws=10, rows=600 * (4 if holdout else 1), group=group, holdout=holdout)
            ),
            slack=0.02,
            cost=3,
        )
        for group in (3, 10)
        for holdout in (False, True)
    ),
    *(
        at_most(
            "claim with one large group",
            f"{largest:.0%} of the rows, {draws} draws",
            verdicts.settled(Study(draws=draws, rows=500, group=5, largest=largest)),
            0.06,
            cost=3,
        )
        for largest in (0.1, 0.5)
        for draws in (10,)
    ),
    *(
        at_most(
            "claim with uneven groups",
            f"{large} groups of 50, {rows} rows",
            verdicts.settled(Study(draws=10, rows=rows, large=large, by_method=by_method)),
            0.06,
            cost=3,
        )
        for large, rows, by_method in ((3, 400, 1.0), (3, 2000, 0.5))
    ),
    *(
        at_most(
            "claim on skewed errors",
            f"10 draws, {rows} rows, RMSE",
            verdicts.settled_errors(draws=10, rows=rows),
            0.06,
            cost=3,
        )
        for rows in (100, 500, 2000)
    ),
    *(
        at_most(
            "claim on a multilabel task",
            f"{draws} draws, {rows} rows, {metric}, recall {recalls[0]} and {recalls[1]}",
            verdicts.settled_sets(draws=draws, rows=rows, metric=metric, recalls=recalls),
            0.06,
            cost=3,
        )
        for draws, rows, metric, recalls in (
            (5, 100, "micro-f1", (0.75, 0.75)),
            (10, 500, "micro-f1", (0.75, 0.75)),
            (10, 100, "micro-f1", (0.6, 0.9)),
            (10, 500, "micro-f1", (0.6, 0.9)),
            (10, 100, "macro-f1", (0.75, 0.75)),
            (10, 500, "macro-f1", (0.75, 0.75)),
        )
    ),
    at_most(
        "claim after a study ended",
        "10 draws, then 3 more seeds",
        verdicts.settled_after_the_end(Study(draws=10, rows=1000, by_draw=0.3), seeds=4),
        0.06,
        cost=5,
    ),
    *(
        at_most(
            "claim from few draws",
            f"{draws} draws, 2000 rows",
            verdicts.settled(Study(draws=draws, rows=2000)),
            0.07,
            cost=2,
        )
        for draws in (2, 3, 4)
    ),
    at_most(
        "any arrow",
        "6 tasks, 2 sizes, 20 draws",
        verdicts.any_mark(Study(draws=20, rows=300), tasks=6, sizes=2),
        0.06,
        cost=10,
    ),
    at_most(
        "any claim",
        "1 task, 11 methods, 4 draws",
        verdicts.any_claim(Study(draws=4, rows=1000, by_draw=0.3), tasks=1, methods=11),
        0.06,
        cost=10,
    ),
    at_most(
        "any claim",
        "6 tasks, 3 methods, 10 draws",
        verdicts.any_claim(Study(draws=10, rows=300), tasks=6, methods=3),
        0.06,
        cost=10,
    ),
    *(
        at_most(
            "claim for other tasks",
            f"{tasks} tasks, exponential, {methods - 1} methods",
            verdicts.claim_for_other_tasks(Study(draws=5, rows=300), tasks=tasks, methods=methods),
            0.075,
            cost=10,
        )
        for tasks in (8, 10)
        for methods in (2, 6)
    ),
    *(
        at_most(
            "claim for other tasks",
            f"{tasks} tasks, exponential, no noise",
            verdicts.claim_from_exact_means(tasks=tasks),
            0.075,
        )
        for tasks in (8, 9, 10, 12)
    ),
    *(
        at_most(
            "any of four looks",
            f"5, 10, 20, 40 draws, declared: {declared}",
            verdicts.any_look(
                Study(draws=40, rows=2000, by_draw=0.3), (5, 10, 20, 40), declared=declared
            ),
            0.06,
            cost=8,
        )
        for declared in (False, True)
    ),
    *(
        at_most(
            "power lost to held-out rows",
            f"{draws} draws, file of 2000 rows, gain 5",
            verdicts.power_lost(
                Study(draws=draws, rows=2000, gain=5.0, holdout=True),
                Study(draws=draws, rows=500, gain=5.0),
            ),
            0.05,
        )
        for draws in (5, 10, 20)
    ),
    *(
        holds(
            "draws needed, 90 % interval",
            f"{draws} draws, {rows} rows, {points} points",
            verdicts.need_covered(Study(draws=draws, rows=rows), points),
            nominal=0.9,
            slack=0.03,
        )
        for draws, rows, points in ((5, 2000, 3), (10, 2000, 3), (10, 500, 5))
    ),
    *(
        at_most(
            "called impossible",
            f"{draws} draws, {rows} rows, {points} points",
            verdicts.called_impossible(Study(draws=draws, rows=rows), points),
            0.05,
        )
        for draws, rows, points in ((5, 2000, 3), (10, 2000, 3), (10, 500, 5))
    ),
    at_most(
        "trained cells barred",
        "24 cells, 5 draws, dev sd 4 points",
        verdicts.trained_but_barred(cells=12, draws=5, dev_sd=4.0),
        0.06,
        cost=5,
    ),
)
PROCEDURES = (*ONE_CELL, *TWO_METHODS, *VERDICTS)


def measured(number: int, runs: int) -> tuple[float, float]:
    """Measure the procedure with this number; a worker process cannot be sent the procedure itself."""
    return PROCEDURES[number].measure(runs)


def main() -> int:
    """Measure procedures and print them; 1 if one is broken by more than four standard errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=10_000,
        help="trials of each cheap procedure; dear ones get fewer",
    )
    parser.add_argument(
        "--verdicts", action="store_true", help="whole verdicts only, each with all of these trials"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    numbers = [n for n, p in enumerate(PROCEDURES) if not options.verdicts or p in VERDICTS]
    counts = [
        options.runs if options.verdicts else max(200, options.runs // PROCEDURES[number].cost)
        for number in numbers
    ]
    print(f"{'':28}{'':38}{'':17}{'nominal':>8}{'found':>9}{'±':>8}{'slack':>7}{'runs':>8}")
    broken = 0
    with ProcessPoolExecutor(options.workers) as pool:
        rates = pool.map(measured, numbers, counts)
        for number, count, (rate, error) in zip(numbers, counts, rates, strict=True):
            procedure = PROCEDURES[number]
            kept = procedure.kept(rate, count)
            broken += not kept
            slack = f"~{procedure.slack:.2f}" if procedure.slack else ""
            figures = f"{procedure.nominal:8.4f}{rate:9.4f}{error:8.4f}{slack:>7}{count:8d}"
            print(
                f"{procedure.name:28}{procedure.setting:38}{procedure.kind:17}{figures}"
                f"{'' if kept else '  BROKEN'}",
                flush=True,
            )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
