"""The gateway before a stock OpenVPN server in tun mode, and the sample that shows it."""

from __future__ import annotations

import asyncio
import sys

import pytest

import tmelink
from tests.e2e.gateway_server import certificates, server
from tests.support.netns import Namespace, Net
from tmelink.elements.builtin.host import Host
from tmelink.resources import folder

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn")]

SAMPLE = folder("machines") / "gateway.conf"


@pytest.fixture
def computers(net: Net) -> tuple[Namespace, Namespace]:
    """This computer, 192.168.1.5, whose default gateway 192.168.1.1 is the server 1.2.3.4, too."""
    here, there = net.pair()
    here.run("ip", "addr", "add", "192.168.1.5/24", "dev", "eth0")
    there.run("ip", "addr", "add", "192.168.1.1/24", "dev", "eth0")
    there.run("ip", "addr", "add", "1.2.3.4/32", "dev", "lo")
    here.run("ip", "route", "add", "default", "via", "192.168.1.1")
    certificates(net.directory)
    return here, there


def test_the_sample_reaches_a_server_in_tun_mode(net: Net, computers: tuple[Namespace, Namespace]) -> None:
    here, there = computers
    serving = server(there, net.directory)
    (net.directory / "gateway.conf").write_text(SAMPLE.read_text())
    running = here.start(sys.executable, "-m", "tmelink", "run", "gateway.conf", cwd=net.directory)
    running.expect("running:")
    serving.expect("PUSH: Received control message|SENT CONTROL")
    there.run("ping", "-c", "1", "-w", "10", "10.38.2.1")
    # From beyond the tunnel: the gateway's own address, and a machine that its ARP finds.
    there.ping("10.38.2.1")
    said = there.ping("10.38.2.2", size=1372)
    assert "ttl=63" in said
    there.ping("10.38.2.2", size=4000)
    assert "Time to live exceeded" in there.run("ping", "-c", "1", "-t", "1", "10.38.2.2", check=False)
    # Nobody has that address.
    assert "Destination Host Unreachable" in there.run(
        "ping", "-c", "1", "-W", "5", "10.38.2.99", check=False
    )
    assert running.stop() == 0, running.output
    assert "Traceback" not in running.output
    serving.stop()


MACHINES = """
sw0: tmelink/switch
gw0 at sw0: tmelink/gateway mac "00:f0:0d:f0:0d:00" inet 10.38.2.1/24 inet6 fd38:2::1/64
tunnel at gw0: tme/host/openvpn/socket/link --client --dev tun --proto {proto} --nobind \\
    --remote 1.2.3.4 1194 --ca ca.crt --cert gateway.crt --key gateway.key
le0 at sw0: tmelink/host inet 10.38.2.2/24 gateway 10.38.2.1 inet6 fd38:2::2/64 gateway6 fd38:2::1
"""


@pytest.mark.parametrize("proto", ["udp", "tcp-client"])
def test_machines_inside_reach_the_server_and_beyond(
    net: Net, computers: tuple[Namespace, Namespace], proto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = computers
    server(there, net.directory, "udp" if proto == "udp" else "tcp-server")
    monkeypatch.chdir(net.directory)

    async def main() -> dict[str, int]:
        got = {}
        async with tmelink.load(MACHINES.format(proto=proto)).run() as lab:
            machine = lab["le0"]
            assert isinstance(machine, Host)
            async with asyncio.timeout(30):
                while not (await machine.ping("10.8.0.1", count=1, timeout=0.5)).received:
                    pass
            for address in ("10.38.2.1", "10.8.0.1", "192.168.1.1", "fd08::1", "fd38:2::1"):
                got[address] = (await machine.ping(address, count=2, interval=0.01, size=1200)).received
            got["large"] = (await machine.ping("10.8.0.1", count=2, interval=0.01, size=3000)).received
        return got

    got = here.call(main)
    assert got == dict.fromkeys(got, 2)


@pytest.mark.needs("iperf3")
def test_a_tcp_flow_passes_in_super_frames(net: Net) -> None:
    """A real machine on the Ethernet, a TUN at the far end: bulk data both ways."""
    here, there = net.pair()
    inner = net.namespace()
    there.tmelink(
        "tun0: tme/host/tun/tun interface tun0 inet 10.8.0.1/24\n"
        f"link0 at tun0: tme/host/openvpn/socket/link --dev tun --local {there.addresses[0]} "
        f"--remote {here.addresses[0]}\n"
    )
    there.run("ip", "route", "add", "10.38.2.0/24", "dev", "tun0")
    here.tmelink(
        f"le0: tmelink/netns {inner.name} inet 10.38.2.2/24 gateway 10.38.2.1\n"
        "gw0 at le0: tmelink/gateway inet 10.38.2.1/24\n"
        f"link0 at gw0: tme/host/openvpn/socket/link --dev tun --local {here.addresses[0]} "
        f"--remote {there.addresses[0]}\n"
    )
    inner.ping("10.8.0.1")
    there.ping("10.38.2.2")
    for direction in ([], ["-R"]):
        done = inner.iperf3(there, "10.8.0.1", "-n", "64M", *direction)
        assert done["end"]["sum_sent"]["bytes"] >= 64 << 20


def test_a_machine_learns_of_a_narrow_tunnel(net: Net) -> None:
    """Linux on the Ethernet: path MTU discovery through the gateway, for both IP versions."""
    here, there = net.pair()
    inner = net.namespace()
    there.tmelink(
        "tun0: tme/host/tun/tun interface tun0 inet 10.8.0.1/24 inet6 fd08::1/64 mtu 1300\n"
        f"link0 at tun0: tme/host/openvpn/socket/link --dev tun --tun-mtu 1300 --local {there.addresses[0]} "
        f"--remote {here.addresses[0]}\n"
    )
    there.run("ip", "route", "add", "10.38.2.0/24", "dev", "tun0")
    there.run("ip", "route", "add", "fd38:2::/64", "dev", "tun0")
    here.tmelink(
        f"le0: tmelink/netns {inner.name} inet 10.38.2.2/24 gateway 10.38.2.1 inet6 fd38:2::2/64 "
        "gateway6 fd38:2::1\n"
        "gw0 at le0: tmelink/gateway inet 10.38.2.1/24 inet6 fd38:2::1/64\n"
        f"link0 at gw0: tme/host/openvpn/socket/link --dev tun --tun-mtu 1300 --local {here.addresses[0]} "
        f"--remote {there.addresses[0]}\n"
    )
    inner.ping("10.8.0.1")
    inner.ping("10.8.0.1", size=3000)  # fragmented twice
    told = inner.run("ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1400", "10.8.0.1", check=False)
    assert "mtu = 1300" in told
    assert "mtu 1300" in inner.run("ip", "route", "get", "10.8.0.1")
    told = inner.run("ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1400", "fd08::1", check=False)
    assert "mtu=1300" in told
    traced = inner.run("ping", "-c", "1", "-t", "1", "fd08::1", check=False)
    assert "Time exceeded: Hop limit" in traced
