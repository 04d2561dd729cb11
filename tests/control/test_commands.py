"""The commands that talk to a running lab, as their user meets them; nothing here needs a privilege."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.netns import Process
from tests.support.sockets import bare_peer
from tmelink.control import connect, lab_names, running

TMELINK = [sys.executable, "-m", "tmelink"]

LAB = """
sw0: tmelink/switch
le0 at sw0: tmelink/host inet 10.0.77.1/24
le1 at sw0: tmelink/host inet 10.0.77.2/24
link0 at sw0: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --remote 127.0.0.2 --lport 0 --rport 9
"""

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs `tmelink run WORDS…` in an empty directory until it runs; killed at the end if it still does."""
    processes: list[Process] = []

    def start(*words: str, text: str = LAB) -> Process:
        (tmp_path / "lab.conf").write_text(text)
        process = Process([*TMELINK, "run", *words], cwd=tmp_path)
        processes.append(process)
        process.expect("running: ")
        return process

    yield start
    for process in processes:
        process.kill()


def tmelink(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TMELINK, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_lab_is_listed_told_and_ended_by_its_name(start: Start) -> None:
    lab = start("lab.conf")
    listed = json.loads(tmelink("ps", "--json").stdout)
    assert [(row["name"], row["file"], row["pid"], row["up"], row["total"]) for row in listed] == [
        ("lab", "lab.conf", lab.pid, 3, 4)
    ]
    assert f"lab   lab.conf  -     {lab.pid}" in tmelink("ps").stdout
    told = tmelink("status", "lab")
    assert told.returncode == 4, "link0 has not heard its peer"
    assert "lab.conf, process" in told.stdout
    assert "3 of 4 up" in told.stdout
    ended = tmelink("stop", "lab")
    assert ended.returncode == 0
    assert lab.wait() == 0
    assert running() == []
    assert tmelink("ps").stderr == "no lab is running\n"


def test_a_second_lab_of_the_name_is_refused_and_another_name_runs(start: Start, tmp_path: Path) -> None:
    lab = start("lab.conf")
    second = tmelink("run", str(tmp_path / "lab.conf"))
    assert second.returncode == 1
    assert f"a lab named 'lab' is already running (process {lab.pid})" in second.stderr
    start("lab.conf", "--name", "other")
    assert [row.name for row in running()] == ["lab", "other"]
    unclear = tmelink("status")
    assert unclear.returncode == 3
    assert "2 labs are running, so say which: lab, other" in unclear.stderr


def test_a_killed_lab_makes_room_for_the_next(start: Start) -> None:
    lab = start("lab.conf")
    os.kill(lab.pid, signal.SIGKILL)
    lab.wait()
    assert lab_names.socket_path("lab").exists()
    again = start("lab.conf")
    assert [row.pid for row in running()] == [again.pid]


def test_a_wrong_name_is_wrong_usage(tmp_path: Path) -> None:
    done = tmelink("run", "--name", "a/b", str(tmp_path / "lab.conf"))
    assert done.returncode == 2
    assert "'a/b' is not a valid name of a lab" in done.stderr


def test_status_as_json_has_every_element_and_connection(start: Start) -> None:
    start("lab.conf")
    status = json.loads(tmelink("status", "lab", "--json").stdout)
    assert [(row["name"], row["state"]) for row in status["elements"]] == [
        ("sw0", "up"),
        ("le0", "up"),
        ("le1", "up"),
        ("link0", "down"),
    ]
    assert {row["module"] for row in status["elements"]} == {
        "tmelink/switch",
        "tmelink/host",
        "tme/host/openvpn/socket/link",
    }
    assert len(status["connections"]) == 3
    one = json.loads(tmelink("status", "lab", "le0", "--json").stdout)
    assert [row["name"] for row in one["elements"]] == ["le0"]
    assert len(one["connections"]) == 1
    unknown = tmelink("status", "lab", "le9")
    assert unknown.returncode == 1
    assert "no element 'le9', did you mean" in unknown.stderr


def test_a_restart_reads_the_file_again_and_one_with_mistakes_changes_nothing(
    start: Start, tmp_path: Path
) -> None:
    lab = start("lab.conf")
    file = tmp_path / "lab.conf"
    file.write_text("sw0: tmelink/swich\n")
    refused = tmelink("restart", "lab")
    assert refused.returncode == 1
    assert "unknown module tmelink/swich" in refused.stderr
    with connect("lab") as control:
        assert control.call("summary")["total"] == 4
    file.write_text("sw0: tmelink/switch\n")
    assert tmelink("restart", "lab").returncode == 0
    with connect("lab") as control:
        summary = control.call("summary")
        assert (summary["pid"], summary["total"]) == (lab.pid, 1)


def test_a_restart_that_fails_says_why(start: Start, tmp_path: Path) -> None:
    lab = start("lab.conf")
    with bare_peer() as holder:
        port = holder.getsockname()[1]
        more = f"link1: tme/host/openvpn/socket/link --local 127.0.0.1 --lport {port} --remote 127.0.0.1 9\n"
        (tmp_path / "lab.conf").write_text(LAB + more)
        failed = tmelink("restart", "lab")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert f"lab 'lab' has ended instead of restarting: link1: 127.0.0.1:{port} is in use" in failed.stderr
    assert lab.wait() == 1


def test_a_restart_under_keep_going_names_what_failed(start: Start, tmp_path: Path) -> None:
    start("lab.conf", "--keep-going")
    with bare_peer() as holder:
        port = holder.getsockname()[1]
        more = f"link1: tme/host/openvpn/socket/link --local 127.0.0.1 --lport {port} --remote 127.0.0.1 9\n"
        (tmp_path / "lab.conf").write_text(LAB + more)
        done = tmelink("restart", "lab")
    assert done.returncode == 1
    assert done.stdout == "lab 'lab' has restarted: 5 elements\n"
    assert f"tmelink: link1: 127.0.0.1:{port} is in use" in done.stderr


def test_a_shell_reads_a_file_up_to_its_exit(start: Start) -> None:
    start("lab.conf")
    words = [*TMELINK, "shell", "lab"]
    text = "le2 at sw0: tmelink/nic\nexit\nle3 at sw0: tmelink/nic\n"
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "add         le2\n"), done.stderr


def test_a_forgotten_host_is_named_by_run_and_by_service(tmp_path: Path) -> None:
    (tmp_path / "two.conf").write_text(
        "host one address 192.0.2.1 { le0: tmelink/switch; }\n"
        "host two address 192.0.2.2 { le1: tmelink/switch; }\n"
    )
    lab = Process([*TMELINK, "run", "two.conf"], cwd=tmp_path)
    lab.expect("two.conf: the file is for the hosts one, two, and all run here: --host NAME")
    lab.expect("running: ")
    assert lab.stop() == 0
    assert "the hosts one, two" in tmelink("service", "install", str(tmp_path / "two.conf"), "--print").stderr


def test_no_colour_reaches_what_is_no_terminal(start: Start) -> None:
    start("lab.conf")
    assert "\x1b" not in tmelink("status", "lab", TERM="xterm").stdout


@pytest.mark.parametrize("command", ["ps", "status", "events", "stop", "restart"])
def test_help_has_examples_and_exit_codes(command: str) -> None:
    said = tmelink(command, "--help").stdout
    assert "examples:\n  tmelink " in said
    assert "exit codes:\n  0  done" in said
    assert "--json" in said


@pytest.mark.parametrize("limit", [9, 24])
def test_too_few_descriptors_are_named_with_the_remedy(limit: int, tmp_path: Path) -> None:
    """Whatever asks for one that is not there: a journal's file, or a socket."""
    text = "sw0: tmelink/switch\n" + "".join(
        f"u{number} at sw0: tmelink/udp local 127.0.0.1:{22000 + number} float\n" for number in range(40)
    )
    (tmp_path / "many.conf").write_text(text)
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *TMELINK, "run", "many.conf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.endswith(
        "too many open files for this process; raise its limit with 'ulimit -n NUMBER', or with "
        "LimitNOFILE=NUMBER in its unit"
    ), done.stderr
