"""Slots: the places where a method's tensors enter a model of the transformers library.

A slot is a parameter of a module of the model. Either it replaces one of the model's parameters until the slots are
removed, or it is added, and a hook or the attention function reads it. While the slots are empty, hooks do nothing and
attention is computed without a prefix.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal
from warnings import warn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.core.architecture import Architecture, is_linear
from methods.core.attention import real_tokens
from methods.core.dropout import Masks, drop
from methods.core.protocols import Backbone, Unsupported

# From the module with the gate's slots and its input [rows, tokens, hidden] to factors [rows, 1, 1].
Gate = Callable[[nn.Module, Tensor], Tensor]

# Attributes of `Slots` that plug-ins may use under their old names.
OLD_NAMES: Final = {"anatomy": "architecture", "held": "original"}


@dataclass(frozen=True)
class Slot:
    """A place for one tensor."""

    name: str  # path of the module and name of the parameter
    shape: tuple[int, ...]  # without vertex or row axes
    layer: int  # slots of one layer share a point of the simplex; -1 is the head
    role: Literal["added", "backbone", "head"]


class Slots:
    """The slots of one method on one model. Iterates over `Slot`; `remove` restores the model."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._model = backbone.model
        self._slots: dict[str, Slot] = {}
        self._sites: dict[str, tuple[nn.Module, str]] = {}
        self._tied: dict[
            str, list[tuple[nn.Module, str]]
        ] = {}  # other places of a shared parameter
        self._originals: dict[str, nn.Parameter] = {}
        self._undo = ExitStack()  # its callbacks restore the model
        self._filled = False
        self._rows = 1  # of the current batch
        self._attended: Tensor | None = None  # [rows, tokens], which tokens of the batch are real
        self._masks: Masks | None = None  # of the method's dropout, while training

        self.hook_inputs(self.architecture.body, self._record_batch)

    def _record_batch(
        self, _body: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        """Record the number of rows and the padding mask of the current batch."""
        # While an encoder-decoder writes, its encoder has already run: the call has `decoder_input_ids`, but neither
        # `input_ids` nor `inputs_embeds`.
        tokens = [*inputs[:1], *map(named.get, ("input_ids", "inputs_embeds", "decoder_input_ids"))]
        self._rows = next(len(tensor) for tensor in tokens if tensor is not None)
        mask = named.get("attention_mask")
        self._attended = None if mask is None else real_tokens(mask)

    @property
    def architecture(self) -> Architecture:
        """Structure of the model."""
        return self.backbone.architecture

    def __getattr__(self, name: str) -> Any:
        if name not in OLD_NAMES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        warn(f"slots.{name} is now slots.{OLD_NAMES[name]}", DeprecationWarning, stacklevel=2)
        return getattr(self, OLD_NAMES[name])

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, module: str, name: str, shape: tuple[int, ...], layer: int) -> str:
        """Add an empty slot to a module and return its name.

        Raises:
            Unsupported: the module has a parameter of that name.
        """
        site = self._model.get_submodule(module)
        if name in site._parameters:
            raise Unsupported(
                f"two parts of the method need the same slot, {module}.{name}: use one of them"
            )
        site.register_parameter(name, None)
        slot = Slot(f"{module}.{name}" if module else name, shape, layer, "added")
        self._slots[slot.name], self._sites[slot.name] = slot, (site, name)
        self._undo.callback(site._parameters.pop, name)
        return slot.name

    def replace(
        self,
        parameter: str,
        layer: int,
        role: Literal["backbone", "head"],
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Add a slot that replaces a parameter of the model.

        `shape` is given for a head with another number of outputs than the model's.
        """
        module, _, name = parameter.rpartition(".")
        site = self._model.get_submodule(module)
        original = self._originals[parameter] = site.get_parameter(name)
        self._slots[parameter] = Slot(parameter, shape or tuple(original.shape), layer, role)
        self._sites[parameter] = (site, name)
        # A model that writes text may use the embeddings of tokens as its last layer too.
        self._tied[parameter] = [
            (other, own)
            for other in self._model.modules()
            for own, shared in other._parameters.items()
            if shared is original and other is not site
        ]
        for place, own in (self._sites[parameter], *self._tied[parameter]):
            self._undo.callback(place._parameters.__setitem__, own, original)

    def hook(self, module: str, function: Callable[[Any, tuple[Any, ...], Any], Any]) -> None:
        """Let `function(module, inputs, output)` change a module's output while the slots are filled."""

        def run(site: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            return function(site, inputs, output) if self._filled else None

        self._undo.callback(self._model.get_submodule(module).register_forward_hook(run).remove)

    def hook_linear(self, module: str, function: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        """Let `function(module, input, output)` change a linear layer's output `[rows, tokens, width]`.

        Some models flatten rows and tokens before a linear layer; the function gets them unflattened.
        """

        def run(site: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if output.dim() == 3:
                return function(site, inputs[0], output)
            x, y = (tensor.unflatten(0, (self._rows, -1)) for tensor in (inputs[0], output))
            return function(site, x, y).flatten(0, 1)

        self.hook(module, run)

    def hook_inputs(
        self, module: str, function: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
    ) -> None:
        """Let `function(module, inputs, named inputs)` change a module's inputs while the slots are filled."""

        def run(site: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return function(site, inputs, named) if self._filled else None

        site = self._model.get_submodule(module)
        self._undo.callback(site.register_forward_pre_hook(run, with_kwargs=True).remove)

    def set(self, module: str, name: str, value: object) -> None:
        """Set an attribute of a module until the slots are removed."""
        site = self._model.get_submodule(module)
        setattr(site, name, value)
        self._undo.callback(delattr, site, name)

    def gate(self, module: str, name: str, layer: int, width: int) -> Gate:
        """Add the slots of a gate on a module's input `[rows, tokens, width]`.

        The gate is a sigmoid of one linear output, averaged over the real tokens of a row.
        Source: Mao et al. 2022, arXiv 2110.07577, section 3.2, and its released code. Unlike here, that code
            averages over padding tokens too.

        Raises:
            Unsupported: the model writes text.
        """
        if self.architecture.writes:
            raise Unsupported(
                "a gate that depends on the input averages over all tokens of a row, also over those that are still "
                "to be written: train without it"
            )
        weight, bias = f"{name}_gate", f"{name}_gate_bias"
        self.add(module, weight, (width,), layer)
        self.add(module, bias, (1,), layer)

        def gate(site: nn.Module, x: Tensor) -> Tensor:
            row = row_bias(getattr(site, weight))  # [width] or [rows, 1, width]
            gates = torch.sigmoid((x * row).sum(-1) + getattr(site, bias))  # [rows, tokens]
            real = self.attended(x)
            mean = (gates * real).sum(-1) / real.sum(-1)
            return mean[:, None, None]  # [rows, 1, 1]

        return gate

    def attended(self, states: Tensor) -> Tensor:
        """Return which tokens of states `[rows, tokens, hidden]` are real, `[rows, tokens]`.

        All tokens count as real if the states have another shape than the current batch.
        """
        if self._attended is None or self._attended.shape != states.shape[:2]:
            return torch.ones_like(states[..., 0])
        return self._attended.to(states)

    def drop(self, x: Tensor, p: float) -> Tensor:
        """Apply the method's dropout, with masks from the job's random stream; outside training, return `x`."""
        return drop(x, p, self._masks)

    @contextmanager
    def dropout(self, masks: Masks | None) -> Iterator[None]:
        """Inside the block, `drop` uses these masks."""
        self._masks = masks
        try:
            yield
        finally:
            self._masks = None

    def is_linear(self, name: str) -> bool:
        """Return whether a slot is in a linear layer. A slot of the head can have a row axis only if it is in one."""
        return is_linear(self._sites[name][0])

    def original(self, name: str) -> Tensor:
        """Return the model's tensor that a slot replaces."""
        return self._originals[name].detach()

    def install(self, tensors: Mapping[str, Tensor], rows: Tensor | None = None) -> None:
        """Fill the slots, in the precision of the model. A tensor may have a leading row axis.

        Args:
            tensors: one tensor for each slot.
            rows: if the forward call has only some rows of the batch, their indices; on the device of
                the model.

        Raises:
            KeyError: the names of tensors and slots differ.
        """
        if tensors.keys() != self._slots.keys():
            raise KeyError(
                f"slots without a tensor, or tensors without a slot: {sorted(tensors.keys() ^ self._slots.keys())}"
            )
        # An interrupted forward pass may have left the count of an attention module's calls above 0.
        for call in self.architecture.attention:
            self._model.get_submodule(call.module)._slots_next_call = 0  # type: ignore[assignment]
        dtype = next(self._model.parameters()).dtype
        for name, tensor in tensors.items():
            if rows is not None and tensor.dim() > len(self._slots[name].shape) and len(tensor) > 1:
                tensor = tensor[rows]
            filled = tensor.to(dtype)
            for site, attribute in (self._sites[name], *self._tied.get(name, ())):
                site._parameters[attribute] = filled  # a plain tensor keeps its graph
        self._filled = True

    def remove(self) -> None:
        """Remove every slot and hook, and restore the model's parameters."""
        self._filled = False
        self._undo.close()  # a second call does nothing


def add_head(slots: Slots) -> None:
    """Add the slots of the head, which every method trained by gradient trains; a model that writes has none."""
    architecture, backbone = slots.architecture, slots.backbone
    if architecture.writes:
        return
    for name in sorted(architecture.trained):
        if architecture.is_head(name):
            shape = tuple(backbone.model.get_parameter(name).shape)
            if name.rpartition(".")[0] == architecture.output_layer:
                shape = (backbone.outputs, *shape[1:])
            slots.replace(name, layer=-1, role="head", shape=shape)


class RowLinear(nn.Linear):
    """A linear layer whose weight and bias may have a row axis: one weight for each row of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            # If x is not contiguous, such as a slice of `[rows, tokens, in]`, `F.linear` may multiply row by
            # row, and copy the weight for each on a CPU in bfloat16 (7 times slower) and, with a weight for each job,
            # under vmap.
            return F.linear(x.contiguous() if x.dim() == 3 else x, self.weight, self.bias)
        flat = x.dim() == 2  # [rows, in], else [rows, tokens, in]
        out = (x[:, None] if flat else x) @ self.weight.mT  # [rows, tokens, out]
        if self.bias is not None:
            out = out + self.bias[:, None]
        return out[:, 0] if flat else out


def add_row_axis(model: nn.Module, body: str) -> None:
    """Replace the linear layers of the head by layers that accept a row axis."""
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and not path.startswith(body + "."):
            parent, _, name = path.rpartition(".")
            rows = RowLinear(
                module.in_features, module.out_features, module.bias is not None, device="meta"
            )
            rows.weight, rows.bias = module.weight, module.bias
            setattr(model.get_submodule(parent), name, rows)


def row_bias(bias: Tensor) -> Tensor:
    """Return a bias `[width]` or `[rows, width]` in a shape that broadcasts with `[rows, tokens, width]`."""
    return bias if bias.dim() == 1 else bias[:, None]
