"""Scores of predictions on the test sets of a task."""

import pytest

from harness.tasks import REGISTRY, metrics
from harness.tasks.base import Example
from harness.training import testing

MILL = Example(("name : The Mill | area : riverside",), ("The Mill is by the river today .",))
VAULTS = Example(
    ("name : The Vaults | food : Indian",), ("The Vaults serves Indian food to all .",)
)


def test_texts_of_all_test_sets_are_scored_together_too():
    """BLEU of all texts is that of one corpus, and not the mean of the test sets; the score stays their mean."""
    predictions = {"seen": ["The Mill is by the river ."], "unseen": ["The Vaults serves food ."]}
    examples = {"seen": [MILL], "unseen": [VAULTS]}
    scores = testing.score(REGISTRY["webnlg"], predictions, examples)
    corpus = metrics.METRICS["bleu"](
        [*predictions["seen"], *predictions["unseen"]], [MILL.references, VAULTS.references]
    )
    found = scores.metrics
    assert found["bleu/all"] == pytest.approx(corpus)
    assert scores.score == pytest.approx((found["bleu/seen"] + found["bleu/unseen"]) / 2)
    assert found["bleu/all"] != pytest.approx(scores.score)
    assert {name.partition("/")[2] for name in found} == {"seen", "unseen", "all"}


def test_slot_errors_compare_a_text_with_its_source():
    """The references say nothing of the food; the source does."""
    scores = testing.score(REGISTRY["e2e"], {"": ["The Vaults ."]}, {"": [VAULTS]})
    assert scores.metrics["missing-slots"] == scores.metrics["slot-errors"] == 1 / 2
    assert "bleu/all" not in scores.metrics
