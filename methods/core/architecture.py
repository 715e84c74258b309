"""The parts of a model that methods address, found by inspecting one forward and backward pass.

No model family is named here. The projections of queries, keys and values are the layers that a gradient from
them reaches. A position table is an embedding that is indexed in order. The head is everything outside the
pretrained part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from methods.core.attention import record_attention

# Names of projections, for models with their own attention code (DeBERTa, MPNet).
NAMES = {
    "query": "query|query_proj|q_proj|q|in_proj",
    "key": "key|key_proj|k_proj|k",
    "value": "value|value_proj|v_proj|v|in_proj",
}


@dataclass(frozen=True)
class AttentionCall:
    """One call of the attention function in a forward pass."""

    module: str  # its path; a model that shares layers calls one module several times
    turn: int  # index among the calls of that module
    layer: int  # index among all calls
    heads: int  # of keys and values
    width: int  # of one head


@dataclass(frozen=True)
class Projection:
    """A linear layer that computes queries, keys or values, and which of its outputs they are (None: all)."""

    path: str
    columns: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Block:
    """One of the repeated blocks; a part that is missing is None."""

    path: str
    query: Projection | None
    key: Projection | None
    value: Projection | None
    attention_out: str | None  # last linear layer of the attention part
    feed_forward_out: str | None  # last linear layer of the feed-forward part


@dataclass(frozen=True)
class Architecture:
    """Structure of a model."""

    body: str  # path of the pretrained part; everything else is the head
    stack: str  # path of the module that runs the blocks in order
    hidden: int
    position_table: str | None  # path of a learned position table
    positions: int | None  # maximum number of positions of a text
    attention: tuple[
        AttentionCall, ...
    ]  # in the order of a forward pass; empty if the model has its own attention code
    blocks: tuple[Block, ...]  # from the embeddings up
    trained: frozenset[str]  # names of parameters that a classification loss reaches
    init_range: float  # standard deviation for new weights
    output_layer: str  # path of the linear layer that gives the logits
    size: int  # parameters of the pretrained part
    causal: bool  # whether a token attends only to itself and earlier tokens
    scattered: bool  # whether the parts of a block are in separate module lists, as in XLM
    pools_inside: (
        bool  # whether a linear layer of the pretrained part works on what the last block gives
    )
    shared: frozenset[
        str
    ]  # linear layers that also work on something that all rows share, such as DeBERTa's distances

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the repeated blocks, from the embeddings up."""
        return tuple(block.path for block in self.blocks)

    def is_head(self, name: str) -> bool:
        """Return whether a parameter is outside the pretrained part."""
        return not name.startswith(self.body + ".")

    def layer_of(self, parameter: str) -> int:
        """Return the index of the block that a parameter belongs to; 0 for parameters outside the blocks."""
        return next(
            (
                number
                for number, block in enumerate(self.blocks)
                if parameter.startswith(block.path + ".")
            ),
            0,
        )


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer of torch, or the transposed layer of GPT-2."""
    return isinstance(module, nn.Linear | Conv1D)


def layer_sizes(module: Any) -> tuple[int, int]:
    """Return the numbers of inputs and outputs of a linear layer."""
    rows, columns = module.weight.shape
    return (rows, columns) if isinstance(module, Conv1D) else (columns, rows)


def linear_layers(model: nn.Module, under: str, names: str = ".*") -> list[str]:
    """Return the paths of the linear layers below a module whose last name fully matches `names`."""
    found = [
        path
        for path, module in model.get_submodule(under).named_modules()
        if is_linear(module) and path
    ]
    return [f"{under}.{path}" for path in found if re.fullmatch(names, path.rpartition(".")[2])]


def inspect_architecture(model: nn.Module, body: str, config: Any) -> Architecture:
    """Return the structure of a model, from one pass over two texts. Leaves it frozen and without gradients."""
    tokens = torch.tensor([_probe_tokens(config)] * 2, device=next(model.parameters()).device)
    seen = _Trace()
    with _watch(model, seen), torch.enable_grad():
        model.requires_grad_(True)
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        roles = _roles(seen)
        logits.float().square().sum().backward()
    trained = frozenset(
        name for name, parameter in model.named_parameters() if parameter.grad is not None
    )
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)
    for path, number in Counter(call.module for call in seen.calls).items():
        module = model.get_submodule(path)
        module._slots_turns, module._slots_turn = number, 0  # type: ignore[assignment]  # read by the attention function
    inside = list(dict.fromkeys(call.module for call in seen.calls)) or [
        path
        for path, module in model.named_modules()
        if "attention" in type(module).__name__.lower()
    ]
    paths = repeated_blocks(model, inside)
    table, positions = _positions(model, seen, config)
    return Architecture(
        body=body,
        stack=_stack(model, paths, body),
        hidden=config.hidden_size,
        position_table=table,
        positions=positions,
        attention=tuple(seen.calls),
        blocks=tuple(_block(model, path, seen, roles, config.hidden_size) for path in paths),
        trained=trained,
        init_range=float(getattr(config, "initializer_range", 0.02)),
        output_layer=[path for path, _ in seen.linear if not path.startswith(body + ".")][-1],
        size=sum(parameter.numel() for parameter in model.get_submodule(body).parameters()),
        shared=frozenset(path for path, out in seen.linear if out.dim() == 3 and len(out) == 1),
        causal=_causal(model.get_submodule(body), tokens),
        scattered=_scattered(model, paths),
        pools_inside=_pools_inside(seen, paths, body),
    )


@dataclass
class _Trace:
    """The calls of one forward pass, in order."""

    calls: list[AttentionCall] = field(default_factory=list)
    tensors: list[tuple[Tensor, Tensor, Tensor]] = field(
        default_factory=list
    )  # query, key, value of each call
    linear: list[tuple[str, Tensor]] = field(
        default_factory=list
    )  # path and output of each call of a linear layer
    before: list[int] = field(
        default_factory=list
    )  # how many linear layers had been called before each attention call
    embedded: list[tuple[str, Tensor]] = field(default_factory=list)  # path and rows asked for


@contextmanager
def _watch(model: nn.Module, seen: _Trace) -> Iterator[None]:
    """Record the calls inside the block."""
    paths = {id(module): path for path, module in model.named_modules()}
    turns: Counter[str] = Counter()

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> None:
        path = paths[id(module)]
        seen.calls.append(
            AttentionCall(path, turns[path], len(seen.calls), key.shape[1], key.shape[3])
        )
        seen.tensors.append((query, key, value))
        seen.before.append(len(seen.linear))
        turns[path] += 1

    def linear(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.linear.append((paths[id(module)], output))

    def embed(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            seen.embedded.append((paths[id(module)], inputs[0]))

    handles = [
        module.register_forward_hook(linear) for module in model.modules() if is_linear(module)
    ]
    handles += [
        m.register_forward_pre_hook(embed) for m in model.modules() if type(m) is nn.Embedding
    ]
    try:
        with record_attention(attend):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _roles(seen: _Trace) -> dict[str, tuple[Projection | None, ...]]:
    """Return, for the first call of each attention module, the layers that compute its query, key and value."""
    roles: dict[str, tuple[Projection | None, ...]] = {}
    for call, tensors, end in zip(seen.calls, seen.tensors, seen.before, strict=True):
        if call.turn == 0:
            own = [
                (path, out) for path, out in seen.linear[:end] if path.startswith(call.module + ".")
            ]
            roles[call.module] = tuple(_origin(tensor, own) for tensor in tensors)
    return roles


def _origin(tensor: Tensor, candidates: Sequence[tuple[str, Tensor]]) -> Projection | None:
    """Return the candidate that a gradient from the tensor reaches, with the outputs that it reaches."""
    if not candidates:
        return None
    weights = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)).to(tensor)
    outputs = [out for _, out in candidates]
    grads = torch.autograd.grad(
        (tensor * weights).sum(), outputs, retain_graph=True, allow_unused=True
    )
    for (path, _), grad in zip(candidates, grads, strict=True):
        if grad is not None and grad.any():
            reached = grad.abs().sum(tuple(range(grad.dim() - 1))) > 0  # [outputs]
            return Projection(
                path, None if bool(reached.all()) else tuple(torch.nonzero(reached)[:, 0].tolist())
            )
    return None


def _block(
    model: nn.Module,
    path: str,
    seen: _Trace,
    roles: dict[str, tuple[Projection | None, ...]],
    hidden: int,
) -> Block:
    """Return the parts of one block."""
    inside = [
        (number, name)
        for number, (name, _) in enumerate(seen.linear)
        if name.startswith(path + ".")
    ]
    call = next(
        (number for number, call in enumerate(seen.calls) if call.module.startswith(path + ".")),
        None,
    )
    if call is not None:
        found = roles[seen.calls[call].module]
        after = [name for number, name in inside if number >= seen.before[call]]
    else:
        found = (None, None, None)
        after = [
            name for _, name in inside if layer_sizes(model.get_submodule(name)) == (hidden, hidden)
        ][-1:]
    query, key, value = (
        one or _by_name(model, path, role) for one, role in zip(found, NAMES, strict=True)
    )
    out = after[0] if after else None
    names = list(dict.fromkeys(name for _, name in inside))
    last = names[-1] if names and layer_sizes(model.get_submodule(names[-1]))[1] == hidden else None
    return Block(path, query, key, value, out, None if last == out else last)


def _by_name(model: nn.Module, block: str, role: str) -> Projection | None:
    """Return a projection by its usual name; for models with their own attention code, or zero weights."""
    layers = linear_layers(model, block, NAMES[role])
    return Projection(layers[0]) if layers else None


def repeated_blocks(model: nn.Module, inside: list[str]) -> tuple[str, ...]:
    """Return the paths of the blocks: all elements of the module lists that contain the modules, in order."""
    blocks: dict[str, None] = {}
    for path in inside:
        steps = path.split(".")
        for end in range(len(steps), 0, -1):
            above = ".".join(steps[: end - 1])
            if isinstance(parent := model.get_submodule(above), nn.ModuleList):
                blocks |= {f"{above}.{name}": None for name, _ in parent.named_children()}
                break
    return tuple(blocks)


def _stack(model: nn.Module, blocks: tuple[str, ...], body: str) -> str:
    """Return the module that runs all blocks: their nearest ancestor outside any module list."""
    steps = blocks[0].split(".") if blocks else []
    lists = [
        end
        for end in range(1, len(steps))
        if isinstance(model.get_submodule(".".join(steps[:end])), nn.ModuleList)
    ]
    return ".".join(steps[: lists[0] - 1]) if lists else body


def _probe_tokens(config: Any) -> list[int]:
    """Return four token ids that are not padding, and not in order like positions."""
    known = [
        token
        for token in range(5, 5 + 5)
        if token != config.pad_token_id and token < config.vocab_size
    ]
    return [known[place % len(known)] for place in (2, 0, 3, 1)] if known else [0, 0, 0, 0]


@torch.no_grad()
def _causal(body: nn.Module, tokens: Tensor) -> bool:
    """Return whether the states of tokens are unchanged if a later token changes."""
    other = torch.cat([tokens[:, :-1], tokens[:, :1]], dim=1)
    states = [
        body(input_ids=ids, attention_mask=torch.ones_like(ids))[0][:, :-1]
        for ids in (tokens, other)
    ]
    return torch.equal(*states)


def _scattered(model: nn.Module, blocks: tuple[str, ...]) -> bool:
    """Return whether another module list of the same length is beside that of the blocks."""
    above = blocks[0].rpartition(".")[0].rpartition(".")[0] if blocks else ""
    lists = [
        module
        for module in model.get_submodule(above).children()
        if isinstance(module, nn.ModuleList)
    ]
    return sum(len(one) == len(blocks) for one in lists) > 1


def _pools_inside(seen: _Trace, blocks: tuple[str, ...], body: str) -> bool:
    """Return whether the pretrained part has linear layers after its blocks."""
    inside = [
        number
        for number, (path, _) in enumerate(seen.linear)
        if path.startswith(tuple(f"{b}." for b in blocks))
    ]
    behind = seen.linear[max(inside) + 1 :] if inside else []
    return any(path.startswith(body + ".") for path, _ in behind)


def _positions(model: nn.Module, seen: _Trace, config: Any) -> tuple[str | None, int | None]:
    """Return the learned position table and the maximum number of positions, which may come from the configuration."""
    for path, rows in seen.embedded:
        flat = rows.flatten()
        if len(flat) in (4, 8) and bool((flat[:4].diff() == 1).all()):
            table = model.get_submodule(path)
            return path, int(table.num_embeddings) - int(flat[0])  # type: ignore[arg-type]  # nn.Embedding has it
    most = getattr(config, "max_position_embeddings", None)
    return None, most if isinstance(most, int) and most > 0 else None
