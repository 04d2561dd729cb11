"""Keys are renewed under traffic, against a stock openvpn, and not one frame is lost to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from tests.e2e.secured import Site
from tests.support.netns import Namespace, Net, Process

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "openvpn", "iperf3", "tcpdump")]

UP = "Initialization Sequence Completed"
RENEWED = "Control Channel: TLSv1.3"
LINK = "tme/host/openvpn/socket/link"
OURS, THEIRS = "10.9.0.1", "10.9.0.2"

SOON, LATER = 2, 3
"""Seconds after which the end that is to begin a renewal, and the other one, would do so (`--reneg-sec`).

The keys are young then whenever the other looks, and either end sends under new keys after half its time, so
within every renewal's life.
"""

SECONDS = 5
"""Of traffic, both ways at once: time for two renewals, the last of them with a second to spare."""

RATE = 500
"""Frames a second and way. A handshake takes some 10 ms, so that several meet every step of it."""

UDP = ("-u", "-b", str(RATE * 8 * 100), "-l", "100", "-t", str(SECONDS), "-w", "200K")
"""Small frames and large buffers: they hold a second of traffic, for a program that waits for its turn."""

DATA_V2 = 9
HEADERS = 14 + 20 + 8
"""Bytes of Ethernet, IPv4 and UDP before a packet of OpenVPN's."""


@pytest.fixture
def site(net: Net) -> Site:
    return Site(net)


def ends(site: Site, proto: str, renewing: str) -> tuple[Namespace, Namespace, Process]:
    """A tmelink link that is the TLS client, and a stock openvpn, which is returned with them."""
    a, b = site.net.pair()
    seconds = {who: SOON if who == renewing else LATER for who in ("ours", "theirs")}
    stock = site.openvpn(
        b,
        f"--dev tap0 --ifconfig {THEIRS} 255.255.255.0 --tls-server --dh none --rcvbuf 212992 "
        f"--reneg-sec {seconds['theirs']} "
        f"{site.identity('theirs', 'server')} "
        + (f"--proto udp --remote {a.addresses[0]}" if proto == "udp" else "--proto tcp-server"),
    )
    a.tmelink(
        f"own: tme/host/tun/tap interface own0 inet {OURS}/24\n"
        f"link at own: {LINK} --dev tap --remote {b.addresses[0]} --tls-client --reneg-sec {seconds['ours']} "
        f"--proto {'udp' if proto == 'udp' else 'tcp-client'} {site.identity('ours', 'client')}\n",
        until="link: up",
    )
    stock.expect(UP)
    return a, b, stock


def key_ids(packets: Sequence[bytes], address: str) -> Counter[int]:
    """How many data packets each key id sealed, of those that an address sent."""
    source = bytes(map(int, address.split(".")))
    sent = [packet[HEADERS] for packet in packets if len(packet) > HEADERS and packet[26:30] == source]
    return Counter(first & 7 for first in sent if first >> 3 == DATA_V2)


@pytest.mark.parametrize("renewing", ["ours", "theirs"])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_no_frame_is_lost_to_a_renewal(site: Site, proto: str, renewing: str) -> None:
    a, b, stock = ends(site, proto, renewing)
    seen = len(stock.lines)
    with a.capture("eth0", proto) as capture:
        done = a.iperf3(b, THEIRS, *UDP, "--bidir")["end"]
    said = stock.lines[seen:]
    assert sum(RENEWED in line for line in said) >= 2, said
    assert ("TLS: soft reset" in "\n".join(said)) is (renewing == "theirs"), said
    for way in ("sum", "sum_bidir_reverse"):
        assert done[way]["packets"] > SECONDS * RATE * 0.8
        assert done[way]["lost_packets"] == 0
    assert [stream["udp"]["out_of_order"] for stream in done["streams"]] == [0, 0]
    if proto == "udp":
        for address in (a.addresses[0], b.addresses[0]):
            used = key_ids(capture.packets, address)
            assert len(used) >= 2
