"""Network namespaces as machines."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

import pytest

from tests.support.machines import opened
from tests.support.netns import Net
from tmelink.element import connect
from tmelink.elements.host_interfaces.netns import Netns
from tmelink.errors import ElementError
from tmelink.system import namespaces, remains

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping")]

_numbers = itertools.count(1)


@pytest.fixture
def name() -> Iterator[str]:
    """A namespace's name that is free, and is free again afterwards."""
    name = f"tme{os.getpid()}-lab{next(_numbers)}"
    yield name
    left = namespaces.exists(name)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    assert not left, f"{name} was left behind"


def machine(netns: str, **arguments: Any) -> Netns:
    return Netns("pc", Netns.Arguments(netns=netns, **arguments))


def listed() -> list[str]:
    lines = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in lines.splitlines()]


def test_one_is_made_with_its_interface_and_removed(net: Net, name: str) -> None:
    async def main() -> str:
        element = machine(
            name,
            mac=b"\2\0\0\0\0\x09",
            inet=(IPv4Interface("10.9.0.1/24"), IPv4Interface("10.9.1.1/24")),
            inet6=(IPv6Interface("fd09::1/64"),),
            gateway=IPv4Address("10.9.0.254"),
            gateway6=IPv6Address("fd09::254"),
            mtu=1400,
        )
        async with opened(element):
            assert name in listed()
            parts = [
                await element.command(["exec", "ip", *words.split()])
                for words in ("addr", "route", "-6 route", "link show lo")
            ]
            shown = await element.command(["show"])
            assert shown.startswith(
                "eth0 up mac 02:00:00:00:00:09 mtu 1400 inet 10.9.0.1/24 inet 10.9.1.1/24"
            )
            return "\n".join(parts)

    said = asyncio.run(main())
    for expected in (
        "link/ether 02:00:00:00:00:09",
        "mtu 1400",
        "inet 10.9.0.1/24 brd 10.9.0.255",
        "inet 10.9.1.1/24 brd 10.9.1.255",
        "inet6 fd09::1/64",
        "default via 10.9.0.254 dev eth0",
        "default via fd09::254 dev eth0",
        "lo: <LOOPBACK,UP,LOWER_UP>",
    ):
        assert expected in said
    assert name not in listed()


def test_two_reach_each_other_and_the_main_thread_stays_where_it_was(net: Net, name: str) -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    other = f"{name}-b"

    async def main() -> list[str]:
        a = machine(name, inet=(IPv4Interface("10.9.0.1/24"),), inet6=(IPv6Interface("fd09::1/64"),))
        b = machine(other, inet=(IPv4Interface("10.9.0.2/24"),), inet6=(IPv6Interface("fd09::2/64"),))
        connect(a.port(), b.port())
        async with opened(a, b):
            return [
                await a.command(["exec", "ping", "-c", "2", "-i", "0.1", "-W", "5", address])
                for address in ("10.9.0.2", "fd09::2")
            ]

    for said in asyncio.run(main()):
        assert "2 received" in said
    assert os.readlink("/proc/thread-self/ns/net") == before
    assert not namespaces.exists(other)


def test_one_that_exists_is_used_and_left_as_it_was(net: Net) -> None:
    a = net.namespace()
    before = a.run("ip", "addr")

    async def main() -> str:
        first = machine(a.name, inet=(IPv4Interface("10.9.0.1/24"),))
        second = machine(a.name, interface="eth1", inet=(IPv4Interface("10.9.1.1/24"),))
        async with opened(first, second):
            return await asyncio.to_thread(a.run, "ip", "-br", "addr")

    said = asyncio.run(main())
    assert "10.9.0.1/24" in said
    assert "10.9.1.1/24" in said
    assert a.run("ip", "addr") == before


def test_a_route_that_is_refused_is_said_and_the_namespace_works(
    net: Net, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        element = machine(name, gateway=IPv4Address("10.9.0.254"))
        await element.open()
        assert name in listed()
        await element.close()

    asyncio.run(main())
    assert re.search(r"the kernel refuses route .*10\.9\.0\.254", caplog.text)
    assert name not in listed()


def test_a_name_that_is_taken_meanwhile_is_refused(net: Net) -> None:
    a = net.namespace()
    with pytest.raises(ElementError, match=f"network namespace {a.name} already exists"):
        asyncio.run(namespaces.run(lambda: remains.namespace(a.name)))
    with pytest.raises(ElementError, match="there is no network namespace no-such"):
        asyncio.run(namespaces.run(os.getpid, "no-such"))


@pytest.mark.needs("setpriv")
def test_without_privilege_the_capability_is_named(net: Net, name: str) -> None:
    a = net.namespace()
    path = a.directory / "netns.conf"
    path.write_text(f"pc: tmelink/netns {name}\nle0 at pc: tmelink/host inet 10.9.0.2/24\n")
    said = a.run(
        "setpriv", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin",
        sys.executable, "-m", "tmelink", "run", str(path), check=False,
    )  # fmt: skip
    assert f"creating the network namespace {name}: needs CAP_SYS_ADMIN" in said


def test_a_lab_of_a_file(net: Net, name: str) -> None:
    """A namespace and a built-in machine on one switch; a command looks around from inside."""
    a = net.namespace()
    lab = a.tmelink(
        f"""
        switch0: tmelink/switch
        pc at switch0: tmelink/netns {name} inet 10.9.0.1/24
        le0 at switch0: tmelink/host inet 10.9.0.2/24
        command pc exec ping -c 2 -i 0.1 -W 5 10.9.0.2
        """
    )
    assert lab.stop() == 0
    assert "2 received" in lab.output
