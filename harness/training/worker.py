"""A pack of jobs in, outcomes out: the one function that every executor calls. It never opens the ledger."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import DiskTrouble
from harness.geometry import ALONE, Geometry, padded_outputs
from harness.outcome import Outcome, ProgressCallback
from harness.redaction import redact, told
from harness.training import out_of_memory, worker_cache
from harness.training.ticket import Ticket

if TYPE_CHECKING:
    from harness.training.compiled import CompiledFunction
    from harness.training.job_run import JobRun

UNORDERED = "does not have a deterministic implementation"  # as torch says it
RELAXED = "the device has no operation that adds in one order for this backbone: last digits may differ from run to run"


class DeviceLost(RuntimeError):
    """A worker's device answers nothing but errors any more."""


def run_pack(tickets: Sequence[Ticket], device: str, progress: ProgressCallback) -> list[Outcome]:
    """Train and test the jobs of a pack; a job that fails is an outcome, and no exception.

    Jobs that may train in one forward pass do, in the geometry that their tickets say; the others
    train alone.

    Raises:
        DiskTrouble: the host's disk is full or broken, so the run must end.
        MemoryError: the host has no memory left. Libraries keep what they could not make then, so
            the worker must end.
        DeviceLost: the device is broken for this process, which must end too.
    """
    outcomes = _run(
        [ticket for ticket in tickets if ticket.kind not in worker_cache.UNORDERED],
        device,
        progress,
    )
    refused = {digest for digest, outcome in outcomes.items() if UNORDERED in outcome.error}
    worker_cache.UNORDERED.update(ticket.kind for ticket in tickets if ticket.job.digest in refused)
    if unordered := [ticket for ticket in tickets if ticket.kind in worker_cache.UNORDERED]:
        outcomes |= _in_any_order(unordered, device, progress)
    if told := next(iter(refused), None):
        outcomes[told] = replace(
            outcomes[told], note="; ".join(filter(None, (outcomes[told].note, RELAXED)))
        )
    return [outcomes[ticket.job.digest] for ticket in tickets]


def _in_any_order(
    tickets: Sequence[Ticket], device: str, progress: ProgressCallback
) -> dict[str, Outcome]:
    """As `_run`, where some operation has no form that adds in one order; that is recorded with the device."""
    from harness.backbones import loading

    loading.use_deterministic_kernels(strict=False)
    try:
        outcomes = _run(tickets, device, progress)
    finally:
        loading.use_deterministic_kernels()
    done = {digest: one for digest, one in outcomes.items() if one.status == "done"}
    return outcomes | {
        digest: replace(one, device=f"{one.device}, sums in any order")
        for digest, one in done.items()
    }


def _run(tickets: Sequence[Ticket], device: str, progress: ProgressCallback) -> dict[str, Outcome]:
    from harness.training.job_run import JobRun

    outcomes: dict[str, Outcome] = {}
    together: dict[tuple[object, ...], list[JobRun]] = {}
    fitted: dict[tuple[object, ...], list[JobRun]] = {}
    for ticket in tickets:
        try:
            attempt = JobRun.of(ticket, device)
            if attempt.packable and _may_pack(attempt):
                together.setdefault(ticket.kind, []).append(attempt)
            elif attempt.method.closed_form is not None and ticket.features_shared_by:
                fitted.setdefault(ticket.kind, []).append(attempt)
            else:
                outcomes[ticket.job.digest] = attempt.alone(progress)
        except (
            Exception
        ) as error:  # a result must say what went wrong, whatever it was; the study goes on
            outcomes[ticket.job.digest] = _failed(ticket, error)
        finally:
            gc.collect()
    for attempts in together.values():
        outcomes |= _in_packs(attempts, attempts[0].ticket.geometry, progress)
    for attempts in fitted.values():
        outcomes |= _on_features(attempts, progress)
    return outcomes


def _on_features(attempts: Sequence[JobRun], progress: ProgressCallback) -> dict[str, Outcome]:
    """Fit methods on features that are computed first, for all of the jobs; each bears its share of the seconds."""
    try:
        drawn, tests = _read_ahead(attempts, progress)
    except Exception as error:  # each job may meet it by itself
        _see_end(error)
        drawn, tests = 0.0, 0.0
    outcomes = {}
    for attempt in attempts:
        found = _alone(attempt, progress)
        outcomes[attempt.job.digest] = replace(
            found,
            seconds_training=found.seconds_training + drawn,
            seconds_evaluation=found.seconds_evaluation + tests,
        )
    return outcomes


def _read_ahead(attempts: Sequence[JobRun], progress: ProgressCallback) -> tuple[float, float]:
    """See that the features of these jobs' rows are at hand, each row's computed once, however many jobs have it.

    Args:
        attempts: of one kind, fitted on features.
        progress: told how many rows are read.

    Returns:
        Seconds a job: for drawn rows, for test rows.
    """
    from harness.training import batching

    first = attempts[0]
    slots = first.method.slots(first.backbone)
    try:
        reader = first.reader(first.adapted(slots))
        assert reader is not None

        def told(done: int, rows: int) -> None:
            progress(first.job.digest, done, rows, "training")

        drawn = dict.fromkeys(
            row for attempt in attempts for row in (*attempt.rows.train, *attempt.rows.dev)
        )
        began = time.perf_counter()
        reader(batching.encode(first.backbone, list(drawn)), told=told)
        middle = time.perf_counter()
        for attempt in (
            attempts if first.ticket.task.holdout else attempts[:1]
        ):  # held-out rows are each draw's own
            for _, encoded in attempt.test_sets().values():
                reader(encoded, disk=attempt.on_disk, told=told)
        return (middle - began) / len(attempts), (time.perf_counter() - middle) / len(attempts)
    finally:
        slots.remove()


def _failed(ticket: Ticket, error: Exception) -> Outcome:
    _see_end(error)
    trace = redact("".join(traceback.format_exception(error, limit=-12))[-16_000:])
    said = told(error)
    return Outcome(digest=ticket.job.digest, status="failed", error=said, trace=trace)


def _see_end(error: Exception) -> None:
    """Let out what would be every further job's trouble, and no fault of this one's.

    Raises:
        DiskTrouble: the host's disk is full or broken.
        MemoryError: it refused memory: oneDNN would fail the next job with a product that it could
            not make.
        DeviceLost: after a failed assertion or a wrong address on a GPU each call of this process
            ends in the same error.
    """
    import torch

    if isinstance(error, (DiskTrouble, DeviceLost)):
        raise error
    if isinstance(error, torch.AcceleratorError):
        said = redact(str(error)).splitlines()
        raise DeviceLost(
            f"the device is of no more use to this process ({said[0] if said else 'no reason given'})"
        )
    if out_of_memory.refused_by_host(error):
        raise MemoryError(
            f"the host has no memory left ({redact(str(error)).splitlines()[0] if str(error) else 'refused'})"
        )


def _may_pack(attempt: JobRun) -> bool:
    """Whether this method's slots on this backbone give the same numbers in a pass over several jobs; tried once."""
    import torch

    from harness.training import packed

    key = attempt.ticket.kind
    if key not in worker_cache.MAY_PACK:
        slots = attempt.method.slots(attempt.backbone)
        try:
            worker_cache.MAY_PACK[key] = packed.may_pack(
                attempt.adapted(slots), attempt.backbone.max_length
            )
        except torch.OutOfMemoryError:  # which says nothing of the backbone; another time it may do
            return False
        finally:
            slots.remove()
    return worker_cache.MAY_PACK[key]


def _in_packs(
    attempts: Sequence[JobRun], shape: Geometry, progress: ProgressCallback
) -> dict[str, Outcome]:
    """Train jobs of one kind in as many packs as they need; where memory runs out, in smaller ones, and at last alone."""
    import torch

    if not shape.in_pack:
        return {attempt.ticket.job.digest: _alone(attempt, progress) for attempt in attempts}
    try:
        outcomes: dict[str, Outcome] = {}
        for start in range(0, len(attempts), shape.pack_size):
            outcomes |= _side_by_side(attempts[start : start + shape.pack_size], shape, progress)
            gc.collect()
        return outcomes
    except torch.OutOfMemoryError:
        smaller, note = out_of_memory.smaller_pack(shape), out_of_memory.pack_note(shape)
    except Exception as error:  # whatever it was, one job after the other may do
        _see_end(error)
        said = redact(str(error)).splitlines()
        smaller = replace(shape, compiled=False, captured=False) if shape.step_mode else ALONE
        what = (
            f"steps cannot be {shape.step_mode}" if shape.step_mode else "no pass over several jobs"
        )
        note = f"{what} ({type(error).__name__}: {said[0] if said else ''})"
    out_of_memory.free_memory()
    outcomes = _in_packs(attempts, smaller, progress)
    digest = next(
        (one for one, outcome in outcomes.items() if outcome.status != "failed"),
        attempts[0].ticket.job.digest,
    )
    then = (
        "one by one"
        if not smaller.in_pack
        else "without"
        if smaller.pack_size == shape.pack_size
        else f"{smaller.pack_size}"
    )
    return outcomes | {
        digest: replace(
            outcomes[digest], note=outcomes[digest].note or f"{note}: {then} from now on"
        )
    }


def _side_by_side(
    attempts: Sequence[JobRun], shape: Geometry, progress: ProgressCallback
) -> dict[str, Outcome]:
    """Train jobs of one kind in one pack and test each."""
    import torch

    from harness.training.adapted_model import AdaptedModel
    from harness.training.job_run import reset_peak
    from harness.training.packed import Pack

    first = attempts[0]
    sources = []
    for attempt in attempts:  # a source is made for its own job's head
        own = attempt.method.slots(attempt.backbone)
        try:
            sources.append(attempt.adapted(own).trainable)
        finally:
            own.remove()
    wide = replace(
        first, backbone=replace(first.backbone, outputs=padded_outputs(first.backbone.outputs))
    )
    slots = first.method.slots(wide.backbone)
    try:
        reset_peak(first.device)
        started = time.perf_counter()
        adapted = [
            AdaptedModel(a.backbone, slots, trainable)
            for a, trainable in zip(attempts, sources, strict=True)
        ]
        trainings = [
            attempt.training_loop(one, progress)
            for attempt, one in zip(attempts, adapted, strict=True)
        ]
        capture = worker_cache.recorder(first.device) if shape.captured else None
        with capture.side_stream() if capture else nullcontext():
            results = Pack(wide.adapted(slots), shape, _compiled(first.ticket, shape), capture).fit(
                trainings
            )
        each = (time.perf_counter() - started) / len(attempts)
        outcomes = {}
        for attempt, one, result in zip(attempts, adapted, results, strict=True):
            try:
                outcomes[attempt.ticket.job.digest] = attempt.outcome(
                    one, result, each, progress, shape
                )
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                outcomes[attempt.ticket.job.digest] = _failed(attempt.ticket, error)
        return outcomes
    finally:
        slots.remove()


def _compiled(ticket: Ticket, shape: Geometry) -> CompiledFunction | None:
    """What runs the training steps of this kind of jobs, kept from pack to pack; None: as they are written."""
    if not shape.compiled:
        return None
    from harness.training.compiled import CompiledFunction

    return worker_cache.COMPILED.setdefault((shape, ticket.kind), CompiledFunction())


def _alone(attempt: JobRun, progress: ProgressCallback) -> Outcome:
    try:
        return attempt.alone(progress)
    except Exception as error:  # as above
        return _failed(attempt.ticket, error)
