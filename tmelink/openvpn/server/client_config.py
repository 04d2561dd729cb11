"""What a server gives one client: the common options, its addresses, and its file of `--client-config-dir`.

Reads the text of such a file and reckons what is pushed. Reads no directory and lends no address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any, Literal

from tmelink.openvpn.options.config_file import BadLine, split
from tmelink.openvpn.server.address_pool import Lease
from tmelink.values import vlan, vlan_list

MAX_USERNAME = 128
"""Bytes of a user's name (OpenVPN's USER_PASS_LEN without PKCS#11)."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """A file of `--client-config-dir`: what differs for one client."""

    disabled: bool = False
    ifconfig: tuple[IPv4Address, IPv4Address] | None = None
    """`--ifconfig-push`: the client's address, and the other end's or the netmask."""
    ifconfig6: tuple[IPv6Interface, IPv6Address | None] | None = None
    push: tuple[str, ...] = ()
    push_reset: bool = False
    push_remove: tuple[str, ...] = ()
    routes: tuple[IPv4Network, ...] = ()
    """`--iroute`: networks behind the client."""
    routes6: tuple[IPv6Network, ...] = ()
    username: str = ""
    """`--override-username`: what the client is called instead of what it logs in as."""
    vlan_pvid: int | None = None
    vlan_trunk: frozenset[int] = frozenset()
    """`--vlan-pvid`: the VLAN of frames without a tag; `--vlan-trunk`: those of frames with one."""


@dataclass(frozen=True, slots=True)
class ServerNetwork:
    """What all clients of a server share.

    `local` and `local6` are the server's own addresses in the tunnel; `netmask` that of the clients'
    network where they share one. `constraint` is the network that a client's address must be in.
    """

    topology: Literal["subnet", "net30", "p2p"] = "subnet"
    push: tuple[str, ...] = ()
    local: IPv4Address | None = None
    netmask: IPv4Address | None = None
    local6: IPv6Address | None = None
    constraint: IPv4Network | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a client is pushed, its addresses in the tunnel, and what is behind it."""

    options: tuple[str, ...] = ()
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    routes: tuple[IPv4Network, ...] = ()
    routes6: tuple[IPv6Network, ...] = ()
    username: str = ""
    vlan_pvid: int | None = None
    vlan_trunk: frozenset[int] = frozenset()


@dataclass
class _Reading:
    """A file half read."""

    config: ClientConfig = field(default_factory=ClientConfig)
    wrong: list[str] = field(default_factory=list)


def parse(data: bytes) -> tuple[ClientConfig, list[str]]:
    """The options of a client's file, and in words what of it is not understood."""
    reading = _Reading()
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        try:
            words = [word for word, _, _ in split(line)]
            if words:
                changed = _option(reading.config, words[0].removeprefix("--"), words[1:])
                reading.config = replace(reading.config, **changed)
        except (BadLine, ValueError, IndexError) as error:
            why = str(error) if isinstance(error, ValueError) else "an argument is missing"
            reading.wrong.append(f"line {number}: {why}")
    return reading.config, reading.wrong


def _option(config: ClientConfig, name: str, values: Sequence[str]) -> dict[str, Any]:
    """The fields that one option changes."""
    match name:
        case "disable":
            return {"disabled": True}
        case "ifconfig-push":
            return {"ifconfig": (IPv4Address(values[0]), IPv4Address(values[1]))}
        case "ifconfig-ipv6-push":
            remote = IPv6Address(values[1]) if len(values) > 1 else None
            return {"ifconfig6": (IPv6Interface(values[0]), remote)}
        case "push":
            return {"push": (*config.push, values[0])}
        case "push-reset":
            return {"push_reset": True}
        case "push-remove":
            return {"push_remove": (*config.push_remove, values[0])}
        case "override-username":
            if not values[0] or len(values[0].encode()) > MAX_USERNAME:
                # Another name than the one that is meant must not come in.
                return {"disabled": True}
            return {"username": values[0]}
        case "iroute":
            mask = values[1] if len(values) > 1 else "255.255.255.255"
            return {"routes": (*config.routes, IPv4Network((values[0], mask)))}
        case "iroute-ipv6":
            return {"routes6": (*config.routes6, IPv6Network(values[0]))}
        case "vlan-pvid":
            return {"vlan_pvid": vlan(values[0])}
        case "vlan-trunk":
            return {"vlan_trunk": vlan_list(values[0])}
        case _:
            raise ValueError(f"'{name}' is not an option that the server can set for a client")


def welcome(network: ServerNetwork, lease: Lease | None, config: ClientConfig) -> tuple[Welcome, list[str]]:
    """What a client gets, and in words what of its file cannot be had."""
    wrong: list[str] = []
    options = [] if config.push_reset else list(network.push)
    options += config.push
    address, line = _ifconfig(network, lease, config, wrong)
    address6, line6 = _ifconfig6(network, lease, config)
    options += [text for text in (line, line6) if text]
    options = [o for o in options if not any(_removes(text, o) for text in config.push_remove)]
    found = Welcome(
        tuple(options),
        address,
        address6,
        config.routes,
        config.routes6,
        config.username,
        config.vlan_pvid,
        config.vlan_trunk,
    )
    return found, wrong


def _removes(text: str, option: str) -> bool:
    # --push-remove ifconfig means IPv4's alone, although IPv6's begins with the same word.
    return option.split()[0] == "ifconfig" if text == "ifconfig" else option.startswith(text)


def _ifconfig(
    network: ServerNetwork, lease: Lease | None, config: ClientConfig, wrong: list[str]
) -> tuple[IPv4Address | None, str]:
    if config.ifconfig is not None:
        local, other = config.ifconfig
        if network.constraint is None or local in network.constraint:
            return local, f"ifconfig {local} {other}"
        wrong.append(f"--ifconfig-push {local} is not in {network.constraint}")
    if lease is None or lease.local is None:
        return None, ""
    shared = network.netmask if network.topology == "subnet" else network.local
    end = lease.remote or shared
    return (lease.local, f"ifconfig {lease.local} {end}") if end is not None else (None, "")


def _ifconfig6(
    network: ServerNetwork, lease: Lease | None, config: ClientConfig
) -> tuple[IPv6Address | None, str]:
    local, remote = config.ifconfig6 or (None if lease is None else lease.local6, None)
    remote = remote or network.local6
    if local is None or remote is None:
        return None, ""
    return local.ip, f"ifconfig-ipv6 {local.with_prefixlen} {remote}"
