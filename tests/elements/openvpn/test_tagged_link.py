"""Super-frames cross a link with a VLAN's tags as they do without any: whole, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.aio import TIMEOUT, run
from tests.support.links import link
from tests.support.machines import Machine, opened
from tests.support.packets import Flow, noise
from tests.support.sockets import free_port
from tests.support.statements import words
from tmelink.element import connect
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst
from tmelink.inline.filters import set_filter

PAYLOAD, SEGMENT, COUNT = 40_000, 1352, 20


@pytest.mark.parametrize("native", [10, 1], ids=["without tags", "with tags"])
def test_super_frames_arrive_whole(native: int) -> None:
    async def body() -> None:
        ports = free_port(), free_port()
        machines, elements = [], []
        for here, there in (ports, ports[::-1]):
            machine, switch = Machine(), Switch("sw0", Switch.Arguments(loop_probe=0))
            far = link(f"--dev tap --local 127.0.0.1 --lport {here} --remote 127.0.0.1 {there} --disable-occ")
            connect(machine.port(), switch.port(words("vlan access 10")))
            connect(far.port(), switch.port(words(f"vlan trunk 1,10-20 native {native}")))
            set_filter(far.ports[0], ["no-dhcp", "no-ra"])
            set_filter(switch.ports[1], ["no-dhcp", "no-ra"])
            machines.append(machine)
            elements += [switch, far]
        payload = noise(PAYLOAD)
        frame, label = Flow().super_frame(payload, SEGMENT)
        header = len(frame) - len(payload)
        async with opened(*elements):
            for number in range(1, COUNT + 1):
                machines[0].ports[0].send(Burst([frame], [label]))
                while sum(len(each) - header for each in machines[1].frames) < number * PAYLOAD:
                    machines[1].arrived.clear()
                    async with asyncio.timeout(TIMEOUT):
                        await machines[1].arrived.wait()
            got = machines[1].got
            assert b"".join(each[header:] for each, _ in got) == payload * COUNT
            # One call of the link's takes no more than 64 KiB, so each comes whole, or in two halves at most.
            assert len(got) <= 2 * COUNT
            assert all(gso is not None and gso.size == SEGMENT for _, gso in got)
            assert all(not any(port.sent.drops.values()) for each in elements for port in each.ports)

    run(body)
