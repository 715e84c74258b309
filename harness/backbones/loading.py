"""Reading a pretrained model: safetensors only, never code of a repository, in the precision asked for.

What methods need to know of a model's structure is found by `methods.core.architecture`; no family
of models is named here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.backbones import checkpoints
from harness.errors import Unavailable
from harness.jobs import BackboneSpec
from methods.core.architecture import Architecture, inspect_architecture
from methods.core.attention import ATTENTION, real_tokens
from methods.core.dropout import Masks, drop
from methods.core.slots import RowLinear, add_row_axis

ORDERED = (":4096:8", ":16:8")  # the sizes of cuBLAS' workspace with which its sums have one order


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A frozen model with its tokenizer. Satisfies what methods expect; `outputs` and `max_length` are the job's."""

    spec: BackboneSpec
    model: nn.Module
    tokenizer: Any
    architecture: Architecture
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

    def tokens(self, text: str) -> list[int]:
        """The numbers of a text's tokens, without those that mark its beginning and end."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @contextmanager
    def dropout(self, masks: Masks | None) -> Iterator[None]:
        """Hidden dropout on inside the block; without masks it stays off."""
        layers = [module for module in self.model.modules() if isinstance(module, StreamDropout)]
        for layer in layers:
            layer.masks = masks
        try:
            yield
        finally:
            for layer in layers:
                layer.masks = None


class StreamDropout(nn.Module):
    """Dropout on hidden states, its masks from a stream of the job's own; without masks it does nothing.

    Attention probabilities, which have an axis more than hidden states, are never dropped.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.masks: Masks | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x`, with entries dropped while there are masks."""
        return x if x.dim() > 3 else drop(x, self.p, self.masks)


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
        mask = real_tokens(
            batch["attention_mask"]
        )  # shorter than the states where a prompt stays in front of them
        mask = (
            F.pad(mask, (states.shape[1] - mask.shape[1], 0), value=1).unsqueeze(-1).to(states)
        )  # [rows, tokens, 1]
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
    dtype = getattr(torch, spec.number)
    torch.backends.cuda.matmul.allow_tf32 = spec.dtype == "tf32"
    if device.startswith("cuda") and not torch.are_deterministic_algorithms_enabled():
        add_in_order()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        inner = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=dtype, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise Unavailable(
            f"{spec.name} cannot be read as a sequence classifier: {str(error).splitlines()[0]}"
        ) from error
    try:
        return prepare(spec, inner, tokenizer, device)
    except Exception as error:  # code of a family that is unlike those of encoders and decoders
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise Unavailable(
            f"{spec.name} ({type(inner).__name__}) cannot be used as a classifier here ({what})"
        ) from error


def add_in_order(*, strict: bool = True) -> None:
    """Let a GPU add in the same order every time: its fastest backward passes add as threads happen to finish.

    Args:
        strict: an operation that has no such form raises a RuntimeError; otherwise it is done in
            the form that it has.
    """
    if (
        os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in ORDERED
    ):  # or products may add in another order on another stream
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ORDERED[
            0
        ]  # read once, at the first product of a process
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    torch.backends.cudnn.deterministic = True
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nobody reads it


def prepare(spec: BackboneSpec, inner: Any, tokenizer: Any, device: str = "cpu") -> Backbone:
    """Make a backbone of a model of the library: frozen, in evaluation mode, its architecture inspected."""
    own = inner.base_model_prefix
    inner.eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    inner.config.pad_token_id = tokenizer.pad_token_id
    inner.config.use_cache = (
        False  # a decoder would copy all keys and values for a next word that nobody asks for
    )
    _attend_here(inner)
    model, body = _with_pooling(inner, own, spec.pooling)
    _replace_dropout(model)
    add_row_axis(model, body)
    model.to(device=device, dtype=getattr(torch, spec.number)).eval().requires_grad_(False)
    architecture = inspect_architecture(model, body, inner.config)
    return Backbone(
        spec=spec,
        model=model,
        tokenizer=tokenizer,
        architecture=architecture,
        device=torch.device(device),
    )


@torch.no_grad()
def _attend_here(inner: Any) -> None:
    """Let a model attend through our function, unless it computes something else that way.

    A model with attention code of its own stays as it is; its architecture then lists no attention call. So does
    one whose attention takes more than ours gives it, such as sinks.
    """
    rows = torch.arange(12).remainder(inner.config.vocab_size)[None]
    before, usual = inner(input_ids=rows).logits, inner.config._attn_implementation
    try:
        inner.set_attn_implementation(ATTENTION)
    except (ValueError, KeyError):
        return
    after = inner(input_ids=rows).logits
    near = (1e-3 if after.dtype.itemsize >= 4 else 0.05) * float(
        before.abs().max()
    )  # rounding is less
    if not torch.allclose(after.float(), before.float(), rtol=0, atol=near):
        inner.set_attn_implementation(usual)


def _with_pooling(inner: Any, own: str, pooling: str) -> tuple[nn.Module, str]:
    if pooling == "model":
        return Classifier(inner), f"inner.{own}"
    return PooledClassifier(inner.base_model, inner.config.hidden_size, pooling), "inner"


def _replace_dropout(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                setattr(module, name, StreamDropout(child.p))
