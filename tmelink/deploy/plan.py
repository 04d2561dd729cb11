"""What a deployment will do: every host's slice, keys and unit, checked together before a host is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tmelink.control.lab_names import valid_name
from tmelink.deploy.keys import KeyFolder
from tmelink.deploy.meetings import FOLDER as KEYS
from tmelink.deploy.meetings import Meetings
from tmelink.deploy.secure import SecureLinks, unreachable
from tmelink.deploy.slices import Slice, Slicer
from tmelink.deploy.underlay import Call, Underlay
from tmelink.deploy.unit import unit
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.elements.openvpn.link import Link
from tmelink.errors import MachineError, TmelinkError
from tmelink.machine import CheckedMachine, load
from tmelink.proof.problems import of_topology
from tmelink.proof.topology import Topology
from tmelink.source import Mistake
from tmelink.tmesh.host_access import NO_ADDRESS, HostAccess, SshTarget
from tmelink.transport.rendezvous import PORT as HUB_PORT

ETC = Path("/etc/tmelink")
"""Where a host keeps its slices."""

TUN_DEVICE = "/dev/net/tun"

PYTHON = "/opt/tmelink/current/bin/python"
"""The interpreter that runs a lab on a host."""


@dataclass(frozen=True)
class HostPlan:
    """One host's part: where ssh reaches it, its slice and unit, and the links that must be up afterwards.

    `release` is a name that differs when the slice or the unit does: 12 hexadecimal digits. `listens` are the
    ports that hosts of the file call, `calls` those of others that this one calls.
    """

    name: str
    target: SshTarget
    access: HostAccess
    part: Slice
    unit: str
    release: str
    links: tuple[str, ...]
    elements: int
    devices: tuple[str, ...]
    listens: tuple[tuple[str, int], ...]
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Deployment:
    """The deployment of one file: `lab` is its name on the hosts; `warnings` are those of `tmelink check`."""

    lab: str
    hosts: tuple[HostPlan, ...]
    warnings: tuple[Mistake, ...]
    new_keys: tuple[str, ...]


def plan(file: Path, keys: KeyFolder, limit: Collection[str] = (), *, hub_port: int = HUB_PORT) -> Deployment:
    """Compile a file for all its hosts, or for those in `limit`.

    `hub_port` is the UDP port of hubs whose links name none in `--via`. Raises `MachineError` with every
    mistake in the file, and `TmelinkError` where it has no hosts, or not those of `limit`.
    """
    lab = valid_name(file.stem)
    machine = load(file)
    _known_hosts(file, machine, limit)
    topology = Topology(machine)
    meetings = Meetings(machine, keys, hub_port)
    secure = SecureLinks(machine, topology, keys, meetings)
    mistakes = [*secure.mistakes, *meetings.mistakes, *unreachable(machine, topology), *_nowhere(machine)]
    if mistakes:
        raise MachineError(mistakes)
    made = []
    underlay = Underlay(topology, meetings)
    slicer = Slicer(file, secure.ends)
    for name in machine.hosts:
        if limit and name not in limit:
            continue
        part = slicer.cut(name)
        part.text += meetings.block(name)
        part.files |= meetings.files(name)
        if name in secure.hosts:
            own = keys.of(name)
            part.files |= {f"{KEYS}/{own.stem}.key": own.key, f"{KEYS}/{own.stem}.crt": own.certificate}
        part.files |= {
            end.meeting.file: end.meeting.key.path
            for end in secure.ends.values()
            if end.host == name and end.meeting is not None
        }
        made.append(_host(machine, topology, lab, part, underlay, len(meetings.ports(name))))
    return Deployment(lab, tuple(made), tuple(of_topology(topology)), tuple(keys.made))


def _host(
    machine: CheckedMachine, topology: Topology, lab: str, part: Slice, underlay: Underlay, hubs: int
) -> HostPlan:
    """`hubs` is how many rendezvous the host has for links of others."""
    name = part.host
    access = machine.access[name]
    file = ETC / lab / "current" / "machine.conf"
    links = tuple(
        path.lstrip("/")
        for path, element in machine.elements.items()
        if isinstance(element, Link) and machine.homes.get(path) == name and topology.link_ends(element)
    )
    target = access.ssh or SshTarget(machine.hosts[name])
    keys = KEYS if any(each.startswith(f"{KEYS}/") for each in part.files) else None
    service = unit(machine, file, lab, name, python=PYTHON, keys=keys)
    release = hashlib.sha256(f"{part.digest()}{service}".encode()).hexdigest()[:12]
    return HostPlan(
        name,
        target,
        access,
        part,
        service,
        release,
        links,
        sum(home == name for home in machine.homes.values()) + hubs,
        tuple(
            sorted(
                {
                    TUN_DEVICE
                    for path, home in machine.homes.items()
                    if home == name and _is_interface(machine, path)
                }
            )
        ),
        underlay.listens(name),
        underlay.calls(name),
    )


def _is_interface(machine: CheckedMachine, path: str) -> bool:
    return isinstance(machine.elements.get(path), TunTap)


def _known_hosts(file: Path, machine: CheckedMachine, limit: Collection[str]) -> None:
    if not machine.hosts:
        raise TmelinkError(
            f"{file} has no hosts: write 'host NAME address ADDRESS {{ … }}' around each one's part"
        )
    for name in limit:
        if name not in machine.hosts:
            raise TmelinkError(f"{file} has no host {name}; it has {', '.join(machine.hosts)}")


def _nowhere(machine: CheckedMachine) -> list[Mistake]:
    """Elements that every host would run, since no host block holds them; and hosts that ssh cannot find."""
    found = [
        Mistake(
            machine.places[path],
            f"{path.lstrip('/')} is on no host, so every host would run it",
            "put it in a host block",
        )
        for path in machine.elements
        if path not in machine.homes
    ]
    for name, address in machine.hosts.items():
        if address == NO_ADDRESS and machine.access[name].ssh is None:
            place = next((machine.places[path] for path, home in machine.homes.items() if home == name), None)
            if place is not None:
                found.append(
                    Mistake(place, f"host {name} has no address", "add 'ssh HOST' after 'address none'")
                )
    return found
