"""Measures which parts of the package import which, and draws the picture in docs/design.md.

`python -m tests.support.rooms > docs/design.svg` draws it with Graphviz's `dot`. It leaves out arrows that
follow from others, and arrows to the foundations, which every part may import.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import tmelink

ROOT = Path(tmelink.__file__).parent

Arrows = set[tuple[str, str]]
"""Pairs of parts, of which the first imports the second."""

PARTS = {
    "cli": "the commands",
    "metrics": "numbers for Prometheus",
    "web": "a page in the browser",
    "control": "a socket to running labs",
    "api": "load, run, embed",
    "runtime": "opens, supervises, closes",
    "proof": "what will happen",
    "machine": "a checked graph",
    "tmesh": "the language",
    "elements/openvpn": "links and servers",
    "elements/host_interfaces": "TAP, TUN, packet taps",
    "elements/emulators": "QEMU, VDE, passt, UDP",
    "elements/tunnels": "GRE, IP in IP, VXLAN",
    "elements/builtin": "switch, host, gateway, NIC",
    "openvpn": "the protocol, no I/O",
    "transport": "sockets, no protocol",
    "system": "Linux: netlink, nftables",
    "stack": "an IP host, no I/O",
    "encapsulation": "tunnel headers",
    "devices": "NIC models",
    "inline": "impairments, filters",
    "routing": "plans for the host, no I/O",
}
"""The parts in the picture, and what each is in a few words."""

MEMBERS = {
    "__main__": "cli",
    "threads": "api",
    "__init__": "api",
    "difference": "runtime",
    "summary": "runtime",
    "registry": "machine",
}
"""Modules of the package's own folder that belong to a part of another name."""

FOUNDATIONS = frozenset(
    ("element", "offload", "frame", "ethernet", "ip", "arguments", "values", "errors", "source", "logs",
     "reasons", "resources", "standing_queue", "state", "timers")
)  # fmt: skip
"""What every part may import; the picture names them without arrows."""


def part(module: str) -> str:
    """The part that a module `tmelink.…` belongs to."""
    names = module.split(".")[1:] or ["__init__"]
    if names[0] == "elements" and len(names) > 1:
        return "/".join(names[:2])
    return MEMBERS.get(names[0], names[0])


def modules() -> dict[str, Path]:
    """Every module of the package by name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        names = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(names).removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """The names that a module imports; for `from a import b`, both `a` and `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def arrows() -> Arrows:
    """Every import between two parts."""
    known = modules()
    # `from tmelink import values` names the package too, but does not use what that imports.
    targets = known.keys() - {"tmelink"}
    found = {(part(module), part(name)) for module, path in known.items() for name in imports(path) & targets}
    return {(one, other) for one, other in found if one != other and one in PARTS and other in PARTS}


def reduced(found: Arrows) -> Arrows:
    """The arrows that do not follow from others (the transitive reduction)."""

    def reaches(one: str, other: str) -> bool:
        return any(a == one and (b == other or reaches(b, other)) for a, b in found)

    return {
        (one, other)
        for one, other in found
        if not any(a == one and b != other and reaches(b, other) for a, b in found)
    }


def dot() -> str:
    """The picture in Graphviz's language."""
    lines = [
        "digraph rooms {",
        '  graph [rankdir=TB, nodesep=0.3, ranksep=0.8, fontname="Helvetica", fontsize=13, bgcolor=white];',
        '  node [shape=box, style="rounded,filled", fillcolor="#eef3f8", color="#8aa4b8", '
        'fontname="Helvetica", fontsize=13, margin="0.22,0.09"];',
        '  edge [color="#667788", arrowsize=0.7, fontname="Helvetica", fontsize=11];',
        '  subgraph cluster_elements { label="elements/: one room for each kind"; labelloc=b; labeljust=r; '
        'style="rounded,dashed"; color="#8aa4b8"; margin=14;',
        *(_node(name) for name in PARTS if name.startswith("elements/")),
        "  }",
        *(_node(name) for name in PARTS if not name.startswith("elements/")),
        '  foundations [fillcolor="#f6f1e4", color="#b8a46a", '
        'label="foundations, which all parts may import\\n' + ", ".join(sorted(FOUNDATIONS)) + '"];',
        *(f'  "{one}" -> "{other}";' for one, other in sorted(reduced(arrows()))),
        '  "machine" -> "elements/emulators" [style=dashed, label="  entry points"];',
        *(f'  "{name}" -> foundations [style=invis];' for name in ("openvpn", "routing", "stack", "devices")),
        "}",
    ]
    return "\n".join(lines)


def _node(name: str) -> str:
    return f'  "{name}" [label="{name.removeprefix("elements/")}\\n{PARTS[name]}"];'


def main() -> None:
    """Print the picture as SVG."""
    made = subprocess.run(["dot", "-Tsvg"], input=dot(), capture_output=True, text=True, check=True)
    sys.stdout.write(made.stdout)


if __name__ == "__main__":
    main()
