"""--crl-verify FILE is read again when the file changes, as OpenVPN does, and never fails open.

OpenVPN 2.6 that cannot read the new list goes on without any; here the last good one holds.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

import tmelink
from tests.attacks.places import Place, free_port, link, run, said, server, until
from tmelink.elements.openvpn import revocations


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "CHECK_SECONDS", 0.1)


def replaced(path: str, content: bytes) -> None:
    """A file as a careful administrator replaces it: whole, at once."""
    new = Path(f"{path}.new")
    new.write_bytes(content)
    os.replace(new, path)


def test_a_certificate_revoked_while_the_server_runs_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    port = free_port()
    crl = place.file("crl.pem", place.authority.crl())
    identity = place.identity("amy", "client")
    revoked = place.authority.crl(place.pairs["amy"])
    at = f"--local 127.0.0.1 --lport {port} --crl-verify {crl}"
    text = link(
        "b", f"--client --nobind --remote 127.0.0.1 {port} --connect-retry 1 {identity}", "10.8.0.200"
    )

    async def main() -> None:
        async with tmelink.load(server(f"{at} {place.identity('server', 'server')}")).run() as here:
            lines = said(here["/server"])

            async def heard(words: str) -> None:
                await until(lambda: any(words in line for line in lines))
                lines.clear()

            async with tmelink.load(text).run() as there:
                await until(lambda: there["/link"].up)
            replaced(crl, revoked)
            await heard("read again")
            async with tmelink.load(text).run() as there:
                await heard("refused: it is revoked")
                assert not there["/link"].up
            # A list that cannot be read, and none at all, leave the last one in force.
            for content in (b"nonsense", None):
                if content is None:
                    os.unlink(crl)
                else:
                    replaced(crl, content)
                await heard("the list before it remains valid")
                async with tmelink.load(text).run() as there:
                    await heard("refused: it is revoked")
                    assert not there["/link"].up
            replaced(crl, place.authority.crl())
            await heard("read again")
            async with tmelink.load(text).run() as there:
                await until(lambda: there["/link"].up)

    run(main)


def test_a_long_list_is_read_beside_the_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading takes long here, and the event loop goes on meanwhile."""
    place = Place(tmp_path)
    crl = place.file("crl.pem", place.authority.crl())
    reading: list[Any] = []

    def slow(path: Path, context: object) -> None:
        reading.append(path)
        time.sleep(0.5)

    monkeypatch.setattr(revocations, "_read", slow)
    at = f"--local 127.0.0.1 --lport {free_port()} --crl-verify {crl}"

    async def main() -> None:
        async with tmelink.load(server(f"{at} {place.identity('server', 'server')}")).run():
            replaced(crl, place.authority.crl())
            await until(lambda: reading)
            loop = asyncio.get_running_loop()
            before = loop.time()
            await asyncio.sleep(0.01)
            assert loop.time() - before < 0.3

    run(main)
