"""What `tmelink check` warns of, and what it lets pass because users do it every day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tmelink.cli import main
from tmelink.machine import load
from tmelink.proof.problems import problems

LINK = "tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2"
OTHER = "tme/host/openvpn/socket/link --dev tap --local 192.0.2.2 --remote 192.0.2.1"


def warned(text: str) -> list[str]:
    found = problems(load(text + "\n", name="x"))
    for warning in found:
        warning.render()
    return [f"{w.place.line}: {w.message} ({w.hint})" for w in found]


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
    assert said.startswith("1: le0: 192.0.2.0/24 is inside, and link0's peer 192.0.2.2 is in it")


def test_one_address_twice_on_one_ethernet_through_a_link() -> None:
    (said,) = warned(
        f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK}\nb: tmelink/host inet 10.0.0.1/24\nm at b: {OTHER}"
    )
    assert said == "3: b and a have the same address 10.0.0.1 on one Ethernet (the other is at x:1:1)"


def test_a_gateway_that_nobody_is() -> None:
    (said,) = warned(
        "a: tmelink/host inet 10.0.0.1/24 gateway 10.0.0.9\nb at a: tmelink/host inet 10.0.0.2/24"
    )
    assert said.startswith("1: a: nobody on its Ethernet has the address 10.0.0.9 of its gateway")


def test_a_gateway_outside_its_network() -> None:
    (said,) = warned(
        "a: tmelink/netns box inet 10.0.0.1/24 gateway 10.1.0.9\nb at a: tmelink/host inet 10.0.0.2/24"
    )
    assert said.startswith("1: a: its gateway 10.1.0.9 is not in its network")


def test_mtus_that_differ() -> None:
    (said,) = warned("a: tmelink/host inet 10.0.0.1/24 mtu 9000\nb at a: tmelink/host inet 10.0.0.2/24")
    assert said.startswith("1: MTUs differ on one Ethernet (1500 at b, 9000 at a)")


def test_a_link_narrower_than_what_is_sent_into_it() -> None:
    (said,) = warned(f"a: tmelink/host inet 10.0.0.1/24\nl at a: {LINK} --tun-mtu 1400")
    assert said == "2: l drops packets above --tun-mtu 1400, and a sends up to 1500 bytes (give a mtu 1400)"


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
