"""The tables of the loss landscape are recomputed from the surroundings of models."""

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from reports.formats.terminal import as_terminal
from reports.tables.landscape import Surroundings, as_document
from tests.support.subsets import subset_interval


def surroundings(runs, *, lead=0.02):
    """Return simplexes whose centres lead by `lead`, and prefixes around which the loss rises faster."""
    rng = np.random.default_rng(2)
    found = []
    for run in runs:
        if run.method == "prefix":
            found.append(Surroundings(run=run, centre=run.score, rise=0.3 + rng.normal(0, 0.01)))
        elif run.method == "simplex":
            corners = tuple(run.score - lead + rng.normal(0, 0.01, 3))
            samples = tuple(run.score + rng.normal(0, 0.01, 10))
            found.append(
                Surroundings(
                    run=run,
                    centre=run.score,
                    vertices=corners,
                    samples=samples,
                    ensemble=run.score,
                    rise=0.1,
                    barrier=0.05,
                )
            )
    return found


def page_of(found, **changes):
    defaults = {
        "baseline": "prefix",
        "split": "test",
        "skipped": [],
        "failed": [],
        "command": "bench landscape",
    }
    return as_document(found, **{**defaults, **changes})


def rows(table):
    return {
        tuple(e.text for e in row[: table.labels]): [e.text for e in row[table.labels :]]
        for row in table.rows
    }


def test_the_centre_is_paired_with_vertices_and_samples(grid):
    """Difference, interval and p match a direct computation with equal weights of tasks."""
    found = surroundings(grid(tasks=[f"task-{i}" for i in range(8)], sizes=(50,)))
    page = page_of(found)
    table = page.tables[0]
    mine = [one for one in found if one.vertices]
    tasks = sorted({one.run.task for one in mine})
    gaps = [
        [100 * (fmean(one.vertices) - one.centre) for one in mine if one.run.task == task]
        for task in tasks
    ]
    score, effect, around, p, _ = rows(table)["simplex", "mean of vertices"]
    assert score == f"{100 * fmean(fmean(one.vertices) for one in mine):.1f}"
    assert effect == f"{np.mean(gaps):+.1f}"
    low, high = subset_interval(np.mean(gaps, axis=1), 6)
    assert around == f"[{low:.1f}, {high:.1f}]"
    assert p == f"{2 / 2**8:.3f}"
    assert " points, settled (p = 0.0" in page.verdict[0]
    assert rows(table)["simplex", "ensemble of samples"][1] == "0.0"


def test_flatness_is_paired_between_methods(grid):
    """The rise of the loss is compared with the baseline on the same blocks, in the units of the loss."""
    found = surroundings(grid(sizes=(50,)))
    page, steep = page_of(found), fmean(one.rise for one in found if not one.vertices)
    flat = rows(page.tables[1])
    assert flat["prefix",][2:6] == ["", "", "", ""]
    assert flat["simplex",][:3] == ["30", "0.100", f"{0.1 - steep:.3f}"]
    assert flat["simplex",][6:] == ["0.050", "0.050"]
    assert f"rises by {steep - 0.1:.3f} less than that of prefix" in page.verdict[1]
    assert "0.031" in page.verdict[1]


def test_every_model_has_a_row_and_skipped_models_are_mentioned(grid):
    """A model without vertices has dashes in their columns, and the facts name the skipped models."""
    found = [one for one in surroundings(grid(sizes=(50,), draws=1)) if not one.vertices]
    page = page_of(found, skipped=["the tensors of 0 were not stored"])
    (table,) = page.appendix
    assert len(table.rows) == len(found)
    assert [entry.text for entry in table.rows[0]][5:8] == ["—", "—", "—"]
    assert page.verdict == ("None of these models has vertices.",)
    text = as_terminal(page, width=100, color=False)
    assert "the tensors of 0 were not stored" in text


def test_a_place_without_a_score_is_a_lost_pair(grid):
    """A vertex whose score is NaN counts as a lost pair."""
    found = surroundings(grid(tasks=[f"task-{i}" for i in range(8)], sizes=(50,)), lead=0.1)
    place = next(i for i, one in enumerate(found) if one.vertices)
    found[place] = replace(found[place], vertices=(float("nan"), 0.5, 0.5))
    assert "not settled" in page_of(found).verdict[0]


def test_the_legend_names_the_test_that_was_used(grid):
    """A single task uses the t test over draws; that of scores is corrected if every draw has its own test split."""
    one = grid(tasks=("rte",), sizes=(50,))
    scores, rises = page_of(surroundings(one)).tables
    assert "on these test rows of these tasks (t test over draws)" in scores.legend
    trained = "other draws, with their training rows, of these tasks (t test over draws), Holm"
    assert trained in rises.legend
    scores, rises = page_of(surroundings([replace(run, holdout=True) for run in one])).tables
    assert "t test over draws and test rows, corrected for shared rows" in scores.legend
    assert trained in rises.legend


@pytest.mark.parametrize("rise", [0.05, 0.7, 5.0])
def test_the_rise_of_a_loss_has_no_bounds_and_needs_no_test_rows(grid, rise):
    """Its interval is that of a t test over draws however great it is, and a single task can settle it."""
    rng = np.random.default_rng(4)
    runs = [run for run in grid(tasks=("rte",), sizes=(50,), draws=6) if run.method != "simplex"]
    found = [
        Surroundings(
            run=run, centre=run.score, rise=rng.normal(rise * (1 + (run.method == "prefix")), 0.01)
        )
        for run in runs
    ]
    page = page_of(found, baseline="fine-tuning")
    steep, flat = (
        np.array([one.rise for one in found if one.run.method == method])
        for method in ("prefix", "fine-tuning")
    )
    expected = stats.ttest_1samp(steep - flat, 0)
    low, high = expected.confidence_interval()
    _, _, effect, around, *_ = rows(page.tables[0])["prefix",]
    assert effect == f"{(steep - flat).mean():+.3f}"
    assert around == f"[{low:.3f}, {high:.3f}]"
    assert page.verdict[1].endswith(", settled (p < 0.001).")
    few = page_of([one for one in found if one.run.draw < 3], baseline="fine-tuning").verdict[1]
    assert few.endswith("; fewer than 4 draws), which is not evidence of equality.")
    assert "single test rows" not in few


def test_failed_runs_are_lost_pairs(grid):
    """With a lost pair nothing is settled, and the report states the number of lost pairs."""
    runs = grid(tasks=[f"task-{i}" for i in range(8)], sizes=(50,))
    found = surroundings(runs)
    assert all(", settled (p" in text for text in page_of(found).verdict)
    broken = next(one.run for one in found if one.vertices)
    page = page_of(
        [one for one in found if one.run != broken],
        failed=[replace(broken, status="diverged", score=0.5)],
    )
    assert all(
        "not settled (p = 0.0" in text
        and "1 of 40 pairs is missing, 1 because runs have no score" in text
        for text in page.verdict
    )
    assert (
        "Without a model",
        "1 run failed, diverged or without a finite score; the pairs of these runs are lost",
    ) in page.facts


def test_methods_without_a_common_block_are_not_compared(grid):
    """Methods without a common block, and centres without a score, are reported as not compared."""
    found = [
        one
        for one in surroundings(grid(sizes=(50,)))
        if bool(one.vertices) == (one.run.task == "rte")
    ]
    assert (
        page_of(found).verdict[1]
        == "simplex and prefix are not compared: no task has models of both on the same examples."
    )
    blind = [
        replace(one, vertices=(np.nan, 0.5, 0.5))
        for one in surroundings(grid(tasks=("rte",)))
        if one.vertices
    ]
    assert "the centre of simplex is not compared" in page_of(blind).verdict[0]
