"""Links against a stock OpenVPN without security: one Ethernet, tmelink at one end, openvpn at the other.

Computer a runs tmelink and computer b openvpn, each a namespace on one wire. The cells of the matrix are
numbered; cell n has the TAPs a<n> and b<n> with 10.9.<n>.1 and .2, and the port 1200 + n. All of them run at
once, in few processes: those where openvpn starts first, and those where tmelink does.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from tests.support.netns import Namespace, Process, host_state, network

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "openvpn", "tcpdump")]

BACK_SECONDS = 30
"""For a link to be back after a restart; less than a neighbour entry needs to be forgotten."""


@dataclass(frozen=True)
class Cell:
    """One link: which protocol tmelink's end has, over which IP version, with which MTU, who starts first."""

    number: int
    proto: str
    first: str = "openvpn"
    version: int = 4
    mtu: int = 1500
    ours: str = ""
    theirs: str = ""

    def __str__(self) -> str:
        mtu = f", MTU {self.mtu}" if self.mtu != 1500 else ""
        return f"{self.proto} over IPv{self.version}, {self.first} first{mtu}"

    @property
    def port(self) -> int:
        return 1200 + self.number

    @property
    def our_address(self) -> str:
        return f"10.9.{self.number}.1"

    @property
    def their_address(self) -> str:
        return f"10.9.{self.number}.2"

    def machine(self, local: str, remote: str) -> str:
        """The part of tmelink's machine file."""
        n = self.number
        there = f"--remote {remote} {self.port}" if remote else ""
        proto = _versioned(self.proto, self.version)
        return (
            f"le{n}: tme/host/tun/tap interface a{n} inet {self.our_address}/24 mtu {self.mtu}\n"
            f"link{n} at le{n}: tme/host/openvpn/socket/link --dev tap --local {local} --lport {self.port} "
            f"{there} --proto {proto} --tun-mtu {self.mtu} {self.ours}\n"
        )

    def openvpn(self, local: str, remote: str) -> list[str]:
        """Openvpn's command line."""
        n = self.number
        proto = {"udp": "udp", "tcp-server": "tcp-client", "tcp-client": "tcp-server"}[self.proto]
        here = f"--local {local} --lport {self.port}" if proto != "tcp-client" else ""
        return (
            f"openvpn --dev b{n} --dev-type tap --persist-tun --lladdr 02:00:00:00:09:{n:02x} --verb 7 "
            f"--ifconfig {self.their_address} 255.255.255.0 --ifconfig-nowarn "
            f"--remote {remote} {self.port} {here} "
            f"--proto {_versioned(proto, self.version)} --tun-mtu {self.mtu} {self.theirs}"
        ).split()


def _versioned(proto: str, version: int) -> str:
    """`udp6` and `tcp6-server` for `udp` and `tcp-server` over IPv6."""
    kind, dash, role = proto.partition("-")
    return f"{kind}{version}{dash}{role}"


CELLS = [
    Cell(number, proto, first, version)
    for number, (first, proto, version) in enumerate(
        (
            (first, proto, version)
            for first in ("openvpn", "tmelink")
            for proto in ("udp", "tcp-server", "tcp-client")
            for version in (4, 6)
        ),
        1,
    )
]
LARGE = [Cell(20, "udp", mtu=9000), Cell(21, "tcp-client", mtu=9000)]
ODD = Cell(22, "udp", theirs="--tun-mtu 1400")
"""The one whose ends do not agree, on purpose: its --tun-mtu is the last on openvpn's command line."""

OVER_IPV4 = [cell for cell in (*CELLS, *LARGE, ODD) if cell.version == 4]

REPLIES = "udp[8:4] = 0x287f346b and udp[24] = 1"
TCP_REPLIES = "tcp[((tcp[12] & 0xf0) >> 2) + 2:4] = 0x287f346b and tcp[((tcp[12] & 0xf0) >> 2) + 18] = 1"
"""OCC replies: the magic and opcode 1, over TCP behind the length."""


@dataclass
class Lab:
    """Both computers, and what runs on them."""

    a: Namespace
    b: Namespace
    tmelink: list[Process]
    openvpn: dict[int, Process]
    replies: Process | None = None

    def ends(self, cell: Cell) -> tuple[str, str]:
        """The outer addresses of a and of b."""
        at = 0 if cell.version == 4 else 1
        return self.a.addresses[at], self.b.addresses[at]

    def start_tmelink(self, cells: Sequence[Cell]) -> Process:
        machine = ""
        for cell in cells:
            here, there = self.ends(cell)
            machine += cell.machine(here, "" if "--float" in cell.ours else there)
        process = self.a.tmelink(machine)
        self.tmelink.append(process)
        return process

    def start_openvpn(self, cell: Cell) -> Process:
        here, there = self.ends(cell)
        process = self.b.start(*cell.openvpn(there, here))
        self.openvpn[cell.number] = process
        return process

    def started(self, cell: Cell) -> None:
        """Wait until openvpn has its TAP and can send."""
        self.openvpn[cell.number].expect("(UDPv[46]|TCPv[46]_(CLIENT|SERVER)) link remote: ")


@contextlib.contextmanager
def two_computers() -> Iterator[Lab]:
    before = host_state()
    with network() as net:
        a, b = net.pair()
        yield Lab(a, b, [], {})
    assert host_state() == before


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """All cells, running."""
    with two_computers() as lab:
        openvpn_first = [c for c in (*CELLS, *LARGE, ODD) if c.first == "openvpn"]
        tmelink_first = [c for c in CELLS if c.first == "tmelink"]
        lab.replies = lab.b.start("tcpdump", "-i", "eth0", "-nn", "-l", f"({REPLIES}) or ({TCP_REPLIES})")
        lab.replies.expect("listening on")
        for cell in openvpn_first:
            lab.start_openvpn(cell)
        lab.start_tmelink(tmelink_first)
        for cell in tmelink_first:
            lab.start_openvpn(cell)
        lab.start_tmelink(openvpn_first)
        yield lab


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_frames_of_any_length_cross(lab: Lab, cell: Cell) -> None:
    lab.started(cell)
    # The end that was there first speaks first, and 1472 bytes of echo are a frame of 1514.
    pings = [(lab.a, cell.their_address), (lab.b, cell.our_address)]
    for namespace, address in pings if cell.first == "tmelink" else reversed(pings):
        for size in (0, 56, 1472, 8000):
            namespace.ping(address, size=size, i=0.02)


@pytest.mark.parametrize("cell", LARGE, ids=str)
def test_large_frames_cross_in_fragments_of_the_wires_size(lab: Lab, cell: Cell) -> None:
    lab.started(cell)
    for namespace, address in ((lab.a, cell.their_address), (lab.b, cell.our_address)):
        # Not to be fragmented inside: a frame of 9014 bytes, on a wire with an MTU of 1500.
        namespace.ping(address, size=8972, M="do", i=0.02)


def await_answer(namespace: Namespace, address: str) -> None:
    """Until `address` answers a ping."""
    said = namespace.run("ping", "-c", "1", "-i", "0.05", "-w", str(BACK_SECONDS), address, check=False)
    assert re.search(r" [1-9]\d* received", said), said


RESTARTED = [Cell(number, proto) for number, proto in enumerate(("udp", "tcp-server", "tcp-client"), 30)]


def test_either_end_may_be_killed_and_started_again(lab: Lab) -> None:
    """The other end goes on untouched, and has the link back in seconds; how many is printed."""
    for cell in RESTARTED:
        lab.start_openvpn(cell)
    tmelink = lab.start_tmelink(RESTARTED)
    for cell in RESTARTED:
        lab.started(cell)
        await_answer(lab.a, cell.their_address)
    for cell in RESTARTED:
        lab.openvpn[cell.number].kill()
        lab.start_openvpn(cell)
    begun = time.monotonic()
    for cell in RESTARTED:
        lab.started(cell)
        await_answer(lab.a, cell.their_address)
        print(f"{cell}: openvpn restarted, back within {time.monotonic() - begun:.2f} s")
    tmelink.kill()
    lab.start_tmelink(RESTARTED)
    begun = time.monotonic()
    for cell in RESTARTED:
        await_answer(lab.b, cell.our_address)
        print(f"{cell}: tmelink restarted, back within {time.monotonic() - begun:.2f} s")


def test_a_floating_link_follows_openvpn(lab: Lab) -> None:
    cell = Cell(40, "udp", ours="--float")
    tmelink = lab.start_tmelink([cell])
    lab.start_openvpn(cell)
    lab.started(cell)
    await_answer(lab.b, cell.our_address)
    lab.openvpn[cell.number].kill()
    moved = replace(cell, theirs="--lport 1340")
    lab.start_openvpn(moved)
    lab.started(moved)
    await_answer(lab.b, cell.our_address)
    assert tmelink.expect(r"link40: peer moved to ").endswith(f"{lab.b.addresses[0]}:1340")
    lab.a.ping(cell.their_address, i=0.02)


def test_a_floating_openvpn_follows_the_link(lab: Lab) -> None:
    cell = Cell(41, "udp", theirs="--float")
    lab.start_openvpn(cell)
    tmelink = lab.start_tmelink([cell])
    await_answer(lab.a, cell.their_address)
    assert tmelink.stop() == 0
    lab.start_tmelink([replace(cell, ours="--lport 1341")])
    await_answer(lab.a, cell.their_address)
    lab.b.ping(cell.our_address, i=0.02)


def test_without_float_a_peer_elsewhere_is_not_heard(lab: Lab) -> None:
    cell = Cell(42, "udp", theirs="--lport 1342")
    tmelink = lab.start_tmelink([cell])
    openvpn = lab.start_openvpn(cell)
    lab.started(cell)
    said = lab.b.run("ping", "-c", "1", "-W", "1", cell.our_address, check=False)
    assert " 0 received" in said
    assert tmelink.stop() == 0
    assert re.search(r"link42 wire received .* \d+ not the remote", tmelink.output)
    assert "Peer Connection Initiated" not in openvpn.output


def test_options_are_compared_and_agree_except_where_they_do_not(lab: Lab) -> None:
    """Openvpn asks for the other end's options ten seconds after its start, and complains of differences."""
    assert lab.replies is not None
    for cell in OVER_IPV4:
        lab.replies.expect(rf"10\.1\.0\.1\.({cell.port} > .*|\d+ > 10\.1\.0\.2\.{cell.port}): ")
    odd = lab.openvpn.pop(ODD.number)
    odd.expect("WARNING: 'tun-mtu' is used inconsistently, local='tun-mtu 1400', remote='tun-mtu 1500'")
    told = r"link22: warning: .*'tun-mtu' is used inconsistently, local='tun-mtu 1500', remote='tun-mtu 1400'"
    assert any(re.search(told, process.output) for process in lab.tmelink)
    for process in (*lab.openvpn.values(), *lab.tmelink):
        for line in process.output.splitlines():
            assert "inconsistent" not in line or "link22" in line
            assert "present in" not in line
