"""Decoders of prefixes and prompts from trained latent vectors: perceptrons, and frozen projections of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.core.architecture import AttentionCall, Projection
from methods.core.parameters import initialise, uniform
from methods.core.protocols import Streams, Unsupported
from methods.core.slots import Slot, Slots

LATENT = "latent"  # the name of the table that the decoders read: [vertices, length, dim]


class OneMlp(nn.Module):
    """One perceptron with a hidden Tanh layer for the keys and values of all layers (Li & Liang 2021, section 4.3).

    Args:
        names: the slots in the order key, value, key, value, ... from the lowest layer up.
        shapes: of each slot, `(heads, width)`.
        dim: width of the latent rows. hidden: width of the hidden layer.
    """

    def __init__(
        self,
        names: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        dim: int,
        hidden: int,
        streams: Streams,
    ) -> None:
        super().__init__()
        self._names, self._shapes = names, shapes
        out = sum(heads * width for heads, width in shapes)
        self.w1 = _weights(streams, "decoder.w1", (dim, hidden), dim)
        self.bias1 = _weights(streams, "decoder.bias1", (hidden,), dim)
        self.w2 = _weights(streams, "decoder.w2", (hidden, out), hidden)
        self.bias2 = _weights(streams, "decoder.bias2", (out,), hidden)

    def hidden(self, latent: Tensor) -> Tensor:
        """`[..., length, dim]` to `[..., length, hidden]`."""
        return torch.tanh(latent @ self.w1 + self.bias1)

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents `[vertices, length, dim]` to slots `[vertices, heads, length, width]`.

        Returns other tensors unchanged.
        """
        flat = (
            self.hidden(tensors[LATENT]) @ self.w2 + self.bias2
        )  # [vertices, length, all heads and widths]
        parts = flat.split([heads * width for heads, width in self._shapes], dim=-1)
        out = {
            n: p.unflatten(-1, s).transpose(1, 2)
            for n, s, p in zip(self._names, self._shapes, parts, strict=True)
        }
        return {name: tensor for name, tensor in tensors.items() if name != LATENT} | out


class PerLayerMlp(nn.Module):
    """One perceptron for the keys and one for the values of each layer (Falissard et al. 2023: MLP_k,i and MLP_v,i).

    Arguments as of `OneMlp`; all slots must have one shape.
    """

    def __init__(
        self,
        names: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        dim: int,
        hidden: int,
        streams: Streams,
    ) -> None:
        super().__init__()
        self._names, self._shape = names, shapes[0]
        slots, out = len(names), shapes[0][0] * shapes[0][1]
        self.w1 = _weights(streams, "decoder.w1", (slots, dim, hidden), dim)
        self.bias1 = _weights(streams, "decoder.bias1", (slots, 1, hidden), dim)
        self.w2 = _weights(streams, "decoder.w2", (slots, hidden, out), hidden)
        self.bias2 = _weights(streams, "decoder.bias2", (slots, 1, out), hidden)

    def hidden(self, latent: Tensor) -> Tensor:
        """`[..., 1, length, dim]` to `[..., slots, length, hidden]`."""
        return torch.tanh(latent @ self.w1 + self.bias1)

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents `[vertices, length, dim]` to slots `[vertices, heads, length, width]`.

        Returns other tensors unchanged.
        """
        flat = (
            self.hidden(tensors[LATENT][:, None]) @ self.w2 + self.bias2
        )  # [vertices, slots, length, heads * width]
        out = (
            flat.unflatten(-1, self._shape).transpose(2, 3).unbind(1)
        )  # slots x [vertices, heads, length, width]
        others = {name: tensor for name, tensor in tensors.items() if name != LATENT}
        return others | dict(zip(self._names, out, strict=True))


def prefix_mlp(
    kind: str, added: Sequence[Slot], dim: int, hidden: int, streams: Streams
) -> OneMlp | PerLayerMlp:
    """Return the perceptron `one` or `per-layer` for prefix slots `[heads, length, width]`.

    Raises:
        Unsupported: layers that differ in their heads cannot have perceptrons of one shape.
    """
    names, shapes = (
        [slot.name for slot in added],
        [(slot.shape[0], slot.shape[2]) for slot in added],
    )
    if kind == "one":
        return OneMlp(names, shapes, dim, hidden, streams)
    if len(set(shapes)) > 1:
        raise Unsupported("the layers of this backbone differ in their heads: choose decoder=one")
    return PerLayerMlp(names, shapes, dim, hidden, streams)


def fit_last_layer(
    decoder: OneMlp | PerLayerMlp, latent: Tensor, wanted: Mapping[str, Tensor]
) -> None:
    """Change a perceptron's last layer as little as possible so that it maps these latents to the target slots.

    The released code of prefix-tuning fits the perceptron to the words' activations by 500 steps;
    as there are fewer rows than hidden units, the smallest change that fits them exactly is one
    pseudo-inverse.

    Args:
        decoder: changed in place.
        latent: `[length, dim]`.
        wanted: `{slot: [heads, length, width]}` in the order of the decoder's slots.

    Raises:
        Unsupported: there are more rows than hidden units.
    """
    flat = [
        tensor.transpose(0, 1).flatten(1) for tensor in wanted.values()
    ]  # slots x [length, heads * width]
    if decoder.bias1.shape[-1] < len(latent):
        raise Unsupported(
            f"init=words with a length of {len(latent)} needs a perceptron as wide: hidden={len(latent)} or more"
        )
    with torch.no_grad():
        if isinstance(decoder, OneMlp):
            hidden, target = (
                decoder.hidden(latent),
                torch.cat(flat, dim=1),
            )  # [length, hidden], [length, out]
        else:
            hidden, target = decoder.hidden(latent[None]), torch.stack(flat)  # [slots, length, ...]
        missing = target - (hidden @ decoder.w2 + decoder.bias2)
        decoder.w2.add_((torch.linalg.pinv(hidden.double()) @ missing.double()).to(decoder.w2))


class FrozenProjections(nn.Module):
    """Latent vectors of a layer, through its own key and value projections (Le et al. 2024: simple-share).

    The vectors are normalised to mean 0 and standard deviation 1, like the inputs of a layer. They have no
    position. Only the vectors are trained.

    Args:
        names: the slots in the order key, value, key, value, ...
        calls: the attention calls in that order.
        slots: give the projections.

    Raises:
        Unsupported: the projections of a layer were not found.
    """

    def __init__(self, names: Sequence[str], calls: Sequence[AttentionCall], slots: Slots) -> None:
        super().__init__()
        self._names = names
        self._maps: list[
            tuple[Tensor, Tensor, tuple[int, int]]
        ] = []  # weight [out, hidden], bias [out], (heads, width)
        for call in calls:
            block = next(
                block
                for block in slots.architecture.blocks
                if call.module.startswith(block.path + ".")
            )
            for projection in (block.key, block.value):
                if projection is None:
                    raise Unsupported(
                        "the key and value projections of this backbone were not found: choose another decoder"
                    )
                self._maps.append((*_affine(slots, projection), (call.heads, call.width)))

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents `[vertices, layers, length, hidden]` to slots `[vertices, heads, length, width]`.

        Returns other tensors unchanged.
        """
        latent = tensors[LATENT]
        rows = F.layer_norm(latent, latent.shape[-1:])
        out = {}
        for number, (name, (weight, bias, shape)) in enumerate(
            zip(self._names, self._maps, strict=True)
        ):
            flat = F.linear(
                rows[:, number // 2], weight.to(rows), bias.to(rows)
            )  # [vertices, length, heads * width]
            out[name] = flat.unflatten(-1, shape).transpose(1, 2)
        return {name: tensor for name, tensor in tensors.items() if name != LATENT} | out


def _affine(slots: Slots, projection: Projection) -> tuple[Tensor, Tensor]:
    """The frozen weight `[out, hidden]` and bias `[out]` of a projection, in float32."""
    layer: Any = slots.backbone.model.get_submodule(projection.path)
    weight = (
        layer.weight.detach() if isinstance(layer, nn.Linear) else layer.weight.detach().T
    )  # GPT-2's lie the other way
    bias = layer.bias.detach() if layer.bias is not None else weight.new_zeros(len(weight))
    own = list(projection.columns) if projection.columns is not None else slice(None)
    return weight[own].float(), bias[own].float()


class PromptMlp(nn.Module):
    """A perceptron with a hidden Tanh layer for the rows of a prompt, `[length, hidden]`.

    Args:
        name: the prompt's slot. dim: width of latent rows and of the prompt. hidden: width of the
            hidden layer.
    """

    def __init__(self, name: str, dim: int, hidden: int, streams: Streams) -> None:
        super().__init__()
        self._name = name
        self.w1 = _weights(streams, "decoder.w1", (dim, hidden), dim)
        self.bias1 = _weights(streams, "decoder.bias1", (hidden,), dim)
        self.w2 = _weights(streams, "decoder.w2", (hidden, dim), hidden)
        self.bias2 = _weights(streams, "decoder.bias2", (dim,), hidden)

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents `[vertices, length, dim]` to the prompt `[vertices, length, dim]`.

        Returns other tensors unchanged.
        """
        prompt = torch.tanh(tensors[LATENT] @ self.w1 + self.bias1) @ self.w2 + self.bias2
        return {name: tensor for name, tensor in tensors.items() if name != LATENT} | {
            self._name: prompt
        }


def _weights(streams: Streams, name: str, shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
    """Return weights initialised as in `nn.Linear`: uniform within 1 / sqrt(fan-in)."""
    return nn.Parameter(initialise(streams, name, shape, 1, uniform(1 / math.sqrt(fan_in)))[0])
