"""Links with a machine at their end, as tests of them use."""

from __future__ import annotations

import logging

from tests.support.aio import eventually
from tests.support.machines import Machine
from tests.support.statements import words
from tmelink.element import connect
from tmelink.elements.openvpn.link import Link
from tmelink.source import Mistake, Place, Source

PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
"""OpenVPN's keepalive message."""

OCC = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")
"""What OpenVPN's messages about options begin with."""


class End:
    """A link and the machine on it."""

    def __init__(self, options: str) -> None:
        self.link = link(options)
        self.machine = Machine(offload=False)
        connect(self.link.port(), self.machine.port())

    async def __aenter__(self) -> End:
        await self.link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.close()

    async def until_connected(self) -> None:
        """Wait until a TCP link has its connection."""
        await eventually(lambda: self.connected)

    @property
    def connected(self) -> bool:
        return getattr(self.link.peer, "_current", self.link.peer) is not None

    def drops(self, counter: str) -> dict[str, int]:
        return dict(self.link.counters()[counter].drops)


class _Listener(logging.Filter):
    """Keeps every record, and passes none on."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, str]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        self.told.append((record.levelno, record.getMessage()))
        return False


def listening(to: Link, name: str) -> list[tuple[int, str]]:
    """What the link logs from now on, with the level."""
    listener = _Listener()
    to.log = logging.getLogger(name)
    to.log.setLevel(logging.INFO)
    to.log.addFilter(listener)
    return listener.told


def link(options: str) -> Link:
    """A link of these options; they have no mistake."""
    mistakes: list[Mistake] = []
    parsed = Link.parse(words(options), Place(Source("test.conf", options), 1, 1), mistakes.append)
    assert parsed is not None, mistakes
    return Link("link0", parsed)
