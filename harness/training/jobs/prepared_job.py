"""A job with everything that its training needs, except slots and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import methods
from harness.backbones.loading import Backbone
from harness.errors import BenchError
from harness.jobs import Job
from harness.streams import Streams
from harness.tasks import draws
from harness.tasks.base import Example
from harness.tasks.draws import Draw
from harness.training.adapted_model import AdaptedModel
from harness.training.feature_cache import FeatureReader, FeatureStore
from harness.training.jobs import worker_cache
from harness.training.labels import Target
from harness.training.loop import Examples
from harness.training.rows.truncation import Encoded
from harness.training.ticket import Ticket
from methods import Method
from methods.core.slots import Slots


@dataclass(frozen=True)
class PreparedJob:
    """A job with its rows, its method, and a backbone in memory."""

    ticket: Ticket
    device: str
    method: Method
    draw: Draw
    backbone: Backbone  # with the number of outputs and the maximum length of this job
    streams: Streams
    target: Target

    @classmethod
    def prepare(cls, ticket: Ticket, device: str) -> Self:
        """Draw the examples and load what is not yet in memory.

        Raises:
            BenchError: the examples changed since the plan was made, or are longer than the backbone
                accepts; or the method or the task has another version here.
            ValueError: the method's plug-in is missing here, or has another distribution.
        """
        job, task = ticket.job, ticket.task
        draw = draws.draw(
            task,
            lambda split: worker_cache.examples(task, split, job.draw.revision),
            job.draw.size,
            job.draw.number,
            job.recipe,
        )
        if draw.fingerprint != job.draw.fingerprint:
            raise BenchError(
                f"the data of {task.name} changed since the plan was made: run the command again"
            )
        return cls.with_draw(ticket, device, draw)

    @classmethod
    def with_draw(cls, ticket: Ticket, device: str, draw: Draw) -> Self:
        """Load what is not yet in memory for a job on given examples.

        Raises:
            BenchError: the examples are longer than the backbone accepts, or the method or the task has another
                version here.
            ValueError: the method's plug-in is missing here, or has another distribution.
        """
        job, task = ticket.job, ticket.task
        method = methods.rebuild(job.method, job.options, job.distribution)
        backbone = replace(
            worker_cache.backbone(job.backbone, device, writes=task.text),
            outputs=task.outputs,
            max_length=job.recipe.max_length,
            target_length=job.recipe.target_length if task.text else 0,
            truncate=job.recipe.truncate,
            apart=task.pair and method.reads_apart,
        )
        positions = backbone.architecture.positions
        if positions is not None and job.recipe.max_length > positions:
            raise BenchError(
                f"the backbone has {positions} positions, fewer than the {job.recipe.max_length} tokens of a row: "
                "pass a smaller --max-length"
            )
        if task.text and backbone.target_length + 2 > backbone.max_length:
            raise BenchError(
                f"texts of {backbone.target_length} tokens leave no room for a source in rows of "
                f"{backbone.max_length}: pass a smaller --target-length"
            )
        if (method.resolved_version, task.version) != (job.method_version, job.draw.version):
            raise BenchError(
                f"the plan has version {job.method_version} of {job.method} and {job.draw.version} of {task.name}, "
                f"here they are {method.resolved_version} and {task.version}: use the bench that made the plan"
            )
        target = Target.of(task, draw.train, balanced=job.recipe.class_weights == "balanced")
        return cls(ticket, device, method, draw, backbone, Streams(job.stream_key), target)

    @property
    def job(self) -> Job:
        """The job."""
        return self.ticket.job

    @property
    def examples(self) -> Examples:
        """The training and dev examples."""
        return Examples(self.draw.train, self.draw.dev, self.target)

    @property
    def packable(self) -> bool:
        """Whether the job can train in a pack: a classifier by gradient, and no test removes the slots (`zeroed`)."""
        return (
            self.ticket.geometry.in_pack
            and self.method.closed_form is None
            and self.method.trains
            and not self.ticket.task.text
            and not self.ticket.zeroed
        )

    def adapted(self, slots: Slots) -> AdaptedModel:
        """Return the backbone with these slots and the initial parameters of this job."""
        trainable = self.method.trainable_parameters(slots, self.streams).to(
            device=self.backbone.device, dtype=self.backbone.trained_in
        )
        return AdaptedModel(self.backbone, slots, trainable)

    def feature_reader(self, adapted: AdaptedModel) -> FeatureReader | None:
        """Return the reader that computes features, if the method is fitted on features.

        Jobs share features, unless the ticket says that the job computes its own.
        """
        if self.method.closed_form is None:
            return None
        store = worker_cache.feature_store() if self.ticket.features_shared_by else FeatureStore()
        return store.reader(adapted, self.method)

    @property
    def may_use_disk(self) -> bool:
        """Whether features of test examples are cached on disk; held-out test examples serve one draw only."""
        return (
            self.ticket.features_shared_by > 0
            and not self.ticket.anew
            and not self.ticket.task.holdout
        )

    def test_sets(self) -> dict[str, tuple[Sequence[Example], Sequence[Encoded]]]:
        """Return the examples and encoded rows of each test set, by the suffix of its metrics."""
        job, task = self.job, self.ticket.task
        return {
            suffix: (examples, worker_cache.encoded(self.backbone, task, job, suffix, examples))
            for suffix, examples in self.draw.tests.items()
        }
