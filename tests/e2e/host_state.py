"""What of a namespace must be after a test as it was before: addresses, routes, rules, settings, tables."""

from __future__ import annotations

import re
import time

from tests.support.netns import Namespace

_COMMANDS = {
    "addresses": "ip -o addr",
    "routes": "ip route show table all",
    "routes of IPv6": "ip -6 route show table all",
    "rules": "ip rule",
    "rules of IPv6": "ip -6 rule",
    "proxied neighbours": "ip -6 neigh show proxy",
    "nftables": "nft list ruleset",
    "settings": "sysctl -a -r ^net[.]ipv[46][.](conf|ip_forward)",
}

_VOLATILE = re.compile(r"(expires|valid_lft|preferred_lft) \S+|stable_secret.*|ra_.*|.*_interval.*")
"""Times that run, and settings that sysctl cannot read."""


def state(namespace: Namespace) -> dict[str, list[str]]:
    """The namespace's state, sorted line by line."""
    for _ in range(100):
        # Link-local addresses and their routes come once nobody else is found to have them.
        if not namespace.run("ip", "-6", "addr", "show", "tentative"):
            break
        time.sleep(0.05)
    found = {}
    for what, command in _COMMANDS.items():
        lines = namespace.run(*command.split(), check=False).splitlines()
        found[what] = sorted(" ".join(_VOLATILE.sub("", line).split()) for line in lines)
    return found
