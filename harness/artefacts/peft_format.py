"""Trained tensors in the format of PEFT: a folder that `PeftModel.from_pretrained` reads with equal logits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.artefacts.restore import Stored
from harness.backbones import checkpoints
from harness.errors import UsageError
from methods import Method
from methods.lora import Lora
from methods.prefix import Prefix
from methods.prompt import Prompt
from methods.simplex import Simplex

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]


def files(one: Stored, tensors: Tensors) -> dict[str, Any]:
    """The files by name: plain values for JSON, tensors for safetensors.

    Raises:
        UsageError: PEFT has no such method, or would compute something else with it.
    """
    base = one.method.base if isinstance(one.method, Simplex) else one.method
    if why := _obstacle(one, base):
        raise UsageError(f"{why}: --format safetensors")
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
    start = "base_model.model." if isinstance(base, Lora) else "base_model."
    head = {name.removeprefix("inner."): tensor for name, tensor in _unscaled(one, tensors).items()}
    local = checkpoints.local_folder(one.backbone.name)
    shared = {
        "task_type": "SEQ_CLS",
        "inference_mode": True,
        "base_model_name_or_path": str(local or one.backbone.name),
        "revision": None if local else one.backbone.revision,
        "modules_to_save": sorted({name.split(".")[0] for name in head}),
    }
    weights |= {f"{start}{name}": tensor for name, tensor in head.items()}
    return {"adapter_config.json": shared | config, "adapter_model.safetensors": weights}


def _obstacle(one: Stored, base: Method) -> str:
    """Why PEFT would not compute what was trained; empty if it would."""
    if not isinstance(base, Prefix | Prompt | Lora):
        return f"PEFT has no {base.name}"
    if one.backbone.pooling != "model":
        return f"PEFT reads the library's own classifiers only, this one pools by {one.backbone.pooling}"
    if isinstance(base, Prefix):
        options = {"positions": "shifted", "depth": "all", "gate": "none"}
        other = [
            f"{name}={getattr(base, name)}"
            for name, value in options.items()
            if getattr(base, name) != value
        ]
        if other:
            return f"PEFT's prefixes shift positions, enter every layer and have no gate, this one was trained with {other[0]}"
        if not _takes_cache(one):
            return "PEFT puts prefixes into a cache of keys and values, which this backbone does not take"
    if isinstance(base, Prompt) and base.pool != "prompt" and not _takes_cache(one, causal=True):
        return "PEFT pools a prompt's first row where an encoder's first token would be, this one was trained with pool=text"
    return "PEFT's LoRA has no gate" if isinstance(base, Lora) and base.gate else ""


def _takes_cache(one: Stored, *, causal: bool = False) -> bool:
    """Whether the library's model takes cached keys and values, as PEFT asks it; or whether it is a causal one."""
    import inspect

    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(
        checkpoints.locate(one.backbone.name, one.backbone.revision)
    )
    with torch.device("meta"):  # its structure is enough
        model = AutoModelForSequenceClassification.from_config(config)
    if causal:
        return any(getattr(module, "is_causal", False) for module in model.modules())
    return any(
        "past_key_values" in inspect.signature(part.forward).parameters
        for part in (model, model.base_model)
    )


def _unscaled(one: Stored, tensors: Tensors) -> dict[str, Tensor]:
    """The head, with a regression's scale folded into its last layer, so that it answers in the labels' own units."""
    head = {name: tensors[name] for name in one.about["head"]}
    if not one.labels:
        mean, spread = one.about["scale"]["mean"], one.about["scale"]["spread"]
        weight, bias = (f"{one.about['output_layer']}.{part}" for part in ("weight", "bias"))
        if bias not in head:
            raise UsageError(
                "this head has no bias that could hold the mean of the labels: --format safetensors"
            )
        head |= {weight: head[weight] * spread, bias: head[bias] * spread + mean}
    return head


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _prefixes(tensors: Tensors, part: str) -> list[Tensor]:
    """Keys or values of every layer from the lowest up, `[heads, length, width]` each."""
    return [tensors[name] for name in sorted(tensors, key=_natural) if f".prefix_{part}_" in name]


def _prompt_embeddings(tensors: Tensors) -> Tensor:
    """`[length, layers * 2 * heads * width]`: for each layer its keys, then its values, head by head."""
    import torch

    pairs = zip(_prefixes(tensors, "key"), _prefixes(tensors, "value"), strict=True)
    columns = [
        one.transpose(0, 1).flatten(1) for pair in pairs for one in pair
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
    """A mixture of products has longer factors than one vertex; the scale is that of one all the same."""
    places = [
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
        "target_modules": places,  # whole paths: another layer may end in the same name
    }


def _lora_weights(tensors: Tensors) -> dict[str, Tensor]:
    factors = {name: tensor for name, tensor in tensors.items() if re.search(r"\.lora_[ab]$", name)}
    return {
        f"base_model.model.{n[:-7].removeprefix('inner.')}.lora_{n[-1].upper()}.weight": t
        for n, t in factors.items()
    }
