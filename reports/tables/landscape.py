"""What lies around kept models, as tables: centres against vertices and sampled models, and how fast losses rise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import numpy as np

from reports.analysis import estimates
from reports.analysis.contrasts import Contrast, overall
from reports.analysis.paired_runs import Run, arrange, finished
from reports.analysis.verdict import points, probability
from reports.document import DASH, Document, Entry, Table
from reports.statistics import intervals
from reports.tables.subspace import missing, tested, unreachable

# of a random step away from a model, as a share of each tensor's norm (Li et al. 2018: by filter)
RADIUS: Final = 0.2
CENTRE: Final = "centre"


@dataclass(frozen=True, kw_only=True)
class Around:
    """What was seen around one model; scores 1.0 = perfect, losses as they are."""

    run: Run
    centre: float
    vertices: tuple[float, ...] = ()  # empty: it is a single point
    samples: tuple[float, ...] = ()  # of models drawn as in training
    ensemble: float | None = None  # of their mean answer
    rise: float  # of the training loss, the mean over random directions
    barrier: float | None = None  # the greatest of the training loss midway between two vertices

    @property
    def places(self) -> dict[str, float]:
        """The scores that the centre is held against."""
        scores = (
            {"mean of vertices": fmean(self.vertices), "mean of samples": fmean(self.samples)}
            if self.vertices
            else {}
        )
        return scores | ({} if self.ensemble is None else {"ensemble of samples": self.ensemble})


def as_document(
    found: Sequence[Around],
    *,
    baseline: str,
    where: str,
    left: Sequence[str],
    failed: Sequence[Run],
    command: str,
) -> Document:
    """Tables of many models.

    Args:
        found: what was seen.
        baseline: the method whose flatness others are compared with, if it is there.
        where: which rows the scores are of, `test` or `dev`.
        left: why models could not be looked at.
        failed: runs that failed or diverged; each is a lost pair.
        command: the command line that shows this again.
    """
    methods = list(dict.fromkeys(one.run.method for one in found))
    simplexes = [one for one in found if one.vertices]
    spread = dict.fromkeys(one.run.method for one in simplexes)
    centres = {
        method: _centres([one for one in simplexes if one.run.method == method], failed)
        for method in spread
    }
    reference = baseline if baseline in methods else methods[0]
    rises = {
        method: test
        for method, test in _rises(found, failed, reference).items()
        if method != reference
    }
    facts = [
        ("Models", f"{len(found)} looked at"),
        ("Scores", f"points, {where} rows; nothing is chosen by them"),
    ]
    facts += (
        [("Without a model", f"{len(failed)} runs, which failed or diverged: their pairs are lost")]
        if failed
        else []
    )
    facts += [("Left out", f"{len(left)}; of the first: {left[0]}")] if left else []
    tables = [_centre_table(centres)] if centres else []
    return Document(
        title="Around trained models",
        verdict=(_headline(centres), *(_flat(method, test) for method, test in rises.items())),
        facts=tuple(facts),
        tables=(*tables, _flat_table(found, methods, rises, reference)),
        notes=(),
        appendix=(_each(found),),
        command=command,
    )


Tested = Mapping[
    str, tuple[float, Contrast | None]
]  # by place: the mean score, and its test against the centre


def _centres(found: Sequence[Around], failed: Sequence[Run]) -> Tested:
    """A simplex's places, each as a method of its own in the same trainings."""
    runs = {CENTRE: [_scored(one.run, CENTRE, one.centre) for one in found]}
    for place in found[0].places:
        runs[place] = [_scored(one.run, place, one.places[place]) for one in found]
    lost = [
        _scored(run, place, math.nan)
        for place in runs
        for run in failed
        if run.method == found[0].run.method
    ]
    paired = arrange([*(run for each in runs.values() for run in each), *lost], baseline=CENTRE)
    tests = {test.method: test for test in overall(paired)}
    return {place: (_mean(each), tests.get(place)) for place, each in runs.items()}


def _rises(found: Sequence[Around], failed: Sequence[Run], reference: str) -> dict[str, Contrast]:
    """Of the training loss, in hundredths, each method against one."""
    runs = [_scored(one.run, one.run.method, one.rise) for one in found]
    runs += [_scored(run, run.method, math.nan) for run in failed]
    return {test.method: test for test in overall(arrange(runs, baseline=reference))}


def _scored(run: Run, name: str, score: float) -> Run:
    return replace(run, method=name, score=score, given=np.empty(0), right={})


def _mean(runs: Sequence[Run]) -> float:
    """Tasks alike, sizes inside draws; 100 times the scores."""
    tasks: dict[str, dict[int, list[Run]]] = {}
    for run in filter(finished, runs):
        tasks.setdefault(run.task, {}).setdefault(run.size, []).append(run)
    return intervals.pooled(
        [estimates.scores(list(sizes.values())).draws for sizes in tasks.values()]
    ).mean


def _headline(centres: Mapping[str, Tested]) -> str:
    said = "The paper takes the centre of the simplex, which others found better than its vertices (Wortsman et al. 2021)."
    found = [
        f"{method}'s centre scores {points(-test.effect)} points over the mean of its vertices, {_settled(test)}"
        if test.n
        else f"{method}'s centre is not compared, as no model gives a number there and at its vertices"
        for method, places in centres.items()
        if (test := places["mean of vertices"][1])
    ]
    return f"{said} Here, {'; '.join(found)}." if found else "None of these models has vertices."


def _flat(method: str, test: Contrast) -> str:
    if test.n == 0:
        return f"{method} against {test.baseline}: not compared; no {test.unit[:-1]} has models of both on the same rows."
    return (
        f"{method} against {test.baseline}: {100 * RADIUS:.0f} % away along random directions its training loss rises by "
        f"{abs(test.effect) / 100:.3f} {'more' if test.effect > 0 else 'less'}, {_settled(test)}."
    )


def _settled(test: Contrast) -> str:
    told = (
        ""
        if math.isnan(test.p_adj)
        else f" (p = {probability(test.p_adj)}, {test.test}{unreachable(test)}{missing(test)})"
    )
    return ("settled" if test.settled else "not settled") + told


def _centre_table(centres: Mapping[str, Tested]) -> Table:
    rows = [
        (Entry(method), Entry(place), Entry(_number(mean, 1)), *_against(test, 1, 1.0))
        for method, places in centres.items()
        for place, (mean, test) in places.items()
    ]
    tests = [test for places in centres.values() for _, test in places.values()]
    return Table(
        title="Centre against vertices and sampled models",
        head=("method", "place", "score", "against centre", "95 % interval", "p", "p Holm"),
        rows=tuple(rows),
        labels=2,
        legend=(
            f"Paired in the same trainings, E1 intervals over draws, p by {tested(tests)}, Holm over a method's places. "
            "mean of samples: of the scores of models drawn as in training; ensemble: the score of their mean answer."
        ),
    )


def _flat_table(
    found: Sequence[Around], methods: Sequence[str], rises: Mapping[str, Contrast], reference: str
) -> Table:
    rows = []
    for method in methods:
        mine = [one for one in found if one.run.method == method]
        mean = _mean([_scored(one.run, method, one.rise) for one in mine]) / 100
        barriers = [one.barrier for one in mine if one.barrier is not None]
        between = (fmean(barriers), max(barriers)) if barriers else (math.nan, math.nan)
        rows.append((
            Entry(method), Entry(str(len(mine))), Entry(_number(mean, 3)), *_against(rises.get(method), 3, 0.01),
            *(Entry(_number(value, 3)) for value in between),
        ))  # fmt: skip
    return Table(
        title="How fast the training loss rises",
        head=(
            "method",
            "models",
            "rise",
            f"against {reference}",
            "95 % interval",
            "p",
            "p Holm",
            "barrier",
            "greatest",
        ),
        rows=tuple(rows),
        legend=(
            f"rise: the mean along random directions, {100 * RADIUS:.0f} % of each tensor's norm away; less is flatter. "
            "barrier: of the loss midway between two vertices over the mean of theirs (Frankle et al. 2020), the greatest of "
            f"all pairs; its mean over models and its greatest. Intervals are E1, p by {tested(rises.values())}, Holm over "
            "this table. Norms differ between methods, so compare those with the same tensors."
        ),
    )


def _against(test: Contrast | None, digits: int, unit: float) -> tuple[Entry, ...]:
    if test is None:
        return (Entry(""),) * 4
    low, high = (unit * bound for bound in test.ci)
    around = DASH if math.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"
    effect = round(unit * test.effect, digits) + 0.0  # no sign before a zero
    shown = Entry(
        DASH if math.isnan(effect) else f"{effect:+.{digits}f}" if effect else f"{0:.{digits}f}",
        strong=test.settled,
    )
    return shown, Entry(around), Entry(probability(test.p_raw)), Entry(probability(test.p_adj))


def _each(found: Sequence[Around]) -> Table:
    head = (
        "method",
        "task",
        "size",
        "draw",
        "centre",
        "vertices",
        "lowest",
        "highest",
        "samples",
        "ensemble",
        "rise",
        "barrier",
    )
    rows = []
    for one in found:
        ends = (
            (fmean(one.vertices), min(one.vertices), max(one.vertices))
            if one.vertices
            else (math.nan,) * 3
        )
        scores = (
            one.centre,
            *ends,
            fmean(one.samples) if one.samples else math.nan,
            _value(one.ensemble),
        )
        rows.append((
            *(Entry(str(text)) for text in (one.run.method, one.run.task, one.run.size, one.run.draw)),
            *(Entry(_number(100 * score, 1)) for score in scores),
            Entry(_number(one.rise, 3)), Entry(_number(_value(one.barrier), 3)),
        ))  # fmt: skip
    return Table(title="Each model", head=head, rows=tuple(rows), labels=4)


def _value(value: float | None) -> float:
    return math.nan if value is None else value


def _number(value: float, digits: int) -> str:
    return DASH if math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"
