"""The factors of (IA)^3 by linear layer, as other programs store them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from harness.artefacts.restore import StoredModel
from harness.backbones import loading
from methods.core.architecture import layer_sizes


class Factors(NamedTuple):
    """What the inputs or the outputs of one linear layer are multiplied by."""

    layer: str  # path in the library's model
    values: Tensor  # [inputs] or [outputs]
    of_inputs: bool


def factors(model: StoredModel, tensors: Mapping[str, Tensor]) -> Iterator[Factors]:
    """Yield the factors of every layer.

    A layer that computes queries, keys and values together has ones for the queries.

    Args:
        model: the trained model.
        tensors: its tensors at one point of the simplex.
    """
    backbone = loading.load(model.backbone, "cpu", writes=model.writes)
    for block in backbone.architecture.blocks:
        outputs: dict[str, Tensor] = {}
        cross = zip(("key", "value"), block.cross[1:], strict=False)
        for part, projection in (("key", block.key), ("value", block.value), *cross):
            assert projection is not None  # or the method had refused the backbone
            path, columns = projection.path, projection.columns
            if columns is None:
                outputs[path] = tensors[f"{path}.scale"]
                continue
            width = layer_sizes(backbone.model.get_submodule(path))[1]
            together = outputs.setdefault(path, torch.ones(width))
            together[torch.tensor(columns)] = tensors[f"{path}.{part}_scale"]
        for path, values in outputs.items():
            yield Factors(path.removeprefix("inner."), values, of_inputs=False)
        path = f"{block.feed_forward_out}"
        yield Factors(path.removeprefix("inner."), tensors[f"{path}.scale"], of_inputs=True)
