"""Captures of a running lab, as processes: a file, mistakes, and an interface in Wireshark's list."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import Process
from tests.support.sockets import free_port
from tmelink.cli import extcap_toolbar
from tmelink.control import connect

TMELINK = [sys.executable, "-m", "tmelink"]

LAB = """
host0: tmelink/host inet 10.0.0.1/24
host1 at host0: tmelink/host inet 10.0.0.2/24
"""
SECONDS = 20
PING = ["host0", "ping", "10.0.0.2", "count", "2", "interval", "0.01"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "seen.conf").write_text(LAB)
    process = Process([*TMELINK, "run", "seen.conf"], cwd=tmp_path)
    process.expect("running: ")
    yield process
    process.kill()


def until(path: Path, text: str) -> None:
    """Await a text in a file."""
    deadline = time.monotonic() + SECONDS
    while text.encode() not in (found := path.read_bytes()):
        assert time.monotonic() < deadline, f"no {text!r} in {found!r}"
        time.sleep(0.01)


def ping() -> None:
    with connect("seen") as control:
        control.call("exec", text=" ".join(PING))


def test_a_capture_becomes_a_file_that_ends_by_itself(lab: Process, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    command = [*TMELINK, "capture", "seen", "host0:host1", "-f", "icmp", "-c", "4", "-w", str(path)]
    capturing = Process(command)
    capturing.expect("capturing 1 connection")
    ping()
    capturing.expect("4 frames captured, 0 dropped")
    assert capturing.wait() == 0
    capturing.kill()
    shown = subprocess.check_output(["tcpdump", "-n", "-r", str(path)], text=True, stderr=subprocess.DEVNULL)
    assert shown.count("ICMP echo re") == 4


def test_what_is_not_there_is_said(lab: Process) -> None:
    for words, message in (
        (["seen", "host9"], "no element 'host9'"),
        (["seen", "host0:host0"], "does not have that connection"),
        (["seen", "-f", "udp prt 5", "-w", "-"], "not a valid filter expression"),
    ):
        done = subprocess.run([*TMELINK, "capture", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert message in done.stderr


def test_wireshark_is_shown_every_connection_with_its_settings(lab: Process, tmp_path: Path) -> None:
    folder = tmp_path / "extcap"
    installed = subprocess.run([*TMELINK, "extcap", "--install", "--folder", str(folder)], check=True)
    assert installed.returncode == 0
    program = folder / "tmelink-extcap"

    def asked(*words: str) -> str:
        return subprocess.check_output([program, *words], text=True)

    listed = asked("--extcap-interfaces").splitlines()
    assert [line for line in listed if line.startswith("interface ")] == [
        "interface {value=tmelink:seen}{display=tmelink seen: every connection}",
        "interface {value=tmelink:seen:host1:host0}{display=tmelink seen: host1 at host0}",
    ]
    one = ("--extcap-interface", "tmelink:seen:host1:host0")
    assert asked("--extcap-dlts", *one) == "dlt {number=1}{name=EN10MB}{display=Ethernet}\n"
    assert "{call=--direction}" in asked("--extcap-config", *one)
    assert asked("--extcap-capture-filter", "icmp", *one) == ""
    assert "not a valid filter" in asked("--extcap-capture-filter", "icmpp", *one)
    fifo = tmp_path / "fifo"
    fifo.write_bytes(b"")
    said = tmp_path / "said"
    said.write_bytes(b"")
    words = ["--capture", "--fifo", str(fifo), "--extcap-capture-filter", "icmp", *one]
    capturing = Process([str(program), *words, "--extcap-control-out", str(said)])
    until(said, "capturing icmp")
    ping()
    with connect("seen") as control:
        control.call("stop")
    assert capturing.wait() == 0
    assert capturing.output == "", "Wireshark takes it for an error"
    capturing.kill()
    shown = subprocess.check_output(["tcpdump", "-n", "-r", str(fifo)], text=True, stderr=subprocess.DEVNULL)
    assert shown.count("ICMP echo re") == 4


def test_the_toolbar_of_wireshark_changes_the_filter_while_it_captures(lab: Process, tmp_path: Path) -> None:
    fifo, heard, said = (tmp_path / name for name in ("fifo", "heard", "said"))
    fifo.write_bytes(b"")
    said.write_bytes(b"")
    os.mkfifo(heard)
    words = ["--capture", "--fifo", str(fifo), "--extcap-interface", "tmelink:seen:host1:host0"]
    pipes = ["--extcap-control-in", str(heard), "--extcap-control-out", str(said)]
    capturing = Process([*TMELINK, "extcap", *words, "--extcap-capture-filter", "icmp", *pipes])
    try:
        with heard.open("wb", buffering=0) as toolbar:
            until(said, "capturing icmp")
            ping()
            for text, answer in (
                ("icmp and", "not a valid filter"),
                ("icmp[0] == 8", "capturing icmp[0] == 8"),
            ):
                toolbar.write(extcap_toolbar.message(extcap_toolbar.FILTER, 1, text))
                until(said, answer)
            ping()
            toolbar.write(extcap_toolbar.message(extcap_toolbar.DIRECTION, 1, "in"))
            until(said, "6 frames captured, 0 dropped")
        with connect("seen") as control:
            control.call("stop")
        assert capturing.wait() == 0
    finally:
        capturing.kill()
    assert said.read_bytes().startswith(extcap_toolbar.message(extcap_toolbar.FILTER, 1, "icmp"))
    shown = subprocess.check_output(["tcpdump", "-n", "-r", str(fifo)], text=True, stderr=subprocess.DEVNULL)
    assert (shown.count("ICMP echo request"), shown.count("ICMP echo reply")) == (4, 2)


OUTSIDE = """
host0: tmelink/host inet 10.0.0.1/24
link0 at host0: tme/host/openvpn/socket/link --dev tap --disable-occ \\
    --local 127.0.0.1 --lport {one} --remote 127.0.0.1 {other}
host1: tmelink/host inet 10.0.0.2/24
link1 at host1: tme/host/openvpn/socket/link --dev tap --disable-occ \\
    --local 127.0.0.1 --lport {other} --remote 127.0.0.1 {one}
"""


def test_one_direction_of_a_link_outside_and_what_a_filter_takes_of_both(tmp_path: Path) -> None:
    one, other = free_port(), free_port()
    (tmp_path / "seen.conf").write_text(OUTSIDE.format(one=one, other=other))
    path = tmp_path / "x.pcapng"

    def captured(*words: str) -> list[str]:
        """The lines of four datagrams that a capture takes of the pings."""
        command = [*TMELINK, "capture", "seen", "link0", "--wire", "-c", "4", "-w", str(path), *words]
        capturing = Process(command)
        capturing.expect("capturing 1 connection")
        for _ in range(2):
            ping()
        assert capturing.wait() == 0
        capturing.kill()
        read = ["tcpdump", "-n", "-r", str(path)]
        return subprocess.check_output(read, text=True, stderr=subprocess.DEVNULL).splitlines()

    lab = Process([*TMELINK, "run", "seen.conf"], cwd=tmp_path)
    try:
        lab.expect("running: ")
        ping()
        away, towards = (f"127.0.0.1.{a} > 127.0.0.1.{b}: UDP" for a, b in ((one, other), (other, one)))
        for words, expected in (
            (["--direction", "out"], [away] * 4),
            (["--direction", "in"], [towards] * 4),
            (["-f", f"udp dst port {one}"], [towards] * 4),
            ([], [away, towards] * 2),
        ):
            lines = captured(*words)
            assert [text for line in lines for text in (away, towards) if text in line] == expected
    finally:
        lab.kill()
