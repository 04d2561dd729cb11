"""`--dns` and `--dhcp-option`: what of a configuration, and of a server's options, a host is to set."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.support.options_of import bad, good
from tmelink.openvpn.options import network_options
from tmelink.routing.dns import Dns, DnsAddress, DnsServer

TUN = "--dev tun --secret key --cipher AES-256-CBC"


def brought(options: str, *pushed: str, nopull: bool = False) -> Dns | None:
    """What comes of a client's options and of what its server pushes."""
    own = good(f"{TUN} {options}").network
    network, notes = network_options.with_pushed(own, pushed, nopull=nopull)
    assert not notes
    return network_options.name_servers(network)


def address(text: str, port: int | None = None) -> DnsAddress:
    return DnsAddress(ip_address(text), port)


def test_everything_that_dns_says() -> None:
    found = brought(
        "--dns search-domains corp.example eu.example "
        "--dns server -3 address 192.0.2.53 [2001:db8::53]:853 "
        "--dns server -3 resolve-domains corp.example --dns server -3 dnssec optional "
        "--dns server -3 transport DoT --dns server -3 sni names.example "
        "--dns server 4 address 192.0.2.54:5353"
    )
    first = DnsServer(
        (address("192.0.2.53"), address("2001:db8::53", 853)),
        ("corp.example",),
        "optional",
        "DoT",
        "names.example",
    )
    assert found == Dns(("corp.example", "eu.example"), (first, DnsServer((address("192.0.2.54", 5353),))))
    assert str(found) == "192.0.2.53, [2001:db8::53]:853; domains corp.example eu.example"


def test_a_pushed_server_takes_the_place_of_the_own_one_with_its_number() -> None:
    found = brought(
        "--dns server 1 address 192.0.2.1 --dns server 2 address 192.0.2.2 --dns search-domains own.example",
        "dns server 1 address 198.51.100.1",
        "dns search-domains pushed.example",
    )
    assert found == Dns(
        ("own.example", "pushed.example"),
        (DnsServer((address("198.51.100.1"),)), DnsServer((address("192.0.2.2"),))),
    )


def test_dhcp_options_count_where_no_dns_server_does() -> None:
    told = ("dhcp-option DNS 192.0.2.53", "dhcp-option DNS6 2001:db8::53", "dhcp-option DOMAIN a.example",
            "dhcp-option DOMAIN-SEARCH b.example", "dhcp-option NTP 192.0.2.123")  # fmt: skip
    servers = (DnsServer((address("192.0.2.53"), address("2001:db8::53"))),)
    assert brought("", *told) == Dns(("a.example", "b.example"), servers)
    assert brought("", *told, nopull=True) is None
    assert brought("--dns server 0 address 192.0.2.1", *told) == Dns(
        (), (DnsServer((address("192.0.2.1"),)),)
    )


def test_what_scripts_are_told() -> None:
    """The names are those of openvpn(8) 2.7, and of update-resolv-conf."""
    options = good(f"{TUN} --script-security 2 --up run --dhcp-option DNS 192.0.2.53")
    told = network_options.tunnel(options, options.network).environment
    assert told["dns_server_1_address_1"] == "192.0.2.53"
    assert told["foreign_option_1"] == "dhcp-option DNS 192.0.2.53"
    options = good(
        f"{TUN} --script-security 2 --up run --dhcp-option DNS 192.0.2.53 "
        "--dns search-domains a.example --dns server 3 address [2001:db8::53]:853 "
        "--dns server 3 transport DoT"
    )
    told = network_options.tunnel(options, options.network).environment
    assert "foreign_option_1" not in told
    assert {name: value for name, value in told.items() if name.startswith("dns_")} == {
        "dns_search_domain_1": "a.example",
        "dns_server_1_address_1": "2001:db8::53",
        "dns_server_1_port_1": "853",
        "dns_server_1_transport": "DoT",
    }


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("--dns nothing", "'nothing' is neither"),
        ("--dns server 128 address 192.0.2.1", "not a number from -128 to 127"),
        ("--dns server 1 address names.example", "does not appear to be"),
        ("--dns server 1 address 192.0.2.1:0", "port"),
        ("--dns server 1 dnssec maybe", "'maybe' is not one of"),
        ("--dns search-domains -x", "'-x' is not a valid domain"),
        ("--dhcp-option DNS nowhere", "does not appear to be"),
        ("--dns-updown run", "is not allowed to run"),
    ],
)
def test_a_mistake_is_told(written: str, why: str) -> None:
    assert why in " ".join(bad(f"{TUN} {written}"))


def test_a_pushed_option_that_cannot_be_read_is_passed_over() -> None:
    own = good(TUN).network
    network, notes = network_options.with_pushed(own, ["dns server -1 address 192.0.2.1", "dns server 1"])
    assert network == own
    assert len(notes) == 2
