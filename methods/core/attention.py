"""The attention function of every backbone: the library's own, with prefixes in front of keys and values.

Models that use the library's attention interface are told to attend through it; those with
attention code of their own never see it. A prefix is read from the attending module itself, where
it is a slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "slots"  # the name under which it is registered


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The library's own attention with this call's prefix, if there is one, in front of keys and values.

    Shapes: query `[rows, heads, tokens, width]`; a prefix is `[heads, length, width]` or `[rows,
    heads, length, width]`. Returns `[rows, tokens, heads, width]`.
    """
    turn: int = getattr(module, "_slots_turn", 0)
    module._slots_turn = (turn + 1) % getattr(module, "_slots_turns", 1)  # type: ignore[assignment]
    prefix_key = getattr(module, f"prefix_key_{turn}", None)
    if prefix_key is None:
        return _plain(module, query, key, value, attention_mask, **options)
    rows, length = key.shape[0], prefix_key.shape[-2]
    change: Callable[[Tensor], Tensor] = getattr(module, "_slots_prefix", lambda tensor: tensor)
    prefix_key = change(prefix_key.expand(rows, -1, -1, -1))
    prefix_value = change(getattr(module, f"prefix_value_{turn}").expand(rows, -1, -1, -1))
    share = getattr(module, f"prefix_share_{turn}", None)
    if (
        share is not None
    ):  # the prefix is attended to apart, and a factor a head says how much of that is added
        text, _ = _plain(module, query, key, value, attention_mask, **options)
        apart, _ = _plain(
            module, query, prefix_key, prefix_value, None, **(options | {"is_causal": False})
        )
        return text + apart * share[
            ..., None, :, None
        ], None  # share [heads], or [rows, 1, heads, 1]
    if attention_mask is None and options.get("is_causal", getattr(module, "is_causal", False)):
        tokens = query.shape[2]  # the library would apply its causal rule to the prefix as well
        attention_mask = torch.ones(
            1, 1, tokens, tokens, dtype=torch.bool, device=query.device
        ).tril()
    key = torch.cat([prefix_key, key], dim=2)
    value = torch.cat([prefix_value, value], dim=2)
    if attention_mask is not None:
        open_to_all = (
            1 if attention_mask.dtype == torch.bool else 0
        )  # an additive mask adds nothing where all may look
        front = attention_mask.new_full((*attention_mask.shape[:-1], length), open_to_all)
        attention_mask = torch.cat([front, attention_mask], dim=-1)
    return _plain(module, query, key, value, attention_mask, **options)


def _plain(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The library's fused attention; written out where scores are capped (Gemma 2), which the fused one cannot do."""
    softcap = options.get("softcap")
    if softcap is None and _pack["open"]:
        mask = None if mask is None else mask.expand(len(query), *mask.shape[1:])
        found: Tensor = _Folded.apply(  # type: ignore[no-untyped-call]
            partial(sdpa_attention_forward, module, **options), query, key, value, mask
        )
        return found, None
    if softcap is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)  # type: ignore[no-any-return]
    groups = query.shape[1] // key.shape[1]
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    scores = query @ repeat_kv(key, groups).mT * scaling  # [rows, heads, tokens, keys]
    scores = torch.tanh(scores / softcap) * softcap
    if mask is None and options.get("is_causal", getattr(module, "is_causal", False)):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if mask is not None:
        scores = (
            scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
            if mask.dtype == torch.bool
            else scores + mask
        )
    weights = scores.softmax(-1, dtype=torch.float32 if scores.dtype != torch.float64 else None).to(
        query.dtype
    )
    return (weights @ repeat_kv(value, groups)).transpose(1, 2), None


class _Folded(torch.autograd.Function):
    """The library's attention in a pass over several jobs: as one call over the rows of all of them, by its fused kernel.

    Left to itself, such a pass would write attention out, or go job by job.
    """

    @staticmethod
    def forward(*_: Any) -> Tensor:
        raise RuntimeError("attention is folded only in a pass over several jobs")

    @staticmethod
    def setup_context(*_: Any) -> None: ...

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        attention: Callable[..., tuple[Tensor, None]],
        *tensors: Tensor | None,
    ) -> tuple[Tensor, int]:
        """Axes of jobs and rows become one: `[jobs, rows, ...]` to `[jobs * rows, ...]` and back."""

        def folded(tensor: Tensor | None, axis: int | None) -> Tensor | None:
            if tensor is None:
                return None
            first = (
                tensor.expand(info.batch_size, *tensor.shape)
                if axis is None
                else tensor.movedim(axis, 0)
            )
            return first.flatten(0, 1)

        found, _ = attention(
            *(folded(tensor, axis) for tensor, axis in zip(tensors, in_dims[1:], strict=True))
        )
        return found.unflatten(0, (info.batch_size, -1)), 0


_pack = {"open": False}


@contextmanager
def attention_under_vmap() -> Iterator[None]:
    """Inside the block the model is called for several jobs at once, by `torch.func.vmap`."""
    _pack["open"] = True
    try:
        yield
    finally:
        _pack["open"] = False


def full_mask(mask: Tensor, *, causal: bool) -> Tensor:
    """A mask `[rows, tokens]` as the model's layers use it, `[rows, 1, tokens, tokens]`, true where a token is seen.

    The library makes it from the other by looking at its values, which no pass over several jobs
    can do.
    """
    seen = mask.bool()[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
    return seen & torch.ones_like(seen[0, 0]).tril() if causal else seen.contiguous()


def real_tokens(mask: Tensor) -> Tensor:
    """Which tokens are real, `[rows, tokens]`, of such a mask or of a ready one: a row's last token sees all of them."""
    return mask[:, 0, -1] if mask.dim() == 4 else mask


@contextmanager
def record_attention(note: Callable[[nn.Module, Tensor, Tensor, Tensor], object]) -> Iterator[None]:
    """Inside the block, tell of every call: the module, and query, key and value `[rows, heads, tokens, width]`."""

    def watch(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        note(module, query, key, value)
        return attend(module, query, key, value, attention_mask, **options)

    AttentionInterface.register(ATTENTION, watch)
    try:
        yield
    finally:
        AttentionInterface.register(ATTENTION, attend)


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
