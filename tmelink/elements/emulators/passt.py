"""`tmelink/passt`: Internet access for one machine through passt(1), without privilege or setup."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from tmelink import values
from tmelink.arguments import ArgumentError, flag, keyword, keywords
from tmelink.element import Port
from tmelink.elements.emulators.cable import Cable, Endpoint
from tmelink.elements.emulators.qemu_command import extra
from tmelink.elements.emulators.stream_carrier import StreamCarrier, StreamClient
from tmelink.elements.emulators.supervisor import ALWAYS, ProcessDetails, Supervisor
from tmelink.frame import Burst, Frame
from tmelink.offload import segmented
from tmelink.system import children
from tmelink.system.children import Child
from tmelink.transport import endpoints
from tmelink.transport.endpoints import UnixPath

MTU = 1500
"""The MTU that passt gives the machine by DHCP: its own default, 65520, fits no other Ethernet."""

MAX_SAID = 100
"""Different lines of passt's that are remembered so as not to be written again."""

_NO_ROUTE = "No external routable interface"
_NOISE = ("Failed to send", "Don't run as root")
"""What passt says of itself whenever it starts without a system log, and as root."""

_ARP = b"\x08\x06"
_IPV4 = b"\x08\x00"


class Passt(Cable):
    """Internet access for one machine: starts passt, or uses a running one; needs no privilege.

    passt turns the machine's connections into ordinary sockets of this computer. It serves exactly one
    machine. Connect it to that machine's NIC, and the machine gets its address by DHCP. Or connect it to a
    switch, with `inet` for the machine's address and `gateway` for passt's own. Then only that machine's
    frames reach it, and it answers neither DHCP nor ARP for others. Each machine needs its own passt. If root
    starts it, it runs as the user nobody.
    """

    example = """\
vm0: tmelink/qemu kernel vmlinuz initrd initrd.gz append "console=ttyS0"
outside at vm0: tmelink/passt
"""

    @dataclass(frozen=True)
    class Arguments:
        """The machine that is served, and how passt is reached."""

        inet: IPv4Interface | None = keyword(
            "ADDR/LEN",
            values.ipv4_interface,
            default=None,
            help="the machine's address; by default passt gives it this computer's",
        )
        gateway: IPv4Address | None = keyword(
            "ADDR", values.ipv4, default=None, help="passt's own address, which is the machine's router"
        )
        mtu: int = keyword("BYTES", values.mtu, default=MTU, help="largest packet, announced by DHCP (1500)")
        loopback: bool = flag(
            help="let the machine reach this computer's loopback services at the gateway's address"
        )
        socket: UnixPath | None = keyword(
            "PATH", endpoints.path, default=None, help="use a passt that already runs at this socket"
        )
        binary: str = keyword("PROGRAM", values.text, default="passt", help="the program (passt)")
        extra: tuple[tuple[str, ...], ...] = keywords(
            "WORDS",
            extra,
            help="further arguments for passt, in quotes: `-t 8080`; may be given several times",
        )

        def __post_init__(self) -> None:
            if (self.inet is None) is not (self.gateway is None):
                missing, given = ("gateway", "inet") if self.gateway is None else ("inet", "gateway")
                raise ArgumentError(given, f"'{given}' needs '{missing}' beside it")
            if self.inet is not None and self.gateway not in self.inet.network:
                raise ArgumentError("gateway", f"{self.gateway} is not in the machine's network {self.inet}")
            if self.socket is not None and self.extra:
                raise ArgumentError("extra", "a passt that runs already has its arguments: leave 'extra' out")

        def command(self, fd: int) -> list[str]:
            """The words that start passt."""
            words = [
                self.binary,
                "--foreground",
                "--stderr",
                "--quiet",
                "--fd",
                str(fd),
                "--mtu",
                str(self.mtu),
            ]
            if not self.loopback:
                words.append("--no-map-gw")
            if self.inet is not None:
                words += ["--ipv4-only", "--address", str(self.inet.ip), "--netmask", str(self.inet.netmask)]
                words += ["--gateway", str(self.gateway), "--no-dhcp"]
            return words + [word for group in self.extra for word in group]

    arguments: Arguments
    is_station = True
    program = True

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        if arguments.inet is not None and arguments.gateway is not None:
            self.endpoint = _Guarded(arguments.inet.ip, arguments.gateway)
        self._client: StreamClient | None = None
        self._supervisor = Supervisor(self, self._launch, ALWAYS)
        self._said: set[str] = set()

    def details(self) -> ProcessDetails:
        """The process, and how often it was started again."""
        return self._supervisor.details()

    def capabilities(self) -> frozenset[str]:
        """To connect, repeatedly, to what another user has made."""
        more = frozenset(("CAP_DAC_OVERRIDE",)) if self.arguments.socket is not None else frozenset()
        return super().capabilities() | more

    async def open(self) -> None:
        """Start passt, or begin to connect; raises `ElementError`."""
        if self.arguments.socket is not None:
            self._client = StreamClient(self.endpoint, self.log, self.changed, self.arguments.socket)
            await self._client.open()
            return
        if os.geteuid() == 0:
            self.log.info("passt changes to the user nobody, since root started it")
        await self._supervisor.open()

    async def close(self) -> None:
        """End passt, or the connection with it."""
        if self._client is not None:
            await self._client.close()
        await self._supervisor.close()

    async def _launch(self) -> _Running:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = await children.start(
                    self.arguments.command(theirs.fileno()),
                    self._log_line,
                    pass_fds=[theirs.fileno()],
                )
            except BaseException:
                ours.close()
                raise
        self._supervisor.came_up(f"passt runs as process {child.pid}")
        return _Running(child, StreamCarrier(self.endpoint, ours))

    def _log_line(self, line: str) -> None:
        """A line of passt's: what it says at every start is written once."""
        if line not in self._said and not line.startswith(_NOISE):
            if len(self._said) < MAX_SAID:
                self._said.add(line)
            self.log.info("%s", line)


class _Running:
    """One passt from its start to its end."""

    def __init__(self, child: Child, carrier: StreamCarrier) -> None:
        self._child = child
        self._carrier = carrier

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def said(self) -> str:
        lines = [line for line in self._child.tail if not line.startswith(_NOISE)]
        if any(_NO_ROUTE in line for line in lines):
            return (
                f"{_NO_ROUTE}: passt takes its addresses from this computer's default route, "
                "and there is none; passt starts once there is one"
            )
        return "; ".join(lines)

    async def wait(self) -> int:
        status = await self._child.wait()
        self._carrier.close()
        return status

    async def stop(self) -> None:
        # It ends with its socket, also where it has become another user that no signal of ours reaches.
        self._carrier.close()
        await self._child.stop()


class _Guarded(Endpoint):
    """Passes only one machine's frames to passt, which would otherwise answer for every address.

    What passt's MAC address is, its own frames tell: before the first of them only ARP goes through.
    """

    def __init__(self, machine: IPv4Address, gateway: IPv4Address) -> None:
        super().__init__()
        self._machine = machine.packed
        self._gateway = gateway.packed
        self._mac: bytes | None = None

    def take(self, port: Port, burst: Burst) -> None:
        burst = segmented(burst, port.sent)
        frames = [frame for frame in burst.frames if self._is_for_passt(frame)]
        if frames:
            super().take(port, Burst(frames))

    def deliver(self, items: Sequence[Frame]) -> None:  # type: ignore[override]
        if self._mac is None and items and len(items[0]) >= 12:
            self._mac = bytes(items[0][6:12])
        super().deliver(items)

    def _is_for_passt(self, frame: Frame) -> bool:
        kind = frame[12:14]
        if kind == _ARP:
            return frame[28:32] == self._machine and frame[38:42] == self._gateway
        return kind == _IPV4 and frame[26:30] == self._machine and frame[:6] == self._mac
