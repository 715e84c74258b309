"""Values over a simplex: a triangle for three vertices, its edges for any other number."""

import itertools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from reports.figures.canvas import Canvas, empty_figure, grid_lines
from reports.figures.style import INK, MAX_PANELS, PALETTE, folded, short, styled
from reports.statistics.paired_tests import Array

NAME: Final = "landscape"
TITLE: Final = "Values over the simplex"
LEVELS: Final = 9
HEIGHT: Final = math.sqrt(3) / 2  # of a triangle with sides of 1
NEAR: Final = 1e-6  # weights nearer than this are the same


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
    """The values at evaluated points of a simplex, every point shown.

    Args:
        weights: barycentric, (n, vertices); each row sums to 1.
        values: (n,), in the unit named; points whose value is not finite are left out.
        names: of the vertices.
        title: above the figure.
        unit: of the values.
        caption: what else should be said below.

    Raises:
        ValueError: the shapes do not fit, or weights are negative or do not sum to 1.
    """
    at, found = np.asarray(weights, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if at.ndim != 2 or at.shape != (found.size, len(names)) or found.ndim != 1:
        raise ValueError(
            f"weights {at.shape}, values {found.shape} and {len(names)} names do not fit"
        )
    if at.size and (at.min() < -NEAR or np.abs(at.sum(axis=1) - 1).max() > 1e-3):
        raise ValueError("weights must not be negative, and each point's must sum to 1")
    at, found = at[np.isfinite(found)], found[np.isfinite(found)]
    if not found.size:
        return empty_figure(NAME, title, "No point has a finite value.")
    canvas = (
        _triangle(at, found, names, title, unit)
        if len(names) == 3
        else _edges(at, found, names, title, unit)
    )
    kept = "all of them shown" if len(names) == 3 else f"{_shown(at)} of them shown, on edges"
    return canvas.finish(f"{found.size} points evaluated, {kept}; +: the centre. {caption}".strip())


def flat(weights: Array) -> Array:
    """Barycentric weights (n, 3) as places (n, 2) in a triangle with sides of 1, the third vertex above."""
    return np.stack([weights[:, 1] + weights[:, 2] / 2, HEIGHT * weights[:, 2]], axis=1)


def _tooltip(weights: Array, value: float, names: Sequence[str]) -> str:
    parts = ", ".join(
        f"{name} {share:.2f}" for name, share in zip(names, weights, strict=True) if share > NEAR
    )
    return f"{parts}: {value:.1f}"


def _triangle(at: Array, values: Array, names: Sequence[str], title: str, unit: str) -> Canvas:
    canvas = Canvas(NAME, title, width=3.9, height=3.3)
    axes = canvas.add_subplot()
    x, y = flat(at).T
    if (
        np.linalg.matrix_rank(np.stack([x - x[0], y - y[0]]), tol=NEAR) == 2
    ):  # else there is no area between the points
        area = axes.tricontourf(x, y, values, levels=LEVELS, cmap="cividis")
        bar = canvas.colorbar(area, ax=axes, shrink=0.7, label=unit)
        bar.outline.set_visible(False)
    corners = flat(np.eye(3))
    axes.plot(*corners[[0, 1, 2, 0]].T, color=INK, linewidth=0.8)
    # light inside and dark around: seen on every colour of the map
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
    canvas.add_tooltips(dots, [_tooltip(w, v, names) for w, v in zip(at, values, strict=True)])
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


def _edges(at: Array, values: Array, names: Sequence[str], title: str, unit: str) -> Canvas:
    """A panel for each pair of vertices with a point between them; the centre's value as a line through all."""
    shown = _pairs(at)
    if not shown:
        return empty_figure(NAME, title, "No point lies on an edge.")
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    canvas = Canvas(NAME, title, width=7.1 if columns > 1 else 3.5, height=1.6 * rows + 0.3)
    panels = canvas.subplots(rows, columns, squeeze=False, sharey=True)
    centre = values[(np.abs(at - 1 / len(names)) < 1e-3).all(axis=1)]
    for number, axes in enumerate(panels.flat):
        if number >= len(shown):
            axes.set_visible(False)
            continue
        _edge(canvas, axes, at, values, names, shown[number])
        if centre.size:
            axes.axhline(centre[0], color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
            axes.plot([0.5], [centre[0]], marker="+", color=INK, markersize=7, linestyle="")
        if number % columns == 0:
            axes.set_ylabel(unit)
    return canvas


def _pairs(at: Array) -> list[tuple[int, int]]:
    """The edges that have points, as many as are drawn."""
    return [pair for pair in itertools.combinations(range(at.shape[1]), 2) if _on(at, *pair).any()][
        :MAX_PANELS
    ]


def _shown(at: Array) -> int:
    """How many points lie on the edges that are drawn."""
    return int(np.any([_on(at, *pair) for pair in _pairs(at)], axis=0).sum())


def _on(at: Array, i: int, j: int) -> NDArray[np.bool_]:
    """Which points lie on the edge from i to j."""
    return np.asarray(at[:, i] + at[:, j] > 1 - NEAR)


def _edge(
    canvas: Canvas,
    axes: Axes,
    at: Array,
    values: Array,
    names: Sequence[str],
    pair: tuple[int, int],
) -> None:
    i, j = pair
    kept = np.flatnonzero(_on(at, i, j))
    kept = kept[np.argsort(at[kept, j], kind="stable")]
    (line,) = axes.plot(at[kept, j], values[kept], color=PALETTE[0], marker="o", markersize=3.2)
    canvas.add_tooltips(line, [_tooltip(at[k], values[k], names) for k in kept])
    axes.set_xticks([0, 0.5, 1], [short(names[i], 12), "½", short(names[j], 12)])
    axes.set_xlim(-0.08, 1.08)
    grid_lines(axes)
