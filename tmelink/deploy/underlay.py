"""Which ports of which hosts the links of a file call, so that they can be tried beforehand."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from tmelink.deploy.meetings import Meetings
from tmelink.openvpn.options.fields import transport
from tmelink.proof.topology import Topology


class Call(NamedTuple):
    """A port of another host of the file that a host calls; `proto` is udp or tcp."""

    host: str
    proto: str
    address: str
    port: int


class Underlay:
    """The calls between the hosts of a file; one to a port that a router forwards is not among them."""

    def __init__(self, topology: Topology, meetings: Meetings) -> None:
        self._calls: dict[str, dict[Call, None]] = defaultdict(dict)
        self._listens: dict[str, dict[tuple[str, int], None]] = defaultdict(dict)
        for link in topology.links:
            home, meeting = topology.home(link), meetings.ends.get(str(topology.place(link)))
            if home is None:
                continue
            if meeting is not None:
                self._add(home, Call(meeting.host, "udp", meeting.address, meeting.port))
            proto = transport(link.arguments.proto).partition("-")[0]
            for other in topology.link_ends(link):
                host, address = topology.home(other), topology.end(other).address
                for remote in link.arguments.remotes if host is not None else ():
                    if remote.host == address:
                        self._add(home, Call(host or "", proto, remote.host, remote.port))

    def calls(self, host: str) -> tuple[Call, ...]:
        """What a host calls."""
        return tuple(self._calls[host])

    def listens(self, host: str) -> tuple[tuple[str, int], ...]:
        """The ports of a host that others call, each with its protocol."""
        return tuple(self._listens[host])

    def _add(self, home: str, call: Call) -> None:
        self._calls[home][call] = None
        self._listens[call.host][call.proto, call.port] = None
