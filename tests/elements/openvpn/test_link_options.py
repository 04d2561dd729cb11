"""What a link does with options that concern neither its wire nor its session."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.support.options_of import bad, good
from tmelink.element import Element, Port, connect
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.openvpn import sessions
from tmelink.elements.openvpn.link import Link
from tmelink.logs import TRACE
from tmelink.openvpn.options.values import Options, TlsOptions
from tmelink.openvpn.settings import ControlChannel, Liveness, Mssfix, Replay, Sizes
from tmelink.openvpn.tls.settings import Credentials
from tmelink.transport.datagrams import MAX_RUN


@pytest.mark.parametrize(
    ("verb", "level"),
    [
        (0, logging.ERROR),
        (1, logging.NOTSET),
        (3, logging.NOTSET),
        (4, logging.DEBUG),
        (5, TRACE),
        (11, TRACE),
    ],
)
def test_verb_is_how_much_the_link_logs(verb: int, level: int) -> None:
    assert Link("link0", Options(verb=verb)).log_level == level


@pytest.mark.parametrize(
    ("offload", "segment", "gro"),
    [("off", False, False), ("send", True, False), ("receive", False, True), ("both", True, True)],
)
def test_udp_offload_is_asked_for_each_way(offload: Any, segment: bool, gro: bool) -> None:
    link = Link("link0", Options(udp_offload=offload))
    assert (link.segment, link.gro) == (segment, gro)


@pytest.mark.parametrize(
    ("words", "wanted"), [("", 0), ("--busy-poll 50", 50), ("--busy-poll auto", None), ("--busy-poll off", 0)]
)
def test_polling_is_asked_for_in_microseconds(words: str, wanted: int | None) -> None:
    assert good(f"--remote 192.0.2.1 {words}").busy_poll == wanted
    assert bad("--remote 192.0.2.1 --busy-poll 0")
    assert bad("--remote 192.0.2.1 --busy-poll long")


def wish(**options: Any) -> int | None:
    link = Link("link0", Options(**options))
    return link.longest(link.port())


RESERVED = 320
"""What Linux 6 keeps of a super-frame's size for headers (MAX_TCP_HEADER and a byte)."""


@pytest.mark.parametrize(
    ("options", "mss", "overhead"),
    [
        ({}, 1364, 0),
        ({"tls": TlsOptions(role="server")}, 1348, 24),
        ({"sizes": Sizes(mssfix=Mssfix(0, "mtu"))}, 1460, 0),
    ],
)
@pytest.mark.parametrize("more", [0, 20], ids=["IPv4", "IPv6"])
def test_a_super_frame_of_the_wished_length_is_one_run(
    options: dict[str, Any], mss: int, overhead: int, more: int
) -> None:
    longest = wish(**options)
    assert longest is not None
    payload = mss - 12 - more
    pieces = (longest - RESERVED) // payload
    run = pieces * (14 + 20 + more + 32 + payload + overhead)
    assert run <= MAX_RUN
    assert run > MAX_RUN * 0.9


def test_what_is_sent_one_by_one_or_over_tcp_may_be_of_any_length() -> None:
    assert wish(udp_offload="receive") is None
    assert wish(proto="tcp-server") is None


def test_a_switch_passes_the_least_wish_on() -> None:
    links = [Link("link0", Options(tls=TlsOptions(role="server"))), Link("link1", Options())]
    switch = Switch("switch0", Switch.Arguments())
    for link in links:
        connect(link.port(), switch.port())
    machine = Element("machine", None)
    asking = switch.port()
    connect(asking, machine.port())
    wishes = [link.longest(link.ports[0]) for link in links]
    assert switch.longest(asking) == min(wish for wish in wishes if wish is not None)
    other = Switch("switch1", Switch.Arguments())
    for _ in range(2):
        connect(other.port(), switch.port())
    assert switch.longest(asking) == links[0].longest(links[0].ports[0])
    assert machine.longest(Port(machine)) is None


def test_both_kinds_of_session_get_a_links_groups_whole() -> None:
    tls = TlsOptions(role="client", control=ControlChannel(hand_window=7), auth_retry="nointeract")
    options = Options(liveness=Liveness(ping=3), replay=Replay(128, 30), tls=tls)
    user = Credentials("user", "password")
    plain, secured = sessions.settings(options), sessions.tls_settings(options, tls, None, user)
    assert plain.shared() == secured.shared() == options.shared()
    assert secured.shared_tls() == tls.shared_tls()
    assert (secured.credentials, secured.auth_retry) == (user, "nointeract")
