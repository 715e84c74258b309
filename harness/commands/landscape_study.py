"""`bench landscape` without a digest: compare centres, vertices and sampled models of many trained models."""

import itertools
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Final

from rich.console import Console
from rich.progress import track
from torch import Tensor

from harness.artefacts import restore
from harness.artefacts.restore import StoredModel
from harness.atomic_write import write_output
from harness.commands.compare import finite_or_null
from harness.commands.landscape import Evaluator, displaced, open_evaluator
from harness.commands.report import command_line
from harness.errors import Unavailable, UsageError
from harness.results.query import ResultQuery
from harness.results.runs import runs_of
from harness.training import testing
from harness.training.adapted_model import AdaptedModel
from methods.core.parameters import DecodedParameters, InitialParameters, TrainableParameters
from reports.analysis.paired_runs import MixedRuns, NothingToCompare, PairedRuns, pair_runs
from reports.analysis.run import Run, run_status
from reports.formats.terminal import as_terminal
from reports.tables.landscape import RADIUS, Surroundings, as_document

SAMPLES: Final = 10  # sampled models of each simplex
DIRECTIONS: Final = 5  # default number of random directions


def show_study(
    query: ResultQuery, baseline: str | None, tested: int, directions: int, output: Path | None
) -> None:
    """Evaluate every kept model of the query, and print tables that compare the methods.

    Args:
        query: which results.
        baseline: the method whose flatness the others are compared with.
        tested: test rows to evaluate; 0: dev rows instead.
        directions: random directions; 0: the default number.
        output: a JSON file for the numbers; None: tables only.

    Raises:
        UsageError: the query matches nothing, no model of it was kept, or the output is not a
            JSON file.
        CannotWrite: the file cannot be written.
    """
    if output is not None and output.suffix != ".json":
        raise UsageError(f"--output: for several models it must end in .json, got {output}")
    paired_runs = paired_runs_of(query, baseline)
    done = [run for run in paired_runs.all() if run.status == "done"]
    failed = [
        run for run in paired_runs.all() if run_status(run) in ("failed", "diverged", "undefined")
    ]
    results: list[Surroundings] = []
    left_out: list[str] = []
    console = Console(stderr=True)
    for run in track(
        done, "evaluating", console=console, transient=True, disable=not console.is_terminal
    ):
        try:
            stored = restore.load(query.db, run.digest)
            results.append(evaluate_model(stored, run, tested, directions or DIRECTIONS))
        except Unavailable as error:
            left_out.append(str(error))
    if not results:
        reason = f": {left_out[0]}" if left_out else ""
        raise UsageError(f"none of the requested models can be evaluated{reason}")
    page = as_document(
        results,
        baseline=paired_runs.baseline,
        split="test" if tested else "dev",
        skipped=left_out,
        failed=failed,
        command=command_line(),
    )
    sys.stdout.write(
        as_terminal(
            page, width=shutil.get_terminal_size((100, 40)).columns, color=sys.stdout.isatty()
        )
    )
    if output is not None:
        write_output(output, as_json(results))


def paired_runs_of(query: ResultQuery, baseline: str | None) -> PairedRuns:
    """Pair the requested runs.

    Raises:
        UsageError: there are none, or they belong to several backbones or recipes.
    """
    runs, *_ = runs_of(query)
    try:
        return pair_runs(
            runs,
            baseline=baseline,
            methods=query.method_names(),
            tasks=query.task_names(),
            sizes=query.size_numbers(),
        )
    except (MixedRuns, NothingToCompare) as error:
        raise UsageError(str(error)) from error


def evaluate_model(stored: StoredModel, run: Run, tested: int, directions: int) -> Surroundings:
    """Evaluate one model at its centre, its vertices, sampled points and along random directions.

    Raises:
        Unavailable, CorruptData: the tensors, the backbone or the rows are missing or were changed.
    """
    with open_evaluator(stored, tested) as evaluator:

        def at(weights: Sequence[float] | None, test: bool = True) -> tuple[float, float]:
            """Return the training loss and the score at a point."""
            point = stored.tensors_at(None if weights is None else ",".join(map(repr, weights)))
            values = evaluator.evaluate(point, test=test)
            score = values["test"] if evaluator.tests else values["dev"]
            return values["train_loss"], math.nan if score is None else score

        loss, centre = at(None)
        numbers = range(stored.vertices if stored.vertices > 1 else 0)
        vertices = [at([float(other == vertex) for other in numbers]) for vertex in numbers]
        moved = (
            displaced(stored.tensors_at(None), stored.entry.digest, number, RADIUS)
            for number in range(directions)
        )
        samples, ensemble = _sampled(stored, evaluator) if vertices else ((), None)
        return Surroundings(
            run=run,
            centre=centre,
            vertices=tuple(score for _, score in vertices),
            samples=samples,
            ensemble=ensemble,
            rise=fmean(
                evaluator.evaluate(tensors, test=False)["train_loss"] - loss for tensors in moved
            ),
            barrier=max(_barriers(at, [loss for loss, _ in vertices]), default=None),
        )


def _barriers(
    at: Callable[[Sequence[float], bool], tuple[float, float]], losses: Sequence[float]
) -> Iterator[float]:
    """Yield for each edge how far its midpoint's training loss exceeds the mean of its ends.

    This is the loss barrier of Frankle et al. (2020), evaluated at the midpoint.
    """
    for first, second in itertools.combinations(range(len(losses)), 2):
        middle, _ = at([0.5 * (v in (first, second)) for v in range(len(losses))], False)
        yield middle - (losses[first] + losses[second]) / 2


def _sampled(stored: StoredModel, evaluator: Evaluator) -> tuple[tuple[float, ...], float]:
    """Return the scores of models sampled as the method samples them, and their ensemble's score."""
    fixed, slots, job = stored.metadata["without_vertices"], evaluator.adapted.slots, evaluator.job
    initial = InitialParameters(
        per_vertex={name: value for name, value in stored.tensors.items() if name not in fixed},
        shared={name: stored.tensors[name] for name in fixed},
    )
    mixture = job.method.trainable_parameters(slots, job.streams).mixture
    trainable = TrainableParameters(slots, initial, mixture)
    decoded = DecodedParameters(trainable)
    adapted = AdaptedModel(job.backbone, slots, trainable)
    if evaluator.tests:
        tests = {name: (rows, evaluator.encoded[name]) for name, rows in evaluator.tests.items()}
    else:
        tests = {"": (job.draw.dev, evaluator.encoded["dev"])}
    logits = {
        id(encoded): list(testing.sampled_logits(adapted, SAMPLES, job.streams, decoded, encoded))
        for _, encoded in tests.values()
    }

    target = evaluator.target

    def score(combine: Callable[[Sequence[Tensor]], Tensor]) -> float:
        """Return the score of one combination of the samples' logits."""
        result = testing.evaluate(
            decoded,
            tests,
            job.ticket.task,
            testing.from_logits(lambda _, rows: combine(logits[id(rows)]), target),
        )
        return result.score if result else math.nan

    samples = tuple(score(itemgetter(number)) for number in range(SAMPLES))
    return samples, score(lambda values: testing.mean_logits(values, target))


def as_json(results: Sequence[Surroundings]) -> str:
    """Return the results as JSON; NaN and infinities are null."""
    names = ("digest", "method", "task", "size", "draw", "seed")
    values = ("centre", "vertices", "samples", "ensemble", "rise", "barrier")
    models = [
        {name: getattr(result.run, name) for name in names}
        | {name: finite_or_null(getattr(result, name)) for name in values}
        for result in results
    ]
    content = {"schema": 1, "models": models}
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n"
