"""Decoders from trained latent vectors to prefixes and prompts: MLPs, and frozen projections of the model."""

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

LATENT = "latent"  # name of the decoders' input, [vertices, length, dim]


class Mlp(nn.Module):
    """An MLP with one hidden layer with Tanh, initialised as `nn.Linear`.

    Args:
        dim: width of the latent vectors.
        hidden: width of the hidden layer.
        out: width of the output.
        streams: random streams of the initial values.
        copies: number of MLPs that are computed together, with a leading axis; None: one MLP without that axis.
    """

    def __init__(
        self, dim: int, hidden: int, out: int, streams: Streams, copies: int | None = None
    ) -> None:
        super().__init__()
        weight, bias = ((), ()) if copies is None else ((copies,), (copies, 1))
        self.w1 = _weights(streams, "decoder.w1", (*weight, dim, hidden), dim)
        self.bias1 = _weights(streams, "decoder.bias1", (*bias, hidden), dim)
        self.w2 = _weights(streams, "decoder.w2", (*weight, hidden, out), hidden)
        self.bias2 = _weights(streams, "decoder.bias2", (*bias, out), hidden)

    def hidden(self, latent: Tensor) -> Tensor:
        """Return the hidden layer: `[..., length, dim]` to `[..., length, hidden]`."""
        return torch.tanh(latent @ self.w1 + self.bias1)

    def output(self, latent: Tensor) -> Tensor:
        """Return the output: `[..., length, dim]` to `[..., length, out]`."""
        return self.hidden(latent) @ self.w2 + self.bias2


class OneMlp(Mlp):
    """One MLP for the keys and values of all layers (Li & Liang 2021, section 4.3).

    Args:
        names: the slots in the order key, value, key, value, ... from the lowest layer up.
        shapes: `(kv_heads, width)` of each slot.
        dim: width of the latent vectors.
        hidden: width of the hidden layer.
        streams: random streams of the initial values.
    """

    def __init__(
        self,
        names: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        dim: int,
        hidden: int,
        streams: Streams,
    ) -> None:
        super().__init__(dim, hidden, sum(heads * width for heads, width in shapes), streams)
        self._names, self._shapes = names, shapes

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map latents `[vertices, length, dim]` to slots `[vertices, kv_heads, length, width]`.

        Other tensors are returned unchanged.
        """
        flat = self.output(tensors[LATENT])  # [vertices, length, all heads and widths]
        parts = flat.split([heads * width for heads, width in self._shapes], dim=-1)
        return _replace_latent(
            tensors,
            {
                name: part.unflatten(-1, shape).transpose(1, 2)
                for name, shape, part in zip(self._names, self._shapes, parts, strict=True)
            },
        )


class PerLayerMlp(Mlp):
    """One MLP for the keys and one for the values of each layer (Falissard et al. 2023: MLP_k,i and MLP_v,i).

    The arguments are those of `OneMlp`; all slots must have the same shape.
    """

    def __init__(
        self,
        names: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        dim: int,
        hidden: int,
        streams: Streams,
    ) -> None:
        super().__init__(dim, hidden, shapes[0][0] * shapes[0][1], streams, copies=len(names))
        self._names, self._shape = names, shapes[0]

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map latents `[vertices, length, dim]` to slots `[vertices, kv_heads, length, width]`.

        Other tensors are returned unchanged.
        """
        flat = self.output(tensors[LATENT][:, None])  # [vertices, slots, length, kv_heads * width]
        slots = flat.unflatten(-1, self._shape).transpose(2, 3).unbind(1)
        return _replace_latent(tensors, dict(zip(self._names, slots, strict=True)))


def prefix_mlp(
    kind: str, prefix_slots: Sequence[Slot], dim: int, hidden: int, streams: Streams
) -> OneMlp | PerLayerMlp:
    """Return the decoder `one` or `per-layer` for prefix slots `[kv_heads, length, width]`.

    Raises:
        Unsupported: the layers have heads of different number or width, and `per-layer` requires equal ones.
    """
    names, shapes = (
        [slot.name for slot in prefix_slots],
        [(slot.shape[0], slot.shape[2]) for slot in prefix_slots],
    )
    if kind == "one":
        return OneMlp(names, shapes, dim, hidden, streams)
    if len(set(shapes)) > 1:
        raise Unsupported("the layers of this backbone differ in their heads: choose decoder=one")
    return PerLayerMlp(names, shapes, dim, hidden, streams)


def fit_last_layer(
    decoder: OneMlp | PerLayerMlp, latent: Tensor, target: Mapping[str, Tensor]
) -> None:
    """Change an MLP's last layer as little as possible so that it maps these latents to the target slots.

    The released code of prefix-tuning fits the MLP to the words' activations in 500 steps. If there are at most as
    many latent vectors as hidden units, a pseudo-inverse gives the smallest change that fits them exactly.

    Args:
        decoder: changed in place.
        latent: `[length, dim]`.
        target: `{slot: [kv_heads, length, width]}` in the order of the decoder's slots.

    Raises:
        Unsupported: there are more latent vectors than hidden units.
    """
    flat = [tensor.transpose(0, 1).flatten(1) for tensor in target.values()]  # [length, ...] each
    if decoder.bias1.shape[-1] < len(latent):
        raise Unsupported(
            f"init=words with a length of {len(latent)} requires an MLP of at least that width: "
            f"set hidden={len(latent)} or more"
        )
    with torch.no_grad():
        one = isinstance(decoder, OneMlp)
        # [length, hidden], or [slots, length, hidden] with an MLP for each slot
        hidden = decoder.hidden(latent if one else latent[None])
        outputs = torch.cat(flat, dim=1) if one else torch.stack(flat)
        residual = outputs - (hidden @ decoder.w2 + decoder.bias2)
        decoder.w2.add_((torch.linalg.pinv(hidden.double()) @ residual.double()).to(decoder.w2))


class FrozenProjections(nn.Module):
    """The key and value projections of each layer, applied to latent vectors (Le et al. 2024: simple-share).

    The latent vectors are normalised to mean 0 and standard deviation 1, like the inputs of a layer. They have no
    position. Only they are trained.

    Args:
        names: the slots in the order key, value, key, value, ...
        calls: the attention calls in that order.
        slots: the slots of the method, with the backbone.

    Raises:
        Unsupported: the projections of a layer were not found.
    """

    def __init__(self, names: Sequence[str], calls: Sequence[AttentionCall], slots: Slots) -> None:
        super().__init__()
        self._names = names
        # For each slot: weight [out, hidden], bias [out] and (kv_heads, width).
        self._projections: list[tuple[Tensor, Tensor, tuple[int, int]]] = []
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
                self._projections.append((*_affine(slots, projection), (call.heads, call.width)))

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map latents `[vertices, layers, length, hidden]` to slots `[vertices, kv_heads, length, width]`.

        Other tensors are returned unchanged.
        """
        latent = tensors[LATENT]
        vectors = F.layer_norm(latent, latent.shape[-1:])
        decoded = {}
        for number, (name, (weight, bias, shape)) in enumerate(
            zip(self._names, self._projections, strict=True)
        ):
            # [vertices, length, kv_heads * width]
            flat = F.linear(vectors[:, number // 2], weight.to(vectors), bias.to(vectors))
            decoded[name] = flat.unflatten(-1, shape).transpose(1, 2)
        return _replace_latent(tensors, decoded)


def _affine(slots: Slots, projection: Projection) -> tuple[Tensor, Tensor]:
    """Return the frozen weight `[out, hidden]` and bias `[out]` of a projection, in float32."""
    layer: Any = slots.backbone.model.get_submodule(projection.path)
    # The layers of GPT-2 store the transposed weight.
    weight = layer.weight.detach() if isinstance(layer, nn.Linear) else layer.weight.detach().T
    bias = layer.bias.detach() if layer.bias is not None else weight.new_zeros(len(weight))
    outputs = slice(None) if projection.columns is None else list(projection.columns)
    return weight[outputs].float(), bias[outputs].float()


class PromptMlp(Mlp):
    """An MLP for the vectors of a prompt.

    Args:
        name: the prompt's slot.
        dim: width of the latent vectors and of the prompt.
        hidden: width of the hidden layer.
        streams: random streams of the initial values.
    """

    def __init__(self, name: str, dim: int, hidden: int, streams: Streams) -> None:
        super().__init__(dim, hidden, dim, streams)
        self._name = name

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map latents `[vertices, length, dim]` to the prompt `[vertices, length, dim]`.

        Other tensors are returned unchanged.
        """
        return _replace_latent(tensors, {self._name: self.output(tensors[LATENT])})


def _replace_latent(
    tensors: Mapping[str, Tensor], decoded: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != LATENT} | dict(decoded)


def _weights(streams: Streams, name: str, shape: tuple[int, ...], fan_in: int) -> nn.Parameter:
    """Return weights initialised as in `nn.Linear`: uniform within 1 / sqrt(fan-in)."""
    return nn.Parameter(initialise(streams, name, shape, 1, uniform(1 / math.sqrt(fan_in)))[0])
