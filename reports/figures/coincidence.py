"""Points that coincide stand side by side, so that none hides another.

Points stay at their values in the data. Only what is drawn moves, sideways, by a few points of
length, and only where marks would lie on each other.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from reports.statistics.conventions import Array

POINT: Final = 72  # points of length per inch


class Mark(NamedTuple):
    """What moves together: a dot, a dot with its whisker, or the dots of a line."""

    axes: Axes
    artists: tuple[Artist, ...]
    extents: Array  # (n, 3): x, lowest y and highest y of each part, in the units of the data


def extent(x: float, *y: float) -> tuple[float, float, float]:
    """Return the extent of a dot, or of a dot with its whisker; ends that are not finite do not count."""
    finite = [value for value in y if math.isfinite(value)]
    return x, min(finite, default=math.nan), max(finite, default=math.nan)


class Lanes(NamedTuple):
    """How far apart marks must be to be seen, in points of length."""

    near: float  # marks at a smaller distance than this lie on each other
    step: float  # distance of two lanes
    room: float  # width of all lanes together; lanes come closer if there are many


def keep_apart(marks: Sequence[Mark], lanes: Lanes) -> None:
    """Move marks of one axes sideways where they lie on each other; the layout must be known.

    Marks that overlap, directly or through others, form a group. Each gets the first lane in which
    it overlaps none, and the lanes of a group stand around its place, within the axes.
    """
    if len(marks) < 2:
        return
    axes = marks[0].axes
    dpi = axes.figure.dpi
    scale = dpi / POINT
    boxes = [_pixels(mark) for mark in marks]
    overlap = np.array([[_overlap(a, b, lanes.near * scale) for b in boxes] for a in boxes])
    for group in _groups(overlap):
        if len(group) < 2:
            continue
        lane = _lanes(overlap, group)
        count = max(lane) + 1
        step = min(lanes.step, lanes.room / max(count - 1, 1)) * scale
        offsets = np.array([(number - (count - 1) / 2) * step for number in lane])
        offsets += _inward(axes, [boxes[i] for i in group], offsets)
        for i, offset in zip(group, offsets, strict=True):
            shift = ScaledTranslation(offset / dpi, 0, axes.figure.dpi_scale_trans)
            for artist in marks[i].artists:
                artist.set_transform(axes.transData + shift)


def _pixels(mark: Mark) -> Array:
    """Return the extents of a mark (n, 3) in pixels."""
    to_pixels = mark.axes.transData.transform
    low, high = to_pixels(mark.extents[:, [0, 1]]), to_pixels(mark.extents[:, [0, 2]])
    return np.column_stack([low, high[:, 1]])


def _overlap(a: Array, b: Array, near: float) -> bool:
    """Return whether any part of one mark lies on a part of another."""
    x = np.abs(a[:, None, 0] - b[None, :, 0]) < near
    y = (a[:, None, 1] - near < b[None, :, 2]) & (b[None, :, 1] - near < a[:, None, 2])
    return bool((x & y).any())


def _groups(overlap: NDArray[np.bool_]) -> list[list[int]]:
    """Return the connected groups of marks."""
    left, groups = set(range(len(overlap))), []
    while left:
        group, border = set(), [min(left)]
        while border:
            one = border.pop()
            if one in left:
                left.remove(one)
                group.add(one)
                border += np.flatnonzero(overlap[one]).tolist()
        groups.append(sorted(group))
    return groups


def _lanes(overlap: NDArray[np.bool_], group: Sequence[int]) -> list[int]:
    """Return for each mark of a group the first lane in which it overlaps no earlier mark."""
    lanes: dict[int, int] = {}
    for one in group:
        taken = {lanes[other] for other in lanes if overlap[one, other]}
        lanes[one] = next(lane for lane in range(len(group)) if lane not in taken)
    return [lanes[one] for one in group]


def _inward(axes: Axes, boxes: Sequence[Array], offsets: Array) -> float:
    """Return the shift that brings a group back into the axes, as far as its own places are inside."""
    places = np.concatenate(
        [box[:, 0] + offset for box, offset in zip(boxes, offsets, strict=True)]
    )
    left, right = axes.bbox.x0, axes.bbox.x1
    if places.min() < left:
        return float(left - places.min())
    return float(min(right - places.max(), 0.0))
