"""Trained tensors in the format of PEFT: `PeftModel.from_pretrained` reads them and computes the same logits."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from harness.artefacts.restore import StoredModel
from harness.backbones import checkpoints
from harness.errors import UsageError
from methods import Method
from methods.lora import Lora
from methods.prefix import Prefix
from methods.prompt import Prompt
from methods.simplex import Simplex

Tensors = Mapping[str, Tensor]


def files(model: StoredModel, tensors: Tensors) -> dict[str, Any]:
    """Return the files of an export by name: plain values for JSON, tensors for safetensors.

    Args:
        model: the trained model.
        tensors: its tensors at one point of the simplex.

    Raises:
        UsageError: bench cannot write this method for PEFT, or PEFT would compute something else.
    """
    base = model.method.base if isinstance(model.method, Simplex) else model.method
    if obstacle := _obstacle(model, base):
        raise UsageError(f"{obstacle}: use --format safetensors")
    if isinstance(base, Prefix):
        config, weights = (
            _prefix_config(tensors),
            {"prompt_embeddings": _prompt_embeddings(tensors)},
        )
    elif isinstance(base, Prompt):
        prompt = next(tensor for name, tensor in tensors.items() if name.endswith(".prompt"))
        config, weights = _prompt_config(prompt), {"prompt_embeddings": prompt}
    else:
        assert isinstance(base, Lora)
        config, weights = _lora_config(tensors, base), _lora_weights(tensors)
    prefix = "base_model.model." if isinstance(base, Lora) else "base_model."
    head = {
        name.removeprefix("inner."): tensor for name, tensor in _unscaled(model, tensors).items()
    }
    local = checkpoints.local_folder(model.backbone.name)
    shared = {
        "task_type": "SEQ_CLS",
        "inference_mode": True,
        "base_model_name_or_path": str(local or model.backbone.name),
        "revision": None if local else model.backbone.revision,
        "modules_to_save": sorted({name.split(".")[0] for name in head}),
    }
    weights |= {f"{prefix}{name}": tensor for name, tensor in head.items()}
    return {"adapter_config.json": shared | config, "adapter_model.safetensors": weights}


def _obstacle(model: StoredModel, base: Method) -> str:
    """Return why the model cannot be exported to PEFT; empty if it can."""
    if not isinstance(base, Prefix | Prompt | Lora):
        return f"bench exports prefix, prompt and LoRA to PEFT, not {base.name}"
    if model.backbone.pooling != "model":
        return f"PEFT reads only the library's own classifiers, and this model pools by {model.backbone.pooling}"
    if isinstance(base, Prefix):
        differing = [
            f"{name}={getattr(base, name)}"
            for name, value in {"positions": "shifted", "depth": "all", "gate": "none"}.items()
            if getattr(base, name) != value
        ]
        if differing:
            return (
                "PEFT's prefixes shift positions, enter every layer and have no gate, "
                f"and this model was trained with {differing[0]}"
            )
        if not _takes_cache(model):
            return "PEFT passes prefixes as cached keys and values, which this backbone does not accept"
    if isinstance(base, Prompt) and base.pool != "prompt" and not _takes_cache(model, causal=True):
        return (
            "PEFT pools the prompt's first token in place of the text's, "
            "and this model was trained with pool=text"
        )
    return "PEFT's LoRA has no gate" if isinstance(base, Lora) and base.gate else ""


def _takes_cache(model: StoredModel, *, causal: bool = False) -> bool:
    """Return whether the library's model accepts cached keys and values, or with `causal` whether it is causal."""
    config = AutoConfig.from_pretrained(
        checkpoints.locate(model.backbone.name, model.backbone.revision)
    )
    with torch.device("meta"):  # without weights
        library_model = AutoModelForSequenceClassification.from_config(config)
    if causal:
        return any(getattr(module, "is_causal", False) for module in library_model.modules())
    return any(
        "past_key_values" in inspect.signature(part.forward).parameters
        for part in (library_model, library_model.base_model)
    )


def _unscaled(model: StoredModel, tensors: Tensors) -> dict[str, Tensor]:
    """Return the head as other programs use it.

    The last layer of a regression is rescaled to predict in the labels' units; that of a multilabel task is
    shifted, so that its threshold is a logit of 0 (probability .5).
    """
    head = {name: tensors[name] for name in model.metadata["head"]}
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


def _natural_order(name: str) -> list[int | str]:
    """Return a sort key that orders numbers in a name by value, so that layer 10 follows layer 9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _prefixes(tensors: Tensors, part: str) -> list[Tensor]:
    """Return the keys or values of every layer in order, each `[kv_heads, length, width]`."""
    return [
        tensors[name] for name in sorted(tensors, key=_natural_order) if f".prefix_{part}_" in name
    ]


def _prompt_embeddings(tensors: Tensors) -> Tensor:
    """Return `[length, layers * 2 * heads * width]`: per layer the keys, then the values, head by head."""
    pairs = zip(_prefixes(tensors, "key"), _prefixes(tensors, "value"), strict=True)
    columns = [
        tensor.transpose(0, 1).flatten(1) for pair in pairs for tensor in pair
    ]  # [length, heads * width]
    return torch.cat(columns, dim=1)


def _prefix_config(tensors: Tensors) -> dict[str, Any]:
    heads, length, width = _prefixes(tensors, "key")[0].shape
    return {
        "peft_type": "PREFIX_TUNING",
        "num_virtual_tokens": length,
        "token_dim": heads * width,
        "num_attention_heads": heads,
        "num_layers": len(_prefixes(tensors, "key")),
        "num_transformer_submodules": 1,
        "encoder_hidden_size": heads * width,
        "prefix_projection": False,
    }


def _prompt_config(prompt: Tensor) -> dict[str, Any]:
    length, width = prompt.shape
    return {
        "peft_type": "PROMPT_TUNING",
        "num_virtual_tokens": length,
        "token_dim": width,
        "num_transformer_submodules": 1,
        "prompt_tuning_init": "RANDOM",
    }


def _lora_config(tensors: Tensors, lora: Lora) -> dict[str, Any]:
    """Return the configuration of LoRA. A mixture of products has a higher rank than one vertex, but the same scale."""
    modules = [
        name.removeprefix("inner.").removesuffix(".lora_a")
        for name in tensors
        if name.endswith(".lora_a")
    ]
    rank = next(len(tensor) for name, tensor in tensors.items() if name.endswith(".lora_a"))
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": lora.scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": modules,  # full paths, since another layer may have the same last name
    }


def _lora_weights(tensors: Tensors) -> dict[str, Tensor]:
    factors = {name: tensor for name, tensor in tensors.items() if re.search(r"\.lora_[ab]$", name)}
    return {
        f"base_model.model.{n[:-7].removeprefix('inner.')}.lora_{n[-1].upper()}.weight": t
        for n, t in factors.items()
    }
