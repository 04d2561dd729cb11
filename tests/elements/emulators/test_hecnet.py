"""HECnet's bridge against peers of the test's own, and its configuration as a machine file."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.aio import TIMEOUT, eventually, run
from tests.support.fuzzing import scaled
from tests.support.machines import Machine, opened
from tests.support.sockets import free_port
from tests.support.statements import make, words
from tmelink.cli import main
from tmelink.element import connect
from tmelink.elements.emulators import hecnet
from tmelink.elements.emulators.hecnet import Hecnet
from tmelink.errors import MachineError, PortError
from tmelink.importers import hecnet as hecnet_import
from tmelink.machine import load
from tmelink.source import Source
from tmelink.transport import sockets
from tmelink.transport.endpoints import Inet


def packet(kind: int, number: int = 0, *, payload: bytes = b"") -> bytes:
    """A frame of an EtherType, or with a length in its place."""
    head = b"\xab\0\0\3\0\0" + b"\xaa\0\4\0\1\4" + kind.to_bytes(2, "big")
    return head + (payload or number.to_bytes(4, "big")).ljust(46, b"\0")


DECNET, LAT, MOP, LOOPBACK, IPX, IP = 0x6003, 0x6004, 0x6002, 0x9000, 0x8137, 0x0800
RAW_IPX = packet(40, payload=b"\xff\xff\0\x28")
SAP = packet(40, payload=b"\xaa\xaa\3")


class Peer:
    """Another bridge: a socket."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.bind((address, 0))
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]

    async def next(self) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            return await asyncio.get_running_loop().sock_recv(self.sock, 65536)


def hub(*peers: str) -> tuple[Hecnet, int, list[Machine]]:
    """An element on a free port, and a machine at each of its connections."""
    port = free_port()
    element = make("tmelink/hecnet", f"local 127.0.0.1:{port}", "hub")
    assert isinstance(element, Hecnet)
    machines = []
    for given in peers:
        machine = Machine(offload=False)
        connect(element.port(words(given)), machine.port())
        machines.append(machine)
    return element, port, machines


def test_each_peer_gets_and_gives_its_protocols() -> None:
    async def body() -> None:
        one, two = Peer(), Peer("127.0.0.2")
        element, port, (first, second) = hub(
            f"peer 127.0.0.1:{one.port} decnet lat", f"peer 127.0.0.2:{two.port} ipx header"
        )
        everything = [packet(kind, kind) for kind in (DECNET, LAT, MOP, LOOPBACK, IPX, IP)] + [RAW_IPX, SAP]
        async with opened(element):
            await eventually(lambda: all(peer.address for peer in element._peers))
            first.send(*everything)
            assert [await one.next() for _ in range(4)] == everything[:4]
            second.send(*everything)
            # Older bridges have EtherIP's header before each frame.
            assert [await two.next() for _ in range(2)] == [b"\x30\0" + packet(IPX, IPX), b"\x30\0" + RAW_IPX]
            for peer, machine, passes in (
                (one, first, everything[:4]), (two, second, [everything[4], RAW_IPX])
            ):  # fmt: skip
                for each in everything:
                    peer.sock.sendto(each, ("127.0.0.1", port))
                    peer.sock.sendto(b"\x30\0" + each, ("127.0.0.1", port))
                peer.sock.sendto(b"short", ("127.0.0.1", port))
                await machine.until(lambda m=machine, p=passes: len(m.frames) == 2 * len(p))  # type: ignore[misc]
                assert machine.frames == [each for each in passes for _ in range(2)]
            dropped = element.counters()["wire received"].drops
            await eventually(lambda: dropped["protocol not for the peer"] == 9 + 13)
        for peer in (one, two):
            peer.sock.close()

    run(body)


def test_a_stranger_is_not_heard_and_a_peer_may_come_from_another_port() -> None:
    async def body() -> None:
        one, moved, stranger = Peer(), Peer(), Peer("127.0.0.9")
        element, port, (machine,) = hub(f"peer 127.0.0.1:{one.port} decnet")
        async with opened(element):
            await eventually(lambda: element._peers[0].address)
            stranger.sock.sendto(packet(DECNET, 1), ("127.0.0.1", port))
            moved.sock.sendto(packet(DECNET, 2), ("127.0.0.1", port))
            await machine.until(lambda: machine.frames == [packet(DECNET, 2)])
            machine.send(packet(DECNET, 3))
            assert await moved.next() == packet(DECNET, 3)
            assert element.counters()["wire received"].drops["not a peer"] == 1
        for peer in (one, moved, stranger):
            peer.sock.close()

    run(body)


def test_either_side_may_be_restarted() -> None:
    async def body() -> None:
        peer = Peer()
        element, port, (machine,) = hub(f"peer 127.0.0.1:{peer.port} decnet")
        for number in range(2):  # The element is restarted.
            async with opened(element):
                await eventually(lambda: element._peers[0].address is not None)
                machine.send(packet(DECNET, number))
                assert await peer.next() == packet(DECNET, number)
                peer.sock.sendto(packet(DECNET, 10 + number), ("127.0.0.1", port))
                await machine.until(lambda: packet(DECNET, 10 + number) in machine.frames)  # noqa: B023
        async with opened(element):
            peer.sock.close()
            again = Peer()  # The peer is restarted, and has another port, as behind NAT.
            again.sock.sendto(packet(DECNET, 20), ("127.0.0.1", port))
            await machine.until(lambda: packet(DECNET, 20) in machine.frames)
            machine.send(packet(DECNET, 21))
            assert await again.next() == packet(DECNET, 21)
            again.sock.close()

    run(body)


def test_a_passive_peer_is_sent_nothing_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(hecnet, "monotonic", lambda: now)

    async def body() -> None:
        nonlocal now
        one = Peer()
        element, port, (machine,) = hub(f"peer 127.0.0.1:{one.port} decnet passive")
        drops = element.counters()["wire sent"].drops
        async with opened(element):
            await eventually(lambda: element._peers[0].address)
            machine.send(packet(DECNET, 1))
            assert drops["passive peer is silent"] == 1
            one.sock.sendto(packet(DECNET, 2), ("127.0.0.1", port))
            await machine.until(lambda: len(machine.frames) == 1)
            now += 179
            machine.send(packet(DECNET, 3))
            assert await one.next() == packet(DECNET, 3)
            now += 2
            machine.send(packet(DECNET, 4))
            assert drops["passive peer is silent"] == 2
        one.sock.close()

    run(body)


def test_a_name_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hecnet, "RESOLVE_SECONDS", 0.02)
    monkeypatch.setattr(hecnet, "RETRY_SECONDS", 0.02)
    answers: list[Any] = [OSError(2, "no such name"), ("127.0.0.5", 4711), ("127.0.0.6", 4711)]

    async def resolve(*given: Any) -> list[tuple[int, Any]]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, OSError):
            raise answer
        return [(2, answer)]

    monkeypatch.setattr(sockets, "resolve", resolve)

    async def body() -> None:
        element, _, _ = hub("peer house.example.org:4711 decnet")
        async with opened(element):
            await eventually(lambda: element._peers[0].address == ("127.0.0.6", 4711))

    run(body)


@pytest.mark.fuzz
def test_mutilated_frames_are_counted_or_taken() -> None:
    chance = random.Random(1)
    given = hecnet.HecnetPeer(Inet("127.0.0.1", 1), decnet=True, ipx=True)
    for _ in range(scaled(5_000)):
        data = bytearray(b"\x30\0" + packet(chance.choice((DECNET, IPX, 40)), 1))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.randrange(len(data) + 1) :]
        for at in (0, 2):
            assert given.passes(bytes(data), at) in (True, False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "missing argument: peer HOST:PORT"),
        ("peer 127.0.0.1:1", "nothing would pass: add 'decnet', 'lat' or 'ipx'"),
        ("peer 127.0.0.1 decnet", "not a valid address and port"),
    ],
)
def test_mistakes_say_what_to_write(given: str, said: str) -> None:
    element = make("tmelink/hecnet", "local 5000", "hub")
    with pytest.raises(PortError, match=said):
        element.port(words(given))


BRIDGE = """! HECnet
[bridge]
local eth0
mim mim.example.org:4711
~home 192.0.2.5:4711
*any 192.0.2.6:4711

[decnet]
local
mim
home
[lat]
mim
[ipxii]
home
[ipxraw]
home
"""


def test_a_bridge_s_configuration_becomes_a_machine_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bridge.conf"
    path.write_text(BRIDGE)
    assert main(["import", str(path), "--port", "4712"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[3:] == [
        "sw0: tmelink/switch",
        "hecnet: tmelink/hecnet local 4712",
        "lan1 at sw0: tme/host/bsd/bpf interface eth0  # local",
        'hecnet peer "mim.example.org:4711" decnet lat at sw0  # mim',
        'hecnet peer "192.0.2.5:4711" decnet ipx passive at sw0  # home',
        "# any (192.0.2.6:4711) is in no section, so that nothing passes.",
    ]
    machine = load(text)
    assert list(machine.elements) == ["/sw0", "/hecnet", "/lan1"]
    assert len(machine.connections) == 3


def test_every_mistake_in_a_bridge_s_configuration_has_its_line() -> None:
    read = hecnet_import.machine_file
    with pytest.raises(MachineError) as caught:
        read(Source("b.conf", "x\n[bridge]\nx\nmim foo:99999\n[sna]\n[lat]\nnobody\n"), 4711)
    assert [(mistake.place.line, mistake.message.split(",")[0]) for mistake in caught.value.mistakes] == [
        (1, "expected a section first"),
        (3, "expected a name"),
        (4, "port 99999 is out of range: 1 to 65535"),
        (5, "unknown section [sna]; known are [bridge]"),
        (7, "nobody is not an entry of the section [bridge]"),
    ]


@pytest.mark.fuzz
def test_mutilated_configurations_are_read_or_refused() -> None:
    read = hecnet_import.machine_file
    chance = random.Random(2)
    for _ in range(scaled(5_000)):
        text = list(BRIDGE)
        for _ in range(chance.randrange(1, 6)):
            text[chance.randrange(len(text))] = chr(chance.choice((0, 10, 32, 58, 91, 93, 126, 233)))
        try:
            made = read(Source("b.conf", "".join(text)), 4711)
        except MachineError:
            continue
        # What is accepted is a machine file, whatever the names are.
        load(made)
