"""TAPs in namespaces: made, found, restored, bridged, refused, and carrying super-frames."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import sys
import time
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

import pytest

from tests.support.aio import TIMEOUT
from tests.support.machines import EXPERIMENTAL, Events, Machine, frame, opened, raw_socket
from tests.support.netns import Namespace, Net
from tests.support.sockets import received
from tmelink import control
from tmelink.element import Port, connect
from tmelink.elements.host_interfaces.bpf import Bpf
from tmelink.elements.host_interfaces.tap import Tap
from tmelink.elements.host_interfaces.tuntap import READ_BUDGET
from tmelink.errors import ElementError
from tmelink.frame import Burst, Gso
from tmelink.system import tuntap

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping")]


def tap(namespace: Namespace | None = None, **arguments: Any) -> Tap:
    element = Tap("tap1", Tap.Arguments(**arguments))
    if namespace is not None:
        element.netns = namespace.name
    return element


def test_what_is_made_is_configured_and_removed(net: Net) -> None:
    a = net.namespace()

    async def main() -> str:
        element = tap(
            interface="lan",
            inet=IPv4Interface("10.9.0.1/24"),
            inet6=(IPv6Interface("fd09::1/64"), IPv6Interface("fd09::2/64")),
            mac=b"\x02\0\0\0\0\x42",
            mtu=1400,
        )
        async with opened(element):
            return await asyncio.to_thread(a.run, "ip", "addr", "show", "lan")

    shown = a.call(main)
    for expected in (
        "UP,LOWER_UP",
        "mtu 1400",
        "link/ether 02:00:00:00:00:42",
        "inet 10.9.0.1/24 brd 10.9.0.255",
        "inet6 fd09::1/64 scope global nodad",
        "inet6 fd09::2/64 scope global nodad",
    ):
        assert expected in shown
    assert a.interfaces() == ["lo"]


def test_a_new_tap_with_an_address_has_the_same_mac_at_every_start(net: Net) -> None:
    """Otherwise its neighbours would speak to the one before, until they have forgotten it."""
    a = net.namespace()

    async def main() -> list[str]:
        shown = []
        for address in ("10.9.0.1/24", "10.9.0.1/24", "10.9.0.2/24"):
            async with opened(tap(interface="lan", inet=IPv4Interface(address))):
                shown.append(await asyncio.to_thread(a.run, "cat", "/sys/class/net/lan/address"))
        return shown

    first, second, other = a.call(main)
    assert first == second != other


def test_a_tap_without_a_name_takes_the_next_free_one(net: Net) -> None:
    a = net.namespace()

    async def main() -> list[str | None]:
        first, second = tap(), tap()
        async with opened(first, second):
            return [first.interface, second.interface]

    assert a.call(main) == ["tap0", "tap1"]


@pytest.mark.parametrize("queues", [(), ("multi_queue",)], ids=["one queue", "several queues"])
@pytest.mark.parametrize("state", ["up", "down"])
def test_what_is_found_is_left_as_it_was(net: Net, state: str, queues: tuple[str, ...]) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "lan", "mode", "tap", *queues)
    a.run("ip", "link", "set", "lan", "mtu", "1300", "address", "02:00:00:00:00:07", state)
    a.run("ip", "addr", "add", "10.8.0.1/24", "dev", "lan")
    a.run("ip", "addr", "add", "fd08::1/64", "dev", "lan", "nodad")

    def show() -> str:
        # vnet_hdr tells how it was opened last, and each opening says it anew. A link-local address is the
        # kernel's own answer to the first carrier of an interface that is up.
        told = r" tentative|qdisc \w+|NO-CARRIER,|vnet_hdr \w+|    inet6 fe80.*\n.*\n"
        return re.sub(told, "", a.run("ip", "-d", "addr", "show", "lan"))

    before = show()

    async def main() -> str:
        element = tap(
            interface="lan",
            inet=IPv4Interface("10.9.0.1/24"),
            inet6=(IPv6Interface("fd09::1/64"),),
            mac=b"\x02\0\0\0\0\x42",
            mtu=1400,
        )
        async with opened(element):
            await element.limit_super_frames(30_000)
            return await asyncio.to_thread(a.run, "ip", "-d", "addr", "show", "lan")

    shown = a.call(main)
    for expected in (
        "UP,LOWER_UP",
        "mtu 1400",
        "10.9.0.1/24",
        "10.8.0.1/24",
        "fd09::1/64",
        "gso_max_size 30000",
    ):
        assert expected in shown
    assert show() == before


def test_a_found_tap_gives_its_next_user_no_unlabelled_super_frames(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "lan", "mode", "tap")

    async def main() -> str:
        async with opened(tap(interface="lan")):
            return await asyncio.to_thread(a.run, "ethtool", "-k", "lan")

    assert "tcp-segmentation-offload: on" in a.call(main)
    assert "tcp-segmentation-offload: off" in a.run("ethtool", "-k", "lan")


def test_a_tap_is_plugged_into_a_bridge_with_no_address(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "link", "add", "br0", "type", "bridge")
    a.run("ip", "link", "set", "br0", "up")
    machine = Machine()

    async def main() -> str:
        element = tap(interface="lan", bridge="br0")
        connect(element.port(), machine.port())
        async with opened(element):
            a.run("ip", "addr", "add", "10.9.0.1/24", "dev", "br0")
            shown = await asyncio.to_thread(a.run, "ip", "addr", "show", "lan")
            pinged = asyncio.create_task(
                asyncio.to_thread(a.run, "ping", "-c1", "-W1", "10.9.0.2", check=False)
            )
            await machine.until(lambda: any(got[12:14] == b"\x08\x06" for got, _ in machine.got))
            await pinged
            return shown

    shown = a.call(main)
    assert "master br0" in shown
    assert "inet" not in shown
    assert a.interfaces() == ["lo", "br0"]


def test_a_found_tap_is_unplugged_again(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "link", "add", "br0", "type", "bridge")
    a.run("ip", "tuntap", "add", "lan", "mode", "tap")

    async def main() -> None:
        async with opened(tap(interface="lan", bridge="br0")):
            assert "master br0" in await asyncio.to_thread(a.run, "ip", "link", "show", "lan")

    a.call(main)
    shown = a.run("ip", "-d", "link", "show", "lan")
    assert "master" not in shown
    assert "state DOWN" in shown
    assert "addrgenmode eui64" in shown


@pytest.mark.parametrize(
    ("commands", "arguments", "message"),
    [
        (["ip link add lan type veth"], {}, "lan exists and is not a TAP but a veth.*'ip link del lan'"),
        (["ip tuntap add lan mode tun"], {}, "lan exists and is not a TAP but a TUN"),
        ([], {"bridge": "br0"}, "there is no bridge br0; make it first: 'ip link add br0 type bridge'"),
        (["ip link add br0 type veth"], {"bridge": "br0"}, "br0 is not a bridge but a veth"),
        (
            [
                "ip link add br0 type bridge",
                "ip link add br1 type bridge",
                "ip tuntap add lan mode tap",
                "ip link set lan master br1",
            ],
            {"bridge": "br0"},
            "lan is already a port of br1",
        ),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(
    net: Net, commands: list[str], arguments: dict[str, Any], message: str
) -> None:
    a = net.namespace()
    for command in commands:
        a.run(*command.split())
    before = a.run("ip", "-d", "addr")

    async def main() -> None:
        element = tap(interface="lan", **arguments)
        with pytest.raises(ElementError, match=message):
            await element.open()
        await element.close()

    a.call(main)

    def static(shown: str) -> str:
        return re.sub(r"vnet_hdr \w+", "", shown)

    assert static(a.run("ip", "-d", "addr")) == static(before)


@pytest.mark.parametrize(
    ("commands", "arguments", "message"),
    [
        (
            ["sysctl -w net.ipv6.conf.default.disable_ipv6=1"],
            {"inet6": (IPv6Interface("fd00::1/64"),)},
            "IPv6 is",
        ),
        (
            [],
            {"mac": b"\x02\0\0\0\0\x01", "mtu": 65521, "inet6": (IPv6Interface("ff02::1/64"),)},
            "refuses addr",
        ),
    ],
)
def test_an_address_that_is_refused_is_said_and_the_interface_works(
    net: Net,
    commands: list[str],
    arguments: dict[str, Any],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    a = net.namespace()
    for command in commands:
        a.run(*command.split())
    before = a.run("ip", "-d", "addr")

    async def main() -> None:
        element = tap(interface="lan", inet=IPv4Interface("10.9.9.1/24"), **arguments)
        await element.open()
        assert "10.9.9.1/24" in a.run("ip", "addr", "show", "lan")
        await element.close()

    a.call(main)
    assert re.search(message, caplog.text)
    assert a.run("ip", "-d", "addr") == before


def test_a_tap_that_another_process_holds_is_refused(net: Net) -> None:
    a = net.namespace()

    async def main() -> None:
        async with opened(tap(interface="lan")):
            second = tap(interface="lan")
            with pytest.raises(ElementError, match="another program has it open") as refusal:
                await second.open()
            await second.close()
            assert "lan" in a.interfaces()
            # Both remedies, as docs/emulators.md has them.
            assert "tme/host/bsd/bpf interface lan" in str(refusal.value)
            assert "into one bridge with 'bridge br0'" in str(refusal.value)

    a.call(main)


@pytest.mark.parametrize("recipe", ["bpf", "bridge"])
def test_an_emulator_that_opens_a_tap_itself_is_joined_all_the_same(net: Net, recipe: str) -> None:
    """The test opens it as SIMH's `tap:`, pydecnet and User Mode Linux do."""
    a = net.namespace()
    for which in ("all", "default"):
        a.run("sysctl", "-w", f"net.ipv6.conf.{which}.disable_ipv6=1")
    a.run("ip", "tuntap", "add", "emu0", "mode", "tap")
    a.run("ip", "link", "set", "emu0", "up")
    if recipe == "bridge":
        a.run("ip", "link", "add", "br0", "type", "bridge")
        a.run("ip", "link", "set", "br0", "up")
        a.run("ip", "link", "set", "emu0", "master", "br0")

    async def main() -> None:
        emulator = await asyncio.to_thread(tuntap.open_tap, "emu0", offload=False)
        element: Bpf | Tap = tap(interface="lan", bridge="br0")
        if recipe == "bpf":
            element = Bpf("bpf1", Bpf.Arguments(interface="emu0"))
        machine = Machine(offload=False)
        connect(element.port(), machine.port())
        async with opened(element):
            try:
                async with asyncio.timeout(TIMEOUT):
                    # Its interface and a bridge's new port have no carrier at first.
                    while 1 not in machine.numbers:
                        with contextlib.suppress(OSError):
                            os.write(emulator.descriptor, frame(1))
                        await asyncio.sleep(0.05)
                    machine.send(frame(2))
                    heard = b""
                    while heard != frame(2):
                        with contextlib.suppress(BlockingIOError):
                            heard = os.read(emulator.descriptor, tuntap.MAX_READ)
                        await asyncio.sleep(0.01)
            finally:
                await asyncio.to_thread(emulator.close)

    a.call(main)


@pytest.mark.needs("setpriv")
def test_without_privilege_the_capability_is_named(net: Net) -> None:
    a = net.namespace()
    path = a.directory / "tap.conf"
    path.write_text("tap1: tme/host/tun/tap interface lan\ntap1 at tap1\n")
    said = a.run(
        "setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin",
        sys.executable, "-m", "tmelink", "run", str(path), check=False,
    )  # fmt: skip
    assert "needs CAP_NET_ADMIN" in said
    assert "AmbientCapabilities=CAP_NET_ADMIN" in said
    assert "'ip tuntap add lan mode tap user NAME'" in said
    assert "Traceback" not in said


@pytest.mark.needs("setpriv")
def test_a_tap_that_was_made_for_the_user_needs_no_privilege(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "lan", "mode", "tap", "user", "0")
    a.run("ip", "link", "set", "lan", "up")
    a.run("ip", "addr", "add", "10.9.0.1/24", "dev", "lan")
    path = a.directory / "tap.conf"
    path.write_text("le0: tmelink/host inet 10.9.0.2/24\ntap1 at le0: tme/host/tun/tap interface lan\n")
    lab = a.start(
        "setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin",
        sys.executable, "-m", "tmelink", "run", str(path),
    )  # fmt: skip
    lab.expect("running:")
    a.ping("10.9.0.2")
    assert lab.stop() == 0
    assert "lan" in a.interfaces()


def test_a_host_without_the_driver_is_told_how_to_get_it(net: Net) -> None:
    a = net.namespace()
    path = a.directory / "tap.conf"
    path.write_text("tap1: tme/host/tun/tap interface lan\ntap1 at tap1\n")
    # A mount namespace in which the device is not there.
    said = a.run(
        "unshare", "--mount", "sh", "-c",
        f"mount -t tmpfs none /dev/net && exec {sys.executable} -m tmelink run {path}", check=False,
    )  # fmt: skip
    assert "this host has no /dev/net/tun; 'modprobe tun' creates it" in said


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize("offload", [False, True])
def test_a_removed_interface_is_made_again(net: Net, found: bool, offload: bool) -> None:
    """With its name, MAC, MTU and addresses, also where it was found and would have stayed."""
    a = net.namespace()
    if found:
        a.run("ip", "tuntap", "add", "lan", "mode", "tap")

    def looks() -> list[str]:
        lines = a.run("ip", "addr", "show", "lan").splitlines()
        return [
            re.sub(r"^\d+: |<.*?>|valid_lft.*|state \w+", "", line) for line in lines if "fe80" not in line
        ]

    async def main() -> None:
        machine = Machine(offload=offload)
        element = tap(
            interface="lan",
            inet=IPv4Interface("10.9.0.1/24"),
            inet6=(IPv6Interface("fd09::1/64"),),
            mtu=1400,
            offload=offload,
        )
        connect(element.port(), machine.port())
        element.status = events = Events()
        async with opened(element):
            before = await asyncio.to_thread(looks)
            for _ in range(2):
                await asyncio.to_thread(a.run, "ip", "link", "del", "lan")
                assert await events.next() == ("down", "the interface lan has been removed")
                assert await events.next() == ("up", "the interface lan was created again")
                assert await asyncio.to_thread(looks) == before
            assert element.up
            with raw_socket("lan", EXPERIMENTAL) as host:
                element.receive(element.ports[0], Burst([frame(1)]))
                async with asyncio.timeout(TIMEOUT):
                    assert await asyncio.get_running_loop().sock_recv(host, 2000) == frame(1)
                host.send(frame(2))
                await machine.until_number(2)

    a.call(main)
    assert "lan" not in a.interfaces()


def test_what_a_removed_interface_is_found_out_by(net: Net) -> None:
    """While it is not read from, by the next frame that it does not take."""
    a = net.namespace()

    async def main() -> None:
        element = tap(interface="lan")
        port = element.port()
        connect(port, Machine().port())
        element.status = events = Events()
        async with opened(element):
            element.hold(port, True)
            await asyncio.to_thread(a.run, "ip", "link", "del", "lan")
            element.receive(port, Burst([frame(1), frame(2)]))
            assert port.sent.drops["interface is gone"] == 2
            assert (await events.next())[0] == "down"
            element.receive(port, Burst([frame(3)]))
            assert port.sent.drops["closed"] == 1
            assert (await events.next())[0] == "up"

    a.call(main)


def test_a_name_that_is_taken_meanwhile_is_told(net: Net) -> None:
    a = net.namespace()

    async def main() -> None:
        element = tap(interface="lan")
        connect(element.port(), Machine().port())
        element.status = events = Events()
        async with opened(element):
            # In one turn, so that the name is taken before anything else happens.
            await asyncio.to_thread(a.run, "ip", "-b", "-", input="link del lan\nlink add lan type veth\n")
            assert await events.next() == ("down", "the interface lan has been removed")
            kind, why = await events.next()
            assert kind == "failed"
            assert why.startswith(
                "the interface lan has been removed, and cannot be created again: lan exists"
            )

    a.call(main)


ROUTED = """
tun0: tme/host/tun/tun interface lab0
link0 at tun0: tme/host/openvpn/socket/link --dev tun --local 127.0.0.1 --remote 127.0.0.2 \\
  --ifconfig 10.8.0.1 10.8.0.2 --route 10.99.0.0 255.255.0.0 --redirect-gateway
tap0: tme/host/tun/tap interface lan inet 10.77.0.1/24 nat auto mtu 1400
le0 at tap0: tmelink/host inet 10.77.0.2/24 gateway 10.77.0.1
listening: tme/host/bsd/bpf interface lan
le1 at listening: tmelink/host inet 10.77.0.3/24
"""


@pytest.mark.needs("nft")
def test_a_removed_interface_gets_back_its_routes_and_what_is_around_it(net: Net) -> None:
    """Also what a link asks for, and who listens on it hears it again."""
    a, _b = net.pair()
    a.run("ip", "route", "add", "default", "via", "10.1.0.2")
    lab = a.tmelink(ROUTED, "--name", f"routed-{a.name}")

    def reached() -> None:
        a.ping("10.77.0.2")
        with control.connect(f"routed-{a.name}") as running:
            told = running.call("exec", text="le0 ping 10.77.0.3 count 3 interval 0.05")["output"]
        assert "3 received" in told[0]

    def state() -> list[str]:
        return [
            *a.run("ip", "route", "show").splitlines(),
            *a.run("ip", "rule", "show").splitlines(),
            a.run("sysctl", "net.ipv4.conf.lan.forwarding"),
            a.run("nft", "list", "ruleset"),
        ]

    reached()
    before = state()
    for name in ("lan", "lab0"):
        seen = len(lab.lines)
        a.run("ip", "link", "del", name)
        lab.expect(f"the interface {name} was created again", since=seen)
    for _ in range(100):
        if (now := state()) == before:
            break
        time.sleep(0.05)
    assert now == before
    reached()
    assert lab.stop() == 0, lab.output
    assert "Traceback" not in lab.output


def test_what_the_interface_does_not_take_is_counted(net: Net) -> None:
    a = net.namespace()

    async def main() -> dict[str, int]:
        element = tap(interface="lan")
        port = element.port()
        connect(port, Machine().port())
        async with opened(element):
            element.receive(port, Burst([frame(1)]))
            element.receive(port, Burst([b"short"]))
            # Labelled as TCP over IPv4, and it is neither.
            element.receive(port, Burst([frame(1, 2000)], [Gso(1, 500, 14, 14, 500)]))
            await asyncio.to_thread(a.run, "ip", "link", "set", "lan", "down")
            element.receive(port, Burst([frame(1)]))
        return dict(port.sent.drops)

    assert a.call(main) == {"too short": 1, "refused by the interface": 1, "interface is down": 1}


@pytest.mark.parametrize("offload", [True, False])
def test_a_wakeup_is_one_burst_and_a_held_tap_waits(net: Net, offload: bool) -> None:
    a = net.namespace()

    async def main() -> None:
        element, machine = tap(interface="lan", offload=offload), Machine()
        port = machine.port()
        connect(element.port(), port)
        async with opened(element):
            port.hold(True)
            with raw_socket("lan") as sender:
                for number in range(READ_BUDGET + 6):
                    sender.send(frame(number))
            assert machine.got == []
            port.hold(False)
            await machine.until(lambda: len(machine.got) == READ_BUDGET + 6)
            assert machine.numbers == list(range(READ_BUDGET + 6))
            # A first one of all that may be, and the rest, of which one may come alone.
            assert machine.bursts in ([READ_BUDGET, 6], [READ_BUDGET, 1, 5])

    a.run("sysctl", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    a.call(main)


@pytest.mark.needs("iperf3")
@pytest.mark.parametrize("to", ["10.9.0.2", "fd09::2"])
def test_super_frames_cross_two_taps_labelled(net: Net, to: str) -> None:
    """Two hosts whose TAPs are joined in this process: super-frames pass whole, and a limit holds."""
    a, b = net.namespace(), net.namespace()
    one = tap(a, interface="lan", inet=IPv4Interface("10.9.0.1/24"), inet6=(IPv6Interface("fd09::1/64"),))
    two = tap(b, interface="lan", inet=IPv4Interface("10.9.0.2/24"), inet6=(IPv6Interface("fd09::2/64"),))
    connect(one.port(), two.port())
    sizes: list[int] = []
    receive = two.receive

    def watched(port: Port, burst: Burst) -> None:
        for number, data in enumerate(burst.frames):
            if len(data) > 1514:
                assert burst.gso is not None
                assert burst.gso[number] is not None
            sizes.append(len(data))
        receive(port, burst)

    two.receive = watched  # type: ignore[method-assign]

    async def main() -> list[int]:
        async with opened(one, two):
            # The host may have spoken on the one before the other was up.
            one.ports[0].sent.drops.clear()
            two.ports[0].sent.drops.clear()
            largest = []
            for limit in (None, 20_000):
                if limit is not None:
                    await one.limit_super_frames(limit)
                sizes.clear()
                await asyncio.to_thread(a.iperf3, b, to, "-n", "32M")
                largest.append(max(sizes))
            # Before they close: a frame that the host sends in between finds the other one closed.
            assert not one.ports[0].sent.drops
            assert not two.ports[0].sent.drops
            return largest

    unlimited, limited = asyncio.run(main())
    assert unlimited > 30_000
    assert 10_000 < limited <= 20_000 + 14


@pytest.mark.parametrize("offloads", [(True, True), (True, False), (False, True), (False, False)])
def test_a_file_crosses_whole_with_and_without_super_frames(
    net: Net, offloads: tuple[bool, bool], tmp_path: Path
) -> None:
    a, b = net.namespace(), net.namespace()
    one = tap(a, interface="lan", inet=IPv4Interface("10.9.0.1/24"), offload=offloads[0])
    two = tap(b, interface="lan", inet=IPv4Interface("10.9.0.2/24"), offload=offloads[1])
    connect(one.port(), two.port())
    data = hashlib.shake_256(b"seed").digest(4_000_000)
    script = "import hashlib, socket, sys\n"
    receiver = script + (
        "s = socket.create_server(('10.9.0.2', 5000)); print('listening', flush=True)\n"
        "c, _ = s.accept(); h = hashlib.sha256()\n"
        "while d := c.recv(65536): h.update(d)\n"
        "print('sha256', h.hexdigest(), flush=True)\n"
    )
    sender = script + (
        "socket.create_connection(('10.9.0.2', 5000)).sendall(hashlib.shake_256(b'seed').digest(4_000_000))\n"
    )

    async def main() -> str:
        async with opened(one, two):
            server = b.start(sys.executable, "-c", receiver)
            await asyncio.to_thread(server.expect, "listening")
            await asyncio.to_thread(a.run, sys.executable, "-c", sender)
            return await asyncio.to_thread(server.expect, "sha256")

    assert asyncio.run(main()) == f"sha256 {hashlib.sha256(data).hexdigest()}"


def test_a_tap_joined_to_itself_gives_the_host_back_what_it_sent(net: Net) -> None:
    a = net.namespace()
    element = tap(interface="lan", inet=IPv4Interface("10.9.0.1/24"))
    port = element.port()
    connect(port, port)

    async def main() -> bytes:
        async with opened(element):
            with raw_socket("lan", EXPERIMENTAL) as listener, raw_socket("lan") as sender:
                sender.send(frame(7))
                return await received(listener)

    assert a.call(main) == frame(7)
