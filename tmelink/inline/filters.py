"""Which frames may cross a connection: `filter A at B decnet lat`, `no-dhcp`, "udp port 53".

A filter is a few words: names of protocols, the same with `no-` before them, and expressions of
pcap-filter(7). Frames pass that any of the names or expressions selects, and none of the names with `no-`.
Expressions are compiled once, by libpcap; where there is no filter there is no stage and no cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tmelink.element import Port
from tmelink.frame import Burst, Frame, Kind
from tmelink.inline import chain
from tmelink.inline.netem_words import Direction, WordError, directed
from tmelink.inline.pcap_filter import PcapFilter
from tmelink.source import suggestion

NAMED: Final[Mapping[str, str]] = {
    "appletalk": "atalk or aarp",
    "arp": "arp or rarp",
    "chaos": "ether proto 0x0804",
    "decnet": "ether proto 0x6003",
    "dhcp": "udp and (port 67 or port 68 or port 546 or port 547)",
    "ip": "ip or ip6 or arp or rarp",
    "ip6": "ip6",
    "ipx": "ipx",
    "lat": "ether proto 0x6004",
    "loopback": "ether proto 0x9000",
    "mop": "ether proto 0x6001 or ether proto 0x6002",
    "netbeui": "netbeui",
    "ra": "ip6 and ip6[6] = 58 and ip6[40] = 134",
    "xns": "ether proto 0x0600",
}
"""Filters that have a name, as pcap-filter(7) writes them."""

WITHOUT: Final = "no-"
"""Before a name: all but that passes."""

OF_IP: Final = frozenset(("dhcp", "ip", "ip6", "ra"))
"""Those that mean something on a connection of IP packets."""

_UNTAGGED: Final = "not ether proto 0x8100 and not ether proto 0x88a8"


@dataclass(frozen=True, slots=True)
class FilterRequest:
    """What a filter's words say: the direction, and what passes; no words where everything does."""

    direction: Direction
    words: tuple[str, ...]


def request(words: Sequence[str]) -> FilterRequest:
    """Read the words of a `filter`; raises `WordError`. `clear` alone lets everything pass."""
    rest, direction = directed(words)
    if not rest:
        names = ", ".join(NAMED)
        raise WordError(0, "a filter needs what passes", f"{names}, each also with no-, or an expression")
    return FilterRequest(direction, () if rest == ["clear"] else tuple(rest))


class Selection:
    """The frames that a filter's words let pass, on a connection of one kind. Raises `WordError`."""

    def __init__(self, words: Sequence[str], kind: Kind) -> None:
        self.words = tuple(words)
        for index, word in enumerate(words):
            if kind == "ip" and word.removeprefix(WITHOUT) in NAMED.keys() - OF_IP:
                raise WordError(
                    index, f"'{word}' is about Ethernet frames, and IP packets cross this connection"
                )
        names = [word for word in words if word in NAMED]
        without = [word for word in words if word.removeprefix(WITHOUT) in NAMED and word not in NAMED]
        self._any = [_compiled(words, word, word, kind) for word in words if word not in (*names, *without)]
        if names:
            self._any.append(_named(words, names, kind))
        self._not = _named(words, [word.removeprefix(WITHOUT) for word in without], kind) if without else None

    def passing(self, frames: Sequence[Frame]) -> list[bool]:
        """For each frame whether it passes."""
        found = self._any[0].matching(frames) if self._any else [True] * len(frames)
        for each in self._any[1:]:
            found = [one or other for one, other in zip(found, each.matching(frames), strict=True)]
        if self._not is not None:
            found = [one and not other for one, other in zip(found, self._not.matching(frames), strict=True)]
        return found


def _named(words: Sequence[str], names: Sequence[str], kind: Kind) -> PcapFilter:
    """All frames of some protocols, also in a VLAN, whose tag moves what an expression looks at."""
    expression = " or ".join(f"({NAMED[name]})" for name in names)
    if kind == "ip":
        expression = expression.replace(NAMED["ip"], "ip or ip6")
    else:
        # An expression is about what follows the last `vlan` before it.
        expression = f"({_UNTAGGED} and ({expression})) or (vlan and ({expression}))"
    return _compiled(words, names[0], expression, kind)


def _compiled(words: Sequence[str], word: str, expression: str, kind: Kind) -> PcapFilter:
    try:
        return PcapFilter(expression, kind)
    except ValueError as error:
        index = list(words).index(word)
        near = suggestion(word, (*NAMED, *(WITHOUT + name for name in NAMED)))
        hint = near or f"the names are {', '.join(NAMED)}, each also with no-"
        raise WordError(index, str(error), hint) from error


class FilterStage:
    """Lets pass, of what `port` sends, what a selection selects."""

    rank = chain.FILTER

    def __init__(self, port: Port, selection: Selection) -> None:
        self.selection = selection
        self._port = port

    def take(self, burst: Burst, onward: chain.BurstSink) -> None:
        """Pass on what passes, and count the rest."""
        passing = self.selection.passing(burst.frames)
        if all(passing):
            onward(burst)
            return
        kept = [index for index, passes in enumerate(passing) if passes]
        self._port.drop("filtered", len(passing) - len(kept))
        if kept:
            onward(burst.part(kept))

    def close(self) -> None:
        """Keeps nothing."""


def set_filter(port: Port, words: Sequence[str]) -> None:
    """Filter what `port` sends by these words from now on; not at all where there are none."""
    stage = filter_of(port)
    if stage is not None:
        if stage.selection.words == tuple(words):
            return
        chain.remove(port, stage)
    if words:
        chain.insert(port, FilterStage(port, Selection(words, port.kind)))


def filter_of(port: Port) -> FilterStage | None:
    """The filter on what `port` sends, or None."""
    return next((stage for stage in chain.stages(port) if isinstance(stage, FilterStage)), None)
