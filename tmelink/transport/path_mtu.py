"""The MTU of the underlay path to an address, as the kernel knows it.

That of the interface, or of the route where that has one, or what a router on the path has asked for
(RFC 1191, RFC 8201). Nothing is sent. Linux only; elsewhere nothing is known.
"""

from __future__ import annotations

import socket
import sys

_IP_MTU = 14
_IPV6_MTU = 24


def path_mtu(remote: str, local: str | None = None) -> int | None:
    """Bytes of the largest IP packet to `remote`, from the address `local`; None if that is not known.

    Both are literal addresses.
    """
    if sys.platform != "linux":
        return None
    six = ":" in remote
    try:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            if local is not None:
                probe.bind((local, 0))
            # The port does not matter.
            probe.connect((remote, 9))
            if six:
                return probe.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
            return probe.getsockopt(socket.IPPROTO_IP, _IP_MTU)
    except OSError:
        return None
