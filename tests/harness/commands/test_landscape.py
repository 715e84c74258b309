"""`bench landscape DIGEST`: losses and scores of one trained model at many points."""

from dataclasses import replace

import pytest

from harness.commands.landscape import (
    RADII,
    LandscapeRequest,
    evaluate_points,
    lattice_points,
)
from harness.errors import UsageError
from harness.ledger import Ledger

DEFAULT = LandscapeRequest(vertices=(), edges=False, steps=4, directions=0, test_rows=50)


def request(**changes):
    return replace(DEFAULT, **changes)


def test_a_triangle_is_a_lattice_after_the_centre():
    """Three vertices and four steps give fifteen points, after the centre of all vertices."""
    points = lattice_points(3, DEFAULT)
    assert points[0] == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert len(points) == 1 + 15
    assert all(sum(point) == pytest.approx(1) for point in points)
    assert all(
        point[0] == point[1] == point[4] == 0
        for point in lattice_points(6, request(vertices=(3, 4)))[1:]
    )


def test_edges_connect_all_pairs():
    """Four vertices have six edges with three inner points each."""
    assert len(lattice_points(4, request(edges=True))) == 1 + 4 + 6 * 3
    assert lattice_points(1, DEFAULT) == [(1.0,)]


@pytest.mark.parametrize("vertices", [(1,), (1, 1), (1, 2, 3, 4), (7,)])
def test_an_invalid_choice_of_vertices_is_refused(vertices):
    """Two or three different existing vertices are required."""
    with pytest.raises(UsageError, match="--vertices"):
        lattice_points(6, request(vertices=vertices))


@pytest.fixture(scope="module")
def trained(bench, tmp_path_factory):
    """The name of a ledger with a simplex of three vertices and a prefix, on one task."""
    folder = tmp_path_factory.mktemp("landscape")
    words = (
        "--methods",
        "simplex,prefix",
        "--set",
        "simplex.vertices=3",
        "--tasks",
        "toy-sentiment",
        "--draws",
        1,
        "-j",
        1,
    )
    ended = bench.run(folder, "r.db", *words)
    assert ended.code == 0, ended.err
    return str(folder / "r.db")


def entry_of(db, name):
    with Ledger(db) as ledger:
        return next(entry for entry in ledger.entries() if entry.label.startswith(name))


@pytest.mark.slow
def test_the_centre_has_the_recorded_score(trained):
    """With all test rows, the centre's score equals the result's; progress reaches the last point."""
    entry, progress = entry_of(trained, "simplex"), []
    stored, points = evaluate_points(
        trained,
        entry.digest,
        request(steps=2, test_rows=10_000),
        lambda done, total: progress.append((done, total)),
    )
    assert stored.vertices == 3
    assert points[0].weights == pytest.approx((1 / 3,) * 3)
    assert points[0].test == entry.metrics["score"]
    assert len(points) == 7
    assert progress[-1] == (7, 7)
    assert len({point.dev_loss for point in points}) > 3


def test_random_directions_depend_on_the_job_only(trained):
    """Two evaluations are equal, and the loss changes more at the largest radius than at the smallest."""
    entry = entry_of(trained, "prefix")
    points, repeated = (
        evaluate_points(trained, entry.digest, request(directions=2, test_rows=0), lambda *_: None)[
            1
        ]
        for _ in range(2)
    )
    assert points == repeated
    (centre,) = (point for point in points if point.direction is None)
    moved = [point for point in points if point.direction is not None]
    assert len(moved) == 2 * len(RADII)
    assert centre.test is None
    near, far = (
        next(point for point in moved if point.direction == 0 and point.radius == radius)
        for radius in (RADII[0], RADII[-1])
    )
    assert abs(near.train_loss - centre.train_loss) < abs(far.train_loss - centre.train_loss)


def test_the_figure_of_a_face_labels_the_tested_centre(bench, trained, tmp_path):
    """On an edge of a triangle, the label says that the tested centre lies elsewhere; the axis names the metric."""
    digest = entry_of(trained, "simplex").digest
    words = ("landscape", digest, "--db", trained, "--steps", 2, "--test-rows", 0)
    ended = bench(tmp_path, *words, "--vertices", "1,2", "--width", 6, "-o", "edge.svg")
    assert ended.code == 0, ended.err
    edge = (tmp_path / "edge.svg").read_text("utf-8")
    assert "centre of the face" in edge
    assert "this face):" in edge
    assert "accuracy on dev rows" in edge
    assert 'width="432pt"' in edge
    assert "points evaluated" in edge
    assert bench(tmp_path, *words, "--no-caption", "-o", "whole.svg").code == 0
    whole = (tmp_path / "whole.svg").read_text("utf-8")
    assert "tested centre:" in whole
    assert "centre of the face" not in whole
    assert "points evaluated" not in whole
