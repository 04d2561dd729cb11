"""A TUN and a link with `--dev tun` against a stock openvpn: IP packets of both versions, no Ethernet."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.netns import Namespace, Net, Process

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn")]

CIPHER = "--cipher AES-256-CBC --auth SHA256"


def key(net: Net) -> str:
    path = net.directory / "static.key"
    subprocess.run(["openvpn", "--genkey", "secret", str(path)], check=True)
    return str(path)


def openvpn(b: Namespace, remote: str, *options: str) -> Process:
    return b.start(
        "openvpn", "--dev", "ovpn0", "--dev-type", "tun", "--remote", remote, "--verb", "4",
        "--ifconfig", "10.8.0.2", "10.8.0.1", "--ifconfig-ipv6", "fd08::2/64", "fd08::1",
        *options,
    )  # fmt: skip


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "static key"])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("words", ["TME's words", "OpenVPN's words"])
def test_packets_pass_between_a_tun_and_openvpn(net: Net, proto: str, secured: bool, words: str) -> None:
    a, b = net.pair()
    tun = {
        "TME's words": "tme/host/tun/tun interface tun0 inet 10.8.0.1 peer 10.8.0.2 inet6 fd08::1/64",
        "OpenVPN's words": (
            "tme/host/openvpn/tun --dev tun0 --ifconfig 10.8.0.1 10.8.0.2 --ifconfig-ipv6 fd08::1/64 fd08::2"
        ),
    }[words]
    security = f"--secret {key(net)} {CIPHER}" if secured else ""
    ours, theirs = {"udp": ("udp", "udp"), "tcp": ("tcp-server", "tcp-client")}[proto]
    process = a.tmelink(
        f"tun0: {tun}\n"
        f"link0 at tun0: tme/host/openvpn/socket/link --dev tun --local {a.addresses[0]} "
        f"--remote {b.addresses[0]} --proto {ours} {security}\n"
    )
    peer = openvpn(b, a.addresses[0], "--proto", theirs, *security.split())
    peer.expect("Initialization Sequence Completed")
    a.ping("10.8.0.2")
    a.ping("10.8.0.2", size=1472)
    b.ping("10.8.0.1", size=1472)
    a.ping("fd08::2", size=1452)
    b.ping("fd08::1")
    assert "peer 10.8.0.2" in a.run("ip", "addr", "show", "tun0")
    assert process.stop() == 0, process.output
    assert a.interfaces() == ["lo", "eth0"]


@pytest.mark.needs("iperf3")
def test_super_frames_pass_through_a_tun(net: Net) -> None:
    a, b = net.pair()
    for own, other, number in ((a, b, 1), (b, a, 2)):
        own.tmelink(
            f"tun0: tme/host/tun/tun inet 10.8.0.{number}/24 inet6 fd08::{number}/64\n"
            f"link0 at tun0: tme/host/openvpn/socket/link --dev tun --local {own.addresses[0]} "
            f"--remote {other.addresses[0]}\n"
        )
    for address in ("10.8.0.2", "fd08::2"):
        done = a.iperf3(b, address, "-n", "16M")
        assert done["end"]["sum_sent"]["bytes"] >= 16 << 20


def test_a_tun_that_was_found_is_left_as_it_was(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "mine", "mode", "tun")
    # Up, so that the kernel has given it all that it gives at the first time: a queueing discipline, and else
    # a link-local address.
    a.run("ip", "link", "set", "mine", "addrgenmode", "none")
    a.run("ip", "link", "set", "mine", "up")
    before = a.run("ip", "addr", "show", "mine")
    process = a.tmelink("tun0: tme/host/tun/tun interface mine inet 10.8.0.1/24 mtu 1400\n")
    assert "10.8.0.1/24" in a.run("ip", "addr", "show", "mine")
    assert process.stop() == 0
    assert a.run("ip", "addr", "show", "mine") == before


def test_a_tap_is_no_tun(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "mine", "mode", "tap")
    process = a.tmelink(
        "tun0: tme/host/tun/tun interface mine\n", until="mine exists and is not a TUN but a TAP"
    )
    assert process.wait() != 0
