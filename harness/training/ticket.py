"""A ticket: a job with everything that a worker needs to run it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.geometry import ALONE, Geometry, padded_outputs
from harness.jobs import Job
from harness.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A job as it is sent to a worker.

    Attributes:
        job: the job.
        task: its task, with the reader of its data.
        keep: whose trained tensors to store: `all` jobs, `small` (jobs that do not train the backbone itself)
            or `none`.
        artefacts: folder for the stored tensors.
        zeroed: whether to also test the trained head on the backbone without the method's other tensors.
        rules: whether to also test the checkpoints that the other selection rules select.
        geometry: the pack to train in, or the micro-batch with which to train alone.
        features_shared_by: number of jobs that are dispatched together to share features; 0: the job
            neither reads cached features nor caches its own.
        anew: whether to compute features again that an earlier run stored on disk.
    """

    job: Job
    task: Task
    keep: str
    artefacts: Path
    zeroed: bool = False
    rules: bool = False
    geometry: Geometry = ALONE
    features_shared_by: int = 1
    anew: bool = False

    @property
    def jobs_at_once(self) -> int:
        """Number of jobs of this kind that are dispatched together."""
        return max(self.geometry.pack_size, self.features_shared_by, 1)

    @cached_property
    def kind(self) -> tuple[object, ...]:
        """The properties that the jobs of one pack have in common: see `pack_kind`."""
        shared_task = self.job.draw.task if self.features_shared_by > 1 else None
        return pack_kind(self.job, self.task, self.geometry, shared_task)


def pack_kind(
    job: Job, task: Task, geometry: Geometry, shared_task: str | None = None
) -> tuple[object, ...]:
    """Return the properties that the jobs of one pack have in common.

    They are the geometry, the backbone, the width of the head, the recipe, and the method with all
    options but learning rate and weight decay.

    Args:
        job: one of the jobs.
        task: its task.
        geometry: the pack to train in.
        shared_task: name of the task whose features the jobs share; None: they share no features.
    """
    options = {
        name: value for name, value in job.options.items() if name not in ("lr", "weight_decay")
    }
    return (
        geometry,
        shared_task,
        padded_outputs(task.outputs),
        job.backbone,
        job.method,
        tuple(sorted(options.items())),
        job.recipe,
    )
