"""Prefixes, prompts and LoRA compared with PEFT, which computes them independently, from the same tensors."""

import copy

import pytest
import torch
import torch.nn.functional as F

from harness.training import optimiser
from tests.support.families import family_backbone, family_batch, stock_model
from tests.support.models import attach, perturb

peft = pytest.importorskip("peft")
LABELS = torch.tensor([0, 2, 1, 0])
# The options that PEFT has: no MLP, positions after the prefix, and for a prompt its pooled token.
METHODS = {
    "prefix": {"decoder": "none", "length": 4},
    "prompt": {"length": 4, "pool": "prompt"},
    "lora": {"rank": 3, "alpha": 5.0},
    "rslora": {"rank": 3, "alpha": 5.0, "rslora": True},
}
KINDS = [("Bert", name) for name in METHODS] + [
    ("Roberta", "prefix"),
    ("Roberta", "prompt"),
    ("Electra", "lora"),
]
KINDS += [
    (family, name) for family in ("GPT2", "Llama", "Qwen2") for name in ("prefix", "lora")
] + [("ModernBert", "lora")]
# PEFT puts prefixes into the cache, where a window hides them from later tokens; here all tokens attend to them.
FULL = {"Qwen2": {"layer_types": ["full_attention"] * 2}}


def config(name, head, targets):
    """Return PEFT's configuration of the method."""
    if name in ("prefix", "prompt"):
        kind = peft.PrefixTuningConfig if name == "prefix" else peft.PromptTuningConfig
        return kind(task_type="SEQ_CLS", num_virtual_tokens=4, modules_to_save=head)
    options = {
        "r": 3,
        "lora_alpha": 5,
        "target_modules": targets,
        "use_rslora": name == "rslora",
        "lora_dropout": 0.0,
    }
    return peft.LoraConfig(task_type="SEQ_CLS", modules_to_save=head, **options)


def theirs(family, name, tensors):
    """Return a PEFT model with our tensors, and its parameters by the names of our slots."""
    inner = stock_model(family, **FULL.get(family, {}))
    inner.config.pad_token_id = inner.config.pad_token_id or 0
    targets = sorted({key.split(".")[-2] for key in tensors if key.endswith("lora_a")})
    head = sorted(
        {
            key.split(".")[1]
            for key in tensors
            if not any(part in key for part in ("lora_", "prefix_", ".prompt"))
        }
    )
    model = peft.get_peft_model(inner, config(name, head, targets)).eval()
    named = dict(model.named_parameters())
    ours = {}
    for key, tensor in tensors.items():
        path = key.removeprefix("inner.")
        if "lora_" in key:
            parameter = named[f"base_model.model.{path[:-7]}.lora_{key[-1].upper()}.default.weight"]
        elif "prefix_" in key or "prompt" in key:
            continue
        else:
            end = ".modules_to_save.default.".join(path.split(".", 1))
            parameter = next(named[name] for name in named if name.endswith(end))
        parameter.data.copy_(tensor)
        ours[key] = parameter
    if name == "prompt":
        ours["prompt"] = named["prompt_encoder.default.embedding.weight"]
        ours["prompt"].data.copy_(
            next(tensor for key, tensor in tensors.items() if key.endswith(".prompt"))
        )
    if name == "prefix":
        ours["prefix"] = named["prompt_encoder.default.embedding.weight"]
        ours["prefix"].data.copy_(columns(tensors))
    return model, ours


def columns(tensors):
    """Return our prefixes in the layout of PEFT, `[length, ...]`: for each layer keys, then values, head by head."""
    flat = [
        tensor.transpose(0, 1).flatten(1) for key, tensor in tensors.items() if "prefix_" in key
    ]
    return torch.cat(flat, dim=1)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param(*case, marks=[] if case[0] in ("Bert", "GPT2") else [pytest.mark.slow])
        for case in KINDS
    ],
)
def test_logits_and_one_step_equal_those_of_peft(family, name):
    """From the same tensors, the logits and the tensors after one AdamW step are equal within 1e-5."""
    backbone = family_backbone(family, dtype="float32", **FULL.get(family, {}))
    slots, trainable = attach(backbone, "lora" if "lora" in name else name, **METHODS[name])
    perturb(trainable)
    model, ours = theirs(
        family, name, {key: tensor.detach().clone() for key, tensor in trainable().items()}
    )
    rows = family_batch(family)
    if name == "prompt" and backbone.architecture.causal:
        rows = {key: value[:1] for key, value in rows.items()}
    slots.install(trainable())
    logits = backbone(rows)
    expected = model(**rows).logits
    assert torch.allclose(logits, expected, rtol=0, atol=1e-5)
    step(trainable, F.cross_entropy(logits, LABELS))
    trained = list(ours.values())
    for parameter in trained:
        parameter.requires_grad_(True)
    model.zero_grad()
    before = copy.deepcopy([parameter.detach() for parameter in trained])
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    F.cross_entropy(model(**rows).logits, LABELS).backward()
    torch.nn.utils.clip_grad_norm_(trained, optimiser.MAX_NORM)
    optimizer.step()
    after = {key: tensor.detach() for key, tensor in trainable().items()}
    flat = {"prefix": columns(after)} if name == "prefix" else {}
    flat |= {
        key.rpartition(".")[2]: tensor for key, tensor in after.items() if key.endswith(".prompt")
    }
    for (key, parameter), start in zip(ours.items(), before, strict=True):
        assert not torch.equal(parameter.detach(), start), key
        assert torch.allclose(parameter.detach(), (after | flat)[key], rtol=0, atol=1e-5), key


def step(trainable, loss):
    """Take one step as the training loop does."""
    loss.backward()
    optimiser.SingleAdamW(trainable, 0.0).step(1e-3)
