"""What a link has outside as pcapng: its datagrams, with IP and UDP headers by the link's options.

The headers are made here, since the kernel keeps those that were on the wire; a link over TCP is shown as
datagrams too, without the lengths between them. Knows links, and nothing of who reads.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

from tmelink.elements.openvpn.link import Link
from tmelink.frame import Frame, pieces
from tmelink.inline import pcapng
from tmelink.ip import UDP, build_ipv4, build_ipv6, build_udp
from tmelink.openvpn.session import Item

OPENVPN_PORT = 1194
"""The port of an end that has none of its own (--nobind), so that a dissector knows the protocol by it."""

_UNKNOWN = ipaddress.ip_address("0.0.0.0")


class WireCapture:
    """Captures what one link sends and receives; `write` gets blocks, and how many datagrams are in them."""

    def __init__(self, link: Link, snaplen: int, write: Callable[[bytes, Sequence[int]], None]) -> None:
        self._link = link
        self._snaplen = snaplen
        self._write = write
        self._stop: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Write the headers, and see datagrams from now on."""
        name = f"{self._link.name}:wire"
        text = f"{self._link.name} outside"
        head = pcapng.section(f"tmelink {version('tmelink')}")
        self._write(head + pcapng.interface("ip", name, text, self._snaplen), [0])
        self._stop = self._link.watch_wire(self._seen)

    def close(self) -> None:
        """See no more."""
        stop, self._stop = self._stop, lambda: None
        stop()

    def _seen(self, items: Sequence[Item], sent: bool) -> None:
        now, direction = time.time_ns(), pcapng_direction(sent)
        single = pieces(items)
        blocks = [
            pcapng.packet(0, now, self._packet(each, sent), self._snaplen, direction) for each in single
        ]
        self._write(b"".join(blocks), [len(single)])

    def _packet(self, datagram: Frame, sent: bool) -> bytes:
        options, peer = self._link.arguments, self._link.peer
        where = None if peer is None else peer.where
        if where is None and options.remotes:  # not yet heard
            where = f"{options.remotes[0].host}:{options.remotes[0].port}"
        host, _, port = (where or "").rpartition(":")
        remote = _address(host.strip("[]"))
        local = _address(options.local or "")
        if remote.version != local.version:
            local = ipaddress.ip_address("::") if remote.version == 6 else _UNKNOWN
        own = options.lport if options.bind and options.lport else OPENVPN_PORT
        ends = [(local.packed, own), (remote.packed, int(port or OPENVPN_PORT))]
        source, destination = ends if sent else reversed(ends)
        payload = build_udp(*source, *destination, bytes(datagram))
        build = build_ipv6 if remote.version == 6 else build_ipv4
        return build(source[0], destination[0], UDP, payload)


def pcapng_direction(sent: bool) -> pcapng.PacketDirection:
    """The direction as the file has it."""
    return "out" if sent else "in"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return _UNKNOWN
