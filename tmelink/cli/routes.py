"""`tmelink routes FILE`: what the interfaces of a file would do to this host's addresses, routes and rules.

Nothing is opened and no privilege is needed. What a server pushes is not known beforehand, and not included.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from tmelink.cli import files
from tmelink.cli.examples import epilog
from tmelink.element import Element
from tmelink.elements.host_interfaces import host_network
from tmelink.elements.host_interfaces.tuntap import TunTap
from tmelink.elements.openvpn.tunnel_network import resolved
from tmelink.errors import TmelinkError
from tmelink.machine import CheckedMachine
from tmelink.openvpn.options import network_options
from tmelink.openvpn.options.parse import Options
from tmelink.routing import conflicts
from tmelink.routing.facts import Facts, IPAddress, parse
from tmelink.routing.plan import Plan
from tmelink.routing.tunnel import Tunnel
from tmelink.source import Place
from tmelink.system import facts

NAME = "routes"
HELP = "print what a file would do to this host's addresses, routes and rules, and what could not work"
EPILOG = epilog(
    ("tmelink routes l3-client.conf", "on this computer"),
    ("tmelink routes l3-client.conf --facts there.txt", "on the computer that the file describes"),
)


@dataclass(frozen=True)
class PlannedInterface:
    """An interface of the file and its plan; `link` is the link that it is connected to."""

    name: str
    device: str
    place: Place
    link: str | None
    plan: Plan


def declare(parser: argparse.ArgumentParser) -> None:
    files.declare(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--facts",
        metavar="FILE",
        help="plan for a host with the routes and addresses in FILE (route … via … dev …, address … dev …)",
    )


def main(options: argparse.Namespace) -> int:
    machine = files.read(options)
    planned = plans(machine, _facts(options.facts))
    # Parts of a file for different computers cannot conflict.
    together = planned if options.host is not None or len(machine.hosts) < 2 else []
    between = conflicts.between({each.device: each.plan for each in together})
    warned = bool(between) or any(each.plan.warnings for each in planned)
    if options.json:
        print(json.dumps(_data(planned, between), indent=2))
    else:
        print("\n".join(_lines(planned, between)))
    return 1 if warned else 0


def plans(machine: CheckedMachine, known: Facts) -> list[PlannedInterface]:
    """The plan of every interface in the file that needs changes of the host."""
    found = []
    for path, element in machine.elements.items():
        if not isinstance(element, TunTap):
            continue
        link = _link(element)
        device = element.interface or f"{'tun' if element.kind == 'ip' else 'tap'}N"
        # A namespace that the file makes has none of the host's routes.
        around = known if element.netns is None else Facts()
        warnings: tuple[str, ...] = ()
        tunnel = None
        try:
            tunnel = None if link is None else _tunnel(link.arguments)
        except ValueError as error:
            warnings = (str(error),)
        made = host_network.plan(element.around, tunnel, device, element.own_addresses, around)
        made += Plan((), warnings)
        if made.steps or made.warnings:
            name = None if link is None else link.name
            found.append(PlannedInterface(element.name, device, machine.places[path], name, made))
    return found


def _link(element: TunTap) -> Element | None:
    """The link, or server of many, that the interface is connected to."""
    peers = [port.peer.element for port in element.ports if port.peer is not None]
    return next((peer for peer in peers if isinstance(peer.arguments, Options)), None)


def _tunnel(options: Options) -> Tunnel:
    remote = _first_hop(options)
    names = network_options.names(options.network)
    known = asyncio.run(resolved([*names, *([remote] if remote is not None else [])]))
    return network_options.tunnel(options, options.network, _address(remote, known), known)


def _first_hop(options: Options) -> str | None:
    """The host that the link's own packets go to: the proxy, where there is one, else the peer."""
    toward = options.toward(options.remotes[0]) if options.remotes else options
    proxy = toward.http_proxy or toward.socks_proxy
    if proxy is not None:
        return proxy.host
    return toward.remotes[0].host if toward.remotes else None


def _address(host: str | None, known: dict[str, IPAddress]) -> IPAddress | None:
    if host is None:
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return known.get(host)


def _facts(path: str | None) -> Facts:
    if path is None:
        return facts.read()
    try:
        return parse(Path(path).read_text(), path)
    except (OSError, ValueError) as error:
        raise TmelinkError(f"--facts {error}") from error


def _lines(planned: list[PlannedInterface], between: list[str]) -> list[str]:
    lines: list[str] = []
    for each in planned:
        via = f", connected to {each.link}" if each.link is not None else ""
        lines += [f"{each.place}: {each.name}, interface {each.device}{via}"]
        lines += [f"  {line}" for line in each.plan.lines()]
        lines.append("")
    lines += [f"warning: {warning}" for warning in between]
    if not planned:
        lines.append("nothing: no interface of the file has addresses, routes or rules to set")
    return lines if lines[-1] else lines[:-1]


def _data(planned: list[PlannedInterface], between: list[str]) -> dict[str, object]:
    return {
        "interfaces": [
            {
                "element": each.name,
                "interface": each.device,
                "place": str(each.place),
                "link": each.link,
                **each.plan.as_data(),
            }
            for each in planned
        ],
        "warnings": between,
    }
