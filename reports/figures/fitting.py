"""Texts fit their places: titles and axis labels their panel, tick labels their distance.

The letters keep their size. What is too long is folded, then cut in its middle; tick labels on a
horizontal axis are turned, and thinned out if they still overlap.
"""

import itertools
from collections.abc import Mapping
from typing import Final

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from reports.figures.style import folded

LEAST_LETTERS: Final = 8  # of a line, however narrow the panel
TITLE_LINES: Final = 2
LABEL_LINES: Final = 4
GAP: Final = 2.0  # points between two tick labels


def fit_texts(figure: Figure, titles: Mapping[Text, str]) -> None:
    """Fit all texts of the panels; the layout must be known, and must be computed again afterwards.

    Args:
        figure: the figure.
        titles: the whole title of each panel by its text.
    """
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        for text, whole in titles.items():
            if text.axes is axes:
                _fold(text, whole, axes.bbox.width, TITLE_LINES)
        x, y = axes.xaxis.label, axes.yaxis.label
        _fold(x, x.get_text().replace("\n", " "), _room_below(axes), LABEL_LINES)
        _fold(y, y.get_text().replace("\n", " "), axes.bbox.height, LABEL_LINES)
        _fit_ticks(axes)


def _room_below(axes: Axes) -> float:
    """Return the width for the label of the horizontal axis; that of the only panel may be longer than the axis."""
    box, page = axes.bbox, axes.figure.bbox
    if axes.xaxis.label.get_horizontalalignment() == "left":
        return float(page.x1 - box.x0)
    if len(axes.figure.axes) > 1:
        return float(box.width)
    middle = (box.x0 + box.x1) / 2
    return float(2 * min(middle - page.x0, page.x1 - middle))


def _fold(text: Text, whole: str, room: float, lines: int) -> None:
    """Fold a text so that no line is longer than `room` pixels."""
    text.set_text(whole)
    box = text.get_window_extent()
    length = max(box.width, box.height)
    if not whole or length <= room:
        return
    letters = int(len(whole) * room / length)
    text.set_text(folded(whole, width=max(letters, LEAST_LETTERS), lines=lines))


def _fit_ticks(axes: Axes) -> None:
    """Turn the labels of the horizontal axis if they overlap, and thin them out if they still do."""
    axis = axes.xaxis
    if not _overlapping(axis):
        return
    axes.tick_params(axis="x", labelrotation=90)
    if not _overlapping(axis) or not isinstance(axis.get_major_locator(), FixedLocator):
        return
    kept: list[Text] = []
    for label in _shown(axis):
        if kept and _distance(kept[-1], label) < 0:
            label.set_visible(False)
        else:
            kept.append(label)


def _overlapping(axis: Axis) -> bool:
    return any(_distance(a, b) < 0 for a, b in itertools.pairwise(_shown(axis)))


def _shown(axis: Axis) -> list[Text]:
    """Return the tick labels inside the axis, from left to right."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    labels = [
        label for tick in ticks for label in (tick.label1, tick.label2) if label.get_visible()
    ]
    shown = [label for label in labels if label.get_text()]
    return sorted(shown, key=lambda label: label.get_window_extent().x0)


def _distance(left: Text, right: Text) -> float:
    """Return the pixels between two labels beyond the gap that they need."""
    dpi = left.get_figure(root=True).dpi  # type: ignore[union-attr]  # labels of a figure
    return float(right.get_window_extent().x0 - left.get_window_extent().x1 - GAP * dpi / 72)
