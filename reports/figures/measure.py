"""What the axis of a score shows: the name of its metric, and its lowest and highest value."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from reports.analysis.comparison import Comparison
from reports.analysis.run import bounds
from reports.document import metric_title, plural

MIXED: Final = "score (metric differs by task)"
MAX_NAMED: Final = 6  # tasks of a metric that a caption names; more are counted


class Measure(NamedTuple):
    """A score or a difference of scores: its name, and its lowest and highest value in points."""

    name: str
    low: float
    high: float

    @property
    def label(self) -> str:
        """The label of an axis."""
        return f"{self.name}, points"

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value; infinite for a metric that is not known."""
        return self.low, self.high

    def called(self, name: str) -> "Measure":
        """Return the measure with another name; `{}` in it stands for the name of the metric."""
        return self._replace(name=name.format(self.name))

    def difference(self) -> "Measure":
        """Return the difference of two such scores."""
        return Measure(f"difference in {self.name}", self.low - self.high, self.high - self.low)


def of_task(comparison: Comparison, task: str) -> Measure:
    """Return the measure of the runs of one task."""
    run = next((run for run in comparison.runs if run.task == task), None)
    if run is None:
        return Measure("score", -math.inf, math.inf)
    return of_metrics(run.scored_by, comparison.better, run.classes)


def of_metrics(
    metrics: Sequence[str], better: Mapping[str, str], classes: Sequence[str] = ()
) -> Measure:
    """Return the measure of a score that is the mean of some metrics.

    Args:
        metrics: their names.
        better: for each metric, or for each of its test sets, `higher` or `lower`.
        classes: the names of the task's classes, for the F1 of one of them.
    """
    return Measure(_name(metrics, better, classes), *bounds(metrics))


def of_average(comparison: Comparison) -> Measure:
    """Return the measure of a mean over the tasks; of the only task if there is one."""
    parts = [of_task(comparison, task) for task in comparison.tasks]
    low, high = fmean(part.low for part in parts), fmean(part.high for part in parts)
    name = _common_name(parts)
    return Measure(f"mean {name}" if len(parts) > 1 else name, low, high)


def of_any_task(comparison: Comparison) -> Measure:
    """Return the measure of an axis on which runs of different tasks stand."""
    parts = [of_task(comparison, task) for task in comparison.tasks]
    return Measure(
        _common_name(parts), min(part.low for part in parts), max(part.high for part in parts)
    )


def differs_by_task(comparison: Comparison) -> bool:
    """Return whether the tasks have different metrics."""
    return len({of_task(comparison, task).name for task in comparison.tasks}) > 1


def _name(metrics: Sequence[str], better: Mapping[str, str], classes: Sequence[str]) -> str:
    """Return the name of the mean of some metrics; one of which less is better counts negatively."""
    negative = {name.partition("/")[0] for name, way in better.items() if way == "lower"}
    names = [
        f"{'negative ' if name in negative else ''}{metric_title(name, classes)}"
        for name in metrics
    ]
    if not names:
        return "score"
    return names[0] if len(names) == 1 else f"mean of {', '.join(names[:-1])} and {names[-1]}"


def metrics_sentence(comparison: Comparison) -> str:
    """Return a sentence for the caption that names the metric of each task; empty if all have the same."""
    if not differs_by_task(comparison):
        return ""
    tasks: dict[str, list[str]] = {}
    for task in comparison.tasks:
        tasks.setdefault(of_task(comparison, task).name, []).append(task)
    groups = (
        f"{name} ({', '.join(group) if len(group) <= MAX_NAMED else plural(len(group), 'task')})"
        for name, group in tasks.items()
    )
    return f" Metrics: {'; '.join(groups)}."


def _common_name(parts: Sequence[Measure]) -> str:
    names = {part.name for part in parts}
    return names.pop() if len(names) == 1 else MIXED
