"""Fixtures that the tests of methods share: a small random BERT in float64, a batch and its labels."""

import pytest
import torch

from tests.support.models import random_bert


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
