"""Clients that come and go leave nothing behind in a server."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from tests.support.hub import Hub, addresses
from tmelink.openvpn.server import server as server_module

ROUNDS = 40


def objects() -> Counter[str]:
    gc.collect()
    return Counter(type(thing).__qualname__ for thing in gc.get_objects())


def join_and_leave(hub: Hub, number: int) -> None:
    address = addresses(number + 1)[number]
    hub.client(address, number % 4)
    hub.run(hub.now + 0.5)
    del hub.ends[address]
    for client in list(hub.server._clients):
        hub.take([hub.server.kick(client, "told to", hub.now)])
    hub.gone.clear()


def test_a_server_is_as_large_after_many_clients_as_after_a_few() -> None:
    hub = Hub(connect_freq_initial=(0, 0))
    for number in range(5):
        join_and_leave(hub, number)
    before = objects()
    for number in range(ROUNDS):
        join_and_leave(hub, number)
    grown = objects() - before
    assert not {name for name, count in grown.items() if count >= ROUNDS}, grown.most_common(10)
    assert len(hub.server) == 0


def test_the_timetable_holds_no_more_than_its_clients_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client was due for hours from now does not wait for that once it has left."""
    monkeypatch.setattr(server_module, "DUE_EACH", 8)
    hub = Hub(connect_freq_initial=(0, 0), reneg_sec=36_000)
    for number in range(ROUNDS):
        join_and_leave(hub, number)
    assert len(hub.server._due) <= 2 * server_module.DUE_EACH
    hub.client("a")
    hub.run(hub.now + 5)
    due = hub.server.deadline()
    assert due is not None
    assert due >= hub.now
