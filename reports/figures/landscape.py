"""Values over a simplex: a triangle for three vertices, one panel per edge for any other number.

The model that is tested is the centre of the whole simplex. A triangle or an edge is a face of a
simplex that may have more vertices; then the centre of the face is another model.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from reports.document import plural
from reports.figures.canvas import Canvas, empty_figure, grid_lines
from reports.figures.options import DEFAULT, Layout
from reports.figures.style import INK, PAGE, PALETTE, folded, short, styled
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
    bounds: tuple[float, float] = (-math.inf, math.inf),
    tested: float | None = None,
    layout: Layout = DEFAULT.layout,
) -> Canvas:
    """Draw the values at the evaluated points of a simplex or of one of its faces, with a dot for every point.

    Args:
        weights: barycentric weights of shape (n, vertices); each row sums to 1.
        values: shape (n,), in `unit`; points whose value is not finite are left out.
        names: the names of the vertices.
        title: the title of the figure.
        unit: the unit of the values.
        caption: sentences to append to the caption.
        bounds: the lowest and the highest possible value.
        tested: the value at the tested centre if `names` are the vertices of a face, which does not
            contain it; None if they are all vertices of the simplex.
        layout: width and caption.

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
        return empty_figure(NAME, title, "No point has a finite value.", layout)
    values_shown = Values(points, scores, names, tested)
    edges = _drawn_edges(points)
    if len(names) != 3 and not edges:
        return empty_figure(NAME, title, "No point lies on an edge.", layout)
    if len(names) == 3:
        canvas = _triangle(Canvas(NAME, title, layout, width=3.9), values_shown, unit, bounds)
        shown = "all shown"
    else:
        canvas = Canvas(NAME, title, layout, width=PAGE if len(edges) > 1 else 3.5)
        canvas = _edges(canvas, values_shown, edges, unit, bounds)
        shown = f"{_count_drawn(points)} on edges shown"
    evaluated = f"{plural(scores.size, 'point')} evaluated"
    return canvas.finish(f"{evaluated}, {shown}. {caption}".strip())


class Values(NamedTuple):
    """The values at points of a simplex, or of a face of one."""

    points: Array  # (n, vertices)
    scores: Array  # (n,)
    names: Sequence[str]
    tested: float | None  # the value at the tested centre, if it is not a point of the face

    @property
    def centre(self) -> float | None:
        """The value at the centre of these vertices, if it was evaluated."""
        at = (np.abs(self.points - 1 / len(self.names)) < 1e-3).all(axis=1)
        return float(self.scores[at][0]) if at.any() else None

    def label(self) -> str:
        """Return what the centre of these vertices is, with its value."""
        what = "tested centre" if self.tested is None else "centre of the face"
        return what if self.centre is None else f"{what}: {self.centre:.1f}"

    def label_of_tested(self) -> str:
        """Return the label of the tested centre that lies outside."""
        return f"tested centre (not on this face): {self.tested:.1f}"


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


def _triangle(canvas: Canvas, shown: Values, unit: str, bounds: tuple[float, float]) -> Canvas:
    canvas.set_figheight(min(0.85 * canvas.get_figwidth(), 5.5))
    axes = canvas.add_subplot()
    points, values, names = shown.points, shown.scores, shown.names
    x, y = to_plane(points).T
    canvas.add_legend([_plus()], [shown.label()])
    # a contour map requires points that are not all on one line
    if np.linalg.matrix_rank(np.stack([x - x[0], y - y[0]]), tol=TOLERANCE) == 2:
        _contours(canvas, axes, shown, unit, bounds)
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
            folded(name, width=max(8, int(canvas.get_figwidth() * 4))),
            (cx, cy),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=side,
            va=va,
        )
    axes.set_aspect("equal")
    axes.set_axis_off()
    return canvas


def _contours(
    canvas: Canvas, axes: Axes, shown: Values, unit: str, bounds: tuple[float, float]
) -> None:
    """Draw the contour map and its colour scale, which ends at the lowest and the highest value shown."""
    x, y = to_plane(shown.points).T
    every = [*shown.scores, *([] if shown.tested is None else [shown.tested])]
    low, high = min(every), max(every)
    if high - low < TOLERANCE:
        low, high = max(low - 0.5, bounds[0]), min(high + 0.5, bounds[1])
    levels = np.linspace(low, high, LEVELS + 1)
    levels[-1] += TOLERANCE * (high - low)  # a plateau at the highest value is filled
    area = axes.tricontourf(x, y, shown.scores, levels=levels, cmap="cividis")
    bar = canvas.colorbar(area, ax=axes, shrink=0.7, label=unit)
    bar.set_ticks([tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high])
    bar.outline.set_visible(False)
    if shown.tested is not None:
        for color, width in (("black", 3.0), ("white", 1.2)):
            bar.ax.axhline(shown.tested, color=color, linewidth=width)
        canvas.add_legend([_dashes("-")], [f"{shown.label_of_tested()}, on the scale"])


def _plus() -> Line2D:
    return Line2D([], [], color=INK, marker="+", markersize=7, markeredgewidth=1.2, linestyle="")


def _dashes(style: Any = (0, (4, 2))) -> Line2D:
    return Line2D([], [], color=INK, linewidth=0.8, linestyle=style)


def _edges(
    canvas: Canvas,
    shown: Values,
    edges: Sequence[tuple[int, int]],
    unit: str,
    bounds: tuple[float, float],
) -> Canvas:
    """Draw a panel for each edge; a dashed line in each marks the value of the tested centre."""
    columns = canvas.columns(len(edges), each=2.2)
    rows = math.ceil(len(edges) / columns)
    canvas.set_figheight(1.6 * rows + 0.3)
    panels = canvas.subplots(rows, columns, squeeze=False, sharey=True)
    segment = len(shown.names) == 2  # then the centre is the middle of the edge
    for number, axes in enumerate(panels.flat):
        if number >= len(edges):
            axes.set_visible(False)
            continue
        _edge(canvas, axes, shown, edges[number])
        tested = shown.centre if shown.tested is None else shown.tested
        if tested is not None:
            axes.axhline(tested, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        if segment and shown.centre is not None:
            axes.plot([0.5], [shown.centre], marker="+", color=INK, markersize=9, linestyle="")
        canvas.limit(axes.yaxis, bounds)
        if number % columns == 0:
            axes.set_ylabel(unit)
    if segment and shown.centre is not None:
        canvas.add_legend([_plus()], [shown.label()])
    if shown.tested is not None:
        canvas.add_legend([_dashes()], [shown.label_of_tested()])
    elif shown.centre is not None and not segment:
        canvas.add_legend([_dashes()], [f"{shown.label()}, which is on no edge"])
    return canvas


def _drawn_edges(points: Array) -> list[tuple[int, int]]:
    """Return the edges with a point on them, as pairs of vertices."""
    edges = itertools.combinations(range(points.shape[1]), 2)
    return [edge for edge in edges if _on_edge(points, *edge).any()]


def _count_drawn(points: Array) -> int:
    """Return the number of points on the edges that are drawn."""
    return int(np.any([_on_edge(points, *pair) for pair in _drawn_edges(points)], axis=0).sum())


def _on_edge(points: Array, i: int, j: int) -> NDArray[np.bool_]:
    """Return a mask of the points on the edge from i to j."""
    return np.asarray(points[:, i] + points[:, j] > 1 - TOLERANCE)


def _edge(canvas: Canvas, axes: Axes, shown: Values, pair: tuple[int, int]) -> None:
    i, j = pair
    points, values, names = shown.points, shown.scores, shown.names
    kept = np.flatnonzero(_on_edge(points, i, j))
    kept = kept[np.argsort(points[kept, j], kind="stable")]
    (line,) = axes.plot(points[kept, j], values[kept], color=PALETTE[0], marker="o", markersize=3.2)
    canvas.add_tooltips(line, [_tooltip(points[k], values[k], names) for k in kept])
    axes.set_xticks([0, 0.5, 1], [short(names[i], 12), "½", short(names[j], 12)])
    axes.set_xlim(-0.08, 1.08)
    axes.set_xlabel("point between two vertices")
    grid_lines(axes)
