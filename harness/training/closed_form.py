"""Methods that are fitted without gradients, on features of the frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from harness.tasks import metrics
from harness.training import batching
from harness.training.adapted_model import AdaptedModel
from harness.training.feature_cache import FeatureReader
from harness.training.loop import Examples, FitResult
from harness.training.selection import BestCheckpoint, CurvePoint

if TYPE_CHECKING:
    import numpy as np


def fit(adapted: AdaptedModel, reader: FeatureReader, examples: Examples) -> FitResult:
    """Fit on the training rows; the dev rows choose among the candidates. Leaves the source at the one chosen.

    A point of the curve is a candidate; its number stands where other methods have a step.
    """
    target, backbone, method = examples.target, adapted.backbone, reader.solver
    x, held = (reader(batching.encode(backbone, rows)) for rows in (examples.train, examples.dev))
    labels = target.tensor(examples.train, torch.device("cpu"))
    result, best = FitResult(), BestCheckpoint()
    for number, tensors in enumerate(
        method.solve(x, labels.numpy(), classes=len(target.task.labels)), 1
    ):
        load(adapted, tensors)
        seen = torch.from_numpy(method.answer(x, tensors))
        logits = torch.from_numpy(method.answer(held, tensors))
        found = target.predictions(logits)
        values = metrics.compute(target.task.metrics, found, [row.label for row in examples.dev])
        loss = float(target.loss(logits, target.tensor(examples.dev, logits.device)))
        point = CurvePoint(
            number,
            float(target.loss(seen, labels)),
            metrics.score(target.task.metrics, values),
            loss,
        )
        result.curve.append(point)
        result.steps = number
        if best.offer((point.dev_score, -point.dev_loss), number, adapted.trainable):
            result.best = point
    adapted.trainable.load_state_dict(best.state)
    return result


def load(adapted: AdaptedModel, tensors: Mapping[str, np.ndarray]) -> None:
    """Put a solution where trained tensors are."""
    parameters = adapted.trainable.shared
    for name, value in tensors.items():
        parameters[name].data.copy_(torch.from_numpy(value))
