"""Packet taps in namespaces: what they hear, filters, tags, super-frames, interfaces that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import signal
import sys
from ipaddress import IPv4Interface
from typing import Any

import pytest

from tests.support.machines import EXPERIMENTAL, Events, Machine, frame, opened, raw_socket
from tests.support.netns import Namespace, Net
from tests.support.sockets import received
from tmelink.element import Element, Port, connect
from tmelink.elements.host_interfaces import bpf as bpf_module
from tmelink.elements.host_interfaces.bpf import Bpf
from tmelink.elements.host_interfaces.tap import Tap
from tmelink.errors import ElementError
from tmelink.frame import Burst
from tmelink.system import namespaces, packets

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping")]

SEED = """
tap1: tme/host/tun/tap interface tap0 inet 10.9.0.1/24
tap1 at tap1
"""


def bpf(**arguments: Any) -> Bpf:
    return Bpf("bpf1", Bpf.Arguments(**arguments))


def joined(element: Element, other: Element) -> None:
    connect(element.port(), other.port())


def quiet(namespace: Namespace) -> None:
    """No frame but the test's own: the kernel would say things of its own over IPv6."""
    for which in ("all", "default"):
        namespace.run("sysctl", "-w", f"net.ipv6.conf.{which}.disable_ipv6=1")


def promiscuity(namespace: Namespace, interface: str) -> int:
    found = re.search(r"promiscuity (\d+)", namespace.run("ip", "-d", "link", "show", interface))
    assert found is not None
    return int(found[1])


def test_it_hears_the_wire_and_the_host_but_not_itself(net: Net) -> None:
    a, b = net.pair()
    quiet(a)
    quiet(b)

    async def main() -> None:
        element, machine = bpf(interface="eth0"), Machine()
        joined(element, machine)
        async with opened(element):
            assert await asyncio.to_thread(promiscuity, a, "eth0") == 1
            peer = await namespaces.run(lambda: raw_socket("eth0", EXPERIMENTAL), b.name)
            with peer, raw_socket("eth0") as host:
                machine.send(frame(1))
                assert await received(peer) == frame(1)
                peer.send(frame(2))
                await machine.until(lambda: 2 in machine.numbers)
                host.send(frame(3))
                await machine.until(lambda: 3 in machine.numbers)
                assert await received(peer) == frame(3)
            assert machine.numbers == [2, 3]

    a.call(main)
    assert promiscuity(a, "eth0") == 0


def test_two_on_one_interface_hear_each_other(net: Net) -> None:
    a, b = net.pair()
    quiet(a)
    quiet(b)

    async def main() -> None:
        ends = [(bpf(interface="eth0"), Machine()) for _ in range(2)]
        for element, machine in ends:
            joined(element, machine)
        (first, one), (second, two) = ends
        async with opened(first, second):
            one.send(frame(1))
            await two.until(lambda: two.numbers == [1])
            two.send(frame(2))
            await one.until(lambda: one.numbers == [2])

    a.call(main)


def test_on_a_tap_joined_to_itself_machines_and_host_reach_each_other(net: Net) -> None:
    """The lab of TME's documentation, with two built-in machines."""
    a = net.namespace()
    lab = a.tmelink(
        SEED
        + "le0: tmelink/host inet 10.9.0.2/24\nbpf1 at le0: tme/host/bsd/bpf interface tap0\n"
        + "le1: tmelink/host inet 10.9.0.3/24\nbpf2 at le1: tme/host/bsd/bpf interface tap0 delay 500\n"
        + "command le0 ping 10.9.0.3 count 3 interval 0.1\ncommand le0 ping 10.9.0.1 count 3 interval 0.1\n"
    )
    a.ping("10.9.0.2")
    a.ping("10.9.0.3")
    assert lab.stop() == 0
    replies = [line for line in lab.output.splitlines() if "from" in line or "received" in line]
    assert "DUP" not in lab.output
    assert sum("3 received" in line for line in replies) == 2, lab.output
    assert a.interfaces() == ["lo"]


def test_on_a_tap_each_frame_comes_once(net: Net) -> None:
    a = net.namespace()
    quiet(a)

    async def main() -> None:
        tap = Tap("tap1", Tap.Arguments(interface="tap0"))
        port = tap.port()
        connect(port, port)
        ends = [(bpf(interface="tap0"), Machine()) for _ in range(2)]
        for element, machine in ends:
            joined(element, machine)
        (first, one), (second, two) = ends
        async with opened(tap, first, second):
            with raw_socket("tap0", EXPERIMENTAL) as echo, raw_socket("tap0") as host:
                one.send(frame(1))
                # It has come up to the host, and with it to both packet taps.
                assert await received(echo) == frame(1)
                host.send(frame(2))
                assert await received(echo) == frame(2)
                two.send(frame(3))
                assert await received(echo) == frame(3)
            await one.until(lambda: 3 in one.numbers)
            await two.until(lambda: 2 in two.numbers)
            # Twice the same frame from the host is twice the same frame to the machines.
            with raw_socket("tap0", EXPERIMENTAL) as echo, raw_socket("tap0") as host:
                for _ in range(2):
                    host.send(frame(4))
                    assert await received(echo) == frame(4)
            await one.until(lambda: one.numbers.count(4) == 2)
            await two.until(lambda: two.numbers.count(4) == 2)
            assert one.numbers == [2, 3, 4, 4]
            assert two.numbers == [1, 2, 4, 4]

    a.call(main)


def test_a_vlan_tag_that_the_kernel_took_out_is_put_back(net: Net) -> None:
    a, b = net.pair()
    quiet(a)
    quiet(b)

    async def main() -> None:
        element, machine = bpf(interface="eth0"), Machine()
        joined(element, machine)
        async with opened(element):
            peer = await namespaces.run(lambda: raw_socket("eth0", packets._ETH_P_ALL), b.name)
            with peer:
                peer.send(frame(1, tag=5))
                await machine.until(lambda: machine.numbers == [1])
                assert machine.got[-1][0] == frame(1, tag=5)
                machine.send(frame(2, 1518, tag=7))
                with raw_socket("eth0") as host:
                    host.send(frame(3, tag=9))
                    await machine.until(lambda: machine.numbers == [1, 3])
                assert machine.got[-1][0] == frame(3, tag=9)

    with b.capture("eth0", "vlan", "7", packets=1) as capture:
        a.call(main)
    assert capture.packets == [frame(2, 1518, tag=7)]


@pytest.mark.needs("tcpdump")
@pytest.mark.parametrize(
    ("expression", "passing"),
    [
        ("none", [1, 2, 3]),
        ("vlan 5", [2]),
        ("ether proto 0x88b5 and ether[17] = 3", [3]),
        ("ip", []),
    ],
)
def test_a_filter_is_the_kernels(net: Net, expression: str, passing: list[int]) -> None:
    a, b = net.pair()
    quiet(a)
    quiet(b)

    async def main() -> list[int]:
        element, machine = bpf(interface="eth0", filter=expression), Machine()
        witness, everything = bpf(interface="eth0"), Machine()
        joined(element, machine)
        joined(witness, everything)
        async with opened(element, witness):
            peer = await namespaces.run(lambda: raw_socket("eth0"), b.name)
            with peer:
                for number, tag in ((1, None), (2, 5), (3, None)):
                    peer.send(frame(number, tag=tag))
            await everything.until(lambda: everything.numbers == [1, 2, 3])
            await machine.until(lambda: len(machine.numbers) >= len(passing))
            return machine.numbers

    assert a.call(main) == passing


@pytest.mark.needs("tcpdump")
def test_a_wrong_filter_is_refused_in_tcpdumps_words(net: Net) -> None:
    a, _ = net.pair()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            element = bpf(interface="eth0", filter="prot udp")
            stack.push_async_callback(element.close)
            with pytest.raises(ElementError, match=r"filter 'prot udp': .*syntax error"):
                await element.open()

    a.call(main)


def test_a_filter_without_tcpdump_says_what_is_missing(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = net.pair()

    async def main() -> None:
        element = bpf(interface="eth0", filter="udp")
        with pytest.raises(ElementError, match="a filter needs the program tcpdump; install it or write"):
            await element.open()
        await element.close()

    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        a.call(main)


@pytest.mark.parametrize("offload", [True, False], ids=["super-frames", "plain"])
def test_super_frames_pass_between_a_tap_and_a_packet_tap(net: Net, offload: bool) -> None:
    """A host whose TAP is joined to the wire of another host: a file each way, whole, in super-frames."""
    relay, peer = net.pair()
    machine = net.namespace()
    relay.run("ip", "addr", "flush", "dev", "eth0")
    tap = Tap("tap1", Tap.Arguments(interface="lan", inet=IPv4Interface("10.1.0.9/24"), offload=offload))
    tap.netns = machine.name
    sizes: list[int] = []

    async def main() -> None:
        element = bpf(interface="eth0")
        joined(element, tap)
        receive = element.receive

        def watched(port: Port, burst: Burst) -> None:
            sizes.extend(map(len, burst.frames))
            receive(port, burst)

        element.receive = watched  # type: ignore[method-assign]
        async with opened(element, tap):
            await asyncio.to_thread(_send_file, machine, peer, "10.1.0.2")
            await asyncio.to_thread(_send_file, peer, machine, "10.1.0.9")

    relay.call(main)
    assert max(sizes) > 10_000 if offload else max(sizes) <= 1514


def _send_file(sender: Namespace, receiver: Namespace, address: str) -> None:
    script = "import hashlib, socket\n"
    server = receiver.start(
        sys.executable,
        "-c",
        script
        + f"s = socket.create_server(('{address}', 5000)); print('listening', flush=True)\n"
        + "c, _ = s.accept(); h = hashlib.sha256()\n"
        + "while d := c.recv(65536): h.update(d)\n"
        + "print('sha256', h.hexdigest(), flush=True)\n",
    )
    server.expect("listening")
    data = "hashlib.shake_256(b'seed').digest(4_000_000)"
    sender.run(
        sys.executable, "-c", f"{script}socket.create_connection(('{address}', 5000)).sendall({data})\n"
    )
    expected = hashlib.sha256(hashlib.shake_256(b"seed").digest(4_000_000)).hexdigest()
    assert server.expect("sha256") == f"sha256 {expected}"
    server.wait()


def test_a_delay_makes_one_burst_of_what_comes_within_it(net: Net) -> None:
    a, b = net.pair()
    quiet(a)
    quiet(b)
    count = bpf_module.READ_BUDGET + 6

    async def main() -> None:
        element, machine = bpf(interface="eth0", delay=200_000), Machine()
        joined(element, machine)
        async with opened(element):
            peer = await namespaces.run(lambda: raw_socket("eth0"), b.name)
            with peer:
                for number in range(count):
                    peer.send(frame(number))
                    # Each would be a burst of its own if it were read when it came.
                    await asyncio.sleep(0)
            await machine.until(lambda: len(machine.numbers) == count)
            assert machine.numbers == list(range(count))
            assert len(machine.bursts) == 2

    a.call(main)


def test_a_held_one_reads_nothing_and_the_kernels_drops_are_counted(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = net.pair()
    quiet(a)
    quiet(b)
    monkeypatch.setattr(packets, "RECEIVE_BUFFER", 4096)

    async def main() -> tuple[int, int]:
        element, machine = bpf(interface="eth0"), Machine()
        joined(element, machine)
        async with opened(element):
            machine.ports[0].hold(True)
            peer = await namespaces.run(lambda: raw_socket("eth0"), b.name)
            with peer:
                for number in range(100):
                    peer.send(frame(number))
            assert machine.got == []
            lost = element.counters()["kernel"].drops["receive buffer full"]
            assert element.counters()["kernel"].drops["receive buffer full"] == lost
            machine.ports[0].hold(False)
            await machine.until(lambda: len(machine.got) == 100 - lost)
            return lost, len(machine.got)

    lost, got = a.call(main)
    assert lost > 0
    assert got > 0


def test_it_waits_for_an_interface_that_is_about_to_come(net: Net) -> None:
    a = net.namespace()
    quiet(a)

    async def main() -> None:
        element, machine = bpf(interface="lan"), Machine()
        joined(element, machine)
        opening = asyncio.create_task(element.open())
        await asyncio.to_thread(a.run, "ip", "tuntap", "add", "other", "mode", "tap")
        assert not opening.done()
        async with opened(Tap("tap1", Tap.Arguments(interface="lan"))):
            await opening
            with raw_socket("lan") as host:
                host.send(frame(1))
                await machine.until(lambda: machine.numbers == [1])
            await element.close()

    a.call(main)


def test_an_interface_that_never_comes_is_named(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    a = net.namespace()
    monkeypatch.setattr(bpf_module, "APPEAR_SECONDS", 0.1)

    async def main() -> None:
        element = bpf(interface="lan")
        with pytest.raises(ElementError, match="there is no interface lan, and none appeared within"):
            await element.open()
        await element.close()

    a.call(main)


def test_an_interface_that_goes_and_comes_back_is_taken_up_again(net: Net) -> None:
    a = net.namespace()
    quiet(a)

    async def main() -> None:
        element, machine = bpf(interface="lan"), Machine()
        joined(element, machine)
        element.status = events = Events()
        tap = Tap("tap1", Tap.Arguments(interface="lan"))
        async with opened(tap, element):
            await tap.close()
            assert await events.next() == ("down", "the interface lan is gone")
            element.receive(element.ports[0], Burst([frame(1)]))
            assert element.ports[0].sent.drops == {"interface is down": 1}
            await tap.open()
            assert await events.next() == ("up", "listening on lan again")
            with raw_socket("lan") as host:
                host.send(frame(2))
                await machine.until(lambda: machine.numbers == [2])

    a.call(main)


@pytest.mark.parametrize("index", ["", "index 100"], ids=["another index", "the same index"])
def test_an_interface_that_is_removed_and_made_again_is_listened_on_again(net: Net, index: str) -> None:
    """By a whole run, which has given up its privileges by then; no moment may hide the change."""
    a = net.namespace()
    quiet(a)
    make = (
        f"link add lan {index} address 02:00:00:00:00:0a type veth peer name far\n"
        "link set lan up\nlink set far up\naddress add 10.9.0.2/24 dev far\n"
    )
    a.run("ip", "-b", "-", input=make)
    process = a.tmelink(
        "bpf1: tme/host/bsd/bpf interface lan\nhost1: tmelink/host inet 10.9.0.1/24\nhost1 at bpf1\n"
    )
    a.ping("10.9.0.1")
    for stopped in (False, True):
        since = len(process.lines)
        if stopped:
            process.signal(signal.SIGSTOP)
        a.run("ip", "-b", "-", input=f"link delete lan\n{make}")
        if stopped:
            process.signal(signal.SIGCONT)
        process.expect("listening on lan again", since=since)
        assert promiscuity(a, "lan") == 1
        a.ping("10.9.0.1")
    since = len(process.lines)
    a.run("ip", "link", "delete", "lan")
    process.expect("the interface lan is gone", since=since)
    a.run("ip", "-b", "-", input=make)
    process.expect("listening on lan again", since=since)
    a.ping("10.9.0.1")


def test_what_the_interface_does_not_take_is_counted(net: Net) -> None:
    a, _ = net.pair()

    async def main() -> dict[str, int]:
        element = bpf(interface="eth0")
        joined(element, Machine())
        port = element.ports[0]
        async with opened(element):
            element.receive(port, Burst([frame(1), b"short", frame(1, 1700)]))
            await asyncio.to_thread(a.run, "ip", "link", "set", "eth0", "down")
            element.receive(port, Burst([frame(1)]))
        return dict(port.sent.drops)

    assert a.call(main) == {"too short": 1, "larger than the interface's MTU": 1, "interface is down": 1}


def test_by_default_it_takes_the_first_interface_that_is_up(net: Net) -> None:
    a, _ = net.pair()
    b = net.namespace()

    async def main() -> str | None:
        element = bpf()
        async with opened(element):
            return element.interface

    assert a.call(main) == "eth0"
    with pytest.raises(ElementError, match="no interface is up; say which with 'interface NAME'"):
        b.call(main)


def test_an_interface_without_ethernet_is_refused(net: Net) -> None:
    a = net.namespace()
    a.run("ip", "tuntap", "add", "tun0", "mode", "tun")

    async def main() -> None:
        async with opened(bpf(interface="tun0")):
            pass

    with pytest.raises(ElementError, match="the interface tun0 carries no Ethernet frames"):
        a.call(main)


@pytest.mark.needs("setpriv")
def test_without_privilege_the_capability_is_named(net: Net) -> None:
    a, _ = net.pair()
    path = a.directory / "bpf.conf"
    path.write_text("le0: tmelink/host inet 10.1.0.9/24\nbpf1 at le0: tme/host/bsd/bpf interface eth0\n")
    said = a.run(
        "setpriv", "--inh-caps=-net_raw", "--bounding-set=-net_raw",
        sys.executable, "-m", "tmelink", "run", str(path), check=False,
    )  # fmt: skip
    assert "opening a packet socket: needs CAP_NET_RAW" in said
    assert "Traceback" not in said


def test_on_the_loopback_each_frame_comes_once(net: Net) -> None:
    a = net.namespace()

    async def main() -> None:
        element, machine = bpf(interface="lo"), Machine()
        joined(element, machine)
        async with opened(element):
            with raw_socket("lo") as host:
                host.send(frame(1))
                host.send(frame(2))
            await machine.until(lambda: 2 in machine.numbers)
            assert machine.numbers == [1, 2]

    a.call(main)
