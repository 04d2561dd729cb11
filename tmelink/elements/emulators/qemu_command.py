"""QEMU's command line, from a machine file's arguments.

No I/O. Options are those of qemu-system(1) since QEMU 7.2, which brought `-netdev stream` and `dgram`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tmelink import ethernet, values
from tmelink.arguments import ArgumentError, keyword, keywords, positional
from tmelink.elements.emulators.supervisor import ALWAYS, NEVER, ON_FAILURE

ONBOARD = "onboard"
"""The model name for a NIC that is built into the emulated machine, such as a SPARCstation's LANCE."""

PTY, LOG = "pty", "log"


def extra(word: str) -> tuple[str, ...]:
    """QEMU's own arguments, separated by blanks and quoted as in a shell."""
    try:
        return tuple(shlex.split(word))
    except ValueError as error:
        raise ValueError(f"'{word}': {error}") from None


def _memory(word: str) -> int:
    return values.integer(1, 1 << 20, "memory")(word.removesuffix("MB").removesuffix("M"))


def _format(word: str) -> str:
    return values.choice("stream", "dgram")(word)


@dataclass(frozen=True)
class QemuNic:
    """A NIC's arguments in a machine file, on the machine's side of `at`."""

    model: str = keyword(
        "MODEL", values.text, default="", help="the card, as QEMU names it; by default the machine's `model`"
    )
    mac: bytes | None = keyword(
        "MAC", values.unicast_mac, default=None, help="its MAC address; by default always the same one"
    )
    format: str = keyword(
        "stream|dgram", _format, default="stream", help="which of QEMU's netdevs carries its frames"
    )


@dataclass(frozen=True)
class Arguments:
    """A machine that QEMU emulates."""

    binary: str = positional(
        "BINARY", values.text, default="qemu-system-x86_64", help="QEMU's program for the machine's CPU"
    )
    memory: int = keyword("MEGABYTES", _memory, default=128, help="its memory (128)")
    kernel: str | None = keyword("FILE", values.text, default=None, help="a kernel to start directly")
    initrd: str | None = keyword("FILE", values.text, default=None, help="its initial RAM disk")
    append: str | None = keyword("TEXT", values.text, default=None, help="its command line")
    disk: tuple[str, ...] = keywords(
        "FILE", values.text, help="a disk's image, raw or .qcow2; may be given several times"
    )
    model: str = keyword(
        "MODEL",
        values.text,
        default="virtio-net-pci",
        help="the NICs' model (virtio-net-pci), as `-device help` names it, or 'onboard' for those that the "
        "emulated machine has",
    )
    console: str = keyword(
        "pty|log|PATH",
        values.text,
        default=PTY,
        help="its serial console: a terminal (pty), lines in tmelink's log, or a unix socket at PATH",
    )
    display: str = keyword(
        "DISPLAY", values.text, default="none", help="its screen, as for `-display` (none)"
    )
    accel: str = keyword(
        "tcg|kvm",
        values.choice("tcg", "kvm"),
        default="tcg",
        help="how its CPU runs: translated, which works everywhere (tcg), or on this computer's own (kvm)",
    )
    restart: str = keyword(
        "never|on-failure|always",
        values.choice(NEVER, ON_FAILURE, ALWAYS),
        default=ON_FAILURE,
        help="when to start QEMU again after it ended (on-failure)",
    )
    user: str | None = keyword(
        "NAME",
        values.text,
        default=None,
        help="the user QEMU runs as; if root runs tmelink, by default tmelink, or else nobody",
    )
    extra: tuple[tuple[str, ...], ...] = keywords(
        "WORDS", extra, help="further arguments for QEMU itself, in quotes; may be given several times"
    )

    def __post_init__(self) -> None:
        for name in ("initrd", "append"):
            if getattr(self, name) is not None and self.kernel is None:
                raise ArgumentError(name, f"'{name}' is for a 'kernel', which is missing")
        if self.console not in (PTY, LOG) and "/" not in self.console:
            raise ArgumentError(
                "console", f"'{self.console}' is neither pty nor log nor a path (a path contains a slash)"
            )


@dataclass(frozen=True)
class Handed:
    """What QEMU is given open, since its user may not be able to open it: descriptors, by path of the file.

    `plain` are files that are read once, `disks` have a descriptor for reading and, where it can be had, one
    for reading and writing; `console` is a socket that listens.
    """

    plain: Mapping[str, int] = field(default_factory=dict)
    disks: Mapping[str, Sequence[int]] = field(default_factory=dict)
    console: int | None = None


NOTHING = Handed()


@dataclass(frozen=True)
class Wiring:
    """One NIC as it is plugged in: the descriptor of its socket, and what kind of socket that is."""

    fd: int
    format: str
    model: str
    mac: bytes


def command(
    arguments: Arguments,
    wirings: Sequence[Wiring],
    *,
    name: str,
    qmp: int,
    console: int | None,
    handed: Handed = NOTHING,
) -> list[str]:
    """The words that start QEMU; `qmp` and `console` are descriptors."""
    words = [arguments.binary, "-name", f"guest={_escaped(name.strip('/'))}", "-nodefaults"]
    words += ["-no-user-config", "-display", arguments.display, "-m", f"{arguments.memory}M"]
    words += ["-accel", arguments.accel]
    if arguments.display != "none":
        words += ["-vga", "std"]
    for option, value in (("-kernel", arguments.kernel), ("-initrd", arguments.initrd)):
        if value is not None:
            words += [option, f"/proc/self/fd/{handed.plain[value]}" if value in handed.plain else value]
    if arguments.append is not None:
        words += ["-append", arguments.append]
    for number, disk in enumerate(arguments.disk):
        kind = "qcow2" if disk.endswith(".qcow2") else "raw"
        file = _escaped(disk)
        for fd in handed.disks.get(disk, ()):
            # QEMU takes the one that suits how it opens the file (qemu-system(1), -add-fd).
            words += ["-add-fd", f"fd={fd},set={number + 1}"]
            file = f"/dev/fdset/{number + 1}"
        words += ["-drive", f"file={file},format={kind},index={number},media=disk"]
    words += ["-chardev", f"socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control"]
    words += ["-chardev", _console(arguments.console, console, handed.console), "-serial", "chardev:console"]
    for number, wiring in enumerate(wirings):
        words += _nic(number, wiring)
    return words + [word for group in arguments.extra for word in group]


def _console(console: str, fd: int | None, listening: int | None) -> str:
    if listening is not None:
        return f"socket,id=console,fd={listening},server=on,wait=off"
    if fd is not None:
        return f"socket,id=console,fd={fd}"
    return f"socket,id=console,path={_escaped(console)},server=on,wait=off"


def _nic(number: int, wiring: Wiring) -> list[str]:
    netdev = f"n{number}"
    end = "addr" if wiring.format == "stream" else "local"
    words = ["-netdev", f"{wiring.format},id={netdev},{end}.type=fd,{end}.str={wiring.fd}"]
    mac = ethernet.text(wiring.mac)
    if wiring.model == ONBOARD:
        return [*words, "-net", f"nic,netdev={netdev},macaddr={mac}"]
    return [*words, "-device", f"{wiring.model},netdev={netdev},mac={mac}"]


def _escaped(text: str) -> str:
    """A value in one of QEMU's lists, in which a comma is doubled."""
    return text.replace(",", ",,")
