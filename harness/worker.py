"""A pack of jobs in, outcomes out: the one function that every executor calls.

A worker keeps what jobs share (the backbone, the rows of a split) and nothing that one job leaves behind: slots are
taken out again, every random number comes from the job's own streams. It never opens the ledger.
"""

from __future__ import annotations

import gc
import json
import math
import time
import traceback
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import BenchError
from harness.jobs import BackboneSpec, Job
from harness.tasks.base import Row, Task

if TYPE_CHECKING:
    from torch import Tensor

    from harness.closed_form import FeatureStore
    from harness.exam import Answers, Marks
    from harness.tasks.draws import Draw
    from harness.training import Adapted, Encoded, Examples, Fit, Target, Tensors
    from methods import Method

Status = Literal["done", "diverged", "failed"]


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A job as it travels to a worker."""

    job: Job
    task: Task
    keep: str  # which trained tensors to keep
    artefacts: Path
    zeroed: bool = False  # test the trained head on the bare backbone as well
    rules: bool = False  # test as well what the other selection rules would have chosen


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job; plain values, ready for the ledger."""

    digest: str
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    dev_score: float | None = None
    best_step: int | None = None
    collapsed: bool = False
    trained: int = 0
    stored: int = 0
    seconds_training: float = 0.0
    seconds_evaluation: float = 0.0
    peak_bytes: int = 0
    artefact: str | None = None  # SHA-256 of the file with the trained tensors
    curve: bytes = b""  # compressed JSON
    predictions: bytes = b""  # compressed, one number a test row
    device: str = ""
    geometry: str = "1"  # jobs in the pack
    error: str = ""  # class and message
    trace: str = ""


Progress = Callable[[str, int, int, str], None]  # digest, step, steps, phase


def run_pack(tickets: Sequence[Ticket], device: str, progress: Progress) -> list[Outcome]:
    """Train and test the jobs of a pack; a job that fails is an outcome, never an exception."""
    return [_run(ticket, device, progress) for ticket in tickets]


def _run(ticket: Ticket, device: str, progress: Progress) -> Outcome:
    job = ticket.job
    try:
        return _train_and_test(ticket, device, progress)
    except (BenchError, ValueError) as error:  # said in words by whoever raised it
        return Outcome(digest=job.digest, status="failed", error=f"{type(error).__name__}: {error}", trace=_trace())
    except Exception as error:  # a result must say what went wrong, whatever it was; the study goes on
        return Outcome(digest=job.digest, status="failed", error=f"{type(error).__name__}: {error}", trace=_trace())
    finally:
        gc.collect()


def _trace() -> str:
    return traceback.format_exc(limit=-12)[-16_000:]


def _train_and_test(ticket: Ticket, device: str, progress: Progress) -> Outcome:
    import torch

    import methods
    from harness import artefacts, provenance, training
    from harness.tasks import draws

    job, task = ticket.job, ticket.task
    method = methods.build(job.method, job.options)
    rows = draws.draw(task, lambda split: _rows(task, split, job.rows.revision), job.rows.size, job.rows.draw, job.recipe)
    if rows.fingerprint != job.rows.fingerprint:
        raise BenchError(f"the rows of {task.name} changed since the plan was made: run again")
    backbone = replace(_backbone(job.backbone, device), outputs=task.outputs, max_length=job.recipe.max_length)
    room = backbone.anatomy.positions
    if room is not None and job.recipe.max_length > room:
        raise BenchError(
            f"rows of {job.recipe.max_length} tokens need as many positions, this backbone has {room}: --max-length"
        )
    streams = training.Streams(job.place)
    target = training.Target.of(task, rows.train)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    slots = method.slots(backbone)
    try:
        started = time.perf_counter()
        source = method.source(slots, streams).to(device=backbone.device, dtype=backbone.trained_in)
        adapted = training.Adapted(backbone, slots, source)
        examples = training.Examples(rows.train, rows.dev, target)

        def step_done(step: int) -> None:
            progress(job.digest, step, job.recipe.steps, "training")

        result = _fit(ticket, method, adapted, examples, step_done)
        trained_at = time.perf_counter()
        curve = zlib.compress(json.dumps([point.row() for point in result.curve]).encode(), 9)
        if result.diverged is not None or result.best is None:
            return _diverged(ticket, rows, curve, f"the loss stopped being a finite number at step {result.diverged}")
        progress(job.digest, job.recipe.steps, job.recipe.steps, "testing")
        tested = _test(ticket, method, adapted, rows.tests, target, result)
        if tested is None:
            return _diverged(ticket, rows, curve, "the model chosen gives no finite numbers on the test rows")
        finished = time.perf_counter()
        big = any(slot.role == "backbone" for slot in slots)
        kept = None
        if ticket.keep == "all" or (ticket.keep == "small" and not big):
            kept = artefacts.write(ticket.artefacts, job.digest, source.folded(), _about(job, adapted, target))
        return Outcome(
            digest=job.digest,
            status="done",
            dev_score=result.best.dev_score,
            best_step=result.best.step,
            trained=sum(parameter.numel() for parameter in source.parameters()),
            stored=sum(slot_bytes(slot.shape) for slot in slots),
            seconds_training=trained_at - started,
            seconds_evaluation=finished - trained_at,
            peak_bytes=_peak(device),
            artefact=kept,
            curve=curve,
            device=provenance.device_name(device),
            **tested,
        )
    finally:
        slots.remove()


def _fit(ticket: Ticket, method: Method, adapted: Adapted, examples: Examples, done: Callable[[int], None]) -> Fit:
    """Train by gradient or in closed form, as the method is fitted."""
    from harness import closed_form, training

    options, recipe = method.options(), ticket.job.recipe
    if (solver := method.closed_form) is not None:
        return closed_form.fit(adapted, solver, examples, _features().reader(adapted, solver, options))
    streams = training.Streams(ticket.job.place)
    return training.fit(adapted, options, method.dev_scoring, examples, recipe, streams, done, rules=ticket.rules)


def _about(job: Job, adapted: Adapted, target: Target) -> dict[str, Any]:
    """What must be known to use trained tensors without the rows that they were trained on."""
    return {
        "job": job.setting() | job.coordinates(),
        "label": job.label,
        "scale": {"mean": target.mean, "spread": target.spread},
        "without_vertices": list(adapted.source.given),
        "products": dict(adapted.source.products),
        "head": [slot.name for slot in adapted.slots if slot.role == "head"],
        "output_layer": adapted.backbone.anatomy.output_layer,
    }


def slot_bytes(shape: tuple[int, ...]) -> int:
    """Bytes to store a slot's tensor in float32: of the model that is used in the end, the centroid of a simplex."""
    count = 4
    for length in shape:
        count *= length
    return count


def _diverged(ticket: Ticket, rows: Draw, curve: bytes, error: str) -> Outcome:
    """A run that broke down counts with what one constant answer scores: dropping it would flatter its method."""
    from harness.tasks import metrics

    task = ticket.task
    labels = [row.label for row in rows.train]
    constant = math.fsum(labels) / len(labels) if task.regression else max(sorted(set(labels)), key=labels.count)
    values: dict[str, float] = {}
    scores: list[float] = []
    for suffix, part in rows.tests.items():
        scored = metrics.compute(task.metrics, [constant] * len(part), [row.label for row in part])
        scores.append(metrics.score(task.metrics, scored))
        values |= {f"{name}/{suffix}" if suffix else name: value for name, value in scored.items()}
    score = math.fsum(scores) / len(scores)
    return Outcome(digest=ticket.job.digest, status="diverged", curve=curve, error=error, metrics=values, score=score)


def _test(
    ticket: Ticket, method: Method, adapted: Adapted, tests: Mapping[str, Sequence[Row]], target: Target, result: Fit
) -> dict[str, Any] | None:
    """Metrics on the test rows, looked at once, at the point that the dev rows chose; None if a logit is not finite."""
    from harness import exam
    from methods.source import Folded

    job, task, source = ticket.job, ticket.task, adapted.source
    papers = {suffix: (rows, _encoded(adapted.backbone, task, job, suffix, rows)) for suffix, rows in tests.items()}
    answers = _answers(ticket, method, adapted)
    marks = exam.sit(Folded(source), papers, target, answers)
    if marks is None:
        return None
    values, names = dict(marks.metrics), list(marks.metrics)
    seen: dict[int | None, Marks | None] = {result.best.step if result.best else None: marks}
    final = {name: tensor.detach().clone() for name, tensor in source.state_dict().items()}
    for rule, selection in result.rules.items():  # rules that agree on a moment are tested once
        if selection.step not in seen:
            source.load_state_dict(selection.state)
            seen[selection.step] = exam.sit(Folded(source), papers, target, answers)
        values |= exam.further(f"rule {rule}", seen[selection.step], keys=names)
    source.load_state_dict(final)
    if ticket.zeroed and any(slot.role == "added" for slot in adapted.slots) and method.closed_form is None:
        values |= exam.further("zeroed", exam.bare(adapted, papers, target), keys=names)
    return {
        "metrics": values,
        "score": marks.score,
        "predictions": pack_predictions(marks.predictions, task.regression),
        "collapsed": len(set(marks.predictions)) == 1,
    }


def _answers(ticket: Ticket, method: Method, adapted: Adapted) -> Answers:
    """How logits come about: by the centroid, by sampled models, or from features that are kept."""
    import torch

    from harness import exam, training

    if (solver := method.closed_form) is not None:
        read = _features().reader(adapted, solver, method.options())

        def from_features(tensors: Tensors, rows: Sequence[Encoded]) -> Tensor:
            solution = {name: tensor.cpu().double().numpy() for name, tensor in tensors(None).items()}
            return torch.from_numpy(solver.answer(read(rows), solution))

        return from_features
    if method.test_samples:
        return exam.averaged(adapted, method.test_samples, training.Streams(ticket.job.place), ticket.task)
    return exam.plain(adapted)


def pack_predictions(values: Sequence[float], regression: bool) -> bytes:
    """One number a test row, compressed: class numbers in as few bytes as they need, values as floats."""
    import struct

    largest = max((abs(value) for value in values), default=0)
    classes = "B" if largest < 1 << 8 else "H" if largest < 1 << 16 else "I"
    code = ("f" if largest < 3e38 else "d") if regression else classes
    return zlib.compress(code.encode() + struct.pack(f"<{len(values)}{code}", *values), 9)


def unpack_predictions(data: bytes) -> list[float]:
    """The inverse of `pack_predictions`."""
    import struct

    raw = zlib.decompress(data)
    code = raw[:1].decode()
    return list(struct.unpack(f"<{(len(raw) - 1) // struct.calcsize('<' + code)}{code}", raw[1:]))


def _peak(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kilobytes


@lru_cache(maxsize=1)
def _backbone(spec: BackboneSpec, device: str) -> Any:
    """The backbone, read once a worker."""
    from harness import backbones

    gc.unfreeze()
    loaded = backbones.load(spec, device)
    gc.collect()
    gc.freeze()  # libraries and backbone stay: to look through them after every job would take a quarter of a second
    return loaded


@lru_cache(maxsize=1)
def _features() -> FeatureStore:
    """Features of frozen backbones, computed once a worker."""
    from harness.closed_form import FeatureStore

    return FeatureStore()


_ROWS: dict[tuple[str, str, str], Sequence[Row]] = {}
_TOKENS: dict[tuple[str, ...], Any] = {}


def _rows(task: Task, split: str, revision: str) -> Sequence[Row]:
    """A split's rows, read once a worker."""
    key = (task.name, split, revision)
    if key not in _ROWS:
        _ROWS[key] = task.reader.rows(split, revision)
    return _ROWS[key]


def _encoded(backbone: Any, task: Task, job: Job, suffix: str, rows: Sequence[Row]) -> Any:
    """A test set's tokens, made once a worker; held-out rows differ from draw to draw and are not kept."""
    from harness import training

    if task.holdout:
        return training.encode(backbone, rows)
    recipe = job.recipe
    key = (
        job.backbone.name,
        job.backbone.revision,
        task.name,
        job.rows.revision,
        suffix,
        f"{recipe.max_length}/{recipe.test_limit}",
    )
    if key not in _TOKENS:
        _TOKENS[key] = training.encode(backbone, rows)
    return _TOKENS[key]
