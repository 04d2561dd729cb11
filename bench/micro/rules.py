"""What a filter, VLANs and their tags cost a link between two switches: `python -m bench.micro.rules`.

All of it is in this process: super-frames cross a switch, a link over loopback and a second switch, each with
an acknowledgement back. What is counted is processor time, by turns, so other programs matter little.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from tests.support.links import link
from tests.support.machines import Machine, opened
from tests.support.packets import Flow, noise
from tests.support.sockets import free_port
from tests.support.statements import words
from tmelink.element import Element, Port, connect
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst
from tmelink.inline.filters import set_filter

ROWS = {
    "no rules": None,
    "a filter, and VLANs without tags on the link": ("vlan access 10", "vlan trunk 1,10-20 native 10"),
    "a filter, and VLANs with tags on the link": ("vlan access 10", "vlan trunk 1,10-20 native 1"),
}
COUNT, PAYLOAD, SEGMENT, ROUNDS = 20, 58_000, 1400, 100


class Sink(Machine):
    """Counts the bytes that arrive."""

    taken = 0

    def receive(self, port: Port, burst: Burst) -> None:
        self.taken += sum(map(len, burst.frames))


def announcement(mac: bytes, last: int) -> bytes:
    """An ARP answer to everybody, after which the switches know whose address it is."""
    address = bytes((10, 0, 0, last))
    head = b"\xff" * 6 + mac + bytes.fromhex("08060001080006040002")
    return head + mac + address + b"\xff" * 6 + address


class Joined:
    """Both ends of one row, in one memory."""

    def __init__(self, rules: tuple[str, str] | None) -> None:
        ports = free_port(), free_port()
        self.sinks: list[Sink] = []
        self.elements: list[Element] = []
        for here, there in (ports, ports[::-1]):
            sink, switch = Sink(), Switch("sw0", Switch.Arguments(loop_probe=0))
            far = link(f"--dev tap --local 127.0.0.1 --lport {here} --remote 127.0.0.1 {there} --disable-occ")
            access, trunk = rules or ("", "")
            connect(sink.port(), switch.port(words(access)))
            connect(far.port(), switch.port(words(trunk)))
            for port in (far.ports[0], switch.ports[1]) if rules else ():
                set_filter(port, ["no-dhcp", "no-ra"])
            self.sinks.append(sink)
            self.elements += [switch, far]
        built, self.label = Flow().super_frame(noise(PAYLOAD), SEGMENT)
        self.frame = bytes(built)
        self.to, self.source = self.frame[:6], self.frame[6:12]

    async def begin(self) -> None:
        """Let the switches learn."""
        for _ in range(3):
            self.sinks[0].send(announcement(self.source, 1))
            self.sinks[1].send(announcement(self.to, 2))
            await asyncio.sleep(0.05)

    async def measure(self) -> float:
        """Processor seconds a GB, of both ends together."""
        one, two = self.sinks
        acknowledgement = self.source + self.to + self.frame[12:66]
        two.taken = 0
        begun = time.process_time()
        async with asyncio.timeout(20):
            for number in range(1, COUNT + 1):
                one.ports[0].send(Burst([self.frame], [self.label]))
                two.send(acknowledgement)
                while two.taken < number * PAYLOAD:  # noqa: ASYNC110 - nothing else is to cost anything
                    await asyncio.sleep(0)
        return (time.process_time() - begun) / (COUNT * PAYLOAD / 1e9)


async def main() -> None:
    """Print the median of many rounds, and of what each round leaves of the rate."""
    both = {name: Joined(rules) for name, rules in ROWS.items()}
    found: dict[str, list[float]] = {name: [] for name in ROWS}
    async with opened(*(element for each in both.values() for element in each.elements)):
        for each in both.values():
            await each.begin()
        for number in range(ROUNDS):
            for name in ROWS if number % 2 == 0 else reversed(ROWS):
                found[name].append(await both[name].measure())
    for name, spent in found.items():
        shares = (one / other for one, other in zip(found["no rules"], spent, strict=True))
        print(f"{name:46} {statistics.median(spent):6.2f} s/GB {statistics.median(shares):6.0%}")


if __name__ == "__main__":
    asyncio.run(main())
