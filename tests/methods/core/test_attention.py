"""Attention by matrix products equals the fused kernel, and replaces it where that kernel is slow."""

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from methods.core import attention
from methods.core.attention import attend, attention_under_vmap

ROWS, HEADS, TOKENS, WIDTH = 3, 4, 6, 8


class Layer(nn.Module):
    """An attention module whose keys and values are shared by groups of heads."""

    def __init__(self, groups=1, *, causal=False):
        super().__init__()
        self.num_key_value_groups, self.is_causal = groups, causal


def tensors(groups=1, *, dtype=torch.float64, keys=TOKENS):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(ROWS, heads, length, WIDTH, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
        for heads, length in ((HEADS, TOKENS), (HEADS // groups, keys), (HEADS // groups, keys))
    ]


def gradients(function, layer, inputs, mask, **options):
    """Return the output and its gradients to query, key and value."""
    output = function(layer, *inputs, mask, **options)
    output = output[0] if isinstance(output, tuple) else output
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), inputs)]


def booleans():
    mask = torch.ones(ROWS, 1, TOKENS, TOKENS, dtype=torch.bool).tril()
    mask[0, :, :, 0] = False
    mask[0, :, 0, 0] = True  # every token sees something
    return mask


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("masked", ["nothing", "booleans", "added", "causal"])
@pytest.mark.parametrize("options", [{}, {"scaling": 0.3}, {"is_causal": True}], ids=str)
def test_products_equal_the_fused_kernel(groups, masked, options):
    """Output and gradients are equal in float64, for every kind of mask and for shared keys."""
    layer = Layer(groups, causal=masked == "causal")
    mask = booleans() if masked in ("booleans", "added") else None
    if masked == "added":
        mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -1e9)
    ours = gradients(attention._by_matrix_products, layer, tensors(groups), mask, **options)
    theirs = gradients(sdpa_attention_forward, layer, tensors(groups), mask, **options)
    for own, other in zip(ours, theirs, strict=True):
        assert torch.allclose(own, other, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "training", "fused"),
    [
        (torch.bfloat16, True, False),
        (torch.bfloat16, False, True),
        (torch.float32, True, True),
        (torch.float32, False, True),
    ],
)
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_training_in_bfloat16_on_a_cpu_takes_the_products(
    monkeypatch, dtype, training, fused, prefix, packed
):
    """The path depends on dtype, device and whether gradients are on; not on prefixes or packs."""
    calls = []
    for name in ("_by_matrix_products", "sdpa_attention_forward"):
        original = getattr(attention, name)
        monkeypatch.setattr(
            attention,
            name,
            lambda *args, name=name, original=original, **options: (
                calls.append(name) or original(*args, **options)
            ),
        )
    layer, inputs = Layer(), tensors(dtype=dtype)
    if prefix:
        layer.prefix_key_0 = layer.prefix_value_0 = torch.zeros(HEADS, 2, WIDTH, dtype=dtype)
    with torch.set_grad_enabled(training):
        if packed:
            stacked = [torch.stack([tensor, tensor]) for tensor in inputs]
            with attention_under_vmap():
                torch.func.vmap(lambda *each: attend(layer, *each, None)[0])(*stacked)
        else:
            attend(layer, *inputs, None)
    assert calls == ["sdpa_attention_forward" if fused else "_by_matrix_products"]


def test_products_in_bfloat16_are_as_exact_as_the_fused_kernel():
    """Their error against float64 is at most twice that of the kernel, which keeps scores in float32."""
    exact = gradients(sdpa_attention_forward, Layer(), tensors(), booleans())
    errors = [
        [
            float(((own.double() - true).norm() / true.norm()).detach())
            for own, true in zip(
                gradients(function, Layer(), tensors(dtype=torch.bfloat16), booleans()),
                exact,
                strict=True,
            )
        ]
        for function in (attention._by_matrix_products, sdpa_attention_forward)
    ]
    assert all(own < 2 * other + 1e-3 for own, other in zip(*errors, strict=True))
