"""Matplotlib figures as inline SVG: small, the same every time, and at home on any page."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree as ET

from markupsafe import Markup
from matplotlib.figure import Figure

from paraformer_bench.report.figures.style import VARIABLES
from paraformer_bench.study.words import printable

_SVG = "http://www.w3.org/2000/svg"
_TEXT = f"{{{_SVG}}}text"
_TEXT_RULES = ("font-size:10px", "fill:var(--muted)")
"""Said once for the whole drawing."""
_HREF = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"#([\w.-]+)")
_REFERRING = {"href", "clip-path"}
_DECIMALS = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_COLOUR = re.compile("|".join(VARIABLES))
_FONT_FAMILY = re.compile(r"\s*font-family:[^;]*;?")
_LEVEL = re.compile(r"M (\S+) (\S+) L (\S+) \2(?= M|$)")
_AROUND_LETTER = re.compile(r" ?([A-Za-z]) ?")
_NUMERIC = {"d", "x", "y", "width", "height", "transform"}
ET.register_namespace("", _SVG)


def to_svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """Return the figure as an SVG element for an HTML page.

    Colours become the page's CSS variables, the font is the page's, ids start with ``name``,
    coordinates keep a tenth of a point. A ``gid`` such as ``data-line=3`` becomes that attribute.
    The figure must have been drawn within `style.drawing`; ``name`` is unique in the page and made
    of letters, digits and hyphens.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    root = ET.fromstring(buffer.getvalue())
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata" or child.find(f"{{{_SVG}}}style") is not None:
            root.remove(child)
    for marker in root.iterfind(f".//{{{_SVG}}}defs/{{{_SVG}}}path"):
        marker.attrib.pop("style", None)  # whoever uses it says it again
    _prefix_ids(root, name)
    for element in root.iter():
        _tidy(element)
    _flatten(root)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    told = {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    root.attrib.update({"style": ";".join(_TEXT_RULES)} | told)
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = printable(text)
        root.insert(place, element)
    return Markup(ET.tostring(root, encoding="unicode").replace(" />", "/>"))


def _prefix_ids(root: ET.Element, name: str) -> None:
    """Make ids short and unique in the page, and drop those that nothing refers to."""
    new: dict[str, str] = {}
    for element in root.iter():
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
        for key in _REFERRING & element.attrib.keys():
            for old in _REFERENCE.findall(element.attrib[key]):
                new.setdefault(old, f"{name}-{len(new)}")
                element.set(key, element.attrib[key].replace(old, new[old]))
    for element in root.iter():
        old = element.attrib.pop("id", "")
        attribute, is_attribute, value = old.partition("=")
        if is_attribute:
            element.set(attribute, value)
        elif old in new:
            element.set("id", new[old])


def _tidy(element: ET.Element) -> None:
    for key in _NUMERIC & element.attrib.keys():
        element.set(key, _DECIMALS.sub(_rounded, " ".join(element.attrib[key].split())))
    if "d" in element.attrib:
        level = _LEVEL.sub(r"M \1 \2 H \3", element.attrib["d"])
        element.set("d", _AROUND_LETTER.sub(r"\1", level))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if "style" in element.attrib:
        style = _FONT_FAMILY.sub("", element.attrib["style"])
        style = _COLOUR.sub(lambda match: VARIABLES[match[0]], style)
        rules = re.sub(r"([;:]) ", r"\1", style).rstrip("; ").split(";")
        said = _TEXT_RULES if element.tag == _TEXT else ("stroke-dashoffset:0",)
        element.set("style", ";".join(rule for rule in rules if rule not in said))
    if element.tag != _TEXT:
        element.text = None
    element.tail = None


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.1f}".removesuffix(".0")


def _flatten(element: ET.Element) -> None:
    """Replace groups that say nothing by what is in them, and let markers share their style."""
    for child in list(element):
        _flatten(child)
    styles = {child.get("style") for child in element}
    if len(element) > 1 and len(styles) == 1 and {c.tag for c in element} == {f"{{{_SVG}}}use"}:
        element.set("style", styles.pop() or "")
        for child in element:
            del child.attrib["style"]
    children: list[ET.Element] = []
    for child in element:
        bare = child.tag == f"{{{_SVG}}}g" and not child.attrib
        children.extend(child if bare else [child])
    element[:] = children
