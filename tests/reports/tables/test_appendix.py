"""What stands at the end of a report, recomputed from the runs."""

import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from reports import compare, render
from reports.analysis.verdict import probability
from reports.statistics.random_effects import pooled
from reports.tables.appendix import appendix

EIGHT = [f"task-{i}" for i in range(8)]


def table(comparison, title):
    (found,) = [one for one in appendix(comparison) if one.title.startswith(title)]
    return found


def cells(found):
    return {
        tuple(e.text for e in row[: found.labels]): [e.text for e in row[found.labels :]]
        for row in found.rows
    }


def test_further_estimates_are_those_of_the_differences_by_task(grid):
    """The equivalence test and the prediction for one more task are computed from the mean differences of the tasks."""
    runs = grid(tasks=EIGHT, sizes=(50,), draws=6)
    comparison = compare(runs)
    detail = next(one for one in comparison.details if one.method == "simplex")
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


def test_the_prediction_widens_for_shared_rows(grid):
    """If test rows are split anew for each draw, the noise of each task is that of draws that share rows."""
    runs = [
        replace(run, holdout=True)
        for run in grid({"lora": 0.0, "simplex": 0.03}, tasks=EIGHT, sizes=(50,))
    ]
    comparison = compare(runs)
    (detail,) = comparison.details
    gaps = list(comparison.family("overall")[0].differences.values())
    noise = [np.var(each, ddof=1) * (1 / 5 + 277 / 50) for each in gaps]
    assert detail.pooled == pytest.approx(pooled(np.mean(gaps, axis=1), noise))
    assert (
        "random effects, corrected for shared rows" in table(comparison, "Further estimates").legend
    )


def test_methods_are_ranked_over_complete_tasks(grid):
    """Means and ranks are those of the cells; a task that a method has not finished is left out for all."""
    runs = [r for r in grid(tasks=EIGHT) if (r.method, r.task, r.draw) != ("prefix", "task-3", 0)]
    comparison = compare(runs)
    placed = comparison.standing
    assert placed.tasks == tuple(t for t in EIGHT if t != "task-3")
    means = {m: [comparison.cell(m, t, None).mean for t in placed.tasks] for m in placed.methods}
    assert placed.means == pytest.approx([fmean(means[m]) for m in placed.methods])
    ranks = stats.rankdata(
        [[-v for v in column] for column in zip(*means.values(), strict=True)], axis=1
    ).mean(axis=0)
    assert placed.ranks == pytest.approx(list(ranks))
    assert (
        cells(table(comparison, "Methods ranked"))["simplex",][0]
        == f"{placed.ranks[placed.methods.index('simplex')]:.2f}"
    )
    assert len(table(comparison, "Every pair").rows) == 3


def test_a_winner_that_hangs_on_one_task_is_named(grid):
    """Without the task that carries it another method is best, and best by rank is not best by mean."""
    runs = grid({"fine-tuning": 0.0, "prefix": 0.01}, tasks=EIGHT, noise=0.0)
    lifted = [
        replace(r, score=0.95) if (r.method, r.task) == ("fine-tuning", "task-0") else r
        for r in runs
    ]
    notes = [note.text for note in compare(lifted).notes if note.code == "METRIC_MIX"]
    assert any("best mean rank prefix's" in text for text in notes)
    assert any("without task-0 it is prefix's" in text for text in notes)


def test_costs_are_means_and_the_greatest_memory(grid):
    """Seconds are means over runs, memory is the greatest, and a shared pack is told."""
    runs = [
        replace(r, seconds_training=float(r.draw), peak_bytes=(1 + r.draw) << 20, shared=True)
        for r in grid()
    ]
    found = table(compare(runs), "Costs")
    assert cells(found)["prefix",] == ["1,000", "4", "2.0", "1.81", "5", "0.04"]
    assert "--timing" in found.legend


def test_variation_is_split_where_draws_have_several_seeds(grid):
    """By draw and by seed as in a one-way analysis of variance; by test rows where the answers are known."""
    runs = grid(tasks=("rte",), sizes=(50,), draws=6, seeds=4)
    found = cells(table(compare(runs), "Where scores vary"))
    scores = np.array(
        [[r.score * 100 for r in runs if (r.method, r.draw) == ("prefix", d)] for d in range(6)]
    )
    within = scores.var(axis=1, ddof=1).mean()
    between = max(0.0, scores.mean(axis=1).var(ddof=1) - within / 4)
    assert found["prefix", "draw"] == [f"{math.sqrt(between):.1f}"]
    assert found["prefix", "seed"] == [f"{math.sqrt(within):.1f}"]
    right = np.tile([0.0, 1.0], 50)
    given = np.where(np.arange(100) < 60, right, 1 - right)
    known = [
        replace(r, given=given, right={"": right}, scored_by=("accuracy",), score=0.6) for r in runs
    ]
    rows = cells(table(compare(known), "Where scores vary"))["prefix", "test rows"]
    assert rows == [f"{100 * math.sqrt(0.6 * 0.4 / 100):.1f}"]


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex"])
def test_the_appendix_stands_in_every_format(grid, form):
    """Each table's title is there, also for one method, one task and one draw."""
    text = render(compare(grid(tasks=EIGHT)), format=form)
    assert all(
        title in text
        for title in (
            "Further estimates",
            "Methods ranked",
            "Every pair",
            "Costs",
            "Where scores vary",
        )
    )
    assert render(compare(grid({"prefix": 0.0}, tasks=("rte",), sizes=(50,), draws=1)), format=form)
