"""Which of a host's own addresses answers a peer: the one that the peer has sent to (`man 7 ip`, IP_PKTINFO).

For UDP sockets that are bound to no address. Left to itself the kernel sends from the address that its routes
prefer, and a peer that sends to another address of the host takes no answer from that one.
"""

from __future__ import annotations

import errno
import socket
import sys
from time import monotonic
from typing import Any

Address = tuple[Any, ...]
"""A socket address as the socket module gives it: (host, port) or (host, port, flow, scope)."""

AncillaryItem = tuple[int, int, bytes]
"""Level, type and data, as `socket.sendmsg` takes them."""

PEERS = 4096
"""Peers whose address here is known at once; the one that was heard first makes room."""

RECHECK_SECONDS = 10.0
"""A peer that has been silent so long is looked at again: the host may have moved to another network."""

_IP_PKTINFO = 8
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50  # linux/in6.h
_REFUSALS = (errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENODEV)
"""What the kernel says of an address that is the host's no more, or that no route may have."""


class ReplyAddresses:
    """The addresses that peers of one socket have sent to."""

    def __init__(self, sock: socket.socket) -> None:
        self._ipv6 = sock.family == socket.AF_INET6
        self._known: dict[Address, _KnownPeer] = {}
        if self._ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def heard(self, peer: Address, item: AncillaryItem) -> None:
        """A datagram of `peer`'s came, and the kernel says to which address; anything else is passed over."""
        known = self._known.get(peer)
        if known is not None and known.told == item[2]:
            known.heard_at = monotonic()
            return
        answer = self._answer(item)
        if answer is None:
            return
        self._known.pop(peer, None)
        while len(self._known) >= PEERS:
            del self._known[next(iter(self._known))]
        self._known[peer] = _KnownPeer(item[2], answer, monotonic())

    def towards(self, peer: Address) -> list[AncillaryItem]:
        """What `socket.sendmsg` needs beside a datagram for `peer`; empty if the kernel may choose."""
        known = self._known.get(peer)
        if known is None:
            return []
        if known.preferred is None:
            # Not before something is sent there: whoever sends here with forged addresses costs little.
            known.preferred = _preferred(peer)
        elif monotonic() > known.heard_at + RECHECK_SECONDS:
            known.heard_at = monotonic()
            if _preferred(peer) != known.preferred:
                # The host's routes have changed, and the peer's answers may be lost with the old address.
                del self._known[peer]
                return []
        return [known.answer]

    def refused(self, peer: Address, error: OSError) -> bool:
        """Whether to send again without the address: it has been taken from the host."""
        return error.errno in _REFUSALS and self._known.pop(peer, None) is not None

    def _answer(self, item: AncillaryItem) -> AncillaryItem | None:
        level, kind, data = item
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) == 12:
            # struct in_pktinfo: interface, the address to answer from, the packet's destination. The routes
            # choose the interface.
            return level, kind, bytes(4) + data[4:8] + bytes(4)
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO and len(data) == 20:
            if data[0] == 0xFF:
                return None  # a group's address
            link_local = data[0] == 0xFE and data[1] & 0xC0 == 0x80
            return level, kind, data[:16] + (data[16:] if link_local else bytes(4))
        return None


class _KnownPeer:
    __slots__ = ("answer", "heard_at", "preferred", "told")

    def __init__(self, told: bytes, answer: AncillaryItem, heard_at: float) -> None:
        self.told = told
        self.answer = answer
        self.preferred: str | None = None
        self.heard_at = heard_at


def of(sock: socket.socket) -> ReplyAddresses | None:
    """For a UDP socket that is bound to no address; None for every other, and on other systems."""
    if sys.platform != "linux" or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if sock.getsockname()[0] not in ("0.0.0.0", "::"):
        return None
    try:
        return ReplyAddresses(sock)
    except OSError:
        return None


def _preferred(peer: Address) -> str:
    """The address that the kernel would choose now; empty if there is no route."""
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(peer)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
