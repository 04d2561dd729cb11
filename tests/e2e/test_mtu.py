"""Interfaces have the MTU of what they are connected to, follow it, and nothing is lost without a word.

The whole table, of every kind of tunnel on every path, is `python -m tests.e2e.mtu_table`.
"""

from __future__ import annotations

import pytest

from tests.e2e.mtu_table import KINDS, followed, lab, measure, mtus, prepare, probe, set_path
from tests.support.netns import Net

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip")]

SHORT = ("link, UDP, `--mtu-disc yes`", "gre", "vxlan in ipip")


def test_interfaces_follow_the_path_and_every_packet_passes_or_is_refused(net: Net) -> None:
    kinds = [kind for kind in KINDS if kind.name in SHORT]
    assert len(kinds) == len(SHORT)
    cells = measure(net, kinds, (1400,), 700, lambda text: None)
    for (name, outer), cell in cells.items():
        assert set(cell.mtu) == {cell.wanted}, (name, outer)
        assert not cell.faults, (name, outer, cell.faults)
        assert cell.counts["passes"] > cell.counts["told"] > 0


def test_a_tap_that_was_there_before_is_only_narrowed_and_gets_its_mtu_back(net: Net) -> None:
    a, b = net.pair()
    for name, mtu in (("wide", "1500"), ("narrow", "1300")):
        a.run("ip", "tuntap", "add", name, "mode", "tap")
        a.run("ip", "link", "set", name, "mtu", mtu)
    process = a.tmelink(
        "t0: tme/host/tun/tap interface wide\nt1: tme/host/tun/tap interface narrow\n"
        f"v0 at t0: tmelink/vxlan vni 1 port 4001 remote {b.addresses[0]}\n"
        f"v1 at t1: tmelink/vxlan vni 2 port 4002 remote {b.addresses[0]}\n"
    )
    assert followed([a], {"wide": 1450, "narrow": 1300}) == {"wide": (1450,), "narrow": (1300,)}
    set_path((a, b), 1400)
    assert followed([a], {"wide": 1350, "narrow": 1300}) == {"wide": (1350,), "narrow": (1300,)}
    set_path((a, b), 1340)
    assert followed([a], {"wide": 1290, "narrow": 1290}) == {"wide": (1290,), "narrow": (1290,)}
    set_path((a, b), 9000)
    assert followed([a], {"wide": 1500, "narrow": 1300}) == {"wide": (1500,), "narrow": (1300,)}
    set_path((a, b), 1400)
    assert followed([a], {"wide": 1350}) == {"wide": (1350,)}
    assert process.stop() == 0, process.output
    assert {name: mtus(a)[name] for name in ("wide", "narrow")} == {"wide": 1500, "narrow": 1300}


def test_a_machine_with_its_own_mtu_behind_a_switch_is_told_and_tcp_passes(net: Net) -> None:
    """As an emulated machine has one: what is too long for the vxlan is refused as a router does."""
    kinds = [kind for kind in KINDS if kind.name == "vxlan behind a switch"]
    a, b = prepare(net, kinds)
    labs = [space.tmelink(lab(own, kinds, "mtu 1500")) for own, space in enumerate((a, b), 1)]
    assert any("drops packets above 1450 bytes" in line for line in labs[0].lines)
    faults, counts = probe(a, b, 1, 1500, 1500, 700)
    assert not faults
    assert counts["told"]
    for process in labs:
        assert process.stop() == 0, process.output
