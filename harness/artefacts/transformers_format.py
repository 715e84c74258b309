"""Trained tensors merged into the backbone's weights, which the library reads as a classifier or a model that writes.

The configuration has the names of the classes, so that a pipeline of transformers answers with them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from harness.artefacts.heads import in_labels_units
from harness.artefacts.ia3_factors import factors
from harness.artefacts.restore import StoredModel
from harness.backbones import checkpoints
from harness.backbones.loading import library_class
from methods.bitfit import Bitfit
from methods.fine_tuning import FineTuning
from methods.ia3 import Ia3
from methods.lora import Lora

Tensors = Mapping[str, Tensor]


def obstacle(model: StoredModel) -> str:
    """Return why the model cannot be merged into plain weights; empty if it can."""
    base = model.base_method
    if not isinstance(base, FineTuning | Bitfit | Lora | Ia3):
        return f"{base.name} cannot be merged into the backbone's weights"
    if model.backbone.pooling != "model" and not model.writes:
        return (
            "transformers reads only the library's own classifiers, and this model pools by "
            f"{model.backbone.pooling}"
        )
    return (
        "a gate that depends on the input cannot be merged into weights"
        if isinstance(base, Lora) and base.gate
        else ""
    )


def write(model: StoredModel, tensors: Tensors, folder: Path) -> list[str]:
    """Write the merged model and its tokenizer to a folder, and return the names of the files.

    Args:
        model: a trained model without an `obstacle`.
        tensors: its tensors at one point of the simplex.
        folder: an empty folder.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = checkpoints.locate(model.backbone.name, model.backbone.revision)
    config = AutoConfig.from_pretrained(source, **({} if model.writes else names(model)))
    config.pad_token_id = write_tokenizer(model, folder).pad_token_id
    library = library_class(config, writes=model.writes)
    library_model = library.from_pretrained(
        source, config=config, dtype=torch.float32, ignore_mismatched_sizes=True
    )
    _merge(library_model, model, tensors)
    library_model.save_pretrained(folder)
    return sorted(path.name for path in folder.iterdir())


def write_tokenizer(model: StoredModel, folder: Path) -> Any:
    """Write the tokenizer to a folder, with the pad token and the length of training, and return it."""
    source = checkpoints.locate(model.backbone.name, model.backbone.revision)
    tokenizer = AutoTokenizer.from_pretrained(source)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.model_max_length = model.recipe.max_length
    tokenizer.truncation_side = "left" if model.recipe.truncate == "tail" else "right"
    tokenizer.save_pretrained(folder)
    return tokenizer


def names(model: StoredModel) -> dict[str, Any]:
    """Return what a configuration says of the classes: their number, their names and the type of problem."""
    if not model.labels:
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        "id2label": dict(enumerate(model.labels)),
        "label2id": {name: number for number, name in enumerate(model.labels)},
        "problem_type": "multi_label_classification"
        if model.multilabel
        else "single_label_classification",
    }


@torch.no_grad()
def _merge(library_model: nn.Module, model: StoredModel, tensors: Tensors) -> None:
    """Put the trained tensors into the library's model."""
    base = model.base_method
    replaced = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.endswith((".lora_a", ".lora_b", "scale"))
    }
    for name, tensor in (replaced | in_labels_units(model, tensors)).items():
        library_model.get_parameter(name.removeprefix("inner.")).copy_(tensor)
    if isinstance(base, Lora):
        for name in tensors:
            if name.endswith(".lora_a"):
                path = name.removesuffix(".lora_a")
                layer: Any = library_model.get_submodule(path.removeprefix("inner."))
                update = base.scale * (tensors[f"{path}.lora_b"] @ tensors[name])  # [out, in]
                layer.weight.add_(update.T if isinstance(layer, Conv1D) else update)
    elif isinstance(base, Ia3):
        for found in factors(model, tensors):
            _scale(
                library_model.get_submodule(found.layer), found.values, of_inputs=found.of_inputs
            )


def _scale(layer: Any, values: Tensor, *, of_inputs: bool) -> None:
    """Multiply the weights, and for outputs the bias, of a linear layer."""
    # A linear layer's weight is [out, in], that of GPT-2's layers [in, out].
    rows = of_inputs if isinstance(layer, Conv1D) else not of_inputs
    layer.weight.mul_(values[:, None] if rows else values)
    if not of_inputs and layer.bias is not None:
        layer.bias.mul_(values)
