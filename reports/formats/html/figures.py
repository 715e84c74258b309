"""Figures for the page; their styles move into the page's stylesheet, the only one that its policy allows."""

import xml.etree.ElementTree as ET  # the figures are our own
from typing import Final, NamedTuple

from reports.analysis.comparison import Comparison
from reports.figures import DEFAULT, FIGURES, inline

SHOWN: Final = (
    "forest",
    "curve",
    "diagram",
    "seeds",
    "pareto",
    "optimism",
    "profile",
    "reliability",
)
SPACE: Final = "http://www.w3.org/2000/svg"
SCALE: Final = 1.75  # pixels per point of matplotlib
NARROW: Final = 600  # pixels; wider figures scroll on a phone
MAX_METHODS: Final = 15  # per figure; more make a large file that nobody reads


class PageFigures(NamedTuple):
    """The figures of a page."""

    shown: list[tuple[str, str, str]]  # name, title and SVG, which contains title and caption
    css: str
    reason: str = ""  # why there are no figures


def figures(comparison: Comparison) -> PageFigures:
    """Return the figures of the comparison; `curve` requires two sizes, `reliability` stored probabilities."""
    shown, styles = [], []
    classes: dict[str, str] = {}  # the name of a class by its style
    if not comparison.done:
        return PageFigures([], "")
    if len(comparison.methods) > MAX_METHODS:
        reason = (
            f"Figures of more than {MAX_METHODS} methods are left out. Choose methods with --methods, "
            "or draw all of them with `bench plot`."
        )
        return PageFigures([], "", reason)
    ET.register_namespace("", SPACE)
    for name in SHOWN:
        if name == "curve" and len(comparison.sizes) < 2:
            continue
        if name == "reliability" and not any(run.probabilities for run in comparison.runs):
            continue
        canvas = FIGURES[name].draw(comparison, DEFAULT)
        root = ET.fromstring(inline(canvas))  # noqa: S314  # this program wrote it
        for parent in list(root.iter()):
            for child in [child for child in parent if child.tag == f"{{{SPACE}}}style"]:
                styles.append(child.text or "")
                parent.remove(child)
            if (style := parent.attrib.pop("style", None)) is not None:
                css_class = classes.setdefault(style, f"v{len(classes)}")
                parent.set("class", f"{parent.get('class', '')} {css_class}".strip())
        _size(root)
        shown.append((name, canvas.title, ET.tostring(root, encoding="unicode")))
    css = "".join(styles) + "".join(f".{name}{{{style}}}" for style, name in classes.items())
    return PageFigures(shown, css)


def _size(root: ET.Element) -> None:
    """Scale all figures alike, so that their letters have one size."""
    width = round(float(root.get("viewBox", "0 0 0 0").split()[2]) * SCALE)
    root.set("width", str(width))
    root.set("class", f"{root.get('class', '')} {'wide' if width > NARROW else ''}".strip())
