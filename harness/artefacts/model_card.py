"""The card of an exported model: what it was trained on, what it scores, and how sure that is. Nothing is fetched for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist
from typing import Final, NamedTuple

from harness.artefacts.restore import Stored
from harness.backbones.hub.cache import offline
from harness.errors import BenchError, Unavailable
from harness.tasks import draws, metrics

RESAMPLES: Final = 1000


class Interval(NamedTuple):
    """Where a score lies with 95 % confidence, in its own units."""

    low: float
    high: float
    how: str


class _Test(NamedTuple):
    """One test set: what was answered, and the labels."""

    answers: Sequence[float]
    labels: Sequence[float]


def text(one: Stored, form: str, at: str | None) -> str:
    """The card, in Markdown."""
    entry = one.entry
    where = "the centre of its simplex" if at is None else f"the point {at} of its simplex"
    point = f", {where}" if one.vertices > 1 else ""
    found, why = intervals(one)
    lines = "\n".join(_line(one, name, found.get(name)) for name in _shown(one))
    basis = (
        "The 95 % intervals are over test rows, for this one training, and not over draws. "
        if found
        else ""
    )
    reason = f"{why}\n\n" if why else ""
    samples = one.method.test_samples
    tested = (
        f", as the mean answer of {samples} sampled models"
        if samples
        else " at the centre"
        if at is not None
        else ""
    )
    return (
        f"# {entry.label} on {entry.task}\n\n"
        f"{one.backbone.line()}{point}. Size {entry.size}, draw {entry.draw}, seed {entry.seed}: trained on {entry.n_train} "
        f"rows, chosen on {entry.n_dev} dev rows. On {entry.n_test} test rows{tested}:\n\n"
        f"{lines}\n\n{reason}"
        f"{basis}One training: other draws of the same size differ, see the report.\n\n"
        f"Job {entry.digest}; rows {entry.fingerprint}; format {form}; classes: {', '.join(one.labels) or 'a number'}.\n"
    )


def intervals(one: Stored) -> tuple[dict[str, Interval], str]:
    """An interval over the test rows for each metric, and in words why some have none.

    Accuracy has Wilson's (1927), other scores the percentile bootstrap's (Efron 1979).
    """
    shown, entry = _shown(one), one.entry
    found: dict[str, Interval] = {}
    if "accuracy" in shown and not any(
        name.startswith("accuracy/") for name in shown
    ):  # of one test set: no labels needed
        found["accuracy"] = wilson(round(shown["accuracy"] * entry.n_test), entry.n_test)
    if not (rest := [name for name in shown if name not in found]):
        return found, ""
    tests = _tests(one)
    if isinstance(tests, str):
        return found, f"No interval for {', '.join(rest)}: {tests}."
    for name in rest:
        if name.partition("/")[0] == "accuracy":
            test = tests[name.partition("/")[2]]
            found[name] = wilson(sum(a == y for a, y in zip(*test, strict=True)), len(test.labels))
    return _bootstrap(_names(one), tests, shown) | found, ""


def wilson(right: int, rows: int) -> Interval:
    """Wilson's score interval for a share."""
    z = NormalDist().inv_cdf(0.975)
    centre = (right + z**2 / 2) / (rows + z**2)
    half = z / (rows + z**2) * math.sqrt(right * (rows - right) / rows + z**2 / 4)
    return Interval(max(0.0, centre - half), min(1.0, centre + half), "Wilson")


def _bootstrap(
    names: Sequence[str], tests: Mapping[str, _Test], shown: Mapping[str, float]
) -> dict[str, Interval]:
    """The middle 95 % of each score when the rows of each test set are drawn again with replacement."""
    import numpy as np

    rng = np.random.default_rng(0)  # fixed: the same model gives the same card
    again = []
    for _ in range(RESAMPLES):
        rows = {
            suffix: rng.integers(len(test.labels), size=len(test.labels)).tolist()
            for suffix, test in tests.items()
        }
        drawn = {
            s: _Test(*([column[row] for row in rows[s]] for column in test))
            for s, test in tests.items()
        }
        again.append(_scores(names, drawn))
    ends = {name: np.quantile([scores[name] for scores in again], [0.025, 0.975]) for name in shown}
    return {
        name: Interval(float(low), float(high), f"bootstrap, {RESAMPLES} resamples")
        for name, (low, high) in ends.items()
    }


def _scores(names: Sequence[str], tests: Mapping[str, _Test]) -> dict[str, float]:
    """Every metric on every test set, and their mean, named as in the ledger."""
    values: dict[str, float] = {}
    means = []
    for suffix, test in tests.items():
        scored = metrics.compute(names, test.answers, test.labels)
        means.append(metrics.score(names, scored))
        values |= {f"{name}/{suffix}" if suffix else name: value for name, value in scored.items()}
    return values | {"score": math.fsum(means) / len(means)}


def _tests(one: Stored) -> dict[str, _Test] | str:
    """The test sets with their labels, drawn again without the network; or why they cannot be had."""
    entry, task, about = one.entry, one.task, one.entry.setting["task"]
    if not set(_names(one)) <= set(metrics.METRICS):
        return "a metric that is a script is not run for a card"
    if task is None:
        return "the labels of the test rows are in a file of yours, and the database does not say which"
    read = cache(lambda split: task.reader.rows(split, about["revision"]))
    try:
        with offline():
            drawn = draws.draw(task, read, entry.size, entry.draw, one.recipe)
    except Unavailable:
        return "the test rows are not in this machine's cache, and nothing is fetched for a card (`bench fetch` does)"
    except (BenchError, draws.Infeasible) as error:
        return f"the test rows cannot be drawn again ({str(error).splitlines()[0]})"
    answers = list(one.predictions)
    if drawn.fingerprint != entry.fingerprint or len(answers) != entry.n_test:
        return "the test rows, or the answers to them, are no longer those of the training"
    tests = {}
    for suffix, rows in drawn.tests.items():
        tests[suffix] = _Test(answers[: len(rows)], [row.label for row in rows])
        del answers[: len(rows)]
    return tests


def _names(one: Stored) -> list[str]:
    """The task's metrics, without their versions."""
    return [name.rpartition("/")[0] for name in one.entry.setting["task"]["metrics"]]


def _shown(one: Stored) -> dict[str, float]:
    """The task's own scores on each test set, and their mean where there are several."""
    kept = {name: value for name, value in sorted(one.entry.metrics.items()) if _bases(one, name)}
    return kept if len(kept) == 1 else kept | {"score": one.entry.metrics["score"]}


def _bases(one: Stored, name: str) -> list[str]:
    """The metric that a name in the ledger stands for; none for what was tested besides."""
    return [base for base in _names(one) if name == base or name.startswith(f"{base}/")]


def _line(one: Stored, name: str, interval: Interval | None) -> str:
    """One score, in points of a hundred where more is better and 1 is perfect."""
    bases = _names(one) if name == "score" else _bases(one, name)
    points = all(
        base in metrics.METRICS and metrics.METRICS[base].better == "higher" for base in bases
    )

    def shown(value: float) -> str:
        return f"{100 * value:.1f}" if points else f"{value:.4g}"

    spread = (
        f" ({shown(interval.low)} to {shown(interval.high)}; {interval.how})" if interval else ""
    )
    return f"- {name} {shown(one.entry.metrics[name])}{spread}"
