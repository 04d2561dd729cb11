"""The topology of a machine file as a drawing: hosts as boxes, machines in them, elements and connections.

Graphviz or Mermaid lays it out: this module only says what there is. It knows the machine and, of a running
lab, the reply to `status`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from tmelink.element import Element, Port
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.machine import CheckedMachine
from tmelink.openvpn.options.fields import transport
from tmelink.openvpn.options.parse import Options
from tmelink.proof.paths import nowhere
from tmelink.proof.topology import Topology


@dataclass(frozen=True, slots=True)
class DrawnElement:
    """An element: its name, lines that say more, the host and the machine that it is drawn in, its state."""

    name: str
    lines: tuple[str, ...]
    host: str
    machine: str
    shape: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """A connection of the file, or a link between two ends (`dashed`), with what is written on it."""

    one: str
    other: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """What is drawn. `hosts` has the address of each host that the file names."""

    nodes: tuple[DrawnElement, ...]
    edges: tuple[Edge, ...]
    hosts: Mapping[str, str] = field(default_factory=dict)


def graph(machine: CheckedMachine, status: Mapping[str, Any] | None = None) -> Graph:
    """The drawing of a machine; with the reply to `status`, of what runs, with states and rates.

    What a shell has added to a lab since its file was read is drawn by what `status` says of it.
    """
    topology = Topology(machine, nowhere)
    running = None if status is None else {row["name"]: row for row in status["elements"]}
    nodes = {
        element.name: _node(machine, path, element, running or {})
        for path, element in machine.elements.items()
        if running is None or element.name in running
    }
    for name, row in (running or {}).items():
        nodes.setdefault(name, _added(name, row))
    edges = [
        Edge(a.element.name, b.element.name, "\n".join(filter(None, _words(topology, a, b))))
        for a, b in machine.connections
    ]
    if status is not None:
        edges = _live_edges(edges, status["connections"])
    seen: set[frozenset[str]] = set()
    for element in machine.elements.values():
        if not isinstance(element, Link | Server) or element.name not in nodes:
            continue
        security = _security(element.arguments)
        others = [other for other in topology.other_ends(element) if other.name in nodes]
        for other in others:
            pair = frozenset((element.name, other.name))
            if pair not in seen:
                seen.add(pair)
                edges.append(Edge(element.name, other.name, security, dashed=True))
        if not others and (remote := _remote(element.arguments)):
            nodes.setdefault(remote, DrawnElement(remote, (), "", "", "cloud"))
            edges.append(Edge(element.name, remote, security, dashed=True))
    return Graph(tuple(nodes.values()), tuple(edges), dict(machine.hosts))


def _live_edges(known: Iterable[Edge], rows: Iterable[Mapping[str, Any]]) -> list[Edge]:
    """The connections that there are, in the order and with the ends of the file if it has them."""
    left = {(row["from"], row["to"]): row for row in rows}
    edges = []
    for edge in known:
        row = left.pop((edge.one, edge.other), None)
        if row is None and (turned := left.pop((edge.other, edge.one), None)) is not None:
            row = {"sent": turned["received"], "received": turned["sent"]}
        if row is not None:
            edges.append(replace(edge, label="\n".join(filter(None, (edge.label, _rates(row))))))
    return edges + [Edge(one, other, _rates(row)) for (one, other), row in left.items()]


def _added(name: str, row: Mapping[str, Any]) -> DrawnElement:
    module = row["module"]
    shape = "switch" if module.endswith("/switch") else "box"
    return DrawnElement(
        name, (_KINDS.get(module, module.removeprefix("tmelink/")),), "", "", shape, row["state"]
    )


def _node(
    machine: CheckedMachine, path: str, element: Element, running: Mapping[str, Mapping[str, Any]]
) -> DrawnElement:
    module = machine.modules[path]
    directory = path.rsplit("/", 1)[0].lstrip("/")
    lines = [_KINDS.get(module, module.removeprefix("tmelink/")), *_addresses(element)]
    shape = (
        "switch" if module.endswith("/switch") else "link" if isinstance(element, Link | Server) else "box"
    )
    return DrawnElement(
        element.name,
        tuple(lines),
        machine.homes.get(path, ""),
        directory,
        shape,
        running[element.name]["state"] if element.name in running else "",
    )


_KINDS = {
    "tme/host/bsd/bpf": "packet tap",
    "tme/host/openvpn/socket/link": "OpenVPN link",
    "tme/host/openvpn/socket/server": "OpenVPN server",
    "tme/host/openvpn/tap": "TAP",
    "tme/host/openvpn/tun": "TUN",
    "tme/host/openvpn/tun/tap": "TAP",
    "tme/host/openvpn/tun/tun": "TUN",
    "tme/host/tun/tap": "TAP",
    "tme/host/tun/tun": "TUN",
}
"""What is drawn for modules whose names say where TME has them."""


def _addresses(element: Element) -> list[str]:
    arguments = element.arguments
    if isinstance(element, Link | Server):
        options: Options = arguments
        port = f" port {options.lport}" if options.bind and options.lport else ""
        return [f"{options.proto}{port}"]
    found = (getattr(arguments, name, None) for name in ("inet", "inet6"))
    return [str(address) for address in found if address and not isinstance(address, list | tuple)]


def _security(options: Options) -> str:
    carrier = "UDP" if transport(options.proto) == "udp" else "TCP"
    if options.tls is not None:
        return f"TLS over {carrier}"
    if options.secret is not None:
        return f"static key over {carrier}"
    return f"plain {carrier}"


def _remote(options: Options) -> str:
    return " or ".join(dict.fromkeys(f"{remote.host} port {remote.port}" for remote in options.remotes))


def _words(topology: Topology, *ends: Port) -> Iterator[str]:
    """What a connection's words at a switch and its filters say."""
    for port in ends:
        if isinstance(port.element, Switch):
            yield " ".join(word.text for word in port.words)
        if (selection := topology.filters.get(port)) is not None and port.peer is not None:
            yield f"to {port.peer.element.name}: {' '.join(selection.words)}"


def _rates(row: Mapping[str, Any]) -> str:
    parts = []
    for direction, arrow in (("sent", "→"), ("received", "←")):
        counters = row[direction]
        rate = counters["bits_per_second"]
        drops = sum(counters["drops"].values())
        text = "" if rate is None else f"{arrow} {_rate(rate)}"
        parts.append(text + (f", {drops} dropped" if drops else ""))
    return "\n".join(filter(None, parts))


def _rate(bits: float) -> str:
    """Bits a second in the unit that suits them."""
    unit = "bit/s"
    for larger in ("kbit/s", "Mbit/s", "Gbit/s"):
        if bits < 1000:
            break
        bits, unit = bits / 1000, larger
    return f"{bits:.3g} {unit}"


# Dot

_SHAPES = {
    "box": 'shape="box"',
    "switch": 'shape="hexagon", style="filled"',
    "link": 'shape="box", style="filled", fillcolor="#e2e8f4"',
    "cloud": 'shape="ellipse", style="dashed"',
}
COLOURS = {"up": "#d7f0d7", "down": "#f7d7d7", "failed": "#f0b0b0", "opening": "#fff0c0"}


def dot(drawn: Graph) -> str:
    """Graphviz's language."""
    lines = [
        "graph lab {",
        '  graph [fontname="sans-serif", rankdir=LR, nodesep=0.35, ranksep=0.8]',
        '  node [fontname="sans-serif", fontsize=11, style="filled,rounded", fillcolor="#f4f6fa"]',
        '  edge [fontname="sans-serif", fontsize=9]',
    ]
    for number, (host, members) in enumerate(_by(drawn.nodes, "host").items()):
        indent = "  "
        if host:
            address = drawn.hosts.get(host, "")
            title = _text(f"host {host}" + (f"\n{address}" if address else ""))
            lines.append(f"  subgraph cluster_{number} {{")
            lines.append(f'    label={title}; style="rounded"; color="#7a8aa0"')
            indent = "    "
        for place, (machine, each) in enumerate(_by(members, "machine").items()):
            if machine:
                lines.append(f"{indent}subgraph cluster_{number}_{place} {{")
                lines.append(f'{indent}  label={_text(machine)}; style="rounded,dashed"; color="#a0a8b8"')
            lines += [indent + _dot_node(node) for node in each]
            if machine:
                lines.append(indent + "}")
        if host:
            lines.append("  }")
    for edge in drawn.edges:
        style = ', style="dashed", penwidth=1.6' if edge.dashed else ""
        lines.append(f"  {_text(edge.one)} -- {_text(edge.other)} [label={_text(edge.label)}{style}]")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_node(node: DrawnElement) -> str:
    label = _text("\n".join((node.name, *node.lines)))
    colour = f', fillcolor="{COLOURS[node.state]}"' if node.state in COLOURS else ""
    return f"  {_text(node.name)} [label={label}, {_SHAPES[node.shape]}{colour}]"


def _text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


# Mermaid


def mermaid(drawn: Graph) -> str:
    """Mermaid's flowchart, as GitHub and GitLab draw it in Markdown."""
    names = {node.name: f"n{number}" for number, node in enumerate(drawn.nodes)}
    lines = ["flowchart LR"]
    for number, (host, members) in enumerate(_by(drawn.nodes, "host").items()):
        if host:
            lines.append(f'  subgraph h{number}["host {escape(host)} {escape(drawn.hosts.get(host, ""))}"]')
        for place, (machine, each) in enumerate(_by(members, "machine").items()):
            if machine:
                lines.append(f'    subgraph h{number}m{place}["{escape(machine)}"]')
            lines += [f'      {names[node.name]}["{_lines(node)}"]' for node in each]
            if machine:
                lines.append("    end")
        if host:
            lines.append("  end")
    for edge in drawn.edges:
        line = "-.-" if edge.dashed else "---"
        label = f"|{escape(edge.label).replace(chr(10), '<br/>')}|" if edge.label else ""
        lines.append(f"  {names[edge.one]} {line}{label} {names[edge.other]}")
    return "\n".join(lines) + "\n"


def _lines(node: DrawnElement) -> str:
    return "<br/>".join(escape(line) for line in (node.name, *node.lines))


def _by(nodes: Iterable[DrawnElement], what: str) -> dict[str, list[DrawnElement]]:
    found: dict[str, list[DrawnElement]] = defaultdict(list)
    for node in nodes:
        found[getattr(node, what)].append(node)
    return found
