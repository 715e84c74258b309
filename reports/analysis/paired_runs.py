"""Runs, and how they are paired: methods are compared only on the same examples and random streams.

In `reports`, a run is one planned job with its result, if there is one. (In `harness`, a run is one call of
`bench run`.)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from reports.analysis.hypothesis import ROPE, Hypothesis
from reports.analysis.run import STATUSES, Run, has_score, run_status
from reports.analysis.training_failures import training_failures

HELD_OUT: Final = (
    0.25  # part of the rows of a file that each draw holds out, unless a limit is lower
)
T = TypeVar("T")
Array = NDArray[np.float64]


class NothingToCompare(Exception):
    """There is nothing to compare; the message lists what there is."""


class MixedRuns(Exception):
    """The runs belong to several backbones, recipes or versions of a method, which must not share a cell."""

    def __init__(
        self,
        backbones: Sequence[str],
        recipes: Sequence[str],
        versions: Mapping[str, Sequence[int]],
    ) -> None:
        self.backbones = list(backbones)
        self.recipes = list(recipes)
        lines = []
        if len(self.backbones) > 1:
            lines.append(f"the runs have {len(self.backbones)} backbones; choose one with --model:")
            lines += [f"  {name}" for name in self.backbones]
        if len(self.recipes) > 1:
            lines.append(
                f"the runs were made with {len(self.recipes)} recipes; choose one with --recipe N:"
            )
            lines += [f"  {number}. {text}" for number, text in enumerate(self.recipes, start=1)]
        for method, numbers in versions.items():
            names = " and ".join(map(str, numbers))
            lines.append(
                f"{method} has results of its versions {names}; choose one with "
                f"--method-version {method.split('(')[0]}:{numbers[-1]}"
            )
        super().__init__("\n".join(lines))


class Block(NamedTuple):
    """The unit in which methods are paired: the same examples and the same random streams."""

    task: str
    size: int
    draw: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class PairedRuns:
    """The runs of one backbone and one recipe, by method and block.

    A planned job without a result is a run too, with status `missing`. A block in which no method has a
    run is absent.
    """

    backbone: str
    recipe: str
    baseline: str
    baseline_named: bool  # whether the caller or the hypothesis named the baseline
    methods: tuple[str, ...]  # the baseline first, unless the caller gave an order
    tasks: tuple[str, ...]
    sizes: tuple[int, ...]
    index: Mapping[tuple[str, Block], Run]
    blocks: Mapping[tuple[str, int], tuple[Block, ...]]  # per task and size: the union over methods
    repeated: tuple[
        Run, ...
    ]  # further runs of a method in a block that have a score; they are not used
    unknown: tuple[str, ...]  # requested names that no run has
    hypothesis: Hypothesis | None = None  # the declared hypothesis of the study
    # whether the requested tasks or sizes, here or when the runs were read from the database, leave out
    # runs of the hypothesis's method or baseline
    narrowed: bool = False
    findings: Mapping[str, Sequence[str]] = field(default_factory=dict)  # on users' files, by task

    @property
    def rope(self) -> float:
        """Half-width, in points, of the region around 0 in which a difference does not matter."""
        return self.hypothesis.rope if self.hypothesis else ROPE

    @property
    def max_draws(self) -> int:
        """The declared maximum of draws; 0: none was declared."""
        return self.hypothesis.max_draws if self.hypothesis else 0

    def looks(self, method: str, task: str, size: int) -> tuple[int, ...]:
        """Return the numbers of runs with which a method and the baseline could be compared before now.

        A look is recorded when draws or seeds are added to a method whose jobs had all ended. It counts for
        two methods if the jobs of both had all ended then. Each may have been a test, so later tests are
        stricter.
        """
        # Position i of `Run.looks` is the same look for all methods; 0: the jobs of the method had not all
        # ended then.
        ours, theirs = (self._looks.get((name, task, size), ()) for name in (method, self.baseline))
        counts = {min(pair) for pair in zip(ours, theirs, strict=False)}
        now = min(
            sum(run is not None for run in self.runs(name, task, size))
            for name in (method, self.baseline)
        )
        return tuple(sorted(count for count in counts if 0 < count < now))

    def had_draws(self, method: str, task: str, size: int, draws: int) -> bool:
        """Return whether a method and the baseline both had at least this number of draws at an earlier look."""
        runs = (self.runs(name, task, size) for name in (method, self.baseline))
        first = [next((run for run in found if run is not None), None) for found in runs]
        if None in first:
            return False
        earlier = self.looks(method, task, size)
        at_looks = zip(
            *(zip(run.looks, run.look_draws, strict=False) for run in first if run is not None),
            strict=False,
        )
        return any(
            min(ours[0], theirs[0]) in earlier and min(ours[1], theirs[1]) >= draws
            for ours, theirs in at_looks
        )

    def mean_seeds(self, task: str, size: int) -> float:
        """Return the mean number of seeds per draw of a task at one size."""
        blocks = self.blocks[task, size]
        return len(blocks) / len({block.draw for block in blocks})

    @cached_property
    def _looks(self) -> Mapping[tuple[str, str, int], tuple[int, ...]]:
        return {
            (method, block.task, block.size): run.looks
            for (method, block), run in self.index.items()
            if run.looks
        }

    @property
    def hypothesis_method(self) -> str | None:
        """The method of the declared hypothesis, or None if these runs do not test it as declared.

        None as well if tasks or sizes were left out: after seeing all results one could choose the
        tasks that confirm the hypothesis.
        """
        hypothesis = self.hypothesis
        if hypothesis is None or hypothesis.late or self.narrowed:
            return None
        if hypothesis.baseline != self.baseline or hypothesis.method not in self.methods:
            return None
        return hypothesis.method

    def runs(self, method: str, task: str, size: int) -> list[Run | None]:
        """Return the run of each planned block of a cell, None where the method has none."""
        return [self.index.get((method, block)) for block in self.blocks.get((task, size), ())]

    def all(self) -> list[Run]:
        """Return every run in use, in a fixed order."""
        return [self.index[key] for key in sorted(self.index)]

    @cached_property
    def runnable(self) -> frozenset[tuple[str, int]]:
        """The planned tasks and sizes on which at least one method can be run."""
        return frozenset(
            (block.task, block.size)
            for (_, block), run in self.index.items()
            if run.status != "infeasible"
        )

    @cached_property
    def metrics(self) -> Mapping[str, tuple[str, ...]]:
        """The metrics whose mean is the score, by task."""
        return {run.task: tuple(run.scored_by) for run in self.index.values()}

    @cached_property
    def untrained(self) -> Mapping[tuple[str, str, int], str]:
        """The cells (method, task, size) whose runs have scores, although the method did not train, with the reason.

        See `training_failures`.
        """
        return training_failures(run for run in self.all() if has_score(run))

    def against(self, baseline: str) -> "PairedRuns":
        """Return the same runs with another baseline."""
        if baseline == self.baseline:
            return self
        other = replace(self, baseline=baseline)
        # the most expensive of the cached properties, which do not depend on the baseline
        other.__dict__.update(untrained=self.untrained, row_tables=self.row_tables)
        return other

    @cached_property
    def known_differences(self) -> dict[tuple[str, str, tuple[int, ...]], Any]:
        """What `paired_difference` computed already, by method, task and sizes: several families ask for it."""
        return {}

    @cached_property
    def row_tables(self) -> dict[tuple[int, ...], Any]:
        """The scores of single test rows that `estimates` computed already, by `id` of the runs, all in `index`."""
        return {}

    @cached_property
    def seen(self) -> tuple[str, ...]:
        """The tasks on whose data the backbone is known to have been trained."""
        marked = {run.task for run in self.index.values() if run.seen}
        return tuple(task for task in self.tasks if task in marked)

    @cached_property
    def holdout(self) -> tuple[str, ...]:
        """The tasks whose test rows are split off anew for every draw."""
        marked = {run.task for run in self.index.values() if run.holdout}
        return tuple(task for task in self.tasks if task in marked)


def sizes_of(paired_runs: PairedRuns, task: str, scope: int | None) -> list[int]:
    """Return the sizes at which at least one method can be run on the task; only `scope` if it is not None."""
    return [
        size
        for size in (paired_runs.sizes if scope is None else (scope,))
        if (task, size) in paired_runs.runnable
    ]


def seconds_per_draw(
    paired_runs: PairedRuns, methods: Sequence[str], tasks: Sequence[str], scope: int | None
) -> float:
    """Return the device seconds, in total, of one more draw of each method on each task and size.

    They are estimated from the means so far.
    """
    total = 0.0
    for method in methods:
        for task in tasks:
            for size in sizes_of(paired_runs, task, scope):
                runs = [run for run in paired_runs.runs(method, task, size) if has_score(run)]
                spent = sum(run.seconds_training + run.seconds_evaluation for run in runs)
                total += spent / max(len({run.draw for run in runs}), 1)
    return total


def draw_count(paired_runs: PairedRuns, task: str, scope: int | None) -> int:
    """Return the number of different draws that are planned on a task at one size, or at any (`scope` None)."""
    return len(
        {
            block.draw
            for size in sizes_of(paired_runs, task, scope)
            for block in paired_runs.blocks[task, size]
        }
    )


def common_draws(paired_runs: PairedRuns, task: str, sizes: Sequence[int]) -> set[int]:
    """Return the draws of a task that are planned at each of these sizes."""
    draws = [{block.draw for block in paired_runs.blocks[task, size]} for size in sizes]
    return set.intersection(*draws) if draws else set()


def holdout_ratio(runs: Iterable[Run]) -> float:
    """Return the `overlap` that widens an interval over draws (`intervals.over_draws`; Nadeau & Bengio 2003).

    It is the ratio of test rows to the other rows of a file, and 0 if the test rows are not split anew for
    each draw. Results of this version store which rows they were tested on (`identities`). Their split held out at
    most about `HELD_OUT` of the rows, so HELD_OUT / (1 - HELD_OUT) is returned. If a result is of an earlier
    version, which stored none, the training rows stand for the other rows, which makes the ratio too large.
    """
    held_out = [run for run in runs if run.holdout]
    if all(run.identities is not None for run in held_out):
        return HELD_OUT / (1 - HELD_OUT) if held_out else 0.0
    return max(run.n_test / max(run.n_train, 1) for run in held_out)


def scores_per_draw(runs: Iterable[Run]) -> dict[int, float]:
    """Return the score of each draw in points, averaged over its seeds.

    Runs on the same examples are not independent evidence.
    """
    scores: dict[int, list[float]] = {}
    for run in runs:
        scores.setdefault(run.draw, []).append(100 * (run.score or 0.0))
    return {draw: fmean(values) for draw, values in sorted(scores.items())}


def mean_over_sizes(per_size: Sequence[Mapping[int, float]]) -> list[float]:
    """Return the mean score over sizes of each draw that has all sizes.

    The scores of a draw at several sizes depend on each other, so they count as one value.
    """
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
    findings: Mapping[str, Sequence[str]] | None = None,
) -> PairedRuns:
    """Select the requested runs and pair them; see `reports.compare` for the arguments and the errors."""
    all_runs = sorted(
        runs,
        key=lambda run: (
            *(run.method, run.task, run.size, run.draw, run.seed),
            STATUSES.index(run_status(run)),
            run.digest,
        ),
    )
    if not all_runs:
        raise NothingToCompare("there are no runs to compare; `bench run` makes some")
    present = sorted({run.method for run in all_runs})
    chosen, unknown = _match(methods, present)
    if baseline is None and hypothesis is not None and hypothesis.baseline in present:
        baseline = hypothesis.baseline
    reference = _baseline(baseline, chosen, present)
    if reference not in chosen:
        # If no requested method is present, no run is kept, which is an error below.
        chosen = [reference, *chosen] if chosen else chosen
    if methods is None:
        chosen = [reference, *(name for name in chosen if name != reference)]
    chosen_tasks, unknown_tasks = _select(tasks, sorted({run.task for run in all_runs}))
    chosen_sizes, unknown_sizes = _select(sizes, sorted({run.size for run in all_runs}))

    def is_requested(run: Run) -> bool:
        return run.task in chosen_tasks and run.size in chosen_sizes

    kept = [run for run in all_runs if is_requested(run) and run.method in chosen]
    if not kept:
        raise NothingToCompare(f"no run matches the request; there are {_inventory(all_runs)}")
    backbones = sorted({run.backbone for run in kept})
    recipes = sorted({run.recipe for run in kept})
    of_method: dict[str, set[int]] = {}
    for run in kept:
        of_method.setdefault(run.method, set()).add(run.method_version)
    mixed = {method: sorted(numbers) for method, numbers in of_method.items() if len(numbers) > 1}
    if len(backbones) > 1 or len(recipes) > 1 or mixed:
        raise MixedRuns(backbones, recipes, mixed)
    index, repeated = _index(kept)
    blocks: dict[tuple[str, int], set[Block]] = {}
    for _, block in index:
        blocks.setdefault((block.task, block.size), set()).add(block)
    return PairedRuns(
        backbone=backbones[0],
        recipe=recipes[0],
        baseline=reference,
        baseline_named=baseline is not None,
        methods=tuple(name for name in chosen if any(run.method == name for run in kept)),
        tasks=tuple(name for name in chosen_tasks if any(run.task == name for run in kept)),
        sizes=tuple(sorted({run.size for run in kept})),
        index=index,
        blocks={key: tuple(sorted(value)) for key, value in sorted(blocks.items())},
        repeated=tuple(repeated),
        unknown=(*unknown, *(str(name) for name in (*unknown_tasks, *unknown_sizes))),
        hypothesis=hypothesis,
        findings=findings or {},
        narrowed=hypothesis is not None
        and (
            hypothesis.narrowed
            or any(
                run.method in (hypothesis.method, hypothesis.baseline)
                for run in all_runs
                if not is_requested(run)
            )
        ),
    )


def _index(runs: Iterable[Run]) -> tuple[dict[tuple[str, Block], Run], list[Run]]:
    """Return one run per method and block, and any further runs of the same method and block that have a score."""
    index: dict[tuple[str, Block], Run] = {}
    repeated = []
    for run in runs:
        kept = index.setdefault((run.method, Block(run.task, run.size, run.draw, run.seed)), run)
        if has_score(run) and kept.digest != run.digest:
            repeated.append(run)
    return index, repeated


def _select(requested: Sequence[T] | None, present: list[T]) -> tuple[list[T], list[T]]:
    """Return the requested values that are present, in the requested order, and those that are not."""
    if requested is None:
        return present, []
    names = list(dict.fromkeys(requested))
    return [n for n in names if n in present], [n for n in names if n not in present]


def _match(requested: Sequence[str] | None, present: list[str]) -> tuple[list[str], list[str]]:
    """Return the requested methods that are present, and the requested names that match no method.

    A name such as `lora` stands for its variants, such as `lora(rank=4)`, if there is no method of that
    very name.
    """
    if requested is None:
        return list(present), []
    matching: list[str] = []
    unknown = []
    for name in requested:
        variants = [name] if name in present else [m for m in present if m.split("(")[0] == name]
        matching += [method for method in variants if method not in matching]
        if not variants:
            unknown.append(name)
    return matching, unknown


def _baseline(requested: str | None, chosen: list[str], present: list[str]) -> str:
    """Return the method that the others are tested against."""
    if requested is None:
        usual, _ = _match(["fine-tuning"], chosen)
        return (usual or chosen or present)[0]
    matching, _ = _match([requested], present)
    if len(matching) != 1:
        problem = (
            f"the baseline {requested!r} could be any of {', '.join(matching)}"
            if matching
            else f"no baseline {requested!r}"
        )
        raise NothingToCompare(f"{problem}; the methods are {', '.join(present)}")
    return matching[0]


def _inventory(runs: Sequence[Run]) -> str:
    return (
        f"the methods {', '.join(sorted({run.method for run in runs}))}; "
        f"the tasks {', '.join(sorted({run.task for run in runs}))}; "
        f"the sizes {', '.join(map(str, sorted({run.size for run in runs})))}"
    )
