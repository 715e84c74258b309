"""Methods against computations that share no code with them."""

import pytest
import torch

from tests.methods.conftest import attached, random_bert, shaken


def stock(backbone):
    """The library's own model inside a backbone, on the library's own attention."""
    return backbone.model.inner


@pytest.mark.parametrize("decoder", ["one", "per-layer", "none"])
@pytest.mark.parametrize("positions", ["shifted", "kept"])
def test_a_prefix_equals_keys_and_values_that_the_library_caches(decoder, positions, backbone, batch):
    """Prefixes in front of every layer's attention give the logits of the library's cache of past keys and values."""
    from transformers import DynamicCache

    slots, source = attached(backbone, "prefix", length=5, decoder=decoder, positions=positions, hidden=16)
    tensors = shaken(source)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    head, plain = attached(backbone, "fine-tuning", layers="none")
    head.install({key: tensors[key] for key in plain()})
    model = stock(backbone)
    model.set_attn_implementation("eager")
    cache = DynamicCache()
    for layer in range(2):
        place = f"inner.bert.encoder.layer.{layer}.attention.self.prefix"
        key, value = tensors[f"{place}_key_0"], tensors[f"{place}_value_0"]  # [heads, length, width]
        cache.update(key.expand(4, -1, -1, -1), value.expand(4, -1, -1, -1), layer)
    mask = torch.cat([torch.ones(4, 5, dtype=torch.long), batch["attention_mask"]], dim=1)
    more = {} if positions == "shifted" else {"position_ids": torch.arange(9)[None]}
    theirs = model(**(batch | {"attention_mask": mask}), past_key_values=cache, **more).logits
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


def test_lora_equals_merged_weights(backbone, batch):
    """Adding alpha / rank * B A to the weights themselves gives the same logits."""
    slots, source = attached(backbone, "lora", rank=3, alpha=5)
    tensors = shaken(source)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    head, plain = attached(backbone, "fine-tuning", layers="none")
    head.install({key: tensors[key] for key in plain()})
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.endswith("lora_a"):
                place = name.removesuffix(".lora_a")
                backbone.model.get_parameter(f"{place}.weight").add_(5 / 3 * tensors[f"{place}.lora_b"] @ tensor)
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def test_an_adapter_equals_its_formula(batch):
    """With one layer: what leaves the feed-forward block is x + up(relu(down(x)))."""
    backbone = random_bert(num_hidden_layers=1)
    seen = {}
    place = "inner.bert.encoder.layer.0.output.dense"
    handle = backbone.model.get_submodule(place).register_forward_hook(lambda _m, _i, out: seen.setdefault("plain", out))
    backbone(batch)
    handle.remove()
    slots, source = attached(backbone, "adapter", bottleneck=6)
    tensors = shaken(source)()
    slots.install(tensors)
    handle = backbone.model.get_submodule(place).register_forward_hook(lambda _m, _i, out: seen.setdefault("adapted", out))
    backbone(batch)
    handle.remove()
    x = seen["plain"]
    low = torch.clamp(x @ tensors[f"{place}.down"].T + tensors[f"{place}.down_bias"], min=0)
    assert torch.allclose(seen["adapted"], x + low @ tensors[f"{place}.up"].T + tensors[f"{place}.up_bias"], rtol=0, atol=1e-12)


def test_the_plain_model_is_untouched_by_our_attention(batch):
    """Without slots, the logits are those of the library's eager attention."""
    backbone = random_bert()
    ours = backbone(batch)
    stock(backbone).set_attn_implementation("eager")
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def test_ia3_equals_scaled_weights(backbone, batch):
    """Factors on keys, values and the feed-forward block are the same as rows and columns of their weights scaled."""
    slots, source = attached(backbone, "ia3")
    tensors = shaken(source)()
    slots.install(tensors)
    ours = backbone(batch)
    slots.remove()
    head, plain = attached(backbone, "fine-tuning", layers="none")
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
