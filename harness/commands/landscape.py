"""`bench landscape DIGEST`: losses and scores of one trained model over its simplex and around it.

The claim that a whole region of models is good can be checked here for a single job. Nothing is
selected by the result, so test rows may be evaluated at every point.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from harness.artefacts import restore
from harness.artefacts.restore import StoredModel
from harness.atomic_write import write_output
from harness.commands.verify import job_of
from harness.errors import Unavailable, UsageError
from harness.streams import stream_seed
from harness.tasks import Example, metrics
from harness.training import testing
from harness.training.adapted_model import AdaptedModel, predict
from harness.training.jobs import job_run
from harness.training.jobs.job_run import JobRun
from harness.training.labels import LabelTarget
from harness.training.rows import encoding
from harness.training.rows.truncation import Encoded
from harness.training.ticket import Ticket
from harness.wording import plural
from reports.figures import FILE_FORMATS, Layout, save
from reports.figures.landscape import landscape
from reports.figures.measure import of_metrics

RADII: Final = (0.05, 0.1, 0.2, 0.4)  # lengths of displacements, relative to each tensor's norm


@dataclass(frozen=True, kw_only=True)
class LandscapeRequest:
    """Which points to evaluate."""

    vertices: Sequence[int]  # by number from 1; empty: the first three
    edges: bool  # all edges between two vertices, instead of a triangle
    steps: int  # number of parts of an edge
    directions: int  # number of random directions
    test_rows: int  # number of rows of each test split to evaluate, from the first; 0: none


@dataclass(frozen=True, kw_only=True)
class LandscapePoint:
    """Losses and scores at one point."""

    weights: tuple[float, ...]  # of all vertices; empty off the simplex
    direction: int | None  # number of the random direction
    radius: float  # length of the displacement, relative to each tensor's norm
    train_loss: float
    dev_loss: float
    dev: float  # scores; 1.0 is perfect
    test: float | None

    @property
    def score(self) -> float:
        """The test score, or the dev score if no test rows were evaluated."""
        return self.dev if self.test is None else self.test


def show_landscape(
    db: str, digest: str, request: LandscapeRequest, output: Path | None, layout: Layout
) -> None:
    """Evaluate a model's points, print a summary, and write the numbers and a figure.

    A model with a single vertex has no figure.

    Raises:
        UsageError: the file's ending is not a format of figures; and as `evaluate_points`.
        Unavailable, CorruptData: see `evaluate_points`.
        CannotWrite: a file cannot be written.
    """
    target = output or Path(f"landscape-{digest[:12]}.svg")
    form = target.suffix.removeprefix(".").lower()
    if form not in FILE_FORMATS:
        endings = " or ".join(f".{known}" for known in FILE_FORMATS)
        raise UsageError(f"--output: {target} must end in {endings}")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("evaluating", total=None)
        stored, points = evaluate_points(
            db, digest, request, lambda done, total: bar.update(task, completed=done, total=total)
        )
    numbers = target.with_suffix(".json")
    write_output(numbers, as_json(stored, points))
    out = Console(soft_wrap=True, highlight=False)
    for line in summary(stored, points):
        out.print(line, markup=False)
    if stored.vertices > 1:
        write_output(target, save(_figure(stored, points, layout), form))
        out.print(f"wrote {target} and {numbers}", markup=False)
    else:
        out.print(f"wrote {numbers}", markup=False)


def _figure(stored: StoredModel, points: Sequence[LandscapePoint], layout: Layout) -> Any:
    centre, *others = (point for point in points if point.weights)
    used = sorted({v for point in others for v, weight in enumerate(point.weights) if weight})
    # The centre of all vertices lies outside the figure if only some of them are drawn.
    inside = [
        point for point in (centre, *others) if math.isclose(sum(point.weights[v] for v in used), 1)
    ]
    entry = stored.entry
    measure = of_metrics(*_metrics(stored))
    return landscape(
        [[point.weights[v] for v in used] for point in inside],
        [100 * point.score for point in inside],
        [f"vertex {v + 1}" for v in used],
        title=f"{entry.label} on {entry.task}, size {entry.size}, draw {entry.draw}",
        unit=f"{measure.name} on {'dev' if centre.test is None else 'test'} rows, points",
        bounds=measure.bounds,
        tested=100 * centre.score if len(used) < stored.vertices else None,
        layout=layout,
    )


def _metrics(stored: StoredModel) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the metrics whose mean is the score of the task, which way of each is better, and the classes."""
    names = [name.rpartition("/")[0] for name in stored.entry.setting["task"]["metrics"]]
    better: dict[str, str] = {name: metrics.get(name).better for name in names}
    return names, better, stored.labels


def summary(stored: StoredModel, points: Sequence[LandscapePoint]) -> Iterator[str]:
    """Yield sentences that describe the evaluated points."""
    centre, *others = (point for point in points if point.weights)
    vertices = [point for point in others if max(point.weights) == 1]
    entry, rows = stored.entry, "dev" if centre.test is None else "test"
    yield (
        f"{entry.label} on {entry.task}, size {entry.size}: "
        f"the centroid scores {100 * centre.score:.1f} points on {rows} rows"
    )
    if vertices:
        scores = [100 * point.score for point in (centre, *others)]
        best = max((centre, *others), key=lambda point: (point.dev, -point.dev_loss))
        yield f"vertices: {', '.join(f'{100 * point.score:.1f}' for point in vertices)}"
        yield (
            f"all {plural(len(scores), 'point')}, the centroid among them: mean {fmean(scores):.1f}, "
            f"lowest {min(scores):.1f}, highest {max(scores):.1f}"
        )
        yield f"the point with the best dev score scores {100 * best.score:.1f} points on {rows} rows"
    for radius in RADII:
        moved = [
            point for point in points if point.direction is not None and point.radius == radius
        ]
        if moved:
            train = fmean(point.train_loss - centre.train_loss for point in moved)
            dev = fmean(point.dev_loss - centre.dev_loss for point in moved)
            yield (
                f"moved by {100 * radius:.0f} % of the norm in {plural(len(moved), 'random direction')}: "
                f"training loss {train:+.3f}, dev loss {dev:+.3f}"
            )


def lattice_points(vertices: int, request: LandscapeRequest) -> list[tuple[float, ...]]:
    """Return the weights to evaluate: the centroid, then a triangle's lattice or the edges.

    Args:
        vertices: how many the model has.
        request: which of them.

    Raises:
        UsageError: the model has several vertices, and a requested one does not exist; or, without `edges`,
            vertices are named, but not two or three different ones.
    """
    centre = tuple(1 / vertices for _ in range(vertices))
    if vertices == 1:
        return [centre]
    chosen = list(request.vertices) or list(range(1, min(vertices, 3) + 1))
    if bad := [number for number in chosen if not 1 <= number <= vertices]:
        raise UsageError(f"--vertices: there is no vertex {bad[0]}; there are 1 to {vertices}")
    if not request.edges and (len(set(chosen)) != len(chosen) or len(chosen) not in (2, 3)):
        raise UsageError(
            f"--vertices requires two or three different numbers, got {','.join(map(str, chosen))}"
        )
    groups = (
        itertools.combinations(range(vertices), 2)
        if request.edges
        else [tuple(number - 1 for number in chosen)]
    )
    points = [centre]
    for group in groups:
        for parts in itertools.product(range(request.steps, -1, -1), repeat=len(group)):
            if sum(parts) == request.steps:
                weights = dict(zip(group, (part / request.steps for part in parts), strict=True))
                points.append(tuple(weights.get(vertex, 0.0) for vertex in range(vertices)))
    return list(dict.fromkeys(points))


def evaluate_points(
    db: str, digest: str, request: LandscapeRequest, progress: Callable[[int, int], None]
) -> tuple[StoredModel, list[LandscapePoint]]:
    """Evaluate every requested point of a trained model.

    Args:
        db: the database of results.
        digest: the job's digest, or its beginning.
        request: which points.
        progress: called with the numbers of evaluated and of all points.

    Raises:
        UsageError: the job or a vertex does not exist, the request names too few or too many vertices or one
            twice, or the task is to write text.
        Unavailable, CorruptData: the tensors, the backbone or the rows are missing or were changed.
    """
    stored = restore.load(db, digest)
    lattice = lattice_points(stored.vertices, request)
    total = len(lattice) + request.directions * len(RADII)
    points = []
    with open_evaluator(stored, request.test_rows) as evaluator:
        for weights in lattice:
            # None is the centroid.
            at = None if len(set(weights)) == 1 else ",".join(map(repr, weights))
            values = evaluator.evaluate(stored.tensors_at(at), test=True)
            points.append(LandscapePoint(weights=weights, direction=None, radius=0.0, **values))
            progress(len(points), total)
        for number, radius in itertools.product(range(request.directions), RADII):
            moved = displaced(stored.tensors_at(None), stored.entry.digest, number, radius)
            values = evaluator.evaluate(moved, test=False)
            points.append(LandscapePoint(weights=(), direction=number, radius=radius, **values))
            progress(len(points), total)
    return stored, points


def displaced(
    tensors: Mapping[str, Tensor], digest: str, number: int, radius: float
) -> dict[str, Tensor]:
    """Return the tensors moved along a random direction.

    Args:
        tensors: the tensors by slot.
        digest: the job's digest; with `number` it determines the direction.
        number: number of the direction.
        radius: length of each tensor's displacement, relative to its norm.
    """
    generator = torch.Generator().manual_seed(stream_seed("direction", digest, number) % 2**63)
    moved = {}
    for name, tensor in sorted(tensors.items()):
        direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        length = direction.norm().clamp_min(torch.finfo(torch.float64).tiny)
        shift = radius * tensor.double().norm() / length * direction
        moved[name] = (tensor.double() + shift).to(tensor.dtype)
    return moved


@dataclass(frozen=True)
class Evaluator:
    """A trained model's backbone with its slots, and the rows of its job."""

    job: JobRun
    adapted: AdaptedModel
    encoded: Mapping[str, Sequence[Encoded]]  # by `train`, `dev` and the suffixes of `tests`
    tests: Mapping[str, Sequence[Example]]  # test rows to evaluate, by the suffix of their split

    @property
    def target(self) -> LabelTarget:
        """The target of the job, which classifies."""
        assert isinstance(self.job.target, LabelTarget)  # `open_evaluator` refuses others
        return self.job.target

    def evaluate(self, tensors: Mapping[str, Tensor], *, test: bool) -> dict[str, Any]:
        """Return losses and scores with these tensors in the slots."""
        target, losses, scores = self.target, {}, {}
        for name, rows in {"train": self.job.draw.train, "dev": self.job.draw.dev}.items():
            logits = predict(self.adapted, lambda _: dict(tensors), self.encoded[name])
            loss = target.loss(logits, target.tensor(rows, torch.device("cpu")))
            losses[f"{name}_loss"] = float(loss)
            scores[name] = target.score(logits, rows)
        result = None
        if test and self.tests:
            tests = {suffix: (rows, self.encoded[suffix]) for suffix, rows in self.tests.items()}
            result = testing.evaluate(
                lambda _: dict(tensors),
                tests,
                target.task,
                testing.from_logits(testing.centroid_logits(self.adapted), target),
            )
        return {**losses, "dev": scores["dev"], "test": result.score if result else None}


@contextmanager
def open_evaluator(stored: StoredModel, test_rows: int) -> Iterator[Evaluator]:
    """Load a job's backbone and rows on the CPU, and remove the slots at the end.

    Args:
        stored: the trained model.
        test_rows: number of rows of each test split to evaluate, from the first.

    Raises:
        Unavailable, CorruptData: the backbone or the rows are missing or were changed.
        UsageError: the task is to write text.
    """
    if stored.task is None:
        raise Unavailable(
            f"{stored.entry.task} is described by a file of yours, whose rows the ledger does not hold"
        )
    if stored.task.text:
        raise UsageError(
            f"{stored.entry.task} is to write text: landscapes are drawn of classifiers only"
        )
    torch.set_num_threads(1)  # as in a worker: the number of threads decides the order of sums
    ticket = Ticket(job=job_of(stored.entry), task=stored.task, keep="none", artefacts=Path())
    job = job_run.JobRun.prepare(ticket, "cpu")
    adapted = AdaptedModel(job.backbone, job.method.slots(job.backbone), None)  # type: ignore[arg-type]  # nothing is trained
    tests = {suffix: rows[:test_rows] for suffix, rows in job.draw.tests.items() if test_rows}
    parts = {"train": job.draw.train, "dev": job.draw.dev, **tests}
    encoded = {name: encoding.encode(job.backbone, rows) for name, rows in parts.items()}
    try:
        yield Evaluator(job, adapted, encoded, tests)
    finally:
        adapted.slots.remove()


def as_json(stored: StoredModel, points: Sequence[LandscapePoint]) -> str:
    """Return the job and its evaluated points as JSON."""
    entry = stored.entry
    content = {
        "schema": 1,
        "digest": entry.digest,
        "method": entry.label,
        "task": entry.task,
        "size": entry.size,
        "draw": entry.draw,
        "points": [asdict(point) for point in points],
    }
    return json.dumps(content, sort_keys=True, indent=1) + "\n"
