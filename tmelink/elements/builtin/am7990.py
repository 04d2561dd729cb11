"""`tme/ic/am7990`: the LANCE of a Sun or another workstation, for an emulator that gives it a bus.

The chip itself is `tmelink.devices.am7990`; here it meets a connection and a clock.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tmelink.arguments import rest
from tmelink.devices.am7990 import RAP, RDP, TRANSMIT_POLL, Lance
from tmelink.devices.bus import Bus
from tmelink.element import Port
from tmelink.elements.builtin.nic import Nic
from tmelink.frame import Burst

__all__ = ["RAP", "RDP", "Am7990", "Bus"]


class Am7990(Nic):
    """An Am7990 LANCE: a program gives it memory and an interrupt line with `attach(bus)`.

    The emulator then calls `read(port)` and `write(port, value)` for its processor's accesses, from the event
    loop that runs the machine. Without a bus, it is a card like `tmelink/nic`. It accepts TME's words about
    the bus, and ignores them.
    """

    example = """\
sw0: tmelink/switch
le0 at sw0: tme/ic/am7990
"""

    @dataclass(frozen=True)
    class Arguments:
        """What a machine file says of a LANCE."""

        words: tuple[str, ...] = rest("WORD", help="accepted for compatibility with TME, without effect")

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, Nic.Arguments())
        self.chip: Lance | None = None
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, bus: Bus) -> Lance:
        """Plug the chip into a machine; it is reset. Frames go to and come from its rings from now on."""
        self.chip = Lance(bus)
        self.chip.carrier = self._plugged
        return self.chip

    def read(self, port: int) -> int:
        """The processor reads the 16-bit port at byte offset RDP (0) or RAP (2)."""
        return self._attached().read(port)

    def write(self, port: int, value: int) -> None:
        """The processor writes 16 bits to the port at byte offset RDP (0) or RAP (2)."""
        self._attached().write(port, value)
        self._move()

    def _attached(self) -> Lance:
        if self.chip is None:
            raise RuntimeError(f"{self.name} has no bus: call attach(bus) first")
        return self.chip

    async def close(self) -> None:
        """Stop the clock, and close the card."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await super().close()

    def receive(self, port: Port, burst: Burst) -> None:
        """Frames wait in the card's queue until the ring has buffers for them."""
        super().receive(port, burst)
        self._move()

    def carrier(self, port: Port) -> None:
        """The chip only detects whether there is a cable, not whether a distant peer answers."""
        super().carrier(port)
        if self.chip is not None:
            self.chip.carrier = self._plugged

    @property
    def _plugged(self) -> bool:
        return bool(self.ports) and self.ports[0].peer is not None

    def _move(self) -> None:
        """Carry frames between chip and connection; what comes back meanwhile is carried by the same call."""
        chip = self.chip
        if chip is None or self._busy or self._closed:
            return
        self._busy = True
        try:
            while chip.out or self._can_receive(chip):
                frames, chip.out = chip.out, []
                if frames:
                    self.send_many(frames)
                while self._can_receive(chip):
                    chip.receive(self.waiting.popleft())
                self.taken()
        finally:
            self._busy = False
        if self._timer is None and (chip.transmitting or self.waiting):
            self._timer = asyncio.get_running_loop().call_later(TRANSMIT_POLL, self._tick)

    def _can_receive(self, chip: Lance) -> bool:
        return bool(self.waiting) and (not chip.receiving or chip.ready(self.waiting[0]))

    def _tick(self) -> None:
        """The driver may have filled or emptied a ring without a word."""
        self._timer = None
        if self.chip is not None:
            self.chip.poll()
            self._move()
