"""A server over UDP that was killed and has restarted: its clients hear of it by their next packet.

`tests.e2e.test_restarts` has OpenVPN's client in the place of tmelink's, and `tests.chaos.recovery` measures.
"""

from __future__ import annotations

import pytest

from tests.support.grouped import tls as tls_settings
from tests.support.hub import CLIENTS, FRAME, SERVER, Hub, addresses, keys
from tests.support.wire import pieces, wall
from tmelink.openvpn.data.packet import Opcode, header
from tmelink.openvpn.server.server import TlsServer
from tmelink.openvpn.session import Up
from tmelink.openvpn.tls import restarts
from tmelink.openvpn.tls import wrap as tls_wrap
from tmelink.openvpn.tls.session import LIVELY, TlsSession

[AT] = addresses(1)

UNKNOWN = bytes((Opcode.DATA_V2 << 3,)) + bytes(3) + bytes(60)
"""A data packet of a session that nobody has."""


def restarted(hub: Hub, wrap: tls_wrap.WrapKey = None) -> None:
    """Another run of the hub's server, which knows nothing."""
    hub.server = TlsServer(tls_settings(server=True, wrap=wrap), SERVER, wall)


@pytest.mark.parametrize("kind", ["none", "tls-auth", "tls-crypt", "tls-crypt-v2"])
def test_a_client_is_back_after_its_next_packet(kind: str) -> None:
    ours, theirs = keys(kind)
    hub = Hub(ours)
    end = hub.client(AT, 0, theirs)
    hub.run(2)
    assert len(end.of(Up)) == 1
    restarted(hub, ours)
    hub.run(5)
    hub.send(AT, FRAME)
    hub.run(5.5)
    assert len(end.of(Up)) == 2
    hub.send(AT, FRAME)
    hub.run(6)
    assert hub.frames == [(0, FRAME)]


def test_clients_whose_numbers_are_others_by_now_are_back_too() -> None:
    hub = Hub()
    ends = [hub.client(address, name) for name, address in enumerate(addresses(2))]
    hub.run(2)
    restarted(hub)
    hub.run(5)
    for address in reversed(addresses(2)):
        hub.send(address, FRAME)
        hub.run(hub.now + 1)
    assert [len(end.of(Up)) for end in ends] == [2, 2]


def test_a_pair_with_a_server_that_has_begun_anew() -> None:
    theirs = TlsSession(tls_settings(server=False), CLIENTS[0], wall)
    ours = TlsSession(tls_settings(server=True), SERVER, wall)
    now = 0.0
    ups = 0

    def converse(to_server: list[bytes]) -> None:
        nonlocal ups
        while to_server:
            to_client: list[bytes] = []
            for datagram in to_server:
                step = ours.receive([datagram], now, AT)
                to_client += pieces(step.wire)
                for _, items in step.answers:
                    to_client += pieces(items)
            to_server = []
            for datagram in to_client:
                step = theirs.receive([datagram], now, "server")
                to_server += pieces(step.wire)
                for _, items in step.answers:
                    to_server += pieces(items)
                ups += sum(isinstance(event, Up) for event in step.events)

    ours.connected(now)
    converse(pieces(theirs.connected(now).wire))
    assert ups == 1
    now = 5.0
    ours = TlsSession(tls_settings(server=True), SERVER, wall)
    ours.connected(now)
    converse(pieces(theirs.send([FRAME], now).wire))
    assert ups == 2


def test_a_reset_from_a_server_that_is_alive_is_a_strangers() -> None:
    hub = Hub()
    end = hub.client(AT)
    hub.run(2)
    hub.take([hub.server.send(0, [FRAME], hub.now)])
    hub.run(2.1)
    forged = header(Opcode.CONTROL_HARD_RESET_SERVER_V2, 0, b"stranger") + bytes(5)
    assert not end.receive([forged], hub.now).wire
    assert end.session.drops["reset while the peer is alive"] == 1
    # Where the server is silent it costs one packet a second at most, and the session stands.
    later = hub.now + LIVELY
    sent = 0
    for number in range(10):
        forged = header(Opcode.CONTROL_HARD_RESET_SERVER_V2, 0, bytes([number]) * 8) + bytes(5)
        sent += len(pieces(end.receive([forged], later).wire))
    assert sent == 1
    hub.now = later
    hub.send(AT, FRAME)
    hub.run(hub.now + 1)
    assert hub.frames == [(0, FRAME)]
    assert len(end.of(Up)) == 1


def test_whoever_begins_anew_is_not_told_again() -> None:
    ours, theirs = keys("tls-crypt")
    hub = Hub(ours)
    first, second = addresses(2)
    hub.client(first, 0, theirs)
    end = hub.client(second, 1, theirs)
    hub.run(2)
    restarted(hub, ours)
    hub.now = 5.0
    # Its number from before, 1, is nobody's now: the new session has 0.
    [old] = pieces(end.session.send([FRAME], hub.now).wire)
    [told] = hub.server.receive([old], second, hub.now)
    [reset] = pieces(end.session.receive(pieces(told.step.wire), hub.now).wire)
    assert hub.server.receive([reset], second, hub.now)
    assert hub.server.receive([old], second, hub.now + 2) == []


def test_few_are_told_and_not_often() -> None:
    server = Hub().server
    assert server.receive([UNKNOWN[:3]], "a", 0.0) == []  # fewer bytes than a third of the answer
    told = [now for now in range(20) if server.receive([UNKNOWN], "a", float(now))]
    assert len(told) == restarts.TIMES
    burst = server.receive([UNKNOWN] * 5, "b", 20.0)
    assert len(burst) == 1
    assert not server.receive([UNKNOWN], "c", restarts.WINDOW), "not for ever"


def test_addresses_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "ADDRESSES", 3)
    server = Hub().server
    assert [len(server.receive([UNKNOWN], address, 0.0)) for address in addresses(5)] == [1, 1, 1, 0, 0]


def test_whose_place_another_has_taken_is_not_called_back() -> None:
    hub = Hub()
    first, second = addresses(2)
    hub.client(first, 0)
    hub.run(2)
    hub.client(second, 0)
    hub.run(4)
    assert [reason for _, reason in hub.gone] == ["'client0' has connected again"]
    hub.send(first, FRAME)
    hub.run(8)
    assert hub.gone == hub.gone[:1]
    assert len(hub.ends[first].of(Up)) == 1


def test_a_bare_reset_costs_a_client_with_its_own_key_one_question_a_second() -> None:
    """Whoever sends one in the server's name leads nothing away, and is heeded only while that is silent."""
    ours, theirs = keys("tls-crypt-v2")
    hub = Hub(ours)
    end = hub.client(AT, 0, theirs)
    hub.run(2)
    hub.take([hub.server.send(0, [FRAME], hub.now)])
    hub.run(2.1)

    def forged(number: int) -> bytes:
        return header(Opcode.CONTROL_HARD_RESET_SERVER_V2, 0, bytes([number + 1]) * 8) + bytes(5)

    assert not end.receive([forged(0)], hub.now).wire
    assert end.session.drops["reset while the peer is alive"] == 1
    later = hub.now + LIVELY
    assert not end.receive([forged(0)], later, "elsewhere").answers
    assert end.session.drops["control packet from another address"] == 1
    sent = sum(len(pieces(end.receive([forged(number)], later).wire)) for number in range(10))
    assert sent == 1
    assert end.session.drops["more resets than one a second"] == 9
    hub.now = later
    hub.send(AT, FRAME)
    hub.run(hub.now + 1)
    assert hub.frames == [(0, FRAME)]
