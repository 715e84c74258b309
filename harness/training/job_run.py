"""One job in a worker's hands: made ready, trained alone or in a pack, tested, and made into an outcome."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import BenchError
from harness.geometry import ALONE, Geometry
from harness.jobs import Job
from harness.outcome import Outcome, ProgressCallback, pack_predictions
from harness.tasks.base import Example
from harness.training import out_of_memory, worker_cache
from harness.training.ticket import Ticket

if TYPE_CHECKING:
    from torch import Tensor

    from harness.backbones.loading import Backbone
    from harness.streams import Streams
    from harness.tasks.draws import Draw
    from harness.training.adapted_model import AdaptedModel, Tensors
    from harness.training.batching import Encoded
    from harness.training.feature_cache import FeatureReader
    from harness.training.labels import Target
    from harness.training.loop import Examples, FitResult, TrainingLoop
    from harness.training.testing import LogitsOf, TestScores
    from methods import Method
    from methods.core.slots import Slots


@dataclass(frozen=True)
class JobRun:
    """A job with everything that its training needs but the slots."""

    ticket: Ticket
    device: str
    method: Method
    rows: Draw
    backbone: Backbone  # with this job's outputs and length
    streams: Streams
    target: Target

    @classmethod
    def of(cls, ticket: Ticket, device: str) -> JobRun:
        """Draw the rows and read what is not yet in memory.

        Raises:
            BenchError: the rows changed since the plan was made, or are longer than the backbone
                takes; or the method has another version here.
            ValueError: the method's plug-in is missing here, or another one.
        """
        import methods
        from harness.streams import Streams
        from harness.tasks import draws
        from harness.training.labels import Target

        job, task = ticket.job, ticket.task

        def read(split: str) -> Sequence[Example]:
            return worker_cache.rows(task, split, job.draw.revision)

        rows = draws.draw(task, read, job.draw.size, job.draw.number, job.recipe)
        if rows.fingerprint != job.draw.fingerprint:
            raise BenchError(f"the rows of {task.name} changed since the plan was made: run again")
        backbone = replace(
            worker_cache.backbone(job.backbone, device),
            outputs=task.outputs,
            max_length=job.recipe.max_length,
        )
        room = backbone.architecture.positions
        if room is not None and job.recipe.max_length > room:
            raise BenchError(
                f"rows of {job.recipe.max_length} tokens need as many positions, this backbone has {room}: --max-length"
            )
        method, target = (
            methods.rebuild(job.method, job.options, job.distribution),
            Target.of(task, rows.train),
        )
        if (method.resolved_version, task.version) != (job.method_version, job.draw.version):
            raise BenchError(
                f"{job.method} on {task.name} was planned with versions {job.method_version} and {job.draw.version} of them, "
                f"and here they are {method.resolved_version} and {task.version}: use the bench that made the plan"
            )
        return cls(ticket, device, method, rows, backbone, Streams(job.place), target)

    @property
    def packable(self) -> bool:
        """Whether it may train in a pack: by gradient, and with slots that stay to the end."""
        return (
            self.ticket.geometry.in_pack
            and self.method.closed_form is None
            and not self.ticket.zeroed
        )

    def adapted(self, slots: Slots) -> AdaptedModel:
        """The backbone with slots in it and this job's source."""
        from harness.training.adapted_model import AdaptedModel

        trainable = self.method.trainable_parameters(slots, self.streams).to(
            device=self.backbone.device, dtype=self.backbone.trained_in
        )
        return AdaptedModel(self.backbone, slots, trainable)

    @property
    def examples(self) -> Examples:
        """What it may look at while it trains."""
        from harness.training.loop import Examples

        return Examples(self.rows.train, self.rows.dev, self.target)

    def training_loop(self, adapted: AdaptedModel, progress: ProgressCallback) -> TrainingLoop:
        """Its training."""
        from harness.training.loop import TrainingLoop

        job = self.ticket.job

        def step_done(step: int) -> None:
            progress(job.digest, step, job.recipe.steps, "training")

        options, scoring, rules = self.method.options(), self.method.dev_scoring, self.ticket.rules
        return TrainingLoop(
            adapted, options, scoring, self.examples, job.recipe, self.streams, step_done, rules
        )

    def alone(self, progress: ProgressCallback) -> Outcome:
        """Train and test by plain calls of the model; a step that the device cannot hold goes through it in parts.

        Raises:
            OutOfMemoryError: it cannot hold a single row.
        """
        whole, by_gradient = self.job.recipe.batch_size, self.method.closed_form is None
        planned = 0 if self.ticket.geometry.in_pack else self.ticket.geometry.micro_batch
        outcome, micro_batch = out_of_memory.retry_smaller(
            lambda rows: self._alone(rows, progress),
            planned,
            lambda rows: (rows or whole) // 2 if by_gradient else 0,
        )
        if micro_batch == planned:
            return outcome
        return replace(outcome, note=out_of_memory.micro_batch_note(whole, micro_batch))

    @property
    def job(self) -> Job:
        """What it is an attempt at."""
        return self.ticket.job

    def reader(self, adapted: AdaptedModel) -> FeatureReader | None:
        """What gives features, if the method is fitted on them: kept from job to job, but where its costs are to be its own."""
        from harness.training.feature_cache import FeatureStore

        if self.method.closed_form is None:
            return None
        return (
            worker_cache.features() if self.ticket.features_shared_by else FeatureStore()
        ).reader(adapted, self.method)

    @property
    def on_disk(self) -> bool:
        """Whether features of test rows may come from files, and go into them; held-out rows are no other draw's."""
        return (
            self.ticket.features_shared_by > 0
            and not self.ticket.anew
            and not self.ticket.task.holdout
        )

    def test_sets(self) -> dict[str, tuple[Sequence[Example], Sequence[Encoded]]]:
        """The test rows, as they are and encoded, by the suffix of the metric."""
        job, task, tests = self.job, self.ticket.task, self.rows.tests
        return {
            suffix: (rows, worker_cache.encoded(self.backbone, task, job, suffix, rows))
            for suffix, rows in tests.items()
        }

    def _alone(self, micro_batch: int, progress: ProgressCallback) -> Outcome:
        from harness.training import closed_form, loop

        reset_peak(self.device)
        slots = self.method.slots(self.backbone)
        try:
            started = time.perf_counter()
            adapted = self.adapted(slots)
            if (reader := self.reader(adapted)) is not None:
                result = closed_form.fit(adapted, reader, self.examples)
                geometry = Geometry(shared_features=self.ticket.features_shared_by > 0)
            else:
                result = loop.fit(self.training_loop(adapted, progress), micro_batch)
                geometry = Geometry(micro_batch=micro_batch)
            return self.outcome(adapted, result, time.perf_counter() - started, progress, geometry)
        finally:
            slots.remove()

    def outcome(
        self,
        adapted: AdaptedModel,
        result: FitResult,
        seconds: float,
        progress: ProgressCallback,
        geometry: Geometry = ALONE,
    ) -> Outcome:
        """Test what was trained, keep its tensors if they are to be kept, and say what came of it.

        Raises:
            DiskTrouble: the disk is full or broken.
        """
        import methods
        from harness import provenance
        from harness.artefacts import tensor_files

        job, began = self.ticket.job, time.perf_counter()
        curve = zlib.compress(json.dumps([point.as_list() for point in result.curve]).encode(), 9)
        if result.diverged is not None or result.best is None:
            return self._diverged(
                curve, f"the loss stopped being a finite number at step {result.diverged}", geometry
            )
        progress(job.digest, job.recipe.steps, job.recipe.steps, "testing")
        trainable = adapted.trainable
        big = any(slot.role == "backbone" for slot in adapted.slots)
        tested = self._test(adapted, result)
        if tested is None:
            return self._diverged(
                curve, "the model chosen gives no finite numbers on the test rows", geometry
            )
        tested_at, tokens = time.perf_counter(), adapted.call_limit.tokens
        kept = None
        if self.ticket.keep == "all" or (self.ticket.keep == "small" and not big):
            kept = tensor_files.write(
                self.ticket.artefacts,
                job.digest,
                trainable.decoded(),
                _about(job, adapted, self.target),
            )
        return Outcome(
            digest=job.digest,
            status="done",
            dev_score=result.best.dev_score,
            best_step=result.best.step,
            trained=sum(parameter.numel() for parameter in trainable.parameters()),
            stored=4 * sum(tensor.numel() for tensor in trainable().values()),  # in float32
            seconds_training=seconds,
            seconds_evaluation=tested_at - began,
            peak_bytes=_peak(self.device),
            artefact=kept,
            curve=curve,
            device=provenance.device_name(self.device),
            versions={"plug-in": str(plugin)} if (plugin := methods.plugin_of(self.method)) else {},
            geometry=replace(geometry, test_tokens=tokens),
            note=out_of_memory.testing_note(tokens) if tokens else "",
            **tested,
        )

    def _diverged(self, curve: bytes, error: str, geometry: Geometry) -> Outcome:
        """A run that broke down counts with what one constant answer scores: dropping it would flatter its method."""
        from harness.tasks import metrics

        task = self.ticket.task
        labels = [row.label for row in self.rows.train]
        constant = (
            math.fsum(labels) / len(labels)
            if task.regression
            else max(sorted(set(labels)), key=labels.count)
        )
        values: dict[str, float] = {}
        scores: list[float] = []
        for suffix, part in self.rows.tests.items():
            scored = metrics.compute(
                task.metrics, [constant] * len(part), [row.label for row in part]
            )
            scores.append(metrics.score(task.metrics, scored))
            values |= {
                f"{name}/{suffix}" if suffix else name: value for name, value in scored.items()
            }
        score = math.fsum(scores) / len(scores)
        told: dict[str, Any] = {
            "curve": curve,
            "error": error,
            "metrics": values,
            "score": score,
            "geometry": geometry,
        }
        tested = sum(map(len, self.rows.tests.values()))
        told |= {
            "predictions": pack_predictions([constant] * tested, task.regression),
            "labels": self._labels(),
        }
        return Outcome(digest=self.ticket.job.digest, status="diverged", **told)

    def _labels(self) -> dict[str, bytes]:
        """The right answers for the test rows, with which a report can tell how much other rows would have changed."""
        regression = self.ticket.task.regression
        tests = self.rows.tests.items()
        return {
            suffix: pack_predictions([row.label for row in rows], regression)
            for suffix, rows in tests
        }

    def _test(self, adapted: AdaptedModel, result: FitResult) -> dict[str, Any] | None:
        """Metrics on the test rows, looked at once, at the point that the dev rows chose; None if a logit is not finite."""
        from harness.training import testing
        from methods.core.parameters import DecodedParameters

        task, trainable, test_sets = self.ticket.task, adapted.trainable, self.test_sets()
        answers, target = self._answers(adapted), self.target
        marks = testing.evaluate(DecodedParameters(trainable), test_sets, target, answers)
        if marks is None:
            return None
        values, names = dict(marks.metrics), list(marks.metrics)
        seen: dict[int | None, TestScores | None] = {
            result.best.step if result.best else None: marks
        }
        final = {name: tensor.detach().clone() for name, tensor in trainable.state_dict().items()}
        for rule, selection in result.rules.items():  # rules that agree on a moment are tested once
            if selection.step not in seen:
                trainable.load_state_dict(selection.state)
                seen[selection.step] = testing.evaluate(
                    DecodedParameters(trainable), test_sets, target, answers
                )
            values |= testing.prefixed(f"rule {rule}", seen[selection.step], keys=names)
        trainable.load_state_dict(final)
        if (
            self.ticket.zeroed
            and any(slot.role == "added" for slot in adapted.slots)
            and self.method.closed_form is None
        ):
            values |= testing.prefixed(
                "zeroed", testing.evaluate_bare_head(adapted, test_sets, target), keys=names
            )
        return {
            "metrics": values,
            "score": marks.score,
            "predictions": pack_predictions(marks.predictions, task.regression),
            "labels": self._labels(),
            "collapsed": len(set(marks.predictions)) == 1,
        }

    def _answers(self, adapted: AdaptedModel) -> LogitsOf:
        """How logits come about: by the centroid, by sampled models, or from features that are kept."""
        import torch

        from harness.training import testing

        if (reader := self.reader(adapted)) is not None:
            solver, disk = reader.solver, self.on_disk

            def from_features(tensors: Tensors, rows: Sequence[Encoded]) -> Tensor:
                solution = {
                    name: tensor.cpu().double().numpy() for name, tensor in tensors(None).items()
                }
                return torch.from_numpy(solver.answer(reader(rows, disk=disk), solution))

            return from_features
        if self.method.test_samples:
            return testing.sampled_mean_logits(
                adapted, self.method.test_samples, self.streams, self.ticket.task
            )
        return testing.centroid_logits(adapted)


def _about(job: Job, adapted: AdaptedModel, target: Target) -> dict[str, Any]:
    """What must be known to use trained tensors without the rows that they were trained on."""
    return {
        "job": job.setting() | job.coordinates(),
        "label": job.label,
        "scale": {"mean": target.mean, "spread": target.spread},
        "without_vertices": list(adapted.trainable.shared),
        "products": dict(adapted.trainable.products),
        "head": [slot.name for slot in adapted.slots if slot.role == "head"],
        "output_layer": adapted.backbone.architecture.output_layer,
    }


def reset_peak(device: str) -> None:
    """Begin to measure the greatest memory in use anew, where the system can."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # only Linux has it
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # since the process began
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kilobytes
