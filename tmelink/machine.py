"""A machine file as a checked graph: elements with their arguments parsed, and the connections between them.

`load` reads and checks without touching the host: what it returns can be run. Knows modules and element
classes through `tmelink.registry`; what stands in the file comes from `tmelink.tmesh.layout`.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tmelink import registry
from tmelink.element import Claim, Element, Port, connect
from tmelink.errors import ElementError, MachineError, PortError, TmelinkError, UnknownElement
from tmelink.inline import filters
from tmelink.inline.netem_words import Impairment, ImpairmentRequest, WordError
from tmelink.inline.netem_words import request as impairment_request
from tmelink.inline.pcap_filter import PcapFilter
from tmelink.source import Mistake, Place, Source, Word, suggestion
from tmelink.tmesh.declared import Declared, DeclaredRule, Join, Order
from tmelink.tmesh.host_access import HostAccess
from tmelink.tmesh.layout import Layout
from tmelink.tmesh.source_file import read, unreadable
from tmelink.tmesh.statements import Side
from tmelink.tmesh.tme_parts import ETHERNET_CARDS, IN_PLACE_OF, PARTS

NIC = "tmelink/nic"
"""The element that replaces the Ethernet side of a TME network card without a model of its own."""

BYTE_ORDER_MARK = "\ufeff"

SOCKETS = ("udp", "tcp")
"""Claims whose `where` is an address and a port."""


@dataclass(frozen=True)
class ElementCommand:
    """`command ELEMENT words…` where `level` is None, else `log ELEMENT LEVEL` with `logging`'s level.

    A level of 0 is the one that all others have.
    """

    element: Element
    words: tuple[Word, ...]
    level: int | None
    place: Place


@dataclass(frozen=True)
class ConnectionImpairment:
    """`impair ELEMENT at OTHER words…`: both elements' names, and what is to happen, seen from the first."""

    element: str
    other: str
    request: ImpairmentRequest


@dataclass(frozen=True)
class ConnectionFilter:
    """`filter ELEMENT at OTHER words…`: both elements' names, and what passes, seen from the first."""

    element: str
    other: str
    request: filters.FilterRequest


@dataclass(eq=False)
class CheckedMachine:
    """A checked machine file, which a runtime opens, runs and closes.

    Paths are absolute, `/le0` or `/a/le0`, and in the order of the file. `not_emulated` are TME's parts other
    than network elements, by path, with their modules; `network_only` says that the caller wants the network
    without them. `homes` says which host an element is on, by path, where the file does; `hosts` are the
    hosts' addresses and `access` how they are reached, by name. `modules` are the
    names of the elements' modules, by path. `output` is what `pwd` and `ls` print.
    """

    source: Source
    host: str | None = None
    network_only: bool = False
    elements: dict[str, Element] = field(default_factory=dict)
    connections: list[tuple[Port, Port]] = field(default_factory=list)
    commands: list[ElementCommand] = field(default_factory=list)
    impairments: list[ConnectionImpairment] = field(default_factory=list)
    filters: list[ConnectionFilter] = field(default_factory=list)
    hosts: dict[str, str] = field(default_factory=dict)
    access: dict[str, HostAccess] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    not_emulated: dict[str, str] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)

    def find(self, path: str) -> Element:
        """The element at `path`, from the root; `UnknownElement`, which is a KeyError, names a near one."""
        absolute = posixpath.normpath("/" + path.lstrip("/"))
        element = self.elements.get(self.aliases.get(absolute, absolute))
        if element is None:
            near = suggestion(absolute, [*self.elements, *self.aliases])
            raise UnknownElement(f"no element {path!r}" + (f", {near}" if near else ""))
        return element


def load(
    path_or_text: Path | str,
    *,
    host: str | None = None,
    network_only: bool = False,
    name: str = "<text>",
    folder: Path | None = None,
    edits: Sequence[Callable[[Layout], None]] = (),
) -> CheckedMachine:
    """Read and check a machine file, or a text: a str that holds a newline is text, any other a path.

    With `host` only that host's part is loaded, and everything outside of host blocks. `name` is what a
    text is called in messages; its relative `source` begins in `folder`, or in the working directory.
    `edits` change the file's layout, in order, before elements are made. Raises `MachineError` with
    every mistake, in the order of the file.
    """
    mistakes: list[Mistake] = []
    modules = _Modules()
    layout = Layout(mistakes.append, host, unchecked=lambda element: modules.is_part(element.module.text))
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        source = Source(name, path_or_text.removeprefix(BYTE_ORDER_MARK))
        layout.text(source, folder or Path())
    else:
        path = Path(path_or_text)
        try:
            source = read(path)
        except (OSError, ValueError) as error:
            place = Place(Source(str(path), ""), 1, 1)
            problem = error if isinstance(error, OSError) else OSError(None, str(error))
            raise MachineError([Mistake(place, *unreadable(path, problem))]) from error
        layout.text(source, path.parent, os.path.realpath(path))
    for edit in edits:
        edit(layout)
    if host is not None and host not in layout.hosts:
        known = ", ".join(layout.hosts)
        hint = suggestion(host, layout.hosts) or (f"it has {known}" if known else "it has no host blocks")
        layout.complain(Place(source, 1, 1), f"the file has no host {host}", hint)
    machine = CheckedMachine(source, host, network_only)
    _Assembly(machine, layout, modules).run()
    if mistakes:
        # One mistake in a file that is sourced twice is one mistake.
        raise MachineError(sorted(dict.fromkeys(mistakes), key=lambda m: layout.position(m.place)))
    return machine


class _Modules:
    """The modules that a file may name, spelled as TME takes them.

    TME compares names with no slash in front and no difference between `/`, `-` and `_`.
    """

    def __init__(self) -> None:
        self.names = [*PARTS, *ETHERNET_CARDS, *registry.names()]
        self._by_spelling = {self._spelling(name): name for name in self.names}

    def find(self, text: str) -> str | None:
        """The module's own name."""
        return self._by_spelling.get(self._spelling(text))

    def by_last_part(self, text: str) -> str | None:
        """A hint for a module that is known by the last part of its name alone, such as `switch`."""
        last = text.rsplit("/", 1)[-1]
        found = [name for name in registry.names() if name.rsplit("/", 1)[-1] == last]
        return f"did you mean {min(found, key=len)}?" if found else None

    def is_part(self, text: str) -> bool:
        """Whether it is one of TME's modules that is not a network element."""
        return self.find(text) in PARTS

    @staticmethod
    def _spelling(text: str) -> str:
        return re.sub("[^A-Za-z0-9]", "_", registry.canonical(text.lstrip("/")))


@dataclass(eq=False)
class _Made:
    """The result for a declared element.

    `kind`: "element" for one of tmelink's, "card" for a TME network card, "part" for any other part of
    TME's, "wrong" for an unknown module. `element` is None where arguments were wrong, and for parts.
    """

    declared: Declared
    kind: str
    module: str
    cls: type[Element] | None = None
    element: Element | None = None
    first: tuple[Declared, Place] | None = None
    connections: int = 0

    @property
    def full(self) -> bool:
        """Whether it takes no further connection."""
        capacity = (self.element or self.cls).capacity if self.cls is not None else None
        return capacity is not None and self.connections >= capacity


class _Assembly:
    """Makes elements and connections from a layout."""

    def __init__(self, machine: CheckedMachine, layout: Layout, modules: _Modules) -> None:
        self.machine = machine
        self.layout = layout
        self.modules = modules
        self.made: dict[Declared, _Made] = {}
        self.unloadable: set[str] = set()

    def run(self) -> None:
        machine, layout = self.machine, self.layout
        for declared in layout.elements:
            if declared.names and not declared.elsewhere:
                self.made[declared] = self.make(declared)
        joins = [join for join in layout.joins if join.stands]
        for join in joins:
            self.give_cards(join)
        for declared, made in self.made.items():
            self.record(declared, made)
        for join in joins:
            self.join(join)
        self.check_claims()
        for order in layout.orders:
            target = self.made.get(order.element)
            if target is not None and target.element is not None:
                self.check_command(target.element, order)
                machine.commands.append(ElementCommand(target.element, order.words, order.level, order.place))
        for impairment in layout.impairments:
            self.impair(impairment)
        for declared_filter in layout.filters:
            self.filter(declared_filter)
        machine.hosts = {name: host.address for name, host in layout.hosts.items()}
        machine.access = {name: host.access for name, host in layout.hosts.items()}
        machine.output = layout.output

    # Elements -----------------------------------------------------------------------------------------

    def make(self, declared: Declared) -> _Made:
        word = declared.module
        module = self.modules.find(word.text)
        if module is None:
            near = self.modules.by_last_part(word.text)
            near = near or self.layout.near(registry.canonical(word.text), self.modules.names)
            hint = near or "'tmelink elements' lists those there are"
            self.layout.complain(word.place, f"unknown module {word}", hint)
            return _Made(declared, "wrong", word.text)
        if module in ETHERNET_CARDS:
            return _Made(declared, "card", module)
        if registry.known(module):
            return self.instantiate(_Made(declared, "element", module), module, declared.arguments)
        return _Made(declared, "part", module)

    def instantiate(self, made: _Made, module: str, words: Sequence[Word]) -> _Made:
        """Load the class behind `module`, parse its arguments and make it, as far as that goes."""
        declared = made.declared
        place = declared.module.place
        try:
            made.cls = registry.element_class(module)
        except ElementError as error:
            # Report it once: the machine file is not at fault.
            if module not in self.unloadable:
                self.layout.complain(place, str(error))
            self.unloadable.add(module)
            return made
        try:
            arguments = made.cls.parse(words, place, self.layout.report)
            if arguments is not None:
                made.element = made.cls(declared.path.lstrip("/"), arguments)
        except TmelinkError as error:
            self.layout.complain(place, str(error))
        return made

    def give_cards(self, join: Join) -> None:
        """A NIC for each TME network card whose Ethernet side is connected."""
        (a, _), (b, _) = join.sides
        for declared, other in ((a, b), (b, a)):
            made, peer = self.made.get(declared), self.made.get(other)
            if made is None or peer is None or made.kind != "card" or made.cls is not None:
                continue
            if peer.kind in ("element", "card"):
                taken = ETHERNET_CARDS[made.module]
                words: list[Word] = []
                for name, value in pairwise(declared.arguments):
                    if name.text in taken:
                        words += [Word(taken[name.text], name.place), value]
                self.instantiate(made, made.module if registry.known(made.module) else NIC, words)

    def record(self, declared: Declared, made: _Made) -> None:
        machine, path = self.machine, declared.path
        machine.places[path] = declared.name.place
        if declared.host is not None:
            machine.homes[path] = declared.host
        for directory, name in declared.names[1:]:
            machine.aliases[directory.join(name)] = path
        if made.element is not None:
            machine.elements[path] = made.element
            machine.modules[path] = made.module
        elif made.kind == "part":
            machine.not_emulated[path] = made.module

    # Connections --------------------------------------------------------------------------------------

    def join(self, join: Join) -> None:
        (a, side), (b, at) = join.sides
        first, second = self.made.get(a), self.made.get(b)
        if first is None or second is None or not self.together(a, b, at):
            return
        kinds = {first.kind, second.kind}
        if "part" in kinds:
            self.join_part(first, second, at)
            return
        if kinds == {"card", "wrong"}:
            return  # Perhaps a bus.
        room = [self.room(first, second, side)]
        if a is not b:
            room.append(self.room(second, first, at))
        if all(room) and first.element is not None and second.element is not None:
            self.connect(first.element, side, second.element, at)

    def together(self, a: Declared, b: Declared, at: Side) -> bool:
        """Whether both are on one host."""
        if a.host is None or b.host is None or a.host == b.host:
            return True
        self.layout.complain(
            at.element.place,
            f"{a.path} is on host {a.host} and {b.path} on host {b.host}",
            "a pair of tme/host/openvpn/socket/link joins hosts",
        )
        return False

    def join_part(self, first: _Made, second: _Made, at: Side) -> None:
        """Check that TME's parts only connect to each other, and not to a network element."""
        for part, other in ((first, second), (second, first)):
            if part.kind == "part" and other.kind == "element":
                message = f"{part.declared.path} is a {part.module}, which has no Ethernet"
                hint = None
                if part.module in IN_PLACE_OF:
                    message = f"{part.declared.path} is a {part.module}, which tmelink does not have"
                    hint = f"write {IN_PLACE_OF[part.module]} in its place"
                self.layout.complain(at.element.place, message, hint)

    def room(self, made: _Made, other: _Made, side: Side) -> bool:
        """Whether `made` takes another connection; counts it, or reports where the first one is."""
        place = side.element.place
        if made.full:
            hint = "put a tmelink/switch between them"
            if made.first:
                hint = f"to {made.first[0].path} at {made.first[1]}; {hint}"
            self.layout.complain(place, f"{side.element} is already connected", hint)
            return False
        made.connections += 1
        made.first = made.first or (other.declared, place)
        return True

    def connect(self, a: Element, side: Side, b: Element, at: Side) -> None:
        port = self.port(a, side)
        # An element that is connected to itself has one port, which gets back what it sends.
        peer = port if a is b else self.port(b, at)
        if port is None or peer is None:
            return
        try:
            connect(port, peer)
        except PortError as error:
            self.layout.complain(at.element.place, str(error))
            return
        self.machine.connections.append((port, peer))

    def check_command(self, element: Element, order: Order) -> None:
        """The first word of a `command` is one that the element knows."""
        if order.level is not None:
            return
        known = element.commands
        if known is None and type(element).command is Element.command:
            known = ()
        word = order.words[0] if order.words else None
        if known is None or (word is not None and word.text in known):
            return
        takes = f"it knows {', '.join(known)}" if known else "it has no commands"
        if word is None:
            self.layout.complain(order.place, f"a command for {element.name} needs words", takes)
        else:
            hint = suggestion(word.text, known) or takes
            self.layout.complain(word.place, f"'{word}' is not a command of {element.name}", hint)

    def impair(self, declared: DeclaredRule) -> None:
        """An impairment of a connection of the file; mistakes are reported at their words."""
        words = declared.words
        try:
            request = impairment_request([word.text for word in words])
            if request.applied(Impairment()).match:
                PcapFilter(request.applied(Impairment()).match)
        except WordError as error:
            place = words[error.index].place if words else declared.place
            self.layout.complain(place, str(error), error.hint)
            return
        except (ValueError, ElementError) as error:
            self.layout.complain(words[0].place if words else declared.place, str(error))
            return
        if (ports := self.ends(declared, "an impairment")) is not None:
            names = ports[0].element.name, ports[1].element.name
            self.machine.impairments.append(ConnectionImpairment(*names, request))

    def filter(self, declared: DeclaredRule) -> None:
        """A filter of a connection of the file; mistakes are reported at their words."""
        words = declared.words
        ports = self.ends(declared, "a filter")
        taken = [word.text for word in words]
        try:
            request = filters.request(taken)
            if ports is not None and request.words:
                taken = list(request.words)
                filters.Selection(taken, ports[0].kind)
        except WordError as error:
            wrong = taken[error.index] if taken else ""
            place = next((word.place for word in words if word.text == wrong), declared.place)
            self.layout.complain(place, str(error), error.hint)
            return
        except ElementError as error:
            self.layout.complain(words[0].place if words else declared.place, str(error))
            return
        if ports is not None:
            names = ports[0].element.name, ports[1].element.name
            self.machine.filters.append(ConnectionFilter(*names, request))

    def ends(self, declared: DeclaredRule, what: str) -> tuple[Port, Port] | None:
        """A connection between the two elements that a rule names, the first one's port first."""
        first, second = (self.made.get(end) for end in declared.ends)
        if first is None or second is None or first.element is None or second.element is None:
            return None
        for a, b in self.machine.connections:
            if (a.element, b.element) == (first.element, second.element):
                return a, b
            if (b.element, a.element) == (first.element, second.element):
                return b, a
        ends = " and ".join(end.path for end in declared.ends)
        self.layout.complain(
            declared.place, f"{ends} are not connected", f"{what} needs a connection of the file"
        )
        return None

    def port(self, element: Element, side: Side) -> Port | None:
        try:
            port = element.port(side.words)
        except PortError as error:
            self.layout.complain(side.words[0].place if side.words else side.element.place, str(error))
            return None
        port.place = side.element.place
        port.words = side.words
        return port

    # Claims -------------------------------------------------------------------------------------------

    def check_claims(self) -> None:
        """Check that no two elements of one host claim the same resource."""
        holders: dict[tuple[str, tuple[object, ...]], list[tuple[Declared, Claim]]] = defaultdict(list)
        for declared, made in self.made.items():
            for claim in made.element.claims() if made.element is not None else ():
                what, where = claim.what, claim.where
                rivals = holders[what, where]
                if what in SOCKETS:
                    # Sockets collide by port, where the address is the same or one of them has every one.
                    address, port = where
                    anywhere = f"{what} of any address", (port,)
                    rivals = [*rivals, *holders[what, ("", port)]] if address else holders[anywhere]
                    holders[anywhere].append((declared, claim))
                rival = next(
                    (
                        holder
                        for holder, theirs in rivals
                        if holder is not declared and _one_host(declared, holder) and not claim.beside(theirs)
                    ),
                    None,
                )
                if rival is not None:
                    self.complain_claim(declared, claim, rival)
                holders[what, where].append((declared, claim))

    def complain_claim(self, declared: Declared, claim: Claim, holder: Declared) -> None:
        if claim.what in SOCKETS:
            address, port = claim.where
            what = f"{claim.what.upper()} port {port}" + (f" of {address}" if address else "")
        else:
            what = " ".join(map(str, (claim.what, *claim.where)))
        place = declared.name.place
        self.layout.complain(
            place, f"{declared.path} wants {what}, which {holder.path} has", f"at {holder.name.place}"
        )


def _one_host(a: Declared, b: Declared) -> bool:
    return a.host is None or b.host is None or a.host == b.host
