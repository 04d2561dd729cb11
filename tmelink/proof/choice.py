"""Which ways are shown: the ends that a person names, or those that a file offers of itself."""

from __future__ import annotations

import ipaddress

from tmelink.element import Element
from tmelink.errors import TmelinkError
from tmelink.proof.hops import Journey
from tmelink.proof.hosts import HostModel
from tmelink.proof.sizes import IPVersion
from tmelink.proof.topology import Topology
from tmelink.routing.facts import IPAddress
from tmelink.source import suggestion


def chosen(topology: Topology, source: str | None, target: str | None) -> list[Journey]:
    """From the named station or address, or the first, to the named one or address, or to all others.

    Raises `TmelinkError` for a name or an address that is no station's.
    """
    if not topology.stations:
        raise TmelinkError("nobody in the file sends IP packets: no machine, no TAP, no gateway")
    begin, sender = sending(topology, source) if source is not None else (_each_once(topology)[0], None)
    if target is not None:
        return [Journey(begin, station_or_address(topology, target), sender)]
    others = [each for each in _each_once(topology) if each.element is not begin.element]
    if not others:
        return [Journey(begin, _neighbour(begin), sender)]
    return [Journey(begin, other, sender) for other in others]


def version(journey: Journey) -> IPVersion:
    """The IP version that both ends have; 4 for ends without addresses."""
    source, target, sender = journey
    if sender is not None:
        return 4 if sender.version == 4 else 6
    if not isinstance(target, HostModel):
        return 4 if target.version == 4 else 6
    both = [own.version for own in source.addresses if target.address(own.version) is not None]
    return 4 if 4 in both or not both else 6


def station(topology: Topology, name: str) -> HostModel:
    """The station of that name: a path from the root, or an interface's element."""
    element = topology.machine.find(name)
    found = next((each for each in _each_once(topology) if each.element is element), None)
    if found is None:
        near = suggestion(element.name, [each.name for each in topology.stations])
        known = ", ".join(dict.fromkeys(each.name for each in topology.stations))
        raise TmelinkError(f"{name} sends no IP packets of its own; {near or f'these do: {known}'}")
    return found


def sending(topology: Topology, text: str) -> tuple[HostModel, IPAddress | None]:
    """A station by its name, or by an address: one of its own, or the one outside of its computer."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return station(topology, text), None
    own = next((each for each in topology.stations if any(o.ip == address for o in each.addresses)), None)
    found = own or topology.computer_at(address)
    if found is None:
        raise TmelinkError(f"--from {address}: nobody in the file who sends has this address")
    return found, address


def station_or_address(topology: Topology, text: str) -> HostModel | IPAddress:
    """A station's own address is that station."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return station(topology, text)
    return next(
        (each for each in topology.stations if any(own.ip == address for own in each.addresses)), address
    )


def _each_once(topology: Topology) -> list[HostModel]:
    """One station for each element: the first that has addresses, else the first."""
    found: dict[Element, HostModel] = {}
    for each in topology.stations:
        known = found.setdefault(each.element, each)
        if each.addresses and not known.addresses:
            found[each.element] = each
    return list(found.values())


def _neighbour(begin: HostModel) -> IPAddress:
    """Somebody in a station's own network, for a file in which it is alone."""
    for own in begin.addresses:
        for address in own.network.hosts():
            if address != own.ip:
                return address
    raise TmelinkError(f"{begin.name} is alone in the file: name an address with --to")
