"""What fits each kind of tunnel on each outer MTU: `python -m tests.e2e.mtu_table`, as root.

Two labs in two namespaces have every kind of tunnel at once, with an interface at each end whose MTU the
file does not give. The MTU of the path between them changes while they run. At each, every interface has to
take on what its tunnel leaves, pings of many sizes have to pass or to be refused with an error that says so,
and TCP has to carry data both ways. The table has the MTUs of the interfaces; what fails stands beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.support.netns import Namespace, Net, network
from tmelink.ip import checksum

OUTER = (1280, 1400, 1492, 1500, 4000, 9000)
"""The MTUs of the path outside: IPv6's least, PPPoE's, Ethernet's, and those of two kinds of jumbo frame."""

IPV6_LEAST = 1280
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
DONT, DO = 0, 2
"""IP_PMTUDISC_DONT and IP_PMTUDISC_DO (ip(7))."""

SETTLE_SECONDS = 8.0
ANSWER_SECONDS = 0.5
TCP_SECONDS = 8.0
TCP_BYTES = 200_000
BATCH = 24
"""Pings at once."""

ROUNDS = 4
"""How often a size that is neither answered nor refused is tried: the first error teaches the kernel."""


@dataclass(frozen=True)
class Kind:
    """A kind of tunnel: the lines of its lab at side 1 or 2, and the MTU that an outer one leaves."""

    name: str
    lines: Callable[[Side], str]
    fits: Callable[[int], int]
    device: str = "tap"


@dataclass(frozen=True)
class Side:
    """One end of the tunnel with this number: addresses outside and inside, and the names of its elements."""

    number: int
    own: int

    @property
    def other(self) -> int:
        return 3 - self.own

    def outer(self, end: int, *, six: bool = False) -> str:
        return f"fd01:{self.number:x}::{end}" if six else f"10.1.{self.number}.{end}"

    def inner(self, end: int, *, six: bool = False) -> str:
        return f"fd02:{self.number:x}::{end}" if six else f"10.2.{self.number}.{end}"

    @property
    def ends(self) -> str:
        return f"local {self.outer(self.own)} remote {self.outer(self.other)}"

    @property
    def hidden(self) -> str:
        """The addresses of a tunnel in a tunnel."""
        return f"local 172.16.{self.number}.{self.own} remote 172.16.{self.number}.{self.other}"

    def link(self, options: str, *, six: bool = False) -> str:
        proto = "udp6" if six else "udp4"
        return self.over(f"--proto {proto} {options}", six=six)

    def over(self, options: str, *, six: bool = False) -> str:
        own, other, port = self.outer(self.own, six=six), self.outer(self.other, six=six), 2000 + self.number
        return (
            f'tme/host/openvpn/socket/link {options} --local "{own}" --lport {port} --remote "{other}" {port}'
        )

    def tcp(self) -> str:
        return self.over(f"--dev tap --proto {'tcp4-server' if self.own == 1 else 'tcp4-client'}")


def _tunnel(name: str, device: str, module: str, overhead: int) -> Kind:
    """A tunnel of tmelink's between addresses of the host."""
    return Kind(
        name,
        lambda side: f"x{side.number} at t{side.number}: {module} {side.ends}",
        lambda outer: max(outer - overhead, IPV6_LEAST),
        device,
    )


def _nested(name: str, device: str, outside: str, module: str, overhead: int) -> Kind:
    """A tunnel in another one, which is `outside`; it is told its own ends."""

    def lines(side: Side) -> str:
        n = side.number
        around = outside.format(ends=side.ends, link=side.link("--dev tun"))
        return f"y{n}: {around}\nx{n} at t{n}: {module} {side.hidden}\nx{n} outer at y{n}"

    return Kind(name, lines, lambda outer: max(outer - overhead, IPV6_LEAST), device)


def _link(name: str, options: str, mtu: int, device: str = "tap", *, six: bool = False) -> Kind:
    return Kind(
        name,
        lambda side: f"x{side.number} at t{side.number}: {side.link(options, six=six)}",
        lambda outer: mtu,
        device,
    )


def _vxlan6(side: Side) -> str:
    own, other = side.outer(side.own, six=True), side.outer(side.other, six=True)
    return f'x{side.number} at t{side.number}: tmelink/vxlan vni {side.number} local "{own}" remote "{other}"'


def _switched(side: Side) -> str:
    n = side.number
    return f"s{n} at t{n}: tmelink/switch\nx{n} at s{n}: tmelink/vxlan vni {n} {side.ends}"


KINDS = (
    _link("link, UDP", "--dev tap", 1500),
    _link("link, UDP over IPv6", "--dev tap", 1500, six=True),
    _link("link, UDP, `--dev tun`", "--dev tun", 1500, "tun"),
    _link("link, UDP, `--fragment 1200`", "--dev tap --fragment 1200", 1500),
    _link("link, UDP, `--tun-mtu 9000 --fragment 1200`", "--dev tap --tun-mtu 9000 --fragment 1200", 9000),
    Kind(
        "link, UDP, `--mtu-disc yes`",
        lambda side: f"x{side.number} at t{side.number}: {side.link('--dev tap --mtu-disc yes')}",
        lambda outer: min(1500, outer - 42),
    ),
    Kind("link, TCP", lambda side: f"x{side.number} at t{side.number}: {side.tcp()}", lambda outer: 1500),
    _tunnel("ipip", "tun", "tmelink/ipip", 20),
    _tunnel("gre", "tun", "tmelink/gre", 24),
    _tunnel("gre, frames", "tap", "tmelink/gre", 38),
    _tunnel("etherip", "tap", "tmelink/etherip", 36),
    _tunnel("vxlan", "tap", "tmelink/vxlan vni 7", 50),
    Kind("vxlan over IPv6", _vxlan6, lambda outer: max(outer - 70, IPV6_LEAST)),
    Kind("vxlan behind a switch", _switched, lambda outer: max(outer - 50, IPV6_LEAST)),
    _nested("ipip in ipip", "tun", "tmelink/ipip {ends}", "tmelink/ipip", 40),
    _nested("gre in ipip", "tun", "tmelink/ipip {ends}", "tmelink/gre", 44),
    _nested("gre, frames, in ipip", "tap", "tmelink/ipip {ends}", "tmelink/gre", 58),
    _nested("etherip in gre", "tap", "tmelink/gre {ends}", "tmelink/etherip", 60),
    _nested("vxlan in ipip", "tap", "tmelink/ipip {ends}", "tmelink/vxlan vni 7", 70),
    Kind(
        "ipip in a link",
        _nested("", "tun", "{link}", "tmelink/ipip", 0).lines,
        lambda outer: 1480,
        "tun",
    ),
    Kind("vxlan in a link", _nested("", "tap", "{link}", "tmelink/vxlan vni 7", 0).lines, lambda outer: 1450),
)


def lab(own: int, kinds: Sequence[Kind] = KINDS, mtu: str = "") -> str:
    """The machine file of one end; `mtu` is what it says of each interface beside its addresses."""
    text = []
    for number, kind in enumerate(kinds, 1):
        side = Side(number, own)
        addresses = f'inet {side.inner(own)}/24 inet6 "{side.inner(own, six=True)}/64"'
        text += [
            f"t{number}: tme/host/tun/{kind.device} interface t{number} {addresses} {mtu}",
            kind.lines(side),
        ]
    return "\n".join(text) + "\n"


def prepare(net: Net, kinds: Sequence[Kind] = KINDS) -> tuple[Namespace, Namespace]:
    """Two namespaces, with addresses outside for each kind."""
    a, b = net.pair()
    for number in range(1, len(kinds) + 1):
        side = Side(number, 1)
        for own, namespace in enumerate((a, b), 1):
            namespace.run("ip", "addr", "add", f"{side.outer(own)}/24", "dev", "eth0")
            namespace.run("ip", "addr", "add", f"{side.outer(own, six=True)}/64", "dev", "eth0", "nodad")
    return a, b


def set_path(namespaces: Iterable[Namespace], mtu: int) -> None:
    """Change the MTU of the path outside."""
    for namespace in namespaces:
        namespace.run("ip", "link", "set", "eth0", "mtu", str(mtu))


def mtus(namespace: Namespace) -> dict[str, int]:
    """The MTU of every interface."""
    lines = (line.split() for line in namespace.run("ip", "-o", "link").splitlines() if " mtu " in line)
    return {words[1].split("@")[0].rstrip(":"): int(words[words.index("mtu") + 1]) for words in lines}


def followed(namespaces: Sequence[Namespace], wanted: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Wait until all interfaces have the MTUs that they should; what they have in the end."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = [mtus(namespace) for namespace in namespaces]
        if all(each.get(name) == mtu for each in found for name, mtu in wanted.items()):
            break
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return {name: tuple(each.get(name, 0) for each in found) for name in wanted}


# Pings


def ping_socket(six: bool, df: bool) -> socket.socket:
    """A raw socket for echo requests that may, or may not, be fragmented."""
    if six:
        made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, DO if df else DONT)
    else:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DO if df else DONT)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    made.setblocking(False)
    return made


class Pings:
    """Echo requests of many sizes from one socket to one address; sizes are those of IP packets."""

    def __init__(self, sock: socket.socket, target: str, *, six: bool) -> None:
        self.sock, self.target, self.six = sock, target, six
        self.header = 48 if six else 28

    def run(self, sizes: Sequence[int]) -> dict[int, str]:
        """Whether a packet of each size passes, is told not to, or is lost."""
        became: dict[int, str] = {}
        for _ in range(ROUNDS):
            left = [size for size in sizes if size not in became]
            for at in range(0, len(left), BATCH):
                became |= self._batch(left[at : at + BATCH])
        return {size: became.get(size, "lost") for size in sizes}

    def _batch(self, sizes: Sequence[int]) -> dict[int, str]:
        became: dict[int, str] = {}
        waiting = set()
        for size in sizes:
            try:
                self.sock.sendto(self._request(size), (self.target, 0))
                waiting.add(size)
            except OSError as error:
                if error.errno != 90:  # EMSGSIZE
                    raise
                became[size] = "told"
        deadline = time.monotonic() + ANSWER_SECONDS
        while waiting and (left := deadline - time.monotonic()) > 0:
            if not select.select([self.sock], [], [], left)[0]:
                break
            try:
                data, sender = self.sock.recvfrom(70_000)
            except OSError:
                continue  # an error about an earlier packet
            if sender[0].partition("%")[0] != self.target:
                continue
            if not self.six:
                data = data[(data[0] & 0xF) * 4 :]
            if data[0] == (129 if self.six else 0) and len(data) >= 8:
                size = len(data) + self.header - 8
                if size in waiting and struct.unpack_from("!H", data, 6)[0] == size & 0xFFFF:
                    waiting.discard(size)
                    became[size] = "passes"
        return became

    def _request(self, size: int) -> bytes:
        kind = 128 if self.six else 8
        body = struct.pack("!HH", 77, size & 0xFFFF) + bytes(size - self.header)
        sum_ = 0 if self.six else checksum(struct.pack("!BBH", kind, 0, 0) + body)
        return struct.pack("!BBH", kind, 0, sum_) + body


def sizes(inner: int, outer: int, step: int) -> list[int]:
    """Sizes of IP packets: some everywhere, and those around each limit."""
    edges = {inner, outer, 1280, 1500, outer - 20, inner + 14}
    near = {edge + by for edge in edges for by in range(-2, 3)}
    return sorted(size for size in near | set(range(64, max(outer, inner) + 120, step)) if size >= 64)


# TCP


def carries(client: socket.socket, listener: socket.socket, target: str) -> bool:
    """Whether a connection carries data both ways."""
    done = threading.Event()

    def serve() -> None:
        try:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(TCP_SECONDS)
                left = TCP_BYTES
                while left:
                    left -= len(accepted.recv(left))
                accepted.sendall(bytes(TCP_BYTES))
        except OSError:
            return

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    client.settimeout(TCP_SECONDS)
    try:
        client.connect((target, listener.getsockname()[1]))
        client.sendall(bytes(TCP_BYTES))
        left = TCP_BYTES
        while left and (got := len(client.recv(65536))):
            left -= got
        if not left:
            done.set()
    except OSError:
        pass
    finally:
        client.close()
        listener.close()
    server.join(TCP_SECONDS + 1)
    return done.is_set()


def tcp_sockets(namespace: Namespace, six: bool, address: str | None) -> socket.socket:
    """A socket in a namespace, listening where it has an address."""

    async def make() -> socket.socket:
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
        made.settimeout(TCP_SECONDS)
        if address is not None:
            made.bind((address, 0))
            made.listen()
        return made

    return namespace.call(make)


@dataclass(frozen=True)
class Cell:
    """What one kind of tunnel came to on one outer MTU."""

    mtu: tuple[int, ...]
    wanted: int
    faults: tuple[str, ...]
    counts: Counter[str]

    def __str__(self) -> str:
        mtu = str(self.mtu[0]) if set(self.mtu) == {self.wanted} else f"{self.mtu} and not {self.wanted}"
        return "; ".join((mtu, *self.faults))


def probe(
    a: Namespace, b: Namespace, number: int, outer: int, inner: int, step: int
) -> tuple[list[str], Counter[str]]:
    """Pings of many sizes from `a`, and TCP; what fails, and how many pings became what."""
    faults: list[str] = []
    counts: Counter[str] = Counter()
    side = Side(number, 1)
    for six in (False, True) if inner >= IPV6_LEAST else (False,):
        target = side.inner(2, six=six)
        for df in (True, False):

            async def make(six: bool = six, df: bool = df) -> socket.socket:
                return ping_socket(six, df)

            with a.call(make) as sock:
                became = Pings(sock, target, six=six).run(sizes(inner, outer, step))
            counts.update(became.values())
            lost = [size for size, what in became.items() if what == "lost"]
            if lost:
                kind = f"IPv{6 if six else 4} pings {'with' if df else 'without'} DF"
                faults.append(f"{len(lost)} {kind} of {lost[0]} to {lost[-1]} bytes lost")
        if not carries(tcp_sockets(a, six, None), tcp_sockets(b, six, target), target):
            faults.append(f"TCP over IPv{6 if six else 4} hangs")
    return faults, counts


def measure(
    net: Net, kinds: Sequence[Kind], outers: Sequence[int], step: int, tell: Callable[[str], None] = print
) -> dict[tuple[str, int], Cell]:
    """All cells of the table."""
    a, b = prepare(net, kinds)
    labs = [a.tmelink(lab(1, kinds)), b.tmelink(lab(2, kinds))]
    cells: dict[tuple[str, int], Cell] = {}
    for outer in outers:
        set_path((a, b), outer)
        wanted = {f"t{number}": kind.fits(outer) for number, kind in enumerate(kinds, 1)}
        found = followed((a, b), wanted)
        for number, kind in enumerate(kinds, 1):
            name = f"t{number}"
            faults, counts = probe(a, b, number, outer, wanted[name], step)
            cell = cells[kind.name, outer] = Cell(found[name], wanted[name], tuple(faults), counts)
            tell(f"{kind.name}, outer MTU {outer}: {cell} ({dict(counts)})")
    for process in labs:
        assert process.stop() == 0, process.output
    return cells


def table(cells: dict[tuple[str, int], Cell]) -> str:
    """The table for the documentation."""
    outers = sorted({outer for _, outer in cells})
    lines = [
        "| tunnel \\ outer MTU | " + " | ".join(map(str, outers)) + " |",
        "|---" * (len(outers) + 1) + "|",
    ]
    for name in dict.fromkeys(name for name, _ in cells):
        lines.append(f"| {name} | " + " | ".join(str(cells[name, outer]) for outer in outers) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=16, help="between two sizes of pings (16)")
    parser.add_argument("--outer", type=int, nargs="+", default=OUTER, help="outer MTUs")
    options = parser.parse_args()
    with network() as net:
        cells = measure(net, KINDS, options.outer, options.step, lambda text: print(text, file=sys.stderr))
    print(table(cells))
    total = sum((cell.counts for cell in cells.values()), Counter[str]())
    print(f"\npings: {dict(total)}")
    return int(any(cell.faults or set(cell.mtu) != {cell.wanted} for cell in cells.values()))


if __name__ == "__main__":
    asyncio.set_event_loop(None)
    sys.exit(main())
