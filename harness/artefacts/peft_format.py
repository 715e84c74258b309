"""Trained tensors in the format of PEFT: `PeftModel.from_pretrained` reads them and computes the same logits."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from harness.artefacts.heads import in_labels_units
from harness.artefacts.ia3_factors import Factors, factors
from harness.artefacts.restore import StoredModel
from harness.backbones import checkpoints
from methods.ia3 import Ia3
from methods.lora import Lora
from methods.prefix import Prefix
from methods.prompt import Prompt

Tensors = Mapping[str, Tensor]


def files(model: StoredModel, tensors: Tensors) -> dict[str, Any]:
    """Return the files of an export by name: plain values for JSON, tensors for safetensors.

    Args:
        model: a trained model without an `obstacle`.
        tensors: its tensors at one point of the simplex.

    Raises:
        UsageError: the head has no bias, which the scale of the labels needs.
    """
    base = model.base_method
    if isinstance(base, Prefix):
        config, weights = (
            _prefix_config(tensors),
            {"prompt_embeddings": _prompt_embeddings(tensors)},
        )
    elif isinstance(base, Prompt):
        prompt = next(tensor for name, tensor in tensors.items() if name.endswith(".prompt"))
        config, weights = _prompt_config(prompt), {"prompt_embeddings": prompt}
    elif isinstance(base, Ia3):
        config, weights = _ia3(list(factors(model, tensors)))
    else:
        assert isinstance(base, Lora)
        config, weights = _lora_config(tensors, base), _lora_weights(tensors)
    prefix = "base_model.model." if isinstance(base, Lora | Ia3) else "base_model."
    head = {
        name.removeprefix("inner."): tensor
        for name, tensor in in_labels_units(model, tensors).items()
    }
    local = checkpoints.local_folder(model.backbone.name)
    task_type = "SEQ_CLS"
    if model.writes:
        task_type = "SEQ_2_SEQ_LM" if _config(model).is_encoder_decoder else "CAUSAL_LM"
    shared = {
        "task_type": task_type,
        "inference_mode": True,
        "base_model_name_or_path": str(local or model.backbone.name),
        "revision": None if local else model.backbone.revision,
        "modules_to_save": sorted({name.split(".")[0] for name in head}) or None,
    }
    weights |= {f"{prefix}{name}": tensor for name, tensor in head.items()}
    return {"adapter_config.json": shared | config, "adapter_model.safetensors": weights}


def obstacle(model: StoredModel) -> str:
    """Return why the model cannot be exported to PEFT; empty if it can."""
    base = model.base_method
    if not isinstance(base, Prefix | Prompt | Lora | Ia3):
        return f"bench exports prefix, prompt, LoRA and (IA)^3 to PEFT, not {base.name}"
    if model.writes and isinstance(base, Prefix) and _config(model).is_encoder_decoder:
        return "PEFT's prefixes of an encoder-decoder are in its decoder only"
    if model.backbone.pooling != "model" and not model.writes:
        return f"PEFT reads only the library's own classifiers, and this model pools by {model.backbone.pooling}"
    if isinstance(base, Prefix):
        differing = [
            f"{name}={getattr(base, name)}"
            for name, value in {
                "position": "front",
                "positions": "shifted",
                "depth": "all",
                "gate": "none",
            }.items()
            if getattr(base, name) != value
        ]
        if differing:
            return (
                "PEFT's prefixes shift positions, enter every layer and have no gate, "
                f"and this model was trained with {differing[0]}"
            )
        if not model.writes and not _takes_cache(model):
            return "PEFT passes prefixes as cached keys and values, which this backbone does not accept"
    pools_text = isinstance(base, Prompt) and base.pool != "prompt" and not model.writes
    if pools_text and not _takes_cache(model, causal=True):
        return (
            "PEFT pools the prompt's first token in place of the text's, "
            "and this model was trained with pool=text"
        )
    return "PEFT's LoRA has no gate" if isinstance(base, Lora) and base.gate else ""


def _config(model: StoredModel) -> Any:
    """Return the configuration of the backbone."""
    return AutoConfig.from_pretrained(
        checkpoints.locate(model.backbone.name, model.backbone.revision)
    )


def _takes_cache(model: StoredModel, *, causal: bool = False) -> bool:
    """Return whether the library's model accepts cached keys and values, or with `causal` whether it is causal."""
    with torch.device("meta"):  # without weights
        library_model = AutoModelForSequenceClassification.from_config(_config(model))
    if causal:
        return any(getattr(module, "is_causal", False) for module in library_model.modules())
    return any(
        "past_key_values" in inspect.signature(part.forward).parameters
        for part in (library_model, library_model.base_model)
    )


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


def _ia3(layers: Sequence[Factors]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the configuration and the weights of (IA)^3: a row for inputs, a column for outputs."""
    config = {
        "peft_type": "IA3",
        "target_modules": [one.layer for one in layers],
        "feedforward_modules": [one.layer for one in layers if one.of_inputs],
    }
    return config, {
        f"base_model.model.{one.layer}.ia3_l": one.values[None]
        if one.of_inputs
        else one.values[:, None]
        for one in layers
    }


def _lora_weights(tensors: Tensors) -> dict[str, Tensor]:
    factors = {name: tensor for name, tensor in tensors.items() if re.search(r"\.lora_[ab]$", name)}
    return {
        f"base_model.model.{n[:-7].removeprefix('inner.')}.lora_{n[-1].upper()}.weight": t
        for n, t in factors.items()
    }
