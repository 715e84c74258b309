"""What lies around many kept models: centres against vertices and sampled models, and how fast losses rise."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from harness.artefacts import restore
from harness.artefacts.restore import Stored
from harness.atomic_write import write_output
from harness.commands.landscape import Viewer, along, viewer
from harness.commands.report import command_line
from harness.commands.stored_runs import ResultQuery, runs_of
from harness.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from reports.analysis.paired_runs import Frame, Run
    from reports.tables.landscape import Around

SAMPLES: Final = 10  # sampled models of each simplex
DIRECTIONS: Final = 5  # random ones, if no other number is asked for


def show_surroundings(
    query: ResultQuery, baseline: str | None, tested: int, directions: int, output: Path | None
) -> None:
    """`bench landscape` without a digest: every kept model of the selection is looked at, and tables printed.

    Raises:
        UsageError: nothing is selected, or no model of it was kept; the output is no JSON file.
        CannotWrite: it cannot be written.
    """
    from rich.console import Console
    from rich.progress import track

    from reports.formats.terminal import as_terminal
    from reports.tables.landscape import as_document

    if output is not None and output.suffix != ".json":
        raise UsageError(f"--output: {output} must end in .json, for the numbers of several jobs")
    frame = selected(query, baseline)
    done = [run for run in frame.all() if run.status == "done"]
    failed = [run for run in frame.all() if run.status in ("failed", "diverged")]
    found: list[Around] = []
    left: list[str] = []
    for run in track(done, "looking", console=Console(stderr=True), transient=True):
        try:
            found.append(
                around(restore.load(query.db, run.digest), run, tested, directions or DIRECTIONS)
            )
        except Unavailable as error:
            left.append(str(error))
    if not found:
        raise UsageError(
            f"none of the selected models can be looked at{': ' + left[0] if left else ''}"
        )
    where = "test" if tested else "dev"
    page = as_document(
        found,
        baseline=frame.baseline,
        where=where,
        left=left,
        failed=failed,
        command=command_line(),
    )
    width = shutil.get_terminal_size((100, 40)).columns
    sys.stdout.write(as_terminal(page, width=width, color=sys.stdout.isatty()))
    if output is not None:
        write_output(output, as_json(found))


def selected(query: ResultQuery, baseline: str | None) -> Frame:
    """The runs of a selection, of one backbone and recipe.

    Raises:
        UsageError: there are none, or they are of several.
    """
    from reports.analysis.paired_runs import Mixed, Nothing, arrange

    runs, _ = runs_of(query)
    try:
        return arrange(
            runs,
            baseline=baseline,
            methods=query.method_names(),
            tasks=query.task_names(),
            sizes=query.size_numbers(),
        )
    except (Mixed, Nothing) as error:
        raise UsageError(str(error)) from error


def around(one: Stored, run: Run, tested: int, directions: int) -> Around:
    """Look at one model.

    Raises:
        Unavailable, CorruptData: its tensors, backbone or rows are not at hand, or not those of the
            job.
    """
    from reports.tables.landscape import RADIUS, Around

    with viewer(one, tested) as view:

        def at(weights: Sequence[float] | None, test: bool = True) -> tuple[float, float]:
            """The training loss and the score at a point."""
            seen = view.look(
                one.point(None if weights is None else ",".join(map(repr, weights))), test
            )
            score = seen["test"] if view.papers else seen["dev"]
            return seen["train_loss"], math.nan if score is None else score

        loss, centre = at(None)
        numbers = range(one.vertices if one.vertices > 1 else 0)
        corners = [at([float(place == vertex) for place in numbers]) for vertex in numbers]
        away = (
            along(one.point(None), one.entry.digest, number, RADIUS) for number in range(directions)
        )
        samples, ensemble = _sampled(one, view) if corners else ((), None)
        return Around(
            run=run,
            centre=centre,
            vertices=tuple(score for _, score in corners),
            samples=samples,
            ensemble=ensemble,
            rise=fmean(view.look(tensors, False)["train_loss"] - loss for tensors in away),
            barrier=max(_barrier(at, [loss for loss, _ in corners]), default=None),
        )


def _barrier(
    at: Callable[[Sequence[float], bool], tuple[float, float]], losses: Sequence[float]
) -> Iterator[float]:
    """How far the training loss midway between two vertices lies above the mean of theirs (Frankle et al. 2020)."""
    for first, second in itertools.combinations(range(len(losses)), 2):
        middle, _ = at([0.5 * (place in (first, second)) for place in range(len(losses))], False)
        yield middle - (losses[first] + losses[second]) / 2


def _sampled(one: Stored, view: Viewer) -> tuple[tuple[float, ...], float]:
    """The scores of sampled models, drawn as the method draws them, and that of their mean answer."""
    from harness.training import testing
    from harness.training.adapted_model import Adapted
    from methods.core.parameters import DecodedParameters, InitialParameters, TrainableParameters

    fixed, slots, job = one.about["without_vertices"], view.adapted.slots, view.job
    drawn = {name: tensor for name, tensor in one.tensors.items() if name not in fixed}
    mixture = job.method.trainable_parameters(slots, job.streams).mixture
    trainable = TrainableParameters(
        slots, InitialParameters(per_vertex=drawn, shared={name: one.tensors[name] for name in fixed}), mixture
    )
    folded, regression = DecodedParameters(trainable), bool(job.ticket.task.regression)
    papers = view.papers or {"": job.rows.dev}
    encoded = {suffix: view.encoded[suffix if view.papers else "dev"] for suffix in papers}
    answers = {
        id(rows): list(
            testing.sampled(
                Adapted(job.backbone, slots, trainable), SAMPLES, job.streams, folded, rows
            )
        )
        for rows in encoded.values()
    }
    sheets = {suffix: (papers[suffix], encoded[suffix]) for suffix in papers}

    def score(answer: Callable[[Sequence[Tensor]], Tensor]) -> float:
        marks = testing.sit(folded, sheets, job.target, lambda _, rows: answer(answers[id(rows)]))
        return marks.score if marks else math.nan

    each = tuple(score(lambda logits, number=number: logits[number]) for number in range(SAMPLES))  # type: ignore[misc]
    return each, score(lambda logits: testing.mean(logits, regression=regression))


def as_json(found: Sequence[Around]) -> str:
    """What was seen, for other programs; what is no number is null."""
    names = ("digest", "method", "task", "size", "draw", "seed")
    seen = ("centre", "vertices", "samples", "ensemble", "rise", "barrier")
    models = [
        {n: getattr(one.run, n) for n in names} | {n: _plain(getattr(one, n)) for n in seen}
        for one in found
    ]
    return (
        json.dumps({"schema": 1, "models": models}, sort_keys=True, indent=1, allow_nan=False)
        + "\n"
    )


def _plain(value: float | Sequence[float] | None) -> object:
    if isinstance(value, Sequence):
        return [_plain(one) for one in value]
    return value if value is None or math.isfinite(value) else None
