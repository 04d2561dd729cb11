"""What a machine file says of a server, what is refused in it, and where its frames go, without a wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from random import Random

import pytest

import tmelink
from tests.support.aio import run
from tests.support.machines import Machine, frame
from tmelink.element import Port, connect
from tmelink.elements.openvpn.server_bridge import ServerBridge
from tmelink.elements.openvpn.server_router import ServerRouter
from tmelink.errors import MachineError
from tmelink.frame import Burst, Counters, Frame
from tmelink.openvpn.server.client_config import Welcome
from tmelink.openvpn.session import Item

SERVER = "tme/host/openvpn/socket/server"
LINK = "tme/host/openvpn/socket/link"
TLS = "--ca ca.crt --cert s.crt --key s.key"


def mistakes(text: str) -> str:
    with pytest.raises(MachineError) as found:
        tmelink.load(text + "\n")
    return str(found.value)


def test_a_server_is_read() -> None:
    tmelink.load(f"server: {SERVER} --dev tap --server 10.8.0.0 255.255.255.0 {TLS}\n")


def test_a_file_may_give_each_command_that_a_server_knows() -> None:
    server = f"server: {SERVER} --dev tap --server 10.8.0.0 255.255.255.0 {TLS}\n"
    commands = ["clients", "kick amy", "push amy route 10.1.0.0", "table"]
    tmelink.load(server + "".join(f"command server {words}\n" for words in commands))


def test_a_link_with_a_servers_options_proposes_the_server() -> None:
    told = mistakes(f"link: {LINK} --dev tap --server 10.8.0.0 255.255.255.0 {TLS}")
    assert "a link has one peer" in told
    assert SERVER in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--remote 192.0.2.1", "these are options of a link"),
        (f"--server 10.8.0.0 255.255.255.0 {TLS} --verify-client-cert none", "could be anybody"),
        (f"--server 10.8.0.0 255.255.255.0 {TLS} --username-as-common-name", "take any name"),
        (
            f"--server 10.8.0.0 255.255.255.0 {TLS} --auth-gen-token",
            "--auth-gen-token needs --auth-user-pass-table",
        ),
        (
            f"--server 10.8.0.0 255.255.255.0 {TLS} --auth-user-pass-verify x via-file",
            "--auth-user-pass-table",
        ),
        (f"--server 10.8.0.0 255.255.255.0 {TLS} --auth nonsense", "nonsense"),
    ],
)
def test_mistakes_of_a_server(options: str, message: str) -> None:
    assert message in mistakes(f"server: {SERVER} --dev tap {options}")


def test_two_servers_on_one_port_are_a_mistake() -> None:
    one = f"{SERVER} --dev tap --server 10.8.0.0 255.255.255.0 {TLS}"
    assert "1194" in mistakes(f"a: {one}\nb: {one}")


class Clients:
    """What each client was sent."""

    def __init__(self) -> None:
        self.got: dict[int, list[bytes]] = {}

    def send(self, client: int, items: Sequence[Item]) -> None:
        self.got.setdefault(client, []).extend(bytes(item) for item in items)  # type: ignore[arg-type]

    def send_one(self, client: int, frame: Frame) -> None:
        self.got.setdefault(client, []).append(bytes(frame))


def machine_at(fabric: ServerBridge | ServerRouter) -> tuple[Machine, Port]:
    """A machine, and the server's own side of its connection."""
    machine, outer = Machine(offload=False), Machine(offload=False)
    port = outer.port()
    connect(machine.port(), port)
    fabric.add_machine(port)
    return machine, port


@pytest.mark.parametrize("together", [False, True])
def test_clients_reach_each_other_only_if_they_may(together: bool) -> None:
    async def main() -> None:
        clients, drops = Clients(), Counter[str]()
        fabric = ServerBridge(
            "switch", clients.send, clients.send_one, drops, client_to_client=together, ageing=None
        )
        await fabric.open()
        machine, port = machine_at(fabric)
        for client in (0, 1, 2):
            fabric.join(client, "", Welcome())
        fabric.from_client(0, [frame(1)])
        assert machine.numbers == [1]
        assert set(clients.got) == ({1, 2} if together else set())
        assert drops["no --client-to-client"] == (0 if together else 2)
        clients.got.clear()
        fabric.from_machine(port, Burst([frame(2)]))
        assert set(clients.got) == {0, 1, 2}
        fabric.leave(1)
        clients.got.clear()
        fabric.from_machine(port, Burst([frame(3)]))
        assert set(clients.got) == {0, 2}
        fabric.from_client(1, [frame(4)])
        assert drops["frame before admission"] == 1
        await fabric.close()

    run(main)


MACS = [b"\x02\0\0\0\0" + bytes((number,)) for number in range(5)]
"""The machine's, three clients', and one that nobody has."""


WHERETO: list[int | bytes] = [0, 1, 2, 3, 4, b"\xff" * 6, b"\x01" * 6]


def between(source: int, destination: int | bytes) -> bytes:
    at = destination if isinstance(destination, bytes) else MACS[destination]
    return at + MACS[source] + b"\x88\xb5" + bytes(46)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_frames_that_come_alone_fare_as_in_bursts(together: bool, seed: int) -> None:
    async def main() -> None:
        random = Random(seed)
        told = []
        for _ in range(200):
            sender, source = random.randrange(4), random.choice([0, 1, 2, 3, 3])
            told.append((sender, between(source, random.choice(WHERETO))))
        found = []
        for alone in (False, True):
            clients, drops = Clients(), Counter[str]()
            fabric = ServerBridge(
                "switch", clients.send, clients.send_one, drops, client_to_client=together, ageing=None
            )
            await fabric.open()
            machine, port = machine_at(fabric)
            for client in (1, 2, 3):
                fabric.join(client, f"client {client}", Welcome())
            for sender, each in told:
                if sender and alone:
                    fabric.one_from_client(sender, each)
                elif sender:
                    fabric.from_client(sender, [each])
                elif alone:
                    fabric.one_from_machine(port, each)
                else:
                    fabric.from_machine(port, Burst([each]))
            stations = fabric.stations()
            found.append((clients.got, machine.frames, drops, stations))
            await fabric.close()
        assert found[0] == found[1]
        assert found[0][0]
        assert found[0][1]

    run(main)


@pytest.mark.parametrize("together", [False, True])
def test_packets_that_come_alone_fare_as_in_bursts(together: bool) -> None:
    hosts = ["10.8.0.1", "10.8.0.2", "10.8.0.3", "10.8.0.9", "224.0.0.1", "255.255.255.255"]
    told = [(sender, packet(*ends)) for sender in range(3) for ends in product(hosts, hosts)]
    told += [(sender, b"nothing of IP") for sender in range(3)]
    found = []
    for alone in (False, True):
        clients, received, notes = Clients(), Counters(), list[str]()
        fabric = ServerRouter(
            clients.send, clients.send_one, received, notes.append, client_to_client=together
        )
        machine, port = machine_at(fabric)
        for client in (1, 2):
            fabric.join(client, "", Welcome(address=IPv4Address(f"10.8.0.{client + 1}")))
        for sender, each in told:
            if sender and alone:
                fabric.one_from_client(sender, each)
            elif sender:
                fabric.from_client(sender, [each])
            elif alone:
                fabric.one_from_machine(port, each)
            else:
                fabric.from_machine(port, Burst([each]))
        found.append((clients.got, machine.frames, received.drops))
    assert found[0] == found[1]
    assert found[0][0]
    assert found[0][1]


def packet(source: str, destination: str) -> bytes:
    head = bytes((0x45, 0, 0, 20)) + bytes(8)
    return head + IPv4Address(source).packed + IPv4Address(destination).packed


def test_packets_go_where_their_address_is() -> None:
    clients, received, notes = Clients(), Counters(), list[str]()
    fabric = ServerRouter(clients.send, clients.send_one, received, notes.append, client_to_client=True)
    machine, port = machine_at(fabric)
    fabric.join(0, "amy", Welcome(address=IPv4Address("10.8.0.2"), routes=(IPv4Network("10.9.0.0/24"),)))
    fabric.join(1, "bob", Welcome(address=IPv4Address("10.8.0.3"), routes=(IPv4Network("10.9.0.0/24"),)))
    assert notes == ["client 'bob': 10.9.0.0/24 belongs to another client"]
    to_bob, home = packet("10.8.0.2", "10.8.0.3"), packet("10.9.0.7", "10.8.0.1")
    forged, everybody = packet("10.8.0.3", "10.8.0.1"), packet("10.8.0.2", "224.0.0.1")
    fabric.from_client(0, [to_bob, home, forged, everybody, b"", b"\x45"])
    assert clients.got == {1: [to_bob, everybody]}
    assert [got for got, _ in machine.got] == [home, everybody]
    assert received.drops == {"source is not the client's": 1, "not IP": 2}
    clients.got.clear()
    fabric.from_machine(port, Burst([packet("10.8.0.1", "10.9.0.9"), packet("10.8.0.1", "10.8.0.99")]))
    assert list(clients.got) == [0]
    assert received.drops["no client has this address"] == 1
