"""Each method against the baseline, in points: the effect, and claims about these tasks and other tasks.

A method is compared with the baseline only on the blocks that both finished on the same rows.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from reports.analysis import estimates, inferences
from reports.analysis.hypothesis import ROPE
from reports.analysis.inferences import Correction, Inference
from reports.analysis.paired_difference import Bar, PairedDifference, bars_of, paired_difference
from reports.analysis.paired_runs import (
    PairedRuns,
    common_draws,
    draw_count,
    seconds_per_draw,
    sizes_of,
)
from reports.statistics import sample_size
from reports.statistics.conventions import ALPHA, standard_deviation, without_ties
from reports.statistics.looks import declared_level, undeclared_level
from reports.statistics.sample_size import DrawsNeeded, Variance

LEAST_LEVEL = 1e-6  # at a lower level, an interim test is barred as too early

Family = Literal["overall", "per size", "cells"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The comparison of one method with the baseline; effects are in points."""

    family: Family
    method: str
    baseline: str
    task: str | None
    size: int | None
    effect: float
    these: Inference  # about the same tasks
    others: Inference | None  # about other tasks; None with a single task
    planned: int  # number of tasks in a complete comparison, or of draws if there is only one task
    draws: tuple[int, int]  # fewest and most per task
    pairs: int  # blocks in use
    planned_pairs: int  # blocks of the draws that are planned at every size
    failed: int = 0  # missing pairs of which a run ended without a score
    wins: (
        int  # number of tasks, or of draws if there is only one task, on which the method is better
    )
    ties: int
    losses: int
    sd: float  # of the differences by task, or by draw if there is only one task
    without_one: tuple[float, float] = (math.nan, math.nan)  # range of the effect without one task
    # effect on the pairs in which no run collapsed or diverged; NaN if no run did
    without_collapsed: float = math.nan
    rope: float = ROPE  # differences up to this many points from 0 do not matter
    noise: Variance  # of one task's difference in a single draw, averaged over the tasks
    fixed: float  # the part of the variance of `effect` that more draws do not change
    groups: float = math.inf  # number of groups of test rows behind `fixed`, summed over tasks
    max_draws: int = 0  # the declared maximum of the study's hypothesis; 0 for every other contrast
    p_mark: float = math.nan  # adjusted by Benjamini and Hochberg over all differences of a report
    seconds: float = 0.0  # device time of one more draw of both methods
    draws_mean: float = math.nan  # harmonic mean over tasks, because noise goes with 1 / draws
    look: int = 1  # number of this test: 1 plus the earlier looks (`PairedRuns.looks`)
    declared: bool = (
        False  # whether it is the study's hypothesis, which `overall_contrasts` tests alone
    )
    # By task, only in the family "overall": the difference of each draw in points, and the variance of their mean.
    differences: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    variances: Mapping[str, float] = field(default_factory=dict)
    barred: tuple[Bar, ...] = ()  # what bars every claim of this comparison
    notes: tuple[str, ...] = ()

    @property
    def inferences(self) -> tuple[Inference, ...]:
        """The claims, the narrower population first."""
        return (self.these,) if self.others is None else (self.these, self.others)

    @property
    def widest(self) -> Inference:
        """The claim about the widest population that this comparison asks about."""
        return self.inferences[-1]

    @property
    def settled(self) -> bool:
        """Whether any claim is settled."""
        return any(claim.settled for claim in self.inferences)

    @property
    def marked(self) -> bool:
        """Whether tables mark the difference with an arrow."""
        return self.p_mark <= self.these.alpha and not self.these.barred

    @property
    def unit(self) -> Literal["tasks", "draws"]:
        """What wins, ties and losses count."""
        return "draws" if self.others is None else "tasks"

    @property
    def n(self) -> int:
        """Number of tasks, or of draws if there is only one task."""
        return self.widest.n


def contrasts(paired_runs: PairedRuns) -> list[Contrast]:
    """Return all comparisons with the baseline.

    Overall comparisons are adjusted by Holm over the methods, those at single sizes by Holm over
    methods and sizes. Single cells are exploratory: they are adjusted by Benjamini and Hochberg
    together with all other differences, so that all marks of a report are one family.
    """
    overall = overall_contrasts(paired_runs)
    sizes = paired_runs.sizes if len(paired_runs.sizes) > 1 else ()
    per_size = [
        _contrast(paired_runs, "per size", method, paired_runs.tasks, size)
        for size in sizes
        for method in others_of(paired_runs)
    ]
    cells = [
        test
        for size in paired_runs.sizes
        for task in paired_runs.tasks
        for method in others_of(paired_runs)
        if len(paired_runs.tasks) > 1
        and (test := _contrast(paired_runs, "cells", method, (task,), size)).planned_pairs
    ]
    tests = [*overall, *_adjusted(per_size, "Holm"), *cells]
    marks = inferences.adjust([test.these for test in tests], "Benjamini-Hochberg")
    marked = [
        replace(test, p_mark=math.nan if mark.barred else mark.p_adj)
        for test, mark in zip(tests, marks, strict=True)
    ]
    kept, exploratory = marked[: -len(cells) or None], marks[len(tests) - len(cells) :]
    return [
        *kept,
        *(
            _noted(replace(test, these=claim))
            for test, claim in zip(marked[len(kept) :], exploratory, strict=True)
        ),
    ]


def overall_contrasts(paired_runs: PairedRuns, *, answers_needed: bool = True) -> list[Contrast]:
    """Compare each method with the baseline over all tasks and sizes, by Holm over the methods.

    The hypothesis of a study is tested alone, and the others without it.

    Args:
        paired_runs: The runs.
        answers_needed: Whether missing answers to single test rows also bar the claim about other tasks; False for
            scores that are derived from several models, which have no such answers.
    """
    tests = [
        _contrast(
            paired_runs,
            "overall",
            method,
            paired_runs.tasks,
            None,
            answers_needed=answers_needed,
            declared=method == paired_runs.hypothesis_method,
        )
        for method in others_of(paired_runs)
    ]
    return [
        *_adjusted([test for test in tests if test.declared], "Holm"),
        *_adjusted([test for test in tests if not test.declared], "Holm"),
    ]


def pairwise_contrasts(paired_runs: PairedRuns, methods: Sequence[str]) -> list[Contrast]:
    """Compare every two of the methods over all tasks and sizes, by Holm over all pairs.

    If a hypothesis was declared with a maximum of draws, its pair has the levels of the study here too, and its
    claim about other tasks waits for the last look.
    """
    tests = []
    for first, second in combinations(methods, 2):
        against = paired_runs.against(second)
        declared = against.hypothesis_method == first
        declared |= paired_runs.against(first).hypothesis_method == second
        tests.append(_contrast(against, "overall", first, against.tasks, None, declared=declared))
    return _adjusted(tests, "Holm")


def others_of(paired_runs: PairedRuns) -> list[str]:
    """Return the methods that are compared with the baseline; none if the baseline has no runs."""
    return (
        [method for method in paired_runs.methods if method != paired_runs.baseline]
        if paired_runs.baseline in paired_runs.methods
        else []
    )


def _contrast(
    paired_runs: PairedRuns,
    family: Family,
    method: str,
    tasks: Sequence[str],
    scope: int | None,
    *,
    answers_needed: bool = True,
    declared: bool = False,
) -> Contrast:
    """Compare a method with the baseline over the tasks, at one size or all (`scope` None).

    `_adjusted` adds the adjusted p and what follows from it.
    """
    planned = [task for task in tasks if sizes_of(paired_runs, task, scope)]
    pairs = [
        paired_difference(paired_runs, method, task, sizes_of(paired_runs, task, scope))
        for task in planned
    ]
    used = [pair for pair in pairs if pair.estimate.values]
    by_task = {
        task: pair
        for task, pair in zip(planned, pairs, strict=True)
        if pair.estimate.values and family == "overall"
    }
    bars = tuple(bars_of(paired_runs, method, planned, scope, pairs))
    barred = [bar.text for bar in bars]
    plan = _level(paired_runs, method, planned, scope, declared=declared)
    these = inferences.on_these_tasks(
        [pair.estimate for pair in used], [*barred, *plan.these], plan.alpha
    )
    means = without_ties([pair.estimate.draws.mean for pair in used])
    others = None
    if len(tasks) > 1:
        if answers_needed and these.population == "these rows" and used:
            barred = list(these.barred)  # the answers to single test rows are not stored
        alpha = ALPHA if declared and paired_runs.max_draws else plan.alpha
        others = inferences.on_other_tasks(means, [*barred, *plan.others], alpha)
    units = means if others else without_ties(used[0].estimate.values if used else [])
    counts = [len(pair.estimate.values) for pair in used]
    trained = [pair.trained for pair in used if pair.trained]
    return Contrast(
        family=family,
        method=method,
        baseline=paired_runs.baseline,
        task=tasks[0] if family == "cells" else None,
        size=scope,
        effect=float(np.mean([pair.estimate.draws.mean for pair in used])) if used else math.nan,
        these=these,
        others=others,
        planned=len(planned)
        if others
        else max(
            (
                len(common_draws(paired_runs, task, sizes_of(paired_runs, task, scope)))
                for task in planned
            ),
            default=0,
        ),
        draws=(min(counts, default=0), max(counts, default=0)),
        pairs=sum(pair.used for pair in pairs),
        planned_pairs=sum(pair.planned - pair.outside for pair in pairs),
        failed=sum(pair.failed for pair in pairs),
        wins=int((units > 0).sum()),
        ties=int((units == 0).sum()),
        losses=int((units < 0).sum()),
        sd=standard_deviation(units),
        without_one=inferences.mean_range_without_one(means),
        without_collapsed=float(np.mean([np.mean(values) for values in trained]))
        if trained and any(pair.collapsed for pair in used)
        else math.nan,
        noise=_noise(used),
        fixed=_fixed(used),
        groups=sum(pair.estimate.groups for pair in used),
        max_draws=paired_runs.max_draws if declared else 0,
        draws_mean=len(counts) / sum(1 / count for count in counts) if counts else math.nan,
        barred=bars,
        declared=declared,
        look=plan.look,
        differences={task: tuple(pair.estimate.values) for task, pair in by_task.items()},
        variances=dict(
            zip(
                by_task,
                (part.variance for part in estimates.parts([p.estimate for p in used])),
                strict=False,
            )
        ),
        seconds=seconds_per_draw(paired_runs, (method, paired_runs.baseline), planned, scope),
        rope=paired_runs.rope,
    )


class _Level(NamedTuple):
    """The level of a comparison at this look, and what bars its claims."""

    alpha: float
    look: int
    these: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def _level(
    paired_runs: PairedRuns,
    method: str,
    tasks: Sequence[str],
    scope: int | None,
    *,
    declared: bool,
) -> _Level:
    """Return the level of the comparison at this look, given its earlier looks (`PairedRuns.looks`)."""
    draws = [
        draw_count(paired_runs, task, size)
        for task in tasks
        for size in sizes_of(paired_runs, task, scope)
    ]
    before = sorted(
        {
            runs / paired_runs.mean_seeds(task, size)
            for task in tasks
            for size in sizes_of(paired_runs, task, scope)
            for runs in paired_runs.looks(method, task, size)
        }
    )
    look, most = len(before) + 1, paired_runs.max_draws
    if not (declared and most):
        return _Level(undeclared_level(look), look)
    if draws and _ended(paired_runs, method, tasks, scope):
        bar = (f"the study ended with {most} draws; runs were added after that",)
        return _Level(ALPHA, look, bar, bar)
    # The number of draws of a study is the smallest number that any of its tasks has at any size. With the largest
    # number instead, the study would be complete as soon as a single task is, and each task that follows would add
    # one more test at the last level.
    now = min(draws, default=0)
    before = [count for count in before if count < now]
    if max(draws, default=0) > most:
        bar = (f"more draws than the declared maximum of {most}",)
        return _Level(ALPHA, look, bar, bar)
    early = () if now == most else (f"the declared maximum of {most} draws is not reached",)
    alpha = declared_level([*before, now], most)
    if alpha < LEAST_LEVEL:
        bar = (f"too early to look at a study of {most} draws",)
        return _Level(ALPHA, look, bar, bar)
    return _Level(alpha, look, (), early)


def _ended(paired_runs: PairedRuns, method: str, tasks: Sequence[str], scope: int | None) -> bool:
    """Return whether a declared study had its maximum of draws at an earlier look already: its level is spent."""
    return all(
        paired_runs.had_draws(method, task, size, paired_runs.max_draws)
        for task in tasks
        for size in sizes_of(paired_runs, task, scope)
    )


def _noise(used: Sequence[PairedDifference]) -> Variance:
    """Return the variance of one task's difference in a single draw, averaged over the tasks."""
    draws = [pair.estimate.draws for pair in used if len(pair.estimate.values) > 1]
    parts = np.array([part.by_draw * (part.df + 1) for part in draws])
    if not parts.size:
        return Variance(math.nan, math.nan)
    total = parts.sum()
    df = (
        sum((part / total) ** 2 / d.df for part, d in zip(parts, draws, strict=True))
        if total
        else 0
    )
    return Variance(float(total) / len(parts), float(1 / df) if df else math.inf)


def _fixed(used: Sequence[PairedDifference]) -> float:
    """Return the part of the variance of the mean over tasks that more draws do not change."""
    parts = estimates.parts([pair.estimate for pair in used])
    return sum(part.variance - part.by_draw for part in parts) / max(len(parts), 1) ** 2


def draws_needed(test: Contrast, claim: Inference, points: float) -> DrawsNeeded:
    """Return how many draws per task let this claim of a contrast detect a difference of `points`.

    The level, .05 with a declared maximum of draws and otherwise that of the next look, is divided by `claim.m`.
    """
    level = ALPHA if test.max_draws else undeclared_level(test.look + 1)
    alpha = level / max(claim.m, 1)
    if claim.population == "other tasks":
        means = Variance(test.sd**2, claim.n - 1)
        return sample_size.draws_for_other_tasks(
            points,
            tasks=claim.n,
            means=means,
            draw=test.noise,
            draws=test.draws_mean,
            alpha=alpha,
            without_one=inferences.WITHOUT_ONE,
        )
    tasks = len(test.differences) if test.others else 1
    return sample_size.draws_on_these_tasks(
        points,
        draw=Variance(test.noise.value / tasks, test.noise.df),
        rows=Variance(test.fixed, max(test.groups - tasks, 1)),
        tasks=tasks,
        alpha=alpha,
    )


def _adjusted(tests: Sequence[Contrast], correction: Correction) -> list[Contrast]:
    """Return the contrasts of one family with adjusted claims and notes.

    The claim about other tasks is barred until that about these tasks is settled, if the latter covers other test
    rows. Tested in this order, the two claims together have the error rate of a single one (Maurer, Hothorn &
    Lehmacher 1995).
    """
    these = inferences.adjust([test.these for test in tests], correction)
    others = iter(inferences.adjust([test.others for test in tests if test.others], correction))
    result = []
    for test, claim in zip(tests, these, strict=True):
        wide = next(others) if test.others else None
        if wide and claim.population == "these tasks" and not claim.settled:
            wide = replace(wide, barred=(*wide.barred, "not settled on these tasks"))
        result.append(_noted(replace(test, these=claim, others=wide)))
    return result


def _noted(test: Contrast) -> Contrast:
    return replace(test, notes=tuple(_notes(test)))


def _notes(test: Contrast) -> Iterator[str]:
    claim = test.widest
    if math.isnan(claim.p_raw):
        yield "NO_TEST"
    elif claim.reach > claim.alpha:
        yield "NOT_REACHABLE"
    if claim.n > 1 and not test.sd > 0:
        yield "NO_VARIANCE"
    if claim.n > 1 and not claim.settled and not claim.mde <= test.rope:
        yield "UNDERPOWERED"
    if test.ties > 0.3 * max(claim.n, 1) or claim.tied:
        yield "ZERO_DIFFS"
    if test.pairs < test.planned_pairs:
        yield "INCOMPLETE"
