"""The addresses, routes, rules and translation around an interface of the host while it is open.

This module combines what the element's own arguments ask for with the network settings of the link that it is
connected to. It carries out the plan, keeps it up to date while the host's own routes change, and undoes it
at the end. `tmelink.routing` makes the plan, `tmelink.system.routes` carries it out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from tmelink.elements.host_interfaces import scripts
from tmelink.elements.host_interfaces.name_servers import NameServers
from tmelink.errors import ElementError
from tmelink.routing import identities, translation, tunnel
from tmelink.routing.facts import Facts, IPAddress, IPInterface, IPNetwork
from tmelink.routing.plan import WORDS, InterfaceAddress, Plan
from tmelink.routing.tunnel import Tunnel
from tmelink.system import namespaces, recovery
from tmelink.system.monitor import Monitor
from tmelink.system.routes import HostChanges


@dataclass(frozen=True, slots=True)
class HostNetworkRequest:
    """What an element's own arguments ask for; `identity` and `router` lack what only becomes known later."""

    identity: identities.Identity | None = None
    router: translation.RouterSettings | None = None

    def __bool__(self) -> bool:
        return self.identity is not None or self.router is not None


def plan(
    request: HostNetworkRequest,
    settings: Tunnel | None,
    device: str,
    addresses: tuple[IPInterface, ...],
    facts: Facts,
    *,
    with_routes: bool = True,
) -> Plan:
    """The whole plan for one interface; `addresses` are those from its element's own arguments.

    Without `with_routes`, only what `--route-delay` does not delay.
    """
    whole = Plan()
    gateways: list[IPAddress] = []
    behind: list[IPNetwork] = []
    if settings is not None:
        planned = tunnel.plan(settings, device, facts)
        if not with_routes:
            planned = Plan(
                tuple(s for s in planned.steps if isinstance(s.change, InterfaceAddress)), planned.warnings
            )
        whole += planned
        addresses = (*addresses, *settings.addresses)
        behind = list(tunnel.behind(planned, device))
        gateways = [g for g in (*settings.gateways.values(), *settings.peers.values()) if g is not None]
    if request.router is not None:
        whole += translation.plan(
            replace(request.router, device=device, addresses=addresses, behind=tuple(behind)), facts
        )
    if request.identity is not None:
        identity = request.identity
        gateways = [] if identity.point_to_point else [*identity.gateways, *gateways]
        whole += identities.plan(
            replace(identity, device=device, addresses=addresses, gateways=tuple(gateways)), facts
        )
    return whole


class HostNetwork:
    """The network around one open interface."""

    def __init__(
        self,
        device: str,
        netns: str | None,
        request: HostNetworkRequest,
        addresses: tuple[IPInterface, ...],
        mtu: int,
        log: logging.Logger,
        *,
        vanishes: bool,
        incomplete: Callable[[str], None],
    ) -> None:
        self._device = device
        self._mtu = mtu
        self._netns = netns
        self._request = request
        self._addresses = addresses
        self._log = log
        self._changes = HostChanges(device, vanishes=vanishes)
        self._tunnel: Tunnel | None = None
        self._routes = True
        self._delayed_routes = False
        self._stands = False
        self._monitor: Monitor | None = None
        self._again = asyncio.Event()
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._incomplete = incomplete
        self._warned: set[str] = set()
        self._plan: Plan | None = None
        self._name_servers = NameServers(device, netns, log)
        self._new_device: bool | None = None
        """Whether an interface that was created again vanishes with the process; None if none was."""

    async def open(self, tunnel: Tunnel | None) -> None:
        """Carry out the plan and watch for changes; raises `ElementError` with everything undone."""
        async with self._starting:
            self._set_tunnel(tunnel)
            if self._request or tunnel is not None:
                await self._start()
            else:
                await namespaces.run(recovery.recover, self._netns)

    async def follow(self, tunnel: Tunnel) -> None:
        """Take the link's network settings, first or changed; returns once they are carried out.

        Raises `ElementError` the first time.
        """
        async with self._starting:
            self._set_tunnel(tunnel)
            if self._task is None:
                await self._start()
                return
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(done)
            self._again.set()
        await done

    async def follow_new_device(self, *, vanishes: bool) -> None:
        """The interface was removed and made again: set on it what is planned; returns once that is done."""
        async with self._starting:
            if self._task is None:
                return
            self._new_device = vanishes
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(done)
            self._again.set()
        await done

    async def close(self) -> None:
        """Undo everything; does nothing if nothing was started, or if the start failed."""
        if self._task is None:
            return
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        self._release(self._waiting[:])
        try:
            async with asyncio.timeout(LAST_SCRIPT_SECONDS):
                await self._name_servers.reset()
        except TimeoutError:
            self._log.warning(
                "the name servers may still be set: their reset was stopped after %g s", LAST_SCRIPT_SECONDS
            )
        await self._script("route-pre-down")
        await namespaces.run(self._changes.undo, self._netns)
        await self._script("down")

    def _set_tunnel(self, tunnel: Tunnel | None) -> None:
        # --route-delay only applies the first time. Routes that are set since then stay.
        stand = self._tunnel is not None and self._routes
        self._tunnel = tunnel
        self._routes = stand or tunnel is None or not tunnel.delay
        if not self._routes:
            assert tunnel is not None
            asyncio.get_running_loop().call_later(tunnel.delay, self._delayed, tunnel)

    def _delayed(self, tunnel: Tunnel) -> None:
        if self._tunnel is tunnel:
            self._routes = self._delayed_routes = True
            self._again.set()

    async def _start(self) -> None:
        self._monitor = Monitor(self._again.set)
        await self._monitor.open(self._netns)
        try:
            tunnel = self._tunnel
            if tunnel is not None and "up" in tunnel.scripts:
                whole, self._routes = self._routes, False
                await self._carry_out(first=True)
                await scripts.call("up", tunnel, self._device, self._mtu, self._netns, self._log)
                self._routes = whole
            await self._carry_out(first=True)
            self._stands = True
            if self._routes:
                await self._script("route-up")
            await self._name_servers.follow(self._tunnel)
        except BaseException:
            self._monitor.close()
            self._monitor = None
            await namespaces.run(self._changes.undo, self._netns)
            raise
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        """Carry out the plan again whenever something has changed."""
        while True:
            await self._again.wait()
            self._again.clear()
            followers = self._waiting[:]
            try:
                if self._new_device is not None:
                    # A resolver that knows them by interface has forgotten them.
                    await self._name_servers.reset()
                await self._carry_out(first=False)
                if self._delayed_routes:
                    self._delayed_routes = False
                    await self._script("route-up")
                await self._name_servers.follow(self._tunnel)
            except (ElementError, OSError) as error:
                self._warn(str(error))
            self._release(followers)

    def _release(self, followers: list[asyncio.Future[None]]) -> None:
        """Wake those who wait for a plan: it has been carried out, as far as possible."""
        for done in followers:
            self._waiting.remove(done)
            if not done.done():
                done.set_result(None)

    async def _script(self, moment: scripts.Moment) -> None:
        """Run a script whose failure has no consequences."""
        if self._tunnel is None or not self._stands:
            return
        try:
            async with asyncio.timeout(None if moment == "route-up" else LAST_SCRIPT_SECONDS):
                await scripts.call(moment, self._tunnel, self._device, self._mtu, self._netns, self._log)
        except TimeoutError:
            self._log.warning("--%s was killed after %g s", moment, LAST_SCRIPT_SECONDS)
        except ElementError as error:
            self._log.warning("%s", error)

    async def _carry_out(self, *, first: bool) -> None:
        make: Callable[[Facts], Plan] = lambda facts: plan(  # noqa: E731 - of what holds just now
            self._request, self._tunnel, self._device, self._addresses, facts, with_routes=self._routes
        )
        # Once started, it runs to its end even if this task is cancelled: `namespaces.run` waits for its
        # thread.
        made, problems = await namespaces.run(lambda: self._follow(make, first=first), self._netns)
        if made != self._plan:
            before = () if self._plan is None else self._plan.changes
            for change in made.changes:
                if change not in before:
                    # Users want to know the address of their machine, which may change.
                    level = logging.INFO if isinstance(change, InterfaceAddress) else logging.DEBUG
                    self._log.log(level, "set: %s %s", WORDS[type(change)], change)
        self._plan = made
        for problem in (*made.warnings, *problems):
            self._warn(problem)
        if first and self._changes.refused:
            self._incomplete("; ".join(dict.fromkeys(self._changes.refused)))

    def _follow(self, make: Callable[[Facts], Plan], *, first: bool) -> tuple[Plan, list[str]]:
        vanishes, self._new_device = self._new_device, None
        if vanishes is not None:
            self._changes.device_is_new(vanishes=vanishes)
        return self._changes.follow(make, first=first)

    def _warn(self, text: str) -> None:
        """Warn once for each problem: the host changes often, and the same problem returns each time."""
        if text not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(text)
            self._log.warning("%s", text)


LAST_SCRIPT_SECONDS = 1.0
"""For a script at the end, which the host's own state waits for."""

MAX_WARNINGS = 64
"""The most different warnings for one interface."""
