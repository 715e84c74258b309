"""Reading a backbone: what is read, in which precision, and what is found out about it."""

import shutil

import pytest
import torch

from harness.backbones import checkpoints, loading
from harness.errors import Unavailable
from harness.jobs import BackboneSpec
from methods.core.dropout import Drawn
from tests.support.models import NoTokenizer


def tiny(**more):
    return loading.load(BackboneSpec(name="tiny", revision="", **more), "cpu")


BATCH = {
    "input_ids": torch.tensor([[2, 9, 10, 11, 3], [2, 9, 10, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
}


def test_weights_are_in_the_precision_asked_for_whatever_the_file_holds():
    """The embedded checkpoint is stored in float16; it is used in float32 by default, and in others if asked."""
    from safetensors import safe_open

    with safe_open(checkpoints.TINY / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118  # not a dictionary
    assert {parameter.dtype for parameter in tiny().model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in tiny(dtype="bfloat16").model.parameters()} == {
        torch.bfloat16
    }


def test_a_backbone_is_frozen_and_in_evaluation_mode():
    """Nothing of it can be trained by accident, and it has no dropout of its own."""
    one = tiny()
    assert not any(
        parameter.requires_grad or parameter.grad is not None
        for parameter in one.model.parameters()
    )
    assert not any(module.training for module in one.model.modules())
    assert torch.equal(one(BATCH), one(BATCH))


def test_only_safetensors_are_read(tmp_path):
    """A folder with pickled weights alone is refused, and the pickle stays unopened."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoints.TINY / name, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(Unavailable, match="no other kind of weights"):
        loading.load(BackboneSpec(name=str(tmp_path), revision=""), "cpu")


def test_a_damaged_checkpoint_is_named(tmp_path):
    """Truncated weights are refused in words."""
    for path in checkpoints.TINY.glob("*.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(
        (checkpoints.TINY / "model.safetensors").read_bytes()[:5000]
    )
    with pytest.raises(Unavailable, match="cannot be read"):
        loading.load(BackboneSpec(name=str(tmp_path), revision=""), "cpu")


def test_a_folders_revision_follows_its_contents(tmp_path):
    """The same files have the same revision elsewhere; a changed byte has another."""
    shutil.copytree(checkpoints.TINY, tmp_path / "a")
    assert checkpoints.revision_of(str(tmp_path / "a")) == checkpoints.revision_of("tiny")
    (tmp_path / "a" / "config.json").write_text(
        (checkpoints.TINY / "config.json").read_text() + " "
    )
    assert checkpoints.revision_of(str(tmp_path / "a")) != checkpoints.revision_of("tiny")


def test_a_folder_that_is_not_there_is_named():
    """A path is not looked for on the Hub."""
    with pytest.raises(Unavailable, match="no folder"):
        checkpoints.revision_of("./nowhere")


def test_mean_pooling_leaves_out_padding_and_cls_takes_the_first():
    """Pooled by hand from the last hidden states, the head's input is the same."""
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(checkpoints.TINY, dtype=torch.float32).eval()
    with torch.no_grad():
        states = plain(**BATCH).last_hidden_state
    by_hand = {"mean": torch.stack([states[0].mean(0), states[1, :4].mean(0)]), "cls": states[:, 0]}
    for pooling, expected in by_hand.items():
        one = tiny(pooling=pooling)
        seen = []
        one.model.classifier.register_forward_pre_hook(
            lambda _module, inputs, kept=seen: kept.append(inputs[0])
        )
        one(BATCH)
        assert torch.allclose(seen[0], expected, atol=1e-5)


def test_padding_changes_nothing():
    """A row's logits do not hang on how long its neighbours are."""
    one = tiny()
    alone = one({name: tensor[1:, :4] for name, tensor in BATCH.items()})
    assert torch.allclose(one(BATCH)[1], alone[0], atol=1e-6)


def test_hidden_dropout_has_a_stream_of_its_own_and_attention_has_none():
    """Masks come from the generator given; without one, and for attention probabilities, nothing is dropped."""
    from transformers import BertConfig, BertForSequenceClassification

    config = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }

    def made(**more):
        torch.manual_seed(0)
        inner = BertForSequenceClassification(BertConfig(**config, **more))
        return loading.prepare(BackboneSpec(name="random", revision=""), inner, NoTokenizer())

    hidden = made(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.0)
    with hidden.dropout(Drawn(torch.Generator().manual_seed(1))):
        first, second = hidden(BATCH), hidden(BATCH)
    with hidden.dropout(Drawn(torch.Generator().manual_seed(1))):
        again = hidden(BATCH)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    attention = made(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    with attention.dropout(Drawn(torch.Generator().manual_seed(1))):
        assert torch.equal(
            attention(BATCH), made(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)(BATCH)
        )
