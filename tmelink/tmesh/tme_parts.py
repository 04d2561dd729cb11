"""TME's parts that tmelink does not emulate, by module name: facts, no behaviour.

The names are those that TME's and NME's sources register (`tme/tme-plugins.txt` there); network elements
that tmelink has are in `tmelink.registry` instead. `nme/…` is the same as `tme/…`.
"""

from __future__ import annotations

ETHERNET_CARDS: dict[str, dict[str, str]] = {
    "tme/bus/multibus/3c400": {"ether": "mac"},
    "tme/ic/am7990": {},
    "tme/ic/i82586": {},
}
"""Parts with one Ethernet connection; and which of their arguments a `tmelink/nic` takes, under what name."""

IN_PLACE_OF = {"tme/host/netmap/vale": "tmelink/switch"}
"""The element of tmelink that does what a part of TME's does, where there is one."""

PARTS = frozenset(
    (
        "tme/bus/multibus/sun-mie",
        "tme/bus/multibus/sun-sc",
        "tme/bus/sbus/bwtwo",
        "tme/bus/sbus/cgsix",
        "tme/bus/sbus/cgthree",
        "tme/generic/bus",
        "tme/host/gtk/display",
        "tme/host/netmap/vale",
        "tme/host/rfb/display",
        "tme/host/sdl/display",
        "tme/host/posix/disk",
        "tme/host/posix/memory",
        "tme/host/posix/serial",
        "tme/host/posix/tape",
        "tme/ic/am7930",
        "tme/ic/am9513",
        "tme/ic/cs4231A",
        "tme/ic/cy7c601",
        "tme/ic/i82072",
        "tme/ic/i82077",
        "tme/ic/isil7170",
        "tme/ic/lsi64854",
        "tme/ic/m68010",
        "tme/ic/m68020",
        "tme/ic/mb86900",
        "tme/ic/mk48t02",
        "tme/ic/mk48t59",
        "tme/ic/mm58167",
        "tme/ic/ncr5380",
        "tme/ic/ncr53c9x",
        "tme/ic/ncr89c105/auxio",
        "tme/ic/ncr89c105/i82077",
        "tme/ic/ncr89c105/z85c30",
        "tme/ic/stp1030",
        "tme/ic/stp2024",
        "tme/ic/stp2200",
        "tme/ic/stp2220",
        "tme/ic/z8530",
        "tme/machine/sun2",
        "tme/machine/sun2/bwtwo",
        "tme/machine/sun2/clock",
        "tme/machine/sun2/tod",
        "tme/machine/sun2/zs",
        "tme/machine/sun3",
        "tme/machine/sun3/bwtwo",
        "tme/machine/sun3/cgtwo",
        "tme/machine/sun3/clock",
        "tme/machine/sun3/obie",
        "tme/machine/sun3/si",
        "tme/machine/sun3/zs",
        "tme/machine/sun4",
        "tme/machine/sun4/clock",
        "tme/machine/sun4/fdc",
        "tme/machine/sun4/oclock",
        "tme/machine/sun4/zs",
        "tme/scsi/bus",
        "tme/scsi/cdrom",
        "tme/scsi/disk",
        "tme/scsi/tape",
        "tme/serial/keyboard",
        "tme/serial/mouse",
        "tme/serial/sink",
    )
)
"""Processors, buses, memory, serial lines, disks, displays and boards."""
