"""A frame that comes alone: its short way through a session is the long one's, or leaves it to that."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from tests.support.fuzzing import examples
from tests.support.grouped import plain as plain_settings
from tests.support.tls_pair import equals, up
from tests.support.wire import End, Wire, pieces
from tmelink.openvpn import occ
from tmelink.openvpn.data.aead import LAST_ID, SUITES, AeadKeys
from tmelink.openvpn.data.direction import StaticDirection
from tmelink.openvpn.liveness import PING
from tmelink.openvpn.plain.point_to_point import LOOKED_AT, PointToPoint
from tmelink.openvpn.session import NOTHING, Joining, Restart, Step, Up
from tmelink.openvpn.settings import Mssfix

FRAME = bytes(range(12)) + b"\x08\x00" + bytes(range(50))
SYN = bytes(Ether() / IP(dst="10.0.0.2") / TCP(flags="S", options=[("MSS", 9000)]))
ACK = bytes(Ether() / IP(dst="10.0.0.2") / TCP(flags="A"))

SETTINGS: list[dict[str, Any]] = [
    {},
    {"kind": "ip"},
    {"ping": 10, "ping_restart": 60},
    {"inactive": 10},
    {"fragment": 1000},
    {"framing": "stub-v2"},
    {"key": None, "mssfix": Mssfix(0)},
]


def session(**options: Any) -> PointToPoint:
    made = PointToPoint(plain_settings(**options), Random(1).randbytes)
    made.connected(0.0)
    first = FRAME if options.get("kind") != "ip" else b"\x45" + bytes(39)
    # The first frames are looked at, one and all.
    made.receive([first] * LOOKED_AT, 0.5)
    return made


frames = st.one_of(
    st.sampled_from([FRAME, SYN, ACK, SYN[14:], ACK[14:], PING, FRAME[:14], FRAME[:13], FRAME * 30]),
    st.binary(max_size=80),
    st.binary(max_size=40).map(occ.MAGIC.__add__),
    st.binary(min_size=1500, max_size=1700),
)


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@examples(150)
@given(frame=frames)
def test_it_is_sent_as_a_burst_of_it_is(options: dict[str, Any], frame: bytes) -> None:
    link = session(**options)
    wire, beside = link.seal_one(frame, 1.0), copy.deepcopy(link)
    if wire is not None:
        beside = session(**options)
        step = beside.send([frame], 1.0)
        assert wire == list(step.wire)
        assert not step.events
        assert link.deadline() == beside.deadline()
    assert link.drops == beside.drops


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@examples(150)
@given(datagram=frames)
def test_it_is_received_as_a_burst_of_it_is(options: dict[str, Any], datagram: bytes) -> None:
    link = session(**options)
    opened = link.open_one(datagram, 1.0)
    beside = session(**options)
    step = beside.receive([datagram], 1.0)
    if isinstance(opened, Step):
        assert opened == step
    else:
        assert [opened] == list(step.frames)
        assert not step.events
        assert not step.wire
    assert link.deadline() == beside.deadline()
    assert link.drops == beside.drops


def test_what_is_ordinary_takes_the_short_way() -> None:
    link = session()
    assert link.seal_one(ACK, 1.0) == [ACK]
    assert link.open_one(ACK, 1.0) is ACK


@pytest.mark.parametrize("frame", [SYN, FRAME[:13], bytes(4000)], ids=["SYN", "short", "long"])
def test_what_needs_a_look_takes_the_long_way(frame: bytes) -> None:
    assert session().seal_one(frame, 1.0) is None


@pytest.mark.parametrize("datagram", [PING, occ.message(occ.EXIT), SYN, b"", bytes(4000)], ids=repr)
def test_what_may_be_more_than_a_frame_takes_the_long_way(datagram: bytes) -> None:
    assert isinstance(session().open_one(datagram, 1.0), Step)


def test_the_first_sign_of_a_peer_takes_the_long_way() -> None:
    link = PointToPoint(plain_settings(), Random(1).randbytes)
    link.connected(0.0)
    step = link.open_one(ACK, 1.0)
    assert isinstance(step, Step)
    assert (list(step.frames), step.events) == ([ACK], [Up()])


def test_a_session_that_has_ended_takes_nothing() -> None:
    link = session()
    link.close(1.0)
    assert link.seal_one(ACK, 1.0) is None
    assert link.open_one(ACK, 1.0) == NOTHING


def test_under_tls_it_is_a_data_packet_like_any_other() -> None:
    wire = up(equals(mss=1300))
    for end in (wire.client, wire.server):
        other = wire.other(end)
        packets = end.session.seal_one(ACK, wire.now)
        assert packets is not None
        wire.do(other, other.session.receive(packets, wire.now))
        wire.send(end, FRAME * 2)
        wire.run(wire.now + 1)
        assert other.frames == [ACK, FRAME * 2]
        assert end.session.seal_one(SYN, wire.now) is None
        assert end.session.seal_one(bytes(4000), wire.now) is None


PEER = ("192.0.2.1", 1194)


def sealed(end: End, payload: bytes) -> bytes:
    """The data packet of anything that may stand in one."""
    (packet,) = pieces(end.session._keyring.seal([payload]))
    return packet


def heard(**options: Any) -> Wire:
    """Two ends of which the client has heard the server at its address."""
    wire = up(equals(**options))
    wire.client.session.receive([sealed(wire.server, FRAME)], wire.now, PEER)
    return wire


def test_under_tls_an_ordinary_frame_is_opened_by_itself() -> None:
    wire = heard(mss=1300)
    assert wire.client.session.open_one(sealed(wire.server, ACK), wire.now, PEER) == ACK
    assert wire.client.session._liveness.last_received == wire.now


@pytest.mark.parametrize(
    ("payload", "frames"),
    [(PING, []), (FRAME[:13], []), (bytes(4000), []), (occ.message(occ.REQUEST), []), (SYN, [SYN])],
    ids=["ping", "short", "long", "message", "SYN"],
)
def test_under_tls_anything_else_comes_to_a_step(payload: bytes, frames: list[bytes]) -> None:
    wire = heard(mss=9000)
    step = wire.client.session.open_one(sealed(wire.server, payload), wire.now, PEER)
    assert isinstance(step, Step)
    assert (list(step.frames), step.authentic, list(step.events)) == (frames, True, [])


def test_under_tls_the_peers_farewell_ends_the_session() -> None:
    wire = heard()
    step = wire.client.session.open_one(sealed(wire.server, occ.message(occ.EXIT)), wire.now, PEER)
    assert isinstance(step, Step)
    assert [type(event) for event in step.events] == [Restart]


def test_under_tls_what_is_not_the_peers_is_counted() -> None:
    wire = heard()
    session, packet = wire.client.session, sealed(wire.server, FRAME)
    forged = packet[:-1] + bytes((packet[-1] ^ 1,))
    assert session.open_one(forged, wire.now, PEER) == NOTHING
    assert session.open_one(packet, wire.now, ("192.0.2.66", 1194)) == NOTHING
    assert session.open_one(packet, wire.now, PEER) == FRAME
    assert session.open_one(packet, wire.now, PEER) == NOTHING
    assert session.drops == {
        "not authentic": 1,
        "data packet from another address": 1,
        "repeated packet": 1,
    }


def test_under_tls_one_packet_too_many_asks_for_new_keys() -> None:
    wire = heard(reneg_pkts=50)
    session = wire.client.session
    opened = [session.open_one(sealed(wire.server, FRAME), wire.now, PEER) for _ in range(60)]
    steps = [step for step in opened if isinstance(step, Step)]
    assert [frame for step in steps for frame in step.frames] + [
        one for one in opened if not isinstance(one, Step)
    ] == [FRAME] * 60
    assert [step for step in steps if step.wire or step.answers]


def test_under_tls_none_is_sealed_before_there_are_keys_nor_after_the_end() -> None:
    wire = equals()
    wire.begin()
    assert wire.client.session.seal_one(FRAME, wire.now) is None
    up(wire)
    wire.call(wire.client, "close")
    assert wire.client.session.seal_one(FRAME, wire.now) is None


def test_under_tls_keys_that_are_worn_are_renewed_all_the_same() -> None:
    wire = up(equals(reneg_pkts=50))
    sealed, keys = 0, set()
    for _ in range(200):
        packets = wire.client.session.seal_one(FRAME, wire.now)
        if packets is None:
            wire.send(wire.client, FRAME)
        else:
            sealed += 1
        keys.add(wire.client.sent[-1][0] & 7)
        wire.run(wire.now + 1)
    assert wire.server.frames == [FRAME] * 200
    assert sealed == 0, "each may be the one at which new keys are due"
    assert not wire.client.of(Joining)
    assert keys >= {0, 1}


def test_under_tls_keys_that_are_used_up_seal_nothing_and_raise_nothing() -> None:
    wire = up(equals())
    session = wire.client.session
    sealing = session._keyring._sealing
    assert sealing is not None
    # Of OpenVPN's usual format, whose ids end after four bytes; two of our ends agree on epochs.
    direction_key = StaticDirection(bytes(64), bytes(64))
    sealing.keys = used = AeadKeys(SUITES["AES-256-GCM"], direction_key, direction_key, session.drops)
    used._send.number = LAST_ID
    session._keyring.choose(wire.now)
    # New keys are asked for, and the answer does not come.
    assert session.seal_one(FRAME, wire.now) is None
    session.send([FRAME], wire.now)
    assert session.drops["packet ids used up"] == 1
    assert session.seal_one(FRAME, wire.now) is None


def test_under_tls_of_many_lone_packets_each_is_taken_once() -> None:
    """Past the packets that take the long way, and with all counters as by that way."""
    for cipher in ("AES-256-GCM", "CHACHA20-POLY1305"):
        wire = heard(accepted=(cipher,))
        server, client = wire.server.session, wire.client.session
        begun = client._keyring._opening[0].packets
        got = 0
        for number in range(600):
            frame = FRAME[:-2] + number.to_bytes(2, "big")
            packets = server.seal_one(frame, wire.now)
            if packets is None:
                assert number % 256 > 250 or number % 256 < 5, "one of 256"
                packets = server.send([frame], wire.now).wire
            (packet,) = pieces(packets)
            opened = client.open_one(packet, wire.now, PEER)
            got += (list(opened.frames) if isinstance(opened, Step) else [opened]) == [frame]
            assert client.open_one(packet, wire.now, PEER) == NOTHING
        assert got == 600
        assert client.drops == {"repeated packet": 600}
        assert client._keyring._opening[0].packets == begun + 600


def test_under_tls_a_lone_packet_may_be_late_but_not_too_late() -> None:
    wire = heard(window=64, seconds=5.0)
    server, client = wire.server.session, wire.client.session
    packets = [pieces(server.seal_one(FRAME, wire.now) or ())[0] for _ in range(4)]
    assert client.open_one(packets[3], wire.now, PEER) == FRAME
    assert client.open_one(packets[0], wire.now + 1, PEER) == FRAME
    for step in range(2, 20):
        later = sealed(wire.server, FRAME)
        assert client.open_one(later, wire.now + step, PEER) == FRAME
    assert client.open_one(packets[1], wire.now + 20, PEER) == NOTHING
    assert client.drops == {"repeated packet": 1}
