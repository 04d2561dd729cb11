"""Multicast groups on hosts with several networks."""

from __future__ import annotations

import pytest

import tmelink
from tests.e2e.internet import wire
from tests.support.netns import Net
from tmelink.elements.builtin.host import Host

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip")]

GROUP = "230.0.0.1:7000"


def test_one_group_on_two_networks_is_two_ethernets(net: Net) -> None:
    a, b = net.pair()
    c = net.namespace()
    wire(a, "eth1", c, "eth0", ("10.2.0.1/24", "10.2.0.2/24"))
    text = "".join(
        f"g{number}: tmelink/qemu/multicast {GROUP} local 10.{number}.0.1\n"
        f"h{number} at g{number}: tmelink/host inet 10.9.0.{number}/24\n"
        for number in (1, 2)
    )
    other = f"g: tmelink/qemu/multicast {GROUP} local 10.1.0.2\nh at g: tmelink/host inet 10.9.0.3/24\n"
    b.tmelink(other)

    async def main() -> dict[str, int]:
        async with tmelink.load(text).run() as lab:
            one, two = lab["h1"], lab["h2"]
            assert isinstance(one, Host)
            assert isinstance(two, Host)
            pings = {
                "its own network": await one.ping("10.9.0.3", count=2, interval=0.05),
                "the other network": await two.ping("10.9.0.3", count=2, interval=0.05, timeout=0.5),
                "across": await one.ping("10.9.0.2", count=2, interval=0.05, timeout=0.5),
            }
            return {name: result.received for name, result in pings.items()}

    assert a.call(main) == {"its own network": 2, "the other network": 0, "across": 0}
