"""What differs between a running machine and another: elements by name, connections by their ends.

Nothing is opened or closed here: `between` looks, `tmelink.runtime` does. An element whose module and
arguments are the same stays as it is, with every connection that stays.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tmelink.element import Element, Port, connect
from tmelink.machine import CheckedMachine

ConnectionEnd = tuple[str, tuple[str, ...]]
"""An element's name, and the words on its side of `at`."""

PortPair = tuple[Port, Port]

ORDER = ("disconnect", "remove", "renew", "replace", "add", "connect")
"""Kinds of change in the order in which they are made."""


class ElementChange(NamedTuple):
    """One thing that changes: `kind` is one of `ORDER`."""

    kind: str
    what: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.what}" + (f" ({self.why})" if self.why else "")


@dataclass
class Difference:
    """How a running machine becomes `machine`; elements that stay are the running ones.

    `gone` are the elements to close and `new` those to open, each in the order of its file; one that is
    replaced is among both. `renewed` stay and get other arguments, such as keys. `ended` are connections
    that do not go on as they are.
    """

    machine: CheckedMachine
    changes: list[ElementChange] = field(default_factory=list)
    gone: list[Element] = field(default_factory=list)
    new: list[Element] = field(default_factory=list)
    renewed: list[tuple[Element, Any]] = field(default_factory=list)
    ended: list[PortPair] = field(default_factory=list)
    _stays: set[Element] = field(default_factory=set)
    _goes_on: dict[int, PortPair] = field(default_factory=dict)

    def join(self) -> list[Port]:
        """Make the connections that are new; the ports that were joined. Raises `PortError`."""
        joined: list[Port] = []
        connections = self.machine.connections
        running = {element.name: element for element in self._stays}
        for index, (a, b) in enumerate(connections):
            pair = self._goes_on.get(index)
            if pair is None:
                first = _port(running, a)
                pair = first, (first if a is b else _port(running, b))
                connect(*pair)
                joined += pair
            connections[index] = pair
        return joined


def between(old: CheckedMachine, new: CheckedMachine) -> Difference:
    """What has to change for `old`, which runs, to become `new`, which then must not be used otherwise."""
    reasons = _reasons(old, new)
    difference = Difference(new)
    renewed = {path: reasons.pop(path).why for path in [*reasons] if reasons[path].renews}
    difference.renewed = [(old.elements[path], new.elements[path].arguments) for path in renewed]
    stays = {
        path: old.elements[path] for path in new.elements if path in old.elements and path not in reasons
    }
    difference._stays = set(stays.values())
    difference.gone = [element for path, element in old.elements.items() if path not in stays]
    difference.new = [element for path, element in new.elements.items() if path not in stays]
    removed = [path for path in old.elements if path not in new.elements]
    added = [path for path in new.elements if path not in old.elements]
    difference.changes = [
        *(ElementChange("remove", path.lstrip("/")) for path in removed),
        *(
            ElementChange("replace", path.lstrip("/"), reasons[path].why)
            for path in new.elements
            if path in reasons
        ),
        *(ElementChange("renew", path.lstrip("/"), why) for path, why in renewed.items()),
        *(ElementChange("add", path.lstrip("/")) for path in added),
    ]
    _connections(old, new, difference, {path.lstrip("/") for path in (*removed, *added)})
    difference.changes.sort(key=lambda change: ORDER.index(change.kind))
    new.elements.update(stays)
    by_name = {element.name: element for element in new.elements.values()}
    new.commands[:] = [
        dataclasses.replace(command, element=by_name[command.element.name]) for command in new.commands
    ]
    return difference


class _Reason(NamedTuple):
    """Why an element cannot stay as it is, and whether it takes its new arguments without being replaced."""

    why: str
    renews: bool = False


def _reasons(old: CheckedMachine, new: CheckedMachine) -> dict[str, _Reason]:
    """Why elements that are in both cannot stay as they are, by path."""
    before, after = _wiring(old), _wiring(new)
    found: dict[str, _Reason] = {}
    for path, element in new.elements.items():
        running = old.elements.get(path)
        if running is None:
            continue
        if type(running) is not type(element):
            found[path] = _Reason(f"it is a {new.modules[path]} now")
        elif fields := _differing(running.arguments, element.arguments):
            stays = running.state.condition != "failed" and (
                element.rewires or before[element.name] == after[element.name]
            )
            renews = stays and running.renewable(element.arguments)
            found[path] = _Reason(f"changed: {', '.join(fields)}", renews)
        elif running.state.condition == "failed":
            found[path] = _Reason("it had failed")
        elif not element.rewires and before[element.name] != after[element.name]:
            found[path] = _Reason("its connections change")
    return found


def _differing(old: object, new: object) -> list[str]:
    """The names of the arguments that differ, as a machine file writes them."""
    if old == new:
        return []
    if type(old) is type(new) and dataclasses.is_dataclass(old):
        names = []
        for field in dataclasses.fields(old):
            before, after = getattr(old, field.name), getattr(new, field.name)
            if field.compare and before != after:
                # A group of settings is none of a file's words: its own fields are.
                grouped = dataclasses.is_dataclass(before) and type(before) is type(after)
                name = field.name.rstrip("_").replace("_", "-")
                names += _differing(before, after) if grouped else [name]
        return names
    return ["arguments"]


def _wiring(machine: CheckedMachine) -> dict[str, list[tuple[ConnectionEnd, ConnectionEnd]]]:
    """The connections of each element in their order, each from its own end."""
    found: dict[str, list[tuple[ConnectionEnd, ConnectionEnd]]] = defaultdict(list)
    for a, b in machine.connections:
        found[a.element.name].append((_end(a), _end(b)))
        if b is not a:
            found[b.element.name].append((_end(b), _end(a)))
    return found


def _connections(
    old: CheckedMachine, new: CheckedMachine, difference: Difference, come_or_go: set[str]
) -> None:
    """Find which connections stay; all others end or are made."""
    running: dict[tuple[ConnectionEnd, ConnectionEnd], deque[PortPair]] = defaultdict(deque)
    for pair in old.connections:
        running[_key(pair)].append(pair)
    for index, pair in enumerate(new.connections):
        same = running[_key(pair)]
        if same:
            before = same.popleft()
            if all(port.element in difference._stays for port in before):
                difference._goes_on[index] = before
            else:
                difference.ended.append(before)
        else:
            _list_connection("connect", pair, difference, come_or_go)
    for left in running.values():
        for pair in left:
            difference.ended.append(pair)
            _list_connection("disconnect", pair, difference, come_or_go)


def _list_connection(kind: str, pair: PortPair, difference: Difference, come_or_go: set[str]) -> None:
    """Leave out connections of elements that come or go, since that change includes them."""
    names = [port.element.name for port in pair]
    if come_or_go.isdisjoint(names):
        difference.changes.append(ElementChange(kind, " at ".join(names)))


def _end(port: Port) -> ConnectionEnd:
    return port.element.name, _texts(port)


def _texts(port: Port) -> tuple[str, ...]:
    return tuple(word.text for word in port.words)


def _key(pair: Sequence[Port]) -> tuple[ConnectionEnd, ConnectionEnd]:
    first, second = sorted(map(_end, pair))
    return first, second


def _port(running: dict[str, Element], port: Port) -> Port:
    """The port to join in place of `port`, which is a new element's own or stands for a running one's."""
    element = running.get(port.element.name)
    if element is None:
        return port
    words = _texts(port)
    free = (each for each in element.ports if each.peer is None and _texts(each) == words)
    found = next(free, None) or element.port(port.words)
    found.words = port.words
    return found
