"""Chooses the journeys to show: between the ends that the user names, or between those of the file."""

from __future__ import annotations

import ipaddress

from tmelink.element import Element
from tmelink.errors import TmelinkError
from tmelink.proof.hops import Journey
from tmelink.proof.hosts import HostModel
from tmelink.proof.topology import Topology
from tmelink.routing.facts import IPAddress, IPVersion
from tmelink.source import suggestion


def chosen(topology: Topology, source: str | None, target: str | None) -> list[Journey]:
    """From the named host or address (else the first host) to the named one (else to every other host).

    Raises `TmelinkError` for a name or an address that does not belong to a host.
    """
    if not topology.hosts:
        raise TmelinkError("the file has no host that sends IP packets: no machine, no TAP, no gateway")
    begin, sender = sender_named(topology, source) if source is not None else (_each_once(topology)[0], None)
    if target is not None:
        return [Journey(begin, host_or_address(topology, target), sender)]
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


def host_named(topology: Topology, name: str) -> HostModel:
    """The host of that name: a path from the root, or an interface's element."""
    element = topology.machine.find(name)
    found = next((each for each in _each_once(topology) if each.element is element), None)
    if found is None:
        near = suggestion(element.name, [each.name for each in topology.hosts])
        known = ", ".join(dict.fromkeys(each.name for each in topology.hosts))
        raise TmelinkError(f"{name} sends no IP packets of its own; {near or f'these do: {known}'}")
    return found


def sender_named(topology: Topology, text: str) -> tuple[HostModel, IPAddress | None]:
    """A host by its name, or by an address: one of its own, or its computer's underlay address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return host_named(topology, text), None
    own = next((each for each in topology.hosts if any(o.ip == address for o in each.addresses)), None)
    found = own or topology.computer_at(address)
    if found is None:
        raise TmelinkError(f"--from {address}: no host in the file that sends has this address")
    return found, address


def host_or_address(topology: Topology, text: str) -> HostModel | IPAddress:
    """A host for its name or one of its addresses; any other address as it is."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return host_named(topology, text)
    return next(
        (each for each in topology.hosts if any(own.ip == address for own in each.addresses)), address
    )


def _each_once(topology: Topology) -> list[HostModel]:
    """One host for each element: the first that has addresses, else the first."""
    found: dict[Element, HostModel] = {}
    for each in topology.hosts:
        known = found.setdefault(each.element, each)
        if each.addresses and not known.addresses:
            found[each.element] = each
    return list(found.values())


def _neighbour(begin: HostModel) -> IPAddress:
    """Another address in a host's own network, for a file in which it is alone."""
    for own in begin.addresses:
        for address in own.network.hosts():
            if address != own.ip:
                return address
    raise TmelinkError(f"{begin.name} is alone in the file: name an address with --to")
