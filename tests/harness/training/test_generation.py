"""Texts that models write, and how improbable they find texts."""

import copy
from contextlib import nullcontext

import pytest
import torch
from transformers import GenerationConfig

import methods
from harness.jobs import Recipe
from harness.streams import Streams
from harness.tasks.base import Example
from harness.training import generation
from harness.training.adapted_model import AdaptedModel, predict
from harness.training.rows import encoding, text_rows
from methods.core.parameters import DecodedParameters
from tests.support.writers import CONFIGS, END, writer

ROWS = [
    Example(("w5 w6 w7 w8",), ("w9 w10 w11",)),
    Example(("w12 w13",), ("w14",)),
    Example(("w15 w16 w17 w18 w19 w20",), ("w21 w22 w23 w24",)),
]
RECIPE = Recipe(target_length=12)
VARIANTS = [
    ("zero-shot", {}),
    ("prefix", {"hidden": "16"}),
    ("prefix", {"decoder": "none", "positions": "kept"}),
    ("prefix", {"gate": "zero"}),
    ("prefix", {"position": "infix", "hidden": "16"}),
    ("prefix", {"attention": "decoder+cross", "hidden": "16"}),
    ("prefix", {"attention": "decoder", "depth": "first", "decoder": "none"}),
    ("prefix", {"attention": "cross", "init": "words", "words": "w5 w6 w7", "decoder": "none"}),
    ("prefix", {"init": "words", "words": "w5 w6 w7", "hidden": "16"}),
    ("prompt", {}),
    ("lora", {}),
    ("adapter", {}),
    ("bitfit", {}),
    ("ia3", {}),
    ("fine-tuning", {}),
    ("simplex", {"hidden": "16"}),
    ("simplex-lora", {}),
]
IDS = ["-".join([name, *options.values()]) for name, options in VARIANTS]


def attached(backbone, name, options):
    """A model with a method's slots, whose tensors are random and not small."""
    method = methods.build(name, options)
    slots = method.slots(backbone)
    trainable = method.trainable_parameters(slots, Streams(("texts", 1, 0, 0))).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trainable.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return AdaptedModel(backbone, slots, trainable)


def written_step_by_step(model, row):
    """The tokens that follow a source, each found by a pass over the whole text without a cache."""
    backbone, inner = model.backbone, model.backbone.model.inner
    model.slots.install(DecodedParameters(model.trainable)(None))
    source = torch.tensor([text_rows.sources(backbone, [row])[0]["input_ids"]])
    start = [inner.config.decoder_start_token_id] if backbone.architecture.encoder_decoder else []
    written = torch.tensor([start], dtype=torch.long)
    with torch.no_grad():
        for _ in range(RECIPE.target_length):
            if backbone.architecture.encoder_decoder:
                out = inner(input_ids=source, decoder_input_ids=written)
            else:
                ids = torch.cat([source, written], dim=1)
                marks = torch.zeros_like(ids)
                marks[:, source.shape[1] :] = 1
                written_so_far = bool(marks.any())
                with backbone.model.writing_where(marks) if written_so_far else nullcontext():
                    out = inner(input_ids=ids)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            if int(token) == END:
                break
            written = torch.cat([written, token], dim=1)
    return " ".join(f"w{token}" for token in written[0, len(start) :].tolist() if token)


def with_target(backbone, source, ids):
    """A source and the text after it, as the rows that are trained on."""
    if backbone.architecture.encoder_decoder:
        return {**source, "target_ids": ids, "target_mask": [1] * len(ids)}
    before = source["input_ids"]
    both = [*before, *ids]
    marks = [0] * len(before) + [1] * len(ids)
    return {"input_ids": both, "attention_mask": [1] * len(both), "target_mask": marks}


def _supported(backbone, name, options):
    """Whether the variant works: what stands in front of an encoder, or chooses an attention, is for one kind only."""
    architecture = backbone.architecture
    if name == "bitfit":
        return any(parameter.endswith("bias") for parameter in architecture.trained)
    if options.get("position") == "infix":
        return not architecture.encoder_decoder
    return "attention" not in options or architecture.encoder_decoder


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_a_batch_writes_what_each_row_writes_without_a_cache(family, name, options):
    """Greedy search with the model's cache and padding gives the tokens of one full pass for each token."""
    backbone = writer(family)
    if not _supported(backbone, name, options):
        with pytest.raises(methods.Unsupported):
            attached(backbone, name, options)
        return
    model = attached(backbone, name, options)
    try:
        sources = text_rows.sources(backbone, ROWS)
        texts = generation.generate(model, DecodedParameters(model.trainable), sources, RECIPE)
        assert texts == [written_step_by_step(model, row) for row in ROWS]
        assert any(texts)
    finally:
        model.slots.remove()


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_a_written_text_is_as_probable_as_its_loss_says(family, name, options):
    """The log probabilities of the tokens while they are written are those of the loss, which reads them at once."""
    backbone = writer(family)
    if not _supported(backbone, name, options):
        return
    model = attached(backbone, name, options)
    tensors = DecodedParameters(model.trainable)
    config = generation.search_options(backbone.model.inner, backbone, RECIPE)
    config.return_dict_in_generate = config.output_logits = True
    try:
        for source in text_rows.sources(backbone, ROWS):
            model.slots.install(tensors(None))
            with torch.no_grad():
                written = backbone.model.inner.generate(
                    **generation.padded(backbone, [source]), generation_config=config
                )
            ids = written.sequences[0, -len(written.logits) :]
            expected = [
                float(logits[0].log_softmax(0)[token])
                for logits, token in zip(written.logits, ids, strict=True)
            ]
            assert expected
            loss = predict(model, tensors, [with_target(backbone, source, ids.tolist())])
            assert float(loss) == pytest.approx(-sum(expected) / len(expected), rel=1e-5)
    finally:
        model.slots.remove()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", CONFIGS)
def test_the_shape_of_writing_counts_its_calls(monkeypatch, family, beams):
    """One call for each token of a group's longest text; the first call of a group reads the sources."""
    monkeypatch.setitem(generation.MAX_TOKENS_WRITING, "cpu", 40 * beams)
    backbone = writer(family)
    model = attached(backbone, "zero-shot", {})
    recipe = Recipe(target_length=12, beams=beams)
    options, calls = generation.search_options, []

    def all_tokens(*arguments):
        found = options(*arguments)
        found.min_new_tokens = 12
        return found

    monkeypatch.setattr(generation, "search_options", all_tokens)
    body = backbone.model.get_submodule(backbone.architecture.body)
    decoder = getattr(body, "decoder", body)

    def count(_module, inputs, named):
        tokens = inputs[0] if inputs else named["input_ids"]
        calls.append(tuple(tokens.shape))

    hook = decoder.register_forward_pre_hook(count, with_kwargs=True)
    sources = text_rows.sources(backbone, ROWS)
    try:
        generation.generate(model, DecodedParameters(model.trainable), sources, recipe)
    finally:
        hook.remove()
        model.slots.remove()
    shape = generation.shape_on_cpu([len(row["input_ids"]) for row in sources], [12] * 3, recipe)
    assert (len(calls), sum(rows for rows, _ in calls)) == (shape.calls, shape.rows)
    if not backbone.architecture.encoder_decoder:
        assert sum(rows * tokens for rows, tokens in calls if tokens > 1) == shape.tokens


@pytest.mark.parametrize("family", CONFIGS)
def test_the_loss_is_the_mean_over_the_tokens_of_a_reference(family):
    """It equals the loss of the library for one row at a time; padding and the source do not count."""
    backbone = writer(family)
    model = attached(backbone, "zero-shot", {})
    inner = backbone.model.inner
    encoded = encoding.encode(backbone, ROWS)
    losses = predict(model, DecodedParameters(model.trainable), encoded)[:, 0]
    model.slots.remove()
    for row, loss in zip(encoded, losses.tolist(), strict=True):
        ids = torch.tensor([row["input_ids"]])
        if backbone.architecture.encoder_decoder:
            labels = torch.tensor([row["target_ids"]])
        else:
            marks = torch.tensor([row["target_mask"]])
            labels = ids.masked_fill(marks == 0, -100)
        with torch.no_grad():
            expected = float(inner(input_ids=ids, labels=labels).loss)
        assert loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("family", CONFIGS)
def test_beams_are_those_of_the_library(family):
    """Beam search over a batch gives the texts that the library gives for each source alone."""
    backbone = writer(family)
    model = attached(backbone, "zero-shot", {})
    recipe = Recipe(target_length=12, beams=4, length_penalty=0.8)
    sources = text_rows.sources(backbone, ROWS)
    texts = generation.generate(model, DecodedParameters(model.trainable), sources, recipe)
    model.slots.remove()
    inner = backbone.model.inner
    for row, text in zip(sources, texts, strict=True):
        config = GenerationConfig(
            num_beams=4, length_penalty=0.8, max_new_tokens=12, do_sample=False, eos_token_id=END, pad_token_id=0,
            decoder_start_token_id=getattr(inner.config, "decoder_start_token_id", None),
        )  # fmt: skip
        ids = torch.tensor([row["input_ids"]])
        written = inner.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        first = 1 if backbone.architecture.encoder_decoder else ids.shape[1]
        assert (
            text == backbone.tokenizer.batch_decode(written[:, first:], skip_special_tokens=True)[0]
        )


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_a_prompt_of_an_encoder_decoder_is_that_of_peft(family):
    """The loss of a reference, and the text that is written, are those of PEFT's prompt in front of the encoder."""
    peft = pytest.importorskip("peft")
    backbone = writer(family)
    model = attached(backbone, "prompt", {})
    tensors = DecodedParameters(model.trainable)
    losses = predict(model, tensors, encoding.encode(backbone, ROWS))[:, 0].tolist()
    sources = text_rows.sources(backbone, ROWS)
    texts = generation.generate(model, tensors, sources, RECIPE)
    (prompt,) = tensors(None).values()
    model.slots.remove()
    config = peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=len(prompt), num_transformer_submodules=1
    )
    other = peft.get_peft_model(copy.deepcopy(backbone.model.inner), config).double().eval()
    with torch.no_grad():
        other.prompt_encoder["default"].embedding.weight.copy_(prompt)
    end = other.config.eos_token_id
    for row, source, loss, text in zip(ROWS, sources, losses, texts, strict=True):
        ids = torch.tensor([source["input_ids"]])
        labels = torch.tensor([[*backbone.tokens(row.references[0]), end]])
        marks = torch.ones_like(ids)
        with torch.no_grad():
            found = other(input_ids=ids, attention_mask=marks, labels=labels).loss
            written = other.generate(
                input_ids=ids,
                attention_mask=marks,
                do_sample=False,
                max_new_tokens=RECIPE.target_length,
                decoder_start_token_id=other.config.decoder_start_token_id,
                eos_token_id=end,
                pad_token_id=0,
            )
        assert float(found) == pytest.approx(loss, abs=1e-8)
        assert backbone.tokenizer.batch_decode(written[:, 1:], skip_special_tokens=True) == [text]
