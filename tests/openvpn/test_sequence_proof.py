"""A peer that starts again with its clock set back, and recordings that look like one, under a static key."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.support.grouped import plain as plain_settings
from tests.support.wire import pieces
from tmelink.openvpn.data.replay import OLD_SEQUENCE, ReplayWindow
from tmelink.openvpn.plain import sequence_proof
from tmelink.openvpn.plain.point_to_point import PointToPoint
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.session import Notice, Step

KEY = Secret(Random(1).randbytes(256))
FRAME = bytes(range(12)) + b"\x08\x00" + bytes(46)
LINKS: dict[str, dict[str, Any]] = {
    "aes": {"cipher": "AES-256-CBC"},
    "hmac only": {"cipher": "none", "auth": "SHA256"},
    "fragments": {"cipher": "AES-256-CBC", "fragment": 300},
    "framing": {"cipher": "AES-256-CBC", "framing": "stub-v2"},
    "small packets": {"cipher": "AES-256-CBC", "tun_mtu": 130},
    "packets of a TUN": {"cipher": "AES-128-CBC", "kind": "ip"},
}
PACKET = b"\x45" + bytes(59)


def session(unix_time: int, seed: int = 1, **options: Any) -> PointToPoint:
    settings = plain_settings(**{"key": KEY, "cipher": "AES-256-CBC", "occ": False, **options})
    made = PointToPoint(settings, Random(seed).randbytes, unix_time)
    made.connected(0.0)
    return made


def datagrams(step: Step) -> list[bytes]:
    """All that a step sends, to whatever address."""
    return pieces([*step.wire, *(item for _, items in step.answers for item in items)])


def talk(here: PointToPoint, there: PointToPoint, now: float, sent: list[bytes]) -> list[bytes]:
    """What `there` says to `here` in answer to what `here` has sent, until both are silent."""
    said: list[bytes] = []
    while sent:
        answers = [item for datagram in sent for item in datagrams(there.receive([datagram], now))]
        said += answers
        sent = [item for answer in answers for item in datagrams(here.receive([answer], now))]
    return said


def texts(step: Step) -> list[str]:
    return [event.text for event in step.events if isinstance(event, Notice)]


@pytest.mark.parametrize("link", LINKS)
def test_a_peer_that_restarts_with_an_earlier_clock_is_heard_again(link: str) -> None:
    options = LINKS[link]
    frame = PACKET if options.get("kind") == "ip" else FRAME
    here = session(1500, **options)
    before, after = session(2000, 2, **options), session(1000, 3, **options)
    assert pieces(here.receive(before.send([frame], 1.0).wire, 1.0).frames) == [frame]
    step = here.receive(after.send([frame], 2.0).wire, 2.0)
    assert step.frames == ()
    talk(here, after, 2.0, datagrams(step))
    assert pieces(here.receive(after.send([frame], 2.5).wire, 2.5).frames) == [frame]


def test_both_the_question_and_its_end_are_told() -> None:
    here, before, after = session(1500), session(2000, 2), session(1000, 3)
    here.receive(before.send([FRAME], 1.0).wire, 1.0)
    step = here.receive(after.send([FRAME], 2.0).wire, 2.0)
    told = texts(step)
    sent = datagrams(step)
    while sent:
        step = here.receive(pieces(after.receive(sent, 2.0).wire), 2.0)
        told += texts(step)
        sent = datagrams(step)
    assert told == [sequence_proof.ASKED, sequence_proof.PROVEN]


def test_a_recording_is_not_heard_whatever_it_holds() -> None:
    """Answers to the questions of an earlier receiver are among what is repeated."""
    before, after = session(2000, 2), session(1000, 3)
    earlier = session(1400, 4)
    recorded: list[bytes] = pieces(after.send([FRAME] * 3, 1.0).wire)
    earlier.receive(before.send([FRAME], 1.0).wire, 1.0)
    recorded += talk(earlier, after, 2.0, datagrams(earlier.receive(recorded, 2.0)))
    recorded += pieces(after.send([FRAME] * 3, 3.0).wire)
    assert pieces(earlier.receive(recorded[-3:], 3.0).frames) == [FRAME] * 3

    here = session(1500, 5)
    here.receive(before.send([FRAME], 10.0).wire, 10.0)
    for at in range(600):
        assert here.receive(recorded, 11.0 + at).frames == ()
        here.tick(11.5 + at)
    assert pieces(here.receive(before.send([FRAME], 700.0).wire, 700.0).frames) == [FRAME]


def test_questions_to_a_silent_peer_become_rare() -> None:
    here, before, after = session(1500), session(2000, 2), session(1000, 3)
    here.receive(before.send([FRAME], 1.0).wire, 1.0)
    asked = 0
    for at in range(3600):
        now = 2.0 + at
        asked += len(datagrams(here.receive(after.send([FRAME], now).wire, now)))
        asked += len(datagrams(here.tick(now + 0.5)))
    assert 10 * sequence_proof.TRIES >= asked >= 5 * sequence_proof.TRIES
    assert here.deadline() is None


def test_a_lost_question_is_asked_again() -> None:
    here, before, after = session(1500), session(2000, 2), session(1000, 3)
    here.receive(before.send([FRAME], 1.0).wire, 1.0)
    here.receive(after.send([FRAME], 2.0).wire, 2.0)
    now = 2.0
    for _ in range(200):
        deadline = here.deadline()
        if deadline is None:
            break
        now = max(now, deadline)
        # Each answer comes, and the next question after it is lost.
        here.receive(pieces(after.receive(datagrams(here.tick(now)), now).wire), now)
    assert pieces(here.receive(after.send([FRAME], now).wire, now).frames) == [FRAME]


def test_what_has_been_replaced_stays_refused() -> None:
    """After the earlier clock has been taken, the later one is not new."""
    here, before, after = session(1500), session(2000, 2), session(1000, 3)
    late = pieces(before.send([FRAME] * 9, 1.0).wire)
    between = pieces(session(1700, 6).send([FRAME], 1.0).wire)
    here.receive(late[:5], 1.0)
    talk(here, after, 2.0, datagrams(here.receive(after.send([FRAME], 2.0).wire, 2.0)))
    assert pieces(here.receive(after.send([FRAME], 3.0).wire, 3.0).frames) == [FRAME]
    here.drops.clear()
    for recorded in (late, between):
        assert here.receive(recorded, 4.0).frames == ()
    assert here.drops == {OLD_SEQUENCE: 10}
    assert pieces(here.receive(after.send([FRAME], 5.0).wire, 5.0).frames) == [FRAME]


def test_a_sequence_that_was_taken_once_is_not_asked_about() -> None:
    here, before, after = session(1500), session(2000, 2), session(3000, 3)
    old = pieces(before.send([FRAME] * 2, 1.0).wire)
    here.receive(old[:1], 1.0)
    here.receive(after.send([FRAME], 2.0).wire, 2.0)
    step = here.receive(old[1:], 3.0)
    assert (datagrams(step), texts(step)) == ([], [])


def test_the_question_goes_to_where_the_packets_come_from() -> None:
    here, before, after = session(1500), session(2000, 2), session(1000, 3)
    here.receive(before.send([FRAME], 1.0).wire, 1.0, ("192.0.2.1", 1194))
    step = here.receive(after.send([FRAME], 2.0).wire, 2.0, ("192.0.2.1", 4711))
    assert [address for address, _ in step.answers] == [("192.0.2.1", 4711)]
    assert (step.wire, step.authentic) == ((), False)


def test_warnings_about_replays_can_be_muted() -> None:
    here, before, after = session(1500, mute_warnings=True), session(2000, 2), session(1000, 3)
    here.receive(before.send([FRAME], 1.0).wire, 1.0)
    assert texts(here.receive(after.send([FRAME], 2.0).wire, 2.0)) == []


def test_a_file_of_packet_ids_keeps_the_latest_clock() -> None:
    window = ReplayWindow()
    window.resume(2000, 7)
    window.adopt(1000, 3)
    assert window.refuse(4, 1000, 0.0) is None
    assert window.latest == (2000, 7)
    assert window.refuse(8, 2000, 0.0) == OLD_SEQUENCE
    assert window.refuse(1, 2001, 0.0) is None
    assert window.latest == (2001, 1)
