"""Values per test row survive compression."""

import numpy as np
import pytest

from harness.outcome import (
    pack_predictions,
    pack_probabilities,
    pack_texts,
    unpack_predictions,
    unpack_probabilities,
)
from harness.results import stored_values


@pytest.mark.parametrize("classes", [2, 3, 20])
def test_probabilities_survive_in_16_bits(classes):
    """Every class keeps three digits, small ones relatively, and each row sums to 1."""
    rng = np.random.default_rng(classes)
    probabilities = rng.dirichlet(np.full(classes, 0.2), 500)
    back = unpack_probabilities(pack_probabilities(probabilities))
    assert back.shape == probabilities.shape
    assert back.sum(axis=1) == pytest.approx(np.ones(500))
    assert back == pytest.approx(probabilities, rel=2e-3, abs=1e-6)


def test_a_confident_model_keeps_its_doubt():
    """One in ten thousand is not rounded to certainty."""
    back = unpack_probabilities(pack_probabilities(np.array([[0.9999, 0.0001], [0.0002, 0.9998]])))
    assert back[0, 1] == pytest.approx(1e-4, rel=1e-3)
    assert back[0, 0] == pytest.approx(0.9999, abs=1e-6)


def test_no_numbers_survive_too():
    """Groups of rows that share none are stored as no numbers."""
    assert unpack_predictions(pack_predictions([], regression=False)) == []


def test_texts_and_references_come_back():
    """Texts, empty ones and references with any characters are stored as they are."""
    texts = ["a b", "", 'naïve 猫\n"x"']
    assert unpack_predictions(pack_texts(texts)) == texts
    references = [("a", "b"), ("ç",), ()]
    assert unpack_predictions(pack_texts(references)) == references
    assert stored_values.numbers(pack_texts(texts)).tolist() == [0.0, 0.0, 0.0]
