"""What a server that has restarted says to those who do not know it yet.

A client over UDP goes on in the session that it had with the server's earlier run, and would notice only
when its --ping-restart is over. A reset that nobody has asked for tells it: OpenVPN's client, and tmelink's,
then begins a new session beside the old one, which it gives up once the new one stands. Nothing is kept of
those who are told but their addresses, few of them, for a while.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from tmelink.openvpn.tls.cookie import Cookies

WINDOW: Final = 120.0
"""Seconds from the first packet on in which clients of an earlier run may still speak: twice the usual
--ping-restart."""

AGAIN: Final = 0.9
"""Seconds between two resets to an address."""

TIMES: Final = 5
"""Resets to one address. Each counts as a sign of life for OpenVPN's client, and must not go on if it does
not act on them."""

ADDRESSES: Final = 4096
"""The most addresses that are answered in all, so that forged ones take little memory."""

AMPLIFICATION: Final = 3
"""How many times what has come from an address may go there (RFC 9000, section 8.1)."""


class RestartNotices:
    """Resets for addresses whose session is not known."""

    def __init__(self, cookies: Cookies) -> None:
        self._cookies = cookies
        self._until: float | None = None
        self._told: dict[Hashable, tuple[float, int]] = {}

    def known(self, address: Hashable) -> None:
        """Whoever was a client of this run knows it, and is not called back after his session has ended."""
        if len(self._told) < ADDRESSES:
            self._told[address] = (0.0, TIMES)

    def notice(self, address: Hashable, size: int, now: float, unix_time: float) -> bytes:
        """The reset for the sender of an unknown session's packet of `size` bytes; empty for none."""
        if self._until is None:
            self._until = now + WINDOW
        elif now >= self._until:
            self._told.clear()
            return b""
        last, count = self._told.get(address, (now - AGAIN, 0))
        if count >= TIMES or now < last + AGAIN or (not count and len(self._told) >= ADDRESSES):
            return b""
        reset = self._cookies.unasked(address, now, unix_time)
        if len(reset) > AMPLIFICATION * size:
            return b""
        self._told[address] = (now, count + 1)
        return reset
