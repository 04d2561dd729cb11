"""Captures: pcapng that tshark reads, directions, filters, limits; nothing left on the connection."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.inline.joined_machines import TWO, frames, pair
from tmelink import Lab, load, start
from tmelink.element import Port
from tmelink.errors import ElementError
from tmelink.frame import Burst, Gso
from tmelink.inline import capture_file, pcapng
from tmelink.inline.capture import Capture, CaptureOptions
from tmelink.inline.capture_file import CaptureFile


class File:
    """Keeps blocks as a file has them."""

    def __init__(self) -> None:
        self.data = b""
        self.frames = 0

    def write(self, blocks: bytes, frames: Sequence[int]) -> None:
        self.data += blocks
        self.frames += sum(frames)


def capture(port: Port, options: CaptureOptions = CaptureOptions()) -> tuple[Capture, File]:  # noqa: B008
    file = File()
    running = Capture([port], options, file.write)
    running.open()
    return running, file


def test_both_directions_are_seen_and_nothing_stays_on_the_connection() -> None:
    a, b = pair()
    running, file = capture(a.ports[0])
    a.send(*frames(3))
    b.send(*frames(2))
    assert (len(a.got), len(b.got)) == (2, 3)
    assert (file.frames, running.seen) == (5, [5])
    running.close()
    running.close()
    assert a.ports[0].inline is None
    assert b.ports[0].inline is None
    a.send(*frames(1))
    assert file.frames == 5


@pytest.mark.parametrize(("direction", "seen"), [("out", 3), ("in", 2), ("both", 5)])
def test_a_direction_is_that_of_the_first_element(direction: str, seen: int) -> None:
    a, b = pair()
    _, file = capture(a.ports[0], CaptureOptions(direction=direction))  # type: ignore[arg-type]
    a.send(*frames(3))
    b.send(*frames(2))
    assert file.frames == seen


def test_a_capture_ends_after_as_many_frames_as_were_asked_for() -> None:
    a, b = pair()
    file, ended = File(), []
    running = Capture([a.ports[0]], CaptureOptions(count=4), file.write, lambda: ended.append(True))
    running.open()
    a.send(*frames(3))
    a.send(*frames(3))
    assert (file.frames, ended, len(b.got)) == (4, [True], 6)
    assert a.ports[0].inline is None


def test_a_wrong_filter_is_refused_and_a_right_one_selects() -> None:
    a, _ = pair()
    with pytest.raises(ValueError, match="not a valid filter expression"):
        capture(a.ports[0], CaptureOptions(expression="udp prt 5"))
    _, file = capture(a.ports[0], CaptureOptions(expression="ether proto 0x88b5"))
    a.send(frames(1)[0], bytes(60))
    assert file.frames == 1


def test_two_captures_of_one_connection_do_not_know_of_each_other() -> None:
    a, _ = pair()
    first, one = capture(a.ports[0])
    second, two = capture(a.ports[0])
    a.send(*frames(1))
    first.close()
    a.send(*frames(1))
    second.close()
    assert (one.frames, two.frames) == (1, 2)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
def test_tshark_reads_what_is_written(tmp_path: Path) -> None:
    packet = bytes.fromhex("45000bcc00010000400600000a0000010a000002")
    tcp = bytes.fromhex("0400040000000001000000015010ffff00000000") + bytes(2980)
    a, b = pair()
    running, file = capture(a.ports[0])
    a.send(*frames(2))
    b.ports[0].send(Burst([b"\x02" * 12 + b"\x08\x00" + packet + tcp], [Gso(1, 1000, 54, 34, 16)]))
    running.close()
    path = tmp_path / "x.pcapng"
    path.write_bytes(file.data + pcapng.statistics(0, 10**18, 7, 2))
    fields = ["frame.interface_name", "frame.len", "frame.packet_flags_direction"]
    command = ["tshark", "-r", str(path), "-T", "fields", *(w for f in fields for w in ("-e", f))]
    rows = [line.split("\t") for line in subprocess.check_output(command, text=True).splitlines()]
    name = "machine:machine"
    assert rows == [
        [name, "68", "0x00000002"],
        [name, "68", "0x00000002"],
        [name, "1054", "0x00000001"],
        [name, "1054", "0x00000001"],
        [name, "1034", "0x00000001"],
    ]


def test_no_stage_stands_on_a_connection_that_nobody_captures() -> None:
    async def body() -> None:
        a, b = pair()
        a.send(*frames(1))
        assert a.ports[0].inline is None
        assert b.ports[0].inline is None

    asyncio.run(body())


def listed(path: Path | None, data: bytes = b"") -> str:
    """What tcpdump says of a capture."""
    command = ["tcpdump", "-n", "-r", "-" if path is None else str(path)]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.needs("tcpdump")
def test_a_program_captures_into_a_file_and_into_memory(tmp_path: Path) -> None:
    async def body() -> None:
        async with load(TWO).run() as lab:
            path = tmp_path / "x.pcapng"
            with (
                lab.capture("host0", file=path, filter="icmp") as kept,
                lab.capture("host0:host1", direction="out", filter="icmp") as outwards,
            ):
                await lab["host0"].command(["ping", "10.0.0.2", "count", "2", "interval", "0.01"])
            await lab["host0"].command(["ping", "10.0.0.2", "count", "1"])
            assert (kept.seen, kept.dropped, outwards.seen) == (4, 0, 2)
            assert listed(path).count("ICMP echo re") == 4
            assert listed(None, outwards.pcapng()).count("ICMP echo request") == 2
            for port in lab["host0"].ports:
                assert port.inline is None
            with pytest.raises(ElementError, match="this lab does not have that connection"):
                lab.capture("host0:host0")
            with pytest.raises(ElementError, match="not a valid filter"):
                lab.capture(filter="icmpp")
            with pytest.raises(ValueError, match="written to a file"):
                kept.pcapng()

    asyncio.run(body())


def test_a_program_with_a_lab_in_a_thread_captures_too_and_the_lab_may_end_before() -> None:
    with start(TWO) as lab, lab.capture("host0", count=1) as capture:

        async def ping(lab: Lab) -> str:
            return await lab["host0"].command(["ping", "10.0.0.2", "count", "1"])

        lab.run(ping)
        lab.close()
    assert (capture.seen, capture.dropped) == (1, 0)
    # The section and its interface, a packet, and the statistics.
    assert capture.pcapng()[:4] == b"\n\r\r\n"


def test_what_memory_has_no_room_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_file, "MEMORY_BYTES", 200)
    a, _ = pair()
    with CaptureFile([a.ports[0]], CaptureOptions()) as running:
        for frame in frames(5):
            a.send(frame)
    assert running.seen == 5
    assert 0 < running.dropped < 5
    assert len(running.pcapng()) < 600


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_does_not_stop_the_traffic_and_is_said_at_the_end() -> None:
    a, b = pair()
    with open("/dev/full", "wb", buffering=0) as full:
        running = CaptureFile([a.ports[0]], CaptureOptions(), full)
        a.send(*frames(3))
        assert len(b.got) == 3
        with pytest.raises(OSError, match="No space left"):
            running.close()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
def test_a_comment_says_whom_an_interface_leads_to(tmp_path: Path) -> None:
    async def body() -> bytes:
        text = TWO + "link0 at sw0: tme/host/openvpn/socket/link --dev tap --remote 127.0.0.1 9 --nobind\n"
        async with load("sw0: tmelink/switch\n" + text).run() as lab:
            with lab.capture("link0") as capture:
                pass
            return capture.pcapng()

    path = tmp_path / "x.pcapng"
    path.write_bytes(asyncio.run(body()))
    done = subprocess.run(["capinfos", path], capture_output=True, text=True, check=True)
    assert "Name = link0:sw0" in done.stdout
    assert "Comment = link0: 127.0.0.1:9, not encrypted" in done.stdout, done.stdout
