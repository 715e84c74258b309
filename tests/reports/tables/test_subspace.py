"""The tables of the subspace study are recomputed from the runs."""

import json
import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from harness.ledger import Ledger
from reports import compare, render
from reports.analysis.run import RuleResult
from reports.analysis.sampled_dev_scores import sampled_dev_scores
from reports.analysis.selection_rules import compare_rules, scores_by_rule
from reports.tables.subspace import subspace
from tests.conftest import ROOT
from tests.support.subsets import subset_interval

FORMS = ("terminal", "markdown", "latex", pytest.param("html", marks=pytest.mark.slow))


def by_name(metrics):
    """Return selection rules by name, given the metrics of each."""
    return {name: RuleResult(name, values) for name, values in metrics.items()}


def ruled(runs, *, gain=0.0, noise=0.01):
    """Return the runs with three further selection rules that lose `gain`, with curves and sampled dev scores."""
    rng = np.random.default_rng(11)
    made = []
    for run in runs:
        score = run.metrics["accuracy"]
        others = {
            name: score - gain + rng.normal(0, noise) for name in ("centroid", "last", "loss")
        }
        sampled = tuple(run.dev_score + rng.normal(0, 0.02, 4)) if run.method == "simplex" else ()
        scores = {**others, "stochastic" if sampled else "centroid": score}
        curve = [(50, run.dev_score - 0.02), (100, run.dev_score), (150, run.dev_score - 0.01)]
        made.append(
            replace(
                run,
                metrics={"accuracy": score},
                rules=by_name({name: {"accuracy": value} for name, value in scores.items()}),
                score=score,
                curve=curve,
                losses=(0.4, 0.6, 0.4),
                sampled=sampled,
            )
        )
    return made


def test_rules_are_paired_within_training_runs(grid):
    """Difference, interval and p pair scores of the same training run; other tests of the report do not change."""
    runs = ruled(grid(sizes=(50,)))
    found = {(rule.method, rule.name): rule for rule in compare_rules(runs, ("prefix", "simplex"))}
    assert set(found) == {
        (m, r) for m in ("prefix", "simplex") for r in ("centroid", "last", "loss")
    } | {("simplex", "stochastic")}
    assert [rule.own for rule in found.values()].count(True) == 2
    assert found["simplex", "stochastic"].own
    assert found["prefix", "centroid"].own
    mine = [run for run in runs if run.method == "simplex"]
    tasks = sorted({run.task for run in mine})
    gaps = [
        [100 * (r.rules["last"].metrics["accuracy"] - r.score) for r in mine if r.task == task]
        for task in tasks
    ]
    test = found["simplex", "last"].test
    assert test.effect == pytest.approx(np.mean(gaps))
    means = np.mean(gaps, axis=1)
    claim = test.others
    assert (claim.low, claim.high) == pytest.approx(subset_interval(means, 1))
    flips = stats.permutation_test(
        (means,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert claim.p_raw == pytest.approx(flips.pvalue)
    assert claim.m == 3
    assert found["simplex", "stochastic"].score == pytest.approx(100 * fmean(r.score for r in mine))
    assert compare(runs).tests == compare([replace(r, sampled=(), losses=()) for r in runs]).tests


def test_optimism_is_that_of_the_checkpoint_of_each_rule(grid):
    """Ties in loss go to the later step; without a stored dev score of the checkpoint, optimism is None."""
    found = {rule.name: rule for rule in compare_rules(ruled(grid(), noise=0.0), ("simplex",))}
    assert found["stochastic"].optimism.mean == pytest.approx(1.0)
    assert found["last"].optimism.mean == pytest.approx(0.0)
    assert found["loss"].optimism.mean == pytest.approx(0.0)  # step 150, not 50
    assert found["centroid"].optimism is None
    assert found["last"].moved == 0


def test_a_score_by_rule_is_the_mean_of_signed_metrics(plain):
    """The sign of a metric is reversed if lower is better; one undefined metric makes the score undefined."""
    rules = by_name({"last": {"mse": 0.4, "pearson": 0.6}})
    run = replace(plain, metrics={"mse": 0.2, "pearson": 0.8}, rules=rules, better={"mse": "lower"})
    assert scores_by_rule(run) == pytest.approx({"own": 0.3, "last": 0.1})
    assert scores_by_rule(plain) == {}
    assert math.isnan(
        scores_by_rule(replace(run, rules=by_name({"last": {"mse": math.nan, "pearson": 0.6}})))[
            "last"
        ]
    )


def test_a_rule_without_a_score_is_not_settled(grid):
    """A run without a score under a rule counts as a lost pair."""
    runs = ruled(grid({"simplex": 0.0}, tasks=[f"task-{i}" for i in range(8)]), gain=0.05)
    whole = next(rule for rule in compare_rules(runs, ("simplex",)) if rule.name == "last")
    assert whole.test.settled
    spoilt = replace(runs[0], rules={**runs[0].rules, **by_name({"last": {"accuracy": math.nan}})})
    lost = next(
        rule for rule in compare_rules([spoilt, *runs[1:]], ("simplex",)) if rule.name == "last"
    )
    assert lost.test.failed == 1
    assert not lost.test.settled


def test_a_run_whose_own_rule_has_no_score_is_not_settled(grid):
    """A diverged run, in which no other rule was tested, is a lost pair of each rule, and the legend says so."""
    runs = ruled(grid({"simplex": 0.0}, tasks=[f"task-{i}" for i in range(8)]), gain=0.05)
    whole = {rule.name: rule for rule in compare_rules(runs, ("simplex",))}
    broken = [
        replace(
            runs[0],
            status="diverged",
            metrics={"accuracy": 0.5},
            rules={},
            score=0.5,
            dev_score=None,
        ),
        *runs[1:],
    ]
    found = {rule.name: rule for rule in compare_rules(broken, ("simplex",))}
    assert all(
        found[name].test.failed == 1 and not found[name].test.settled
        for name in ("centroid", "last", "loss")
    )
    assert all(
        rule.runs == whole[name].runs - 1 and math.isfinite(rule.score)
        for name, rule in found.items()
    )
    legend = subspace(compare(broken))[0].legend
    assert (
        "Pairs lost because runs have no score: 1 of simplex; comparisons with lost pairs are never settled."
        in legend
    )
    assert (
        "not settled (p = 0.023; 1 of 80 pairs is missing, 1 because runs have no score)" in legend
    )


def test_the_legend_names_the_test_that_was_used(grid):
    """A single task uses the t test over draws, which is corrected if every draw has its own test split."""
    runs = ruled(grid(tasks=("rte",)))
    assert "(t test over draws); Holm" in subspace(compare(runs))[0].legend
    split = subspace(compare([replace(run, holdout=True) for run in runs]))[0].legend
    assert "(t test over draws and test rows, corrected for shared rows); Holm" in split


def test_sampled_scores_are_correlated_within_cells(grid):
    """The correlation is the mean of scipy's Spearman correlations of the cells."""
    runs = [run for run in ruled(grid(draws=6)) if run.method == "simplex"]
    (found,) = sampled_dev_scores(runs, ("prefix", "simplex"))
    tasks = sorted({run.task for run in runs})
    by_task = []
    for task in tasks:
        cells = [
            [run for run in runs if (run.task, run.size) == (task, size)] for size in (50, 200)
        ]
        each = [
            stats.spearmanr([stdev(r.sampled) for r in cell], [r.score for r in cell]).statistic
            for cell in cells
        ]
        by_task.append(fmean(each))
    assert found.by_spread.rho == pytest.approx(fmean(by_task))
    assert found.by_spread.n == 6
    assert found.spread == pytest.approx(100 * fmean(stdev(r.sampled) for r in runs))
    assert found.mean == pytest.approx(100 * fmean(fmean(r.sampled) for r in runs))
    assert found.copies == (4, 4)


def test_correlations_of_one_table_are_adjusted_together(grid):
    """Two tests at the smallest p of six tasks are .0625 after Holm, so neither is settled or bold."""
    runs = [
        replace(r, sampled=(0.9 * r.score, 1.1 * r.score))
        for r in grid({"simplex": 0.0}, sizes=(50,))
    ]
    (found,) = sampled_dev_scores(runs, ("simplex",))
    assert (found.by_spread.p, found.by_mean.p) == (2 / 2**6, 2 / 2**6)
    assert (found.spread_p_adj, found.mean_p_adj) == (4 / 2**6, 4 / 2**6)
    (table,) = subspace(compare(runs))
    assert (
        "the spread correlates with the test score at +1.00 (exploratory, adjusted p = 0.062)"
        in table.legend
    )
    assert (
        "Holm over the 2 tests (which cannot reach a p below 0.062) of this table" in table.legend
    )
    assert not any(entry.strong for row in table.rows for entry in row)


def test_without_data_there_is_no_subspace_study(grid):
    """A report without further rules and without sampled dev scores does not mention the study."""
    assert "Subspace" not in render(compare(grid()), format="markdown")


@pytest.mark.parametrize("form", FORMS)
def test_every_format_contains_the_study(grid, form):
    """Each format has both tables, the claims of the paper and the results."""
    flat = " ".join(render(compare(ruled(grid())), format=form).split())
    assert "Subspace study: selection rules on the same training runs" in flat
    assert "Subspace study: sampled dev scores" in flat
    assert flat.count("The paper: ") == 2
    assert "for simplex: " in flat
    assert "(exploratory, adjusted p = " in flat
    assert "no p below 0.094 is possible" in flat  # 2 / 2**6, by Holm over three rules


def test_json_contains_the_study(grid):
    """JSON has the rules with their tests, and the correlations."""
    found = json.loads(render(compare(ruled(grid())), format="json"))["subspace"]
    assert {rule["method"] for rule in found["rules"]} == {"fine-tuning", "prefix", "simplex"}
    assert found["samples"][0]["by_mean"]["n"] == 6
    assert (
        next(rule for rule in found["rules"] if rule["name"] == "last")["test"]["others"]["m"] == 2
    )


def test_a_settled_difference_says_so(grid):
    """A gain of five points on each of eight tasks is settled."""
    runs = ruled(grid({"simplex": 0.0}, tasks=[f"task-{i}" for i in range(8)]), gain=0.05)
    assert "+5.0 points" in (text := " ".join(render(compare(runs), format="markdown").split()))
    assert "settled (p = 0.0" in text.split("Here, for simplex")[1][:150]
    assert "not settled" not in text.split("Here, for simplex")[1][:150]


def test_the_example_report_matches_its_ledger(bench, tmp_path):
    """The effect matches the metrics in the ledger, and the report says that it is not settled."""
    db = ROOT / "results.db.example"
    ended = bench(tmp_path, "report", "--db", db, "--baseline", "prefix", "--format", "json")
    assert ended.code == 0, ended.err
    found = {
        (rule["method"], rule["name"]): rule for rule in json.loads(ended.out)["subspace"]["rules"]
    }
    with Ledger(str(db)) as ledger:
        mine = [entry.metrics for entry in ledger.entries() if entry.label == "simplex"]
    gaps = [
        100
        * fmean(
            metrics[f"rule centroid {name}"] - metrics[name]
            for name in metrics
            if f"rule centroid {name}" in metrics
        )
        for metrics in mine
    ]
    assert found["simplex", "centroid"]["test"]["effect"] == pytest.approx(fmean(gaps))
    assert found["simplex", "centroid"]["moved"] == sum(abs(gap) > 0 for gap in gaps)
    assert found["simplex", "centroid"]["test"]["others"]["p_adj"] > 0.05
    assert ("fine-tuning(lr=0.0005)", "last") not in found  # its runs tested no other rule
    words = bench(
        tmp_path,
        "report",
        "--db",
        db,
        "--baseline",
        "prefix",
        "--format",
        "markdown",
        "--methods",
        "simplex",
        "--full",
    ).out
    assert (
        "relative to selection by the centroid, a different test score in 25 of 60 runs; not settled"
        in words
    )
