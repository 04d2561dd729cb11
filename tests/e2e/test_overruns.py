"""A transfer to a stock OpenVPN does not overrun its receive buffer, although tmelink could send faster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.transfers import BYTES, TRANSFER_SECONDS, Sides, joined, openvpn, plain, static, tls, tmelink
from tests.support.netns import Namespace, Net

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("iperf3", "openvpn")]


def overrun(at: Namespace) -> int:
    """Datagrams that found a socket's receive buffer full."""
    names, values = (line.split() for line in at.run("cat", "/proc/net/snmp").splitlines() if "Udp:" in line)
    return int(values[names.index("RcvbufErrors")])


@pytest.mark.parametrize("transport", [plain, static, tls])
def test_a_transfer_to_openvpn_overruns_no_buffer(net: Net, transport: Callable[[Path], Sides]) -> None:
    a, b = net.pair()
    one, two = transport(a.directory)
    tmelink(a, b, 1, one)
    openvpn(b, a, 2, two)
    joined(a)
    serving = b.start("iperf3", "--forceflush", "-s", "-1")
    serving.expect("listening")
    a.run("iperf3", "-c", "10.7.0.2", "-n", str(BYTES), timeout=TRANSFER_SECONDS)
    serving.wait(20)
    assert overrun(b) == 0
