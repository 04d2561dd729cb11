"""Links and servers of tmelink's on the loopback interface, with certificates, for strangers to attack."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import tmelink
from tests.support.pki import Authority, Pair

TIMEOUT = 20
"""Seconds to await what must come."""

LINK = "tme/host/openvpn/socket/link"
SERVER = "tme/host/openvpn/socket/server"


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Place:
    """A directory with one authority, and identities of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(time.time())
        self.pairs: dict[str, Pair] = {}
        self.file("ca.crt", self.authority.own.pem)

    def file(self, name: str, content: bytes | str) -> str:
        path = self.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)
        return str(path)

    def identity(self, name: str, usage: str) -> str:
        """--ca, --cert and --key of an end."""
        pair = self.pairs[name] = self.authority.issue(name, usage)
        cert, key = self.file(f"{name}.crt", pair.pem), self.file(f"{name}.key", pair.key_pem)
        return f"--ca {self.directory}/ca.crt --cert {cert} --key {key}"

    def static_key(self) -> str:
        lines = [bytes(range(16 * n, 16 * n + 16)).hex() for n in range(16)]
        text = "\n".join(lines)
        return self.file(
            "static.key",
            f"-----BEGIN OpenVPN Static key V1-----\n{text}\n-----END OpenVPN Static key V1-----\n",
        )


def link(name: str, options: str, address: str) -> str:
    """A machine file's lines: an IP host of its own on a link."""
    return f"{name}: tmelink/host inet {address}/24\nlink at {name}: {LINK} --dev tap {options}\n"


def server(options: str, address: str = "10.8.0.1") -> str:
    """A machine file's lines: an IP host of its own on a server."""
    network = "--server 10.8.0.0 255.255.255.0"
    return f"own: tmelink/host inet {address}/24\nserver at own: {SERVER} --dev tap {network} {options}\n"


async def until(condition: Callable[[], object], seconds: float = TIMEOUT) -> float:
    """Wait for what no event tells; how many seconds it took."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return time.monotonic() - begun


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(120):
            await main()

    asyncio.run(bounded())


def drops(lab: tmelink.Lab, name: str) -> dict[str, int]:
    return dict(lab[name].counters()["wire received"].drops)


def said(element: tmelink.Element) -> list[str]:
    """What an element writes to its log from now on."""
    lines: list[str] = []
    element.log.setLevel(logging.INFO)

    def keep(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        return True

    element.log.addFilter(keep)
    return lines
