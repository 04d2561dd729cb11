"""Built-in machines that talk to each other in memory, on a clock that jumps to the next thing to do."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.aio import run_jumping as run
from tests.support.fuzzing import examples
from tests.support.sockets import free_port
from tmelink import ethernet, runtime
from tmelink.arguments import parse
from tmelink.element import Element, connect, disconnect
from tmelink.elements.builtin.addressed_element import ANNOUNCE_AFTER, default_mac
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.nic import Nic
from tmelink.elements.builtin.ping import PingReply
from tmelink.elements.builtin.switch import Switch
from tmelink.errors import ElementError
from tmelink.frame import Burst, Frame
from tmelink.machine import load
from tmelink.source import Mistake, Place, Source, Word


def arguments(text: str) -> tuple[Host.Arguments | None, list[Mistake]]:
    mistakes: list[Mistake] = []
    place = Place(Source("test", text), 1, 1)
    words = [Word(word, Place(place.source, 1, text.index(word) + 1)) for word in text.split()]
    return parse(Host.Arguments, words, place, mistakes.append), mistakes


def host(name: str, text: str) -> Host:
    parsed, mistakes = arguments(text)
    assert parsed is not None, mistakes
    return Host(name, parsed)


class Weather(Element):
    """A stretch of wire that loses, repeats and delays frames, always the same ones for the same seed."""

    capacity = 2

    def __init__(self, seed: int, loss: float = 0.0, repeat: float = 0.0, delay: float = 0.0) -> None:
        super().__init__("weather", None)
        self.random = random.Random(seed)
        self.loss, self.repeat, self.delay = loss, repeat, delay

    def receive(self, port: Any, burst: Burst) -> None:
        out = self.ports[1 - port.index]
        for frame in burst.frames:
            if self.random.random() < self.loss:
                continue
            for _ in range(1 + (self.random.random() < self.repeat)):
                later = self.random.uniform(0, self.delay)
                asyncio.get_running_loop().call_later(later, out.send, Burst([bytes(frame)]))


class Lab:
    """Elements that are open for the length of a test."""

    def __init__(self, *elements: Element) -> None:
        self.elements = elements

    async def __aenter__(self) -> None:
        for element in self.elements:
            await element.open()

    async def __aexit__(self, *_: object) -> None:
        for element in self.elements:
            await element.close()


def two(middle: Element | None = None) -> tuple[Host, Host, Lab]:
    a = host("le0", "inet 10.0.0.1/24 inet6 fd00::1/64")
    b = host("le0", "inet 10.0.0.2/24 inet6 fd00::2/64")
    if middle is None:
        connect(a.port(), b.port())
        return a, b, Lab(a, b)
    connect(a.port(), middle.port())
    connect(middle.port(), b.port())
    return a, b, Lab(a, b, middle)


def link_local(of: Host) -> IPv6Address:
    assert of.interface.ipv6 is not None
    return IPv6Address(of.interface.ipv6.link_local)


@pytest.mark.parametrize("size", [0, 56, 1472, 1473, 20000, 65507])
def test_two_hosts_ping_each_other(size: int) -> None:
    async def test() -> None:
        a, b, lab = two()
        async with lab:
            for source, address in (
                (a, "10.0.0.2"),
                (b, "10.0.0.1"),
                (a, "fd00::2"),
                (b, "fd00::1"),
                (a, link_local(b)),
                (a, "10.0.0.1"),
                (a, "fd00::1"),
            ):
                result = await source.ping(address, count=3, interval=0.1, size=size)
                assert (result.sent, result.received, result.duplicates) == (3, 3, 0)
                assert result.minimum <= result.average <= result.maximum
            assert not a.interface.wire.drops
            assert not b.interface.wire.drops
            assert a.ports[0].sent.drops is a.interface.wire.drops

    run(test)


def test_three_hosts_on_a_switch() -> None:
    async def test() -> None:
        switch = Switch("sw0", Switch.Arguments())
        hosts = [host("le0", f"inet 10.0.0.{number}/24") for number in (1, 2, 3)]
        for one in hosts:
            connect(one.port(), switch.port())
        async with Lab(switch, *hosts):
            results = await asyncio.gather(
                *(one.ping(f"10.0.0.{number}", count=5) for one in hosts for number in (1, 2, 3))
            )
            assert [(result.sent, result.received) for result in results] == [(5, 5)] * 9
            assert {mac for mac, *_ in switch.table()} == {one.mac for one in hosts}
            for one in hosts:
                assert not one.interface.wire.drops

    run(test)


def test_the_round_trip_time_is_that_of_the_wire() -> None:
    class Delay(Weather):
        def receive(self, port: Any, burst: Burst) -> None:
            frames: list[Frame] = [bytes(frame) for frame in burst.frames]
            out = self.ports[1 - port.index]
            asyncio.get_running_loop().call_later(0.02, out.send, Burst(frames))

    async def test() -> None:
        a, _, lab = two(Delay(0))
        async with lab:
            replies: list[PingReply] = []
            result = await a.ping("10.0.0.2", count=3, interval=0.01, on_reply=replies.append)
            # The first waits for ARP as well.
            assert result.maximum == pytest.approx(0.08)
            assert result.minimum == pytest.approx(0.06)
            result = await a.ping("10.0.0.2", count=3, interval=0.01, size=9, on_reply=replies.append)
            assert result.minimum == pytest.approx(0.04)
            assert result.maximum == pytest.approx(0.04)
            assert [(reply.sequence, reply.size, reply.ttl, reply.error) for reply in replies] == [
                *((number, 56, 64, None) for number in (1, 2, 3)),
                *((number, 9, 64, None) for number in (1, 2, 3)),
            ]
            assert replies[-1].rtt == pytest.approx(0.04)

    run(test)


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
@pytest.mark.parametrize("size", [56, 5000])
def test_bad_weather(address: str, size: int) -> None:
    async def test() -> None:
        a, b, lab = two(Weather(5, loss=0.05, repeat=0.1, delay=0.05))
        async with lab:
            replies: list[PingReply] = []
            result = await a.ping(
                address, count=200, interval=0.02, size=size, timeout=4, on_reply=replies.append
            )
            assert result.sent == 200
            assert sorted(reply.sequence for reply in replies) == list(range(1, 201))
            assert result.received == sum(reply.rtt is not None for reply in replies)
            # 2 of 56 bytes and 8 of 5000 bytes must get through, each with 0.95.
            assert 0.5 < result.received / result.sent < 1
            # A repeated piece is no second reply.
            assert (result.duplicates > 0) == (size == 56)
            # What is incomplete is given up in time.
            await asyncio.sleep(200)
            for one in (a, b):
                assert one.interface.deadline() is None

    run(test)


def test_lost_requests_time_out_in_their_order() -> None:
    async def test() -> None:
        weather = Weather(1)
        a, _, lab = two(weather)
        async with lab:
            await a.ping("10.0.0.2", count=1)
            weather.loss = 1.0
            replies: list[PingReply] = []
            start = asyncio.get_running_loop().time()
            result = await a.ping("10.0.0.2", count=3, interval=0.5, timeout=2, on_reply=replies.append)
            assert replies == [PingReply(number, None, "timeout") for number in (1, 2, 3)]
            assert (result.received, result.loss) == (0, 1.0)
            assert asyncio.get_running_loop().time() - start == pytest.approx(3)

    run(test)


def test_late_replies_are_not_received_ones() -> None:
    async def test() -> None:
        weather = Weather(1)
        a, _, lab = two(weather)
        async with lab:
            await a.ping("10.0.0.2", count=1)
            weather.delay = 3.0
            result = await a.ping("10.0.0.2", count=40, interval=0.5, timeout=1)
            assert result.received + result.lost == 40
            assert result.late > 0
            assert result.duplicates == 0

    run(test)


def test_nobody_there() -> None:
    async def test() -> None:
        a, _, lab = two()
        async with lab:
            for address in ("10.0.0.9", "fd00::9"):
                result = await a.ping(address, count=2, interval=0.1, timeout=5)
                assert (result.received, result.errors) == (0, {"host unreachable": 2})
            for address in ("192.168.1.1", "2001:db8::1"):
                result = await a.ping(address, count=2, interval=0.1)
                assert result.errors == {"no route to host": 2}

    run(test)


def test_a_neighbour_that_leaves_and_comes_back() -> None:
    async def test() -> None:
        a, b, lab = two()
        async with lab:
            assert (await a.ping("10.0.0.2", count=1)).received == 1
            port, other = a.ports[0], b.ports[0]
            disconnect(port)
            await asyncio.sleep(40)
            assert (await a.ping("10.0.0.2", count=10)).received == 0
            await asyncio.sleep(10)
            connect(port, other)
            assert (await a.ping("10.0.0.2", count=1)).received == 1

    run(test)


def test_it_announces_itself() -> None:
    async def test() -> None:
        a = host("le0", "inet 10.0.0.1/24")
        nic = Nic("nic", Nic.Arguments())
        connect(a.port(), nic.port())
        async with Lab(nic, a):
            await asyncio.sleep(ANNOUNCE_AFTER / 2)
            assert nic.received.frames == 0
            kinds = [int.from_bytes((await nic.recv())[12:14], "big") for _ in range(3)]
            assert kinds == [ethernet.ARP, ethernet.IPV6, ethernet.IPV6]

    run(test)


def test_frames_are_sent_by_the_burst() -> None:
    async def test() -> None:
        class Count(Nic):
            bursts: list[int] = []  # noqa: RUF012

            def receive(self, port: Any, burst: Burst) -> None:
                self.bursts.append(len(burst.frames))

        a = host("le0", "inet 10.0.0.1/24 mac 02:00:00:00:00:01")
        nic = Count("nic", Nic.Arguments())
        connect(a.port(), nic.port())
        async with Lab(nic, a):
            request = ethernet.build(a.mac, b"\2\0\0\0\0\2", ethernet.ARP)
            request += bytes.fromhex("0001080006040001 020000000002 0a000002 000000000000 0a000001")
            nic.ports[0].send(Burst([request] * 8))
            assert nic.bursts == [8]

    run(test)


def test_pings_end_with_their_host() -> None:
    async def test() -> None:
        a, _, lab = two()
        async with lab:
            ping = asyncio.create_task(a.ping("10.0.0.2", count=100))
            await asyncio.sleep(5.5)
            await a.close()
            with pytest.raises(ElementError, match="le0 was closed"):
                await ping
            with pytest.raises(ElementError, match="not open"):
                await a.ping("10.0.0.2")
            a.ports[0].peer.send(Burst([bytes(60)]))  # type: ignore[union-attr]
            assert a.interface.wire.drops["not open"] == 1
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run(test)


def test_what_a_callback_raises_ends_its_ping_alone() -> None:
    async def test() -> None:
        a, _, lab = two()
        async with lab:
            told: list[PingReply] = []

            def complain(reply: PingReply) -> None:
                told.append(reply)
                if len(told) == 2:
                    raise LookupError("enough")

            other = asyncio.create_task(a.ping("10.0.0.2"))
            start = asyncio.get_running_loop().time()
            with pytest.raises(LookupError, match="enough"):
                await a.ping("10.0.0.2", on_reply=complain)
            assert asyncio.get_running_loop().time() - start == pytest.approx(1)
            assert len(told) == 2
            assert (await other).received == 4

    run(test)


def test_a_cancelled_ping_is_over() -> None:
    async def test() -> None:
        a, _, lab = two()
        async with lab:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(a.ping("10.0.0.2", count=100), 5)
            assert not a._pings

    run(test)


def test_pings_are_bounded() -> None:
    async def test() -> None:
        a, _, lab = two()
        async with lab, asyncio.TaskGroup() as group:
            many = [group.create_task(a.ping("10.0.0.2", count=2)) for _ in range(64)]
            await asyncio.sleep(0.5)
            with pytest.raises(ElementError, match="64 pings running"):
                await a.ping("10.0.0.2")
        assert {task.result().received for task in many} == {2}

    run(test)


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"interval": 0.0},
        {"interval": float("nan")},
        {"timeout": 0.0},
        {"timeout": 61.0},
        {"size": -1},
        {"size": 65508},
    ],
)
def test_impossible_pings(wrong: dict[str, Any]) -> None:
    async def test() -> None:
        a, _, lab = two()
        async with lab:
            with pytest.raises(ValueError, match=next(iter(wrong))):
                await a.ping("10.0.0.2", **wrong)
            with pytest.raises(ValueError, match="does not appear"):
                await a.ping("nobody")

    run(test)


def test_a_family_that_it_lacks() -> None:
    async def test() -> None:
        a = host("le0", "inet6 fd00::1/64")
        async with Lab(a):
            with pytest.raises(ElementError, match="le0 has no IPv4 address to ping"):
                await a.ping("10.0.0.2")

    run(test)


def test_commands() -> None:
    async def test() -> None:
        a, b, lab = two()
        async with lab:
            assert await a.command(["neighbours"]) == "no neighbours"
            said = await a.command(["ping", "10.0.0.2", "count", "2", "interval", "0.5", "size", "100"])
            assert said.startswith("10.0.0.2: 2 sent, 2 received, 0% loss\nrtt min/avg/max ")
            await asyncio.sleep(2)
            assert await a.command(["neighbours"]) == f"10.0.0.2  {ethernet.text(b.mac)}  reachable  2 s"
            assert await a.command(["addresses"]) == (
                f"mac {ethernet.text(a.mac)}\ninet 10.0.0.1/24\ninet6 fd00::1/64\ninet6 {link_local(a)}/64"
            )
            for words in ([], ["pong"], ["addresses", "all"]):
                with pytest.raises(ElementError, match="le0 knows the commands: ping ADDR"):
                    await a.command(words)

    run(test)


# Arguments


def test_arguments() -> None:
    parsed, mistakes = arguments(
        "mac 02:00:00:00:00:01 inet 10.0.0.1/24 gateway 10.0.0.254 inet6 fd00::1/64 gateway6 fe80::1 mtu 1400"
    )
    assert not mistakes
    assert parsed == Host.Arguments(
        mac=bytes.fromhex("020000000001"),
        inet=ipaddress.IPv4Interface("10.0.0.1/24"),
        inet6=ipaddress.IPv6Interface("fd00::1/64"),
        gateway=ipaddress.IPv4Address("10.0.0.254"),
        gateway6=ipaddress.IPv6Address("fe80::1"),
        mtu=1400,
    )
    for text in (
        "inet 10.0.0.0/31",
        "inet 10.0.0.1/32",
        "inet 10.0.0.1/24 mtu 576",
        "inet6 fd00::1/64 mtu 1280",
    ):
        assert arguments(text)[1] == []


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "a host needs an address: inet ADDR/LEN, inet6 ADDR/LEN or both"),
        ("mtu 1500 inet 10.0.0.0/24", 10, "10.0.0.0 is not a valid host address in 10.0.0.0/24"),
        ("inet 10.0.0.255/24", 1, "10.0.0.255 is not a valid host address in 10.0.0.0/24"),
        ("inet 224.0.0.1/24", 1, "224.0.0.1 is not a valid host address"),
        ("inet 127.0.0.1/8", 1, "127.0.0.1 is not a valid host address"),
        ("inet6 ff02::1/64", 1, "ff02::1 is not a valid host address"),
        ("inet6 ::/64", 1, ":: is not a valid host address"),
        ("inet 10.0.0.1/24 gateway 10.0.1.1", 18, "10.0.1.1 is not in the network of 10.0.0.1/24"),
        ("inet 10.0.0.1/24 gateway 10.0.0.1", 18, "10.0.0.1 is not in the network of 10.0.0.1/24"),
        ("inet6 fd00::1/64 gateway 10.0.0.1", 18, "a gateway needs inet ADDR/LEN too"),
        ("inet6 fd00::1/64 gateway6 fd01::1", 18, "fd01::1 is not in the network of fd00::1/64"),
        ("inet 10.0.0.1/24 gateway6 fd01::1", 18, "a gateway6 needs inet6 ADDR/LEN too"),
        ("inet6 fd00::1/64 mtu 1279", 18, "IPv6 needs an mtu of at least 1280"),
    ],
)
def test_arguments_that_do_not_go_together(text: str, column: int, message: str) -> None:
    parsed, mistakes = arguments(text)
    assert parsed is None
    assert [(mistake.message, mistake.place.column) for mistake in mistakes] == [(message, column)]


def test_the_default_mac_tells_hosts_apart() -> None:
    names = ("le0", "a/le0")
    texts = ("inet 10.0.0.1/24", "inet 10.0.0.2/24", "inet6 fd00::1/64", "inet 10.0.0.1/24 inet6 fd00::1/64")
    macs = {host(name, text).mac for name in names for text in texts}
    assert len(macs) == 8
    assert all(mac[0] & 3 == 2 for mac in macs)
    parsed, _ = arguments("inet 10.0.0.1/24")
    assert parsed is not None
    assert default_mac("le0", parsed) == host("le0", "inet 10.0.0.1/24").mac
    assert host("le0", "inet 10.0.0.1/24 mac 02:00:00:00:00:07").mac == bytes.fromhex("020000000007")


@examples(200)
@given(st.lists(st.binary(max_size=80), max_size=5), st.sampled_from([0x0800, 0x0806, 0x86DD]))
def test_any_bytes_are_taken_or_counted(payloads: list[bytes], ethertype: int) -> None:
    async def test() -> None:
        a, _, lab = two()
        async with lab:
            peer = a.ports[0].peer
            assert peer is not None
            peer.send(Burst(list(payloads)))
            header = a.mac + b"\2\0\0\0\0\7" + ethertype.to_bytes(2, "big")
            peer.send(Burst([header + payload for payload in payloads]))
            result = await a.ping("10.0.0.2", count=1)
            assert result.received == 1

    run(test)


PATH = """
sw0: tmelink/switch
sw1: tmelink/switch
le0 at sw0: tmelink/host inet 10.0.77.1/24
near at sw0: tmelink/host inet 10.0.77.3/24
far at sw1: tmelink/host inet 10.0.77.2/24
here at sw0: tmelink/udp local 127.0.0.1:{0} remote 127.0.0.1:{1}
there at sw1: tmelink/udp local 127.0.0.1:{1} remote 127.0.0.1:{0}
"""


def test_a_ping_begins_when_what_is_behind_the_switch_is_up() -> None:
    """What is lost before is not counted, and who is on this side is not waited for."""

    async def main() -> None:
        async with runtime.Lab(load(PATH.format(free_port(), free_port()))) as lab:
            le0, here = lab["le0"], lab["here"]
            assert isinstance(le0, Host)
            # As a link whose peer starts later.
            lab.disconnect("here")
            lab.disconnect("far")
            here.up = False
            lab.connect("here", "sw0")
            near = await le0.ping("10.0.77.3", count=3, interval=0.01)
            assert near.received == near.sent == 3
            ping = asyncio.create_task(le0.ping("10.0.77.2", count=3, interval=0.01))
            await asyncio.sleep(0.3)
            lab.connect("far", "sw1")
            here.up = True
            result = await ping
            assert (result.sent, result.received, result.duplicates) == (3, 3, 0)

    asyncio.run(main())
