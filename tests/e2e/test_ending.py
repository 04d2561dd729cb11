"""How a run ends: what it has made and changed is gone, whoever ended it and however many would not listen.

`tests.e2e.test_run` has the ordinary cases; here are failing starts, programs that hear no signal, impatient
signals, a closed terminal, and SIGKILL, after which the next start puts things right.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.host_state import state
from tests.support.netns import Namespace, Net, Process
from tmelink.system import namespaces

TMELINK = [sys.executable, "-m", "tmelink"]

END_SECONDS = 30
"""For a run to end, which takes a second and a half where nothing else runs; what hangs takes for ever."""

Lab = Callable[..., Process]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that programs can reach which run as another user: pytest's own is root's alone."""
    with tempfile.TemporaryDirectory(prefix="tm-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Starts `tmelink run` of a text, with its temporary files in the test's folder."""
    processes: list[Process] = []

    def start(text: str, *options: str) -> Process:
        (tmp_path / "lab.conf").write_text(text)
        (tmp_path / "tmp").mkdir(exist_ok=True)
        (tmp_path / "tmp").chmod(0o1777)
        tmp_path.chmod(0o755)
        environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
        processes.append(Process([*TMELINK, "run", *options, "lab.conf"], cwd=tmp_path, env=environment))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether all have ended, given a moment."""
    until = time.monotonic() + END_SECONDS
    while any(alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def reported(process: Process, count: int) -> list[int]:
    """The process numbers that programs have written, once there are `count`."""
    until = time.monotonic() + 20
    while len(pids := [int(n) for n in re.findall(r"pid (\d+)", process.output)]) < count:
        assert time.monotonic() < until, process.output
        time.sleep(0.02)
    return pids


FAMILY = (
    "sh -c \"setsid sh -c 'trap : TERM HUP; echo pid $$; while :; do sleep 1000; done' & "
    'trap : TERM HUP; echo pid $$; while :; do sleep 1000; done"'
)
"""A wrapper that hears no signal, with a grandchild in a session of its own that hears none either."""


# A start that fails


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_a_start_that_fails_says_why_and_leaves_nothing(lab: Lab, tmp_path: Path, late: bool) -> None:
    families = "".join(f"p{number}: tmelink/process {FAMILY}\n" for number in range(4))
    if late:
        # Once the programs run: it ends without a word to QMP.
        bad, why = 'bad: tmelink/qemu sh extra "-c false"\n', "bad: QEMU ended with status"
    else:
        bad = "bad: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2\n"
        bad, why = bad + "n1 at bad: tmelink/nic\n", "bad: 192.0.2.1:1194 is .* address of this computer"
    process = lab(
        families + 'e0: tmelink/process sh -c "sleep 1000 {socket}"\nn0: tmelink/nic\ne0 at n0\n' + bad
    )
    assert process.wait(END_SECONDS) == 1
    assert re.search(why, process.output)
    assert "Traceback" not in process.output
    assert gone([int(number) for number in re.findall(r"pid (\d+)", process.output)])
    assert list((tmp_path / "tmp").iterdir()) == []


# Programs that hear no signal


ROUTER = """
tun0: tme/host/tun/tap interface lab0 inet 10.9.0.1/24 forward eth0 nat eth0
le0 at tun0: tmelink/host inet 10.9.0.2/24
"""
"""Changes settings, rules and tables of the host, which outlive the process."""


@pytest.mark.needs_root
@pytest.mark.needs("ip", "nft")
@pytest.mark.parametrize("signals", [1, 2, 5], ids=lambda n: f"{n} signals")
def test_the_host_is_put_back_whatever_the_programs_do(net: Net, signals: int) -> None:
    a, _b = net.pair()
    before = state(a)
    # The elements close in reverse order, so that what is written last is closed first.
    run = a.tmelink(ROUTER + "".join(f"p{number}: tmelink/process {FAMILY}\n" for number in range(6)))
    pids = reported(run, 12)
    assert state(a) != before
    for _ in range(signals):
        os.kill(run.pid, signal.SIGTERM)
        time.sleep(0.01)
    run.wait(END_SECONDS)
    assert state(a) == before
    assert gone(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_no_program_outlives_it(lab: Lab, number: signal.Signals) -> None:
    process = lab(f"p0: tmelink/process {FAMILY}\np1: tmelink/process {FAMILY}\n")
    pids = reported(process, 4)
    os.kill(process.pid, number)
    process.wait(END_SECONDS)
    assert gone(pids)


def test_what_a_program_leaves_running_ends_with_it(lab: Lab) -> None:
    """A grandchild in a session of its own, whose parent has ended, and no signal to tmelink at all."""
    process = lab(
        "p0: tmelink/process restart never sh -c \"setsid sh -c 'echo pid $$; sleep 1000' & sleep 0.5\"\n"
        "le0: tmelink/host inet 10.0.0.1/24\n"
    )
    pids = reported(process, 1)
    assert gone(pids)
    assert process.stop() == 0


# A closed terminal


@pytest.mark.needs_root
@pytest.mark.needs("ip", "nft")
def test_a_closed_terminal_ends_it_as_sigterm_does(net: Net, tmp_path: Path) -> None:
    a, _b = net.pair()
    before = state(a)
    (tmp_path / "lab.conf").write_text(ROUTER + f"p0: tmelink/process {FAMILY}\n")
    terminal, theirs = pty.openpty()
    command = ["ip", "netns", "exec", a.name, *TMELINK, "run", str(tmp_path / "lab.conf")]
    run = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    said = b""
    while b"running: " not in said or len(pids := re.findall(rb"pid (\d+)", said)) < 2:
        said += os.read(terminal, 4096)
    assert state(a) != before
    os.close(terminal)
    assert run.wait(END_SECONDS) == 0
    assert state(a) == before
    assert gone([int(pid) for pid in pids])


# SIGKILL, and what the next start finds


NOTHING = "n0: tmelink/nic\n"


def started_again(namespace: Namespace) -> None:
    """A run with nothing of its own to do on the host."""
    run = namespace.tmelink(NOTHING)
    assert run.stop() == 0


@pytest.mark.needs_root
@pytest.mark.needs("ip")
def test_a_namespace_of_a_killed_run_is_removed_at_the_next_start(net: Net) -> None:
    a = net.namespace()
    name = f"{a.name}-inside"
    text = f"in0: tmelink/netns {name} inet 10.9.0.3/24\nle0 at in0: tmelink/host inet 10.9.0.4/24\n"
    try:
        a.tmelink(text).kill()
        assert Path("/run/netns", name).exists()
        started_again(a)
        assert not Path("/run/netns", name).exists()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.needs_root
@pytest.mark.needs("ip")
def test_a_namespace_that_somebody_else_made_again_stays(net: Net) -> None:
    a = net.namespace()
    name = f"{a.name}-inside"
    a.tmelink(f"in0: tmelink/netns {name}\nle0 at in0: tmelink/host inet 10.9.0.4/24\n").kill()
    try:
        # Kept, so that the new one cannot have the number of the old one.
        with open(f"/run/netns/{name}"):
            subprocess.run(["ip", "netns", "del", name], check=True)
            subprocess.run(["ip", "netns", "add", name], check=True)
            started_again(a)
        assert namespaces.exists(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.needs_root
@pytest.mark.needs("ip")
def test_a_stale_namespace_is_made_anew(net: Net) -> None:
    """A name without a namespace, as a restarted container finds it."""
    a = net.namespace()
    name = f"{a.name}-stale"
    path = Path("/run/netns", name)
    path.touch()
    try:
        run = a.tmelink(f"in0: tmelink/netns {name}\nle0 at in0: tmelink/host inet 10.9.0.4/24\n")
        assert "Invalid argument" not in run.output
        assert run.stop() == 0
        assert not path.exists()
    finally:
        path.unlink(missing_ok=True)


def shown(namespace: Namespace) -> str:
    """The persistent TAP, but for the queue that the kernel gives it when it is first switched on."""
    return re.sub(r"qdisc \S+", "", namespace.run("ip", "-d", "addr", "show", "kept0"))


@pytest.mark.needs_root
@pytest.mark.needs("ip")
def test_what_a_killed_run_gave_a_persistent_tap_is_taken_back(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "kept0", "mode", "tap")
    before = shown(a)
    text = 'tap0: tme/host/tun/tap interface kept0 inet 10.9.0.1/24 mac "02:00:00:00:00:07" mtu 1400\n'
    a.tmelink(text + "le0 at tap0: tmelink/host inet 10.9.0.2/24\n").kill()
    assert "10.9.0.1/24" in a.run("ip", "addr", "show", "kept0")
    started_again(a)
    assert shown(a) == before


@pytest.mark.needs_root
@pytest.mark.needs("ip")
def test_a_persistent_tap_keeps_its_flags(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "kept0", "mode", "tap")
    before = shown(a)
    assert "vnet_hdr off" in before
    run = a.tmelink("tap0: tme/host/tun/tap interface kept0\nle0 at tap0: tmelink/host inet 10.9.0.2/24\n")
    assert run.stop() == 0
    assert shown(a) == before


def test_folders_and_sockets_of_a_killed_run_are_removed_at_the_next_start(lab: Lab, tmp_path: Path) -> None:
    text = (
        f'v0: tmelink/vde "{tmp_path}/vde" listen\nn0 at v0: tmelink/nic\n'
        f'q0: tmelink/qemu/stream server "{tmp_path}/stream.sock"\nn1 at q0: tmelink/nic\n'
        f'q1: tmelink/qemu/dgram local "{tmp_path}/dgram.sock" remote "{tmp_path}/peer.sock"\n'
        "n2 at q1: tmelink/nic\n"
        'p0: tmelink/process sh -c "sleep 1000 {socket}"\nn3 at p0: tmelink/nic\n'
    )
    process = lab(text)
    process.expect("running:")
    made = [tmp_path / name for name in ("vde", "vde/ctl", "stream.sock", "dgram.sock")]
    assert all(path.exists() for path in made)
    assert list((tmp_path / "tmp").iterdir())
    process.kill()
    assert all(path.exists() for path in made)
    again = lab(NOTHING)
    again.expect("running:")
    assert again.stop() == 0
    assert [path for path in made if path.exists()] == []
    assert list((tmp_path / "tmp").iterdir()) == []


def children_of(pid: int) -> dict[int, str]:
    """The state of each child of a process, as of proc(5)."""
    found = {}
    for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found[int(number)] = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    return found


@pytest.mark.needs_root
@pytest.mark.needs("unshare", "nsenter")
def test_as_the_first_process_of_a_container_it_reaps_orphans(tmp_path: Path) -> None:
    (tmp_path / "lab.conf").write_text("sw0: tmelink/switch\nle0 at sw0: tmelink/host inet 10.0.77.1/24\n")
    lab = Process(
        ["unshare", "--pid", "--fork", "--mount-proc", *TMELINK, "run", "--name", f"first-{os.getpid()}",
         "lab.conf"],
        cwd=tmp_path,
    )  # fmt: skip
    try:
        lab.expect("running: ")
        (first,) = children_of(lab.pid)
        subprocess.run(
            ["nsenter", "-t", str(first), "-p", "sh", "-c", "(sleep 0.2 &); (true &)"], check=True, timeout=20
        )
        until = time.monotonic() + END_SECONDS
        while len(children_of(first)) > 1 and time.monotonic() < until:
            time.sleep(0.05)
        (program,) = children_of(first).items()
        assert program[1] != "Z"
        os.kill(first, signal.SIGTERM)
        assert lab.wait(END_SECONDS) == 0
        assert "SIGTERM: closing" in lab.output
        assert any(line.startswith("connection") for line in lab.lines), "the summary comes as ever"
    finally:
        lab.kill()


@pytest.mark.needs_root
@pytest.mark.needs("ip", "nft", "unshare")
@pytest.mark.parametrize("before", ["", "mkdir -m 700 /run/tmelink && "])
def test_a_read_only_run_folder_is_named_and_can_be_done_without(net: Net, before: str) -> None:
    a, _b = net.pair()
    a.run("ip", "route", "add", "default", "via", "10.1.0.2")
    path = a.directory / "lab.conf"
    path.write_text("tap0: tme/host/tun/tap interface lan inet 10.77.0.1/24 nat auto\ntap0 at tap0\n")

    def command(*options: str) -> list[str]:
        words = " ".join([*TMELINK, "run", *options, str(path)])
        mount = f"mount -t tmpfs none /run && {before} mount -o remount,ro /run"
        return ["unshare", "--mount", "sh", "-c", f"{mount} && exec {words}"]

    said = a.run(*command(), check=False)
    assert "Read-only file system" in said, said
    assert "mount -t tmpfs tmpfs /run" in said
    assert "--no-journal" in said
    assert "Traceback" not in said
    lab = a.start(*command("--no-journal"))
    lab.expect("running: ")
    assert "table" in a.run("nft", "list", "ruleset")
    assert lab.stop() == 0, lab.output
    assert a.run("nft", "list", "ruleset") == ""
