"""What the proof knows of each kind of element, and how a package with elements of its own joins in."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tmelink import registry
from tmelink.element import Element
from tmelink.machine import load
from tmelink.proof import choice, kinds
from tmelink.proof.topology import Topology
from tmelink.proof.trace import prove
from tmelink.sizes import PingSize

PACKAGE = Path(__file__).parents[1] / "plugin_package"

FILE = """
switch: tmelink/switch
a at switch: tmelink/host inet 10.0.0.1/24
b at switch: tmelink/host inet 10.0.0.2/24
mirror at switch: example/mirror
"""


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[EntryPoint]]]:
    """The entry points of `tests/plugin_package`, as if it were installed, but for the proof's."""
    declared = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["entry-points"]
    found = {
        group: [EntryPoint(name, value, group) for name, value in named.items()]
        for group, named in declared.items()
    }
    monkeypatch.syspath_prepend(PACKAGE)
    elements = dict(registry._entry_points()) | {p.name: p for p in found[registry.GROUP]}
    monkeypatch.setattr(registry, "_entry_points", lambda: elements)
    yield found
    registry.element_class.cache_clear()
    for name in [name for name in sys.modules if name.startswith("frame_mirror")]:
        del sys.modules[name]


def names(topology: Topology) -> list[str]:
    return [host.name for host in topology.hosts]


def test_without_an_entry_a_host_is_assumed_behind_an_element(points: dict[str, list[EntryPoint]]) -> None:
    assert names(Topology(load(FILE))) == ["a", "b", "mirror"]


def test_a_packages_entry_explains_its_element(
    points: dict[str, list[EntryPoint]], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = kinds.plugged(point.load() for point in points[kinds.GROUP])
    monkeypatch.setattr(kinds, "_known", lambda: known)
    topology = Topology(load(FILE))
    assert names(topology) == ["a", "b"]
    mirror = topology.machine.elements["/mirror"]
    does = kinds.kind_of(mirror).forward(mirror, mirror.ports[0], topology)
    assert (does.does, does.to, does.takes) == ("sends it back", (mirror.ports[0],), False)
    (journey,) = choice.chosen(topology, "a", "b")
    assert prove(topology, journey, PingSize(4, 56)).verdict == "arrives"


def test_an_entry_holds_for_subclasses_and_the_nearest_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Base(Element):
        pass

    class Derived(Base):
        pass

    base, derived = kinds.ElementKind(has_host=False), kinds.ElementKind(has_host=True)
    element = Derived("derived", None)
    monkeypatch.setattr(kinds, "_known", lambda: kinds.plugged([{Base: base}]))
    assert kinds.kind_of(element) is base
    monkeypatch.setattr(kinds, "_known", lambda: kinds.plugged([{Base: base}, {Derived: derived}]))
    assert kinds.kind_of(element) is derived


@pytest.mark.parametrize("module", registry.names())
def test_every_built_in_kind_that_a_tunnel_is_says_what_it_carries_and_where(module: str) -> None:
    kind = next(
        (kinds.KINDS[each] for each in registry.element_class(module).__mro__ if each in kinds.KINDS), None
    )
    if kind is not None:
        assert (kind.carries is None) == (kind.underlay is None)
        assert kind.carries is None or not kind.has_host
