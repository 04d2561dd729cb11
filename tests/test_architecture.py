"""The arrows between modules point one way, and the protocol does no I/O."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tmelink

ROOT = Path(tmelink.__file__).parent

# From the top down: a module may import from its own layer and from those below it.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"deploy", "importers", "lsp", "metrics", "web"},
    {"control"},
    {"api"},
    {"threads"},
    {"runtime", "state_log", "summary", "proof"},
    {"difference"},
    {"machine"},
    {"tmesh"},
    {"catalogue"},
    {"registry"},
    {"elements"},
    {"openvpn", "transport", "system", "stack", "encapsulation", "devices", "inline"},
    {"element"},
    {"offload"},
    {"routing", "sizes"},
    {"ethernet", "ip", "frame"},
    {"arguments", "logs"},
    {"printable", "errors", "values", "reasons", "resources", "standing_queue", "state", "tasks", "timers"},
    {"source"},
]
OPENVPN = ["server", "options", "tls", "plain", "data"]
"""The rooms of `openvpn/`, each of which may import those after it."""

ELEMENT_ROOMS = {
    "openvpn": {"builtin"},  # a server in tap mode is a switch with a port for each client
    "host_interfaces": set(),
    "emulators": set(),
    "tunnels": set(),
    "builtin": set(),
}
"""The rooms of `elements/`, and the other rooms that each may import from."""

LAYER = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.name != "__init__.py")


def part(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert here in LAYER, f"{path} belongs to no layer: add it to LAYERS"
    for name in imports(path):
        if name.startswith("tmelink.") and part(name) in LAYER:
            assert LAYER[part(name)] >= LAYER[here], f"{path.name} imports {name}, which stands above it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports within functions count too."""
    names = {".".join(("tmelink", *path.relative_to(ROOT).with_suffix("").parts)): path for path in modules()}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {}
    for name, path in names.items():
        found = {other for other in imports(path) if other in names and other != name}
        # 'from package import module' is of the module, and not of the package.
        graph[name] = {one for one in found if not any(other.startswith(f"{one}.") for other in found)}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", OPENVPN)
def test_the_protocols_rooms_import_down(room: str) -> None:
    """Whoever stands in none of them, such as what a session is, is below them all."""
    above = OPENVPN[: OPENVPN.index(room)]
    for path in (ROOT / "openvpn" / room).glob("*.py"):
        for name in imports(path):
            assert not name.startswith(tuple(f"tmelink.openvpn.{other}" for other in above)), path


def test_below_the_protocols_rooms_nothing_is_imported_from_them() -> None:
    for path in (ROOT / "openvpn").glob("*.py"):
        for name in imports(path):
            assert not name.startswith(tuple(f"tmelink.openvpn.{room}" for room in OPENVPN)), path


def arrows_between_rooms() -> set[tuple[str, str, str]]:
    """(room, other room, module) for every import that crosses a wall inside `elements/`."""
    found = set()
    for path in (ROOT / "elements").rglob("*.py"):
        room = path.relative_to(ROOT / "elements").parts[0]
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["tmelink", "elements"] and len(parts) > 3 and parts[2] != room:
                found.add((room, parts[2], ".".join(parts[:4])))
    return found


def test_the_rooms_of_elements_keep_to_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    """No module stands outside the rooms, and only the arrows of ELEMENT_ROOMS cross their walls."""
    flat = [path.name for path in (ROOT / "elements").glob("*.py") if path.name != "__init__.py"]
    assert flat == []
    assert {path.name for path in (ROOT / "elements").iterdir() if (path / "__init__.py").exists()} == set(
        ELEMENT_ROOMS
    )
    arrows = arrows_between_rooms()
    with capsys.disabled():
        print(f"\narrows between rooms of elements/: {len(arrows)}: {sorted(arrows)}")
    assert arrows, "the search for arrows finds none, not even the one that stands there"
    for room, other, module in arrows:
        assert other in ELEMENT_ROOMS[room], f"elements/{room} imports {module}"


@pytest.mark.parametrize("path", sorted((ROOT / "openvpn").rglob("*.py")), ids=lambda p: p.name)
def test_the_protocol_does_no_io(path: Path) -> None:
    assert not {"asyncio", "socket", "time", "select", "pathlib", "subprocess"} & set(imports(path))


def test_only_the_language_knows_lark() -> None:
    users = {path.name for path in modules() for name in imports(path) if name.split(".")[0] == "lark"}
    assert users == {"language.py"}


def test_no_test_module_imports_from_another() -> None:
    """What several need belongs into `tests/support/`, or into a module beside them that holds no tests."""
    tests = Path(__file__).parent
    for path in sorted(tests.rglob("*.py")):
        if "plugin_package" in path.parts:
            continue  # a package of somebody else's, with imports as they please
        for name in imports(path):
            assert not (name.startswith("tests.") and ".test_" in name), f"{path} imports {name}"
