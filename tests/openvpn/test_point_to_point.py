"""A session without keys: what it hands on, what it keeps, when it speaks and when it ends."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tests.support.grouped import plain as plain_settings
from tests.support.wire import pieces
from tmelink.frame import Frame, Run
from tmelink.openvpn import occ
from tmelink.openvpn.liveness import PING
from tmelink.openvpn.plain.point_to_point import PointToPoint
from tmelink.openvpn.session import Exit, Item, Notice, Restart, Up

FRAME = bytes(range(12)) + b"\x08\x00" + bytes(range(50))
PACKET = b"\x45" + bytes(39)


def session(**options: object) -> PointToPoint:
    made = PointToPoint(plain_settings(**options), Random(1).randbytes)
    made.connected(0.0)
    return made


def run(*frames: bytes) -> Run:
    return Run(memoryview(b"".join(frames)), len(frames[0]))


def test_frames_pass_both_ways_as_they_are() -> None:
    link = session()
    burst: list[Frame] = [FRAME, memoryview(FRAME + b"x"), bytearray(FRAME)]
    assert link.send(burst, 1.0).wire is burst
    step = link.receive(burst, 1.0)
    assert step.frames is burst
    assert step.authentic
    assert step.events == [Up()]
    assert link.receive(burst, 2.0).events == []


def test_a_run_of_frames_passes_untouched() -> None:
    link = session()
    long = FRAME * 20
    burst = [run(long, long, long[:60])]
    assert link.send(burst, 1.0).wire is burst
    assert link.receive(burst, 1.0).frames is burst


@pytest.mark.parametrize("short", [13, 1])
def test_a_run_with_a_short_tail_loses_only_the_tail(short: int) -> None:
    link = session()
    burst = [run(FRAME, FRAME, FRAME[:short])]
    assert pieces(link.send(burst, 1.0).wire) == [FRAME, FRAME]
    assert pieces(link.receive(burst, 1.0).frames) == [FRAME, FRAME]
    assert link.drops == {"too short": 1, "too short to send": 1}


def test_pings_never_reach_the_machine() -> None:
    link = session()
    step = link.receive([PING], 1.0)
    assert step.authentic
    assert step.frames == []
    assert pieces(link.receive([run(FRAME, FRAME, PING)], 1.0).frames) == [FRAME, FRAME]
    assert pieces(link.receive([run(PING, PING)], 1.0).frames) == []
    assert pieces(link.receive([FRAME, PING, FRAME], 1.0).frames) == [FRAME, FRAME]
    assert link.drops == {}


def test_a_frame_as_long_as_a_ping_is_a_frame() -> None:
    link = session()
    frame = PING[:-1] + b"\0"
    assert pieces(link.receive([frame], 1.0).frames) == [frame]


def test_a_request_inside_a_run_is_answered_and_not_handed_on() -> None:
    link = session()
    request = occ.message(occ.REQUEST)
    step = link.receive([run(FRAME, request.ljust(len(FRAME), b"\0"), FRAME)], 1.0)
    assert pieces(step.frames) == [FRAME, FRAME]
    (reply,) = pieces(step.wire)
    assert reply == occ.MAGIC + b"\x01V4,dev-type tap,link-mtu 1532,tun-mtu 1500,proto UDPv4\0"


def test_the_peer_of_a_tcp_server_is_a_client() -> None:
    server = session(proto="tcp-server")
    client = session(proto="tcp4-client")
    (request,) = client.tick(10.0).wire
    (reply,) = server.receive([request], 10.0).wire
    assert pieces([reply])[0][17:].endswith(b"proto TCPv4_SERVER\0")
    assert client.receive([reply], 10.1).events == [Up()]
    assert client.tick(20.0).wire == ()


def test_requests_stop_after_eleven() -> None:
    link = session()
    asked = 0
    now = 0.0
    while (deadline := link.deadline()) is not None:
        assert deadline > now
        now = deadline
        asked += len(link.tick(now).wire)
    assert asked == 11
    assert now == 110.0


def test_an_options_string_that_differs_is_told_once() -> None:
    link = session()
    reply = occ.message(occ.REPLY, b"V4,dev-type tap,link-mtu 1532,tun-mtu 1400,proto UDPv4,comp-lzo\0")
    notices = [event for event in link.receive([reply], 1.0).events if isinstance(event, Notice)]
    assert [notice.text for notice in notices] == [
        "'tun-mtu' is used inconsistently, local='tun-mtu 1500', remote='tun-mtu 1400'",
        "'comp-lzo' is present in remote config but missing in local config, remote='comp-lzo'",
    ]
    assert link.receive([reply], 2.0).events == []


def test_without_occ_nothing_is_asked_or_compared_but_requests_are_answered() -> None:
    link = session(occ=False)
    assert link.deadline() is None
    assert link.receive([occ.message(occ.REPLY, b"V4,other\0")], 1.0).events == [Up()]
    assert len(link.receive([occ.message(occ.REQUEST)], 1.0).wire) == 1


def test_a_flood_of_requests_is_answered_once_a_second() -> None:
    link = session()
    flood = [occ.message(occ.REQUEST)] * 50
    assert len(link.receive(flood, 1.0).wire) == 1
    assert len(link.receive(flood, 1.5).wire) == 0
    assert len(link.receive(flood, 2.5).wire) == 1


def test_too_long_is_counted_and_not_sent() -> None:
    link = session(tun_mtu=1500)
    assert len(link.send([bytes(1522)], 1.0).wire) == 1
    assert link.send([bytes(1523)], 1.0).wire == ()
    assert pieces(link.send([bytes(1523), FRAME, bytes(13)], 1.0).wire) == [FRAME]
    assert link.send([run(bytes(1600), bytes(1600))], 1.0).wire == ()
    assert link.drops == {"too long to send": 4, "too short to send": 1}


def test_something_that_is_no_frame_is_no_sign_of_the_peer() -> None:
    link = session(ping_restart=10)
    step = link.receive([b"short", bytes(3000), b""], 9.0)
    assert not step.authentic
    assert step.events == ()
    assert link.drops == {"too short": 2, "too long": 1}
    assert link.deadline() == 10.0


def test_ip_packets_are_told_by_their_first_nibble() -> None:
    link = session(kind="ip")
    six = b"\x60" + bytes(39)
    burst: list[Item] = [PACKET, six, run(PACKET, PACKET)]
    assert link.receive(burst, 1.0).frames is burst
    assert pieces(link.receive([FRAME, PACKET, b"\x45" * 19, PING], 1.0).frames) == [PACKET]
    assert pieces(link.receive([run(PACKET, FRAME[:40], PACKET)], 1.0).frames) == [PACKET, PACKET]
    assert link.drops == {"not IP": 2, "too short": 1}


def test_the_first_ping_goes_at_once_and_the_next_after_silence() -> None:
    link = PointToPoint(plain_settings(ping=10, occ=False), Random(1).randbytes)
    assert list(link.connected(100.0).wire) == [PING]
    assert link.deadline() == 110.0
    link.send([FRAME], 105.0)
    assert link.tick(110.0).wire == ()
    assert link.deadline() == 115.0
    assert list(link.tick(115.0).wire) == [PING]


def test_silence_restarts_or_exits_once() -> None:
    link = session(ping_restart=60, occ=False)
    link.receive([PING], 30.0)
    assert link.tick(89.9).events == ()
    assert isinstance(link.tick(90.0).events[0], Restart)
    assert link.deadline() is None
    assert link.tick(91.0).events == ()
    assert link.receive([FRAME], 92.0).frames == ()
    assert link.send([FRAME], 92.0).wire == ()
    assert isinstance(session(ping_exit=5).tick(5.0).events[0], Exit)


@pytest.mark.parametrize(
    ("sent", "told"), [([FRAME], True), ([FRAME, PING], False), ([PING], False), ([], False)], ids=str
)
def test_a_peer_that_never_pings_is_told_from_one_that_is_gone(sent: list[bytes], told: bool) -> None:
    """TME and NME send frames alone: with --keepalive such a link restarts again and again."""
    link = session(ping_restart=60, occ=False)
    for datagram in sent:
        link.receive([datagram], 30.0)
    *notices, last = link.tick(90.0).events
    assert isinstance(last, Restart)
    assert [isinstance(each, Notice) and "--ping 10 in place of" in each.text for each in notices] == [
        True
    ] * told


def test_ping_timer_rem_waits_for_somebody() -> None:
    link = session(ping_restart=5, ping_timer_rem=True, remote=False, occ=False)
    assert link.deadline() is None
    assert link.tick(100.0).events == ()
    link.receive([PING], 100.0)
    assert link.deadline() == 105.0
    assert session(ping_restart=5, ping_timer_rem=True, occ=False).deadline() == 5.0


def test_inactive_counts_frames_of_both_ways_but_no_pings() -> None:
    link = session(inactive=10, inactive_bytes=100, occ=False)
    link.receive([PING], 9.0)
    link.receive([FRAME], 9.0)
    assert link.deadline() == 10.0
    link.send([FRAME], 9.0)
    assert link.deadline() == 19.0
    assert isinstance(link.tick(19.0).events[0], Exit)


def test_session_timeout_exits() -> None:
    link = session(session_timeout=30, occ=False)
    link.receive([FRAME], 29.0)
    assert isinstance(link.tick(30.0).events[0], Exit)


def test_an_exit_message_restarts_the_other_end() -> None:
    here, there = session(explicit_exit_notify=2), session()
    farewell = here.close(1.0).wire
    assert len(farewell) == 2
    assert [type(event) for event in there.receive(farewell, 1.0).events][:2] == [Up, Restart]
    assert session(explicit_exit_notify=2, proto="tcp-client").close(1.0).wire == []


def test_an_mtu_test_tells_what_arrived() -> None:
    here, there = session(mtu_test=True, occ=False), session(occ=False)
    told: list[str] = []
    now = 0.0
    while (deadline := here.deadline()) is not None:
        now = deadline
        there.tick(now)
        wire = here.tick(now).wire
        answers = there.receive([item for item in wire if len(item) <= 1300], now).wire
        told += [e.text for e in here.receive(answers, now).events if isinstance(e, Notice)]
    assert told[0] == "MTU test [tried, arrived]: local to remote [1532, 1232], remote to local [1532, 1532]"
    assert "--fragment" in told[1]


@examples(300)
@given(st.lists(st.one_of(st.binary(max_size=80), st.binary(max_size=40).map(occ.MAGIC.__add__))))
def test_no_bytes_raise_and_each_is_a_frame_or_accounted_for(datagrams: list[bytes]) -> None:
    link = session()
    step = link.receive(datagrams, 1.0)
    for frame in pieces(step.frames):
        assert len(frame) >= 14
        assert not frame.startswith(occ.MAGIC)
        assert frame != PING
    known = sum(1 for d in datagrams if d == PING or d.startswith(occ.MAGIC))
    ended = any(isinstance(event, Restart) for event in step.events)
    assert ended or len(step.frames) + known + sum(link.drops.values()) == len(datagrams)
