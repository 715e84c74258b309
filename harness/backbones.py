"""Reading a pretrained model: safetensors only, never code of a repository, in the precision asked for.

What methods need to know of a model's structure is found by looking at one forward and backward pass, so no family of
models is named here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness import checkpoints
from harness.errors import Unavailable
from harness.jobs import BackboneSpec
from methods.sites import ATTENTION, Anatomy, AttentionCall, RowLinear, add_row_axis, repeated_blocks


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A frozen model with its tokenizer. Satisfies what methods expect; `outputs` and `max_length` are the job's."""

    spec: BackboneSpec
    model: nn.Module
    tokenizer: Any
    anatomy: Anatomy
    device: torch.device
    outputs: int = 2
    max_length: int = 128

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits `[rows, outputs]` in float32, or float64 where that was asked for."""
        logits: Tensor = self.model(**batch)
        return logits.to(self.trained_in)

    @property
    def trained_in(self) -> torch.dtype:
        """The precision of trained tensors and losses: never less than float32, whatever the backbone computes in."""
        return torch.float64 if self.spec.dtype == "float64" else torch.float32

    @contextmanager
    def dropout(self, generator: torch.Generator | None) -> Iterator[None]:
        """Hidden dropout on, its masks from the generator, inside the block; without generator it stays off."""
        layers = [module for module in self.model.modules() if isinstance(module, StreamDropout)]
        for layer in layers:
            layer.generator = generator
        try:
            yield
        finally:
            for layer in layers:
                layer.generator = None


class StreamDropout(nn.Module):
    """Dropout whose masks come from a generator of the job's own; without one it does nothing."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x`, with entries dropped while a generator is set."""
        if self.generator is None or self.p == 0:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep / (1 - self.p)


class Classifier(nn.Module):
    """The library's own model for sequence classification, giving its logits alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **batch: Tensor) -> Tensor:
        """Logits `[rows, outputs]`."""
        logits: Tensor = self.inner(**batch).logits
        return logits


class PooledClassifier(nn.Module):
    """A model's last hidden states, pooled over the real tokens or taken at the first, and one linear layer."""

    def __init__(self, inner: nn.Module, hidden: int, pooling: str) -> None:
        super().__init__()
        self.inner = inner
        self.classifier = RowLinear(hidden, 2)
        self.pooling = pooling

    def forward(self, **batch: Tensor) -> Tensor:
        """Logits `[rows, outputs]`."""
        states = self.inner(**batch).last_hidden_state  # [rows, tokens, hidden]
        if self.pooling == "cls":
            return self.classifier(states[:, 0])  # type: ignore[no-any-return]  # nn.Module is untyped here
        mask = batch["attention_mask"].unsqueeze(-1).to(states)  # [rows, tokens, 1]
        return self.classifier((states * mask).sum(1) / mask.sum(1))  # type: ignore[no-any-return]


def load(spec: BackboneSpec, device: str) -> Backbone:
    """Read a backbone onto a device, frozen, in evaluation mode.

    Raises:
        Unavailable: its files cannot be had or are no sequence classifier that the library reads.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = checkpoints.locate(spec.name, spec.revision)
    dtype = getattr(torch, spec.dtype)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        inner = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise Unavailable(f"{spec.name} cannot be read as a sequence classifier: {str(error).splitlines()[0]}") from error
    return prepare(spec, inner, tokenizer, device)


def prepare(spec: BackboneSpec, inner: Any, tokenizer: Any, device: str = "cpu") -> Backbone:
    """Make a backbone of a model of the library: frozen, in evaluation mode, its anatomy studied."""
    own = inner.base_model_prefix
    with suppress(ValueError, KeyError):  # a model with attention code of its own; its anatomy will show no call
        inner.set_attn_implementation(ATTENTION)
    model, body = _with_pooling(inner, own, spec.pooling)
    _replace_dropout(model)
    add_row_axis(model, body)
    model.to(device=device, dtype=getattr(torch, spec.dtype)).eval().requires_grad_(False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    inner.config.pad_token_id = tokenizer.pad_token_id
    anatomy = study(model, body, inner.config)
    return Backbone(spec=spec, model=model, tokenizer=tokenizer, anatomy=anatomy, device=torch.device(device))


def _with_pooling(inner: Any, own: str, pooling: str) -> tuple[nn.Module, str]:
    if pooling == "model":
        return Classifier(inner), f"inner.{own}"
    return PooledClassifier(inner.base_model, inner.config.hidden_size, pooling), "inner"


def _replace_dropout(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                setattr(module, name, StreamDropout(child.p))


def study(model: nn.Module, body: str, config: Any) -> Anatomy:
    """Learn a model's structure from one pass over four tokens."""
    device = next(model.parameters()).device
    tokens = torch.arange(5, 9, device=device)[None] % config.vocab_size  # [1, 4]
    paths = {id(module): path for path, module in model.named_modules()}
    calls: list[AttentionCall] = []
    turns: Counter[str] = Counter()
    with _watch_attention(paths, calls, turns), torch.enable_grad():
        model.requires_grad_(True)
        model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).float().square().sum().backward()
    trained = frozenset(name for name, parameter in model.named_parameters() if parameter.grad is not None)
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)
    for path, number in turns.items():
        module = model.get_submodule(path)
        module._slots_turns, module._slots_turn = number, 0  # type: ignore[assignment]  # read by the attention function
    linear = [p for p, module in model.named_modules() if isinstance(module, nn.Linear) and not p.startswith(body + ".")]
    inside = [call.module for call in calls] or [path for path, module in model.named_modules() if _is_attention(path, module)]
    return Anatomy(
        body=body,
        hidden=config.hidden_size,
        positions=_positions(model.get_submodule(body)),
        attention=tuple(calls),
        layers=repeated_blocks(model, inside),
        trained=trained,
        init_range=float(getattr(config, "initializer_range", 0.02)),
        output_layer=linear[-1],
    )


@contextmanager
def _watch_attention(paths: dict[int, str], calls: list[AttentionCall], turns: Counter[str]) -> Iterator[None]:
    """Note every call of the attention function while the block runs."""
    from transformers import AttentionInterface

    ours = AttentionInterface()[ATTENTION]

    def watch(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any) -> Any:
        path = paths[id(module)]
        calls.append(AttentionCall(path, turns[path], len(calls), key.shape[1], key.shape[3]))
        turns[path] += 1
        return ours(module, query, key, value, mask, **options)

    AttentionInterface.register(ATTENTION, watch)
    try:
        yield
    finally:
        AttentionInterface.register(ATTENTION, ours)


def _is_attention(path: str, module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower() and path.rpartition(".")[2] not in ("output",)


def _positions(body: nn.Module) -> int | None:
    for path, module in body.named_modules():
        if isinstance(module, nn.Embedding) and "position" in path.rpartition(".")[2]:
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    return None
