"""Static keys against a stock OpenVPN: every protocol, cipher, digest and framing, in one go.

The full product, nothing left out, where OpenVPN allows it: --fragment needs UDP. One namespace: an openvpn
with a TAP for each cell, and over the loopback one lab in this process with a link and a built-in machine for
each. All cells go through the phases together:

1. openvpn was there first, then tmelink comes: pings of 64, 1400 and 8000 bytes
2. tmelink goes and comes again
3. openvpn goes and comes again, to a tmelink that was there first
4. tmelink comes with another key: nothing is heard, nothing is answered

A wrong key shows by the digest, so phase 4 is for the cells that have one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest

from tests.support.links import link as make_link
from tests.support.machines import Events
from tests.support.netns import Namespace, Net, Process
from tmelink.elements.builtin.host import Host
from tmelink.machine import load
from tmelink.openvpn import keys
from tmelink.runtime import Lab

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "openvpn")]

BACK_SECONDS = 60
"""For a link to stand, with openvpn's own pauses before it tries again, on a computer that is busy."""

PING_SECONDS = 10.0
"""For one reply, when all cells ask at once."""

SIZES = (64, 1400, 8000)

PROTOCOLS = ("udp", "tcp-server", "tcp-client")
"""Tmelink's side."""

CIPHERS = ("none", "AES-128-CBC", "AES-256-CBC")
DIGESTS = ("SHA1", "SHA256", "SHA512", "none")
FRAGMENT, MSSFIX, STUB = "--fragment 1300", "--mssfix 1200", "--compress stub"
FRAMINGS = [" ".join(filter(None, chosen)) for chosen in product(("", FRAGMENT), ("", MSSFIX), ("", STUB))]


@dataclass
class Cell:
    """One link; its ports and addresses follow from its number."""

    number: int
    proto: str
    cipher: str
    auth: str
    framing: str
    passed: list[str] = field(default_factory=list)

    @property
    def options(self) -> str:
        return f"--cipher {self.cipher} --auth {self.auth} {self.framing}".rstrip()

    @property
    def theirs(self) -> str:
        return f"10.9.{self.number}.2"

    @property
    def ends(self) -> tuple[str, str]:
        """The local and the remote end, as tmelink's options."""
        here, there = f"--local 127.0.0.1 --lport {20000 + self.number}", f"{21000 + self.number}"
        remote = f"--remote 127.0.0.1 {there}"
        return ("" if self.proto == "tcp-client" else here), ("" if self.proto == "tcp-server" else remote)

    def link(self, key: Path) -> str:
        here, there = self.ends
        return (
            f"--dev tap --proto {self.proto} {here} {there} --secret {key} {self.options} --connect-retry 1 1"
        )

    def machine(self, key: Path) -> str:
        return (
            f"h{self.number}: tmelink/host inet 10.9.{self.number}.1/24\n"
            f"l{self.number} at h{self.number}: tme/host/openvpn/socket/link {self.link(key)}\n"
        )

    def openvpn(self, key: Path) -> list[str]:
        proto = {"udp": "udp4", "tcp-server": "tcp4-client", "tcp-client": "tcp4-server"}[self.proto]
        here = f"--local 127.0.0.1 --lport {21000 + self.number}" if self.proto != "tcp-server" else ""
        there = f"--remote 127.0.0.1 {20000 + self.number}" if self.proto != "tcp-client" else ""
        return (
            f"openvpn --dev t{self.number} --dev-type tap --lladdr 02:00:00:00:09:{self.number:02x} "
            f"--ifconfig {self.theirs} 255.255.255.0 --persist-tun --proto {proto} {here} {there} "
            f"--secret {key} {self.options} --ping 1 --connect-retry 1 1 --verb 3"
        ).split()


def cells() -> list[Cell]:
    found: list[Cell] = []
    for proto, cipher, auth, framing in product(PROTOCOLS, CIPHERS, DIGESTS, FRAMINGS):
        if proto == "udp" or FRAGMENT not in framing:
            found.append(Cell(len(found) + 1, proto, cipher, auth, framing))
    return found


class Peers:
    """The openvpn of each cell."""

    def __init__(self, namespace: Namespace, cells: list[Cell], key: Path) -> None:
        self._namespace = namespace
        self._cells = cells
        self._key = key
        self._running: list[Process] = []
        self.output: list[str] = []

    def start(self) -> None:
        self._running = [self._namespace.start(*cell.openvpn(self._key)) for cell in self._cells]
        for process in self._running:
            process.expect(
                "UDPv4 link remote|Listening for incoming TCP|Attempting to establish TCP",
                timeout=BACK_SECONDS,
            )

    def stop(self) -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(Process.stop, self._running))
        self.output += [process.output for process in self._running]


@asynccontextmanager
async def lab(cells: list[Cell], key: Path) -> AsyncIterator[Lab]:
    async with Lab(load("".join(cell.machine(key) for cell in cells))) as lab:
        yield lab


async def pinged(lab: Lab, cells: list[Cell], phase: str) -> None:
    """Note the phase in each cell whose link stands and carries every size both ways."""

    async def carries(cell: Cell) -> None:
        host = lab[f"h{cell.number}"]
        assert isinstance(host, Host)
        async with asyncio.timeout(BACK_SECONDS):
            while not (await host.ping(cell.theirs, count=1, size=SIZES[0])).received:
                pass
        for size in SIZES:
            result = await host.ping(cell.theirs, count=2, interval=0.01, size=size, timeout=PING_SECONDS)
            if result.received != 2 or result.duplicates:
                return
        cell.passed.append(phase)

    done = await asyncio.gather(*map(carries, cells), return_exceptions=True)
    for error in done:
        if error is not None and not isinstance(error, TimeoutError):
            raise error


async def refused(cells: list[Cell], wrong: Path, phase: str) -> None:
    """Note the phase in each cell whose link hears openvpn under another key and says nothing at all."""

    async def refuses(cell: Cell) -> None:
        link = make_link(f"{cell.link(wrong)} --disable-occ")
        events = Events()
        link.status = events
        await link.open()
        try:
            async with asyncio.timeout(BACK_SECONDS):
                # A counter has no event of its own.
                while not link.counters()["wire received"].drops["bad hmac"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            said = asyncio.ensure_future(events.next())
            await asyncio.sleep(0)
            if not said.done() and not link.counters()["wire sent"].frames:
                cell.passed.append(phase)
            said.cancel()
        finally:
            await link.close()

    await asyncio.gather(*map(refuses, cells))


def table(cells: list[Cell], phases: Callable[[Cell], list[str]]) -> str:
    """A row for each protocol, cipher and digest, a column for each framing."""
    words = {FRAGMENT: "fragment", MSSFIX: "mssfix", STUB: "stub"}
    titles = [
        " ".join(word for option, word in words.items() if option in framing) or "bare"
        for framing in FRAMINGS
    ]
    width = max(map(len, titles)) + 2
    lines = [f"{'tmelink':<12}{'cipher':<13}{'auth':<8}" + "".join(f"{title:<{width}}" for title in titles)]
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for cell in cells:
        missing = [phase for phase in phases(cell) if phase not in cell.passed]
        row = rows.setdefault((cell.proto, cell.cipher, cell.auth), {})
        row[cell.framing] = f"no: {', '.join(missing)} " if missing else "ok"
    for (proto, cipher, auth), row in rows.items():
        shown = "".join(f"{row.get(framing, '-'):<{width}}" for framing in FRAMINGS)
        lines.append(f"{proto:<12}{cipher:<13}{auth:<8}{shown}".rstrip())
    return "\n".join(lines)


def phases(cell: Cell) -> list[str]:
    """What a cell has to pass."""
    common = ["openvpn first", "tmelink again", "openvpn again"]
    return common if cell.auth == "none" else [*common, "wrong key"]


def test_every_cell(net: Net, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace = net.namespace()
    right, wrong = tmp_path / "right.key", tmp_path / "wrong.key"
    for file in (right, wrong):
        file.write_bytes(keys.generate(os.urandom))
        file.chmod(0o600)
    every = cells()
    peers = Peers(namespace, every, right)

    async def main() -> None:
        await asyncio.to_thread(peers.start)
        async with lab(every, right) as first:
            await pinged(first, every, "openvpn first")
        async with lab(every, right) as again:
            await pinged(again, every, "tmelink again")
            await asyncio.to_thread(peers.stop)
            await asyncio.to_thread(peers.start)
            await pinged(again, every, "openvpn again")
        await refused([cell for cell in every if cell.auth != "none"], wrong, "wrong key")
        await asyncio.to_thread(peers.stop)

    namespace.call(main)
    with capsys.disabled():
        print(f"\n\nstatic keys against openvpn, {len(every)} cells:\n{table(every, phases)}\n")
    assert [cell for cell in every if set(phases(cell)) - set(cell.passed)] == []
    assert [line for output in peers.output for line in output.splitlines() if "inconsistently" in line] == []
