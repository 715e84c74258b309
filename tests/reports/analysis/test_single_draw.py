"""Two trained models row by row, where there is nothing else to go by."""

from dataclasses import replace

import numpy as np
import pytest

from reports import compare, render
from reports.analysis.single_draw import single_draw_table


def answered(grid, right, **plan):
    """Runs whose methods answer so many of forty rows rightly from a place on."""
    labels = np.array([0.0, 1.0] * 20)
    runs = []
    for run in grid(dict.fromkeys(right, 0.0), tasks=("rte",), sizes=(50,), **plan):
        start, count = right[run.method]
        good = np.isin(np.arange(40), np.arange(start, start + count))
        given = np.where(good, labels, 1 - labels)
        known = {
            "predictions": given,
            "labels": {"": labels},
            "scored_by": ("accuracy",),
            "classes": ("no", "yes"),
        }
        runs.append(replace(run, score=count / 40, metrics={"accuracy": count / 40}, **known))
    return runs


def test_rows_that_one_model_alone_answers_are_counted(grid):
    """Twenty-five against fifteen have the published p of .15; which is not adjusted for itself."""
    runs = answered(grid, {"prefix": (25, 15), "lora": (0, 25)}, draws=1)
    found = single_draw_table(compare(runs, baseline="prefix"))
    assert [entry.text for entry in found.rows[0]] == [
        "lora",
        "rte",
        "50",
        "25",
        "15",
        "40",
        "0.15",
        "0.15",
    ]
    assert "another draw may reverse the result" in found.legend
    assert found.title in render(compare(runs, baseline="prefix"), format="markdown")


def test_equal_models_do_not_differ(grid):
    """No row tells them apart: p is 1."""
    found = single_draw_table(
        compare(answered(grid, {"prefix": (0, 20), "lora": (0, 20)}, draws=1), baseline="prefix")
    )
    assert [entry.text for entry in found.rows[0]][3:] == ["0", "0", "40", "1.00", "1.00"]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"classes": ()},
        {"labels": {}},
        {"rows": "others"},
        {"status": "failed", "score": None},
        {"predictions": np.zeros(3)},
    ],
)
def test_what_cannot_be_set_against_each_other_is_left_out(grid, spoilt):
    """Values, unknown answers, other rows, a failed run."""
    runs = answered(grid, {"prefix": (25, 15), "lora": (0, 25)}, draws=1)
    assert (
        single_draw_table(
            compare(
                [replace(run, **spoilt) if run.method == "lora" else run for run in runs],
                baseline="prefix",
            )
        )
        is None
    )


def test_with_several_draws_there_is_no_such_table(grid):
    """Draws are what a method is judged by."""
    runs = answered(grid, {"prefix": (25, 15), "lora": (0, 25)}, draws=2)
    assert single_draw_table(compare(runs, baseline="prefix")) is None
