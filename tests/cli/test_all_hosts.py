"""`--all-hosts`: one command for the labs on all hosts of a file, with a stand-in for ssh."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.attacks.places import free_port
from tmelink.cli import all_hosts, main, parser
from tmelink.control import ControlError
from tmelink.deploy import link_ends, over_ssh
from tmelink.deploy.all_labs import connector
from tmelink.errors import TmelinkError
from tmelink.proof.topology import Topology
from tmelink.tmesh.host_access import SshTarget

SSH = f"""#!{sys.executable}
# ssh [OPTION VALUE]… HOST COMMAND: each host has the running labs of a folder of its name.
import os, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    words = words[1 if words[0] == "-T" else 2:]
host, command = words
if host == "away":
    print("ssh: connect to host away port 22: No route to host", file=sys.stderr)
    sys.exit(255)
os.environ["TMELINK_RUNTIME_DIR"] = os.path.join(os.environ["HOSTS"], host)
os.execv("/bin/sh", ["sh", "-c", command])
"""

FILE = """\
host north address 127.0.0.1 ssh root@north:2222 {{
    le0: tmelink/host inet 10.0.77.1/24
    link0 at le0: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport {north} \\
        --remote 127.0.0.1 {south}
}}
host south address 127.0.0.1 ssh south {{
    le1: tmelink/host inet 10.0.77.2/24
    link1 at le1: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport {south} \\
        --remote 127.0.0.1 {north}
}}
"""


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file for two hosts, and its lab on each of them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program(programs / "ssh", SSH)
    program(programs / "sudo", '#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n')
    program(programs / "tmelink", f'#!/bin/sh\nexec {sys.executable} -m tmelink "$@"\n')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HOSTS", str(tmp_path))
    path = tmp_path / "lab.conf"
    path.write_text(FILE.format(north=free_port(), south=free_port()))
    running = []
    for host in ("north", "south"):
        (tmp_path / host).mkdir(mode=0o700)
        lab = subprocess.Popen(
            [sys.executable, "-m", "tmelink", "run", str(path), "--name", "lab", "--host", host],
            env=os.environ | {"TMELINK_RUNTIME_DIR": str(tmp_path / host)},
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(lab)
    try:
        for lab in running:
            assert lab.stderr is not None
            assert any("running:" in line for line in lab.stderr)
        yield path
    finally:
        for lab in running:
            lab.terminate()
            lab.communicate(timeout=20)


def test_every_host_answers_under_its_name(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["exec", str(file), "le0 ping 10.0.77.2 count 1", "--all-hosts"]) == 1
    said = capfd.readouterr().out
    # le0 is on one of them alone.
    north, south = said.split("south:")
    assert north.startswith("north:\n")
    assert "1 received" in north
    assert "le0" in south
    main(["status", str(file), "--all-hosts", "--json"])
    found = json.loads(capfd.readouterr().out)
    assert {host: [row["name"] for row in status["elements"]] for host, status in found.items()} == {
        "north": ["le0", "link0"],
        "south": ["le1", "link1"],
    }
    assert main(["events", str(file), "--all-hosts", "--since", "1h", "--no-follow"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {"north", "south"}


def test_the_two_ends_of_a_link_are_compared(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["doctor", str(file), "--all-hosts"])
    assert capfd.readouterr().out.endswith("between the hosts:\nnothing found\n")
    assert main(["stop", str(file), "--all-hosts"]) == 0
    assert main(["status", str(file), "--all-hosts"]) == 3


def test_what_was_changed_by_hand_is_brought_back(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = tmp_path / "etc/lab/current"
    deployed.mkdir(parents=True)
    (deployed / "machine.conf").write_text(file.read_text())
    monkeypatch.setattr(all_hosts, "ETC", tmp_path / "etc")
    assert main(["exec", str(file), "mkdir d; d/x: tmelink/nic", "--all-hosts"]) == 0
    capfd.readouterr()
    assert main(["apply", str(file), "--all-hosts", "--dry-run"]) == 0
    assert capfd.readouterr().out.count("remove") == 2
    assert main(["apply", str(file), "--all-hosts"]) == 0
    capfd.readouterr()
    assert main(["apply", str(file), "--all-hosts"]) == 0
    assert capfd.readouterr().out.count("nothing differs") == 2


def test_each_host_with_a_connection_captures_it_into_a_file_of_its_own(file: Path, tmp_path: Path) -> None:
    pinging = Thread(target=main, args=(["exec", str(file), "le0 ping 10.0.77.2 count 40", "--all-hosts"],))
    pinging.start()
    asked = ["capture", str(file), "le0", "--all-hosts", "-c", "2", "-w", str(tmp_path / "c.pcapng")]
    assert main(asked) == 0
    pinging.join()
    assert [path.name for path in tmp_path.glob("*.pcapng")] == ["c.north.pcapng"]
    assert (tmp_path / "c.north.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    with pytest.raises(TmelinkError, match="needs -w FILE"):
        all_hosts.main(parser().parse_args(["capture", str(file), "--all-hosts"]), ["capture", str(file)])


def test_a_host_that_ssh_cannot_reach_is_named(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "other" / "lab.conf"
    gone.parent.mkdir()
    gone.write_text(file.read_text().replace("ssh south", "ssh away"))
    assert main(["status", str(gone), "--all-hosts", "--json"]) != 0
    captured = capfd.readouterr()
    assert captured.err == "south: ssh away: ssh: connect to host away port 22: No route to host\n"
    assert list(json.loads(captured.out)) == ["north", "south"]


@pytest.fixture
def busy(file: Path) -> Path:
    """The same, once the ends of its link have heard each other."""
    assert main(["exec", str(file), "le0 ping 10.0.77.2 count 1", "--all-hosts"]) == 1
    return file


def named(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def test_all_hosts_are_one_lab_to_a_screen_or_a_page(busy: Path) -> None:
    with connector(busy)() as labs:
        status = labs.call("status")
        assert named(status["elements"]) == ["north/le0", "north/link0", "south/le1", "south/link1"]
        assert (status["up"], status["total"]) == (4, 4)
        assert status["links"] == [{"from": "north/link0", "to": "south/link1"}]
        assert {row["host"] for row in status["elements"]} == {"north", "south"}
        ends = {(row["from"], row["to"]) for row in status["connections"]}
        assert ends == {("north/link0", "north/le0"), ("south/link1", "south/le1")} or ends == {
            ("north/le0", "north/link0"),
            ("south/le1", "south/link1"),
        }
        assert named(labs.call("status", element="south/link1")["elements"]) == ["south/link1"]
        assert labs.call("doctor") == []
        assert labs.call("consoles") == []
        assert labs.call("source")["text"] == busy.read_text()
        done = labs.call("impair", element="north/le0", other="north/link0", words=["delay", "5ms"])
        assert "5ms" in done["out"]
        (row,) = labs.call("impairments")
        assert {row["element"], row["other"]} == {"north/le0", "north/link0"}
        first = [item.value for item in labs.stream("events", since=0.0, follow=False)]
        assert {each["element"].partition("/")[0] for each in first} == {"north", "south"}
        assert [
            item.value["time"] for item in labs.stream("events", since=first[-1]["time"], follow=False)
        ] == []
        with pytest.raises(ControlError, match=r"'tmelink deploy .*lab\.conf' changes them"):
            labs.call("apply", text="")
        with pytest.raises(ControlError, match="is on no host of the file, which has north, south"):
            labs.call("type", element="le0", text="x")


def test_the_page_shows_all_hosts(busy: Path) -> None:
    pytest.importorskip("uvicorn", reason="pip install 'tmelink[web]'")
    command = [sys.executable, "-m", "tmelink", "web", str(busy), "--all-hosts", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout is not None
            with urllib.request.urlopen(f"{page.stdout.readline().strip()}api/live", timeout=30) as answer:
                told = {}
                while "status" not in told:
                    kind = answer.readline().decode().removeprefix("event: ").strip()
                    told[kind] = json.loads(answer.readline().decode().removeprefix("data: "))
                    answer.readline()
        finally:
            page.terminate()
    assert told["hello"] == {"name": "lab", "here": False, "write": False, "wireshark": False}
    assert {(row["host"], row["name"]) for row in told["status"]["elements"]} == {
        ("north", "north/le0"), ("north", "north/link0"), ("south", "south/le1"), ("south", "south/link1"),
    }  # fmt: skip
    assert len(told["status"]["links"]) == 1


def test_a_capture_of_one_connection_comes_through(file: Path) -> None:
    pinging = Thread(target=main, args=(["exec", str(file), "le0 ping 10.0.77.2 count 40", "--all-hosts"],))
    with connector(file)() as labs:
        pinging.start()
        items = labs.stream("capture", connections=["north/le0:north/link0"], count=2)
        assert base64.b64decode(next(items).value["pcapng"])[:4] == b"\x0a\x0d\x0d\x0a"
        assert sum(1 for _ in items) > 0
        pinging.join()


def test_a_host_that_does_not_answer_is_down_in_the_picture(busy: Path, tmp_path: Path) -> None:
    gone = tmp_path / "other" / "lab.conf"
    gone.parent.mkdir()
    gone.write_text(busy.read_text().replace("ssh south", "ssh away"))
    with connector(gone)() as labs:
        status = labs.call("status")
        assert named(status["elements"]) == ["north/le0", "north/link0", "south"]
        south = status["elements"][-1]
        assert (south["state"], south["reason"]) == (
            "down",
            "ssh away: ssh: connect to host away port 22: No route to host",
        )
        (found,) = labs.call("doctor")
        assert found["text"] == "link0 on north is up, but link1 on south is not: its host did not answer"
        # It is tried again later, and holds up nobody until then.
        assert labs.call("status")["total"] == 3


def test_a_lab_that_ends_is_down_in_the_picture(busy: Path) -> None:
    with connector(busy)() as labs:
        assert labs.call("status")["up"] == 4
        assert main(["stop", str(busy), "--all-hosts"]) == 0
        rows = labs.call("status")["elements"]
        assert [(row["name"], row["state"]) for row in rows] == [("north", "down"), ("south", "down")]


def test_ends_that_differ_are_told(file: Path) -> None:
    topology = Topology(over_ssh.deployed(file).machine)
    end = {"state": "up", "reason": "", "details": {"cipher": "AES-256-GCM", "mtu": 1500}}
    other = {**end, "details": {"cipher": "AES-256-GCM", "mtu": 1400}}
    rows = {("north", "link0"): end, ("south", "link1"): other}
    (found,) = link_ends.differences(topology, rows)
    assert found["text"] == "--tun-mtu is 1500 at link0 on north, and 1400 at link1 on south"
    assert list(link_ends.differences(topology, {**rows, ("south", "link1"): end})) == []


def test_the_control_protocol_passes_through_a_pipe(file: Path, tmp_path: Path) -> None:
    environment = os.environ | {"TMELINK_RUNTIME_DIR": str(tmp_path / "north")}
    command = [sys.executable, "-m", "tmelink", "control", "lab"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert '"hello"' in process.stdout.readline()
        process.stdin.write('{"jsonrpc": "2.0", "id": 1, "method": "summary"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["host"] == "north"
        process.stdin.close()
        assert process.wait(10) == 0


def test_ssh_gets_what_the_file_says() -> None:
    command = over_ssh.ssh_command(SshTarget("h", "amy", 2222), ["exec", "lab", "le0 ping 10.0.0.1"])
    assert command[-6:-1] == ["-p", "2222", "-l", "amy", "h"]
    assert command[-1].endswith("sh tmelink exec lab 'le0 ping 10.0.0.1'")


def test_a_file_without_hosts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.conf"
    path.write_text("le0: tmelink/host inet 10.0.0.1/24\n")
    with pytest.raises(TmelinkError, match="has no host that ssh could find"):
        over_ssh.deployed(path)
