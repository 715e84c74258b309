"""Prefix-tuning: trained keys and values in front of those of every attention call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.base import Backbone, Method, Scalar, Streams, Unsupported, one_of, require

if TYPE_CHECKING:
    from methods.sites import Anatomy, Slots
    from methods.source import Source


@dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """Trains `length` keys and values for every layer, through a perceptron that is folded away afterwards.

    Source: Li & Liang 2021, arXiv 2101.00190, section 4; length 10 and width 512 are the defaults of its released code.
    """

    name: ClassVar[str] = "prefix"
    summary: ClassVar[str] = "trained keys and values in front of every layer's attention, through an MLP"
    paper: ClassVar[str] = "Li & Liang 2021, arXiv 2101.00190"

    length: int = 10
    hidden: int = 512  # width of the perceptron's hidden layer
    decoder: str = "one"  # one MLP for all layers; per-layer: one a layer for keys and one for values; none: free tensors
    positions: str = "shifted"  # the text's positions start after the prefix, as in PEFT, so that a prefix can be exported

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.length >= 1, f"length must be 1 or more, got {self.length}")
        require(self.hidden >= 1, f"hidden must be 1 or more, got {self.hidden}")
        one_of("decoder", self.decoder, ("one", "per-layer", "none"))
        one_of("positions", self.positions, ("shifted", "kept"))

    @property
    def default_lr(self) -> float:
        """The ranges used with and without an MLP in published code differ by a factor of ten and more."""
        return 5e-3 if self.decoder == "none" else 5e-4

    def slots(self, backbone: Backbone) -> Slots:
        from methods.sites import Slots, add_head

        anatomy = backbone.anatomy
        if not anatomy.attention:
            raise Unsupported("this backbone has attention code of its own, where no prefix can enter: try lora or adapter")
        slots = Slots(backbone)
        for call in anatomy.attention:
            for part in ("prefix_key", "prefix_value"):
                slots.add(call.module, f"{part}_{call.turn}", (call.heads, self.length, call.width), call.layer)
        add_head(slots, backbone)
        if self.positions == "shifted":
            self._shift(slots, anatomy, backbone)
        return slots

    def resolved(self) -> dict[str, Scalar]:
        return super().resolved() | ({"hidden": 0} if self.decoder == "none" else {})  # there is no hidden layer then

    def _shift(self, slots: Slots, anatomy: Anatomy, backbone: Backbone) -> None:
        """Number the text's positions from `length` on, through the argument that the embeddings have for cached keys."""
        import inspect

        room = anatomy.positions
        if room is None:
            slots.remove()
            raise Unsupported("this backbone has no table of positions that could be shifted: choose positions=kept")
        if self.length + backbone.max_length > room:
            slots.remove()
            way = f"--max-length {room - self.length}" if room - self.length >= 16 else "a shorter prefix"
            raise Unsupported(
                f"a prefix of {self.length} and rows of {backbone.max_length} tokens need {self.length + backbone.max_length} "
                f"positions, this backbone has {room}: choose {way} or positions=kept"
            )
        body = backbone.model.get_submodule(anatomy.body)
        embeddings = getattr(body, "embeddings", None)
        if embeddings is None or "past_key_values_length" not in inspect.signature(embeddings.forward).parameters:
            slots.remove()
            raise Unsupported("this backbone numbers its positions in code of its own: choose positions=kept")

        def shift(_module: Any, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return inputs, named | {"past_key_values_length": self.length}

        slots.hook_inputs(f"{anatomy.body}.embeddings", shift)

    def source(self, slots: Slots, streams: Streams, vertices: int = 1) -> Source:
        from methods.decoders import LATENT, OneMlp, PerLayerMlp
        from methods.source import Source, draw, draw_head, normal

        added = [slot for slot in slots if slot.role == "added"]
        drawn = draw_head(slots, streams, vertices, slots.anatomy.init_range)
        if self.decoder == "none":
            return Source(slots, drawn | {s.name: draw(streams, s.name, s.shape, vertices, normal(1.0)) for s in added})
        drawn[LATENT] = draw(streams, LATENT, (self.length, slots.anatomy.hidden), vertices, normal(1.0))
        kind = OneMlp if self.decoder == "one" else PerLayerMlp
        shapes = [(slot.shape[0], slot.shape[2]) for slot in added]
        if self.decoder == "per-layer" and len(set(shapes)) > 1:
            raise Unsupported("this backbone's layers differ in their heads: choose decoder=one")
        decoder = kind([slot.name for slot in added], shapes, slots.anatomy.hidden, self.hidden, streams)
        return Source(slots, drawn, decoder=decoder)
