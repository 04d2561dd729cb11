"""Network interfaces through rtnetlink: shows one, and changes it so that the change can be undone.

This module knows no element. Everything here is synchronous; call it through `namespaces.run`: pyroute2's
IPRoute runs an event loop of its own, which fails in a thread that runs one already.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any, NamedTuple

from tmelink.errors import ElementError, MissingCapability, UnsupportedHere
from tmelink.system.namespaces import require_linux

_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_TUN_TYPES = {1: "tun", 2: "tap"}  # IFF_TUN and IFF_TAP, linux/if_tun.h
_IFF_MULTI_QUEUE, _IFF_NO_PI, _IFF_VNET_HDR = 0x0100, 0x1000, 0x4000  # linux/if_tun.h
_IFA_F_NODAD = 0x02
_IFA_F_PERMANENT = 0x80
_ADDRESS_NONE = 1  # IN6_ADDR_GEN_MODE_NONE, linux/if_link.h


SIOCGIFHWADDR = 0x8927
ARPHRD_ETHER = 1
"""netdevice(7), and linux/if_arp.h."""


class AssignedAddress(NamedTuple):
    """One address of an interface; `peer` is the other end of a point-to-point interface."""

    interface: IPv4Interface | IPv6Interface
    broadcast: IPv4Address | None = None
    permanent: bool = True
    peer: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class HostInterface:
    """The state of one interface; `kind` is rtnetlink's ("tun", "bridge"…), "" for hardware.

    `tuntap` tells a "tap" from a "tun", both of which have the kind "tun"; "" for everything else.
    `features` are those of a tun's flags that whoever attaches to it sets, and leaves behind
    (linux/if_tun.h).
    """

    index: int
    name: str
    kind: str
    tuntap: str
    features: int
    up: bool
    loopback: bool
    mac: str
    mtu: int
    master: int
    gso_max_size: int
    address_generation: int
    addresses: tuple[AssignedAddress, ...]

    def __str__(self) -> str:
        state = "up" if self.up else "down"
        own = "".join(
            f" {'inet' if a.interface.version == 4 else 'inet6'} {a.interface}" for a in self.addresses
        )
        return f"{self.name} {state} mac {self.mac} mtu {self.mtu}{own}"


@dataclass(frozen=True, slots=True)
class InterfaceSettings:
    """The settings that an interface is to get; None and () leave a setting as it is."""

    mac: bytes | None = None
    mtu: int | None = None
    bridge: str | None = None
    addresses: Sequence[AssignedAddress] = ()
    gateways: Sequence[IPv4Address | IPv6Address] = ()
    gso_max_size: int | None = None


class RtnetlinkRequest(NamedTuple):
    """One rtnetlink call: `IPRoute.<call>(command, **arguments)`."""

    call: str
    command: str
    arguments: dict[str, Any]


def broadcast(interface: IPv4Interface) -> IPv4Address | None:
    """An address's broadcast address: the last of its network; None in a network of two addresses."""
    return interface.network.broadcast_address if interface.network.prefixlen < 31 else None


def show(name: str) -> HostInterface | None:
    """The interface `name`, or None if there is none."""
    with netlink(f"looking for the interface {name}") as ip:
        found = ip.link_lookup(ifname=name)
        return _interface(ip, ip.get_links(found[0])[0]) if found else None


def own_mac(name: str) -> bytes | None:
    """The MAC address of an interface, by a call that is quick enough for the data path; None without one."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            reply = fcntl.ioctl(sock, SIOCGIFHWADDR, struct.pack("16s16x", name.encode()))
        except OSError:
            return None
    family: int
    family, mac = struct.unpack_from("=H6s", reply, 16)
    return mac if family == ARPHRD_ETHER else None


def first_usable() -> str | None:
    """The first interface that is up and not a loopback, libpcap's default; None without one."""
    with netlink("listing the interfaces") as ip:
        for link in ip.get_links():
            if link["flags"] & _IFF_UP and not link["flags"] & _IFF_LOOPBACK:
                return str(link.get("ifname"))
    return None


def bring_up(name: str) -> None:
    """Switch an interface on."""
    with netlink(f"switching on the interface {name}") as ip:
        ip.link("set", index=_index(ip, name), state="up")


def set_mtu(name: str, mtu: int, note: Callable[[RtnetlinkRequest], None] | None = None) -> RtnetlinkRequest:
    """Give an interface another MTU; returns the request that undoes it, which `note` is given before."""
    with netlink(f"setting the MTU of the interface {name}") as ip:
        index = _index(ip, name)
        before = int(ip.get_links(index)[0].get("mtu"))
        inverse = RtnetlinkRequest("link", "set", {"index": index, "mtu": before})
        if note is not None:
            note(inverse)
        _perform(ip, RtnetlinkRequest("link", "set", {"index": index, "mtu": mtu}), name)
        return inverse


def configure(
    name: str,
    wanted: InterfaceSettings,
    note: Callable[[RtnetlinkRequest], None] | None = None,
    refused: list[str] | None = None,
) -> list[RtnetlinkRequest]:
    """Make the interface as `wanted` and switch it on; returns the requests that undo it, in order.

    Each of these is given to `note` before what it undoes is done. Nothing stays changed when it raises. With
    `refused` given, an address or route that the kernel refuses is put there and stops nothing else. An
    address of the interface's own is set without duplicate address detection: it was written down by hand,
    and a machine is to answer at once.
    """
    inverses: list[RtnetlinkRequest] = []
    with netlink(f"configuring the interface {name}") as ip:
        try:
            for request, inverse in _changes(ip, name, wanted):
                if note is not None:
                    for each in inverse:
                        note(each)
                try:
                    _perform(ip, request, name)
                except ElementError as error:
                    if refused is None or request.call not in ("addr", "route"):
                        raise
                    refused.append(str(error))
                    continue
                inverses[:0] = inverse
        except BaseException:
            _undo(ip, inverses)
            raise
    return inverses


def undo(requests: Sequence[RtnetlinkRequest]) -> None:
    """Carry out what `configure` returned; what has disappeared meanwhile is left alone."""
    if requests:
        with netlink("restoring an interface") as ip:
            _undo(ip, requests)


def _undo(ip: Any, requests: Sequence[RtnetlinkRequest]) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    for request in requests:
        with contextlib.suppress(NetlinkError):
            getattr(ip, request.call)(request.command, **request.arguments)


def _changes(
    ip: Any, name: str, wanted: InterfaceSettings
) -> Iterator[tuple[RtnetlinkRequest, list[RtnetlinkRequest]]]:
    """The requests that change the interface, and the request that undoes each, from its state before."""
    index = _index(ip, name)
    before = _interface(ip, ip.get_links(index)[0])

    def link(**arguments: Any) -> RtnetlinkRequest:
        return RtnetlinkRequest("link", "set", {"index": index, **arguments})

    if wanted.mac is not None and wanted.mac != bytes.fromhex(before.mac.replace(":", "")):
        yield link(address=wanted.mac.hex(":")), [link(address=before.mac)]
    if wanted.mtu is not None and wanted.mtu != before.mtu:
        yield link(mtu=wanted.mtu), [link(mtu=before.mtu)]
    if wanted.gso_max_size is not None and wanted.gso_max_size != before.gso_max_size:
        yield link(gso_max_size=wanted.gso_max_size), [link(gso_max_size=before.gso_max_size)]
    if wanted.bridge is not None:
        yield from _plug(ip, before, wanted.bridge, link)
    if not before.up:
        # When an interface goes down it loses its IPv6 addresses; those set by hand are restored afterwards.
        kept = [
            _address("replace", index, address)
            for address in before.addresses
            if address.permanent and address.interface.version == 6
        ]
        yield link(state="up"), [link(state="down"), *kept]
    standing = {address.interface for address in before.addresses}
    for address in wanted.addresses:
        if address.interface not in standing:
            yield _address("add", index, address), [_address("del", index, address)]
    for gateway in wanted.gateways:
        route = {"dst": "default", "gateway": str(gateway), "oif": index, "family": _family(gateway)}
        yield RtnetlinkRequest("route", "add", route), [RtnetlinkRequest("route", "del", route)]


def _plug(
    ip: Any, before: HostInterface, bridge: str, link: Any
) -> Iterator[tuple[RtnetlinkRequest, list[RtnetlinkRequest]]]:
    found = ip.link_lookup(ifname=bridge)
    if not found:
        raise ElementError(
            f"there is no bridge {bridge}; make it first: 'ip link add {bridge} type bridge' and "
            f"'ip link set {bridge} up'"
        )
    kind = ip.get_links(found[0])[0].get(("linkinfo", "kind"))
    if kind != "bridge":
        raise ElementError(f"{bridge} is not a bridge but a {kind or 'network card'}")
    if before.master == found[0]:
        return
    if before.master:
        other = ip.get_links(before.master)[0].get("ifname")
        raise ElementError(f"{before.name} is already a port of {other}; remove it from there first")
    if not before.up:
        # A bridge port has no address of its own, not even a link-local one.
        yield (
            link(IFLA_AF_SPEC=_address_generation(_ADDRESS_NONE)),
            [link(IFLA_AF_SPEC=_address_generation(before.address_generation))],
        )
    yield link(master=found[0]), [link(master=0)]


def _address_generation(mode: int) -> dict[str, Any]:
    return {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", mode)]})]}


def _address(command: str, index: int, address: AssignedAddress) -> RtnetlinkRequest:
    arguments: dict[str, Any] = {
        "index": index,
        "address": str(address.interface.ip),
        "prefixlen": address.interface.network.prefixlen,
        "family": _family(address.interface),
    }
    if address.peer is not None:
        arguments |= {"local": str(address.interface.ip), "address": str(address.peer)}
    if command != "del":
        if address.broadcast is not None:
            arguments["broadcast"] = str(address.broadcast)
        if address.interface.version == 6:
            arguments["flags"] = _IFA_F_NODAD
    return RtnetlinkRequest("addr", command, arguments)


def _family(address: IPv4Address | IPv6Address) -> int:
    return int(socket.AF_INET6 if address.version == 6 else socket.AF_INET)


def _perform(ip: Any, request: RtnetlinkRequest, name: str) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        getattr(ip, request.call)(request.command, **request.arguments)
    except NetlinkError as error:
        if error.code == errno.EPERM:
            raise
        if error.code == errno.EACCES and request.arguments.get("family") == socket.AF_INET6:
            raise ElementError(
                f"{name}: IPv6 is switched off here; 'sysctl net.ipv6.conf.{name}.disable_ipv6=0' allows it"
            ) from error
        told = {key: value for key, value in request.arguments.items() if key not in ("index", "family")}
        what = " ".join(f"{key} {value}" for key, value in told.items() if key not in ("oif", "flags"))
        raise ElementError(
            f"{name}: the kernel refuses {request.call} {what}: {os.strerror(error.code)}"
        ) from error


def _index(ip: Any, name: str) -> int:
    found = ip.link_lookup(ifname=name)
    if not found:
        raise ElementError(f"there is no interface {name}")
    return int(found[0])


def _interface(ip: Any, link: Any) -> HostInterface:
    kind = link.get(("linkinfo", "kind")) or ""
    data = link.get(("linkinfo", "data"))
    return HostInterface(
        index=link["index"],
        name=link.get("ifname"),
        kind=kind,
        tuntap=_TUN_TYPES.get(data.get("tun_type"), "") if kind == "tun" and data is not None else "",
        features=_features(data) if kind == "tun" and data is not None else 0,
        up=bool(link["flags"] & _IFF_UP),
        loopback=bool(link["flags"] & _IFF_LOOPBACK),
        mac=link.get("address") or "",
        mtu=link.get("mtu"),
        master=link.get("master") or 0,
        gso_max_size=link.get("gso_max_size") or 0,
        address_generation=link.get(("af_spec", "AF_INET6", "IFLA_INET6_ADDR_GEN_MODE")) or 0,
        addresses=tuple(_addresses(ip, link["index"])),
    )


def _features(data: Any) -> int:
    """A tun's flags as TUNSETIFF takes them."""
    return (
        (0 if data.get("tun_pi") else _IFF_NO_PI)
        | (_IFF_VNET_HDR if data.get("tun_vnet_hdr") else 0)
        | (_IFF_MULTI_QUEUE if data.get("tun_multi_queue") else 0)
    )


def _addresses(ip: Any, index: int) -> Iterator[AssignedAddress]:
    for message in ip.get_addr(index=index):
        # A point-to-point address has the peer's in "address" and its own in "local".
        own = ipaddress.ip_interface((message.get("local") or message.get("address"), message["prefixlen"]))
        broadcast = message.get("broadcast")
        yield AssignedAddress(
            own,
            IPv4Address(broadcast) if broadcast else None,
            bool((message.get("flags") or message["flags"]) & _IFA_F_PERMANENT),
        )


@contextlib.contextmanager
def netlink(what: str) -> Iterator[Any]:
    """An rtnetlink socket in the thread's namespace; what the kernel refuses raises errors with a remedy."""
    require_linux("an interface of the host")
    try:
        # Imported here: it takes a quarter of a second, and only Linux has it.
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError
    except ImportError as error:
        raise UnsupportedHere(f"the package pyroute2 is missing ({error}); pip install pyroute2") from error
    try:
        with IPRoute() as ip:
            yield ip
    except NetlinkError as error:
        if error.code == errno.EPERM:
            raise MissingCapability(what, "CAP_NET_ADMIN") from error
        raise ElementError(f"{what}: {os.strerror(error.code)}") from error
