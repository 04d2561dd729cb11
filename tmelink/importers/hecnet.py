"""The configuration of HECnet's bridge, bridge.conf, as a machine file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tmelink.errors import MachineError
from tmelink.source import Mistake, Place, Source
from tmelink.transport import endpoints

DEFAULT_PORT = 4711
"""The port of most bridges, which is an argument of the program and not in its configuration."""

PROTOCOLS = {"decnet": "decnet", "lat": "lat", "ipxii": "ipx", "ipxraw": "ipx"}
"""The words of `tmelink/hecnet` for the sections of the file."""


@dataclass
class HecnetBridge:
    """An entry of the section [bridge]: a peer at `HOST:PORT`, or an interface."""

    name: str
    where: str
    passive: bool
    protocols: list[str] = field(default_factory=list)


def machine_file(source: Source, port: int) -> str:
    """A machine file that does what the bridge with this configuration does; raises `MachineError`."""
    lines = [
        f"# Made from {Path(source.name).name} by tmelink import.",
        "# A switch learns which peer a station is behind; what passes stands beside each peer.",
        "",
        "sw0: tmelink/switch",
        f"hecnet: tmelink/hecnet local {port}",
    ]
    lans = 0
    for bridge in bridges(source):
        if ":" not in bridge.where:
            lans += 1
            lines.append(f"lan{lans} at sw0: tme/host/bsd/bpf interface {bridge.where}  # {bridge.name}")
        elif not bridge.protocols:
            lines.append(f"# {bridge.name} ({bridge.where}) is in no section, so that nothing passes.")
        else:
            words = [*dict.fromkeys(bridge.protocols), *(["passive"] if bridge.passive else [])]
            lines.append(f'hecnet peer "{bridge.where}" {" ".join(words)} at sw0  # {bridge.name}')
    return "\n".join(lines) + "\n"


def bridges(source: Source) -> list[HecnetBridge]:
    """The entries of the configuration, each with its protocols; raises `MachineError` with all mistakes."""
    found: dict[str, HecnetBridge] = {}
    mistakes: list[Mistake] = []
    section = ""
    for number, line in enumerate(source.text.splitlines(), 1):
        line = line.strip()
        place = Place(source, number, 1, max(1, len(line)))
        if not line or line.startswith("!"):
            continue
        try:
            if line.startswith("["):
                section = line.strip("[]")
                if section != "bridge" and section not in PROTOCOLS:
                    raise ValueError(
                        f"unknown section {line}; known are [bridge], [{'], ['.join(PROTOCOLS)}]"
                    )
            elif section == "bridge":
                entry = _entry(line)
                found[entry.name] = entry
            elif section in PROTOCOLS:
                if line not in found:
                    raise ValueError(f"{line} is not an entry of the section [bridge]")
                found[line].protocols.append(PROTOCOLS[section])
            else:
                raise ValueError("expected a section first, such as [bridge]")
        except ValueError as error:
            mistakes.append(Mistake(place, str(error), None))
    if mistakes:
        raise MachineError(mistakes)
    return list(found.values())


def _entry(line: str) -> HecnetBridge:
    words = line.split()
    if len(words) != 2:
        raise ValueError("expected a name, and HOST:PORT or an interface")
    name, where = words
    # A '*' let the peer send from any port; that is always so here.
    bare = name.lstrip("~*")
    if ":" in where:
        endpoints.inet(where)
    elif not re.fullmatch("[A-Za-z0-9._-]{1,15}", where):
        raise ValueError(f"'{where}' is neither HOST:PORT nor an interface")
    return HecnetBridge(bare, where, "~" in name[: len(name) - len(bare)])
