"""The arguments of `tmelink/switch` in a machine file."""

from __future__ import annotations

from dataclasses import dataclass

from tmelink import values
from tmelink.arguments import ArgumentError, flag, keyword
from tmelink.elements.builtin.learning_segment import AGEING
from tmelink.elements.builtin.loop_finder import INTERVAL


@dataclass(frozen=True)
class SwitchArguments:
    """A switch's arguments in a machine file."""

    ageing: float = keyword(
        "SECONDS",
        values.seconds(1, 1_000_000, "ageing time"),
        default=AGEING,
        help="how long the switch remembers a silent station",
    )
    transparent: bool = flag(
        help="also forward 01:80:c2:00:00:00 to 0f (spanning tree, LACP, LLDP), as a cable would; "
        "a bridge keeps these to itself"
    )
    rstp: bool = flag(
        help="take part in the spanning tree (IEEE 802.1D-2004), instead of sending loop probes"
    )
    priority: int = keyword(
        "NUMBER",
        values.integer(0, 61440, "bridge priority"),
        default=32768,
        help="with rstp: the bridge with the lowest number becomes the root; a multiple of 4096",
    )
    forward_delay: int = keyword(
        "SECONDS",
        values.integer(4, 30, "forward delay"),
        default=15,
        help="with rstp: half the time before a connection forwards, if its neighbour does not agree",
    )
    snoop: bool = flag(
        help="send multicast frames only to hosts that joined their group, while a router asks for members "
        "(IGMP and MLD snooping)"
    )
    loop_probe: float = keyword(
        "SECONDS",
        values.seconds(0, 3600, "time between probes"),
        default=INTERVAL,
        help="between two loop probes; 0 sends none",
    )

    def __post_init__(self) -> None:
        if self.priority % 4096:
            raise ArgumentError("priority", "a bridge's priority is a multiple of 4096")
        if not self.rstp and (self.priority, self.forward_delay) != (32768, 15):
            name = "priority" if self.priority != 32768 else "forward-delay"
            raise ArgumentError(name, f"'{name}' belongs to the spanning tree, and needs 'rstp' too")
