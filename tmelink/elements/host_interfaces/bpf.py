"""`tme/host/bsd/bpf`: a raw packet tap on an interface of the host, named after the BSD device.

Gives the machine every frame of the interface, those that the host itself sends too, and sends the
machine's. Knows which frames are its own come back; the socket is `system.packets`'.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tmelink import tasks, values
from tmelink.arguments import keyword
from tmelink.element import Element, Port
from tmelink.errors import ElementError
from tmelink.frame import MIN_FRAME, Burst, Counters, Frame, Gso
from tmelink.offload.virtio import HEADER, decode_header, encode_header
from tmelink.system import interfaces, namespaces, packets

READ_BUDGET = 64
"""The most frames that are read before other elements run."""

MAX_FRAME = 65_664
"""Bytes that hold any frame: a 64 KiB packet and its headers."""

APPEAR_SECONDS = 10.0
"""How long `open` waits for the interface: another element of the same file may be creating it."""

ECHOES = 1024
"""Sent frames that are remembered: a little more than the queue of a TAP holds (txqueuelen 1000)."""

ECHO_KEY = 64
"""Bytes of a frame that identify it: addresses, identification, sequence number and checksum."""

_TAG = 4
_MACS = 12


class Bpf(Element):
    """A packet tap on a host interface."""

    example = """\
sw0: tmelink/switch
lan at sw0: tme/host/bsd/bpf interface eth0 filter "not tcp port 22"
"""

    commands = ("show",)
    platforms = ("linux",)

    @dataclass(frozen=True)
    class Arguments:
        """Where to listen, and for which frames."""

        interface: str | None = keyword(
            "NAME",
            values.interface_name,
            default=None,
            help="the host's interface; by default the first that is up, except loopback",
        )
        delay: int = keyword(
            "MICROSECONDS",
            values.integer(0, 1_000_000, "delay"),
            default=0,
            help="collect frames for this time, and then hand them on together",
        )
        filter: str = keyword(
            "EXPRESSION",
            values.text,
            default="none",
            help="only take frames that match this pcap-filter(7) expression, in quotes",
        )

    arguments: Arguments

    def capabilities(self) -> frozenset[str]:
        """For its packet socket."""
        return frozenset(("CAP_NET_RAW",))

    def __init__(self, name: str, arguments: Any) -> None:
        super().__init__(name, arguments)
        self.interface: str | None = arguments.interface
        self._loop: asyncio.AbstractEventLoop | None = None
        self._packets: socket.socket | None = None
        self._links: socket.socket | None = None
        self._index: int | None = None
        self._echoes: Echoes | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._follower: asyncio.Task[None] | None = None
        self._held = False
        self._lost = 0
        self._header = bytearray(HEADER)
        # There is room before each frame for the VLAN tag that the kernel may have removed.
        memory = memoryview(bytearray())
        self._buffers: list[tuple[memoryview, memoryview]] = [(memory, memory)]

    def make_port(self) -> Port:
        """A port that takes super-frames: the kernel cuts them where the interface needs it."""
        return Port(self, offload=True)

    async def open(self) -> None:
        """Wait for the interface, then listen on it; raises `ElementError`."""
        namespaces.require_linux(f"{self.name}, a packet tap,")
        self._packets = packets.open_packets()
        self._links = packets.watch_links()
        self._loop = asyncio.get_running_loop()
        interface = self.interface or await namespaces.run(interfaces.first_usable)
        if interface is None:
            raise ElementError("no interface is up; say which with 'interface NAME'")
        self.interface = interface
        await self._appearance(interface)
        expression = self.arguments.filter
        if expression != "none":
            program = await packets.compile_filter(expression, interface)
            packets.attach_filter(self._packets, program)
        memory = memoryview(bytearray(READ_BUDGET * MAX_FRAME))
        starts = range(0, len(memory), MAX_FRAME)
        self._buffers = [(memory[at : at + MAX_FRAME], memory[at + _TAG : at + MAX_FRAME]) for at in starts]
        await self._bind(interface)
        self._follower = self._loop.create_task(self._follow(interface))
        self.log.info("listening on %s", interface)

    async def close(self) -> None:
        """Stop listening; the interface leaves promiscuous mode with the socket."""
        await tasks.end(self._follower)
        if self._waiting is not None:
            self._waiting.cancel()
        listening, self._packets = self._packets, None
        if listening is not None:
            if self._loop is not None:
                self._loop.remove_reader(listening)
            self._lost += packets.lost(listening)
            listening.close()
        if self._links is not None:
            self._links.close()

    async def _appearance(self, interface: str) -> None:
        try:
            async with asyncio.timeout(APPEAR_SECONDS):
                while packets.index_of(interface) is None:
                    await self._link_change()
        except TimeoutError:
            raise ElementError(
                f"there is no interface {interface}, and none appeared within {APPEAR_SECONDS:.0f} s"
            ) from None

    async def _link_change(self) -> None:
        assert self._links is not None
        try:
            await asyncio.get_running_loop().sock_recv(self._links, 65536)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more changes than the kernel kept: still a change
                raise

    async def _bind(self, interface: str) -> None:
        found = await namespaces.run(lambda: interfaces.show(interface))
        if found is None:
            raise ElementError(f"the interface {interface} has disappeared again")
        assert self._packets is not None
        packets.bind(self._packets, interface)
        # Only a TAP may be connected to itself, and return the frames that it gets.
        self._echoes = Echoes() if found.tuntap == "tap" else None
        self._index = found.index
        self._watch()

    async def _follow(self, interface: str) -> None:
        """Listen again when the interface reappears, as a TAP does when its program restarts."""
        while True:
            await self._link_change()
            index = packets.index_of(interface)
            assert self._packets is not None
            if index == self._index and (index is None or packets.is_bound(self._packets)):
                continue
            if index is None:
                self._index = None
                self.changed(False, f"the interface {interface} is gone")
                continue
            try:
                await self._bind(interface)
            except ElementError:
                continue  # gone again already, or about to change once more
            self.changed(True, f"listening on {interface} again")

    def hold(self, port: Port, held: bool) -> None:
        """Stop reading and let frames wait in the kernel's buffer, or continue."""
        self._held = held
        self._watch()

    async def command(self, words: Sequence[str]) -> str:
        """`show`: the interface as the kernel sees it."""
        interface = self.interface
        if list(words) != ["show"]:
            raise ElementError(f"{self.name} knows the command: show")
        if self._packets is None or interface is None:
            raise ElementError(f"{self.name} is not open")
        found = await namespaces.run(lambda: interfaces.show(interface))
        return str(found) if found is not None else f"{interface} is gone"

    def counters(self) -> dict[str, Counters]:
        """Count frames that the kernel dropped because they came faster than they were read."""
        if self._packets is not None:
            self._lost += packets.lost(self._packets)
        kernel = Counters()
        if self._lost:
            kernel.drops["receive buffer full"] = self._lost
        return {"kernel": kernel}

    def _watch(self) -> None:
        if self._packets is None or self._loop is None:
            return
        if self._held or self._waiting is not None:
            self._loop.remove_reader(self._packets)
        else:
            self._loop.add_reader(self._packets, self._readable)

    def _readable(self) -> None:
        if self.arguments.delay and self._loop is not None:
            self._waiting = self._loop.call_later(self.arguments.delay / 1e6, self._delayed)
            self._watch()
        else:
            self._read()

    def _delayed(self) -> None:
        self._waiting = None
        if not self._held:
            # All frames that came within the delay are due, however many bursts they need.
            while self._read():
                pass
        self._watch()

    def _read(self) -> bool:
        """Hand on the frames that have come, up to the budget, as one burst; True if there may be more."""
        listening, header, echoes = self._packets, self._header, self._echoes
        if listening is None or self._held:
            return False
        frames: list[Frame] = []
        gso: list[Gso | None] = []
        labelled = more = False
        try:
            for whole, buffer in self._buffers:
                length, control, _, sender = listening.recvmsg_into((header, buffer), packets.CONTROL)
                length -= HEADER
                frame = buffer[:length]
                if echoes is not None:
                    if sender[2] == packets.OUTGOING:
                        echoes.expect(frame)
                    elif echoes.met(frame):
                        continue
                label = decode_header(header) if header[0] or header[1] else None
                if control and (tag := packets.stripped_tag(control[0][2])) is not None:
                    whole[:_MACS] = frame[:_MACS]
                    whole[_MACS : _MACS + _TAG] = tag
                    frame = whole[: length + _TAG]
                    label = label and _shifted(label)
                frames.append(frame)
                gso.append(label)
                labelled = labelled or label is not None
            more = True
        except BlockingIOError:
            pass
        except OSError as error:
            # The interface is down or gone: `_follow` notices that, and it may come back.
            if error.errno != errno.ENETDOWN:
                self._stop(error)
        if frames and self.ports:
            self.ports[0].send(Burst(frames, gso if labelled else None))
        return more

    def _stop(self, error: OSError) -> None:
        if self._packets is not None and self._loop is not None:
            self._loop.remove_reader(self._packets)
        self.failed(ElementError(f"reading from {self.interface}: {error.strerror}"))

    def receive(self, port: Port, burst: Burst) -> None:
        """Send the frames out of the interface; frames that it does not take are counted by reason."""
        if self._packets is None:
            port.drop("closed", len(burst.frames))
            return
        descriptor, echoes, writev = self._packets.fileno(), self._echoes, os.writev
        labels = burst.gso or [None] * len(burst.frames)
        for frame, label in zip(burst.frames, labels, strict=True):
            try:
                writev(descriptor, (encode_header(label), frame))
            except OSError as error:
                port.drop(_refusal(error, frame))
            else:
                if echoes is not None:
                    echoes.expect(frame)


def _shifted(label: Gso) -> Gso:
    """The label of a frame after a VLAN tag was inserted."""
    start = label.checksum_start
    return label._replace(header=label.header + _TAG, checksum_start=start + _TAG if start else 0)


def _refusal(error: OSError, frame: Frame) -> str:
    if error.errno in (errno.ENETDOWN, errno.ENXIO, errno.ENODEV):
        return "interface is down"
    if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):
        return "interface is full"
    if error.errno == errno.EMSGSIZE:
        return "larger than the interface's MTU"
    return "too short" if len(frame) < MIN_FRAME else "refused by the interface"


class Echoes:
    """Frames that went into a TAP and may come out again, if the TAP is connected to itself.

    Each is recognised once, so that a later frame with the same bytes from another sender still passes. The
    oldest are forgotten first, since most TAPs return nothing.
    """

    def __init__(self) -> None:
        self._expected: dict[bytes, int] = {}

    def expect(self, frame: Frame) -> None:
        """Remember that `frame` went in."""
        expected = self._expected
        key = bytes(frame[:ECHO_KEY])
        expected[key] = expected.pop(key, 0) + 1
        if len(expected) > ECHOES:
            del expected[next(iter(expected))]

    def met(self, frame: Frame) -> bool:
        """Whether `frame` went in before; it is then no longer expected."""
        key = bytes(frame[:ECHO_KEY])
        times = self._expected.pop(key, 0)
        if times > 1:
            self._expected[key] = times - 1
        return times > 0
