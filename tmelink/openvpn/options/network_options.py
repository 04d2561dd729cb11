"""What a link's options and those its server pushes say of the tunnel network, as values for a plan.

Reads words; what they mean to a host is `tmelink.routing.tunnel`'s. A server's words may be anything: what
cannot be read is passed over with a note.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Literal

from tmelink import values
from tmelink.openvpn.options import dns_options
from tmelink.openvpn.options.values import NetworkOptions, Options
from tmelink.printable import printable
from tmelink.routing.dns import Dns
from tmelink.routing.facts import IPAddress, IPInterface
from tmelink.routing.tunnel import KEYWORDS, RouteRequest, Tunnel

LEAST_MTU = 100
"""OpenVPN's least --tun-mtu."""

MAX_PUSHED = 1024
"""Routes that a server may push: more than any network has, and few enough to set in a moment."""

SCRIPTS = ("up", "route-up", "route-pre-down", "down")
"""The options that name scripts, in the order in which those are run."""

REDIRECT_FLAGS = (
    "local",
    "autolocal",
    "def1",
    "bypass-dhcp",
    "bypass-dns",
    "block-local",
    "ipv6",
    "!ipv4",
)


def with_pushed(
    own: NetworkOptions, lines: Sequence[str], *, nopull: bool = False, fqdn: bool = False
) -> tuple[NetworkOptions, list[str]]:
    """The network as the server's options change it, and notes on those that cannot be read.

    With `nopull` (--route-nopull) addresses and gateways are taken, and neither routes nor name servers;
    only with `fqdn` (--allow-pull-fqdn) may the server name hosts instead of their addresses.
    """
    network, notes = own, []
    known = names(own)
    for line in lines:
        name, *words = line.split() or [""]
        if name in _ROUTES and nopull:
            continue
        try:
            changed = _changed(network, name, words)
            if not fqdn and (named := [host for host in names(changed) if host not in known]):
                raise ValueError(f"{named[0]} is not a valid address; names need --allow-pull-fqdn")
            network = changed
        except IndexError:
            notes.append(
                f"the server pushes '{printable(line, 80)}', which is passed over: a word is missing"
            )
        except ValueError as error:
            notes.append(f"the server pushes '{printable(line, 80)}', which is passed over: {error}")
    return network, notes


_ROUTES = ("route", "route-ipv6", "redirect-gateway", "redirect-private", "block-ipv6", "dns", "dhcp-option")


def _changed(network: NetworkOptions, name: str, words: list[str]) -> NetworkOptions:
    match name:
        case "ifconfig":
            return replace(network, ifconfig=(str(values.ipv4(words[0])), str(values.ipv4(words[1]))))
        case "ifconfig-ipv6":
            own = values.ipv6_interface(words[0])
            return replace(network, ifconfig_ipv6=(own, values.ipv6(words[1])))
        case "topology":
            topology = _topology(words[0])
            return replace(network, topology=topology)
        case "route" if len(network.routes) < MAX_PUSHED:
            read_route(name, words)
            return replace(network, routes=(*network.routes, tuple(words)))
        case "route-ipv6" if len(network.routes6) < MAX_PUSHED:
            read_route(name, words)
            return replace(network, routes6=(*network.routes6, tuple(words)))
        case "route" | "route-ipv6":
            raise ValueError(f"there are {MAX_PUSHED} routes already")
        case "route-gateway":
            return replace(network, route_gateway=words[0])
        case "route-ipv6-gateway":
            return replace(network, route_gateway6=values.ipv6(words[0]))
        case "route-metric":
            return replace(network, route_metric=values.integer(0, 2**31 - 1)(words[0]))
        case "redirect-gateway" | "redirect-private":
            for word in words:
                values.choice(*REDIRECT_FLAGS)(word)
            flags = (*(network.redirect or ()), *words)
            return replace(network, redirect=flags, redirect_private=name == "redirect-private")
        case "block-ipv6":
            return replace(network, block_ipv6=True)
        case "dns":
            dns_options.check_dns(words, pushed=True)
            return replace(network, pushed_dns=(*network.pushed_dns, tuple(words))[:MAX_PUSHED])
        case "dhcp-option":
            dns_options.check_dhcp(words)
            return replace(network, dhcp=(*network.dhcp, tuple(words))[:MAX_PUSHED])
        case "tun-mtu":
            return replace(network, mtu=values.integer(LEAST_MTU, 65536, "mtu")(words[0]))
    return network


def _topology(word: str) -> Literal["net30", "p2p", "subnet"]:
    if word not in ("net30", "p2p", "subnet"):
        raise ValueError(f"'{word}' is not one of net30, p2p, subnet")
    return word  # type: ignore[return-value]


def tunnel(
    options: Options,
    network: NetworkOptions,
    remote: IPAddress | None = None,
    names: Mapping[str, IPAddress] | None = None,
) -> Tunnel:
    """What the options say, with the network as it is after pushing and the peer's address outside.

    Raises `ValueError` with the remedy for addresses that cannot be read; `names` are those that resolve.
    """
    known = dict(names or {})
    addresses: list[IPInterface] = []
    peers: dict[int, IPAddress] = {}
    gateways: dict[int, IPAddress | None] = {}
    if network.ifconfig is not None:
        own, other = network.ifconfig
        address = _address(own, known, "--ifconfig")
        second = _address(other, known, "--ifconfig")
        if options.dev_type == "tap" or network.topology == "subnet":
            addresses.append(IPv4Interface(f"{address}/{values.netmask(str(second))}"))
        else:
            addresses.append(IPv4Interface(f"{address}/32"))
            peers[4] = second
    if network.ifconfig_ipv6 is not None:
        addresses.append(network.ifconfig_ipv6[0])
        peers[6] = network.ifconfig_ipv6[1]
    if network.route_gateway is not None:
        dhcp = network.route_gateway == "dhcp"
        gateways[4] = None if dhcp else _address(network.route_gateway, known, "--route-gateway")
    if network.route_gateway6 is not None:
        gateways[6] = network.route_gateway6
    wanted = [read_route("route", words) for words in network.routes]
    wanted += [read_route("route-ipv6", words) for words in network.routes6]
    if network.route_table is not None:
        wanted = [replace(route, table=network.route_table) for route in wanted]
    return Tunnel(
        kind=options.dev_type,
        addresses=() if network.ifconfig_noexec else tuple(addresses),
        peers=peers,
        gateways=gateways,
        routes=() if network.route_noexec else tuple(wanted),
        redirect=None if network.redirect is None or network.route_noexec else frozenset(network.redirect),
        private=network.redirect_private,
        block_ipv6=network.block_ipv6,
        metric=network.route_metric,
        delay=network.route_delay,
        mac=network.lladdr,
        mtu=None if network.mtu is None else min(network.mtu, options.sizes.longest_mtu),
        dns=name_servers(network),
        dns_updown=network.dns_updown,
        scripts=dict(network.scripts),
        environment=_environment(network, options, remote) if network.scripts else {},
        remote=remote,
        names=known,
    )


def _environment(network: NetworkOptions, options: Options, remote: IPAddress | None) -> dict[str, str]:
    """The environment of OpenVPN's scripts (openvpn(8), "Environmental Variables")."""
    told: dict[str, str] = {"dev_type": options.dev_type}
    if network.ifconfig is not None:
        told["ifconfig_local"], other = network.ifconfig
        flat = options.dev_type == "tap" or network.topology == "subnet"
        told["ifconfig_netmask" if flat else "ifconfig_remote"] = other
        gateway = network.route_gateway or (None if flat else other)
        if gateway is not None:
            told["route_vpn_gateway"] = gateway
    if network.ifconfig_ipv6 is not None:
        own, peer = network.ifconfig_ipv6
        told |= {"ifconfig_ipv6_local": str(own.ip), "ifconfig_ipv6_remote": str(peer)}
        told["ifconfig_ipv6_netbits"] = str(own.network.prefixlen)
    if remote is not None:
        told["trusted_ip" if remote.version == 4 else "trusted_ip6"] = str(remote)
    for number, words in enumerate(network.routes, 1):
        for name, word in zip(("network", "netmask", "gateway", "metric"), words, strict=False):
            told[f"route_{name}_{number}"] = word
    if (dns := name_servers(network)) is not None:
        told |= dns.environment()
    dhcp = not (network.dns or network.pushed_dns)
    foreign = [words for words in network.dhcp if dhcp or words[0] not in dns_options.DHCP]
    told |= {f"foreign_option_{at}": " ".join(("dhcp-option", *words)) for at, words in enumerate(foreign, 1)}
    return told


def name_servers(network: NetworkOptions) -> Dns | None:
    """The name servers and domains that the options bring."""
    return dns_options.dns(network.dns, network.pushed_dns, network.dhcp)


def names(network: NetworkOptions) -> list[str]:
    """The host names in it, to be resolved before `tunnel`."""
    texts = [*(network.ifconfig or ()), network.route_gateway]
    for words in (*network.routes, *network.routes6):
        texts += [words[0].split("/")[0], words[1] if ":" in words[0] and len(words) > 1 else None]
        texts += words[2:3]
    found = []
    for text in texts:
        if text is None or text in (*KEYWORDS, "default", "dhcp") or text in found:
            continue
        try:
            ipaddress.ip_address(text)
        except ValueError:
            found.append(text)
    return found


def _address(text: str, known: Mapping[str, IPAddress], option: str) -> IPAddress:
    if text in known:
        return known[text]
    try:
        return values.ipv4(text)
    except ValueError:
        raise ValueError(f"{option}: {text} is not a valid address, and does not resolve") from None


def read_route(option: str, words: Sequence[str]) -> RouteRequest:
    """--route NETWORK [NETMASK [GATEWAY [METRIC]]] or --route-ipv6 NETWORK/BITS [GATEWAY [METRIC]].

    Any but the first may be "default"; raises `ValueError`.
    """
    return _wanted6(words) if option == "route-ipv6" else _wanted(words)


def _wanted(words: Sequence[str]) -> RouteRequest:
    network, mask, gateway, metric = (*words, *("default",) * (4 - len(words)))[:4]
    if not words:
        raise ValueError("a word is missing")
    prefix = 32 if mask == "default" else values.netmask(mask)
    return RouteRequest(network, prefix, None if gateway == "default" else gateway, _metric(metric))


def _wanted6(words: Sequence[str]) -> RouteRequest:
    network, gateway, metric = (*words, *("default",) * (3 - len(words)))[:3]
    if not words:
        raise ValueError("a word is missing")
    address, _, bits = network.partition("/")
    prefix = values.integer(0, 128, "prefix length")(bits) if bits else 128
    return RouteRequest(address, prefix, None if gateway == "default" else gateway, _metric(metric), six=True)


def _metric(word: str) -> int | None:
    return None if word == "default" else values.integer(0, 2**31 - 1, "metric")(word)
