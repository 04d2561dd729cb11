"""Our server tells VLANs apart before stock OpenVPN clients, which know nothing of it."""

from __future__ import annotations

import re
import time
from socket import inet_aton

import pytest

from tests.e2e.secured import Site
from tests.support.machines import raw_socket
from tests.support.netns import Namespace, Net
from tmelink import ethernet

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn", "tcpdump")]

WAITED = 1.0
"""Seconds for an answer, or for none."""

VLANS = {
    "ten": "vlan-pvid 10",
    "other-ten": "vlan-pvid 10",
    "twenty": "vlan-pvid 20",
    "trunk": "vlan-trunk 10,20",
}


def hears(here: Namespace, sender: Namespace, address: str) -> list[bytes]:
    """What arrives at a client of what another one asks everybody, when it looks for an address."""
    mac = sender.run("cat", "/sys/class/net/tap0/address").strip()
    with here.capture("tap0", "ether", "src", mac) as capture:
        sender.run("ping", "-c", "2", "-i", "0.2", "-W", "0.5", address, check=False)
    return capture.packets


def asked(here: Namespace, vlan: int | None, address: str, own: str) -> bool:
    """Whether a client's question with a tag is answered with that tag; kernels without VLANs send it too."""
    mac = bytes.fromhex(here.run("cat", "/sys/class/net/tap0/address").strip().replace(":", ""))
    tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2, "big")
    question = bytes.fromhex("08060001080006040001") + mac + inet_aton(own) + bytes(6) + inet_aton(address)

    async def ask() -> None:
        with raw_socket("tap0") as raw:
            raw.send(b"\xff" * 6 + mac + tag + question)

    expression = ["arp"] if vlan is None else ["vlan", str(vlan), "and", "arp"]
    with here.capture("tap0", "ether", "dst", ethernet.text(mac), "and", *expression) as capture:
        here.call(ask)
        time.sleep(WAITED)
    return bool(capture.packets)


def test_stock_clients_of_one_vlan_hear_each_other_and_no_other_and_a_trunk_has_both(net: Net) -> None:
    site = Site(net)
    server, *hosts, _hub = net.internet(1 + len(VLANS))
    files = net.directory / "clients"
    files.mkdir()
    for name, lines in VLANS.items():
        (files / name).write_text(lines + "\n")
    server.tmelink(
        "own: tmelink/switch\n"
        "server at own vlan trunk 1,10,20 native 1: tme/host/openvpn/socket/server --dev tap "
        "--server 10.8.0.0 255.255.255.0 --client-to-client --vlan-tagging --vlan-accept all "
        f"--client-config-dir {files} --keepalive 1 20 {site.identity('server', 'server')}\n"
        "one at own vlan access 1: tmelink/host inet 10.8.0.201/24\n"
        "ten at own vlan access 10: tmelink/host inet 10.8.0.210/24\n"
        "twenty at own vlan access 20: tmelink/host inet 10.8.0.220/24\n",
    )
    clients = dict(zip(VLANS, hosts, strict=True))
    for name, here in clients.items():
        site.openvpn(
            here,
            f"--client --dev tap0 --proto udp --nobind --remote {server.addresses[0]} 1194 "
            f"{site.identity(name, 'client')} --connect-retry 1 1",
            until="Initialization Sequence Completed",
        )
    ten, other, twenty, trunk = clients.values()
    addresses = {}
    for name, here in clients.items():
        found = re.search(r"inet ([\d.]+)/", here.run("ip", "-4", "addr", "show", "tap0"))
        assert found is not None
        addresses[name] = found[1]
    # The same subnet, and two Ethernets.
    ten.ping(addresses["other-ten"])
    assert hears(other, ten, "10.8.0.250") != []
    assert hears(twenty, ten, "10.8.0.250") == []
    assert hears(ten, twenty, "10.8.0.251") == []
    assert "0 received" in ten.run("ping", "-c", "1", "-W", "0.5", addresses["twenty"], check=False)
    # The server's own side has each VLAN with its tag, and VLAN 1 without one.
    for here, answers in ((ten, 210), (other, 210), (twenty, 220)):
        for last in (201, 210, 220):
            said = here.run("ping", "-c", "2", "-i", "0.2", "-W", "2", f"10.8.0.{last}", check=False)
            assert ("2 received" if last == answers else "0 received") in said
    # A trunk has both, with tags.
    assert asked(trunk, 10, addresses["ten"], addresses["trunk"])
    assert asked(trunk, 20, addresses["twenty"], addresses["trunk"])
    assert not asked(trunk, 10, addresses["twenty"], addresses["trunk"])
    assert not asked(trunk, None, addresses["ten"], addresses["trunk"])
