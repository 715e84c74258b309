"""Loading a backbone: files, precision, pooling and dropout."""

import shutil

import pytest
import torch

from harness.backbones import checkpoints, loading
from harness.errors import Unavailable
from harness.jobs import BackboneSpec
from methods.core.dropout import RandomMasks
from tests.support.models import NoTokenizer


def tiny(**more):
    return loading.load(BackboneSpec(name="tiny", revision="", **more), "cpu")


BATCH = {
    "input_ids": torch.tensor([[2, 9, 10, 11, 3], [2, 9, 10, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
}


def test_weights_are_loaded_in_the_requested_precision():
    """The embedded checkpoint, stored in float16, is loaded in float32 by default and in bfloat16 on request."""
    from safetensors import safe_open

    with safe_open(checkpoints.EMBEDDED["tiny"] / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118  # not a dictionary
    assert {parameter.dtype for parameter in tiny().model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in tiny(dtype="bfloat16").model.parameters()} == {
        torch.bfloat16
    }


def test_a_backbone_is_frozen_and_in_evaluation_mode():
    """No parameter of a loaded backbone is trainable, and two forward passes are equal."""
    backbone = tiny()
    assert not any(
        parameter.requires_grad or parameter.grad is not None
        for parameter in backbone.model.parameters()
    )
    assert not any(module.training for module in backbone.model.modules())
    assert torch.equal(backbone(BATCH), backbone(BATCH))


def test_only_safetensors_are_read(tmp_path):
    """A folder that has only pickled weights is refused, and the pickle is not opened."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoints.EMBEDDED["tiny"] / name, tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(Unavailable, match="no other format of weights"):
        loading.load(BackboneSpec(name=str(tmp_path), revision=""), "cpu")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    """Truncated weights end in a message, not in an exception of the library."""
    for path in checkpoints.EMBEDDED["tiny"].glob("*.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(
        (checkpoints.EMBEDDED["tiny"] / "model.safetensors").read_bytes()[:5000]
    )
    with pytest.raises(Unavailable, match="cannot load"):
        loading.load(BackboneSpec(name=str(tmp_path), revision=""), "cpu")


def test_the_revision_of_a_folder_is_a_hash_of_its_contents(tmp_path):
    """A copy of a folder has the same revision; a changed byte gives another one."""
    shutil.copytree(checkpoints.EMBEDDED["tiny"], tmp_path / "a")
    assert checkpoints.revision_of(str(tmp_path / "a")) == checkpoints.revision_of("tiny")
    (tmp_path / "a" / "config.json").write_text(
        (checkpoints.EMBEDDED["tiny"] / "config.json").read_text() + " "
    )
    assert checkpoints.revision_of(str(tmp_path / "a")) != checkpoints.revision_of("tiny")


def test_a_missing_folder_is_reported():
    """A path is not requested from the Hub."""
    with pytest.raises(Unavailable, match="no folder"):
        checkpoints.revision_of("./nowhere")


def test_mean_pooling_ignores_padding_and_cls_takes_the_first_token():
    """The head's input equals hidden states that are pooled by hand."""
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(checkpoints.EMBEDDED["tiny"], dtype=torch.float32).eval()
    with torch.no_grad():
        states = plain(**BATCH).last_hidden_state
    by_hand = {"mean": torch.stack([states[0].mean(0), states[1, :4].mean(0)]), "cls": states[:, 0]}
    for pooling, expected in by_hand.items():
        backbone = tiny(pooling=pooling)
        inputs_seen = []
        backbone.model.classifier.register_forward_pre_hook(
            lambda _module, inputs, kept=inputs_seen: kept.append(inputs[0])
        )
        backbone(BATCH)
        assert torch.allclose(inputs_seen[0], expected, atol=1e-5)


def test_padding_does_not_change_logits():
    """The logits of an example do not depend on the length of the other examples in its batch."""
    backbone = tiny()
    alone = backbone({name: tensor[1:, :4] for name, tensor in BATCH.items()})
    assert torch.allclose(backbone(BATCH)[1], alone[0], atol=1e-6)


def test_hidden_dropout_uses_the_given_generator_and_attention_dropout_is_off():
    """Masks come from the generator; without one, and for attention probabilities, nothing is dropped."""
    from transformers import BertConfig, BertForSequenceClassification

    config = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }

    def random_bert(**more):
        torch.manual_seed(0)
        inner = BertForSequenceClassification(BertConfig(**config, **more))
        return loading.prepare(BackboneSpec(name="random", revision=""), inner, NoTokenizer())

    hidden = random_bert(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.0)
    with hidden.dropout(RandomMasks(torch.Generator().manual_seed(1))):
        first, second = hidden(BATCH), hidden(BATCH)
    with hidden.dropout(RandomMasks(torch.Generator().manual_seed(1))):
        repeated = hidden(BATCH)
    assert torch.equal(first, repeated)
    assert not torch.equal(first, second)
    attention = random_bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    with attention.dropout(RandomMasks(torch.Generator().manual_seed(1))):
        assert torch.equal(
            attention(BATCH),
            random_bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)(BATCH),
        )
