"""Addresses that a server lends to its clients (`--ifconfig-pool`, `--ifconfig-ipv6-pool`).

A client gets the address again that it had, as long as nobody else needed it; the pool can be written down as
OpenVPN's `--ifconfig-pool-persist` file does. Pure: reads no file, knows no session.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Interface
from typing import Final, Literal, NamedTuple

PoolLayout = Literal["single", "net30"]
"""One address a client, or four of which a client gets the third and its gateway the second."""

LARGEST: Final = 65536
"""Leases of one pool at most (OpenVPN's IFCONFIG_POOL_MAX)."""


class Lease(NamedTuple):
    """A client's addresses: its own, for net30 the other end's, and of IPv6 with the prefix length."""

    number: int
    local: IPv4Address | None
    remote: IPv4Address | None
    local6: IPv6Interface | None


@dataclass(slots=True)
class _Place:
    """One lease's state: who has or had it, and since when it is free (None while it is lent)."""

    name: str = ""
    free_since: float | None = -1.0


class AddressPool:
    """Addresses from `first` to `last`, and for each one of IPv6 from `first6` on; either may be None.

    `fixed` is whether what was written down is for ever (`--ifconfig-pool-persist FILE 0`): then nobody else
    gets such an address.
    """

    def __init__(
        self,
        first: IPv4Address | None,
        last: IPv4Address | None,
        first6: IPv6Interface | None,
        *,
        layout: PoolLayout = "single",
        duplicate_cn: bool = False,
        fixed: bool = False,
    ) -> None:
        self._layout = layout
        self._step = 4 if layout == "net30" else 1
        self._first = first
        if first is not None and layout == "net30":
            self._first = IPv4Address(int(first) & ~3)
        self._first6 = first6
        self._duplicate_cn = duplicate_cn
        self._fixed: set[int] | None = set() if fixed else None
        size = LARGEST
        if self._first is not None and last is not None:
            size = min(size, (int(last) - int(self._first)) // self._step + 1)
        if first6 is not None:
            size = min(size, int(first6.network.broadcast_address) - int(first6.ip) + 1)
        self._places = [_Place() for _ in range(size if first is not None or first6 is not None else 0)]

    def lend(self, name: str) -> Lease | None:
        """Addresses for a client of this common name; None if all are lent."""
        known = bool(name) and not self._duplicate_cn
        best: tuple[float, int] | None = None
        for number, place in enumerate(self._places):
            if place.free_since is None:
                continue
            if known and place.name == name:
                best = (0.0, number)
                break
            if self._fixed is not None and number in self._fixed:
                continue
            if best is None or place.free_since < best[0]:
                best = (place.free_since, number)
        if best is None:
            return None
        place = self._places[best[1]]
        place.name, place.free_since = name, None
        return self._lease(best[1])

    def give_back(self, number: int, now: float) -> None:
        """A client has left; its addresses stay its own until another needs them more."""
        place = self._places[number]
        if place.free_since is None:
            place.free_since = max(now, 0.0)

    def _lease(self, number: int) -> Lease:
        local = remote = local6 = None
        if self._first is not None:
            base = self._first + number * self._step
            local, remote = (base + 2, base + 1) if self._layout == "net30" else (base, None)
        if self._first6 is not None:
            local6 = IPv6Interface((self._first6.ip + number, self._first6.network.prefixlen))
        return Lease(number, local, remote, local6)

    # The file.

    def write(self) -> str:
        """The pool as a file of lines `name,address,address`, as OpenVPN writes it."""
        lines = []
        for number, place in enumerate(self._places):
            if place.name:
                base = "" if self._first is None else str(self._first + number * self._step)
                base6 = "" if self._first6 is None else str(self._first6.ip + number)
                lines.append(f"{place.name},{base},{base6}\n")
        return "".join(lines)

    def read(self, text: str) -> list[str]:
        """Take over a file's lines, to be called once at the start; what is wrong with any, in words."""
        wrong = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip()[0] in "#;":
                continue
            name, *addresses = (part.strip() for part in line.split(","))
            place = self._number(addresses)
            if not name or place is None:
                wrong.append(f"line {number}: '{line[:80]}' is not a NAME,ADDRESS of this pool")
                continue
            self._places[place].name = name
            self._places[place].free_since = 0.0
            if self._fixed is not None:
                self._fixed.add(place)
        return wrong

    def _number(self, addresses: list[str]) -> int | None:
        """The place that addresses stand for."""
        try:
            if addresses and addresses[0] and self._first is not None:
                number = (int(IPv4Address(addresses[0])) - int(self._first)) // self._step
            elif len(addresses) > 1 and addresses[1] and self._first6 is not None:
                number = int(IPv6Address(addresses[1])) - int(self._first6.ip)
            else:
                return None
        except ValueError:
            return None
        return number if 0 <= number < len(self._places) else None
