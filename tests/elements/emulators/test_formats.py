"""Link formats over loopback and unix sockets: both roles, against each other and against bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aio import TIMEOUT, eventually, run
from tests.support.machines import Events, Machine, frame
from tests.support.sockets import free_port
from tests.support.statements import mistakes, words
from tmelink import registry
from tmelink.element import connect
from tmelink.elements.emulators import stream_carrier, udp_carrier, unix_carrier
from tmelink.elements.emulators.cable import Cable
from tmelink.elements.emulators.ltoudp import LtoUdp
from tmelink.elements.emulators.vde_socket import UnreachablePlugError
from tmelink.errors import ElementError
from tmelink.frame import Burst, Gso, Run
from tmelink.source import Mistake, Place, Source
from tmelink.transport import vde


def make(module: str, text: str) -> Cable:
    cls = registry.element_class(module)
    mistakes: list[Mistake] = []
    arguments = cls.parse(words(text), Place(Source("test.conf", text), 1, 1), mistakes.append)
    assert not mistakes, mistakes
    element = cls("cable", arguments)
    assert isinstance(element, Cable)
    return element


@contextlib.asynccontextmanager
async def running(*cables: Cable) -> AsyncIterator[list[Machine]]:
    """The cables, open, each with a machine on it."""
    machines = []
    async with contextlib.AsyncExitStack() as stack:
        for cable in cables:
            machine = Machine(offload=False)
            connect(cable.port(), machine.port())
            machines.append(machine)
            stack.push_async_callback(cable.close)
            await cable.open()
        yield machines


def pair_of(kind: str, directory: Path) -> tuple[Cable, Cable]:
    one, two = free_port(), free_port()
    if kind == "udp":
        return (
            make("tmelink/udp", f"local 127.0.0.1:{one} remote 127.0.0.1:{two}"),
            make("tmelink/udp", f"local {two} float"),
        )
    if kind == "l2tpv3":
        return (
            make("tmelink/l2tpv3", f"local 127.0.0.1:{one} remote 127.0.0.1:{two} session 1 cookie 00112233"),
            make("tmelink/l2tpv3", f"local 127.0.0.1:{two} remote 127.0.0.1:{one} session 1 cookie 00112233"),
        )
    if kind == "dgram inet":
        return (
            make("tmelink/qemu/dgram", f"local 127.0.0.1:{one} remote localhost:{two}"),
            make("tmelink/qemu/dgram", f"local 127.0.0.1:{two} remote 127.0.0.1:{one}"),
        )
    if kind == "dgram unix":
        return (
            make("tmelink/qemu/dgram", f"local {directory}/a remote {directory}/b"),
            make("tmelink/qemu/dgram", f"local {directory}/b remote {directory}/a"),
        )
    if kind == "stream inet":
        port = free_port(socket.SOCK_STREAM)
        return (
            make("tmelink/qemu/stream", f"server 127.0.0.1:{port} remote 127.0.0.1"),
            make("tmelink/qemu/stream", f"connect localhost:{port}"),
        )
    if kind == "stream unix":
        return (
            make("tmelink/qemu/stream", f"server {directory}/s"),
            make("tmelink/qemu/stream", f"connect {directory}/s"),
        )
    if kind in ("be16", "le16", "be32"):
        port = free_port(socket.SOCK_STREAM)
        return (
            make("tmelink/stream", f"server 127.0.0.1:{port} framing {kind}"),
            make("tmelink/stream", f"connect 127.0.0.1:{port} framing {kind}"),
        )
    if kind == "multicast":
        text = f"230.77.0.1:{one} local 127.0.0.1"
        return make("tmelink/qemu/multicast", text), make("tmelink/qemu/multicast", text)
    assert kind == "vde"
    return make("tmelink/vde", f"listen {directory}/vde"), make("tmelink/vde", f"{directory}/vde")


KINDS = [
    "be16",
    "le16",
    "be32",
    "l2tpv3",
    "udp",
    "dgram inet",
    "dgram unix",
    "stream inet",
    "stream unix",
    "multicast",
    "vde",
]


@pytest.mark.parametrize("kind", KINDS)
def test_both_ends_exchange_frames_of_every_size(kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        one, two = pair_of(kind, tmp_path)
        async with running(one, two) as (a, b):
            await meet(a, b)
            sent = [frame(number, 60 + 97 * number) for number in range(1, 16)]
            a.send(*sent)
            b.send(*sent)
            await a.until(lambda: 15 in a.numbers)
            await b.until(lambda: 15 in b.numbers)
            assert [got for got, _ in a.got if got in sent] == sent
            assert [got for got, _ in b.got if got in sent] == sent
            for cable in (one, two):
                assert "short frame" not in cable.endpoint.received.drops
                assert cable.endpoint.sent.frames >= 15
        assert sorted(os.listdir(tmp_path)) == []

    run(body)


async def meet(a: Machine, b: Machine) -> None:
    """Send numbered 0 from both ends until both are heard."""
    async with asyncio.timeout(TIMEOUT):
        while 0 not in a.numbers or 0 not in b.numbers:
            a.send(frame(0))
            b.send(frame(0))
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["udp", "l2tpv3", "dgram unix", "stream unix", "vde"])
def test_a_super_frame_is_cut_into_what_the_peer_takes(kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        one, two = pair_of(kind, tmp_path)
        async with running(one, two) as (a, b):
            await meet(a, b)
            payload = os.urandom(4000)
            head = frame(0)[:12] + b"\x08\0"
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + 4000, 1, 0, 64, 6, 0, bytes(4), bytes(4))
            tcp = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 0x50, 0x10, 1000, 0, 0)
            before = len(b.got)
            a.ports[0].send(Burst([head + ip + tcp + payload], [Gso(1, 1460, 54, 34, 16)]))
            await b.until(lambda: len([1 for got, _ in b.got[before:] if got[12:14] == b"\x08\0"]) == 3)
            pieces = [got[54:] for got, _ in b.got[before:] if got[12:14] == b"\x08\0"]
            assert b"".join(pieces) == payload

    run(body)


def test_only_the_remote_is_heard() -> None:
    async def body() -> None:
        here, there = free_port(), free_port()
        cable = make("tmelink/udp", f"local 127.0.0.1:{here} remote 127.0.0.1:{there}")
        async with running(cable) as (machine,):
            with (
                socket.socket(type=socket.SOCK_DGRAM) as stranger,
                socket.socket(type=socket.SOCK_DGRAM) as peer,
            ):
                peer.bind(("127.0.0.1", there))
                stranger.sendto(frame(1), ("127.0.0.1", here))
                peer.sendto(frame(2), ("127.0.0.1", here))
                peer.sendto(b"short", ("127.0.0.1", here))
                peer.sendto(frame(3), ("127.0.0.1", here))
                await machine.until(lambda: 3 in machine.numbers)
        assert machine.numbers == [2, 3]
        assert cable.endpoint.received.drops == {"not the remote": 1, "short frame": 1}

    run(body)


@pytest.mark.parametrize("floats", ["", " float"])
def test_a_name_is_followed_to_another_address(
    floats: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(udp_carrier, "AGAIN_PAUSE", 0.02)
    answers = ["127.0.0.1"]
    ask = socket.getaddrinfo

    def found(host: str, *rest: Any) -> Any:
        if host != "emulator.test":
            return ask(host, *rest)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (answer, rest[0])) for answer in answers]

    monkeypatch.setattr(socket, "getaddrinfo", found)

    async def body() -> None:
        port = free_port()
        cable = make("tmelink/udp", f"local 127.0.0.1:{free_port()} remote emulator.test:{port}{floats}")
        with contextlib.ExitStack() as stack:
            ends = []
            for host in ("127.0.0.1", "127.0.0.2"):
                ends.append(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
                ends[-1].bind((host, port))
                ends[-1].setblocking(False)
            async with running(cable) as (machine,):

                async def heard_at(end: socket.socket) -> None:
                    while end not in select.select(ends, [], [], 0)[0]:
                        machine.send(frame(1))
                        await asyncio.sleep(0.01)

                await heard_at(ends[0])
                # Another address beside it is no reason to leave one that still holds.
                answers[:] = ["127.0.0.2", "127.0.0.1"]
                await asyncio.sleep(0.1)
                assert cable.endpoint.carrier.peer == ("127.0.0.1", port)  # type: ignore[union-attr]
                answers[:] = ["127.0.0.2"]
                await heard_at(ends[1])
                answers.clear()
                await eventually(lambda: any("staying with 127.0.0.2" in m for m in caplog.messages))
        told = [message for message in caplog.messages if "emulator.test" in message]
        assert told == [
            f"emulator.test is now 127.0.0.2:{port}",
            f"emulator.test: Name or service not known; staying with 127.0.0.2:{port}",
        ]

    with caplog.at_level("INFO", "tmelink"):
        run(body)


def test_a_floating_end_answers_where_it_was_last_addressed_from() -> None:
    async def body() -> None:
        here = free_port()
        cable = make("tmelink/udp", f"local 127.0.0.1:{here} float")
        events = Events()
        cable.status = events
        async with running(cable) as (machine,):
            machine.send(frame(0))
            for number in (1, 2):
                with socket.socket(type=socket.SOCK_DGRAM) as peer:
                    peer.settimeout(TIMEOUT)
                    peer.sendto(frame(number), ("127.0.0.1", here))
                    await machine.until_number(number)
                    machine.send(frame(number + 10))
                    assert peer.recv(2000) == frame(number + 10)
                    assert (await events.next())[0] == "up"
        assert cable.endpoint.sent.drops == {"no peer yet": 1}

    run(body)


PREFIXES = {"be16": "!H", "le16": "<H", "be32": "!I"}


@pytest.mark.parametrize("framing", PREFIXES)
@pytest.mark.parametrize("role", ["server", "connect"])
def test_a_length_stands_before_each_frame_as_asked(
    framing: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a socket of the test's own, in both roles; a second peer follows the first."""
    monkeypatch.setattr(stream_carrier, "RETRY_PAUSE", 0.01)

    async def body() -> None:
        path = str(tmp_path / "s")
        listening = socket.socket(socket.AF_UNIX)
        if role == "connect":
            listening.bind(path)
            listening.listen()
        element = make("tmelink/stream", f"{role} {path} framing {framing}")
        loop = asyncio.get_running_loop()
        with listening:
            async with running(element) as (machine,):
                for number in (1, 2):
                    if role == "server":
                        peer = socket.socket(socket.AF_UNIX)
                        peer.connect(path)
                    else:
                        listening.setblocking(False)
                        peer, _ = await loop.sock_accept(listening)
                    with peer:
                        peer.setblocking(False)
                        await eventually(lambda: element.endpoint.carrier is not None)
                        # Enough equal ones that they are taken as a run, in two pieces.
                        many = [frame(10 * number + each, 300) for each in range(9)]
                        data = b"".join(struct.pack(PREFIXES[framing], 300) + each for each in many)
                        await loop.sock_sendall(peer, data[:1000])
                        await loop.sock_sendall(peer, data[1000:])
                        await machine.until(lambda many=many: machine.frames[-1:] == many[-1:])  # type: ignore[misc]
                        assert machine.frames[-9:] == many
                        machine.send(*many)
                        back = b""
                        while len(back) < len(data):
                            back += await loop.sock_recv(peer, 65536)
                        assert back == data
                    await eventually(lambda: element.endpoint.carrier is None)

    run(body)


@pytest.mark.parametrize("kind", [*KINDS, "ltoudp", "86box"])
def test_either_side_may_be_restarted(kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        if kind in ("ltoudp", "86box"):
            one, two = (make(f"tmelink/{kind}", "local 127.0.0.1") for _ in range(2))
        else:
            one, two = pair_of(kind, tmp_path)
        machines = []
        for cable in (one, two):
            machine = Machine(offload=False)
            connect(cable.port(), machine.port())
            machines.append(machine)
            await cable.open()
        here, there = machines
        try:
            for number, restarted in enumerate((None, two, one)):
                if restarted is not None:
                    await restarted.close()
                    await restarted.open()
                # Whoever lost its peer hears again where that is; what is sent before that is lost.
                await both_ways(here, there, 10 * number, kind == "ltoudp")
        finally:
            await one.close()
            await two.close()

    run(body)


async def both_ways(here: Machine, there: Machine, number: int, localtalk: bool) -> None:
    """Send frames until one has arrived at each end."""

    def sent(count: int) -> bytes:
        if localtalk:
            # An LToUDP datagram in a frame, as the element itself makes it.
            carrier = make("tmelink/ltoudp", "local 127.0.0.1")
            assert isinstance(carrier, LtoUdp)
            (packet,) = carrier._open([count.to_bytes(4, "big") + b"\x05\x06\x01" + bytes(20)])
            assert not isinstance(packet, Run)
            return bytes(packet)
        return frame(count)

    async with asyncio.timeout(TIMEOUT):
        while sent(number + 1) not in here.frames or sent(number + 2) not in there.frames:
            here.send(sent(number + 2))
            there.send(sent(number + 1))
            await asyncio.sleep(0.01)


def test_a_stream_comes_back_after_its_peer_was_restarted(tmp_path: Path) -> None:
    async def body() -> None:
        client = make("tmelink/qemu/stream", f"connect {tmp_path}/s")
        async with running(client) as (machine,):
            for number in (1, 2):
                async with running(make("tmelink/qemu/stream", f"server {tmp_path}/s")) as (other,):
                    await eventually(lambda: client.endpoint.carrier is not None)
                    machine.send(frame(number))
                    await other.until_number(number)
                await eventually(lambda: client.endpoint.carrier is None)
                before = machine.ports[0].peer
                machine.send(frame(9))
                assert before is not None
                assert before.sent.drops["link down"] == number

    run(body)


def test_a_server_keeps_its_peer_when_another_one_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmelink.elements.emulators.stream_carrier.PARTING_SECONDS", 0.01)

    async def body() -> None:
        server = make("tmelink/qemu/stream", f"server {tmp_path}/s")
        first, second = (make("tmelink/qemu/stream", f"connect {tmp_path}/s") for _ in range(2))
        async with running(server, first) as (machine, other):
            await eventually(
                lambda: first.endpoint.carrier is not None and server.endpoint.carrier is not None
            )
            # Whoever has said nothing yet would have to give way.
            other.send(frame(4))
            await machine.until(lambda: 4 in machine.numbers)
            async with running(second) as (_third,):
                drops = server.endpoint.received.drops
                await eventually(lambda: drops["already connected"] > 0)
            other.send(frame(5))
            await machine.until(lambda: 5 in machine.numbers)

    run(body)


def test_a_server_lets_in_whoever_follows_a_peer_that_just_ended(tmp_path: Path) -> None:
    async def body() -> None:
        server = make("tmelink/qemu/stream", f"server {tmp_path}/s")
        async with running(server) as (machine,):
            for number in range(1, 4):
                # As QEMU does when it is killed and started again: no try but this one.
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.connect(f"{tmp_path}/s")
                    peer.sendall(struct.pack("!I", 60) + frame(number))
                await machine.until_number(number)
        assert machine.numbers == [1, 2, 3]

    run(body)


def test_a_stream_server_lets_in_only_its_remote() -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        server = make("tmelink/qemu/stream", f"server 127.0.0.1:{port} remote 127.0.0.9")
        async with running(server):
            with socket.create_connection(("127.0.0.1", port)):
                await eventually(lambda: server.endpoint.received.drops["not the remote"] == 1)
            assert server.endpoint.carrier is None

    run(body)


def test_a_length_beyond_qemus_ends_the_connection(tmp_path: Path) -> None:
    async def body() -> None:
        server = make("tmelink/qemu/stream", f"server {tmp_path}/s")
        async with running(server):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(f"{tmp_path}/s")
                peer.sendall(struct.pack("!I", 4096 + 65536 + 1))
                await eventually(lambda: server.endpoint.received.drops["bad length"] == 1)

    run(body)


def test_an_empty_frame_is_too_short_and_ends_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        server = make("tmelink/qemu/stream", f"server {tmp_path}/s")
        async with running(server) as (machine,):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(f"{tmp_path}/s")
                empty = struct.pack("!I", 0)
                # Also in a row, among which equal datagrams are searched for.
                peer.sendall(empty + struct.pack("!I", 60) + frame(1, 60) + empty * 9)
                await eventually(lambda: server.endpoint.received.drops["short frame"] == 10)
                peer.sendall(struct.pack("!I", 60) + frame(2, 60))
                await machine.until(lambda: machine.frames == [frame(1, 60), frame(2, 60)])
                assert server.up

    run(body)


def test_a_unix_peer_that_was_restarted_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_carrier, "LOOK_PAUSE", 0.01)

    async def body() -> None:
        one = make("tmelink/qemu/dgram", f"local {tmp_path}/a remote {tmp_path}/b")
        async with running(one) as (a,):
            for number in (1, 2):
                two = make("tmelink/qemu/dgram", f"local {tmp_path}/b remote {tmp_path}/a")
                async with running(two) as (b,):
                    await meet(a, b)
                    b.send(frame(number))
                    await a.until_number(number)
                a.got.clear()

    run(body)


def test_an_abandoned_socket_file_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    async def body() -> None:
        path = tmp_path / "s"
        for kind, module in ((socket.SOCK_STREAM, f"server {path}"), (socket.SOCK_DGRAM, None)):
            old = socket.socket(socket.AF_UNIX, kind)
            old.bind(str(path))
            if kind == socket.SOCK_STREAM:
                old.listen()
            element = (
                make("tmelink/qemu/stream", module)
                if module
                else make("tmelink/qemu/dgram", f"local {path} remote {path}2")
            )
            with pytest.raises(ElementError, match="in use by another program"):
                await element.open()
            await element.close()
            assert path.exists()
            old.close()
            async with running(element):
                pass
            assert not path.exists()
        path.write_text("no socket")
        element = make("tmelink/qemu/stream", f"server {path}")
        with pytest.raises(ElementError, match="or no socket"):
            await element.open()
        await element.close()
        assert path.read_text() == "no socket"

    run(body)


def test_an_inherited_socket_is_used_and_left_open() -> None:
    async def body() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            theirs.settimeout(TIMEOUT)
            async with running(make("tmelink/qemu/dgram", f"fd {ours.fileno()}")) as (machine,):
                machine.send(frame(1))
                assert theirs.recv(2000) == frame(1)
                theirs.send(frame(2))
                await machine.until(lambda: machine.numbers == [2])
            assert ours.getsockname() == ""
        with pytest.raises(ElementError, match="is not an open socket"):
            await make("tmelink/qemu/dgram", "fd 99999").open()

    run(body)


def test_a_group_does_not_hand_back_what_was_sent() -> None:
    async def body() -> None:
        one, two = pair_of("multicast", Path("/"))
        async with running(one, two) as (a, b):
            a.send(*[frame(number) for number in range(20)])
            await b.until(lambda: 19 in b.numbers)
            b.send(frame(20))
            await a.until(lambda: 20 in a.numbers)
            assert a.numbers == [20]
        assert one.endpoint.received.frames == 1

    run(body)


def test_a_plug_finds_its_switch_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmelink.elements.emulators.vde_plug.RETRY_PAUSE", 0.01)

    async def body() -> None:
        async with running(make("tmelink/vde", f"{tmp_path}/vde")) as (plugged,):
            for number in (1, 2):
                async with running(make("tmelink/vde", f"listen {tmp_path}/vde")) as (other,):
                    await meet(plugged, other)
                    other.send(frame(number))
                    await plugged.until_number(number)
                plugged.got.clear()

    run(body)


def test_all_plugs_share_one_segment(tmp_path: Path) -> None:
    async def body() -> None:
        base = make("tmelink/vde", f"listen {tmp_path}/vde")
        plugs = [make("tmelink/vde", f"{tmp_path}/vde") for _ in range(3)]
        async with running(base, *plugs) as (machine, *others):
            for other in others:
                await meet(machine, other)
            others[0].send(frame(1))
            for other in (machine, *others[1:]):
                await other.until_number(1)
            assert 1 not in others[0].numbers

    run(body)


def test_a_plug_with_an_abstract_socket_is_let_in(tmp_path: Path) -> None:
    """As User Mode Linux' `eth0=daemon` has one: no path, and the whole structure is the name's length."""

    async def body() -> None:
        base = make("tmelink/vde", f"listen {tmp_path}/vde")
        name = struct.pack("=BII", 0, os.getpid(), 4711).ljust(108, b"\0")
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as data,
            socket.socket(socket.AF_UNIX) as asking,
        ):
            data.bind(name)
            for sock in (data, asking):
                sock.setblocking(False)
            async with running(base) as (machine,):
                await loop.sock_connect(asking, f"{tmp_path}/vde/ctl")
                request = struct.pack("=III", 0xFEEDFACE, 3, 0) + struct.pack("=H", socket.AF_UNIX) + name
                # With the structure's own alignment, as its C compiler has it.
                await loop.sock_sendall(asking, request + bytes(2))
                async with asyncio.timeout(TIMEOUT):
                    answer = await loop.sock_recv(asking, 110)
                    there = answer[2:].split(b"\0")[0].decode()
                    await eventually(lambda: base.endpoint.carrier is not None)
                    await loop.sock_sendto(data, frame(1), there)
                    await machine.until_number(1)
                    machine.send(frame(2))
                    assert await loop.sock_recv(data, 2000) == frame(2)

    run(body)


@pytest.mark.parametrize("request_", [b"", b"x" * 10, b"\0" * 250], ids=len)
def test_who_is_no_plug_is_let_go(request_: bytes, tmp_path: Path) -> None:
    async def body() -> None:
        base = make("tmelink/vde", f"listen {tmp_path}/vde")
        async with running(base):
            with socket.socket(socket.AF_UNIX) as visitor:
                visitor.settimeout(TIMEOUT)
                visitor.connect(f"{tmp_path}/vde/ctl")
                visitor.sendall(request_)
                visitor.shutdown(socket.SHUT_WR)
                await eventually(lambda: base.endpoint.received.drops["not a plug's request"] == 1)
                assert visitor.recv(1) == b""
            assert sorted(os.listdir(tmp_path / "vde")) == ["ctl"]

    run(body)


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("tmelink/udp", "local 5000", "remote ADDR:PORT, or 'float'"),
        ("tmelink/udp", "local example.org:5000 float", "not a valid IP address of this computer"),
        ("tmelink/udp", "local 5000 remote 10.0.0.1", "not a valid address and port"),
        ("tmelink/udp", "local 5000 remote fd00::1:5000", "needs brackets"),
        ("tmelink/udp", "local 5000 remote 10.0.0.1:70000", "out of range"),
        ("tmelink/qemu/stream", "connect 5000", "has no address"),
        ("tmelink/qemu/stream", "listen 5000", "not one of server, connect"),
        ("tmelink/qemu/stream", "server example.org:5000", "not a valid IP address of this computer"),
        ("tmelink/qemu/stream", "connect /tmp/s remote 10.0.0.1", "'remote' is for a server"),
        ("tmelink/l2tpv3", "local 127.0.0.1:1 remote 127.0.0.1 session 1", "either both ends have a port"),
        ("tmelink/l2tpv3", "local 127.0.0.1 remote 127.0.0.1 session 1 cookie 123", "8 or 16 hexadecimal"),
        ("tmelink/stream", "connect /tmp/s", "missing argument: framing be16|le16|be32"),
        ("tmelink/stream", "connect /tmp/s framing be64", "not one of be16, le16, be32"),
        ("tmelink/qemu/dgram", "local 5000", "missing argument: 'remote'"),
        ("tmelink/qemu/dgram", "local 5000 remote /tmp/x", "both addresses, or both paths"),
        ("tmelink/qemu/dgram", "fd 5 local 5000", "leave 'local' out"),
        ("tmelink/qemu/multicast", "10.0.0.1:5000", "not a valid multicast group"),
        ("tmelink/vde", "listen /tmp/vde port 3", "is for a plug"),
        ("tmelink/vde", "/tmp/vde mode 0770", "is for 'listen'"),
        ("tmelink/vde", "listen /tmp/vde mode 9", "not a valid octal mode"),
        ("tmelink/vde", f"/tmp/{'x' * 100}", "longer than"),
    ],
)
def test_mistakes_say_what_to_write(module: str, text: str, said: str) -> None:
    (message,) = mistakes(module, text)
    assert said in message


def test_a_plug_whose_socket_cannot_be_reached_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is connected elsewhere, one that is not there, and one that its owner keeps to himself."""

    async def body() -> None:
        base = make("tmelink/vde", f"listen {tmp_path}/vde")
        locked = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with locked, other:
            other.bind(f"{tmp_path}/other")
            locked.bind(f"{tmp_path}/locked")
            locked.connect(f"{tmp_path}/other")
            async with running(base):
                loop = asyncio.get_running_loop()
                for name, why in (
                    ("locked", "it is already connected to another socket"),
                    ("absent", "No such file or directory"),
                ):
                    with socket.socket(socket.AF_UNIX) as visitor:
                        visitor.setblocking(False)
                        await loop.sock_connect(visitor, f"{tmp_path}/vde/ctl")
                        request = vde.VdeRequest(f"{tmp_path}/{name}", 0, "guest")
                        await loop.sock_sendall(visitor, request.build())
                        # It is let go once it is counted.
                        assert await loop.sock_recv(visitor, 1) == b""
                    told = f"the plug 'guest' is disconnected, since its socket {tmp_path}/{name}"
                    assert caplog.messages[-1] == f"{told} cannot be reached: {why}"
                assert base.endpoint.received.drops == {"unreachable plug": 2}

    with caplog.at_level("WARNING", "tmelink"):
        run(body)


def test_a_plug_that_keeps_its_socket_to_itself_is_told_how_to_open_it() -> None:
    refused = UnreachablePlugError(vde.VdeRequest("/tmp/plug"), PermissionError(errno.EACCES, "denied"))
    assert "this user may not write to it" in str(refused)
    assert "'vde_plug -m 666'" in str(refused)


def test_two_elements_with_one_place_are_a_mistake() -> None:
    one, two = make("tmelink/udp", "local 5000 float"), make("tmelink/udp", "local 5000 float")
    assert one.claims() == two.claims() != []
    assert make("tmelink/qemu/stream", "connect /tmp/s").claims() == []


def test_a_full_peer_is_waited_for_within_a_bound(tmp_path: Path) -> None:
    async def body() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            cable = make("tmelink/qemu/dgram", f"fd {ours.fileno()}")
            async with running(cable) as (machine,):
                held: list[bool] = []
                machine.hold = lambda port, on: held.append(on)  # type: ignore[method-assign, assignment]
                machine.send(*[frame(number) for number in range(3000)])
                assert held == [True]
                drops = cable.endpoint.sent.drops["queue full"]
                assert drops > 0
                theirs.setblocking(False)
                loop = asyncio.get_running_loop()
                got = [await loop.sock_recv(theirs, 2000) for _ in range(3000 - drops)]
                assert got == [frame(number) for number in range(3000 - drops)]
                assert held == [True, False]

    run(body)


def test_a_held_stream_leaves_what_comes_to_its_peer(tmp_path: Path) -> None:
    async def body() -> None:
        server, client = pair_of("stream unix", tmp_path)
        async with running(server, client) as (a, b):
            await meet(a, b)
            before = list(a.numbers)
            a.ports[0].hold(True)
            b.send(frame(7))
            await eventually(lambda: client.endpoint.sent.frames > 0)
            for _ in range(5):
                await asyncio.sleep(0)
            assert [n for n in a.numbers if n] == [n for n in before if n]
            a.ports[0].hold(False)
            await a.until(lambda: 7 in a.numbers)

    run(body)
