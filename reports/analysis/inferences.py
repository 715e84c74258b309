"""Claims: whether a difference holds if draws, test rows or tasks are sampled again.

The interval, the p and the words of a claim speak of the same repetition.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from reports.analysis.estimates import Population, TaskEstimate, pooled
from reports.document import plural
from reports.statistics import multiple_testing
from reports.statistics.conventions import ALPHA, Array, standard_deviation
from reports.statistics.power import detectable, detectable_by_flips
from reports.statistics.sign_flip import EXACT_PAIRS, sign_flip, sign_flip_interval, smallest_p

Correction = Literal["Holm", "Benjamini-Hochberg"]

FEWEST_TASKS: Final = 8  # for a claim about other tasks
# Draws per task for a claim at a level; with fewer, the variance over draws is often estimated far too
# small, and the more so the further out in the tail the level lies.
FEWEST_DRAWS: Final = ((0.004, 4), (0.0004, 5), (0.0, 6))
NOT_STORED: Final = "the answers to single test rows are not stored"
FEWEST_GROUPS: Final = 20  # independent groups of test rows, for a claim about other rows
# p that a claim about other tasks keeps without any one of its tasks: with .10 it would never bind, and
# eight tasks of exponential skew would give false claims in 9.5 % of cases in place of 7.1 %
WITHOUT_ONE: Final = 0.07


@dataclass(frozen=True, kw_only=True)
class Inference:
    """A difference between two methods in one population; numbers are in points."""

    population: Population
    test: str
    n: int  # number of draws per task, or of tasks
    # interval (95 % at the first look), not adjusted for other comparisons; NaN if there is no interval
    low: float
    high: float
    p_raw: float
    p_adj: float = math.nan
    correction: str = ""
    m: int = 0  # number of claims that are adjusted together
    alpha: float = ALPHA  # level of this look at the data; the interval covers 1 - alpha
    smallest: float = 0.0  # smallest adjusted p that these differences allow; a tie has no sign
    reach: float = 0.0  # smallest adjusted p that this number of tasks allows
    error: float = math.nan  # standard error of the difference; for other tasks sd / sqrt(n)
    df: float = math.nan
    draws: int = 0  # least number per task
    tasks: int = 0
    mde: float = math.nan  # difference detected with a power of 80 % at .05 / m
    barred: tuple[str, ...] = ()  # why nothing may be claimed, whatever p is

    @property
    def settled(self) -> bool:
        """Whether the adjusted p is at most the level and nothing bars the claim."""
        return self.p_adj <= self.alpha and not self.barred

    @property
    def tied(self) -> bool:
        """Whether p cannot reach the level because of tasks without a difference."""
        return self.smallest > self.alpha >= self.reach


def on_these_tasks(
    estimates: Sequence[TaskEstimate], barred: Sequence[str], alpha: float
) -> Inference:
    """Return the claim about the same tasks: other draws, and other test rows if their answers are known."""
    interval, population = pooled(estimates, level=1 - alpha)
    reasons = list(barred)
    if population == "these rows":
        reasons.append(NOT_STORED)
    if population == "these tasks" and any(task.groups < FEWEST_GROUPS for task in estimates):
        reasons.append(f"fewer than {FEWEST_GROUPS} independent test rows carry the difference")
    rows = " and test rows" if population == "these tasks" else ""
    corrected = ", corrected for shared rows" if any(task.corrected for task in estimates) else ""
    return Inference(
        population=population,
        test=f"t test over draws{rows}{corrected}",
        n=(least := min((len(task.values) for task in estimates), default=0)),
        draws=least,
        tasks=len(estimates),
        low=interval.low,
        high=interval.high,
        p_raw=interval.p,
        alpha=alpha,
        error=interval.error,
        df=interval.df,
        barred=tuple(reasons),
    )


def on_other_tasks(means: Array, barred: Sequence[str], alpha: float) -> Inference:
    """Return the claim about other tasks from the mean difference (tasks,) on each of these tasks."""
    n = len(means)
    low, high = sign_flip_interval(means, alpha=alpha)
    sd = standard_deviation(means)
    p = sign_flip(means) if n > 1 else math.nan
    return Inference(
        population="other tasks",
        test=f"{'exact' if n <= EXACT_PAIRS else 'sampled'} sign flip over tasks",
        n=n,
        low=low,
        high=high,
        p_raw=p,
        alpha=alpha,
        smallest=smallest_p(int((means != 0).sum())),
        reach=smallest_p(n),
        error=sd / math.sqrt(n) if n else math.nan,
        df=n - 1,
        barred=(*barred, *_bars(means, p, alpha)),
    )


def _bars(means: Array, p: float, alpha: float) -> Iterator[str]:
    """Yield what bars a claim about other tasks, besides its p."""
    if len(means) < FEWEST_TASKS:
        yield f"fewer than {FEWEST_TASKS} tasks"
        return
    if p > alpha:  # the claim fails anyway
        return
    rest = [np.delete(means, number) for number in range(len(means))]
    if any(part.mean() * means.mean() <= 0 or sign_flip(part) > WITHOUT_ONE for part in rest):
        yield "the difference depends on a single task"


def mean_range_without_one(means: Array) -> tuple[float, float]:
    """Return the lowest and the highest mean of (tasks,) without any one of them; NaN for a single task."""
    if len(means) < 2:
        return math.nan, math.nan
    without = (means.sum() - means) / (len(means) - 1)
    return float(without.min()), float(without.max())


def coverage(claims: Iterable[Inference]) -> str:
    """Return what the intervals of the claims cover, such as `95 %`, and at later looks more."""
    levels = sorted({round(100 * (1 - claim.alpha), 1) for claim in claims}) or [95.0]
    text = " or ".join(f"{level:g} %" if level < 100 else "more than 99.9 %" for level in levels)
    return text if levels == [95.0] else f"{text} (more at a strict level)"


def adjust(claims: Sequence[Inference], correction: Correction) -> list[Inference]:
    """Return the claims of one family with adjusted p and detectable differences.

    A comparison without a p is still one of the planned comparisons: Holm counts it.
    """
    method = multiple_testing.holm if correction == "Holm" else multiple_testing.benjamini_hochberg
    untested = [math.isnan(claim.p_raw) for claim in claims]
    counted = [
        claim
        for claim, without in zip(claims, untested, strict=True)
        if correction == "Holm" or not without
    ]
    adjusted = method([1.0 if math.isnan(claim.p_raw) else claim.p_raw for claim in counted])
    p_of = {id(claim): float(p) for claim, p in zip(counted, adjusted, strict=True)}
    m = 0 if all(untested) else len(counted)
    divisor = max(m, 1) if correction == "Holm" else 1  # B-H has no fixed level per test
    return [
        replace(
            claim,
            barred=(*claim.barred, *_too_few_draws(claim, max(m, 1))),
            p_adj=math.nan if without else p_of[id(claim)],
            correction=correction,
            m=m,
            smallest=min(1.0, claim.smallest * divisor),
            reach=min(1.0, claim.reach * divisor),
            mde=_detectable(claim, claim.alpha / divisor),
        )
        for claim, without in zip(claims, untested, strict=True)
    ]


def fewest_draws(claim: Inference) -> int:
    """Return the draws per task that the claim takes; one less if four tasks share the uncertainty of the variance."""
    return fewest_draws_at(claim.alpha / max(claim.m, 1), claim.tasks)


def fewest_draws_at(level: float, tasks: int) -> int:
    """Return the draws per task that a claim on this number of tasks takes at a level."""
    draws = next(draws for least, draws in FEWEST_DRAWS if level >= least)
    return draws - (tasks >= 4)


def _too_few_draws(claim: Inference, m: int) -> Iterator[str]:
    """Yield why a claim has too few draws for its level among `m` claims."""
    fewest = fewest_draws(replace(claim, m=m))
    if 0 < claim.draws < fewest:
        yield f"fewer than {plural(fewest, 'draw')}"


def _detectable(claim: Inference, alpha: float) -> float:
    if claim.population != "other tasks":
        return detectable(claim.error, claim.df, alpha=alpha)
    sd = claim.error * math.sqrt(claim.n)
    return detectable_by_flips(claim.n, sd, alpha=alpha, without_one=WITHOUT_ONE)
