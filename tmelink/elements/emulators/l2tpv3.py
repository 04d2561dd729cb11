"""`tmelink/l2tpv3`: Ethernet in an L2TPv3 session, as QEMU, User Mode Linux and Linux have it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from itertools import count

from tmelink import values
from tmelink.arguments import ArgumentError, flag, keyword
from tmelink.element import Claim
from tmelink.elements.emulators.cable import Cable, Items
from tmelink.elements.emulators.udp_carrier import UdpCarrier
from tmelink.encapsulation.l2tpv3 import COOKIE_SIZES, PROTOCOL, L2tpSession
from tmelink.frame import Frame, pieces
from tmelink.transport import endpoints
from tmelink.transport.endpoints import Inet

_IPV4_HEADER = 20
_COUNTER = struct.Struct("!I")


def _end(word: str) -> Inet:
    """`ADDR:PORT`, or an address alone, whose port is then 0."""
    if re.fullmatch(r"[0-9.]+", word):
        return Inet(str(values.ipv4(word)), 0)
    return endpoints.inet(word)


def _cookie(word: str) -> bytes:
    try:
        cookie = bytes.fromhex(word.removeprefix("0x"))
    except ValueError:
        cookie = b"wrong"
    if len(cookie) not in COOKIE_SIZES:
        raise ValueError(f"'{word}' is not a valid cookie: 8 or 16 hexadecimal digits")
    return cookie


class L2tpV3(Cable):
    """Ethernet in a static L2TPv3 session (RFC 3931): QEMU's `-netdev l2tpv3`, User Mode Linux, `ip l2tp`.

    With ports, the session runs over UDP. Without ports, it runs over IP (protocol 115), which needs
    CAP_NET_RAW. You configure both ends by hand: tmelink does not speak L2TP's control protocol. A cookie
    rejects packets of other sessions, but does not protect the session.
    """

    example = """\
sw0: tmelink/switch
vm at sw0: tmelink/l2tpv3 local "127.0.0.1:1701" remote "127.0.0.1:1702" session 7 remote-session 9
"""

    @dataclass(frozen=True)
    class Arguments:
        """The two ends, and the session in both directions."""

        local: Inet = keyword("ADDR[:PORT]", _end, help="this end")
        remote: Inet = keyword("ADDR[:PORT]", _end, help="the other end")
        session: int = keyword(
            "NUMBER",
            values.integer(1, 0xFFFFFFFF, "session"),
            help="the session's number in incoming packets",
        )
        remote_session: int | None = keyword(
            "NUMBER",
            values.integer(1, 0xFFFFFFFF, "session"),
            default=None,
            help="its number in outgoing packets (the same)",
        )
        cookie: bytes = keyword("HEX", _cookie, default=b"", help="4 or 8 bytes in each incoming packet")
        remote_cookie: bytes | None = keyword(
            "HEX", _cookie, default=None, help="those in each outgoing packet (the same)"
        )
        counter: bool = flag(help="4 more bytes before each frame: QEMU's counter, or Linux's default l2spec")

        def __post_init__(self) -> None:
            if bool(self.local.port) is not bool(self.remote.port):
                raise ArgumentError("remote", "either both ends have a port, for UDP, or neither has, for IP")
            if not endpoints.is_local(self.local):
                raise ArgumentError(
                    "local", f"'{self.local.host}' is not a valid IP address of this computer"
                )

    arguments: Arguments

    def __init__(self, name: str, arguments: Arguments) -> None:
        super().__init__(name, arguments)
        given = arguments
        self._udp = given.local.port != 0
        self._receiving = L2tpSession(given.session, given.cookie, given.counter, self._udp)
        self._head = L2tpSession(
            given.session if given.remote_session is None else given.remote_session,
            given.cookie if given.remote_cookie is None else given.remote_cookie,
            udp=self._udp,
        ).head()
        self._numbers = count()
        self._carrier = UdpCarrier(
            self.endpoint,
            self.log,
            lambda peer: self.changed(True, peer),
            local=given.local,
            remote=given.remote,
            floats=False,
            seal=self._seal,
            open=self._open,
            protocol=0 if self._udp else PROTOCOL,
        )

    def claims(self) -> list[Claim]:
        """The local address and port; of IP the session."""
        local = self.arguments.local
        if self._udp:
            return [Claim("udp", (local.host or "", local.port))]
        return [Claim("L2TPv3 session", (local.host, self.arguments.session))]

    def capabilities(self) -> frozenset[str]:
        """CAP_NET_RAW for a raw socket."""
        return super().capabilities() | (frozenset() if self._udp else frozenset(("CAP_NET_RAW",)))

    async def open(self) -> None:
        """Bind the socket; raises `ElementError` if the address is not available."""
        await self._carrier.open()

    async def close(self) -> None:
        """Close the socket."""
        await self._carrier.close()

    def _seal(self, items: Items) -> Items:
        head = self._head
        if not self.arguments.counter:
            return [head + each for each in pieces(items)]
        numbers = self._numbers
        return [head + _COUNTER.pack(next(numbers) & 0xFFFFFFFF) + each for each in pieces(items)]

    def _open(self, items: Items) -> Items:
        found: list[Frame] = []
        drops = self.endpoint.received.drops
        for each in pieces(items):
            # A raw socket of IPv4 hands over the packet's header too (raw(7)).
            message = each if self._udp else each[(each[0] & 15) * 4 :] if len(each) >= _IPV4_HEADER else b""
            opened = self._receiving.open(message)
            if isinstance(opened, str):
                drops[opened] += 1
            else:
                found.append(opened)
        return found
