"""Ways that end before they should, come back otherwise, or leave; the samples' own are in test_samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tmelink.cli import main
from tmelink.machine import load
from tmelink.proof import choice
from tmelink.proof.ground import Ground
from tmelink.proof.hops import Proof
from tmelink.proof.sizes import Ping
from tmelink.proof.walk import prove

LINK = "tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2"


def way(text: str, source: str, target: str, size: int = 1472, *, df: bool = False) -> Proof:
    ground = Ground(load(text + "\n", name="x"))
    ((begin, end),) = choice.chosen(ground, source, target)
    return prove(ground, begin, end, Ping(choice.version((begin, end)), size, df))


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
    assert (proof.verdict, proof.reason) == ("dropped", "nobody there has 10.0.0.3")


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
    assert proof.back == "the answer comes back another way: b, s, g, h, a"


def test_a_frame_above_the_links_mtu() -> None:
    proof = way(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK} --tun-mtu 1400", "a", "10.0.0.2")
    assert (proof.verdict, names(proof)) == ("dropped", ["a", "l"])
    assert "--tun-mtu" in proof.reason


def test_a_datagram_that_must_not_be_cut_outside() -> None:
    proof = way(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK} --mtu-disc yes", "a", "10.0.0.2")
    assert proof.reason == "--mtu-disc yes: the datagram does not fit a path of 1500 bytes"
    whole = way(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK} --mtu-disc yes", "a", "10.0.0.2", 1430)
    assert whole.verdict == "leaves"


def test_own_fragments_of_a_link() -> None:
    proof = way(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK} --fragment 800", "a", "10.0.0.2")
    sent = proof.hops[1].outside
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
    found = [hop.outside for hop in proof.hops if hop.outside is not None]
    assert [(sent.source, sent.destination) for sent in found] == outside


def test_vxlan_cuts_nothing_unless_it_is_told_to() -> None:
    text = (
        "a: tmelink/host inet 10.0.0.1/24\nv at a: tmelink/vxlan vni 7 remote 192.0.2.2 local 192.0.2.1{}\n"
        "b: tmelink/host inet 10.0.0.2/24\nw at b: tmelink/vxlan vni 7 remote 192.0.2.1 local 192.0.2.2{}"
    )
    proof = way(text.format("", ""), "a", "b")
    assert proof.reason == "1550 bytes outside do not fit 1500; add 'fragment'"
    told = way(text.format(" fragment", " fragment"), "a", "b")
    assert (told.verdict, names(told)) == ("arrives", ["a", "v", "w", "b"])
    sent = told.hops[1].outside
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
    inner, outer = [hop.outside for hop in proof.hops if hop.outside is not None]
    assert (inner.sizes, outer.sizes) == ((1450,), (1478,))
    assert proof.hops[-1].room == 1500 - 28 - 50


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
