"""Every element that is a TAP or a TUN of the host: opens the interface, reads and writes its frames.

Knows how frames move through the descriptor; making and configuring the interface is `system`'s, and what it
is to be like comes from the elements built on this, each with arguments of its own.
"""

from __future__ import annotations

import asyncio
import errno
import math
import mmap
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, ClassVar

from tmelink import ip
from tmelink.element import Claim, Element, OuterMtu, Port, mtu_beyond
from tmelink.elements.host_interfaces.host_network import HostNetwork, HostNetworkRequest
from tmelink.errors import ElementError
from tmelink.ethernet import derived_mac
from tmelink.frame import MIN_FRAME, Burst, Frame, Gso, Kind
from tmelink.offload.segment import without_one_segment
from tmelink.offload.virtio import HEADER, decode_header, encode_header
from tmelink.routing.facts import IPInterface
from tmelink.routing.tunnel import Tunnel
from tmelink.standing_queue import BULK, StandingQueue
from tmelink.system import interfaces, journal, namespaces, tuntap
from tmelink.system.journal import Journal
from tmelink.transport.datagrams import BUSY_SECONDS

READ_BUDGET = 64
"""Frames that are read before the loop turns to other elements: a burst that amortises its calls, and at
64 KiB each a pause of a few milliseconds at most."""

NOTHING = HostNetworkRequest()

REMAKE_PAUSE = 0.1
"""Seconds until a removed interface is made again, which bounds what repeated removals cost."""

DEFAULT_MTU = 1500
"""The MTU of a new TAP or TUN."""

MAX_MTU = 65521
"""The largest that Linux gives a TAP: 64 KiB less an Ethernet header and a byte."""

_PLAIN = encode_header(None)


class TunTap(Element):
    """An Ethernet whose other end is an interface of the host, or of one of its network namespaces.

    `request` names the interface (None: the kernel's next tapN), `wanted` says what it is to be like, `netns`
    in which namespace it is (None: the process's own). With `kind` "ip" it is a TUN, and carries IP packets.
    `around` is what the host does around it, beside the settings of a link that it is connected to.
    """

    commands: ClassVar[tuple[str, ...] | None] = ("show",)
    platforms = ("linux",)
    serves_others = True
    takes_on_mtu = True

    def __init__(
        self,
        name: str,
        arguments: Any,
        *,
        request: str | None,
        wanted: interfaces.InterfaceSettings,
        offload: bool,
        netns: str | None = None,
        kind: Kind = "ethernet",
        around: HostNetworkRequest = NOTHING,
    ) -> None:
        super().__init__(name, arguments)
        self.kind: Kind = kind
        self.netns = netns
        self.around = around
        self._request = request
        self._wanted = wanted
        self._offload = offload
        self._tap: tuntap.TapDevice | None = None
        self._mac: bytes | None = None
        self._longest: int | None = None
        self._undo: list[interfaces.RtnetlinkRequest] = []
        self._journal: Journal | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held = False
        self._network: HostNetwork | None = None
        self._tunnel: Tunnel | None = None
        self._refused: list[str] = []
        self._following: set[asyncio.Task[None]] = set()
        self._own_mtu = self._mtu = DEFAULT_MTU
        """The interface's MTU as it was made or found, and as it is."""
        self._mtu_lock = asyncio.Lock()
        self._suiting = False
        self._read: Callable[[], None] = self._read_plain
        self._buffers: list[memoryview] = []
        self._read_at = 0.0
        self._queue = StandingQueue()

    @property
    def interface(self) -> str | None:
        """The name of the interface once it is open, else the one that was asked for."""
        return self._tap.name if self._tap is not None else self._request

    def capabilities(self) -> frozenset[str]:
        """For the interface and what is around it; in a namespace, to go there."""
        return frozenset(("CAP_NET_ADMIN", "CAP_SYS_ADMIN") if self.netns is not None else ("CAP_NET_ADMIN",))

    def claims(self) -> list[Claim]:
        """The interface, where its name is given."""
        return [] if self._request is None else [Claim("interface", (self._request,))]

    def make_port(self) -> Port:
        """A port that takes super-frames unless they are switched off."""
        return Port(self, kind=self.kind, offload=self._offload)

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int | None:
        """The interface's MTU as it was asked for."""
        return self._wanted.mtu

    def mtu_changed(self, port: Port) -> None:
        """Give the interface the MTU of what it is connected to, unless its arguments give another."""
        if self._loop is None or self._wanted.mtu is not None or self._suiting:
            return
        self._suiting = True
        task = self._loop.create_task(self._suit_mtu())
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    def carrier(self, port: Port) -> None:
        """The other end is another one, or leads elsewhere."""
        self.mtu_changed(port)

    def stations(self, port: Port) -> frozenset[bytes]:
        """The MAC address of the interface, and of the bridge that it is in."""
        if self._tap is None or self.kind == "ip" or self.netns is not None:
            return frozenset()
        names = (self._tap.name, self._wanted.bridge)
        return frozenset(mac for name in names if name and (mac := interfaces.own_mac(name)) is not None)

    async def open(self) -> None:
        """Create the TAP or attach to it, configure it, start reading; raises `ElementError`."""
        namespaces.require_linux(f"{self.name}, a {'TUN' if self.kind == 'ip' else 'TAP'},")
        await namespaces.run(self._open_device, self.netns)
        assert self._tap is not None
        if self._tap.offload:
            self._read = self._read_labelled
            # Anonymous pages: an idle interface has none.
            memory = memoryview(mmap.mmap(-1, READ_BUDGET * tuntap.MAX_READ))
            starts = range(0, len(memory), tuntap.MAX_READ)
            self._buffers = [memory[at : at + tuntap.MAX_READ] for at in starts]
            await self._suit_peer()
        self._loop = asyncio.get_running_loop()
        self._network = HostNetwork(
            self._tap.name,
            self.netns,
            self.around,
            self.own_addresses,
            self._mtu,
            self.log,
            vanishes=self._tap.created,
            incomplete=self.incomplete,
        )
        await self._network.open(self._tunnel)
        for refusal in dict.fromkeys(self._refused):
            self.log.warning("%s", refusal)
        if self._refused:
            self.incomplete("; ".join(dict.fromkeys(self._refused)))
        self._watch()
        for port in self.ports:
            # It may have changed meanwhile.
            self.mtu_changed(port)
        self.log.info("%s interface %s", "new" if self._tap.created else "found", self._tap.name)

    async def restore(self) -> None:
        """Undo what was done to the host around the interface, and to one that was found."""
        for task in self._following:
            task.cancel()
        if self._following:
            await asyncio.wait(self._following)
        try:
            if self._network is not None:
                await self._network.close()
        finally:
            self._network = None
            if self._tap is not None and not self._tap.created:
                await namespaces.run(self._undo_settings, self.netns)

    async def close(self) -> None:
        """Remove the interface if it was created here; otherwise leave it as it was found."""
        if self._tap is None:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._tap.descriptor)
        try:
            await self.restore()
        finally:
            await namespaces.run(self._close_device, self.netns)

    @property
    def wanted(self) -> interfaces.InterfaceSettings:
        """The interface settings from the element's own arguments."""
        return self._wanted

    @property
    def own_addresses(self) -> tuple[IPInterface, ...]:
        """The addresses that the element's own arguments give the interface."""
        return tuple(address.interface for address in self._wanted.addresses)

    def configure_network(self, port: Port, tunnel: Tunnel) -> Awaitable[None]:
        """Set a link's addresses and routes on this interface, as soon as it is open.

        Before that there is nothing to wait for: no route leads into the interface yet, and the routes that
        the link's own packets take are set before those that do.
        """
        self._tunnel = tunnel
        if self._network is None or self._loop is None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)  # a coroutine would have to be awaited
            return done
        task = self._loop.create_task(self._follow(self._network, tunnel))
        self._following.add(task)
        task.add_done_callback(self._following.discard)
        return asyncio.shield(task)

    async def _follow(self, network: HostNetwork, tunnel: Tunnel) -> None:
        try:
            await network.follow(tunnel)
        except (ElementError, OSError) as error:
            self.failed(error)

    def _open_device(self) -> None:
        self._make_device(self._request, self._wanted)

    def _make_device(self, name: str | None, wanted: interfaces.InterfaceSettings) -> None:
        tap = self._tap = tuntap.open_tap(name, offload=self._offload, kind=self.kind)
        try:
            if not tap.created:
                with journal.alone():
                    kept = self._journal = Journal()
                # Attaching has changed them already, which harms nobody but is put back all the same.
                kept.note(["tun", tap.name, self.kind, tap.features])
            self._configure(self._with_mtu(self._with_own_mac(wanted)))
            self._mac = interfaces.own_mac(tap.name)
        except BaseException:
            self._undo_settings()
            self._close_device()
            raise

    def _configure(self, wanted: interfaces.InterfaceSettings) -> None:
        assert self._tap is not None
        kept = self._journal
        self._undo = (
            interfaces.configure(
                self._tap.name,
                wanted,
                None if kept is None else lambda request: kept.note([*request]),
                self._refused,
            )
            + self._undo
        )

    def _undo_settings(self) -> None:
        undo, self._undo = self._undo, []
        if self._tap is not None and not self._tap.created:
            interfaces.undo(undo)

    def _with_own_mac(self, wanted: interfaces.InterfaceSettings) -> interfaces.InterfaceSettings:
        """Give a new interface the same MAC at every start: its neighbours remember it."""
        tap = self._tap
        if tap is None or not tap.created or wanted.mac is not None or not wanted.addresses:
            return wanted
        if self.kind == "ip":
            return wanted
        seed = " ".join(str(address.interface) for address in wanted.addresses)
        return replace(wanted, mac=derived_mac(seed))

    def _with_mtu(self, wanted: interfaces.InterfaceSettings) -> interfaces.InterfaceSettings:
        """Where its arguments give none, a new interface has the MTU of what it is connected to.

        One that was found keeps its own, unless that is too much.
        """
        assert self._tap is not None
        found = interfaces.show(self._tap.name)
        self._own_mtu = DEFAULT_MTU if found is None else found.mtu
        mtu = wanted.mtu
        if mtu is None:
            mtu = self._fitting_mtu()
            if mtu is not None and not self._tap.created:
                mtu = min(mtu, self._own_mtu)
        self._mtu = mtu or self._own_mtu
        return replace(wanted, mtu=mtu)

    def _close_device(self) -> None:
        tap, self._tap = self._tap, None
        notes, self._journal = self._journal, None
        if tap is not None:
            tap.close()
        if notes is not None:
            # Attached once more it had the flags that it was found with, and its settings before that.
            notes.entries.clear()
            notes.close()

    async def command(self, words: Sequence[str]) -> str:
        """`show`: the interface as the kernel sees it."""
        name = self.interface
        if list(words) != ["show"]:
            raise ElementError(f"{self.name} knows the command: show")
        if self._tap is None or name is None:
            raise ElementError(f"{self.name} is not open")
        found = await namespaces.run(lambda: interfaces.show(name), self.netns)
        return str(found) if found is not None else f"{name} has been removed"

    async def limit_super_frames(self, size: int) -> None:
        """Let the host build super-frames of at most `size` bytes, IP header included; undone at close."""
        tap = self._tap
        if tap is None:
            raise ElementError(f"{self.name} is not open")
        await namespaces.run(
            lambda: self._configure(interfaces.InterfaceSettings(gso_max_size=size)), self.netns
        )
        self._longest = size

    def _fitting_mtu(self) -> int | None:
        """What the other end of the connection takes; None leaves the interface as it is."""
        told = mtu_beyond(self.ports[0]) if self.ports else None
        return None if told is None else min(told, MAX_MTU)

    async def _suit_mtu(self) -> None:
        async with self._mtu_lock:
            self._suiting = False
            mtu, tap = self._fitting_mtu() or self._own_mtu, self._tap
            if tap is not None and not tap.created:
                mtu = min(mtu, self._own_mtu)
            pushed = self._tunnel is not None and self._tunnel.mtu is not None
            if tap is None or mtu == self._mtu or pushed:
                return
            try:
                await namespaces.run(lambda: self._set_mtu(tap, mtu), self.netns)
            except (ElementError, OSError) as error:
                self.log.warning("%s", error)
                return
            self.log.info("mtu %d, the most that its connection takes; it was %d", mtu, self._mtu)
            self._mtu = mtu

    def _set_mtu(self, tap: tuntap.TapDevice, mtu: int) -> None:
        kept = self._journal
        noted = any("mtu" in request.arguments for request in self._undo)
        note = None if noted or kept is None else lambda request: kept.note([*request])
        inverse = interfaces.set_mtu(tap.name, mtu, note)
        if not noted:
            self._undo.insert(0, inverse)
        if self._mtu < ip.MIN_MTU_V6 <= mtu:
            # The kernel had taken IPv6 away from the interface.
            own = [address for address in self._wanted.addresses if address.interface.version == 6]
            self._configure(interfaces.InterfaceSettings(addresses=own))

    async def _suit_peer(self) -> None:
        """Let the host build super-frames of the length that suits the connected element."""
        peer = self.ports[0].peer if self.ports else None
        size = peer.element.longest(peer) if peer is not None else None
        if size is None or size >= tuntap.MAX_PACKET:
            return
        try:
            await self.limit_super_frames(size)
        except ElementError as error:
            # Old kernels cannot be set; longer super-frames only cost a little more.
            self.log.debug("super-frames keep their length: %s", error)

    def hold(self, port: Port, held: bool) -> None:
        """Stop reading and let frames wait in the interface's own queue, or continue."""
        self._held = held
        # Many frames may be waiting.
        self._read_at = math.inf
        self._watch()

    def _watch(self) -> None:
        if self._tap is None or self._loop is None:
            return
        if self._held:
            self._loop.remove_reader(self._tap.descriptor)
        else:
            self._loop.add_reader(self._tap.descriptor, self._read)

    def _read_plain(self) -> None:
        """Hand on the waiting frames, up to the budget, as one burst."""
        tap = self._tap
        if tap is None:
            return
        descriptor, read, size = tap.descriptor, os.read, tuntap.MAX_READ
        frames: list[Frame] = []
        try:
            # Frames of MTU size are read faster into new bytes than into a slice of a kept buffer.
            for _ in range(READ_BUDGET if monotonic() < self._read_at + BUSY_SECONDS else 1):
                frames.append(read(descriptor, size))
        except BlockingIOError:
            pass
        except OSError as error:
            self._broken(error)
        self._hand_on(frames, None)

    def _read_labelled(self) -> None:
        """The same from an interface that puts a virtio_net_hdr before each frame.

        Into kept buffers: new ones of 64 KiB for every super-frame cost four times the read itself.
        """
        tap = self._tap
        if tap is None:
            return
        descriptor, readv, start = tap.descriptor, os.readv, HEADER
        frames: list[Frame] = []
        gso: list[Gso | None] = []
        labelled = False
        busy = monotonic() < self._read_at + BUSY_SECONDS
        try:
            for buffer in self._buffers:
                length = readv(descriptor, (buffer,))
                frames.append(buffer[start:length])
                # Most headers of small frames are empty, and a test here is cheaper than a call.
                if buffer[1] or buffer[0]:
                    label = decode_header(buffer)
                    labelled = labelled or label is not None
                    gso.append(label)
                    busy = True
                elif busy:
                    gso.append(None)
                else:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self._broken(error)
        self._hand_on(frames, gso if labelled else None)

    def _hand_on(self, frames: list[Frame], gso: list[Gso | None] | None) -> None:
        if frames and self.ports:
            if len(frames) == 1 and gso is None:
                self.ports[0].send_one(frames[0])
            elif gso is None:
                self.ports[0].send(Burst(frames))
            else:
                self._hand_on_labelled(frames, gso)
        self._read_at = monotonic()

    def _hand_on_labelled(self, frames: list[Frame], gso: list[Gso | None]) -> None:
        """Hand on super-frames; where TCP's keep the queue long, one segment of them is dropped."""
        port, queue = self.ports[0], self._queue
        burst = Burst(frames, gso)
        bulk = sum(map(len, frames)) >= BULK
        if bulk and queue.must_drop(monotonic(), held=self._read_at == math.inf):
            thinned = without_one_segment(burst, ip=self.kind == "ip")
            if thinned is not None:
                burst = thinned
                port.drop("queue too long")
        port.send(burst)
        if bulk:
            queue.handed_on(monotonic())

    def receive_one(self, port: Port, frame: Frame) -> None:
        """Write a frame that comes alone."""
        tap = self._tap
        if tap is None:
            port.drop("closed")
            return
        try:
            if tap.offload:
                os.writev(tap.descriptor, (_PLAIN, frame))
            else:
                os.write(tap.descriptor, frame)
        except OSError as error:
            self._refused_frame(port, error, frame)

    def receive(self, port: Port, burst: Burst) -> None:
        """Write the frames to the interface; frames that it does not take are counted by reason."""
        tap = self._tap
        if tap is None:
            port.drop("closed", len(burst.frames))
            return
        if tap.offload:
            self._write_labelled(tap.descriptor, port, burst)
            return
        descriptor, write = tap.descriptor, os.write
        for frame in burst.frames:
            try:
                write(descriptor, frame)
            except OSError as error:
                self._refused_frame(port, error, frame)

    def _write_labelled(self, descriptor: int, port: Port, burst: Burst) -> None:
        writev = os.writev
        if burst.gso is None:
            for frame in burst.frames:
                try:
                    writev(descriptor, (_PLAIN, frame))
                except OSError as error:
                    self._refused_frame(port, error, frame)
            return
        for frame, label in zip(burst.frames, burst.gso, strict=True):
            try:
                writev(descriptor, (encode_header(label), frame))
            except OSError as error:
                self._refused_frame(port, error, frame)

    def _refused_frame(self, port: Port, error: OSError, frame: Frame) -> None:
        port.drop(_refusal(error, frame))
        if error.errno == errno.EBADFD:
            self._broken(error)

    def _broken(self, error: OSError) -> None:
        tap = self._tap
        if tap is None or self._loop is None:
            return
        self._loop.remove_reader(tap.descriptor)
        if error.errno == errno.EBADFD:
            # Before the next frame finds the same.
            self._tap = None
            task = self._loop.create_task(self._make_again(tap))
            self._following.add(task)
            task.add_done_callback(self._following.discard)
        else:
            self.failed(ElementError(f"reading from {tap.name}: {error.strerror}"))

    async def _make_again(self, gone: tuntap.TapDevice) -> None:
        """Make an interface that somebody has removed as it was: name, MAC address, settings and routes."""
        removed = f"the interface {gone.name} has been removed"
        self.changed(False, removed)
        wanted = replace(self._wanted, mac=self._wanted.mac or self._mac, gso_max_size=self._longest)
        try:
            await namespaces.run(lambda: self._replace_device(gone, wanted), self.netns)
            assert self._tap is not None
            if self._network is not None:
                await self._network.follow_new_device(vanishes=self._tap.created)
        except (ElementError, OSError) as error:
            self.failed(ElementError(f"{removed}, and cannot be created again: {error}"))
            return
        self._watch()
        self.changed(True, f"the interface {gone.name} was created again")

    def _replace_device(self, gone: tuntap.TapDevice, wanted: interfaces.InterfaceSettings) -> None:
        notes, self._journal = self._journal, None
        self._undo = []
        if notes is not None:
            # What it was found with has gone with it.
            notes.entries.clear()
            notes.close()
        gone.close()
        time.sleep(REMAKE_PAUSE)
        self._make_device(gone.name, wanted)


def _refusal(error: OSError, frame: Frame) -> str:
    if error.errno == errno.EIO:
        return "interface is down"
    if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):
        return "interface is full"
    if error.errno == errno.EBADFD:
        return "interface is gone"
    return "too short" if len(frame) < MIN_FRAME else "refused by the interface"
