"""The Pareto figure shows costs, scores and the front."""

from dataclasses import replace

import pytest

from reports import compare
from reports.figures import FIGURES, Options
from reports.figures.pareto import ParetoPoint, front
from tests.support.drawing import values


def test_front_holds_the_undominated_methods(grid):
    """A method that costs more without scoring better is off the front; at equal cost the better one stays."""
    cell = compare(grid()).cell("simplex", "rte", 50)
    points = [
        ParetoPoint(n, cost, replace(cell, mean=mean))
        for n, cost, mean in [("a", 1, 5), ("b", 2, 5), ("c", 2, 7), ("d", 3, 6)]
    ]
    assert [point.method for point in front(points)] == ["a", "c"]


@pytest.mark.parametrize("cost", ["trained", "seconds", "stored", "evaluation"])
def test_pareto_places_methods_at_their_costs(cost, grid):
    """Each method is at its mean cost and mean score; the caption names a method without a cost."""
    names = {
        "trained": "trained",
        "seconds": "seconds_training",
        "stored": "stored",
        "evaluation": "seconds_evaluation",
    }
    runs = [
        replace(run, **{names[cost]: {"prefix": 10, "simplex": 20}.get(run.method, 0)})
        for run in grid()
    ]
    comparison = compare(runs)
    canvas = FIGURES["pareto"].draw(comparison, Options(cost=cost))
    points = {text.split(":")[0]: (x, y) for text, x, y in values(canvas)}
    assert points == {
        name: (x, comparison.cell(name, None, None).mean)
        for name, x in (("prefix", 10), ("simplex", 20))
    }
    assert "the cost is incomplete: fine-tuning" in canvas.caption
