"""What `tmelink check` warns of, and what it lets pass because users do it every day."""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

import pytest

from tests.support.proofs import warned
from tmelink.cli import main
from tmelink.machine import load
from tmelink.proof.problems import problems

LINK = "tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2"
OTHER = "tme/host/openvpn/socket/link --dev tap --local 192.0.2.2 --remote 192.0.2.1"


@pytest.mark.parametrize(
    "text",
    [
        f"le0: tme/host/tun/tap interface tap0 inet 10.0.0.1/24\nlink0 at le0: {LINK}",
        f"le0: tmelink/host inet 10.0.0.1/24\nlink0 at le0: {LINK} --proto tcp-client --mssfix 0",
        f"le0: tmelink/host inet 10.0.0.1/24\nlink0 at le0: {LINK} --fragment 1300 --mssfix",
        f"le0: tmelink/host inet 10.0.0.1/24 mtu 1400\nlink0 at le0: {LINK} --tun-mtu 1400 --mssfix 0",
        # On the loopback interface any datagram fits.
        "le0: tmelink/host inet 10.0.0.1/24\n"
        "l at le0: tme/host/openvpn/socket/link --local 127.0.0.1 --remote 127.0.0.1 1195 --mssfix 0",
        # The gateway is beyond the link, where the file does not see.
        f"le0: tmelink/host inet 10.0.0.1/24 gateway 10.0.0.9\nlink0 at le0: {LINK}",
        # Two Ethernets may have one address each, and one MTU each.
        "a: tmelink/host inet 10.0.0.1/24\nb at a: tmelink/host inet 10.0.0.2/24\n"
        "c: tmelink/host inet 10.0.0.1/24 mtu 900\nd at c: tmelink/host inet 10.0.0.2/24 mtu 900",
    ],
)
def test_what_works_is_not_warned_of(text: str) -> None:
    assert warned(text) == []


def test_a_link_that_was_told_not_to_clamp() -> None:
    text = f"le0: tmelink/host inet 10.0.0.1/24\nlink2 at le0: {LINK} --mssfix 0"
    assert warned(text) == [
        "2: link2: 1500-byte packets become 1542 bytes on a 1500-byte path: they will be sent in fragments "
        "(add --mssfix or --tun-mtu 1458)"
    ]


def test_a_link_whose_mtu_was_raised_above_its_path() -> None:
    text = f"le0: tmelink/host inet 10.0.0.1/24 mtu 9000\nlink2 at le0: {LINK} --tun-mtu 9000"
    (said,) = warned(text)
    assert said.startswith("2: link2: 9000-byte packets become 9042 bytes on a 1500-byte path")


def test_a_network_inside_that_is_the_one_outside() -> None:
    (said,) = warned(f"le0: tme/host/tun/tap interface tap0 inet 192.0.2.77/24\nlink0 at le0: {LINK}")
    assert said.startswith("1: le0: 192.0.2.0/24 leads into link0, and its peer 192.0.2.2 is in that network")


ONE, TWO = "host one address 192.0.2.1", "host two address 192.0.2.2"
SERVER = "tme/host/openvpn/socket/server --ca k --cert k --key k --dh none --server {} 255.255.255.0 --dev {}"
CLIENT = "tme/host/openvpn/socket/link --client --remote 192.0.2.1 --ca k --cert k --key k --dev {}"


def served(network: str, device: str, *, push: str = "", route: str = "") -> str:
    tun = f"tme/host/tun/{device} interface {device}0"
    return (
        f"{ONE} {{\n s: {SERVER.format(network, device)} --local 192.0.2.1 {push} {route}\n"
        f" t at s: {tun}\n}}\n"
        f"{TWO} {{\n l: {CLIENT.format(device)}\n u at l: {tun}\n}}"
    )


def test_a_server_in_the_network_that_it_gives_to_its_clients() -> None:
    """Its packets to the client go into its own TUN, and the client's into that of the client."""
    assert warned(served("10.8.0.0", "tun")) == []
    clients, into = warned(served("192.0.2.0", "tun", push="--topology subnet"))
    assert clients == (
        "2: s: clients route 192.0.2.0/24 into the tunnel, and its own address 192.0.2.1 is in that "
        "network: the packets of l would go into the tunnel (give the tunnelled network other addresses)"
    )
    assert into == (
        "3: t: 192.0.2.0/24 leads into s, and its peer 192.0.2.2 is in that network: the server's own "
        "packets would go into the server (give the tunnelled network other addresses)"
    )


def test_a_server_that_pushes_a_route_to_itself() -> None:
    (said,) = warned(served("10.8.0.0", "tun", push='--push "route 192.0.0.0 255.255.0.0"'))
    assert said.startswith(
        "2: s: clients route 192.0.0.0/16 into the tunnel, and its own address 192.0.2.1 is in that network"
    )
    # With a redirected gateway the client keeps the server outside by a route to it alone.
    redirecting = '--push "route 192.0.0.0 255.255.0.0" --push "redirect-gateway def1"'
    assert warned(served("10.8.0.0", "tun", push=redirecting)) == []
    kept = '--push "route 192.0.0.0 255.255.0.0" --push "route 192.0.2.1 255.255.255.255 net_gateway"'
    assert warned(served("10.8.0.0", "tun", push=kept)) == []


@pytest.mark.parametrize("topology", ["", "--topology subnet"])
def test_a_servers_route_to_where_its_clients_are(topology: str) -> None:
    (said,) = warned(served("10.8.0.0", "tun", route=f"--route 192.0.0.0 255.255.0.0 {topology}"))
    assert said.startswith(
        "3: t: 192.0.0.0/16 leads into s, and its peer 192.0.2.2 is in that network: the server's"
    )


def test_a_links_route_to_its_own_peer() -> None:
    tun = "t: tme/host/tun/tun interface tun0\n"
    link = (
        "l at t: tme/host/openvpn/socket/link --dev tun --remote 192.0.2.2 --ifconfig 10.8.0.2 10.8.0.1 "
        "--route 192.0.0.0 255.255.0.0"
    )
    assert warned(tun + link) == [
        "2: l: the route to 192.0.0.0/16 will be left out: the peer 192.0.2.2 is in it, and the link's own "
        "packets would go into the link (add --route 192.0.2.2 255.255.255.255 net_gateway)"
    ]
    assert warned(tun + link + " --route 192.0.2.2 255.255.255.255 net_gateway") == []
    assert warned(tun + link + " --redirect-gateway def1") == []


@pytest.mark.parametrize("kind", ["vxlan vni 7", "etherip", "gre"])
def test_a_tunnel_without_openvpn_whose_peer_is_inside_it(kind: str) -> None:
    text = (
        "t: tme/host/tun/tap interface tap0 inet {}/24\n"
        f"v at t: tmelink/{kind} local 192.0.2.1 remote 192.0.2.2"
    )
    assert warned(text.format("10.0.0.1")) == []
    name = kind.split()[0].replace("ether", "Ether").lower()
    assert warned(text.format("192.0.2.1")) == [
        f"1: t: 192.0.2.0/24 leads into v, and its peer 192.0.2.2 is in that network: the {name}'s own "
        f"packets would go into the {name} (give the tunnelled network other addresses)"
    ]


def test_a_peer_that_is_where_nobody_is() -> None:
    """The TAP leads to a machine alone, and the link's packets with it."""
    (said,) = warned(
        "t: tme/host/tun/tap interface tap0 inet 192.0.2.77/24\nm at t: tmelink/host inet 192.0.2.78/24\n"
        f"a: tmelink/host inet 10.0.0.1/24\nlink0 at a: {LINK}"
    )
    assert said == (
        "1: t: the packets of link0 to its peer 192.0.2.2 leave through it and are lost: no host there has "
        "192.0.2.2 (give the tunnelled network other addresses, or add a route to the peer)"
    )


def test_one_of_several_remotes_that_is_inside() -> None:
    (said,) = warned(
        "t: tme/host/tun/tap interface tap0 inet 10.0.0.1/24\n"
        "v at t: tmelink/vxlan vni 7 remote 192.0.2.2 remote 10.0.0.9"
    )
    assert said.startswith("1: t: 10.0.0.0/24 leads into v, and its peer 10.0.0.9 is in that network")


def test_two_tunnels_that_each_go_by_the_other() -> None:
    text = (
        "t: tme/host/tun/tap interface tap0 inet 10.1.0.1/24\nv at t: tmelink/vxlan vni 7 remote 10.2.0.2\n"
        "u: tme/host/tun/tap interface tap1 inet {}/24\n"
        "l at u: tme/host/openvpn/socket/link --dev tap --remote 10.1.0.2"
    )
    assert warned(text.format("10.2.0.1")) == [
        "2: v goes through l goes through v: their packets loop and never leave (add a route to the peer of "
        "one of them, or give it an address that no tunnel leads to)"
    ]
    # One inside the other is a way out.
    assert warned(text.format("10.3.0.1")) == []


def test_a_tunnel_in_a_tunnel_of_the_kernels_way_is_none() -> None:
    assert (
        warned(
            f"t: tme/host/tun/tap interface tap0 inet 10.1.0.1/24\nl at t: {LINK}\n"
            "u: tme/host/tun/tap interface tap1 inet 10.2.0.1/24\nv at u: tmelink/vxlan vni 7 remote 10.1.0.2"
        )
        == []
    )


def test_a_tunnel_in_user_space_that_goes_round_by_the_kernel() -> None:
    """v's datagrams are packets of l, whose peer is on v's Ethernet."""
    (said,) = warned(
        "t: tme/host/tun/tap interface tap0 inet 10.1.0.1/24\n"
        "v at t: tmelink/vxlan vni 7 local 172.16.0.1 remote 172.16.0.2\n"
        "l: tme/host/openvpn/socket/link --dev tun --remote 10.1.0.2\nv outer at l"
    )
    assert said.startswith(
        "1: t: 10.1.0.0/24 leads into l, and its peer 10.1.0.2 is in that network: the link's own"
    )


@pytest.mark.parametrize("ends", [
    ("vxlan vni 7 local 192.0.2.1 remote 192.0.2.2", "vxlan vni 7 local 192.0.2.2 remote 192.0.2.1"),
    ("etherip local 192.0.2.1 remote 192.0.2.2", "etherip local 192.0.2.2 remote 192.0.2.1"),
])  # fmt: skip
def test_a_loop_through_tunnels_without_openvpn(ends: tuple[str, str]) -> None:
    v, w = ends
    text = (
        f"{ONE} {{\n one: tmelink/switch\n v at one: tmelink/{v}\n l at one: {LINK}\n}}\n"
        f"{TWO} {{\n two: tmelink/switch\n w at two: tmelink/{w}\n m at two: {OTHER}\n}}"
    )
    (said,) = warned(text)
    assert said.startswith("9: the link l to m closes a loop of the Ethernet: a broadcast circulates")
    assert warned(text.replace(f"l at one: {LINK}", "")) == []


def test_all_ends_of_a_vxlan_are_one_ethernet_and_no_loop() -> None:
    remotes = {n: " ".join(f"remote 192.0.2.{other}" for other in (1, 2, 3) if other != n) for n in (1, 2, 3)}
    text = "\n".join(
        f"host h{n} address 192.0.2.{n} {{\n a{n}: tmelink/host inet 10.0.0.{n}/24\n"
        f" v{n} at a{n}: tmelink/vxlan vni 7 local 192.0.2.{n} {remotes[n]}\n}}"
        for n in (1, 2, 3)
    )
    assert warned(text) == []


def test_a_loop_through_a_server() -> None:
    server = SERVER.format("10.8.0.0", "tap")
    text = (
        f"{ONE} {{\n one: tmelink/switch\n s at one: {server} --local 192.0.2.1\n"
        f" l at one: {LINK} --port 1195\n}}\n"
        f"{TWO} {{\n two: tmelink/switch\n c at two: {CLIENT.format('tap')}\n"
        f" m at two: {OTHER} --port 1195\n}}"
    )
    (said,) = warned(text)
    assert "closes a loop of the Ethernet" in said
    assert warned(text.replace(f"m at two: {OTHER} --port 1195", "")) == []


def test_explain_warns_of_tunnels_in_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.conf"
    file.write_text(
        "t: tme/host/tun/tap interface tap0 inet 10.0.0.1/24\nv at t: tmelink/vxlan vni 7 remote 10.0.0.9\n"
    )
    assert main(["explain", str(file), "--to", "10.0.0.2", "--size", "100"]) == 0
    assert f"warning: {file}:1:" in capsys.readouterr().err


def test_one_address_twice_on_one_ethernet_through_a_link() -> None:
    (said,) = warned(
        f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK}\nb: tmelink/host inet 10.0.0.1/24\nm at b: {OTHER}"
    )
    assert said == "3: b and a have the same address 10.0.0.1 on one Ethernet (the other is at x:1:1)"


def test_a_gateway_that_nobody_is() -> None:
    (said,) = warned(
        "a: tmelink/host inet 10.0.0.1/24 gateway 10.0.0.9\nb at a: tmelink/host inet 10.0.0.2/24"
    )
    assert said.startswith("1: a: no host on its Ethernet has the address 10.0.0.9 of its gateway")


def test_a_gateway_outside_its_network() -> None:
    (said,) = warned(
        "a: tmelink/netns box inet 10.0.0.1/24 gateway 10.1.0.9\nb at a: tmelink/host inet 10.0.0.2/24"
    )
    assert said.startswith("1: a: its gateway 10.1.0.9 is not in its network")


def test_mtus_that_differ() -> None:
    (said,) = warned(
        "a: tmelink/host inet 10.0.0.1/24 mtu 9000\nb at a: tmelink/host inet 10.0.0.2/24 mtu 1500"
    )
    assert said.startswith("1: MTUs differ on one Ethernet (1500 at b, 9000 at a)")


def test_a_link_narrower_than_what_is_sent_into_it() -> None:
    (said,) = warned(f"a: tmelink/host inet 10.0.0.1/24 mtu 1500\nl at a: {LINK} --tun-mtu 1400")
    assert said == (
        "2: l drops packets above --tun-mtu 1400, and a sends up to 1500 bytes "
        "(leave out a's mtu, or give l --tun-mtu 1500 at both ends)"
    )
    (said,) = warned(f"a: tmelink/host inet 10.0.0.1/24 mtu 9000\nl at a: {LINK}")
    assert "or give l --tun-mtu 9000 and --fragment 1400 at both ends" in said
    assert warned(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK} --tun-mtu 1400") == []


def test_a_vxlan_narrower_than_what_is_sent_into_it() -> None:
    vxlan = "v at a: tmelink/vxlan vni 7 remote 192.0.2.2"
    (said,) = warned(f"a: tmelink/host inet 10.0.0.1/24 mtu 1500\n{vxlan}")
    assert said == (
        "2: v drops packets above 1450 bytes, and a sends up to 1500 bytes "
        "(leave out a's mtu, or give v the word 'fragment')"
    )
    assert warned(f"a: tmelink/host inet 10.0.0.1/24 mtu 1500\n{vxlan} fragment") == []
    assert warned(f"a: tmelink/host inet 10.0.0.1/24\n{vxlan}") == []


def test_a_loop_through_switches() -> None:
    (said,) = warned("one: tmelink/switch\ntwo at one: tmelink/switch\ntwo at one")
    assert "closes a loop of the Ethernet" in said
    assert said.startswith("3: ")


def test_a_loop_through_links() -> None:
    (said,) = warned(
        f"one: tmelink/switch\ntwo: tmelink/switch\na at one: {LINK}\nb at two: {OTHER}\n"
        f"c at one: {LINK} --port 1195\nd at two: {OTHER} --port 1195"
    )
    assert said.startswith("6: the link c to d closes a loop")


def test_a_tap_joined_to_itself_is_no_loop() -> None:
    assert warned("t: tme/host/tun/tap interface tap0 inet 10.0.0.1/24\nt at t") == []


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("--fragment 1300", "", "--fragment"),
        ("--compress stub", "", "compression framing"),
        ("--tun-mtu 1400", "--tun-mtu 1300", "--tun-mtu 1300"),
        ("--proto tcp-server --super-frames", "--proto tcp-client", "--super-frames"),
    ],
)
def test_two_ends_that_differ(one: str, other: str, what: str) -> None:
    found = warned(
        f"a: tmelink/host inet 10.0.0.1/24 mtu 1300\nl at a: {LINK} {one}\n"
        f"b: tmelink/host inet 10.0.0.2/24 mtu 1300\nm at b: {OTHER} {other}"
    )
    assert len(found) == 1
    assert found[0].startswith("4: m ")
    assert what in found[0]


def test_check_warns_and_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.conf"
    file.write_text("one: tmelink/switch\ntwo at one: tmelink/switch\ntwo at one\n")
    assert main(["check", str(file)]) == 0
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"warning: {file}:3:")
    assert main(["check", "--json", str(file)]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert (warning["line"], "loop" in warning["message"]) == (3, True)


def seconds_to_check(hosts: int) -> tuple[float, float]:
    """Of the processor's time: reading a file with so many hosts on one switch, and looking for problems."""
    text = "s: tmelink/switch\nrouter at s: tmelink/host inet 10.0.0.1/8\n" + "".join(
        f"h{number} at s: tmelink/host inet 10.1.{number >> 8}.{number & 255}/8 gateway 10.0.0.1\n"
        for number in range(hosts)
    )
    gc.collect()
    gc.disable()
    try:
        began = time.process_time()
        machine = load(text)
        loaded = time.process_time()
        assert problems(machine) == []
        return loaded - began, time.process_time() - loaded
    finally:
        gc.enable()


def test_the_time_of_a_check_grows_with_the_hosts_and_no_faster() -> None:
    few = min(seconds_to_check(1000)[1] for _ in range(3))
    many = seconds_to_check(10_000)[1]
    assert many < 30 * few, f"{few:.3f} s for 1,000 hosts and {many:.3f} s for 10,000"


def test_two_thousand_hosts_are_checked_within_two_seconds() -> None:
    # Coverage's tracing takes several times as long.
    limit = 2 if sys.gettrace() is None else 10
    assert min(sum(seconds_to_check(2000)) for _ in range(3)) < limit
