"""Prefix-tuning: trained keys and values in front of those of every attention call (`attend` in core/attention.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import Method, added_option, option, require
from methods.core.protocols import Streams, Unsupported
from methods.core.text_init import repeat_to_length, require_words

if TYPE_CHECKING:
    from torch import Tensor, nn

    from methods.core.architecture import Architecture, AttentionCall
    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slot, Slots

PARTS = ("encoder", "decoder", "cross")  # of the attention of an encoder-decoder
DECODERS = ("one", "per-layer", "simple-share", "none")
# Names of arXiv 2410.02200 for the structures that it compares.
PAPER_NAMES: Mapping[str, str] = MappingProxyType({"deep-share": "one", "no-share": "none"})


@dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """Train `length` keys and values for every layer.

    By default an MLP computes them in training, and only its output is stored; `decoder` chooses other ways.

    Sources: Li & Liang 2021, arXiv 2101.00190, section 4, and section 7.4 for initialisation from the activations of
    real words; section 7.3 for `position=infix`; length 10 and width 512 are the defaults of their code. Le et al.
    2024, arXiv 2410.02200, compare ways to share tensors between keys and values: `decoder=one` (deep-share),
    `simple-share` (trained vectors through the layer's own frozen projections) and `none` (no-share). P-tuning v2
    (Liu et al. 2022, arXiv 2110.07602) for `prefix_dropout`. Mao et al. 2022, arXiv 2110.07577, for `gate=input`,
    which scales the prefix by a gate that depends on the input. Zhang et al. 2023, arXiv 2303.16199, for `gate=zero`,
    which attends to the prefix separately and adds the result, multiplied by a factor for each attention head. The
    factor starts at 0.
    """

    name: ClassVar[str] = "prefix"
    summary: ClassVar[str] = (
        "trained keys and values in front of every layer's attention, through an MLP"
    )
    paper: ClassVar[str] = "Li & Liang 2021, arXiv 2101.00190"

    length: int = option(10, "Number of trained keys and values in each layer.", least=1)
    hidden: int = option(512, "Width of the MLP's hidden layer.", least=1)
    decoder: str = option(
        "one",
        "What computes keys and values: one MLP for all layers (one), two per layer (per-layer), the layer's frozen "
        "projections (simple-share), nothing (none).",
        choices=(*DECODERS, *PAPER_NAMES),
    )
    positions: str = option(
        "shifted",
        "shifted: the text's positions start after the prefix, as in PEFT; kept: they start at 0. An encoder-decoder "
        "always keeps its positions.",
        choices=("shifted", "kept"),
    )
    budget: float = added_option(
        0.0,
        "Size of the prefix as a share of the backbone's parameters, such as 0.1%; sets the length. 0: use `length`.",
        share=True,  # the value is a proportion
    )
    init: str = added_option(
        "random",
        "random, or words: start from the activations of real words in the frozen backbone.",
        choices=("random", "words"),
    )
    words: str = added_option("", "The words for init=words, repeated or cut to the length.")
    depth: str = added_option(
        "all", "all layers, or first: a prefix in the first layer only.", choices=("all", "first")
    )
    prefix_dropout: float = added_option(
        0.0, "Dropout on the keys and values of the prefix.", share=True
    )
    gate: str = added_option(
        "none",
        "none; input: scale the prefix by a gate that depends on the input; zero: attend to the prefix separately and "
        "scale the result by a factor that starts at 0.",
        choices=("none", "input", "zero"),
    )
    attention: str = added_option(
        "all",
        "Which attention of an encoder-decoder gets a prefix: all, or encoder, decoder or cross; several are joined "
        "by +, such as encoder+cross.",
    )

    position: str = added_option(
        "front",
        "front: in front of all tokens; infix: between the source and the text that is written (decoder-only models).",
        choices=("front", "infix"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "decoder", PAPER_NAMES.get(self.decoder, self.decoder))
        require_words(self.init, self.words)
        named = self.attention.split("+")
        require(
            named == ["all"] or (set(named) <= set(PARTS) and len(set(named)) == len(named)),
            f"attention must be all, or some of {', '.join(PARTS)} joined by +, got {self.attention!r}",
        )
        # In one order, so that methods with the same parts are equal.
        if named != ["all"]:
            ordered = "+".join(part for part in PARTS if part in named)
            object.__setattr__(self, "attention", "all" if set(named) == set(PARTS) else ordered)
        require(
            self.position == "front" or self.gate == "none",
            "position=infix has no gate: choose gate=none",
        )
        require(
            self.init == "random" or self.decoder != "simple-share",
            "decoder=simple-share cannot start from the keys and values of init=words: choose another decoder",
        )

    @property
    def default_lr(self) -> float:
        """Published rates without an MLP are at least ten times those with one."""
        return 5e-4 if self.decodes else 5e-3

    @property
    def starts_at_random(self) -> bool:
        """False with real words: every vertex would have to start from the same keys and values."""
        return self.init == "random"

    @property
    def decodes(self) -> bool:
        """Whether a trained MLP produces the keys and values."""
        return self.decoder in ("one", "per-layer")

    @property
    def unused(self) -> frozenset[str]:
        """Options without effect: `hidden` without an MLP, `length` with a budget, `positions` of an infix."""
        unused = {
            "hidden": not self.decodes,
            "length": self.budget > 0,
            "positions": self.position == "infix",
        }
        return frozenset(name for name, is_unused in unused.items() if is_unused)

    def place(self, slots: Slots) -> None:
        if not slots.architecture.attention:
            raise Unsupported(
                "this backbone has its own attention code, where no prefix can be added: try lora or adapter"
            )
        calls, length = self._calls(slots.architecture), self._length(slots.architecture)
        for call in calls:
            for part in ("prefix_key", "prefix_value"):
                slots.add(
                    call.module,
                    f"{part}_{call.index}",
                    (call.heads, length, call.width),
                    call.layer,
                )
        # A module that several layers share gets one gate and dropout, in the layer of its first call: the dict is
        # filled from the last call to the first, so the layer of the first call remains.
        for path, layer in {call.module: call.layer for call in reversed(calls)}.items():
            self._add_gate_and_dropout(slots, path, layer)
        if self.gate == "zero":
            for call in calls:
                module = slots.backbone.model.get_submodule(call.module)
                heads = call.heads * int(getattr(module, "num_key_value_groups", 1))  # of queries
                # One factor for each of these heads; `attend` multiplies the output of the prefix by it.
                slots.add(call.module, f"prefix_share_{call.index}", (heads,), call.layer)
        if self.position == "infix":
            self._place_infix(slots, {call.module for call in calls})
            return
        # In an encoder-decoder, the positions of the encoder and of the decoder stay as they are.
        if self.positions == "shifted" and not slots.architecture.encoder_decoder:
            from methods.core.positions import shift_positions

            shift_positions(slots, length)

    def _place_infix(self, slots: Slots, modules: set[str]) -> None:
        """Let only the last token of the source and the tokens after it see the prefix.

        The positions of tokens stay as they are.
        """
        architecture = slots.architecture
        if not architecture.writes or architecture.encoder_decoder:
            raise Unsupported(
                "position=infix requires a decoder-only model that writes text: choose position=front"
            )
        for module in modules:
            slots.set(module, "_slots_sees_prefix", slots.backbone.writing)

    def _calls(self, architecture: Architecture) -> tuple[AttentionCall, ...]:
        calls = architecture.attention
        if self.attention != "all":
            if not architecture.encoder_decoder:
                raise Unsupported(
                    f"attention={self.attention} is for models with an encoder and a decoder: choose attention=all"
                )
            calls = tuple(call for call in calls if call.part in self.attention.split("+"))
        return calls if self.depth == "all" else calls[:1]

    def _length(self, architecture: Architecture) -> int:
        """Return the length in use: the option `length`, or the length that comes nearest to the budget."""
        if not self.budget:
            return self.length
        per_position = sum(2 * call.heads * call.width for call in self._calls(architecture))
        length = round(self.budget * architecture.size / per_position)
        if length < 1:
            raise Unsupported(
                f"budget={self.budget} is too small for a prefix: one of length 1 has "
                f"{per_position / architecture.size:.2%} of the backbone's parameters"
            )
        return length

    def _add_gate_and_dropout(self, slots: Slots, module: str, layer: int) -> None:
        """Let `attend` apply gate and dropout to the prefixes of one attention module."""
        scale: list[Tensor] = []  # one tensor: the hook sets it before each call, `change` reads it
        if self.gate == "input":
            gate = slots.gate(module, "prefix", layer, slots.architecture.hidden)

            def compute_gate(
                site: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
            ) -> None:
                x = inputs[0] if inputs else named["hidden_states"]  # [rows, tokens, hidden]
                scale[:] = [gate(site, x)[..., None]]  # [rows, 1, 1, 1]

            slots.hook_inputs(module, compute_gate)

        def change(prefix: Tensor) -> Tensor:  # [rows, kv_heads, length, width]
            return slots.drop(prefix * scale[0] if scale else prefix, self.prefix_dropout)

        if self.gate == "input" or self.prefix_dropout:
            slots.set(module, "_slots_change_prefix", change)

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        from methods.core.decoders import LATENT, FrozenProjections, fit_last_layer, prefix_mlp
        from methods.core.parameters import (
            InitialParameters,
            initialise,
            initialise_gates,
            normal,
            zeros,
        )

        per_vertex = initialise_gates(slots, streams, vertices, "prefix")
        per_vertex |= {
            slot.name: initialise(streams, slot.name, slot.shape, vertices, zeros)
            for slot in slots
            if slot.name.rpartition(".")[2].startswith("prefix_share_")
        }
        prefix_slots = [
            slot
            for slot in slots
            if slot.name.rpartition(".")[2].startswith(("prefix_key_", "prefix_value_"))
        ]
        length, dim = prefix_slots[0].shape[1], slots.architecture.hidden
        activations = self._activations(slots, prefix_slots) if self.init == "words" else {}
        if self.decoder == "none":
            return InitialParameters(
                per_vertex
                | {
                    slot.name: activations[slot.name].expand(vertices, -1, -1, -1).clone()
                    if activations
                    else initialise(streams, slot.name, slot.shape, vertices, normal(1.0))
                    for slot in prefix_slots
                }
            )
        # With simple-share, each attention call has a trained table of vectors (its latent), from which the
        # frozen projections compute its two slots: the keys and the values.
        frozen = self.decoder == "simple-share"
        shape = (len(prefix_slots) // 2, length, dim) if frozen else (length, dim)
        per_vertex[LATENT] = initialise(streams, LATENT, shape, vertices, normal(1.0))
        if frozen:
            return InitialParameters(
                per_vertex,
                decoder=FrozenProjections(
                    [slot.name for slot in prefix_slots], self._calls(slots.architecture), slots
                ),
            )
        decoder = prefix_mlp(self.decoder, prefix_slots, dim, self.hidden, streams)
        if activations:
            # A prefix that starts from real words cannot be the base of a simplex, so there is one vertex.
            fit_last_layer(decoder, per_vertex[LATENT][0], activations)
        return InitialParameters(per_vertex, decoder=decoder)

    def _activations(self, slots: Slots, prefix_slots: list[Slot]) -> dict[str, Tensor]:
        """Return the keys and values of the words in the frozen backbone, `[kv_heads, length, width]` each."""
        import torch

        from methods.core.attention import record_attention

        ids = repeat_to_length(
            slots.backbone.tokens(self.words), prefix_slots[0].shape[1], self.words
        )
        tokens = torch.tensor([ids], device=next(slots.backbone.model.parameters()).device)
        pairs: list[tuple[Tensor, Tensor]] = []
        with (
            record_attention(lambda _module, _query, key, value: pairs.append((key, value))),
            torch.no_grad(),
        ):
            target = {"target_ids": tokens} if slots.architecture.encoder_decoder else {}
            slots.backbone.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), **target)
        # `call.layer` counts all calls of attention in the order in which they are made.
        chosen = [pairs[call.layer] for call in self._calls(slots.architecture)]
        tensors = [tensor[0].float().cpu() for pair in chosen for tensor in pair]
        return dict(zip([slot.name for slot in prefix_slots], tensors, strict=True))
