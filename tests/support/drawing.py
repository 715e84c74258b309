"""Draw figures and read their points, for tests of figures."""

from dataclasses import replace
from xml.etree import ElementTree as ET

from reports import compare
from reports.analysis.run import RuleResult
from reports.figures import FIGURES, Options

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
