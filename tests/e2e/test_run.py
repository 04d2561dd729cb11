"""The program as its user meets it: started, interrupted, and asked about files with mistakes.

Here it is a process of its own; what `tmelink.runtime` does inside is tested in `tests.test_runtime`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.netns import Namespace, Net, Process

TMELINK = [sys.executable, "-m", "tmelink"]

HOSTS = """
machine a { le0: tmelink/host inet 10.0.77.1/24; }
machine b { le0: tmelink/host inet 10.0.77.2/24; }
/a/le0 at /b/le0
"""

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `tmelink WORDS…` in an empty directory; killed at the end if it still runs."""
    processes: list[Process] = []

    def start(*words: str, **options: object) -> Process:
        processes.append(Process([*TMELINK, *words], cwd=tmp_path, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def finished(directory: Path, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """`tmelink WORDS…` that ends by itself, with `text` as its standard input."""
    return subprocess.run(
        [*TMELINK, *words], cwd=directory, input=text, capture_output=True, text=True, timeout=60, check=False
    )


def write(directory: Path, text: str) -> str:
    (directory / "lab.conf").write_text(text)
    return "lab.conf"


# Ending


EVERYTHING = """
lan: tme/host/tun/tap interface lan inet 10.9.0.1/24 inet6 fd09::1/64
sw0: tmelink/switch
lan at sw0
le0 at sw0: tmelink/host inet 10.9.0.2/24
plugged at sw0: tme/host/openvpn/tap --dev tap7 --dev-type tap
udp at sw0: tme/host/openvpn/socket/link --dev tap --local 10.1.0.1 --remote 10.1.0.2
server at sw0: tme/host/openvpn/socket/link --dev tap --local 10.1.0.1 --lport 1195 --proto tcp-server
client at sw0: tme/host/openvpn/socket/link --dev tap --remote 10.1.0.2 1196 --proto tcp-client
dialling: tme/host/openvpn/socket/link --dev tap --remote 10.1.0.99 1196 --proto tcp-client
bpf0 at dialling: tme/host/bsd/bpf interface eth0
inside at sw0: tmelink/netns {name}-inside inet 10.9.0.3/24 gateway 10.9.0.1
guest at sw0: tme/host/tun/tap interface guest bridge br0
"""


def state(namespace: Namespace) -> dict[str, str]:
    """What a run could leave behind: interfaces, addresses, routes, rules, listening sockets, promiscuity."""
    commands = {
        "links": "ip -j -d link",
        "addresses": "ip -o addr",
        "routes": "ip route show table all",
        "routes6": "ip -6 route show table all",
        "rules": "ip rule",
        "neighbours": "ip neigh show nud permanent",
        "bridge": "bridge link",
        "forwarding": "sysctl net.ipv4.ip_forward",
        "nftables": "nft list ruleset",
        "sockets": "ss -Htunap state all exclude time-wait exclude fin-wait-2",
    }
    found = {what: namespace.run(*command.split(), check=False) for what, command in commands.items()}
    # The carrier of a bridge comes and goes with its ports.
    for what in ("routes", "routes6"):
        found[what] = found[what].replace(" linkdown", "")
    told = ("ifname", "address", "mtu", "master", "promiscuity", "allmulti")
    links = json.loads(found["links"])
    # And a bridge without an address of its own has that of one of its ports.
    found["links"] = str(
        [[link.get(key) for key in told if (link["ifname"], key) != ("br0", "address")] for link in links]
    )
    return found


@pytest.mark.needs_root
@pytest.mark.needs("ip", "ping")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_closes_everything_and_leaves_nothing(net: Net, number: signal.Signals) -> None:
    a, b = net.pair()
    # The kernel's own addresses come and go in their own time.
    a.run("sysctl", "-q", "-w", "net.ipv6.conf.default.addr_gen_mode=1")
    a.run("ip", "-6", "addr", "flush", "dev", "eth0", "scope", "link")
    a.run("ip", "link", "add", "br0", "type", "bridge")
    a.run("ip", "link", "set", "br0", "up")
    before = state(a)
    listening = b.start(
        sys.executable, "-c",
        "import socket; s = socket.create_server(('10.1.0.2', 1196)); print('ready', flush=True)\n"
        "peers = [s.accept() for _ in range(2)]",
    )  # fmt: skip
    listening.expect("ready")
    lab = a.tmelink(EVERYTHING.format(name=a.name))
    lab.expect("client: connected")
    for address in ("10.9.0.2", "10.9.0.3"):
        a.ping(address)
    assert state(a) != before
    begun = time.monotonic()
    assert lab.stop(number) == 0
    print(f"{number.name}: ended after {time.monotonic() - begun:.2f} s")
    assert state(a) == before
    assert f"{a.name}-inside" not in a.run("ip", "netns", "list")
    assert f"{number.name}: closing" in lab.output
    assert "longer than" not in lab.output
    assert "Traceback" not in lab.output


@pytest.mark.needs_root
@pytest.mark.needs("ip", "ping", "setpriv")
def test_a_tap_that_was_made_for_its_user_needs_no_privilege(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "tap0", "mode", "tap", "user", "root")
    a.run("ip", "addr", "add", "10.0.77.1/24", "dev", "tap0")
    a.run("ip", "link", "set", "tap0", "up")
    path = a.directory / "lab.conf"
    path.write_text("tap0: tme/host/tun/tap interface tap0\nle0 at tap0: tmelink/host inet 10.0.77.2/24\n")
    lab = a.start(
        "setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin", *TMELINK, "run", str(path)
    )  # fmt: skip
    lab.expect("running:")
    a.ping("10.0.77.2")
    assert lab.stop() == 0
    assert a.interfaces() == ["lo", "tap0"]
    assert "10.0.77.1/24" in a.run("ip", "addr", "show", "tap0")


STUCK = '''
import time
from dataclasses import dataclass

import tmelink


class Stuck(tmelink.Element):
    """An element that never finishes closing, and lets nothing else run meanwhile."""

    @dataclass(frozen=True)
    class Arguments:
        """None."""

    async def close(self) -> None:
        print("stuck", flush=True)
        time.sleep(1000)
'''


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_second_signal_ends_it_at_once(start: Start, tmp_path: Path, second: signal.Signals) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    installed = tmp_path / "stuck-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: stuck\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[tmelink.elements]\nstuck = stuck:Stuck\n")
    write(tmp_path, "s0: stuck\nle0 at s0: tmelink/host inet 10.0.77.1/24\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    lab = start("run", "lab.conf", env={**os.environ, "PYTHONPATH": path})
    lab.expect("running:")
    os.kill(lab.pid, signal.SIGINT)
    lab.expect("^stuck")
    os.kill(lab.pid, second)
    assert lab.wait() == -second


def test_the_summary_tells_of_each_connection(start: Start, tmp_path: Path) -> None:
    write(tmp_path, HOSTS + "command /a/le0 ping 10.0.77.2 count 2 interval 0.01\n")
    lab = start("run", "lab.conf")
    lab.expect("running:")
    assert lab.stop() == 0
    lines = lab.output.splitlines()
    heads = lines.index(next(line for line in lines if line.startswith("connection ")))
    assert lines[heads].split() == ["connection", "frames", "bytes", "dropped"]
    sent = {line.split("  ")[0]: int(line.split()[3]) for line in lines[heads + 1 :]}
    assert set(sent) == {"a/le0 -> b/le0", "b/le0 -> a/le0"}
    # An ARP exchange and two pings at least.
    assert min(sent.values()) >= 3


# What does not open


BAD_LINK = """
bad: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2
n0 at bad: tmelink/nic
"""


def test_what_cannot_be_opened_ends_the_run(tmp_path: Path) -> None:
    write(tmp_path, HOSTS + BAD_LINK)
    done = finished(tmp_path, "run", "lab.conf")
    assert done.returncode == 1
    assert "tmelink: bad: 192.0.2.1:1194 is not an address of this computer: correct --local" in done.stderr
    assert "running:" not in done.stderr
    assert "Traceback" not in done.stderr


def test_with_keep_going_the_rest_runs(start: Start, tmp_path: Path) -> None:
    write(tmp_path, HOSTS + BAD_LINK + "command /a/le0 ping 10.0.77.2 count 1\n")
    lab = start("run", "--keep-going", "lab.conf")
    lab.expect("running:")
    assert "is not an address of this computer" in lab.output
    assert "1 received" in lab.output
    assert lab.stop() == 1


# Which part of a file


PARTS = """
host one address 127.0.0.1 { a0: tmelink/nic; a1 at a0: tmelink/nic; }
host two address 127.0.0.2 { b0: tmelink/nic; }
"""


def test_only_one_hosts_part_runs(start: Start, tmp_path: Path) -> None:
    write(tmp_path, PARTS)
    for words, count in ((("--host", "one"), 2), (("--host", "two"), 1), ((), 3)):
        lab = start("run", *words, "lab.conf")
        lab.expect(rf"running: {count} elements?,")
        assert lab.stop() == 0
    done = finished(tmp_path, "run", "--host", "three", "lab.conf")
    assert done.returncode == 1
    assert "the file has no host three (it has one, two)" in done.stderr


SUN = """
mainbus0: tme/machine/sun3 my-sun3-idprom.bin
cpu0 at mainbus0: tme/ic/m68020
obie0 at mainbus0: tme/machine/sun3/obie
ie0 at obie0: tme/ic/i82586
link0 at ie0: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport 0 --remote 127.0.0.1 11999
"""


def test_the_network_of_a_file_with_other_parts_runs_when_asked_to(start: Start, tmp_path: Path) -> None:
    write(tmp_path, SUN)
    done = finished(tmp_path, "run", "lab.conf")
    assert done.returncode == 1
    assert "not emulated by tmelink: mainbus0 (tme/machine/sun3), cpu0 (tme/ic/m68020)" in done.stderr
    assert "--network-only" in done.stderr
    lab = start("run", "--network-only", "lab.conf")
    lab.expect("running: ")
    assert lab.stop() == 0
    assert len(re.findall("not emulated by tmelink", lab.output)) == 1


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--network-only"], "cpu0: tme/ic/m68020\n", "not emulated by tmelink: cpu0 (tme/ic/m68020)"),
        (["--network-only"], "v0: nme/host/netmap/vale switch a\n", "v0 (tme/host/netmap/vale)"),
        ([], "\n", "nothing to run"),
        (["--host", "a"], "host a address 10.0.0.1 { }\n", "no network element for host a"),
    ],
)
def test_a_file_with_nothing_to_run_says_so(words: list[str], text: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    done = finished(tmp_path, "run", *words, "lab.conf")
    assert done.returncode == 1
    assert "lab.conf: there is nothing to run: the file has no network element" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_from_standard_input(tmp_path: Path) -> None:
    done = finished(tmp_path, "check", "-", text=HOSTS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = finished(tmp_path, "check", "-", text="le0: tmelink/hst")
    assert done.returncode == 1
    assert done.stdout.startswith("<stdin>:1:6: unknown module tmelink/hst (did you mean tmelink/host?)\n")


def test_a_lab_from_standard_input_runs(start: Start) -> None:
    lab = start("run", "-")
    assert lab.stdin is not None
    lab.stdin.write(HOSTS.encode())
    lab.stdin.close()
    lab.expect("running: 2 elements, 1 connection")
    assert lab.stop() == 0


# Mistakes and exit codes


FIVE = """\
tap1: tme/host/tun/tp inet 10.0.0.1
le0: tmelink/host inet 10.0.0.300/24
link0 at le0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --remot 10.0.0.2
link1: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --lport 70000 --remote 10.0.0.2
nope at link1
"""

FOUND = [
    (1, 7, "unknown module tme/host/tun/tp", "did you mean tme/host/tun/tap?"),
    (2, 24, "inet: '10.0.0.300/24' is not a valid IPv4 address with a prefix, such as 10.0.0.1/24", None),
    (3, 71, "unknown option --remot", "did you mean --remote?"),
    (4, 72, "--lport: port 70000 is out of range: 0 to 65535", None),
    (5, 1, "unknown element nope", None),
]


@pytest.mark.parametrize("command", ["check", "run"])
def test_every_mistake_is_told_with_its_place_and_line(tmp_path: Path, command: str) -> None:
    write(tmp_path, FIVE)
    done = finished(tmp_path, command, "lab.conf")
    assert done.returncode == 1
    told = (done.stdout if command == "check" else done.stderr).splitlines()
    for line, column, message, hint in FOUND:
        at = told.index(f"lab.conf:{line}:{column}: {message}" + (f" ({hint})" if hint else ""))
        assert told[at + 1] == "    " + FIVE.splitlines()[line - 1]
        assert told[at + 2].index("^") == 4 + column - 1
    if command == "check":
        assert done.stderr == "5 mistakes\n"


def test_mistakes_as_data(tmp_path: Path) -> None:
    write(tmp_path, FIVE)
    done = finished(tmp_path, "check", "--json", "lab.conf")
    assert (done.returncode, done.stderr) == (1, "")
    mistakes = json.loads(done.stdout)["mistakes"]
    assert {mistake["file"] for mistake in mistakes} == {"lab.conf"}
    assert [(m["line"], m["column"], m["message"], m["hint"]) for m in mistakes] == FOUND
    write(tmp_path, SUN)
    done = finished(tmp_path, "check", "--json", "lab.conf")
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["mistakes"] == []
    assert "/cpu0" in data["not_emulated"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["check", "lab.conf"], 0, ""),
        (["check", "missing.conf"], 1, "cannot read missing.conf"),
        (["run", "missing.conf"], 1, "cannot read missing.conf"),
        (["check"], 2, "required: FILE"),
        (["run"], 2, "required: FILE"),
        (["run", "--nonsense", "lab.conf"], 2, "unrecognized arguments: --nonsense"),
        ([], 2, "required: COMMAND"),
        (["nonsense"], 2, "unknown command 'nonsense'"),
        (["elements", "tme/host/tun/tp"], 1, "did you mean tme/host/tun/tap?"),
        (["--version"], 0, "tmelink "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_exit_codes(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    write(tmp_path, HOSTS)
    done = finished(tmp_path, *words)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
