"""`tmelink/rendezvous`: joins links whose two ends can call this computer, and not each other.

The socket around `tmelink.transport.rendezvous`. Frames of the links stay encrypted here.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tmelink import frame
from tmelink.arguments import ArgumentError, keyword, keywords
from tmelink.element import Claim, Element
from tmelink.errors import ElementError
from tmelink.frame import Counters, Frame, Run, pieces
from tmelink.state import Details
from tmelink.system import credentials
from tmelink.timers import DeadlineTimer
from tmelink.transport import endpoints, rendezvous, sockets
from tmelink.transport.datagrams import Address, Datagrams
from tmelink.transport.endpoints import Inet
from tmelink.transport.rendezvous import Registrations
from tmelink.transport.stun import LARGEST_FIRST_BYTE, starts_message


@dataclass(frozen=True, slots=True)
class RendezvousDetails(Details):
    """How many links may meet here, and how many have both ends here now."""

    links: int
    joined: int

    @property
    def summary(self) -> str:
        """How many are joined."""
        return f"{self.joined} of {self.links} links joined"


class Rendezvous(Element):
    """A meeting point for links that cannot call each other, with `--rendezvous FILE` at both ends.

    It tells each end the other's address, so that both can try a direct path. If there is none, it carries
    the datagrams, without the keys to open them.
    """

    capacity = 0
    example = """\
# On a computer that both ends can call. Make the key with: openssl rand -hex 32 > meeting.key
meeting0: tmelink/rendezvous key meeting.key
"""

    @dataclass(frozen=True)
    class Arguments:
        """Where ends call, and the keys of their links."""

        local: Inet = keyword(
            "[ADDR:]PORT",
            endpoints.local,
            default=Inet(None, rendezvous.PORT),
            help=f"the UDP port that the ends call ({rendezvous.PORT})",
        )
        key: tuple[str, ...] = keywords(
            "FILE", str, help="the key of a link, the same file as in its --rendezvous; once for each link"
        )

        def __post_init__(self) -> None:
            if not self.key:
                raise ArgumentError("key", "missing argument: key FILE, once for each link")

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self.sent = Counters()
        self.received = Counters()
        self._registrations = Registrations([])
        self._datagrams: Datagrams | None = None
        self._timer = DeadlineTimer(self._tick)

    def claims(self) -> list[Claim]:
        """The local address and port."""
        local = self.arguments.local
        return [Claim("udp", (local.host or "", local.port))]

    async def open(self) -> None:
        """Read the keys and bind the socket; raises `ElementError`."""
        self._registrations = Registrations(map(_key, self.arguments.key))
        local = self.arguments.local
        family = sockets.literal_family(local.host or "") or socket.AF_INET
        options = sockets.SocketOptions(receive_buffer=sockets.RECEIVE_BUFFER)
        here = (local.host or "0.0.0.0", local.port)
        sock = sockets.make_socket(
            family, socket.SOCK_DGRAM, options, here, sockets.Words("'local'", "the address after 'local'")
        )
        self._datagrams = Datagrams(sock, self._arrived, self._full, self.log, self.sent, self.received)
        self._datagrams.receive_one = self._arrived_one

    def renewable(self, arguments: Arguments) -> bool:
        """Other keys alone."""
        return self._datagrams is not None and arguments.local == self.arguments.local

    def renew(self, arguments: Arguments) -> None:
        """Read the keys; raises `ElementError`."""
        self._registrations.renew([_key(file) for file in arguments.key])
        self.arguments = arguments

    async def close(self) -> None:
        """Close the socket."""
        self._timer.cancel()
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None

    def counters(self) -> dict[str, Counters]:
        """Datagrams that came and went."""
        received = Counters(self.received.frames, self.received.bytes, Counter(self.received.drops))
        received.drops.update(self._registrations.drops)
        return {"wire sent": self.sent, "wire received": received}

    def details(self) -> RendezvousDetails:
        """How many links are joined."""
        known = self._registrations
        return RendezvousDetails(known.links, len(known.joined) // 2)

    def _full(self, held: bool) -> None:
        """The socket's buffer is full: what comes is dropped and counted, as on any router."""

    def _arrived(self, items: list[Frame | Run], address: Address) -> None:
        if any(map(starts_message, items)):
            for datagram in pieces(items):
                self._arrived_one(datagram, address)
            return
        assert self._datagrams is not None, "datagrams come while it is open"
        other = self._registrations.joined.get(address)
        if other is not None:
            self._datagrams.send(items, other)
        else:
            self._drop(address, frame.count(items))

    def _arrived_one(self, datagram: Frame, address: Address) -> None:
        assert self._datagrams is not None, "datagrams come while it is open"
        if len(datagram) and datagram[0] <= LARGEST_FIRST_BYTE:
            now = asyncio.get_running_loop().time()
            for message, where in self._registrations.receive(datagram, address, now):
                self._datagrams.send([message], where)
            self._timer.arm(self._registrations.deadline())
            return
        other = self._registrations.joined.get(address)
        if other is not None:
            self._datagrams.send([datagram], other)
        else:
            self._drop(address, 1)

    def _drop(self, address: Address, count: int) -> None:
        reason = "other end not registered" if self._registrations.knows(address) else "not registered"
        self.received.drops[reason] += count

    def _tick(self) -> None:
        self._registrations.tick(asyncio.get_running_loop().time())
        self._timer.arm(self._registrations.deadline())


def _key(file: str) -> bytes:
    try:
        return rendezvous.read_key(credentials.of(Path(file)).read_bytes())
    except OSError as error:
        raise ElementError(f"key {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise ElementError(f"key {file}: {error}") from error
