"""A figure as a piece of an HTML page: colours of the page, no fixed size, values under the pointer.

The SVG is matplotlib's own, taken apart and put together smaller.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree as ET

from reports.figures.canvas import Sheet
from reports.figures.files import save
from reports.figures.style import INK, legible

_SVG: Final = "{http://www.w3.org/2000/svg}"
_LINK: Final = "{http://www.w3.org/1999/xlink}href"
_NUMBER: Final = re.compile(r"-?\d+\.\d{2,}")
_LETTER: Final = re.compile(r" ?([A-Za-z]) ?")
_USED: Final = re.compile(r"url\(#([^)]+)\)")


def inline(figure: Sheet, *, prefix: str = "") -> str:
    """The figure as an `<svg>` element to stand in a page, with a title, a description and a tooltip for each point.

    Args:
        figure: what one of the drawing functions returned.
        prefix: begins every id; the figure's name by default, so that two of one name need prefixes
            of their own.
    """
    root = ET.fromstring(save(figure, "svg", transparent=True))  # noqa: S314  # written by matplotlib just now
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag.endswith("metadata")]:
            parent.remove(child)
    _tell(root, figure)
    _name(root, prefix or figure.name)
    for element in root.iter():
        _lighten(element)
    _unwrap(root)
    _classes(root, prefix or figure.name)
    _frame(root, figure)
    return ET.tostring(root, encoding="unicode")


def _tell(root: ET.Element, figure: Sheet) -> None:
    """A `<title>` in each point, which browsers show under the pointer."""
    for group in root.iter(f"{_SVG}g"):
        texts = figure.values.get(group.get("id", ""), ())
        points = list(group.iter(f"{_SVG}use"))
        if len(points) == len(texts):
            for point, text in zip(points, texts, strict=True):
                ET.SubElement(point, f"{_SVG}title").text = text


def _name(root: ET.Element, prefix: str) -> None:
    """Ids that only this figure has, on what is referred to, and on nothing else."""
    kept: dict[str, str] = {}
    for name in _referred(root):
        kept.setdefault(name, f"{prefix}-{len(kept)}")
    for element in root.iter():
        old = element.attrib.pop("id", None)
        if old in kept:
            element.set("id", kept[old])
        if (link := element.attrib.pop(_LINK, None)) is not None:
            element.set("href", f"#{kept[link.removeprefix('#')]}")
        for key, value in element.attrib.items():
            if "url(" in value:
                element.set(key, _USED.sub(lambda found: f"url(#{kept[found[1]]})", value))


def _referred(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        if (link := element.get(_LINK)) is not None:
            yield link.removeprefix("#")
        for value in element.attrib.values():
            yield from _USED.findall(value)


def _lighten(element: ET.Element) -> None:
    """Ink in the colour of the page's text, letters of the page's kind, numbers to a tenth of a point."""
    element.tag = element.tag.removeprefix(_SVG)
    for key, value in element.attrib.items():
        text = " ".join(value.split())
        if key == "style":
            text = text.replace(INK, "currentColor").replace(
                "'DejaVu Sans', sans-serif", "sans-serif"
            )
            text = text.replace("'DejaVu Sans'", "sans-serif").replace("; ", ";").replace(": ", ":")
        if key in ("d", "x", "y", "transform"):
            text = _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), text)
        if key == "d":
            text = _LETTER.sub(r"\1", text)
        element.set(key, text)
    if element.get("transform", "").startswith("rotate(-0 "):  # matplotlib's way to say upright
        del element.attrib["transform"]
    if element.tag not in ("text", "tspan", "title", "desc"):
        element.text = None
    element.tail = None


def _frame(root: ET.Element, figure: Sheet) -> None:
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("xmlns", _SVG.strip("{}"))
    root.set("role", "img")
    title, words = ET.Element("title"), ET.Element("desc")
    title.text, words.text = legible(figure.title), figure.caption
    root[:0] = [title, words]


def _classes(root: ET.Element, prefix: str) -> None:
    """Styles that occur often, written once."""
    counts = Counter(style for element in root.iter() if (style := element.get("style")))
    names = {
        style: f"{prefix}-s{number}"
        for number, style in enumerate(s for s, count in counts.items() if count > 2)
    }
    for element in root.iter():
        if (style := element.get("style")) in names:
            element.set("class", names[element.attrib.pop("style")])
    sheet = ET.Element("style")
    sheet.text = "".join(f".{name}{{{style}}}" for style, name in names.items())
    for old in root.iter("defs"):
        for one in old.findall("style"):  # of matplotlib, for the whole page
            old.remove(one)
    root.set("style", "stroke-linejoin:round;stroke-linecap:butt")
    root.insert(0, sheet)


def _unwrap(root: ET.Element) -> None:
    """Groups that say nothing, replaced by what is in them."""
    for parent in list(root.iter()):
        while any(child.tag == "g" and not child.attrib for child in parent):
            for place, child in enumerate(list(parent)):
                if child.tag == "g" and not child.attrib:
                    parent[place : place + 1] = list(child)
                    break
