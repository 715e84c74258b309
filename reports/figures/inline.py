"""Turn a figure into an `<svg>` element for an HTML page.

The SVG that matplotlib writes is made smaller, takes the text colour of the page, has no fixed
size, and gets a tooltip for each point.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree as ET

from reports.figures.canvas import Canvas
from reports.figures.files import save
from reports.figures.style import INK, legible

_SVG: Final = "{http://www.w3.org/2000/svg}"
_LINK: Final = "{http://www.w3.org/1999/xlink}href"
_NUMBER: Final = re.compile(r"-?\d+\.\d{2,}")
_LETTER: Final = re.compile(r" ?([A-Za-z]) ?")
_URL: Final = re.compile(r"url\(#([^)]+)\)")


def inline(figure: Canvas, *, prefix: str = "") -> str:
    """Return the figure as an `<svg>` element with a title, a description and a tooltip for each point.

    Args:
        figure: what one of the drawing functions returned.
        prefix: the prefix of every id, by default the name of the figure. Two figures of one name
            on the same page need different prefixes.
    """
    root = ET.fromstring(save(figure, "svg", transparent=True))  # noqa: S314  # matplotlib wrote it
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag.endswith("metadata")]:
            parent.remove(child)
    _add_tooltips(root, figure)
    _rename_ids(root, prefix or figure.name)
    for element in root.iter():
        _compact(element)
    _unwrap_groups(root)
    _share_styles(root, prefix or figure.name)
    _describe(root, figure)
    return ET.tostring(root, encoding="unicode")


def _add_tooltips(root: ET.Element, figure: Canvas) -> None:
    """Add a `<title>` to each point; browsers show it under the pointer."""
    for group in root.iter(f"{_SVG}g"):
        texts = figure.tooltips.get(group.get("id", ""), ())
        points = list(group.iter(f"{_SVG}use"))
        if len(points) == len(texts):
            for point, text in zip(points, texts, strict=True):
                ET.SubElement(point, f"{_SVG}title").text = text


def _rename_ids(root: ET.Element, prefix: str) -> None:
    """Give every id that is referred to the prefix of this figure, and remove all other ids."""
    new_ids: dict[str, str] = {}
    for name in _referenced_ids(root):
        new_ids.setdefault(name, f"{prefix}-{len(new_ids)}")
    for element in root.iter():
        old = element.attrib.pop("id", None)
        if old in new_ids:
            element.set("id", new_ids[old])
        if (link := element.attrib.pop(_LINK, None)) is not None:
            element.set("href", f"#{new_ids[link.removeprefix('#')]}")
        for key, value in element.attrib.items():
            if "url(" in value:
                element.set(key, _URL.sub(lambda match: f"url(#{new_ids[match[1]]})", value))


def _referenced_ids(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        if (link := element.get(_LINK)) is not None:
            yield link.removeprefix("#")
        for value in element.attrib.values():
            yield from _URL.findall(value)


def _compact(element: ET.Element) -> None:
    """Use the text colour and fonts of the page, and round coordinates to a tenth of a point."""
    element.tag = element.tag.removeprefix(_SVG)
    for key, value in element.attrib.items():
        text = " ".join(value.split())
        if key == "style":
            text = text.replace(INK, "currentColor").replace(
                "'DejaVu Sans', sans-serif", "sans-serif"
            )
            text = text.replace("'DejaVu Sans'", "sans-serif").replace("; ", ";").replace(": ", ":")
        if key in ("d", "x", "y", "transform"):
            text = _NUMBER.sub(lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), text)
        if key == "d":
            text = _LETTER.sub(r"\1", text)
        element.set(key, text)
    if element.get("transform", "").startswith("rotate(-0 "):  # upright, in matplotlib's words
        del element.attrib["transform"]
    if element.tag not in ("text", "tspan", "title", "desc"):
        element.text = None
    element.tail = None


def _describe(root: ET.Element, figure: Canvas) -> None:
    """Remove the fixed size, and add the title and the caption for screen readers."""
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("xmlns", _SVG.strip("{}"))
    root.set("role", "img")
    title, description = ET.Element("title"), ET.Element("desc")
    title.text, description.text = legible(figure.title), figure.caption
    root[:0] = [title, description]


def _share_styles(root: ET.Element, prefix: str) -> None:
    """Move each style that occurs more than twice into a class."""
    counts = Counter(style for element in root.iter() if (style := element.get("style")))
    names = {
        style: f"{prefix}-s{number}"
        for number, style in enumerate(s for s, count in counts.items() if count > 2)
    }
    for element in root.iter():
        if (style := element.get("style")) in names:
            element.set("class", names[element.attrib.pop("style")])
    stylesheet = ET.Element("style")
    stylesheet.text = "".join(f".{name}{{{style}}}" for style, name in names.items())
    for definitions in root.iter("defs"):
        for page_style in definitions.findall(
            "style"
        ):  # matplotlib's would apply to the whole page
            definitions.remove(page_style)
    root.set("style", "stroke-linejoin:round;stroke-linecap:butt")
    root.insert(0, stylesheet)


def _unwrap_groups(root: ET.Element) -> None:
    """Replace groups without attributes by their children."""
    children: list[ET.Element] = []
    for child in root:
        _unwrap_groups(child)
        children += child if child.tag == "g" and not child.attrib else [child]
    root[:] = children
