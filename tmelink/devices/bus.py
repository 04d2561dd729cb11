"""What a device model needs from its machine."""

from __future__ import annotations

from typing import Literal, Protocol


class Bus(Protocol):
    """The machine's memory as a device sees it, and its interrupt line.

    Addresses and lengths are in bytes. A model asks `holds` before every access and never goes beyond it.
    """

    byteorder: Literal["little", "big"]
    """How a 16-bit word lies in memory; virtio is little-endian on every bus."""

    def holds(self, address: int, length: int) -> bool:
        """Whether there is memory at all of these addresses."""

    def read(self, address: int, length: int) -> bytes:
        """Read memory."""

    def write(self, address: int, data: bytes) -> None:
        """Write memory."""

    def interrupt(self, raised: bool) -> None:
        """Raise or lower the interrupt line; called when it changes."""
