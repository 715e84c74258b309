"""Scores over the values of an option."""

import pytest

from reports import compare
from reports.analysis.paired_runs import NothingToCompare
from reports.figures import FIGURES, Options
from reports.figures.option import group_variants, parse_name
from tests.support.drawing import values


def test_variants_are_grouped_by_their_other_options():
    """Methods that differ in one option only form a line; a given default gets its place on it."""
    assert parse_name("prefix(length=20, depth=all)") == (
        "prefix",
        {"length": "20", "depth": "all"},
    )
    assert parse_name("lora") == ("lora", {})
    methods = ["prefix", "prefix(length=5)", "prefix(length=9, depth=3)", "lora"]
    lines = group_variants(methods, "length", None)
    assert {key: [variant.value for variant in line] for key, line in lines.items()} == {
        ("prefix", ""): [None, "5"],
        ("prefix", "depth=3"): ["9"],
    }
    assert [variant.value for variant in group_variants(methods, "length", "20")["prefix", ""]] == [
        "20",
        "5",
    ]


def test_option_places_numbers_and_words(grid):
    """Numbers stand at their values, an unknown default to their left, and words at equal distances."""
    comparison = compare(
        grid(
            {
                "lora": 0.0,
                "lora(rank=2)": 0.1,
                "lora(rank=64)": 0.2,
                "lora(on=qv)": 0.1,
                "lora(on=all)": 0.0,
            }
        )
    )
    points = {
        text.split(":")[0]: x
        for text, x, _ in values(FIGURES["option"].draw(comparison, Options(option="rank")))
    }
    assert (points["lora(rank=2)"], points["lora(rank=64)"]) == (2, 64)
    assert points["lora"] < 2
    points = {
        text.split(":")[0]: x
        for text, x, _ in values(FIGURES["option"].draw(comparison, Options(option="rank=8")))
    }
    assert points["lora"] == 8
    points = {
        text.split(":")[0]: x
        for text, x, _ in values(FIGURES["option"].draw(comparison, Options(option="on")))
    }
    assert points == {"lora": -1, "lora(on=all)": 0, "lora(on=qv)": 1}
    with pytest.raises(NothingToCompare, match=r"no option 'rnk'.*on, rank"):
        FIGURES["option"].draw(comparison, Options(option="rnk"))
