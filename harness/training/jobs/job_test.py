"""Test a trained model, and describe its test rows, as fields of an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from harness.outcome import pack_predictions, pack_probabilities, pack_sets, pack_texts
from harness.training import testing
from harness.training.adapted_model import AdaptedModel, Tensors
from harness.training.jobs.prepared_job import PreparedJob
from harness.training.labels import LabelTarget, Target
from harness.training.loop import FitResult
from harness.training.rows.encoding import encode
from harness.training.rows.truncation import Encoded
from harness.training.testing import LogitsOf, TestScores
from methods.core.parameters import DecodedParameters
from reports.statistics.calibration import fitted_temperature

SHOWN: Final = 300  # characters of a source that the ledger keeps, so that a report can show it


@dataclass(frozen=True)
class JobTest:
    """The test of a job's trained model."""

    prepared: PreparedJob
    adapted: AdaptedModel

    def fields(self, result: FitResult, target: Target) -> dict[str, Any] | None:
        """Evaluate the test sets once, with the parameters that the dev examples selected.

        Args:
            result: of the training.
            target: with the threshold that the dev examples selected.

        Returns:
            Fields of the outcome; None if a logit is not finite.
        """
        job, adapted = self.prepared, self.adapted
        trainable, test_sets, recipe = adapted.trainable, job.test_sets(), job.job.recipe

        def evaluate(target: Target) -> TestScores | None:
            return testing.evaluate(
                DecodedParameters(trainable),
                test_sets,
                target.task,
                testing.from_logits(self._logits_of(target), target)
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
                by_step[checkpoint.step] = evaluate(self.fitted_on_dev()[0])
            values |= testing.prefixed(f"rule {rule}", by_step[checkpoint.step], keys=names)
        trainable.load_state_dict(final)
        has_added_slots = any(slot.role == "added" for slot in adapted.slots)
        if job.ticket.zeroed and has_added_slots and job.method.closed_form is None:
            values |= testing.prefixed(
                "zeroed",
                testing.evaluate_bare_head(adapted, test_sets, target, recipe),
                keys=names,
            )
        return {
            "metrics": values,
            "score": scores.score,
            "predictions": packed(job, scores.predictions),
            "probabilities": {
                suffix: pack_probabilities(values)
                for suffix, values in scores.probabilities.items()
            },
            "row_scores": {
                suffix: pack_predictions(values, True)
                for suffix, values in scores.row_scores.items()
            },
            **row_fields(job),
            "collapsed": len(set(scores.predictions)) == 1,
        }

    def fitted_on_dev(self) -> tuple[Target, float | None]:
        """Return the target with the threshold, and the temperature, that fit the model best on the dev examples.

        A regression has neither, a multilabel task has no temperature, and a model with a logit that is not
        finite keeps the threshold.
        """
        job = self.prepared
        task, dev, target = job.ticket.task, job.draw.dev, job.target
        if task.regression or not isinstance(target, LabelTarget):
            return target, None
        logits = self._logits_of(target)(
            DecodedParameters(self.adapted.trainable), encode(job.backbone, dev)
        )
        if not bool(logits.isfinite().all()):
            return target, None
        if task.multilabel:
            return target.fitted_to(logits, dev), None
        labels = np.array([row.label for row in dev])
        return target, fitted_temperature(logits.double().cpu().numpy(), labels)

    def _logits_of(self, target: LabelTarget) -> LogitsOf:
        """Return the function that computes logits: of the centroid, of sampled models, or from cached features."""
        job, adapted = self.prepared, self.adapted
        if (reader := job.feature_reader(adapted)) is not None:
            solver, disk = reader.solver, job.may_use_disk

            def from_features(tensors: Tensors, rows: Sequence[Encoded]) -> Tensor:
                solution = {
                    name: tensor.cpu().double().numpy() for name, tensor in tensors(None).items()
                }
                return torch.from_numpy(solver.logits_of(reader(rows, disk=disk), solution))

            return from_features
        if job.method.test_samples:
            return testing.sampled_mean_logits(
                adapted, job.method.test_samples, job.streams, target
            )
        return testing.centroid_logits(adapted)


def row_fields(job: PreparedJob) -> dict[str, Any]:
    """Return fields of the outcome that describe the test examples, for intervals over test examples."""
    draw = job.draw

    def numbered(numbers: Mapping[str, Sequence[int]]) -> dict[str, bytes]:
        return {suffix: pack_predictions(part, False) for suffix, part in numbers.items()}

    return {
        "labels": {
            suffix: packed(job, [example.label for example in examples])
            for suffix, examples in draw.tests.items()
        },
        "sources": {
            suffix: pack_texts([" ".join(example.texts)[:SHOWN] for example in examples])
            for suffix, examples in draw.tests.items()
        }
        if job.ticket.task.text
        else {},
        "groups": numbered(draw.groups()),
        "distinct": numbered(draw.distinct()),
        "repeated": numbered(draw.repeated()),
        "full": numbered(_full_rows(job)),
        "identities": numbered({"": draw.held_out}) if draw.held_out else {},
    }


def packed(job: PreparedJob, labels: Sequence[Any]) -> bytes:
    """Compress labels or predictions, one for each row."""
    task = job.ticket.task
    if task.text:
        return pack_texts(labels)
    if task.multilabel:
        return pack_sets(labels, task.outputs)
    return pack_predictions(labels, task.regression)


def _full_rows(job: PreparedJob) -> dict[str, list[int]]:
    """Return, for each test set, the number of rows with as many tokens as fit: what is beyond is not read."""
    most = job.backbone.source_length
    return {
        suffix: [sum(len(row["input_ids"]) >= most for row in encoded)]
        for suffix, (_, encoded) in job.test_sets().items()
    }
