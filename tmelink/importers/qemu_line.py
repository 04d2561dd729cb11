"""A command line of QEMU as a machine file: the machine, and a switch for each network that it has."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from tmelink.importers import Imported
from tmelink.source import Source
from tmelink.tmesh.statements import quoted

_FILES = {"-kernel": "kernel", "-initrd": "initrd", "-append": "append", "-display": "display"}
_DISKS = {"-hda", "-hdb", "-hdc", "-hdd"}
_NICS = re.compile(r"(virtio-net|e1000|rtl8139|ne2k|pcnet|vmxnet|i825|usb-net|dp8393|lance|tulip|sungem|igb)")
_KVM = {"-enable-kvm": "", "-accel": "kvm"}

OWN = {
    "-daemonize": "tmelink starts and ends QEMU itself",
    "-pidfile": "tmelink starts and ends QEMU itself",
    "-monitor": "tmelink has the monitor; 'command vm0 reset' and the like use it",
    "-qmp": "tmelink has the monitor; 'command vm0 reset' and the like use it",
    "-nographic": "there is no screen unless 'display' says otherwise",
    "-serial": "the serial console is a terminal; 'console' says otherwise",
}
"""Options that tmelink stands for, and why."""

_ALONE = {"-enable-kvm", "-daemonize", "-nographic", "-snapshot", "-no-reboot", "-nodefaults", "-S", "-s"}
"""Options without a value."""


@dataclass
class QemuImport:
    """What is read of a command line so far."""

    words: list[str] = field(default_factory=list)
    nics: list[dict[str, str]] = field(default_factory=list)
    networks: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def is_command(text: str) -> bool:
    """Whether a text begins with a program of QEMU's, comments and a shell's first line aside."""
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    words = bare.split(maxsplit=3)[:3]
    return any(re.search(r"(^|/)(qemu-system-[\w]+|qemu-kvm|kvm)$", word) for word in words)


def machine_file(source: Source) -> Imported:
    """A machine file that starts this machine, on switches in place of QEMU's networks."""
    bare = "\n".join(line for line in source.text.splitlines() if not line.startswith("#"))
    words = shlex.split(bare.replace("\\\n", " "), comments=True)
    while words and "qemu" not in words[0] and not words[0].endswith("kvm"):
        # `exec`, `sudo` and the like.
        words.pop(0)
    program, *rest = words or ["qemu-system-x86_64"]
    read = QemuImport()
    while rest:
        option = rest.pop(0)
        option = "-" + option.lstrip("-") if option.startswith("-") else option
        alone = not option.startswith("-") or option in _ALONE or not rest
        _take(read, option, "" if alone else rest.pop(0))
    return Imported(_text(source, program, read), read.left_out)


def _take(read: QemuImport, option: str, value: str) -> None:
    first, *more = value.split(",")
    given = dict(each.partition("=")[::2] for each in more)
    if option == "-m":
        read.words.append(f"memory {_megabytes(first.removeprefix('size='))}")
    elif option in _FILES:
        read.words.append(f"{_FILES[option]} {quoted(value)}")
    elif option in _DISKS:
        read.words.append(f"disk {quoted(value)}")
    elif option == "-drive":
        _drive(read, value)
    elif option in _KVM and first == _KVM[option]:
        read.words.append("accel kvm")
    elif option == "-nic":
        read.nics.append({"model": given.get("model", ""), "mac": given.get("mac", ""), "net": value})
        _network(read, value, first, given)
    elif option == "-netdev":
        read.networks[given.get("id", "")] = value
        _network(read, f"-netdev {value}", first, given)
    elif option == "-net" and first == "nic":
        read.nics.append({"model": given.get("model", ""), "mac": given.get("macaddr", ""), "net": "vlan"})
    elif option == "-net":
        _network(read, f"-net {value}", first, given)
    elif option == "-device" and _NICS.match(first):
        read.nics.append({"model": first, "mac": given.pop("mac", ""), "net": given.pop("netdev", "")})
        read.left_out += [f"{first}: {name}={text}" for name, text in given.items() if name not in ("id", "")]
    elif option in OWN:
        read.left_out.append(f"{option} {value}".rstrip() + f": {OWN[option]}")
    elif not option.startswith("-"):
        read.words.append(f"disk {quoted(option)}")
    else:
        read.extra.append(f"{option} {value}".rstrip())


def _network(read: QemuImport, written: str, kind: str, given: dict[str, str]) -> None:
    forwards = [name for name in given if name in ("hostfwd", "guestfwd", "smb", "tftp")]
    what = {
        "user": "the switch has tmelink/passt in its place"
        + (f", without {forwards[0]}" if forwards else ""),
        "none": "the machine has no network",
    }.get(kind, "the machine is at a switch instead; connect the switch to what the network led to")
    read.left_out.append(f"{written}: {what}")


def _drive(read: QemuImport, value: str) -> None:
    given = dict(each.partition("=")[::2] for each in value.split(","))
    if "file" in given and set(given) <= {"file", "format", "if", "media", "index"}:
        read.words.append(f"disk {quoted(given['file'])}")
    else:
        read.extra.append(f"-drive {value}")


def _megabytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", text, re.IGNORECASE)
    if found is None:
        return 128
    return max(
        1, int(int(found[1]) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1 << 20}[found[2].upper()])
    )


def _text(source: Source, program: str, read: QemuImport) -> str:
    lines = [f"# Made from {source.name.rpartition('/')[2]} by tmelink import."]
    lines += [f"# Left out, {each}" for each in read.left_out]
    lines.append("")
    nets = list(dict.fromkeys(nic["net"] for nic in read.nics))
    for number, net in enumerate(nets):
        lines.append(f"sw{number}: tmelink/switch")
        if read.networks.get(net, net).startswith("user"):
            lines.append(f"outside{number} at sw{number}: tmelink/passt")
    extra = [f"extra {quoted(each)}" for each in read.extra]
    arguments = " \\\n    ".join([f"tmelink/qemu {quoted(program)}", *read.words, *extra])
    sides = [_side(nic, nets.index(nic["net"])) for nic in read.nics]
    lines.append(f"vm0{sides[0] if sides else ''}: {arguments}")
    lines += [f"vm0{side}" for side in sides[1:]]
    return "\n".join(lines) + "\n"


def _side(nic: dict[str, str], switch: int) -> str:
    model = f" model {quoted(nic['model'])}" if nic["model"] else ""
    mac = f" mac {quoted(nic['mac'])}" if nic["mac"] else ""
    return f"{model}{mac} at sw{switch}"
