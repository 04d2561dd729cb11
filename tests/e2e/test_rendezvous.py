"""Hosts behind NAT meet at a third one, and go on directly where their NATs allow it.

The file has `--secure --via hub` at both ends, and is cut into slices as `tmelink deploy` does it.
`pytest -s tests/e2e/test_rendezvous.py` prints the table of the sixteen pairs.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.internet import wire
from tests.support.netns import Namespace, Net, Process
from tmelink.control import connect
from tmelink.deploy import ansible_files
from tmelink.deploy.keys import KeyFolder
from tmelink.deploy.plan import plan

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "nft", "ping", "tcpdump")]

KINDS = ("full cone", "address-restricted", "port-restricted", "symmetric")
BLOCKED = {("port-restricted", "symmetric"), ("symmetric", "port-restricted"), ("symmetric", "symmetric")}
INNER = "192.168.7.2"
SETTLE_SECONDS = 40
LOST_SECONDS = 10
"""A direct path that dies is noticed after 3.5 s; the rest is for a busy computer."""

MASQUERADE = {"symmetric": "masquerade random,fully-random"}
INWARD = {
    "full cone": "iifname eth0 meta l4proto udp dnat to 192.168.7.2",
    "address-restricted": "iifname eth0 ip saddr @contacted meta l4proto udp dnat to 192.168.7.2",
}
LINK = "tme/host/openvpn/socket/link --dev tap --secure --via hub"
NAT = """
table ip nat {{
    set contacted {{ type ipv4_addr; flags dynamic; timeout 60s; }}
    chain out {{ type nat hook postrouting priority srcnat; oifname eth0 {masquerade}; }}
    chain in {{ type nat hook prerouting priority dstnat; {inward}; }}
    chain forward {{ type filter hook forward priority filter; policy drop;
        iifname lan add @contacted {{ ip daddr }} accept
        ct state established,related accept
        ct status dnat accept
    }}
    chain input {{ type filter hook input priority filter; iifname eth0 meta l4proto udp drop; }}
}}
"""


def behind(net: Net, router: Namespace, kind: str) -> Namespace:
    """A host behind a NAT of this kind, which the router becomes."""
    inner = net.namespace()
    wire(router, "lan", inner, "eth0", ("192.168.7.1/24", f"{INNER}/24"))
    inner.run("ip", "route", "add", "default", "via", "192.168.7.1")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    rules = NAT.format(masquerade=MASQUERADE.get(kind, "masquerade"), inward=INWARD.get(kind, ""))
    router.run("nft", "-f", "-", input=rules.replace("; ;", ";").replace("dstnat; ;", "dstnat;"))
    return inner


@dataclass
class Lab:
    """The running slices of one file."""

    net: Net
    homes: dict[str, Namespace]
    names: dict[str, str]

    def status(self, host: str) -> dict[str, Any]:
        """What the lab on a host says of its elements, by name."""
        with connect(self.names[host]) as control:
            return {row["name"]: row for row in control.call("status")["elements"]}

    def settled(self, host: str) -> dict[str, str]:
        """The path of each link on a host, once none is looked for any more."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            rows = self.status(host)
            paths = {name: row["details"]["path"] for name, row in rows.items() if name.startswith("link")}
            up = all(rows[name]["state"] == "up" for name in paths)
            if up and all(re.match("direct|through .* nothing comes back", path) for path in paths.values()):
                return paths
            assert time.monotonic() < deadline, paths
            time.sleep(0.5)


def run(net: Net, text: str, homes: dict[str, Namespace]) -> Lab:
    """Cut the file into its hosts' slices, and run each on its host."""
    file = net.directory / "lab.conf"
    file.write_text(text)
    made = plan(file, KeyFolder(net.directory / "keys"))
    ansible_files.write(net.directory / "out", made, None)
    lab = Lab(net, homes, {})
    processes: list[Process] = []
    for host in made.hosts:
        lab.names[host.name] = f"{host.name}-{net.directory.name}"
        slice_ = net.directory / "out/slices" / host.name
        words = ["-m", "tmelink", "run", "--host", host.name, "--name", lab.names[host.name], "machine.conf"]
        processes.append(homes[host.name].start(sys.executable, *words, cwd=slice_))
    for process in processes:
        process.expect("running:", timeout=SETTLE_SECONDS)
    return lab


def many_links() -> Iterator[str]:
    """Four hosts at each side, and a link between each pair of them."""
    yield "host hub address 10.1.0.9 { }"
    for side in "ab":
        for one in range(4):
            yield f"host {side}{one} address none ssh {side}{one} {{"
            for two in range(4):
                pair = f"{one}{two}" if side == "a" else f"{two}{one}"
                yield f"    le-{side}{pair}: tmelink/host inet 10.1{pair}.0.{1 if side == 'a' else 2}/24"
                yield f"    link-{side}{pair} at le-{side}{pair}: {LINK} {pair}"
            yield "}"


def test_sixteen_pairs_of_nats(net: Net) -> None:
    *routers, hub, _bridge = net.internet(9)
    homes = {"hub": hub}
    for at, side in enumerate("ab"):
        for number, kind in enumerate(KINDS):
            homes[f"{side}{number}"] = behind(net, routers[4 * at + number], kind)
    lab = run(net, "\n".join(many_links()) + "\n", homes)
    paths = {name: path for host in homes if host != "hub" for name, path in lab.settled(host).items()}
    print(f"\n{'':20}" + "".join(f"{kind:20}" for kind in KINDS))
    for one, here in enumerate(KINDS):
        ways = [paths[f"link-a{one}{two}"].partition(" ")[0] for two in range(4)]
        print(f"{here:20}" + "".join(f"{way:20}" for way in ways))
    for (one, here), (two, there) in itertools.product(enumerate(KINDS), enumerate(KINDS)):
        expected = "through" if (here, there) in BLOCKED else "direct"
        for side in "ab":
            assert paths[f"link-{side}{one}{two}"].startswith(expected), (here, there)
    row = lab.status("hub")["rendezvous"]
    assert row["summary"] == "16 of 16 links joined"
    with connect(lab.names["a3"], timeout=SETTLE_SECONDS) as control:
        sent = control.call("exec", text="command le-a33 ping 10.133.0.2", directory="/")
    assert " 0% " in str(sent), sent


TWO = """\
host hub address 10.1.0.3 {{ }}
host a address none ssh a {{
    tap-a: tme/host/tun/tap interface t0 inet 10.0.77.1/24
    link-a at tap-a: tme/host/openvpn/socket/link --dev tap --secure --via hub
}}
host b address none ssh b {{
    tap-b: tme/host/tun/tap interface t0 inet 10.0.77.2/24
    link-b at tap-b: tme/host/openvpn/socket/link --dev tap --secure --via hub
}}
"""


def test_the_path_changes_under_traffic_and_the_session_stays(net: Net) -> None:
    router, other, hub, _bridge = net.internet(3)
    homes = {
        "hub": hub,
        "a": behind(net, router, "port-restricted"),
        "b": behind(net, other, "port-restricted"),
    }
    lab = run(net, TWO.format(), homes)
    a, b = homes["a"], homes["b"]
    assert lab.settled("a")["link-a"].startswith("direct to 10.1.0.2:")
    assert lab.settled("b")["link-b"].startswith("direct to 10.1.0.1:")
    with hub.capture("eth0", "udp and len > 300") as wire_of_hub:
        a.ping("10.0.77.2", size=400)
    assert wire_of_hub.packets == [], "frames pass the hub though there is a direct path"

    # Nothing passes between the two routers any more: the hub carries, and cannot read.
    pinging = a.start("ping", "-i", "0.2", "-D", "-p", "5ec2e75ec2e7", "-s", "400", "10.0.77.2")
    pinging.expect("icmp_seq=5 ")
    router.run("nft", "add rule ip nat forward ip daddr 10.1.0.2 drop")
    router.run("nft", "insert rule ip nat forward ip daddr 10.1.0.2 drop")
    deadline = time.monotonic() + LOST_SECONDS
    while not lab.status("a")["link-a"]["details"]["path"].startswith("through 10.1.0.3:3478"):
        assert time.monotonic() < deadline
    since = len(pinging.lines)
    with hub.capture("eth0", "udp and len > 300", packets=8) as wire_of_hub:
        pinging.expect("icmp_seq=", since=since)
    assert not any(b"\x5e\xc2\xe7\x5e\xc2\xe7" in packet for packet in wire_of_hub.packets)

    # And it does again.
    router.run("nft", "flush chain ip nat forward")
    router.run("nft", "add rule ip nat forward accept")
    deadline = time.monotonic() + LOST_SECONDS
    while not lab.status("a")["link-a"]["details"]["path"].startswith("direct"):
        assert time.monotonic() < deadline
    pinging.expect("icmp_seq=", since=len(pinging.lines))
    answered = [float(found) for found in re.findall(r"^\[(\d+\.\d+)\].*icmp_seq", pinging.output, re.M)]
    pinging.stop()
    gap = max(later - sooner for sooner, later in pairwise(answered))
    print(f"longest silence while the direct path died: {gap:.1f} s")
    assert gap < LOST_SECONDS
    for host, name in (("a", "link-a"), ("b", "link-b")):
        assert lab.status(host)[name]["details"]["handshakes"] == 1, "the session restarted"
    b.ping("10.0.77.1")
