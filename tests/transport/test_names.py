"""Names are resolved apart from each other: a name server that hangs delays nothing else."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tmelink.transport import names, sockets

HANGING = 8


class Resolver:
    """The system's resolver, of which names below `.hangs` get no answer until `released`."""

    def __init__(self) -> None:
        self.answers = {"one.test": "192.0.2.1"}
        self.hangs: set[str] = set()
        self.released = threading.Event()

    def __call__(self, host: str, port: int, family: int = 0, kind: int = 0, *rest: int) -> Any:
        if host in self.hangs or host.endswith(".hangs"):
            self.released.wait(20)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (self.answers[host], port))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    monkeypatch.setattr(names, "_answers", {})
    yield made
    made.released.set()


async def asked(host: str) -> str:
    found = await sockets.resolve(host, 1194, socket.SOCK_DGRAM)
    return str(found[0][1][0])


def test_names_that_hang_delay_no_other(resolver: Resolver) -> None:
    async def main() -> float:
        hanging = [asyncio.create_task(asked(f"{number}.hangs")) for number in range(HANGING)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert await asked("one.test") == "192.0.2.1"
        took = time.monotonic() - began
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        return took

    began = time.monotonic()
    assert asyncio.run(main()) < 2
    assert time.monotonic() - began < 5, "the event loop waited for the resolver when it was closed"


def test_an_earlier_answer_holds_while_a_new_one_hangs(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "REFRESH_SECONDS", 0.05)

    async def main() -> None:
        assert await asked("one.test") == "192.0.2.1"
        resolver.hangs.add("one.test")
        assert await asked("one.test") == "192.0.2.1"
        resolver.answers["one.test"] = "192.0.2.2"
        resolver.released.set()
        async with asyncio.timeout(10):
            while await asked("one.test") != "192.0.2.2":
                pass
        del resolver.answers["one.test"]
        assert await asked("one.test") == "192.0.2.2", "a name server that fails for now takes nothing away"

    asyncio.run(main())


def test_a_name_that_was_never_answered_is_given_up(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PATIENCE_SECONDS", 0.05)

    async def main() -> None:
        with pytest.raises(OSError, match="the name server does not answer"):
            await asked("never.hangs")

    asyncio.run(main())


def test_as_many_hang_as_are_allowed(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(names, "MAX_THREADS", len(names._threads) + 2)

    async def main() -> list[str]:
        found = await asyncio.gather(*(asked(f"{n}.hangs") for n in range(3)), return_exceptions=True)
        return sorted(str(each).partition("] ")[2] for each in found)

    assert asyncio.run(main()) == [
        f"{names.MAX_THREADS} names already wait for an answer",
        "the name server does not answer",
        "the name server does not answer",
    ]


PROGRAM = """
import socket, time
asked = socket.getaddrinfo
def hanging(host, *rest):
    if "slow" in str(host):
        time.sleep(60)
    return asked(host, *rest)
socket.getaddrinfo = hanging
from tmelink.cli import main
import sys
sys.exit(main(sys.argv[1:]))
"""


def test_a_signal_ends_a_lab_whose_names_hang(tmp_path: Any) -> None:
    file = tmp_path / "slow.conf"
    lines = [
        f"n{n}: tmelink/nic\nl{n} at n{n}: tme/host/openvpn/socket/link --dev tap --nobind "
        f"--remote slow{n}.test\n"
        for n in range(HANGING)
    ]
    lines.append(
        "a: tmelink/nic\nb: tmelink/nic\n"
        "la at a: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport 17194 --remote localhost "
        "17195 --proto udp4\n"
        "lb at b: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport 17195 --remote localhost "
        "17194 --proto udp4\n"
    )
    file.write_text("".join(lines))
    command = [sys.executable, "-c", PROGRAM, "run", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as lab:
        assert lab.stderr is not None
        up: set[str] = set()
        for line in lab.stderr:
            up |= {name for name in ("la", "lb") if f"{name}: up" in line}
            if up == {"la", "lb"}:
                break
        began = time.monotonic()
        lab.terminate()
        lab.stderr.read()
        assert lab.wait(10) == 0
        assert time.monotonic() - began < 5
