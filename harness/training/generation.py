"""Texts that an adapted model writes, by greedy or beam search of transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from harness.backbones.loading import Backbone
from harness.costs import Shape
from harness.jobs import Recipe
from harness.training import out_of_memory
from harness.training.adapted_model import AdaptedModel, Tensors
from harness.training.rows.batching import to_device
from harness.training.rows.truncation import Encoded
from harness.training.token_cache import with_room

# Greatest number of tokens of the texts that are written together, sources and padding included. Each new token reads
# all weights once, so the time grows less than the number of texts: with SmolLM2-135M on a CPU, 64 texts took 26 s
# together and 34 s in groups of 20.
MAX_TOKENS_WRITING = {"cpu": 16384, "cuda": 65536, "mps": 16384}


@torch.no_grad()
def generate(
    adapted: AdaptedModel,
    tensors: Tensors,
    rows: Sequence[Encoded],
    recipe: Recipe,
    points: torch.Tensor | None = None,
) -> list[str]:
    """Return the text that a model writes after each source.

    Sources of similar length are read together. A source that is shorter than others is padded on its left for
    a decoder, since the text continues it. On out-of-memory, fewer rows are read at once.

    Args:
        adapted: the model and its slots.
        tensors: gives the tensors of the slots at points of the simplex.
        rows: tokens of the sources, from `text_rows.sources`.
        recipe: its beams, length penalty and greatest length.
        points: what `tensors` is given for each row, `[rows, ...]`; the search is greedy then. None: the centroid
            writes all texts.

    Raises:
        OutOfMemoryError: the device cannot hold a single row.
    """
    texts, adapted.call_limit.tokens = out_of_memory.retry_smaller(
        lambda tokens: _generate(adapted, tensors, rows, recipe, points, tokens),
        adapted.call_limit.tokens,
        lambda tokens: (
            (tokens or MAX_TOKENS_WRITING[adapted.backbone.device.type]) // 2 if tokens != 1 else 0
        ),
    )
    return texts


def _generate(
    adapted: AdaptedModel,
    tensors: Tensors,
    rows: Sequence[Encoded],
    recipe: Recipe,
    points: torch.Tensor | None,
    max_tokens: int,
) -> list[str]:
    backbone = adapted.backbone
    # A beam search repeats the rows of the decoder, and not those of an encoder.
    assert points is None or recipe.beams == 1
    if points is None:
        adapted.slots.install(tensors(None))
    model: Any = backbone.model
    config = search_options(model.inner, backbone, recipe)
    texts = [""] * len(rows)
    limit = max_tokens or MAX_TOKENS_WRITING[backbone.device.type]
    for group in _groups([len(row["input_ids"]) for row in rows], recipe, limit):
        batch = padded(backbone, [rows[index] for index in group])
        if points is not None:
            adapted.slots.install(tensors(points[group]))
        # A beam search selects rows of the cache at every token, and so copies it anyway.
        cache = (
            {}
            if model.encodes or recipe.beams > 1
            else {"past_key_values": with_room(model.inner.config, recipe.target_length)}
        )
        written = model.inner.generate(**batch, **cache, generation_config=config)
        first = 1 if model.encodes else batch["input_ids"].shape[1]
        decoded = backbone.tokenizer.batch_decode(written[:, first:], skip_special_tokens=True)
        for index, text in zip(group, decoded, strict=True):
            texts[index] = text.strip()
    return texts


def shape_on_cpu(sources: Sequence[int], targets: Sequence[int], recipe: Recipe) -> Shape:
    """Return the calls in which texts are written: one for each token of a group's longest text.

    Args:
        sources: tokens of each source.
        targets: tokens of each text, its end included.
        recipe: its beams and greatest length.

    Returns:
        The calls, the tokens of the sources with padding, and the rows of all calls.
    """
    calls = tokens = rows = 0
    for group in _groups(sources, recipe, MAX_TOKENS_WRITING["cpu"]):
        steps = min(max(targets[index] for index in group), recipe.target_length)
        beams = len(group) * recipe.beams
        calls += steps
        tokens += beams * max(sources[index] for index in group)
        rows += beams * steps
    return Shape(calls, tokens, rows)


def search_options(inner: Any, backbone: Backbone, recipe: Recipe) -> GenerationConfig:
    """Return how texts are written.

    From the model's own configuration it takes only the token that starts the decoder, and the token that must
    come first.
    """
    own = inner.config
    return GenerationConfig(
        do_sample=False,
        num_beams=recipe.beams,
        length_penalty=recipe.length_penalty if recipe.beams > 1 else 1.0,
        max_new_tokens=recipe.target_length,
        use_cache=True,
        eos_token_id=backbone.tokenizer.eos_token_id,
        pad_token_id=backbone.tokenizer.pad_token_id,
        bos_token_id=backbone.tokenizer.bos_token_id,
        decoder_start_token_id=getattr(own, "decoder_start_token_id", None),
        forced_bos_token_id=getattr(own, "forced_bos_token_id", None),
    )


def _groups(lengths: Sequence[int], recipe: Recipe, limit: int) -> list[list[int]]:
    """Return the indices of sources in groups of similar length.

    A group has at most `limit` tokens in one call, or a single row.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        tokens = (lengths[index] + recipe.target_length) * recipe.beams
        if groups and tokens * (len(groups[-1]) + 1) <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def padded(backbone: Backbone, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Return the rows padded to the longest, on the left for a decoder: `{name: [rows, tokens]}`."""
    longest = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": backbone.tokenizer.pad_token_id}
    left = not backbone.architecture.encoder_decoder

    def filled(name: str, row: Encoded) -> list[int]:
        padding = [fill.get(name, 0)] * (longest - len(row[name]))
        return [*padding, *row[name]] if left else [*row[name], *padding]

    return {
        name: to_device(torch.tensor([filled(name, row) for row in rows]), backbone.device)
        for name in ("input_ids", "attention_mask")
    }
