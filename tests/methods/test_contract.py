"""Properties of every method of the registry."""

import pytest
import torch
import torch.nn.functional as F

import methods
from methods import suitable
from tests.support.models import attach, perturb, random_bert
from tests.support.variants import VARIANTS

TRAINED = [(name, options) for name, options in VARIANTS if name != "features"]  # by gradient


@pytest.mark.parametrize(("name", "options"), TRAINED, ids=lambda value: str(value))
def test_one_step_changes_what_is_declared_and_nothing_else(name, options, backbone, batch, labels):
    """Every declared tensor gets a gradient and changes; the backbone's parameters are unchanged bit for bit."""
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    slots, trainable = attach(backbone, name, **options)
    perturb(trainable)
    optimizer = torch.optim.SGD(trainable.parameters(), lr=0.1)
    start = {key: value.detach().clone() for key, value in trainable.named_parameters()}
    slots.install(trainable(trainable.sample_points(4, torch.Generator().manual_seed(3))))
    F.cross_entropy(backbone(batch), labels).backward()
    without = [
        key
        for key, value in trainable.named_parameters()
        if value.grad is None or not value.grad.any()
    ]
    # The bias of a key shifts all scores of a query by the same amount, so its gradient is always 0.
    assert all(key.endswith("key/bias") for key in without)
    optimizer.step()
    moved = [
        key for key, value in trainable.named_parameters() if not torch.equal(value, start[key])
    ]
    assert set(moved) >= set(start) - set(without)
    slots.remove()
    after = backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda value: str(value))
def test_removing_the_slots_leaves_the_model_as_it_was(name, options, backbone, batch):
    """After `remove` the model gives the same logits as before, and has no hook."""
    before = backbone(batch)
    slots, trainable = attach(backbone, name, **options)
    slots.install(perturb(trainable)())
    assert not torch.equal(backbone(batch), before)
    slots.remove()
    assert torch.equal(backbone(batch), before)
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in backbone.model.modules()
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lora", {}),
        ("adapter", {}),
        ("adapter", {"placement": "both", "gate": True}),
        ("simplex", {"base": "lora"}),
        ("simplex", {"base": "lora", "mix": "product"}),
        ("fine-tuning", {}),
        ("bitfit", {}),
        ("ia3", {}),
        ("prefix", {"gate": "zero", "positions": "kept"}),
        ("unipelt", {"parts": "adapter+lora"}),
    ],
)
def test_some_methods_start_at_the_plain_backbone(name, options, backbone, batch):
    """With the same head, LoRA, adapters, (IA)^3 and a prefix with gate 0 start at the logits of the plain backbone."""
    bare, head = attach(backbone, "fine-tuning", layers="none")
    bare.install(head())
    expected = backbone(batch)
    bare.remove()
    slots, trainable = attach(backbone, name, **options)
    tensors = trainable() | head()
    slots.install(tensors)
    assert torch.allclose(backbone(batch), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda value: str(value))
def test_gradients_agree_with_finite_differences(name, options, backbone, batch, labels):
    """The derivative along a random direction equals the difference quotient, in float64."""
    slots, trainable = attach(backbone, name, **options)
    perturb(trainable)
    weights = trainable.sample_points(4, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(5)
    direction = [
        torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in trainable.parameters()
    ]

    def loss():
        slots.install(trainable(weights))
        return F.cross_entropy(backbone.model(**batch), labels)

    loss().backward()
    slope = sum(
        (p.grad * d).sum()
        for p, d in zip(trainable.parameters(), direction, strict=True)
        if p.grad is not None
    )
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(trainable.parameters(), direction, strict=True):
                p += sign * 1e-5 * d
            values.append(float(loss()))
    assert float(slope) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    "name", [name for name in suitable(writes=False) if name != "features"]
)  # features has no head of the model
def test_variants_start_from_the_same_tensors(name, backbone):
    """All methods start from the same head, so that runs are paired by their initial values too."""
    slots, trainable = attach(backbone, name)
    head = {
        key: value[0] for key, value in trainable.vertex_tensors().items() if "classifier" in key
    }
    slots.remove()
    slots, other = attach(backbone, "fine-tuning", layers="none")
    assert head.keys() == other.vertex_tensors().keys()
    assert all(torch.equal(head[key], value[0]) for key, value in other.vertex_tensors().items())


def test_rows_of_a_batch_are_independent(backbone, batch):
    """With a point for every row, the logits of a row equal those of that row alone at its point."""
    slots, trainable = attach(backbone, "simplex")
    perturb(trainable)
    weights = trainable.sample_points(4, torch.Generator().manual_seed(3))
    slots.install(trainable(weights))
    together = backbone(batch)
    for row in range(4):
        slots.install(trainable(weights[row : row + 1]))
        alone = backbone({key: value[row : row + 1] for key, value in batch.items()})
        assert torch.allclose(alone[0], together[row], rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def base():
    """Return a BERT-base with a small vocabulary."""
    shape = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    }
    return random_bert("float32", vocab_size=30, max_position_embeddings=512, **shape)


def count(base, name, **options):
    """Return the number of trained values in a method's slots, without the head."""
    slots = methods.build(name, options).slots(base)
    slots.remove()
    return sum(torch.Size(slot.shape).numel() for slot in slots if slot.role != "head")


def test_numbers_of_trained_parameters_are_the_published_ones(base):
    """For BERT-base, the numbers of parameters equal those of UniPELT, table 4, and of the definitions."""
    counts = {name: count(base, name) for name in ("prefix", "lora", "adapter", "bitfit", "ia3")}
    # BitFit: 8,448 biases per layer, those of the embeddings' norm and of the pooler; IA3: 2 x 768 + 3,072 factors
    # per layer.
    by_definition = {"bitfit": 12 * 8_448 + 2 * 768, "ia3": 12 * (2 * 768 + 3_072)}
    assert counts == {"prefix": 184_320, "lora": 294_912, "adapter": 894_528} | by_definition


def test_a_combined_method_has_the_parameters_of_its_parts_and_gates(base):
    """Each gate of UniPELT has 769 parameters; a layer has one for the prefix, one for the adapter and two for LoRA."""
    assert count(base, "unipelt") == 184_320 + 294_912 + 894_528 + 12 * 4 * 769
    assert count(base, "unipelt", parts="prefix+adapter", gates=False) == 184_320 + 894_528
    assert count(base, "adapter", placement="both") == 2 * 894_528
    assert count(base, "prompt") == 20 * 768
    assert count(base, "prefix", depth="first") == 184_320 / 12


@pytest.mark.parametrize(
    ("name", "share"),
    [("prefix", "0.1%"), ("prefix", "2%"), ("adapter", "0.1%"), ("adapter", "3%")],
)
def test_a_budget_gives_the_size(base, name, share):
    """The number of trained parameters is within half a step of length or width of the share that is set."""
    target = float(share.removesuffix("%")) / 100 * base.architecture.size
    step = {"prefix": 2 * 12 * 768, "adapter": 12 * (2 * 768 + 1)}[name]
    assert abs(count(base, name, budget=share) - target) <= step / 2


@pytest.mark.parametrize("name", ["prefix", "adapter"])
def test_a_budget_that_is_too_small_is_refused_with_the_minimum(base, name):
    """A length or width below 1 is refused; the message gives the share that 1 needs."""
    with pytest.raises(methods.Unsupported, match=r"0\.\d+%"):
        methods.build(name, {"budget": 1e-6}).slots(base)


def test_a_prefix_that_does_not_fit_is_refused_with_the_numbers(backbone):
    """Text and prefix together must not need more positions than the backbone has."""
    with pytest.raises(
        methods.Unsupported,
        match="a prefix of 50 and texts of 20 tokens need 70 positions, this backbone has 64",
    ):
        methods.build("prefix", {"length": 50}).slots(backbone)


def test_more_top_layers_than_exist_are_refused(backbone):
    """A backbone of two layers has no top three."""
    with pytest.raises(methods.Unsupported, match="2 layers"):
        methods.build("fine-tuning", {"layers": "top-3"}).slots(backbone)


def test_top_layers_train_the_top(backbone):
    """`layers=top-1` trains only the last block and the head."""
    slots = methods.build("fine-tuning", {"layers": "top-1"}).slots(backbone)
    names = {slot.name for slot in slots if slot.role == "backbone"}
    assert names
    assert all(".layer.1." in name for name in names)


def test_an_interrupted_forward_pass_does_not_affect_the_next(batch):
    """Filling the slots resets the counter of an attention module that several layers share."""
    backbone = random_bert()
    path = backbone.architecture.attention[0].module
    slots, trainable = attach(backbone, "prefix")
    slots.install(perturb(trainable)())
    expected = backbone(batch)
    backbone.model.get_submodule(
        path
    )._slots_next_call = 1  # as after a pass that failed between two layers
    slots.install(trainable())
    assert torch.equal(backbone(batch), expected)


def test_norms_of_a_head_start_at_the_values_of_the_model(batch):
    """The norm in ModernBERT's head starts at 1, not at random, and all vertices share it."""
    from dataclasses import replace

    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    from harness.backbones import loading
    from harness.jobs import BackboneSpec
    from tests.support.models import NoTokenizer

    config = ModernBertConfig(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        pad_token_id=0,
    )
    spec = BackboneSpec(name="random", revision="0")
    backbone = replace(
        loading.prepare(spec, ModernBertForSequenceClassification(config), NoTokenizer()), outputs=3
    )
    slots, trainable = attach(backbone, "simplex", base="adapter")
    slots.install(trainable(trainable.sample_points(4, torch.Generator().manual_seed(0))))
    logits = backbone({"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]})
    assert logits.shape == (4, 3)
    scale = next(name for name in trainable() if "norm" in name)
    assert torch.equal(trainable()[scale], torch.ones(32))
