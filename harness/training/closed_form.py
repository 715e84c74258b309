"""Methods that are fitted without gradients, on features of the frozen backbone."""

from collections.abc import Mapping

import numpy as np
import torch

from harness.training.adapted_model import AdaptedModel
from harness.training.dev_scoring import BestCheckpoint, CurvePoint
from harness.training.feature_cache import FeatureReader
from harness.training.labels import LabelTarget
from harness.training.loop import Examples, FitResult
from harness.training.rows import encoding


def fit(adapted: AdaptedModel, reader: FeatureReader, examples: Examples) -> FitResult:
    """Fit candidates on the training rows and load the candidate with the best dev score.

    Each point of the curve is a candidate. The number of the candidate is stored as the training step.
    """
    target, backbone, method = examples.target, adapted.backbone, reader.solver
    assert isinstance(target, LabelTarget)
    train_features, dev_features = (
        reader(encoding.encode(backbone, rows)) for rows in (examples.train, examples.dev)
    )
    labels = target.tensor(examples.train, torch.device("cpu"))
    result, best = FitResult(), BestCheckpoint()
    # Only if there are weights: a solver of a plug-in may not know them.
    weighted = {"weights": target.row_weights(labels).numpy()} if target.weights else {}
    solutions = method.solve(
        train_features, labels.numpy(), classes=len(target.task.labels), **weighted
    )
    for number, tensors in enumerate(solutions, 1):
        load(adapted, tensors)
        train_logits = torch.from_numpy(method.logits_of(train_features, tensors))
        logits = torch.from_numpy(method.logits_of(dev_features, tensors))
        evaluation = CurvePoint(
            number,
            float(target.loss(train_logits, labels)),
            target.fitted_to(logits, examples.dev).score(logits, examples.dev),
            float(target.loss(logits, target.tensor(examples.dev, logits.device))),
        )
        result.curve.append(evaluation)
        result.steps = number
        if best.offer((evaluation.dev_score, -evaluation.dev_loss), number, adapted.trainable):
            result.best_evaluation = evaluation
    adapted.trainable.load_state_dict(best.state)
    return result


def load(adapted: AdaptedModel, tensors: Mapping[str, np.ndarray]) -> None:
    """Copy a solution, `{slot: array}`, into the trainable parameters."""
    for name, value in tensors.items():
        adapted.trainable.shared[name].data.copy_(torch.from_numpy(value))
