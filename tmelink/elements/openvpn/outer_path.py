"""The path of a link's packets outside: to which address they go, and how large a packet gets there.

The kernel knows of the path what its routes and ICMP have told it; it is asked again when they change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.plain.mtu import DEFAULT_MSSFIX, DEFAULT_MTU
from tmelink.openvpn.settings import Mssfix
from tmelink.routing.facts import IPVersion
from tmelink.sizes import PATH
from tmelink.system.monitor import Monitor
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address
from tmelink.transport.path_mtu import path_mtu


class OuterPath:
    """The path of one link over UDP; `changed` is called when it takes packets of another size.

    `size` in bytes is what is reckoned with, `known` what the kernel knows, None for nothing.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.address: Address | None = None
        self.version: IPVersion = 4
        self.size = PATH
        self.known: int | None = None
        self._changed = changed
        self._monitor: Monitor | None = None

    async def open(self) -> None:
        """Follow the host's routes from now on."""
        self._monitor = Monitor(self.look)
        await self._monitor.open(None)

    def close(self) -> None:
        """Follow them no more."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def look(self) -> None:
        """Find out how large a packet the path takes now."""
        address, known = self.address, None
        if address is not None and sockets.literal_family(address[0]) is not None:
            self.version = 6 if ":" in address[0] else 4
            known = path_mtu(address[0])
        self.known = known
        before, self.size = self.size, known or PATH
        if self.size != before:
            self._changed()

    def narrowed(self, options: Options) -> Options:
        """The options, with TCP's segments fit for a path that is narrower than --mssfix reckons with."""
        sizes = options.sizes
        given = sizes.mssfix is not None or sizes.fragment or sizes.link_mtu
        usual = not given and sizes.tun_mtu == DEFAULT_MTU
        if not usual or self.size >= DEFAULT_MSSFIX:
            return options
        return replace(options, sizes=replace(sizes, mssfix=Mssfix(self.size, "mtu")))
