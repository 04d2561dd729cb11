"""From settings to `ServerOptions` and `NetworkOptions`: clients' addresses, what is pushed to them, routes.

Knows OpenVPN's helper options --server, --server-ipv6 and --server-bridge and what they expand to (openvpn(8)
2.6, "Server options"). Hands out no address and sets no route.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Interface
from typing import Any, Literal

from tmelink import values
from tmelink.openvpn.options import dns_options
from tmelink.openvpn.options.fields import Chosen, own_address, protocol
from tmelink.openvpn.options.network_options import SCRIPTS, read_route
from tmelink.openvpn.options.reading import OptionList, OptionSetting
from tmelink.openvpn.options.values import (
    Bridge,
    GenToken,
    NetworkOptions,
    Pool,
    ServerOptions,
    ServerVlans,
    TopologyName,
)
from tmelink.source import Mistake, Report

_HOW_DNS = "write --dns server 0 address ADDRESS, or --dns search-domains DOMAIN"

_SMALL_POOL6 = 112
"""From this prefix length on an IPv6 pool begins at the network's address + 2 instead of + 0x1000."""


@dataclass(slots=True)
class _Plan:
    """What the helper options expand to, piece by piece."""

    pool: Pool | None = None
    pool6: IPv6Interface | None = None
    bridge: Bridge | Literal["dhcp", "nogw"] | None = None
    push: list[str] = field(default_factory=list)
    own: dict[str, Any] = field(default_factory=dict)
    """Fields of `NetworkOptions` that the server takes for itself."""


def network(chosen: Chosen, dev_type: str, report: Report) -> NetworkOptions:
    """Addresses and routes in the tunnel."""
    ifconfig = chosen.last("ifconfig")
    ifconfig6 = chosen.last("ifconfig-ipv6")
    redirect = chosen.last("redirect-gateway", "redirect-private")
    if ifconfig is not None:
        _check_ifconfig(ifconfig, dev_type, report)
    for setting in (*chosen.all("route"), *chosen.all("route-ipv6")):
        try:
            read_route(setting.name, setting.values)
        except ValueError as error:
            report(Mistake(setting.place, f"--{setting.name}: {error}"))
    _check_names(chosen, report)
    return NetworkOptions(
        ifconfig=None if ifconfig is None else (ifconfig.values[0], ifconfig.values[1]),
        ifconfig_ipv6=None if ifconfig6 is None else (ifconfig6.values[0], ifconfig6.values[1]),
        ifconfig_noexec=chosen.has("ifconfig-noexec"),
        topology=chosen.value("topology", "net30"),
        routes=tuple(setting.values for setting in chosen.all("route")),
        routes6=tuple(setting.values for setting in chosen.all("route-ipv6")),
        route_gateway=chosen.value("route-gateway"),
        route_gateway6=chosen.value("route-ipv6-gateway"),
        route_metric=chosen.value("route-metric"),
        route_noexec=chosen.has("route-noexec"),
        route_delay=chosen.value("route-delay", 0),
        scripts=tuple((name, chosen.value(name)) for name in SCRIPTS if chosen.has(name)),
        redirect=None if redirect is None else redirect.values,
        redirect_private=redirect is not None and redirect.name == "redirect-private",
        block_ipv6=chosen.has("block-ipv6"),
        lladdr=chosen.value("lladdr"),
        route_table=chosen.value("route-table"),
        dns=tuple(setting.values for setting in chosen.all("dns")),
        dhcp=tuple(setting.values for setting in chosen.all("dhcp-option")),
        dns_updown=chosen.value("dns-updown"),
    )


def _check_names(chosen: Chosen, report: Report) -> None:
    for name, check in (("dns", dns_options.check_dns), ("dhcp-option", dns_options.check_dhcp)):
        for setting in chosen.all(name):
            try:
                check(setting.values)
            except (ValueError, IndexError) as error:
                report(Mistake(setting.place, f"--{name}: {error}", _HOW_DNS if name == "dns" else None))


def _check_ifconfig(setting: OptionSetting, dev_type: str, report: Report) -> None:
    """A tap has an address and a netmask, a tun two addresses (or names of them)."""
    if dev_type != "tap":
        return
    for convert, text, place in zip(
        (values.ipv4, values.netmask), setting.values, setting.places, strict=True
    ):
        try:
            convert(text)
        except ValueError as error:
            report(Mistake(place, f"--ifconfig of a tap: {error}", "write --ifconfig ADDRESS NETMASK"))


def server(
    found: OptionList, chosen: Chosen, dev_type: str, topology: TopologyName, report: Report
) -> tuple[ServerOptions, dict[str, Any]]:
    """The server's options, and the fields of `NetworkOptions` that its helpers set."""
    plan = _Plan(push=[setting.values[0] for setting in chosen.all("push")])
    network = _expand_server(chosen, dev_type, topology, plan, report)
    _expand_server_ipv6(chosen, plan)
    if network is None:
        _expand_bridge(chosen, plan, report)
    _expand_common(chosen, plan)
    if chosen.value("server", None, 2) == "nopool":
        plan.pool = None
    given = chosen.last("ifconfig-pool")
    if given is not None:
        first, last, *mask = given.values
        plan.pool = Pool(first, last, mask[0] if mask else None)
        if last < first:
            report(Mistake(given.place, f"--ifconfig-pool ends at {last}, before it begins at {first}"))
    persist = chosen.last("ifconfig-pool-persist")
    directory = chosen.last("client-config-dir")
    stale = chosen.last("stale-routes-check")
    table = chosen.last("auth-user-pass-table")
    subnet = dev_type == "tap" or topology == "subnet"
    return (
        ServerOptions(
            network=network,
            bridge=plan.bridge,
            pool=plan.pool,
            pool6=chosen.value("ifconfig-ipv6-pool", plan.pool6),
            pool_persist=None if persist is None else found.resolve(persist, persist.values[0]),
            pool_persist_seconds=chosen.value("ifconfig-pool-persist", 600, 1),
            push=tuple(plan.push),
            client_config_dir=None if directory is None else found.resolve(directory, directory.values[0]),
            ccd_exclusive=chosen.has("ccd-exclusive"),
            client_to_client=chosen.has("client-to-client"),
            duplicate_cn=chosen.has("duplicate-cn"),
            locals=own_places(chosen),
            max_clients=chosen.value("max-clients", 1024),
            max_routes_per_client=chosen.value("max-routes-per-client", 256),
            connect_freq=_pair(chosen.last("connect-freq")),
            connect_freq_initial=_pair(chosen.last("connect-freq-initial")) or (100, 10),
            stale_routes_check=None if stale is None else (stale.values[0], stale.values[-1]),
            verify_client_cert=chosen.value("verify-client-cert", "require"),
            username_as_common_name=chosen.has("username-as-common-name"),
            auth_user_pass_optional=chosen.has("auth-user-pass-optional"),
            gen_token=_gen_token(found, chosen, report),
            user_table=None if table is None else found.resolve(table, table.values[0]),
            push_constraint=_constraint(chosen) or (network if subnet else None),
            vlans=_vlans(chosen),
        ),
        plan.own,
    )


def _expand_server(
    chosen: Chosen, dev_type: str, topology: TopologyName, plan: _Plan, report: Report
) -> IPv4Network | None:
    setting = chosen.last("server")
    if setting is None:
        return None
    try:
        network = IPv4Network((setting.values[0], setting.values[1]))
    except ValueError:
        message = f"--server: {setting.values[0]} is not a network with that netmask"
        report(Mistake(setting.places[0], message, "its last bits must be 0"))
        return None
    longest = 30 if dev_type == "tap" else 29
    if not 16 <= network.prefixlen <= longest:
        report(Mistake(setting.places[1], f"--server: a network is between /16 and /{longest}"))
        return None
    gateway = network.network_address + 1
    if dev_type == "tap" or topology == "subnet":
        plan.own["ifconfig"] = (str(gateway), str(network.netmask))
        plan.pool = Pool(gateway + 1, network.broadcast_address - 1, network.prefixlen)
        plan.push.append(f"route-gateway {gateway}")
    else:
        plan.own["ifconfig"] = (str(gateway), str(gateway + 1))
        whole = (str(network.network_address), str(network.netmask))
        plan.own["routes"] = (*(route.values for route in chosen.all("route")), whole)
        plan.pool = Pool(gateway + 3, network.broadcast_address - (0 if network.prefixlen == 29 else 4))
        if chosen.has("client-to-client"):
            plan.push.append(f"route {network.network_address} {network.netmask}")
        elif topology == "net30":
            plan.push.append(f"route {gateway}")
    if dev_type == "tun":
        plan.push.append(f"topology {topology}")
    return network


def _expand_server_ipv6(chosen: Chosen, plan: _Plan) -> None:
    given: IPv6Interface | None = chosen.value("server-ipv6")
    if given is None:
        return
    base, bits = given.network.network_address, given.network.prefixlen
    plan.own["ifconfig_ipv6"] = (IPv6Interface((base + 1, bits)), base + 2)
    plan.pool6 = IPv6Interface((base + (0x1000 if bits < _SMALL_POOL6 else 2), bits))
    plan.push.append("tun-ipv6")


def _expand_bridge(chosen: Chosen, plan: _Plan, report: Report) -> None:
    """--server-bridge GATEWAY NETMASK FIRST LAST, --server-bridge nogw, or bare (addresses by DHCP)."""
    setting = chosen.last("server-bridge")
    if setting is None:
        return
    if not setting.values:
        plan.bridge = "dhcp"
        plan.push.append("route-gateway dhcp")
    elif setting.values == ("nogw",):
        plan.bridge = "nogw"
    elif len(setting.values) == 4:
        try:
            gateway = values.ipv4(setting.values[0])
        except ValueError as error:
            report(Mistake(setting.places[0], f"--server-bridge: {error}"))
            return
        prefix, first, last = setting.values[1:]
        network = IPv4Network((gateway, prefix), strict=False)
        if first not in network or last not in network or last < first:
            report(
                Mistake(setting.places[2], f"--server-bridge: {first} to {last} is not a range in {network}")
            )
        plan.bridge = Bridge(gateway, prefix)
        plan.pool = Pool(first, last, prefix)
        plan.push.append(f"route-gateway {gateway}")
    else:
        hint = "write --server-bridge GATEWAY NETMASK FIRST LAST, or nogw, or nothing after it"
        report(Mistake(setting.place, "--server-bridge: an argument is missing", hint))


def _expand_common(chosen: Chosen, plan: _Plan) -> None:
    keepalive = chosen.last("keepalive")
    if keepalive is not None:
        plan.push += [f"ping {keepalive.values[0]}", f"ping-restart {keepalive.values[1]}"]
    if chosen.has("tcp-nodelay"):
        plan.push.append("socket-flags TCP_NODELAY")


def _gen_token(found: OptionList, chosen: Chosen, report: Report) -> GenToken | None:
    """--auth-gen-token [LIFETIME] [RENEWAL]; tokens are renewed when keys are."""
    setting = chosen.last("auth-gen-token")
    if setting is None:
        return None
    reneg_sec: int = chosen.value("reneg-sec", 3600)
    renewal, external = reneg_sec, False
    for text, place in zip(setting.values[1:], setting.places[1:], strict=True):
        if text == "external-auth":
            external = True
        elif not text.isascii() or not text.isdigit() or len(text) > 9:
            report(Mistake(place, f"--auth-gen-token: '{text}' is not a number of seconds"))
        elif int(text) < reneg_sec:
            message = f"--auth-gen-token: {text} s is less than --reneg-sec, with which tokens are renewed"
            report(Mistake(place, message, f"write --reneg-sec {text} besides, or a longer time"))
        else:
            renewal = int(text)
    secret = found.material(chosen.last("auth-gen-token-secret"))
    return GenToken(setting.values[0] if setting.values else 0, renewal, secret, external)


def own_places(chosen: Chosen) -> tuple[tuple[str | None, int, str], ...]:
    """Several --local, or one that names a protocol, each with its port and protocol or the server's."""
    given = chosen.all("local")
    if len(given) < 2 and not any(len(setting.values) > 2 for setting in given):
        return ()
    written = chosen.last("port", "lport")
    port = 1194 if written is None else written.values[0]
    found = []
    for setting in given:
        own = setting.values
        proto = own[2] if len(own) > 2 else chosen.value("proto", "udp")
        found.append((own_address(setting), own[1] if len(own) > 1 else port, protocol(proto, chosen)))
    return tuple(found)


def _constraint(chosen: Chosen) -> IPv4Network | None:
    setting = chosen.last("ifconfig-push-constraint")
    return None if setting is None else IPv4Network((setting.values[0], setting.values[1]), strict=False)


def _vlans(chosen: Chosen) -> ServerVlans | None:
    if not chosen.has("vlan-tagging"):
        return None
    return ServerVlans(chosen.value("vlan-pvid", 1), chosen.value("vlan-accept", "all"))


def _pair(setting: OptionSetting | None) -> tuple[int, int] | None:
    return None if setting is None else (setting.values[0], setting.values[1])
