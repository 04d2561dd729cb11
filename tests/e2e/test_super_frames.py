"""--super-frames between two hosts: what arrives, and what is said where the other end does not take them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.transfers import (
    BYTES,
    SUPER,
    TRANSFER_SECONDS,
    Sides,
    joined,
    mean_length,
    plain,
    static,
    tagged,
    tcp,
    tls,
    tmelink,
    transfer,
)
from tests.support.netns import Namespace, Net, Process
from tmelink.openvpn.data.packet import RECORD
from tmelink.openvpn.data.super_frames import REFUSAL, REFUSED

SIZE = BYTES // 3

WHOLE = ["--super-frames"]

TRIES = 5
"""Transfers of which one has to go in records: they begin once a path has shown that it loses nothing."""

HEADERS = 14 + 20 + 8
"""Bytes of Ethernet, IPv4 and UDP before a datagram's payload."""

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("iperf3", "socat")]

Kind = Callable[[Path], Sides]


def over_tcp(kind: Kind, directory: Path) -> Sides:
    ours, theirs = kind(directory)
    server, client = tcp(directory)
    return [*server, *ours], [*client, *theirs]


def tun(at: Namespace, other: Namespace, number: int, options: list[str]) -> Process:
    words = " ".join(f'"{word}"' for word in options)
    return at.tmelink(
        f"tun0: tme/host/tun/tun interface tun0 inet 10.7.0.{number}/24 inet6 fd07::{number}/64\n"
        f"link0 at tun0: tme/host/openvpn/socket/link --dev tun --local {at.addresses[0]} "
        f"--remote {other.addresses[0]} {words}\n"
    )


@pytest.mark.parametrize(
    ("end", "device", "kind"),
    [
        (tmelink, "tap0", plain),
        (tmelink, "tap0", static),
        (tmelink, "tap0", tls),
        (tagged, "tap0", plain),
        (tun, "tun0", tls),
    ],
)
def test_what_is_sent_arrives(net: Net, end: Callable[..., Process], device: str, kind: Kind) -> None:
    a, b = net.pair()
    one, two = over_tcp(kind, a.directory)
    ends = end(a, b, 1, [*one, *WHOLE]), end(b, a, 2, [*two, *WHOLE])
    joined(a)
    transfer(a, b, SIZE)
    assert mean_length(ends[0], f"{device} -> link0") > SUPER
    assert mean_length(ends[1], f"link0 -> {device}") > SUPER


def slices(packets: Sequence[bytes]) -> float:
    """The part of the long datagrams that are slices of records."""
    long = [packet[HEADERS] >> 3 for packet in packets if len(packet) > 1000]
    return sum(opcode == RECORD for opcode in long) / len(long)


@pytest.mark.parametrize("end", [tmelink, tagged, tun])
def test_over_udp_what_is_sent_arrives_in_records(net: Net, end: Callable[..., Process]) -> None:
    a, b = net.pair()
    one, two = tls(a.directory)
    end(a, b, 1, [*one, *WHOLE])
    end(b, a, 2, [*two, *WHOLE])
    joined(a)
    transfer(a, b, SIZE)
    for _ in range(TRIES):
        with a.capture("eth0", "udp and greater 1000") as capture:
            serving = b.start("iperf3", "--forceflush", "-s", "-1")
            serving.expect("listening")
            a.run("iperf3", "-c", "10.7.0.2", "-n", str(SIZE), timeout=TRANSFER_SECONDS)
            serving.wait(20)
        if slices(capture.packets) > 0.5:
            return
        # A path that has lost something, on a busy computer, carries packets for some time.
    raise AssertionError(f"{slices(capture.packets):.0%} of the datagrams are slices of records")


@pytest.mark.parametrize(("loss", "late"), [(0.0005, 0), (0.01, 0), (0, 0.02), (0.0005, 0.02)])
def test_over_udp_what_is_sent_arrives_though_datagrams_are_lost_late_and_repeated(
    net: Net, loss: float, late: float
) -> None:
    a, b = net.pair()
    one, two = tls(a.directory)
    first, second = a.addresses[0], b.addresses[0]
    places = [second, "1195", first, "1194", second, "1194"]
    b.start(sys.executable, "-m", "bench.relay", *places, str(loss), "0.001", str(late)).expect("relays")
    for at, number, options in ((a, 1, one), (b, 2, two)):
        words = " ".join(f'"{word}"' for word in [*options, *WHOLE])
        at.tmelink(
            f"tap0: tme/host/tun/tap interface tap0 inet 10.7.0.{number}/24 inet6 fd07::{number}/64\n"
            f"link0 at tap0: tme/host/openvpn/socket/link --dev tap --local {at.addresses[0]} --lport 1194 "
            f"--remote {second} 1195 {words}\n"
        )
    joined(a)
    transfer(a, b, SIZE // 4)


def test_a_machine_without_super_frames_gets_them_cut(net: Net) -> None:
    a, b = net.pair()
    one, two = over_tcp(plain, a.directory)
    ends = tmelink(a, b, 1, [*one, *WHOLE]), tmelink(b, a, 2, [*two, *WHOLE], "offload off")
    joined(a)
    transfer(a, b, SIZE // 4)
    assert mean_length(ends[0], "tap0 -> link0") > SUPER
    assert mean_length(ends[1], "link0 -> tap0") < SUPER


@pytest.mark.needs("openvpn")
@pytest.mark.parametrize("role", ["server", "client"])
def test_over_udp_openvpn_is_refused_in_plain_words(net: Net, role: str) -> None:
    a, b = net.pair()
    ours, theirs = tls(a.directory) if role == "server" else tls(a.directory)[::-1]
    addresses = ["--local", b.addresses[0], "--remote", a.addresses[0]]
    b.start("openvpn", "--dev", "tap0", "--dev-type", "tap", *addresses, *theirs)
    asking = tmelink(a, b, 1, [*ours, *WHOLE])
    asking.expect(f"error: {REFUSAL}")
    assert "link0: up" not in asking.output


@pytest.mark.needs("openvpn")
@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("kind", [plain, static, tls])
def test_openvpn_is_refused_in_plain_words(net: Net, kind: Kind, role: str) -> None:
    a, b = net.pair()
    sides = over_tcp(kind, a.directory)
    ours, theirs = sides if role == "server" else sides[::-1]
    addresses = ["--local", b.addresses[0], "--remote", a.addresses[0]]
    b.start("openvpn", "--dev", "tap0", "--dev-type", "tap", *addresses, *theirs)
    asking = tmelink(a, b, 1, [*ours, *WHOLE])
    asking.expect(f"error: {REFUSAL}")
    asking.expect(REFUSED)
    assert "link0: up" not in asking.output


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("kind", [plain, static, tls])
def test_an_end_that_does_not_ask_is_refused_in_plain_words(net: Net, kind: Kind, role: str) -> None:
    a, b = net.pair()
    sides = over_tcp(kind, a.directory)
    ours, theirs = sides if role == "server" else sides[::-1]
    other = tmelink(b, a, 2, theirs)
    tmelink(a, b, 1, [*ours, *WHOLE]).expect(f"error: {REFUSAL}")
    other.expect("warning: 'super-frames' is present in remote config but missing in local config")
