"""Every method on every family of backbones, small and random, in float64. Quick tests cover a sample of families."""

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
# An encoder, a causal model, and a causal model with local windows and soft-capped scores.
QUICK = ("Bert", "GPT2", "Gemma2")


def marked(case):
    """Return a case of the cross product; those that quick tests leave out are marked as slow."""
    family, _, options = case
    slow = family not in (*QUICK, "MPNet") or (options and family != "GPT2")
    return pytest.param(*case, marks=[pytest.mark.slow] if slow else [])


SUPPORTED = [marked(case) for case in CROSS if not refusal(*case)]
REFUSED = [marked(case) for case in CROSS if refusal(*case)]
SHORT = [
    (family, name)
    for family in FAMILIES
    for name in ("prefix", "prompt")
    if not refusal(family, name, {})
]
MAIN = [
    pytest.param(family, name, marks=[] if family in QUICK else [pytest.mark.slow])
    for family in FAMILIES
    for name in ("prefix", "lora", "adapter", "simplex")
    if not refusal(family, name, {})
]


@pytest.mark.parametrize(("family", "name", "options"), SUPPORTED, ids=str)
def test_one_step_trains_what_is_declared_and_nothing_else(family, name, options):
    """Every declared tensor has a gradient, the backbone is unchanged bit for bit, and padding has no effect."""
    backbone = cached_backbone(family)
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    slots, trainable = attach(backbone, name, **options)
    try:
        perturb(trainable)
        rows = family_batch(family)
        slots.install(trainable(trainable.sample_points(4, torch.Generator().manual_seed(3))))
        F.cross_entropy(backbone(rows), LABELS).backward()
        if name != "features":  # fitted without gradients
            assert [key for key, value in trainable.named_parameters() if value.grad is None] == []
        with torch.no_grad():
            slots.install(trainable())
            alone = backbone({key: value[1:2, :6] for key, value in rows.items()})
            assert torch.allclose(backbone(rows)[1], alone[0], rtol=0, atol=1e-9)
    finally:
        slots.remove()
    assert all(
        torch.equal(value, backbone.model.state_dict()[key]) for key, value in before.items()
    )
    assert not any(parameter.grad is not None for parameter in backbone.model.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in backbone.model.modules()
    )


@pytest.mark.parametrize(("family", "name", "options"), REFUSED, ids=str)
def test_an_unsupported_method_is_refused_with_the_reason(family, name, options):
    """The message states what is missing and an alternative, and the model is unchanged."""
    backbone = cached_backbone(family)
    with pytest.raises(methods.Unsupported, match=refusal(family, name, options)):
        methods.build(name, options).slots(backbone)
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in backbone.model.modules()
    )


def test_deberta_supports_a_simplex_of_lora_with_points_for_a_batch():
    """The alternative that the refusal names works."""
    backbone = cached_backbone("DebertaV2")
    slots, trainable = attach(backbone, "simplex-lora", granularity="batch-layer")
    try:
        slots.install(
            perturb(trainable)(trainable.sample_points(4, torch.Generator().manual_seed(3)))
        )
        assert backbone(family_batch("DebertaV2")).shape == (4, 3)
    finally:
        slots.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_without_slots_a_backbone_gives_the_librarys_logits(family):
    """The logits equal those of eager attention, also for texts longer than a local window, and with padding."""
    rows, backbone = family_batch(family, tokens=40), family_backbone(family, dtype="float32")
    theirs = stock_model(family)
    theirs.config.pad_token_id = FAMILIES[family].get("pad_token_id", 0)
    theirs.set_attn_implementation("eager")
    slots, trainable = attach(backbone, "fine-tuning", layers="none")
    slots.install({name: theirs.get_parameter(name.removeprefix("inner.")) for name in trainable()})
    assert torch.allclose(backbone(rows), theirs(**rows).logits, rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regression_head_has_one_output(family):
    """The head of a regression gives one value for each row, with and without points of a simplex."""
    backbone = replace(cached_backbone(family), outputs=1)
    for name, options in (("lora", {}), ("simplex-adapter", {})):
        slots, trainable = attach(backbone, name, **options)
        try:
            slots.install(
                perturb(trainable)(trainable.sample_points(4, torch.Generator().manual_seed(3)))
            )
            logits = backbone(family_batch(family))
            assert logits.shape == (4, 1)
            F.mse_loss(logits[:, 0], LABELS.double()).backward()
            assert all(parameter.grad is not None for parameter in trainable.parameters())
        finally:
            slots.remove()


@pytest.mark.parametrize("family", WINDOWED)
def test_a_prefix_leaves_local_attention_local(family):
    """With a prefix, a token attends to the text within the windows only, but to the prefix from any position."""
    backbone = family_backbone(family, layer_types=["sliding_attention"] * 2)
    assert family == "ModernBert" or backbone.architecture.causal
    slots, trainable = attach(backbone, "prefix", decoder="none", length=3)
    tensors = perturb(trainable, 1.0)()
    rows = family_batch(family, rows=1, tokens=40)
    far = {"input_ids": rows["input_ids"].clone(), "attention_mask": rows["attention_mask"]}
    pooled = -1 if backbone.architecture.causal else 0  # the position that the classifier uses
    far["input_ids"][0, 0 if pooled else -1] = (
        50 if rows["input_ids"][0, 0 if pooled else -1] != 50 else 51
    )
    slots.install(tensors)
    near, distant = backbone(rows), backbone(far)
    assert torch.equal(near, distant)
    moved = {
        name: tensor + 1 if "prefix_value" in name else tensor for name, tensor in tensors.items()
    }
    slots.install(moved)
    assert not torch.allclose(backbone(rows), near)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_architecture_is_found_by_inspection(family):
    """Blocks, projections, positions and head are found in each family without knowing its name."""
    architecture = cached_backbone(family).architecture
    assert len(architecture.blocks) == (
        1 if family == "Albert" else 2
    )  # ALBERT runs one block twice
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
def test_texts_of_the_maximum_length_work_and_longer_ones_are_refused_with_the_numbers(
    family, name
):
    """A method can use all positions; for one token more, the message states the required and actual number."""
    backbone = family_backbone(family, max_length=54, dtype="float32")
    slots, trainable = attach(backbone, name, length=10)
    slots.install(trainable())
    assert backbone(family_batch(family, rows=2, tokens=54)).isfinite().all()
    slots.remove()
    with pytest.raises(
        methods.Unsupported,
        match=rf"a {name} of 11 and texts of 54 tokens need 65 positions, this backbone has 64",
    ):
        methods.build(name, {"length": 11}).slots(backbone)


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if not refusal(family, "prefix", {})]
)
def test_positions_are_shifted_as_by_a_cache(family):
    """Shifted positions are those of a text after `length` cached tokens; with a gate of 0, nothing else changes."""
    backbone = cached_backbone(family)
    rows = family_batch(family)
    slots, trainable = attach(
        backbone, "prefix", length=5, gate="zero"
    )  # factor 0: no effect of the prefix
    tensors = trainable()
    slots.install(tensors)
    ours = backbone(rows)
    slots.remove()
    head, plain = attach(backbone, "fine-tuning", layers="none")
    head.install({name: tensors[name] for name in plain()})
    try:
        # The first positions of RoBERTa's table are not for tokens.
        start = 5 + (2 if "Roberta" in family else 0)
        ids = torch.arange(start, start + 9).expand(4, -1)
        expected = backbone(rows | {"position_ids": ids})
    finally:
        head.remove()
    assert torch.allclose(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "name"), MAIN)
def test_both_precisions_train(family, name, dtype):
    """AdamW steps in float32 and bfloat16 give finite tensors and losses, also with a batch of one row."""
    backbone = family_backbone(family, dtype=dtype)
    method = methods.build(name)
    slots = method.slots(backbone)
    trainable = method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    optimizer = torch.optim.AdamW(trainable.parameters(), lr=1e-3)
    for rows in (4, 1):
        slots.install(trainable(trainable.sample_points(rows, torch.Generator().manual_seed(0))))
        loss = F.cross_entropy(backbone(family_batch(family, rows=rows)), LABELS[:rows])
        assert loss.isfinite()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(
        parameter.isfinite().all() and parameter.dtype == torch.float32
        for parameter in trainable.parameters()
    )


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in CAUSAL])
def test_an_encoder_pools_its_text_or_the_prompt_as_the_option_says(family):
    """After a prompt, pooling the text's first token and pooling the prompt's first vector give different logits."""
    logits = {}
    for pool in ("text", "prompt"):
        slots, trainable = attach(cached_backbone(family), "prompt", length=3, pool=pool)
        slots.install(trainable())
        logits[pool] = cached_backbone(family)(family_batch(family))
        slots.remove()
    assert (logits["text"] - logits["prompt"]).abs().min(0).values.max() > 1e-3


@pytest.mark.parametrize("family", CAUSAL)
def test_a_prompt_of_words_equals_the_words_in_front_of_the_text(family):
    """A causal model gives the same logits as if the words were text, also if it scales its embeddings."""
    backbone, rows = cached_backbone(family), family_batch(family, rows=1)
    slots, trainable = attach(backbone, "prompt", length=3, init="words", words="a bb ccc")
    tensors = trainable()
    slots.install(tensors)
    ours = backbone(rows)
    slots.remove()
    slots, plain = attach(backbone, "head")
    slots.install({name: tensors[name] for name in plain()})
    together = torch.cat([torch.tensor([[6, 7, 8]]), rows["input_ids"]], dim=1)
    theirs = backbone({"input_ids": together, "attention_mask": torch.ones_like(together)})
    slots.remove()
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)


def test_unsupported_attention_is_left_to_the_model():
    """GPT-OSS has attention sinks: the backbone gives the library's logits, and prefixes are refused."""
    more = GROUPED | {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 8}
    theirs, backbone = classifier("GptOss", more), small_backbone("GptOss", more)
    slots, trainable = attach(backbone, "head")
    slots.install({name: theirs.get_parameter(name.removeprefix("inner.")) for name in trainable()})
    assert torch.allclose(
        backbone(family_batch("Llama")), theirs(**family_batch("Llama")).logits, rtol=0, atol=1e-4
    )
    slots.remove()
    with pytest.raises(methods.Unsupported, match="no prefix can be added"):
        methods.build("prefix").slots(backbone)


def test_a_missing_feed_forward_layer_is_refused():
    """Mixtral's experts are not linear layers: adapters are refused, and not placed after attention instead."""
    backbone = small_backbone(
        "Mixtral", GROUPED | {"num_local_experts": 2, "num_experts_per_tok": 1}
    )
    for name in ("adapter", "ia3"):
        with pytest.raises(methods.Unsupported, match="feed-forward"):
            methods.build(name).slots(backbone)
    slots, trainable = attach(backbone, "lora")
    slots.install(trainable())
    assert backbone(family_batch("Llama")).isfinite().all()


def test_top_layers_are_refused_if_blocks_are_split():
    """XLM keeps attention and feed-forward parts in separate lists: layers=top-1 is refused, layers=all works."""
    config = {
        "vocab_size": 99,
        "emb_dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "max_position_embeddings": 64,
        "pad_token_id": 2,
    }
    backbone = small_backbone("XLM", config)
    with pytest.raises(methods.Unsupported, match="separate lists"):
        methods.build("fine-tuning", {"layers": "top-1"}).slots(backbone)
    slots = methods.build("fine-tuning").slots(backbone)
    assert {slot.name for slot in slots if slot.role == "backbone"} == {
        n for n in backbone.architecture.trained if not backbone.architecture.is_head(n)
    }
    slots.remove()


@pytest.mark.parametrize("pad", [5, 7])
def test_positions_are_found_for_any_padding_token(pad):
    """The inspected texts contain no padding token, for which RoBERTa would not count positions."""
    backbone = small_backbone(
        "Roberta", SMALL | {"max_position_embeddings": 65 + pad, "pad_token_id": pad}
    )
    assert backbone.architecture.positions == 64
    assert backbone.architecture.position_table.endswith("position_embeddings")


def classifier(family, config):
    """Return a small random classifier of a family with this configuration."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**config, num_labels=3)
    return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


def small_backbone(family, config):
    """Return a small random classifier of a family as a backbone."""

    class Padding(NoTokenizer):
        pad_token_id = config["pad_token_id"]

    spec = BackboneSpec(name=family, revision="0", dtype="float32")
    return replace(
        loading.prepare(spec, classifier(family, config), Padding()), outputs=3, max_length=20
    )
