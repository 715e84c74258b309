"""The parts of a model that methods address, found by inspecting one forward and backward pass.

No model family is named here. The projection of the queries is the linear layer that a gradient from the queries
reaches; those of keys and values are found in the same way. The position table is the embedding whose indices are
consecutive. The head is everything outside the pretrained part.
"""

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

# Usual names of projections, for models with their own attention code (DeBERTa, MPNet).
PROJECTION_NAMES = {
    "query": "query|query_proj|q_proj|q|in_proj",
    "key": "key|key_proj|k_proj|k",
    "value": "value|value_proj|v_proj|v|in_proj",
}


@dataclass(frozen=True)
class AttentionCall:
    """One call of the attention function in a forward pass."""

    module: str  # path of the attention module; a model that shares layers calls one module several times
    index: int  # among the calls of that module
    layer: int  # index among the calls of all modules
    heads: int  # of keys and values; with grouped queries, queries have more
    width: int  # of one head
    part: str = (
        ""  # of an encoder-decoder: encoder, decoder, or cross for the attention between the two
    )


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
    # query, key and value of the attention to an encoder, in a block of a decoder
    cross: tuple[Projection | None, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """Structure of a model."""

    body: str  # path of the pretrained part; everything else is the head
    stack: str  # path of the module that runs the blocks in order
    hidden: int  # width of the hidden states
    position_table: str | None  # path of a learned position table
    positions: int | None  # maximum number of positions of a text
    # In the order of a forward pass; empty if the model has its own attention code.
    attention: tuple[AttentionCall, ...]
    blocks: tuple[Block, ...]  # from the embeddings up
    trained: frozenset[str]  # names of parameters that get a gradient from a classification loss
    init_range: float  # standard deviation for new weights
    output_layer: str  # path of the linear layer that gives the logits
    size: int  # parameters of the pretrained part
    causal: bool  # whether a token attends only to itself and earlier tokens
    split_blocks: bool  # whether the parts of a block are in separate module lists, as in XLM
    pools_inside: bool  # whether the pretrained part has linear layers after its last block
    # Linear layers with inputs that all rows share, such as DeBERTa's relative distances.
    shared_inputs: frozenset[str]
    writes: bool = False  # whether the model writes text; it has no head to train
    encoder_decoder: bool = False

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
    return [
        f"{under}.{path}"
        for path, module in model.get_submodule(under).named_modules()
        if path and is_linear(module) and re.fullmatch(names, path.rpartition(".")[2])
    ]


def inspect_architecture(
    model: nn.Module, body: str, config: Any, *, writes: bool = False
) -> Architecture:
    """Return the structure of a model, from one pass over two texts. Leaves the model frozen and without gradients.

    Args:
        model: a classifier, or a model that writes text; it returns `[rows, outputs]`.
        body: path of its pretrained part.
        config: its configuration.
        writes: whether it writes text.
    """
    encoder_decoder = writes and bool(config.is_encoder_decoder)
    tokens = torch.tensor([_probe_tokens(config)] * 2, device=next(model.parameters()).device)
    trace = _Trace()
    with _record_calls(model, trace, encoder_decoder=encoder_decoder), torch.enable_grad():
        model.requires_grad_(True)
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        projections = _projections(trace)
        logits.float().square().sum().backward()
    trained = frozenset(
        name for name, parameter in model.named_parameters() if parameter.grad is not None
    )
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)
    calls_by_module = Counter(call.module for call in trace.calls)
    for path, count in calls_by_module.items():
        module = model.get_submodule(path)
        module._slots_calls, module._slots_next_call = count, 0  # type: ignore[assignment]  # read by `attend`
    attention_modules = list(calls_by_module) or [
        path
        for path, module in model.named_modules()
        if "attention" in type(module).__name__.lower()
    ]
    paths = _repeated_blocks(model, attention_modules)
    table, positions = _positions(model, trace, config)
    return Architecture(
        body=body,
        stack=_stack(model, paths, body),
        hidden=config.hidden_size,
        position_table=table,
        positions=positions,
        attention=tuple(trace.calls),
        blocks=tuple(_block(model, path, trace, projections, config.hidden_size) for path in paths),
        trained=trained,
        init_range=float(getattr(config, "initializer_range", 0.02)),
        output_layer=next(
            (path for path, _ in reversed(trace.linear) if not path.startswith(body + ".")), ""
        ),
        size=sum(parameter.numel() for parameter in model.get_submodule(body).parameters()),
        shared_inputs=frozenset(
            path for path, out in trace.linear if out.dim() == 3 and len(out) == 1
        ),
        causal=not encoder_decoder and _causal(model.get_submodule(body), tokens),
        split_blocks=_has_split_blocks(model, paths),
        pools_inside=_pools_inside(trace, paths, body),
        writes=writes,
        encoder_decoder=encoder_decoder,
    )


@dataclass
class _Trace:
    """The calls of one forward pass, in order."""

    calls: list[AttentionCall] = field(default_factory=list)
    # Query, key and value of each attention call.
    tensors: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    # Path and output of each call of a linear layer.
    linear: list[tuple[str, Tensor]] = field(default_factory=list)
    # Number of calls of linear layers before each attention call.
    linear_calls_before: list[int] = field(default_factory=list)
    # Path and indices of each call of an embedding.
    embedded: list[tuple[str, Tensor]] = field(default_factory=list)


@contextmanager
def _record_calls(model: nn.Module, trace: _Trace, *, encoder_decoder: bool) -> Iterator[None]:
    """Add the model's calls inside the block to the trace."""
    paths = {id(module): path for path, module in model.named_modules()}
    calls_by_module: Counter[str] = Counter()

    def record_call(module: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> None:
        path = paths[id(module)]
        # The probe of an encoder-decoder has a target that is shorter than its source.
        longest = max((pair[1].shape[2] for pair in trace.tensors), default=key.shape[2])
        part = "encoder" if query.shape[2] == longest else "decoder"
        trace.calls.append(
            AttentionCall(
                path,
                calls_by_module[path],
                len(trace.calls),
                key.shape[1],
                key.shape[3],
                ("cross" if key.shape[2] > query.shape[2] else part) if encoder_decoder else "",
            )
        )
        trace.tensors.append((query, key, value))
        trace.linear_calls_before.append(len(trace.linear))
        calls_by_module[path] += 1

    def record_linear(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        trace.linear.append((paths[id(module)], output))

    def record_embedding(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            trace.embedded.append((paths[id(module)], inputs[0]))

    handles = [
        module.register_forward_hook(record_linear)
        for module in model.modules()
        if is_linear(module)
    ]
    handles += [
        module.register_forward_pre_hook(record_embedding)
        for module in model.modules()
        if type(module) is nn.Embedding
    ]
    try:
        with record_attention(record_call):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _projections(trace: _Trace) -> dict[str, tuple[Projection | None, ...]]:
    """Return, by attention module, the layers that compute query, key and value of its first call."""
    projections: dict[str, tuple[Projection | None, ...]] = {}
    for call, tensors, end in zip(
        trace.calls, trace.tensors, trace.linear_calls_before, strict=True
    ):
        if call.index == 0:
            candidates = [
                (path, out)
                for path, out in trace.linear[:end]
                if path.startswith(call.module + ".")
            ]
            projections[call.module] = tuple(
                _projection_of(tensor, candidates) for tensor in tensors
            )
    return projections


def _projection_of(tensor: Tensor, candidates: Sequence[tuple[str, Tensor]]) -> Projection | None:
    """Return the first candidate that a gradient from the tensor reaches, with the outputs that it reaches."""
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
    trace: _Trace,
    projections: dict[str, tuple[Projection | None, ...]],
    hidden: int,
) -> Block:
    """Return the parts of one block."""
    inside = [
        (number, name)
        for number, (name, _) in enumerate(trace.linear)
        if name.startswith(path + ".")
    ]
    call = next(
        (number for number, call in enumerate(trace.calls) if call.module.startswith(path + ".")),
        None,
    )
    if call is not None:
        traced = projections[trace.calls[call].module]
        after = [name for number, name in inside if number >= trace.linear_calls_before[call]]
    else:
        traced = (None, None, None)
        after = [
            name for _, name in inside if layer_sizes(model.get_submodule(name)) == (hidden, hidden)
        ][-1:]
    # Where no gradient reaches a projection (own attention code, or zero weights), the usual names find it.
    query, key, value = (
        projection or next(map(Projection, linear_layers(model, path, names)), None)
        for projection, names in zip(traced, PROJECTION_NAMES.values(), strict=True)
    )
    attention_out = after[0] if after else None
    last = next(reversed(dict.fromkeys(name for _, name in inside)), None)
    if last == attention_out or (last and layer_sizes(model.get_submodule(last))[1] != hidden):
        last = None
    cross = next(
        (
            projections[call.module]
            for call in trace.calls
            if call.part == "cross" and call.module.startswith(path + ".")
        ),
        (),
    )
    return Block(path, query, key, value, attention_out, feed_forward_out=last, cross=cross)


def _repeated_blocks(model: nn.Module, attention_modules: list[str]) -> tuple[str, ...]:
    """Return the paths of the blocks: all elements of the module lists that contain attention modules, in order.

    Lists are nested in some families. The innermost list with modules of one class holds the blocks: T5 keeps the
    parts of each block, which have different classes, in a further list.
    """
    blocks: dict[str, None] = {}
    for path in attention_modules:
        steps = path.split(".")
        above = (".".join(steps[:end]) for end in range(len(steps) - 1, -1, -1))
        lists = [path for path in above if isinstance(model.get_submodule(path), nn.ModuleList)]
        alike = (
            path for path in lists if len({*map(type, model.get_submodule(path).children())}) == 1
        )
        if lists:
            chosen = next(alike, lists[0])
            blocks |= {
                f"{chosen}.{name}": None for name, _ in model.get_submodule(chosen).named_children()
            }
    return tuple(blocks)


def _stack(model: nn.Module, blocks: tuple[str, ...], body: str) -> str:
    """Return the path of the module that runs all blocks: their nearest ancestor outside any module list."""
    steps = blocks[0].split(".") if blocks else []
    lists = [
        end
        for end in range(1, len(steps))
        if isinstance(model.get_submodule(".".join(steps[:end])), nn.ModuleList)
    ]
    return ".".join(steps[: lists[0] - 1]) if lists else body


def _probe_tokens(config: Any) -> list[int]:
    """Return four token ids that are not padding, and not consecutive as positions are."""
    valid = [
        token
        for token in range(5, 10)
        if token != config.pad_token_id and token < config.vocab_size
    ]
    return [valid[index % len(valid)] for index in (2, 0, 3, 1)] if valid else [0, 0, 0, 0]


@torch.no_grad()
def _causal(body: nn.Module, tokens: Tensor) -> bool:
    """Return whether a change of the last token leaves the states of earlier tokens unchanged."""
    changed = torch.cat([tokens[:, :-1], tokens[:, :1]], dim=1)
    states = [
        body(input_ids=ids, attention_mask=torch.ones_like(ids))[0][:, :-1]
        for ids in (tokens, changed)
    ]
    return torch.equal(*states)


def _has_split_blocks(model: nn.Module, blocks: tuple[str, ...]) -> bool:
    """Return whether the parent of the blocks' module list has a second module list of the same length."""
    above = blocks[0].rpartition(".")[0].rpartition(".")[0] if blocks else ""
    lists = [
        module
        for module in model.get_submodule(above).children()
        if isinstance(module, nn.ModuleList)
    ]
    return sum(len(modules) == len(blocks) for modules in lists) > 1


def _pools_inside(trace: _Trace, blocks: tuple[str, ...], body: str) -> bool:
    """Return whether the pretrained part has linear layers after its blocks."""
    inside = [
        number
        for number, (path, _) in enumerate(trace.linear)
        if path.startswith(tuple(f"{block}." for block in blocks))
    ]
    after = trace.linear[inside[-1] + 1 :] if inside else []
    return any(path.startswith(body + ".") for path, _ in after)


def _positions(model: nn.Module, trace: _Trace, config: Any) -> tuple[str | None, int | None]:
    """Return the path of the learned position table, if any, and the maximum number of positions, if known."""
    for path, indices in trace.embedded:
        flat = indices.flatten()
        # Positions of one probe text of four tokens, or of both.
        if len(flat) in (4, 8) and bool((flat[:4].diff() == 1).all()):
            table = model.get_submodule(path)
            return path, int(table.num_embeddings) - int(flat[0])  # type: ignore[arg-type]  # nn.Embedding has it
    count = getattr(config, "max_position_embeddings", None)
    return None, count if isinstance(count, int) and count > 0 else None
