"""A server that tells VLANs apart (--vlan-tagging): its clients' frames, and those of its own side."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.support.machines import Machine
from tmelink.element import connect
from tmelink.elements.openvpn.server_bridge import ServerBridge
from tmelink.frame import Burst, Frame, Run
from tmelink.openvpn.options.values import ServerVlans
from tmelink.openvpn.server.client_config import Welcome
from tmelink.openvpn.session import Item

BROADCAST = b"\xff" * 6


def frame(source: int, to: bytes | int = BROADCAST, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2, "big")
    to = b"\x02\0\0\0\0" + bytes((to,)) if isinstance(to, int) else to
    return to + b"\x02\0\0\0\0" + bytes((source,)) + tag + b"\x88\xb5" + bytes(46)


class Server:
    """A server's Ethernet, and what its clients and its own side get."""

    def __init__(self, vlans: ServerVlans | None, *, together: bool = True) -> None:
        self.drops = Counter[str]()
        self.got: dict[int, list[bytes]] = {}
        self.bridge = ServerBridge(
            "switch",
            self._send,
            self._send_one,
            self.drops,
            client_to_client=together,
            ageing=None,
            vlans=vlans,
        )
        self.machine, outer = Machine(offload=False), Machine(offload=False)
        self.port = outer.port()
        connect(self.machine.port(), self.port)
        self.bridge.add_machine(self.port)

    def _send(self, client: int, items: Sequence[Item]) -> None:
        for item in items:
            assert not isinstance(item, Run)
            self.got.setdefault(client, []).append(bytes(item))

    def _send_one(self, client: int, frame: Frame) -> None:
        self._send(client, [frame])

    def join(self, *welcomes: Welcome) -> None:
        for number, welcome in enumerate(welcomes):
            self.bridge.join(number, f"client{number}", welcome)

    def client(self, number: int, *frames: bytes) -> None:
        self.bridge.from_client(number, list(frames))

    def own(self, *frames: bytes) -> None:
        self.bridge.from_machine(self.port, Burst(list(frames)))

    def taken(self) -> tuple[dict[int, list[bytes]], list[bytes]]:
        got, own = self.got, self.machine.frames
        self.got, self.machine.got = {}, []
        return got, own


def test_clients_of_one_vlan_reach_each_other_and_the_server_s_side_with_its_tag() -> None:
    async def main() -> None:
        server = Server(ServerVlans(pvid=1))
        await server.bridge.open()
        server.join(Welcome(vlan_pvid=10), Welcome(vlan_pvid=10), Welcome(vlan_pvid=20), Welcome())
        server.client(0, frame(1))
        assert server.taken() == ({1: [frame(1)]}, [frame(1, vlan=10)])
        server.client(3, frame(4))
        assert server.taken() == ({}, [frame(4)]), "without a file of its own: --vlan-pvid"
        server.own(frame(9), frame(9, vlan=20), frame(9, vlan=30))
        assert server.taken() == ({2: [frame(9)], 3: [frame(9)]}, [])
        server.client(0, frame(1, vlan=20))
        assert server.taken() == ({}, []), "a client does not choose its VLAN"
        assert server.drops == {"VLAN not at this connection": 1}
        # Known stations, each in its VLAN.
        server.client(1, frame(2, 1))
        assert server.taken() == ({0: [frame(2, 1)]}, [])
        server.client(2, frame(3, 1))
        assert server.taken() == ({}, [frame(3, 1, vlan=20)]), "unknown there"
        assert server.bridge.stations() == {
            0: [frame(1)[6:12]],
            1: [frame(2)[6:12]],
            2: [frame(3)[6:12]],
            3: [frame(4)[6:12]],
        }
        server.bridge.leave(0)
        server.own(frame(9, 1, vlan=10))
        assert server.taken() == ({1: [frame(9, 1)]}, [])
        await server.bridge.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("accept", "own", "there"),
    [
        ("all", [frame(1), frame(1, vlan=20)], [frame(9), frame(9, vlan=20)]),
        ("tagged", [frame(1, vlan=7), frame(1, vlan=20)], [frame(9, vlan=7), frame(9, vlan=20)]),
        ("untagged", [frame(1)], [frame(9)]),
    ],
)
def test_the_server_s_side_has_tags_as_it_accepts_them(
    accept: str, own: list[bytes], there: list[bytes]
) -> None:
    async def main() -> None:
        server = Server(ServerVlans(7, accept))  # type: ignore[arg-type]
        await server.bridge.open()
        server.join(Welcome(), Welcome(vlan_pvid=20))
        server.client(0, frame(1))
        server.client(1, frame(1))
        assert server.taken()[1] == own
        server.own(frame(9), frame(9, vlan=7), frame(9, vlan=20))
        got, _ = server.taken()
        expected = {0: frame(9) in there or frame(9, vlan=7) in there, 1: frame(9, vlan=20) in there}
        assert {number: number in got for number in (0, 1)} == expected
        assert all(len(frames) == 1 for number, frames in got.items() if number == 1)
        await server.bridge.close()

    asyncio.run(main())


def test_a_client_with_a_trunk_has_its_vlans_with_tags_and_no_others() -> None:
    async def main() -> None:
        server = Server(ServerVlans(), together=False)
        await server.bridge.open()
        server.join(
            Welcome(vlan_trunk=frozenset((10, 11)), vlan_pvid=5), Welcome(vlan_trunk=frozenset((10,)))
        )
        server.client(0, frame(1, vlan=10), frame(1, vlan=12), frame(1))
        assert server.taken() == ({}, [frame(1, vlan=10), frame(1, vlan=5)])
        server.client(1, frame(2), frame(2, vlan=10))
        assert server.taken() == ({}, [frame(2, vlan=10)])
        assert server.drops["untagged on a trunk"] == 1
        server.own(frame(9, 1, vlan=5), frame(9, 1, vlan=10))
        assert server.taken() == ({0: [frame(9, 1), frame(9, 1, vlan=10)]}, [])
        await server.bridge.close()

    asyncio.run(main())


def test_without_the_option_tags_pass_and_play_no_part() -> None:
    async def main() -> None:
        server = Server(None)
        await server.bridge.open()
        server.join(Welcome(vlan_pvid=10), Welcome(vlan_pvid=20))
        server.client(0, frame(1, vlan=30))
        assert server.taken() == ({1: [frame(1, vlan=30)]}, [frame(1, vlan=30)])
        await server.bridge.close()

    asyncio.run(main())
