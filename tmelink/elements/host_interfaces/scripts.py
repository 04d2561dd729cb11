"""A link's scripts: --up, --route-up, --route-pre-down and --down, run around the changes of an interface.

Arguments and environment are those of openvpn(8), "Script Order of Execution" and "Environmental Variables",
as far as tmelink supports them. `tmelink.openvpn` checks which options allow a script at all.
"""

from __future__ import annotations

import logging
import os
import shlex
from typing import Literal

from tmelink.errors import ElementError
from tmelink.routing.tunnel import Tunnel
from tmelink.system import programs

Moment = Literal["up", "route-up", "route-pre-down", "down"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a script finds programs; no other variable of tmelink's own environment is passed on."""


async def call(
    moment: Moment, tunnel: Tunnel, device: str, mtu: int, netns: str | None, log: logging.Logger
) -> None:
    """Run the script of this moment, if there is one; raises `ElementError` if it fails."""
    command = tunnel.scripts.get(moment)
    if command is None:
        return
    words = shlex.split(command)
    if moment in ("up", "down"):
        words += [device, str(mtu), "0", *_ends(tunnel), "init"]
    environment = {
        "PATH": os.environ.get("PATH", PATH),
        **tunnel.environment,
        "dev": device,
        "tun_mtu": str(mtu),
        "script_type": moment,
        "script_context": "init",
    }
    said, ending = await programs.result(words, netns, environment)
    if said:
        log.info("--%s: %s", moment, said)
    if ending:
        raise ElementError(f"--{moment} {command}: {ending}")


def _ends(tunnel: Tunnel) -> list[str]:
    """The two addresses, or address and netmask, that OpenVPN passes to --up."""
    environment = tunnel.environment
    other = environment.get("ifconfig_remote", environment.get("ifconfig_netmask", ""))
    return [environment.get("ifconfig_local", ""), other]
