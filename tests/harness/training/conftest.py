"""Fixtures of the tests of training."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Use one thread: with several, the split of a tensor would decide about last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
