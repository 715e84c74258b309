"""Prefix-tuning: trained keys and values in front of those of every attention call. They enter in core/attention.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import Method, added_option, option, require, require_one_of, require_share
from methods.core.protocols import Streams, Unsupported
from methods.core.text_init import repeat_to_length, require_words

if TYPE_CHECKING:
    from torch import Tensor, nn

    from methods.core.architecture import Architecture, AttentionCall
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slot, Slots

DECODERS = ("one", "per-layer", "simple-share", "none")
# What arXiv 2410.02200 calls the structures that it compares, in language models.
ALSO: Mapping[str, str] = MappingProxyType({"deep-share": "one", "no-share": "none"})


@dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """Trains `length` keys and values for every layer, through a perceptron that is folded away afterwards.

    Sources: Li & Liang 2021, arXiv 2101.00190, section 4; length 10 and width 512 are the defaults
    of its released code, and the activations of real words as a start are from its section 7.4. Le
    et al. 2024, arXiv 2410.02200, compare ways to share tensors between keys and values:
    `decoder=one` (deep-share), `simple-share` (trained rows through the layer's own frozen
    projections) and `none` (no-share). `prefix_dropout` is from P-tuning v2 (Liu et al. 2022, arXiv
    2110.07602). `gate=input` weighs the prefix by a gate that looks at the row (Mao et al. 2022,
    arXiv 2110.07577); `gate=zero` attends to it apart and adds that with a factor a head that
    starts at 0 (Zhang et al. 2023, arXiv 2303.16199).
    """

    name: ClassVar[str] = "prefix"
    summary: ClassVar[str] = (
        "trained keys and values in front of every layer's attention, through an MLP"
    )
    paper: ClassVar[str] = "Li & Liang 2021, arXiv 2101.00190"

    length: int = option(10, "Number of trained keys and values in each layer.")
    hidden: int = option(512, "Width of the perceptron's hidden layer.")
    decoder: str = option(
        "one",
        "one: one perceptron for all layers; per-layer: two for each layer; simple-share: the layer's own frozen "
        "projections; none: train keys and values directly.",
    )
    positions: str = option(
        "shifted",
        "shifted: the text's positions start after the prefix, as in PEFT; kept: they start at 0.",
    )
    budget: float = added_option(
        0.0,
        "Share of the backbone's parameters, such as 0.1%, that sets the length; 0: use `length`.",
    )
    init: str = added_option(
        "random",
        "random, or words: start from the activations of real words in the frozen backbone.",
    )
    words: str = added_option("", "The words for init=words, repeated or cut to the length.")
    depth: str = added_option("all", "all layers, or first: a prefix in the first layer only.")
    prefix_dropout: float = added_option(0.0, "Dropout on the keys and values of the prefix.")
    gate: str = added_option(
        "none",
        "none; input: scale the prefix by a gate that depends on the input; zero: by a factor that starts at 0.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "decoder", ALSO.get(self.decoder, self.decoder))
        require(self.length >= 1, f"length must be 1 or more, got {self.length}")
        require(self.hidden >= 1, f"hidden must be 1 or more, got {self.hidden}")
        require_one_of("decoder", self.decoder, (*DECODERS, *ALSO))
        require_one_of("positions", self.positions, ("shifted", "kept"))
        require_one_of("init", self.init, ("random", "words"))
        require_one_of("depth", self.depth, ("all", "first"))
        require_one_of("gate", self.gate, ("none", "input", "zero"))
        require_share("budget", self.budget)
        require(
            0 <= self.prefix_dropout < 1,
            f"prefix_dropout must be from 0 to below 1, got {self.prefix_dropout}",
        )
        require_words(self.init, self.words)
        require(
            self.init == "random" or self.decoder != "simple-share",
            "init=words gives keys and values, which decoder=simple-share cannot start from: choose decoder=one or none",
        )

    @property
    def default_lr(self) -> float:
        """The ranges used with and without an MLP in published code differ by a factor of ten and more."""
        return 5e-4 if self.decodes else 5e-3

    @property
    def starts_at_random(self) -> bool:
        """False with real words: all vertices would be equal."""
        return self.init == "random"

    @property
    def decodes(self) -> bool:
        """True with a perceptron."""
        return self.decoder in ("one", "per-layer")

    @property
    def unused(self) -> frozenset[str]:
        """The width without a perceptron, and the length if the budget sets it."""
        hidden = () if self.decodes else ("hidden",)
        return frozenset([*hidden, *(("length",) if self.budget else ())])

    def place(self, slots: Slots) -> None:
        if not slots.architecture.attention:
            raise Unsupported(
                "this backbone has its own attention code, where no prefix can enter: try lora or adapter"
            )
        calls, length = self._calls(slots.architecture), self._length(slots.architecture)
        for call in calls:
            for part in ("prefix_key", "prefix_value"):
                slots.add(
                    call.module, f"{part}_{call.turn}", (call.heads, length, call.width), call.layer
                )
        for module, layer in {call.module: call.layer for call in reversed(calls)}.items():
            self._change(slots, module, layer)
        if self.gate == "zero":
            for call in calls:
                heads = slots.backbone.model.get_submodule(call.module)
                slots.add(
                    call.module,
                    f"prefix_share_{call.turn}",
                    (_query_heads(heads, call),),
                    call.layer,
                )
        if self.positions == "shifted":
            from methods.core.positions import shift_positions

            shift_positions(slots, length)

    def _calls(self, architecture: Architecture) -> tuple[AttentionCall, ...]:
        return architecture.attention if self.depth == "all" else architecture.attention[:1]

    def _length(self, architecture: Architecture) -> int:
        """Return the length in use."""
        if not self.budget:
            return self.length
        each = sum(2 * call.heads * call.width for call in self._calls(architecture))
        length = round(self.budget * architecture.size / each)
        if length < 1:
            raise Unsupported(
                f"budget={self.budget} is less than a prefix of length 1 needs: {each / architecture.size:.2%}"
            )
        return length

    def _change(self, slots: Slots, module: str, layer: int) -> None:
        """Apply gate and dropout to a prefix before it enters the attention of one module."""
        opening: list[Tensor] = []
        if self.gate == "input":
            gate = slots.gate(module, "prefix", layer, slots.architecture.hidden)

            def look(site: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
                x = inputs[0] if inputs else named["hidden_states"]  # [rows, tokens, hidden]
                opening[:] = [gate(site, x)[..., None]]  # [rows, 1, 1, 1]

            slots.hook_inputs(module, look)

        def change(prefix: Tensor) -> Tensor:  # [rows, heads, length, width]
            return slots.drop(prefix * opening[0] if opening else prefix, self.prefix_dropout)

        if self.gate == "input" or self.prefix_dropout:
            slots.set(module, "_slots_prefix", change)

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        from methods.core.decoders import LATENT, FrozenProjections, fit_last_layer, prefix_mlp
        from methods.core.parameters import (
            InitialParameters,
            initialise,
            initialise_gates,
            normal,
            zeros,
        )

        drawn = initialise_gates(slots, streams, vertices, "prefix")
        shares = [slot for slot in slots if ".prefix_share_" in slot.name]
        drawn |= {s.name: initialise(streams, s.name, s.shape, vertices, zeros) for s in shares}
        added = [
            slot
            for slot in slots
            if slot.name.rpartition(".")[2].startswith(("prefix_key_", "prefix_value_"))
        ]
        length, hidden = added[0].shape[1], slots.architecture.hidden
        wanted = self._activations(slots, added) if self.init == "words" else None
        if self.decoder == "none":
            free = {
                s.name: initialise(streams, s.name, s.shape, vertices, normal(1.0)) for s in added
            }
            if wanted is not None:
                free = {
                    name: tensor.expand(vertices, -1, -1, -1).clone()
                    for name, tensor in wanted.items()
                }
            return InitialParameters(drawn | free)
        if self.decoder == "simple-share":
            frozen = FrozenProjections(
                [slot.name for slot in added], self._calls(slots.architecture), slots
            )
            rows = (len(added) // 2, length, hidden)
            return InitialParameters(
                drawn | {LATENT: initialise(streams, LATENT, rows, vertices, normal(1.0))},
                decoder=frozen,
            )
        drawn[LATENT] = initialise(streams, LATENT, (length, hidden), vertices, normal(1.0))
        decoder = prefix_mlp(self.decoder, added, hidden, self.hidden, streams)
        if wanted is not None:
            fit_last_layer(decoder, drawn[LATENT][0], wanted)
        return InitialParameters(drawn, decoder=decoder)

    def _activations(self, slots: Slots, added: list[Slot]) -> dict[str, Tensor]:
        """Keys and values of the words in the frozen backbone, `[heads, length, width]` each."""
        import torch

        from methods.core.attention import record_attention

        ids = repeat_to_length(slots.backbone.tokens(self.words), added[0].shape[1], self.words)
        device = next(slots.backbone.model.parameters()).device
        tokens = torch.tensor([ids], device=device)
        pairs: list[tuple[Tensor, Tensor]] = []
        with (
            record_attention(lambda _module, _query, key, value: pairs.append((key, value))),
            torch.no_grad(),
        ):
            slots.backbone.model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        calls = pairs if self.depth == "all" else pairs[:1]
        tensors = [tensor[0].float().cpu() for pair in calls for tensor in pair]
        return dict(zip([slot.name for slot in added], tensors, strict=True))


def _query_heads(module: Any, call: AttentionCall) -> int:
    """Return the number of query heads: those of keys and values, or a multiple."""
    return call.heads * int(getattr(module, "num_key_value_groups", 1))
