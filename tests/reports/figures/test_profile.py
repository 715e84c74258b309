"""Performance profiles are fractions of runs."""

from dataclasses import replace

import numpy as np
import pytest

from reports.figures.profile import fractions


def test_profile_is_the_fraction_of_runs(grid):
    """The line is the fraction of runs at or above a score, failed runs reach none, and the band contains it."""
    runs = [run for run in grid() if run.method == "simplex"]
    runs[0] = replace(runs[0], status="failed", score=None)
    taus = np.array([0.0, 60.0, 70.0, 101.0])
    line, low, high = fractions(runs, taus)
    done = [100 * run.score for run in runs[1:]]
    assert line == pytest.approx([sum(score >= tau for score in done) / len(runs) for tau in taus])
    assert (low <= line + 1e-12).all()
    assert (line <= high + 1e-12).all()
    assert fractions(runs, taus)[1] == pytest.approx(low)


def test_a_band_of_draws_that_agree_has_a_width(grid):
    """Five draws that all reach a score show only that 48 % or more of draws do (Clopper and Pearson)."""
    runs = [run for run in grid(tasks=("rte",), sizes=(50,)) if run.method == "simplex"]
    _, low, high = fractions(runs, np.array([10.0]))
    assert (low[0], high[0]) == (pytest.approx(0.025 ** (1 / 5)), 1.0)
