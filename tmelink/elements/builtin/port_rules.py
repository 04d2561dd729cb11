"""The meaning of a connection's words after a switch's name: `le0 at sw0 vlan access 10 isolated`.

A declaration, and the VLANs of a connection as sets of numbers (IEEE 802.1Q). Knows no frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from tmelink import arguments as declaration
from tmelink import values
from tmelink.arguments import ArgumentError, flag, keyword
from tmelink.errors import PortError
from tmelink.source import Mistake, Place, Source, Word

DEFAULT_VLAN: Final = 1
"""The VLAN of untagged frames if a connection does not say."""


class VlanMembers(NamedTuple):
    """The VLANs of a connection: those whose frames have a tag there, and the one whose frames have none."""

    tagged: frozenset[int]
    untagged: int | None

    def __contains__(self, vlan: object) -> bool:
        return vlan == self.untagged or vlan in self.tagged


EVERY_VLAN: Final = VlanMembers(frozenset(range(1, values.HIGHEST_VLAN + 1)) - {DEFAULT_VLAN}, DEFAULT_VLAN)
"""The VLANs of a connection without the word, at a switch where another connection has it."""


def macs_list(word: str) -> frozenset[bytes]:
    """MAC addresses of stations, with commas between them; raises `ValueError`."""
    return frozenset(map(values.unicast_mac, word.split(",")))


@dataclass(frozen=True)
class PortRules:
    """The words of a connection at a switch."""

    vlan: bool = flag(help="the next words say which VLANs the connection has")
    access: int | None = keyword(
        "VLAN", values.vlan, default=None, help="one VLAN, whose frames have no tag here"
    )
    trunk: frozenset[int] | None = keyword(
        "VLANS", values.vlan_list, default=None, help="several, such as 1,10-20, whose frames have a tag here"
    )
    native: int | None = keyword(
        "VLAN",
        values.vlan,
        default=None,
        help="on a trunk: the VLAN of frames without a tag, which are dropped otherwise",
    )
    mesh: str = keyword("NAME", values.text, default="", help="nothing passes between links of one mesh")
    isolated: bool = flag(help="nothing passes between isolated connections")
    no_flood: bool = flag(help="frames for unknown stations are not sent here")
    macs: frozenset[bytes] = keyword(
        "MAC,…",
        macs_list,
        default=frozenset(),
        help="exactly these stations are on this connection",
    )
    mac_limit: int | None = keyword("NUMBER", values.integer(1, 8192), default=None, help="the most stations")
    storm: int | None = keyword(
        "FRAMES", values.integer(0, 10_000_000), default=None,
        help=""
        "the most broadcast, multicast and unknown frames accepted from here per second; 0 for no limit",
    )  # fmt: skip
    pad: bool = flag(help="shorter frames are padded to 60 bytes here")
    fcs: bool = flag(
        help="frames have a frame check sequence here, which the switch checks and removes, or adds"
    )

    def __post_init__(self) -> None:
        if self.vlan != (self.access is not None or self.trunk is not None):
            written = "vlan access VLAN, or vlan trunk VLANS native VLAN"
            argument = "vlan" if self.vlan else "access" if self.access is not None else "trunk"
            raise ArgumentError(argument, f"write '{written}'")
        if self.access is not None and (self.trunk is not None or self.native is not None):
            raise ArgumentError(
                "access", "'access' is for one VLAN without tags, and excludes 'trunk' and 'native'"
            )
        if self.native is not None and self.trunk is None:
            raise ArgumentError("native", "'native' needs 'vlan trunk VLANS' before it")

    @cached_property
    def vlans(self) -> VlanMembers | None:
        """The VLANs that the words name; None if they name none."""
        if self.access is not None:
            return VlanMembers(frozenset(), self.access)
        if self.trunk is not None:
            return VlanMembers(self.trunk - {self.native}, self.native)
        return None

    def parts(self, other: PortRules) -> str:
        """Why nothing passes between two such connections, in any VLAN; empty if it does."""
        if self.isolated and other.isolated:
            return "both are isolated"
        if self.mesh and self.mesh == other.mesh:
            return f"both are of mesh {self.mesh}"
        return ""


NO_RULES: Final = PortRules()


def read_rules(words: Sequence[Word]) -> PortRules:
    """The words of a connection; raises `PortError`."""
    mistakes: list[Mistake] = []
    place = words[0].place if words else Place(Source("", ""), 1, 1)
    rules = declaration.parse(PortRules, words, place, mistakes.append)
    if rules is None:
        raise PortError(
            "; ".join(f"{each.message} ({each.hint})" if each.hint else each.message for each in mistakes)
        )
    return rules
