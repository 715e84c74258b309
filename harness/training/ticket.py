"""What a worker is given: a job with everything that it needs to run it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness import geometry
from harness.geometry import Geometry
from harness.jobs import Job
from harness.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A job as it travels to a worker."""

    job: Job
    task: Task
    keep: str  # which trained tensors to keep
    artefacts: Path
    zeroed: bool = False  # test the trained head on the bare backbone as well
    rules: bool = False  # test as well what the other selection rules would have chosen
    geometry: Geometry | None = None  # of the pack in which it trains; None: alone
    # jobs that are fitted on features and given out at once; 0: alone, with nothing that others
    # computed
    together: int = 1
    anew: bool = False  # compute what an earlier run has kept as well
    # of a step that go through the model at a time, where the device cannot hold it whole; 0: all
    rows: int = 0

    @property
    def places(self) -> int:
        """How many jobs of its kind are given out at once."""
        return self.geometry.places if self.geometry else max(1, self.together)

    @cached_property
    def kind(self) -> tuple[object, ...]:
        """What jobs of one pack share: shape, method but for its rate and decay, and how they are trained.

        Those that are given out to share features share their task as well: its rows are what they
            share.
        """
        job = self.job
        options = {
            name: value for name, value in job.options.items() if name not in ("lr", "weight_decay")
        }
        width = geometry.outputs(self.task.outputs)
        task = job.rows.task if self.together > 1 else None
        return (
            self.geometry,
            task,
            width,
            job.backbone,
            job.method,
            tuple(sorted(options.items())),
            job.recipe,
        )
