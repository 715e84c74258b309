"""Every method on every family of backbones, small and random, in float64."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import methods
from harness.backbones import loading
from harness.jobs import BackboneSpec
from harness.streams import Streams
from tests.support.families import (
    CAUSAL,
    FAMILIES,
    GROUPED,
    SMALL,
    WINDOWED,
    cached_backbone,
    family_backbone,
    family_batch,
    refusal,
    stock_model,
)
from tests.support.models import NoTokenizer, attach, perturb
from tests.support.variants import VARIANTS

LABELS = torch.tensor([0, 2, 1, 0])
CROSS = [(family, name, options) for family in FAMILIES for name, options in VARIANTS]
SERVED, REFUSED = (
    [one for one in CROSS if not refusal(*one)],
    [one for one in CROSS if refusal(*one)],
)
SHORT = [
    (family, name)
    for family in FAMILIES
    for name in ("prefix", "prompt")
    if not refusal(family, name, {})
]
MAIN = [(family, name) for family in FAMILIES for name in ("prefix", "lora", "adapter", "simplex")]


@pytest.mark.parametrize(("family", "name", "options"), SERVED, ids=str)
def test_one_step_trains_what_is_declared_and_nothing_else(family, name, options):
    """Every declared tensor has a gradient (none absent), the backbone stays bit for bit, and padding is not seen."""
    one = cached_backbone(family)
    before = {key: value.clone() for key, value in one.model.state_dict().items()}
    slots, trainable = attach(one, name, **options)
    try:
        perturb(trainable)
        rows = family_batch(family)
        slots.install(trainable(trainable.weights(4, torch.Generator().manual_seed(3))))
        F.cross_entropy(one(rows), LABELS).backward()
        if name != "features":  # which is not fitted by gradient
            assert [key for key, value in trainable.named_parameters() if value.grad is None] == []
        with torch.no_grad():
            slots.install(trainable())
            alone = one({key: value[1:2, :6] for key, value in rows.items()})
            assert torch.allclose(one(rows)[1], alone[0], rtol=0, atol=1e-9)
    finally:
        slots.remove()
    assert all(torch.equal(value, one.model.state_dict()[key]) for key, value in before.items())
    assert not any(parameter.grad is not None for parameter in one.model.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in one.model.modules()
    )


@pytest.mark.parametrize(("family", "name", "options"), REFUSED, ids=str)
def test_what_a_family_cannot_serve_is_refused_in_words(family, name, options):
    """The refusal says what is missing and what would work, and leaves the model as it was."""
    one = cached_backbone(family)
    with pytest.raises(methods.Unsupported, match=refusal(family, name, options)):
        methods.build(name, options).slots(one)
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in one.model.modules()
    )


def test_deberta_serves_a_simplex_of_lora_with_points_for_a_batch():
    """The way out that the refusal names works."""
    one = cached_backbone("DebertaV2")
    slots, trainable = attach(one, "simplex-lora", granularity="batch-layer")
    try:
        slots.install(perturb(trainable)(trainable.weights(4, torch.Generator().manual_seed(3))))
        assert one(family_batch("DebertaV2")).shape == (4, 3)
    finally:
        slots.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_without_slots_a_backbone_gives_the_librarys_logits(family):
    """Those of its eager attention, also at lengths beyond the window of families with local attention, and with padding."""
    rows, one = family_batch(family, tokens=40), family_backbone(family, dtype="float32")
    theirs = stock_model(family)
    theirs.config.pad_token_id = FAMILIES[family].get("pad_token_id", 0)
    theirs.set_attn_implementation("eager")
    slots, trainable = attach(one, "fine-tuning", layers="none")
    slots.install({name: theirs.get_parameter(name.removeprefix("inner.")) for name in trainable()})
    assert torch.allclose(one(rows), theirs(**rows).logits, rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_number_is_answered_by_one_output(family):
    """A regression's head gives one value a row, at points of a simplex and without."""
    one = replace(cached_backbone(family), outputs=1)
    for name, options in (("lora", {}), ("simplex-adapter", {})):
        slots, trainable = attach(one, name, **options)
        try:
            slots.install(
                perturb(trainable)(trainable.weights(4, torch.Generator().manual_seed(3)))
            )
            logits = one(family_batch(family))
            assert logits.shape == (4, 1)
            F.mse_loss(logits[:, 0], LABELS.double()).backward()
            assert all(parameter.grad is not None for parameter in trainable.parameters())
        finally:
            slots.remove()


@pytest.mark.parametrize("family", WINDOWED)
def test_a_prefix_leaves_local_attention_local(family):
    """With a prefix, a token does not see beyond the windows of all layers, but sees the prefix from anywhere."""
    one = family_backbone(family, layer_types=["sliding_attention"] * 2)
    assert family == "ModernBert" or one.architecture.causal
    slots, trainable = attach(one, "prefix", decoder="none", length=3)
    tensors = perturb(trainable, 1.0)()
    rows = family_batch(family, rows=1, tokens=40)
    far = {"input_ids": rows["input_ids"].clone(), "attention_mask": rows["attention_mask"]}
    pooled = -1 if one.architecture.causal else 0  # where the classifier looks
    far["input_ids"][0, 0 if pooled else -1] = (
        50 if rows["input_ids"][0, 0 if pooled else -1] != 50 else 51
    )
    slots.install(tensors)
    near, distant = one(rows), one(far)
    assert torch.equal(near, distant)
    moved = {
        name: tensor + 1 if "prefix_value" in name else tensor for name, tensor in tensors.items()
    }
    slots.install(moved)
    assert not torch.allclose(one(rows), near)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_architecture_is_found_by_inspection(family):
    """Blocks, projections, positions and head are found in each family without its name."""
    architecture = cached_backbone(family).architecture
    assert len(architecture.blocks) == (
        1 if family == "Albert" else 2
    )  # whose one block is run through twice
    assert architecture.positions == 64
    assert architecture.hidden == 32
    for block in architecture.blocks:
        parts = (block.query, block.key, block.value, block.attention_out, block.feed_forward_out)
        assert all(parts)
        assert block.attention_out != block.feed_forward_out
        fused = [part.columns for part in parts[:3] if part.columns]
        assert len(fused) in (0, 3)
        assert sorted(column for columns in fused for column in columns) == list(
            range(96 if fused else 0)
        )
    assert architecture.causal == (family in CAUSAL)
    if family in ("MPNet", "DebertaV2"):
        assert architecture.attention == ()
    else:
        heads = cached_backbone(family).model.inner.config.to_dict().get("num_key_value_heads", 4)
        assert [(call.layer, call.heads, call.width) for call in architecture.attention] == [
            (0, heads, 8),
            (1, heads, 8),
        ]
    head = {parameter for parameter in architecture.trained if architecture.is_head(parameter)}
    assert any(parameter.startswith(architecture.output_layer) for parameter in head)


@pytest.mark.parametrize(("family", "name"), SHORT)
def test_rows_of_the_greatest_length_are_handled_or_refused_with_the_numbers(family, name):
    """With all the positions that there are a method works.

    With one more token it says what it needs and what there is.
    """
    one = family_backbone(family, max_length=54, dtype="float32")
    slots, trainable = attach(one, name, length=10)
    slots.install(trainable())
    assert one(family_batch(family, rows=2, tokens=54)).isfinite().all()
    slots.remove()
    with pytest.raises(
        methods.Unsupported,
        match=rf"a {name} of 11 and rows of 54 tokens need 65 positions, this backbone has 64",
    ):
        methods.build(name, {"length": 11}).slots(one)


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if not refusal(family, "prefix", {})]
)
def test_positions_are_shifted_as_by_a_cache(family):
    """Shifted positions are those of a text behind `length` cached tokens: with the prefix shut out, only they change."""
    one = cached_backbone(family)
    rows = family_batch(family)
    slots, trainable = attach(
        one, "prefix", length=5, gate="zero"
    )  # a factor of 0 shuts the prefix out
    tensors = trainable()
    slots.install(tensors)
    ours = one(rows)
    slots.remove()
    head, plain = attach(one, "fine-tuning", layers="none")
    head.install({name: tensors[name] for name in plain()})
    try:
        start = 5 + (
            2 if "Roberta" in family else 0
        )  # the first positions of RoBERTa's table are not for tokens
        ids = torch.arange(start, start + 9).expand(4, -1)
        expected = one(rows | {"position_ids": ids})
    finally:
        head.remove()
    assert torch.allclose(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "name"), [one for one in MAIN if not refusal(*one, {})])
def test_both_precisions_train(family, name, dtype):
    """One AdamW step in float32 and in bfloat16 leaves finite tensors and a finite loss.

    A batch of a single row as well.
    """
    one = family_backbone(family, dtype=dtype)
    method = methods.build(name)
    slots = method.slots(one)
    trainable = method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    optimizer = torch.optim.AdamW(trainable.parameters(), lr=1e-3)
    for rows in (4, 1):
        slots.install(trainable(trainable.weights(rows, torch.Generator().manual_seed(0))))
        loss = F.cross_entropy(one(family_batch(family, rows=rows)), LABELS[:rows])
        assert loss.isfinite()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(
        parameter.isfinite().all() and parameter.dtype == torch.float32
        for parameter in trainable.parameters()
    )


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in CAUSAL])
def test_an_encoder_pools_its_text_or_the_prompt_as_asked(family):
    """Behind a prompt the real first token is another than the prompt's first row, in every encoder."""
    found = {}
    for pool in ("text", "prompt"):
        slots, trainable = attach(cached_backbone(family), "prompt", length=3, pool=pool)
        slots.install(trainable())
        found[pool] = cached_backbone(family)(family_batch(family))
        slots.remove()
    assert (found["text"] - found["prompt"]).abs().min(0).values.max() > 1e-3


@pytest.mark.parametrize("family", CAUSAL)
def test_a_prompt_of_words_is_the_words_in_front_of_the_text(family):
    """A causal model answers as if the words were text, also where it scales what it embeds."""
    one, rows = cached_backbone(family), family_batch(family, rows=1)
    slots, trainable = attach(one, "prompt", length=3, init="words", words="a bb ccc")
    tensors = trainable()
    slots.install(tensors)
    ours = one(rows)
    slots.remove()
    slots, plain = attach(one, "head")
    slots.install({name: tensors[name] for name in plain()})
    together = torch.cat([torch.tensor([[6, 7, 8]]), rows["input_ids"]], dim=1)
    theirs = one({"input_ids": together, "attention_mask": torch.ones_like(together)})
    slots.remove()
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)


def test_attention_that_ours_cannot_compute_stays_the_models_own():
    """GPT-OSS has sinks in its attention: the backbone gives the library's logits, and takes no prefix."""
    more = GROUPED | {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 8}
    theirs, one = made("GptOss", more), as_backbone("GptOss", more)
    slots, trainable = attach(one, "head")
    slots.install({name: theirs.get_parameter(name.removeprefix("inner.")) for name in trainable()})
    assert torch.allclose(
        one(family_batch("Llama")), theirs(**family_batch("Llama")).logits, rtol=0, atol=1e-4
    )
    slots.remove()
    with pytest.raises(methods.Unsupported, match="no prefix can enter"):
        methods.build("prefix").slots(one)


def test_a_feed_forward_part_that_is_not_found_is_not_guessed():
    """Mixtral's experts are no linear layers: no adapter is put behind its attention in their place."""
    one = as_backbone("Mixtral", GROUPED | {"num_local_experts": 2, "num_experts_per_tok": 1})
    for name in ("adapter", "ia3"):
        with pytest.raises(methods.Unsupported, match="feed-forward"):
            methods.build(name).slots(one)
    slots, trainable = attach(one, "lora")
    slots.install(trainable())
    assert one(family_batch("Llama")).isfinite().all()


def test_layers_whose_parts_lie_apart_are_not_cut():
    """XLM keeps attention and feed-forward parts in lists of their own: its top layers are refused, all of it trains."""
    config = {
        "vocab_size": 99,
        "emb_dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "max_position_embeddings": 64,
        "pad_token_id": 2,
    }
    one = as_backbone("XLM", config)
    with pytest.raises(methods.Unsupported, match="lists of their own"):
        methods.build("fine-tuning", {"layers": "top-1"}).slots(one)
    slots = methods.build("fine-tuning").slots(one)
    assert {slot.name for slot in slots if slot.role == "backbone"} == {
        n for n in one.architecture.trained if not one.architecture.is_head(n)
    }
    slots.remove()


@pytest.mark.parametrize("pad", [5, 7])
def test_positions_are_found_whatever_the_padding_is_called(pad):
    """The pass that looks for them uses no padding token, which RoBERTa would not count."""
    one = as_backbone("Roberta", SMALL | {"max_position_embeddings": 65 + pad, "pad_token_id": pad})
    assert one.architecture.positions == 64
    assert one.architecture.position_table.endswith("position_embeddings")


def made(family, config):
    """A classifier of a family that is tested for one thing only."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**config, num_labels=3)
    return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


def as_backbone(family, config):
    """The same as a backbone."""

    class Padding(NoTokenizer):
        pad_token_id = config["pad_token_id"]

    spec = BackboneSpec(name=family, revision="0", dtype="float32")
    return replace(loading.prepare(spec, made(family, config), Padding()), outputs=3, max_length=20)
