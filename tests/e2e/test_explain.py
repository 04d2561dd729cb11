"""What `tmelink explain` says of the samples is what tcpdump sees: interface, outer addresses, every size."""

from __future__ import annotations

import asyncio
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import tmelink
from tests.e2e import internet
from tests.e2e.gateway_server import certificates, server
from tests.e2e.internet import WORLD, Internet
from tests.support.aio import eventually
from tests.support.netns import Namespace, Net
from tests.support.samples import with_made_keys
from tmelink.elements.builtin.host import Host
from tmelink.machine import load
from tmelink.proof import choice
from tmelink.proof.hops import Proof, UnderlayPackets
from tmelink.proof.topology import Topology
from tmelink.proof.trace import prove
from tmelink.resources import folder
from tmelink.sizes import PingSize
from tmelink.system import namespaces, route_lookup

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "tcpdump")]

MACHINES = folder("machines")

SIZES = (1, 1400, 1430, 1431, 1472, 1473, 1500, 9000)
"""Bytes of data: around what fits one packet outside (1430), one packet inside (1472), and far beyond."""

Expected = dict[tuple[int, bool], Proof]
"""What is explained for each size and DF."""

TAIL = 5
"""Pings behind those that are looked at: once tcpdump has seen them, it has seen all."""

TAIL_SIZE = 3
"""Bytes of data in them: no other ping here is as long."""


def proved(sample: str | Path, source: str, target: str, size: int, *, df: bool = False) -> Proof:
    topology = Topology(load(MACHINES / sample))
    (journey,) = choice.chosen(topology, source, target)
    return prove(topology, journey, PingSize(4, size, df))


def outside(proof: Proof) -> UnderlayPackets:
    """What is sent outside first: by the computer that it comes from."""
    return next(hop.underlay for hop in proof.hops if hop.underlay is not None)


def computers(net: Net) -> tuple[Namespace, Namespace]:
    one, two = net.pair()
    for number, host in enumerate((one, two), 1):
        host.run("ip", "addr", "add", f"192.168.0.{number}/24", "dev", "eth0")
    return one, two


def run(host: Namespace, sample: str, *options: str, up: str | None = None) -> None:
    folder = (MACHINES / sample).parent
    process = host.start(sys.executable, "-m", "tmelink", "run", *options, sample, cwd=folder)
    process.expect("running:")
    if up is not None:
        process.expect(up)


def sizes(packets: Iterable[bytes]) -> list[int]:
    """Bytes of each IP packet."""
    return [struct.unpack_from("!H", packet, 16)[0] for packet in packets]


def bare_sizes(packets: Iterable[bytes]) -> list[int]:
    """The same on a TUN, where no Ethernet header is before it."""
    return [struct.unpack_from("!H", packet, 2)[0] for packet in packets]


Read = Callable[[list[bytes]], list[int]]
"""From captured packets to the sizes that are explained."""


def without_tail(found: list[int], tail: int) -> list[int]:
    """The sizes before those of the tail."""
    assert found[-TAIL:] == [tail] * TAIL, f"the tail was not seen: {found}"
    return found[:-TAIL]


def ended(tail: int, read: Read = sizes) -> Callable[[list[bytes]], bool]:
    """Whether the whole tail has been captured."""
    return lambda packets: read(packets)[-TAIL:] == [tail] * TAIL


def stream(packets: Iterable[bytes]) -> bytes:
    """What TCP segments carry, in order; each byte once."""
    data: dict[int, int] = {}
    for packet in packets:
        start = 14 + (packet[14] & 0xF) * 4
        (sequence,) = struct.unpack_from("!I", packet, start + 4)
        payload = packet[start + (packet[start + 12] >> 4) * 4 : 14 + sizes([packet])[0]]
        data.update(enumerate(payload, sequence))
    return bytes(data[at] for at in sorted(data))


def records(data: bytes) -> Iterator[bytes]:
    """What is in a stream, by the two bytes before each that say how long it is."""
    at = 0
    while at + 2 <= len(data):
        (length,) = struct.unpack_from("!H", data, at)
        yield data[at + 2 : at + 2 + length]
        at += 2 + length


def framed(data: bytes) -> list[int]:
    """The lengths, with the two bytes that say so, of frames with IP in a stream."""
    return [len(each) + 2 for each in records(data) if each[12:14] == b"\x08\x00"]


def long(data: bytes, longest_own: int = 0) -> list[int]:
    """The lengths of encrypted records in a stream but for what is OpenVPN's own."""
    return [len(each) + 2 for each in records(data) if len(each) > longest_own]


def pings(host: Namespace, address: str, expected: Expected, own: str | None = None) -> None:
    """A ping of the kernel's for each proof, which answers or fails as that says; then the tail."""
    begin = [] if own is None else ["-I", own]
    for (size, df), proof in expected.items():
        how = ["-s", str(size), "-M", "do" if df else "dont", *begin]
        said = host.run("ping", "-n", "-c", "1", "-i", "0.01", "-W", "10", *how, address, check=False)
        answered = " 1 received" in said
        assert answered == (proof.verdict != "dropped"), f"{size} {df} {proof.reason}\n{said}"
        if not answered:
            assert re.search("[Mm]essage too long|Frag needed", said), said
    options = {} if own is None else {"I": own}
    host.ping(address, count=TAIL, size=TAIL_SIZE, **options)


def all_sizes(sample: str | Path, source: str, target: str, *more: int) -> Expected:
    """A proof for each size, without DF and with it."""
    chosen = (*SIZES, *more)
    found = {
        (size, df): proved(sample, source, target, size, df=df) for df in (False, True) for size in chosen
    }
    assert len(found) >= 12
    return found


def encrypted_sizes(sample: str | Path, source: str, target: str) -> Expected:
    """All sizes that ENCRYPTED finds: the last fragment of 1473 is shorter than ARP under TLS."""
    every = all_sizes(sample, source, target)
    return {ping: proof for ping, proof in every.items() if ping[0] != 1473}


def interface(proof: Proof) -> str:
    """By which interface its sender sends it."""
    (name,) = re.findall(r"out by (\S+)$", proof.hops[0].does)
    return str(name)


def from_own_address(proof: Proof, own: str, peer: str) -> UnderlayPackets:
    """What is sent outside, between the addresses of the computers where the file leaves them to them."""
    sent = outside(proof)
    assert (sent.source or own, sent.destination or peer) == (own, peer)
    return sent


IP_IN_UDP = "ip proto 17 and src {} and dst {} and (ip[6:2] & 0x1fff != 0 or udp[8] & 0xf0 = 0x40)"
"""Datagrams with nothing but an IPv4 packet, and their fragments."""

ANY_UDP = "ip proto 17 and src {} and dst {}"
"""Datagrams and their fragments; under a static key nothing tells what is in them."""


ENCRYPTED_ARP = 28 + 42
"""Bytes of a request or answer of ARP under TLS; the smallest ping is longer."""

ENCRYPTED = (
    "ip proto 17 and src {} and dst {} "
    f"and (ip[6:2] & 0x1fff != 0 or (udp[8] & 0xf8 = 0x48 and udp[4:2] > {8 + ENCRYPTED_ARP}))"
)
"""Datagrams with data under TLS (P_DATA_V2) that are longer than those with ARP or OpenVPN's ping."""


def no_ipv6(*hosts: Namespace) -> None:
    """New interfaces speak no IPv6: its multicasts are encrypted too, and could not be told apart outside."""
    for host in hosts:
        host.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")


def seen_as_explained(
    host: Namespace,
    address: str,
    expected: Expected,
    tail: Proof,
    *,
    peer: str,
    own: str,
    sender: str | None = None,
) -> None:
    """The packets of a computer with a TUN: inside by the interface that was explained, outside encrypted."""
    device = interface(tail)
    with (
        host.capture("eth0", ANY_UDP.format(own, peer), until=ended(_outside_sizes(tail)[0])) as outer,
        host.capture(
            device, "-Q", "out", f"ip proto 1 and dst {address}", until=ended(tail.ping.packet, bare_sizes)
        ) as inner,
    ):
        pings(host, address, expected, sender)
    for proof in expected.values():
        if proof.verdict != "dropped":
            from_own_address(proof, own, peer)
    wanted = [size for proof in expected.values() for size in _outside_sizes(proof)]
    assert without_tail(sizes(outer.packets), _outside_sizes(tail)[0]) == wanted
    inside = [size for proof in expected.values() for size in _inside_sizes(proof)]
    assert without_tail(bare_sizes(inner.packets), tail.ping.packet) == inside


def quiet(text: str) -> str:
    """A sample that sends nothing of its own: no pings, questions, loop probes or multicasts of IPv6."""
    text = re.sub(r"(: tmelink/switch)\b", r"\1 loop-probe 0", text)
    return re.sub(r" --(keepalive|ifconfig-ipv6) \S+ \S+", "", text).replace(
        "--auth SHA256", "--auth SHA256 --disable-occ"
    )


def without_ipv6(text: str) -> str:
    """A sample whose built-in machines and TAPs have no address of IPv6."""
    return re.sub(r" (inet6|gateway6) \S+", "", text)


def running(host: Namespace, file: Path, *options: str) -> None:
    """A sample without what its links send of their own."""
    file.write_text(quiet(file.read_text()))
    run(host, str(file), *options)


def tunnelled(net: Net) -> Internet:
    there = internet.internet(net)
    no_ipv6(*there.hosts)
    running(there.office, internet.sample(net.directory, "l3-server.conf"))
    running(there.traveller, internet.sample(net.directory, "l3-client.conf"))
    there.traveller.ping("10.8.0.1", count=1)
    return there


@pytest.mark.needs("nft")
def test_a_travellers_packets_go_as_explained(net: Net) -> None:
    """l3-client.conf: by a route of its own, by the redirected default, and to the peer past the tunnel."""
    there = tunnelled(net)
    for address in ("192.168.50.10", WORLD):
        expected = all_sizes("l3-client.conf", "tun0", address)
        tail = proved("l3-client.conf", "tun0", address, TAIL_SIZE)
        seen_as_explained(there.traveller, address, expected, tail, own="198.51.100.7", peer="203.0.113.5")
    past_the_tunnel(there.traveller, "l3-client.conf", "tun0", "203.0.113.5", own="198.51.100.7")


def past_the_tunnel(host: Namespace, sample: str, source: str, address: str, own: str) -> None:
    """Packets that leave by the computer's own routes, from an address of its own."""
    expected = all_sizes(sample, source, address)
    tail = proved(sample, source, address, TAIL_SIZE)
    with (
        host.capture(
            "eth0",
            f"ip proto 1 and src {own} and dst {address}",
            until=ended(_outside_sizes(tail)[0]),
        ) as outer,
        host.capture("tun0", f"ip proto 1 and dst {address}") as inner,
    ):
        pings(host, address, expected, own)
    wanted = [size for proof in expected.values() for size in _outside_sizes(proof)]
    assert without_tail(sizes(outer.packets), _outside_sizes(tail)[0]) == wanted
    assert inner.packets == []


@pytest.mark.needs("nft")
def test_a_tun_servers_packets_go_as_explained(net: Net) -> None:
    """l3-server.conf, whose file knows no address outside at all."""
    there = tunnelled(net)
    expected = all_sizes("l3-server.conf", "tun0", "10.8.0.2")
    tail = proved("l3-server.conf", "tun0", "10.8.0.2", TAIL_SIZE)
    seen_as_explained(there.office, "10.8.0.2", expected, tail, own="203.0.113.5", peer="198.51.100.7")


def test_each_identitys_packets_go_as_explained(net: Net) -> None:
    """two-identities.conf: to one and the same address by the tunnel and past it, as the source decides."""
    there = internet.identities(net)
    no_ipv6(*there.hosts)
    file = internet.sample(net.directory, "two-identities.conf")
    running(there.office, file, "--host", "office")
    running(there.traveller, file, "--host", "laptop")
    corporate, inside, outer = "192.0.2.10", "192.0.2.66", "198.51.100.7"
    there.traveller.ping(corporate, count=1, I=inside)
    for target in (corporate, WORLD):
        expected = all_sizes("two-identities.conf", "laptop-tun", target)
        tail = proved("two-identities.conf", "laptop-tun", target, TAIL_SIZE)
        seen_as_explained(
            there.traveller, target, expected, tail, own=outer, peer="203.0.113.5", sender=inside
        )
    past_the_tunnel(there.traveller, "two-identities.conf", outer, corporate, own=outer)


def with_namespace(net: Net, sample: str, machine: Namespace) -> Path:
    """The sample with a namespace, whose kernel sends with DF too, in the place of its first machine."""
    file = net.directory / sample
    text = (MACHINES / sample).read_text()
    file.write_text(re.sub(r"(le0[^\n]*: tmelink/)host", rf"\1netns {machine.name}", text, count=1))
    return file


def test_a_machines_packets_to_a_tun_server_go_as_explained(net: Net) -> None:
    """gateway.conf before a stock OpenVPN server, over TCP."""
    here, there = net.pair()
    machine = net.namespace()
    here.run("ip", "addr", "add", "192.168.1.5/24", "dev", "eth0")
    there.run("ip", "addr", "add", "192.168.1.1/24", "dev", "eth0")
    there.run("ip", "addr", "add", "1.2.3.4/32", "dev", "lo")
    here.run("ip", "route", "add", "default", "via", "192.168.1.1")
    certificates(net.directory)
    server(there, net.directory)
    file = with_namespace(net, "gateway.conf", machine)
    run(here, str(file), up="tunnel: connected")
    machine.ping("10.8.0.1", count=1)
    expected = all_sizes(file, "le0", "10.8.0.1")
    tail = proved(file, "le0", "10.8.0.1", TAIL_SIZE)
    sent = outside(tail)
    for (size, df), proof in expected.items():
        if not df:
            assert outside(proof) == outside(proved("gateway.conf", "le0", "10.8.0.1", size))

    def data(packets: list[bytes]) -> list[int]:
        # OpenVPN's ping of 16 bytes is 40 with what is around it.
        return long(stream(packets), 40)

    with (
        here.capture(
            "eth0", TCP.format(sent.source, sent.destination), until=ended(_outside_sizes(tail)[0], data)
        ) as outer,
        machine.capture(
            "eth0", "-Q", "out", "ip proto 1 and dst 10.8.0.1", until=ended(tail.ping.packet)
        ) as inner,
    ):
        pings(machine, "10.8.0.1", expected)
    wanted = [size for proof in expected.values() for size in _outside_sizes(proof)]
    assert without_tail(data(outer.packets), _outside_sizes(tail)[0]) == wanted
    inside = [size for proof in expected.values() for size in _inside_sizes(proof)]
    assert without_tail(sizes(inner.packets), tail.ping.packet) == inside


@pytest.mark.parametrize(
    ("sample", "address", "more"),
    [("hello.conf", "10.0.77.2", ()), ("nested.conf", "10.1.2.2", (1432, 1433))],
)
@pytest.mark.needs("ethtool")
def test_packets_that_must_not_be_cut_go_as_explained(
    net: Net, sample: str, address: str, more: tuple[int, ...]
) -> None:
    """The samples of built-in machines, with one of the kernel's in the place of the first."""
    nested = sample == "nested.conf"
    one, two = computers(net)
    machine = net.namespace()
    file = with_namespace(net, sample, machine)
    one.run("ethtool", "-K", "lo", "tx-udp-segmentation", "off")
    if nested:
        run(two, str(file), "--host", "right")
    run(one, str(file), *(["--host", "left"] if nested else []))
    machine.ping(address, count=2)
    source, target = ("le0", "le1") if nested else ("a/le0", "b/le0")
    expected = all_sizes(file, source, target, *more)
    tail = proved(file, source, target, TAIL_SIZE)

    def outer_sizes(proof: Proof) -> tuple[int, ...]:
        return () if proof.verdict == "dropped" else last_outside(proof).sizes

    sent = last_outside(tail)
    filtered = f"ip proto 4 and src {sent.source} and dst {sent.destination}"
    if not nested:
        filtered = f"udp dst port {sent.port} and udp[20:2] = 0x0800 and ip[42+9] = 1"
    with one.capture("eth0" if nested else "lo", filtered, until=ended(outer_sizes(tail)[0])) as outer:
        pings(machine, address, expected)
    wanted = [size for proof in expected.values() for size in outer_sizes(proof)]
    assert without_tail(sizes(outer.packets), outer_sizes(tail)[0]) == wanted


def last_outside(proof: Proof) -> UnderlayPackets:
    """What is sent on the network, outside all tunnels."""
    return [hop.underlay for hop in proof.hops if hop.underlay is not None][-1]


@pytest.mark.needs("ethtool")
def test_emulators_packets_go_as_explained(net: Net) -> None:
    """retronet.conf, but for what it starts: an emulator on each computer's bridge."""
    hosts = net.internet(3)[:3]
    no_ipv6(*hosts)
    file = with_made_keys(MACHINES / "retronet.conf", net.directory, "attic", "cellar", "office")
    text = file.read_text()
    started = r"    (vm0|outside) at sw0: (?:[^\n]*\\\n)*[^\n]*\n"
    assert len(re.findall(started, text)) == 2
    text = re.sub(started, "", text)
    file.write_text(quiet(text))
    emulators = [net.namespace() for _ in hosts]
    no_ipv6(*emulators)
    for number, (host, emulator) in enumerate(zip(hosts, emulators, strict=True), 1):
        host.run("ip", "addr", "add", f"192.168.0.{number}/24", "dev", "eth0")
        host.run("ip", "link", "add", "br0", "type", "bridge")
        host.run("ip", "link", "set", "br0", "up")
        internet.wire(host, "emu0", emulator, "le0")
        host.run("ip", "link", "set", "emu0", "master", "br0")
        emulator.run("ip", "addr", "add", f"10.0.79.{number}/24", "dev", "le0")
    for host, name in zip(hosts, ("attic", "cellar", "office"), strict=True):
        run(host, str(file), "--host", name, up="office-link: connected" if name == "office" else None)
    attic, emulator = hosts[0], emulators[0]
    for number, target in ((2, "cellar-tap"), (3, "office-tap")):
        address = f"10.0.79.{number}"
        emulator.ping(address, count=2)
        for one, other in ((emulator, number), (emulators[number - 1], 1)):
            # No ARP from here on: encrypted it is as long as a small ping.
            one.run("ip", "neigh", "replace", f"10.0.79.{other}", "lladdr", _mac(emulators[other - 1]),
                    "dev", "le0", "nud", "permanent")  # fmt: skip
        expected = encrypted_sizes("retronet.conf", "attic-tap", target)
        tail = proved("retronet.conf", "attic-tap", target, TAIL_SIZE)
        sent = outside(tail)
        assert (sent.source, sent.destination) == ("192.168.0.1", f"192.168.0.{number}")
        read: Read = (lambda packets: long(stream(packets))) if sent.stream else sizes
        filtered = TCP if sent.stream else ENCRYPTED
        both_sides_as_explained(attic, emulator, address, expected, tail, filtered, read)

    behind_bare_datagrams(attic, emulator)


def behind_bare_datagrams(attic: Namespace, emulator: Namespace) -> None:
    """The same to what is in SIMH's place."""
    attic.run("ethtool", "-K", "lo", "tx-udp-segmentation", "off")
    address = "10.0.79.22"
    attic.tmelink(
        'simh: tmelink/udp local "127.0.0.1:5002" remote "127.0.0.1:5001"\n'
        f"behind-udp at simh: tmelink/host inet {address}/24\n"
    )
    emulator.ping(address, count=2)
    expected = all_sizes("retronet.conf", "attic-tap", "simh")
    tail = proved("retronet.conf", "attic-tap", "simh", TAIL_SIZE)
    sent = outside(tail)
    filtered = UDP.format(sent.source, sent.destination) + f" and dst port {sent.port}"
    with attic.capture("lo", filtered, until=ended(sent.sizes[0])) as outer:
        pings(emulator, address, expected)
    wanted = [size for proof in expected.values() for size in _outside_sizes(proof)]
    assert without_tail(sizes(outer.packets), sent.sizes[0]) == wanted


def _mac(emulator: Namespace) -> str:
    (mac,) = re.findall(r"link/ether (\S+)", emulator.run("ip", "link", "show", "le0"))
    return str(mac)


UDP = "ip proto 17 and src {} and dst {} and (ip[6:2] & 0x1fff != 0 or udp[20:2] = 0x0800)"
"""Datagrams with a frame that holds IPv4, and their fragments."""

TCP = "tcp and src {} and dst {}"


@pytest.mark.parametrize(
    ("sample", "address", "proto"),
    [
        ("peer-a.conf", "10.0.77.2", "udp"),
        ("peer-b.conf", "10.0.77.1", "udp"),
        ("peer-a.conf", "10.0.77.2", "tcp"),
    ],
)
def test_plaintext_packets_go_as_explained(net: Net, sample: str, address: str, proto: str) -> None:
    """The pair without keys, over UDP and, as the first of them says, over TCP."""
    hosts = dict(zip(("peer-a.conf", "peer-b.conf"), computers(net), strict=True))
    if proto == "tcp":
        for name, role in (("peer-a.conf", "server"), ("peer-b.conf", "client")):
            text = (MACHINES / name).read_text().rstrip()
            (net.directory / name).write_text(f"{text} --proto tcp-{role}\n")
    folder = MACHINES if proto == "udp" else net.directory
    for name in ("peer-a.conf", "peer-b.conf"):
        run(hosts[name], str(folder / name))
    one = hosts[sample]
    one.ping(address, count=2)
    expected = all_sizes(folder / sample, "le0", address)
    tail = proved(folder / sample, "le0", address, TAIL_SIZE)
    filtered = TCP if proto == "tcp" else UDP
    read: Read = (lambda packets: framed(stream(packets))) if proto == "tcp" else sizes
    both_sides_as_explained(one, one, address, expected, tail, filtered, read)


@pytest.mark.parametrize(
    ("sample", "source", "target", "address", "up"),
    [
        ("lab.conf", "a/tap1", "c/le0", "10.0.78.13", "link2: up: "),
        ("lab.conf", "a/tap1", "d/le0", "10.0.78.14", "link3: up: "),
        ("autonat.conf", "tap0", "b-le0", "10.0.78.12", "link0: up: "),
    ],
)
def test_a_computers_packets_go_as_explained(
    net: Net, sample: str, source: str, target: str, address: str, up: str
) -> None:
    one, two = computers(net)
    no_ipv6(one, two)
    one.run("ip", "route", "add", "default", "via", "192.168.0.2")
    file = with_made_keys(MACHINES / sample, net.directory, "one", "two")
    file.write_text(quiet(without_ipv6(file.read_text())))
    run(two, str(file), "--host", "two")
    run(one, str(file), "--host", "one", up=up)
    one.ping(address, count=2)
    expected = encrypted_sizes(file, source, target)
    tail = proved(file, source, target, TAIL_SIZE)
    in_stream = outside(tail).stream
    read: Read = (lambda packets: long(stream(packets), ENCRYPTED_ARP)) if in_stream else sizes
    both_sides_as_explained(one, one, address, expected, tail, TCP if in_stream else ENCRYPTED, read)


def both_sides_as_explained(
    host: Namespace,
    pinging: Namespace,
    address: str,
    expected: Expected,
    tail: Proof,
    filtered: str,
    read: Read,
) -> None:
    """The packets of a computer with a TAP: by tap0 inside, and as `read` finds them outside."""
    sent = outside(tail)
    inside_out = ("tap0", "-Q", "out", f"ip proto 1 and dst {address}")
    with (
        host.capture(
            "eth0",
            filtered.format(sent.source, sent.destination),
            until=ended(_outside_sizes(tail)[0], read),
        ) as outer,
        host.capture(*inside_out, until=ended(tail.ping.packet)) as inner,
    ):
        pings(pinging, address, expected)
    for proof in expected.values():
        if proof.verdict != "dropped":
            assert (outside(proof).source, outside(proof).destination) == (sent.source, sent.destination)
    wanted = [size for proof in expected.values() for size in _outside_sizes(proof)]
    assert without_tail(read(outer.packets), _outside_sizes(tail)[0]) == wanted
    inside = [size for proof in expected.values() for size in _inside_sizes(proof)]
    assert without_tail(sizes(inner.packets), tail.ping.packet) == inside


@pytest.mark.needs("nft")
def test_a_machines_packets_to_the_world_go_as_explained(net: Net) -> None:
    """autonat.conf: by the link to the other computer, and out there under its address."""
    one, two = computers(net)
    world, machine = net.namespace(), net.namespace()
    no_ipv6(one, two, machine)
    internet.wire(one, "wan", world, "eth0", ("198.51.100.7/24", "198.51.100.1/24"))
    one.run("ip", "route", "add", "default", "via", "198.51.100.1")
    file = with_made_keys(MACHINES / "autonat.conf", net.directory, "one", "two")
    # The second machine: the other one is at home on the first computer.
    text = file.read_text().replace("b-le0: tmelink/host", f"b-le0: tmelink/netns {machine.name}")
    file.write_text(quiet(without_ipv6(text)))
    run(one, str(file), "--host", "one")
    run(two, str(file), "--host", "two", up="link1: up: ")
    address = "198.51.100.1"
    machine.ping(address, count=2)
    expected = encrypted_sizes(file, "b-le0", address)
    tail = proved(file, "b-le0", address, TAIL_SIZE)
    crossed, left = [hop.underlay for hop in tail.hops if hop.underlay is not None]
    # Under which address is the interface's affair, and `wan` the one that the default route leads to.
    assert (left.source, left.destination) == (None, address)
    with (
        two.capture(
            "eth0", ENCRYPTED.format(crossed.source, crossed.destination), until=ended(crossed.sizes[0])
        ) as outer,
        one.capture(
            "wan", f"ip proto 1 and src 198.51.100.7 and dst {address}", until=ended(left.sizes[0])
        ) as outside_world,
    ):
        pings(machine, address, expected)
    arriving = [proof for proof in expected.values() if proof.verdict != "dropped"]
    wanted = [size for proof in arriving for size in outside(proof).sizes]
    assert without_tail(sizes(outer.packets), crossed.sizes[0]) == wanted
    wanted = [size for proof in arriving for size in last_outside(proof).sizes]
    assert without_tail(sizes(outside_world.packets), left.sizes[0]) == wanted


def test_a_narrow_paths_packets_go_as_explained_on_the_computer_itself(net: Net) -> None:
    """l3-client.conf's like: no address of its own in the file, and an interface of 1400 bytes."""
    one, two = net.pair(mtu=1400)
    text = (
        "tun0: tme/host/tun/tun interface tun0\n"
        "link0 at tun0: tme/host/openvpn/socket/link --dev tun --remote {} --ifconfig 10.8.0.{} 10.8.0.{}\n"
    )
    no_ipv6(one, two)
    file = net.directory / "narrow.conf"
    file.write_text(text.format(two.addresses[0], 1, 2))
    two.tmelink(text.format(one.addresses[0], 2, 1))
    run(one, str(file))
    one.ping("10.8.0.2", count=1)

    def explained() -> list[Proof]:
        topology = Topology(load(file), route_lookup.towards)
        (journey,) = choice.chosen(topology, "tun0", "10.8.0.2")
        pings = [PingSize(4, size, df) for df in (False, True) for size in SIZES]
        return [prove(topology, journey, ping) for ping in (*pings, PingSize(4, TAIL_SIZE))]

    *proofs, tail = asyncio.run(namespaces.run(explained, one.name))
    sent = outside(tail)
    assert str(sent.path) == "a path of 1400 bytes: the MTU of this computer's eth0"
    assert (sent.source, sent.destination) == (one.addresses[0], two.addresses[0])
    filtered = IP_IN_UDP.format(sent.source, sent.destination)
    with one.capture("eth0", filtered, until=ended(_outside_sizes(tail)[0])) as outer:
        pings(one, "10.8.0.2", {(proof.ping.data, proof.ping.df): proof for proof in proofs})
    wanted = [size for proof in proofs for size in _outside_sizes(proof)]
    assert without_tail(sizes(outer.packets), _outside_sizes(tail)[0]) == wanted


def _outside_sizes(proof: Proof) -> tuple[int, ...]:
    return () if proof.verdict == "dropped" else outside(proof).sizes


def _inside_sizes(proof: Proof) -> tuple[int, ...]:
    return () if proof.verdict == "dropped" else proof.hops[0].packets


@pytest.mark.needs("ethtool")
@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("b", "a")])
def test_built_in_machines_packets_go_as_explained(net: Net, source: str, target: str) -> None:
    """hello.conf, over the loopback interface; a built-in machine sends without DF."""
    here = net.namespace()
    here.run("ethtool", "-K", "lo", "tx-udp-segmentation", "off")
    expected = [
        proved("hello.conf", f"{source}/le0", f"{target}/le0", size)
        for size in (*SIZES, 56, 2000, 3000, 65507 - 14 - 42)
    ]
    tail = proved("hello.conf", f"{source}/le0", f"{target}/le0", TAIL_SIZE)
    sent = outside(tail)
    address = "10.0.77.1" if target == "a" else "10.0.77.2"

    async def main() -> None:
        async with tmelink.load(MACHINES / "hello.conf").run() as lab:
            machine = lab[f"{source}/le0"]
            assert isinstance(machine, Host)
            # A ping that finds the link down asks for its destination first, and would be captured too.
            await eventually(lambda: all(element.up for element in lab.values()))
            for proof in [*expected, *[tail] * TAIL]:
                result = await machine.ping(address, count=1, size=proof.ping.data)
                assert result.received == 1, (proof.ping, result)

    filtered = f"udp dst port {sent.port} and src {sent.source} and dst {sent.destination}"
    filtered += " and udp[20:2] = 0x0800 and ip[42+9] = 1"
    with here.capture("lo", filtered, until=ended(sent.sizes[0])) as outer:
        here.call(main)
    # Behind the outer headers is the frame; an answer to the other one's announcement is not one of ours.
    assert all(proof.verdict == "arrives" for proof in expected)
    wanted = [size for proof in expected for size in outside(proof).sizes]
    assert without_tail(sizes(outer.packets), outside(tail).sizes[0]) == wanted


def test_packets_in_a_tunnel_in_a_tunnel_go_as_explained(net: Net) -> None:
    """nested.conf: a built-in machine, its gateway, and two headers of IP in IP."""
    one, two = computers(net)
    run(two, "nested.conf", "--host", "right")
    expected = [proved("nested.conf", "le0", "le1", size) for size in (*SIZES, 56, 1432, 1433, 3000)]
    tail = proved("nested.conf", "le0", "le1", TAIL_SIZE)

    def sizes_of(proof: Proof) -> tuple[int, ...]:
        *_inner, outer = [hop.underlay for hop in proof.hops if hop.underlay is not None]
        assert (outer.source, outer.destination) == ("192.168.0.1", "192.168.0.2")
        return outer.sizes

    async def main() -> None:
        async with tmelink.load(MACHINES / "nested.conf", host="left").run() as lab:
            machine = lab["le0"]
            assert isinstance(machine, Host)
            for proof in [*expected, *[tail] * TAIL]:
                result = await machine.ping("10.1.2.2", count=1, size=proof.ping.data)
                assert result.received == 1, (proof.ping, result)

    filtered = "ip proto 4 and src 192.168.0.1 and dst 192.168.0.2"
    with one.capture("eth0", filtered, until=ended(sizes_of(tail)[0])) as outer:
        one.call(main)
    wanted = [size for proof in expected for size in sizes_of(proof)]
    assert without_tail(sizes(outer.packets), sizes_of(tail)[0]) == wanted


def test_encrypted_packets_go_as_explained(net: Net) -> None:
    """secure-link.conf, with keys made as it says."""
    one, two = computers(net)
    sample = with_made_keys(MACHINES / "secure-link.conf", net.directory, "one", "two")
    for host in (one, two):
        host.run("sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    first = one.start(sys.executable, "-m", "tmelink", "run", str(sample), "--host", "one")
    first.expect("running:")
    second = two.start(sys.executable, "-m", "tmelink", "run", str(sample), "--host", "two")
    second.expect("link1: (up|connected)")
    first.expect("link0: (up|connected)")
    one.ping("10.0.77.2", count=2)
    expected = encrypted_sizes(sample, "le0", "le1")
    tail = proved(str(sample), "le0", "le1", TAIL_SIZE)
    sent = outside(tail)
    assert (sent.source, sent.destination) == ("192.168.0.1", "192.168.0.2")
    filtered = ENCRYPTED.format(sent.source, sent.destination)
    with one.capture("eth0", filtered, until=ended(sent.sizes[0])) as outer:
        pings(one, "10.0.77.2", expected)
    wanted = [size for proof in expected.values() for size in _outside_sizes(proof)]
    assert without_tail(sizes(outer.packets), sent.sizes[0]) == wanted
