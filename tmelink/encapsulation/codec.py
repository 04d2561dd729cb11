"""What all encapsulations have in common: each adds a header to a frame or packet, and removes it."""

from __future__ import annotations

from typing import Protocol

from tmelink.frame import Frame, Kind


class TunnelCodec(Protocol):
    """One encapsulation with its settings."""

    kind: Kind
    """What it carries: Ethernet frames or IP packets."""

    protocols: tuple[int, ...]
    """The IP protocols of its outer packets."""

    @property
    def header(self) -> int:
        """Bytes between the outer IP header and what is carried."""
        ...

    def seal(self, frame: Frame) -> tuple[int, bytes]:
        """The outer packet's IP protocol, and the header to put before `frame`.

        Raises `ProtocolError` for what it does not carry.
        """
        ...

    def open(self, protocol: int, payload: memoryview) -> memoryview:
        """The payload of an outer packet; `ProtocolError` if it is malformed or not for this tunnel."""
        ...
