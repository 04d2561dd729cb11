"""`tmelink/qemu`: a machine that QEMU emulates, its NICs wired to the element's connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tmelink import arguments as declaration
from tmelink.element import Claim, Element, Port
from tmelink.elements.emulators import qemu_command
from tmelink.elements.emulators.cable import Endpoint
from tmelink.elements.emulators.console import EmulatorConsole
from tmelink.elements.emulators.qemu_command import LOG, PTY, Handed, QemuNic, Wiring
from tmelink.elements.emulators.stream_carrier import StreamCarrier
from tmelink.elements.emulators.supervisor import ProcessDetails, Supervisor
from tmelink.elements.emulators.unix_carrier import bound
from tmelink.errors import ElementError, PortError
from tmelink.ethernet import derived_mac
from tmelink.frame import Burst, Counters
from tmelink.source import Mistake, Place, Report, Source, Word
from tmelink.system import accounts, children, remains
from tmelink.system.accounts import Account
from tmelink.system.children import Child
from tmelink.transport.qmp import Qmp
from tmelink.transport.unix_datagrams import UnixDatagrams

START_SECONDS = 30.0
"""How long QEMU may take until it answers; less than a second where nothing else runs."""

QUIT_SECONDS = 0.5
"""How long QEMU may take to write back its disks and end, before it is killed: all elements together have
1.5 s for closing."""

EVENTS = {"RESET", "POWERDOWN", "SHUTDOWN", "GUEST_PANICKED", "STOP", "RESUME"}
"""The events of QEMU that are logged."""

COMMANDS = "console, powerdown, reset"


class Qemu(Element):
    """A machine emulated by QEMU (7.2 or newer), with a NIC for each connection.

    Write a NIC's properties on the machine's side of `at`, with `model MODEL`, `mac MAC` and `format
    stream|dgram`: `vm0 model e1000 mac "52:54:00:00:00:01" at sw0`. Frames cross a private unix socket, which
    survives a reboot of the guest. `restart` decides whether QEMU starts again, after pauses that grow from
    1 s to a minute. A relative file name starts from the machine file's folder. At the end, tmelink asks QEMU
    to quit, and kills it if it does not.

    `command VM console` prints where the serial console is. `command VM powerdown` presses the power button,
    and `command VM reset` the reset button.
    """

    example = """\
sw0: tmelink/switch
vm0 at sw0: tmelink/qemu memory 256 disk vm0.qcow2 console pty
vm0 model e1000 mac "52:54:00:77:00:02" at sw0
"""

    commands = ("console", "powerdown", "reset")
    is_station = True
    Arguments = qemu_command.Arguments
    arguments: qemu_command.Arguments
    program = True
    capacity = None
    rewires = False

    def __init__(self, name: str, arguments: qemu_command.Arguments) -> None:
        super().__init__(name, arguments)
        self._nics: list[tuple[QemuNic, Endpoint]] = []
        self._account: Account | None = None
        self._folder: Path | None = None
        self._supervisor = Supervisor(self, self._launch, arguments.restart)
        self.console: EmulatorConsole | None = None
        if arguments.console == PTY:
            self.console = EmulatorConsole(terminal=True)
        elif arguments.console == LOG:
            self.console = EmulatorConsole(line=lambda text: self.log.info("console: %s", text))

    @classmethod
    def parse(cls, words: Sequence[Word], place: Place, report: Report) -> Any:
        """The arguments, with file paths made absolute from the machine file's folder."""
        arguments = super().parse(words, place, report)
        if arguments is None:
            return None
        beside = Path(place.source.name).parent
        files = {
            name: str(beside / file)
            for name in ("kernel", "initrd")
            if (file := getattr(arguments, name)) is not None
        }
        return replace(arguments, **files, disk=tuple(str(beside / disk) for disk in arguments.disk))

    def port(self, words: Sequence[Word] = ()) -> Port:
        """A NIC, which `words` describe; raises `PortError`."""
        mistakes: list[Mistake] = []
        place = words[0].place if words else Place(Source("", ""), 1, 1)
        nic = declaration.parse(QemuNic, words, place, mistakes.append)
        if nic is None:
            raise PortError("; ".join(mistake.message for mistake in mistakes))
        endpoint = Endpoint()
        self._nics.append((nic, endpoint))
        port = endpoint.port = super().port()
        return port

    def make_port(self) -> Port:
        """A port that takes super-frames: the endpoint cuts them."""
        return Port(self, offload=True)

    def claims(self) -> list[Claim]:
        """The console's socket."""
        console = self.arguments.console
        return [] if console in (PTY, LOG) else [Claim("socket", (console,))]

    def counters(self) -> dict[str, Counters]:
        """Frames that crossed each NIC's socket."""
        return {
            f"nic {number} {direction}": counters
            for number, (_nic, endpoint) in enumerate(self._nics)
            for direction, counters in (("sent", endpoint.sent), ("received", endpoint.received))
        }

    def details(self) -> ProcessDetails:
        """The process, and how often it was started again."""
        return self._supervisor.details()

    async def open(self) -> None:
        """Start QEMU; raises `ElementError` with QEMU's message if it does not run."""
        self._account = accounts.for_programs(self.arguments.user)
        if self._account is not None and self._account.uid != 0:
            self._folder = remains.temporary(self._account)
            with contextlib.suppress(OSError):
                if self.arguments.accel == "kvm":
                    group = os.stat("/dev/kvm").st_gid
                    self._account = replace(self._account, groups=(*self._account.groups, group))
        if self.console is not None:
            self.console.open()
        await self._supervisor.open()

    async def close(self) -> None:
        """End QEMU."""
        await self._supervisor.close()
        if self.console is not None:
            self.console.close()
        with contextlib.suppress(OSError):
            if self._listens:
                remains.remove(Path(self.arguments.console))
            if self._folder is not None and self._account is not None:
                await children.empty(self._folder, self._account)
                remains.remove(self._folder)
        self._folder = None

    @property
    def _listens(self) -> bool:
        """Whether the console's socket is made here, for a QEMU of a user that may not make it there."""
        return self._folder is not None and self.arguments.console not in (PTY, LOG)

    def receive(self, port: Port, burst: Burst) -> None:
        """Frames for the guest."""
        self._nics[port.index][1].take(port, burst)

    def hold(self, port: Port, held: bool) -> None:
        """Let the guest wait, or continue."""
        self._nics[port.index][1].hold(held)

    async def command(self, words: Sequence[str]) -> str:
        """`console`, `powerdown` or `reset`."""
        running = self._supervisor.running
        if list(words) not in (["console"], ["powerdown"], ["reset"]):
            raise ElementError(f"{self.name} knows the commands: {COMMANDS}")
        if not isinstance(running, _Guest):
            raise ElementError(f"{self.name} does not run")
        if words[0] == "console":
            return self._console()
        await running.qmp.execute(f"system_{words[0]}")
        return ""

    def _console(self) -> str:
        """Where the serial console is, for a person to use."""
        if self.arguments.console == LOG:
            return "the console is in this log"
        return self.arguments.console if self.console is None else self.console.path or ""

    async def _launch(self) -> _Guest:
        """Start QEMU with fresh sockets, and wait until it answers."""
        given = self.arguments
        for file in filter(None, (given.kernel, given.initrd, *given.disk)):
            if not os.access(file, os.R_OK):
                raise ElementError(f"{file} is missing or unreadable")
        opened: list[socket.socket] = []
        try:
            with contextlib.ExitStack() as stack:
                # QEMU's ends are closed here once it has them, so that its end is noticed.
                child = await self._start(stack, opened)
            control = opened[0]
            if self.console is not None:
                self.console.attach(opened[1].detach())
            guest = _Guest(self, child)
            try:
                await guest.greet(control)
            except BaseException:
                await guest.end(kill=True)
                raise
        except BaseException:
            for sock in opened:
                sock.close()
            raise
        wires = opened[len(opened) - len(self._nics) :]
        guest.plug([(endpoint, ours) for (_nic, endpoint), ours in zip(self._nics, wires, strict=True)])
        self._supervisor.came_up(f"QEMU runs as process {child.pid}")
        return guest

    async def _start(self, stack: contextlib.ExitStack, opened: list[socket.socket]) -> Child:
        """Start QEMU; our ends of its sockets go to `opened`: QMP's, a logged console's, the NICs'."""
        given = self.arguments
        fds: list[int] = []

        def pair(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
            ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
            opened.append(ours)
            fds.append(stack.enter_context(theirs).fileno())
            return fds[-1]

        qmp = pair()
        console = None if self.console is None else pair()
        wirings = []
        for number, (nic, _endpoint) in enumerate(self._nics):
            fd = pair(socket.SOCK_STREAM if nic.format == "stream" else socket.SOCK_DGRAM)
            mac = nic.mac or derived_mac(f"{socket.gethostname()} {self.name} {number}")
            wirings.append(Wiring(fd, nic.format, nic.model or given.model, mac))
        handed = qemu_command.NOTHING if self._folder is None else self._handed(stack)
        for descriptors in (handed.plain.values(), *handed.disks.values()):
            fds += descriptors
        if handed.console is not None:
            fds.append(handed.console)
        words = qemu_command.command(given, wirings, name=self.name, qmp=qmp, console=console, handed=handed)
        return await children.start(
            words,
            lambda line: self.log.info("QEMU: %s", line),
            pass_fds=fds,
            cwd=None if self._folder is None else str(self._folder),
            user=self._account,
        )

    def _handed(self, stack: contextlib.ExitStack) -> Handed:
        """The files of the machine, opened by whoever runs tmelink for the user that QEMU runs as."""
        given = self.arguments

        def opened(file: str, flags: int) -> int:
            fd = os.open(file, flags | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            return fd

        plain = {file: opened(file, os.O_RDONLY) for file in (given.kernel, given.initrd) if file is not None}
        for file, fd in plain.items():
            if not os.stat(file).st_mode & stat.S_IROTH:
                # By its number it is opened anew, with the rights of the file: so a copy that has them.
                copy = os.memfd_create("tmelink")
                stack.callback(os.close, copy)
                while os.sendfile(copy, fd, None, 1 << 30):
                    pass
                plain[file] = copy
        disks = {}
        for disk in given.disk:
            disks[disk] = [opened(disk, os.O_RDONLY)]
            if os.access(disk, os.W_OK):
                disks[disk].append(opened(disk, os.O_RDWR))
        listening = None
        if self._listens:
            sock = bound(given.console, socket.SOCK_STREAM)
            sock.listen()
            listening = stack.enter_context(sock).fileno()
        return Handed(plain, disks, listening)


class _Guest:
    """One QEMU from its start to its end."""

    def __init__(self, element: Qemu, child: Child) -> None:
        self.qmp = Qmp(self._log_event)
        self._element = element
        self._child = child
        self._carriers: list[StreamCarrier | UnixDatagrams] = []
        self._endpoints: list[Endpoint] = []

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def said(self) -> str:
        return "; ".join(self._child.tail)

    async def greet(self, control: socket.socket) -> None:
        """Wait until QEMU answers; raises `ElementError` with its last output where it ends instead."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.qmp.open(control)
        except TimeoutError:
            raise ElementError(f"QEMU does not answer within {START_SECONDS:g} s") from None
        except ElementError:
            status = await self._child.wait()
            raise ElementError(f"QEMU ended with status {status}: {self.said}") from None

    def plug(self, wires: list[tuple[Endpoint, socket.socket]]) -> None:
        """Wire the NICs to their endpoints."""
        for endpoint, sock in wires:
            self._endpoints.append(endpoint)
            if sock.type == socket.SOCK_STREAM:
                self._carriers.append(StreamCarrier(endpoint, sock))
            else:
                carrier = UnixDatagrams(
                    sock, endpoint.deliver, endpoint.hold_machine, endpoint.sent, endpoint.received
                )
                endpoint.carrier = carrier
                self._carriers.append(carrier)

    async def wait(self) -> int:
        status = await self._child.wait()
        await self.end(kill=False)
        return status

    async def stop(self) -> None:
        """Ask QEMU to quit, which writes back its disks; kill it if it does not."""
        try:
            with contextlib.suppress(ElementError, TimeoutError):
                async with asyncio.timeout(QUIT_SECONDS):
                    await self.qmp.execute("quit")
                    await self._child.wait()
        finally:
            await self.end(kill=True)

    async def end(self, *, kill: bool) -> None:
        """Release everything."""
        for endpoint in self._endpoints:
            endpoint.carrier = None
        for carrier in self._carriers:
            carrier.close()
        if kill:
            await self._child.stop(kill=True)
        await self.qmp.close()

    def _log_event(self, event: str, data: dict[str, Any]) -> None:
        if event in EVENTS:
            reason = data.get("reason")
            self._element.log.info(
                "guest: %s", event.lower().replace("_", " ") + (f" ({reason})" if reason else "")
            )
