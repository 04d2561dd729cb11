"""Where multicast frames are wanted, by what hosts and routers say (IGMP and MLD snooping, RFC 4541).

Knows ports and groups. A group that somebody has asked for goes to those who did and to routers; every other
one goes everywhere, and so does everything where no router asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tmelink.element import Port
from tmelink.frame import Frame
from tmelink.stack import listeners

MEMBER_SECONDS: Final = 260.0
"""How long a host's report holds: two queries of 125 s, and 10 s for the answer (RFC 3376, section 8.4)."""

ROUTER_SECONDS: Final = 255.0
"""How long a router is known by its query (RFC 3376, section 8.5)."""

LAST_SECONDS: Final = 3.0
"""How long others may take to say that they still want a group that one has left: two questions, 1 s each."""

MOST_GROUPS: Final = 1024
"""The most groups that are known at once; frames of further groups go everywhere."""

_V4: Final = b"\x01\x00\x5e"
_V6: Final = b"\x33\x33"
_LOCAL4: Final = _V4 + b"\0\0"
"""224.0.0.0/24, which nobody asks for and everybody may need (RFC 4541, section 2.1.2)."""
_ALL_NODES6: Final = _V6 + b"\0\0\0\x01"


class GroupSnooper:
    """The groups of one switch; `vlan` is the two bytes of a VLAN's number, or empty."""

    def __init__(self) -> None:
        self._members: dict[bytes, dict[Port, float]] = {}
        self._routers: dict[bytes, dict[Port, float]] = {}
        self._asked: dict[bytes, float] = {}
        """Until when a router's question holds, by family and VLAN."""

    def clear(self) -> None:
        """Forget all: frames go everywhere until routers ask again."""
        for each in (self._members, self._routers, self._asked):
            each.clear()

    def passing(
        self,
        port: Port,
        group: bytes,
        vlan: bytes,
        frames: Sequence[Frame],
        flooded: Sequence[Port],
        now: float,
    ) -> Sequence[Port]:
        """The ports among `flooded` that frames for a group go to; `frames` are from `port`."""
        if group[:3] == _V4:
            family = b"4" + vlan
        elif group[:2] == _V6:
            family = b"6" + vlan
        else:
            return flooded
        reports = False
        for frame in frames:
            message = listeners.parse(frame)
            if message is not None:
                reports = reports or not message.query
                self._heard(port, message, vlan, now)
        if now > self._asked.get(family, 0.0) or (group[:5] == _LOCAL4 and not reports):
            return flooded
        if group == _ALL_NODES6:
            return flooded
        routers = self._routers.get(vlan, {})
        if reports:
            # Hosts that hear another's answer keep their own to themselves (RFC 4541, section 2.1.1).
            return [other for other in flooded if routers.get(other, 0.0) > now] if routers else flooded
        members = {other for other, until in self._members.get(group + vlan, {}).items() if until > now}
        if not members:
            return flooded
        return [other for other in flooded if other in members or routers.get(other, 0.0) > now]

    def groups(self, now: float) -> dict[bytes, list[Port]]:
        """Who wants which group, which has its VLAN's number behind it where there are VLANs."""
        wanted = {
            group: [port for port, until in ports.items() if until > now and port.peer is not None]
            for group, ports in self._members.items()
        }
        return {group: ports for group, ports in wanted.items() if ports}

    def _heard(self, port: Port, message: listeners.GroupMessage, vlan: bytes, now: float) -> None:
        if message.query:
            self._asked[str(message.version).encode() + vlan] = now + ROUTER_SECONDS
            if message.router:
                self._routers.setdefault(vlan, {})[port] = now + ROUTER_SECONDS
            return
        for mac in message.joined:
            members = self._members.get(mac + vlan)
            if members is None:
                if len(self._members) >= MOST_GROUPS:
                    self._members = {key: self._members[key] for key in self.groups(now)}
                if len(self._members) >= MOST_GROUPS:
                    continue
                members = self._members[mac + vlan] = {}
            members[port] = now + MEMBER_SECONDS
        for mac in message.left:
            members = self._members.get(mac + vlan, {})
            if port in members:
                members[port] = min(members[port], now + LAST_SECONDS)
