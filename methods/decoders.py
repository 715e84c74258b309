"""The perceptrons that produce prefixes: latent rows in, keys and values of every attention call out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from methods.base import Streams
from methods.source import draw, uniform

LATENT = "latent"  # the name of the table that the decoders read: [vertices, length, dim]


class OneMlp(nn.Module):
    """One perceptron with a hidden Tanh layer for the keys and values of all layers (Li & Liang 2021, section 4.3).

    Args:
        names: the slots in the order key, value, key, value, ... from the lowest layer up.
        shapes: of each slot, `(heads, width)`.
        dim: width of the latent rows. hidden: width of the hidden layer.
    """

    def __init__(
        self, names: Sequence[str], shapes: Sequence[tuple[int, int]], dim: int, hidden: int, streams: Streams
    ) -> None:
        super().__init__()
        self._names, self._shapes = names, shapes
        out = sum(heads * width for heads, width in shapes)
        self.w1 = _weights(streams, "decoder.w1", (dim, hidden), dim)
        self.bias1 = _weights(streams, "decoder.bias1", (hidden,), dim)
        self.w2 = _weights(streams, "decoder.w2", (hidden, out), hidden)
        self.bias2 = _weights(streams, "decoder.bias2", (out,), hidden)

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents `[vertices, length, dim]` to slots `[vertices, heads, length, width]`; other tensors pass."""
        hidden = torch.tanh(tensors[LATENT] @ self.w1 + self.bias1)  # [vertices, length, hidden]
        flat = hidden @ self.w2 + self.bias2  # [vertices, length, all heads and widths]
        parts = flat.split([heads * width for heads, width in self._shapes], dim=-1)
        out = {n: p.unflatten(-1, s).transpose(1, 2) for n, s, p in zip(self._names, self._shapes, parts, strict=True)}
        return {name: tensor for name, tensor in tensors.items() if name != LATENT} | out


class PerLayerMlp(nn.Module):
    """A perceptron of its own for the keys and one for the values of every layer (Falissard et al. 2023: MLP_k,i and MLP_v,i).

    Arguments as of `OneMlp`; all slots must have one shape.
    """

    def __init__(
        self, names: Sequence[str], shapes: Sequence[tuple[int, int]], dim: int, hidden: int, streams: Streams
    ) -> None:
        super().__init__()
        self._names, self._shape = names, shapes[0]
        slots, out = len(names), shapes[0][0] * shapes[0][1]
        self.w1 = _weights(streams, "decoder.w1", (slots, dim, hidden), dim)
        self.bias1 = _weights(streams, "decoder.bias1", (slots, 1, hidden), dim)
        self.w2 = _weights(streams, "decoder.w2", (slots, hidden, out), hidden)
        self.bias2 = _weights(streams, "decoder.bias2", (slots, 1, out), hidden)

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents `[vertices, length, dim]` to slots `[vertices, heads, length, width]`; other tensors pass."""
        hidden = torch.tanh(tensors[LATENT][:, None] @ self.w1 + self.bias1)  # [vertices, slots, length, hidden]
        flat = hidden @ self.w2 + self.bias2  # [vertices, slots, length, heads * width]
        out = flat.unflatten(-1, self._shape).transpose(2, 3).unbind(1)  # slots x [vertices, heads, length, width]
        others = {name: tensor for name, tensor in tensors.items() if name != LATENT}
        return others | dict(zip(self._names, out, strict=True))


def _weights(streams: Streams, name: str, shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
    """Drawn as PyTorch draws a linear layer: uniform within 1 / sqrt(fan-in)."""
    return nn.Parameter(draw(streams, name, shape, 1, uniform(1 / math.sqrt(fan_in)))[0])
