"""How a trained model's scores change around it: over its simplex, and along random directions away from it.

What the paper's first claim rests on (a whole region of good models) can be looked at here, job by
job. Nothing is chosen by it, so test rows may be looked at as often as there are points.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from harness.artefacts import restore
from harness.artefacts.restore import Stored
from harness.atomic_write import write_output
from harness.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from harness.tasks import Row
    from harness.training.adapted_model import Adapted
    from harness.training.batching import Encoded
    from harness.training.job_run import Attempt

RADII: Final = (
    0.05,
    0.1,
    0.2,
    0.4,
)  # of steps away from the model, as shares of each tensor's norm


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to look at."""

    vertices: Sequence[int]  # by number from 1; empty: the first three
    edges: bool  # between all pairs of vertices, instead of a triangle
    steps: int  # parts of an edge
    directions: int
    tested: int  # test rows looked at, the first ones; 0: none


@dataclass(frozen=True, kw_only=True)
class Point:
    """What was seen at one place."""

    weights: tuple[float, ...]  # of all vertices; empty off the simplex
    direction: int | None  # which random direction
    radius: float  # how far along it, as a share of each tensor's norm
    train_loss: float
    dev_loss: float
    dev: float  # scores, 1.0 = perfect
    test: float | None


def show_landscape(db: str, digest: str, wanted: Wanted, output: Path | None) -> None:
    """`bench landscape`: a figure, its numbers beside it, and what they say in a few lines.

    Raises:
        UsageError: the file's ending is no form of a figure; and as `survey`.
        CannotWrite: a file cannot be written.
    """
    from rich.console import Console
    from rich.progress import Progress

    from reports.figures import FILE_FORMATS, save
    from reports.figures.landscape import landscape

    target = output or Path(f"landscape-{digest[:12]}.svg")
    form = target.suffix.removeprefix(".").lower()
    if form not in FILE_FORMATS:
        raise UsageError(
            f"--output: {target} must end in {' or '.join(f'.{one}' for one in FORMS)}"
        )
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking", total=None)
        one, points = survey(
            db,
            digest,
            wanted,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    write_output(target.with_suffix(".json"), as_json(one, points))
    out = Console(soft_wrap=True, highlight=False)
    for line in summary(one, points):
        out.print(line, markup=False)
    over = [point for point in points if point.weights]
    if one.vertices > 1:
        seen = sorted(
            {place for point in over[1:] for place, weight in enumerate(point.weights) if weight}
        )
        shown = [
            point for point in over if math.isclose(sum(point.weights[place] for place in seen), 1)
        ]
        sheet = landscape(
            [[point.weights[place] for place in seen] for point in shown],
            [100 * _score(point) for point in shown],
            [f"vertex {place + 1}" for place in seen],
            title=f"{one.entry.label} on {one.entry.task}, size {one.entry.size}, draw {one.entry.draw}",
            unit="points, test rows" if wanted.tested else "points, dev rows",
        )
        write_output(target, save(sheet, form))
        out.print(f"{target} and {target.with_suffix('.json')}", markup=False)
    else:
        out.print(str(target.with_suffix(".json")), markup=False)


def _score(point: Point) -> float:
    return point.dev if point.test is None else point.test


def summary(one: Stored, points: Sequence[Point]) -> Iterator[str]:
    """What the points say, in words."""
    centre, *others = (point for point in points if point.weights)
    corners = [point for point in others if max(point.weights) == 1]
    where = "dev" if centre.test is None else "test"
    entry = one.entry
    yield f"{entry.label} on {entry.task}, size {entry.size}: centre {100 * _score(centre):.1f} points on {where} rows"
    if corners:
        each = ", ".join(f"{100 * _score(point):.1f}" for point in corners)
        rest = [100 * _score(point) for point in others]
        yield f"vertices {each}; mean of {len(rest)} points {fmean(rest):.1f}, lowest {min(rest):.1f}, highest {max(rest):.1f}"
        best = max(others, key=lambda point: (point.dev, -point.dev_loss))
        yield f"the point best on dev rows scores {100 * _score(best):.1f}"
    for radius in RADII:
        away = [point for point in points if point.direction is not None and point.radius == radius]
        if away:
            rise = fmean(point.train_loss - centre.train_loss for point in away)
            more = fmean(point.dev_loss - centre.dev_loss for point in away)
            yield f"{100 * radius:.0f} % along {len(away)} random directions: training loss {rise:+.3f}, dev loss {more:+.3f}"


def points_of(vertices: int, wanted: Wanted) -> list[tuple[float, ...]]:
    """Weights to look at: the centre first, then a triangle's lattice or the edges.

    Raises:
        UsageError: a vertex is not there, or they are not two or three.
    """
    centre = tuple(1 / vertices for _ in range(vertices))
    if vertices == 1:
        return [centre]
    chosen = list(wanted.vertices) or list(range(1, min(vertices, 3) + 1))
    if bad := [number for number in chosen if not 1 <= number <= vertices]:
        raise UsageError(f"--vertices: there is no vertex {bad[0]}; there are 1 to {vertices}")
    if not wanted.edges and (len(set(chosen)) != len(chosen) or len(chosen) not in (2, 3)):
        raise UsageError(
            f"--vertices wants two or three different numbers, got {len(chosen)}; or take --edges"
        )
    groups = (
        itertools.combinations(range(vertices), 2)
        if wanted.edges
        else [tuple(number - 1 for number in chosen)]
    )
    found = [centre]
    for group in groups:
        for shares in _lattice(len(group), wanted.steps):
            weights = [0.0] * vertices
            for place, share in zip(group, shares, strict=True):
                weights[place] = share / wanted.steps
            found.append(tuple(weights))
    return list(dict.fromkeys(found))


def _lattice(parts: int, total: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as a sum of whole numbers, one a part."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        yield from ((first, *rest) for rest in _lattice(parts - 1, total - first))


def survey(
    db: str, digest: str, wanted: Wanted, seen: Callable[[int, int], None]
) -> tuple[Stored, list[Point]]:
    """Look at each point; `seen` hears how many of how many are done.

    Raises:
        UsageError, Unavailable, CorruptData: there is no such job, its tensors were not kept, its
            data are not at hand.
    """
    one = restore.load(db, digest)
    at = points_of(one.vertices, wanted)
    total = len(at) + wanted.directions * len(RADII)
    found = []
    with viewer(one, wanted.tested) as view:
        for weights in at:
            where = None if len(set(weights)) == 1 else ",".join(map(repr, weights))
            found.append(
                Point(
                    weights=weights, direction=None, radius=0.0, **view.look(one.point(where), True)
                )
            )
            seen(len(found), total)
        for number, radius in itertools.product(range(wanted.directions), RADII):
            away = along(one.point(None), one.entry.digest, number, radius)
            found.append(
                Point(weights=(), direction=number, radius=radius, **view.look(away, False))
            )
            seen(len(found), total)
    return one, found


def along(
    tensors: Mapping[str, Tensor], digest: str, number: int, radius: float
) -> dict[str, Tensor]:
    """The tensors moved along a random direction, each by that share of its norm; the same for the same job and number."""
    import torch

    from harness.streams import stream

    generator = torch.Generator().manual_seed(stream("direction", digest, number) % 2**63)
    moved = {}
    for name, tensor in sorted(tensors.items()):
        step = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        length = step.norm().clamp_min(torch.finfo(torch.float64).tiny)
        moved[name] = (tensor.double() + radius * tensor.double().norm() / length * step).to(
            tensor.dtype
        )
    return moved


@dataclass(frozen=True)
class Viewer:
    """A trained model's backbone with its slots in it, and the rows of its job."""

    job: Attempt
    adapted: Adapted
    encoded: Mapping[
        str, Sequence[Encoded]
    ]  # train, dev, and the suffixes of the test splits looked at
    papers: Mapping[str, Sequence[Row]]  # test rows by suffix

    def look(self, tensors: Mapping[str, Tensor], test: bool) -> dict[str, Any]:
        """Losses and scores with these tensors in the slots."""
        import torch

        from harness.training import testing
        from harness.training.adapted_model import predict

        target, losses, scores = self.job.target, {}, {}
        for name, rows in {"train": self.job.rows.train, "dev": self.job.rows.dev}.items():
            logits = predict(self.adapted, lambda _: dict(tensors), self.encoded[name])
            losses[f"{name}_loss"] = float(
                target.loss(logits, target.tensor(rows, torch.device("cpu")))
            )
            scores[name] = testing.graded(target, logits, rows)
        marks = None
        if test and self.papers:
            sheets = {suffix: (rows, self.encoded[suffix]) for suffix, rows in self.papers.items()}
            marks = testing.sit(
                lambda _: dict(tensors), sheets, target, testing.plain(self.adapted)
            )
        return {**losses, "dev": scores["dev"], "test": marks.score if marks else None}


@contextmanager
def viewer(one: Stored, tested: int) -> Iterator[Viewer]:
    """What looks at tensors in the backbone with the rows of their job.

    Raises:
        Unavailable, CorruptData: the backbone or the rows are not at hand, or not those of the job.
    """
    import torch

    from harness.commands.verify import job_of
    from harness.errors import Unavailable
    from harness.training import batching, job_run
    from harness.training.adapted_model import Adapted
    from harness.training.ticket import Ticket

    if one.task is None:
        raise Unavailable(
            f"{one.entry.task} is a file of yours, whose rows the ledger does not hold"
        )
    torch.set_num_threads(1)  # as in a worker, where sums are added in the same order
    ticket = Ticket(job=job_of(one.entry), task=one.task, keep="none", artefacts=Path())
    job = job_run.Attempt.of(ticket, "cpu")
    adapted = Adapted(job.backbone, job.method.slots(job.backbone), None)  # type: ignore[arg-type]  # nothing is trained
    papers = {suffix: rows[:tested] for suffix, rows in job.rows.tests.items() if tested}
    parts = {"train": job.rows.train, "dev": job.rows.dev, **papers}
    try:
        yield Viewer(
            job,
            adapted,
            {name: batching.encode(job.backbone, rows) for name, rows in parts.items()},
            papers,
        )
    finally:
        adapted.slots.remove()


def as_json(one: Stored, points: Sequence[Point]) -> str:
    """What was seen, for other programs."""
    entry = one.entry
    at = {
        "digest": entry.digest,
        "method": entry.label,
        "task": entry.task,
        "size": entry.size,
        "draw": entry.draw,
    }
    return (
        json.dumps(
            {"schema": 1, **at, "points": [asdict(point) for point in points]},
            sort_keys=True,
            indent=1,
        )
        + "\n"
    )
