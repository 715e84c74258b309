"""Two ledgers of the same jobs: what moved."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports import compare
from reports.analysis.ledger_diff import as_document, diff_ledgers, headline
from tests.reports.conftest import PLAIN
from tests.support.simulated_runs import Study, simulate

SETTING = (PLAIN.backbone, PLAIN.recipe)


def test_the_same_ledger_twice_moved_nowhere(grid):
    """Equal to the last digit, and no table."""
    found = diff_ledgers(grid(), grid())
    assert all(move.equal == move.pairs and not move.moved for move in found.cells)
    assert (
        headline(found) == "None of 36 cells moved significantly; 36 are equal to the last digit."
    )
    assert as_document(found, before="a", after="b").tables == ()


def test_a_cell_that_moved_is_found_and_noise_is_not(grid):
    """A shift of 5 points in one cell is beyond noise; jitter in the others is not; differences are paired."""
    rng = np.random.default_rng(0)
    before = grid(draws=10)
    after = []
    for run in before:
        shift = 0.05 if (run.method, run.task, run.size) == ("prefix", "rte", 50) else 0.0
        after.append(replace(run, score=run.score + shift + rng.normal(0, 0.005)))
    found = diff_ledgers(before, after)
    assert [move.place for move in found.cells if move.moved] == [("prefix", "rte", 50, *SETTING)]
    (move,) = [move for move in found.cells if move.moved]
    pairs = [
        (100 * old.score, 100 * new.score)
        for old, new in zip(before, after, strict=True)
        if (old.method, old.task, old.size) == move.place[:3]
    ]
    interval = stats.ttest_rel(*reversed(list(zip(*pairs, strict=True)))).confidence_interval()
    assert move.ci == pytest.approx((interval.low, interval.high))
    (table,) = as_document(found, before="a", after="b").tables
    assert [entry.text for entry in table.rows[0][:3]] == ["prefix", "rte", "50"]


def test_a_shift_of_every_draw_by_the_same_amount_has_no_p(grid):
    """Two draws that gain one of 200 rows each may do so by chance: it has a name of its own, and has not moved."""
    before = grid(draws=2)
    found = diff_ledgers(before, [replace(run, score=run.score + 1 / 200) for run in before])
    assert {(move.word, move.moved) for move in found.cells} == {("same shift", False)}
    assert all(move.effect == pytest.approx(0.5) and np.isnan(move.p_adj) for move in found.cells)
    assert "36 changed in every draw by the same amount (no variance over draws)" in headline(found)


def test_what_is_not_settled_is_not_called_noise(grid):
    """What a test leaves open and what a single draw cannot test have different words; neither is called equal."""
    before = grid({"lora": 0.0}, tasks=("cola", "rte"), sizes=(50,))
    shifts = {"cola": (0.2, -0.1, 0.1, 0.0, -0.05), "rte": (-0.2,)}
    before = [run for run in before if run.draw < len(shifts[run.task])]
    found = diff_ledgers(
        before, [replace(run, score=run.score + shifts[run.task][run.draw]) for run in before]
    )
    assert [(move.place.task, move.word) for move in found.cells] == [
        ("cola", "not settled"),
        ("rte", "one draw"),
    ]
    assert headline(found) == (
        "None of 2 cells moved significantly; 1 changed, not settled (absence of significance is not evidence of "
        "equality); 1 changed, which a single draw cannot distinguish from noise; 0 are equal to the last digit."
    )
    (table,) = as_document(found, before="a", after="b").tables
    assert [row[-1].text for row in table.rows] == ["not settled", "one draw"]
    assert "over the 1 compared cell with a p. A cell with a single draw has no p" in table.legend


def test_p_and_interval_of_a_cell_are_of_one_kind(grid):
    """Where test rows are split anew for each draw p is corrected for shared rows as the interval is, by hand."""
    before = [
        replace(run, holdout=True) for run in grid({"lora": 0.0}, tasks=("cola",), sizes=(50,))
    ]
    shifts = [0.03, 0.05, 0.04, 0.06, 0.05]
    (move,) = diff_ledgers(
        before, [replace(run, score=run.score + shifts[run.draw]) for run in before]
    ).cells
    error = 100 * np.std(shifts, ddof=1) * np.sqrt(1 / 5 + 1000 / 50)
    assert move.p_raw == pytest.approx(2 * stats.t.sf(move.effect / error, 4))
    assert move.ci == pytest.approx(stats.t.interval(0.95, 4, move.effect, error))
    assert (move.ci[0] > 0) == (move.p_raw < 0.05)


def test_held_out_rows_that_are_known_count_as_a_sample():
    """The interval is that of the report's claim, wider than over draws alone: draws share some of their rows."""
    study = Study(draws=5, rows=400, holdout=True)
    runs = simulate(np.random.default_rng(2), study)
    base = [run for run in runs if run.method == "base"]
    other = [replace(run, method="base") for run in runs if run.method != "base"]
    (move,) = diff_ledgers(base, other).cells
    (test,) = [t for t in compare(runs, baseline="base").tests if t.family == "overall"]
    assert move.ci == pytest.approx((test.these.low, test.these.high))
    sd = 100 * np.std([b.score - a.score for a, b in zip(base, other, strict=True)], ddof=1)
    assert move.ci[1] - move.ci[0] > 2 * sd / np.sqrt(5) * stats.t.ppf(0.975, 4)


def test_other_rows_and_jobs_of_one_side_are_counted(grid):
    """What is not the same block on the same rows is not paired."""
    before = grid()
    after = [
        replace(run, rows="others") if run.task == "rte" else run
        for run in before
        if run.task != "cola"
    ]
    found = diff_ledgers(before, [*after, replace(before[0], method="lora")])
    assert (found.only_before, found.only_after, found.other_rows) == (30, 1, 30)
    assert headline(diff_ledgers(before, [])).startswith("Nothing to compare")


def test_backbones_and_recipes_are_kept_apart(grid):
    """A cell is of one backbone and one recipe: what moved with one of two is said of that one, and both are listed."""
    small = grid({"lora": 0.0}, tasks=("rte",), draws=6)
    rng = np.random.default_rng(0)
    large = [replace(run, backbone="large", score=run.score + 0.1) for run in small]
    after = [
        *small,
        *(replace(run, score=run.score - 0.05 + rng.normal(0, 0.005)) for run in large),
    ]
    found = diff_ledgers([*large, *small], after)
    assert {(move.place.backbone, move.word) for move in found.cells} == {
        ("large", "moved"),
        (PLAIN.backbone, "equal"),
    }
    page = as_document(found, before="a", after="b")
    assert page.facts[2:] == (
        ("Backbone 1", "large"),
        ("Backbone 2", PLAIN.backbone),
        ("Recipe", PLAIN.recipe),
    )
    assert sorted(tuple(entry.text for entry in row[:4]) for row in page.tables[0].rows) == [
        ("lora", "rte", "200", "1"),
        ("lora", "rte", "50", "1"),
    ]
    assert diff_ledgers(small, [replace(run, recipe="another") for run in small]).cells == ()
