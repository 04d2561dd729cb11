"""The name servers that a link's tunnel brings, for as long as its interface stands.

A script of --dns-updown sets them, or else the host's resolver is asked (`tmelink.system.resolver`). A link
with an --up script, which sets them itself in many configurations, leaves them to that, as OpenVPN does.
"""

from __future__ import annotations

import logging
import os
import shlex

from tmelink.elements.host_interfaces.scripts import PATH
from tmelink.errors import ElementError
from tmelink.routing.dns import Dns
from tmelink.routing.tunnel import Tunnel
from tmelink.system import programs, resolver


class NameServers:
    """What is set of one interface's name servers."""

    def __init__(self, device: str, netns: str | None, log: logging.Logger) -> None:
        self._device = device
        self._netns = netns
        self._log = log
        self._names = resolver.InterfaceNames(device)
        self._set: Tunnel | None = None

    async def follow(self, tunnel: Tunnel | None) -> None:
        """Set what the tunnel brings, and take back what it no longer does; a failure is logged."""
        wanted = None if tunnel is None or not _sets(tunnel) else tunnel
        if _what(wanted) == _what(self._set):
            return
        await self.reset()
        if wanted is None or wanted.dns is None:
            return
        self._set = wanted
        try:
            how = await self._change(wanted, "dns-up")
        except ElementError as error:
            self._log.warning("the name servers are not set (%s): %s", wanted.dns, error)
        else:
            self._log.info("name servers set by %s: %s", how, wanted.dns)

    async def reset(self) -> None:
        """Take back what was set; a failure is logged."""
        before, self._set = self._set, None
        if before is None:
            return
        try:
            await self._change(before, "dns-down")
        except ElementError as error:
            self._log.warning("the name servers were not reset: %s", error)

    async def _change(self, tunnel: Tunnel, moment: str) -> str:
        """Set them or take them back; returns who did it."""
        assert tunnel.dns is not None
        command = tunnel.dns_updown
        if command not in (None, FORCE):
            return await self._script(str(command), tunnel.dns, moment)
        if moment == "dns-down":
            await self._names.reset()
            return ""
        if self._netns is not None or not resolver.of_the_host():
            raise ElementError(f"the host's resolver does not serve this namespace; {resolver.REMEDY}")
        return await self._names.set(tunnel.dns)

    async def _script(self, command: str, dns: Dns, moment: str) -> str:
        environment = {"PATH": os.environ.get("PATH", PATH), **dns.environment()}
        environment |= {"dev": self._device, "script_type": moment}
        said, ending = await programs.result(shlex.split(command), self._netns, environment)
        if said:
            self._log.info("--dns-updown: %s", said)
        if ending:
            raise ElementError(f"--dns-updown {command}: {ending}")
        return command


FORCE, DISABLE = "force", "disable"
"""--dns-updown: set name servers beside an --up script too, or not at all."""


def _sets(tunnel: Tunnel) -> bool:
    if tunnel.dns is None or tunnel.dns_updown == DISABLE:
        return False
    return tunnel.dns_updown is not None or "up" not in tunnel.scripts


def _what(tunnel: Tunnel | None) -> object:
    return None if tunnel is None else (tunnel.dns, tunnel.dns_updown)
