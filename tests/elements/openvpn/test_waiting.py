"""A link says what it waits for, why it still does, and when that is over; it puts refusals into words."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.aio import eventually, run
from tests.support.links import End, listening
from tests.support.machines import frame
from tests.support.sockets import bare_peer, free_port
from tmelink.elements.openvpn import waiting

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.05)


async def told(end: End, expected: str, after: Callable[[], object]) -> list[str]:
    """What a link logs until a line begins as expected."""
    lines = listening(end.link, f"test_waiting.{next(_numbers)}")
    async with end:
        after()
        await eventually(lambda: any(text.startswith(expected) for _, text in lines))
    return [text for _, text in lines]


def test_it_says_at_once_what_it_waits_for_and_then_why_and_again() -> None:
    async def body() -> None:
        port, closed = free_port(), free_port()
        end = End(f"--dev tap --local 127.0.0.1 --lport {port} --remote 127.0.0.1 {closed} --ping 1")
        lines = listening(end.link, "test_waiting.again")
        async with end:
            assert lines.pop() == (logging.INFO, f"waiting for 127.0.0.1:{closed}")
            lines.clear()
            await eventually(lambda: len(lines) >= 2)
            for level, text in lines:
                assert level == logging.WARNING
                assert text.startswith(f"still waiting for 127.0.0.1:{closed} after ")
                assert "nothing listens on that port: start the other end" in text
            assert end.link._waiting._pause > 2 * waiting.FIRST_SECONDS

    run(body)


def test_it_says_when_the_waiting_is_over() -> None:
    async def body() -> None:
        one, two = free_port(), free_port()
        a = End(f"--dev tap --local 127.0.0.1 --lport {one} --remote 127.0.0.1 {two}")
        b = End(f"--dev tap --local 127.0.0.1 --lport {two} --remote 127.0.0.1 {one} --ping 1")
        lines = listening(a.link, "test_waiting.over")
        async with a:
            await eventually(lambda: len(lines) >= 2)
            assert "nothing is heard from there" in lines[1][1]
            async with b:
                await eventually(lambda: a.link.up)
        assert any(text.startswith(f"heard from 127.0.0.1:{two} after ") for _, text in lines)

    run(body)


def test_a_wrong_source_address_is_named() -> None:
    async def body() -> None:
        peer, stranger, port = bare_peer(), bare_peer(), free_port()
        remote = peer.getsockname()[1]
        end = End(f"--dev tap --local 127.0.0.1 --lport {port} --remote 127.0.0.1 {remote}")
        lines = await told(end, "still", lambda: stranger.sendto(frame(1), ("127.0.0.1", port)))
        where = f"127.0.0.1:{stranger.getsockname()[1]}"
        assert f"datagrams come from {where}, which is not the remote: correct --remote" in lines[-1]
        peer.close()
        stranger.close()

    run(body)


def pair(options: str, other: str) -> tuple[End, End]:
    one, two = free_port(), free_port()
    common = "--dev tap --local 127.0.0.1 --ping 1"
    return (
        End(f"{common} --lport {one} --remote 127.0.0.1 {two} {options}"),
        End(f"{common} --lport {two} --remote 127.0.0.1 {one} {other}"),
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    from tmelink.cli import main

    folder = tmp_path_factory.mktemp("keys")
    for name in ("one", "two"):
        assert main(["genkey", "secret", str(folder / name)]) == 0
    assert main(["keygen", str(folder / "own")]) == 0
    return str(folder / "one"), str(folder / "two")


STATIC = "--cipher AES-256-CBC --allow-deprecated-insecure-static-crypto --secret"

CASES = {
    "wrong key": (
        f"{STATIC} ONE",
        f"{STATIC} TWO",
        "the other end has a different key",
        "the other end has a different key",
    ),
    "wrong cipher": (
        f"{STATIC} ONE",
        f"{STATIC} ONE --cipher AES-128-CBC",
        "cannot be decrypted: the ciphers differ",
        "cannot be decrypted: the ciphers differ",
    ),
    "a key against plain": (f"{STATIC} ONE", "", "may have no key", "does not look like Ethernet"),
    "fragment": ("--fragment 1200", "", "a fragment's header is invalid", "does not look like Ethernet"),
    "tls-crypt": (
        "--tls-server TLS --tls-crypt ONE",
        "--tls-client TLS --tls-crypt TWO",
        "key does not verify the packet: compare --tls-crypt",
        "or its --tls-crypt or --tls-auth key differs",
    ),
    "tls-auth": (
        "--tls-server TLS --tls-auth ONE",
        "--tls-client TLS --tls-auth TWO",
        "key does not verify the packet: compare --tls-crypt",
        "or its --tls-crypt or --tls-auth key differs",
    ),
    "tls-crypt at one end": (
        "--tls-server TLS",
        "--tls-client TLS --tls-crypt TWO",
        "one end has --tls-crypt",
        "or its --tls-crypt or --tls-auth key differs",
    ),
    "compression": ("--compress stub-v2", "", "'comp-lzo' is present in loc", "'comp-lzo' is present in rem"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_said_in_words_at_both_ends(case: str, keys: tuple[str, str]) -> None:
    mine, others, here, there = CASES[case]
    mine, others = (text.replace("ONE", keys[0]).replace("TWO", keys[1]) for text in (mine, others))
    own = str(Path(keys[0]).with_name("own"))
    tls = f"--key {own}.key --cert {own}.crt --peer-fingerprint {'00:' * 31}00"
    mine, others = (text.replace("TLS", tls) for text in (mine, others))

    async def body() -> None:
        a, b = pair(mine, others)
        told_a, told_b = listening(a.link, f"tw.a.{case}"), listening(b.link, f"tw.b.{case}")
        async with a, b:
            for number in range(60):
                a.machine.send(frame(number % 200))
                b.machine.send(frame(number % 200))
                await asyncio.sleep(0.02)
            try:
                await eventually(lambda: any(here in text for _, text in told_a))
                await eventually(lambda: any(there in text for _, text in told_b))
            except TimeoutError:
                raise AssertionError(f"{told_a}\n{told_b}") from None

    run(body)
