"""Switches and hosts in one memory, joined by cables that take their time, on a clock that jumps.

    house = Cabled(seed=1)
    house.switches(3)                         # sw0 to sw2 with a host each: le0 10.0.77.1, le1 10.0.77.2, …
    cable = house.cable(0, 1)                 # pulled by cable.pull(), plugged in again by cable.plug()
    house.cable(1, 2, "mesh houses")          # with these words on both sides
    async with house.open(): …                # run by tests.support.aio.run_jumping

A frame arrives `LATENCY` seconds after it was sent, as a copy, as if it came from another process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from random import Random

from tests.support.machines import opened
from tests.support.statements import make, words
from tmelink.element import Element, Port, connect
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.loop_probe import GROUP
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst

LATENCY = 0.01
"""Seconds: in a loop, a frame is multiplied a few times before it is cut."""


class End(Element):
    """One end of a cable, as a link is: what comes here leaves at the other end."""

    def __init__(self, name: str, cable: Cable) -> None:
        super().__init__(name, None)
        self.other: End
        self._cable = cable

    def make_port(self) -> Port:
        return Port(self, offload=True)

    def receive(self, port: Port, burst: Burst) -> None:
        for frame in map(bytes, burst.frames):
            if self._cable.whole and not self._cable.loses(frame):
                asyncio.get_running_loop().call_later(self._cable.latency, self.other.arrive, frame)

    def arrive(self, frame: bytes) -> None:
        self._cable.carried += 1
        self.ports[0].send(Burst([frame]))


class Cable:
    """Two ends; `loss` of what it carries is lost, and of probes with `lost_probes` all."""

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.ends = End(f"{name}a", self), End(f"{name}b", self)
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]
        self.whole = True
        self.latency = LATENCY
        self.loss = 0.0
        self.lost_probes = False
        self.carried = 0
        self._random = random

    def loses(self, frame: bytes) -> bool:
        if self.lost_probes and frame[:6] == GROUP:
            return True
        return self.loss > 0 and self._random.random() < self.loss

    def pull(self, *, noticed: bool = True) -> None:
        """Nothing passes from now on; both ends notice it or they do not."""
        self.whole = False
        for end in self.ends if noticed else ():
            end.changed(False)

    def plug(self) -> None:
        self.whole = True
        for end in self.ends:
            end.changed(True)


class Cabled:
    """What is cabled together; whatever is random comes from `seed`."""

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)
        self.all: list[Switch] = []
        self.hosts: list[Host] = []
        self.cables: list[Cable] = []

    def switches(self, count: int, line: str = "", *, order: Iterable[int] = ()) -> None:
        """So many switches with a host each; `order` gives them the numbers by which one of a loop cuts."""
        numbers = list(order) or self.random.sample(range(count), count)
        for number in range(count):
            switch = make("tmelink/switch", line, f"sw{number}")
            assert isinstance(switch, Switch)
            finder = switch._loops._finder
            finder.node = bytes([numbers[number]]) * 8
            finder.jitter = Random(self.random.random())
            host = make("tmelink/host", f"inet 10.0.77.{number + 1}/24", f"le{number}")
            assert isinstance(host, Host)
            connect(host.port(), switch.port())
            self.all.append(switch)
            self.hosts.append(host)

    def cable(self, one: int, two: int, line: str = "") -> Cable:
        """A cable between two switches."""
        cable = Cable(f"c{len(self.cables)}", self.random)
        for number, end in zip((one, two), cable.ends, strict=True):
            connect(end.port(), self.all[number].port(words(line)))
        self.cables.append(cable)
        return cable

    def mesh(self, members: Iterable[int]) -> dict[tuple[int, int], Cable]:
        """A cable of one mesh between each two of these."""
        numbers = list(members)
        return {
            (one, two): self.cable(one, two, "mesh houses")
            for at, one in enumerate(numbers)
            for two in numbers[at + 1 :]
        }

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with opened(*self.all, *self.hosts):
            yield

    def cut(self) -> list[str]:
        """The cables that are cut at either end, or both, in order."""
        ends = {port.peer.element.name for switch in self.all for port in switch._cut if port.peer}
        return [cable.name for cable in self.cables if any(end.name in ends for end in cable.ends)]

    def carried(self) -> int:
        """Frames that have crossed all cables."""
        return sum(cable.carried for cable in self.cables)

    def broadcast(self, count: int = 1, host: int = 0) -> None:
        """Frames of no protocol that everybody hears and nobody answers."""
        for number in range(count):
            source = b"\x02\0\0\0\x09" + bytes([host])
            frame = b"\xff" * 6 + source + b"\x88\xb5" + number.to_bytes(50, "big")
            self.hosts[host].ports[0].send(Burst([frame]))

    async def answers(self, one: int, two: int, count: int = 3) -> tuple[int, int]:
        """How many pings are answered, and how many answers come twice."""
        result = await self.hosts[one].ping(f"10.0.77.{two + 1}", count=count, interval=0.1, timeout=0.5)
        return result.received, result.duplicates

    async def heard(self, sender: int, count: int = 5) -> list[int]:
        """How often each host hears a few broadcasts of one of them."""
        source = b"\x02\0\0\0\x09" + bytes([sender])
        heard = [0] * len(self.hosts)

        def watch(number: int, host: Host) -> None:
            receive = host.receive

            def watched(port: Port, burst: Burst) -> None:
                heard[number] += sum(frame[6:12] == source for frame in burst.frames)
                receive(port, burst)

            host.receive = watched  # type: ignore[method-assign]

        for number, host in enumerate(self.hosts):
            watch(number, host)
        self.broadcast(count, sender)
        await asyncio.sleep(0.2)
        for host in self.hosts:
            del host.receive
        return heard


async def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Let the time pass until a condition is true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
