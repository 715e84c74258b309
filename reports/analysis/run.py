"""A run: one planned job with its result, if it has one."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Final, Literal, NamedTuple, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from reports.statistics import influence
from reports.statistics.draws_and_rows import effective_number

Array = NDArray[np.float64]
Status = Literal["done", "diverged", "undefined", "failed", "infeasible", "missing"]

# Of several runs of one method in one block, the one whose status stands first here is used.
STATUSES: Final[tuple[Status, ...]] = get_args(Status)


SAME_SCORE: Final = 1e-5  # relative: predictions are stored in single precision


class WrittenText(NamedTuple):
    """A text that a run wrote, its source, which may be cut, and a reference."""

    source: str
    reference: str
    text: str


@dataclass(frozen=True)
class RuleResult:
    """The test metrics of the checkpoint that one selection rule chooses in a training."""

    name: str
    metrics: Mapping[str, float]  # by the name of the metric

    def column(self, metric: str) -> str:
        """Return the name under which JSON and CSV report one of its metrics."""
        return f"rule {self.name} {metric}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One planned job and its result, if it has one."""

    digest: str
    backbone: str  # name, revision, pooling and dtype in one readable line
    recipe: str  # what all methods share (steps, batch, dev rule, ...) in one readable line
    method: str  # with the options that differ from the defaults, such as "simplex(vertices=2)"
    method_version: int = 1  # rises with a change of the method that changes its numbers
    task: str
    size: int
    draw: int
    seed: int
    status: Status
    # The task's score: higher is better, 1.0 is perfect. A diverged run has the score of one
    # constant answer.
    score: float | None
    metrics: Mapping[str, float]  # by name; NaN where a metric is undefined
    # further selection rules that were tested on the same training, by name
    rules: Mapping[str, RuleResult] = field(default_factory=dict)
    better: Mapping[str, Literal["higher", "lower", "neither"]]  # per metric
    dev_score: float | None  # None: not stored, or not in the metrics of the test score
    collapsed: bool  # whether all test predictions are equal
    rows: str  # name of the examples and their scoring; equal for all methods of a block
    n_train: int
    n_dev: int
    n_test: int
    holdout: bool  # whether test rows are split off anew for every draw
    seen: bool  # whether the backbone is known to have been trained on this task's data
    trained: int  # number of trained parameters
    stored: int  # bytes needed to keep the result
    seconds_training: float
    seconds_evaluation: float
    peak_bytes: int
    shared: (
        bool  # whether seconds and bytes are shares: of a pack, or of jobs with the same features
    )
    passes: str = "alone"  # how training batches went through the model: alone, in packs of 8, ...
    versions: str  # program, libraries and device in one line
    plugin: str = ""  # distribution and version of the plug-in that the method comes from
    curve: Sequence[tuple[int, float]] = ()  # evaluated steps and their dev scores (1.0 = perfect)
    losses: Sequence[float] = ()  # dev loss at each of these steps
    # dev score of each copy of the dev rows under sampled models, at the selected step
    sampled: Sequence[float] = ()
    predictions: Array = field(
        default_factory=lambda: np.empty(0), compare=False
    )  # (n_test,) classes or values, or zeros and ones (n_test, classes) of a multilabel task
    # labels by test split, in the order and the form of `predictions`
    labels: Mapping[str, Array] = field(default_factory=dict, compare=False)
    # number of runs that the method had in this cell at each look before now; 0 if it was not complete
    looks: tuple[int, ...] = ()
    look_draws: tuple[int, ...] = ()  # number of draws of these runs
    # group of each test row (n_test,), in which rows are not independent; None: not stored
    groups: Array | None = field(default=None, compare=False)
    # number of each test row (n_test,) in the file that all draws split; None: all draws have the
    # same test rows, or not stored
    identities: Array | None = field(default=None, compare=False)
    # rows per distinct value of each text field, in the test split where it repeats most; empty: not
    # stored
    field_repeats: tuple[float, ...] = ()
    # test rows whose texts are also in the training or dev rows of the run; None: not stored
    repeated: NDArray[np.int64] | None = field(default=None, compare=False)
    by_steps: bool = (
        True  # whether the curve is over training steps, and not over candidates of a closed form
    )
    # number of test rows with as many tokens as fit; None: not stored
    full: int | None = None
    # class probabilities (rows, classes) by test split; empty if they are not stored
    probabilities: Mapping[str, Array] = field(default_factory=dict, compare=False)
    writes: bool = False  # whether the task is to write text
    # score (n_test,) of each text that was written, whose mean is the score; None: no text was to be written, or the
    # metric has no scores of rows (chrF, TER)
    text_scores: Array | None = field(default=None, compare=False)
    # a few of the texts that were written, of the same rows in all runs with the same test rows
    texts: Sequence[WrittenText] = field(default=(), compare=False)
    # by which its logits are divided to fit the labels of the dev rows best; None: not stored
    temperature: float | None = None
    scored_by: Sequence[str] = ()  # the metrics whose mean is the score
    classes: Sequence[str] = ()  # names of the classes by their numbers; empty for a regression

    @property
    def multilabel(self) -> bool:
        """Whether a row has any number of the classes."""
        return any(labels.ndim == 2 for labels in self.labels.values())

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest possible score in points; infinite for a metric that is not known."""
        return bounds(self.scored_by)

    @property
    def uneven(self) -> bool:
        """Whether a few test rows can carry most of the variance of the score, as with skewed labels.

        Of a multilabel task, rows without labelled and predicted classes carry none.
        """
        return bool({"pearson", "rmse", "mse", "micro-f1"} & set(self.scored_by))

    @cached_property
    def groups_of_rarest_class(self) -> float:
        """Effective number of groups of test rows of the rarest class, if a metric depends on it; else infinite."""
        if not self.labels or not {"f1", "macro-f1", "matthews"} & set(self.scored_by):
            return math.inf
        start, counts = 0, []
        for labels in self.labels.values():
            groups = self.row_groups[start : start + len(labels)]
            members = (
                labels.T > 0
                if labels.ndim == 2
                else [labels == name for name in self._scored_classes(labels)]
            )
            counts += [effective_number(groups[member]) for member in members]
            start += len(labels)
        return min(counts)

    def _scored_classes(self, labels: Array) -> Array:
        """Return the classes that a metric depends on: macro-F1 falls if a class without a test row is predicted."""
        if "macro-f1" in self.scored_by and self.classes:
            return np.arange(len(self.classes), dtype=np.float64)
        return np.unique(labels)

    @property
    def row_names(self) -> Array:
        """Numbers (n_test,) that identify the test rows among all draws of the task."""
        names = np.arange(len(self.predictions), dtype=np.float64)
        return names if self.identities is None else self.identities

    @property
    def row_groups(self) -> Array:
        """Group (n_test,) of each test row; every row is a group of its own if groups are not stored."""
        return self.row_names if self.groups is None else self.groups

    @cached_property
    def row_scores(self) -> Array | None:
        """Scores (n_test,) of the test rows, whose mean is the run's score; None if they are not known."""
        rows = (
            influence.row_scores(self.predictions, self.labels, self.scored_by)
            if self.text_scores is None
            else self.text_scores
        )
        if rows is None:
            return None
        # If the means differ, a stored metric is not the one of that name in `influence`, and the
        # scores of the rows are not known.
        score = self.score or 0.0
        agrees = abs(float(rows.mean()) - score) < SAME_SCORE * max(1.0, abs(score))
        return rows if agrees else None

    @property
    def design_effect(self) -> float | None:
        """Return the variance of a score over groups of rows divided by that over independent rows; None if unknown."""
        if self.row_scores is None:
            return None
        rest = self.row_scores - self.row_scores.mean()
        sums = np.bincount(np.unique(self.row_groups, return_inverse=True)[1], weights=rest)
        alone = float(np.square(rest).sum()) * len(rest) / max(len(rest) - 1, 1)
        grouped = float(np.square(sums).sum()) * len(sums) / max(len(sums) - 1, 1)
        return grouped / alone if alone > 0 else None

    @property
    def score_on_other_rows(self) -> float | None:
        """Return the score of a run on the test rows that it was not trained on; None if it is not known."""
        if self.repeated is None or self.row_scores is None or self.text_scores is not None:
            return None
        kept = np.ones(len(self.predictions), dtype=bool)
        kept[self.repeated] = False
        labels, start = {}, 0
        for split, values in self.labels.items():
            labels[split] = values[kept[start : start + len(values)]]
            start += len(values)
        if not all(map(len, labels.values())):
            return None
        rows = influence.row_scores(self.predictions[kept], labels, self.scored_by)
        return None if rows is None else float(rows.mean())


def bounds(metrics: Sequence[str]) -> tuple[float, float]:
    """Return the lowest and highest possible mean of some metrics in points; infinite if one is not known."""
    ends = [influence.BOUNDS.get(name, (-math.inf, math.inf)) for name in metrics]
    low, high = zip(*ends, strict=True) if ends else ((-math.inf,), (math.inf,))
    return 100 * fmean(low), 100 * fmean(high)


def has_score(run: Run | None) -> TypeGuard[Run]:
    """Return whether the run has a finite score."""
    return (
        run is not None
        and run.status in ("done", "diverged")
        and run.score is not None
        and math.isfinite(run.score)
    )


def run_status(run: Run | None) -> Status:
    """Return the status of a planned run; it is undefined if a finished job has no finite score."""
    if run is None:
        return "missing"
    if run.status == "done" and not has_score(run):
        return "undefined"
    return run.status


def majority_score(runs: Iterable[Run]) -> float | None:
    """Return the score in points of predicting the most frequent test label, or the mean of a regression.

    Of a multilabel task, it is the best score of predicting the most frequent classes, however many.

    It is the mean over test sets that differ between draws. None if the labels are not stored or a
    metric is not known.
    """
    scores = {}
    for run in runs:
        labels = np.concatenate(list(run.labels.values())) if run.labels else np.empty(0)
        key = labels.tobytes()
        if key in scores or not labels.size:
            continue
        found = [
            influence.row_scores(np.broadcast_to(constant, labels.shape), run.labels, run.scored_by)
            for constant in _constants(run, labels)
        ]
        known = [100 * float(rows.mean()) for rows in found if rows is not None]
        if len(known) < len(found):
            return None
        scores[key] = max(known)
    return fmean(scores.values()) if scores else None


def _constants(run: Run, labels: Array) -> Iterator[Array]:
    """Yield answers that need no text: one, or of a multilabel task its 0, 1, 2, ... most frequent classes."""
    if labels.ndim == 2:
        ranks = np.argsort(np.argsort(-labels.sum(axis=0), kind="stable"))
        yield from ((ranks < count).astype(np.float64) for count in range(len(ranks) + 1))
    elif run.classes:
        values, counts = np.unique(labels, return_counts=True)
        yield values[counts.argmax()]
    else:
        yield labels.mean()


def classes_in(labels: Array) -> set[int]:
    """Return the numbers of the classes that labels (rows,) or marks (rows, classes) contain."""
    numbers = np.flatnonzero(labels.any(axis=0)) if labels.ndim == 2 else np.unique(labels)
    return {int(number) for number in numbers}
