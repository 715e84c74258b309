"""What tasks are like, and what gains go with, on made-up tasks whose answers are known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports import compare, render
from reports.analysis.task_characteristics import characteristics, label_balance, word_overlap
from reports.tables.task_characteristics import characteristics_tables
from tests.conftest import ROOT

TASKS = [f"task-{i}" for i in range(7)]


def lengthy(grid, **changes):
    """Runs of tasks whose rows grow longer, on which `prefix` gains with the length and the size."""
    runs = []
    for run in grid({"lora": 0.0, "prefix": 0.0}, tasks=TASKS, **changes):
        number = TASKS.index(run.task)
        gain = (0.01 * number + 0.0001 * run.size) * (run.method == "prefix")
        right = {"": np.array([0.0] * (10 + number) + [1.0] * 10)}
        runs.append(replace(run, score=0.5 + gain, labels=right, classes=("no", "yes")))
    return runs


def texts(run):
    """Rows of one more word a task; those of the first are not at hand, the last two are pairs."""
    number = TASKS.index(run.task)
    row = " ".join(["word"] * (number + 1))
    return None if number == 0 else [[row, f"{row} other"] if number > 4 else [row]] * 3


def test_balance_is_entropy_over_its_greatest_value():
    """As scipy has it; one where classes are alike, zero where there is one, none for a regression."""
    labels = [0.0] * 30 + [1.0] * 10 + [2.0] * 5
    assert label_balance(labels, 3) == pytest.approx(stats.entropy([30, 10, 5], base=3))
    assert label_balance([0.0, 1.0], 2) == pytest.approx(1)
    assert label_balance([1.0, 1.0], 2) == 0
    assert math.isnan(label_balance([0.3, 1.0], 0))


def test_overlap_is_the_share_of_words_that_both_have():
    """Three of five words, whatever their case; single texts have none."""
    assert word_overlap([["The cat sat, here", "the cat SAT down"]]) == pytest.approx(3 / 5)
    assert math.isnan(word_overlap([["alone"], ["two"]]))


def test_tasks_are_measured_and_gains_are_held_against_it(grid):
    """Gains are those of the comparison; a task without texts is known by its labels; rank correlations are scipy's."""
    comparison = compare(lengthy(grid))
    found = characteristics(comparison, texts)
    first, *rest = found.tasks
    assert math.isnan(first.words)
    assert math.isnan(first.pair)
    assert first.balance == 1
    assert [one.words for one in rest] == [2, 3, 4, 5, 13, 15]
    assert [one.pair for one in rest] == [0, 0, 0, 0, 1, 1]
    assert rest[-1].overlap == 0.5
    assert rest[-1].gains["prefix"] == pytest.approx(6 + 0.01 * 125)
    assert rest[-1].best == pytest.approx(50 + 6 + 0.01 * 125)
    links = {link.characteristic: link.found for link in found.links}
    assert (links["words"].rho, links["words"].n) == (pytest.approx(1), 6)
    assert links["words"].p == pytest.approx(2 / math.factorial(6))
    assert links["pair"].rho == pytest.approx(
        stats.spearmanr([0, 0, 0, 0, 1, 1], range(6)).statistic
    )
    assert (links["size"].rho, links["size"].p) == (1, pytest.approx(2 / 2**7))
    assert "overlap" not in links  # all alike
    raw = [link.found.p for link in found.links]
    assert [link.p_adj for link in found.links] == pytest.approx(
        list(stats.false_discovery_control(raw))
    )


def test_what_people_reach_is_held_against_gains(grid):
    """Of tasks whose numbers are published, in points.

    A task of one's own has none, and stands in no correlation with it.
    """
    names = ["cola", "sst2", "rte", "qnli", "mine"]
    runs = [
        replace(
            run,
            score=0.5 + 0.01 * names.index(run.task) * (run.method == "prefix"),
            labels={"": np.array([0.0, 1.0])},
        )
        for run in grid({"lora": 0.0, "prefix": 0.0}, tasks=names)
    ]
    scored = {"cola": ["matthews"]}
    runs = [
        replace(run, scored_by=scored.get(run.task, ["accuracy"]), classes=("no", "yes"))
        for run in runs
    ]
    comparison = compare(runs)
    found = characteristics(comparison, lambda _: None)
    assert {one.task: one.people for one in found.tasks if not math.isnan(one.people)} == {
        "cola": 66.4, "qnli": 91.2, "rte": 93.6, "sst2": 97.8,
    }  # fmt: skip
    (link,) = (link.found for link in found.links if link.characteristic == "people")
    assert (link.rho, link.n) == (
        pytest.approx(stats.spearmanr([66.4, 97.8, 93.6, 91.2], range(4)).statistic),
        4,
    )
    table = characteristics_tables(comparison, found)[0]
    assert "97.8" in [entry.text for row in table.rows for entry in row if row[0].text == "sst2"]


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex"])
def test_the_tables_say_what_is_missing(grid, form):
    """Only where they are asked for; tasks without texts are named, and how little a few tasks can settle."""
    comparison = compare(lengthy(grid, sizes=(50,)))
    assert "characteristics" not in render(comparison, format=form, texts=texts)
    text = " ".join(render(comparison, format=form, texts=texts, characteristics=True).split())
    assert "Task characteristics" in text
    assert "The texts of task-0 are not available" in text
    assert "of 3 correlations with a p, a single one can reach p = 0.005 after adjustment" in text
    assert "a low estimate of the ceiling that label noise sets" in text


def test_what_can_be_reached_is_of_the_tasks_that_are_known(grid):
    """Of seven tasks three have texts, and their labels are balanced alike: 2 / 3! twice is beyond .05."""
    runs = [
        replace(run, labels={"": np.array([0.0, 1.0] * 10)}) for run in lengthy(grid, sizes=(50,))
    ]
    comparison = compare(runs)
    found = characteristics(comparison, lambda run: texts(run) if run.task in TASKS[4:] else None)
    assert {link.characteristic: link.found.smallest for link in found.links} == {
        "words": pytest.approx(2 / 6),
        "pair": pytest.approx(4 / 6),
    }
    assert (
        "of 2 correlations with a p, a single one cannot reach .05"
        in characteristics_tables(comparison, found)[1].legend
    )


def test_gains_are_ranked_as_they_are_shown(grid):
    """Gains of 1.21 and 1.24 points are both +1.2, and share a rank."""
    gains = [0.0, 0.0124, 0.0121, 0.0124, 0.0121, 0.0122, 0.03]
    runs = [
        replace(run, score=0.5 + gains[TASKS.index(run.task)] * (run.method == "prefix"))
        for run in lengthy(grid, sizes=(50,))
    ]
    links = {
        link.characteristic: link.found for link in characteristics(compare(runs), texts).links
    }
    assert links["words"].rho == pytest.approx(
        stats.spearmanr(range(6), [1, 1, 1, 1, 1, 2]).statistic
    )


def test_a_single_task_has_no_correlation(grid):
    """It is measured, and that is all."""
    comparison = compare(lengthy(grid)[:10], tasks=["task-0"])
    assert characteristics(comparison, texts).links == ()
    assert "Gains against" not in render(
        comparison, format="markdown", texts=texts, characteristics=True
    )


@pytest.mark.slow
def test_the_command_measures_the_example(bench, tmp_path):
    """The embedded tasks' texts are made anew, with no network; the same command gives the same bytes."""
    words = [
        "report",
        "--db",
        ROOT / "results.db.example",
        "--baseline",
        "prefix",
        "--characteristics",
    ]
    first, second = (bench(tmp_path, *words, "--format", "json") for _ in range(2))
    assert first.code == 0, first.err
    assert first.out == second.out
    found = {one["task"]: one for one in json.loads(first.out)["characteristics"]["tasks"]}
    assert found["toy-sentiment"]["pair"] == 0
    assert found["toy-similarity"]["balance"] is None
    assert 0.6 < found["toy-paraphrase"]["overlap"] < 0.7
    refused = bench(tmp_path, *words, "--format", "csv")
    assert refused.code == 2
    assert "--characteristics" in refused.err
