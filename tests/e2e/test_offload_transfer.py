"""What goes through a tunnel in super-frames arrives as it was sent, over every transport.

TMELINK_TRANSFER_BYTES sets how much each of iperf3 and the file sends (24 MiB; 1073741824 is a GiB).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.transfers import (
    BYTES,
    FRAME,
    SUPER,
    Sides,
    joined,
    mean_length,
    openvpn,
    plain,
    static,
    tagged,
    tcp,
    tls,
    tmelink,
    transfer,
)
from tests.support.netns import Net, Process

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("iperf3", "socat")]


@pytest.mark.parametrize("end", [tmelink, tagged])
@pytest.mark.parametrize("transport", [plain, tcp, static, tls])
def test_every_transport_carries_super_frames_whole(
    net: Net, transport: Callable[[Path], Sides], end: Callable[..., Process]
) -> None:
    a, b = net.pair()
    one, two = transport(a.directory)
    ends = end(a, b, 1, one), end(b, a, 2, two)
    joined(a)
    transfer(a, b, BYTES)
    assert mean_length(ends[0], "tap0 -> link0") > SUPER
    assert mean_length(ends[1], "link0 -> tap0") > SUPER


@pytest.mark.needs("openvpn")
@pytest.mark.parametrize("transport", [plain, tls])
def test_openvpn_takes_and_gives_the_same_bytes(net: Net, transport: Callable[[Path], Sides]) -> None:
    a, b = net.pair()
    one, two = transport(a.directory)
    ours = tmelink(a, b, 1, one)
    openvpn(b, a, 2, two)
    joined(a)
    transfer(a, b, BYTES)
    assert mean_length(ours, "tap0 -> link0") > SUPER


@pytest.mark.parametrize("offload", ["send", "receive", "off"])
def test_without_udp_offload_the_same_arrives(net: Net, offload: str) -> None:
    a, b = net.pair()
    ends = [tmelink(x, y, number, ["--udp-offload", offload]) for x, y, number in ((a, b, 1), (b, a, 2))]
    joined(a)
    transfer(a, b, BYTES // 2)
    assert mean_length(ends[0], "tap0 -> link0") > SUPER


@pytest.mark.parametrize("transport", [plain, tls])
def test_without_virtio_headers_the_same_arrives(net: Net, transport: Callable[[Path], Sides]) -> None:
    a, b = net.pair()
    one, two = transport(a.directory)
    ends = tmelink(a, b, 1, one, "offload off"), tmelink(b, a, 2, two, "offload off")
    joined(a)
    transfer(a, b, BYTES // 2)
    assert mean_length(ends[0], "tap0 -> link0") <= FRAME
    assert mean_length(ends[1], "link0 -> tap0") <= FRAME
