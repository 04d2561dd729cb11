"""`tmelink plug`: a cable from standard input and output to an element of a running lab."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import Process
from tmelink.control import connect

TMELINK = [sys.executable, "-m", "tmelink"]

ARP = bytes.fromhex(
    "ffffffffffff0200000000010806 0001080006040001 020000000001 0a004d02 000000000000 0a004d01"
)
"""Who has 10.0.77.1? asks 10.0.77.2."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """A running lab's name: a switch with a host."""
    name = f"plugged-{os.getpid()}"
    (tmp_path / "lab.conf").write_text("sw0: tmelink/switch\nle0 at sw0: tmelink/host inet 10.0.77.1/24\n")
    process = Process([*TMELINK, "run", "--name", name, "lab.conf"], cwd=tmp_path)
    process.expect("running: ")
    yield name
    process.kill()


@pytest.mark.parametrize(("framing", "prefix"), [("be16", "!H"), ("le16", "<H")])
def test_frames_go_both_ways_and_the_plug_is_pulled_at_the_end(
    lab: str, framing: str, prefix: str, tmp_path: Path
) -> None:
    command = [*TMELINK, "plug", lab, "sw0", "--framing", framing]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    with subprocess.Popen(command, **pipes) as plug:  # type: ignore[call-overload]
        plug.stdin.write(struct.pack(prefix, len(ARP)) + ARP)
        plug.stdin.flush()
        while True:
            (length,) = struct.unpack(prefix, plug.stdout.read(2))
            answer = plug.stdout.read(length)
            if answer[12:14] == b"\x08\x06" and answer[20:22] == b"\0\2":
                break
        assert answer[28:32] == bytes((10, 0, 77, 1))
        with connect(lab) as control:
            assert f"plug-{plug.pid}" in control.call("exec", text="ls")["output"][0]
        plug.stdin.close()
        assert plug.wait(20) == 0
    with connect(lab) as control:
        assert "plug-" not in control.call("exec", text="ls")["output"][0]
    assert not list(tmp_path.glob("tmelink-plug-*"))


def test_an_element_that_takes_no_cable_says_so(lab: str) -> None:
    done = subprocess.run(
        [*TMELINK, "plug", lab, "le0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "le0 is already connected" in done.stderr
    assert "Traceback" not in done.stderr
    assert tempfile.tempdir is None or not list(Path(tempfile.tempdir).glob("tmelink-plug-*"))
