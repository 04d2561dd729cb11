"""Super-frames that cross a stream whole, between two sessions that ask for it, and peers that do not."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tests.support.grouped import plain as plain_settings
from tests.support.packets import Flow, noise
from tests.support.tls_pair import equals, session, up
from tests.support.wire import Wire, kept
from tmelink.frame import Frame, Run, SuperFrame
from tmelink.offload import segment
from tmelink.openvpn.data import super_frames
from tmelink.openvpn.data.super_frames import HEAD, LONGEST, LONGEST_PAYLOAD, SuperFrames
from tmelink.openvpn.occ import MAGIC, MTU_LOAD, REPLY, REQUEST, message
from tmelink.openvpn.plain.mtu import options_string
from tmelink.openvpn.plain.point_to_point import PointToPoint
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.session import Carried, Item, Notice, Restart, Up
from tmelink.transport.streams import MAX_DATAGRAM

KEY = Secret(Random(1).randbytes(256))
FRAME = bytes(range(12)) + b"\x08\x00" + bytes(range(50))
PACKET = b"\x45" + bytes(39)

LINKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "aes": {"key": KEY, "cipher": "AES-256-CBC", "auth": "SHA512"},
    "hmac only": {"key": KEY, "cipher": "none", "auth": "SHA256"},
    "comp-lzo no": {"framing": "comp-lzo no"},
    "stub": {"framing": "stub", "key": KEY, "cipher": "AES-256-CBC"},
    "stub-v2": {"framing": "stub-v2"},
}

TLS: dict[str, dict[str, Any]] = {
    "AES-256-GCM": {"accepted": ("AES-256-GCM",)},
    "CHACHA20-POLY1305": {"accepted": ("CHACHA20-POLY1305",)},
    "AES-256-CBC": {"accepted": ("AES-256-CBC",), "auth": "SHA512"},
    "TLS 1.2": {"tls": {"version_min": "1.2", "version_max": "1.2"}},
    "stub": {"framing": "stub"},
}


def bare(seed: int = 1, **options: Any) -> PointToPoint:
    proto = "tcp-server" if seed == 1 else "tcp-client"
    return PointToPoint(plain_settings(proto=proto, **options), Random(seed).randbytes, 1000)


def negotiated(**options: Any) -> tuple[PointToPoint, PointToPoint]:
    """Two sessions that have asked each other."""
    here, there = bare(super_frames=True, **options), bare(seed=2, super_frames=True, **options)
    from_here, from_there = here.connected(0.0).wire, there.connected(0.0).wire
    assert here.receive(from_there, 0.1).events == [Up()]
    assert there.receive(from_here, 0.1).events == [Up()]
    return here, there


def bodies(items: Sequence[Item]) -> list[bytes]:
    return [bytes(one) for item in items for one in (item.pieces() if isinstance(item, Run) else [item])]


def burst(*, ip: bool = False) -> list[Carried]:
    """What a machine sends: super-frames of every kind, small frames before, between and behind."""
    small: list[Carried] = [PACKET if ip else FRAME]
    sent: list[Carried] = [*small]
    for flow in (Flow(ip=ip), Flow(version=6, ip=ip), Flow(udp=True, ip=ip), Flow(flags="PAC", ip=ip)):
        sent.append(SuperFrame(*flow.super_frame(noise(63_000), 1400)))
        sent += small * 2
    return sent


@pytest.mark.parametrize("kind", ["ethernet", "ip"])
@pytest.mark.parametrize("link", LINKS)
def test_super_frames_cross_whole_and_in_order(link: str, kind: Any) -> None:
    here, there = negotiated(kind=kind, **LINKS[link])
    for sender, receiver in ((here, there), (there, here)):
        sent = burst(ip=kind == "ip")
        wire = sender.send(sent, 1.0).wire
        assert len(bodies(wire)) == len(sent)
        assert kept(receiver.receive(wire, 1.0).frames) == kept(sent)
    assert not here.drops
    assert not there.drops


@pytest.mark.parametrize("kind", ["ethernet", "ip"])
@pytest.mark.parametrize("link", TLS)
def test_under_tls_a_super_frame_is_one_packet(link: str, kind: Any) -> None:
    wire = up(equals(stream=True, super_frames=True, kind=kind, **TLS[link]))
    for end in (wire.client, wire.server):
        sent = burst(ip=kind == "ip")
        packets = bodies(end.session.send(sent, wire.now).wire)
        assert len(packets) == len(sent)
        assert kept(wire.other(end).session.receive(packets, wire.now).frames) == kept(sent)
        assert not end.of(Notice)
        assert not end.session.drops


def longest(size: int, header: int = 66) -> SuperFrame:
    return SuperFrame(*Flow().super_frame(noise(size - header), 1400))


def test_the_longest_record_fits_the_streams_length_under_any_key() -> None:
    sealed = [*LINKS.values()]
    for options in sealed:
        here, there = negotiated(**options)
        (datagram,) = bodies(here.send([longest(LONGEST)], 1.0).wire)
        assert len(datagram) <= MAX_DATAGRAM
        assert kept(there.receive([datagram], 1.0).frames) == kept([longest(LONGEST)])
    for options in TLS.values():
        wire = up(equals(stream=True, super_frames=True, **options))
        (packet,) = bodies(wire.client.session.send([longest(LONGEST)], wire.now).wire)
        assert len(packet) <= MAX_DATAGRAM
        assert kept(wire.server.session.receive([packet], wire.now).frames) == kept([longest(LONGEST)])


def test_a_longer_super_frame_is_cut() -> None:
    here, there = negotiated()
    frame, gso = longest(LONGEST + 1)
    run = segment(frame, gso)
    assert run is not None
    got = there.receive(here.send([SuperFrame(frame, gso)], 1.0).wire, 1.0).frames
    assert kept(got) == [(bytes(piece), None) for piece in run.pieces()]


def test_segments_over_the_mtu_and_what_cannot_be_cut_are_counted() -> None:
    here, _ = negotiated(tun_mtu=1000)
    frame, gso = Flow().super_frame(noise(2800), 1400)
    assert here.send([SuperFrame(frame, gso)], 1.0).wire == ()
    assert here.drops == {"too long to send": 2}
    assert here.send([SuperFrame(frame, gso._replace(kind=3))], 1.0).wire == ()
    assert here.drops == {"too long to send": 2, "malformed super-frame": 1}


def test_a_peer_with_a_smaller_mtu_takes_no_longer_segments() -> None:
    here = SuperFrames(9000, 9000, bare().drops, ip=False)
    there = negotiated(tun_mtu=1000, tun_mtu_max=1000)[1]
    frame, gso = Flow().super_frame(noise(2800), 1400)
    (record,) = here.payloads([SuperFrame(frame, gso)], lambda items: items)
    assert isinstance(record, bytes)
    assert not there.receive([record], 1.0).frames
    assert there.drops == {"malformed super-frame": 1}


# Who takes super-frames, and who does not


def test_nothing_passes_before_both_have_said_it() -> None:
    here, there = bare(super_frames=True), bare(seed=2, super_frames=True)
    asking = there.connected(0.0).wire
    here.connected(0.0)
    assert here.send([FRAME, longest(5000)], 0.1).wire == ()
    record = bodies(negotiated()[0].send([longest(5000)], 0.0).wire)
    early = here.receive([FRAME, *record, FRAME], 0.1)
    assert not early.frames
    assert not early.events
    assert here.drops == {"before --super-frames was agreed on": 5}
    late = here.receive([FRAME, *asking, FRAME], 0.2)
    assert late.events == [Up()]
    assert kept(late.frames) == [(FRAME, None)]


@pytest.mark.parametrize("link", ["plain", "aes", "stub-v2"])
def test_a_peer_that_does_not_ask_is_refused_and_both_are_told(link: str) -> None:
    asking, other = bare(super_frames=True, **LINKS[link]), bare(seed=2, **LINKS[link])
    other.connected(0.0)
    heard = other.receive(asking.connected(0.0).wire, 0.1)
    (warning,) = (event for event in heard.events if isinstance(event, Notice))
    assert "'super-frames' is present in remote config but missing in local config" in warning.text
    step = asking.receive(heard.wire, 0.2)
    assert step.events == [Notice("error", super_frames.REFUSAL), Restart(super_frames.REFUSED)]
    assert "--super-frames" in super_frames.REFUSAL
    assert asking.send([FRAME], 0.3).wire == ()
    assert asking.deadline() is None


def test_the_peers_word_counts_where_nothing_is_compared() -> None:
    here, there = negotiated(occ=False)
    assert kept(there.receive(here.send([longest(5000)], 1.0).wire, 1.0).frames) == kept([longest(5000)])


def test_a_peer_that_never_says_it_is_given_up() -> None:
    here = bare(super_frames=True)
    asking = bodies(here.connected(0.0).wire)
    assert asking == [
        message(REPLY, options_string(here.settings, remote=False).encode() + b"\0"),
        message(REQUEST),
    ]
    assert not here.receive([FRAME], 20.0).events
    while (deadline := here.deadline()) is not None:
        events = here.tick(deadline).events
    assert deadline is None
    assert events == [Restart(super_frames.SILENCE)]


def test_a_session_that_did_not_ask_lets_records_pass_by() -> None:
    other = bare(seed=2)
    other.connected(0.0)
    (record,) = bodies(negotiated()[0].send([longest(5000)], 0.0).wire)
    assert not other.receive([record], 1.0).frames
    wire = up(equals(stream=True))
    packets = wire.client.session._keyring.seal([record])
    assert not wire.server.session.receive(packets, wire.now).frames


@pytest.mark.parametrize("asking", ["client", "server"])
def test_under_tls_a_peer_that_does_not_ask_is_refused(asking: str) -> None:
    wire = Wire(
        session(server=False, stream=True, super_frames=asking == "client"),
        session(server=True, stream=True, super_frames=asking == "server"),
    )
    wire.begin()
    wire.run(10)
    end = wire.client if asking == "client" else wire.server
    assert end.events == [Notice("error", super_frames.REFUSAL), Restart(super_frames.REFUSED)]
    told = [event.text for event in wire.other(end).of(Notice)]
    assert any("'super-frames' is present in remote config but missing in local config" in t for t in told)


# What a peer may send


def records() -> list[bytes]:
    here, _ = negotiated()
    flows = (Flow(), Flow(version=6), Flow(udp=True), Flow(tags=2, flags="FPAC"))
    sent: list[Carried] = [SuperFrame(*flow.super_frame(noise(3000), 1400)) for flow in flows]
    return bodies(here.send(sent, 1.0).wire)


RECORDS = records()


def taken(record: Frame, **options: Any) -> list[Carried]:
    """The frames of a payload that begins like a record, each of which could be handed to the kernel."""
    _, there = negotiated(**options)
    step = there.receive([record], 1.0)
    assert len(step.frames) + there.drops["malformed super-frame"] == 1
    assert not step.events
    for item in step.frames:
        assert isinstance(item, SuperFrame)
        run = segment(*item, ip=options.get("kind") == "ip")
        assert run is not None
        assert run.size <= 1622
    return list(step.frames)


@examples(300)
@given(
    st.sampled_from(RECORDS),
    st.lists(st.tuples(st.integers(17, 120), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(-3000, 40),
)
def test_an_altered_record_is_taken_only_where_it_could_be_right(
    record: bytes, changes: list[tuple[int, int]], longer: int
) -> None:
    altered = bytearray(record[: max(17, len(record) + longer)].ljust(len(record) + longer, b"\0"))
    for at, value in changes:
        if at < len(altered):
            altered[at] = value
    taken(altered)


@examples(200)
@given(st.binary(max_size=300), st.sampled_from(["ethernet", "ip"]))
def test_noise_behind_a_records_beginning_is_counted(body: bytes, kind: str) -> None:
    assert taken(MAGIC + b"\x80" + body, kind=kind) == []


@pytest.mark.parametrize("record", RECORDS, ids=["TCP/IPv4", "TCP/IPv6", "UDP", "two tags"])
def test_a_record_with_a_wrong_head_is_counted(record: bytes) -> None:
    label = len(MAGIC) + 2
    assert taken(record)
    assert taken(record[:17] + b"\1" + record[18:]) == []
    for flags in (0, 2, 3, 255):
        assert taken(record[:label] + bytes((flags,)) + record[label + 1 :]) == []
    assert taken(record[:HEAD]) == []
    assert taken(record[:HEAD] + bytes(LONGEST_PAYLOAD + 1 - HEAD)) == []


@pytest.mark.parametrize("compress", [None, "stub"])
def test_under_tls_a_wrong_record_is_counted_and_what_follows_passes(compress: str | None) -> None:
    wire = up(equals(stream=True, super_frames=True, framing=compress))
    sender, receiver = wire.client.session, wire.server.session
    wrong = [RECORDS[0][:-1], RECORDS[0][:18], MAGIC + b"\x80"]
    packets = sender._keyring.seal(sender._payloads.encode(wrong))
    step = receiver.receive([*packets, *sender.send([FRAME], wire.now).wire], wire.now)
    assert kept(step.frames) == [(FRAME, None)]
    assert receiver.drops == {"malformed super-frame": 3}


def test_other_messages_are_still_messages() -> None:
    _, there = negotiated()
    step = there.receive([message(MTU_LOAD, bytes(100)), message(0x81, bytes(100))], 1.0)
    assert not step.frames
    assert not step.events
    assert not there.drops
