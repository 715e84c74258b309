"""The tables of the appendix are recomputed from the runs."""

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from reports import compare, render
from reports.analysis.verdict import probability
from reports.statistics.random_effects import random_effects
from reports.tables.appendix import appendix

EIGHT = [f"task-{i}" for i in range(8)]


def table(comparison, title):
    (match,) = [table for table in appendix(comparison) if table.title.startswith(title)]
    return match


def cells(table):
    return {
        tuple(e.text for e in row[: table.labels]): [e.text for e in row[table.labels :]]
        for row in table.rows
    }


def test_further_estimates_are_those_of_the_differences_by_task(grid):
    """The equivalence test and the prediction for one more task are computed from the mean differences of the tasks."""
    runs = grid(tasks=EIGHT, sizes=(50,), draws=6)
    comparison = compare(runs)
    detail = next(detail for detail in comparison.secondary if detail.method == "simplex")
    scores = {(r.method, r.task, r.draw): r.score for r in runs}
    means = [
        100 * fmean(scores["simplex", t, d] - scores["fine-tuning", t, d] for d in range(6))
        for t in EIGHT
    ]
    assert detail.tasks == tuple(EIGHT)
    assert detail.equivalence.p == pytest.approx(
        stats.ttest_1samp(means, 1.0, alternative="less").pvalue
    )
    row = dict(
        zip(
            table(comparison, "Further estimates").head[1:],
            cells(table(comparison, "Further estimates"))["simplex",],
            strict=True,
        )
    )
    assert row["TOST p"] == probability(detail.equivalence.p)
    assert row["τ²"] == f"{detail.pooled.tau2:.2f}"
    assert detail.pooled.predicted_low < detail.pooled.mean < detail.pooled.predicted_high


def test_the_prediction_widens_for_shared_examples(grid):
    """If every draw has its own test split, the noise of a task accounts for the examples that draws share."""
    runs = [
        replace(run, holdout=True)
        for run in grid({"lora": 0.0, "simplex": 0.03}, tasks=EIGHT, sizes=(50,))
    ]
    comparison = compare(runs)
    (detail,) = comparison.secondary
    gaps = list(comparison.family("overall")[0].differences.values())
    noise = [np.var(each, ddof=1) * (1 / 5 + 277 / 50) for each in gaps]
    assert detail.pooled == pytest.approx(random_effects(np.mean(gaps, axis=1), noise))
    assert (
        "random effects, widened where every draw has its own test split"
        in table(comparison, "Further estimates").legend
    )


def test_methods_that_finished_every_task_are_ranked(grid):
    """Means and ranks match the cells; a method without a score on one task is left out, and named."""
    runs = [r for r in grid(tasks=EIGHT) if (r.method, r.task, r.draw) != ("prefix", "task-3", 0)]
    comparison = compare(runs)
    standing = comparison.ranking
    assert (standing.methods, standing.left_out) == (("fine-tuning", "simplex"), ("prefix",))
    means = {
        m: [comparison.cell(m, t, None).mean for t in comparison.tasks] for m in standing.methods
    }
    assert standing.means == pytest.approx([fmean(means[m]) for m in standing.methods])
    ranks = stats.rankdata(
        [[-v for v in column] for column in zip(*means.values(), strict=True)], axis=1
    ).mean(axis=0)
    assert standing.ranks == pytest.approx(list(ranks))
    ranked = table(comparison, "Ranks of methods")
    assert cells(ranked)["simplex",][0] == f"{standing.ranks[1]:.2f}"
    assert "Left out, because scores are missing: prefix." in ranked.legend
    assert len(table(compare(grid(tasks=EIGHT)), "All pairs of methods").rows) == 3


def test_equivalence_is_adjusted_for_the_number_of_methods(grid):
    """With three methods, p of the equivalence test is three times as large for the smallest of them."""
    runs = grid({"lora": 0.0, "a": 0.0, "b": 0.001, "c": 0.002}, tasks=EIGHT, noise=0.002)
    alone = {
        name: compare([r for r in runs if r.method in ("lora", name)], baseline="lora")
        .secondary[0]
        .equivalence.p
        for name in "abc"
    }
    every = compare(runs, baseline="lora")
    together = {each.method: each.equivalence.p for each in every.secondary}
    smallest = min(alone, key=alone.get)
    assert together[smallest] == pytest.approx(min(1, 3 * alone[smallest]))
    assert all(together[name] >= alone[name] for name in "abc")


def test_a_winner_that_depends_on_one_task_is_named(grid):
    """Notes say which method is best without the deciding task, and which is best by mean rank."""
    runs = grid({"fine-tuning": 0.0, "prefix": 0.01}, tasks=EIGHT, noise=0.0)
    lifted = [
        replace(r, score=0.95) if (r.method, r.task) == ("fine-tuning", "task-0") else r
        for r in runs
    ]
    notes = [note.text for note in compare(lifted).notes if note.code == "METRIC_MIX"]
    assert any("prefix the best mean rank" in text for text in notes)
    assert any("without task-0 prefix has it" in text for text in notes)


def test_costs_are_means_and_peak_memory_is_a_maximum(grid):
    """Seconds are means over runs, memory is the maximum, and the legend mentions shared packs."""
    runs = [
        replace(r, seconds_training=float(r.draw), peak_bytes=(1 + r.draw) << 20, shared=True)
        for r in grid()
    ]
    found = table(compare(runs), "Costs")
    assert cells(found)["prefix",] == ["1,000", "4", "2.0", "0.50", "5", "0.04"]
    assert "--timing" in found.legend


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex"])
def test_every_format_contains_the_appendix(grid, form):
    """Each title appears; a report on one method, one task and one draw can be written too."""
    text = render(compare(grid(tasks=EIGHT)), format=form)
    assert all(
        title in text
        for title in (
            "Further estimates",
            "Ranks of methods",
            "All pairs of methods",
            "Costs",
        )
    )
    assert render(compare(grid({"prefix": 0.0}, tasks=("rte",), sizes=(50,), draws=1)), format=form)
