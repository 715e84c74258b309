"""From a request to jobs: revisions looked up, draws fingerprinted, cells that cannot be drawn named. Trains nothing."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import methods
from harness.backbones import checkpoints
from harness.cache import Kept
from harness.errors import UsageError
from harness.jobs import BackboneSpec, Job, Recipe, Rows
from harness.ledger import Infeasible
from harness.study import compatibility
from harness.study.compatibility import Support
from harness.tasks import draws, metrics
from harness.tasks.base import Row, Task
from methods import Method


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, checked: the lists whose product is the grid."""

    methods: tuple[Method, ...]
    tasks: tuple[Task, ...]
    sizes: tuple[int, ...]
    draws: int
    seeds: int
    model: str
    pooling: str
    dtype: str
    recipe: Recipe

    @property
    def cells(self) -> int:
        """How many cells the grid has."""
        return len(self.methods) * len(self.tasks) * len(self.sizes) * self.draws * self.seeds


@dataclass(frozen=True)
class Plan:
    """The jobs of a request, in the order in which they run, and the cells that cannot be filled."""

    backbone: BackboneSpec
    jobs: tuple[Job, ...]
    infeasible: tuple[Infeasible, ...]
    tasks: dict[str, Task]

    def part(self, number: int, of: int) -> "Plan":
        """One of so many parts that together are the plan, each with about as many jobs of every method, size and task."""
        blocks: dict[tuple[str, int, int, int], int] = {}
        mine, within = [], Counter[int]()
        for job in self.jobs:
            block = blocks.setdefault(
                (job.rows.task, job.rows.size, job.rows.draw, job.seed), len(blocks)
            )
            if (
                block + within[block]
            ) % of == number - 1:  # methods are innermost: each block begins with another part
                mine.append(job)
            within[block] += 1
        return replace(
            self, jobs=tuple(mine), infeasible=self.infeasible if number == 1 else ()
        )  # fmt: skip


def plan(request: Request, progress: Callable[[str], None] = lambda _: None) -> Plan:
    """Resolve a request.

    Args:
        request: the lists.
        progress: told in words what is being looked up.

    Raises:
        Unavailable: a dataset or the model is out of reach and not cached, or does not exist.
        UsageError: the backbone allows none of the methods.
    """
    progress(f"looking up {request.model}")
    backbone = BackboneSpec(
        name=request.model,
        revision=checkpoints.revision_of(request.model),
        pooling=request.pooling,
        dtype=request.dtype,
    )
    blocks: list[Rows | tuple[Rows, str]] = []
    for task in request.tasks:
        progress(f"drawing rows of {task.name}")
        blocks += _blocks(task, request)
    allowed = compatibility.find(backbone, request.methods, request.recipe.max_length, progress)
    if all(found.refused for found in allowed):
        raise UsageError(
            *(
                _refusal(method, backbone, found)
                for method, found in zip(request.methods, allowed, strict=True)
            )
        )
    # All methods of a block stand together, and small draws come first: a study that is cut short
    # still compares.
    jobs, infeasible = [], []
    for block in sorted(blocks, key=lambda b: _order(b if isinstance(b, Rows) else b[0], request)):
        for seed in range(request.seeds):
            for method, found in zip(request.methods, allowed, strict=True):
                rows, reason = (block, "") if isinstance(block, Rows) else block
                reason = reason and f"{rows.task} at {rows.size}: {reason}"
                if found.refused:
                    rows, reason = replace(rows, fingerprint=""), _refusal(method, backbone, found)
                job = _job(backbone, rows, seed, method, request.recipe)
                if reason:
                    infeasible.append(Infeasible(job, reason))
                else:
                    jobs.append(job)
    return Plan(
        backbone, tuple(jobs), tuple(infeasible), {task.name: task for task in request.tasks}
    )


def _refusal(method: Method, backbone: BackboneSpec, found: Support) -> str:
    return f"{methods.label(method)} on {backbone.name}: {found.refused}"


def _order(rows: Rows, request: Request) -> tuple[int, int, int]:
    names = [task.name for task in request.tasks]
    return (rows.draw, request.sizes.index(rows.size), names.index(rows.task))


def _job(backbone: BackboneSpec, rows: Rows, seed: int, method: Method, recipe: Recipe) -> Job:
    plugin = methods.plugin_of(method)
    return Job(
        backbone=backbone,
        rows=rows,
        seed=seed,
        method=method.name,
        method_version=method.resolved_version,
        options=method.resolved(),
        label=methods.label(method),
        recipe=recipe,
        distribution=plugin.distribution if plugin else "",
    )


def _blocks(task: Task, request: Request) -> list[Rows | tuple[Rows, str]]:
    """The draws of one task, from the cache where their rows were seen before; or rows without content and the reason."""
    revision = task.reader.revision()
    recipe = request.recipe
    sampled = [draws.VERSION, recipe.dev, recipe.sampling, recipe.per_class, recipe.test_limit]
    drawn_from = [
        task.name,
        task.version,
        revision,
        task.train,
        dict(task.tests),
        task.holdout,
        task.labels,
    ]
    known = Kept("draws", "shared", *sampled, *drawn_from)
    read = cache(lambda split: task.reader.rows(split, revision))
    blocks: list[Rows | tuple[Rows, str]] = []
    for size in request.sizes:
        for number in range(request.draws):
            empty = _rows(task, revision, size, number)
            key = f"{size}/{number}"
            if (found := known.get(key)) is None:
                found = _draw(task, read, size, number, recipe)
                known.set(key, found)
            blocks.append(
                (empty, found["reason"]) if "reason" in found else replace(empty, **found)
            )
    known.save()
    return blocks


def _rows(task: Task, revision: str, size: int, number: int) -> Rows:
    scored = tuple(f"{name}/{metrics.get(name).version}" for name in task.metrics)
    return Rows(
        task=task.name,
        version=task.version,
        revision=revision,
        size=size,
        draw=number,
        fingerprint="",
        n_train=0,
        n_dev=0,
        n_test=0,
        metrics=scored,
        labels=task.labels,
        holdout=task.holdout,
    )


def _draw(
    task: Task, read: Callable[[str], Sequence[Row]], size: int, number: int, recipe: Recipe
) -> dict[str, Any]:
    """What is worth keeping of a draw."""
    if reason := draws.feasible(task, size, recipe):
        return {"reason": reason}
    try:
        drawn = draws.draw(task, read, size, number, recipe)
    except draws.Infeasible as reason:
        return {"reason": str(reason)}
    return {
        "fingerprint": drawn.fingerprint,
        "n_train": len(drawn.train),
        "n_dev": len(drawn.dev),
        "n_test": sum(len(rows) for rows in drawn.tests.values()),
        "redrawn": drawn.redrawn,
        "shared": drawn.shared,
    }
