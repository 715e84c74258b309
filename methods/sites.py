"""Where tensors enter a stock model: named slots, installed on its own modules and taken away again.

A slot is a named parameter of a module of the model. Slots that *replace* a parameter hold it back until they are
removed; slots that are *added* are read by a hook or by the attention function, which do nothing while they are empty.
So the same names serve a plain call and `torch.func.functional_call`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from methods.base import Backbone

ATTENTION = "slots"  # the name under which the attention function below is registered


@dataclass(frozen=True)
class Slot:
    """One tensor's place."""

    name: str  # module path and parameter name
    shape: tuple[int, ...]  # without vertex or row axes
    layer: int  # slots of one layer share a point of the simplex; -1 is the head
    role: Literal["added", "backbone", "head"]


@dataclass(frozen=True)
class AttentionCall:
    """One call of the attention function in a forward pass."""

    module: str  # its path; a model that shares layers calls one module several times
    turn: int  # the how-manieth call of that module
    layer: int  # the how-manieth call of all
    heads: int  # of keys and values
    width: int  # numbers a head


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model that methods address."""

    body: str  # path of the pretrained part; what lies outside is the head
    hidden: int
    positions: int | None  # rows of a learned position table, if there is one
    attention: tuple[AttentionCall, ...]  # in the order of a forward pass; empty if the model has its own attention code
    layers: tuple[str, ...]  # paths of the repeated blocks, from the embeddings up
    trained: frozenset[str]  # names of parameters that a classification loss reaches
    init_range: float  # standard deviation for new weights
    output_layer: str  # path of the linear layer that gives the logits

    def is_head(self, name: str) -> bool:
        """Whether a parameter lies outside the pretrained part."""
        return not name.startswith(self.body + ".")


class Slots:
    """The slots of one method on one model. Iterates over `Slot`; `remove` leaves the model as it was."""

    def __init__(self, backbone: Backbone) -> None:
        self.anatomy = backbone.anatomy
        self._model = backbone.model
        self._slots: dict[str, Slot] = {}
        self._sites: dict[str, tuple[nn.Module, str]] = {}
        self._held: dict[str, nn.Parameter] = {}
        self._handles: list[Any] = []

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, module: str, name: str, shape: tuple[int, ...], layer: int) -> None:
        """A new, empty slot on a module."""
        site = self._model.get_submodule(module)
        site.register_parameter(name, None)
        self._enter(Slot(f"{module}.{name}", shape, layer, "added"), site, name)

    def replace(
        self, parameter: str, layer: int, role: Literal["backbone", "head"], shape: tuple[int, ...] | None = None
    ) -> None:
        """A slot in place of one of the model's own parameters; `shape` where a head needs another number of outputs."""
        module, _, name = parameter.rpartition(".")
        site = self._model.get_submodule(module)
        held = self._held[parameter] = site.get_parameter(name)
        self._enter(Slot(parameter, shape or tuple(held.shape), layer, role), site, name)

    def _enter(self, slot: Slot, site: nn.Module, name: str) -> None:
        self._slots[slot.name] = slot
        self._sites[slot.name] = (site, name)

    def hook(self, module: str, function: Any) -> None:
        """Let `function(module, inputs, output)` change a module's output for as long as the slots are there."""
        self._handles.append(self._model.get_submodule(module).register_forward_hook(function))

    def hook_inputs(self, module: str, function: Any) -> None:
        """Let `function(module, inputs, named inputs)` change what a module is called with."""
        site = self._model.get_submodule(module)
        self._handles.append(site.register_forward_pre_hook(function, with_kwargs=True))

    def is_linear(self, name: str) -> bool:
        """Whether a slot is a weight or bias of a linear layer; the scales of norms have no row axis."""
        return isinstance(self._sites[name][0], nn.Linear)

    def held(self, name: str) -> Tensor:
        """The model's own tensor that a slot replaces."""
        return self._held[name].detach()

    def install(self, tensors: Mapping[str, Tensor]) -> None:
        """Put tensors into the slots, in the model's own precision. A tensor may carry a leading row axis.

        Raises:
            KeyError: names and slots differ.
        """
        if tensors.keys() != self._slots.keys():
            raise KeyError(f"slots without tensor or tensors without slot: {sorted(tensors.keys() ^ self._slots.keys())}")
        for call in self.anatomy.attention:  # a forward pass that broke off may have left a shared layer between two turns
            self._model.get_submodule(call.module)._slots_turn = 0  # type: ignore[assignment]
        dtype = next(self._model.parameters()).dtype
        for name, tensor in tensors.items():
            site, attribute = self._sites[name]
            site._parameters[attribute] = tensor.to(dtype)  # type: ignore[assignment]  # a plain tensor keeps its graph

    def remove(self) -> None:
        """Empty every slot and give the model its own parameters back."""
        for handle in self._handles:
            handle.remove()
        for name, (site, attribute) in self._sites.items():
            if name in self._held:
                site._parameters[attribute] = self._held[name]
            else:
                del site._parameters[attribute]


def add_head(slots: Slots, backbone: Backbone) -> None:
    """Slots for the head, which every method trains."""
    anatomy = backbone.anatomy
    for name in sorted(anatomy.trained):
        if anatomy.is_head(name):
            shape = tuple(backbone.model.get_parameter(name).shape)
            if name.rpartition(".")[0] == anatomy.output_layer:
                shape = (backbone.outputs, *shape[1:])
            slots.replace(name, layer=-1, role="head", shape=shape)


class RowLinear(nn.Linear):
    """A linear layer whose weight and bias may carry a row axis: one weight for each row of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return F.linear(x, self.weight, self.bias)
        flat = x.dim() == 2  # [rows, in], else [rows, tokens, in]
        out = (x[:, None] if flat else x) @ self.weight.mT  # [rows, tokens, out]
        if self.bias is not None:
            out = out + self.bias[:, None]
        return out[:, 0] if flat else out


def add_row_axis(model: nn.Module, anatomy_body: str) -> None:
    """Let the linear layers of the head take a row axis."""
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and not path.startswith(anatomy_body + "."):
            parent, _, name = path.rpartition(".")
            rows = RowLinear(module.in_features, module.out_features, module.bias is not None, device="meta")
            rows.weight, rows.bias = module.weight, module.bias
            setattr(model.get_submodule(parent), name, rows)


def row_bias(bias: Tensor) -> Tensor:
    """A bias `[width]` or `[rows, width]`, ready to be added to `[rows, tokens, width]`."""
    return bias if bias.dim() == 1 else bias[:, None]


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """The library's own attention with this call's prefix, if there is one, in front of keys and values.

    Shapes: query `[rows, heads, tokens, width]`; a prefix is `[heads, length, width]` or `[rows, heads, length, width]`.
    """
    turn: int = getattr(module, "_slots_turn", 0)
    module._slots_turn = (turn + 1) % getattr(module, "_slots_turns", 1)  # type: ignore[assignment]
    prefix_key = getattr(module, f"prefix_key_{turn}", None)
    if prefix_key is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]
    prefix_value = getattr(module, f"prefix_value_{turn}")
    rows, length = key.shape[0], prefix_key.shape[-2]
    if attention_mask is None and getattr(module, "is_causal", False):
        tokens = query.shape[2]  # the library would apply its causal rule to the prefix as well
        attention_mask = torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=query.device).tril()
    key = torch.cat([prefix_key.expand(rows, -1, -1, -1), key], dim=2)
    value = torch.cat([prefix_value.expand(rows, -1, -1, -1), value], dim=2)
    if attention_mask is not None:
        open_to_all = 1 if attention_mask.dtype == torch.bool else 0  # an additive mask adds nothing where all may look
        front = attention_mask.new_full((*attention_mask.shape[:-1], length), open_to_all)
        attention_mask = torch.cat([front, attention_mask], dim=-1)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def repeated_blocks(model: nn.Module, inside: list[str]) -> tuple[str, ...]:
    """The paths of the blocks (elements of a module list) that hold the given modules, in the modules' order."""
    blocks: dict[str, None] = {}
    for path in inside:
        steps = path.split(".")
        for end in range(len(steps), 0, -1):
            parent = model.get_submodule(".".join(steps[: end - 1]))
            if isinstance(parent, nn.ModuleList):
                blocks[".".join(steps[:end])] = None
                break
    return tuple(blocks)


def layer_of(anatomy: Anatomy, parameter: str) -> int:
    """The block that a parameter belongs to, counted from 0; what lies below or between the blocks counts as block 0."""
    for number, block in enumerate(anatomy.layers):
        if parameter.startswith(block + "."):
            return number
    return 0


def linear_layers(model: nn.Module, under: str, names: str = ".*") -> list[str]:
    """The paths of the linear layers below a module whose own name matches `names` in full."""
    root = model.get_submodule(under)
    found = [path for path, module in root.named_modules() if isinstance(module, nn.Linear) and path]
    return [f"{under}.{path}" for path in found if re.fullmatch(names, path.rpartition(".")[2])]
