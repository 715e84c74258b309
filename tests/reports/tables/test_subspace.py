"""What a report says of the paper's mechanisms, recomputed from the runs."""

import json
import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from harness.ledger import Ledger
from reports import compare, render
from reports.analysis.paired_runs import SelectionRule
from reports.analysis.sampled_dev_scores import samples
from reports.analysis.selection_rules import rules, scores_by_rule
from reports.tables.subspace import subspace
from tests.conftest import ROOT

FORMS = ("terminal", "markdown", "latex", "html")


def by_name(metrics):
    """Return selection rules by name, given the metrics of each."""
    return {name: SelectionRule(name, values) for name, values in metrics.items()}


def ruled(runs, *, gain=0.0, noise=0.01):
    """The same runs as those of a `simplex` whose other rules lose `gain`, with curves and sampled dev scores."""
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


def test_rules_are_paired_within_trainings(grid):
    """The difference, its interval and its p are those of scores of one training; the report's other tests are untouched."""
    runs = ruled(grid(sizes=(50,)))
    found = {(rule.method, rule.name): rule for rule in rules(runs, ("prefix", "simplex"))}
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
    variance = np.sum([stats.sem(each) ** 2 for each in gaps]) / 36
    df = variance**2 / np.sum([(stats.sem(each) ** 2 / 36) ** 2 / 4 for each in gaps])
    assert test.ci == pytest.approx(stats.t.interval(0.95, df, np.mean(gaps), math.sqrt(variance)))
    means = np.mean(gaps, axis=1)
    flips = stats.permutation_test(
        (means,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert test.p_raw == pytest.approx(flips.pvalue)
    assert test.m == 3
    assert found["simplex", "stochastic"].score == pytest.approx(100 * fmean(r.score for r in mine))
    assert compare(runs).tests == compare([replace(r, sampled=(), losses=()) for r in runs]).tests


def test_optimism_is_of_what_each_rule_chose(grid):
    """Equal losses go to the later step; where the dev score of a choice was not kept, none is given."""
    found = {rule.name: rule for rule in rules(ruled(grid(), noise=0.0), ("simplex",))}
    assert found["stochastic"].optimism.mean == pytest.approx(1.0)
    assert found["last"].optimism.mean == pytest.approx(0.0)
    assert found["loss"].optimism.mean == pytest.approx(0.0)  # step 150, not 50
    assert found["centroid"].optimism is None
    assert found["last"].moved == 0


def test_a_score_by_rule_is_the_mean_of_signed_metrics(plain):
    """Where less is better the sign is turned, as it is in the score; one metric without a value leaves none."""
    rules = by_name({"last": {"mse": 0.4, "pearson": 0.6}})
    run = replace(plain, metrics={"mse": 0.2, "pearson": 0.8}, rules=rules, better={"mse": "lower"})
    assert scores_by_rule(run) == pytest.approx({"own": 0.3, "last": 0.1})
    assert scores_by_rule(plain) == {}
    assert math.isnan(
        scores_by_rule(replace(run, rules=by_name({"last": {"mse": math.nan, "pearson": 0.6}})))[
            "last"
        ]
    )


def test_a_rule_that_ends_in_no_number_is_not_settled(grid):
    """Such a run is a lost pair, not one left out in silence."""
    runs = ruled(grid({"simplex": 0.0}, tasks=[f"task-{i}" for i in range(8)]), gain=0.05)
    whole = next(rule for rule in rules(runs, ("simplex",)) if rule.name == "last")
    assert whole.test.settled
    spoilt = replace(runs[0], rules={**runs[0].rules, **by_name({"last": {"accuracy": math.nan}})})
    lost = next(rule for rule in rules([spoilt, *runs[1:]], ("simplex",)) if rule.name == "last")
    assert lost.test.failed == 1
    assert not lost.test.settled


def test_a_run_whose_own_rule_ends_in_no_number_is_not_settled(grid):
    """It counts as diverged and no other rule was tested in it: a lost pair for each of them, which is said."""
    runs = ruled(grid({"simplex": 0.0}, tasks=[f"task-{i}" for i in range(8)]), gain=0.05)
    whole = {rule.name: rule for rule in rules(runs, ("simplex",))}
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
    found = {rule.name: rule for rule in rules(broken, ("simplex",))}
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
        "Pairs lost to runs that ended in no number: 1 of simplex; with them nothing is settled."
        in legend
    )
    assert "not settled (p = 0.023; 1 pair missing because runs failed)" in legend


def test_the_test_named_is_the_test_made(grid):
    """Over draws of a single task signs are flipped, except where its test rows are split anew for each draw."""
    runs = ruled(grid(tasks=("rte",)))
    assert "p: exact sign flip over draws; Holm" in subspace(compare(runs))[0].legend
    split = subspace(compare([replace(run, holdout=True) for run in runs]))[0].legend
    assert "p: t test corrected for shared rows (Nadeau-Bengio); Holm" in split


def test_sampled_scores_are_correlated_within_cells(grid):
    """Spearman's, cell by cell by scipy; that tasks differ in level makes no correlation."""
    runs = [run for run in ruled(grid(draws=6)) if run.method == "simplex"]
    (found,) = samples(runs, ("prefix", "simplex"))
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
    """Two tests over six tasks at their smallest, 2 / 2**6, are .0625 by Holm: neither is called settled or set in bold."""
    runs = [
        replace(r, sampled=(0.9 * r.score, 1.1 * r.score))
        for r in grid({"simplex": 0.0}, sizes=(50,))
    ]
    (found,) = samples(runs, ("simplex",))
    assert (found.by_spread.p, found.by_mean.p) == (2 / 2**6, 2 / 2**6)
    assert (found.spread_p_adj, found.mean_p_adj) == (4 / 2**6, 4 / 2**6)
    (table,) = subspace(compare(runs))
    assert "the spread goes with the test score at +1.00, not settled (p = 0.062)" in table.legend
    assert "Holm over this table's 2 tests, of which no p below 0.062 can come" in table.legend
    assert not any(entry.strong for row in table.rows for entry in row)


def test_runs_without_them_make_no_section(grid):
    """No other rule was tested and nothing was sampled: nothing is said."""
    assert "Subspace" not in render(compare(grid()), format="markdown")


@pytest.mark.parametrize("form", FORMS)
def test_the_study_stands_in_every_format(grid, form):
    """Both tables, what the paper says and what was found."""
    flat = " ".join(render(compare(ruled(grid())), format=form).split())
    assert "Subspace study: selection rules on the same trainings" in flat
    assert "Subspace study: sampled dev scores" in flat
    assert flat.count("The paper: ") == 2
    assert "for simplex: " in flat
    assert "not settled (p = " in flat
    assert "with 6 tasks no p below 0.094 is possible" in flat  # 2 / 2**6, by Holm over three rules


def test_numbers_are_in_json(grid):
    """With tests, optimism and correlations as in the tables."""
    found = json.loads(render(compare(ruled(grid())), format="json"))["subspace"]
    assert {rule["method"] for rule in found["rules"]} == {"fine-tuning", "prefix", "simplex"}
    assert found["samples"][0]["by_mean"]["n"] == 6
    assert next(rule for rule in found["rules"] if rule["name"] == "last")["test"]["m"] == 2


def test_a_settled_difference_says_so(grid):
    """Eight tasks on which sampled models choose better by five points."""
    runs = ruled(grid({"simplex": 0.0}, tasks=[f"task-{i}" for i in range(8)]), gain=0.05)
    assert "+5.0 points" in (text := " ".join(render(compare(runs), format="markdown").split()))
    assert "settled (p = 0.0" in text.split("Here, for simplex")[1][:150]
    assert "not settled" not in text.split("Here, for simplex")[1][:150]


def test_the_example_says_what_its_runs_say(bench, tmp_path):
    """Recomputed from the ledger's own metrics; the paper's mechanism is not settled there, and the report says that."""
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
    assert found["simplex", "centroid"]["test"]["p_adj"] > 0.05
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
    ).out
    assert "over the centroid's choice, another test score in 25 of 60 runs; not settled" in words
