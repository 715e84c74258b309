"""`run_pack`, the function that every executor calls to turn tickets into outcomes. It never opens the ledger."""

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
from harness.redaction import error_message, redact
from harness.training import out_of_memory, peak_memory
from harness.training.jobs import worker_cache
from harness.training.ticket import Ticket

if TYPE_CHECKING:
    from harness.training.jobs.job_run import JobRun

# In the message of torch's error.
NOT_DETERMINISTIC = "does not have a deterministic implementation"
NOT_DETERMINISTIC_NOTE = (
    "the device has no deterministic kernel for this backbone: "
    "the last digits may vary between runs"
)


class DeviceLost(RuntimeError):
    """The device is broken for this process: every further call to it would fail."""


def run_pack(tickets: Sequence[Ticket], device: str, progress: ProgressCallback) -> list[Outcome]:
    """Train and test jobs and return their outcomes; a failed job is an outcome, not an exception.

    Jobs that can train in one forward pass do so in the geometry of their tickets; the others train
    alone. A kind of job for which the device has no deterministic kernel is run again without
    deterministic kernels.

    Raises:
        DiskTrouble: the host's disk is full or broken, so the run must end.
        MemoryError: the host has no memory left. Libraries cache objects that they failed to create, so
            the worker must end.
        DeviceLost: the device is broken for this process, so the worker must end.
    """
    nondeterministic = worker_cache.NONDETERMINISTIC_KINDS
    outcomes = _run(
        [ticket for ticket in tickets if ticket.kind not in nondeterministic], device, progress
    )
    refused = [
        ticket
        for ticket in tickets
        if ticket.kind not in nondeterministic
        and NOT_DETERMINISTIC in outcomes[ticket.job.digest].error
    ]
    nondeterministic.update(ticket.kind for ticket in refused)
    if remaining := [ticket for ticket in tickets if ticket.kind in nondeterministic]:
        outcomes |= _run_nondeterministic(remaining, device, progress)
    if refused:
        digest = refused[0].job.digest
        outcomes[digest] = replace(
            outcomes[digest],
            note="; ".join(filter(None, (outcomes[digest].note, NOT_DETERMINISTIC_NOTE))),
        )
    return [outcomes[ticket.job.digest] for ticket in tickets]


def _run_nondeterministic(
    tickets: Sequence[Ticket], device: str, progress: ProgressCallback
) -> dict[str, Outcome]:
    """Run jobs without deterministic kernels, which is recorded with the device of their results."""
    from harness.backbones import loading

    loading.use_deterministic_kernels(strict=False)
    try:
        outcomes = _run(tickets, device, progress)
    finally:
        loading.use_deterministic_kernels()
    return {
        digest: replace(outcome, device=f"{outcome.device}, sums in any order")
        if outcome.status == "done"
        else outcome
        for digest, outcome in outcomes.items()
    }


def _run(tickets: Sequence[Ticket], device: str, progress: ProgressCallback) -> dict[str, Outcome]:
    from harness.training.jobs.job_run import JobRun

    outcomes: dict[str, Outcome] = {}
    packs: dict[tuple[object, ...], list[JobRun]] = {}
    on_features: dict[tuple[object, ...], list[JobRun]] = {}
    for ticket in tickets:
        try:
            job_run = JobRun.prepare(ticket, device)
            if job_run.packable and _may_pack(job_run):
                packs.setdefault(ticket.kind, []).append(job_run)
            elif job_run.method.closed_form is not None and ticket.features_shared_by:
                on_features.setdefault(ticket.kind, []).append(job_run)
            else:
                outcomes[ticket.job.digest] = job_run.run_alone(progress)
        except Exception as error:  # any error of a job is recorded, and the study continues
            outcomes[ticket.job.digest] = _failed(ticket, error)
        finally:
            gc.collect()
    for job_runs in packs.values():
        outcomes |= _run_packs(job_runs, job_runs[0].ticket.geometry, progress)
    for job_runs in on_features.values():
        outcomes |= _run_on_features(job_runs, progress)
    return outcomes


def _run_on_features(job_runs: Sequence[JobRun], progress: ProgressCallback) -> dict[str, Outcome]:
    """Compute the features of all jobs, then fit each; every job records an equal share of the seconds."""
    try:
        drawn_seconds, test_seconds = _read_ahead(job_runs, progress)
    except Exception as error:  # each job then computes its own features, and records its own error
        _raise_if_fatal(error)
        drawn_seconds, test_seconds = 0.0, 0.0
    outcomes = {}
    for job_run in job_runs:
        outcome = _run_alone(job_run, progress)
        outcomes[job_run.job.digest] = replace(
            outcome,
            seconds_training=outcome.seconds_training + drawn_seconds,
            seconds_evaluation=outcome.seconds_evaluation + test_seconds,
        )
    return outcomes


def _read_ahead(job_runs: Sequence[JobRun], progress: ProgressCallback) -> tuple[float, float]:
    """Compute the features of the jobs' examples, once for each example.

    Args:
        job_runs: jobs of one kind, fitted on features.
        progress: called with the number of examples computed.

    Returns:
        Seconds per job: for the drawn examples, for the test examples.
    """
    from harness.training.rows import encoding

    first = job_runs[0]
    slots = first.method.slots(first.backbone)
    try:
        reader = first.feature_reader(first.adapted(slots))
        assert reader is not None

        def report(done: int, count: int) -> None:
            progress(first.job.digest, done, count, "training")

        drawn = dict.fromkeys(
            example for job_run in job_runs for example in (*job_run.draw.train, *job_run.draw.dev)
        )
        start = time.perf_counter()
        reader(encoding.encode(first.backbone, list(drawn)), progress=report)
        drawn_end = time.perf_counter()
        # held-out test sets differ from draw to draw
        for job_run in job_runs if first.ticket.task.holdout else job_runs[:1]:
            for _, encoded in job_run.test_sets().values():
                reader(encoded, disk=job_run.may_use_disk, progress=report)
        end = time.perf_counter()
        return (drawn_end - start) / len(job_runs), (end - drawn_end) / len(job_runs)
    finally:
        slots.remove()


def _failed(ticket: Ticket, error: Exception) -> Outcome:
    _raise_if_fatal(error)
    trace = redact("".join(traceback.format_exception(error, limit=-12))[-16_000:])
    return Outcome(
        digest=ticket.job.digest, status="failed", error=error_message(error), trace=trace
    )


def _raise_if_fatal(error: Exception) -> None:
    """Raise if the error would also fail every further job of this process.

    Raises:
        DiskTrouble: the host's disk is full or broken.
        MemoryError: the host refused memory. The next job would fail too, because oneDNN caches the matrix
            product that it could not create.
        DeviceLost: after a failed assertion or an invalid address on a GPU, every call of this
            process fails with the same error.
    """
    import torch

    if isinstance(error, (DiskTrouble, DeviceLost)):
        raise error
    if isinstance(error, torch.AcceleratorError):
        raise DeviceLost(
            f"this process can no longer use the device ({_first_line(error) or 'no reason given'})"
        )
    if out_of_memory.refused_by_host(error):
        raise MemoryError(f"the host has no memory left ({_first_line(error) or 'refused'})")


def _first_line(error: Exception) -> str:
    return redact(str(error)).partition("\n")[0]


def _may_pack(job_run: JobRun) -> bool:
    """Return whether jobs of this kind give the same logits in a pack as alone; probed once per kind."""
    import torch

    from harness.training import packed

    kind = job_run.ticket.kind
    if kind not in worker_cache.MAY_PACK:
        slots = job_run.method.slots(job_run.backbone)
        try:
            worker_cache.MAY_PACK[kind] = packed.may_pack(
                job_run.adapted(slots), job_run.backbone.max_length
            )
        except torch.OutOfMemoryError:  # not a property of the backbone: the next job probes again
            return False
        finally:
            slots.remove()
    return worker_cache.MAY_PACK[kind]


def _run_packs(
    job_runs: Sequence[JobRun], geometry: Geometry, progress: ProgressCallback
) -> dict[str, Outcome]:
    """Train jobs of one kind in as many packs as they need.

    On out-of-memory the packs become smaller: see `out_of_memory`. After any other error, steps that
    were compiled or captured run normally from then on; if they ran normally, the jobs train alone.
    """
    import torch

    if not geometry.in_pack:
        return {job_run.job.digest: _run_alone(job_run, progress) for job_run in job_runs}
    size = geometry.pack_size
    try:
        outcomes: dict[str, Outcome] = {}
        for start in range(0, len(job_runs), size):
            outcomes |= _train_pack(job_runs[start : start + size], geometry, progress)
            gc.collect()
        return outcomes
    except torch.OutOfMemoryError:
        reduced = out_of_memory.smaller_pack(geometry)
        note = f"the device has no memory for {size} jobs at once"
    except Exception as error:
        _raise_if_fatal(error)
        mode = geometry.step_mode
        reduced = replace(geometry, compiled=False, captured=False) if mode else ALONE
        problem = f"steps cannot be {mode}" if mode else "jobs cannot share a forward pass"
        note = f"{problem} ({type(error).__name__}: {_first_line(error)})"
    out_of_memory.free_memory()
    outcomes = _run_packs(job_runs, reduced, progress)
    not_failed = (digest for digest, outcome in outcomes.items() if outcome.status != "failed")
    digest = next(not_failed, job_runs[0].job.digest)
    if not reduced.in_pack:
        instead = "one by one"
    else:
        instead = "without" if reduced.pack_size == size else f"{reduced.pack_size}"
    note = outcomes[digest].note or f"{note}: {instead} from now on"
    return outcomes | {digest: replace(outcomes[digest], note=note)}


def _train_pack(
    job_runs: Sequence[JobRun], geometry: Geometry, progress: ProgressCallback
) -> dict[str, Outcome]:
    """Train jobs of one kind in one pack, and test each."""
    import torch

    from harness.training.adapted_model import AdaptedModel
    from harness.training.packed import Pack

    first = job_runs[0]
    parameters = []
    for job_run in job_runs:  # each job has the head of its own task
        own_slots = job_run.method.slots(job_run.backbone)
        try:
            parameters.append(job_run.adapted(own_slots).trainable)
        finally:
            own_slots.remove()
    padded = replace(
        first, backbone=replace(first.backbone, outputs=padded_outputs(first.backbone.outputs))
    )
    slots = first.method.slots(padded.backbone)
    try:
        peak_memory.reset_peak(first.device)
        start = time.perf_counter()
        models = [
            AdaptedModel(job_run.backbone, slots, trainable)
            for job_run, trainable in zip(job_runs, parameters, strict=True)
        ]
        loops = [
            job_run.training_loop(model, progress)
            for job_run, model in zip(job_runs, models, strict=True)
        ]
        recorder = worker_cache.graph_recorder(first.device) if geometry.captured else None
        with recorder.side_stream() if recorder else nullcontext():
            results = Pack(
                padded.adapted(slots),
                geometry,
                worker_cache.compiled_function(geometry, first.ticket.kind)
                if geometry.compiled
                else None,
                recorder,
            ).fit(loops)
        seconds = (time.perf_counter() - start) / len(job_runs)
        outcomes = {}
        for job_run, model, result in zip(job_runs, models, results, strict=True):
            try:
                outcome = job_run.outcome(model, result, seconds, progress, geometry)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                outcome = _failed(job_run.ticket, error)
            outcomes[job_run.job.digest] = outcome
        return outcomes
    finally:
        slots.remove()


def _run_alone(job_run: JobRun, progress: ProgressCallback) -> Outcome:
    try:
        return job_run.run_alone(progress)
    except Exception as error:  # recorded, as in `_run`
        return _failed(job_run.ticket, error)
