"""A lab as a service: what its manager hears, SIGHUP, the PID file, the unit that is written for it."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.netns import Process
from tests.support.units import PLAIN, exposure
from tmelink import machine
from tmelink.control import connect
from tmelink.deploy.unit import unit

TMELINK = [sys.executable, "-m", "tmelink"]

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def start(*words: str, **environment: str) -> Process:
        process = Process([*TMELINK, "run", *words], cwd=tmp_path, env={**os.environ, **environment})
        processes.append(process)
        process.expect("running: ")
        return process

    yield start
    for process in processes:
        process.kill()


def test_the_manager_hears_when_the_lab_is_ready_alive_and_stops(start: Start, tmp_path: Path) -> None:
    program = 'program: tmelink/process restart never sh -c "echo ${NOTIFY_SOCKET:-none}; sleep 60"'
    (tmp_path / "lab.conf").write_text(f"sw0: tmelink/switch\n{program}\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)

        def until(wanted: str) -> str:
            while wanted not in (said := manager.recv(4096).decode()):
                pass
            return said

        lab = start("lab.conf", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        assert until("READY=1") == "READY=1\nSTATUS=2 of 2 elements up"
        lab.expect("none"), "what a lab starts cannot speak in its name"
        until("WATCHDOG=1")
        until("WATCHDOG=1")
        with connect("lab") as control:
            control.call("exec", text="rm program", wait=None)
        until("STATUS=1 of 1 elements up")
        (tmp_path / "lab.conf").write_text("sw0: tmelink/switch\nsw1: tmelink/switch\n")
        os.kill(lab.pid, signal.SIGHUP)
        assert "MONOTONIC_USEC=" in until("RELOADING=1")
        assert until("READY=1") == "READY=1\nSTATUS=2 of 2 elements up"
        os.kill(lab.pid, signal.SIGTERM)
        until("STOPPING=1")
    assert lab.wait() == 0


def test_sighup_applies_the_file_and_one_with_mistakes_changes_nothing(start: Start, tmp_path: Path) -> None:
    file, pid_file = tmp_path / "lab.conf", tmp_path / "lab.pid"
    file.write_text("sw0: tmelink/switch\n")
    lab = start("lab.conf", "--pidfile", str(pid_file))
    lab_pid = int(pid_file.read_text())
    file.write_text("sw0: tmelink/swich\n")
    os.kill(lab_pid, signal.SIGHUP)
    lab.expect("error: the file was not applied: lab.conf:1:6: unknown module tmelink/swich")
    file.write_text("sw0: tmelink/switch\nsw1: tmelink/switch\n")
    os.kill(lab_pid, signal.SIGHUP)
    lab.expect("applied: add sw1")
    with connect("lab") as control:
        assert control.call("summary")["total"] == 2
    assert lab.stop() == 0
    assert not pid_file.exists()


def test_a_lab_whose_terminal_is_closed_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "lab.conf").write_text("sw0: tmelink/switch\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [*TMELINK, "run", "--pidfile", "lab.pid", "lab.conf"])
    said = b""
    while b"running: " not in said:
        said += os.read(terminal, 4096)
    with connect("lab") as control:
        control.call("summary")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not (tmp_path / "lab.pid").exists()


# The unit


def written(text: str, name: str = "lab") -> str:
    return unit(machine.load(text), Path("/etc/tmelink/my lab.conf"), name, "one")


def test_the_unit_runs_the_file_under_its_name() -> None:
    text = written(PLAIN)
    assert '-m tmelink run --name lab --host one "/etc/tmelink/my lab.conf"\n' in text
    assert "Type=notify\n" in text
    assert "ExecReload=/bin/kill -HUP $MAINPID\n" in text


@pytest.mark.parametrize(
    ("more", "needs", "lacks"),
    [
        ("", "MemoryDenyWriteExecute=yes", "CAP_SYS_ADMIN"),
        ("", "ProtectKernelTunables=yes", "/dev/kvm"),
        ("ns0 at sw0: tmelink/netns inside inet 10.9.0.3/24\n", "CAP_SYS_ADMIN", "RestrictNamespaces=yes"),
        (
            "link0 at sw0: tme/host/openvpn/socket/link --tls-server --key k --cert c --ca a\n",
            "SystemCallFilter=capset",
            "MemoryDenyWriteExecute",
        ),
        ("p: tmelink/process sleep 1\n", "DeviceAllow=/dev/kvm rw", "MemoryDenyWriteExecute"),
        (
            "tap1 at sw0: tme/host/tun/tap inet 10.9.9.1/24 nat auto\n",
            "CAP_NET_ADMIN",
            "ProtectKernelTunables",
        ),
    ],
)
def test_the_unit_gives_what_the_elements_need_and_no_more(more: str, needs: str, lacks: str) -> None:
    text = written(PLAIN + more)
    assert needs in text
    assert lacks not in text


@pytest.mark.needs("systemd-analyze")
def test_the_unit_is_valid_and_less_exposed_than_openvpns(tmp_path: Path) -> None:
    path = tmp_path / "tmelink-lab.service"
    path.write_text(unit(machine.load(PLAIN), tmp_path / "lab.conf", "lab", None))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert exposure(path) < 3.0
    openvpn = Path("/lib/systemd/system/openvpn@.service")
    if openvpn.exists():
        assert exposure(path) < exposure(openvpn) - 3


def test_install_writes_the_unit_and_remove_takes_it_away(tmp_path: Path) -> None:
    (tmp_path / "lab.conf").write_text(PLAIN)

    def service(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TMELINK, "service", *words, "--directory", str(tmp_path)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert service("install", "lab.conf", "--no-start").returncode == 0
    path = tmp_path / "tmelink-lab.service"
    assert f"run --name lab {tmp_path}/lab.conf\n" in path.read_text()
    assert service("install", "lab.conf", "--print").stdout == path.read_text()
    assert service("remove", "lab").returncode == 0
    assert not path.exists()
    gone = service("remove", "lab")
    assert (gone.returncode, gone.stderr) == (1, f"tmelink: there is no {path}\n")
