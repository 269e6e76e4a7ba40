"""A figure as an element of an HTML page: in the page's colours and font, with a name and a description."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rbridge_tasks.charts.style import PALETTE, rendered
from rbridge_tasks.visible_text import visible

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from matplotlib.figure import Figure

_VARIABLES = {light: f"var(--{name})" for name, (light, _) in PALETTE.items()}
_COLOUR, _LONG_NUMBER = re.compile(r"#[0-9a-f]{6}\b"), re.compile(r"-?\d+\.\d{2,}")
_FROM_PAGE = ("font-size:", "font-family:", "stroke-dashoffset: 0", "stroke-linejoin:")  # properties the page sets
_HREF = "{http://www.w3.org/1999/xlink}href"


def inline_svg(
    figure: Figure, *, key: str, title: str, description: str, tips: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The figure as an ``<svg>`` element that needs nothing from outside.

    Colours of ``style.PALETTE`` become CSS variables, so that a dark page recolours them; text takes the page's font.

    Args:
        figure: drawn in the style of ``style.look``.
        key: unique on the page; ids begin with it.
        title, description: what the image is and what it shows, for readers who cannot see it.
        tips: texts shown on hovering the markers of the artist with this ``gid``, in the order of its points.
    """
    root = ElementTree.fromstring(rendered(figure, "svg", salt=key))  # noqa: S314  our own text
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
    for gid, texts in (tips or {}).items():
        group = next(element for element in root.iter("g") if element.get("id") == gid)
        for mark, text in zip(group.iter("use"), texts, strict=True):
            ElementTree.SubElement(mark, "title").text = visible(text)
    whole = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', whole))
    _tidy(root, key, {name for pair in used for name in pair if name})
    width, height = root.attrib["viewBox"].split()[2:]
    names = {"role": "img", "aria-labelledby": f"{key}-t {key}-d"}
    svg = ElementTree.Element("svg", {"class": "chart", "viewBox": f"0 0 {width} {height}", **names})
    for tag, text in (("title", title), ("desc", description)):
        ElementTree.SubElement(svg, tag, {"id": f"{key}-{tag[0]}"}).text = visible(text)
    svg.extend(root)
    return ElementTree.tostring(svg, encoding="unicode")


def _tidy(parent: Element, key: str, used: set[str]) -> None:
    """Drop what a page does not need: metadata, style sheets, unused ids, groups without a purpose, digits."""
    children = []
    for child in parent:
        if child.tag in ("metadata", "style"):
            continue
        _tidy(child, key, used)
        _shorten(child, key, used)
        empty = child.tag in ("g", "defs") and not child.attrib
        children += [*child] if empty and child.tag == "g" else [] if empty and not len(child) else [child]
    parent[:] = children
    parent.tail = None
    if parent.tag not in ("text", "title"):
        parent.text = None
    styles = {child.get("style") for child in parent}
    if parent.tag == "g" and len(children) > 1 and len(styles) == 1 and (style := styles.pop()):
        for child in children:  # the marks of a line
            del child.attrib["style"]
        parts = style.split("; ")
        if "fill-opacity: 0" in parts:  # visible on hovering only
            parts = [part for part in parts if not part.endswith("-opacity: 0")]
            parent.set("class", "hidden")
        parent.set("style", "; ".join(parts))


def _shorten(element: Element, key: str, used: set[str]) -> None:
    attributes = element.attrib
    name = attributes.pop("id", "")
    if name in used:
        attributes["id"] = f"{key}-{name}"
    for attribute in ("href", "clip-path"):
        if attribute in attributes:
            attributes[attribute] = attributes[attribute].replace("#", f"#{key}-")
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if "style" in attributes:
        kept = [part for part in attributes["style"].split("; ") if not part.startswith(_FROM_PAGE)]
        style = _COLOUR.sub(lambda match: _VARIABLES.get(match[0], match[0]), "; ".join(kept))
        attributes["style"] = style
        if not style:
            del attributes["style"]
    for attribute in ("d", "x", "y", "transform"):
        if attribute in attributes:
            numbers = _LONG_NUMBER.sub(lambda match: f"{float(match[0]):.1f}", attributes[attribute])
            attributes[attribute] = " ".join(numbers.split())
