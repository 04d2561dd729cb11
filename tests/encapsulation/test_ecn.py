"""Congestion marks through a tunnel, cell by cell of RFC 6040's figure 4."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from tmelink.encapsulation import ecn
from tmelink.encapsulation.ecn import CE, ECT_0, ECT_1, NOT_ECT
from tmelink.errors import ProtocolError

FIGURE_4: dict[int, dict[int, int | None]] = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT_0: NOT_ECT, ECT_1: NOT_ECT, CE: None},
    ECT_0: {NOT_ECT: ECT_0, ECT_0: ECT_0, ECT_1: ECT_1, CE: CE},
    ECT_1: {NOT_ECT: ECT_1, ECT_0: ECT_1, ECT_1: ECT_1, CE: CE},
    CE: {NOT_ECT: CE, ECT_0: CE, ECT_1: CE, CE: CE},
}


@pytest.mark.parametrize("dscp", [0, 0b101110 << 2, 0b111111 << 2])
@pytest.mark.parametrize("inner", FIGURE_4)
@pytest.mark.parametrize("outer", range(4))
def test_what_leaves_a_tunnel(inner: int, outer: int, dscp: int) -> None:
    four = bytes(IP(src="10.0.0.1", dst="10.0.0.2", tos=dscp | inner) / UDP() / b"four")
    six = bytes(IPv6(src="fd00::1", dst="fd00::2", tc=dscp | inner, fl=0x12345) / UDP() / b"six")
    expected = FIGURE_4[inner][outer]
    assert ecn.traffic_class(four) == ecn.traffic_class(six) == dscp | inner
    if expected is None:
        for packet in (four, six):
            with pytest.raises(ProtocolError, match="ECN"):
                ecn.merged(packet, outer)
        return
    again = IP(src="10.0.0.1", dst="10.0.0.2", tos=dscp | expected) / UDP() / b"four"
    assert bytes(ecn.merged(four, outer)) == bytes(again)
    assert IPv6(bytes(ecn.merged(six, outer))).tc == dscp | expected
    assert IPv6(bytes(ecn.merged(six, outer))).fl == 0x12345
