"""Figures of a comparison; importing this package loads matplotlib.

canvas = FIGURES["curve"].draw(comparison, Options())
save(canvas, "svg")    # the bytes of a file
inline(canvas)         # an <svg> element for an HTML page
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from reports.analysis.comparison import Comparison
from reports.figures.canvas import Canvas
from reports.figures.critical_difference import critical_difference
from reports.figures.curve import curve
from reports.figures.files import FILE_FORMATS, save
from reports.figures.forest import forest
from reports.figures.inline import inline
from reports.figures.landscape import landscape
from reports.figures.optimism import optimism
from reports.figures.option import option
from reports.figures.options import COSTS, DEFAULT, NARROWEST, WIDEST, Cost, Layout, Options
from reports.figures.pareto import pareto
from reports.figures.profile import profile
from reports.figures.reliability import reliability
from reports.figures.seeds import seeds

__all__ = [
    "COSTS",
    "DEFAULT",
    "FIGURES",
    "FILE_FORMATS",
    "NARROWEST",
    "WIDEST",
    "Canvas",
    "Cost",
    "FigureKind",
    "Layout",
    "Options",
    "inline",
    "landscape",
    "save",
]


class FigureKind(NamedTuple):
    """One kind of figure: the title that `bench plot` lists, and the function that draws it."""

    title: str
    draw: Callable[[Comparison, Options], Canvas]


FIGURES: Final[Mapping[str, FigureKind]] = {
    "curve": FigureKind(
        "scores over the number of examples, and differences from the baseline", curve
    ),
    "diagram": FigureKind(
        "mean ranks over tasks; bars join methods that do not differ significantly",
        critical_difference,
    ),
    "forest": FigureKind("differences from the baseline, for each task and overall", forest),
    "pareto": FigureKind("scores against a cost (--cost), with the Pareto front", pareto),
    "seeds": FigureKind("every run as a dot; lines join runs on the same examples", seeds),
    "optimism": FigureKind(
        "dev scores against test scores, mean optimism, and scores by selection rule if tested",
        optimism,
    ),
    "profile": FigureKind("the fraction of runs that reach each score", profile),
    "reliability": FigureKind(
        "accuracy against the probability of the predicted class, with intervals", reliability
    ),
    "option": FigureKind("scores over the values of an option (--option) of a method", option),
}
