"""A topology as diagrams.net (draw.io) reads it: boxes that can be moved, in the places that Graphviz chose.

Knows the drawing and Graphviz's JSON (`dot -Tjson`), and draws nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple
from xml.etree import ElementTree

from tmelink.proof.graph import COLOURS, DrawnElement, Graph

POINTS = 72
"""Graphviz gives sizes of nodes in inches, and places in points."""

_SHAPES = {
    "box": "rounded=1;fillColor=#f4f6fa;",
    "switch": "shape=hexagon;perimeter=hexagonPerimeter2;fixedSize=1;fillColor=#f4f6fa;",
    "link": "rounded=0;fillColor=#e2e8f4;",
    "cloud": "ellipse;dashed=1;fillColor=none;",
}
_GROUP = "rounded=1;arcSize=4;container=1;collapsible=0;verticalAlign=top;fillColor=none;strokeColor=#7a8aa0;"


class Box(NamedTuple):
    """A rectangle, in points from the upper left corner."""

    x: float
    y: float
    width: float
    height: float


def drawio(drawn: Graph, laid_out: Mapping[str, Any]) -> str:
    """The file, with the elements in the places that `laid_out` (Graphviz's JSON) has for them."""
    file = ElementTree.Element("mxfile", host="tmelink")
    model = ElementTree.SubElement(ElementTree.SubElement(file, "diagram", name="lab"), "mxGraphModel")
    root = ElementTree.SubElement(model, "root")
    ElementTree.SubElement(root, "mxCell", id="0")
    ElementTree.SubElement(root, "mxCell", {"id": "1", "parent": "0"})
    height = _numbers(laid_out["bb"])[3]
    objects: Sequence[Mapping[str, Any]] = laid_out.get("objects", ())
    groups = {each["_gvid"]: each for each in objects if "bb" in each}
    inner = {number: group for group in groups for number in groups[group].get("subgraphs", ())}
    boxes = {number: _group_box(group, height) for number, group in groups.items()}
    for number, group in groups.items():
        outer = inner.get(number)
        place = _within(boxes[number], boxes.get(outer) if outer is not None else None)
        label = _html(str(group.get("label", "")).replace("\\n", "\n").split("\n"))
        _box_cell(root, f"g{number}", label, _GROUP, _name(outer), place)
    # A node is listed in its own group and in those around it: the innermost is the smallest.
    homes: dict[int, int] = {}
    for number, group in sorted(groups.items(), key=lambda each: -len(each[1].get("nodes", ()))):
        homes |= dict.fromkeys(group.get("nodes", ()), number)
    nodes = {node.name: node for node in drawn.nodes}
    for each in objects:
        if each["name"] in nodes and "pos" in each:
            node, home = nodes[each["name"]], homes.get(each["_gvid"])
            place = _within(_node_box(each, height), boxes.get(home) if home is not None else None)
            _box_cell(
                root, f"n {node.name}", _html((node.name, *node.lines)), _style(node), _name(home), place
            )
    for number, edge in enumerate(drawn.edges):
        dashed = "dashed=1;strokeWidth=2;" if edge.dashed else ""
        style = f"endArrow=none;rounded=1;{dashed}"
        ends = {"source": f"n {edge.one}", "target": f"n {edge.other}", "edge": "1"}
        cell = _cell(root, f"e{number}", _html(edge.label.split("\n")), style, "1", ends)
        ElementTree.SubElement(cell, "mxGeometry", {"relative": "1", "as": "geometry"})
    ElementTree.indent(file)
    return ElementTree.tostring(file, encoding="unicode") + "\n"


def _cell(
    root: ElementTree.Element, identity: str, label: str, style: str, parent: str, more: Mapping[str, str]
) -> ElementTree.Element:
    attributes = {
        "id": identity,
        "value": label,
        "style": f"html=1;whiteSpace=wrap;{style}",
        "parent": parent,
    }
    return ElementTree.SubElement(root, "mxCell", {**attributes, **more})


def _box_cell(
    root: ElementTree.Element, identity: str, label: str, style: str, parent: str, place: Box
) -> None:
    cell = _cell(root, identity, label, style, parent, {"vertex": "1"})
    sizes = {name: f"{value:g}" for name, value in place._asdict().items()}
    ElementTree.SubElement(cell, "mxGeometry", {**sizes, "as": "geometry"})


def _style(node: DrawnElement) -> str:
    colour = f"fillColor={COLOURS[node.state]};" if node.state in COLOURS else ""
    return _SHAPES[node.shape] + colour


def _name(group: int | None) -> str:
    return "1" if group is None else f"g{group}"


def _html(lines: Sequence[str]) -> str:
    return "<br>".join(escape(line) for line in lines)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _group_box(group: Mapping[str, Any], height: float) -> Box:
    """Graphviz counts upwards from the lower left corner."""
    left, bottom, right, top = _numbers(group["bb"])
    return Box(left, height - top, right - left, top - bottom)


def _node_box(node: Mapping[str, Any], height: float) -> Box:
    x, y = _numbers(node["pos"])
    width, tall = float(node["width"]) * POINTS, float(node["height"]) * POINTS
    return Box(x - width / 2, height - y - tall / 2, width, tall)


def _within(box: Box, outer: Box | None) -> Box:
    """A place as its container counts it."""
    return box if outer is None else box._replace(x=box.x - outer.x, y=box.y - outer.y)
