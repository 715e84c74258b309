"""Scores around a trained model, job by job."""

import pytest

from harness.commands.landscape import RADII, Wanted, points_of, survey
from harness.errors import UsageError
from harness.ledger import Ledger

PLAIN = Wanted(vertices=(), edges=False, steps=4, directions=0, tested=50)


def wanted(**changes):
    return Wanted(**{**vars(PLAIN), **changes})


def test_a_triangle_is_a_lattice_with_the_centre_first():
    """Three vertices in steps of a quarter give fifteen points, and the centre of all vertices is looked at as well."""
    points = points_of(3, PLAIN)
    assert points[0] == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert len(points) == 1 + 15
    assert all(sum(point) == pytest.approx(1) for point in points)
    assert all(
        point[0] == point[1] == point[4] == 0 for point in points_of(6, wanted(vertices=(3, 4)))[1:]
    )


def test_edges_join_all_pairs():
    """Four vertices have six edges of three points between their ends."""
    assert len(points_of(4, wanted(edges=True))) == 1 + 4 + 6 * 3
    assert points_of(1, PLAIN) == [(1.0,)]


@pytest.mark.parametrize("vertices", [(1,), (1, 1), (1, 2, 3, 4), (7,)])
def test_what_is_no_triangle_is_refused(vertices):
    """Two or three different vertices that are there."""
    with pytest.raises(UsageError, match="--vertices"):
        points_of(6, wanted(vertices=vertices))


@pytest.fixture(scope="module")
def trained(bench, tmp_path_factory):
    """A ledger with a simplex of three vertices and a prefix, on one task."""
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


def digest(db, name):
    with Ledger(db) as ledger:
        return next(entry for entry in ledger.entries() if entry.label.startswith(name))


def test_the_centre_scores_what_the_run_recorded(trained):
    """With all test rows the centre's score is the result's; dev scores of the points lie between 0 and 1; all are heard of."""
    entry, heard = digest(trained, "simplex"), []
    one, points = survey(
        trained,
        entry.digest,
        wanted(steps=2, tested=10_000),
        lambda done, total: heard.append((done, total)),
    )
    assert one.vertices == 3
    assert points[0].weights == pytest.approx((1 / 3,) * 3)
    assert points[0].test == entry.metrics["score"]
    assert len(points) == 7
    assert heard[-1] == (7, 7)
    assert len({point.dev_loss for point in points}) > 3


def test_directions_are_the_same_each_time_and_further_is_not_nearer(trained):
    """Random directions belong to the job; losses at radius 0 would be the centre's, and change with the radius."""
    entry = digest(trained, "prefix")
    found = [
        survey(trained, entry.digest, wanted(directions=2, tested=0), lambda *_: None)[1]
        for _ in range(2)
    ]
    assert found[0] == found[1]
    (centre,), away = (
        [p for p in found[0] if p.direction is None],
        [p for p in found[0] if p.direction is not None],
    )
    assert len(away) == 2 * len(RADII)
    assert centre.test is None
    near, far = (
        next(p for p in away if p.direction == 0 and p.radius == radius)
        for radius in (RADII[0], RADII[-1])
    )
    assert abs(near.train_loss - centre.train_loss) < abs(far.train_loss - centre.train_loss)
