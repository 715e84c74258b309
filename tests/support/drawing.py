"""Draw figures and read their points, for tests of figures."""

import itertools
from dataclasses import replace
from xml.etree import ElementTree as ET

from reports import compare
from reports.analysis.run import RuleResult
from reports.figures import FIGURES, Options
from reports.figures.style import style

HOSTILE = (
    "$x$",
    "<script>alert(1)</script>",
    "a\x1b[31m\ufffe",
    "_under & over",
    "a" * 300,
    "名前 \u202e(rank=4)",
    "",
)


SVG = "{http://www.w3.org/2000/svg}"


def xml(text):
    return ET.fromstring(text)  # noqa: S314  # this program wrote it


def drawn(name, runs, **options):
    return FIGURES[name].draw(compare(runs), Options(**options))


def hostile(grid):
    """Return the grid with names that could break a figure."""
    runs = grid(dict.fromkeys(HOSTILE, 0.0), tasks=HOSTILE[:3], draws=2)
    return [
        replace(run, rules={"$y$": RuleResult("$y$", {"accuracy": 0.5})}, collapsed=run.draw == 1)
        for run in runs
    ]


def line_of(canvas, gid):
    """Return the line with this gid."""
    return next(line for axes in canvas.axes for line in axes.lines if line.get_gid() == gid)


def values(canvas):
    """Yield the tooltip and the coordinates of every point."""
    for gid, texts in canvas.tooltips.items():
        line = line_of(canvas, gid)
        yield from zip(texts, line.get_xdata(), line.get_ydata(), strict=True)


def drawn_ticks(axis):
    """Return the tick labels inside the axis; matplotlib keeps some outside, which it does not draw."""
    to_place = axis.get_transform().transform
    low, high = sorted(to_place(axis.get_view_interval()))
    slack = 1e-9 * (high - low)
    return [
        label
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if low - slack <= to_place(tick.get_loc()) <= high + slack
    ]


def texts(canvas):
    """Return every text that is drawn: of the figure, of its legend, and of each panel and its axes."""
    found = list(canvas.texts)
    for legend in canvas.legends:
        found += [legend.get_title(), *legend.get_texts()]
    for axes in canvas.axes:
        if axes.get_visible():
            found += axes.texts
        if axes.get_visible() and axes.axison:
            found += [axes.title, axes._left_title, axes._right_title]  # no public way
            for axis in (axes.xaxis, axes.yaxis):
                found += [axis.label, axis.get_offset_text(), *drawn_ticks(axis)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def text_boxes(canvas):
    """Return every text that is drawn with its place in pixels."""
    with style():
        canvas.draw_without_rendering()
        return [(text.get_text(), text.get_window_extent()) for text in texts(canvas)]


def outside(canvas, slack=0.5):
    """Return the texts that leave the figure by more than `slack` points."""
    page, room = canvas.bbox, slack * canvas.dpi / 72
    return [
        text
        for text, box in text_boxes(canvas)
        if box.x0 < page.x0 - room
        or box.x1 > page.x1 + room
        or box.y0 < page.y0 - room
        or box.y1 > page.y1 + room
    ]


def overlapping(canvas):
    """Return the pairs of texts that lie on each other."""
    slack = 1.0 * canvas.dpi / 72
    return [
        (a[0], b[0])
        for a, b in itertools.combinations(text_boxes(canvas), 2)
        if min(a[1].x1, b[1].x1) - max(a[1].x0, b[1].x0) > slack
        and min(a[1].y1, b[1].y1) - max(a[1].y0, b[1].y0) > slack
    ]
