"""What the proof knows of filters, VLANs and meshes: explained, warned of, drawn, and a mesh is no loop."""

from __future__ import annotations

import pytest

from tests.support.proofs import warned, way
from tmelink.machine import load
from tmelink.proof.graph import dot, graph

HOSTS = "".join(f"h{n}: tmelink/host inet 10.0.0.{n}/24 inet6 fd00::{n}/64\n" for n in (1, 2, 3))


def star(*words: str) -> str:
    """Three hosts at one switch, with these words."""
    return (
        "sw0: tmelink/switch\n" + HOSTS + "".join(f"h{n} at sw0 {text}\n" for n, text in enumerate(words, 1))
    )


def test_a_vlan_that_keeps_a_packet_back_is_named() -> None:
    text = star("vlan access 10", "vlan access 20", "vlan access 10")
    proof = way(text, "h1", "h2")
    reason = "sw0 does not pass it on: it is in VLAN 10, which is not at the connection with h2"
    assert (proof.verdict, proof.reason) == ("dropped", reason)
    assert [hop.name for hop in proof.hops] == ["h1", "sw0"]
    assert way(text, "h1", "h3").verdict == "arrives"
    tagged = way(star("vlan trunk 10 native 10", "vlan trunk 10", ""), "h1", "h2")
    assert tagged.verdict == "dropped", "a host takes no tagged frames"
    untagged = way(star("vlan trunk 10", "", ""), "h1", "h2")
    assert untagged.reason == "sw0 does not pass it on: the connection with h1 is a trunk without 'native'"


def test_vlans_cross_a_trunk_between_switches() -> None:
    text = (
        "sw0: tmelink/switch\nsw1: tmelink/switch\n"
        + HOSTS
        + "h1 at sw0 vlan access 10\nh2 at sw1 vlan access 10\n"
        "h3 at sw1 vlan access 20\nsw0 vlan trunk 10-20 at sw1 vlan trunk 1-15\n"
    )
    assert way(text, "h1", "h2").verdict == "arrives"
    proof = way(text, "h1", "h3")
    assert proof.reason == "sw1 does not pass it on: it is in VLAN 10, which is not at the connection with h3"
    back = way(text, "h3", "h1")
    assert back.reason == "sw1 does not pass it on: it is in VLAN 20, which is not at the connection with sw0"


@pytest.mark.parametrize("word", ["isolated", "mesh m"])
def test_connections_that_are_parted_are_named(word: str) -> None:
    proof = way(star(word, word, ""), "h1", "h2")
    why = "both are isolated" if word == "isolated" else "both are of mesh m"
    assert (proof.verdict, proof.reason) == ("dropped", f"sw0 does not pass it on: {why}")
    assert way(star(word, word, ""), "h1", "h3").verdict == "arrives"


@pytest.mark.parametrize(
    ("line", "there", "back"),
    [
        ("filter h1 at sw0 no-ip direction out", "the filter 'no-ip' from h1 to sw0 drops ARP", ""),
        ("filter h1 at sw0 arp direction out", "the filter 'arp' from h1 to sw0 drops the ping", ""),
        ("filter sw0 at h2 decnet lat direction out", "the filter 'decnet lat' from sw0 to h2 drops ARP", ""),
        ("filter h1 at sw0 decnet direction in", "", "the filter 'decnet' from sw0 to h1 drops ARP"),
        ("filter h1 at sw0 no-dhcp", "", ""),
        ("filter h1 at sw0 no-ip\nfilter h1 at sw0 clear", "", ""),
    ],
)
def test_a_filter_that_drops_a_packet_is_named(line: str, there: str, back: str) -> None:
    proof = way(star("", "", "") + line, "h1", "h2")
    if there:
        assert (proof.verdict, proof.reason) == ("dropped", there)
    else:
        assert proof.verdict == "arrives"
        assert proof.back == (f"no answer comes back: {back}" if back else "")


def test_a_filter_is_asked_for_neighbour_discovery_and_behind_a_tag() -> None:
    six = "a: tmelink/host inet6 fd00::1/64\nb at a: tmelink/host inet6 fd00::2/64\n"
    proof = way(six + 'filter a at b "ip6 and not icmp6"', "a", "b")
    assert proof.reason == "the filter 'ip6 and not icmp6' from a to b drops neighbour discovery"
    text = (
        "sw0: tmelink/switch\nsw1: tmelink/switch\n"
        + HOSTS
        + "h1 at sw0 vlan access 10\nh2 at sw1 vlan access 10\n"
        "sw0 vlan trunk 10 at sw1 vlan trunk 10\nfilter sw0 at sw1 {}\n"
    )
    assert way(text.format("ip"), "h1", "h2").verdict == "arrives"
    assert way(text.format("no-ip"), "h1", "h2").reason == "the filter 'no-ip' from sw0 to sw1 drops ARP"


def test_what_leads_nowhere_is_warned_of() -> None:
    (said,) = warned(star("vlan access 10", "vlan access 20", "vlan trunk 20"))
    assert said.startswith("5: VLAN 10 is at no other connection of sw0: its frames go nowhere (")
    (said,) = warned(star("", "", "") + 'filter h1 at sw0 "icmp" direction out')
    assert said.startswith(
        "5: the filter 'icmp' from h1 to sw0 passes IP packets and drops ARP, which they need ("
    )
    assert warned(star("", "", "") + "filter h1 at sw0 ip no-dhcp no-ra\nfilter h2 at sw0 decnet lat") == []


def full_mesh(hosts: int, word: str = "mesh m", without: tuple[int, int] | None = None) -> str:
    """A switch on each of so many computers, and a link between each two."""
    text = ""
    for n in range(hosts):
        text += f"host c{n} address 192.0.2.{n + 1} {{\n    sw{n}: tmelink/switch\n"
        text += f"    h{n} at sw{n}: tmelink/host inet 10.0.0.{n + 1}/24\n"
        for other in range(hosts):
            if other == n or without in ((n, other), (other, n)):
                continue
            text += (
                f"    l{n}x{other} at sw{n} {word}: tme/host/openvpn/socket/link --dev tap "
                f"--local 192.0.2.{n + 1} --lport {5000 + other} --remote 192.0.2.{other + 1} {5000 + n}\n"
            )
        text += "}\n"
    return text


def test_a_mesh_is_no_loop_and_without_the_word_it_is_one() -> None:
    assert warned(full_mesh(5)) == []
    assert "closes a loop of the Ethernet" in warned(full_mesh(3, word=""))[0]
    (said,) = warned(full_mesh(4, without=(1, 2)))
    assert "sw2 and sw1 are of mesh m and have no link between them" in said
    proof = way(full_mesh(5), "h0", "h4")
    assert [hop.name for hop in proof.hops] == ["h0", "sw0", "l0x4", "l4x0", "sw4", "h4"]


def test_a_loop_beside_a_mesh_is_still_one() -> None:
    text = full_mesh(3) + "x0: tmelink/switch\nx1: tmelink/switch\nx0 at x1\nx0 at x1\n"
    (said,) = warned(text)
    assert "x0 at x1 closes a loop" in said
    # Two links between two switches, only one of which is of the mesh.
    two = "sw0: tmelink/switch\nsw1: tmelink/switch\nsw0 {} at sw1 {}\nsw0 {} at sw1 {}\n"
    assert len(warned(two.format("mesh m", "", "mesh m", ""))) == 0, "neither comes back"
    assert len(warned(two.format("mesh m", "mesh m", "", ""))) == 1
    assert len(warned(two.format(*["vlan trunk 10"] * 2, *["vlan trunk 20"] * 2))) == 0
    assert len(warned(two.format(*["vlan trunk 10,20"] * 4))) == 1


def test_words_and_filters_are_drawn() -> None:
    drawn = dot(
        graph(load(star("vlan access 10", "vlan access 10", "") + "filter h1 at sw0 no-ra\n", name="x"))
    )
    assert 'label="to sw0: no-ra\\nvlan access 10\\nto h1: no-ra"' in drawn
