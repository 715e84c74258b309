"""Trials of whole verdicts: runs whose true effects are known go through the arrangement and the contrasts.

Each public function returns a trial for `tests.benchmarks.coverage`: whether an interval holds the
truth, or whether a report makes a claim that is false.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from reports.analysis.contrasts import Contrast, contrasts, draws_needed, overall_contrasts
from reports.analysis.hypothesis import Hypothesis
from reports.analysis.inferences import adjust, on_other_tasks
from reports.analysis.paired_runs import pair_runs
from reports.analysis.run import Run
from reports.analysis.training_failures import training_failures
from reports.statistics.conventions import ALPHA
from reports.statistics.looks import undeclared_level
from reports.statistics.sample_size import MOST, Variance, draws_on_these_tasks
from tests.support.simulated_runs import Study, simulate, simulate_errors, simulate_sets

Trial = Callable[[np.random.Generator], int]
SKEW = 3.0  # points: standard deviation of the true differences of skewed tasks


def tests_of(runs: list[Run]) -> list[Contrast]:
    return contrasts(pair_runs(runs, baseline="base"))


def names(methods: int) -> list[str]:
    return ["base", *(f"other-{number}" for number in range(1, methods))]


def covered(study: Study) -> Trial:
    """Whether the interval of a method that does not differ holds 0."""

    def trial(rng: np.random.Generator) -> bool:
        (test,) = tests_of(simulate(rng, study))
        return test.these.low <= 0 <= test.these.high

    return trial


def settled(study: Study) -> Trial:
    """Whether a single comparison is settled."""
    return lambda rng: tests_of(simulate(rng, study))[0].settled


def settled_errors(*, draws: int, rows: int) -> Trial:
    """Whether two methods with equal errors on log-normal labels are claimed to differ by RMSE."""
    return lambda rng: tests_of(simulate_errors(rng, draws=draws, rows=rows))[0].settled


def settled_sets(*, draws: int, rows: int, metric: str, recalls: Sequence[float]) -> Trial:
    """Whether two methods with equal expected scores on a multilabel task are claimed to differ."""

    def trial(rng: np.random.Generator) -> bool:
        made = simulate_sets(rng, draws=draws, rows=rows, metric=metric, recalls=recalls)
        return tests_of(made)[0].settled

    return trial


def settled_after_the_end(study: Study, seeds: int) -> Trial:
    """Whether a declared study is settled at its end, or after seeds were added to it, one by one."""
    hypothesis = Hypothesis("other", "base", max_draws=study.draws)

    def trial(rng: np.random.Generator) -> bool:
        runs = [
            replace(run, draw=run.draw % study.draws, seed=run.draw // study.draws)
            for run in simulate(rng, replace(study, draws=study.draws * seeds))
        ]
        for count in range(1, seeds + 1):
            looks = tuple(study.draws * before for before in range(1, count))
            seen = [
                replace(run, looks=looks, look_draws=(study.draws,) * len(looks))
                for run in runs
                if run.seed < count
            ]
            paired_runs = pair_runs(seen, baseline="base", hypothesis=hypothesis)
            if overall_contrasts(paired_runs)[0].settled:
                return True
        return False

    return trial


def power_lost(study: Study, fixed: Study) -> Trial:
    """1 if only the study with a fixed test file is settled, -1 if only the one with held-out rows is, else 0."""

    def trial(rng: np.random.Generator) -> int:
        return settled(fixed)(rng) - settled(study)(rng)

    return trial


def need_covered(study: Study, points: float) -> Trial:
    """Whether the interval of the draws needed to detect `points` holds the number that the true variances need."""
    truth = _true_need(study, points)

    def trial(rng: np.random.Generator) -> bool:
        (test,) = tests_of(simulate(rng, study))
        need = draws_needed(test, test.these, points)
        return need.low <= truth() <= need.high

    return trial


def called_impossible(study: Study, points: float) -> Trial:
    """Whether the report says that no number of draws detects `points`, although the true variances allow it."""
    truth = _true_need(study, points)

    def trial(rng: np.random.Generator) -> bool:
        (test,) = tests_of(simulate(rng, study))
        return math.isfinite(truth()) and draws_needed(test, test.these, points).low > MOST

    return trial


def _true_need(study: Study, points: float) -> Callable[[], float]:
    """Return a function that returns the number of draws that the expected variances need."""

    @cache
    def truth() -> float:
        rng = np.random.default_rng(1)
        tests = [tests_of(simulate(rng, study))[0] for _ in range(400)]
        draw = Variance(float(np.mean([test.noise.value for test in tests])), math.inf)
        rows = Variance(float(np.mean([test.fixed for test in tests])), math.inf)
        level = undeclared_level(2)  # of the next look
        return draws_on_these_tasks(points, draw=draw, rows=rows, alpha=level).low

    return truth


def any_mark(study: Study, *, tasks: int, sizes: int) -> Trial:
    """Whether a report of methods that do not differ shows an arrow anywhere."""

    def trial(rng: np.random.Generator) -> bool:
        runs = [
            run
            for task in range(tasks)
            for size in range(1, sizes + 1)
            for run in simulate(rng, study, task=f"task-{task}", size=100 * size)
        ]
        return any(test.marked for test in tests_of(runs))

    return trial


def any_claim(study: Study, *, tasks: int, methods: int) -> Trial:
    """Whether a report of methods that do not differ settles any overall comparison."""

    def trial(rng: np.random.Generator) -> bool:
        runs = [
            run
            for task in range(tasks)
            for run in simulate(rng, study, task=f"task-{task}", methods=names(methods))
        ]
        return any(test.settled for test in tests_of(runs) if test.family == "overall")

    return trial


def claim_for_other_tasks(study: Study, *, tasks: int, methods: int) -> Trial:
    """Whether a report claims a difference for other tasks, whose true differences have mean 0 and a skew of 2."""

    def trial(rng: np.random.Generator) -> bool:
        runs = []
        for task in range(tasks):
            for number, method in enumerate(names(methods)):
                gain = 0.0 if number == 0 else SKEW * (1 - rng.exponential())
                made = simulate(
                    rng, replace(study, gain=gain), task=f"task-{task}", methods=("base", method)
                )
                runs += [run for run in made if run.method == method or number == 1]
        return any(test.others and test.others.settled for test in tests_of(runs))

    return trial


def claim_from_exact_means(*, tasks: int) -> Trial:
    """Whether tasks without noise, whose differences have mean 0 and a skew of 2, support a claim for other tasks."""

    def trial(rng: np.random.Generator) -> bool:
        (claim,) = adjust([on_other_tasks(1 - rng.exponential(size=tasks), [], ALPHA)], "Holm")
        return claim.settled

    return trial


def any_look(study: Study, looks: Sequence[int], *, declared: bool, tasks: int = 1) -> Trial:
    """Whether a comparison of methods that do not differ is settled at any of several looks."""
    maximum = looks[-1] if declared else 0
    hypothesis = Hypothesis("other", "base", max_draws=maximum) if declared else None

    def trial(rng: np.random.Generator) -> bool:
        runs = [
            run
            for task in range(tasks)
            for run in simulate(rng, replace(study, draws=looks[-1]), task=f"task-{task}")
        ]
        for number, draws in enumerate(looks):
            seen = [replace(run, looks=tuple(looks[:number])) for run in runs if run.draw < draws]
            paired_runs = pair_runs(seen, baseline="base", hypothesis=hypothesis)
            if overall_contrasts(paired_runs)[0].settled:
                return True
        return False

    return trial


def trained_but_barred(*, cells: int, draws: int, dev_sd: float) -> Trial:
    """Whether any cell of two methods counts as untrained although all dev curves are flat."""

    def trial(rng: np.random.Generator) -> bool:
        study = Study(draws=draws, rows=20)
        runs = [
            replace(
                run, curve=[(50 * step, 0.8 + rng.normal(0, dev_sd / 100)) for step in (1, 2, 3)]
            )
            for cell in range(cells)
            for run in simulate(rng, study, task=f"task-{cell}")
        ]
        return bool(training_failures(runs))

    return trial
