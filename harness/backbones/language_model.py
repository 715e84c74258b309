"""A pretrained model that writes text: how improbable it finds a text, and the texts that it writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.activations import NewGELUActivation


class LanguageModel(nn.Module):
    """The library's model that writes text; a call returns the loss of the text of each row.

    A decoder reads source and target as one text. An encoder-decoder reads the source with its encoder.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        # If a call does not set an option, such as temperature or repetition penalty, the library takes it
        # from this object. An empty one replaces the model's own settings.
        inner.generation_config = GenerationConfig()
        # The same function in one pass over memory instead of seven.
        for module in list(inner.modules()):
            for name, child in module.named_children():
                if isinstance(child, NewGELUActivation):
                    setattr(module, name, nn.GELU(approximate="tanh"))
        self._writing: Tensor | None = None

    @property
    def encodes(self) -> bool:
        """Whether an encoder reads the source."""
        return bool(self.inner.config.is_encoder_decoder)

    def writing(self, queries: int) -> Tensor:
        """Return which tokens of a forward pass come before a token of the target, `[rows or 1, queries]`.

        While a text is written, that is the last token of the source, and then each token.
        """
        if self._writing is not None:
            return self._writing
        last = torch.zeros(1, queries, dtype=torch.bool, device=self.inner.device)
        last[:, -1] = True
        return last

    @contextmanager
    def writing_where(self, target_mask: Tensor) -> Iterator[None]:
        """Inside the block, `writing` follows from the tokens of the target, 1 in `[rows, tokens]`."""
        before = (target_mask.roll(-1, dims=1) + target_mask) > 0
        before[:, -1] = target_mask[:, -1] > 0  # the roll brings the first token there
        self._writing = before
        try:
            yield
        finally:
            self._writing = None

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        target_mask: Tensor | None = None,
        target_ids: Tensor | None = None,
    ) -> Tensor:
        """Return the mean over the target's tokens of their negative log probabilities, `[rows, 1]`, in nats.

        Args:
            input_ids: source and target, or for an encoder the source, `[rows, tokens]`.
            attention_mask: 1 for real tokens, `[rows, tokens]`.
            target_mask: 1 for tokens of the target. By default, a decoder counts all tokens but the first, and
                an encoder-decoder counts all tokens of `target_ids`.
            target_ids: the target of an encoder-decoder, `[rows, target tokens]`; by default the input
                without its last token.
        """
        if self.encodes:
            target = input_ids[:, :-1] if target_ids is None else target_ids
            counts = torch.ones_like(target) if target_mask is None else target_mask
            with self._logits_where(counts):
                logits = self.inner(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    decoder_input_ids=self.inner.prepare_decoder_input_ids_from_labels(
                        labels=target
                    ),
                ).logits  # [1, counted tokens, vocabulary]
        else:
            if target_mask is None:
                target_mask = torch.ones_like(input_ids)
                target_mask[:, 0] = 0
            # The logits of a token are at the position before it.
            target, counts = input_ids[:, 1:], target_mask[:, 1:]
            with self.writing_where(target_mask), self._logits_where(F.pad(counts, (0, 1))):
                logits = self.inner(input_ids=input_ids, attention_mask=attention_mask).logits
        counted = counts > 0
        precise = logits[0].to(torch.promote_types(logits.dtype, torch.float32))
        losses = F.cross_entropy(precise, target[counted], reduction="none")  # [counted tokens]
        by_token = losses.new_zeros(target.shape).masked_scatter(counted, losses)  # [rows, tokens]
        return by_token.sum(1, keepdim=True) / counts.sum(1, keepdim=True)

    @contextmanager
    def _logits_where(self, counts: Tensor) -> Iterator[None]:
        """Inside the block, a call returns the logits of the marked tokens alone, `[1, marked tokens, vocabulary]`.

        With a large vocabulary, the output layer takes a fifth of the time of a small model, and more than half of
        the tokens are those of the source, or padding.

        Args:
            counts: above 0 for these tokens, `[rows, tokens]`.
        """

        def select(_: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
            (states,) = arguments  # [rows, tokens, width]
            return (states[counts > 0][None],)

        hook = self.inner.get_output_embeddings().register_forward_pre_hook(select)
        try:
            yield
        finally:
            hook.remove()

    def probe(self, ids: Tensor) -> Tensor:
        """Return the logits `[rows, tokens, vocabulary]` for token ids, to compare two ways to compute them."""
        more = {"decoder_input_ids": ids[:, :5]} if self.encodes else {}
        logits: Tensor = self.inner(input_ids=ids, **more).logits
        return logits
