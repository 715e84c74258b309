"""Two ledgers of the same jobs: what moved."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.moves import as_document, headline, moves


def test_the_same_ledger_twice_moved_nowhere(grid):
    """Equal to the last digit, and no table."""
    found = moves(grid(), grid())
    assert all(move.equal == move.pairs and not move.moved for move in found.cells)
    assert "None of 36 cells moved beyond noise; 0 changed within it, 36 are equal" in headline(found)
    assert as_document(found, before="a", after="b").tables == ()


def test_a_cell_that_moved_is_found_and_noise_is_not(grid):
    """A shift of 5 points in one cell is beyond noise; jitter in the others is not; differences are paired."""
    rng = np.random.default_rng(0)
    before = grid(draws=10)
    after = []
    for run in before:
        shift = 0.05 if (run.method, run.task, run.size) == ("prefix", "rte", 50) else 0.0
        after.append(replace(run, score=run.score + shift + rng.normal(0, 0.005)))
    found = moves(before, after)
    assert [move.place for move in found.cells if move.moved] == [("prefix", "rte", 50)]
    (move,) = [move for move in found.cells if move.moved]
    pairs = [
        (100 * old.score, 100 * new.score)
        for old, new in zip(before, after, strict=True)
        if (old.method, old.task, old.size) == move.place
    ]
    interval = stats.ttest_rel(*reversed(list(zip(*pairs, strict=True)))).confidence_interval()
    assert move.ci == pytest.approx((interval.low, interval.high))
    (table,) = as_document(found, before="a", after="b").tables
    assert [entry.text for entry in table.rows[0][:3]] == ["prefix", "rte", "50"]


def test_a_shift_of_every_draw_by_the_same_amount_is_no_noise(grid):
    """There is no variance to test against, and the cells have moved."""
    before = grid(draws=5)
    found = moves(before, [replace(run, score=run.score + 0.05) for run in before])
    assert all(move.moved and move.effect == pytest.approx(5) for move in found.cells)


def test_other_rows_and_jobs_of_one_side_are_counted(grid):
    """What is not the same block on the same rows is no pair."""
    before = grid()
    after = [replace(run, rows="others") if run.task == "rte" else run for run in before if run.task != "cola"]
    found = moves(before, [*after, replace(before[0], method="lora")])
    assert (found.only_before, found.only_after, found.other_rows) == (30, 1, 30)
    assert headline(moves(before, [])).startswith("Nothing to compare")
