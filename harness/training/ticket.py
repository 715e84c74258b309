"""What a worker receives: a job with everything that it needs to run it."""

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
        keep: which trained tensors to keep: `all`, `small` (not those of a whole backbone) or `none`.
        artefacts: folder for the kept tensors.
        zeroed: also test the trained head on the bare backbone.
        rules: also test what the other selection rules would have selected.
        geometry: how the job is to go through the model; training alone splits a step into
            micro-batches where it says so.
        features_shared_by: jobs fitted on features that are dispatched together to share them; 0:
            the job neither reads nor leaves features in the cache.
        anew: compute again what an earlier run stored on disk.
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
        """How many jobs of this kind are dispatched together."""
        return max(self.geometry.pack_size, self.features_shared_by, 1)

    @cached_property
    def kind(self) -> tuple[object, ...]:
        """What the jobs of one pack have in common: see `pack_kind`."""
        shared_task = self.job.draw.task if self.features_shared_by > 1 else None
        return pack_kind(self.job, self.task, self.geometry, shared_task)


def pack_kind(
    job: Job, task: Task, geometry: Geometry, shared_task: str | None = None
) -> tuple[object, ...]:
    """Return what the jobs of one pack have in common.

    That is the geometry, the backbone, the width of the head, the recipe, and the method with all
    options but learning rate and weight decay.

    Args:
        job: one of the jobs.
        task: its task.
        geometry: how it goes through the model.
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
