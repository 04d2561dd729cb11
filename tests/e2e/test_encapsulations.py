"""Tunnels on real networks: VXLAN against the kernel's own device, the others read by tshark on the wire."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tmelink
from tests.support.netns import Namespace, Net
from tmelink.elements.builtin.host import Host
from tmelink.resources import folder

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "ethtool")]

SAMPLE = folder("machines") / "nested.conf"


def fields(packets: list[bytes], directory: Path, *names: str) -> list[list[str]]:
    """What tshark reads in these fields of each packet, one column a field, layers joined by commas."""
    path = directory / "read.pcap"
    with path.open("wb") as file:
        file.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
        for packet in packets:
            file.write(bytes(8) + len(packet).to_bytes(4, "little") * 2 + packet)
    wanted = [word for name in names for word in ("-e", name)]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-o", "ip.check_checksum:TRUE", *wanted]
    read = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split("\t") for line in read.splitlines()]


def device(namespace: Namespace, remote: Namespace, *options: str, family: int = 0) -> None:
    """The kernel's vxlan device vx0 with 10.9.0.2."""
    namespace.run(
        "ip", "link", "add", "vx0", "type", "vxlan", "id", "42", "dstport", "4789",
        "local", namespace.addresses[family], "remote", remote.addresses[family], *options,
    )  # fmt: skip
    namespace.run("ip", "link", "set", "vx0", "mtu", "1430" if family else "1450", "up")
    # Between two namespaces nothing finishes what a network card is left to do, and a program is given
    # super-frames and unfinished checksums in datagrams, which look like any others.
    namespace.run("ethtool", "-K", "vx0", "tx", "off", "tso", "off", "gso", "off")
    namespace.run("ip", "addr", "add", "10.9.0.2/24", "dev", "vx0")
    namespace.run("ip", "addr", "add", "fd09::2/64", "dev", "vx0", "nodad")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.needs("iperf3")
def test_vxlan_against_the_kernels(net: Net, family: int) -> None:
    a, b = net.pair()
    options = ("udp6zerocsumrx", "udp6zerocsumtx") if family else ()
    device(b, a, *options, family=family)
    mtu = 1430 if family else 1450
    process = a.tmelink(
        f"le0: tme/host/tun/tap interface tap0 inet 10.9.0.1/24 inet6 fd09::1/64 mtu {mtu}\n"
        f'vx at le0: tmelink/vxlan vni 42 local "{a.addresses[family]}" remote "{b.addresses[family]}"\n'
    )
    a.ping("10.9.0.2")
    a.ping("10.9.0.2", size=mtu - 28)
    b.ping("fd09::1", size=mtu - 48)
    b.ping("10.9.0.1", size=4000)
    for direction in ([], ["-R"]):
        done = a.iperf3(b, "10.9.0.2", "-n", "16M", *direction)
        assert done["end"]["sum_sent"]["bytes"] >= 16 << 20
    assert process.stop() == 0, process.output


def test_vxlan_learns_which_remote_has_which_station(net: Net) -> None:
    a, b, c, _hub = net.internet(3)
    device(b, a)
    device(c, a)
    c.run("ip", "addr", "del", "10.9.0.2/24", "dev", "vx0")
    c.run("ip", "addr", "add", "10.9.0.3/24", "dev", "vx0")
    a.tmelink(
        "le0: tme/host/tun/tap interface tap0 inet 10.9.0.1/24 mtu 1450\n"
        f"vx at le0: tmelink/vxlan vni 42 remote {b.addresses[0]} remote {c.addresses[0]}\n"
    )
    a.ping("10.9.0.2")
    a.ping("10.9.0.3")
    # Known by now, so what is for c alone does not reach b.
    with b.capture("eth0", "udp port 4789 and udp[42:4] = 0x0a090003") as capture:
        a.ping("10.9.0.3")
    assert capture.packets == []


@pytest.mark.parametrize("extra", ["", " fragment"])
def test_what_is_too_big_for_vxlan_is_dropped_unless_asked_otherwise(net: Net, extra: str) -> None:
    a, b = net.pair()
    device(b, a)
    b.run("ip", "link", "set", "vx0", "mtu", "1500")
    a.tmelink(
        "le0: tme/host/tun/tap interface tap0 inet 10.9.0.1/24 mtu 1500\n"
        f"vx at le0: tmelink/vxlan vni 42 remote {b.addresses[0]}{extra}\n"
    )
    a.ping("10.9.0.2", size=1400)
    said = a.run("ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1472", "10.9.0.2", check=False)
    assert ("1 received" in said) is bool(extra)
    assert ("mtu = 1450" in said) is not bool(extra), "its sender gets an error, as from a router"


TUNNELS = {
    "ipip": ("", "tun", 1480),
    "gre": (" key 4294967295 sequence checksum", "tun", 1464),
    "gre over an Ethernet": (" key 7", "tap", 1458),
    "etherip": ("", "tap", 1464),
}


@pytest.mark.needs("tshark", "tcpdump")
@pytest.mark.parametrize("kind", TUNNELS)
def test_a_tunnel_between_two_computers(net: Net, kind: str) -> None:
    arguments, inner, mtu = TUNNELS[kind]
    a, b = net.pair()
    for own, other, number in ((a, b, 1), (b, a, 2)):
        own.tmelink(
            f"le0: tme/host/tun/{inner} interface le0 inet 10.9.0.{number}/24 "
            f"inet6 fd09::{number}/64 mtu {mtu}\n"
            f"t at le0: tmelink/{kind.split()[0]} local {own.addresses[0]} remote {other.addresses[0]}"
            f"{arguments}\n"
        )
    a.ping("10.9.0.2")
    with a.capture("eth0", "ip") as capture:
        a.ping("10.9.0.2", size=mtu - 28, M="do", Q="0x2e")
        b.ping("fd09::1", size=mtu - 48)
    read = fields(
        capture.packets,
        net.directory,
        "frame.protocols", "ip.src", "ip.proto", "ip.len", "ip.dsfield", "ip.checksum.status",
    )  # fmt: skip
    four = [row for row in read if "10.9.0.1" in row[1] or "10.9.0.2" in row[1]]
    assert len(four) >= 6
    for protocols, sources, numbers, lengths, fields_, checks in four:
        assert protocols.startswith("eth:ethertype:ip:")
        assert {"ipip": "ip:ip:", "gre": ":gre:", "etherip": ":etherip:"}[kind.split()[0]] in protocols
        assert sources.split(",")[0] in (a.addresses[0], b.addresses[0])
        assert numbers.split(",")[0] == {"ipip": "4", "gre": "47", "etherip": "97"}[kind.split()[0]]
        # Exactly the path's MTU, with nothing in fragments: the tunnel knows what it takes.
        assert lengths.split(",") == ["1500", str(mtu)]
        assert set(checks.split(",")) == {"1"}
        outer_field = fields_.split(",")[0]
        assert outer_field == (fields_.split(",")[1] if inner == "tun" else "0x00")
    if kind.startswith("gre"):
        keys = fields(capture.packets, net.directory, "gre.key", "gre.proto", "gre.checksum.status")
        expected = {"gre": "0xffffffff", "gre over an Ethernet": "0x00000007"}[kind]
        assert {row[0] for row in keys if row[0]} == {expected}
    with a.capture("eth0", "ip") as capture:
        a.ping("10.9.0.2", size=4000)
        b.ping("10.9.0.1", size=9000)
    assert all(len(packet) <= 1514 for packet in capture.packets)


def test_path_mtu_discovery_through_a_tunnel(net: Net) -> None:
    a, b = net.pair()
    for own, other, number in ((a, b, 1), (b, a, 2)):
        own.tmelink(
            f"le0: tme/host/tun/tun interface le0 inet 10.9.0.{number}/24 inet6 fd09::{number}/64 mtu 1500\n"
            f"t at le0: tmelink/ipip local {own.addresses[0]} remote {other.addresses[0]}\n"
        )
    a.ping("10.9.0.2")
    told = a.run("ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1472", "10.9.0.2", check=False)
    assert "mtu = 1480" in told
    told = a.run("ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1452", "fd09::2", check=False)
    assert "mtu=1480" in told
    a.ping("10.9.0.2", size=1472)


def test_without_the_privilege_it_says_what_to_do(net: Net) -> None:
    a = net.namespace()
    (net.directory / "t.conf").write_text("t: tmelink/ipip local 127.0.0.1 remote 127.0.0.2\n")
    said = a.run(
        "setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw",
        sys.executable, "-m", "tmelink", "run", str(net.directory / "t.conf"), check=False,
    )  # fmt: skip
    assert "a raw socket for IP protocol 4: needs CAP_NET_RAW" in said
    assert "'NAME outer at LINK'" in said


@pytest.mark.needs("tshark", "tcpdump")
def test_the_sample_of_nested_tunnels(net: Net) -> None:
    left, right = net.pair()
    for number, computer in enumerate((left, right), 1):
        computer.run("ip", "addr", "add", f"192.168.0.{number}/24", "dev", "eth0")
    there = right.start(sys.executable, "-m", "tmelink", "run", str(SAMPLE), "--host", "right")
    there.expect("running:")
    sizes = (28, 1400, 1460, 1500, 9000)

    async def main() -> dict[str, int]:
        answered = {}
        async with tmelink.load(SAMPLE, host="left").run() as lab:
            machine = lab["le0"]
            assert isinstance(machine, Host)
            for address, header in (("10.1.2.2", 28), ("fd00:2::2", 48)):
                # The first packet that is too big is lost, and its sender told.
                await machine.ping(address, count=2, interval=0.01, size=1500 - header)
                for size in sizes:
                    data = max(0, size - header)
                    result = await machine.ping(address, count=2, interval=0.01, size=data)
                    answered[f"{size} to {address}"] = result.received
        return answered

    with left.capture("eth0", "ip proto 4") as capture:
        answered = left.call(main)
    assert answered == dict.fromkeys(answered, 2)
    assert len(answered) == 2 * len(sizes)
    read = fields(capture.packets, net.directory, "ip.src", "ip.proto", "ip.len", "ipv6.src")
    assert len(read) >= 40
    for sources, numbers, lengths, inner in read:
        outer, middle, *_ = sources.split(",")
        assert {outer, middle} in ({"192.168.0.1", "172.16.0.1"}, {"192.168.0.2", "172.16.0.2"})
        assert numbers.startswith("4,41" if inner else "4,4")
        first, second, *_ = map(int, lengths.split(","))
        assert first <= 1500
        assert second == first - 20
    # The largest packet that fits is exactly one on the wire: 1460 bytes inside, 1480, 1500.
    assert any(row[2].split(",") == ["1500", "1480", "1460"] for row in read)
    assert there.stop() == 0, there.output


def test_a_tunnel_inside_a_link_needs_no_privilege_of_its_own(net: Net) -> None:
    """Frames in VXLAN in IP in IP in OpenVPN's wire protocol, and each level's MTU without a word of it."""
    a, b = net.pair()
    for own, other, number, far in ((a, b, 1, 2), (b, a, 2, 1)):
        own.tmelink(
            f"le0: tme/host/tun/tap interface le0 inet 10.9.0.{number}/24 mtu 1430\n"
            f"vx at le0: tmelink/vxlan vni 7 local 10.1.1.{number} remote 10.1.1.{far}\n"
            f"t: tmelink/ipip local 10.1.2.{number} remote 10.1.2.{far}\n"
            "vx outer at t\n"
            f"link0: tme/host/openvpn/socket/link --dev tun --local {own.addresses[0]} "
            f"--remote {other.addresses[0]}\n"
            "t outer at link0\n"
        )
    a.ping("10.9.0.2")
    with a.capture("eth0", "udp port 1194") as capture:
        a.ping("10.9.0.2", size=1402, M="do")
    # 1430 and VXLAN's 50 and IP in IP's 20 are what the link takes, and a UDP packet of 1528 in fragments.
    assert max(len(packet) for packet in capture.packets) == 1514
    a.ping("10.9.0.2", size=8000)
