"""Links of one process on one port: told apart by the peer's address, or by the key."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from pathlib import Path

import pytest

from tests.support.aio import eventually, run
from tests.support.links import End
from tests.support.machines import frame
from tests.support.sockets import dial, framed, free_port, received
from tmelink.elements.openvpn import tcp_listener, udp_listener
from tmelink.errors import ElementError, MachineError
from tmelink.machine import load
from tmelink.openvpn import keys
from tmelink.openvpn.tls import keygen


def bound(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


@pytest.fixture
def secrets(tmp_path: Path) -> list[str]:
    """Three key files as options."""
    options = []
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(keys.generate(os.urandom))
        (tmp_path / name).chmod(0o600)
        options.append(f"--secret {tmp_path / name} --cipher AES-256-CBC")
    return options


def test_udp_links_hear_only_their_own_remotes() -> None:
    async def body() -> None:
        port = free_port()
        peers = [bound("127.0.0.1") for _ in range(3)]
        here = f"--dev tap --local 127.0.0.1 --lport {port} --disable-occ"
        ends = [End(f"{here} --remote 127.0.0.1 {peer.getsockname()[1]}") for peer in peers]
        async with ends[0], ends[1], ends[2]:
            for number, (end, peer) in enumerate(zip(ends, peers, strict=True)):
                peer.sendto(frame(number), ("127.0.0.1", port))
                await end.machine.until(lambda e=end, n=number: e.machine.frames == [frame(n)])  # type: ignore[misc]
                end.machine.send(frame(10 + number))
                assert await received(peer) == frame(10 + number)
            stranger = bound("127.0.0.1")
            stranger.sendto(frame(666), ("127.0.0.1", port))
            await eventually(lambda: ends[0].drops("wire received") == {"not the remote": 1})
            for number, end in enumerate(ends):
                assert end.machine.frames == [frame(number)]
                wire = end.link.counters()["wire received"]
                assert wire.frames == (2 if number == 0 else 1)
                assert end.link.counters()["wire sent"].frames == 1
            stranger.close()
        for peer in peers:
            peer.close()

    run(body)


def test_a_udp_port_outlives_each_of_its_links() -> None:
    async def body() -> None:
        port = free_port()
        peers = [bound("127.0.0.1") for _ in range(2)]
        here = f"--dev tap --local 127.0.0.1 --lport {port} --disable-occ"
        a, b = (End(f"{here} --remote 127.0.0.1 {peer.getsockname()[1]}") for peer in peers)
        async with b:
            for turn in range(2):
                async with a:
                    a.machine.send(frame(turn))
                    assert await received(peers[0]) == frame(turn)
                    b.machine.send(frame(turn))
                    assert await received(peers[1]) == frame(turn)
                # Alone again, b has the socket to itself.
                assert b.link.peer._wire.send == b.link.peer._wire._port.datagrams.send  # type: ignore[union-attr]
                peers[1].sendto(frame(20 + turn), ("127.0.0.1", port))
                await b.machine.until(lambda t=turn: frame(20 + t) in b.machine.frames)  # type: ignore[misc]
        again = bound("127.0.0.1")
        again.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", port))
        for peer in peers:
            peer.close()

    run(body)


def test_floating_udp_links_are_told_apart_by_their_keys(secrets: list[str]) -> None:
    async def body() -> None:
        port = free_port()
        here = f"--dev tap --local 127.0.0.1 --lport {port}"
        hubs = [End(f"{here} {secret}") for secret in secrets[:2]]
        there = f"--dev tap --nobind --remote 127.0.0.1 {port}"
        spokes = [End(f"{there} {secret}") for secret in secrets]
        async with hubs[0], hubs[1], spokes[1], spokes[2]:
            spokes[1].machine.send(frame(1))
            await hubs[1].machine.until(lambda: hubs[1].machine.frames == [frame(1)])
            async with spokes[0]:
                spokes[0].machine.send(frame(0))
                await hubs[0].machine.until(lambda: hubs[0].machine.frames == [frame(0)])
                for number, (hub, spoke) in enumerate(zip(hubs, spokes, strict=False)):
                    hub.machine.send(frame(10 + number))
                    await spoke.machine.until(lambda s=spoke: len(s.machine.frames) == 1)  # type: ignore[misc]
                    assert spoke.machine.frames == [frame(10 + number)]
            # The peer comes back from another port.
            async with spokes[0]:
                spokes[0].machine.send(frame(2))
                await hubs[0].machine.until(lambda: hubs[0].machine.frames == [frame(0), frame(2)])
            # Under a key that no link has: nobody's.
            before = sum(hub.drops("wire received").get("not the remote", 0) for hub in hubs)
            spokes[2].machine.send(frame(3))
            await eventually(
                lambda: sum(h.drops("wire received").get("not the remote", 0) for h in hubs) > before
            )
            assert [hub.machine.frames for hub in hubs] == [[frame(0), frame(2)], [frame(1)]]
            assert all(set(hub.drops("wire received")) <= {"not the remote"} for hub in hubs)

    run(body)


def test_strangers_are_tried_under_the_keys_so_often_and_no_more(
    secrets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_listener, "PROBES", 3)

    async def body() -> None:
        port = free_port()
        hubs = [End(f"--dev tap --local 127.0.0.1 --lport {port} {secret}") for secret in secrets[:2]]
        async with hubs[0], hubs[1]:
            tried: list[bytes] = []
            for hub in hubs:
                monkeypatch.setattr(hub.link, "knows", lambda options, datagram: tried.append(datagram))
            strangers = [bound("127.0.0.1") for _ in range(20)]
            for stranger in strangers:
                stranger.sendto(bytes(100), ("127.0.0.1", port))
            await eventually(lambda: hubs[0].drops("wire received") == {"not the remote": 20})
            # In one second, or at the turn of one to the next: all of them under both keys each time.
            assert len(tried) in (6, 12)
            for stranger in strangers:
                stranger.close()

    run(body)


def test_links_that_nothing_tells_apart_are_refused_when_they_open() -> None:
    async def body() -> None:
        port = free_port()
        here = f"--dev tap --local 127.0.0.1 --lport {port}"
        async with End(f"{here} --remote 127.0.0.2 5000"):
            for other in (here, f"{here} --remote 127.0.0.2 5000", f"{here} --remote 127.0.0.3 --float"):
                with pytest.raises(ElementError, match="is in use by link0, and nothing tells the two apart"):
                    await End(other).link.open()

    run(body)


def test_the_directory_of_port_share_is_looked_for_at_the_start(tmp_path: Path) -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        (tmp_path / "file").touch()
        for directory, trouble in (("gone", "no such directory"), ("file", "not a directory")):
            share = f"--port-share 127.0.0.1 80 {tmp_path / directory}"
            end = End(f"--dev tap --proto tcp-server --local 127.0.0.1 --lport {port} {share}")
            with pytest.raises(ElementError, match=f"--port-share .*/{directory}: {trouble}"):
                await end.link.open()
            await end.link.close()
        async with End(f"--dev tap --proto tcp-server --local 127.0.0.1 --lport {port}"):
            """The port is free again."""

    run(body)


def test_tcp_links_hear_only_their_own_remotes() -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        here = f"--dev tap --proto tcp-server --local 127.0.0.1 --lport {port} --disable-occ"
        there = f"--dev tap --proto tcp-client --remote 127.0.0.1 {port} --disable-occ"
        hubs = [End(f"{here} --remote 127.0.0.{n}") for n in (2, 3)]
        spokes = [End(f"{there} --local 127.0.0.{n}") for n in (2, 3)]
        async with hubs[0], hubs[1], spokes[0], spokes[1]:
            for number, (hub, spoke) in enumerate(zip(hubs, spokes, strict=True)):
                await hub.until_connected()
                hub.machine.send(frame(number))
                await spoke.machine.until(lambda s=spoke, n=number: s.machine.frames == [frame(n)])  # type: ignore[misc]
            stranger = await dial(port)
            assert await received(stranger) == b""
            assert hubs[0].drops("wire received") == {"connection not from the remote": 1}
            stranger.close()

    run(body)


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("wrap", ["tls-crypt", "tls-auth"])
def test_links_with_tls_are_told_apart_by_what_wraps_their_packets(
    tmp_path: Path, proto: str, wrap: str
) -> None:
    def options(name: str, other: str, key: str) -> str:
        for end in (name, other):
            if not (tmp_path / f"{end}.key").exists():
                made[end] = keygen.generate(end, time.time())
                (tmp_path / f"{end}.crt").write_bytes(made[end].certificate)
                (tmp_path / f"{end}.key").write_bytes(made[end].private_key)
        if not (tmp_path / key).exists():
            (tmp_path / key).write_bytes(keys.generate(os.urandom))
        return (
            f"--dev tap --key {tmp_path}/{name}.key --cert {tmp_path}/{name}.crt --{wrap} {tmp_path}/{key} "
            f"--peer-fingerprint {made[other].fingerprint} --ping 1"
        )

    made: dict[str, keygen.KeyPair] = {}

    async def body() -> None:
        port = free_port(socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
        server, client = ("--proto tcp-server", "--proto tcp-client") if proto == "tcp" else ("", "--nobind")
        here = f"{server} --tls-server --dh none --local 127.0.0.1 --lport {port}"
        there = f"{client} --tls-client --remote 127.0.0.1 {port}"
        hubs = [End(f"{here} {options(f'hub{n}', f'spoke{n}', f'wrap{n}')}") for n in range(2)]
        spokes = [End(f"{there} {options(f'spoke{n}', f'hub{n}', f'wrap{n}')}") for n in range(2)]
        async with hubs[0], hubs[1], spokes[1], spokes[0]:
            for number, (hub, spoke) in enumerate(zip(hubs, spokes, strict=True)):
                async with asyncio.timeout(20):
                    while not hub.machine.frames:
                        spoke.machine.send(frame(number))
                        await asyncio.sleep(0.05)
                hub.machine.send(frame(10 + number))
                await spoke.machine.until(lambda s=spoke: bool(s.machine.frames))  # type: ignore[misc]
                assert set(hub.machine.frames) == {frame(number)}
                assert set(spoke.machine.frames) == {frame(10 + number)}

    run(body)


def test_tcp_links_are_told_apart_by_the_key_of_the_first_datagram(secrets: list[str]) -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        here = f"--dev tap --proto tcp-server --local 127.0.0.1 --lport {port}"
        there = f"--dev tap --proto tcp-client --remote 127.0.0.1 {port} --ping 1"
        hubs = [End(f"{here} {secret}") for secret in secrets[:2]]
        spokes = [End(f"{there} {secret}") for secret in secrets]
        async with hubs[0], hubs[1], spokes[2], spokes[1], spokes[0]:
            for number in (1, 0):
                await hubs[number].until_connected()
                hubs[number].machine.send(frame(number))
                await spokes[number].machine.until(
                    lambda n=number: spokes[n].machine.frames == [frame(n)]  # type: ignore[misc]
                )
            await eventually(lambda: "connection not from the remote" in hubs[0].drops("wire received"))
            assert not spokes[2].machine.frames

    run(body)


def test_a_connection_that_says_nothing_is_left(secrets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_listener, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(tcp_listener, "UNDECIDED", 2)

    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        here = f"--dev tap --proto tcp-server --local 127.0.0.1 --lport {port}"
        async with End(f"{here} {secrets[0]}") as a, End(f"{here} {secrets[1]}"):
            visitors = [await dial(port) for _ in range(3)]
            for visitor in visitors:
                assert await received(visitor) == b""
                visitor.close()
            assert a.drops("wire received") == {"silent connection": 2, "too many connections": 1}

    run(body)


def test_what_was_read_to_decide_is_not_lost() -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        web = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        share = f"--port-share 127.0.0.1 {web.sockets[0].getsockname()[1]}"
        options = f"--dev tap --proto tcp-server --local 127.0.0.1 --lport {port} --disable-occ {share}"
        async with End(options) as end:
            peer = await dial(port)
            stream = framed(*(frame(n) for n in range(20)))
            for byte in stream[:3]:
                peer.send(bytes([byte]))
                await asyncio.sleep(0)
            peer.send(stream[3:])
            await end.machine.until(lambda: end.machine.frames == [frame(n) for n in range(20)])
            peer.close()
        web.close()
        await web.wait_closed()

    run(body)


FILE = """le0: tmelink/host inet 10.0.0.1/24
le1: tmelink/host inet 10.0.0.2/24
l0 at le0: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport 1194 {}
l1 at le1: tme/host/openvpn/socket/link --dev tap --local {} --lport 1194 {}
"""


@pytest.mark.parametrize(
    ("first", "local", "second"),
    [
        ("--remote 10.0.0.1", "127.0.0.1", "--remote 10.0.0.2"),
        ("--remote 10.0.0.1 1", "127.0.0.1", "--remote 10.0.0.1 2"),
        ("--secret a --cipher none", "127.0.0.1", "--secret b --cipher none"),
        ("--remote 10.0.0.1", "127.0.0.1", "--secret b --cipher none"),
        ("--proto tcp-server --remote 10.0.0.1", "127.0.0.1", "--proto tcp-server --remote 10.0.0.2"),
        ("", "127.0.0.1", "--proto tcp-server"),
    ],
)
def test_a_machine_file_may_share_a_port(first: str, local: str, second: str) -> None:
    load(FILE.format(first, local, second))


@pytest.mark.parametrize(
    ("first", "local", "second"),
    [
        ("", "127.0.0.1", ""),
        ("--remote 10.0.0.1", "127.0.0.1", "--remote 10.0.0.1"),
        ("--remote 10.0.0.1", "127.0.0.1", "--remote 10.0.0.2 --float"),
        ("--remote 10.0.0.1", "127.0.0.1", ""),
        ("--secret a --cipher none", "127.0.0.1", "--secret a --cipher none"),
        ("--remote 10.0.0.1", "0.0.0.0", "--remote 10.0.0.2"),
        ("--proto tcp-server --remote 10.0.0.1 1", "127.0.0.1", "--proto tcp-server --remote 10.0.0.1 2"),
    ],
)
def test_a_machine_file_may_not_where_nothing_tells_the_links_apart(
    first: str, local: str, second: str
) -> None:
    if local == "0.0.0.0":
        first, second = f"{first}", second
        with pytest.raises(MachineError, match="port 1194"):
            load(FILE.replace("--local {} ", "").format(first, second))
        return
    with pytest.raises(MachineError, match=r"/l1 wants .* port 1194 of 127.0.0.1, which /l0 has"):
        load(FILE.format(first, local, second))


DOCUMENT = Path(__file__).parents[3] / "docs" / "proxies-and-shared-ports.md"
EXAMPLES = re.findall(r"```tmesh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda text: re.findall(r"--(?:http|socks|port)\S*|$", text)[0]
)
def test_the_documents_examples_check(example: str) -> None:
    load(example)
