"""Neighbour discovery messages (RFC 4861): solicitations and advertisements, read and built.

Pure; what to do with them is `ipv6`'s business. Routers' messages are not read here: a host's gateway is
given, not discovered.
"""

from __future__ import annotations

from typing import NamedTuple

from tmelink import ip
from tmelink.errors import ProtocolError
from tmelink.frame import Frame
from tmelink.stack import icmp

SOLICITATION = 135
ADVERTISEMENT = 136

HOP_LIMIT = 255
"""The hop limit that every message must have on arrival, which proves that no router forwarded it."""

UNSPECIFIED = bytes(16)
ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")

_SOURCE_LINK_LAYER = 1
_TARGET_LINK_LAYER = 2

_SOLICITED = 0x4000
_OVERRIDE = 0x2000


class Solicitation(NamedTuple):
    """A solicitation for `target`; `mac` is the sender's, where the message gives it."""

    target: bytes
    mac: bytes | None


class Advertisement(NamedTuple):
    """An advertisement that `target` is at `mac`, where the message gives that."""

    target: bytes
    mac: bytes | None
    solicited: bool
    override: bool


def solicited_node(address: bytes) -> bytes:
    """The solicited-node multicast group of `address` (RFC 4291 section 2.7.1)."""
    return _SOLICITED_NODE + address[13:]


def link_local(mac: bytes) -> bytes:
    """The link-local address made from a MAC address (RFC 4291 appendix A, RFC 2464 section 5)."""
    return b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def parse(message: icmp.Icmp, packet: ip.IPv6) -> Solicitation | Advertisement:
    """The solicitation or advertisement in `message`, checked as in RFC 4861 sections 7.1.1 and 7.1.2."""
    if packet.hop_limit != HOP_LIMIT or message.code != 0:
        raise ProtocolError("ND: from beyond the link")
    if len(message.data) < 16:
        raise ProtocolError("ND: short message")
    target = bytes(message.data[:16])
    if target[0] == 0xFF:
        raise ProtocolError("ND: multicast target")
    options = _options(message.data[16:])
    if message.type == SOLICITATION:
        mac = options.get(_SOURCE_LINK_LAYER)
        if packet.source == UNSPECIFIED and (mac is not None or packet.destination != solicited_node(target)):
            raise ProtocolError("ND: bad probe")
        return Solicitation(target, mac)
    solicited = bool(message.first & _SOLICITED)
    if solicited and packet.destination[0] == 0xFF:
        raise ProtocolError("ND: solicited advertisement to a group")
    override = bool(message.first & _OVERRIDE)
    return Advertisement(target, options.get(_TARGET_LINK_LAYER), solicited, override)


def _options(data: memoryview) -> dict[int, bytes]:
    """The link-layer address options by type; others are skipped."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        size = data[at + 1] * 8 if at + 1 < len(data) else 0
        if size == 0 or at + size > len(data):
            raise ProtocolError("ND: bad option")
        if data[at] in (_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER) and size == 8:
            mac = bytes(data[at + 2 : at + 8])
            if mac[0] & 1 or not any(mac):
                raise ProtocolError("ND: sender is not a unicast address")
            found.setdefault(data[at], mac)
        at += size
    return found


def solicitation(source: bytes, mac: bytes, target: bytes, destination: bytes) -> bytes:
    """The packet that asks for `target`, from `source` at `mac`."""
    data = target + _link_layer(_SOURCE_LINK_LAYER, mac)
    return _packet(source, destination, SOLICITATION, 0, data)


def advertisement(target: bytes, mac: bytes, destination: bytes, *, solicited: bool) -> bytes:
    """The packet that advertises that `target` is at `mac`."""
    data = target + _link_layer(_TARGET_LINK_LAYER, mac)
    first = _OVERRIDE | (_SOLICITED if solicited else 0)
    return _packet(target, destination, ADVERTISEMENT, first, data)


def _link_layer(kind: int, mac: bytes) -> bytes:
    return bytes((kind, 1)) + mac


def _packet(source: bytes, destination: bytes, kind: int, first: int, data: Frame) -> bytes:
    message = icmp.build_v6(source, destination, kind, 0, first, 0, data)
    return ip.build_ipv6(source, destination, ip.ICMPV6, message, hop_limit=HOP_LIMIT)
