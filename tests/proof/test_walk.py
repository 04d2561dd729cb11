"""Ways that end before they should, come back otherwise, or leave; the samples' own are in test_samples."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from tests.support.proofs import way
from tmelink.cli import main
from tmelink.machine import load
from tmelink.proof import choice
from tmelink.proof.hops import Proof
from tmelink.proof.topology import Topology
from tmelink.proof.trace import prove
from tmelink.resources import folder
from tmelink.routing.facts import IPAddress, RouteResult
from tmelink.sizes import PingSize

MACHINES = folder("machines")

LINK = "tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2"


def at_hand(text: str, source: str, target: str, *, path_mtu: int | None = None) -> Proof:
    """The same on 192.0.2.1, which reaches everything by a wan0 of 1400 bytes."""

    def towards(address: IPAddress) -> RouteResult:
        own = ipaddress.ip_address("192.0.2.1")
        return RouteResult("lo", 65536, own, local=True) if address == own else RouteResult("wan0", 1400, own)

    topology = Topology(load(text + "\n", name="x"), towards, path_mtu)
    (journey,) = choice.chosen(topology, source, target)
    return prove(topology, journey, PingSize(4, 1472))


def names(proof: Proof) -> list[str]:
    return [hop.name for hop in proof.hops]


def test_a_port_that_is_not_connected() -> None:
    proof = way("a: tmelink/host inet 10.0.0.1/24", "a", "10.0.0.2")
    assert (proof.verdict, proof.reason) == ("dropped", "a is not connected")


def test_a_link_without_a_machine_behind_it() -> None:
    proof = way(
        f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK}\n"
        "m: tme/host/openvpn/socket/link --dev tap --local 192.0.2.2 --remote 192.0.2.1",
        "a",
        "10.0.0.2",
    )
    assert (names(proof), proof.reason) == (["a", "l", "m"], "m is not connected")


def test_nobody_has_the_address() -> None:
    text = "a: tmelink/host inet 10.0.0.1/24\nb at a: tmelink/host inet 10.0.0.2/24"
    proof = way(text, "a", "10.0.0.3")
    assert (proof.verdict, proof.reason) == ("dropped", "no host there has 10.0.0.3")


def test_the_wrong_network() -> None:
    text = "a: tmelink/host inet 10.0.0.1/24\nb at a: tmelink/host inet 10.0.1.2/24"
    proof = way(text, "a", "b")
    assert (proof.verdict, proof.reason) == ("dropped", "a has no route to 10.0.1.2")


def test_an_answer_that_does_not_come_back() -> None:
    text = "a: tmelink/host inet 10.0.0.1/16\nb at a: tmelink/host inet 10.0.1.2/24"
    proof = way(text, "a", "b")
    assert proof.verdict == "arrives"
    assert proof.back == "no answer comes back: b has no route to 10.0.0.1"


def test_an_answer_that_comes_back_another_way() -> None:
    """b answers through the gateway what a sends straight."""
    text = (
        "s: tmelink/switch\na at s: tmelink/host inet 10.0.0.1/16\n"
        "b at s: tmelink/host inet 10.0.1.2/24 gateway 10.0.1.1\n"
        "g at s: tmelink/gateway inet 10.0.1.1/24\nh at g: tmelink/gateway inet 10.0.0.3/24\nh at s"
    )
    proof = way(text, "a", "b")
    assert proof.verdict == "arrives"
    assert proof.back == "the answer comes back by another path: b, s, g, h, a"


def test_a_frame_above_the_links_mtu() -> None:
    proof = way(f"a: tmelink/host inet 10.0.0.1/24 mtu 1500\nl at a: {LINK} --tun-mtu 1400", "a", "10.0.0.2")
    assert (proof.verdict, names(proof)) == ("dropped", ["a", "l"])
    assert "--tun-mtu" in proof.reason


def test_a_datagram_that_must_not_be_cut_outside() -> None:
    text = f"a: tmelink/host inet 10.0.0.1/24 mtu 1500\nl at a: {LINK} --mtu-disc yes"
    proof = way(text, "a", "10.0.0.2")
    assert proof.reason == "--mtu-disc yes: the datagram does not fit a path of 1500 bytes"
    whole = way(text, "a", "10.0.0.2", 1430)
    assert whole.verdict == "leaves"


def test_own_fragments_of_a_link() -> None:
    proof = way(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK} --fragment 800", "a", "10.0.0.2")
    sent = proof.hops[1].underlay
    assert sent is not None
    assert len(sent.sizes) == 2
    assert max(sent.sizes) <= 800 + 28
    assert proof.hops[1].remark == "cut into 2 datagrams by --fragment 800"


def test_ipv6_where_that_is_what_both_have() -> None:
    text = "a: tmelink/host inet6 fd00::1/64\nb at a: tmelink/host inet6 fd00::2/64"
    proof = way(text, "a", "b", 1500)
    assert proof.hops[0].packets == (1496, 108)
    assert proof.verdict == "arrives"


def test_one_foreign_element_may_hold_anybody() -> None:
    text = "a: tmelink/host inet 10.0.0.1/24\nv at a: tmelink/vde /tmp/x.ctl"
    proof = way(text, "a", "10.0.0.9")
    assert (proof.verdict, proof.reason) == ("leaves", "to what is behind v")


SERVED = """
host one address 192.0.2.1 {
    s: tme/host/openvpn/socket/server --dev tap --server 10.0.0.0 255.255.255.0 \\
        --ca k --cert k --key k --dh none --local 192.0.2.1 --client-to-client
    a at s: tmelink/host inet 10.0.0.1/24
    b at s: tmelink/host inet 10.0.0.2/24
}
host two address 192.0.2.2 {
    l: tme/host/openvpn/socket/link --client --dev tap --remote 192.0.2.1 --ca k --cert k --key k
    c at l: tmelink/host inet 10.0.0.3/24
}
host three address 192.0.2.3 {
    m: tme/host/openvpn/socket/link --client --dev tap --remote 192.0.2.1 --ca k --cert k --key k
    d at m: tmelink/host inet 10.0.0.4/24
}
"""


@pytest.mark.parametrize(
    ("source", "target", "hops", "outside"),
    [
        ("a", "b", ["a", "s", "b"], []),
        ("a", "c", ["a", "s", "l", "c"], [("192.0.2.1", "192.0.2.2")]),
        ("c", "a", ["c", "l", "s", "a"], [("192.0.2.2", "192.0.2.1")]),
        ("c", "d", ["c", "l", "s", "m", "d"], [("192.0.2.2", "192.0.2.1"), ("192.0.2.1", "192.0.2.3")]),
    ],
)
def test_a_server_is_a_switch_of_its_clients(
    source: str, target: str, hops: list[str], outside: list[tuple[str, str]]
) -> None:
    proof = way(SERVED, source, target, 1000)
    assert (proof.verdict, proof.back, names(proof)) == ("arrives", "", hops)
    found = [hop.underlay for hop in proof.hops if hop.underlay is not None]
    assert [(sent.source, sent.destination) for sent in found] == outside


@pytest.mark.parametrize(
    ("udp", "port", "ends", "sizes"),
    [
        ("local 127.0.0.1:5001 remote 127.0.0.1:5002", 5002, ("127.0.0.1", "127.0.0.1"), (1542,)),
        ('local 5001 remote "192.0.2.9:5002"', 5002, (None, "192.0.2.9"), (1500, 62)),
        ("local 5001 float", None, (None, None), (1500, 62)),
    ],
)
def test_an_emulator_behind_bare_datagrams(
    udp: str, port: int | None, ends: tuple[str | None, str | None], sizes: tuple[int, ...]
) -> None:
    proof = way(f"a: tmelink/host inet 10.0.0.1/24\nu at a: tmelink/udp {udp}", "a", "10.0.0.9")
    sent = proof.hops[-1].underlay
    assert sent is not None
    assert ((sent.source, sent.destination), sent.port, sent.sizes) == (ends, port, sizes)


def test_vxlan_cuts_nothing_unless_it_is_told_to() -> None:
    text = (
        "a: tmelink/host inet 10.0.0.1/24 mtu 1500\n"
        "v at a: tmelink/vxlan vni 7 remote 192.0.2.2 local 192.0.2.1{}\n"
        "b: tmelink/host inet 10.0.0.2/24 mtu 1500\n"
        "w at b: tmelink/vxlan vni 7 remote 192.0.2.1 local 192.0.2.2{}"
    )
    proof = way(text.format("", ""), "a", "b")
    assert proof.reason == "outer packets of 1550 bytes do not fit a path of 1500; add 'fragment'"
    told = way(text.format(" fragment", " fragment"), "a", "b")
    assert (told.verdict, names(told)) == ("arrives", ["a", "v", "w", "b"])
    sent = told.hops[1].underlay
    assert sent is not None
    assert sent.sizes == (1500, 70)
    whole = way(text.format("", ""), "a", "b", 1450 - 28)
    assert whole.verdict == "arrives"


def test_vxlan_inside_a_link() -> None:
    """1400 bytes, their Ethernet header, VXLAN's 36, and in the link 28 more with nothing of Ethernet."""
    text = (
        "a: tmelink/host inet 10.0.0.1/24\nv at a: tmelink/vxlan vni 7 remote 172.16.0.2 local 172.16.0.1\n"
        "l: tme/host/openvpn/socket/link --dev tun --local 192.0.2.1 --remote 192.0.2.2"
    )
    proof = way(text + "\nv outer at l", "a", "10.0.0.2", 1372)
    inner, outer = [hop.underlay for hop in proof.hops if hop.underlay is not None]
    assert (inner.sizes, outer.sizes) == ((1450,), (1478,))
    assert proof.hops[-1].room == 1500 - 28 - 50


WAN, ASSUMED = "1400 bytes: the MTU of this computer's wan0", "1500 bytes: assumed, as on an Ethernet"


@pytest.mark.parametrize(
    ("link", "path_mtu", "path", "sizes"),
    [
        (LINK, None, WAN, (1396, 166)),
        (LINK, 1300, "1300 bytes: as --path-mtu says", (1300, 262)),
        # Whose file it is nobody says, so it may well be this computer's.
        (LINK.replace(" --local 192.0.2.1", ""), None, WAN, (1396, 166)),
        # Another computer's.
        (LINK.replace("192.0.2.1", "192.0.2.7"), None, ASSUMED, (1500, 62)),
        (LINK.replace("192.0.2.", "127.0.0."), 1300, "65536 bytes: the loopback interface", (1542,)),
    ],
)
def test_the_path_outside_is_told_known_or_assumed(
    link: str, path_mtu: int | None, path: str, sizes: tuple[int, ...]
) -> None:
    proof = at_hand(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {link}", "a", "10.0.0.2", path_mtu=path_mtu)
    sent = proof.hops[1].underlay
    assert sent is not None
    assert (str(sent.path), sent.sizes) == (f"a path of {path}", sizes)
    if "127" not in link and "192.0.2.7" not in link:
        assert sent.source == "192.0.2.1"


def test_the_path_of_a_link_that_goes_by_an_interface_of_the_file() -> None:
    text = (
        "t: tme/host/tun/tap interface tap0 inet 192.0.2.1/24 mtu 1300\no at t: tmelink/vde /tmp/x.ctl\n"
        "a: tmelink/host inet 10.0.0.1/24\nl at a: " + LINK
    )
    sent = at_hand(text, "a", "10.0.0.2").hops[1].underlay
    assert sent is not None
    assert str(sent.path) == "a path of 1300 bytes: the mtu of t at x:1:1"
    # Bound to another address the link does not go by that one.
    other = at_hand(text.replace("192.0.2.1/24", "192.0.2.9/24"), "a", "10.0.0.2").hops[1].underlay
    assert other is not None
    assert str(other.path) == "a path of 1400 bytes: the MTU of this computer's wan0"


def test_a_path_that_leaves_less_to_every_tunnel_in_it() -> None:
    text = (
        "g: tmelink/gateway inet 10.0.0.1/24\na at g: tmelink/host inet 10.0.0.2/24 gateway 10.0.0.1\n"
        "s at g: tmelink/ipip local 172.16.0.1 remote 172.16.0.2\n"
        "f: tmelink/ipip local 192.0.2.1 remote 192.0.2.2\ns outer at f"
    )
    proof = at_hand(text, "a", "10.1.0.9")
    rooms = [hop.room for hop in proof.hops]
    assert rooms == [1500, 1360, 1360, 1360]
    assert proof.hops[-1].packets == (1356, 164)


IDENTITIES = (MACHINES / "two-identities.conf").read_text()
INSIDE, OUTSIDE, CORPORATE = "192.0.2.66", "198.51.100.7", "192.0.2.10"


@pytest.mark.parametrize(
    ("source", "words", "hops", "rule"),
    [
        (INSIDE, " policy-routing", ["laptop-tun", "laptop-link", "office-link", "office-tun"], 28000),
        (OUTSIDE, " policy-routing", ["laptop-tun"], 28001),
        (INSIDE, "", ["laptop-tun", "laptop-link", "office-link", "office-tun"], None),
        # One table for both: the outside identity's packets go by the tunnel.
        (OUTSIDE, "", ["laptop-tun", "laptop-link", "office-link", "office-tun"], None),
    ],
)
def test_the_source_of_a_packet_chooses_its_way(
    source: str, words: str, hops: list[str], rule: int | None
) -> None:
    proof = way(IDENTITIES.replace(" policy-routing", words), source, CORPORATE)
    assert (proof.verdict, names(proof)) == ("leaves", hops)
    assert str(proof.sender) == source
    said = f"computer: rule {rule} sends packets from {source} to table {rule}: "
    assert proof.hops[0].does.startswith(said) == (rule is not None)


def test_an_answer_from_the_outside_identity() -> None:
    """The corporate net talks to O: seed's broken case, and the same with policy-routing."""
    broken = way(IDENTITIES.replace(" policy-routing", ""), "office-tun", OUTSIDE)
    assert (broken.verdict, names(broken)) == ("leaves", ["office-tun"])
    assert broken.reason.endswith("to laptop")
    back = "the answer comes back by another path: laptop-tun, laptop-link, office-link, office-tun"
    assert broken.back == back
    assert way(IDENTITIES, "office-tun", OUTSIDE).back == ""


def test_the_outside_identity_of_another_tunnel_on_the_computer() -> None:
    """Past the tunnel that has the rules there may be another way of the file's."""
    text = IDENTITIES.rstrip()[:-1] + (
        "    lab: tme/host/tun/tap interface tap0 inet 10.9.0.1/24\n"
        "    m at lab: tmelink/host inet 10.9.0.2/24 gateway 10.9.0.1\n}"
    )
    assert names(way(text, OUTSIDE, "10.9.0.2")) == ["lab", "m"]
    # From the inside everything goes by the tunnel, whatever else there is.
    assert names(way(text, INSIDE, "10.9.0.2"))[:2] == ["laptop-tun", "laptop-link"]


def test_the_way_to_the_peer_leads_past_a_tunnel_that_takes_everything() -> None:
    text = (MACHINES / "l3-client.conf").read_text()
    assert names(way(text, "tun0", "203.0.113.6")) == ["tun0", "link0"]
    assert names(way(text, "tun0", "203.0.113.5")) == ["tun0"]


@pytest.mark.parametrize("df", [False, True])
@pytest.mark.parametrize("size", [0, 1, 1400, 1472, 1473, 9000, 65507])
def test_sizes_add_up(size: int, df: bool) -> None:
    """Fragments carry all the data, each of them within the MTU."""
    text = "a: tmelink/host inet 10.0.0.1/24\nb at a: tmelink/host inet 10.0.0.2/24"
    proof = way(text, "a", "b", size, df=df)
    packets = proof.hops[-1].packets
    if df and size > 1472:
        assert proof.verdict == "dropped"
        return
    assert sum(packet - 20 for packet in packets) == size + 8
    assert max(packets) <= 1500


def test_what_the_command_says_as_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.conf"
    file.write_text(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK}\n")
    assert main(["explain", str(file), "--to", "10.0.0.2", "--json"]) == 0
    (proof,) = json.loads(capsys.readouterr().out)
    assert [hop["element"] for hop in proof["hops"]] == ["a", "l"]
    assert [hop["line"] for hop in proof["hops"]] == [1, 2]
    assert proof["hops"][1]["outside"]["sizes"] == [1500, 62]
    assert [header["bytes"] for header in proof["hops"][1]["headers"]] == [20, 8]
    assert proof["verdict"] == "leaves"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "l"], "l sends no IP packets of its own"),
        (["--from", "b"], "no element 'b'"),
        (["--from", "10.0.0.7"], "--from 10.0.0.7: no host in the file that sends has this address"),
        (["--to", "10.0.0.2", "--svg", "/nowhere/x.svg"], "--svg /nowhere/x.svg: No such file"),
    ],
)
def test_what_cannot_be_shown(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.conf"
    file.write_text(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK}\n")
    assert main(["explain", str(file), *words]) == 1
    assert message in capsys.readouterr().err


def test_a_size_that_no_packet_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", "x", "--size", "65508"])
    assert ended.value.code == 2
    assert "65507" in capsys.readouterr().err
