"""Super-frames over UDP between two sessions with TLS: records where a path loses little, else packets."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from tests.support.packets import Flow, noise
from tests.support.tls_pair import FRAME, equals, session, up
from tests.support.wire import End, Wire, kept, pieces
from tmelink.frame import Gso, Run, SuperFrame
from tmelink.offload import segment
from tmelink.openvpn.data import super_frames
from tmelink.openvpn.data.packet import RECORD
from tmelink.openvpn.data.record_length import FEWEST, REPORT_SECONDS, RecordLength, Reports
from tmelink.openvpn.data.slices import MOST
from tmelink.openvpn.session import Carried, Notice
from tmelink.openvpn.tls.session import TlsSession

SIZE = 1400
PAYLOAD = noise(43 * SIZE)

CIPHERS: dict[str, dict[str, Any]] = {
    "AES-256-GCM": {},
    "CHACHA20-POLY1305": {"accepted": ("CHACHA20-POLY1305",)},
    "no epochs": {"tls": {"version_max": "1.2"}, "accepted": ("AES-128-GCM",)},
}


def joined(**options: Any) -> Wire:
    wire = up(equals(super_frames=True, **options))
    wire.now = 20.0
    return wire


def grown(wire: Wire) -> Wire:
    """As long as records become on a path that loses nothing."""
    for end in (wire.client, wire.server):
        length(end.session).most = MOST
    return wire


def length(of: TlsSession) -> RecordLength:
    assert of._length is not None
    return of._length


def burst(*, ip: bool = False) -> list[Carried]:
    small = b"\x45" + bytes(39) if ip else FRAME
    sent: list[Carried] = [small]
    for flow in (Flow(ip=ip), Flow(version=6, ip=ip), Flow(udp=True, ip=ip), Flow(flags="PAC", ip=ip)):
        sent += [SuperFrame(*flow.super_frame(PAYLOAD, SIZE)), small, small]
    return sent


@pytest.mark.parametrize("kind", ["ethernet", "ip"])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_super_frames_cross_whole_and_in_order(cipher: str, kind: Any) -> None:
    wire = grown(joined(kind=kind, **CIPHERS[cipher]))
    for end in (wire.client, wire.server):
        sent = burst(ip=kind == "ip")
        step = end.session.send(sent, wire.now)
        assert sum(1 for each in step.wire if isinstance(each, Run) and each.data[0] >> 3 == RECORD) == 4
        assert kept(wire.other(end).session.receive(step.wire, wire.now).frames) == kept(sent)
        assert not end.of(Notice)
        assert not end.session.drops


def test_a_slices_datagram_is_no_longer_than_a_segments() -> None:
    wire = grown(joined())
    carried = SuperFrame(*Flow().super_frame(PAYLOAD, SIZE))
    # The kernel says of a TAP's super-frame where its own buffer's header ends, not where TCP's does.
    carried = SuperFrame(carried.frame, carried.gso._replace(header=9000))
    record = pieces(wire.client.session.send([carried], wire.now).wire)
    length(wire.client.session).most = 0
    packets = pieces(wire.client.session.send([carried], wire.now).wire)
    assert max(map(len, record)) == max(map(len, packets))
    assert len(record) <= len(packets)
    assert len(packets) == 43
    found = [kept(wire.server.session.receive(sent, wire.now).frames) for sent in (record, packets)]
    assert sums(found[0]) == sums(found[1])


@pytest.mark.parametrize("size", [200, 536])
def test_what_would_not_fit_one_call_goes_in_packets(size: int) -> None:
    wire = grown(joined())
    carried = SuperFrame(*Flow().super_frame(noise(60_000), size))
    step = wire.client.session.send([carried], wire.now)
    assert {each[0] >> 3 for each in pieces(step.wire)} == {9}


def test_keys_change_under_way() -> None:
    wire = grown(joined())
    sent = burst()
    before = wire.client.session.send(sent, wire.now).wire
    wire.call(wire.client, "renew")
    wire.run(wire.now + 70)  # --hand-window, after which new keys seal
    after = wire.client.session.send(sent, wire.now).wire
    ids = {each[0] & 7 for each in pieces(after)}
    assert ids == {1}
    assert kept(wire.server.session.receive(after, wire.now).frames) == kept(sent)
    late = wire.server.session.receive(before, wire.now)
    assert kept(late.frames) == kept(sent)


# On a path that loses, repeats and reorders


def lossy(
    wire: Wire, chance: Random, loss: float, sent: Sequence[SuperFrame], *, shuffle: int = 0
) -> list[tuple[bytes, Gso | None]]:
    """What arrives of super-frames that the client sends, 2 ms apart, and the server's reports back."""
    arrived: list[tuple[bytes, Gso | None]] = []
    for carried in sent:
        wire.now += 0.002
        step = wire.client.session.send([carried], wire.now)
        found = [each for each in pieces(step.wire) if chance.random() >= loss]
        wire.client.sent += pieces(step.wire)
        if shuffle:
            found += [each for each in found if chance.random() < 0.05]
            found.sort(key=lambda _: chance.random())
        answer = wire.server.session.receive(found, wire.now)
        arrived += kept(answer.frames)
        wire.client.session.receive(answer.wire, wire.now)
    return arrived


def super_frames_of(count: int, seed: int = 1) -> list[SuperFrame]:
    return [
        SuperFrame(*Flow(sequence=(seed + number) << 16).super_frame(noise(43 * SIZE, seed=number % 7), SIZE))
        for number in range(count)
    ]


def sums(items: Sequence[tuple[bytes, Gso | None]]) -> Counter[str]:
    """The digests of the segments that frames are, or become."""
    found: Counter[str] = Counter()
    for frame, gso in items:
        run = None if gso is None else segment(frame, gso)
        for piece in [frame] if run is None else run.pieces():
            found[hashlib.sha256(piece).hexdigest()] += 1
    return found


@pytest.mark.parametrize("whole", [True, False])
def test_what_arrives_is_what_was_sent_and_arrives_once(whole: bool) -> None:
    wire = joined(window=4096)
    sent = super_frames_of(60)
    arrived: list[tuple[bytes, Gso | None]] = []
    for seed, carried in enumerate(sent):
        length(wire.client.session).most = MOST if whole else 0
        arrived += lossy(wire, Random(seed), 0.01, [carried], shuffle=1)
    got, given = sums(arrived), sums([(bytes(each.frame), each.gso) for each in sent])
    assert set(got) <= set(given)
    assert set(got.values()) == {1}
    assert len(got) > (0.4 if whole else 0.95) * len(given)
    assert set(wire.server.session.drops) <= {"repeated packet", "incomplete record"}


def record_share(wire: Wire, begin: int) -> float:
    """The part of the datagrams, from `begin` on, that are slices."""
    sent = wire.client.sent[begin:]
    return sum(each[0] >> 3 == RECORD for each in sent) / len(sent)


def test_records_are_used_once_a_path_has_shown_that_it_loses_nothing() -> None:
    wire = joined()
    wire.client.sent.clear()
    lossy(wire, Random(1), 0, super_frames_of(90))
    assert record_share(wire, 0) == 0
    lossy(wire, Random(1), 0, super_frames_of(250))
    begin = len(wire.client.sent)
    lossy(wire, Random(1), 0, super_frames_of(50))
    assert record_share(wire, begin) == 1


@pytest.mark.parametrize("loss", [0.001, 0.01, 0.03])
def test_a_path_that_loses_gets_packets_of_their_own(loss: float) -> None:
    wire = joined()
    begin = len(wire.client.sent)
    lossy(wire, Random(2), loss, super_frames_of(500))
    assert record_share(wire, begin) < 0.02


def test_records_end_soon_after_loss_begins_and_come_back_when_it_ends() -> None:
    wire = grown(joined())
    lossy(wire, Random(3), 0, super_frames_of(500))
    assert length(wire.client.session).most == MOST
    lossy(wire, Random(3), 0.01, super_frames_of(round(4 * REPORT_SECONDS / 0.002)))
    assert length(wire.client.session).most < 43
    begin = len(wire.client.sent)
    lossy(wire, Random(3), 0.01, super_frames_of(200))
    assert record_share(wire, begin) == 0
    lossy(wire, Random(3), 0, super_frames_of(600))
    assert length(wire.client.session).most >= 43


def test_datagrams_that_are_only_overtaken_are_not_lost() -> None:
    wire = joined(window=4096)
    lossy(wire, Random(4), 0, super_frames_of(400), shuffle=1)
    assert length(wire.client.session).most >= 43


def test_reports_are_few_and_none_answers_another() -> None:
    reports = Reports()
    assert not reports.due(100.0)
    reports.arrivals.datagrams = 40
    assert reports.due(100.0)
    assert len(reports.message(100.0)) == 30
    reports.arrivals.datagrams = 80
    assert not reports.due(100.0 + REPORT_SECONDS / 2)
    assert reports.due(100.0 + REPORT_SECONDS)
    wire = joined()
    for _ in range(10):
        wire.send(wire.client, *[FRAME] * 40)
    before = len(wire.client.sent) + len(wire.server.sent)
    wire.run(wire.now + 5)
    assert len(wire.client.sent) + len(wire.server.sent) - before <= 2


@pytest.mark.parametrize("body", [b"", b"\0", bytes(12), bytes(14), b"\0" * 13, b"\0" + b"\xff" * 12])
def test_a_report_that_makes_no_sense_is_nothing(body: bytes) -> None:
    chosen = RecordLength()
    chosen.reported(body)
    assert chosen.most == 0


def test_a_report_that_was_overtaken_is_nothing() -> None:
    reports, chosen = Reports(), RecordLength()
    told = []
    for count in (10_000, 20_000):
        reports.arrivals.datagrams = count
        told.append(reports.message(0.0)[17:])
    chosen.reported(told[1])
    assert chosen.most == MOST
    chosen.reported(told[0])
    chosen.reported(told[1])
    assert chosen.most == MOST
    assert FEWEST <= MOST


# Who takes them


@pytest.mark.parametrize("asking", ["client", "server"])
def test_a_peer_that_does_not_ask_is_refused(asking: str) -> None:
    wire = Wire(
        session(server=False, super_frames=asking == "client"),
        session(server=True, super_frames=asking == "server"),
    )
    wire.begin()
    wire.run(10)
    end: End = wire.client if asking == "client" else wire.server
    assert Notice("error", super_frames.REFUSAL) in end.events
    told = [event.text for event in wire.other(end).of(Notice)]
    assert any("'super-frames' is present in remote config but missing in local config" in t for t in told)


def test_a_cipher_that_cannot_seal_records_is_refused() -> None:
    wire = equals(super_frames=True, accepted=("AES-256-CBC",))
    wire.begin()
    wire.run(10)
    for end in (wire.client, wire.server):
        assert Notice("error", super_frames.UNSEALED) in end.events


def test_a_session_that_did_not_ask_counts_slices() -> None:
    wire = grown(joined())
    other = up(equals())
    step = wire.client.session.send([SuperFrame(*Flow().super_frame(PAYLOAD, SIZE))], wire.now)
    assert not other.server.session.receive(step.wire, other.now).frames
    assert other.server.session.drops == {"unknown opcode": len(pieces(step.wire))}
