"""`tmelink/virtio-net`: a virtio network card on the MMIO transport, for an emulator that gives it a bus.

The device itself is `tmelink.devices.virtio_net`; here it meets a connection.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tmelink import ethernet, values
from tmelink.arguments import keyword
from tmelink.devices.bus import Bus
from tmelink.devices.virtio_net import VirtioNetDevice as Device
from tmelink.element import Element, Port
from tmelink.frame import Burst, Counters, Gso
from tmelink.offload import segmented

__all__ = ["Bus", "VirtioNet"]

QUEUE = 256
"""Frames that wait for the driver's buffers: as many as its ring has. Of super-frames they are 16 MB."""


class VirtioNet(Element):
    """A virtio network card (MMIO): a program gives it memory and an interrupt line with `attach(bus)`.

    The emulator then calls `read(offset, size)` and `write(offset, value)` for its processor's accesses
    to the device's page, from the event loop that runs the machine. A driver that accepts super-frames
    gets them whole.
    """

    example = """\
sw0: tmelink/switch
eth0 at sw0: tmelink/virtio-net mac 02:00:00:00:00:01
"""

    @dataclass(frozen=True)
    class Arguments:
        """A card's arguments in a machine file."""

        mac: bytes | None = keyword(
            "MAC", values.unicast_mac, default=None, help="its MAC address; by default derived from its name"
        )

    arguments: Arguments
    is_station = True

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        self.mac = arguments.mac or ethernet.derived_mac(name)
        self.device: Device | None = None
        self.received = Counters()
        self._waiting: deque[tuple[bytes, Gso | None]] = deque()
        self._busy = False

    def attach(self, bus: Bus) -> Device:
        """Plug the device into a machine; it is reset."""
        self.device = Device(bus, self.mac)
        self.device.set_link(self._plugged)
        return self.device

    def read(self, offset: int, size: int = 4) -> int:
        """The processor reads `size` bytes at an offset of the device's page."""
        return self._attached().read(offset, size)

    def write(self, offset: int, value: int) -> None:
        """The processor writes the 4-byte register at an offset of the device's page."""
        device = self._attached()
        device.write(offset, value)
        for port in self.ports:
            port.offload = device.takes_super_frames
        self._move(device)

    def _attached(self) -> Device:
        if self.device is None:
            raise RuntimeError(f"{self.name} has no bus: call attach(bus) first")
        return self.device

    async def close(self) -> None:
        """Drop what waits."""
        self._waiting.clear()

    def counters(self) -> dict[str, Counters]:
        """`received`: frames for the driver, and what its buffers had no room for."""
        return {"received": self.received}

    def receive(self, port: Port, burst: Burst) -> None:
        """Keep copies of the frames until the driver has buffers for them."""
        device = self.device
        if device is None or not device.running:
            port.drop("driver not ready", len(burst.frames))
            return
        if burst.gso is not None and not all(map(device.takes, burst.gso)):
            burst = segmented(burst, port.sent)
        room = QUEUE - len(self._waiting)
        if room < len(burst.frames):
            self.received.drops["queue full"] += len(burst.frames) - room
        labels = burst.gso or [None] * len(burst.frames)
        taken = [(bytes(frame), gso) for frame, gso in zip(burst.frames[:room], labels[:room], strict=True)]
        self.received.frames += len(taken)
        self.received.bytes += sum(len(frame) for frame, _ in taken)
        self._waiting.extend(taken)
        self._move(device)

    def carrier(self, port: Port) -> None:
        """The driver sees whether there is a cable."""
        if self.device is not None:
            self.device.set_link(self._plugged)

    @property
    def _plugged(self) -> bool:
        return bool(self.ports) and self.ports[0].peer is not None

    def _move(self, device: Device) -> None:
        """Carry frames between device and connection; the same call carries what comes back meanwhile."""
        if self._busy:
            return
        self._busy = True
        try:
            while True:
                while self._waiting and device.receive(*self._waiting[0]):
                    self._waiting.popleft()
                if not device.out:
                    break
                sent, device.out = device.out, []
                if self.ports:
                    frames, gso = [frame for frame, _ in sent], [label for _, label in sent]
                    self.ports[0].send(Burst(list(frames), gso if any(gso) else None))
        finally:
            self._busy = False
        if not device.running:
            self._waiting.clear()
