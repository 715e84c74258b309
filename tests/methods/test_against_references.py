"""Methods against computations that share no code with them."""

import pytest
import torch

import methods
from harness.streams import Streams
from tests.support.models import attach, perturb, random_bert


def stock(backbone):
    """The library's own model inside a backbone, on the library's own attention."""
    return backbone.model.inner


@pytest.mark.parametrize("decoder", ["one", "per-layer", "none"])
@pytest.mark.parametrize("positions", ["shifted", "kept"])
def test_a_prefix_equals_keys_and_values_that_the_library_caches(
    decoder, positions, backbone, batch
):
    """Prefixes in front of every layer's attention give the logits of the library's cache of past keys and values."""
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
        place = f"inner.bert.encoder.layer.{layer}.attention.self.prefix"
        key, value = (
            tensors[f"{place}_key_0"],
            tensors[f"{place}_value_0"],
        )  # [heads, length, width]
        cache.update(key.expand(4, -1, -1, -1), value.expand(4, -1, -1, -1), layer)
    mask = torch.cat([torch.ones(4, 5, dtype=torch.long), batch["attention_mask"]], dim=1)
    more = {} if positions == "shifted" else {"position_ids": torch.arange(9)[None]}
    theirs = model(**(batch | {"attention_mask": mask}), past_key_values=cache, **more).logits
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


def test_lora_equals_merged_weights(backbone, batch):
    """Adding alpha / rank * B A to the weights themselves gives the same logits."""
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
                place = name.removesuffix(".lora_a")
                backbone.model.get_parameter(f"{place}.weight").add_(
                    5 / 3 * tensors[f"{place}.lora_b"] @ tensor
                )
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def test_an_adapter_equals_its_formula(batch):
    """With one layer: what leaves the feed-forward block is x + up(relu(down(x)))."""
    backbone = random_bert(num_hidden_layers=1)
    seen = {}
    place = "inner.bert.encoder.layer.0.output.dense"
    handle = backbone.model.get_submodule(place).register_forward_hook(
        lambda _m, _i, out: seen.setdefault("plain", out)
    )
    backbone(batch)
    handle.remove()
    slots, trainable = attach(backbone, "adapter", bottleneck=6)
    tensors = perturb(trainable)()
    slots.install(tensors)
    handle = backbone.model.get_submodule(place).register_forward_hook(
        lambda _m, _i, out: seen.setdefault("adapted", out)
    )
    backbone(batch)
    handle.remove()
    x = seen["plain"]
    low = torch.clamp(x @ tensors[f"{place}.down"].T + tensors[f"{place}.down_bias"], min=0)
    assert torch.allclose(
        seen["adapted"],
        x + low @ tensors[f"{place}.up"].T + tensors[f"{place}.up_bias"],
        rtol=0,
        atol=1e-12,
    )


def test_the_plain_model_is_untouched_by_our_attention(batch):
    """Without slots, the logits are those of the library's eager attention."""
    backbone = random_bert()
    ours = backbone(batch)
    stock(backbone).set_attn_implementation("eager")
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def test_ia3_equals_scaled_weights(backbone, batch):
    """Factors on keys, values and the feed-forward block are the same as rows and columns of their weights scaled."""
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
                    linear.weight *= tensor  # columns: what it reads
                else:
                    linear.weight *= tensor[:, None]
                    linear.bias *= tensor
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def plain_head(backbone, tensors):
    """Leave the backbone with the head that is in some tensors, and nothing else."""
    slots, trainable = attach(backbone, "fine-tuning", layers="none")
    slots.install({name: tensors[name] for name in trainable()})


def activations(backbone, tokens):
    """Keys and values that the library caches for tokens, layer by layer: `[heads, tokens, width]`."""
    with torch.no_grad():
        model = stock(backbone).bert
        states = model.embeddings(input_ids=tokens)
        found = []
        for layer in model.encoder.layer:
            own = layer.attention.self
            found += [
                part(states)[0].unflatten(-1, (4, 8)).transpose(0, 1)
                for part in (own.key, own.value)
            ]
            states = layer(states)
    return found


@pytest.mark.parametrize("decoder", ["none", "one", "per-layer"])
@pytest.mark.parametrize("length", [2, 5, 7])
def test_a_prefix_of_words_starts_at_their_activations(decoder, length, backbone):
    """Keys and values of real words in the frozen backbone, also through a perceptron.

    Words fill the length asked for.
    """
    ids = torch.tensor([([6, 7, 8, 9, 10] * 2)[:length]])  # the tokenizer makes 5 + a word's length
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
    found = [tensor for name, tensor in trainable().items() if "prefix_" in name]
    assert len(found) == len(expected) == 4
    assert all(
        torch.allclose(ours, theirs, atol=1e-5)
        for ours, theirs in zip(found, expected, strict=True)
    )
    slots.remove()


def test_a_perceptron_that_is_too_narrow_for_the_words_is_refused(backbone):
    """More rows than hidden units cannot all be fitted; the message says how wide it must be."""
    method = methods.build("prefix", {"length": 9, "hidden": 8, "init": "words", "words": "a bb"})
    slots = method.slots(backbone)
    with pytest.raises(methods.Unsupported, match="hidden=9 or more"):
        method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    slots.remove()


def test_simple_share_gives_what_the_frozen_projections_make_of_normed_rows(backbone):
    """One table a layer.

    Its rows, brought to mean 0 and spread 1, through that layer's own key and value projection.
    """
    slots, trainable = attach(backbone, "prefix", decoder="simple-share", length=3)
    latent = trainable._per_vertex["latent"][0]  # [layers, length, hidden]
    tensors = trainable()
    slots.remove()
    for layer in range(2):
        rows = (latent[layer] - latent[layer].mean(-1, keepdim=True)) / (
            latent[layer].var(-1, correction=0, keepdim=True) + 1e-5
        ).sqrt()
        own = stock(backbone).bert.encoder.layer[layer].attention.self
        for part, name in ((own.key, "prefix_key_0"), (own.value, "prefix_value_0")):
            expected = part(rows).unflatten(-1, (4, 8)).transpose(0, 1)
            found = tensors[f"inner.bert.encoder.layer.{layer}.attention.self.{name}"]
            assert torch.allclose(found, expected, atol=1e-5)
    assert [name for name, _ in trainable.named_parameters() if "classifier" not in name] == [
        "_per_vertex.latent"
    ]


def prompted(backbone, batch, **options):
    """Logits with a prompt, the prompt, and the library's model with the same head and no prompt."""
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
def test_a_prompt_equals_embeddings_put_in_front_by_hand(pool, backbone, batch):
    """The library's encoder on prompt and text together, pooled at the text's first token, or at the prompt's as PEFT does."""
    ours, prompt, model = prompted(backbone, batch, pool=pool)
    embedded = model.bert.embeddings.word_embeddings(batch["input_ids"])
    together = torch.cat([prompt.expand(4, -1, -1), embedded], dim=1)
    mask = torch.cat([torch.ones(4, 3, dtype=torch.long), batch["attention_mask"]], dim=1)
    states = model.bert(inputs_embeds=together, attention_mask=mask).last_hidden_state
    first = states[:, 3 if pool == "text" else 0]
    pooled = torch.tanh(model.bert.pooler.dense(first))
    assert torch.allclose(ours, model.classifier(pooled), rtol=0, atol=1e-12)


def test_a_prompt_of_words_is_their_embeddings(backbone):
    """As many rows as asked for, each the embedding of a token; tokens of the vocabulary's beginning otherwise."""
    table = stock(backbone).bert.embeddings.word_embeddings.weight
    slots, trainable = attach(backbone, "prompt", length=4, init="words", words="a bb ccc")
    prompt = next(tensor for name, tensor in trainable().items() if name.endswith("prompt"))
    assert torch.allclose(prompt, table[[6, 7, 8, 6]], atol=1e-6)
    slots.remove()
    slots, trainable = attach(backbone, "prompt", length=4)
    prompt = next(tensor for name, tensor in trainable().items() if name.endswith("prompt"))
    assert all((row - table).abs().sum(1).min() < 1e-5 for row in prompt)


def test_a_causal_model_pools_the_last_real_token_behind_a_prompt():
    """GPT-2 classifies at the last token that is no padding, with a prompt in front as without."""
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


def test_a_gated_part_is_weighed_by_its_gate(backbone, batch):
    """The gate is the mean over real tokens of a sigmoid of one linear output.

    It multiplies the part's contribution.
    """
    slots, trainable = attach(backbone, "lora", gate=True, targets="query", rank=3)
    tensors = perturb(trainable)()
    place = "inner.bert.encoder.layer.0.attention.self.query"
    seen = {}
    slots.install(tensors)

    def watch(_module, inputs, output):
        seen["found"] = (inputs[0], output)

    handle = backbone.model.get_submodule(place).register_forward_hook(watch)
    backbone(batch)
    handle.remove()
    slots.remove()
    x, found = seen["found"]
    own = backbone.model.get_submodule(place)(x)
    opening = torch.sigmoid(
        x @ tensors[f"{place}.lora_gate"] + tensors[f"{place}.lora_gate_bias"]
    )  # [rows, tokens]
    real = batch["attention_mask"]
    gate = (opening * real).sum(1) / real.sum(1)
    update = 16 / 3 * x @ tensors[f"{place}.lora_a"].T @ tensors[f"{place}.lora_b"].T
    assert torch.allclose(found, own + gate[:, None, None] * update, rtol=0, atol=1e-12)


def test_a_gated_prefix_is_scaled_row_by_row(backbone, batch):
    """UniPELT's gate multiplies keys and values of the prefix, so each row equals a plain prefix scaled by its own gate."""
    options = {"decoder": "none", "depth": "first", "length": 3, "positions": "kept"}
    slots, trainable = attach(backbone, "prefix", gate="input", **options)
    tensors = perturb(trainable)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    place = "inner.bert.encoder.layer.0.attention.self"
    x = stock(backbone).bert.embeddings(batch["input_ids"])
    opening = torch.sigmoid(
        x @ tensors[f"{place}.prefix_gate"] + tensors[f"{place}.prefix_gate_bias"]
    )
    real = batch["attention_mask"]
    for row, gate in enumerate((opening * real).sum(1) / real.sum(1)):
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
