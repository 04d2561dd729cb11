"""A proof as a picture (SVG) for teaching: a row for each path, a box for each hop, the packets between them.

Headers are drawn to scale above the arrow that they travel on. Text and rectangles only, no library.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tmelink.proof.hops import Hop, Proof
from tmelink.proof.text import headers, underlay
from tmelink.sizes import listed

WIDTH = 900
BOX = 62
GAP = 44
MARGIN = 20
LINE = 18

_SCALE = 3
"""Pixels for each byte of a header: 66 bytes, which is much, take 198."""

_COLOURS = {"arrives": "#2a7d2a", "leaves": "#1f5fa8", "dropped": "#b3261e"}

_HEADERS = ("#f2c14e", "#f78154", "#b4436c", "#5f9ea0", "#8d99ae", "#9bc53d")


def svg(proofs: Sequence[Proof]) -> str:
    """The paths below each other."""
    parts: list[str] = []
    top = MARGIN
    for proof in proofs:
        drawn, top = _path(proof, top)
        parts += drawn
        top += GAP
    style = "font-family='sans-serif' font-size='13'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {top}' {style}>"
    paper = f"<rect width='{WIDTH}' height='{top}' fill='white'/>"
    return "\n".join([head, paper, *parts, "</svg>", ""])


def _path(proof: Proof, top: int) -> tuple[list[str], int]:
    title = f"{proof.source.name} -> {proof.destination}: {proof.ping.packet} bytes"
    parts = [_text(MARGIN, top + LINE, title, weight="bold")]
    top += 2 * LINE
    for index, hop in enumerate(proof.hops):
        parts += _hop(hop, top)
        top += BOX
        last = index == len(proof.hops) - 1
        colour = _COLOURS[proof.verdict] if last else "#444"
        parts += _arrow(hop, top, colour, last=last)
        top += GAP
    parts.append(
        _text(MARGIN, top + LINE, f"{proof.verdict}: {proof.reason}", colour=_COLOURS[proof.verdict])
    )
    top += LINE
    if proof.back:
        parts.append(_text(MARGIN, top + LINE, proof.back, colour=_COLOURS["dropped"]))
        top += LINE
    return parts, top


def _hop(hop: Hop, top: int) -> list[str]:
    place = f"{hop.place.source.name.rsplit('/', 1)[-1]}:{hop.place.line}"
    return [
        f"<rect x='{MARGIN}' y='{top}' width='{WIDTH - 2 * MARGIN}' height='{BOX}' rx='6' "
        "fill='#eef3f8' stroke='#8aa'/>",
        _text(MARGIN + 10, top + LINE, hop.name, weight="bold"),
        _text(WIDTH - MARGIN - 10, top + LINE, place, anchor="end", colour="#777"),
        _text(MARGIN + 10, top + 2 * LINE, hop.does),
        _text(MARGIN + 10, top + 3 * LINE, underlay(hop.underlay) if hop.underlay else hop.remark),
    ]


def _arrow(hop: Hop, top: int, colour: str, *, last: bool) -> list[str]:
    """Down to the next hop, with the headers that were added and the sizes of the inner packets."""
    at = MARGIN + 30
    parts = [
        f"<line x1='{at}' y1='{top}' x2='{at}' y2='{top + GAP - 8}' stroke='{colour}' stroke-width='2'/>",
        f"<path d='M{at - 5},{top + GAP - 8} h10 l-5,8 z' fill='{colour}'/>",
    ]
    left = at + 20
    for index, header in enumerate(hop.headers):
        width = header.bytes * _SCALE
        fill = _HEADERS[index % len(_HEADERS)]
        parts.append(
            f"<rect x='{left}' y='{top + 6}' width='{width}' height='12' fill='{fill}' stroke='#444'/>"
        )
        left += width
    if not last or hop.headers:
        said = f"inner packets: {listed(hop.packets)}"
        if hop.headers:
            said = f"{headers(hop.headers)}; {said}"
        parts.append(_text(at + 20, top + 34, said, colour="#444"))
    return parts


def _text(x: int, y: int, text: str, *, weight: str = "normal", anchor: str = "start",
          colour: str = "#222") -> str:  # fmt: skip
    return (
        f"<text x='{x}' y='{y}' font-weight='{weight}' text-anchor='{anchor}' fill='{colour}'>"
        f"{escape(text)}</text>"
    )
