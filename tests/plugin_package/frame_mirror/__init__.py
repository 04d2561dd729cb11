"""An element that sends each frame back to where it came from."""

from __future__ import annotations

from dataclasses import dataclass

import tmelink
from tmelink.arguments import keyword


def _count(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 9:
        raise ValueError(f"'{word}' is not a valid number from 1 to 9")
    return int(word)


class Mirror(tmelink.Element):
    """Sends each frame back, its two addresses exchanged."""

    @dataclass(frozen=True)
    class Arguments:
        """What a machine file says of a mirror."""

        times: int = keyword("N", _count, default=1, help="how often each frame is sent back (1)")

    arguments: Arguments

    def receive(self, port: tmelink.Port, burst: tmelink.Burst) -> None:
        """Frames from the other end of the connection."""
        # A frame is a view of a buffer that is used again once this returns; joining its parts copies it.
        mirrored: list[tmelink.Frame] = [
            b"".join((frame[6:12], frame[:6], frame[12:])) for frame in burst.frames
        ]
        port.send(tmelink.Burst(mirrored * self.arguments.times))
