"""The attention function of the backbones that use the attention interface of transformers.

It adds prefixes: in front of keys and values, or with gate=zero in a softmax of their own. Models with their own
attention code never call it. The attention module holds the prefix in the slots `prefix_key_N` and
`prefix_value_N`, and with gate=zero one factor for each head in `prefix_share_N`. N numbers the calls of one
module in a forward pass. It is above 0 only if several layers share the module, which is then called once for each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "slots"  # name of `attend` in the attention interface of transformers

# Whether `torch.func.vmap` runs the model for several jobs. A dict, so that a function can change it.
_under_vmap = {"active": False}


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the attention output, and None in place of the attention weights.

    The prefix of this call, if any, stands in front of keys and values, or with gate=zero is attended to
    separately.

    Shapes: query `[rows, heads, tokens, width]`; key and value `[rows, kv_heads, tokens, width]`; a prefix is
    `[kv_heads, length, width]` or `[rows, kv_heads, length, width]`. With grouped queries, there are fewer
    `kv_heads` than `heads`. The output is `[rows, tokens, heads, width]`.
    """
    # architecture.py counts the calls of a shared module; slots.py resets the index before a forward pass.
    index: int = getattr(module, "_slots_next_call", 0)
    module._slots_next_call = (index + 1) % getattr(module, "_slots_calls", 1)  # type: ignore[assignment]
    prefix_key = getattr(module, f"prefix_key_{index}", None)
    if prefix_key is None:
        return _over_jobs(module, query, key, value, attention_mask, **options)
    rows, length = key.shape[0], prefix_key.shape[-2]
    # Set by `Prefix` with gate=input or prefix_dropout: scales the prefix by its gate, applies prefix_dropout, or both.
    change: Callable[[Tensor], Tensor] = getattr(
        module, "_slots_change_prefix", lambda prefix: prefix
    )
    prefix_key = change(prefix_key.expand(rows, -1, -1, -1))
    prefix_value = change(getattr(module, f"prefix_value_{index}").expand(rows, -1, -1, -1))
    # With gate=zero, the prefix has its own softmax, and its output is multiplied by a trained factor per head.
    factors = getattr(module, f"prefix_share_{index}", None)  # [heads] or [rows, heads]
    if factors is not None:
        of_text, _ = _over_jobs(module, query, key, value, attention_mask, **options)
        of_prefix, _ = _over_jobs(
            module,
            query,
            prefix_key,
            prefix_value,
            None,
            **(options | {"is_causal": False, "position_bias": None}),
        )
        return of_text + of_prefix * factors[..., None, :, None], None
    # With `is_causal`, query i sees the first i + 1 keys, and keys of the prefix would count among them. So the text
    # gets a causal mask instead: with a mask, attention ignores `is_causal`. While a text is written, there are more
    # keys than queries: those of earlier tokens.
    queries, keys = query.shape[2], key.shape[2]
    if attention_mask is None and options.get("is_causal", getattr(module, "is_causal", False)):
        attention_mask = torch.ones(
            1, 1, queries, keys, dtype=torch.bool, device=query.device
        ).tril(keys - queries)
    if options.get("position_bias") is not None:  # T5; a prefix has no position
        bias = options["position_bias"]  # [1, heads, queries, keys]
        options["position_bias"] = torch.cat(
            [bias.new_zeros(*bias.shape[:-1], length), bias], dim=-1
        )
    key = torch.cat([prefix_key, key], dim=2)
    value = torch.cat([prefix_value, value], dim=2)
    if attention_mask is not None:
        # A mask of booleans selects the visible positions; any other mask is added to the scores.
        visible_value = True if attention_mask.dtype == torch.bool else 0.0
        prefix_mask = attention_mask.new_full((*attention_mask.shape[:-1], length), visible_value)
        # Set by `Prefix` with position=infix: which queries see the prefix, [rows or 1, queries].
        sees: Callable[[int], Tensor] | None = getattr(module, "_slots_sees_prefix", None)
        if sees is not None:
            seen = sees(queries)[:, None, :, None]
            attention_mask = attention_mask.expand(rows, -1, queries, -1)
            hidden = (
                False
                if attention_mask.dtype == torch.bool
                else torch.finfo(attention_mask.dtype).min
            )
            prefix_mask = prefix_mask.expand(rows, -1, queries, -1).masked_fill(~seen, hidden)
        attention_mask = torch.cat([prefix_mask, attention_mask], dim=-1)
    return _over_jobs(module, query, key, value, attention_mask, **options)


def _over_jobs(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the attention output for exactly these keys and values.

    Under vmap, one call computes it for all jobs, except with `softcap`.
    """
    attention: Callable[..., tuple[Tensor, None]] = partial(_one_call, module, **options)
    # `softcap` requires matrix products, which vmap runs over jobs by itself.
    if not _under_vmap["active"] or options.get("softcap") is not None:
        return attention(query, key, value, mask)
    # `_AttentionOverJobs` joins the axes of jobs and rows, so a mask that all rows share needs one copy per row.
    mask = None if mask is None else mask.expand(len(query), *mask.shape[1:])
    output: Tensor = _AttentionOverJobs.apply(attention, query, key, value, mask)  # type: ignore[no-untyped-call]
    return output, None


def _one_call(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Compute attention by the fused kernel, or by matrix products where that kernel is slow or cannot cap scores."""
    # On a CPU in bfloat16, forward and backward of the fused kernel take 20 times as long as matrix products
    # for 16 tokens, and 1.4 times for 256 (`python -m tests.benchmarks.attention`). The choice follows from
    # dtype, type of device, options and whether gradients are recorded, and not from measured times, so that
    # all runs of a job on one type of device have equal bits. Only the fused kernel adds a
    # `position_bias`.
    slow = query.dtype == torch.bfloat16 and query.device.type == "cpu" and torch.is_grad_enabled()
    if options.get("softcap") is not None or (slow and options.get("position_bias") is None):
        return _by_matrix_products(module, query, key, value, mask, **options), None
    return sdpa_attention_forward(module, query, key, value, mask, **options)  # type: ignore[no-any-return]


def _by_matrix_products(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **_: Any,
) -> Tensor:
    """Return the attention output `[rows, tokens, heads, width]` by two matrix products and a softmax.

    For scores in bfloat16, torch computes the softmax in float32 and returns bfloat16.
    """
    groups = query.shape[1] // key.shape[1]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query * scaling) @ repeat_kv(key, groups).mT  # [rows, heads, tokens, keys]
    if softcap is not None:  # Gemma 2
        scores = torch.tanh(scores / softcap) * softcap
    if mask is None and (getattr(module, "is_causal", False) if is_causal is None else is_causal):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        lowest = torch.finfo(scores.dtype).min
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, lowest)
    if mask is not None:
        scores = scores + mask
    output: Tensor = scores.softmax(-1) @ repeat_kv(value, groups)
    return output.transpose(1, 2)


class _AttentionOverJobs(torch.autograd.Function):
    """Attention under `torch.func.vmap` over jobs: one call on the rows of all jobs.

    Without it, vmap would decompose attention or loop over the jobs. It needs no `backward`: gradients are
    taken outside torch's vmap, and autograd records the call of the kernel in the method `vmap` below.
    """

    @staticmethod
    def forward(*_: Any) -> Tensor:
        raise RuntimeError("attention over several jobs is called under torch.func.vmap only")

    @staticmethod
    def setup_context(*_: Any) -> None: ...

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        attention: Callable[..., tuple[Tensor, None]],
        *tensors: Tensor | None,
    ) -> tuple[Tensor, int]:
        """Call `attention` with jobs and rows in one axis, `[jobs * rows, ...]`, and split it in the result."""

        def merged(tensor: Tensor | None, axis: int | None) -> Tensor | None:
            if tensor is None:
                return None
            by_job = (
                tensor.expand(info.batch_size, *tensor.shape)
                if axis is None
                else tensor.movedim(axis, 0)
            )
            return by_job.flatten(0, 1)

        output, _ = attention(
            *(merged(tensor, axis) for tensor, axis in zip(tensors, in_dims[1:], strict=True))
        )
        return output.unflatten(0, (info.batch_size, -1)), 0


@contextmanager
def attention_under_vmap() -> Iterator[None]:
    """Inside the block, the model may be called only under `torch.func.vmap` over jobs.

    A plain call of `attend` raises RuntimeError, unless the scores are capped (`softcap`).
    """
    _under_vmap["active"] = True
    try:
        yield
    finally:
        _under_vmap["active"] = False


def full_mask(mask: Tensor, *, causal: bool) -> Tensor:
    """Return a padding mask `[rows, tokens]` as an attention mask `[rows, 1, tokens, tokens]`, true for visible tokens.

    Transformers makes the same mask, but inspects values to do so, which is impossible under vmap.
    """
    every = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device)
    return mask.bool()[:, None, None, :] & (every.tril() if causal else every)


def real_tokens(mask: Tensor) -> Tensor:
    """Return which tokens are not padding, `[rows, tokens]`, given a padding mask or a full mask.

    In a full mask, the last position, even if it is padding, attends to every real token.
    """
    return mask[:, 0, -1] if mask.dim() == 4 else mask


@contextmanager
def record_attention(
    record: Callable[[nn.Module, Tensor, Tensor, Tensor], object],
) -> Iterator[None]:
    """Inside the block, call `record(module, query, key, value)` for each attention call."""

    def recorded(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        record(module, query, key, value)
        return attend(module, query, key, value, attention_mask, **options)

    AttentionInterface.register(ATTENTION, recorded)
    try:
        yield
    finally:
        AttentionInterface.register(ATTENTION, attend)


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
