"""Optimism, and scores by selection rule."""

import itertools
from dataclasses import replace

import pytest

from reports import compare
from reports.analysis.run import RuleResult
from reports.analysis.selection_rules import mean_optimism, optimism_of_best
from reports.figures.optimism import by_rule, spaced_counts
from reports.figures.style import style
from tests.support.drawing import drawn, values


def test_optimism_is_dev_minus_test(grid):
    """Optimism is the mean of dev minus test over draws and tasks."""
    runs = [
        replace(run, dev_score=run.score + (0.02 if run.task == "rte" else 0.01 + 0.001 * run.draw))
        for run in grid()
    ]
    some = [run for run in runs if run.method == "simplex" and run.task in ("rte", "cola")]
    assert mean_optimism(some).mean == pytest.approx((2.0 + 1.2) / 2)
    assert (
        "simplex: dev - test" in "".join(text for text, *_ in values(drawn("optimism", runs)))
    ) is True


def test_optimism_of_the_best_of_n_runs(grid):
    """It is the mean over all choices of n runs, with equal weight of cells, up to the size of the smallest cell."""
    some = [
        run for run in grid() if run.method == "simplex" and run.task == "rte" and run.size == 50
    ][:3]
    cell = [
        replace(run, dev_score=dev, score=0.6)
        for run, dev in zip(some, (0.5, 0.7, 0.9), strict=True)
    ]
    other = [replace(run, task="cola", dev_score=0.6, score=0.6) for run in cell[:2]]
    two = 100 * (0.7 + 0.9 + 0.9) / 3 - 60
    assert optimism_of_best(cell, lambda most: range(1, most + 1)) == pytest.approx(
        {1: 10, 2: two, 3: 30}
    )
    assert optimism_of_best(cell + other, lambda most: range(1, most + 1)) == pytest.approx(
        {1: 5, 2: two / 2}
    )
    assert optimism_of_best(cell, lambda most: [most]) == pytest.approx({3: 30})
    assert optimism_of_best([], spaced_counts) == {}


def test_the_names_of_many_methods_do_not_overlap(grid):
    """The figure grows with the number of methods, and axis labels stay inside it."""
    runs = grid(
        {f"fine-tuning(rank={i}, lr=0.0005)": 0.0 for i in range(15)}, tasks=("rte",), draws=10
    )
    with style():
        canvas = drawn("optimism", runs)
        names = [text.get_window_extent() for text in canvas.axes[1].get_yticklabels()]
        below = [axes.xaxis.label.get_window_extent() for axes in canvas.axes]
    assert all(upper.y0 >= lower.y1 for upper, lower in itertools.pairwise(names))
    assert all(box.x0 >= 0 and box.x1 <= canvas.bbox.x1 for box in below)


def test_spaced_counts():
    """A small number gives all counts, a large number at most eight, including the largest."""
    assert spaced_counts(5) == [1, 2, 3, 4, 5]
    assert spaced_counts(120) == [1, 2, 4, 8, 15, 31, 61, 120]
    assert spaced_counts(1) == [1]
    assert spaced_counts(0) == []


def test_rules_match_the_table(grid):
    """Methods may have different rules, and tasks have equal weight whatever their number of runs."""
    assert by_rule(compare(grid()).rules) == {}
    runs = [run for run in grid(sizes=(50,)) if run.task != "rte" or run.draw < 2]
    runs = [
        replace(
            run,
            metrics={"accuracy": run.score},
            rules={
                name: RuleResult(name, {"accuracy": score})
                for name, score in {
                    "last": run.score - 0.1 * (run.task == "rte"),
                    **({"centroid": 0.7} if run.method == "simplex" else {}),
                }.items()
            },
            sampled=(0.5, 0.6) if run.method == "simplex" else (),
        )
        for run in runs
    ]
    comparison = compare(runs)
    shown = {text: y for text, _, y in values(drawn("optimism", runs)) if ", rule " in text}
    assert {text.partition(":")[0] for text in shown} == {
        *(
            f"{method}, rule {rule}"
            for method in ("fine-tuning", "prefix")
            for rule in ("centroid", "last")
        ),
        *(f"simplex, rule {rule}" for rule in ("stochastic", "centroid", "last")),
    }
    scores = {f"{rule.method}, rule {rule.name}": rule.score for rule in comparison.rules}
    assert {text.partition(":")[0]: y for text, y in shown.items()} == pytest.approx(scores)
    assert scores["prefix, rule last"] == pytest.approx(scores["prefix, rule centroid"] - 10 / 6)
