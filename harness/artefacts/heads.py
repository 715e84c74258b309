"""The trained classification head as other programs use it."""

from collections.abc import Mapping

from torch import Tensor

from harness.artefacts.restore import StoredModel
from harness.errors import UsageError


def in_labels_units(model: StoredModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the head, whose logits need no further scale.

    The last layer of a regression is rescaled to predict in the labels' units; that of a multilabel task is
    shifted, so that its threshold is a logit of 0 (probability .5).

    Raises:
        UsageError: the last layer has no bias to hold the mean or the threshold.
    """
    head = {name: tensors[name] for name in model.metadata["head"]}
    if model.writes:  # it has no head
        return head
    if not model.labels:
        mean, spread = model.metadata["scale"]["mean"], model.metadata["scale"]["spread"]
        weight, bias = (f"{model.metadata['output_layer']}.{part}" for part in ("weight", "bias"))
        if bias not in head:
            raise UsageError(
                "this head has no bias to hold the mean of the labels: use --format safetensors"
            )
        head |= {weight: head[weight] * spread, bias: head[bias] * spread + mean}
    elif threshold := model.metadata["scale"].get("threshold", 0.0):
        bias = f"{model.metadata['output_layer']}.bias"
        if bias not in head:
            raise UsageError(
                "this head has no bias to hold the threshold of the classes: use --format safetensors"
            )
        head |= {bias: head[bias] - threshold}
    return head
