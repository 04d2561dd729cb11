"""The built-in host and switch against Linux's own network stack, through a TAP in a namespace.

kernel 10.9.0.1 fd09::1  tap --- sw0 --- le0  10.9.0.2 fd09::2
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

import pytest

from tests.support.machines import opened
from tests.support.netns import Namespace, Net
from tmelink import ethernet
from tmelink.element import connect
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.host_interfaces.tap import Tap

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping")]

KERNEL, KERNEL6 = "10.9.0.1", "fd09::1"
HOST, HOST6 = "10.9.0.2", "fd09::2"
SIZES = (0, 56, 1472, 1473, 20000, 65507)

ECHO = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as udp:
    udp.settimeout(10)
    udp.connect((sys.argv[1], int(sys.argv[2])))
    for size in (0, 1, 1400, 9000, 60000):
        udp.send(bytes(size))
        try:
            print(len(udp.recv(65536)))
        except ConnectionRefusedError:
            print("refused")
"""


def in_lab(
    namespace: Namespace, test: Callable[[Host, Tap], Coroutine[Any, Any, None]], **arguments: Any
) -> None:
    """Run `test` inside the namespace, with the drawn elements open."""

    async def main() -> None:
        tap = Tap(
            "tap1",
            Tap.Arguments(
                interface="tap", inet=IPv4Interface(f"{KERNEL}/24"), inet6=(IPv6Interface(f"{KERNEL6}/64"),)
            ),
        )
        host = Host(
            "le0",
            Host.Arguments(inet=IPv4Interface(f"{HOST}/24"), inet6=IPv6Interface(f"{HOST6}/64"), **arguments),
        )
        switch = Switch("sw0", Switch.Arguments())
        connect(tap.port(), switch.port())
        connect(host.port(), switch.port())
        async with opened(switch, host, tap):
            await test(host, tap)

    namespace.call(main)


async def until(namespace: Namespace, pattern: str, *command: str) -> str:
    """What a program shows once it matches; the kernel does not tell when that will be."""
    async with asyncio.timeout(20):
        while not re.search(pattern, shown := await asyncio.to_thread(namespace.run, *command)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return shown


def link_local(host: Host) -> str:
    assert host.interface.ipv6 is not None
    return str(IPv6Address(host.interface.ipv6.link_local))


@pytest.mark.parametrize("size", SIZES)
def test_the_kernel_pings_the_host(net: Net, size: int) -> None:
    a = net.namespace()

    async def test(host: Host, tap: Tap) -> None:
        for address in (HOST, HOST6, f"{link_local(host)}%tap"):
            await asyncio.to_thread(a.ping, address, size=size)
        assert not host.interface.wire.drops

    in_lab(a, test)


@pytest.mark.parametrize("size", SIZES)
def test_the_host_pings_the_kernel(net: Net, size: int) -> None:
    a = net.namespace()

    async def test(host: Host, tap: Tap) -> None:
        for address in (KERNEL, KERNEL6):
            result = await host.ping(address, count=3, interval=0.05, size=size, timeout=10)
            assert (result.received, result.duplicates) == (3, 0), str(result)

    in_lab(a, test)


def test_udp_echo_and_unused_ports(net: Net) -> None:
    a = net.namespace()

    async def test(host: Host, tap: Tap) -> None:
        for address in (HOST, HOST6):
            said = await asyncio.to_thread(a.run, sys.executable, "-c", ECHO, address, "7")
            assert said.split() == ["0", "1", "1400", "9000", "60000"]
            said = await asyncio.to_thread(a.run, sys.executable, "-c", ECHO, address, "9")
            assert said.split() == ["refused"] * 5

    in_lab(a, test)


def test_the_kernel_knows_its_neighbour_and_confirms_it(net: Net) -> None:
    a = net.namespace()

    async def test(host: Host, tap: Tap) -> None:
        for address in (HOST, HOST6):
            await asyncio.to_thread(a.ping, address, count=1)
            # A probe of the kernel's own, answered by the host.
            await asyncio.to_thread(
                a.run, "ip", "neigh", "change", address, "dev", "tap", "nud", "probe",
                "lladdr", ethernet.text(host.mac),
            )  # fmt: skip
            shown = await until(a, "REACHABLE", "ip", "neigh", "show", address, "dev", "tap")
            assert ethernet.text(host.mac) in shown

    in_lab(a, test)


def test_the_kernel_sees_that_an_address_is_taken(net: Net) -> None:
    a = net.namespace()

    async def test(host: Host, tap: Tap) -> None:
        await asyncio.to_thread(a.run, "ip", "addr", "add", f"{HOST6}/64", "dev", "tap")
        await until(a, rf"{HOST6}/64 .*dadfailed", "ip", "-6", "addr", "show", "dev", "tap")

    in_lab(a, test)


def test_the_host_is_told_what_goes_wrong_beyond_its_gateway(net: Net) -> None:
    """The kernel is the gateway to eth0, where fd01::2 answers and the path is narrower."""
    a, b = net.pair(mtu=1300)
    for family in ("ipv4.conf.all", "ipv6.conf.all"):
        a.run("sysctl", "-q", "-w", f"net.{family}.forwarding=1")
    b.run("ip", "route", "add", "10.9.0.0/24", "via", a.addresses[0])
    b.run("ip", "route", "add", "fd09::/64", "via", a.addresses[1])
    a.run("ip", "route", "add", "unreachable", "10.77.0.0/16")
    a.run("ip", "route", "add", "unreachable", "fd77::/64")

    async def test(host: Host, tap: Tap) -> None:
        result = await host.ping(b.addresses[0], count=3, interval=0.05, size=5000, timeout=10)
        assert result.received == 3, str(result)
        # The first packets are too big and say so; from then on they are cut to what passes.
        result = await host.ping(b.addresses[1], count=1, size=1400, timeout=10)
        assert result.errors == {"packet too big": 1}
        result = await host.ping(b.addresses[1], count=3, interval=0.05, size=1400, timeout=10)
        assert result.received == 3, str(result)
        for address, words in (("10.77.0.1", "host unreachable"), ("fd77::1", "no route")):
            result = await host.ping(address, count=1, timeout=10)
            assert result.errors == {words: 1}

    in_lab(a, test, gateway=IPv4Address(KERNEL), gateway6=IPv6Address(KERNEL6))


@pytest.mark.needs("bridge")
def test_a_snooping_bridge_hears_what_the_host_listens_to(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "link", "add", "lan", "type", "bridge", "mcast_snooping", "1", "mcast_querier", "1")
    a.run("ip", "addr", "add", "10.9.0.9/24", "dev", "lan")
    a.run("ip", "addr", "add", "fd09::9/64", "dev", "lan", "nodad")
    a.run("ip", "link", "set", "lan", "up")

    async def main() -> None:
        tap = Tap("tap1", Tap.Arguments(interface="tap", bridge="lan"))
        host = Host("le0", Host.Arguments(inet6=IPv6Interface(f"{HOST6}/64")))
        connect(tap.port(), host.port())
        async with opened(tap, host):
            await until(a, "ff02::1:ff00:2", "bridge", "mdb", "show", "dev", "lan")
            await asyncio.to_thread(a.ping, HOST6)

    a.call(main)
