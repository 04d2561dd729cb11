"""Datagrams through a SOCKS5 proxy's relay: each one after a header with its destination or source.

Has the interface of `tmelink.transport.datagrams.Datagrams`. The relay lives as long as the TCP connection
that asked for it (RFC 1928, section 6), so that connection is watched, and its end reported.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from tmelink import frame
from tmelink.frame import Counters, Frame, Run
from tmelink.transport import socks
from tmelink.transport.datagrams import Address, Datagrams, Receive


class Relayed:
    """A UDP socket whose peer is the relay at `relay`; `control` is the connection that keeps it open.

    `ended(reason)` is called once when the proxy ends the relay. The counters count the headers too, as they
    are on the wire; the other arguments are those of `Datagrams`.
    """

    def __init__(
        self,
        sock: socket.socket,
        control: socket.socket,
        relay: Address,
        receive: Receive,
        ended: Callable[[str], None],
        hold: Callable[[bool], None],
        log: logging.Logger,
        sent: Counters,
        received: Counters,
        *,
        segment: bool = True,
        gro: bool = True,
    ) -> None:
        self._control = control
        self._relay = relay
        self._receive = receive
        self._ended = ended
        self._received = received
        self._heading: tuple[Address, bytes] | None = None
        self._loop = asyncio.get_running_loop()
        self._datagrams = Datagrams(sock, self._arrived, hold, log, sent, received, segment=segment, gro=gro)
        self._loop.add_reader(control.fileno(), self._watch_control)

    def close(self) -> None:
        """Close the socket and the relay."""
        self._datagrams.close()
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()

    def send(self, items: Sequence[Frame | Run], address: Address) -> None:
        """Send each item to `address` through the relay; a run stays a run of longer pieces."""
        if self._heading is None or self._heading[0] != address:
            self._heading = (address, socks.header(address))
        header = self._heading[1]
        headed: list[Frame | Run] = []
        for item in items:
            if isinstance(item, Run):
                parts = [part for piece in item.pieces() for part in (header, piece)]
                headed.append(Run(memoryview(b"".join(parts)), len(header) + item.size))
            else:
                headed.append(b"".join((header, item)))
        self._datagrams.send(headed, self._relay)

    def _arrived(self, items: list[Frame | Run], address: Address) -> None:
        if address[:2] != self._relay[:2]:
            self._received.drops["not from the proxy"] += frame.count(items)
            return
        found: list[Frame | Run] = []
        sender: Address | None = None
        for item in items:
            for bare, where in _unwrapped(item):
                if where is None:
                    self._received.drops["not a relayed datagram"] += 1
                    continue
                if where != sender and sender is not None and found:
                    self._receive(found, sender)
                    found = []
                sender = where
                found.append(bare)
        if sender is not None and found:
            self._receive(found, sender)

    def _watch_control(self) -> None:
        try:
            # The proxy is not expected to send anything here; what it sends is ignored.
            if self._control.recv(4096):
                return
            reason = "the proxy closed its connection"
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            reason = f"the connection to the proxy is lost: {error.strerror or error}"
        self._loop.remove_reader(self._control.fileno())
        self._ended(reason)


def _unwrapped(item: Frame | Run) -> list[tuple[Frame | Run, Address | None]]:
    """The payload after the header, and its source address; None as address without a valid header."""
    pieces = item.pieces() if isinstance(item, Run) else [memoryview(item)]
    first = socks.unwrap(pieces[0])
    if first is not None and isinstance(item, Run):
        length = item.size - len(first[0])
        header = bytes(pieces[0][:length])
        if all(piece[:length] == header for piece in pieces):
            # One sender, as nearly always: joined again without the headers, the run stays a run.
            data = memoryview(b"".join([piece[length:] for piece in pieces]))
            return [(Run(data, item.size - length), first[1])]
    found: list[tuple[Frame | Run, Address | None]] = []
    for piece in pieces:
        bare = socks.unwrap(piece)
        found.append((piece, None) if bare is None else bare)
    return found
