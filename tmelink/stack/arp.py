"""ARP messages for IPv4 on Ethernet (RFC 826): read and built; `tmelink.stack.ipv4` handles them."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from tmelink import ethernet
from tmelink.errors import ProtocolError

REQUEST = 1
REPLY = 2

LENGTH = 28

NOBODY = bytes(4)
"""The sender address of a probe (RFC 5227): receivers must not learn from such a request."""

_ARP = Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, ethernet.IPV4, 6, 4)


class Arp(NamedTuple):
    """One message; addresses are 6 and 4 bytes."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target_mac: bytes
    target: bytes


def parse(payload: memoryview) -> Arp:
    """The message in a frame's payload; `ProtocolError` for other hardware or protocols."""
    if len(payload) < LENGTH:
        raise ProtocolError("ARP: short message")
    hardware, protocol, size, address_size, *message = _ARP.unpack_from(payload)
    if (hardware, protocol, size, address_size) != _ETHERNET_IPV4:
        raise ProtocolError("ARP: not IPv4 on Ethernet")
    arp = Arp(*message)
    if arp.operation not in (REQUEST, REPLY):
        raise ProtocolError("ARP: unknown operation")
    if ethernet.is_group(arp.sender_mac) or not any(arp.sender_mac):
        raise ProtocolError("ARP: sender is not a unicast address")
    return arp


def build(arp: Arp, destination: bytes) -> bytes:
    """The message in a frame from its sender to `destination`."""
    payload = _ARP.pack(*_ETHERNET_IPV4, *arp)
    return ethernet.build(destination, arp.sender_mac, ethernet.ARP, payload)


def request(mac: bytes, sender: bytes, target: bytes, destination: bytes = ethernet.BROADCAST) -> bytes:
    """Who has `target`? With `sender` as the target too, an announcement (RFC 5227 section 3)."""
    return build(Arp(REQUEST, mac, sender, bytes(6), target), destination)


def reply(question: Arp, mac: bytes) -> bytes:
    """The target of `question` is at `mac`."""
    answer = Arp(REPLY, mac, question.target, question.sender_mac, question.sender)
    return build(answer, question.sender_mac)
