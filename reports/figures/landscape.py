"""Values over a simplex: a triangle for three vertices, one panel per edge for any other number."""

import itertools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from reports.document import plural
from reports.figures.canvas import Canvas, empty_figure, grid_lines
from reports.figures.options import DEFAULT
from reports.figures.style import INK, MAX_PANELS, PALETTE, folded, short, styled
from reports.statistics.conventions import Array

NAME: Final = "landscape"
TITLE: Final = "Values over the simplex"
LEVELS: Final = 9  # of the contour map
HEIGHT: Final = math.sqrt(3) / 2  # height of a triangle with sides of 1
TOLERANCE: Final = 1e-6  # weights that differ by less are equal


@styled
def landscape(
    weights: ArrayLike,
    values: ArrayLike,
    names: Sequence[str],
    *,
    title: str = TITLE,
    unit: str = "points",
    caption: str = "",
) -> Canvas:
    """Draw the values at the evaluated points of a simplex, with a dot for every point.

    Args:
        weights: barycentric weights of shape (n, vertices); each row sums to 1.
        values: shape (n,), in `unit`; points whose value is not finite are left out.
        names: the names of the vertices.
        title: the title of the figure.
        unit: the unit of the values.
        caption: sentences to append to the caption.

    Raises:
        ValueError: the shapes do not match, or weights are negative or do not sum to 1.
    """
    points, scores = np.asarray(weights, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape != (scores.size, len(names)) or scores.ndim != 1:
        raise ValueError(
            f"the shapes of weights {points.shape}, values {scores.shape} and {len(names)} names do not match"
        )
    if points.size and (points.min() < -TOLERANCE or np.abs(points.sum(axis=1) - 1).max() > 1e-3):
        raise ValueError("weights must not be negative, and each row of weights must sum to 1")
    points, scores = points[np.isfinite(scores)], scores[np.isfinite(scores)]
    if not scores.size:
        return empty_figure(NAME, title, "No point has a finite value.", DEFAULT.layout)
    canvas = (
        _triangle(points, scores, names, title, unit)
        if len(names) == 3
        else _edges(points, scores, names, title, unit)
    )
    shown = "all shown" if len(names) == 3 else f"{_count_drawn(points)} on edges shown"
    evaluated = f"{plural(scores.size, 'point')} evaluated"
    return canvas.finish(f"{evaluated}, {shown}; +: the centre. {caption}".strip())


def to_plane(weights: Array) -> Array:
    """Map barycentric weights (n, 3) to coordinates (n, 2) in a triangle of side 1, third vertex on top."""
    return np.stack([weights[:, 1] + weights[:, 2] / 2, HEIGHT * weights[:, 2]], axis=1)


def _tooltip(weights: Array, value: float, names: Sequence[str]) -> str:
    shares = ", ".join(
        f"{name} {weight:.2f}"
        for name, weight in zip(names, weights, strict=True)
        if weight > TOLERANCE
    )
    return f"{shares}: {value:.1f}"


def _triangle(points: Array, values: Array, names: Sequence[str], title: str, unit: str) -> Canvas:
    canvas = Canvas(NAME, title, DEFAULT.layout, width=3.9, height=3.3)
    axes = canvas.add_subplot()
    x, y = to_plane(points).T
    # a contour map requires points that are not all on one line
    if np.linalg.matrix_rank(np.stack([x - x[0], y - y[0]]), tol=TOLERANCE) == 2:
        area = axes.tricontourf(x, y, values, levels=LEVELS, cmap="cividis")
        bar = canvas.colorbar(area, ax=axes, shrink=0.7, label=unit)
        bar.outline.set_visible(False)
    corners = to_plane(np.eye(3))
    axes.plot(*corners[[0, 1, 2, 0]].T, color=INK, linewidth=0.8)
    # white with a black edge is visible on every colour of the map
    (dots,) = axes.plot(
        x,
        y,
        linestyle="",
        marker="o",
        markersize=3,
        color="white",
        markeredgecolor="black",
        markeredgewidth=0.5,
    )
    canvas.add_tooltips(dots, [_tooltip(w, v, names) for w, v in zip(points, values, strict=True)])
    middle = corners.mean(axis=0)
    axes.plot(*middle, marker="+", color="black", markersize=11, markeredgewidth=2.6)
    axes.plot(*middle, marker="+", color="white", markersize=10, markeredgewidth=1.2)
    for (cx, cy), name, (dx, dy), side in zip(
        corners, names, ((0, -5), (0, -5), (0, 5)), ("left", "right", "center"), strict=True
    ):
        va = "top" if dy < 0 else "bottom"
        axes.annotate(
            folded(name, width=18),
            (cx, cy),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=side,
            va=va,
        )
    axes.set_aspect("equal")
    axes.set_axis_off()
    return canvas


def _edges(points: Array, values: Array, names: Sequence[str], title: str, unit: str) -> Canvas:
    """Draw a panel for each edge with a point on it; a dashed line in each panel marks the value of the centre."""
    shown = _drawn_edges(points)
    if not shown:
        return empty_figure(NAME, title, "No point lies on an edge.", DEFAULT.layout)
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    canvas = Canvas(
        NAME, title, DEFAULT.layout, width=7.1 if columns > 1 else 3.5, height=1.6 * rows + 0.3
    )
    panels = canvas.subplots(rows, columns, squeeze=False, sharey=True)
    centre = values[(np.abs(points - 1 / len(names)) < 1e-3).all(axis=1)]
    for number, axes in enumerate(panels.flat):
        if number >= len(shown):
            axes.set_visible(False)
            continue
        _edge(canvas, axes, points, values, names, shown[number])
        if centre.size:
            axes.axhline(centre[0], color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
            axes.plot([0.5], [centre[0]], marker="+", color=INK, markersize=7, linestyle="")
        if number % columns == 0:
            axes.set_ylabel(unit)
    return canvas


def _drawn_edges(points: Array) -> list[tuple[int, int]]:
    """Return the edges with a point on them, at most `MAX_PANELS`, as pairs of vertices."""
    edges = itertools.combinations(range(points.shape[1]), 2)
    return [edge for edge in edges if _on_edge(points, *edge).any()][:MAX_PANELS]


def _count_drawn(points: Array) -> int:
    """Return the number of points on the edges that are drawn."""
    return int(np.any([_on_edge(points, *pair) for pair in _drawn_edges(points)], axis=0).sum())


def _on_edge(points: Array, i: int, j: int) -> NDArray[np.bool_]:
    """Return a mask of the points on the edge from i to j."""
    return np.asarray(points[:, i] + points[:, j] > 1 - TOLERANCE)


def _edge(
    canvas: Canvas,
    axes: Axes,
    points: Array,
    values: Array,
    names: Sequence[str],
    pair: tuple[int, int],
) -> None:
    i, j = pair
    kept = np.flatnonzero(_on_edge(points, i, j))
    kept = kept[np.argsort(points[kept, j], kind="stable")]
    (line,) = axes.plot(points[kept, j], values[kept], color=PALETTE[0], marker="o", markersize=3.2)
    canvas.add_tooltips(line, [_tooltip(points[k], values[k], names) for k in kept])
    axes.set_xticks([0, 0.5, 1], [short(names[i], 12), "½", short(names[j], 12)])
    axes.set_xlim(-0.08, 1.08)
    grid_lines(axes)
