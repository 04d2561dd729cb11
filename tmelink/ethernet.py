"""Ethernet II and its VLAN tag: where the header's fields stand, how to read and to build them.

Pure: bytes in, values out. Knows nothing of what a frame carries beyond its EtherType. Addresses are six
bytes; `text` writes one for people.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import NamedTuple

from tmelink.errors import ProtocolError
from tmelink.frame import Frame

DESTINATION = 0
SOURCE = 6
ETHERTYPE = 12
HEADER = 14
"""Bytes before the payload of an untagged frame."""
VLAN_TAG = 4
"""Bytes that an IEEE 802.1Q tag adds."""

IPV4 = 0x0800
ARP = 0x0806
VLAN = 0x8100
SERVICE_VLAN = 0x88A8
IPV6 = 0x86DD

BROADCAST = b"\xff" * 6

RESERVED = b"\x01\x80\xc2\x00\x00"
"""01:80:C2:00:00:00 to :0F are for the nearest bridge alone (IEEE 802.1D, 7.12.6); :00 is spanning tree."""

MAX_TAGS = 2
"""A service and a customer tag (IEEE 802.1ad); no deeper stack is in use."""

_HEADER = Struct("!6s6sH")
_TAG = Struct("!HH")


class Header(NamedTuple):
    """A frame's header; `vlan` is the outermost tag's VLAN (0 to 4095) or None, `payload` its offset."""

    destination: bytes
    source: bytes
    ethertype: int
    vlan: int | None
    payload: int


def parse(frame: Frame) -> Header:
    """The header of `frame`, VLAN tags skipped; `ProtocolError` for a frame that is too short for it."""
    if len(frame) < HEADER:
        raise ProtocolError("short frame")
    destination, source, ethertype = _HEADER.unpack_from(frame)
    vlan = None
    payload = HEADER
    while ethertype in (VLAN, SERVICE_VLAN) and payload < HEADER + MAX_TAGS * VLAN_TAG:
        if len(frame) < payload + VLAN_TAG:
            raise ProtocolError("short VLAN tag")
        control, ethertype = _TAG.unpack_from(frame, payload)
        vlan = control & 0x0FFF if vlan is None else vlan
        payload += VLAN_TAG
    return Header(destination, source, ethertype, vlan, payload)


def build(destination: bytes, source: bytes, ethertype: int, payload: Frame = b"") -> bytes:
    """An untagged frame; not padded to 60 bytes, as no wire needs it."""
    return _HEADER.pack(destination, source, ethertype) + payload


def is_group(address: Frame) -> bool:
    """Whether a MAC address is multicast or broadcast."""
    return bool(address[0] & 1)


def multicast_ipv4(address: bytes) -> bytes:
    """The MAC address of an IPv4 multicast group (RFC 1112, section 6.4)."""
    return b"\x01\x00\x5e" + bytes((address[1] & 0x7F,)) + address[2:4]


def multicast_ipv6(address: bytes) -> bytes:
    """The MAC address of an IPv6 multicast group (RFC 2464, section 7)."""
    return b"\x33\x33" + address[12:16]


def text(address: Frame) -> str:
    """A MAC address as people write it: `02:00:00:00:00:01`."""
    return bytes(address).hex(":")


def derived_mac(seed: str) -> bytes:
    """A locally administered station address that is always the same for the same `seed`.

    46 bits of SHA-256: of 10,000 different seeds two coincide with a chance below one in a million.
    """
    digest = hashlib.sha256(b"tmelink mac " + seed.encode()).digest()
    return bytes(((digest[0] & 0xFC) | 0x02,)) + digest[1:6]


_LENGTHS = range(1501)
_NOT_IN_USE = range(1501, 0x0600)
"""Values of the type field that are neither a length (IEEE 802.3, 3.2.6) nor an EtherType."""


def plausible(frame: Frame) -> bool:
    """Whether some bytes can be a frame: every second random ones cannot."""
    if len(frame) < HEADER or frame[SOURCE] & 1:
        return False
    kind = frame[ETHERTYPE] << 8 | frame[ETHERTYPE + 1]
    if kind in _LENGTHS:
        return kind <= len(frame) - HEADER
    return kind not in _NOT_IN_USE
