"""Ten houses from one file, a link between each two, no hub: frames arrive once, and nothing circulates."""

from __future__ import annotations

import asyncio
import contextlib

from tests.support.aio import eventually
from tests.support.sockets import free_port
from tmelink.elements.builtin.host import Host
from tmelink.elements.builtin.switch import Switch
from tmelink.frame import Burst
from tmelink.machine import load
from tmelink.proof.problems import problems
from tmelink.runtime import Lab

HOUSES = 10


def mesh(houses: int) -> str:
    """The file: each house has a switch, a host, and a link to each other house."""
    ports = {(here, there): free_port() for here in range(houses) for there in range(houses) if here != there}
    lines: list[str] = []
    for here in range(houses):
        lines += [
            f"host house{here} address 127.0.1.{here + 1} {{",
            f"    sw{here}: tmelink/switch loop-probe 0.2",
            f"    le{here} at sw{here}: tmelink/host inet 10.0.77.{here + 1}/24",
        ]
        for there in range(houses):
            if there != here:
                ends = f"--local 127.0.1.{here + 1} --lport {ports[here, there]}"
                ends += f" --remote 127.0.1.{there + 1} {ports[there, here]}"
                link = f"tme/host/openvpn/socket/link --dev tap {ends}"
                lines.append(f"    l{here}-{there} at sw{here} mesh houses: {link}")
        lines.append("}")
    return "\n".join(lines) + "\n"


def test_ten_houses_without_a_hub_reach_each_other_and_nothing_circulates() -> None:
    text = mesh(HOUSES)
    assert problems(load(text)) == []

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            machines = [load(text, host=f"house{number}") for number in range(HOUSES)]
            labs = [await stack.enter_async_context(Lab(machine)) for machine in machines]
            hosts = [lab[f"le{number}"] for number, lab in enumerate(labs)]
            switches = [lab[f"sw{number}"] for number, lab in enumerate(labs)]
            for number, host in enumerate(hosts):
                assert isinstance(host, Host)
                for other in (1, 4, 7):
                    there = (number + other) % HOUSES + 1
                    said = await host.command(["ping", f"10.0.77.{there}", "count", "1"])
                    assert "1 received" in said, (number, there)
            # A frame of no protocol, which nobody answers: each house hears it once.
            taken = [host.ports[0].peer for host in hosts]
            before = [port.sent.frames for port in taken if port is not None]
            await asyncio.sleep(0.3)
            idle = [port.sent.frames for port in taken if port is not None]
            frame = b"\xff" * 6 + b"\x02\0\0\0\0\x63" + b"\x88\xb5" + bytes(46)
            for _ in range(20):
                hosts[0].ports[0].send(Burst([frame]))
            expected = [0] + [20] * (HOUSES - 1)

            def heard() -> list[int]:
                now = [port.sent.frames for port in taken if port is not None]
                return [count - was for count, was in zip(now, idle, strict=True)]

            await eventually(lambda: all(map(int.__ge__, heard(), expected)))
            await asyncio.sleep(0.3)
            quiet = max(was - count for was, count in zip(idle, before, strict=True))
            assert all(got <= want + quiet + 4 for got, want in zip(heard(), expected, strict=True)), heard()
            for switch in switches:
                assert isinstance(switch, Switch)
                assert not switch._cut, "a mesh is no loop"
                assert switch.details().trouble == ""

    asyncio.run(main())
