"""A server with many clients, in memory: who is whose, limits, floods, moves."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Hashable, Sequence

import pytest

from tests.support.hub import (
    FRAME,
    SERVER_PEM,
    Hub,
    addresses,
    keys,
)
from tests.support.wire import START, pieces
from tmelink.frame import Run
from tmelink.openvpn.data.packet import Opcode, header
from tmelink.openvpn.server.server import Addressed
from tmelink.openvpn.session import Exit, Joining, Pushed, Restart, Up
from tmelink.openvpn.tls import wrap as tls_wrap

RESET = bytes((Opcode.CONTROL_HARD_RESET_CLIENT_V2 << 3,))


@pytest.mark.parametrize("wrap", ["none", "tls-auth", "tls-crypt", "tls-crypt-v2"])
def test_clients_are_told_apart(wrap: str) -> None:
    ours, theirs = keys(wrap)
    hub = Hub(ours)
    for name, address in enumerate(addresses(4)):
        hub.client(address, name, theirs)
    hub.run(5)
    for number, address in enumerate(addresses(4)):
        assert hub.ends[address].of(Up), hub.ends[address].events
        assert f"peer-id {number}" in hub.ends[address].of(Pushed)[0].options
        hub.send(address, FRAME[:-1] + bytes([number]))
    hub.run(6)
    assert hub.frames == [(n, FRAME[:-1] + bytes([n])) for n in range(4)]
    for number, address in enumerate(addresses(4)):
        step = hub.server.send(number, [Run(memoryview(FRAME * 20), len(FRAME))], hub.now)
        assert step.address == address
        hub.take([step])
    hub.run(7)
    assert all(end.frames == [FRAME] * 20 for end in hub.ends.values())
    assert not hub.server.drops


def test_datagrams_of_several_clients_may_come_together() -> None:
    hub = Hub()
    hosts = addresses(2)
    for name, address in enumerate(hosts):
        hub.client(address, name)
    hub.run(5)
    sent = [
        pieces(hub.ends[a].session.send([FRAME[:-1] + bytes([n])] * 3, hub.now).wire)
        for n, a in enumerate(hosts)
    ]
    mixed = [sent[0][0], sent[1][0], sent[1][1], b"", b"\x48", sent[0][1], sent[0][2]]
    hub.take(hub.server.receive(mixed, hosts[0], hub.now))
    run = Run(memoryview(sent[1][2] + sent[0][0]), len(sent[0][0]))
    hub.take(hub.server.receive([run], hosts[0], hub.now))
    assert [client for client, _ in hub.frames] == [0, 1, 1, 0, 0, 1]
    assert all(frame == FRAME[:-1] + bytes([client]) for client, frame in hub.frames)
    assert hub.server.session(0).drops == {"repeated packet": 1}


def test_a_datagram_and_a_frame_that_come_alone_fare_as_others() -> None:
    hub = Hub()
    hosts = addresses(2)
    for name, address in enumerate(hosts):
        hub.client(address, name)
    hub.run(5)
    for number, address in enumerate(hosts):
        hub.send(address, FRAME)
        hub.run(6)  # the first one shows that the client has its keys
        [packet] = pieces(hub.ends[address].session.send([FRAME], hub.now).wire)
        assert hub.server.open_one(packet, address, hub.now) == (number, FRAME)
        assert hub.server.open_one(packet, address, hub.now) == []
        assert hub.server.session(number).drops == {"repeated packet": 1}
        sealed = hub.server.seal_one(number, FRAME, hub.now)
        assert sealed is not None
        wire, towards = sealed
        assert towards == address
        assert hub.ends[address].session.receive(wire, hub.now).frames == [FRAME]
    assert hub.server.seal_one(2, FRAME, hub.now) is None
    assert hub.server.seal_one(0, FRAME * 20, hub.now) is None
    [packet] = pieces(hub.ends[hosts[0]].session.send([FRAME], hub.now).wire)
    [moved] = steps(hub, packet, "elsewhere")
    assert (moved.client, moved.address, pieces(moved.step.frames)) == (0, "elsewhere", [FRAME])
    for noise in (b"", b"\x48", b"\x48\0\0\7" + bytes(60), RESET, b"\x48\0\0\1" + bytes(60)):
        assert all(not step.step.frames for step in steps(hub, noise, hosts[1]))
    expected = {"repeated packet": 1, "data packet too short": 1, "unknown epoch": 1}
    assert hub.server.session(1).drops == expected
    assert hub.server.drops["data packet from an unknown client"] > 0


def test_a_client_over_tcp_gets_no_datagram_of_a_frame_that_goes_alone() -> None:
    hub = Hub()
    hub.connected("stream")
    hub.client("stream", stream=True)
    hub.run(5)
    assert hub.ends["stream"].of(Up)
    assert hub.server.seal_one(0, FRAME, hub.now) is None
    [packet] = pieces(hub.ends["stream"].session.send([FRAME], hub.now).wire)
    assert all(step.client is None for step in steps(hub, packet, "stream"))


def steps(hub: Hub, datagram: bytes, address: Hashable) -> list[Addressed]:
    """What a server makes of a datagram that came alone and holds more, or less, than a frame."""
    opened = hub.server.open_one(datagram, address, hub.now)
    assert isinstance(opened, list)
    return opened


def test_keys_are_renewed_for_each_client() -> None:
    hub = Hub(reneg_sec=30, hand_window=10)
    for name, address in enumerate(addresses(2)):
        hub.client(address, name)
    hub.run(100)
    for address in addresses(2):
        hub.send(address, FRAME)
        assert hub.ends[address].sent[-1][0] & 7 >= 2
    hub.run(101)
    assert hub.frames == [(0, FRAME), (1, FRAME)]
    assert not hub.gone


def test_a_client_that_moves_is_followed_and_a_forged_packet_is_not() -> None:
    hub = Hub()
    old, new = addresses(2)
    end = hub.client(old)
    hub.run(5)
    hub.ends[new] = hub.ends.pop(old)
    hub.take(hub.server.receive([b"\x48\0\0\0" + bytes(60)], ("203.0.113.9", 1), hub.now))
    assert hub.server.address(0) == old
    hub.send(new, FRAME)
    hub.run(6)
    assert hub.frames == [(0, FRAME)]
    assert hub.server.address(0) == new
    hub.take([hub.server.send(0, [FRAME], hub.now)])
    hub.run(7)
    assert end.frames == [FRAME]


def test_a_hundred_thousand_resets_leave_nothing() -> None:
    hub = Hub(connect_freq_initial=(0, 0))
    chance = random.Random(1)
    packets = [RESET + chance.randbytes(8) + bytes(5) for _ in range(1000)]
    hub.server.receive(packets, ("192.0.2.9", 1), 0.0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        answered = 0
        for n in range(100):
            for step in hub.server.receive(packets, ("192.0.2.9", n), n / 100):
                answered += len(step.step.wire)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answered == 100_000
    assert len(hub.server) == 0
    assert after - before < 100_000  # less than a byte for each
    assert hub.server.deadline() is None


def test_answers_to_resets_are_limited() -> None:
    hub = Hub()
    packets = [RESET + bytes([1, n, 0, 0, 0, 0, 0, 1]) + bytes(5) for n in range(250)]
    assert len(hub.server.receive(packets, "a", 0.0)) == 100
    assert hub.server.drops["more resets than --connect-freq-initial"] == 150
    assert len(hub.server.receive(packets, "a", 10.0)) == 100


def test_an_answer_repeated_from_elsewhere_or_too_late_proves_nothing() -> None:
    hub = Hub()
    [answered] = hub.server.receive([RESET + b"clientid" + bytes(5)], "a", 0.0)
    [reply] = pieces(answered.step.wire)
    ack = header(Opcode.ACK_V1, 0, b"clientid") + b"\1\0\0\0\0" + reply[1:9]
    forged = ack[:-1] + bytes([ack[-1] ^ 1])
    for packet, address, now in ((ack, "b", 1.0), (ack, "a", 100.0), (forged, "a", 1.0)):
        # What is answered, if anything, is the one packet that tells that the server has restarted.
        assert all(step.client is None for step in hub.server.receive([packet], address, now))
    assert hub.server.drops["control packet for an unknown session"] == 3
    assert len(hub.server) == 0
    hub.server.receive([ack], "a", 59.0)
    assert len(hub.server) == 1


def test_no_more_clients_than_allowed() -> None:
    hub = Hub(max_clients=2)
    for name, address in enumerate(addresses(3)):
        hub.client(address, name, hand_window=20)
    hub.run(30)
    assert sum(bool(end.of(Up)) for end in hub.ends.values()) == 2
    assert len(hub.server) == 2
    assert hub.server.drops["more clients than --max-clients"]


def test_a_client_that_never_finishes_is_forgotten() -> None:
    hub = Hub(hand_window=30)
    [answered] = hub.server.receive([RESET + b"clientid" + bytes(5)], "a", 0.0)
    [reply] = pieces(answered.step.wire)
    hub.take(
        hub.server.receive([header(Opcode.ACK_V1, 0, b"clientid") + b"\1\0\0\0\0" + reply[1:9]], "a", 1.0)
    )
    assert len(hub.server) == 1
    hub.run(40)
    assert len(hub.server) == 0
    assert hub.server.deadline() is None
    assert "--hand-window" in hub.gone[0][1]


def test_a_client_that_comes_again_takes_its_old_place() -> None:
    hub = Hub()
    address = addresses(1)[0]
    hub.client(address, 0)
    hub.run(5)
    again = hub.client(address, 0)
    hub.run(10)
    assert again.of(Up)
    assert len(hub.server) == 1
    assert "has connected again" in hub.gone[0][1]
    hub.send(address, FRAME)
    hub.run(11)
    assert [frame for _, frame in hub.frames] == [FRAME]


@pytest.mark.parametrize("allowed", [False, True])
def test_two_clients_of_one_name(allowed: bool) -> None:
    hub = Hub(duplicate_cn=allowed)
    for address in addresses(2):
        hub.client(address, 0)
        hub.run(hub.now + 5)
    assert len(hub.server) == (2 if allowed else 1)
    assert len(hub.gone) == (0 if allowed else 1)


def test_a_refused_client_is_gone_soon() -> None:
    hub = Hub()
    hub.take = lambda steps: refuse(hub, steps)  # type: ignore[method-assign]
    end = hub.client("a")
    hub.run(20)
    assert end.of(Exit)
    assert len(hub.server) == 0


def refuse(hub: Hub, steps: Sequence[Addressed]) -> None:
    for client, _, step, _stream in steps:
        if any(isinstance(event, Joining) for event in step.events):
            assert client is not None
            Hub.take(hub, [hub.server.refuse(client, "no", hub.now)])
        else:
            Hub.take(hub, [Addressed(client, _, step)])


def test_a_kicked_client_is_gone() -> None:
    hub = Hub(ping=5, ping_restart=20)
    hub.client("a")
    hub.run(5)
    hub.take([hub.server.kick(0, "told to", hub.now)])
    assert hub.gone == [(0, "told to")]
    assert len(hub.server) == 0


def test_clients_of_another_key_are_not_answered() -> None:
    ours, _ = keys("tls-crypt-v2")
    other = tls_wrap.generate_client_key(tls_wrap.generate_server_key(), START)
    hub = Hub(ours)
    end = hub.client("a", 0, tls_wrap.parse_client_key(other), hand_window=20)
    hub.run(30)
    assert end.of(Restart)
    assert set(hub.server.drops) == {"wrapped client key not authentic"}


def test_old_client_keys_are_refused_by_age() -> None:
    server = tls_wrap.ServerKey(tls_wrap.parse_server_key(SERVER_PEM).key, max_age=86400.0)
    old = tls_wrap.generate_client_key(SERVER_PEM, START - 90000)
    hub = Hub(server)
    hub.client("a", 0, tls_wrap.parse_client_key(old), hand_window=20)
    hub.run(30)
    assert set(hub.server.drops) == {"client key too old"}


def test_clients_over_tcp_come_and_go_with_their_connections() -> None:
    hub = Hub(stream=True)
    hub.connected("a")
    end = hub.client("a", stream=True)
    hub.run(5)
    assert end.of(Up)
    hub.send("a", FRAME)
    hub.run(6)
    assert hub.frames == [(0, FRAME)]
    assert hub.server.closed("a") == 0
    assert hub.server.closed("a") is None
    assert len(hub.server) == 0


def test_clients_over_udp_and_tcp_are_there_at_once() -> None:
    """Both reach it, from what may be the same address and port, and neither is taken for the other."""
    hub = Hub()
    hub.client("udp", 0)
    hub.connected("tcp")
    hub.client("tcp", 1, stream=True)
    hub.run(5)
    assert hub.ends["udp"].of(Up)
    assert hub.ends["tcp"].of(Up)
    for address in ("udp", "tcp"):
        hub.send(address, FRAME)
    hub.run(6)
    assert sorted(hub.frames) == [(0, FRAME), (1, FRAME)]
    # What names a client over TCP does not count over UDP, wherever it comes from.
    stolen = pieces(hub.ends["tcp"].session.send([FRAME], hub.now).wire)
    for address in ("tcp", "elsewhere"):
        assert not [step for step in hub.server.receive(stolen, address, hub.now) if step.client is not None]
    assert hub.server.drops["data packet from an unknown client"] == 2
    assert hub.server.closed("udp") is None
    assert hub.server.closed("tcp") == 0
    assert len(hub.server) == 1


def test_mutated_packets_are_counted_and_nothing_else() -> None:
    chance = random.Random(3)
    for kind in ("none", "tls-auth", "tls-crypt-v2"):
        ours, theirs = keys(kind)
        hub = Hub(ours, connect_freq_initial=(0, 0))
        hub.client("a", 0, theirs)
        hub.run(5)
        recorded = hub.ends["a"].sent
        for _ in range(3000):
            mutated = bytearray(chance.choice(recorded))
            for _ in range(chance.randint(1, 4)):
                mutated[chance.randrange(len(mutated))] = chance.randrange(256)
            if chance.random() < 0.3:
                del mutated[chance.randrange(len(mutated)) :]
            hub.server.receive([bytes(mutated)], chance.choice(("a", "b", "c")), hub.now)
            hub.now += 0.001
        hub.server.receive([b""], "a", hub.now)
        assert sum(hub.server.drops.values()) > 200
