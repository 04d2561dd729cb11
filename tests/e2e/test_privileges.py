"""What a running lab may do, read from /proc: capabilities, users, and that nothing gets more.

Also the ways to run without root that docs/privileges.md describes.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.host_state import state
from tests.support.netns import Net, Process

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip")]

NUMBERS = {"NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_ADMIN": 21, "DAC_OVERRIDE": 1}

TMELINK = [sys.executable, "-m", "tmelink"]


def status(pid: int, task: int | None = None) -> dict[str, str]:
    """The lines of /proc/PID/status."""
    path = f"/proc/{pid}/status" if task is None else f"/proc/{pid}/task/{task}/status"
    return dict(line.split(":\t", 1) for line in Path(path).read_text().splitlines() if ":\t" in line)


def mask(*names: str) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def tmelink_of(process: Process) -> int:
    """tmelink's own number, below whatever has started it."""
    return process.pid


def assert_reduced(pid: int, *names: str) -> None:
    """Every thread has these capabilities and no others, and can get no more."""
    for task in os.listdir(f"/proc/{pid}/task"):
        found = status(pid, int(task))
        assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == mask(*names), (task, found)
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert int(found["CapBnd"], 16) == mask(*names)
        assert found["NoNewPrivs"] == "1"


LABS = {
    "a link": ("link0: tme/host/openvpn/socket/link --dev tap --lport 5000 --remote 10.1.0.2 5000", ()),
    "a low port": (
        "link0: tme/host/openvpn/socket/link --dev tap --lport 1000 --remote 10.1.0.2 5000",
        ("NET_BIND_SERVICE",),
    ),
    "a TAP": ("tap0: tme/host/tun/tap interface lab0 inet 10.9.0.1/24 forward eth0", ("NET_ADMIN",)),
    "a packet tap": ("bpf0: tme/host/bsd/bpf interface eth0", ("NET_RAW",)),
    "a raw socket": ("t0: tmelink/etherip local 10.1.0.1 remote 10.1.0.2", ("NET_RAW",)),
    "a namespace": ("pc: tmelink/netns {name}-pc inet 10.9.0.1/24", ("NET_ADMIN", "SYS_ADMIN")),
}


@pytest.mark.parametrize("lab", LABS)
def test_a_running_lab_keeps_what_it_needs(net: Net, lab: str) -> None:
    a, _b = net.pair()
    before = state(a)
    text, kept = LABS[lab]
    element = text.partition(":")[0]
    run = a.tmelink(f"{text.format(name=a.name)}\nn0 at {element}: tmelink/nic\n")
    assert_reduced(tmelink_of(run), *kept)
    assert run.stop() == 0, run.output
    assert "left on this computer" not in run.output
    assert state(a) == before


def test_routes_follow_and_are_undone_without_root(net: Net) -> None:
    """As another user: what is journalled, changed and put back works with CAP_NET_ADMIN alone."""
    a, _b = net.pair()
    before = state(a)
    run = a.tmelink(
        "tap0: tme/host/tun/tap interface lab0 inet 10.9.0.1/24 forward eth0 nat eth0\n"
        "n0 at tap0: tmelink/nic\n",
        "--user",
        "nobody",
    )
    assert status(run.pid)["Uid"].split() == [str(pwd.getpwnam("nobody").pw_uid)] * 4
    assert status(run.pid)["Gid"].split() == [str(pwd.getpwnam("nobody").pw_gid)] * 4
    assert_reduced(run.pid, "NET_ADMIN")
    assert state(a) != before
    assert run.stop() == 0, run.output
    assert "left on this computer" not in run.output
    assert state(a) == before


def test_what_a_killed_run_of_another_user_leaves_is_undone(net: Net) -> None:
    a, _b = net.pair()
    before = state(a)
    text = "tap0: tme/host/tun/tap interface lab0 inet 10.9.0.1/24 forward eth0\nn0 at tap0: tmelink/nic\n"
    a.tmelink(text, "--user", "nobody").kill()
    assert state(a) != before
    again = a.tmelink("n0: tmelink/nic\n", "--user", "nobody")
    assert again.stop() == 0
    assert state(a) == before


def test_all_is_kept_where_asked_for(net: Net) -> None:
    a, _b = net.pair()
    run = a.tmelink("n0: tmelink/nic\n", "--keep-privileges")
    assert status(run.pid)["CapEff"] == status(os.getpid())["CapEff"]
    assert run.stop() == 0


# Programs


@pytest.mark.parametrize("asked", [None, "root"], ids=["by default", "as root"])
def test_a_program_runs_as_an_unprivileged_user(net: Net, asked: str | None) -> None:
    a = net.namespace()
    words = f'user {asked} directory "{a.directory}" ' if asked else ""
    script = "mkdir -m 700 a; touch a/b; echo pid $$ in $PWD; exec sleep 1000"
    run = a.tmelink(f'p0: tmelink/process {words}sh -c "{script}"\n')
    line = run.expect(r"pid \d+ in")
    found = re.search(r"pid (\d+) in (\S+)", line)
    assert found is not None
    program = status(int(found[1]))
    if asked:
        assert program["Uid"].split() == ["0"] * 4
    else:
        nobody = pwd.getpwnam("nobody")
        assert program["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert program["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert int(program["CapPrm"], 16) == int(program["CapBnd"], 16) == 0
        assert program["NoNewPrivs"] == "1"
        folder = Path(found[2])
        assert folder.name.startswith("tmelink-")
        assert folder.stat().st_gid == nobody.pw_gid
        assert folder.stat().st_mode & 0o7777 == 0o770
    assert run.stop() == 0
    assert not Path(found[2]).exists() or asked


def test_a_lab_with_programs_is_restarted_by_a_run_that_gave_up_root(net: Net) -> None:
    a = net.namespace()
    name = f"restarted-{a.name}"
    run = a.tmelink(
        'p0: tmelink/process sh -c "touch here; echo uid $(id -u) pid $$; exec sleep 1000"\n',
        "--name",
        name,
    )
    nobody = pwd.getpwnam("nobody").pw_uid
    run.expect(rf"uid {nobody} pid \d+")
    since = len(run.lines)
    a.run(*TMELINK, "restart", name)
    run.expect(rf"uid {nobody} pid \d+", since=since)
    assert run.stop() == 0, run.output
    assert "cannot be given" not in run.output


def test_a_program_is_started_again_by_a_run_that_gave_up_root(net: Net) -> None:
    a = net.namespace()
    run = a.tmelink('p0: tmelink/process restart always sh -c "echo pid $$; exec sleep 1000"\n')
    first = re.search(r"pid (\d+)", run.expect(r"\bp0: pid \d+"))
    assert first is not None
    since = len(run.lines)
    os.kill(int(first[1]), signal.SIGKILL)
    second = re.search(r"pid (\d+)", run.expect(r"\bp0: pid \d+", since=since))
    assert second is not None
    assert status(int(second[1]))["Uid"].split()[0] == str(pwd.getpwnam("nobody").pw_uid)
    assert run.stop() == 0


@pytest.mark.needs("qemu-system-x86_64")
def test_qemu_does_not_run_as_root(net: Net, tmp_path: Path) -> None:
    """Its disk is a file that only root can reach, and its console a socket where only root can make one."""
    a = net.namespace()
    tmp_path.chmod(0o700)
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    disk.chmod(0o600)
    console = tmp_path / "console"
    run = a.tmelink(
        f'vm0: tmelink/qemu memory 32 disk "{disk}" console "{console}"\nn0 at vm0: tmelink/nic\n'
    )
    line = run.expect(r"QEMU runs as process \d+")
    qemu = status(int(line.split()[-1]))
    assert qemu["Uid"].split() == [str(pwd.getpwnam("nobody").pw_uid)] * 4
    assert int(qemu["CapPrm"], 16) == 0
    assert qemu["NoNewPrivs"] == "1"
    assert console.stat().st_mode & 0o777 == 0o600
    assert run.stop() == 0
    assert not console.exists()
    assert "refused" not in run.output


# Without root


GIVEN = "+net_raw,+dac_read_search"
"""The latter since the Python that runs the tests may stand in root's own folder."""


TAP = "bpf0: tme/host/bsd/bpf interface eth0\nn0 at bpf0: tmelink/nic\n"


@pytest.mark.needs("setpriv")
def test_a_units_ambient_capabilities_are_enough(net: Net) -> None:
    """What `User=` and `AmbientCapabilities=` of a systemd unit give, by setpriv."""
    a, _b = net.pair()
    path = a.directory / "lab.conf"
    path.write_text(TAP)
    a.directory.chmod(0o755)
    path.chmod(0o644)
    run = a.start(
        "env", "-u", "XDG_RUNTIME_DIR", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
        f"--inh-caps={GIVEN}", f"--ambient-caps={GIVEN}", *TMELINK, "run", str(path),
    )  # fmt: skip
    run.expect("running:")
    for task in os.listdir(f"/proc/{run.pid}/task"):
        found = status(run.pid, int(task))
        assert int(found["CapEff"], 16) == mask("NET_RAW")
        assert int(found["CapAmb"], 16) == 0
        assert found["NoNewPrivs"] == "1"
    assert run.stop() == 0


@pytest.mark.needs("setpriv", "setcap")
def test_a_helper_with_file_capabilities_is_enough(net: Net, tmp_path: Path) -> None:
    """A copy of setpriv that one group may run has the capability in its file, and Python has none."""
    a, _b = net.pair()
    tmp_path.chmod(0o755)
    helper = tmp_path / "tmelink-net"
    shutil.copy(shutil.which("setpriv") or "", helper)
    os.chown(helper, 0, pwd.getpwnam("nobody").pw_gid)
    helper.chmod(0o750)
    a.run("setcap", "cap_net_raw,cap_dac_read_search=ep", str(helper))
    path = tmp_path / "lab.conf"
    path.write_text(TAP)
    run = a.start(
        "env", "-u", "XDG_RUNTIME_DIR", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
        str(helper), f"--inh-caps={GIVEN}", f"--ambient-caps={GIVEN}", *TMELINK, "run", str(path),
    )  # fmt: skip
    run.expect("running:")
    assert run.stop() == 0
