"""STUN messages whose sender proves that it has a key (RFC 8489): made and read as values.

Knows the method Binding, and the attributes that hole punching needs; XOR-PEER-ADDRESS is TURN's (RFC 8656,
section 14.3). Every message ends with MESSAGE-INTEGRITY-SHA256, under a key that both sides have.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from tmelink.frame import Frame, Run

COOKIE = 0x2112A442
HEADER = 20
TRANSACTION = 12
INTEGRITY = 32
"""Bytes: of a header, of a transaction's identifier, of an HMAC."""

LARGEST_FIRST_BYTE = 3
"""The first two bits of a message are zero, and no Binding message uses more of the first byte's rest.

A datagram of OpenVPN's with TLS begins with an opcode of at least 1 in its upper five bits.
"""

InetAddress = tuple[str, int]
"""An IP address and a port, alike for both versions."""


class StunKind(IntEnum):
    """Message types of the method Binding (section 5)."""

    REQUEST = 0x0001
    INDICATION = 0x0011
    SUCCESS = 0x0101
    ERROR = 0x0111


class StunAttribute(IntEnum):
    """Attribute types (section 18.3 and RFC 8656, section 18)."""

    USERNAME = 0x0006
    ERROR_CODE = 0x0009
    XOR_PEER_ADDRESS = 0x0012
    NONCE = 0x0015
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    XOR_MAPPED_ADDRESS = 0x0020


STALE_NONCE = b"\0\0\x04\x26Stale Nonce"
"""The value of ERROR-CODE for 438 (section 14.8)."""


@dataclass(frozen=True, slots=True)
class StunMessage:
    """A message; `transaction` has 12 bytes. `signed` and `mac` are those of one that was read."""

    kind: StunKind
    transaction: bytes
    attributes: Mapping[StunAttribute, bytes] = field(default_factory=dict)
    signed: bytes = b""
    mac: bytes = b""

    def encode(self, key: bytes) -> bytes:
        """The bytes to send, signed with `key`."""
        body = b"".join(_attribute(name, value) for name, value in self.attributes.items())
        length = len(body) + 4 + INTEGRITY
        signed = struct.pack(">HHI12s", self.kind, length, COOKIE, self.transaction) + body
        mac = hmac.digest(key, signed, hashlib.sha256)
        return signed + _attribute(StunAttribute.MESSAGE_INTEGRITY_SHA256, mac)

    def is_authentic(self, key: bytes) -> bool:
        """Whether whoever sent it has `key`."""
        return hmac.compare_digest(self.mac, hmac.digest(key, self.signed, hashlib.sha256))

    def text(self, name: StunAttribute) -> str:
        """An attribute that is a text; empty if it is not there."""
        return self.attributes.get(name, b"").decode("utf-8", "replace")

    def address(self, name: StunAttribute) -> InetAddress | None:
        """An attribute that is an address; None if it is not there, or not an address."""
        return _read_address(self.attributes.get(name, b""), self.transaction)


def decode(data: Frame) -> StunMessage | None:
    """A message; None for anything else, and for one without its proof at the end."""
    packet = bytes(data)
    if len(packet) < HEADER:
        return None
    kind, length, cookie, transaction = struct.unpack_from(">HHI12s", packet)
    if cookie != COOKIE or HEADER + length != len(packet) or kind not in set(StunKind):
        return None
    attributes: dict[StunAttribute, bytes] = {}
    at = HEADER
    while at + 4 <= len(packet):
        name, size = struct.unpack_from(">HH", packet, at)
        value = packet[at + 4 : at + 4 + size]
        if len(value) < size:
            return None
        if name == StunAttribute.MESSAGE_INTEGRITY_SHA256:
            ends = at + 4 + size == len(packet) and size == INTEGRITY
            return StunMessage(StunKind(kind), transaction, attributes, packet[:at], value) if ends else None
        if name in set(StunAttribute):
            attributes.setdefault(StunAttribute(name), value)
        at += 4 + (size + 3) // 4 * 4
    return None


def starts_message(item: Frame | Run) -> bool:
    """Whether a datagram begins as messages do, or any of a run: GRO may append a short one."""
    if isinstance(item, Run):
        return min(bytes(item.data[:: item.size])) <= LARGEST_FIRST_BYTE
    return len(item) > 0 and item[0] <= LARGEST_FIRST_BYTE


def show(where: InetAddress) -> str:
    """An address and port as a person writes them."""
    return f"[{where[0]}]:{where[1]}" if ":" in where[0] else f"{where[0]}:{where[1]}"


def address_value(where: InetAddress, transaction: bytes) -> bytes:
    """The value of an XOR-MAPPED-ADDRESS or XOR-PEER-ADDRESS (section 14.2)."""
    address = ipaddress.ip_address(where[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    family = 1 if address.version == 4 else 2
    return struct.pack(">BBH", 0, family, where[1] ^ COOKIE >> 16) + _xor(address.packed, transaction)


def _read_address(value: bytes, transaction: bytes) -> InetAddress | None:
    if len(value) not in (8, 20) or value[1] != (1 if len(value) == 8 else 2):
        return None
    (port,) = struct.unpack_from(">H", value, 2)
    return str(ipaddress.ip_address(_xor(value[4:], transaction))), port ^ COOKIE >> 16


def _xor(address: bytes, transaction: bytes) -> bytes:
    mask = struct.pack(">I", COOKIE) + transaction
    return bytes(a ^ b for a, b in zip(address, mask, strict=False))


def _attribute(name: StunAttribute, value: bytes) -> bytes:
    return struct.pack(">HH", name, len(value)) + value + bytes(-len(value) % 4)
