"""OCC messages: what is told of options that differ, and what no peer can make of it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.openvpn import occ
from tmelink.openvpn.occ import Occ
from tmelink.openvpn.session import Measured, Notice

OURS = "V4,dev-type tap,link-mtu 1592,tun-mtu 1500,proto UDPv4,keydir 1,cipher AES-256-CBC,auth SHA1,secret"


def made(**options: bool) -> Occ:
    return Occ(OURS, OURS, largest=1500, **options)


def told(reply: bytes, occ_: Occ | None = None) -> list[str]:
    messages, events = (occ_ or made()).receive(bytes((occ.REPLY,)) + reply, 0.0, Random(1).randbytes)
    assert messages == []
    return [event.text for event in events if isinstance(event, Notice)]


def test_the_same_options_are_no_news() -> None:
    assert told(OURS.encode() + b"\0") == []


def test_the_order_and_what_openvpn_skips_do_not_matter() -> None:
    theirs = "V4,secret,auth SHA1,dev-type tap,link-mtu 1592,tun-mtu 1500,proto TCPv4_SERVER,keydir 0"
    assert told(theirs.encode() + b"\0garbage") == []


def test_each_difference_is_told_with_both_values() -> None:
    theirs = "V4,dev-type tun,link-mtu 1592,tun-mtu 1500,auth SHA256,mtu-dynamic"
    assert told(theirs.encode()) == [
        "'dev-type' is used inconsistently, local='dev-type tap', remote='dev-type tun'",
        "'auth' is used inconsistently, local='auth SHA1', remote='auth SHA256'",
        "'secret' is present in local config but missing in remote config, local='secret'",
        "'mtu-dynamic' is present in remote config but missing in local config, remote='mtu-dynamic'",
    ]


def test_another_version_is_told() -> None:
    assert told(OURS.replace("V4", "V3").encode()) == [
        "'version' is used inconsistently, local='version V4', remote='version V3'"
    ]


def test_a_peer_cannot_write_into_the_log_what_it_likes() -> None:
    lines = told(b",".join(b"\x1b[2J\n%d %s" % (number, b"x" * 5000) for number in range(500)))
    assert len(lines) == occ.MAX_WARNINGS
    assert all(len(line) < 600 and line.isprintable() for line in lines)


def test_only_the_first_reply_is_compared() -> None:
    one = made()
    assert told(b"V4", one)
    assert told(b"V4", one) == []


def test_a_load_request_is_answered_with_no_more_than_the_largest_datagram() -> None:
    for size, length in ((100, 100), (1400, 1400), (65535, 1500), (0, 17)):
        request = bytes((occ.MTU_LOAD_REQUEST,)) + size.to_bytes(2)
        ((load,), _) = made().receive(request, 0.0, Random(1).randbytes)
        assert len(load) == length
        assert load.startswith(occ.message(occ.MTU_LOAD))


def test_an_mtu_test_without_answers_ends() -> None:
    test = made(enabled=False, mtu_test=True)
    test.start(0.0)
    sent: list[bytes] = []
    events: list[object] = []
    while (deadline := test.deadline()) is not None:
        messages, more = test.due(deadline, Random(1).randbytes)
        sent += messages
        events += more
    assert len(sent) == 2 * occ.LOAD_REPEATS * len(occ.LOAD_STEPS) + 10
    assert max(map(len, sent)) == 1500
    assert events == [Notice("info", "the MTU test ended without a result: the peer did not answer")]


def test_a_probe_measures_the_round_trip_and_what_arrives() -> None:
    asking, answering = (Occ(OURS, OURS, largest=1500, limited=False, overhead=20) for _ in range(2))

    def exchanged(payloads: list[int], sent: float, back: float, longest: int = 1500) -> list[object]:
        for text in asking.probe(payloads, sent, Random(1).randbytes):
            if len(text) <= longest:
                answers, _ = answering.receive(text[len(occ.MAGIC) :], sent, Random(1).randbytes)
        (reply,) = answers
        return list(asking.receive(reply[len(occ.MAGIC) :], back, Random(1).randbytes)[1])

    assert exchanged([], 1.0, 1.25) == [Measured(0.25, 0)]
    assert exchanged([600, 1200, 1400], 2.0, 2.5, longest=1300) == [Measured(0.5, 1200)]
    asking.probe([], 3.0, Random(1).randbytes)
    assert exchanged([], 4.0, 4.5) == [Measured(None, 1200)], "which of the two is answered nobody knows"
    assert exchanged([], 5.0, 5.5) == [Measured(0.5, 1200)]


def test_an_answer_that_nobody_asked_for_measures_nothing() -> None:
    reply = bytes((occ.MTU_REPLY,)) + (1400).to_bytes(2) + (1400).to_bytes(2)
    assert made().receive(reply, 1.0, Random(1).randbytes) == ([], [])


@examples(500)
@given(st.lists(st.binary(max_size=60)))
def test_no_bytes_raise_and_answers_are_few(bodies: list[bytes]) -> None:
    one = made(mtu_test=True)
    answers: list[bytes] = []
    for body in bodies:
        answers += one.receive(body, 5.0, Random(1).randbytes)[0]
    assert len(answers) <= 1
