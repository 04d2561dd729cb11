"""`tmelink/process`: any emulator as a program, with its NICs wired to the element's connections."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File

from tmelink import values
from tmelink.arguments import ArgumentError, flag, keyword, rest
from tmelink.element import Element, Port
from tmelink.elements.emulators.cable import Endpoint
from tmelink.elements.emulators.console import COLUMNS, ROWS, EmulatorConsole
from tmelink.elements.emulators.stream_carrier import StreamCarrier, StreamServer
from tmelink.elements.emulators.supervisor import ALWAYS, NEVER, ON_FAILURE, ProcessDetails, Supervisor
from tmelink.elements.emulators.udp_carrier import UdpCarrier
from tmelink.errors import ElementError
from tmelink.frame import Burst, Counters
from tmelink.system import accounts, children, remains
from tmelink.system.accounts import Account
from tmelink.system.children import Child
from tmelink.transport.endpoints import Inet, UnixPath
from tmelink.transport.streams import FRAMINGS

_BLANK = re.compile(r"\{(port|remote|socket)(\d{0,3})\}")

LOOPBACK = "127.0.0.1"


class Process(Element):
    """Any emulator as a program, with a NIC for each connection; placeholders in COMMAND name the sockets.

    `{socket}` is the path of a unix socket. The emulator connects to it and speaks QEMU's stream format.
    `{port}` is the UDP port on 127.0.0.1 where the emulator receives bare frames. `{remote}` is the port
    to which it sends them. The second connection has `{socket1}`, `{port1}` and `{remote1}`, and so on.
    Put words with blanks in quotes.

    With `stdio`, there is one connection, on the program's standard input and output. So `vde_plug`, `ssh
    HOST vde_plug` and `ssh HOST tmelink plug LAB ELEMENT` become cables.

    At the end, tmelink sends SIGTERM, and kills the program if it does not end. The log shows its output.
    `restart` decides whether it starts again, after pauses that grow from 1 s to a minute.
    """

    example = """\
sw0: tmelink/switch
emulator at sw0: tmelink/process restart always my-emulator "--nic=udp:{port}:{remote}"
"""

    @dataclass(frozen=True)
    class Arguments:
        """The program."""

        restart: str = keyword(
            "never|on-failure|always",
            values.choice(NEVER, ON_FAILURE, ALWAYS),
            default=ON_FAILURE,
            help="when to start it again after it ended (on-failure)",
        )
        directory: str | None = keyword(
            "PATH",
            values.text,
            default=None,
            help="where it runs; by default tmelink's current folder, or a private folder for another user",
        )
        user: str | None = keyword(
            "NAME",
            values.text,
            default=None,
            help="the user it runs as; if root runs tmelink, by default tmelink, or else nobody",
        )
        stdio: bool = flag(help="frames are on the program's standard input and output")
        terminal: bool = flag(
            help="the program has a terminal, which 'tmelink web --write' shows; "
            "otherwise its output is logged"
        )
        framing: str = keyword(
            "be16|le16|be32",
            values.choice(*FRAMINGS),
            default="be16",
            help="with stdio: how the length before each frame is written (be16, as vde_plug does)",
        )
        command: tuple[str, ...] = rest("COMMAND", help="the program and its arguments")

        def __post_init__(self) -> None:
            if not self.command:
                raise ArgumentError("command", "missing argument: the program to start")
            if self.stdio and self.blanks():
                raise ArgumentError("stdio", "with 'stdio' the command has no placeholders for sockets")
            if self.stdio and self.terminal:
                raise ArgumentError("terminal", "with 'stdio' the program's standard streams carry frames")
            if not self.stdio and self.framing != "be16":
                raise ArgumentError("framing", "'framing' is for 'stdio'")

        def blanks(self) -> dict[int, set[str]]:
            """The placeholders of the command, for each connection."""
            found: dict[int, set[str]] = {}
            for word in self.command:
                for kind, number in _BLANK.findall(word):
                    found.setdefault(int(number or 0), set()).add(kind)
            return found

    arguments: Arguments
    program = True
    capacity = None
    rewires = False

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self._endpoints: list[Endpoint] = []
        self._ends: list[UdpCarrier | StreamServer] = []
        self._filled: dict[str, str] = {}
        self._directory: File | None = None
        self._account: Account | None = None
        self._supervisor = Supervisor(self, self._launch, arguments.restart)
        self.console = EmulatorConsole() if arguments.terminal else None

    def port(self, words: Sequence[object] = ()) -> Port:
        """A NIC of the emulator."""
        port = super().port(words)  # type: ignore[arg-type]
        endpoint = Endpoint()
        endpoint.port = port
        self._endpoints.append(endpoint)
        return port

    def make_port(self) -> Port:
        """A port that takes super-frames: the endpoint cuts them."""
        return Port(self, offload=True)

    def counters(self) -> dict[str, Counters]:
        """Frames that crossed each NIC's socket."""
        return {
            f"nic {number} {direction}": counters
            for number, endpoint in enumerate(self._endpoints)
            for direction, counters in (("sent", endpoint.sent), ("received", endpoint.received))
        }

    def details(self) -> ProcessDetails:
        """The process, and how often it was started again."""
        return self._supervisor.details()

    async def open(self) -> None:
        """Make the sockets and start the program; raises `ElementError`."""
        self._account = accounts.for_programs(self.arguments.user)
        if self._account is not None and self._account.uid != 0:
            self._directory = remains.temporary(self._account)
        if self.arguments.stdio:
            if len(self._endpoints) != 1:
                raise ElementError("with 'stdio' a program has one connection")
            await self._supervisor.open()
            return
        blanks = self.arguments.blanks()
        for number, endpoint in enumerate(self._endpoints):
            await self._wire(str(number or ""), blanks.pop(number, set()), endpoint)
        for number in blanks:
            raise ElementError(f"the command has placeholders for connection {number}, which does not exist")
        await self._supervisor.open()

    async def _wire(self, number: str, blanks: set[str], endpoint: Endpoint) -> None:
        if blanks == {"socket"}:
            if self._directory is None:
                self._directory = remains.temporary()
            path = str(self._directory / f"nic{number}")
            end: UdpCarrier | StreamServer = StreamServer(endpoint, self.log, self.changed, UnixPath(path))
            self._filled[f"socket{number}"] = path
        elif "port" in blanks and "socket" not in blanks:
            theirs, ours = _free_ports()
            end = UdpCarrier(
                endpoint,
                self.log,
                lambda peer: self.changed(True, peer),
                local=Inet(LOOPBACK, ours),
                remote=Inet(LOOPBACK, theirs),
                floats=False,
            )
            self._filled |= {f"port{number}": str(theirs), f"remote{number}": str(ours)}
        else:
            raise ElementError(
                f"the command does not use connection {number or 0}: write '{{socket{number}}}', or "
                f"'{{port{number}}}' and '{{remote{number}}}', in quotes"
            )
        await end.open()
        self._ends.append(end)
        if self._account is not None and "socket" in blanks:
            accounts.share(path, self._account)

    async def close(self) -> None:
        """End the program and close the sockets."""
        await self._supervisor.close()
        if self.console is not None:
            self.console.close()
        if self._directory is not None and self._account is not None:
            await children.empty(self._directory, self._account)
        for end in self._ends:
            await end.close()
        self._ends.clear()
        if self._directory is not None:
            with contextlib.suppress(OSError):  # what a program has left there may not be ours to remove
                remains.remove(self._directory)
            self._directory = None

    def receive(self, port: Port, burst: Burst) -> None:
        """Frames for the emulator."""
        self._endpoints[port.index].take(port, burst)

    def hold(self, port: Port, held: bool) -> None:
        """Let the emulator wait, or continue."""
        self._endpoints[port.index].hold(held)

    async def _launch(self) -> _Program:
        words = filled(self.arguments.command, self._filled)
        if not self.arguments.stdio:
            child = await self._start(words) if self.console is None else await self._at(self.console, words)
            self.log.info("%s runs as process %d", words[0], child.pid)
            return _Program(child)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = await self._start(words, theirs)
            except BaseException:
                ours.close()
                raise
        self._supervisor.came_up(f"{words[0]} runs as process {child.pid}")
        return _Program(child, StreamCarrier(self._endpoints[0], ours, FRAMINGS[self.arguments.framing]))

    async def _at(self, console: EmulatorConsole, words: list[str]) -> Child:
        """Start the program at a terminal, the other side of which is the console."""
        ours, theirs = os.openpty()
        try:
            termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
            child = await self._start(words, terminal=theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        console.attach(ours)
        return child

    async def _start(
        self, words: list[str], stdio: socket.socket | None = None, terminal: int | None = None
    ) -> Child:
        """Start the program, on `stdio` as its standard input and output, or at a terminal."""
        own = self._account is not None and self._account.uid != 0
        return await children.start(
            words,
            lambda line: self.log.info("%s", line),
            stdio=None if stdio is None else stdio.fileno(),
            terminal=terminal,
            cwd=self.arguments.directory or (str(self._directory) if own else None),
            user=self._account,
        )


class _Program:
    """The program from its start to its end, and the frames on its standard input and output."""

    def __init__(self, child: Child, stdio: StreamCarrier | None = None) -> None:
        self._child = child
        self._stdio = stdio

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def said(self) -> str:
        return "; ".join(self._child.tail)

    async def wait(self) -> int:
        status = await self._child.wait()
        self._close()
        # What of its own children still runs goes with it.
        await self._child.stop(kill=True)
        return status

    async def stop(self) -> None:
        self._close()
        await self._child.stop()

    def _close(self) -> None:
        if self._stdio is not None:
            self._stdio.close()


def filled(command: Sequence[str], blanks: Mapping[str, str]) -> list[str]:
    """The command with its placeholders filled in; other braces stay as they are."""

    def fill(match: re.Match[str]) -> str:
        kind, number = match.groups()
        return blanks[f"{kind}{int(number) if number and int(number) else ''}"]

    return [_BLANK.sub(fill, word) for word in command]


def _free_ports() -> tuple[int, int]:
    """Two UDP ports of the loopback interface that are free at this moment."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        one.bind((LOOPBACK, 0))
        two.bind((LOOPBACK, 0))
        return one.getsockname()[1], two.getsockname()[1]
