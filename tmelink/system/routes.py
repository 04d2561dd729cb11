"""Carries out plans: addresses, routes, rules, settings and translation, each undone exactly at the end.

What is done for one interface is a `HostChanges`. A plan that takes the place of an earlier one changes only
what differs, new before old, so that the route to a peer is never cut in between. Every change is in a
journal before it is made; what a killed process left behind is undone by `recovery`.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from tmelink.errors import ElementError, MissingCapability
from tmelink.routing.facts import Facts, Route
from tmelink.routing.plan import (
    Change,
    InterfaceAddress,
    Mac,
    Masquerade,
    Mtu,
    Plan,
    Proxied,
    Rule,
    SysctlSetting,
)
from tmelink.routing.tunnel import GUARD_METRIC, HALVES
from tmelink.system import facts, interfaces, journal, recovery, refusals, sysctls
from tmelink.system.facts import PROTOCOL
from tmelink.system.journal import Entry, Journal
from tmelink.system.nftables import Masquerades, Masquerading

_ALL_HALVES = frozenset(half for halves in HALVES.values() for half in halves)
_NTF_PROXY = 8  # linux/neighbour.h
_NODAD = 0x02  # IFA_F_NODAD, linux/if_addr.h
_UNREACHABLE = 7  # RTN_UNREACHABLE, linux/rtnetlink.h


class HostChanges:
    """The changes made to the host for the interface `device`; synchronous, in the thread's namespace.

    An interface that `vanishes` with its process takes its own settings along, so that only changes elsewhere
    on the host need the journal.
    """

    def __init__(self, device: str, *, vanishes: bool) -> None:
        self.device = device
        self._vanishes = vanishes
        self._done: list[tuple[Change, Entry | None]] = []
        self._journal: Journal | None = None
        self.refused: list[str] = []
        self._nat: Masquerading | None = None

    def follow(self, plan: Callable[[Facts], Plan], *, first: bool) -> tuple[Plan, list[str]]:
        """Make a plan from the host's present state and carry it out; returns it and what failed.

        What the kernel refuses takes nothing else with it, is in `refused` afterwards, and is tried again the
        next time. With `first` anything else that is wrong raises `ElementError`, and everything done is
        undone. Later it does not, since the host is in the middle of a change of its own.
        """
        with journal.alone():
            if first:
                recovery.recover_alone()
            asked = plan(facts.read([change for change, _entry in self._done]))
            problems: list[str] = []
            try:
                self._carry_out(asked, problems, strict=first)
            except BaseException:
                self._undo_all()
                raise
            return asked, problems

    def device_is_new(self, *, vanishes: bool) -> None:
        """The interface was removed and made again: what was set on the old one has gone with it."""
        self._vanishes = vanishes
        for change, entry in self._done[:]:
            if self._is_on_device(change):
                self._done.remove((change, entry))
                self._forget(entry)

    def undo(self) -> None:
        """Take everything back, in reverse order; what is gone meanwhile is left alone.

        What the kernel refuses keeps nothing else, stays in the journal, and is raised as one `ElementError`.
        """
        try:
            with journal.alone():
                problems = self._undo_all()
        except journal.LockedError:
            # The lock is for those who share a setting: better put back without it than not at all.
            problems = self._undo_all()
        if problems:
            raise ElementError("; ".join(problems))

    # One plan after the other

    def _carry_out(self, plan: Plan, problems: list[str], *, strict: bool) -> None:
        self.refused = []
        unguarded: set[object] = set()
        old = {_slot(change): (change, entry) for change, entry in self._done}
        masquerades: Masquerades = []
        with interfaces.netlink(f"setting routes for {self.device}") as ip:
            for change in plan.changes:
                if isinstance(change, Masquerade):
                    masquerades.append((change.networks, change.uplink))
                    continue
                standing = old.pop(_slot(change), None)
                if self._is_inner(change) and refusals.hosts_in(change, unguarded):
                    self.refused.append(f"'{change}' would lead the link's own packets into the link")
                    continue
                try:
                    if standing is not None and standing[0] == change:
                        self._again(ip, change)
                    elif not self._do(ip, change, standing) and self._is_inner(change):
                        problems.append(f"the host already has a route like '{change}', and that one stays")
                except ElementError as error:
                    refusal = refusals.is_refusal(error)
                    if isinstance(error, MissingCapability) or (strict and not refusal):
                        raise
                    if not refusal:
                        problems.append(str(error))
                        continue
                    self.refused.append(refusals.with_remedy(error, change))
                    if isinstance(change, Route) and change.metric == GUARD_METRIC:
                        unguarded.add(change.destination)
                    elif self._is_half(change):
                        self._block(ip, change, standing)
            problems += dict.fromkeys(self.refused)
            self._translate(masquerades)
            # Routes are removed last, in reverse: the route via a gateway before the route to the gateway.
            for change, entry in reversed(self._done[:]):
                if _slot(change) in old:
                    self._undo(ip, change, entry)
            if any(isinstance(change, InterfaceAddress) for change, _entry in old.values()):
                # With the first address of a network the kernel drops those that were added to it later, and
                # with them their routes.
                for change, _entry in self._done:
                    self._again(ip, change)

    def _outlives(self, change: Change) -> bool:
        """Whether the change remains when the process is killed."""
        if not self._vanishes:
            return True
        return not self._is_on_device(change)

    def _is_on_device(self, change: Change) -> bool:
        if isinstance(change, SysctlSetting):
            return f"/conf/{self.device}/" in change.name
        return getattr(change, "device", None) == self.device

    def _is_half(self, change: Change) -> bool:
        return isinstance(change, Route) and self._is_inner(change) and change.destination in _ALL_HALVES

    def _block(self, ip: Any, change: Change, standing: tuple[Change, Entry | None] | None) -> None:
        """All traffic was to go into the tunnel: the part whose route is refused goes nowhere instead."""
        assert isinstance(change, Route)
        blocked = Route(change.destination, None, None, change.metric)
        try:
            if standing is not None and standing[0] == blocked:
                self._again(ip, blocked)
            else:
                self._do(ip, blocked, standing)
        except ElementError as error:
            # Without IPv6 on any interface there is nothing to be kept in.
            if not refusals.is_refusal(error) or not refusals.ipv6_is_off(change):
                raise

    def _is_inner(self, change: Change) -> bool:
        return isinstance(change, Route) and change.device == self.device

    def _do(self, ip: Any, change: Change, standing: tuple[Change, Entry | None] | None) -> bool:
        """Make a change and replace one in its slot; False if it was made by others already."""
        if isinstance(change, SysctlSetting):
            if not self._outlives(change):
                sysctls.write(change.name, change.value)
                self._done.append((change, None))
                return True
            entry = sysctls.change(change, self._notes())
            if entry is not None:
                self._done.append((change, entry))
            return True
        call, arguments = _request(ip, change)
        entry = [call, arguments]
        if isinstance(change, Mac):
            entry = [call, {**arguments, "address": _mac(ip, arguments["index"])}]
        elif isinstance(change, Mtu):
            entry = [call, {**arguments, "mtu": _mtu(ip, arguments["index"])}]
        if self._outlives(change):
            self._notes().note(entry)
        command = "set" if call == "link" else "add"
        if standing is not None and isinstance(change, Route):
            # A route with only a new gateway or device is replaced, and never missing in between.
            command = "replace"
        try:
            recovery.call(ip, call, command, _added(change, arguments))
        except ElementError as error:
            self._forget(entry)
            if not _stands_already(error):
                raise
            return False
        if standing is not None:
            self._done.remove(standing)
            self._forget(standing[1])
        self._done.append((change, entry))
        return True

    def _again(self, ip: Any, change: Change) -> None:
        """Restore what the kernel has dropped, such as the routes of an interface that went down."""
        if isinstance(change, InterfaceAddress | Route | Rule):
            call, arguments = _request(ip, change)
            try:
                recovery.call(ip, call, "add", _added(change, arguments))
            except ElementError as error:
                if not _stands_already(error):
                    raise

    def _translate(self, masquerades: Masquerades) -> None:
        if not masquerades:
            if self._nat is not None:
                self._nat.close()
                self._nat = None
            return
        if self._nat is None:
            self._nat = Masquerading(self.device)
        if masquerades != self._nat.masquerades:
            self._nat.set(masquerades)

    # Undoing

    def _undo_all(self) -> list[str]:
        """What could not be undone, in words."""
        problems = []
        if self._nat is not None:
            self._nat.close()
            self._nat = None
        if self._done:
            with interfaces.netlink(f"restoring what was changed for {self.device}") as ip:
                for change, entry in reversed(self._done[:]):
                    try:
                        self._undo(ip, change, entry)
                    except (ElementError, OSError) as error:
                        problems.append(str(error))
                        self._done.remove((change, entry))
        if self._journal is not None:
            # With something left in it, it is for the next run here.
            self._journal.close()
            self._journal = None
        return problems

    def _undo(self, ip: Any, change: Change, entry: Entry | None) -> None:
        if entry is not None:
            recovery.back(ip, entry, self._journal)
            self._forget(entry)
        self._done.remove((change, entry))

    def _forget(self, entry: Entry | None) -> None:
        if self._journal is not None and entry in self._journal.entries:
            self._journal.forget(entry)

    def _notes(self) -> Journal:
        if self._journal is None:
            self._journal = Journal()
        return self._journal


# rtnetlink


def _slot(change: Change) -> object:
    """A key for what can exist only once: two changes with the same slot exclude each other."""
    if isinstance(change, Route):
        return (Route, change.destination, change.metric, change.table)
    if isinstance(change, SysctlSetting):
        return (SysctlSetting, change.name)
    return change


def _request(ip: Any, change: Change) -> tuple[str, dict[str, Any]]:
    """IPRoute's call for a change, and the arguments that add and delete it."""
    match change:
        case InterfaceAddress(device, own, peer):
            arguments: dict[str, Any] = {
                "index": _index(ip, device),
                "address": str(peer if peer is not None else own.ip),
                "prefixlen": own.network.prefixlen,
                "family": _family(own.version),
            }
            if peer is not None:
                arguments["local"] = str(own.ip)
            return "addr", arguments
        case Route(destination, device, gateway, metric, table, source):
            arguments = {
                "dst": str(destination),
                "family": _family(destination.version),
                "proto": PROTOCOL,
                "table": 254 if table is None else table,
            }
            if device is None:
                arguments["type"] = _UNREACHABLE
            else:
                arguments["oif"] = _index(ip, device)
            if gateway is not None:
                arguments["gateway"] = str(gateway)
            elif device is not None and destination.version == 4:
                arguments["scope"] = 253  # RT_SCOPE_LINK: what has no gateway is on the link
            if metric:
                arguments["priority"] = metric
            if source is not None:
                arguments["prefsrc"] = str(source)
            return "route", arguments
        case Mac(device, mac):
            return "link", {"index": _index(ip, device), "address": mac.hex(":")}
        case Mtu(device, mtu):
            return "link", {"index": _index(ip, device), "mtu": mtu}
        case Rule(priority, network, table):
            return "rule", {
                "priority": priority,
                "src": str(network.network_address),
                "src_len": network.prefixlen,
                "table": table,
                "family": _family(network.version),
                "protocol": PROTOCOL,
            }
        case Proxied(device, address):
            return "neigh", {
                "dst": str(address),
                "ifindex": _index(ip, device),
                "flags": _NTF_PROXY,
                "family": _family(address.version),
            }
    raise TypeError(f"{change} is not set by rtnetlink")


def _added(change: Change, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, and those that only matter when it is added."""
    if isinstance(change, InterfaceAddress) and change.interface.version == 6:
        return {**arguments, "flags": _NODAD}
    return arguments


def _stands_already(error: ElementError) -> bool:
    return isinstance(error.__cause__, Exception) and recovery.code(error.__cause__) == errno.EEXIST


def _family(version: int) -> int:
    return int(socket.AF_INET if version == 4 else socket.AF_INET6)


def _mac(ip: Any, index: int) -> str:
    return str(ip.get_links(index)[0].get("address"))


def _mtu(ip: Any, index: int) -> int:
    return int(ip.get_links(index)[0].get("mtu"))


def _index(ip: Any, device: str) -> int:
    found = ip.link_lookup(ifname=device)
    if not found:
        raise ElementError(f"there is no interface {device}")
    return int(found[0])
