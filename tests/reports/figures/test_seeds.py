"""Every run is drawn with its state."""

from dataclasses import replace

import pytest

from tests.support.drawing import drawn, values


def test_seeds_shows_every_run_and_its_state(grid):
    """There is a dot for each run at its score; collapsed and diverged runs have other markers."""
    runs = grid(tasks=("rte", "cola"), sizes=(50,))
    runs[0], runs[1] = replace(runs[0], collapsed=True), replace(runs[1], status="diverged")
    shown = {text: y for text, _, y in values(drawn("seeds", runs))}
    assert sorted(shown.values()) == pytest.approx(sorted(100 * run.score for run in runs))
    assert sum(text.endswith("(collapsed)") for text in shown) == 1
    assert sum(text.endswith("(diverged)") for text in shown) == 1
