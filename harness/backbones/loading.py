"""Load a pretrained model: safetensors only, no code of a repository, in the requested precision.

No family of models is named here. `methods.core.architecture` finds the structure that methods
need.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.backbones import checkpoints
from harness.backbones.language_model import LanguageModel
from harness.errors import Unavailable, UsageError
from harness.jobs import BackboneSpec
from methods.core.architecture import Architecture, inspect_architecture
from methods.core.attention import ATTENTION, real_tokens
from methods.core.dropout import Masks, drop
from methods.core.slots import RowLinear, add_row_axis

# Sizes of cuBLAS' workspace for which it is deterministic.
DETERMINISTIC_WORKSPACES = (":4096:8", ":16:8")
SECOND = "second_"  # in front of the names of inputs: those of the second text of a pair


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A frozen model with its tokenizer, as methods expect it.

    `outputs` (numbers that the head computes), `max_length` (tokens of a row), `target_length` (tokens of a text
    that is written), `truncate` (which part of a longer text is kept: head, tail or both) and `apart` (whether the
    texts of a pair are read one by one) are those of the job.
    """

    spec: BackboneSpec
    model: nn.Module
    tokenizer: Any
    architecture: Architecture
    device: torch.device
    outputs: int = 2
    max_length: int = 128
    target_length: int = 0
    truncate: str = "head"
    apart: bool = False

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """Return logits `[rows, outputs]`: float64 for a float64 backbone, else float32.

        If the texts of a pair are read one by one, the model reads all first texts and then all second texts
        `[2 * rows, tokens]`, and the method's slots make one answer of the two.
        """
        if self.apart:
            batch = {
                name: torch.cat([tokens, batch[SECOND + name]])
                for name, tokens in batch.items()
                if not name.startswith(SECOND)
            }
        logits: Tensor = self.model(**batch)
        return logits.to(self.trained_in)

    @property
    def features(self) -> int:
        """The number of features of a row: of a pair that is read apart, products, distances and the cosine."""
        hidden = self.architecture.hidden
        return 2 * hidden + 1 if self.apart else hidden

    @property
    def source_length(self) -> int:
        """The most tokens of a row before those that are written; a decoder's include the token that separates them."""
        written = 0 if self.architecture.encoder_decoder else self.target_length
        return self.max_length - written

    @property
    def trained_in(self) -> torch.dtype:
        """The precision of trained tensors and losses: float64 for a float64 backbone, else float32."""
        return torch.float64 if self.spec.dtype == "float64" else torch.float32

    def tokens(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def writes(self) -> bool:
        """Whether the model writes text; otherwise, it classifies."""
        return isinstance(self.model, LanguageModel)

    def writing(self, queries: int) -> Tensor:
        """Return which tokens of a forward pass come before one that is written: see `LanguageModel.writing`."""
        assert isinstance(self.model, LanguageModel)
        return self.model.writing(queries)

    @contextmanager
    def dropout(self, masks: Masks | None) -> Iterator[None]:
        """Turn hidden dropout on inside the block; without masks it stays off."""
        layers = [module for module in self.model.modules() if isinstance(module, StreamDropout)]
        for layer in layers:
            layer.masks = masks
        try:
            yield
        finally:
            for layer in layers:
                layer.masks = None


class StreamDropout(nn.Module):
    """Dropout on hidden states with masks from the job's own random stream; without masks it does nothing.

    Attention probabilities, which have one more axis than hidden states, are never dropped.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.masks: Masks | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, with entries dropped if there are masks."""
        return x if x.dim() > 3 else drop(x, self.p, self.masks)


class Classifier(nn.Module):
    """The library's model for sequence classification; returns only the logits."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **batch: Tensor) -> Tensor:
        """Return logits `[rows, outputs]`."""
        logits: Tensor = self.inner(**batch).logits
        return logits


class PooledClassifier(nn.Module):
    """A linear layer on the last hidden states, averaged over real tokens (`mean`) or of the first token (`cls`)."""

    def __init__(self, inner: nn.Module, hidden: int, pooling: str) -> None:
        super().__init__()
        self.inner = inner
        self.classifier = RowLinear(hidden, 2)
        self.pooling = pooling

    def forward(self, **batch: Tensor) -> Tensor:
        """Return logits `[rows, outputs]`."""
        states = self.inner(**batch).last_hidden_state  # [rows, tokens, hidden]
        if self.pooling == "cls":
            return self.classifier(states[:, 0])  # type: ignore[no-any-return]  # nn.Module is untyped here
        mask = real_tokens(batch["attention_mask"])  # [rows, text tokens]
        # A prompt in front of the text lengthens the states; its tokens are real.
        mask = F.pad(mask, (states.shape[1] - mask.shape[1], 0), value=1)  # [rows, tokens]
        mask = mask.unsqueeze(-1).to(states)  # [rows, tokens, 1]
        return self.classifier((states * mask).sum(1) / mask.sum(1))  # type: ignore[no-any-return]


def load(spec: BackboneSpec, device: str, *, writes: bool = False) -> Backbone:
    """Load a backbone onto a device, frozen and in evaluation mode.

    Args:
        spec: the backbone.
        device: where it is loaded.
        writes: whether it writes text; otherwise, it classifies.

    Raises:
        Unavailable: the files cannot be fetched, or the library cannot load them for that purpose.
        UsageError: the model cannot write text.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = checkpoints.locate(spec.name, spec.revision)
    dtype = getattr(torch, spec.storage_dtype)
    torch.backends.cuda.matmul.allow_tf32 = spec.dtype == "tf32"
    if device.startswith("cuda") and not torch.are_deterministic_algorithms_enabled():
        use_deterministic_kernels()
    purpose = "a model that writes text" if writes else "a classifier"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        library = library_class(transformers.AutoConfig.from_pretrained(folder), writes=writes)
        inner = library.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise Unavailable(
            f"cannot load {spec.name} as {purpose}: {str(error).splitlines()[0]}"
        ) from error
    try:
        prepared = prepare(spec, inner, tokenizer, device, writes=writes)
        obstacle = _writing_obstacle(prepared) if writes else ""
    except Exception as error:  # the code of an unusual family can raise anything
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise Unavailable(
            f"cannot use {spec.name} ({type(inner).__name__}) as {purpose} ({reason}); choose another model"
        ) from error
    if obstacle:
        raise UsageError(
            f"{spec.title} cannot write text: {obstacle}; choose a decoder or an encoder-decoder, such as "
            "--model tiny-gpt"
        )
    return prepared


@torch.no_grad()
def _writing_obstacle(backbone: Backbone) -> str:
    """Return why a model cannot learn to write; empty if it can."""
    if backbone.tokenizer.eos_token_id is None:
        return "its tokenizer has no token that ends a text"
    assert isinstance(backbone.model, LanguageModel)
    if not backbone.model.encodes:
        # The library also loads encoders. They would see the tokens that they are to predict.
        ids = torch.arange(3, 11, device=backbone.device)[None]
        changed = ids.clone()
        changed[:, -1] += 1
        before, after = (backbone.model.probe(tokens)[:, :-1] for tokens in (ids, changed))
        if not torch.allclose(before, after, rtol=1e-5, atol=1e-6):
            return "its tokens see the tokens after them"
    return ""


def library_class(config: Any, *, writes: bool) -> Any:
    """Return the class of transformers that loads a model to classify or to write text."""
    import transformers

    if not writes:
        return transformers.AutoModelForSequenceClassification
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


def use_deterministic_kernels(*, strict: bool = True) -> None:
    """Let a GPU add in the same order every time; its fastest backward passes do not.

    Args:
        strict: raise a RuntimeError for an operation without a deterministic kernel; otherwise
            warn and use the kernel that exists.
    """
    # Otherwise products may be summed in another order on another stream. cuBLAS reads this once,
    # at the first product of a process.
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in DETERMINISTIC_WORKSPACES:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = DETERMINISTIC_WORKSPACES[0]
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    torch.backends.cudnn.deterministic = True
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # uninitialised memory is never read


def prepare(
    spec: BackboneSpec, inner: Any, tokenizer: Any, device: str = "cpu", *, writes: bool = False
) -> Backbone:
    """Turn a model of the library into a frozen backbone in evaluation mode, with its architecture inspected."""
    body_name = inner.base_model_prefix  # the library's attribute for the model without its head
    inner.eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    inner.config.pad_token_id = tokenizer.pad_token_id
    inner.config.use_cache = False  # only writing uses the keys and values that a call would copy
    language_model = LanguageModel(inner) if writes else None
    _use_own_attention(inner, language_model.probe if language_model else _logits_of(inner))
    if language_model is not None:
        # In some families, the model without its head is the model itself.
        model: nn.Module = language_model
        body = f"inner.{body_name}" if hasattr(inner, body_name) else "inner"
    else:
        model, body = _with_pooling(inner, body_name, spec.pooling)
    _replace_dropout(model)
    add_row_axis(model, body)
    model.to(device=device, dtype=getattr(torch, spec.storage_dtype)).eval().requires_grad_(False)
    return Backbone(
        spec=spec,
        model=model,
        tokenizer=tokenizer,
        architecture=inspect_architecture(model, body, inner.config, writes=writes),
        device=torch.device(device),
    )


def _logits_of(classifier: Any) -> Callable[[Tensor], Tensor]:
    return lambda ids: classifier(input_ids=ids).logits


@torch.no_grad()
def _use_own_attention(inner: Any, logits_of: Callable[[Tensor], Tensor]) -> None:
    """Switch a model to the attention function of `methods`, unless its logits would change.

    A model with its own attention code stays as it is, and its architecture shows no call of the
    function. So does one whose attention uses more than the function computes, such as sinks.
    """
    ids = torch.arange(12).remainder(inner.config.vocab_size)[None]
    before, original = logits_of(ids), inner.config._attn_implementation
    try:
        inner.set_attn_implementation(ATTENTION)
    except (ValueError, KeyError):
        return
    after = logits_of(ids)
    # Rounding errors are smaller than this.
    tolerance = (1e-3 if after.dtype.itemsize >= 4 else 0.05) * float(before.abs().max())
    if not torch.allclose(after.float(), before.float(), rtol=0, atol=tolerance):
        inner.set_attn_implementation(original)


def _with_pooling(inner: Any, body_name: str, pooling: str) -> tuple[nn.Module, str]:
    """Return the classifier, and the name of the model without its head in it."""
    if pooling == "model":
        return Classifier(inner), f"inner.{body_name}"
    return PooledClassifier(inner.base_model, inner.config.hidden_size, pooling), "inner"


def _replace_dropout(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                setattr(module, name, StreamDropout(child.p))
