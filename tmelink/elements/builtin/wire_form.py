"""Frames as a wire has them: at least 60 bytes long, with a frame check sequence behind (IEEE 802.3, 3.2.8).

In this program frames have neither, as no format needs them; some emulators do.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from tmelink.element import Port
from tmelink.frame import MIN_FRAME, Burst, Frame
from tmelink.offload import segmented

SHORTEST: Final = 60
"""Bytes of the shortest frame, without its check sequence."""

FCS: Final = 4
"""Bytes of the frame check sequence: a CRC-32, its lowest byte first."""


def to_wire(port: Port, burst: Burst, *, pad: bool, fcs: bool) -> Burst:
    """Frames that leave by `port`, padded, and with a check sequence."""
    if burst.gso is not None:
        burst = segmented(burst, port.sent)
    frames: list[Frame] = list(burst.frames)
    if pad:
        frames = [bytes(each).ljust(SHORTEST, b"\0") if len(each) < SHORTEST else each for each in frames]
    if fcs:
        frames = [b"".join((each, crc32(each).to_bytes(FCS, "little"))) for each in frames]
    return Burst(frames)


def from_wire(port: Port, burst: Burst) -> Burst:
    """Frames that came in at `port`, without their check sequence; wrong ones are dropped, and counted."""
    frames: list[Frame] = [
        each[:-FCS]
        for each in burst.frames
        if len(each) >= MIN_FRAME + FCS and crc32(each[:-FCS]).to_bytes(FCS, "little") == each[-FCS:]
    ]
    if len(frames) < len(burst.frames):
        port.drop("frame check sequence is wrong", len(burst.frames) - len(frames))
    return Burst(frames)
