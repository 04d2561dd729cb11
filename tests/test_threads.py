"""The threaded form: a lab in its own thread, its cards used from others."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

import tmelink
from tmelink import ThreadedNic
from tmelink.elements.builtin.host import Host
from tmelink.threads import BURST, ThreadedLab

PAIR = "a: tmelink/nic queue 1000 full block\nb: tmelink/nic queue 1000 full block\na at b\n"
FRAME = bytes(range(60))
LONG = 20
"""Seconds that nothing here takes."""


@pytest.fixture
def pair() -> Iterator[ThreadedLab]:
    with tmelink.start(PAIR) as lab:
        yield lab


def numbered(number: int) -> bytes:
    return bytes(14) + number.to_bytes(4)


def number(frame: bytes | None) -> int:
    assert frame is not None
    return int.from_bytes(frame[14:])


def send_all(nic: ThreadedNic, frames: Iterable[bytes]) -> None:
    for frame in frames:
        nic.send(frame)


def test_frames_cross_in_order_and_none_is_lost(pair: ThreadedLab) -> None:
    a, b = pair.nic("a"), pair.nic("b")
    count = 5000

    sender = threading.Thread(target=send_all, args=(a, map(numbered, range(count))))
    sender.start()
    assert [number(b.recv(LONG)) for _ in range(count)] == list(range(count))
    sender.join()
    assert (a.sent.frames, b.received.frames, b.received.drops) == (count, count, {})


def test_many_threads_share_a_card(pair: ThreadedLab) -> None:
    a, b = pair.nic("a"), pair.nic("b")
    with ThreadPoolExecutor(8) as pool:
        takers = [pool.submit(lambda: [number(b.recv(LONG)) for _ in range(500)]) for _ in range(4)]
        senders = [
            pool.submit(send_all, a, map(numbered, range(first, first + 500)))
            for first in range(0, 2000, 500)
        ]
        got = [each for taker in takers for each in taker.result(LONG)]
        for sender in senders:
            sender.result(LONG)
    assert sorted(got) == list(range(2000))


def test_a_frame_may_be_changed_once_it_is_sent(pair: ThreadedLab) -> None:
    buffer = bytearray(FRAME)
    pair.nic("a").send(memoryview(buffer))
    buffer[:] = bytes(60)
    assert pair.nic("b").recv(LONG) == FRAME


def test_recv_without_a_frame(pair: ThreadedLab) -> None:
    b = pair.nic("b")
    assert b.recv(0) is None
    assert b.recv(0.001) is None
    assert b.recv_into(bytearray(60), 0) == 0


def test_recv_into(pair: ThreadedLab) -> None:
    a, b = pair.nic("a"), pair.nic("b")
    for frame in (FRAME, bytes(100), FRAME[:20]):
        a.send(frame)
    buffer = bytearray(60)
    assert b.recv_into(buffer, LONG) == 60
    assert buffer == FRAME
    assert b.recv_into(memoryview(buffer), LONG) == 20
    assert b.received.drops == {"longer than the buffer": 1}


def test_the_descriptor_is_readable_while_a_frame_waits(pair: ThreadedLab) -> None:
    a, b = pair.nic("a"), pair.nic("b")
    poll, epoll = select.poll(), select.epoll()
    with epoll:
        poll.register(b, select.POLLIN)
        epoll.register(b, select.EPOLLIN)
        for _ in range(3):
            assert select.select([b], [], [], 0)[0] == []
            assert poll.poll(0) == epoll.poll(0) == []
            a.send(FRAME)
            a.send(FRAME)
            assert select.select([b], [], [], LONG)[0] == [b]
            assert poll.poll(0)[0][0] == epoll.poll(0)[0][0] == b.fileno()
            assert b.recv(LONG) == FRAME
            assert select.select([b], [], [], LONG)[0] == [b]
            assert b.recv(LONG) == FRAME
        pair.close()
        assert poll.poll(LONG)


def test_a_descriptor_that_is_asked_for_late(pair: ThreadedLab) -> None:
    a, b = pair.nic("a"), pair.nic("b")
    a.send(FRAME)
    a.send(FRAME)
    assert b.recv(LONG) == FRAME
    assert select.select([b], [], [], LONG)[0] == [b]


def test_a_poller_gets_every_frame(pair: ThreadedLab) -> None:
    a, b = pair.nic("a"), pair.nic("b")
    sender = threading.Thread(target=send_all, args=(a, map(numbered, range(3000))))
    sender.start()
    got: list[int] = []
    while len(got) < 3000:
        assert select.select([b], [], [], LONG)[0], f"silent after {len(got)} frames"
        while (frame := b.recv(0)) is not None:
            got.append(number(frame))
    sender.join()
    assert got == list(range(3000))


@pytest.mark.parametrize("full", ["drop-oldest", "drop-newest"])
def test_a_full_queue_out_drops_and_counts(full: str) -> None:
    with tmelink.start(f"a: tmelink/nic queue 4 full {full}\nb: tmelink/nic\na at b\n") as lab:
        a, b = lab.nic("a"), lab.nic("b")
        # The lab is busy meanwhile, so nothing leaves.
        lab.run(lambda _: send_all(a, map(numbered, range(6))))
        kept = [2, 3, 4, 5] if full == "drop-oldest" else [0, 1, 2, 3]
        assert [number(b.recv(LONG)) for _ in kept] == kept
        assert b.recv(0) is None
        assert a.sent.drops == {"queue full": 2}


def test_block_lets_the_sender_wait_for_the_receiver(pair: ThreadedLab) -> None:
    a, b = pair.nic("a"), pair.nic("b")
    count = 5000
    sender = threading.Thread(target=send_all, args=(a, map(numbered, range(count))))
    sender.start()
    # Both queues fill, and no more leaves the sender.
    while not pair.run(lambda lab: lab.nic("a").stopped):
        pass
    assert len(pair.run(lambda lab: lab.nic("b").waiting)) <= 500 + BURST
    assert sender.is_alive()
    assert [number(b.recv(LONG)) for _ in range(count)] == list(range(count))
    sender.join()
    assert not a.sent.drops
    assert not b.received.drops


def test_pulling_the_plug_releases_a_blocked_sender(pair: ThreadedLab) -> None:
    a = pair.nic("a")
    sender = threading.Thread(target=send_all, args=(a, [FRAME] * 5000))
    sender.start()
    while not pair.run(lambda lab: lab.nic("a").stopped):
        pass
    pair.disconnect("b")
    sender.join(LONG)
    assert not sender.is_alive()
    pair.run(lambda lab: None)
    assert a.sent.drops["not connected"] > 0


def test_hot_connect_and_disconnect() -> None:
    text = "a: tmelink/nic\nb: tmelink/nic\nc: tmelink/nic\nsw: tmelink/switch\nb at sw\nc at sw\n"
    with tmelink.start(text) as lab:
        a, b, c = (lab.nic(name) for name in "abc")
        states: SimpleQueue[bool] = SimpleQueue()
        a.on_link(states.put)
        assert states.get(timeout=LONG) is a.link is False
        lab.connect("a", "sw")
        assert states.get(timeout=LONG) is a.link is True
        a.send(b"\xff" * 6 + FRAME)
        assert b.recv(LONG) == c.recv(LONG) == b"\xff" * 6 + FRAME
        with pytest.raises(tmelink.PortError, match="already connected"):
            lab.connect("a", "sw")
        lab.disconnect("sw", "a")
        assert states.get(timeout=LONG) is a.link is False
        assert b.link
        lab.disconnect("a")
        lab.connect("a", "sw")
        assert states.get(timeout=LONG)
        assert len(lab.run(lambda inner: inner["sw"].ports)) == 3
        lab.disconnect("sw")
        assert [a.link, b.link, c.link] == [False, False, False]
        lab.connect("a", "b")
        a.send(FRAME)
        assert b.recv(LONG) == FRAME
        lab.connect("c", "c")
        c.send(FRAME)
        assert c.recv(LONG) == FRAME
        with pytest.raises(tmelink.TmelinkError, match="no element 'd'"):
            lab.connect("a", "d")


def test_link_follows_what_the_card_leads_to() -> None:
    with tmelink.start("a: tmelink/nic\nsw: tmelink/switch\na at sw\n") as lab:
        a = lab.nic("a")
        states: SimpleQueue[bool] = SimpleQueue()
        a.on_link(states.put)
        lab.run(lambda inner: inner["sw"].changed(False, "unplugged"))
        lab.run(lambda inner: inner["sw"].changed(True))
        assert [states.get(timeout=LONG) for _ in range(3)] == [True, False, True]


def test_link_is_down_once_what_the_card_leads_to_has_failed() -> None:
    with tmelink.start("a: tmelink/nic\nsw: tmelink/switch\na at sw\n") as lab:
        a = lab.nic("a")
        states: SimpleQueue[bool] = SimpleQueue()
        a.on_link(states.put)
        lab.run(lambda inner: inner["sw"].failed(tmelink.ElementError("burnt")))
        assert [states.get(timeout=LONG) for _ in range(2)] == [True, False]
        assert a.link is False


def test_link_follows_the_peer_of_a_link() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = "le0: tmelink/nic\nlink0 at le0: tme/host/openvpn/socket/link --connect-retry 1 --port "
    text += f"{port} --proto tcp-"
    states: SimpleQueue[bool] = SimpleQueue()
    with tmelink.start(f"{text}server --local 127.0.0.1\n") as here:
        here.nic("le0").on_link(states.put)
        assert states.get(timeout=LONG) is False
        for _ in range(2):
            with tmelink.start(f"{text}client --remote 127.0.0.1 --nobind\n") as there:
                there.nic("le0").send(FRAME)
                assert states.get(timeout=LONG) is True
            assert states.get(timeout=LONG) is False


def test_a_callback_that_fails_is_logged(pair: ThreadedLab, caplog: pytest.LogCaptureFixture) -> None:
    pair.nic("a").on_link(lambda up: 1 / 0)
    pair.disconnect("a")
    assert caplog.text.count("link callback failed") == 2


def test_an_element_that_is_no_card(pair: ThreadedLab) -> None:
    with (
        tmelink.start("sw: tmelink/switch\n") as lab,
        pytest.raises(tmelink.ElementError, match="is not a network card"),
    ):
        lab.nic("sw")
    assert pair.nic("a") is pair.nic("/a")


def test_mistakes_and_failures_are_raised_where_the_lab_is_started() -> None:
    with pytest.raises(tmelink.MachineError, match="unknown module"):
        tmelink.start("a: tmelink/nik\n")
    before = threading.active_count()
    nowhere = "l: tme/host/openvpn/socket/link --local 192.0.2.1 --lport 0\n"
    with pytest.raises(tmelink.ElementError, match="l: "):
        tmelink.start(nowhere)
    assert threading.active_count() == before
    with tmelink.start(nowhere, keep_going=True) as lab:
        assert list(lab.failures) == ["l"]


def test_after_close_every_use_raises(pair: ThreadedLab) -> None:
    a, b = pair.nic("a"), pair.nic("b")
    waiter: SimpleQueue[BaseException] = SimpleQueue()

    def wait() -> None:
        try:
            b.recv()
        except BaseException as error:
            waiter.put(error)

    thread = threading.Thread(target=wait)
    thread.start()
    pair.close()
    assert isinstance(waiter.get(timeout=LONG), tmelink.ClosedError)
    thread.join()
    for use in (
        lambda: a.send(FRAME),
        a.recv,
        lambda: a.recv(0),
        lambda: a.recv_into(bytearray(60)),
        lambda: a.on_link(print),
        lambda: a.join(b"\x01" * 6),
        lambda: pair.nic("a"),
        lambda: pair.connect("a", "b"),
        lambda: pair.disconnect("a"),
        pair.traffic,
    ):
        with pytest.raises(tmelink.ClosedError):
            use()
    assert list(a) == []
    pair.close()


def test_coroutines_run_in_the_lab() -> None:
    text = "a: tmelink/host inet 10.0.0.1/24\nb: tmelink/host inet 10.0.0.2/24\na at b\n"
    with tmelink.start(text) as lab:

        async def ping(inner: tmelink.Lab) -> int:
            host = inner["a"]
            assert isinstance(host, Host)
            return (await host.ping("10.0.0.2", count=1)).received

        assert lab.run(ping) == 1
        assert dict(lab.traffic())["a -> b"].frames >= 2
        with pytest.raises(ZeroDivisionError):
            lab.run(lambda inner: 1 / 0)


def test_the_interpreter_exits_with_a_lab_open(tmp_path: Path) -> None:
    program = (
        "import tmelink, threading\n"
        "lab = tmelink.start('a: tmelink/nic\\n')\n"
        "nic = lab.nic('a')\n"
        "threading.Thread(target=lambda: list(nic), daemon=True).start()\n"
        "import atexit\n"
        "print('end')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
