"""Figures inside an HTML page."""

import itertools
import re

import pytest

from reports.figures import FIGURES, inline
from reports.figures.style import NEUTRAL, PALETTE
from tests.support.drawing import drawn
from tests.support.predicted_runs import with_probabilities


@pytest.mark.slow
def test_inline_figures_share_no_ids(grid):
    """Two figures fit on one page, and so does one figure twice if it gets a prefix."""
    runs = with_probabilities(grid())
    pieces = [inline(drawn(name, runs)) for name in FIGURES] + [
        inline(drawn("curve", grid()), prefix="again")
    ]
    ids = [
        set(re.findall(r' id="([^"]+)"', piece)) | set(re.findall(r"\.([\w-]+)\{", piece))
        for piece in pieces
    ]
    assert all(ids[:-2])
    assert not [one for a, b in itertools.combinations(ids, 2) for one in a & b]


def test_an_inline_figure_takes_the_text_colour_of_the_page(grid):
    """Text uses the colour of the page, the background is transparent, and the page sets the size."""
    piece = inline(drawn("curve", grid()))
    assert "currentColor" in piece
    assert set(re.findall(r"#[0-9a-f]{6}\b", piece)) <= {*PALETTE, NEUTRAL}
    assert " width=" not in piece.split(">")[0]
    assert "viewBox" in piece.split(">")[0]
