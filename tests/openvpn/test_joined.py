"""Two sessions joined in memory by a wire that loses, repeats, reorders, forges and alters."""

from __future__ import annotations

import tracemalloc
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples, scaled
from tests.support.grouped import plain as plain_settings
from tests.support.wire import pieces
from tmelink.openvpn import occ
from tmelink.openvpn.plain.envelope import problems
from tmelink.openvpn.plain.point_to_point import NOTICE_SECONDS, PointToPoint
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.session import Notice, Restart, Up
from tmelink.openvpn.settings import Mssfix

KEY = Secret(Random(1).randbytes(256))

LINKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "aes": {"key": KEY, "cipher": "AES-256-CBC"},
    "hmac only": {"key": KEY, "cipher": "none", "auth": "SHA256"},
    "aes, fragments": {"key": KEY, "cipher": "AES-128-CBC", "auth": "SHA512", "fragment": 500},
    "aes, fragments, stub": {
        "key": KEY,
        "cipher": "AES-256-CBC",
        "fragment": 700,
        "fragment_counts_encapsulation": True,
        "framing": "stub",
    },
    "fragments": {"fragment": 600},
    "stub-v2": {"framing": "stub-v2"},
}


def session(seed: int = 1, unix_time: int = 1000, **options: Any) -> PointToPoint:
    made = PointToPoint(plain_settings(occ=False, **options), Random(seed).randbytes, unix_time)
    made.connected(0.0)
    return made


def frame(random: Random, number: int) -> bytes:
    """A frame that no other equals: to 02:…, EtherType 0x88b5, its number and some more."""
    return (
        bytes((2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xB5))
        + number.to_bytes(4)
        + bytes(random.randrange(0, 1400))
    )


@pytest.mark.parametrize("link", LINKS)
def test_a_good_wire_loses_nothing_and_keeps_the_order(link: str) -> None:
    random = Random(link)
    here, there = session(**LINKS[link]), session(seed=2, **LINKS[link])
    for start in range(0, 2000, 20):
        sent = [frame(random, start + at) for at in range(20)]
        got = there.receive(here.send(sent, 1.0).wire, 1.0)
        assert [bytes(piece) for piece in pieces(got.frames)] == sent
        assert got.authentic
    assert not here.drops
    assert not there.drops


@pytest.mark.parametrize("link", ["aes", "aes, fragments, stub"])
def test_a_bad_wire_delivers_nothing_twice_and_nothing_forged(link: str) -> None:
    total, burst = scaled(2000) * 50, 50
    random = Random(link)
    here, there = session(**LINKS[link]), session(seed=2, **LINKS[link])
    delivered = bytearray(total)
    wrong = 0
    held: list[bytes] = []
    tracemalloc.start()
    try:
        for start in range(0, total, burst):
            now = start / 1000
            sent = [frame(random, start + at)[: random.choice((40, 40, 40, 900))] for at in range(burst)]
            wire: list[bytes] = []
            for datagram in pieces(here.send(sent, now).wire):
                chance = random.random()
                if chance < 0.05:
                    continue
                whole = bytes(datagram)
                if chance < 0.10:
                    altered = bytearray(whole)
                    altered[random.randrange(len(altered))] ^= random.randrange(1, 256)
                    wire.append(bytes(altered))
                elif chance < 0.15:
                    wire.append(whole[: random.randrange(len(whole))])
                elif chance < 0.20:
                    wire += [whole, whole]
                elif chance < 0.25:
                    held.append(whole)
                else:
                    wire.append(whole)
            wire += [held.pop(random.randrange(len(held))) for _ in range(len(held) // 2)]
            for piece in pieces(there.receive(wire, now).frames):
                number = int.from_bytes(piece[14:18])
                if piece[18:] != bytes(len(piece) - 18):
                    wrong += 1
                delivered[number] += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert wrong == 0
    assert max(delivered) == 1
    assert sum(delivered) > total * 0.6
    assert there.drops["bad hmac"] > total // 100
    assert there.drops["replayed"] > total // 100
    assert peak < 20_000_000


@pytest.mark.parametrize("cipher", ["AES-256-CBC", "none"])
def test_replayed_and_altered_datagrams_are_counted_and_never_delivered(cipher: str) -> None:
    count = 10_000
    random = Random(7)
    here, there = session(key=KEY, cipher=cipher), session(seed=2, key=KEY, cipher=cipher)
    recorded: list[bytes] = []
    for start in range(0, count, 50):
        wire = pieces(here.send([frame(random, start + at)[:60] for at in range(50)], 1.0).wire)
        recorded += map(bytes, wire)
        assert len(pieces(there.receive(wire, 1.0).frames)) == 50
    step = there.receive(recorded, 2.0)
    assert pieces(step.frames) == []
    assert not step.authentic
    assert there.drops["replayed"] + there.drops["too late"] == count
    fresh = [bytes(item) for item in pieces(here.send([bytes(60)] * count, 2.0).wire)]
    altered = []
    for datagram in fresh:
        changed = bytearray(datagram)
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        altered.append(changed)
    step = there.receive(altered, 3.0)
    assert pieces(step.frames) == []
    assert not step.authentic
    assert there.drops["bad hmac"] == count
    assert len(pieces(there.receive(fresh, 4.0).frames)) == count


def test_a_wrong_key_is_neither_answered_nor_taken_for_the_peer() -> None:
    here = session(key=Secret(bytes(256)), cipher="AES-256-CBC")
    there = PointToPoint(
        plain_settings(key=KEY, cipher="AES-256-CBC", ping_restart=10), Random(2).randbytes, 1000
    )
    there.connected(0.0)
    step = there.receive(here.send([bytes(60), occ.message(occ.REQUEST)], 9.0).wire, 9.0)
    assert not step.authentic
    assert step.wire == ()
    assert step.frames == ()
    (notice,) = step.events
    assert isinstance(notice, Notice)
    assert notice.text.startswith("datagrams dropped so far: bad hmac: 2: the key does not verify")
    assert isinstance(there.tick(10.0).events[0], Restart)


def test_refused_datagrams_make_a_line_a_minute() -> None:
    there = session(key=KEY, cipher="AES-256-CBC")
    lines = sum(len(there.receive([bytes(100)], at / 10).events) for at in range(3000))
    assert lines == 300 / NOTICE_SECONDS


def test_replays_can_be_muted() -> None:
    here = session(key=KEY, cipher="AES-256-CBC")
    there = session(key=KEY, cipher="AES-256-CBC", mute_warnings=True)
    wire = here.send([bytes(60)], 1.0).wire
    assert there.receive(wire, 1.0).events == [Up()]
    assert there.receive(wire, 1.0).events == ()
    assert there.drops == {"replayed": 1}
    assert len(there.receive([bytes(100)], 1.0).events) == 1


def test_a_bad_packet_ends_a_tcp_session() -> None:
    there = session(key=KEY, cipher="AES-256-CBC", proto="tcp4-server")
    (event,) = there.receive([bytes(100)], 1.0).events
    assert isinstance(event, Restart)
    assert there.deadline() is None


def test_a_restarted_peer_is_taken_at_once_and_its_past_is_not() -> None:
    there = session(seed=2, key=KEY, cipher="AES-256-CBC")
    first = session(key=KEY, cipher="AES-256-CBC", unix_time=1000)
    old = [bytes(item) for item in pieces(first.send([bytes(60)] * 100, 1.0).wire)]
    there.receive(old, 1.0)
    second = session(key=KEY, cipher="AES-256-CBC", unix_time=1001)
    assert len(pieces(there.receive(second.send([bytes(60)], 2.0).wire, 2.0).frames)) == 1
    assert there.receive(old, 2.0).frames == ()


@pytest.mark.parametrize("link", LINKS)
def test_options_are_compared_through_every_link(link: str) -> None:
    here = PointToPoint(plain_settings(**LINKS[link]), Random(1).randbytes, 1000)
    there = PointToPoint(plain_settings(**{**LINKS[link], "tun_mtu": 1400}), Random(2).randbytes, 1000)
    here.connected(0.0)
    there.connected(0.0)
    reply = there.receive(here.tick(10.0).wire, 10.0).wire
    told = [event.text for event in here.receive(reply, 10.0).events if isinstance(event, Notice)]
    assert [text.split(" ")[0] for text in told] == ["'link-mtu'", "'tun-mtu'"]
    assert here.tick(20.0).wire == ()


@pytest.mark.parametrize("link", LINKS)
def test_pings_and_exits_pass_through_every_link(link: str) -> None:
    here = PointToPoint(
        plain_settings(ping=5, explicit_exit_notify=1, **LINKS[link]), Random(1).randbytes, 1000
    )
    there = session(seed=2, **LINKS[link])
    step = there.receive(here.connected(0.0).wire, 0.0)
    assert step.events == [Up()]
    assert pieces(step.frames) == []
    assert isinstance(there.receive(here.close(1.0).wire, 1.0).events[0], Restart)


@pytest.mark.parametrize("link", LINKS)
def test_segments_that_open_a_connection_are_clamped(link: str) -> None:
    syn = (
        bytes.fromhex("020000000001 020000000002 0800")
        + bytes.fromhex("4500002c000100004006f97d0a0000010a000002")
        + bytes.fromhex("1f9000500000000000000000600220000000000002 0405b4".replace(" ", ""))
    )
    here, there = (
        session(mssfix=Mssfix(0), **LINKS[link]),
        session(mssfix=Mssfix(1000, "fixed"), **LINKS[link]),
    )
    (got,) = pieces(there.receive(here.send([syn], 1.0).wire, 1.0).frames)
    assert int.from_bytes(got[-2:]) == 960
    (got,) = pieces(here.receive(there.send([syn], 1.0).wire, 1.0).frames)
    assert int.from_bytes(got[-2:]) == 960


def test_settings_that_cannot_be_had_are_all_told() -> None:
    bad = plain_settings(key=KEY, auth="WHIRLPOOL", framing="lz4", fragment=1300, proto="tcp-client")
    told = problems(bad)
    assert len(told) == 4
    assert "cipher BF-CBC is not for static keys here" in told[0]
    with pytest.raises(ValueError, match="auth WHIRLPOOL"):
        PointToPoint(bad, Random(1).randbytes, 1)
    assert problems(plain_settings()) == []
    assert problems(plain_settings(fragment=70)) == [
        "--fragment 70 leaves 58 bytes for a payload; at least 64 are needed"
    ]
    assert problems(plain_settings(link_mtu=100)) == ["the MTU comes to 92 bytes; at least 100 are needed"]


@pytest.mark.parametrize("link", LINKS)
@examples(150)
@given(st.lists(st.binary(max_size=120)))
def test_no_bytes_raise(link: str, datagrams: list[bytes]) -> None:
    there = session(**LINKS[link])
    step = there.receive(datagrams, 1.0)
    for piece in pieces(step.frames):
        assert len(piece) >= 14
    assert "key" not in LINKS[link] or not step.frames
