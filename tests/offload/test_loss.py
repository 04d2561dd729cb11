"""Acknowledgements that tell of loss, as scapy builds them, and everything else."""

from __future__ import annotations

import pytest
from scapy.compat import raw
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tmelink.offload import reports_loss

STAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
MISSING = [*STAMPS, ("NOP", None), ("NOP", None), ("SAck", (100, 200))]
OPENING = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]


@pytest.mark.parametrize("ip", [False, True])
@pytest.mark.parametrize("network", [IP(), IPv6()])
def test_only_selective_acknowledgements_tell_of_loss(network: IP | IPv6, ip: bool) -> None:
    before = network if ip else Ether() / network
    assert reports_loss(raw(before / TCP(flags="A", options=MISSING)), ip=ip)
    for other in (
        TCP(flags="A", options=STAMPS),
        TCP(flags="S", options=OPENING),
        TCP(flags="A", options=MISSING) / Raw(b"data"),
        UDP() / Raw(bytes(36)),
    ):
        assert not reports_loss(raw(before / other), ip=ip)


@pytest.mark.parametrize("length", [0, 13, 14, 60, 78, 110, 1514])
def test_anything_else_is_passed_over(length: int) -> None:
    for byte in (0, 0x45, 0x60, 0xFF):
        assert not reports_loss(bytes([byte]) * length, ip=True)
        assert not reports_loss(bytes([byte]) * length)
