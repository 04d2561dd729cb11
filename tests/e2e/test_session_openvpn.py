"""Sessions without TLS against a stock OpenVPN: datagrams of each understood by the other.

One namespace: openvpn with a TAP device, and over the loopback a session that has a built-in machine behind
it and the smallest shell around it, one UDP socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from tests.support.grouped import plain as plain_settings
from tests.support.netns import Namespace, Net
from tests.support.wire import pieces
from tmelink.openvpn import keys
from tmelink.openvpn.plain.point_to_point import PointToPoint
from tmelink.openvpn.plain.sequence_proof import PROVEN
from tmelink.openvpn.plain.settings import Settings
from tmelink.openvpn.session import Notice, Restart, SessionEvent, Step, Up
from tmelink.openvpn.settings import Mssfix
from tmelink.stack.interface import Interface

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn")]

OURS, THEIRS = "10.9.0.1", "10.9.0.2"
UP_SECONDS = 20
"""For an event: OpenVPN asks for options after ten seconds."""

CELLS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("--fragment 600 --mssfix 0", {"fragment": 600, "mssfix": Mssfix(0)}),
    ("--comp-lzo no", {"framing": "comp-lzo no"}),
    ("--compress stub-v2", {"framing": "stub-v2"}),
    ("--compress lz4-v2 --allow-compression yes", {"framing": "lz4-v2", "allow": "asym"}),
    ("--cipher AES-256-CBC", {"cipher": "AES-256-CBC"}),
    ("--cipher AES-128-CBC --auth SHA256", {"cipher": "AES-128-CBC", "auth": "SHA256"}),
    ("--cipher AES-192-CBC --auth SHA512", {"cipher": "AES-192-CBC", "auth": "SHA512"}),
    ("--cipher AES-256-CBC --auth none", {"cipher": "AES-256-CBC", "auth": "none"}),
    ("--cipher none --auth SHA384", {"cipher": "none", "auth": "SHA384"}),
    ("--cipher none --auth none", {"cipher": "none", "auth": "none"}),
    (
        "--cipher AES-256-CBC --fragment 1200 mtu --compress stub",
        {"cipher": "AES-256-CBC", "fragment": 1200, "fragment_counts_encapsulation": True, "framing": "stub"},
    ),
    (
        "--cipher AES-128-CBC --compress lz4 --allow-compression yes",
        {"cipher": "AES-128-CBC", "framing": "lz4", "allow": "asym"},
    ),
]


class Shell(asyncio.DatagramProtocol):
    """A session on a UDP socket, with a machine that answers pings."""

    def __init__(self, settings: Settings, peer: tuple[str, int]) -> None:
        self.machine = Interface(bytes.fromhex("500000000001"), inet=IPv4Interface(f"{OURS}/24"))
        self.settings = settings
        self.peer = peer
        self.events: list[SessionEvent] = []
        self.session = self.new_session()
        self.told = asyncio.Event()

    def new_session(self) -> PointToPoint:
        return PointToPoint(self.settings, os.urandom, int(time.time()))

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.do(self.session.connected(time.monotonic()))
        self.tick()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.do(self.session.receive([data], time.monotonic()))

    def tick(self) -> None:
        now = time.monotonic()
        self.do(self.session.tick(now))
        deadline = self.session.deadline()
        later = 1.0 if deadline is None else max(0.0, deadline - now)
        self.timer = asyncio.get_running_loop().call_later(min(later, 1.0), self.tick)

    def do(self, step: Step) -> None:
        now = time.monotonic()
        for datagram in pieces(step.wire):
            self.transport.sendto(datagram, self.peer)
        if step.events:
            self.events += step.events
            self.told.set()
        if step.frames:
            self.machine.receive(pieces(step.frames), now)
            self.machine.tick(now)
        frames, self.machine.wire.out = self.machine.wire.out, []
        if frames:
            self.do(self.session.send(frames, now))

    async def event(self, kind: type[SessionEvent]) -> SessionEvent:
        """The first event of a kind, now or to come."""
        async with asyncio.timeout(UP_SECONDS):
            while True:
                self.told.clear()
                for event in self.events:
                    if isinstance(event, kind):
                        return event
                await self.told.wait()

    def restart(self) -> None:
        """Another session under the same settings, as the link element makes them."""
        self.events.clear()
        self.session = PointToPoint(self.settings, os.urandom, int(time.time()) + 1)
        self.do(self.session.connected(time.monotonic()))

    def close(self) -> None:
        self.timer.cancel()
        self.do(self.session.close(time.monotonic()))
        self.transport.close()


class Pair:
    """openvpn and a shell in one namespace."""

    def __init__(self, namespace: Namespace, directory: Path, settings: dict[str, Any]) -> None:
        self.namespace = namespace
        self.key_file = directory / "static.key"
        self.key_file.write_bytes(keys.generate(os.urandom))
        self.key_file.chmod(0o600)
        if "cipher" in settings:
            settings = {**settings, "key": keys.parse(self.key_file.read_bytes())}
        self.settings = plain_settings(**settings)

    @contextlib.asynccontextmanager
    async def shell(self, settings: Settings | None = None) -> AsyncIterator[Shell]:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 5001))
        _, shell = await loop.create_datagram_endpoint(
            lambda: Shell(settings or self.settings, ("127.0.0.1", 5002)), sock=sock
        )
        try:
            yield shell
        finally:
            shell.close()

    def openvpn(self, options: str) -> Any:
        secret = ["--secret", str(self.key_file)] if "--cipher" in options else []
        process = self.namespace.start(
            "openvpn", "--dev", "tap0", "--proto", "udp4", "--verb", "4", "--ping", "1",
            "--local", "127.0.0.1", "--lport", "5002", "--remote", "127.0.0.1", "5001",
            "--ifconfig", THEIRS, "255.255.255.0", "--ifconfig-noexec", *secret, *options.split(),
        )  # fmt: skip
        # openvpn says that it is ready only once it has heard something: the device is what to wait for
        process.expect("TUN/TAP device tap0 opened")
        self.namespace.run("ip", "link", "set", "tap0", "up")
        self.namespace.run("ip", "addr", "replace", f"{THEIRS}/24", "dev", "tap0")
        return process


@pytest.mark.parametrize(("options", "settings"), CELLS, ids=[options or "plain" for options, _ in CELLS])
def test_pings_of_every_size_pass_and_either_side_may_restart(
    net: Net, tmp_path: Path, options: str, settings: dict[str, Any]
) -> None:
    pair = Pair(net.namespace(), tmp_path, settings)

    async def main() -> None:
        process = pair.openvpn(options)
        async with pair.shell() as shell:
            await shell.event(Up)
            for size in (64, 1400, 8000):
                await asyncio.to_thread(pair.namespace.ping, OURS, size=size)
            shell.restart()
            await shell.event(Up)
            await asyncio.to_thread(pair.namespace.ping, OURS)
            await asyncio.to_thread(process.stop)
            pair.openvpn(options)
            await asyncio.to_thread(pair.namespace.ping, OURS, size=1400)
            assert not shell.session.drops

    pair.namespace.call(main)


def test_a_wrong_key_is_never_taken_for_the_peer(net: Net, tmp_path: Path) -> None:
    pair = Pair(net.namespace(), tmp_path, {"cipher": "AES-256-CBC"})

    async def main() -> None:
        process = pair.openvpn("--cipher AES-256-CBC")
        wrong = keys.parse(keys.generate(os.urandom))
        async with pair.shell(plain_settings(key=wrong, cipher="AES-256-CBC", ping=1)) as shell:
            notice = await shell.event(Notice)
            assert isinstance(notice, Notice)
            assert "bad hmac" in notice.text
            await asyncio.to_thread(process.expect, "packet HMAC authentication failed")
            assert not any(isinstance(event, Up) for event in shell.events)

    pair.namespace.call(main)


def test_options_that_differ_are_told_at_both_ends(net: Net, tmp_path: Path) -> None:
    pair = Pair(net.namespace(), tmp_path, {"cipher": "AES-256-CBC", "fragment": 1200})

    async def main() -> None:
        process = pair.openvpn("--cipher AES-256-CBC --fragment 1200 --tun-mtu 1400 --verb 7")
        async with pair.shell() as shell:
            await shell.event(Notice)
            assert [event.text for event in shell.events if isinstance(event, Notice)] == [
                "'link-mtu' is used inconsistently, local='link-mtu 1596', remote='link-mtu 1496'",
                "'tun-mtu' is used inconsistently, local='tun-mtu 1500', remote='tun-mtu 1400'",
            ]
            await asyncio.to_thread(process.expect, "'tun-mtu' is used inconsistently")
            assert "'link-mtu' is used inconsistently" in process.output
            assert "'cipher'" not in process.output

    pair.namespace.call(main)


def test_an_exit_of_either_side_is_told(net: Net, tmp_path: Path) -> None:
    pair = Pair(net.namespace(), tmp_path, {"cipher": "AES-256-CBC", "explicit_exit_notify": 1})

    async def main() -> None:
        process = pair.openvpn("--cipher AES-256-CBC --explicit-exit-notify 1")
        async with pair.shell() as shell:
            await shell.event(Up)
        await asyncio.to_thread(process.expect, "SIGUSR1.*remote-exit")
        async with pair.shell() as shell:
            await shell.event(Up)
            await asyncio.to_thread(process.stop)
            await shell.event(Restart)

    pair.namespace.call(main)


KEYED = [(options, settings) for options, settings in CELLS if "--cipher" in options]


@pytest.mark.parametrize(("options", "settings"), KEYED, ids=[options for options, _ in KEYED])
def test_an_openvpn_whose_clock_was_set_back_is_heard_again(
    net: Net, tmp_path: Path, options: str, settings: dict[str, Any]
) -> None:
    """What came before it came from a peer an hour ahead, under the same key."""
    pair = Pair(net.namespace(), tmp_path, settings)

    async def main() -> None:
        async with pair.shell() as shell:
            ahead = PointToPoint(pair.settings, os.urandom, int(time.time()) + 3600)
            for datagram in pieces(ahead.send([bytes(60)], 0.0).wire):
                shell.datagram_received(datagram, None)
            await asyncio.to_thread(pair.openvpn, options)
            async with asyncio.timeout(UP_SECONDS):
                while Notice("info", PROVEN) not in shell.events:
                    shell.told.clear()
                    await shell.told.wait()
            await asyncio.to_thread(pair.namespace.ping, OURS)

    pair.namespace.call(main)
