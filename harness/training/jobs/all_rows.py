"""The model for use: a method trained on all labelled rows, after a study has chosen the method and its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from harness.backbones import loading
from harness.errors import Unavailable
from harness.tasks.draws import Draw
from harness.training import closed_form, loop, out_of_memory
from harness.training.jobs import worker_cache
from harness.training.jobs.job_run import JobRun, metadata
from harness.training.jobs.worker import NOT_DETERMINISTIC
from harness.training.labels import SetTarget

if TYPE_CHECKING:
    from torch import Tensor

    from harness.training.ticket import Ticket


@dataclass(frozen=True)
class AllRowsModel:
    """A model that was trained on all rows of a training split.

    Attributes:
        tensors: the trained tensors, as `TrainableParameters.decoded` returns them.
        metadata: what is needed to use them (see `job_run.metadata`).
        rows: the number of rows.
        fingerprint: the hash of these rows.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    rows: int
    fingerprint: str


def train(
    ticket: Ticket,
    device: str,
    *,
    steps: int,
    threshold: float | None,
    progress: Callable[[int], None],
) -> AllRowsModel:
    """Train the method of a job on all rows of its task's training split; no row is left to choose or to test on.

    The learning rate follows the recipe, as in the trainings in which dev rows chose the steps: training stops where
    they stopped.

    Args:
        ticket: the job, which gives the method, the recipe and the random streams, with its task.
        device: where to train.
        steps: number of training steps; in closed form, the number of the candidate.
        threshold: the logit above which a row has a class, for a multilabel task.
        progress: called with the number of each finished step.

    Raises:
        BenchError: as `PreparedJob.prepare`.
        Unavailable: the method has nothing to train, training diverged, or the device cannot hold a single row.
    """
    try:
        return _trained(ticket, device, steps, threshold, progress)
    except RuntimeError as error:
        if NOT_DETERMINISTIC in str(error):
            loading.use_deterministic_kernels(strict=False)
            return _trained(ticket, device, steps, threshold, progress)
        if isinstance(error, torch.OutOfMemoryError):
            raise Unavailable(
                f"{device} has no memory for a single row: see --dtype and --max-length"
            ) from error
        raise


def _trained(
    ticket: Ticket,
    device: str,
    steps: int,
    threshold: float | None,
    progress: Callable[[int], None],
) -> AllRowsModel:
    """Train once, with the kernels that are set: see `train`."""
    rows = tuple(worker_cache.examples(ticket.task, ticket.task.train, ticket.job.draw.revision))
    draw = Draw(train=rows, dev=(), tests={}, redrawn=0)
    job_run = JobRun.with_draw(ticket, device, draw)
    if not job_run.method.trains:
        raise Unavailable(f"{ticket.job.label} has nothing to train: use it as it is")
    slots = job_run.method.slots(job_run.backbone)
    try:
        if job_run.method.closed_form is not None:
            adapted = job_run.adapted(slots)
            reader = job_run.feature_reader(adapted)
            assert reader is not None  # there is one for each closed form
            closed_form.fit_candidate(adapted, reader, job_run.examples, steps)
        else:

            def trained(micro_batch: int) -> Any:
                model = job_run.adapted(slots)
                training = job_run.training_loop(model, lambda _, step, *__: progress(step))
                result = loop.fit(replace(training, stop_at=steps), micro_batch)
                if result.diverged_at is not None:
                    raise Unavailable(
                        f"{ticket.job.label} diverged on all rows, at step {result.diverged_at}: "
                        "choose another method with --methods"
                    )
                return model

            batch_size = ticket.job.recipe.batch_size
            adapted, _ = out_of_memory.retry_smaller(
                trained, 0, lambda size: (size or batch_size) // 2
            )
        if not all(bool(tensor.isfinite().all()) for tensor in adapted.trainable.parameters()):
            raise Unavailable(
                f"{ticket.job.label} diverged on all rows: choose another method with --methods"
            )
        target = job_run.target
        if threshold is not None and isinstance(target, SetTarget):
            target = replace(target, threshold=threshold)
        return AllRowsModel(
            {name: tensor.cpu() for name, tensor in adapted.trainable.decoded().items()},
            metadata(ticket.job, ticket.task, adapted, target),
            len(rows),
            draw.fingerprint,
        )
    finally:
        slots.remove()
