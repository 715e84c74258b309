"""Methods that are fitted without gradients, on features of the frozen backbone that are computed once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from harness import batches, cache
from harness.adapted import Adapted, predict
from harness.batches import Encoded
from harness.provenance import environment
from harness.selection import Point, Selection
from harness.tasks import metrics
from harness.training import Examples, Fit
from methods.base import ClosedForm

if TYPE_CHECKING:
    import numpy as np

Features = Callable[[Sequence[Encoded]], "np.ndarray"]  # encoded rows to [rows, hidden]


def fit(adapted: Adapted, method: ClosedForm, examples: Examples, features: Features) -> Fit:
    """Fit on the training rows; the dev rows choose among the candidates. Leaves the source at the one chosen.

    A point of the curve is a candidate; its number stands where other methods have a step.
    """
    target, backbone = examples.target, adapted.backbone
    x, held = (features(batches.encode(backbone, rows)) for rows in (examples.train, examples.dev))
    labels = target.tensor(examples.train, torch.device("cpu"))
    result, best = Fit(), Selection()
    for number, tensors in enumerate(method.solve(x, labels.numpy(), classes=len(target.task.labels)), 1):
        load(adapted, tensors)
        seen = torch.from_numpy(method.answer(x, tensors))
        logits = torch.from_numpy(method.answer(held, tensors))
        found = target.predictions(logits)
        values = metrics.compute(target.task.metrics, found, [row.label for row in examples.dev])
        loss = float(target.loss(logits, target.tensor(examples.dev, logits.device)))
        point = Point(number, float(target.loss(seen, labels)), metrics.score(target.task.metrics, values), loss)
        result.curve.append(point)
        result.steps = number
        if best.offer((point.dev_score, -point.dev_loss), number, adapted.source):
            result.best = point
    adapted.source.load_state_dict(best.state)
    return result


def load(adapted: Adapted, tensors: Mapping[str, np.ndarray]) -> None:
    """Put a solution where trained tensors are."""
    parameters = adapted.source.given
    for name, value in tensors.items():
        parameters[name].data.copy_(torch.from_numpy(value))


class FeatureStore:
    """Features of rows, computed once: in memory for one worker, and on disk for sets that many jobs share."""

    MOST = 64  # sets in memory

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def reader(self, adapted: Adapted, method: ClosedForm, options: Mapping[str, Any]) -> Features:
        """What gives the features of encoded rows on this backbone, as the method pools them."""
        backbone = adapted.backbone
        spec = backbone.spec
        base = [spec.name, spec.revision, spec.pooling, spec.dtype, options["pooling"], backbone.device.type, environment()]

        def read(rows: Sequence[Encoded]) -> np.ndarray:
            content = hashlib.sha256(json.dumps([base, rows], sort_keys=True).encode())
            key = content.hexdigest()[:32]
            if key not in self._kept:
                if len(self._kept) >= self.MOST:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = _from_disk(key) if len(rows) >= DISK else None  # type: ignore[assignment]
                if self._kept[key] is None:
                    self._kept[key] = self._compute(adapted, method, rows)
                    _to_disk(key, self._kept[key])
            return self._kept[key]

        return read

    @staticmethod
    def _compute(adapted: Adapted, method: ClosedForm, rows: Sequence[Encoded]) -> np.ndarray:
        """With the identity in place of a classifier, the backbone answers with its features."""
        tensors = {
            name: torch.from_numpy(value).float() for name, value in method.identity(adapted.backbone.anatomy.hidden).items()
        }
        tensors = {name: tensor.to(adapted.backbone.device) for name, tensor in tensors.items()}
        found: np.ndarray = predict(adapted, lambda _: tensors, rows).double().numpy()
        return found


DISK = 500  # rows from which a set is worth a file: test sets are, few-shot draws are not


def _path(key: str) -> Any:
    return cache.folder() / "features" / f"{key}.safetensors"


def _from_disk(key: str) -> np.ndarray | None:
    """Features as they were written; None where there are none, or they are not."""
    from safetensors import safe_open

    try:
        with safe_open(_path(key), "numpy") as file:
            found: np.ndarray = file.get_tensor("features")
            whole = file.metadata()["sha256"] == _hash(found)
    except Exception:  # missing, half-written, without a hash: damage ends in an error of any kind
        return None
    return found if whole else None


def _hash(features: np.ndarray) -> str:
    """Of the numbers, and of how they are to be read."""
    return hashlib.sha256(f"{features.dtype} {features.shape} ".encode() + features.tobytes()).hexdigest()


def _to_disk(key: str, features: np.ndarray) -> None:
    from safetensors.numpy import save_file

    if len(features) < DISK:
        return
    path = _path(key)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_file({"features": features}, draft, metadata={"sha256": _hash(features)})
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)  # a read-only home must not end a run
