"""A small Internet of namespaces: a traveller and an office, each behind a provider, as in the samples."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns import Namespace, Net
from tmelink.openvpn import keys
from tmelink.resources import folder

MACHINES = folder("machines")

WORLD = "192.0.2.200"
"""Somebody in the world outside, on the router."""

WORLD6 = "2001:db8:9::9"


@dataclass
class Internet:
    """A traveller and an office, each behind its provider's router, and the office's internal network.

    The router stands for the Internet: it knows no private address, and drops what comes from where it would
    not send the answer.
    """

    traveller: Namespace
    office: Namespace
    router: Namespace
    inner: Namespace

    @property
    def hosts(self) -> tuple[Namespace, ...]:
        return (self.traveller, self.office, self.router, self.inner)


def wire(a: Namespace, name: str, b: Namespace, other: str, *addresses: tuple[str, str]) -> None:
    """A cable between two namespaces, with an address at each end for every pair."""
    a.run("ip", "link", "add", name, "type", "veth", "peer", "name", other, "netns", b.name)
    for here, there in addresses:
        a.run("ip", "addr", "add", here, "dev", name, *(["nodad"] if ":" in here else []))
        b.run("ip", "addr", "add", there, "dev", other, *(["nodad"] if ":" in there else []))
    a.run("ip", "link", "set", name, "up")
    b.run("ip", "link", "set", other, "up")


def forwards(router: Namespace) -> None:
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


def internet(net: Net, inner: str = "192.168.50") -> Internet:
    traveller, office, router, inside = (net.namespace() for _ in range(4))
    wire(traveller, "eth0", router, "home", ("198.51.100.7/24", "198.51.100.1/24"),
         ("2001:db8:1::7/64", "2001:db8:1::1/64"))  # fmt: skip
    wire(office, "eth0", router, "work", ("203.0.113.5/24", "203.0.113.1/24"),
         ("2001:db8:3::5/64", "2001:db8:3::1/64"))  # fmt: skip
    wire(office, "eth1", inside, "eth0", (f"{inner}.1/26", f"{inner}.10/26"))
    for host, provider in ((traveller, 1), (office, 3)):
        gateway = "198.51.100.1" if provider == 1 else "203.0.113.1"
        host.run("ip", "route", "add", "default", "via", gateway)
        host.run("ip", "-6", "route", "add", "default", "via", f"2001:db8:{provider}::1")
    inside.run("ip", "route", "add", "default", "via", f"{inner}.1")
    router.run("ip", "addr", "add", f"{WORLD}/32", "dev", "lo")
    router.run("ip", "-6", "addr", "add", f"{WORLD6}/128", "dev", "lo", "nodad")
    forwards(router)
    for namespace in (traveller, office, router, inside):
        namespace.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    for interface in ("home", "work"):
        router.run("sysctl", "-qw", f"net.ipv4.conf.{interface}.rp_filter=1")
    return Internet(traveller, office, router, inside)


def identities(net: Net) -> Internet:
    """The corporate network has public addresses, and the Internet sends to the inside ones by the office."""
    there = internet(net, "192.0.2")
    there.router.run("ip", "route", "add", "192.0.2.0/25", "via", "203.0.113.5")
    there.router.run("ip", "-6", "route", "add", "2001:db8:2::/64", "via", "2001:db8:3::5")
    return there


def sample(directory: Path, name: str) -> Path:
    """A sample file beside the key that it names."""
    file = directory / name
    file.write_text((MACHINES / name).read_text())
    key = directory / "l3.key"
    if not key.exists():
        key.write_bytes(keys.generate(random.Random(1).randbytes))
        key.chmod(0o600)
    return file
