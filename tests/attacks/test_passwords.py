"""Guessing passwords: slower with each wrong one, in bounded memory, and never on more than half a core.

OpenVPN leaves all this to the script or plugin that judges passwords.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from tmelink.elements.openvpn import password_checks
from tmelink.elements.openvpn.authentication import Refused
from tmelink.elements.openvpn.password_checks import PasswordChecks
from tmelink.openvpn.server import brake
from tmelink.openvpn.server.brake import Brake


def guesses(guard: Brake, sources: list[str], name: str, seconds: float) -> int:
    """How many tries are judged in that time, from sources that each try again as soon as they may."""
    now, judged = 0.0, 0
    while now < seconds:
        for source in sources:
            if guard.wait(source, name, now) <= 0:
                guard.begin(source, name, now)
                judged += 1
        now += 0.1
    return judged


def test_one_source_has_a_few_guesses_a_minute() -> None:
    assert guesses(Brake(), ["192.0.2.1"], "amy", 3600) < 75


def test_many_sources_gain_little_with_one_name() -> None:
    """One in five seconds, however many there are."""
    assert guesses(Brake(), [f"192.0.2.{number}" for number in range(200)], "amy", 600) < 130


def test_tries_at_once_count_as_many() -> None:
    guard = Brake()
    for _ in range(20):
        guard.begin("192.0.2.1", "amy", 0.0)
    assert guard.wait("192.0.2.1", "bob", 0.0) > 60


def test_a_stranger_who_knows_the_name_keeps_its_owner_out_for_no_long() -> None:
    guard = Brake()
    guard.begin("198.51.100.7", "amy", 0.0)
    guard.right("198.51.100.7", "amy")
    for number in range(1000):
        if guard.wait("192.0.2.1", "amy", number) <= 0:
            guard.begin("192.0.2.1", "amy", number)
    assert guard.wait("198.51.100.7", "amy", 1000) == 0, "from where it was right before, at once"
    assert guard.wait("203.0.113.5", "amy", 1000) <= brake.LONGEST_NAME


def test_people_may_mistype_and_all_is_forgiven() -> None:
    guard = Brake()
    for _ in range(brake.FREE):
        guard.begin("192.0.2.1", "amy", 0.0)
    assert guard.wait("192.0.2.1", "amy", 0.0) == 0
    for _ in range(10):
        guard.begin("192.0.2.1", "amy", 0.0)
    assert guard.wait("192.0.2.1", "amy", 1.0) > 0
    assert guard.wait("192.0.2.1", "amy", 2000.0) == 0


def test_memory_is_bounded() -> None:
    guard = Brake()
    for number in range(20_000):
        guard.begin(f"source {number}", f"name {number}", 0.0)
        guard.right(f"right {number}", f"name {number}")
    assert len(guard) <= 2 * brake.REMEMBERED


def test_hashing_takes_half_a_core_at_most_and_places_are_shared() -> None:
    async def main() -> None:
        checks = PasswordChecks()
        worked = 0.0

        def fits() -> bool:
            nonlocal worked
            begun = time.monotonic()
            time.sleep(0.02)
            worked += time.monotonic() - begun
            return False

        refused = 0

        async def guess(source: str, name: str) -> None:
            nonlocal refused
            try:
                await checks.judge(source, name, fits)
            except Refused:
                refused += 1

        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(guess("192.0.2.1", f"name {number}"))
            for number in range(20):
                group.create_task(guess(f"198.51.100.{number}", f"other {number}"))
        assert refused == 100 - password_checks.WAITING_EACH
        assert worked <= 0.6 * (time.monotonic() - begun)

    asyncio.run(main())


def test_whoever_is_right_is_let_in_beside_a_guesser(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        checks = PasswordChecks()

        async def guess() -> None:
            while True:
                with contextlib.suppress(Refused):
                    await checks.judge("192.0.2.1", "amy", lambda: False)
                await asyncio.sleep(0.001)

        guessers = [asyncio.create_task(guess()) for _ in range(20)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(password_checks.HELD_SECONDS + 1):
            assert await checks.judge("198.51.100.7", "bob", lambda: True)
        for guesser in guessers:
            guesser.cancel()
        await asyncio.gather(*guessers, return_exceptions=True)

    asyncio.run(main())
