"""Packets for the tests of offloads, as scapy, which shares nothing with tmelink, builds them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tmelink.frame import Gso

TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (11, 22))]


@dataclass(frozen=True)
class Flow:
    """A packet that may be cut: everything but its payload and the size of a piece."""

    version: int = 4
    udp: bool = False
    tags: int = 0
    ip: bool = False
    extensions: int = 0
    timestamps: bool = True
    dont_fragment: bool = False
    identification: int = 7
    sequence: int = 1000
    flags: str = "A"
    source_port: int = 40000

    def headers(self, *, identification: int = 0, sequence: int = 0, flags: str = "A") -> Packet:
        packet: Packet | None = None
        if not self.ip:
            packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
            if self.tags == 1:
                packet /= Dot1Q(vlan=5, prio=3)
            elif self.tags == 2:
                packet /= Dot1AD(vlan=7) / Dot1Q(vlan=5)
        network: Packet
        if self.version == 4:
            network = IP(
                src="10.1.2.3",
                dst="10.250.0.9",
                id=identification & 0xFFFF,
                ttl=63,
                tos=4,
                flags="DF" if self.dont_fragment else 0,
            )
        else:
            network = IPv6(src="fd00::1:2", dst="fd00:ffff::3", fl=0x12345, tc=8, hlim=60)
            if self.extensions > 0:
                network /= IPv6ExtHdrHopByHop()
            if self.extensions > 1:
                network /= IPv6ExtHdrDestOpt()
        packet = network if packet is None else packet / network
        if self.udp:
            return packet / UDP(sport=self.source_port, dport=5201)
        options = TIMESTAMPS if self.timestamps else []
        return packet / TCP(
            sport=self.source_port,
            dport=5201,
            seq=sequence & 0xFFFFFFFF,
            ack=77,
            flags=flags,
            window=501,
            options=options,
        )

    def super_frame(self, payload: bytes, size: int) -> tuple[bytes, Gso]:
        """The whole packet with its checksum partial, as a TAP would give it, and its label."""
        first = self.headers(identification=self.identification, sequence=self.sequence, flags=self.flags)
        frame = bytearray(raw(first / Raw(payload)))
        header = len(frame) - len(payload)
        transport = header - len(raw(first[UDP if self.udp else TCP]))
        offset = 6 if self.udp else 16
        # What stands in a partial checksum is not needed for cutting, so it may be anything.
        frame[transport + offset : transport + offset + 2] = b"\xaa\x55"
        kind = 5 if self.udp else 1 if self.version == 4 else 4
        return bytes(frame), Gso(kind, size, header, transport, offset, "C" in self.flags and not self.udp)

    def pieces(self, payload: bytes, size: int) -> list[bytes]:
        """The frames that the super-frame is to be cut into."""
        starts = range(0, len(payload), size) if payload else [0]
        frames = []
        for index, start in enumerate(starts):
            flags = self.flags
            if index:
                flags = flags.replace("C", "")
            if start + size < len(payload):
                flags = flags.replace("P", "").replace("F", "")
            headers = self.headers(
                identification=self.identification + index, sequence=self.sequence + start, flags=flags
            )
            frames.append(raw(headers / Raw(payload[start : start + size])))
        return frames

    def with_(self, **changes: Any) -> Flow:
        return replace(self, **changes)


def noise(length: int, seed: int = 1) -> bytes:
    """Bytes that are the same in every run."""
    return np.random.default_rng(seed).bytes(length)


flows = st.builds(
    Flow,
    version=st.sampled_from([4, 6]),
    udp=st.booleans(),
    tags=st.integers(0, 2),
    ip=st.booleans(),
    extensions=st.integers(0, 2),
    timestamps=st.booleans(),
    dont_fragment=st.booleans(),
    identification=st.sampled_from([0, 1, 4711, 0xFFFE, 0xFFFF]),
    sequence=st.sampled_from([0, 12345, 0x7FFFFFFF, 0xFFFFFC00, 0xFFFFFFFF]),
    flags=st.sampled_from(["A", "PA", "FA", "FPA", "AC", "PAEC", "AE"]),
)
