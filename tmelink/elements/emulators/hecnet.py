"""`tmelink/hecnet`: HECnet's bridge, with many peers on one UDP port and the protocols that each takes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from logging import Logger
from time import monotonic

from tmelink import arguments as declaration
from tmelink import frame
from tmelink.arguments import ArgumentError, flag, keyword
from tmelink.element import Claim, Element, Port
from tmelink.elements.emulators.cable import Endpoint
from tmelink.errors import PortError
from tmelink.frame import Burst, Counters, Frame, Run, pieces
from tmelink.source import Mistake, Place, Source, Word
from tmelink.transport import endpoints, sockets
from tmelink.transport.datagrams import Address, Datagrams
from tmelink.transport.endpoints import Inet

PASSIVE_SECONDS = 180.0
"""After this long without a word from a passive peer, nothing is sent to it."""

RESOLVE_SECONDS = 3600.0
"""Between two look-ups of a peer's name: houses have addresses that change."""

RETRY_SECONDS = 30.0
"""Before a name that did not resolve is looked up again."""

ETHERIP = b"\x30\x00"
"""What older copies of the bridge put before each frame: EtherIP's header (RFC 3378)."""

DECNET = frozenset((0x6003,))
LAT = frozenset((0x6004, 0x6001, 0x6002, 0x9000))
"""LAT, and what goes with it in the bridge: MOP's dump/load and remote console, and the loopback protocol."""

IPX = frozenset((0x8137,))
_IPX_RAW = b"\xff\xff"
"""The checksum with which IPX follows a length directly (Novell's "802.3 raw")."""

_ETHERTYPE = struct.Struct("!H")


@dataclass(frozen=True)
class HecnetPeer:
    """A connection's peer: where it is, and which protocols pass, both ways."""

    peer: Inet = keyword("HOST:PORT", endpoints.inet, help="the other bridge")
    decnet: bool = flag(help="DECnet passes")
    lat: bool = flag(help="LAT, MOP and the loopback protocol pass")
    ipx: bool = flag(help="IPX passes")
    passive: bool = flag(help="send nothing unless it was heard in the last three minutes")
    header: bool = flag(help="put EtherIP's header before what is sent, as older bridges do")

    def __post_init__(self) -> None:
        if not (self.decnet or self.lat or self.ipx):
            raise ArgumentError("peer", "nothing would pass: add 'decnet', 'lat' or 'ipx'")

    def passes(self, each: Frame, at: int = 0) -> bool:
        """Whether the frame that begins at `at` has one of the protocols."""
        if len(each) < at + frame.MIN_FRAME:
            return False
        (kind,) = _ETHERTYPE.unpack_from(each, at + 12)
        if (self.decnet and kind in DECNET) or (self.lat and kind in LAT):
            return True
        return self.ipx and (kind in IPX or (kind <= 1500 and each[at + 14 : at + 16] == _IPX_RAW))


class Hecnet(Element):
    """HECnet's bridge: bare frames in UDP, with many peers on one port; each connection is a peer.

    `hub peer "HOST:PORT" decnet lat at sw0` names the other bridge, and the protocols that pass in both
    directions. The element recognises a peer by its address; NAT may change its port. A switch between the
    connections learns which peer a station is behind. The element accepts frames with and without EtherIP's
    header. `tmelink import bridge.conf` converts a bridge's file. The format has no security, so use links
    between your own houses.
    """

    example = """\
sw0: tmelink/switch
hecnet: tmelink/hecnet local 4711
hecnet peer "192.0.2.5:4711" decnet lat at sw0
hecnet peer "192.0.2.6:4711" decnet passive at sw0
"""

    @dataclass(frozen=True)
    class Arguments:
        """This end."""

        local: Inet = keyword("[ADDR:]PORT", endpoints.local, help="where frames of all peers arrive")

    arguments: Arguments
    capacity = None
    rewires = False

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._peers: list[_Peer] = []
        self._datagrams: Datagrams | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._sent, self._received = Counters(), Counters()

    @classmethod
    def reference(cls) -> list[tuple[str, str]]:
        """The element's arguments, and those of a connection."""
        own = super().reference()
        return own + [(f"… {how} at …", what) for how, what in declaration.reference(HecnetPeer)]

    def claims(self) -> list[Claim]:
        """The local address and port."""
        local = self.arguments.local
        return [Claim("udp", (local.host or "", local.port))]

    def port(self, words: Sequence[Word] = ()) -> Port:
        """A peer, which `words` describe; raises `PortError`."""
        mistakes: list[Mistake] = []
        place = words[0].place if words else Place(Source("", ""), 1, 1)
        given = declaration.parse(HecnetPeer, words, place, mistakes.append)
        if given is None:
            raise PortError("; ".join(mistake.message for mistake in mistakes))
        port = super().port()
        peer = _Peer(self, given, self.log)
        peer.endpoint.port = port
        peer.endpoint.sent, peer.endpoint.received = self._sent, self._received
        self._peers.append(peer)
        return port

    def make_port(self) -> Port:
        """A port that takes super-frames: the endpoint cuts them."""
        return Port(self, offload=True)

    def counters(self) -> dict[str, Counters]:
        """Frames of all peers that crossed the wire, and those dropped there."""
        return {"wire sent": self._sent, "wire received": self._received}

    async def open(self) -> None:
        """Bind the socket, and begin to look for the peers; raises `ElementError`."""
        local = self.arguments.local
        sock = sockets.make_socket(
            socket.AF_INET,
            socket.SOCK_DGRAM,
            sockets.SocketOptions(receive_buffer=sockets.RECEIVE_BUFFER),
            (local.host or "0.0.0.0", local.port),
            sockets.Words("'local'", "the address after 'local'"),
        )
        self._datagrams = Datagrams(
            sock, self._arrived, self._hold_all, self.log, self._sent, self._received, segment=False
        )
        for peer in self._peers:
            peer.datagrams = self._datagrams
            peer.endpoint.carrier = peer
            self._tasks.append(asyncio.get_running_loop().create_task(peer.keep_resolving()))

    async def close(self) -> None:
        """Close the socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for peer in self._peers:
            peer.endpoint.carrier = None
        if self._datagrams is not None:
            self._datagrams.close()

    def receive(self, port: Port, burst: Burst) -> None:
        """Frames for the peer of a connection."""
        self._peers[port.index].endpoint.take(port, burst)

    def _hold_all(self, held: bool) -> None:
        for peer in self._peers:
            peer.endpoint.hold_machine(held)

    def _arrived(self, items: list[Frame | Run], address: Address) -> None:
        peer = self._peer_at(address)
        if peer is None:
            self._received.drops["not a peer"] += frame.count(items)
        else:
            peer.arrived(pieces(items), address)

    def _peer_at(self, address: Address) -> _Peer | None:
        """The peer of that address and port, or else the only one of that address."""
        same = [peer for peer in self._peers if peer.address is not None and peer.address[0] == address[0]]
        exact = [peer for peer in same if peer.address == address]
        if exact:
            return exact[0]
        return same[0] if len(same) == 1 else None


class _Peer:
    """Another bridge: carries the frames of one connection."""

    def __init__(self, element: Hecnet, given: HecnetPeer, log: Logger) -> None:
        self.endpoint = Endpoint()
        self.address: Address | None = None
        self.datagrams: Datagrams | None = None
        self._element = element
        self._given = given
        self._log = log
        self._named: Address | None = None
        self._heard: float | None = None

    def send(self, items: Sequence[Frame | Run]) -> None:
        """Send what this peer accepts, while it is present."""
        frames = pieces(items)
        drops = self.endpoint.sent.drops
        silent = self._heard is None or monotonic() - self._heard > PASSIVE_SECONDS
        if self.address is None or self.datagrams is None:
            drops["no peer yet"] += len(frames)
        elif self._given.passive and silent:
            drops["passive peer is silent"] += len(frames)
        else:
            chosen = [each for each in frames if self._given.passes(each)]
            drops["protocol not for the peer"] += len(frames) - len(chosen)
            if self._given.header:
                chosen = [ETHERIP + each for each in chosen]
            if chosen:
                self.datagrams.send(chosen, self.address)

    def pause(self, paused: bool) -> None:
        """Do nothing: a peer over UDP does not notice."""

    def arrived(self, frames: Sequence[Frame], address: Address) -> None:
        """Frames from this peer, which may have another port than it is known by."""
        passes = self._given.passes
        chosen: list[Frame] = []
        for each in frames:
            if passes(each):
                chosen.append(each)
            elif each[:2] == ETHERIP and passes(each, 2):
                chosen.append(each[2:])
        self.endpoint.received.drops["protocol not for the peer"] += len(frames) - len(chosen)
        if not chosen:
            return
        if self._heard is None or address != self.address:
            self._element.changed(True, sockets.show(address))
        self._heard = monotonic()
        self.address = address
        self.endpoint.deliver(chosen)

    async def keep_resolving(self) -> None:
        """Look the peer's name up, now and then; what was heard from another port of it stays."""
        where = self._given.peer
        assert where.host is not None, "a peer has a host"
        while True:
            pause = RESOLVE_SECONDS
            try:
                found = await sockets.resolve(where.host, where.port, socket.SOCK_DGRAM, socket.AF_INET)
            except OSError as error:
                self._log.warning("%s: %s", where.host, error.strerror or error)
                pause = RETRY_SECONDS
            else:
                if found[0][1] != self._named:
                    self._named = self.address = found[0][1]
            if sockets.literal_family(where.host) is not None:
                return
            await asyncio.sleep(pause)
