"""The gateway as an element: which side a connection is, and that both sides meet in one process."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest

from tests.support.aio import run
from tmelink import machine
from tmelink.element import Element, OuterMtu, Port, connect
from tmelink.elements.builtin.gateway import Gateway
from tmelink.elements.builtin.host import Host
from tmelink.errors import MachineError, PortError
from tmelink.frame import Burst

GATEWAY = "gw0: tmelink/gateway inet 10.38.2.1/24\n"
SWITCH = "sw0: tmelink/switch\n"
TUN = "tun0: tme/host/tun/tun\n"


def kinds(text: str) -> list[str]:
    gateway = machine.load(text).find("gw0")
    return [f"{port.kind} to {port.peer.element.name}" for port in gateway.ports if port.peer]


def mistakes(text: str) -> list[str]:
    with pytest.raises(MachineError) as caught:
        machine.load(text)
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize("joins", ["gw0 at sw0\ntun0 at gw0\n", "tun0 at gw0\nsw0 at gw0\n"])
def test_a_connection_is_the_side_that_fits_its_other_end(joins: str) -> None:
    found = kinds(GATEWAY + SWITCH + TUN + joins)
    assert sorted(found) == ["ethernet to sw0", "ip to tun0"]


def test_the_sides_have_names() -> None:
    text = GATEWAY + SWITCH + TUN + "gw0 outside at tun0\ngw0 inside at sw0\n"
    assert kinds(text) == ["ip to tun0", "ethernet to sw0"]


def test_between_two_gateways_it_is_the_ethernet_unless_a_word_says_otherwise() -> None:
    other = "gw1: tmelink/gateway inet 10.38.3.1/24\n"
    assert kinds(GATEWAY + other + "gw0 at gw1\n") == ["ethernet to gw1"]
    assert kinds(GATEWAY + other + "gw0 outside at gw1\n") == ["ip to gw1"]
    assert kinds(GATEWAY + SWITCH + other + "gw1 at sw0\ngw0 at gw1\n") == ["ip to gw1"]


@pytest.mark.parametrize(
    ("joins", "mistake"),
    [
        (
            "gw0 at sw0\nsw0 at gw0\n",
            "gw0 has one side for Ethernet frames, inside, and that is already connected",
        ),
        (
            "tun0 at gw0\ntun1: tme/host/tun/tun\ntun1 at gw0\n",
            "gw0 has one side for IP packets, outside, and that is already connected",
        ),
        ("gw0 upside at sw0\n", "gw0 has the sides inside and outside, but no 'upside'"),
        ("gw0 outside at sw0\n", "put a tmelink/gateway between them"),
    ],
)
def test_mistakes_with_sides(joins: str, mistake: str) -> None:
    (found,) = mistakes(GATEWAY + SWITCH + TUN + joins)
    assert mistake in found


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ("", "a gateway needs an address: inet ADDR/LEN, inet6 ADDR/LEN or both"),
        ("inet 10.38.2.0/24", "10.38.2.0 is not a valid host address in 10.38.2.0/24"),
        ("inet 127.0.0.1/8", "127.0.0.1 is not a valid host address"),
        ("inet6 ::/64", ":: is not a valid host address"),
        ("inet6 fd38::1/64 tunnel-mtu 1000", "IPv6 needs at least 1280"),
    ],
)
def test_mistakes_with_arguments(arguments: str, mistake: str) -> None:
    (found,) = mistakes(f"gw0: tmelink/gateway {arguments}\n")
    assert mistake in found


class Narrow(Element):
    """A tunnel that carries packets of 1300 bytes, and keeps them."""

    def __init__(self) -> None:
        super().__init__("narrow", None)
        self.got: list[bytes] = []

    def make_port(self) -> Port:
        return Port(self, kind="ip")

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int:
        return 1300

    def receive(self, port: Port, burst: Burst) -> None:
        self.got += map(bytes, burst.frames)


def test_a_machine_reaches_the_other_side_and_learns_of_a_narrow_tunnel() -> None:
    gateway = Gateway("gw0", Gateway.Arguments(inet=IPv4Interface("10.38.2.1/24")))
    host = Host(
        "le0",
        Host.Arguments(inet=IPv4Interface("10.38.2.2/24"), gateway=IPv4Interface("10.38.2.1/24").ip),
    )
    tunnel = Narrow()
    connect(gateway.port(), host.port())
    connect(tunnel.port(), gateway.port())

    async def main() -> None:
        await gateway.open()
        assert gateway.router.tunnel.mtu == 1300
        await host.open()
        try:
            own = await host.ping("10.38.2.1", count=1, interval=0.01)
            assert own.received == 1
            away = await host.ping("192.0.2.9", count=1, size=1400, timeout=0.05)
            assert away.received == 0
            assert "10.38.2.2" in await gateway.command(["neighbours"])
        finally:
            await host.close()
            await gateway.close()

    run(main)
    assert [len(packet) <= 1300 for packet in tunnel.got] == [True, True]
    assert gateway.ports[0].sent.frames >= 1


def test_a_gateway_that_is_not_open_counts() -> None:
    gateway = Gateway("gw0", Gateway.Arguments(inet=IPv4Interface("10.38.2.1/24")))
    port = gateway.port()
    gateway.receive(port, Burst([b""]))
    assert port.sent.drops == {"not open": 1}
    with pytest.raises(PortError):
        gateway.adopt(gateway.port(), "ethernet")
