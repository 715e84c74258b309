"""A small random BERT whose every number is in float64, so that rounding hides nothing."""

from dataclasses import replace

import pytest
import torch

import methods
from harness.backbones import loading
from harness.jobs import BackboneSpec
from harness.streams import Streams
from methods.core.parameters import Source


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


@pytest.fixture
def backbone():
    return random_bert()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, 99, (4, 9), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, 6:] = 0
    return {"input_ids": tokens, "attention_mask": mask, "token_type_ids": torch.zeros_like(tokens)}


@pytest.fixture
def labels():
    return torch.tensor([0, 2, 1, 0])


def attached(backbone, name, **options):
    """The slots of a method on a backbone and a source for them, in the backbone's precision."""
    method = methods.build(name, options)
    slots = method.slots(backbone)
    source = method.source(slots, Streams(("task", 50, 0, 0)))
    return slots, source.to(next(backbone.model.parameters()).dtype)


def shaken(source: Source, scale: float = 0.1) -> Source:
    """Every trained tensor moved a little, so that what starts at zero takes part."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter += scale * torch.randn(
                parameter.shape, generator=generator, dtype=parameter.dtype
            )
    return source
