"""Frames in a UDP multicast group, on any number of this computer's networks.

Whoever is in the group hears everybody. A frame that comes by several networks, or from a sender that is on
several, is handed on once. Nothing proves who sends.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from logging import Logger
from time import monotonic

from tmelink import frame
from tmelink.elements.emulators.cable import Endpoint, Items, as_it_is
from tmelink.errors import ElementError
from tmelink.frame import Counters, Frame, Run, pieces
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address, Datagrams
from tmelink.transport.endpoints import Inet

COPY_SECONDS = 0.5
"""Within this time the same frame by another path is a copy: networks of one group are as near as that."""

REMEMBERED = 512
"""The most frames that are remembered to know copies by: those of `COPY_SECONDS` on a busy old network."""

_IP_MULTICAST_ALL = 49  # linux/in.h


class GroupCarrier:
    """Carries an endpoint's frames in `group`, on the networks where this computer has `addresses`.

    Without `addresses` the system's routes say which network. `broadcast` is an address by which programs on
    this computer are reached; without one the first network's own loop of multicast is. `seal` and `open`
    turn frames into datagrams and back; `open` leaves out, and counts, what is not a frame of this group.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        log: Logger,
        group: Inet,
        addresses: Sequence[str],
        *,
        broadcast: str | None = None,
        seal: Callable[[Items], Items] = as_it_is,
        open: Callable[[Items], Items] = as_it_is,
    ) -> None:
        assert group.host is not None, "a group has an address"
        self._endpoint = endpoint
        self._log = log
        self._group = (group.host, group.port)
        self._addresses = list(addresses)
        self._broadcast = broadcast
        self._seal = seal
        self._open = open
        self._sending: list[tuple[Datagrams, Address]] = []
        self._sockets: list[Datagrams] = []
        self._own: set[Address] = set()
        self._stray = Counters()
        self._copies = _Copies()
        self._several = False

    async def open(self) -> None:
        """Join the group on each network; raises `ElementError`."""
        try:
            for number, own in enumerate(self._addresses or self._routed()):
                loops = number == 0 and self._broadcast is None
                self._hear(own, number)
                self._send_from(own, self._group, loops=loops)
            if self._broadcast is not None:
                if not self._sockets:
                    self._hear(None, 0)
                self._send_from("127.0.0.1", (self._broadcast, self._group[1]), loops=False)
        except OSError as error:
            await self.close()
            where = ":".join(map(str, self._group))
            raise ElementError(
                f"{where}: {error.strerror}; 'local ADDR' chooses the network to use"
            ) from error
        self._several = len(self._sockets) > 2
        self._endpoint.carrier = self

    async def close(self) -> None:
        """Leave the group."""
        self._endpoint.carrier = None
        for datagrams in self._sockets:
            datagrams.close()
        self._sockets.clear()
        self._sending.clear()

    def send(self, items: Items) -> None:
        """Send to the group, once on each network."""
        items = self._seal(items)
        if not items:
            return
        for datagrams, address in self._sending:
            datagrams.send(items, address)

    def pause(self, paused: bool) -> None:
        """Do nothing: a group does not notice."""

    def _routed(self) -> list[str]:
        """The address that the system would send to the group from; none where only this computer counts."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(self._group)
            except OSError:
                if self._broadcast is None:
                    raise
                return []
            return [str(probe.getsockname()[0])]

    def _hear(self, own: str | None, number: int) -> None:
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, sockets.RECEIVE_BUFFER)
            if self._broadcast is not None and hasattr(socket, "SO_REUSEPORT"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("0.0.0.0" if self._broadcast is not None else self._group[0], self._group[1]))
            if sys.platform == "linux":
                # Otherwise the kernel delivers what any socket of this computer has joined, whatever it is.
                sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            if own is not None:
                member = socket.inet_aton(self._group[0]) + socket.inet_aton(own)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            stack.pop_all()
        endpoint = self._endpoint
        self._sockets.append(
            Datagrams(
                sock,
                partial(self._arrived, number),
                endpoint.hold_machine,
                self._log,
                Counters(),
                endpoint.received,
            )
        )

    def _send_from(self, own: str, to: Address, *, loops: bool) -> None:
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            # Others on this computer are to hear once; what comes back is known by this socket's own port.
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, loops)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind((own, 0))
            stack.pop_all()
        # Frames are counted as sent where they are sent first.
        endpoint = self._endpoint
        counted = endpoint.sent if not self._sending else Counters()
        datagrams = Datagrams(
            sock, self._strayed, endpoint.hold_machine, self._log, counted, self._stray, segment=False
        )
        self._sockets.append(datagrams)
        self._sending.append((datagrams, to))
        self._own.add(datagrams.local)

    def _arrived(self, number: int, items: list[Frame | Run], address: Address) -> None:
        received = self._endpoint.received
        if address in self._own:
            received.frames -= frame.count(items)
            received.bytes -= frame.size(items)
            return
        opened = self._open(items)
        if self._several:
            frames = pieces(opened)
            opened = self._copies.without(frames, (number, address))
            received.drops["copy"] += len(frames) - len(opened)
        if opened:
            self._endpoint.deliver(opened)

    def _strayed(self, items: list[Frame | Run], address: Address) -> None:
        """Whether a datagram was sent to this socket instead of to the group."""
        self._endpoint.received.drops["not to the group"] += frame.count(items)


class _Copies:
    """Knows a frame that has come by another path lately."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[object, float]] = {}

    def without(self, frames: Sequence[Frame], path: object) -> list[Frame]:
        """The frames that have not come by another path than this one."""
        now, seen, fresh = monotonic(), self._seen, []
        for each in frames:
            key = bytes(each)
            first, at = seen.pop(key, (path, now))
            if first != path and now - at < COPY_SECONDS:
                seen[key] = (first, at)
                continue
            fresh.append(each)
            seen[key] = (path, now)
            if len(seen) > REMEMBERED:
                del seen[next(iter(seen))]
        return fresh
