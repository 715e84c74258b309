"""What stands at the end of a report, recomputed from the runs."""

import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from reports import compare, render
from reports.analysis.verdict import probability
from reports.statistics.ranks import nemenyi
from reports.statistics.replicability import replicability
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


def test_details_are_those_of_the_differences_by_task(grid):
    """Wins are counted over draws, ranks over tasks, and the chances on a new task sum to one."""
    runs = grid(tasks=EIGHT, sizes=(50,), draws=6)
    comparison = compare(runs)
    detail = next(one for one in comparison.details if one.method == "simplex")
    scores = {(r.method, r.task, r.draw): r.score for r in runs}
    wins = [
        fmean(scores["simplex", t, d] > scores["fine-tuning", t, d] for d in range(6))
        for t in EIGHT
    ]
    assert detail.superiority.chance == pytest.approx(fmean(wins))
    means = [
        fmean(scores["simplex", t, d] - scores["fine-tuning", t, d] for d in range(6))
        for t in EIGHT
    ]
    assert detail.wilcoxon == pytest.approx(stats.wilcoxon(means, method="exact").pvalue)
    assert sum(detail.posterior) == pytest.approx(1)
    signed = stats.rankdata(np.abs(means)) * np.sign(means)
    assert detail.biserial == pytest.approx(signed.sum() / np.abs(signed).sum())
    assert detail.standardised == pytest.approx(np.mean(means) / np.std(means, ddof=1))
    found = table(comparison, "Further estimates")
    row = dict(zip(found.head[1:], cells(found)["simplex",], strict=True))
    assert (row["rank-biserial"], row["d_z"]) == (
        f"{detail.biserial:.2f}",
        f"{detail.standardised:.2f}",
    )
    assert row["τ²"] == f"{detail.pooled.tau2:.2f}"
    assert detail.counted.ahead.tasks == 8
    assert detail.pooled.predicted_low < detail.pooled.low < detail.pooled.mean


def test_details_know_of_shared_rows(grid):
    """Where test rows are split anew for each draw, each task's noise and one-sided p are those of draws that share rows."""
    runs = [
        replace(run, holdout=True)
        for run in grid({"lora": 0.0, "simplex": 0.03}, tasks=EIGHT, sizes=(50,))
    ]
    comparison = compare(runs)
    (detail,) = comparison.details
    gaps = list(comparison.family("overall")[0].differences.values())
    errors = [np.std(each, ddof=1) * math.sqrt(1 / 5 + 277 / 50) for each in gaps]
    weights = 1 / np.square(errors)
    means = np.mean(gaps, axis=1)
    assert detail.pooled.q == pytest.approx(
        weights @ (means - weights @ means / weights.sum()) ** 2
    )
    ahead = [stats.t.sf(mean / error, 4) for mean, error in zip(means, errors, strict=True)]
    assert detail.counted.ahead == replicability(ahead)
    assert detail.counted.ahead.bonferroni < 8
    assert (
        "over draws (E1), corrected for shared rows"
        in table(comparison, "Further estimates").legend
    )
    assert (
        compare([replace(run, holdout=False) for run in runs]).details[0].counted.ahead.bonferroni
        == 8
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
    assert placed.omnibus.chi_squared == pytest.approx(
        stats.friedmanchisquare(*means.values()).statistic
    )
    assert (
        cells(table(comparison, "Methods ranked"))["simplex",][0]
        == f"{placed.ranks[placed.methods.index('simplex')]:.2f}"
    )
    assert len(table(comparison, "Every pair").rows) == 3


def test_wins_and_nemenyi_stand_beside_every_pair(grid):
    """Above the diagonal the share of tasks won by the better ranked, below the p of mean ranks."""
    comparison = compare(grid(tasks=EIGHT, sizes=(50,)))
    scores = np.array([[comparison.cell(m, t, 50).mean for m in comparison.methods] for t in EIGHT])
    p = nemenyi(scores)
    found = table(comparison, "Wins")
    names, rows = list(found.head[1:]), cells(found)
    assert names[0] == "simplex"
    for i, j in ((0, 1), (0, 2), (1, 2)):
        first, second = (comparison.methods.index(name) for name in (names[i], names[j]))
        assert rows[names[i],][j] == f"{100 * np.mean(scores[:, first] > scores[:, second]):.0f}"
        assert rows[names[j],][i] == probability(p[first, second])
        assert rows[names[i],][i] == ""


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
