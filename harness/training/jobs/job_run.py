"""One job in a worker: train it alone or in a pack, test it, and return the outcome."""

from __future__ import annotations

import json
import math
import time
import zlib
from dataclasses import replace
from functools import partial
from typing import Any, Final

import methods
from harness import provenance
from harness.artefacts import tensor_files
from harness.geometry import ALONE, Geometry
from harness.jobs import Job
from harness.outcome import (
    Outcome,
    ProgressCallback,
    pack_predictions,
)
from harness.tasks.base import Task
from harness.training import closed_form, loop, out_of_memory, peak_memory, testing
from harness.training.adapted_model import AdaptedModel
from harness.training.jobs.job_test import JobTest, packed, row_fields
from harness.training.jobs.prepared_job import PreparedJob
from harness.training.labels import Target
from harness.training.loop import FitResult, TrainingLoop
from harness.training.rows import text_rows
from methods.core.parameters import DecodedParameters

SMALL: Final = 12_500_000  # trained numbers of a backbone, which take 50 MB


class JobRun(PreparedJob):
    """A prepared job that is trained and tested."""

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
        test = JobTest(self, adapted)
        target, temperature = test.fitted_on_dev()
        test_start = time.perf_counter()
        test_fields = test.fields(result, target)
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
                metadata(job, self.ticket.task, adapted, target),
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
            predictions=packed(self, scores.predictions),
            **row_fields(self),
            geometry=geometry,
            error=error,
        )


def _is_small(adapted: AdaptedModel) -> bool:
    """Return whether `--keep small` keeps a model: of a backbone at most half, and not above a size."""
    replaced = sum(math.prod(slot.shape) for slot in adapted.slots if slot.role == "backbone")
    return replaced <= SMALL and 2 * replaced <= adapted.backbone.architecture.size


def metadata(job: Job, task: Task, adapted: AdaptedModel, target: Target) -> dict[str, Any]:
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
