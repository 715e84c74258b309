"""Turn a request into jobs: look up revisions, fingerprint draws, and name infeasible cells. Nothing is trained."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import methods
from harness.backbones import checkpoints
from harness.cache import DiskCache
from harness.errors import UsageError
from harness.jobs import BackboneSpec, DrawSpec, Job, Recipe
from harness.ledger import InfeasibleCell
from harness.study import compatibility
from harness.tasks import draws, metrics
from harness.tasks.base import Example, Task
from methods import Method


@dataclass(frozen=True, kw_only=True)
class Request:
    """A checked request: the lists whose product is the grid."""

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
        """The number of cells of the grid."""
        return len(self.methods) * len(self.tasks) * len(self.sizes) * self.draws * self.seeds


@dataclass(frozen=True)
class Plan:
    """The jobs of a request, in the order in which they are queued, and the infeasible cells."""

    backbone: BackboneSpec
    jobs: tuple[Job, ...]
    infeasible: tuple[InfeasibleCell, ...]
    tasks: dict[str, Task]

    def tasks_at_revisions(self) -> tuple[list[Task], dict[str, str]]:
        """Return the tasks that have jobs, and their revisions."""
        revisions = {job.draw.task: job.draw.revision for job in self.jobs}
        return [task for name, task in self.tasks.items() if name in revisions], revisions

    def part(self, number: int, parts: int) -> "Plan":
        """Return one part of the plan.

        If the study has at least as many draws as parts, the parts have about equally many jobs of each method,
        task and size.

        Args:
            number: From 1 to `parts`; the first part has all infeasible cells.
            parts: The number of parts.
        """
        # The jobs of a block differ in their method only. A job's part is the sum of three places, modulo `parts`: of
        # its method in the block, of the block in its draw, and of the draw. With fewer terms, one part could get all
        # jobs of a task.
        blocks_of: defaultdict[int, dict[tuple[str, int, int], int]] = defaultdict(dict)
        jobs, within = [], Counter[tuple[int, tuple[str, int, int]]]()
        for job in self.jobs:
            block, draw = (job.draw.task, job.draw.size, job.seed), job.draw.number
            place = blocks_of[draw].setdefault(block, len(blocks_of[draw]))
            if (draw + place + within[draw, block]) % parts == number - 1:
                jobs.append(job)
            within[draw, block] += 1
        return replace(self, jobs=tuple(jobs), infeasible=self.infeasible if number == 1 else ())


def plan(request: Request, progress: Callable[[str], None] = lambda _: None) -> Plan:
    """Return the plan of a request.

    Args:
        request: What to plan.
        progress: Called with a text about what is being looked up.

    Raises:
        Unavailable: A dataset or the model does not exist, or cannot be reached and is not cached.
        UsageError: The backbone supports none of the methods.
    """
    progress(f"looking up {request.model}")
    backbone = BackboneSpec(
        name=request.model,
        revision=checkpoints.revision_of(request.model),
        pooling=request.pooling,
        dtype=request.dtype,
    )
    blocks: list[tuple[DrawSpec, str]] = []
    for task in request.tasks:
        progress(f"drawing examples of {task.name}")
        blocks += _blocks(task, request)
    refusals = {
        writes: _refusals(request, backbone, writes, progress)
        for writes in {task.text for task in request.tasks}
    }
    if all(reason for reasons in refusals.values() for reason in reasons):
        raise UsageError(*(reason for reasons in refusals.values() for reason in reasons))
    # Jobs that differ only in method are adjacent, and early draws come first: without packs, an interrupted study
    # still compares methods.
    jobs, infeasible = [], []
    names = [task.name for task in request.tasks]
    for block, problem in sorted(
        blocks, key=lambda b: (b[0].number, request.sizes.index(b[0].size), names.index(b[0].task))
    ):
        for seed in range(request.seeds):
            of_task = refusals[block.kind == "text"]
            for method, refusal in zip(request.methods, of_task, strict=True):
                rows = replace(block, fingerprint="") if refusal else block
                reason = refusal or (problem and f"{rows.task} at {rows.size}: {problem}")
                job = _job(backbone, rows, seed, method, request.recipe)
                if reason:
                    infeasible.append(InfeasibleCell(job, reason))
                else:
                    jobs.append(job)
    return Plan(
        backbone, tuple(jobs), tuple(infeasible), {task.name: task for task in request.tasks}
    )


def _refusals(
    request: Request, backbone: BackboneSpec, writes: bool, progress: Callable[[str], None]
) -> list[str]:
    """Return for each method why the backbone does not support it, or an empty text if it does.

    Args:
        request: names the methods.
        backbone: the backbone.
        writes: whether the methods are to be supported for writing text; if not, for classifying.
        progress: called with a text about what is being looked up.
    """
    supports = compatibility.find(
        backbone, request.methods, request.recipe.max_length, progress, writes=writes
    )
    return [
        f"{methods.label(method)} on {backbone.title}: {support.refused}" if support.refused else ""
        for method, support in zip(request.methods, supports, strict=True)
    ]


def _job(backbone: BackboneSpec, rows: DrawSpec, seed: int, method: Method, recipe: Recipe) -> Job:
    plugin = methods.plugin_of(method)
    return Job(
        backbone=backbone,
        draw=rows,
        seed=seed,
        method=method.name,
        method_version=method.resolved_version,
        options=method.resolved(),
        label=methods.label(method),
        recipe=recipe,
        distribution=plugin.distribution if plugin else "",
    )


def _blocks(task: Task, request: Request) -> list[tuple[DrawSpec, str]]:
    """Return the draws of a task, each with the reason why it is infeasible, or an empty text.

    Known draws come from the cache; an infeasible draw has no fingerprint and no counts.
    """
    revision = task.reader.revision()
    recipe = request.recipe
    sampling = [draws.VERSION, recipe.dev, recipe.sampling, recipe.per_class, recipe.test_limit]
    population = [
        task.name,
        task.version,
        revision,
        task.train,
        dict(task.tests),
        task.holdout,
        task.labels,
    ]
    # The three words are part of what names the cache file, so that a file is not read that was written before the
    # facts had the fields "shared" and "absent", or while any cached configuration passed for the default one.
    known = DiskCache("draws", "shared", "absent", "default", *sampling, *population)
    read = cache(lambda split: task.reader.examples(split, revision))
    blocks: list[tuple[DrawSpec, str]] = []
    for size in request.sizes:
        for number in range(request.draws):
            empty = _rows(task, revision, size, number)
            key = f"{size}/{number}"
            facts = known.get(key)
            if facts is None:
                facts = _draw(task, read, size, number, recipe)
                known.set(key, facts)
            blocks.append(
                (empty, facts["reason"])
                if "reason" in facts
                else (replace(empty, **facts | {"absent": tuple(facts["absent"])}), "")
            )
    known.save()
    return blocks


def _rows(task: Task, revision: str, size: int, number: int) -> DrawSpec:
    return DrawSpec(
        task=task.name,
        version=task.version,
        revision=revision,
        size=size,
        number=number,
        fingerprint="",
        n_train=0,
        n_dev=0,
        n_test=0,
        metrics=metrics.versioned(task.metrics),
        labels=task.labels,
        holdout=task.holdout,
        kind=task.kind,
    )


def _draw(
    task: Task, read: Callable[[str], Sequence[Example]], size: int, number: int, recipe: Recipe
) -> dict[str, Any]:
    """Return the facts about a draw that are cached: its counts and fingerprint, or why it is infeasible."""
    if reason := draws.infeasible_reason(task, size, recipe):
        return {"reason": reason}
    try:
        drawn = draws.draw(task, read, size, number, recipe)
    except draws.Infeasible as reason:
        return {"reason": str(reason)}
    tested = {
        number
        for rows in drawn.tests.values()
        for row in rows
        for number in (row.classes if task.labels else ())
    }
    absent = [name for number, name in enumerate(task.labels) if number not in tested]
    return {
        "fingerprint": drawn.fingerprint,
        "n_train": len(drawn.train),
        "n_dev": len(drawn.dev),
        "n_test": sum(len(rows) for rows in drawn.tests.values()),
        "redrawn": drawn.redrawn,
        "shared": drawn.shared,
        "absent": absent,
    }
