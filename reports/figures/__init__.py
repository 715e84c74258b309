"""Figures of a comparison, each a function of it; importing this package loads matplotlib.

sheet = FIGURES["curve"].draw(comparison, Options())
save(sheet, "svg")    # bytes of a file
inline(sheet)         # a piece of an HTML page
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from reports.analysis.comparison import Comparison
from reports.figures.canvas import Sheet
from reports.figures.critical_difference import diagram
from reports.figures.curve import curve
from reports.figures.files import FORMS, save
from reports.figures.forest import forest
from reports.figures.inline import inline
from reports.figures.landscape import landscape
from reports.figures.optimism import optimism
from reports.figures.option import option
from reports.figures.options import COSTS, DEFAULT, Cost, Options
from reports.figures.pareto import pareto
from reports.figures.profile import profile
from reports.figures.seeds import seeds

__all__ = [
    "COSTS",
    "DEFAULT",
    "FIGURES",
    "FORMS",
    "Cost",
    "Drawing",
    "Options",
    "Sheet",
    "inline",
    "landscape",
    "save",
]


class Drawing(NamedTuple):
    """A figure by name."""

    title: str
    draw: Callable[[Comparison, Options], Sheet]


FIGURES: Final[Mapping[str, Drawing]] = {
    "curve": Drawing(
        "score over the number of examples, and the difference from the baseline", curve
    ),
    "diagram": Drawing(
        "mean ranks over tasks, and bars over methods that no test tells apart", diagram
    ),
    "forest": Drawing("difference from the baseline, task by task, with the overall one", forest),
    "pareto": Drawing(
        "score against a cost (--cost), and the front of methods that none beats at both", pareto
    ),
    "seeds": Drawing("every run as a dot, joined to the others on the same examples", seeds),
    "optimism": Drawing(
        "dev score against test score, mean optimism, and other selection rules if they ran",
        optimism,
    ),
    "profile": Drawing("the fraction of runs that reach each score", profile),
    "option": Drawing("score over the values of an option (--option) of a method", option),
}
