"""Suggestions for names that do not exist."""

import pytest

from methods.core.suggestions import did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "suggestion"),
    [
        ("LoRA", ["prefix", "lora"], "lora"),
        ("SST-2", ["rte", "sst2"], "sst2"),
        ("finetuning", ["fine-tuning"], "fine-tuning"),
        ("prefix_dropuot", ["prefix_dropout", "length"], "prefix_dropout"),
        ("r", ["alpha", "rank"], "rank"),
    ],
)
def test_case_and_punctuation_do_not_matter(name, known, suggestion):
    """A known name is suggested if it resembles the typed one, or else starts with it."""
    assert did_you_mean(name, known) == f" (did you mean {suggestion!r}?)"


def test_nothing_is_suggested_for_a_name_like_no_other():
    """The text is empty, so a message can hold it in any case."""
    assert did_you_mean("xyz", ["lora", "prefix"]) == ""
    assert did_you_mean("", ["lora"]) == ""


def test_several_names_may_be_suggested():
    """The most similar name comes first."""
    assert did_you_mean("sst", ["sst2", "sst-x", "rte"], 2).count("'sst") == 2
