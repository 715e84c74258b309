"""Methods that are fitted without gradients, on features of the frozen backbone."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import torch

from harness.errors import Unavailable
from harness.tasks.base import Example
from harness.training.adapted_model import AdaptedModel
from harness.training.dev_scoring import BestCheckpoint, CurvePoint
from harness.training.feature_cache import FeatureReader
from harness.training.labels import LabelTarget
from harness.training.loop import Examples, FitResult
from harness.training.rows import encoding
from methods.core.method import ClosedForm


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
    solutions = _solutions(method, target, train_features, examples.train)
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


def fit_candidate(
    adapted: AdaptedModel, reader: FeatureReader, examples: Examples, number: int
) -> None:
    """Fit one candidate, given by its number from 1 as `fit` counts them, on the training rows, and load it.

    Raises:
        Unavailable: there is no such candidate.
    """
    target, method = examples.target, reader.solver
    assert isinstance(target, LabelTarget)
    features = reader(encoding.encode(adapted.backbone, examples.train))
    solutions = _solutions(method, target, features, examples.train)
    solution = next(islice(solutions, number - 1, None), None)
    if solution is None:
        raise Unavailable(
            f"on these rows, the method has fewer than {number} candidates, the median of those that dev rows chose"
        )
    load(adapted, solution)


def _solutions(
    method: ClosedForm, target: LabelTarget, features: np.ndarray, rows: Sequence[Example]
) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the candidates that are fitted to rows with these features."""
    labels = target.tensor(rows, torch.device("cpu"))
    # Only if there are weights: a solver of a plug-in may not know them.
    weighted = {"weights": target.row_weights(labels).numpy()} if target.weights else {}
    yield from method.solve(features, labels.numpy(), classes=len(target.task.labels), **weighted)


def load(adapted: AdaptedModel, tensors: Mapping[str, np.ndarray]) -> None:
    """Copy a solution, `{slot: array}`, into the trainable parameters."""
    for name, value in tensors.items():
        adapted.trainable.shared[name].data.copy_(torch.from_numpy(value))
