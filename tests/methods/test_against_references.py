"""Methods compared with computations that share no code with them."""

import pytest
import torch

import methods
from harness.streams import Streams
from tests.support.models import attach, perturb, random_bert


def stock(backbone):
    """Return the library's model inside a backbone."""
    return backbone.model.inner


@pytest.mark.parametrize("decoder", ["one", "per-layer", "none"])
@pytest.mark.parametrize("positions", ["shifted", "kept"])
def test_a_prefix_equals_keys_and_values_that_the_library_caches(
    decoder, positions, backbone, batch
):
    """A prefix gives the same logits as the library's cache of past keys and values."""
    from transformers import DynamicCache

    slots, trainable = attach(
        backbone, "prefix", length=5, decoder=decoder, positions=positions, hidden=16
    )
    tensors = perturb(trainable)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    head, plain = attach(backbone, "fine-tuning", layers="none")
    head.install({key: tensors[key] for key in plain()})
    model = stock(backbone)
    model.set_attn_implementation("eager")
    cache = DynamicCache()
    for layer in range(2):
        path = f"inner.bert.encoder.layer.{layer}.attention.self.prefix"
        key, value = (
            tensors[f"{path}_key_0"],
            tensors[f"{path}_value_0"],
        )  # [heads, length, width]
        cache.update(key.expand(4, -1, -1, -1), value.expand(4, -1, -1, -1), layer)
    mask = torch.cat([torch.ones(4, 5, dtype=torch.long), batch["attention_mask"]], dim=1)
    more = {} if positions == "shifted" else {"position_ids": torch.arange(9)[None]}
    theirs = model(**(batch | {"attention_mask": mask}), past_key_values=cache, **more).logits
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


def test_lora_equals_merged_weights(backbone, batch):
    """Adding alpha / rank * B A to the weights gives the same logits."""
    slots, trainable = attach(backbone, "lora", rank=3, alpha=5)
    tensors = perturb(trainable)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    head, plain = attach(backbone, "fine-tuning", layers="none")
    head.install({key: tensors[key] for key in plain()})
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.endswith("lora_a"):
                path = name.removesuffix(".lora_a")
                backbone.model.get_parameter(f"{path}.weight").add_(
                    5 / 3 * tensors[f"{path}.lora_b"] @ tensor
                )
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def test_an_adapter_equals_its_formula(batch):
    """With one layer, the output of the feed-forward block is x + up(relu(down(x)))."""
    backbone = random_bert(num_hidden_layers=1)
    outputs = {}
    path = "inner.bert.encoder.layer.0.output.dense"
    handle = backbone.model.get_submodule(path).register_forward_hook(
        lambda _m, _i, out: outputs.setdefault("plain", out)
    )
    backbone(batch)
    handle.remove()
    slots, trainable = attach(backbone, "adapter", bottleneck=6)
    tensors = perturb(trainable)()
    slots.install(tensors)
    handle = backbone.model.get_submodule(path).register_forward_hook(
        lambda _m, _i, out: outputs.setdefault("adapted", out)
    )
    backbone(batch)
    handle.remove()
    x = outputs["plain"]
    low = torch.clamp(x @ tensors[f"{path}.down"].T + tensors[f"{path}.down_bias"], min=0)
    assert torch.allclose(
        outputs["adapted"],
        x + low @ tensors[f"{path}.up"].T + tensors[f"{path}.up_bias"],
        rtol=0,
        atol=1e-12,
    )


def test_without_slots_our_attention_equals_the_librarys(batch):
    """Without slots, the logits equal those of the library's eager attention."""
    backbone = random_bert()
    ours = backbone(batch)
    stock(backbone).set_attn_implementation("eager")
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def test_ia3_equals_scaled_weights(backbone, batch):
    """Factors on keys, values and the feed-forward block equal scaled rows and columns of the weights."""
    slots, trainable = attach(backbone, "ia3")
    tensors = perturb(trainable)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    head, plain = attach(backbone, "fine-tuning", layers="none")
    head.install({key: tensors[key] for key in plain()})
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.endswith(".scale"):
                linear = backbone.model.get_submodule(name.removesuffix(".scale"))
                if name.endswith("output.dense.scale"):
                    linear.weight *= tensor  # columns: its inputs
                else:
                    linear.weight *= tensor[:, None]
                    linear.bias *= tensor
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def plain_head(backbone, tensors):
    """Install only the head of these tensors in the backbone."""
    slots, trainable = attach(backbone, "fine-tuning", layers="none")
    slots.install({name: tensors[name] for name in trainable()})


def activations(backbone, tokens):
    """Return the keys and values of tokens, layer by layer: `[heads, tokens, width]`."""
    with torch.no_grad():
        model = stock(backbone).bert
        states = model.embeddings(input_ids=tokens)
        tensors = []
        for layer in model.encoder.layer:
            attention = layer.attention.self
            tensors += [
                part(states)[0].unflatten(-1, (4, 8)).transpose(0, 1)
                for part in (attention.key, attention.value)
            ]
            states = layer(states)
    return tensors


@pytest.mark.parametrize("decoder", ["none", "one", "per-layer"])
@pytest.mark.parametrize("length", [2, 5, 7])
def test_a_prefix_of_words_starts_at_their_activations(decoder, length, backbone):
    """A prefix starts at the keys and values of real words, which are repeated or cut, also through an MLP."""
    ids = torch.tensor([([6, 7, 8, 9, 10] * 2)[:length]])  # the tokenizer gives 5 + a word's length
    expected = activations(backbone, ids)
    slots, trainable = attach(
        backbone,
        "prefix",
        decoder=decoder,
        hidden=64,
        length=length,
        init="words",
        words="a bb ccc dddd eeeee",
    )
    prefix = [tensor for name, tensor in trainable().items() if "prefix_" in name]
    assert len(prefix) == len(expected) == 4
    assert all(
        torch.allclose(ours, theirs, atol=1e-5)
        for ours, theirs in zip(prefix, expected, strict=True)
    )
    slots.remove()


def test_an_mlp_that_is_too_narrow_for_the_words_is_refused(backbone):
    """More latent vectors than hidden units cannot be fitted; the message states the width that is needed."""
    method = methods.build("prefix", {"length": 9, "hidden": 8, "init": "words", "words": "a bb"})
    slots = method.slots(backbone)
    with pytest.raises(methods.Unsupported, match="hidden=9 or more"):
        method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    slots.remove()


def test_simple_share_applies_the_frozen_projections_to_normalised_vectors(backbone):
    """Keys and values of a layer are its own projections of its latent vectors with mean 0 and deviation 1."""
    slots, trainable = attach(backbone, "prefix", decoder="simple-share", length=3)
    latent = trainable._per_vertex["latent"][0]  # [layers, length, hidden]
    tensors = trainable()
    slots.remove()
    for layer in range(2):
        rows = (latent[layer] - latent[layer].mean(-1, keepdim=True)) / (
            latent[layer].var(-1, correction=0, keepdim=True) + 1e-5
        ).sqrt()
        attention = stock(backbone).bert.encoder.layer[layer].attention.self
        for part, name in ((attention.key, "prefix_key_0"), (attention.value, "prefix_value_0")):
            expected = part(rows).unflatten(-1, (4, 8)).transpose(0, 1)
            actual = tensors[f"inner.bert.encoder.layer.{layer}.attention.self.{name}"]
            assert torch.allclose(actual, expected, atol=1e-5)
    assert [name for name, _ in trainable.named_parameters() if "classifier" not in name] == [
        "_per_vertex.latent"
    ]


def prompted(backbone, batch, **options):
    """Return the logits with a prompt, the prompt, and the library's model with the same head and no prompt."""
    slots, trainable = attach(backbone, "prompt", length=3, **options)
    tensors = perturb(trainable)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    plain_head(backbone, tensors)
    return (
        ours,
        next(tensor for name, tensor in tensors.items() if name.endswith("prompt")),
        stock(backbone),
    )


@pytest.mark.parametrize("pool", ["text", "prompt"])
def test_a_prompt_equals_embeddings_prepended_by_hand(pool, backbone, batch):
    """The library's encoder gives the same logits for prompt and text, pooled at the first token of either."""
    ours, prompt, model = prompted(backbone, batch, pool=pool)
    embedded = model.bert.embeddings.word_embeddings(batch["input_ids"])
    together = torch.cat([prompt.expand(4, -1, -1), embedded], dim=1)
    mask = torch.cat([torch.ones(4, 3, dtype=torch.long), batch["attention_mask"]], dim=1)
    states = model.bert(inputs_embeds=together, attention_mask=mask).last_hidden_state
    first = states[:, 3 if pool == "text" else 0]
    pooled = torch.tanh(model.bert.pooler.dense(first))
    assert torch.allclose(ours, model.classifier(pooled), rtol=0, atol=1e-12)


def test_a_prompt_of_words_starts_at_their_embeddings(backbone):
    """A prompt of words starts at their embeddings, repeated to the length; by default at those of common tokens."""
    table = stock(backbone).bert.embeddings.word_embeddings.weight
    slots, trainable = attach(backbone, "prompt", length=4, init="words", words="a bb ccc")
    prompt = next(tensor for name, tensor in trainable().items() if name.endswith("prompt"))
    assert torch.allclose(prompt, table[[6, 7, 8, 6]], atol=1e-6)
    slots.remove()
    slots, trainable = attach(backbone, "prompt", length=4)
    prompt = next(tensor for name, tensor in trainable().items() if name.endswith("prompt"))
    assert all((row - table).abs().sum(1).min() < 1e-5 for row in prompt)


def test_a_causal_model_pools_the_last_real_token_after_a_prompt():
    """GPT-2 classifies at the last token that is not padding, with and without a prompt."""
    from tests.support.families import family_backbone as family
    from tests.support.families import family_batch as rows_of

    rows = rows_of("GPT2")
    ours, prompt, model = prompted(family("GPT2"), rows)
    for row, length in enumerate([9, 6, 9, 9]):
        text = model.transformer.wte(rows["input_ids"][row : row + 1, :length])
        states = model.transformer(
            inputs_embeds=torch.cat([prompt[None], text], dim=1)
        ).last_hidden_state
        assert torch.allclose(ours[row], model.score(states[0, -1]), rtol=0, atol=1e-9)


def test_a_gate_scales_the_update_of_lora(backbone, batch):
    """The gate is the mean over real tokens of a sigmoid of one linear output, and multiplies the update."""
    slots, trainable = attach(backbone, "lora", gate=True, targets="query", rank=3)
    tensors = perturb(trainable)()
    path = "inner.bert.encoder.layer.0.attention.self.query"
    outputs = {}
    slots.install(tensors)

    def record(_module, inputs, output):
        outputs["query"] = (inputs[0], output)

    handle = backbone.model.get_submodule(path).register_forward_hook(record)
    backbone(batch)
    handle.remove()
    slots.remove()
    x, output = outputs["query"]
    plain = backbone.model.get_submodule(path)(x)
    gates = torch.sigmoid(
        x @ tensors[f"{path}.lora_gate"] + tensors[f"{path}.lora_gate_bias"]
    )  # [rows, tokens]
    real = batch["attention_mask"]
    gate = (gates * real).sum(1) / real.sum(1)
    update = 16 / 3 * x @ tensors[f"{path}.lora_a"].T @ tensors[f"{path}.lora_b"].T
    assert torch.allclose(output, plain + gate[:, None, None] * update, rtol=0, atol=1e-12)


def test_a_gated_prefix_is_scaled_row_by_row(backbone, batch):
    """With UniPELT's gate, each row equals a plain prefix scaled by the gate of that row."""
    options = {"decoder": "none", "depth": "first", "length": 3, "positions": "kept"}
    slots, trainable = attach(backbone, "prefix", gate="input", **options)
    tensors = perturb(trainable)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    path = "inner.bert.encoder.layer.0.attention.self"
    x = stock(backbone).bert.embeddings(batch["input_ids"])
    gates = torch.sigmoid(x @ tensors[f"{path}.prefix_gate"] + tensors[f"{path}.prefix_gate_bias"])
    real = batch["attention_mask"]
    for row, gate in enumerate((gates * real).sum(1) / real.sum(1)):
        slots, _ = attach(backbone, "prefix", **options)
        plain = {
            name: tensor * gate if "prefix_" in name else tensor
            for name, tensor in tensors.items()
            if "gate" not in name
        }
        slots.install(plain)
        alone = backbone({name: tensor[row : row + 1] for name, tensor in batch.items()})
        slots.remove()
        assert torch.allclose(ours[row], alone[0], rtol=0, atol=1e-12)
