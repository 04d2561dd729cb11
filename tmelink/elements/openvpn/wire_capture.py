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
from tmelink.inline.capture import CaptureOptions
from tmelink.inline.pcap_filter import PcapFilter
from tmelink.ip import UDP, build_ipv4, build_ipv6, build_udp
from tmelink.openvpn.session import Item

OPENVPN_PORT = 1194
"""The port of an end that has none of its own (--nobind), so that a dissector knows the protocol by it."""

_UNKNOWN = ipaddress.ip_address("0.0.0.0")


class WireCapture:
    """Captures what one link sends and receives; `write` gets blocks, and how many datagrams are in them.

    `ended` is called when `count` datagrams have been captured. Raises `ValueError` for a wrong expression.
    """

    def __init__(
        self,
        link: Link,
        options: CaptureOptions,
        write: Callable[[bytes, Sequence[int]], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._link = link
        self._options = options
        self._write = write
        self._ended = ended
        self._left = options.count or None
        self._filter = PcapFilter(options.expression, "ip") if options.expression else None
        self._stop: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Write the headers, and see datagrams from now on."""
        name = f"{self._link.name}:wire"
        text = f"{self._link.name} outside"
        options, comment = self._options, self._link.details().summary
        head = pcapng.section(f"tmelink {version('tmelink')}")
        head += pcapng.interface("ip", name, text, options.snaplen, options.expression, comment)
        self._write(head, [0])
        self._stop = self._link.watch_wire(self._seen)

    def close(self) -> None:
        """See no more."""
        stop, self._stop = self._stop, lambda: None
        stop()

    def _seen(self, items: Sequence[Item], sent: bool) -> None:
        now, direction = time.time_ns(), pcapng_direction(sent)
        if self._options.direction not in (direction, "both"):
            return
        packets = [self._packet(each, sent) for each in pieces(items)]
        if self._filter is not None:
            packets = [packet for packet in packets if self._filter.matches(packet)]
        packets = packets[: self._left]
        if not packets:
            return
        blocks = [pcapng.packet(0, now, packet, self._options.snaplen, direction) for packet in packets]
        self._write(b"".join(blocks), [len(packets)])
        if self._left is not None:
            self._left -= len(packets)
            if not self._left:
                self.close()
                self._ended()

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
