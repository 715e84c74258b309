"""The cache with room for the tokens to come."""

import pytest
import torch
from transformers import Gemma2Config, LlamaConfig
from transformers.cache_utils import DynamicCache, DynamicLayer

from harness.training import token_cache

LLAMA = LlamaConfig(num_hidden_layers=2)


def states(tokens, seed, rows=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, rows, 2, tokens, 4, generator=generator)  # keys and values


@pytest.mark.parametrize("room", [1, 3, 20])
def test_it_returns_what_the_library_returns(room):
    """Keys and values of every layer equal those of the library's cache, also where the room is used up."""
    ours, theirs = token_cache.with_room(LLAMA, room), DynamicCache(config=LLAMA)
    for step, tokens in enumerate([5, 1, 1, 1, 2, 1]):
        for layer in range(2):
            keys, values = states(tokens, 10 * step + layer)
            for mine, other in zip(
                ours.update(keys, values, layer), theirs.update(keys, values, layer), strict=True
            ):
                assert torch.equal(mine, other)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_a_new_token_does_not_copy_the_earlier_ones():
    """The keys stay where they are while there is room."""
    cache = token_cache.with_room(LLAMA, 4)
    first, _ = cache.update(*states(5, 0), 0)
    second, _ = cache.update(*states(1, 1), 0)
    assert first.data_ptr() == second.data_ptr()


def test_it_continues_from_rows_that_the_library_selected():
    """A selection of rows replaces the tensors; later tokens stand behind the selected rows."""
    ours, theirs = token_cache.with_room(LLAMA, 4), DynamicCache(config=LLAMA)
    for cache in (ours, theirs):
        cache.update(*states(5, 0), 0)
        cache.layers[0].batch_select_indices(torch.tensor([2, 0]))
    more = states(1, 1, rows=2)
    for mine, other in zip(ours.update(*more, 0), theirs.update(*more, 0), strict=True):
        assert torch.equal(mine, other)


def test_layers_with_a_local_window_are_those_of_the_library():
    """Such a layer drops old tokens, which ours would keep."""
    config = Gemma2Config(num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"])
    local, full = token_cache.with_room(config, 4).layers
    assert type(local) is type(DynamicCache(config=config).layers[0])
    assert isinstance(full, DynamicLayer)
    assert type(full) is not DynamicLayer
