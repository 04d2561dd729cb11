"""Elements and their ports: Port, Element, connect, Claim.

No I/O. An element is anything that a machine file creates; a port is its side of one connection. Frames
move between ports many at a time, as a `Burst`, by plain synchronous calls: `port.send(burst)` calls the
`receive` of the element at the other end. Traffic never raises; what cannot be delivered is dropped and
counted by reason.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from tmelink import arguments as declaration
from tmelink.errors import ElementError, PortError
from tmelink.frame import Burst, Counters, Frame, Kind
from tmelink.offload import segmented
from tmelink.routing.tunnel import Tunnel
from tmelink.source import Place, Report, Word
from tmelink.state import Description, Details, State

OuterMtu = Callable[["Element"], int]
"""The largest underlay packet that an element can send, whatever the element knows of it itself."""


class Port:
    """One side of a connection.

    `sent` counts what the element sent into the connection and the drops at this side; what it received is
    the peer's `sent`. A port with `offload` takes super-frames; to any other, `send` first cuts them.
    `inline`, where it is set, takes what the port sends in place of the peer, and hands on what is to arrive
    by `deliver`.
    """

    __slots__ = ("element", "index", "inline", "kind", "offload", "peer", "place", "sent", "words")

    def __init__(
        self, element: Element, *, kind: Kind = "ethernet", offload: bool = False, index: int = 0
    ) -> None:
        self.element = element
        self.kind: Kind = kind
        self.offload = offload
        self.index = index
        self.inline: Inline | None = None
        self.peer: Port | None = None
        self.place: Place | None = None
        self.words: Sequence[Word] = ()
        """The words on its side of `at` in the file."""
        self.sent = Counters()

    def send(self, burst: Burst) -> None:
        """Hand `burst` to the element at the other end; drops it, counted, if there is none."""
        peer = self.peer
        sent = self.sent
        if peer is None:
            sent.drops["not connected"] += len(burst.frames)
            return
        if burst.gso is not None and not peer.offload:
            burst = segmented(burst, sent, ip=self.kind == "ip")
        frames = burst.frames
        sent.frames += len(frames)
        sent.bytes += sum(map(len, frames))
        if self.inline is None:
            peer.element.receive(peer, burst)
        else:
            self.inline.take(burst)

    def send_one(self, frame: Frame) -> None:
        """Hand over a frame that comes alone; the same as a burst of one, but faster."""
        peer = self.peer
        sent = self.sent
        if peer is None:
            sent.drops["not connected"] += 1
            return
        sent.frames += 1
        sent.bytes += len(frame)
        if self.inline is None:
            peer.element.receive_one(peer, frame)
        else:
            self.inline.take(Burst([frame]))

    def deliver(self, burst: Burst) -> None:
        """Hand a burst that `send` has counted to the element at the other end, as it is now."""
        peer = self.peer
        if peer is None:
            self.sent.drops["not connected"] += len(burst.frames)
        else:
            peer.element.receive(peer, burst)

    @property
    def up(self) -> bool:
        """Whether it is connected, and the other end's destination can be reached."""
        return self.peer is not None and self.peer.element.up

    def drop(self, reason: str, count: int = 1) -> None:
        """Count frames that this side could not deliver."""
        self.sent.drops[reason] += count

    def hold(self, held: bool) -> None:
        """Ask the element at the other end to stop (True) or continue (False) reading: its sink is full."""
        if self.peer is not None:
            self.peer.element.hold(self.peer, held)


class Inline(Protocol):
    """The stages for the frames that a port sends (`tmelink.inline`)."""

    take: Callable[[Burst], None]


def mtu_beyond(port: Port, outer: OuterMtu | None = None) -> int | None:
    """The largest IP packet, in bytes, that the other end of a connection takes; None for any."""
    return None if port.peer is None else port.peer.element.mtu(port.peer, outer)


def connect(a: Port, b: Port) -> None:
    """Connect two ports; a port that is connected to itself gets back what it sends."""
    for port, other in ((a, b), (b, a)):
        if port.kind != other.kind:
            port.element.adopt(port, other.kind)
    if a.kind != b.kind:
        raise PortError(
            f"{a.element.name} carries {_KINDS[a.kind]} and {b.element.name} carries {_KINDS[b.kind]}: "
            "put a tmelink/gateway between them"
        )
    a.peer, b.peer = b, a
    for port in (a, b):
        around = _carried_by_itself(port.element)
        if around is not None:
            a.peer = b.peer = None
            raise PortError(f"{around}: a tunnel cannot carry itself")


def _carried_by_itself(element: Element) -> str | None:
    """The loop of tunnels, where an element in the end carries its own carrier; None if there is none."""
    names = [element.name]
    carrier = element.carried_by
    while carrier is not None and carrier.peer is not None and len(names) <= MAX_NESTING:
        other = carrier.peer.element
        if carrier.peer is other.carried_by:
            # Both outer sides face each other, as two ends of a wire.
            return None
        names.append(other.name)
        if other is element:
            return " in ".join(names)
        carrier = other.carried_by
    return None


def disconnect(port: Port) -> None:
    """Undo `connect`; harmless on a port without a peer."""
    if port.peer is not None:
        port.peer.peer = None
        port.peer = None


PRIVILEGED_PORTS = 1024
"""Ports below this one are for those who have CAP_NET_BIND_SERVICE (ip(7))."""

MAX_NESTING = 64
"""The most nested tunnels that are followed: each costs 20 bytes, and so many leave little of 1500."""

_KINDS: dict[Kind, str] = {"ethernet": "Ethernet frames", "ip": "IP packets"}


class Claim(NamedTuple):
    """Something of the host that only one element may have: `what` names it, `where` tells it apart.

    For sockets `what` is "udp" or "tcp" and `where` is (address, port), the address "" for every one. `marks`
    is what the element tells its own part of a shared thing by, such as its peers' addresses.
    """

    what: str
    where: tuple[object, ...]
    marks: frozenset[object] = frozenset()

    def beside(self, other: Claim) -> bool:
        """Whether both may hold: the same thing, and each has marks of its own to tell its part by."""
        return (
            self[:2] == other[:2] and bool(self.marks and other.marks) and self.marks.isdisjoint(other.marks)
        )


class StatusListener(Protocol):
    """What elements report to the runtime, which sets it before `open`."""

    def failed(self, element: Element, error: Exception) -> None:
        """The element has stopped working."""

    def incomplete(self, element: Element, missing: str) -> None:
        """The element works, but without something that was requested."""

    def changed(self, element: Element, up: bool, detail: str) -> None:
        """What the element leads to came up or went down."""

    def happened(self, element: Element, kind: str, detail: str, data: Mapping[str, Any]) -> None:
        """Another event that a person may want to see later; `kind` is as in `tmelink.state.Event`."""


class Element:
    """Anything that a machine file creates; a subclass is registered by module name as an entry point.

    A constructor does no I/O, so that a file can be checked without touching the host. `open` and `close`
    run on the runtime's event loop; `close` is called once for every `open`, after failure too, and
    leaves nothing of the element behind.
    """

    Arguments: ClassVar[type[Any]]
    """A dataclass of `tmelink.arguments` fields: parser, usage and reference page come from it."""

    example: ClassVar[str] = ""
    """A short machine file that uses the element, for the reference page, the help and editors."""

    commands: ClassVar[tuple[str, ...] | None] = None
    """The first words that `command` takes, so that a file can be checked; None leaves that to the run."""

    capacity: ClassVar[int | None] = 1
    """How many connections it takes; None for any number."""

    rewires: ClassVar[bool] = True
    """Whether connections may come and go while it is open; else it is closed and made anew with them."""

    platforms: ClassVar[tuple[str, ...]] = ()
    """`sys.platform` values it works on; empty for all."""

    serves_others: ClassVar[bool] = False
    """It only serves what it is connected to: alone it has nothing to do."""

    carried_by: Port | None = None
    """Of a tunnel, its connection to what carries its outer packets, if that is in the same process."""

    is_station: ClassVar[bool] = False
    """Whether what it leads to is a single machine, so that no path goes on from there."""

    takes_on_mtu: ClassVar[bool] = False
    """Whether it takes on the MTU of what it is connected to, where its `mtu` returns None.

    Any other element that does not say what it takes is taken for a machine on an Ethernet.
    """

    log_level: int = logging.NOTSET
    """The least level of what it logs, by its arguments; NOTSET leaves it to the whole program."""

    program: ClassVar[bool] = False
    """Whether it is a program, which may take its time to end: those close first, and all at once."""

    status: StatusListener | None = None

    up: bool = True
    """Whether what the element leads to can be reached, as far as it knows; `changed` keeps it."""

    def __init__(self, name: str, arguments: Any) -> None:
        self.name = name
        self.arguments = arguments
        self.ports: list[Port] = []
        self.state = State("new", time.time())
        self.log = logging.getLogger(f"tmelink.element.{name}")

    @classmethod
    def parse(cls, words: Sequence[Word], place: Place, report: Report) -> Any:
        """The arguments as a value of `Arguments`, or None after reporting every mistake in them."""
        return declaration.parse(cls.Arguments, words, place, report)

    @classmethod
    def usage(cls, module: str) -> str:
        """The element's arguments in one line, as a machine file writes them."""
        return declaration.usage(cls.Arguments, module)

    @classmethod
    def reference(cls) -> list[tuple[str, str]]:
        """A row for each argument: how it is written, what it means."""
        return declaration.reference(cls.Arguments)

    def capabilities(self) -> frozenset[str]:
        """Linux's capabilities that it needs to run and to open again, where root or a unit gives them.

        All others are given up once everything is open (capabilities(7)).
        """
        low = any(
            isinstance(port, int) and 0 < port < PRIVILEGED_PORTS
            for claim in self.claims()
            if claim.what in ("udp", "tcp")
            for port in claim.where[1:]
        )
        return frozenset(("CAP_NET_BIND_SERVICE",)) if low else frozenset()

    def claims(self) -> list[Claim]:
        """The host's resources that this element needs for itself alone."""
        return []

    def port(self, words: Sequence[Word] = ()) -> Port:
        """A new side of a connection; `words` are the arguments on its side of `at`.

        Raises `PortError` if the element takes no (further) connection or no such arguments.
        """
        if words:
            raise PortError(f"{self.name} takes no connection arguments, but got '{words[0]}'")
        if self.capacity is not None and len(self.ports) >= self.capacity:
            raise PortError(f"{self.name} is already connected")
        port = self.make_port()
        port.index = len(self.ports)
        self.ports.append(port)
        return port

    def make_port(self) -> Port:
        """The port object of a new connection; overridden for "ip" ports and for super-frames."""
        return Port(self)

    def adopt(self, port: Port, kind: Kind) -> None:
        """`port` is to be joined to one of another `kind`: an element that can be either takes it on.

        Raises `PortError` if it could, but is that on another side already.
        """

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int | None:
        """The largest IP packet, in bytes, that it takes at `port`, however that travels on; None for any.

        `outer` gives the MTUs of underlay paths in place of what is known while it runs: for a machine that
        has not started.
        """
        return None

    def mtu_changed(self, port: Port) -> None:
        """The other end of `port` takes packets of another size (`mtu`) than before."""

    def tell_mtu(self, *ports: Port) -> None:
        """Tell the other ends of `ports` that this element takes packets of another size there."""
        for port in ports:
            if port.peer is not None:
                port.peer.element.mtu_changed(port.peer)

    def stations(self, port: Port) -> frozenset[bytes]:
        """The MAC addresses that are the element's own at `port`, as far as it knows them."""
        return frozenset()

    def longest(self, port: Port) -> int | None:
        """Bytes that an IP packet may have as a super-frame to cost it least at `port`; None for any.

        A wish: longer ones are taken too.
        """
        return None

    async def open(self) -> None:
        """Open what the element needs from the host; raises `ElementError` or `OSError`."""

    async def restore(self) -> None:
        """Undo what it has changed on the host and would outlive the process; raises what could not be
        undone.

        A lab that ends calls it before it closes anything, and waits for it; `close` does it too where that
        was not done before.
        """

    async def close(self) -> None:
        """Release everything; never raises for something that was not opened."""

    def receive(self, port: Port, burst: Burst) -> None:
        """Take frames that arrived at `port`; called on the data path, must not block or raise.

        The frames are valid until it returns; one that is kept longer is copied.
        """
        port.drop("not taken", len(burst.frames))

    def receive_one(self, port: Port, frame: Frame) -> None:
        """Take a frame that comes alone; an element overrides it where that is faster than a burst.

        What it does must be what `receive` does with a burst of that frame.
        """
        self.receive(port, Burst([frame]))

    def hold(self, port: Port, held: bool) -> None:
        """The other end of `port` is full (or has room again): stop (continue) reading what is sent there."""

    def configure_network(self, port: Port, tunnel: Tunnel) -> Awaitable[None] | None:
        """The other end of `port` gives the addresses and routes of its tunnel.

        Returns None if this element does not set them on an interface of a host. Otherwise the caller awaits
        the result, which is done once they are set, or cannot be set. A later call replaces an earlier one.
        """
        return None

    def carrier(self, port: Port) -> None:
        """`port` was connected or disconnected, or what its other end leads to came up or went down."""

    def renewable(self, arguments: Any) -> bool:
        """Whether `renew` takes these arguments while it is open; else it is closed and made anew."""
        return False

    def renew(self, arguments: Any) -> None:
        """Take on arguments that are `renewable`, such as new keys; raises `ElementError`."""
        raise NotImplementedError

    async def command(self, words: Sequence[str]) -> str:
        """Carry out `command ELEMENT words…`; returns the text to print. Raises `ElementError`.

        One that is cancelled may raise `Interrupted` with what it has to say so far.
        """
        raise ElementError(f"{self.name} knows no command")

    def counters(self) -> dict[str, Counters]:
        """Counters beside those of the ports, such as a link's wire; by name."""
        return {}

    def details(self) -> Details | None:
        """What it reports beyond its state; a subclass returns its own `Details`.

        Called while frames pass, whenever somebody looks: it only gathers what is known already.
        """
        return None

    async def measure(self) -> None:
        """Measure what `details` reports and takes a moment, such as a round trip; two seconds at most."""

    def describe(self) -> Description:
        """Everything that it reports, as values: for status, metrics and whoever else looks."""
        return Description(self.state, self.details())

    def happened(self, kind: str, detail: str = "", **data: Any) -> None:
        """Note an event for whoever follows them; writes nothing to the log."""
        if self.status is not None:
            self.status.happened(self, kind, detail, data)

    def failed(self, error: Exception) -> None:
        """Tell the runtime that the element has stopped working, and its neighbours that it leads nowhere."""
        self.state = State("failed", time.time(), str(error))
        if self.status is not None:
            self.status.failed(self, error)
        if self.up:
            self.up = False
            self._tell_those_connected()

    def incomplete(self, missing: str) -> None:
        """Tell the runtime that the element works, but without `missing`, which it was asked for."""
        if self.status is not None:
            self.status.incomplete(self, missing)

    def changed(self, up: bool, detail: str = "") -> None:
        """Tell the runtime, and those connected, that what the element leads to came up or went down."""
        self.up = up
        self.state = State("up" if up else "down", time.time(), detail)
        if self.status is not None:
            self.status.changed(self, up, detail)
        self._tell_those_connected()

    def _tell_those_connected(self) -> None:
        for port in self.ports:
            if port.peer is not None:
                port.peer.element.carrier(port.peer)
