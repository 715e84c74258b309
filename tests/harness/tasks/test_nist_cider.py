"""Metrics that count words of texts: NIST, CIDEr, repetition and length ratio."""

import math

import pytest

from harness.tasks import metrics, nist_cider, text_metrics

TEXTS = [
    "The Vaults is a cheap pub near Café Adriatic .",
    "a family friendly coffee shop in the city centre",
    "Blue Spice serves Chinese food by the river , by the river",
    "the the the the",
]
REFERENCES = [
    [
        "The Vaults pub near Café Adriatic has cheap prices .",
        "Near Café Adriatic is a cheap pub called The Vaults .",
    ],
    [
        "there is a family friendly coffee shop in the city centre",
        "in the city centre there is a coffee shop for families",
        "a coffee shop",
    ],
    [
        "Blue Spice is by the river and serves Chinese food",
        "Blue Spice offers Chinese food near the river",
    ],
    ["the cat sat on the mat"],
]


def test_nist_agrees_with_nltk_on_single_references():
    """With one reference for each text, NIST is that of nltk 3.10.4 (`corpus_nist`, the same tokens)."""
    single = [references[:1] for references in REFERENCES]
    assert 100 * nist_cider.nist(TEXTS, single) == pytest.approx(3.861121028318945, abs=1e-9)


def test_an_n_gram_counts_as_often_as_in_the_reference_that_has_it_most():
    """Of several references, the text `a a b` takes both a of the first and the b of the second."""
    # In the references `a a` and `b c`, a occurs 2 times of 4 words and b once: 1 and 2 bits. The 2-gram
    # `a a` carries log2(2 / 1) = 1 bit, `a b` is in no reference. The text is longer than the mean reference.
    expected = (1 + 1 + 2) / 3 + 1 / 2
    assert 100 * nist_cider.nist(["a a b"], [["a a", "b c"]]) == pytest.approx(expected)


def test_nist_halves_at_two_thirds_of_the_length():
    """The penalty for short texts is .5 where texts have two thirds of the words of their references."""
    whole = nist_cider.nist(["a b c"], [["a b c"]])
    short = nist_cider.nist(["a b"], [["a b c"]])
    assert whole == pytest.approx(math.log2(3) / 100)
    assert short == pytest.approx(math.log2(3) / 100 / 2)


def test_cider_agrees_with_the_coco_evaluation():
    """CIDEr-D is that of pycocoevalcap 1.2 on the same tokens."""
    assert 100 * nist_cider.cider(TEXTS, REFERENCES) == pytest.approx(2.995966315786, abs=1e-9)


@pytest.mark.parametrize("name", ["nist", "cider", "repetition", "length-ratio"])
def test_empty_texts_score_0(name):
    """Nothing divides by the length of texts that are empty."""
    assert metrics.METRICS[name](["", ""], [("a b",), ("c d e",)]) == 0


def test_repetition_is_the_share_of_4_grams_that_came_before():
    """Of the 5 4-grams of `a b c d a b c d`, the last one repeats the first."""
    assert text_metrics.repetition(["a b c d a b c d"], [[""]]) == pytest.approx(1 / 5)
    assert text_metrics.repetition(["a b c"], [[""]]) == 0


def test_the_length_ratio_takes_the_reference_of_the_nearest_length():
    """Of references of 2 and 5 words, that of 2 is nearer to a text of 3, and the shorter one of two as near."""
    assert text_metrics.length_ratio(["a b c"], [["x y", "v w x y z"]]) == pytest.approx(3 / 2)
    assert text_metrics.length_ratio(["a b c"], [["x y", "w x y z"]]) == pytest.approx(3 / 2)
