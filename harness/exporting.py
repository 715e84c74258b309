"""What `export` and `predict` do with a trained model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import checkpoints, stored
from harness.errors import CannotWrite, UsageError
from harness.stored import Stored
from harness.tasks.base import Row, Task

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]


def export_job(db: str, digest: str, folder: Path, form: str, at: str | None) -> None:
    """`bench export`.

    Raises:
        UsageError: the format cannot hold this model, or the point does not exist.
        CannotWrite: the folder exists or cannot be made.
    """
    from rich.console import Console
    from safetensors.torch import save_file

    one = stored.load(db, digest)
    tensors = one.point(at)
    files = peft_files(one, tensors) if form == "peft" else {"model.safetensors": dict(tensors), "job.json": _job(one)}
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be made: {error.strerror}") from error
    for name, content in files.items():
        if name.endswith(".safetensors"):
            flat = {key: tensor.float().contiguous() for key, tensor in content.items()}
            save_file(flat, folder / name, metadata={"format": "pt"})
        else:
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(_card(one, form, at), "utf-8")
    Console().print(f"{folder}: {', '.join([*files, 'README.md'])}", markup=False, highlight=False, soft_wrap=True)


def peft_files(one: Stored, tensors: Tensors) -> dict[str, Any]:
    """The files of a folder that `PeftModel.from_pretrained` reads with equal logits.

    Raises:
        UsageError: PEFT has no such method, or the model's head or positions are not those that PEFT would use.
    """
    if one.backbone.pooling != "model":
        raise UsageError(
            f"PEFT reads the library's own classifiers only, this one pools by {one.backbone.pooling}: --format safetensors"
        )
    options = one.entry.setting["method"]["options"]
    kind = options.get("base", one.entry.setting["method"]["name"])
    if kind == "prefix" and options["positions"] != "shifted":
        raise UsageError("PEFT shifts positions by the prefix, this one was trained with positions=kept: --format safetensors")
    if kind == "prefix":
        config, weights = _peft_prefix(tensors), {"prompt_embeddings": _prompt_embeddings(tensors)}
    elif kind == "lora":
        config, weights = _peft_lora(tensors, options), _lora_weights(tensors)
    else:
        raise UsageError(f"PEFT has no {kind}: --format safetensors")
    start = "base_model." if kind == "prefix" else "base_model.model."
    head = {name.removeprefix("inner."): tensor for name, tensor in _unscaled(one, tensors).items()}
    modules = sorted({name.split(".")[0] for name in head})
    shared = {
        "task_type": "SEQ_CLS",
        "inference_mode": True,
        "base_model_name_or_path": str(checkpoints.local_folder(one.backbone.name) or one.backbone.name),
        "revision": None if checkpoints.local_folder(one.backbone.name) else one.backbone.revision,
        "modules_to_save": modules,
    }
    weights |= {f"{start}{name}": tensor for name, tensor in head.items()}
    return {"adapter_config.json": shared | config, "adapter_model.safetensors": weights}


def _unscaled(one: Stored, tensors: Tensors) -> dict[str, Tensor]:
    """The head, with a regression's scale folded into its last layer, so that it answers in the labels' own units."""
    head = {name: tensors[name] for name in one.about["head"]}
    if not one.labels:
        mean, spread = one.about["scale"]["mean"], one.about["scale"]["spread"]
        weight, bias = (f"{one.about['output_layer']}.{part}" for part in ("weight", "bias"))
        if bias not in head:
            raise UsageError("this head has no bias that could hold the mean of the labels: --format safetensors")
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
    columns = [one.transpose(0, 1).flatten(1) for pair in pairs for one in pair]  # [length, heads * width]
    return torch.cat(columns, dim=1)


def _peft_prefix(tensors: Tensors) -> dict[str, Any]:
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


def _peft_lora(tensors: Tensors, options: Mapping[str, Any]) -> dict[str, Any]:
    targets = sorted({name.split(".")[-2] for name in tensors if name.endswith(".lora_a")})
    shared = {"peft_type": "LORA", "r": options["rank"], "lora_alpha": options["alpha"], "lora_dropout": 0.0}
    return shared | {"bias": "none", "target_modules": targets}


def _lora_weights(tensors: Tensors) -> dict[str, Tensor]:
    factors = {name: tensor for name, tensor in tensors.items() if re.search(r"\.lora_[ab]$", name)}
    return {f"base_model.model.{n[:-7].removeprefix('inner.')}.lora_{n[-1].upper()}.weight": t for n, t in factors.items()}


def _job(one: Stored) -> dict[str, Any]:
    return {"digest": one.entry.digest, "label": one.entry.label, "labels": one.labels, **one.about}


def _card(one: Stored, form: str, at: str | None) -> str:
    entry = one.entry
    where = "the centre of its simplex" if at is None else f"the point {at} of its simplex"
    point = f", {where}" if one.vertices > 1 else ""
    metrics = ", ".join(f"{name} {100 * value:.1f}" for name, value in sorted(entry.metrics.items()) if "zeroed" not in name)
    tested = f"On {entry.n_test} test rows{' at the centre' if at is not None else ''}: {metrics}."
    return (
        f"# {entry.label} on {entry.task}\n\n"
        f"{one.backbone.line()}{point}. Trained on {entry.n_train} rows (draw {entry.draw}, seed {entry.seed}), chosen on "
        f"{entry.n_dev} dev rows. {tested} One training: other draws of the same size differ, see the report.\n\n"
        f"Job {entry.digest}; rows {entry.fingerprint}; format {form}; classes: {', '.join(one.labels) or 'a number'}.\n"
    )


# -- predict -----------------------------------------------------------------------------------------------------------


def predict_text(db: str, digest: str, text: Sequence[str], at: str | None, *, as_json: bool) -> None:
    """`bench predict`.

    Raises:
        UsageError: the number of texts is not that of the task.
    """
    from rich.console import Console

    one = stored.load(db, digest)
    found = answer(one, [tuple(text)], at)[0]
    if as_json:
        Console().print_json(json.dumps(found))
    elif one.labels:
        shown = ", ".join(
            f"{name} {100 * p:.1f} %" for name, p in sorted(found["probabilities"].items(), key=lambda item: -item[1])
        )
        Console().print(f"{found['answer']}  ({shown})", markup=False, highlight=False, soft_wrap=True)
    else:
        Console().print(f"{found['answer']:.3f}", highlight=False)


def answer(one: Stored, texts: Sequence[tuple[str, ...]], at: str | None = None) -> list[dict[str, Any]]:
    """What a trained model says of each text or pair: the answer, and for classes their probabilities.

    Raises:
        UsageError: the number of texts is not that of the task.
    """
    from dataclasses import replace

    import methods
    from harness import backbones, training

    setting = one.entry.setting["method"]
    backbone = replace(backbones.load(one.backbone, "cpu"), outputs=len(one.labels) or 1, max_length=one.recipe.max_length)
    if {len(text) for text in texts} - {1, 2}:
        raise UsageError("give one text, or the two texts of a pair")
    slots = methods.build(setting["name"], setting["options"]).slots(backbone)
    adapted = training.Adapted(backbone, slots, None)  # type: ignore[arg-type]  # nothing is trained here
    rows = training.encode(backbone, [Row(text, 0) for text in texts])
    logits = training.predict(adapted, lambda _: one.point(at), rows)
    slots.remove()
    task = Task(name="", title="", reader=None, labels=tuple(one.labels), metrics=(), pair=False)  # type: ignore[arg-type]
    found = training.Target(task, **one.about["scale"]).predictions(logits)
    if not one.labels:
        return [{"answer": value} for value in found]
    chances = logits.softmax(1).tolist()
    return [
        {"answer": one.labels[int(number)], "probabilities": dict(zip(one.labels, row, strict=True))}
        for number, row in zip(found, chances, strict=True)
    ]
