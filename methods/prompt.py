"""Prompt tuning: trained vectors in front of the embedded text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import Method, added_option, option, require
from methods.core.protocols import Streams, Unsupported
from methods.core.text_init import repeat_to_length, require_words

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots

COMMON = 5000  # number of first entries of the vocabulary that `init=vocabulary` samples from


@dataclass(frozen=True, kw_only=True)
class Prompt(Method):
    """Train `length` vectors in front of the embedded tokens; every layer processes them like tokens.

    After the last layer the prompt's positions are dropped, so that an encoder pools the text's first token.
    `pool=prompt` keeps them, and BERT pools the prompt's first vector, as in PEFT. A prompt for an encoder can be
    exported to PEFT only with `pool=prompt`.

    Sources: Lester et al. 2021, arXiv 2104.08691, section 3.2, for initialisation from common tokens or words, and
    for length 20, beyond which the gains are small; Le et al. 2024, arXiv 2410.02200, for `decoder=mlp`, which
    computes the vectors from latent vectors by an MLP.
    """

    name: ClassVar[str] = "prompt"
    summary: ClassVar[str] = "trained vectors in front of the embedded text"
    paper: ClassVar[str] = "Lester et al. 2021, arXiv 2104.08691"

    length: int = option(20, "Number of trained vectors in front of the text.", least=1)
    init: str = option(
        "vocabulary",
        "vocabulary: start from embeddings of common tokens; random: from random vectors; words: from given words.",
        choices=("random", "vocabulary", "words"),
    )
    words: str = added_option("", "The words for init=words, repeated or cut to the length.")
    decoder: str = option(
        "none",
        "none: train the vectors directly; mlp: through an MLP.",
        choices=("none", "mlp"),
    )
    hidden: int = option(512, "Width of the MLP's hidden layer.", least=1)
    pool: str = option(
        "text",
        "text: the classifier sees only the text; prompt: it also sees the prompt, as in PEFT.",
        choices=("text", "prompt"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_words(self.init, self.words)
        require(
            self.decoder == "none" or self.init == "random",
            "decoder=mlp starts from random latent vectors: it requires init=random",
        )

    @property
    def default_lr(self) -> float:
        """As for prefixes: lower with an MLP."""
        return 5e-3 if self.decoder == "none" else 5e-4

    @property
    def starts_at_random(self) -> bool:
        """False with real words, because all vertices would be equal."""
        return self.init != "words"

    @property
    def decodes(self) -> bool:
        """Whether a trained MLP produces the vectors."""
        return self.decoder == "mlp"

    @property
    def unused(self) -> frozenset[str]:
        """The MLP's width if there is no MLP."""
        return frozenset({"hidden"} if self.decoder == "none" else ())

    def place(self, slots: Slots) -> None:
        from methods.core.positions import require_positions

        architecture = slots.architecture
        require_positions(slots, self.length, "prompt", "choose {way}")
        if architecture.causal and self.pool == "prompt":
            raise Unsupported(
                "a causal model classifies the text's last token, so pool=prompt has no effect: use pool=text"
            )
        embed = _embedding(slots)
        slots.add(architecture.stack, "prompt", (self.length, embed.weight.shape[1]), 0)
        if architecture.encoder_decoder:
            self._place_before_encoder(slots)
            return
        site: Any = slots.backbone.model.get_submodule(architecture.stack)
        begun = [False]  # whether the prompt is in the cache of a text that is being written

        def prepend(
            _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[Any, dict[str, Any]]:
            past = named.get("past_key_values")
            begun[0] = past is not None and past.get_seq_length() > 0
            if begun[0]:
                return inputs, _shifted(named, self.length)
            ids = inputs[0] if inputs else named["input_ids"]  # [rows, tokens]
            named = _prepend(site.prompt, embed(ids), named, causal=architecture.causal)
            return ((None, *inputs[1:]), named) if inputs else (inputs, named | {"input_ids": None})

        slots.hook_inputs(architecture.body, prepend)
        if self.pool == "text":
            # If the body itself pools after its blocks, the prompt is dropped before the body pools.
            early = architecture.stack == architecture.body and architecture.pools_inside
            path = architecture.blocks[-1].path if early else architecture.stack
            slots.hook(
                path,
                lambda _module, _inputs, output: (
                    output if begun[0] else _drop_first(output, self.length)
                ),
            )

    def _place_before_encoder(self, slots: Slots) -> None:
        """Let the encoder read the prompt before the text, and the decoder attend to both, as in T5."""
        import torch.nn.functional as F

        encoder, last = slots.architecture.stack, slots.architecture.blocks[-1].path
        decoder = last.rpartition(".")[0].rpartition(".")[
            0
        ]  # the module with the list of its blocks
        site: Any = slots.backbone.model.get_submodule(encoder)
        embed = _embedding(slots)

        def prepend(
            _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[Any, dict[str, Any]]:
            ids = inputs[0] if inputs else named["input_ids"]  # [rows, tokens]
            named = _prepend(site.prompt, embed(ids), named, causal=False)
            return ((None, *inputs[1:]), named) if inputs else (inputs, named | {"input_ids": None})

        def lengthen(
            _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[Any, dict[str, Any]]:
            mask = named.get("encoder_attention_mask")
            longer = None if mask is None else F.pad(mask, (self.length, 0), value=1)
            return inputs, named | {"encoder_attention_mask": longer}

        slots.hook_inputs(encoder, prepend)
        slots.hook_inputs(decoder, lengthen)

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        import torch

        from methods.core.decoders import LATENT, PromptMlp
        from methods.core.parameters import InitialParameters, initialise, normal

        slot = next(slot for slot in slots if slot.role == "added")
        if self.decoder == "mlp":
            latent = initialise(streams, LATENT, slot.shape, vertices, normal(1.0))
            mlp = PromptMlp(slot.name, slot.shape[1], self.hidden, streams)
            return InitialParameters({LATENT: latent}, decoder=mlp)
        if self.init == "words":
            ids = repeat_to_length(slots.backbone.tokens(self.words), self.length, self.words)
            vectors = _embedded(slots, torch.tensor(ids))
            return InitialParameters({slot.name: vectors.expand(vertices, -1, -1).clone()})
        common = min(COMMON, len(_embedding(slots).weight))

        def common_tokens(tensor: Tensor, generator: torch.Generator) -> object:
            return tensor.copy_(
                _embedded(slots, torch.randint(common, (self.length,), generator=generator))
            )

        initialiser = (
            normal(float(_embedded(slots, torch.arange(common)).std()))
            if self.init == "random"
            else common_tokens
        )
        return InitialParameters(
            {slot.name: initialise(streams, slot.name, slot.shape, vertices, initialiser)}
        )


def _embedding(slots: Slots) -> Any:
    """Return the module that embeds tokens; its weight is `[vocabulary, width]`."""
    body: Any = slots.backbone.model.get_submodule(slots.architecture.body)
    return body.get_input_embeddings()


def _embedded(slots: Slots, ids: Tensor) -> Tensor:
    """Return tokens as the model embeds them, `[tokens, width]` in float32; some models scale their table."""
    embed = _embedding(slots)
    embedded: Tensor = embed(ids.to(embed.weight.device))
    return embedded.detach().float().cpu()


def _prepend(
    prompt: Tensor, embedded: Tensor, named: dict[str, Any], *, causal: bool
) -> dict[str, Any]:
    """Return the body's arguments with the prompt in front of the embedded text `[rows, tokens, width]`."""
    import torch
    import torch.nn.functional as F

    from methods.core.attention import full_mask, real_tokens

    rows, length = len(embedded), prompt.shape[-2]
    named = dict(named)
    if (positions := named.get("position_ids")) is not None:  # given while a text is written
        first = torch.arange(length, device=positions.device).expand(rows, -1)
        behind = positions.expand(rows, -1) + length
        named["position_ids"] = torch.cat([first, behind], dim=1)
    vectors = prompt.expand(rows, -1, -1)  # [rows, length, width]
    named["inputs_embeds"] = torch.cat([vectors.to(embedded), embedded], dim=1)
    if named.get("attention_mask") is not None:
        mask = named["attention_mask"]
        longer = F.pad(real_tokens(mask), (length, 0), value=1)
        named["attention_mask"] = full_mask(longer, causal=causal) if mask.dim() == 4 else longer
    if named.get("token_type_ids") is not None:
        named["token_type_ids"] = F.pad(named["token_type_ids"], (length, 0), value=0)
    return named


def _shifted(named: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Return the body's arguments for tokens behind a prompt: it is attended to, and the positions follow its own."""
    import torch.nn.functional as F

    named = dict(named)
    if named.get("attention_mask") is not None:
        named["attention_mask"] = F.pad(named["attention_mask"], (length, 0), value=1)
    if named.get("position_ids") is not None:
        named["position_ids"] = named["position_ids"] + length
    return named


def _drop_first(output: Any, length: int) -> Any:
    """Return a model's output without the states of its first `length` positions."""
    if not isinstance(output, tuple | dict):
        return output[:, length:]
    if isinstance(output, tuple):
        return (output[0][:, length:], *output[1:])
    output["last_hidden_state"] = output["last_hidden_state"][:, length:]
    if output.get("hidden_states"):  # DeBERTa reads the last of these
        output["hidden_states"] = tuple(states[:, length:] for states in output["hidden_states"])
    return output
