"""How long jobs take on this processor and how much memory they need, before any has run.

Costs of calls are measured once for each method and backbone, with a few small calls; the lengths of
rows come from a sample of each task. Both are cached.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, NamedTuple

import methods
from harness import provenance
from harness.cache import DiskCache
from harness.costs import CallCosts, Costs, Shape
from harness.jobs import BackboneSpec, DrawSpec, Job, Recipe, canonical
from harness.study.planning import Plan, Request
from harness.tasks import draws
from harness.tasks.base import Example, Task
from harness.wording import duration, plural
from methods import Method

if TYPE_CHECKING:
    from harness.backbones.loading import Backbone

SAMPLE: Final = 256  # rows of a task whose lengths are counted
BATCHES: Final = 40  # random batches whose shapes are averaged
PROGRAM_BYTES: Final = 370 << 20  # of a process that has imported torch and transformers
SOLVER_SECONDS: Final = 0.3  # of a method that is fitted in closed form, beside its features


class JobEstimate(NamedTuple):
    """What a job takes."""

    seconds: float
    bytes: float  # memory of its worker


def estimate(
    request: Request, plan: Plan, progress: Callable[[str], None] = lambda _: None
) -> dict[str, JobEstimate]:
    """Return the estimate of each job of a plan for a worker on the CPU, by digest.

    Jobs whose method cannot be tried are absent. A text is taken to be as long as its first reference.

    Args:
        request: the request.
        plan: its plan.
        progress: called with a text about what is being done.

    Raises:
        Unavailable: the backbone or the data are not available.
    """
    return _estimate(request, plan, progress)


def known_estimate(request: Request, plan: Plan) -> dict[str, JobEstimate]:
    """Return the estimates if an earlier plan has measured all that they need; otherwise none."""
    try:
        return _estimate(request, plan, None)
    except _NotMeasured:
        return {}


def seconds(estimates: Sequence[JobEstimate], workers: int) -> float:
    """Return how long jobs take in all: no less than the longest one."""
    longest = max((job.seconds for job in estimates), default=0.0)
    return max(sum(job.seconds for job in estimates) / workers, longest)


def describe(estimates: Sequence[JobEstimate], workers: int) -> str:
    """Return how long jobs take in all, and the memory that each worker needs."""
    memory = max(job.bytes for job in estimates) / 2**30
    return (
        f"about {duration(seconds(estimates, workers))} with {plural(workers, 'worker')} on this processor, "
        f"up to {memory:.1f} GiB of memory for each"
    )


class _NotMeasured(Exception):
    """Something is not in the cache."""


def _estimate(
    request: Request, plan: Plan, progress: Callable[[str], None] | None
) -> dict[str, JobEstimate]:
    known_of = {
        writes: _Known(plan.backbone, request.recipe, progress, writes=writes)
        for writes in (False, True)
    }
    by_label = {methods.label(method): method for method in request.methods}
    counts = Counter((job.label, job.draw.task) for job in plan.jobs)
    cells: dict[tuple[str, str, int], JobEstimate | None] = {}
    estimates = {}
    for job in plan.jobs:
        cell = job.label, job.draw.task, job.draw.size
        known = known_of[plan.tasks[job.draw.task].text]
        if cell not in cells:
            costs = known.costs(by_label[job.label])
            shapes = _Shapes(known, plan.tasks[job.draw.task], job)
            sharing = counts[job.label, job.draw.task]
            cells[cell] = costs and _of_job(job, by_label[job.label], costs, shapes, sharing)
        if (found := cells[cell]) is not None:
            estimates[job.digest] = found
    for known in known_of.values():
        known.save()
    return estimates


def _of_job(job: Job, method: Method, costs: Costs, shapes: _Shapes, sharing: int) -> JobEstimate:
    """Return the estimate of a job; `sharing` is the number of jobs that share its features."""
    draw, recipe = job.draw, job.recipe
    if method.closed_form is not None:
        drawn, _ = shapes.of_features("drawn", draw.n_train + draw.n_dev)
        tested, probed = shapes.of_features("test", draw.n_test)
        once = costs.test.seconds(tested) * (1 if draw.holdout else 1 / sharing)
        once += costs.test.seconds(probed) / sharing
        return JobEstimate(
            SOLVER_SECONDS + costs.test.seconds(drawn) + once, costs.bytes_of(Shape(0, 0, 0))
        )
    if shapes.task.text:
        testing = costs.write.seconds(shapes.of_writing("test", draw.n_test))
    else:
        testing = costs.test.seconds(shapes.of_rows("test", draw.n_test))
    step = shapes.of_step(recipe.batch_size)
    copies = method.dev_scoring.copies_of(draw.n_dev) if costs.stochastic else 1
    evaluation = costs.dev.seconds(shapes.of_rows("drawn", draw.n_dev * copies))
    if shapes.task.text and recipe.dev_score == "metric":
        evaluation += costs.write.seconds(shapes.of_writing("drawn", draw.n_dev))
    if not method.trains:
        return JobEstimate(evaluation + testing, costs.bytes_of(Shape(0, 0, 0)))
    # The temperature of classes is fitted at the centroid.
    temperature = (
        0.0 if shapes.task.text else costs.test.seconds(shapes.of_rows("drawn", draw.n_dev))
    )
    seconds = (
        recipe.steps * (costs.step + costs.train.seconds(step))
        + math.ceil(recipe.steps / recipe.eval_every) * evaluation
        + temperature
        + testing * (1 + method.test_samples)
    )
    return JobEstimate(seconds, costs.bytes_of(step))


class _Known:
    """Costs and lengths, from the cache or found now; the backbone is loaded if something is to be found.

    Args:
        spec: the backbone.
        recipe: lengths of rows and of texts.
        progress: called with what is being found; None: find nothing, raise `_NotMeasured`.
        writes: whether the backbone writes text.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        recipe: Recipe,
        progress: Callable[[str], None] | None,
        *,
        writes: bool,
    ) -> None:
        self.spec, self.max_length, self._progress = spec, recipe.max_length, progress
        self._target_length = recipe.target_length if writes else 0
        place = (
            canonical(asdict(spec)),
            self.max_length,
            self._target_length,
            provenance.environment(),
        )
        self._costs = DiskCache("costs", *place, provenance.processor())
        self._shapes = DiskCache("shapes", *place)

    def save(self) -> None:
        """Write what was found to the cache."""
        self._costs.save()
        self._shapes.save()

    def costs(self, method: Method) -> Costs | None:
        """Return the costs of a method; None if it cannot be tried."""
        key = canonical(
            {"name": method.name, "version": method.resolved_version, "options": method.resolved()}
        )
        if (values := self._costs.get(key)) is None:
            self._announce(f"measuring steps of {methods.label(method)}")
            if (found := self._measure(method)) is None:
                return None
            values = found._asdict()
            self._costs.set(key, values)
        calls = {name: CallCosts(*values[name]) for name in ("train", "dev", "test", "write")}
        return Costs(**(values | calls))

    def _announce(self, text: str) -> None:
        if self._progress is None:
            raise _NotMeasured
        self._progress(text)

    def _measure(self, method: Method) -> Costs | None:
        from harness.streams import Streams
        from harness.study import cost_probe
        from harness.training.adapted_model import AdaptedModel

        try:
            slots = method.slots(self.backbone)
        except ValueError:
            return None
        try:
            trainable = method.trainable_parameters(slots, Streams(("costs", 1, 0, 0)))
            adapted = AdaptedModel(
                self.backbone, slots, trainable.to(dtype=self.backbone.trained_in)
            )
            found = cost_probe.measure(adapted, method)
            grown = found.process_bytes - self.bytes_before
            return found._replace(process_bytes=PROGRAM_BYTES + max(grown, 0))
        finally:
            slots.remove()

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone on the CPU."""
        from harness.backbones import checkpoints, loading
        from harness.training.peak_memory import resident_bytes

        self.bytes_before = resident_bytes()
        checkpoints.locate_verified(self.spec.name, self.spec.revision)
        writes = self._target_length > 0
        backbone = loading.load(self.spec, "cpu", writes=writes)
        return replace(backbone, max_length=self.max_length, target_length=self._target_length)

    def shape(self, key: str, find: Callable[[], Shape]) -> Shape:
        """Return a shape from the cache, or find it."""
        if (values := self._shapes.get(key)) is None:
            values = list(find())
            self._shapes.set(key, values)
        return Shape(*values)

    def lengths(self, task: Task, rows: DrawSpec, job: Job) -> dict[str, list[Lengths]]:
        """Return the tokens of some examples of a draw, in random order: of `drawn` and of `test` ones."""
        from harness.training.rows.encoding import encode

        self._announce(f"reading examples of {task.name}")
        draw = draws.draw(
            task,
            lambda split: task.reader.examples(split, rows.revision),
            rows.size,
            rows.number,
            job.recipe,
        )

        def count(examples: Sequence[Example]) -> list[Lengths]:
            some = random.Random(0).sample(examples, min(SAMPLE, len(examples)))  # noqa: S311
            return [
                Lengths(len(row["input_ids"]), sum(row.get("target_mask", ())))
                for row in encode(self.backbone, some)
            ]

        tests = [row for part in draw.tests.values() for row in part]
        return {"drawn": count([*draw.train, *draw.dev]), "test": count(tests)}


class Lengths(NamedTuple):
    """Tokens of a row, and of the text that is to be written for it; the row of a decoder contains the text."""

    row: int
    target: int


class _Shapes:
    """The shapes of the forward calls of a job."""

    def __init__(self, known: _Known, task: Task, job: Job) -> None:
        self._known, self.task, self._job = known, task, job
        draw = job.draw
        self._key = canonical([task.name, task.version, draw.revision, draw.size])

    def of_rows(self, which: str, count: int) -> Shape:
        """Return the calls in which this many `drawn` or `test` rows are evaluated."""

        def find() -> Shape:
            return self._shape(self._some(which, count))

        return self._known.shape(f"{self._key} {which} {count}", find)

    def of_writing(self, which: str, count: int) -> Shape:
        """Return the calls in which texts are written for this many `drawn` or `test` rows."""
        recipe = self._job.recipe

        def find() -> Shape:
            from harness.training import generation

            some = self._some(which, count)
            inside = not self._known.backbone.architecture.encoder_decoder
            sources = [row.row - row.target * inside for row in some]
            return generation.shape_on_cpu(sources, [row.target for row in some], recipe)

        return self._known.shape(f"{self._key} written {which} {count} {recipe.beams}", find)

    def of_step(self, batch_size: int) -> Shape:
        """Return the mean calls of a training step."""

        def find() -> Shape:
            sample = self._lengths["drawn"]
            rng = random.Random(0)  # noqa: S311
            shapes = [self._shape(rng.choices(sample, k=batch_size)) for _ in range(BATCHES)]
            return Shape(*(sum(values) / BATCHES for values in zip(*shapes, strict=True)))

        return self._known.shape(f"{self._key} step {batch_size}", find)

    def of_features(self, which: str, count: int) -> tuple[Shape, Shape]:
        """Return the calls that compute features of this many rows, and those that probe their shapes."""

        def find(part: int) -> Shape:
            from harness.training.feature_cache import shapes_on_cpu

            lengths = [row.row for row in self._some(which, count)]
            return shapes_on_cpu(lengths, self._known.max_length)[part]

        key = f"{self._key} features {which} {count}"
        computing, probing = (
            self._known.shape(f"{key} {part}", partial(find, part)) for part in range(2)
        )
        return computing, probing

    @cached_property
    def _lengths(self) -> dict[str, list[Lengths]]:
        return self._known.lengths(self.task, self._job.draw, self._job)

    def _some(self, which: str, count: int) -> list[Lengths]:
        """Return this many lengths like those of the sample."""
        sample = self._lengths[which]
        return (sample * math.ceil(count / len(sample)))[:count]

    def _shape(self, rows: Sequence[Lengths]) -> Shape:
        from harness.training.rows.batching import shape_on_cpu

        # The text that an encoder-decoder is to write is not in its row, but costs as much.
        beside = self.task.text and self._known.backbone.architecture.encoder_decoder
        lengths = [row.row + row.target * beside for row in rows]
        return shape_on_cpu(lengths, self._known.spec.dtype, self._known.max_length)
