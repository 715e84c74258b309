"""Values over a simplex."""

import itertools
import math

import numpy as np
import pytest

from reports.figures import Layout, inline, landscape, save
from tests.support.drawing import HOSTILE, SVG, outside, overlapping, texts, values, xml


def lattice(vertices, steps=4):
    """Return evenly spaced barycentric weights."""
    every = itertools.product(range(steps + 1), repeat=vertices)
    return np.array([point for point in every if sum(point) == steps]) / steps


@pytest.mark.parametrize("vertices", [2, 3, 4, 6])
def test_landscape_shows_every_point(vertices):
    """Each point of the triangle, or on an edge, is drawn with its value; names are shown literally."""
    weights = lattice(vertices)
    found = weights @ np.arange(vertices)
    names = [*HOSTILE[:3], "d", "e", "f"][:vertices]
    canvas = landscape(weights, found, names)
    xml(inline(canvas))
    edges = (weights > 0).sum(axis=1) <= 2
    assert len({text for text, *_ in values(canvas)}) == (
        len(weights) if vertices == 3 else edges.sum()
    )
    assert save(landscape(weights, found, names), "svg") == save(canvas, "svg")
    assert f"{len(weights)} points evaluated" in canvas.caption


def test_landscape_places_points_by_their_weights():
    """Vertices are at the corners, and the centre is in the middle."""
    canvas = landscape(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]], [1, 2, 3, 4], ["a", "b", "c"]
    )
    places = {text: (x, y) for text, x, y in values(canvas)}
    assert places["b 1.00: 2.0"] == (1, 0)
    assert places["c 1.00: 3.0"] == pytest.approx((0.5, math.sqrt(3) / 2))
    assert places["a 0.33, b 0.33, c 0.33: 4.0"] == pytest.approx((0.5, math.sqrt(3) / 6))


@pytest.mark.parametrize(
    ("weights", "found", "problem"),
    [
        ([[1, 0, 0]], [1, 2], "do not match"),
        ([[0.5, 0.2, 0.2]], [1], "sum to 1"),
        ([[1.5, -0.5, 0]], [1], "negative"),
    ],
)
def test_landscape_refuses_invalid_weights(weights, found, problem):
    """The error states what is wrong with shapes or weights."""
    with pytest.raises(ValueError, match=problem):
        landscape(weights, found, ["a", "b", "c"])


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_landscape_of_few_points(count):
    """Every point is shown; the contour map and its scale require three points that span an area."""
    canvas = landscape(np.eye(3)[:count], np.arange(count), ["a", "b", "c"])
    assert [text for text, *_ in values(canvas)] == ["a 1.00: 0.0", "b 1.00: 1.0", "c 1.00: 2.0"][
        :count
    ]
    assert len(list(xml(inline(canvas)).iter(f"{SVG}use"))) >= count
    assert any(axes.get_ylabel() == "points" for axes in canvas.axes) == (
        count == 3
    )  # the colour scale


def test_landscape_without_finite_values():
    """Points without a finite value are left out, and the figure says so."""
    canvas = landscape(np.eye(3), [math.nan] * 3, ["a", "b", "c"])
    assert not canvas.tooltips
    assert "No point has a finite value." in "".join(xml(inline(canvas)).itertext())


@pytest.mark.parametrize("width", [None, 3.0, 12.5])
@pytest.mark.parametrize("vertices", [2, 3, 4])
def test_landscape_labels_the_tested_centre(vertices, width):
    """The centre of all vertices is the tested model; its label has its score and lies on no other text."""
    weights = np.vstack([np.full((1, vertices), 1 / vertices), lattice(vertices)])
    found = np.linspace(0, 100, len(weights))[::-1]
    names = [f"vertex {number + 1}" for number in range(vertices)]
    canvas = landscape(
        weights, found, names, unit="accuracy, points", bounds=(0, 100), layout=Layout(width=width)
    )
    shown = " ".join(text.get_text().replace("\n", " ") for text in texts(canvas))
    assert "tested centre: 100.0" in shown
    assert "face" not in shown
    assert "accuracy, points" in shown
    assert outside(canvas) == []
    assert overlapping(canvas) == []


@pytest.mark.parametrize("width", [None, 3.0, 12.5])
@pytest.mark.parametrize("vertices", [2, 3])
def test_landscape_labels_the_centre_of_a_face(vertices, width):
    """On a face of a larger simplex, the centre of the face is labelled as such; the tested centre lies outside."""
    weights = np.vstack([np.full((1, vertices), 1 / vertices), lattice(vertices)])
    found = np.linspace(40, 60, len(weights))
    names = [f"vertex {number + 1}" for number in range(vertices)]
    canvas = landscape(weights, found, names, tested=83.25, layout=Layout(width=width))
    shown = " ".join(text.get_text().replace("\n", " ") for text in texts(canvas))
    assert "centre of the face: 40.0" in shown
    assert "tested centre (not on this face): 83.2" in shown
    assert outside(canvas) == []
    assert overlapping(canvas) == []


@pytest.mark.parametrize("vertices", [2, 3, 4])
def test_landscape_ends_at_the_range(vertices):
    """Neither axis nor colour scale has a value that the metric cannot have, also if all values are equal."""
    weights = lattice(vertices)
    for found in (np.linspace(0, 100, len(weights)), np.full(len(weights), 100.0)):
        canvas = landscape(weights, found, ["a", "b", "c", "d"][:vertices], bounds=(0, 100))
        scale = [axes for axes in canvas.axes if axes.get_ylabel() == "points"]
        assert scale
        for axes in scale:
            low, high = axes.get_ylim()
            assert 0 <= low < high <= 100 + 1e-3
