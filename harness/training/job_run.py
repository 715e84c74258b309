"""One job in a worker: prepare, train alone or in a pack, test, and return the outcome."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

import methods
from harness import provenance
from harness.artefacts import tensor_files
from harness.backbones.loading import Backbone
from harness.errors import BenchError
from harness.geometry import ALONE, Geometry
from harness.jobs import Job
from harness.outcome import (
    Outcome,
    ProgressCallback,
    pack_predictions,
    pack_probabilities,
    pack_sets,
    pack_texts,
)
from harness.streams import Streams
from harness.tasks import draws
from harness.tasks.base import Example, Task
from harness.tasks.draws import Draw
from harness.training import closed_form, loop, out_of_memory, peak_memory, testing, worker_cache
from harness.training.adapted_model import AdaptedModel, Tensors
from harness.training.feature_cache import FeatureReader, FeatureStore
from harness.training.labels import LabelTarget, Target
from harness.training.loop import Examples, FitResult, TrainingLoop
from harness.training.rows import text_rows
from harness.training.rows.encoding import encode
from harness.training.rows.truncation import Encoded
from harness.training.testing import LogitsOf, TestScores
from harness.training.ticket import Ticket
from methods import Method
from methods.core.parameters import DecodedParameters
from methods.core.slots import Slots
from reports.statistics.calibration import fitted_temperature

SMALL: Final = 12_500_000  # trained numbers of a backbone, which take 50 MB
SHOWN: Final = 300  # characters of a source that the ledger keeps, so that a report can show it


@dataclass(frozen=True)
class JobRun:
    """A job with everything that its training needs, except slots and parameters."""

    ticket: Ticket
    device: str
    method: Method
    draw: Draw
    backbone: Backbone  # with the number of outputs and the maximum length of this job
    streams: Streams
    target: Target

    @classmethod
    def prepare(cls, ticket: Ticket, device: str) -> JobRun:
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
        backbone = replace(
            worker_cache.backbone(job.backbone, device, writes=task.text),
            outputs=task.outputs,
            max_length=job.recipe.max_length,
            target_length=job.recipe.target_length if task.text else 0,
            truncate=job.recipe.truncate,
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
        method, target = (
            methods.rebuild(job.method, job.options, job.distribution),
            Target.of(task, draw.train, balanced=job.recipe.class_weights == "balanced"),
        )
        if (method.resolved_version, task.version) != (job.method_version, job.draw.version):
            raise BenchError(
                f"the plan has version {job.method_version} of {job.method} and {job.draw.version} of {task.name}, "
                f"here they are {method.resolved_version} and {task.version}: use the bench that made the plan"
            )
        return cls(ticket, device, method, draw, backbone, Streams(job.stream_key), target)

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

    @property
    def examples(self) -> Examples:
        """The training and dev examples."""
        return Examples(self.draw.train, self.draw.dev, self.target)

    def training_loop(self, adapted: AdaptedModel, progress: ProgressCallback) -> TrainingLoop:
        """Return the training loop."""
        job = self.job
        return TrainingLoop(
            adapted,
            options=self.method.options(),
            scoring=self.method.dev_scoring,
            examples=self.examples,
            recipe=job.recipe,
            streams=self.streams,
            progress=lambda step: progress(job.digest, step, job.recipe.steps, "training"),
            written_score=partial(self._written_score, adapted)
            if self.ticket.task.text and job.recipe.dev_score == "metric"
            else None,
            other_rules=self.ticket.rules,
        )

    def _written_score(self, adapted: AdaptedModel) -> float:
        """Return the score of texts that the centroid writes for the dev examples."""
        write = testing.written(adapted, self.job.recipe)
        answers = write(
            DecodedParameters(adapted.trainable), text_rows.sources(self.backbone, self.draw.dev)
        )
        assert answers is not None
        scores = testing.score(self.ticket.task, {"": answers.predictions}, {"": self.draw.dev})
        return scores.score

    def run_alone(self, progress: ProgressCallback) -> Outcome:
        """Train and test the job alone; on out-of-memory, steps are split into micro-batches.

        Raises:
            OutOfMemoryError: the device cannot hold a single row.
        """
        batch_size, by_gradient = self.job.recipe.batch_size, self.method.closed_form is None
        planned = 0 if self.ticket.geometry.in_pack else self.ticket.geometry.micro_batch
        outcome, micro_batch = out_of_memory.retry_smaller(
            lambda rows: self._train_and_test(rows, progress),
            planned,
            lambda rows: (rows or batch_size) // 2 if by_gradient else 0,
        )
        if micro_batch == planned:
            return outcome
        return replace(
            outcome,
            note=f"the device has no memory for {batch_size} rows at once; "
            f"they went through it {micro_batch} at a time",
        )

    @property
    def job(self) -> Job:
        """The job."""
        return self.ticket.job

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

    def _train_and_test(self, micro_batch: int, progress: ProgressCallback) -> Outcome:
        peak_memory.reset_peak(self.device)
        slots = self.method.slots(self.backbone)
        try:
            started = time.perf_counter()
            adapted = self.adapted(slots)
            if (reader := self.feature_reader(adapted)) is not None:
                result = closed_form.fit(adapted, reader, self.examples)
                geometry = Geometry(shared_features=self.ticket.features_shared_by > 0)
            elif not self.method.trains:
                result = loop.evaluate_untrained(self.training_loop(adapted, progress))
                geometry = ALONE
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
        """Test the trained parameters, store them if the ticket says so, and return the outcome.

        Raises:
            DiskTrouble: the disk is full or broken.
        """
        job, start = self.ticket.job, time.perf_counter()
        curve = zlib.compress(json.dumps([point.as_list() for point in result.curve]).encode(), 9)
        if result.diverged_at is not None or result.best_evaluation is None:
            return self._diverged_outcome(
                curve,
                f"the {result.not_finite} was not finite at step {result.diverged_at}",
                geometry,
            )
        progress(job.digest, job.recipe.steps, job.recipe.steps, "testing")
        trainable = adapted.trainable
        target, temperature = self._fitted_on_dev(adapted)
        test_start = time.perf_counter()
        test_fields = self._test(adapted, result, target)
        if test_fields is None:
            return self._diverged_outcome(
                curve,
                "the selected model gives logits on the test examples that are not finite",
                geometry,
            )
        test_end, tokens = time.perf_counter(), adapted.call_limit.tokens
        artefact = None
        if self.ticket.keep == "all" or (self.ticket.keep == "small" and _is_small(adapted)):
            artefact = tensor_files.write(
                self.ticket.artefacts,
                job.digest,
                trainable.decoded(),
                _metadata(job, self.ticket.task, adapted, target),
            )
        return Outcome(
            digest=job.digest,
            status="done",
            dev_score=result.best_evaluation.dev_score,
            best_step=result.best_evaluation.step,
            trained=sum(parameter.numel() for parameter in trainable.parameters()),
            stored=4 * sum(tensor.numel() for tensor in trainable().values()),  # in float32
            seconds_training=seconds + test_start - start,
            seconds_evaluation=test_end - test_start,
            peak_bytes=peak_memory.peak_bytes(self.device),
            artefact=artefact,
            curve=curve,
            temperature=b"" if temperature is None else pack_predictions([temperature], True),
            device=provenance.device_name(self.device),
            versions={"plug-in": str(plugin)} if (plugin := methods.plugin_of(self.method)) else {},
            geometry=replace(geometry, test_tokens=tokens),
            note="the device has no memory for the usual calls in testing; "
            f"they had {tokens} tokens at most"
            if tokens
            else "",
            **test_fields,
        )

    def _diverged_outcome(self, curve: bytes, error: str, geometry: Geometry) -> Outcome:
        """Return the outcome of a diverged training, with the scores of a constant prediction.

        Leaving the run out of a report would favour methods that diverge.
        """
        task = self.ticket.task
        constant = self.target.constant(self.draw.train)
        scores = testing.score(
            task,
            {suffix: [constant] * len(part) for suffix, part in self.draw.tests.items()},
            self.draw.tests,
        )
        return Outcome(
            digest=self.job.digest,
            status="diverged",
            metrics=scores.metrics,
            row_scores={
                suffix: pack_predictions(rows, True) for suffix, rows in scores.row_scores.items()
            },
            score=scores.score,
            curve=curve,
            predictions=self._packed(scores.predictions),
            **self._test_rows(),
            geometry=geometry,
            error=error,
        )

    def _test_rows(self) -> dict[str, Any]:
        """Return fields of the outcome that describe the test examples, for intervals over test examples."""
        draw = self.draw

        def packed(numbers: Mapping[str, Sequence[int]]) -> dict[str, bytes]:
            return {suffix: pack_predictions(part, False) for suffix, part in numbers.items()}

        return {
            "labels": {
                suffix: self._packed([example.label for example in examples])
                for suffix, examples in draw.tests.items()
            },
            "sources": {
                suffix: pack_texts([example.texts[0][:SHOWN] for example in examples])
                for suffix, examples in draw.tests.items()
            }
            if self.ticket.task.text
            else {},
            "groups": packed(draw.groups()),
            "distinct": packed(draw.distinct()),
            "repeated": packed(draw.repeated()),
            "full": packed(self._full_rows()),
            "identities": packed({"": draw.held_out}) if draw.held_out else {},
        }

    def _packed(self, labels: Sequence[Any]) -> bytes:
        """Compress labels or predictions, one for each row."""
        task = self.ticket.task
        if task.text:
            return pack_texts(labels)
        if task.multilabel:
            return pack_sets(labels, task.outputs)
        return pack_predictions(labels, task.regression)

    def _full_rows(self) -> dict[str, list[int]]:
        """Return, for each test set, the number of rows with as many tokens as fit: what is beyond is not read."""
        most = self.backbone.max_length
        return {
            suffix: [sum(len(row["input_ids"]) >= most for row in encoded)]
            for suffix, (_, encoded) in self.test_sets().items()
        }

    def _test(
        self, adapted: AdaptedModel, result: FitResult, target: Target
    ) -> dict[str, Any] | None:
        """Evaluate the test sets once, with the parameters that the dev examples selected.

        Args:
            adapted: the model.
            result: of the training.
            target: with the threshold that the dev examples selected.

        Returns:
            Fields of the outcome; None if a logit is not finite.
        """
        trainable, test_sets, recipe = adapted.trainable, self.test_sets(), self.job.recipe

        def evaluate(target: Target) -> TestScores | None:
            return testing.evaluate(
                DecodedParameters(trainable),
                test_sets,
                target.task,
                testing.from_logits(self._logits_of(adapted, target), target)
                if isinstance(target, LabelTarget)
                else testing.written(adapted, recipe),
            )

        scores = evaluate(target)
        if scores is None:
            return None
        values, names = dict(scores.metrics), list(scores.metrics)
        best_step = result.best_evaluation.step if result.best_evaluation else None
        by_step: dict[int | None, TestScores | None] = {best_step: scores}
        final = {name: tensor.detach().clone() for name, tensor in trainable.state_dict().items()}
        # Rules that select the same step share one test.
        for rule, checkpoint in result.best_by_rule.items():
            if checkpoint.step not in by_step:
                trainable.load_state_dict(checkpoint.state)
                by_step[checkpoint.step] = evaluate(self._fitted_on_dev(adapted)[0])
            values |= testing.prefixed(f"rule {rule}", by_step[checkpoint.step], keys=names)
        trainable.load_state_dict(final)
        has_added_slots = any(slot.role == "added" for slot in adapted.slots)
        if self.ticket.zeroed and has_added_slots and self.method.closed_form is None:
            values |= testing.prefixed(
                "zeroed",
                testing.evaluate_bare_head(adapted, test_sets, target, recipe),
                keys=names,
            )
        return {
            "metrics": values,
            "score": scores.score,
            "predictions": self._packed(scores.predictions),
            "probabilities": {
                suffix: pack_probabilities(values)
                for suffix, values in scores.probabilities.items()
            },
            "row_scores": {
                suffix: pack_predictions(values, True)
                for suffix, values in scores.row_scores.items()
            },
            **self._test_rows(),
            "collapsed": len(set(scores.predictions)) == 1,
        }

    def _fitted_on_dev(self, adapted: AdaptedModel) -> tuple[Target, float | None]:
        """Return the target with the threshold, and the temperature, that fit the model best on the dev examples.

        A regression has neither, a multilabel task has no temperature, and a model with a logit that is not
        finite keeps the threshold.
        """
        task, dev, target = self.ticket.task, self.draw.dev, self.target
        if task.regression or not isinstance(target, LabelTarget):
            return target, None
        logits = self._logits_of(adapted, target)(
            DecodedParameters(adapted.trainable), encode(self.backbone, dev)
        )
        if not bool(logits.isfinite().all()):
            return target, None
        if task.multilabel:
            return target.fitted_to(logits, dev), None
        labels = np.array([row.label for row in dev])
        return target, fitted_temperature(logits.double().cpu().numpy(), labels)

    def _logits_of(self, adapted: AdaptedModel, target: LabelTarget) -> LogitsOf:
        """Return the function that computes logits: of the centroid, of sampled models, or from cached features."""
        if (reader := self.feature_reader(adapted)) is not None:
            solver, disk = reader.solver, self.may_use_disk

            def from_features(tensors: Tensors, rows: Sequence[Encoded]) -> Tensor:
                solution = {
                    name: tensor.cpu().double().numpy() for name, tensor in tensors(None).items()
                }
                return torch.from_numpy(solver.logits_of(reader(rows, disk=disk), solution))

            return from_features
        if self.method.test_samples:
            return testing.sampled_mean_logits(
                adapted, self.method.test_samples, self.streams, target
            )
        return testing.centroid_logits(adapted)


def _is_small(adapted: AdaptedModel) -> bool:
    """Return whether `--keep small` keeps a model: of a backbone at most half, and not above a size."""
    replaced = sum(math.prod(slot.shape) for slot in adapted.slots if slot.role == "backbone")
    return replaced <= SMALL and 2 * replaced <= adapted.backbone.architecture.size


def _metadata(job: Job, task: Task, adapted: AdaptedModel, target: Target) -> dict[str, Any]:
    """Return what is needed to use the trained tensors without the data they were trained on."""
    return {
        "job": job.setting() | job.coordinates(),
        "label": job.label,
        "texts": 1 + task.pair,
        "columns": list(getattr(task.reader, "fields", ())),
        "scale": target.scale,
        "without_vertices": list(adapted.trainable.shared),
        "products": dict(adapted.trainable.products),
        "head": [slot.name for slot in adapted.slots if slot.role == "head"],
        "output_layer": adapted.backbone.architecture.output_layer,
    }
