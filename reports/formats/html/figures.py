"""Figures as pieces of the page, their styles gathered into the page's own, which alone is allowed."""

import xml.etree.ElementTree as ET  # the figures are our own
from typing import Final, NamedTuple

from reports.analysis.comparison import Comparison
from reports.figures import DEFAULT, FIGURES, inline

SHOWN: Final = ("forest", "curve", "diagram", "seeds", "pareto", "optimism", "profile")
SPACE: Final = "http://www.w3.org/2000/svg"
SCALE: Final = 1.75  # pixels of a point of matplotlib's
NARROW: Final = 600  # pixels; wider figures are not squeezed into a phone but scroll
MOST: Final = 15  # methods in a figure; more make a large file that nobody reads


class PageFigures(NamedTuple):
    """The figures of a page."""

    shown: list[tuple[str, str, str]]  # name, title, SVG, which has its title and caption in it
    css: str
    left: str = ""  # why there are none


def figures(comparison: Comparison) -> PageFigures:
    """Those figures that have something to show."""
    shown, styles = [], []
    attributes: dict[str, str] = {}
    if not comparison.done:
        return PageFigures([], "")
    if len(comparison.methods) > MOST:
        left = f"Figures of more than {MOST} methods are left out; --methods chooses some, and `bench plot` draws them all."
        return PageFigures([], "", left)
    ET.register_namespace("", SPACE)
    for name in SHOWN:
        if name == "curve" and len(comparison.sizes) < 2:
            continue
        canvas = FIGURES[name].draw(comparison, DEFAULT)
        root = ET.fromstring(inline(canvas))  # noqa: S314  # made above
        for parent in list(root.iter()):
            for child in [one for one in parent if one.tag == f"{{{SPACE}}}style"]:
                styles.append(child.text or "")
                parent.remove(child)
            if (said := parent.attrib.pop("style", None)) is not None:
                known = attributes.setdefault(said, f"v{len(attributes)}")
                parent.set("class", f"{parent.get('class', '')} {known}".strip())
        _size(root)
        shown.append((name, canvas.title, ET.tostring(root, encoding="unicode")))
    css = "".join(styles) + "".join(f".{name}{{{said}}}" for said, name in attributes.items())
    return PageFigures(shown, css)


def _size(root: ET.Element) -> None:
    """One scale for all figures: letters of one size, whatever the width of a drawing."""
    width = round(float(root.get("viewBox", "0 0 0 0").split()[2]) * SCALE)
    root.set("width", str(width))
    root.set("class", f"{root.get('class', '')} {'wide' if width > NARROW else ''}".strip())
