"""How figures look: colours, marks, letters and sizes, the same in every environment.

Colours are those of Okabe and Ito (2008), darkened until each has a contrast of 3 on white and on a
dark page; a marker and a pattern of dashes go with each, so that colour is never the only mark.
"""

import functools
import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

import matplotlib as mpl

from reports import escape

P = ParamSpec("P")
R = TypeVar("R")

# of letters and axes, and of nothing else: `inline` turns it into the colour of the page's text
INK: Final = "#15181c"
NEUTRAL: Final = "#808080"  # of the baseline
PALETTE: Final = ("#0072b2", "#d55e00", "#009e73", "#c46c9c", "#b88000", "#3a93c8")
MARKERS: Final = ("s", "^", "D", "v", "P", "X", "p", "<", "h", ">")
DASHES: Final[tuple[Any, ...]] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))

COLUMN: Final = 3.5  # inches: a column of a paper with two of them
PAGE: Final = 7.1  # both columns
SMALL: Final = 6.5  # points of the smallest letters
PANELS: Final = 12  # of small multiples; more are not read
FOLD: Final = 24  # letters of a line of a name
LINES: Final = 3  # lines of a name

STYLE: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": [
        "DejaVu Sans"
    ],  # comes with matplotlib, so that the same letters are everywhere
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "white",
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "text.parse_math": False,  # names are foreign: dollar signs in them are dollar signs
    "axes.formatter.use_mathtext": False,
    "svg.hashsalt": "bench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # what journals ask for
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "savefig.dpi": 200,
}


@contextmanager
def style() -> Iterator[None]:
    """The settings of matplotlib that figures are made and written under, whatever the user's own are."""
    settings: Any = STYLE  # the stubs of matplotlib know no plain text as a name
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # a name in letters that the font lacks: boxes
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """The function, run under `style`."""

    @functools.wraps(draw)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with style():
            return draw(*args, **kwargs)

    return run


class Look(NamedTuple):
    """What tells one method from the others."""

    color: str
    marker: str
    dash: Any


def looks(methods: Sequence[str], baseline: str) -> dict[str, Look]:
    """The look of each method: grey circles for the baseline, then the palette in order."""
    others = [name for name in methods if name != baseline]
    found = {
        name: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, name in enumerate(others)
    }
    return {name: found.get(name, Look(NEUTRAL, "o", "-")) for name in methods}


def legible(text: str) -> str:
    """Foreign text in one line, without what a terminal or an XML file could not hold."""
    return escape.plain(text).translate({0xFFFE: None, 0xFFFF: None})


def folded(name: str, *, width: int = FOLD, lines: int = LINES) -> str:
    """A foreign name in at most so many lines of at most so many letters; the rest is cut."""
    parts = textwrap.wrap(legible(name), width, break_on_hyphens=False) or ["(no name)"]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 1] + "…"]
    return "\n".join(parts)


def short(name: str, width: int = FOLD) -> str:
    """A foreign name in one line."""
    return folded(name, width=width, lines=1)


def amount(value: float) -> str:
    """A number in at most four letters: 950, 1.2k, 50M."""
    if not math.isfinite(value):
        return ""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def estimate(mean: float, low: float, high: float) -> str:
    """A mean and its interval as a tooltip shows them."""
    return f"{mean:.1f}" if math.isnan(low) else f"{mean:.1f} [{low:.1f}, {high:.1f}]"
