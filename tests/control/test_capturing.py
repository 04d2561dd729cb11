"""Captures of a running lab, as processes: a file, mistakes, and an interface in Wireshark's list."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import Process
from tmelink.control import connect

TMELINK = [sys.executable, "-m", "tmelink"]

LAB = """
host0: tmelink/host inet 10.0.0.1/24
host1 at host0: tmelink/host inet 10.0.0.2/24
"""
PING = ["host0", "ping", "10.0.0.2", "count", "2", "interval", "0.01"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "seen.conf").write_text(LAB)
    process = Process([*TMELINK, "run", "seen.conf"], cwd=tmp_path)
    process.expect("running: ")
    yield process
    process.kill()


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
        (["seen", "host0:host0"], "no such connection"),
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
    assert listed[1:] == [
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
    words = ["--capture", "--fifo", str(fifo), "--extcap-capture-filter", "icmp", *one]
    capturing = Process([str(program), *words])
    capturing.expect("capturing 1 connection")
    ping()
    with connect("seen") as control:
        control.call("stop")
    assert capturing.wait() == 0
    capturing.kill()
    shown = subprocess.check_output(["tcpdump", "-n", "-r", str(fifo)], text=True, stderr=subprocess.DEVNULL)
    assert shown.count("ICMP echo re") == 4
