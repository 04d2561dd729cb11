"""Captures: pcapng that tshark reads, directions, filters, limits; nothing left on the connection."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.inline.joined_machines import frames, pair
from tmelink.element import Port
from tmelink.frame import Burst, Gso
from tmelink.inline import pcapng
from tmelink.inline.capture import Capture, CaptureOptions


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
