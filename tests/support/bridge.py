"""An open switch with recorders at its connections, and a clock that the test sets."""

from __future__ import annotations

from typing import Any

from tests.support.statements import words
from tmelink.element import Element, Port, connect
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst, Frame, Gso

BROADCAST = b"\xff" * 6


def station(number: int) -> bytes:
    return b"\x02\0\0\0" + number.to_bytes(2, "big")


def frame(to: bytes | int, source: bytes | int, data: bytes = b"data") -> bytes:
    to = station(to) if isinstance(to, int) else to
    source = station(source) if isinstance(source, int) else source
    return to + source + b"\x08\x00" + data


class Recorder(Element):
    """Keeps the bursts that reach it."""

    def __init__(self, name: str, offload: bool = True) -> None:
        super().__init__(name, None)
        self.bursts: list[Burst] = []
        self._offload = offload

    def make_port(self) -> Port:
        return Port(self, offload=self._offload)

    def receive(self, port: Port, burst: Burst) -> None:
        self.bursts.append(burst)

    def send(self, *frames: Frame, gso: list[Gso | None] | None = None) -> None:
        self.ports[0].send(Burst(list(frames), gso))

    def send_one(self, frame: Frame) -> None:
        self.ports[0].send_one(frame)

    def taken(self) -> list[bytes]:
        bursts, self.bursts = self.bursts, []
        return [bytes(frame) for burst in bursts for frame in burst.frames]


class Clock:
    """Stands for the loop, so that the test sets the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


class Bridge:
    """An open switch with recorders at its ports."""

    def __init__(self, ports: int = 3, **arguments: Any) -> None:
        self.switch = Switch("sw0", Switch.Arguments(**arguments))
        self.clock = Clock()
        self.switch._loop = self.clock  # type: ignore[assignment]
        self.ends = [Recorder(f"end{number}") for number in range(ports)]
        for end in self.ends:
            connect(end.port(), self.switch.port())

    def taken(self) -> list[list[bytes]]:
        return [end.taken() for end in self.ends]

    def drops(self, port: int) -> dict[str, int]:
        return dict(self.switch.ports[port].sent.drops)


class RuledBridge(Bridge):
    """The same, with words for each connection."""

    def __init__(self, *rules: str, offload: bool = True, **arguments: Any) -> None:
        super().__init__(0, **arguments)
        self.ends = [Recorder(f"end{number}", offload) for number in range(len(rules))]
        for end, text in zip(self.ends, rules, strict=True):
            connect(end.port(), self.switch.port(words(text)))
