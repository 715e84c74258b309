"""Tables of the loss landscape around stored models: scores of centre, vertices and samples, and flatness."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import numpy as np

from reports.analysis import estimates
from reports.analysis.contrasts import Contrast, overall_contrasts
from reports.analysis.estimates import EXPLAINED
from reports.analysis.inferences import NOT_STORED, Inference
from reports.analysis.paired_runs import pair_runs
from reports.analysis.run import Run, has_score
from reports.analysis.verdict import points, probability
from reports.document import DASH, Document, Table, TableCell, interval, number, plural
from reports.statistics import intervals
from reports.tables.subspace import outcome, tested

# length of a random step away from a model, as a share of each tensor's norm; Li et al. 2018 use the norm of each
# filter instead
RADIUS: Final = 0.2
CENTRE: Final = "centre"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Scores (1.0 is perfect) and training losses around one model."""

    run: Run
    centre: float  # score
    vertices: tuple[float, ...] = ()  # scores; empty for a model without vertices
    samples: tuple[float, ...] = ()  # scores of models sampled as in training
    ensemble: float | None = None  # score of the mean prediction of the samples
    rise: float  # of the training loss, mean over random directions
    barrier: float | None = None  # of the training loss between two vertices, maximum over pairs

    @property
    def places(self) -> dict[str, float]:
        """The scores to compare with the score of the centre, by name."""
        scores = (
            {"mean of vertices": fmean(self.vertices), "mean of samples": fmean(self.samples)}
            if self.vertices
            else {}
        )
        return scores | ({} if self.ensemble is None else {"ensemble of samples": self.ensemble})


def as_document(
    models: Sequence[Surroundings],
    *,
    baseline: str,
    split: str,
    skipped: Sequence[str],
    failed: Sequence[Run],
    command: str,
) -> Document:
    """Return the report on the surroundings of several models.

    Args:
        models: the surroundings of each model.
        baseline: the method that others are compared with in flatness; the first method if the
            baseline has no model.
        split: the split that scores are measured on, `test` or `dev`.
        skipped: for each model that could not be evaluated, the reason.
        failed: runs that failed, diverged or have no finite score; each is a lost pair.
        command: the command line that reproduces the report.
    """
    methods = list(dict.fromkeys(model.run.method for model in models))
    simplexes = [model for model in models if model.vertices]
    centres = {
        method: _centres([model for model in simplexes if model.run.method == method], failed)
        for method in dict.fromkeys(model.run.method for model in simplexes)
    }
    reference = baseline if baseline in methods else methods[0]
    rises = {
        method: test
        for method, test in _rises(models, failed, reference).items()
        if method != reference
    }
    facts = [
        ("Models", f"{len(models)} evaluated"),
        ("Scores", f"points on {split} examples; these scores select nothing"),
    ]
    if failed:
        runs = f"{plural(len(failed), 'run')} failed, diverged or without a finite score"
        facts.append(("Without a model", f"{runs}; the pairs of these runs are lost"))
    if skipped:
        facts.append(("Skipped", f"{plural(len(skipped), 'model')}; the first: {skipped[0]}"))
    tables = [_centre_table(centres)] if centres else []
    return Document(
        title="Surroundings of trained models",
        verdict=(_headline(centres), *(_flatness(method, test) for method, test in rises.items())),
        facts=tuple(facts),
        tables=(*tables, _flatness_table(models, methods, rises, reference)),
        notes=(),
        appendix=(_models(models),),
        command=command,
    )


# by place: the mean score, and the test against the centre
PlaceTests = Mapping[str, tuple[float, Contrast | None]]


def _centres(models: Sequence[Surroundings], failed: Sequence[Run]) -> PlaceTests:
    """Compare the places of one method's simplexes with the centre, paired by training run."""
    runs = {CENTRE: [_with_score(model.run, CENTRE, model.centre) for model in models]}
    for place in models[0].places:
        runs[place] = [_with_score(model.run, place, model.places[place]) for model in models]
    lost = [
        _with_score(run, place, math.nan)
        for place in runs
        for run in failed
        if run.method == models[0].run.method
    ]
    all_runs = [run for place_runs in runs.values() for run in place_runs]
    tests = {
        test.method: test
        for test in overall_contrasts(
            pair_runs([*all_runs, *lost], baseline=CENTRE), answers_needed=False
        )
    }
    return {place: (_mean(place_runs), tests.get(place)) for place, place_runs in runs.items()}


def _rises(
    models: Sequence[Surroundings], failed: Sequence[Run], reference: str
) -> dict[str, Contrast]:
    """Compare the rise of the training loss, in hundredths, of each method with the reference."""
    runs = [_with_rise(model.run, model.rise) for model in models]
    runs += [_with_rise(run, math.nan) for run in failed]
    paired_runs = pair_runs(runs, baseline=reference)
    return {
        test.method: replace(test, these=_of_draws(test.these))
        for test in overall_contrasts(paired_runs, answers_needed=False)
    }


def _of_draws(claim: Inference) -> Inference:
    """Return the claim without the bar on answers that are not stored.

    A training loss is measured on the training rows of its draw, so it needs no answers to test rows.
    """
    return replace(claim, barred=tuple(bar for bar in claim.barred if bar != NOT_STORED))


def _with_rise(run: Run, rise: float) -> Run:
    """Return the run with the rise of its training loss as its score, which has no bounds and no test rows."""
    return replace(
        _with_score(run, run.method, rise),
        scored_by=(),
        holdout=False,
        identities=None,
        groups=None,
    )


def _with_score(run: Run, name: str, score: float) -> Run:
    return replace(run, method=name, score=score, predictions=np.empty(0), labels={})


def _mean(runs: Sequence[Run]) -> float:
    """Return 100 times the mean score; tasks have equal weight, and sizes are averaged within draws."""
    tasks: dict[str, dict[int, list[Run]]] = {}
    for run in filter(has_score, runs):
        tasks.setdefault(run.task, {}).setdefault(run.size, []).append(run)
    return intervals.pooled(
        [estimates.task_score(list(sizes.values())).draws for sizes in tasks.values()]
    ).mean


def _headline(centres: Mapping[str, PlaceTests]) -> str:
    claim = (
        "Falissard et al. (2023) test the centre of the simplex; Wortsman et al. (2021) found it better than "
        "the vertices."
    )
    results = [
        f"the centre of {method} minus the mean score of its vertices is {points(-test.effect)} points, "
        f"{outcome(test.widest)}"
        if test.n
        else f"the centre of {method} is not compared, because no model has a score at the centre and at its vertices"
        for method, places in centres.items()
        if (test := places["mean of vertices"][1])
    ]
    return (
        f"{claim} Here, {'; '.join(results)}." if results else "None of these models has vertices."
    )


def _flatness(method: str, test: Contrast) -> str:
    if test.n == 0:
        unit = test.unit[:-1]
        return f"{method} and {test.baseline} are not compared: no {unit} has models of both on the same examples."
    more = "more" if test.effect > 0 else "less"
    return (
        f"At a distance of {100 * RADIUS:.0f} % along random directions, the training loss of {method} rises "
        f"by {abs(test.effect) / 100:.3f} {more} than that of {test.baseline}, {outcome(test.widest)}."
    )


def _centre_table(centres: Mapping[str, PlaceTests]) -> Table:
    rows = [
        (TableCell(method), TableCell(place), TableCell(number(mean, 1)), *_against(test, 1, 1.0))
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
            f"Paired by training run; intervals and p: {tested(tests)}, Holm over the places of "
            "a method. mean of samples: mean score of models sampled as in training; ensemble: score of their "
            "mean prediction."
        ),
    )


def _flatness_table(
    models: Sequence[Surroundings],
    methods: Sequence[str],
    rises: Mapping[str, Contrast],
    reference: str,
) -> Table:
    rows = []
    for method in methods:
        mine = [model for model in models if model.run.method == method]
        mean = _mean([_with_rise(model.run, model.rise) for model in mine]) / 100
        barriers = [model.barrier for model in mine if model.barrier is not None]
        between = (fmean(barriers), max(barriers)) if barriers else (math.nan, math.nan)
        rows.append(
            (
                TableCell(method),
                TableCell(str(len(mine))),
                TableCell(number(mean, 3)),
                *_against(rises.get(method), 3, 0.01),
                *(TableCell(number(value, 3)) for value in between),
            )
        )
    return Table(
        title="Rise of the training loss",
        head=(
            "method",
            "models",
            "rise",
            f"against {reference}",
            "95 % interval",
            "p",
            "p Holm",
            "barrier",
            "highest",
        ),
        rows=tuple(rows),
        legend=(
            f"rise: mean along random directions, at a distance of {100 * RADIUS:.0f} % of each tensor's "
            "norm; less is flatter. barrier: loss midway between two vertices minus the mean of their losses, "
            "maximum over pairs (Frankle et al. 2020); mean and highest over models. Intervals and p: "
            f"{_tested_rises(rises.values())}, Holm over this table. Norms differ between methods, so compare only "
            "methods with the same tensors."
        ),
    )


def _tested_rises(tests: Iterable[Contrast]) -> str:
    """Return what the claims about the training loss are about, and by which tests."""
    return tested(tests).replace(
        EXPLAINED["these rows"], "other draws, with their training rows, of these tasks"
    )


def _against(test: Contrast | None, digits: int, unit: float) -> tuple[TableCell, ...]:
    if test is None:
        return (TableCell(""),) * 4
    claim = test.widest
    effect = round(unit * test.effect, digits) + 0.0  # no sign before a zero
    shown = TableCell(
        DASH if math.isnan(effect) else f"{effect:+.{digits}f}" if effect else f"{0:.{digits}f}",
        strong=claim.settled,
    )
    return (
        shown,
        TableCell(interval(unit * claim.low, unit * claim.high, digits)),
        TableCell(probability(claim.p_raw)),
        TableCell(probability(claim.p_adj)),
    )


def _models(models: Sequence[Surroundings]) -> Table:
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
    for model in models:
        run, vertices = model.run, model.vertices
        scores = (
            model.centre,
            *((fmean(vertices), min(vertices), max(vertices)) if vertices else (None,) * 3),
            fmean(model.samples) if model.samples else None,
            model.ensemble,
        )
        rows.append((
            *(TableCell(str(text)) for text in (run.method, run.task, run.size, run.draw)),
            *(TableCell(number(None if score is None else 100 * score, 1)) for score in scores),
            TableCell(number(model.rise, 3)), TableCell(number(model.barrier, 3)),
        ))  # fmt: skip
    return Table(title="All models", head=head, rows=tuple(rows), labels=4)
