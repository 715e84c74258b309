"""Colours, markers, fonts and sizes of figures, the same in every environment.

The colours are those of Okabe and Ito (2008), darkened until each has a contrast of 3 to 1 on a
white and on a dark page. Each method also has its own marker and dashes, so that no method is
identified by colour alone.
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

# used only for text, axes and reference lines: `inline` replaces it by the text colour of the page
INK: Final = "#15181c"
NEUTRAL: Final = "#808080"  # the baseline
PALETTE: Final = ("#0072b2", "#d55e00", "#009e73", "#c46c9c", "#b88000", "#3a93c8")
MARKERS: Final = ("s", "^", "D", "v", "P", "X", "p", "<", "h", ">")
DASHES: Final[tuple[Any, ...]] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))

PAGE: Final = 7.1  # inches: the text width of a paper
SMALL: Final = 6.5  # points: the smallest font size
MINUS: Final = "\N{MINUS SIGN}"  # as matplotlib writes it
NAME_WIDTH: Final = 24  # characters per line of a name
NAME_LINES: Final = 3  # lines per name

STYLE: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib
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
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.formatter.use_mathtext": False,
    "svg.hashsalt": "bench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # TrueType, which journals require
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "savefig.dpi": 200,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the matplotlib settings of figures, independent of the user's own settings."""
    settings: Any = STYLE  # matplotlib's stubs accept literal keys only
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn as boxes
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that it runs under `style`."""

    @functools.wraps(draw)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with style():
            return draw(*args, **kwargs)

    return run


class MethodStyle(NamedTuple):
    """Colour, marker and dashes of one method."""

    color: str
    marker: str
    dash: Any


def method_styles(methods: Sequence[str], baseline: str) -> dict[str, MethodStyle]:
    """Return the style of each method: grey circles for the baseline, then the palette in order."""
    others = [name for name in methods if name != baseline]
    styles = {name: numbered_style(i) for i, name in enumerate(others)}
    return {name: styles.get(name, MethodStyle(NEUTRAL, "o", "-")) for name in methods}


def numbered_style(i: int) -> MethodStyle:
    """Return the style of the i-th line; styles repeat after 60 lines."""
    return MethodStyle(
        PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]
    )


def legible(text: str) -> str:
    """Return untrusted text as one line, without characters that a terminal or XML cannot hold."""
    return escape.plain(text).translate({0xFFFE: None, 0xFFFF: None})


def folded(name: str, *, width: int = NAME_WIDTH, lines: int = NAME_LINES) -> str:
    """Return a name on at most `lines` lines of at most `width` characters; the last is cut in its middle."""
    whole = legible(name)
    long = any(len(word) > width for word in whole.split())  # broken at a hyphen if it has one
    parts = textwrap.wrap(whole, width, break_on_hyphens=long) or ["(no name)"]
    if len(parts) > lines:
        start = 0
        for part in parts[: lines - 1]:
            start = whole.index(part, start) + len(part)
        parts = [*parts[: lines - 1], short(whole[start:], width)]
    return "\n".join(parts)


def short(name: str, width: int = NAME_WIDTH) -> str:
    """Return a name on one line of at most `width` characters, cut in its middle.

    Names of a family often differ at the end, such as in the value of an option.
    """
    whole = legible(name).strip() or "(no name)"
    if len(whole) <= width:
        return whole
    tail = (width - 1) // 2
    return f"{whole[: width - 1 - tail]}…{whole[len(whole) - tail :]}"


def amount(value: float) -> str:
    """Return a number in short form: 950, 1.2k, 50M."""
    if not math.isfinite(value):
        return ""
    for unit, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{letter}".replace("-", MINUS)
    return f"{value:.3g}".replace("-", MINUS) if value < 0 else f"{value:.3g}"


def estimate(mean: float, low: float, high: float) -> str:
    """Return a mean and its interval as a tooltip shows them."""
    return f"{mean:z.1f}" if math.isnan(low) else f"{mean:z.1f} [{low:z.1f}, {high:z.1f}]"
