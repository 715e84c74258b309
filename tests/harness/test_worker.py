"""What a worker gives back, and what it does not keep."""

import math

import pytest

from harness.outcome import pack_predictions, unpack_predictions


@pytest.mark.parametrize("values", [[0, 1, 1, 0], [0, 255, 256, 65_536], []])
def test_class_numbers_come_back(values):
    """Whatever the number of classes."""
    assert unpack_predictions(pack_predictions(values, regression=False)) == values


def test_values_come_back_in_single_precision_or_more():
    """Values of a regression, also those that single precision cannot hold."""
    assert unpack_predictions(pack_predictions([1.5, -2.25], regression=True)) == [1.5, -2.25]
    assert unpack_predictions(pack_predictions([1e39], regression=True)) == [1e39]
    found = unpack_predictions(pack_predictions([math.pi], regression=True))
    assert found == pytest.approx([math.pi], rel=1e-7)
