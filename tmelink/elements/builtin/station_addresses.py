"""The IP addresses that stations say are theirs: in ARP, in neighbour discovery, and in DHCP's answers.

A frame in, an address out. Nobody has to tell the truth: what is learnt is for people to read.
"""

from __future__ import annotations

from collections.abc import Container
from struct import Struct
from typing import Final

from tmelink import ethernet, ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame
from tmelink.stack import arp, icmp, ndp

LONGEST: Final = 700
"""Bytes of a frame that is looked at: DHCP's messages are the longest of those meant, some 350."""

MOST: Final = 8
"""Addresses of one station that are kept; a router has more, which nobody wants to read."""

MAC: Final = 6
"""Bytes of a MAC address."""

_TYPES: Final = (b"\x08\x06", b"\x08\x00", b"\x86\xdd", b"\x81\x00")
_SERVER, _CLIENT = 67, 68
_DHCP: Final = Struct("!BBB9x4s4s8x6s")
"""Operation, hardware, its address's length; the client's address and "yours"; the client's MAC address."""
_OPTIONS: Final = 236
_COOKIE: Final = bytes((99, 130, 83, 99))
_ACK: Final = bytes((53, 1, 5))


def said_by(frame: Frame) -> tuple[bytes, bytes] | None:
    """A station's MAC address, and the IP address that the frame says it has; None for most frames."""
    if len(frame) > LONGEST or bytes(frame[12:14]) not in _TYPES:
        return None
    try:
        header = ethernet.parse(frame)
        payload = memoryview(frame)[header.payload :]
        if header.ethertype == ethernet.ARP:
            message = arp.parse(payload)
            return None if message.sender == arp.NOBODY else (message.sender_mac, message.sender)
        if header.ethertype == ethernet.IPV6:
            return _discovered(payload, header.source)
        if header.ethertype == ethernet.IPV4:
            return _leased(payload)
    except ProtocolError:
        pass
    return None


def _discovered(payload: memoryview, source: bytes) -> tuple[bytes, bytes] | None:
    if len(payload) < ip.IPV6_HEADER + icmp.HEADER or payload[ip.NEXT_HEADER] != ip.ICMPV6:
        return None
    if payload[ip.IPV6_HEADER] not in (ndp.SOLICITATION, ndp.ADVERTISEMENT):
        return None
    packet = ip.parse_ipv6(payload)
    start = icmp.pseudo_v6(packet.source, packet.destination, len(packet.payload))
    message = ndp.parse(icmp.parse(packet.payload, start), packet)
    if isinstance(message, ndp.Advertisement):
        return message.mac or source, message.target
    return None if packet.source == ndp.UNSPECIFIED else (message.mac or source, packet.source)


def _leased(payload: memoryview) -> tuple[bytes, bytes] | None:
    """DHCP's acknowledgement, which names the client and what it is given (RFC 2131)."""
    if len(payload) < ip.IPV4_HEADER or payload[9] != ip.UDP:
        return None
    packet = ip.parse_ipv4(payload)
    if packet.is_fragment or len(packet.payload) < ip.UDP_HEADER + _OPTIONS + len(_COOKIE):
        return None
    datagram = ip.parse_udp(packet.payload, packet.source, packet.destination)
    data = datagram.payload
    if (datagram.source, datagram.destination) != (_SERVER, _CLIENT):
        return None
    operation, hardware, length, own, yours, mac = _DHCP.unpack_from(data)
    options = bytes(data[_OPTIONS : _OPTIONS + 64])
    if (operation, hardware, length) != (2, 1, 6) or not options.startswith(_COOKIE) or _ACK not in options:
        return None
    address = yours if any(yours) else own
    return (mac, address) if any(address) else None


class AddressBook:
    """Which station has which addresses. A `key` is a MAC address, with its VLAN's number behind it, if any.

    An address is at one station of a VLAN: at the one that said so last.
    """

    def __init__(self) -> None:
        self._of: dict[bytes, list[bytes]] = {}
        self._holder: dict[bytes, bytes] = {}

    def __contains__(self, key: object) -> bool:
        """Whether an address of that station is known."""
        return key in self._of

    def of(self, key: bytes) -> tuple[bytes, ...]:
        """A station's addresses, the one that was learnt last at the end."""
        return tuple(self._of.get(key, ()))

    def hear(self, frame: Frame, vlan: bytes, known: Container[bytes]) -> None:
        """Learn what a frame of a VLAN says of one of the `known` stations."""
        said = said_by(frame)
        if said is None:
            return
        key, address = said[0] + vlan, said[1]
        if key not in known or address in self._of.get(key, ()):
            return
        before = self._holder.get(address + vlan)
        if before is not None:
            self._drop(before, address)
        held = self._of.setdefault(key, [])
        if len(held) >= MOST:
            self._holder.pop(held.pop(0) + vlan, None)
        held.append(address)
        self._holder[address + vlan] = key

    def forget(self, key: bytes) -> None:
        """A station is gone."""
        for address in self._of.pop(key, ()):
            self._holder.pop(address + key[MAC:], None)

    def _drop(self, key: bytes, address: bytes) -> None:
        held = self._of[key]
        held.remove(address)
        if not held:
            del self._of[key]
