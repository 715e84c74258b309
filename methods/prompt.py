"""Prompt tuning: trained rows in front of the embedded text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.core.method import Method, added_option, option, require, require_one_of
from methods.core.protocols import Streams, Unsupported
from methods.core.text_init import repeat_to_length, require_words

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from methods.core.parameters import InitialParameters
    from methods.core.slots import Slots

COMMON = 5000  # the vocabulary's first entries, which `init=vocabulary` draws from


@dataclass(frozen=True, kw_only=True)
class Prompt(Method):
    """Trains `length` rows in front of the embedded tokens; every layer sees them as if they were text.

    Source: Lester et al. 2021, arXiv 2104.08691: length up to 100 and a start from common tokens or
    from words, section 3.2; length 20 is where more helps little. `decoder=mlp` makes the rows from
    latent ones by a perceptron (Le et al. 2024, arXiv 2410.02200).

    What is classified is the text: behind the last layer the prompt's rows are dropped, so that an
    encoder pools its real first token. `pool=prompt` leaves them there, and BERT pools the prompt's
    first row: so PEFT does, and only so a prompt for an encoder can be exported to it.
    """

    name: ClassVar[str] = "prompt"
    summary: ClassVar[str] = "trained rows in front of the embedded text"
    paper: ClassVar[str] = "Lester et al. 2021, arXiv 2104.08691"

    length: int = option(20, "Number of trained vectors in front of the text.")
    init: str = option(
        "vocabulary",
        "vocabulary: start from embeddings of common tokens; random: from random vectors; words: from given words.",
    )
    words: str = added_option("", "The words for init=words, repeated or cut to the length.")
    decoder: str = option("none", "none: train the vectors directly; mlp: through a perceptron.")
    hidden: int = option(512, "Width of the perceptron's hidden layer.")
    pool: str = option(
        "text",
        "text: the classifier sees only the text; prompt: it also sees the prompt, as in PEFT.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.length >= 1, f"length must be 1 or more, got {self.length}")
        require(self.hidden >= 1, f"hidden must be 1 or more, got {self.hidden}")
        require_one_of("init", self.init, ("random", "vocabulary", "words"))
        require_one_of("decoder", self.decoder, ("none", "mlp"))
        require_one_of("pool", self.pool, ("text", "prompt"))
        require_words(self.init, self.words)
        require(
            self.decoder == "none" or self.init == "random",
            "decoder=mlp starts from latent rows that are drawn: it needs init=random",
        )

    @property
    def default_lr(self) -> float:
        """Through a perceptron as for prefixes with one, else as for those without."""
        return 5e-3 if self.decoder == "none" else 5e-4

    @property
    def starts_at_random(self) -> bool:
        """False with real words: all vertices would be equal."""
        return self.init != "words"

    @property
    def decodes(self) -> bool:
        """True with a perceptron."""
        return self.decoder == "mlp"

    @property
    def unused(self) -> frozenset[str]:
        """The width without a perceptron."""
        return frozenset({"hidden"} if self.decoder == "none" else ())

    def place(self, slots: Slots) -> None:
        from methods.core.positions import require_positions

        architecture = slots.architecture
        require_positions(slots, self.length, "prompt", "choose {way}")
        if architecture.causal and self.pool == "prompt":
            raise Unsupported(
                "a causal model classifies the text's last token whatever stands before it: leave pool=text"
            )
        name = slots.add(architecture.stack, "prompt", (self.length, _table(slots).shape[1]), 0)
        embed = slots.backbone.model.get_submodule(slots.architecture.body).get_input_embeddings()  # type: ignore[operator]
        site = slots.backbone.model.get_submodule(name.rpartition(".")[0])

        def put_in_front(
            _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[Any, dict[str, Any]]:
            ids = inputs[0] if inputs else named["input_ids"]  # [rows, tokens]
            named = _in_front(site.prompt, embed(ids), named, causal=architecture.causal)  # type: ignore[arg-type]
            return ((None, *inputs[1:]), named) if inputs else (inputs, named | {"input_ids": None})

        slots.hook_inputs(slots.architecture.body, put_in_front)
        if self.pool == "text":
            early = (
                architecture.stack == architecture.body and architecture.pools_inside
            )  # then the body itself must not see the prompt
            where = architecture.blocks[-1].path if early else architecture.stack
            slots.hook(where, lambda _module, _inputs, output: _behind(output, self.length))

    def start(self, slots: Slots, streams: Streams, vertices: int) -> InitialParameters:
        import torch

        from methods.core.decoders import LATENT, PromptMlp
        from methods.core.parameters import InitialParameters, initialise, normal

        slot = next(slot for slot in slots if slot.role == "added")
        if self.decoder == "mlp":
            mlp = PromptMlp(slot.name, slot.shape[1], self.hidden, streams)
            return InitialParameters(
                {LATENT: initialise(streams, LATENT, slot.shape, vertices, normal(1.0))},
                decoder=mlp,
            )
        common = min(COMMON, len(_table(slots)))
        if self.init == "random":
            spread = float(_embedded(slots, torch.arange(common)).std())
            return InitialParameters(
                {slot.name: initialise(streams, slot.name, slot.shape, vertices, normal(spread))}
            )
        if self.init == "words":
            rows = _embedded(
                slots,
                torch.tensor(
                    repeat_to_length(slots.backbone.tokens(self.words), self.length, self.words)
                ),
            )
            return InitialParameters({slot.name: rows.expand(vertices, -1, -1).clone()})

        def some_tokens(tensor: Tensor, generator: torch.Generator) -> object:
            return tensor.copy_(
                _embedded(slots, torch.randint(common, (self.length,), generator=generator))
            )

        return InitialParameters(
            {slot.name: initialise(streams, slot.name, slot.shape, vertices, some_tokens)}
        )


def _table(slots: Slots) -> Tensor:
    """The embeddings of the vocabulary, `[vocabulary, width]`."""
    body = slots.backbone.model.get_submodule(slots.architecture.body)
    table: Tensor = body.get_input_embeddings().weight  # type: ignore[operator]  # every model of the library has them
    return table


def _embedded(slots: Slots, ids: Tensor) -> Tensor:
    """Tokens as the model embeds them, which may scale its table: `[tokens, width]` in float32."""
    import torch

    with torch.no_grad():
        embed = slots.backbone.model.get_submodule(slots.architecture.body).get_input_embeddings()  # type: ignore[operator]
        found: Tensor = embed(ids.to(_table(slots).device)).float().cpu()
    return found


def _in_front(
    prompt: Tensor, embedded: Tensor, named: dict[str, Any], *, causal: bool
) -> dict[str, Any]:
    """The body's arguments with the prompt in front of the embedded text `[rows, tokens, width]`."""
    import torch
    import torch.nn.functional as F

    from methods.core.attention import full_mask, real_tokens

    rows, length, named = len(embedded), prompt.shape[-2], dict(named)
    front = prompt.expand(rows, -1, -1)  # [rows, length, width]
    named["inputs_embeds"] = torch.cat([front.to(embedded), embedded], dim=1)
    if named.get("attention_mask") is not None:
        mask = named["attention_mask"]
        longer = F.pad(real_tokens(mask), (length, 0), value=1)
        named["attention_mask"] = full_mask(longer, causal=causal) if mask.dim() == 4 else longer
    if named.get("token_type_ids") is not None:
        named["token_type_ids"] = F.pad(named["token_type_ids"], (length, 0), value=0)
    return named


def _behind(output: Any, length: int) -> Any:
    """A model's output without the states of its first positions."""
    if not isinstance(output, tuple | dict):
        return output[:, length:]
    if isinstance(output, tuple):
        return (output[0][:, length:], *output[1:])
    output["last_hidden_state"] = output["last_hidden_state"][:, length:]
    if output.get("hidden_states"):  # DeBERTa reads the last of these
        output["hidden_states"] = tuple(states[:, length:] for states in output["hidden_states"])
    return output
