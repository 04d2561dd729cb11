"""Why datagrams do not leave or arrive: a call's errors, and the ICMP errors in a UDP socket's error queue.

Linux alone tells a socket that is not connected (ip(7), IP_RECVERR; ipv6(7), IPV6_RECVERR; struct
sock_extended_err in linux/errqueue.h). Anybody on the path can forge such a message. It is counted and shown,
and nothing else follows from it.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from typing import NamedTuple

from tmelink.transport.reply_address import Address

READS = 64
"""The most errors that are read at once, so that a flood of them does not starve other elements."""

PORT_CLOSED = "peer's port closed"
NO_ROUTE = "no route"
NETWORK_UNREACHABLE = "network unreachable"
HOST_UNREACHABLE = "host unreachable"
FIREWALL = "refused by a firewall on the path"
HOPS = "hop limit exceeded on the path"
TOO_LONG = "too long for the path"
OTHER = "undeliverable"

_IP_RECVERR, _IPV6_RECVERR = 11, 25
_MSG_ERRQUEUE = 0x2000
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
_ROOM = 512

_ICMP = {(3, 9): FIREWALL, (3, 10): FIREWALL, (3, 13): FIREWALL, (11, 0): HOPS, (11, 1): HOPS}
_ICMP6 = {(1, 0): NETWORK_UNREACHABLE, (1, 1): FIREWALL, (1, 5): FIREWALL, (1, 6): FIREWALL, (3, 0): HOPS}
"""By type and code (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3)."""

_BY_ERROR = {
    errno.ECONNREFUSED: PORT_CLOSED,
    errno.EHOSTUNREACH: HOST_UNREACHABLE,
    errno.ENETUNREACH: NETWORK_UNREACHABLE,
    errno.EMSGSIZE: TOO_LONG,
    errno.EACCES: FIREWALL,
}


LATE = frozenset(
    {
        errno.EACCES,
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.EMSGSIZE,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EPROTO,
    }
)
"""What a call may fail with because an ICMP error about an earlier datagram has come."""

_REASONS = {
    errno.EAGAIN: "socket full",
    errno.ENOBUFS: "socket full",
    errno.EMSGSIZE: TOO_LONG,
    errno.ECONNREFUSED: PORT_CLOSED,
    errno.ENETUNREACH: NO_ROUTE,
    errno.EHOSTUNREACH: HOST_UNREACHABLE,
    errno.ENETDOWN: "network down",
    errno.EPERM: "refused by a firewall rule",
}


class Undelivered(NamedTuple):
    """A datagram that did not arrive: where it was to go, and why not, by a reason from the list above."""

    address: Address
    reason: str


class ErrorQueue:
    """The error queue of one UDP socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self) -> list[Undelivered]:
        """The errors since the last read; empties the queue, and clears the socket's pending error."""
        found = []
        for _ in range(READS):
            try:
                _data, control, _flags, address = self._sock.recvmsg(0, _ROOM, _MSG_ERRQUEUE)
            except OSError:
                break
            for level, kind, data in control:
                if (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
                    reason = _reason_of(data)
                    if reason is not None:
                        found.append(Undelivered(address, reason))
        return found


def _reason_of(data: bytes) -> str | None:
    """Why, by a struct sock_extended_err; None for what `send` itself has raised already."""
    number, origin, icmp_type, icmp_code = struct.unpack_from("=IBBB", data)
    if origin == _ORIGIN_ICMP:
        named = _ICMP.get((icmp_type, icmp_code))
    elif origin == _ORIGIN_ICMP6:
        named = _ICMP6.get((icmp_type, icmp_code))
    else:
        return None
    return named or _BY_ERROR.get(number, OTHER)


def of(sock: socket.socket) -> ErrorQueue | None:
    """The error queue of a UDP socket, which receives errors from now on; None on other systems."""
    if sys.platform != "linux":
        return None
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            try:
                # For IPv4 addresses on the same socket.
                sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            except OSError:
                pass
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    except OSError:
        return None
    return ErrorQueue(sock)


def reason(error: OSError) -> str:
    """A counter's name for a socket error; from a fixed set, so that counters stay few."""
    return _REASONS.get(error.errno or 0, "socket error")
