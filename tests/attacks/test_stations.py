"""A client of a server on one Ethernet who takes others' MAC addresses, or invents any number of them.

OpenVPN 2.6 lets a client take a station of another's by one frame (multi_learn_addr), and bounds how many
each may have; for nobody known it sends nothing, and so does this server where clients are isolated.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.machines import Machine
from tmelink.element import Port, connect
from tmelink.elements.builtin.learning_segment import TABLE_SIZE
from tmelink.elements.openvpn import guarded_switch
from tmelink.elements.openvpn.server_bridge import ServerBridge
from tmelink.frame import Burst
from tmelink.openvpn.server.client_config import Welcome

OWN = b"\x02\0\0\0\0\xee"
ALL = b"\xff" * 6


def station(number: int) -> bytes:
    return b"\x02\1" + number.to_bytes(4, "big")


def frame(source: bytes, destination: bytes = ALL) -> bytes:
    return destination + source + b"\x88\xb5" + bytes(46)


class Own(Machine):
    """The server's own machine, with one address."""

    def stations(self, port: Port) -> frozenset[bytes]:
        return frozenset({OWN})


class Lab:
    """A server's Ethernet with its own machine and clients, whose time is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.sent: set[int] = set()
        self.drops = Counter[str]()
        self.bridge = ServerBridge("switch", self._send, self._send, self.drops, ageing=None, **options)
        self.machine, outer = Own(offload=False), Machine(offload=False)
        self.port = outer.port()
        connect(self.machine.port(), self.port)
        self.bridge.add_machine(self.port)
        self.now = 1000.0
        self._monkeypatch = monkeypatch

    def _send(self, client: int, items: object) -> None:
        self.sent.add(client)

    async def open(self) -> None:
        await self.bridge.open()
        loop = asyncio.get_running_loop()
        self._monkeypatch.setattr(loop, "time", lambda: self.now)

    def join(self, number: int, name: str, **given: Any) -> None:
        self.bridge.join(number, name, Welcome(**given))

    def client(self, number: int, source: bytes, destination: bytes = ALL) -> None:
        self.bridge.from_client(number, [frame(source, destination)])

    def own(self, source: bytes, destination: bytes = ALL) -> None:
        self.bridge.from_machine(self.port, Burst([frame(source, destination)]))

    def reached(self, destination: bytes) -> list[int]:
        """The clients that a frame from the machine reaches."""
        self.sent.clear()
        self.own(OWN, destination)
        return sorted(self.sent)


@contextmanager
def lab(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Lab]:
    async def made() -> Lab:
        return Lab(monkeypatch, **options)

    with asyncio.Runner() as runner:
        there = runner.run(made())
        runner.run(there.open())
        there.join(0, "amy")
        there.join(1, "eve")
        yield there
        monkeypatch.undo()
        runner.run(there.bridge.close())


@pytest.mark.parametrize("together", [False, True])
def test_nobody_takes_the_servers_own_address(monkeypatch: pytest.MonkeyPatch, together: bool) -> None:
    with lab(monkeypatch, client_to_client=together) as here:
        # Even before it has said a word.
        here.client(1, OWN)
        assert here.drops["source is the server's own"] == 1
        here.client(0, station(1), OWN)
        assert len(here.machine.got) == 1
        assert 1 not in here.sent


def test_a_station_behind_the_server_stays_there_until_it_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with lab(monkeypatch, client_to_client=True) as here:
        here.own(station(7))
        here.now += 200
        here.client(1, station(7))
        assert here.drops["source is a station of the server's side"] == 1
        here.now += 200
        here.client(1, station(7))
        assert here.reached(station(7)) == [1]
        # And is back there by its first frame.
        here.own(station(7))
        assert here.reached(station(7)) == []


def test_a_clients_station_is_another_clients_only_once_it_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with lab(monkeypatch, client_to_client=True) as here:
        here.client(0, station(1))
        here.client(1, station(1))
        assert here.reached(station(1)) == [0]
        assert here.drops["source is another client's station"] == 1
        here.now += guarded_switch.SILENT + 1
        here.client(1, station(1))
        assert here.reached(station(1)) == [1]
        # Whoever had it first has it back by one frame, however much the other one says.
        here.client(0, station(1))
        assert here.reached(station(1)) == [0]
        here.client(1, station(1))
        assert here.reached(station(1)) == [0]


def test_a_client_that_has_connected_anew_has_its_stations_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with lab(monkeypatch, client_to_client=True) as here:
        here.client(0, station(1))
        here.bridge.leave(0)
        here.join(5, "amy")
        here.client(5, station(1))
        assert here.reached(station(1)) == [5]


def test_a_client_that_comes_again_is_reached_before_it_says_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with lab(monkeypatch, client_to_client=False) as here:
        here.join(1, "alice")
        here.client(1, station(1))
        here.client(1, station(2))
        here.bridge.leave(1)
        here.join(3, "mallory")
        here.client(3, station(2))
        here.join(2, "alice")
        assert here.reached(station(1)) == [2]
        assert here.reached(station(2)) == [3], "known elsewhere meanwhile"
        here.bridge.leave(2)
        here.now += 400
        here.join(2, "alice")
        assert here.reached(station(1)) == [], "forgotten meanwhile"


def test_invented_stations_push_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with lab(monkeypatch, client_to_client=True, quota=100) as here:
        here.client(0, station(1))
        for number in range(TABLE_SIZE + 100):
            here.client(1, station(1000 + number))
        assert here.drops["more stations than --max-routes-per-client"] == TABLE_SIZE
        assert len(here.bridge.switch.table()) == 101
        assert here.reached(station(1)) == [0]
        here.own(station(2))
        here.client(1, station(3), station(2))
        assert here.reached(station(1)) == [0]


def test_many_who_invent_stations_push_out_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    quota = TABLE_SIZE // 4
    with lab(monkeypatch, client_to_client=True, quota=quota) as here:
        here.client(0, station(1))
        for client in range(2, 8):
            here.join(client, f"eve {client}")
            for number in range(quota):
                here.client(client, station(10_000 * client + number))
        here.own(station(2))
        assert here.reached(station(1)) == [0]
        here.client(0, station(3))
        assert here.reached(station(3)) == [0]
        assert len(here.bridge.switch.table()) <= TABLE_SIZE


def test_nothing_for_nobody_known_goes_to_isolated_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    with lab(monkeypatch, client_to_client=False) as here:
        assert here.reached(station(1)) == []
        assert here.drops["station unknown"] == 1
        here.client(0, station(1))
        assert here.reached(station(1)) == [0]
        here.now += 301
        assert here.reached(station(1)) == []
        assert here.reached(ALL) == [0, 1]


@pytest.mark.parametrize("source", [ALL, b"\x01\0\x5e\0\0\1", bytes(6)])
def test_a_source_that_is_no_station_is_nobodys(monkeypatch: pytest.MonkeyPatch, source: bytes) -> None:
    with lab(monkeypatch, client_to_client=True) as here:
        here.client(1, source)
        assert here.drops["source is not a unicast address"] == 1
        assert not here.machine.got
