"""Programs as elements: what starts them, restarts by policy, and their end; and QEMU's and passt's words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.aio import TIMEOUT, eventually, run
from tests.support.machines import Events, Machine, frame
from tests.support.statements import mistakes, words
from tmelink import registry
from tmelink.element import Element, connect
from tmelink.elements.emulators import qemu_command, supervisor
from tmelink.elements.emulators.cable import Cable
from tmelink.elements.emulators.passt import Passt
from tmelink.elements.emulators.process import filled
from tmelink.elements.emulators.qemu import Qemu
from tmelink.elements.emulators.qemu_command import Wiring
from tmelink.errors import ElementError, PortError
from tmelink.frame import Burst
from tmelink.source import Mistake, Place, Source, Word

PLACE = Place(Source("lab/test.conf", ""), 1, 1)


AS = str(os.geteuid())
"""What runs here is the tests' own, and where only who runs them may read."""


def make(module: str, *given: str) -> Element:
    cls = registry.element_class(module)
    found: list[Mistake] = []
    if module == "tmelink/process":
        given = ("user", AS, *given)
    elif module == "tmelink/qemu":
        given = (*given, "user", AS)
    arguments = cls.parse([Word(word, PLACE) for word in given], PLACE, found.append)
    assert not found, found
    return cls("/vm0", arguments)


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


@contextlib.asynccontextmanager
async def running(element: Element, machines: int = 0) -> AsyncIterator[tuple[Events, list[Machine]]]:
    """The element, open, with machines on it."""
    events = Events()
    element.status = events
    found = [Machine(offload=False) for _ in range(machines)]
    for machine in found:
        connect(element.port(), machine.port())
    try:
        await element.open()
        yield events, found
    finally:
        await element.close()


ECHO = """
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
while True:
    head = s.recv(4, socket.MSG_WAITALL)
    if not head:
        break
    s.sendall(head + s.recv(struct.unpack("!I", head)[0], socket.MSG_WAITALL))
"""

UDP_ECHO = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
s.sendto(bytes(60), ("127.0.0.1", int(sys.argv[2])))
while True:
    s.sendto(s.recv(65536), ("127.0.0.1", int(sys.argv[2])))
"""


def test_each_connection_has_its_socket() -> None:
    """The first by stream, the second by UDP; both emulators in one, an echo."""

    async def body() -> None:
        script = f"import threading\nUDP={UDP_ECHO!r}\nECHO={ECHO!r}\nimport sys\n" + (
            "argv = sys.argv\n"
            "class S:\n  def __init__(s, a): s.argv = ['', *a]\n"
            "t = threading.Thread(target=lambda: exec(UDP.replace('import socket, sys', 'import socket'), "
            "{'sys': S(argv[2:])}), daemon=True); t.start()\n"
            "exec(ECHO.replace('import socket, struct, sys', 'import socket, struct'), "
            "{'sys': S(argv[1:2])})\n"
        )
        element = make("tmelink/process", *python(script), "{socket}", "{port1}", "{remote1}")
        async with running(element, 2) as (_events, (one, two)):
            await two.until(lambda: len(two.got) > 0)
            await eventually(lambda: element._endpoints[0].carrier is not None)  # type: ignore[attr-defined]
            one.send(frame(1))
            two.send(frame(2))
            await one.until(lambda: one.numbers == [1])
            await two.until(lambda: 2 in two.numbers)

    run(body)


def test_blanks_and_connections_go_together() -> None:
    async def body() -> None:
        for given, count, said in (
            (("true",), 1, "the command does not use connection 0: write '{socket}'"),
            (("true", "{socket}", "{socket1}"), 1, "placeholders for connection 1"),
            (("true", "{socket}", "{port}"), 1, "does not use connection 0"),
            (("no-such-program-here",), 0, "no-such-program-here is not installed"),
            (("stdio", "no-such-program-here"), 1, "no-such-program-here is not installed"),
            (("stdio", "cat"), 2, "with 'stdio' a program has one connection"),
        ):
            with pytest.raises(ElementError, match=said):
                async with running(make("tmelink/process", *given), count):
                    pass

    run(body)


STDIO_ECHO = """
import os, struct, sys
prefix = struct.Struct(sys.argv[1])
def read(size):
    got = b""
    while len(got) < size:
        got += os.read(0, size - len(got)) or sys.exit(3)
    return got
while True:
    frame = bytearray(read(*prefix.unpack(read(prefix.size))))
    if frame[17] == 9:
        sys.exit(4)
    frame[16] = 1
    os.write(1, prefix.pack(len(frame)) + frame)
"""


@pytest.mark.parametrize(("framing", "prefix"), [("be16", "!H"), ("le16", "<H"), ("be32", "!I")])
def test_frames_on_a_program_s_standard_input_and_output(
    framing: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program adds 256 to each frame's number, and ends at number 9; it is started again."""
    monkeypatch.setattr(supervisor, "SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "SETTLED", 0.01)

    async def body() -> None:
        given = ("restart", "always", "stdio", "framing", framing, *python(STDIO_ECHO), prefix)
        async with running(make("tmelink/process", *given), 1) as (events, (machine,)):
            for number in (1, 2):
                assert (await events.next())[0] == "up"
                machine.send(frame(number))
                await machine.until_number(number + 256)
                machine.send(frame(9))
                what, said = await events.next()
                assert (what, said.partition(";")[0]) == ("down", "ended with status 4")

    run(body)


def test_a_command_is_filled_in() -> None:
    blanks = {"port": "5000", "remote": "5001", "socket1": "/s"}
    given = ["udp:{port}:localhost:{remote0}", "{socket1}", "{other}", "a{b"]
    assert filled(given, blanks) == ["udp:5000:localhost:5001", "/s", "{other}", "a{b"]


@pytest.mark.parametrize(
    ("policy", "status", "again"),
    [
        ("never", 0, False),
        ("never", 3, False),
        ("on-failure", 0, False),
        ("on-failure", 3, True),
        ("always", 0, True),
        ("always", 3, True),
    ],
)
def test_a_program_is_started_again_by_policy(
    policy: str, status: int, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SHORTEST_PAUSE", 0.01)
    note = tmp_path / "runs"

    async def body() -> None:
        script = f"open({str(note)!r}, 'a').write('x'); print('last words'); raise SystemExit({status})"
        async with running(make("tmelink/process", "restart", policy, *python(script))) as (events, _):
            what, said = await events.next()
            assert what == ("failed" if status and not again else "down")
            assert said.startswith(f"ended with status {status}: last words")
            assert ("starting again" in said) is again
            if again:
                # It goes on, and the same end is logged once.
                await eventually(lambda: len(note.read_text()) >= 4)
                assert events.empty

    run(body)


def test_a_program_that_stays_up_is_told_up_again_and_one_that_does_not_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """passt without a default route ends at once, whenever it is started."""
    monkeypatch.setattr(supervisor, "SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "SETTLED", 0.05)
    runs = 0

    class Program:
        pid = 1
        said = "No external routable interface for IPv4"

        def __init__(self, stays: bool) -> None:
            self.over = asyncio.get_running_loop().create_future()
            if not stays:
                self.over.set_result(1)

        async def wait(self) -> int:
            return int(await self.over)

        async def stop(self) -> None:
            """Nothing runs."""

    async def launch() -> Program:
        nonlocal runs
        runs += 1
        watched.came_up("it runs")
        return Program(stays=runs in (1, 10))

    async def body() -> None:
        events = Events()
        element.status = events
        await watched.open()
        assert await events.next() == ("up", "it runs")
        first = watched.running
        assert isinstance(first, Program)
        first.over.set_result(1)
        assert (await events.next())[0] == "down"
        assert await events.next() == ("up", "it runs")
        assert runs == 10
        await watched.close()

    element = Cable("passt", None)
    watched = supervisor.Supervisor(element, launch, supervisor.ALWAYS)
    run(body)


def test_a_program_that_hears_no_signal_is_killed_with_its_children() -> None:
    async def body() -> None:
        script = (
            "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "os.fork(); os.write(1, b'pid %d\\n' % os.getpid()); time.sleep(1000)"
        )
        element = make("tmelink/process", *python(script))
        async with running(element):
            program = element._supervisor.running  # type: ignore[attr-defined]
            await eventually(lambda: program.said.count("pid") == 2)
            pids = [int(part.split()[1]) for part in program.said.split("; ")]
        await eventually(lambda: not any(alive(pid) for pid in pids))

    run(body)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's PR_SET_PDEATHSIG")
def test_a_program_ends_with_a_tmelink_that_was_killed(tmp_path: Path) -> None:
    async def body() -> None:
        conf = tmp_path / "t.conf"
        conf.write_text("p: tmelink/process sleep 1000\n")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tmelink", "run", str(conf), stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        async with asyncio.timeout(TIMEOUT):
            while b"runs as process" not in (line := await process.stderr.readline()):
                assert line
        pid = int(line.split()[-1])
        assert alive(pid)
        process.kill()
        await process.wait()
        await eventually(lambda: not alive(pid))

    run(body)


def test_what_a_program_writes_is_bounded() -> None:
    async def body() -> None:
        element = make(
            "tmelink/process", *python("print('x' * 2000 + 'end'); raise SystemExit(1)"), "restart", "never"
        )
        async with running(element) as (events, _):
            what, said = await events.next()
        assert what == "failed"
        assert said.replace("; ", "").endswith("xend")
        assert len(said) < 3000

    run(body)


# QEMU


def test_qemus_command_line() -> None:
    element = make(
        "tmelink/qemu", "qemu-system-m68k", "memory", "64MB", "kernel", "k", "append", "a=b c",
        "disk", "a,b.img", "disk", "/d.qcow2", "console", "/tmp/con,1", "display", "gtk",
        "extra", "-M 'q 800'", "extra", "-snapshot",
    )  # fmt: skip
    command = qemu_command.command(
        element.arguments,
        [Wiring(7, "stream", "e1000", bytes(5) + b"\1"), Wiring(8, "dgram", "onboard", bytes(5) + b"\2")],
        name="/a/vm0",
        qmp=5,
        console=None,
    )
    assert command == [
        "qemu-system-m68k", "-name", "guest=a/vm0", "-nodefaults", "-no-user-config", "-display", "gtk",
        "-m", "64M", "-accel", "tcg", "-vga", "std", "-kernel", "lab/k", "-append", "a=b c",
        "-drive", "file=lab/a,,b.img,format=raw,index=0,media=disk",
        "-drive", "file=/d.qcow2,format=qcow2,index=1,media=disk",
        "-chardev", "socket,id=qmp,fd=5", "-mon", "chardev=qmp,mode=control",
        "-chardev", "socket,id=console,path=/tmp/con,,1,server=on,wait=off", "-serial", "chardev:console",
        "-netdev", "stream,id=n0,addr.type=fd,addr.str=7", "-device", "e1000,netdev=n0,mac=00:00:00:00:00:01",
        "-netdev", "dgram,id=n1,local.type=fd,local.str=8", "-net", "nic,netdev=n1,macaddr=00:00:00:00:00:02",
        "-M", "q 800", "-snapshot",
    ]  # fmt: skip


FAKE_QEMU = """#!{python}
import json, os, re, socket, sys
line = " ".join(sys.argv)
print("fake qemu", flush=True)
if "-fail" in line:
    sys.exit("fake: cannot do this")
qmp = socket.socket(fileno=int(re.search(r"id=qmp,fd=(\\d+)", line)[1]))
nic = socket.socket(fileno=int(re.search(r"addr.str=(\\d+)", line)[1]))
def say(what): qmp.sendall(json.dumps(what).encode() + b"\\n")
say({{"QMP": {{}}}})
nic.sendall(b"\\0\\0\\0\\x3c" + bytes(60))
console = socket.socket(fileno=int(re.search(r"id=console,fd=(\\d+)", line)[1]))
console.sendall(b"login: ")
for text in qmp.makefile():
    command = json.loads(text)["execute"]
    if command == "system_reset":
        say({{"event": "RESET", "data": {{"reason": "guest-reset"}}}})
    if command == "system_powerdown":
        say({{"error": {{"desc": "no button"}}}})
        continue
    if command == "quit" and "-deaf" in line:
        continue
    say({{"return": {{}}}})
    if command == "quit":
        open(os.environ["QUIT_NOTE"], "w").write("well")
        sys.exit(0)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that speaks QMP as QEMU does."""
    path = tmp_path / "fake-qemu"
    path.write_text(FAKE_QEMU.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv("QUIT_NOTE", str(tmp_path / "note"))
    return path


def test_qemu_is_told_to_quit_and_what_it_cannot_is_said(fake: Path, tmp_path: Path) -> None:
    async def body() -> None:
        element = make("tmelink/qemu", str(fake))
        async with running(element, 1) as (events, (machine,)):
            assert (await events.next())[0] == "up"
            await machine.until(lambda: len(machine.got) == 1)
            assert isinstance(element, Qemu)
            path = await element.command(["console"])
            assert element.console is not None
            assert path == element.console.path
            assert path.startswith("/dev/pts/")
            written: list[bytes] = []
            element.console.watch(written.append)
            await eventually(lambda: b"".join(written) == b"login: ")
            assert await element.command(["reset"]) == ""
            with pytest.raises(ElementError, match="refuses system_powerdown: no button"):
                await element.command(["powerdown"])
            with pytest.raises(ElementError, match="knows the commands: console"):
                await element.command(["dance"])
        assert (tmp_path / "note").read_text() == "well"
        with pytest.raises(ElementError, match="does not run"):
            await element.command(["reset"])

    run(body)


def test_a_qemu_that_does_not_quit_is_killed(fake: Path) -> None:
    async def body() -> None:
        element = make("tmelink/qemu", str(fake), "extra", "-deaf")
        async with running(element, 1) as (events, _):
            pid = int((await events.next())[1].split()[-1])
        assert not alive(pid)

    run(body)


def test_a_qemu_that_cannot_start_is_an_error_in_its_own_words(fake: Path) -> None:
    async def body() -> None:
        with pytest.raises(ElementError, match="ended with status 1: fake qemu; fake: cannot do this"):
            async with running(make("tmelink/qemu", str(fake), "extra", "-fail"), 1):
                pass
        with pytest.raises(ElementError, match="lab/nothing is missing"):
            async with running(make("tmelink/qemu", str(fake), "kernel", "nothing"), 1):
                pass
        with pytest.raises(ElementError, match="qemu-system-nothing is not installed"):
            async with running(make("tmelink/qemu", "qemu-system-nothing")):
                pass

    run(body)


def test_a_nic_is_described_beside_the_machines_name() -> None:
    element = make("tmelink/qemu")
    assert isinstance(element, Qemu)
    element.port(words("model e1000 mac 52:54:00:00:00:01 format dgram"))
    assert element.port().index == 1
    with pytest.raises(PortError, match="group address"):
        element.port(words("mac 01:00:00:00:00:01"))
    with pytest.raises(PortError, match="unknown argument 'modle'"):
        element.port(words("modle e1000"))
    assert len(element.ports) == 2


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("tmelink/qemu", "append x", "is for a 'kernel'"),
        ("tmelink/qemu", "console here", "neither pty nor log nor a path"),
        ("tmelink/qemu", "memory lots", "not a valid memory"),
        ("tmelink/qemu", "restart sometimes", "not one of never, on-failure, always"),
        ("tmelink/process", "restart never", "the program to start"),
        ("tmelink/passt", "inet 10.0.0.5/24", "needs 'gateway'"),
        ("tmelink/passt", "gateway 10.0.0.1", "needs 'inet'"),
        ("tmelink/passt", "inet 10.0.0.5/24 gateway 10.0.1.1", "not in the machine's network"),
        ("tmelink/passt", "socket /tmp/s extra -d", "leave 'extra' out"),
    ],
)
def test_mistakes_say_what_to_write(module: str, text: str, said: str) -> None:
    (message,) = mistakes(module, text)
    assert said in message


# passt


def test_passts_command_line() -> None:
    plain = make("tmelink/passt", "extra", "-t 8080", "loopback")
    assert plain.arguments.command(5) == [
        "passt", "--foreground", "--stderr", "--quiet", "--fd", "5", "--mtu", "1500", "-t", "8080",
    ]  # fmt: skip
    shared = make("tmelink/passt", "inet", "10.0.0.5/24", "gateway", "10.0.0.1")
    assert shared.arguments.command(5)[8:] == [
        "--no-map-gw", "--ipv4-only", "--address", "10.0.0.5", "--netmask", "255.255.255.0",
        "--gateway", "10.0.0.1", "--no-dhcp",
    ]  # fmt: skip


def arp(sender: str, target: str) -> bytes:
    addresses = bytes(6) + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)
    return b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\x06" + b"\0\1\x08\0\6\4\0\1" + addresses


def ipv4(to: bytes, sender: str) -> bytes:
    return to + b"\2\0\0\0\0\1" + b"\x08\0" + bytes(12) + socket.inet_aton(sender) + bytes(20)


def test_only_one_machines_frames_reach_a_shared_passt(tmp_path: Path) -> None:
    mac = b"\2\0\0\0\0\x99"
    ours = "10.0.0.5"
    before = [ipv4(mac, ours), arp(ours, "10.0.0.6"), arp("10.0.0.6", "10.0.0.1"), arp(ours, "10.0.0.1")]
    after = [
        ipv4(b"\xff" * 6, ours),
        ipv4(mac, "10.0.0.6"),
        b"\0" * 12 + b"\x86\xdd" + bytes(40),
        ipv4(mac, ours),
    ]

    async def body() -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "s"))
            listening.listen()
            listening.setblocking(False)
            element = make(
                "tmelink/passt", "inet", "10.0.0.5/24", "gateway", "10.0.0.1", "socket", str(tmp_path / "s")
            )
            assert isinstance(element, Passt)
            loop = asyncio.get_running_loop()
            async with running(element, 1) as (_events, (machine,)):
                passt, _ = await loop.sock_accept(listening)
                with passt:
                    await eventually(lambda: element.endpoint.carrier is not None)
                    for frames in (before, after):
                        machine.ports[0].send(Burst(list(frames)))
                        expected = struct.pack("!I", len(frames[-1])) + frames[-1]
                        assert await loop.sock_recv(passt, 4096) == expected
                        reply = bytes(6) + mac + bytes(48)
                        await loop.sock_sendall(passt, struct.pack("!I", len(reply)) + reply)
                        await machine.until(lambda: len(machine.got) > 0)

    run(body)
