"""The runs of one comparison, arranged in blocks so that methods are only ever compared on the same examples."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Final, Literal, NamedTuple, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from reports.analysis.hypothesis import ROPE, Hypothesis
from reports.statistics import influence

T = TypeVar("T")
Array = NDArray[np.float64]


def _no_rows() -> Array:
    return np.empty(0)


@dataclass(frozen=True)
class SelectionRule:
    """The checkpoint that one selection rule chooses in a training, by its test metrics."""

    name: str
    metrics: Mapping[str, float]  # by the name of the metric

    def column(self, metric: str) -> str:
        """Return the name under which JSON and CSV report one of its metrics."""
        return f"rule {self.name} {metric}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One cell of the plan: a finished, failed, infeasible or still missing job."""

    digest: str
    backbone: str  # name, revision, pooling and dtype in one readable line
    recipe: (
        str  # everything that all methods share (steps, batch, dev rule, ...) in one readable line
    )
    method: str  # with the options that differ from the defaults, e.g. "simplex(vertices=2)"
    task: str
    size: int
    draw: int
    seed: int
    status: Literal["done", "diverged", "failed", "infeasible", "missing"]
    score: (
        float | None
    )  # the task's score, higher is better, 1.0 = perfect; of a diverged run that of one constant answer
    metrics: Mapping[str, float]  # every metric by name; NaN where the metric is undefined
    # further selection rules that were tested on the same training, by name
    rules: Mapping[str, SelectionRule] = field(default_factory=dict)
    better: Mapping[str, Literal["higher", "lower"]]  # per metric
    dev_score: float | None
    collapsed: bool  # all test predictions alike
    rows: str  # identifies the rows used and how they are scored: equal for all methods of a block
    n_train: int
    n_dev: int
    n_test: int
    holdout: bool  # test rows were held out anew for every draw
    seen: bool  # the backbone's own training is known to have included this task's data
    trained: int  # parameters that were trained
    stored: int  # bytes needed to keep the result
    seconds_training: float
    seconds_evaluation: float
    peak_bytes: int
    # whether its seconds and bytes are shared with other jobs: of its pack, or of the same features
    shared: bool
    passes: str = "alone"  # how its training went through the model: alone, in packs of 8, ..
    versions: str  # program, libraries and device in one line: a comparison over several is noted
    # the distribution, with its version, that the method comes from, where it is none of bench's
    # own
    plugin: str = ""
    curve: Sequence[
        tuple[int, float]
    ] = ()  # steps looked at on the dev rows, and the dev score there (1.0 = perfect)
    losses: Sequence[float] = ()  # the dev loss at each of these steps
    sampled: Sequence[
        float
    ] = ()  # at the step chosen: the dev score of each copy of the dev rows, seen by sampled models
    predictions: Array = field(
        default_factory=_no_rows, compare=False
    )  # predictions (n_test,): class numbers or values
    labels: Mapping[str, Array] = field(
        default_factory=dict, compare=False
    )  # labels by test split, in the order of `given`
    scored_by: Sequence[str] = ()  # the metrics whose mean is the score
    classes: Sequence[
        str
    ] = ()  # names of the classes in the order of their numbers; empty for a regression

    @cached_property
    def row_scores(self) -> Array | None:
        """The score spread over the test rows (n_test,), their mean being the score; None where that is not known."""
        rows = influence.row_scores(self.predictions, self.labels, self.scored_by)
        # Where the mean is not the score, a metric is another than the one of that name here.
        return (
            rows
            if rows is not None and abs(float(rows.mean()) - (self.score or 0.0)) < 1e-5
            else None
        )


class NothingToCompare(Exception):
    """There is nothing to compare; the message says what there is."""


class MixedRuns(Exception):
    """The runs belong to several backbones or recipes, whose numbers must not share a column."""

    def __init__(self, backbones: Sequence[str], recipes: Sequence[str]) -> None:
        self.backbones = list(backbones)
        self.recipes = list(recipes)
        lines = []
        if len(self.backbones) > 1:
            lines.append(
                f"the runs are of {len(self.backbones)} backbones; choose one with --model:"
            )
            lines += [f"  {name}" for name in self.backbones]
        if len(self.recipes) > 1:
            lines.append(
                f"the runs were made with {len(self.recipes)} recipes; choose one with --recipe N:"
            )
            lines += [f"  {number}. {text}" for number, text in enumerate(self.recipes, start=1)]
        super().__init__("\n".join(lines))


class Block(NamedTuple):
    """What methods are paired on: the same examples and the same random streams."""

    task: str
    size: int
    draw: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class PairedRuns:
    """The runs of one backbone and one recipe by method and block; a block that nobody ran is not in it."""

    backbone: str
    recipe: str
    baseline: str
    declared: bool  # the baseline was named by the caller or by the hypothesis
    methods: tuple[str, ...]  # the baseline first, unless the caller gave an order
    tasks: tuple[str, ...]
    sizes: tuple[int, ...]
    index: Mapping[tuple[str, Block], Run]
    blocks: Mapping[tuple[str, int], tuple[Block, ...]]  # per task and size: the union over methods
    repeated: tuple[Run, ...]  # second runs of a method in a block; not used
    unknown: tuple[str, ...]  # asked for and not there
    hypothesis: Hypothesis | None = None  # what the study is for
    chosen: bool = False  # tasks or sizes on which that was run are left out

    @property
    def rope(self) -> float:
        """Points to either side of 0 that do not matter."""
        return self.hypothesis.rope if self.hypothesis else ROPE

    @property
    def planned(self) -> str | None:
        """The method whose comparison with the baseline the study is for; None if there is none such here.

        Nor if tasks or sizes were chosen: who saw all results could choose those on which they are
            as hoped.
        """
        said = self.hypothesis
        if said is None or said.late or said.baseline != self.baseline or self.chosen:
            return None
        return said.method if said.method in self.methods else None

    def runs(self, method: str, task: str, size: int) -> list[Run | None]:
        """The run of each planned block of a cell, None where the method has none."""
        return [self.index.get((method, block)) for block in self.blocks.get((task, size), ())]

    def all(self) -> list[Run]:
        """Every run in use, in a fixed order."""
        return [self.index[key] for key in sorted(self.index)]

    @cached_property
    def runnable(self) -> frozenset[tuple[str, int]]:
        """The tasks and sizes that are planned and that at least one method can be run on."""
        return frozenset(
            (block.task, block.size)
            for (_, block), run in self.index.items()
            if run.status != "infeasible"
        )

    @cached_property
    def seen(self) -> tuple[str, ...]:
        """The tasks whose data the backbone's own training is known to have included."""
        marked = {run.task for run in self.index.values() if run.seen}
        return tuple(task for task in self.tasks if task in marked)

    @cached_property
    def holdout(self) -> tuple[str, ...]:
        """The tasks whose test rows were split off anew for every draw."""
        marked = {run.task for run in self.index.values() if run.holdout}
        return tuple(task for task in self.tasks if task in marked)


def finished(run: Run | None) -> TypeGuard[Run]:
    """Whether the run has a score that can be averaged; one that is not a number counts as diverged."""
    return (
        run is not None
        and run.status in ("done", "diverged")
        and run.score is not None
        and math.isfinite(run.score)
    )


def run_status(run: Run | None) -> Literal["done", "diverged", "failed", "infeasible", "missing"]:
    """What became of a planned run."""
    if run is None:
        return "missing"
    if run.status == "done" and not finished(run):
        return "diverged"
    return run.status


def sizes_of(paired_runs: PairedRuns, task: str, scope: int | None) -> list[int]:
    """The sizes of a scope at which the task could be run by anybody."""
    return [
        size
        for size in (paired_runs.sizes if scope is None else (scope,))
        if (task, size) in paired_runs.runnable
    ]


def overlap(runs: Iterable[Run]) -> float:
    """Test rows over training rows where both were split anew for each draw, else 0."""
    return max((run.n_test / max(run.n_train, 1) for run in runs if run.holdout), default=0.0)


def per_draw(runs: Iterable[Run]) -> dict[int, float]:
    """Points per draw, seeds averaged inside it: runs on the same examples are no independent evidence."""
    scores: dict[int, list[float]] = {}
    for run in runs:
        scores.setdefault(run.draw, []).append(100 * (run.score or 0.0))
    return {draw: fmean(values) for draw, values in sorted(scores.items())}


def over_sizes(per_size: Sequence[Mapping[int, float]]) -> list[float]:
    """The mean over sizes of each draw that has them all: the sizes of a draw are one cluster."""
    if not per_size:
        return []
    common = sorted(set.intersection(*(set(values) for values in per_size)))
    return [fmean(values[draw] for values in per_size) for draw in common]


def pair_runs(
    runs: Iterable[Run],
    *,
    baseline: str | None = None,
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    hypothesis: Hypothesis | None = None,
) -> PairedRuns:
    """The runs asked for, as a frame; see `reports.compare` for the arguments and the errors."""
    everything = sorted(runs, key=_order)
    if not everything:
        raise NothingToCompare("there are no runs to compare; `bench run` makes some")
    present = sorted({run.method for run in everything})
    chosen, unknown = _match(methods, present)
    if baseline is None and hypothesis is not None and hypothesis.baseline in present:
        baseline = hypothesis.baseline
    reference = _baseline(baseline, chosen, present)
    if reference not in chosen:
        chosen = [reference, *chosen] if chosen else chosen
    if methods is None:
        chosen = [reference, *(name for name in chosen if name != reference)]
    wanted_tasks, more = _select(tasks, sorted({run.task for run in everything}))
    wanted_sizes, most = _select(sizes, sorted({run.size for run in everything}))
    left_out = [
        run for run in everything if run.task not in wanted_tasks or run.size not in wanted_sizes
    ]
    kept = [
        r
        for r in everything
        if r.method in chosen and r.task in wanted_tasks and r.size in wanted_sizes
    ]
    if not kept:
        raise NothingToCompare(f"no run is left after choosing; there are {_inventory(everything)}")
    backbones = sorted({run.backbone for run in kept})
    recipes = sorted({run.recipe for run in kept})
    if len(backbones) > 1 or len(recipes) > 1:
        raise MixedRuns(backbones, recipes)
    index, repeated = _index(kept)
    blocks: dict[tuple[str, int], set[Block]] = {}
    for _, block in index:
        blocks.setdefault((block.task, block.size), set()).add(block)
    left = {run.method for run in kept}
    return PairedRuns(
        backbone=backbones[0],
        recipe=recipes[0],
        baseline=reference,
        declared=baseline is not None,
        methods=tuple(name for name in chosen if name in left),
        tasks=tuple(name for name in wanted_tasks if any(run.task == name for run in kept)),
        sizes=tuple(sorted({run.size for run in kept})),
        index=index,
        blocks={key: tuple(sorted(value)) for key, value in sorted(blocks.items())},
        repeated=tuple(repeated),
        unknown=(*unknown, *(str(name) for name in (*more, *most))),
        hypothesis=hypothesis,
        chosen=hypothesis is not None and any(run.method in hypothesis[:2] for run in left_out),
    )


_PREFERENCE: Final = ("done", "diverged", "failed", "infeasible", "missing")


def _order(run: Run) -> tuple[str, str, int, int, int, int, str]:
    return (
        run.method,
        run.task,
        run.size,
        run.draw,
        run.seed,
        _PREFERENCE.index(run_status(run)),
        run.digest,
    )


def _index(runs: Iterable[Run]) -> tuple[dict[tuple[str, Block], Run], list[Run]]:
    """One run per method and block, a finished one before any other, and those left over that are not the same job."""
    index: dict[tuple[str, Block], Run] = {}
    repeated = []
    for run in runs:
        kept = index.setdefault((run.method, Block(run.task, run.size, run.draw, run.seed)), run)
        if finished(run) and kept.digest != run.digest:
            repeated.append(run)
    return index, repeated


def _select(wanted: Sequence[T] | None, present: list[T]) -> tuple[list[T], list[T]]:
    """What is asked for and there, in the order asked, and what is asked for and is not there."""
    if wanted is None:
        return present, []
    asked = list(dict.fromkeys(wanted))
    return [name for name in asked if name in present], [
        name for name in asked if name not in present
    ]


def _match(wanted: Sequence[str] | None, present: list[str]) -> tuple[list[str], list[str]]:
    """As `_select`, where a bare name also stands for all its variants: `lora` for `lora(rank=4)`."""
    if wanted is None:
        return list(present), []
    found: list[str] = []
    unknown = []
    for name in wanted:
        some = [name] if name in present else [other for other in present if _bare(other) == name]
        found += [other for other in some if other not in found]
        if not some:
            unknown.append(name)
    return found, unknown


def _bare(method: str) -> str:
    return method.split("(", 1)[0]


def _baseline(wanted: str | None, chosen: list[str], present: list[str]) -> str:
    """The method that the others are tested against."""
    if wanted is None:
        usual, _ = _match(["fine-tuning"], chosen)
        return (usual or chosen or present)[0]
    found, _ = _match([wanted], present)
    if len(found) != 1:
        problem = (
            f"the baseline {wanted!r} could be any of {', '.join(found)}"
            if found
            else f"no baseline {wanted!r}"
        )
        raise NothingToCompare(f"{problem}; the methods are {', '.join(present)}")
    return found[0]


def _inventory(runs: Iterable[Run]) -> str:
    runs = list(runs)
    methods = ", ".join(sorted({run.method for run in runs}))
    tasks = ", ".join(sorted({run.task for run in runs}))
    sizes = ", ".join(str(size) for size in sorted({run.size for run in runs}))
    return f"the methods {methods}; the tasks {tasks}; the sizes {sizes}"
