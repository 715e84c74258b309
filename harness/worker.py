"""A pack of jobs in, outcomes out: the one function that every executor calls. It never opens the ledger."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import BenchError
from harness.outcome import Outcome, Progress, Ticket

if TYPE_CHECKING:
    from harness.attempt import Attempt


def run_pack(tickets: Sequence[Ticket], device: str, progress: Progress) -> list[Outcome]:
    """Train and test the jobs of a pack; a job that fails is an outcome, never an exception.

    Jobs that may train in one forward pass do, in as many places as their tickets say; the others train alone.
    """
    from harness.attempt import Attempt

    outcomes: dict[str, Outcome] = {}
    together: dict[int, list[Attempt]] = {}  # by the length of their rows
    for ticket in tickets:
        try:
            attempt = Attempt.of(ticket, device)
            if attempt.packable and (length := _length(attempt)):
                together.setdefault(length, []).append(attempt)
            else:
                outcomes[ticket.job.digest] = attempt.alone(progress)
        except Exception as error:  # a result must say what went wrong, whatever it was; the study goes on
            outcomes[ticket.job.digest] = _failed(ticket, error)
        finally:
            gc.collect()
    for length, attempts in together.items():
        places = attempts[0].ticket.places
        for start in range(0, len(attempts), places):
            outcomes |= _side_by_side(attempts[start : start + places], length, progress)
            gc.collect()
    return [outcomes[ticket.job.digest] for ticket in tickets]


def _failed(ticket: Ticket, error: Exception) -> Outcome:
    trace = "".join(traceback.format_exception(error, limit=-12))[-16_000:]
    return Outcome(digest=ticket.job.digest, status="failed", error=f"{type(error).__name__}: {error}", trace=trace)


def _length(attempt: Attempt) -> int:
    """The length of a job's rows in a pack; 0 if its backbone gives other numbers in one."""
    from harness import batches, packing

    rows = batches.encode(attempt.backbone, attempt.rows.train)
    length = packing.length_of(rows, attempt.backbone.max_length)
    slots = attempt.method.slots(attempt.backbone)
    try:
        return length if packing.may_pack(attempt.adapted(slots), length) else 0
    finally:
        slots.remove()


def _side_by_side(attempts: Sequence[Attempt], length: int, progress: Progress) -> dict[str, Outcome]:
    """Train jobs of one slot shape in one pack and test each; jobs of a pack that breaks are trained alone."""
    from harness import packing, training

    first = attempts[0]
    places, rows = first.ticket.places, first.ticket.job.recipe.batch_size
    sources = []
    for attempt in attempts:  # a source is made for its own job's head
        own = attempt.method.slots(attempt.backbone)
        sources.append(attempt.adapted(own).source)
        own.remove()
    wide = replace(first.backbone, outputs=max(attempt.backbone.outputs for attempt in attempts))
    slots = first.method.slots(wide)
    try:
        started = time.perf_counter()
        adapted = [training.Adapted(a.backbone, slots, source) for a, source in zip(attempts, sources, strict=True)]
        lessons = [attempt.lesson(one, progress) for attempt, one in zip(attempts, adapted, strict=True)]
        results = packing.Pack(wide, slots, places, length).fit(lessons)
        each = (time.perf_counter() - started) / len(attempts)
        geometry = f"{places}x{rows}x{length}"
        outcomes = {}
        for attempt, one, result in zip(attempts, adapted, results, strict=True):
            try:
                outcomes[attempt.ticket.job.digest] = attempt.outcome(one, result, each, progress, geometry)
            except (BenchError, ValueError, RuntimeError, OSError) as error:
                outcomes[attempt.ticket.job.digest] = _failed(attempt.ticket, error)
        return outcomes
    except (RuntimeError, ValueError):  # out of memory, say
        slots.remove()
        return {attempt.ticket.job.digest: _alone(attempt, progress) for attempt in attempts}
    finally:
        slots.remove()


def _alone(attempt: Attempt, progress: Progress) -> Outcome:
    try:
        return attempt.alone(progress)
    except Exception as error:  # as above
        return _failed(attempt.ticket, error)
