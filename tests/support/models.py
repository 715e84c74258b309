"""A small random BERT in float64, and methods attached to it."""

from dataclasses import replace

import torch

import methods
from harness.backbones import loading
from harness.jobs import BackboneSpec
from harness.streams import Streams
from methods.core.parameters import TrainableParameters


class NoTokenizer:
    """Stands where a tokenizer would: these tests make their own tokens, but for words, each of which is its length."""

    pad_token_id = 0

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [5 + len(word) for word in text.split()]}


def random_bert(dtype="float64", outputs=3, **options):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "max_position_embeddings": 64, "initializer_range": 0.2,
    }  # fmt: skip
    inner = BertForSequenceClassification(BertConfig(**(config | options)))
    spec = BackboneSpec(name="random", revision="0", dtype=dtype)
    return replace(loading.prepare(spec, inner, NoTokenizer()), outputs=outputs, max_length=20)


def attach(backbone, name, **options):
    """The slots of a method on a backbone and a source for them, in the backbone's precision."""
    method = methods.build(name, options)
    slots = method.slots(backbone)
    trainable = method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    return slots, trainable.to(next(backbone.model.parameters()).dtype)


def perturb(trainable: TrainableParameters, scale: float = 0.1) -> TrainableParameters:
    """Every trained tensor moved a little, so that what starts at zero takes part."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in trainable.parameters():
            parameter += scale * torch.randn(
                parameter.shape, generator=generator, dtype=parameter.dtype
            )
    return trainable
