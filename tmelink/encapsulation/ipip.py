"""IP in IPv4: an IPv4 packet as protocol 4 (RFC 2003), an IPv6 packet as protocol 41 (RFC 4213).

There is no header between the two; the outer packet's protocol gives the inner version.
"""

from __future__ import annotations

from tmelink import ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame, Kind

IPV4_IN_IP = 4
IPV6_IN_IP = 41

_PROTOCOLS = {4: IPV4_IN_IP, 6: IPV6_IN_IP}
_VERSIONS = {IPV4_IN_IP: (4, ip.IPV4_HEADER), IPV6_IN_IP: (6, ip.IPV6_HEADER)}


class IpipCodec:
    """IP in IPv4; it has no settings."""

    kind: Kind = "ip"
    protocols: tuple[int, ...] = (IPV4_IN_IP, IPV6_IN_IP)
    header = 0

    def seal(self, frame: Frame) -> tuple[int, bytes]:
        """The protocol for the packet's version, and an empty header."""
        protocol = _PROTOCOLS.get(frame[0] >> 4 if len(frame) else 0)
        if protocol is None:
            raise ProtocolError("not IP")
        return protocol, b""

    def open(self, protocol: int, payload: memoryview) -> memoryview:
        """The payload itself, if its version matches the protocol."""
        version, least = _VERSIONS[protocol]
        if len(payload) < least or payload[0] >> 4 != version:
            raise ProtocolError("IP in IP: not the version that its protocol says")
        return payload
