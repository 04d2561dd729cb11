"""`tmelink init FILE`: a first machine file and its keys, from a few questions or from options."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tmelink import values
from tmelink.cli import files, key_files, streams
from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError
from tmelink.machine import load
from tmelink.openvpn.tls import keygen
from tmelink.tmesh.host_access import NO_ADDRESS

NAME = "init"
HELP = "write a first machine file and its keys; asks which hosts and emulators there are"
EPILOG = epilog(
    ("tmelink init lab.conf", "ask a few questions, then write lab.conf and a key for each host"),
    ("tmelink init lab.conf --at home=203.0.113.7:tap,simh --at friend=none:tap", "without questions"),
    ("tmelink check lab.conf --host home", "then: look at the result"),
)

EMULATORS: dict[str, tuple[str, str]] = {
    "tap": ("tme/host/tun/tap interface tap0", "this computer itself, as the interface tap0; needs root"),
    "bridge": ("tme/host/tun/tap interface tap0 bridge br0", "what is in the bridge br0; needs root"),
    "simh": (
        'tmelink/udp local "127.0.0.1:5001" remote "127.0.0.1:5002"',
        "attach xq udp:5002:localhost:5001",
    ),
    "qemu": ('tmelink/qemu/stream server "127.0.0.1:5010"', "-netdev stream,...,addr.port=5010"),
    "vde": ("tmelink/vde listen lab.vde", "vde_plug, or QEMU's -netdev vde,sock=lab.vde"),
    "86box": ("tmelink/86box", "86Box's network 'local switch'"),
    "host": ("tmelink/host", "a built-in machine, which answers pings"),
}
"""What may be at a host's switch: how it is written, and what to tell the emulator."""

FIRST_PORT = 1194
LINK = "tme/host/openvpn/socket/link"
T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,30}")


@dataclass(frozen=True)
class Site:
    """A computer: its name, its address for the others if it has one, and what is at its switch."""

    name: str
    address: str | None
    emulators: tuple[str, ...]


def site(text: str) -> Site:
    """`NAME=ADDRESS:EMULATOR,…`, with `none` for a host that nobody can call; `ValueError` with a remedy."""
    found = re.fullmatch(r"([^=]+)=(\[[^]]+\]|[^:]+)(?::(.*))?", text)
    if found is None:
        raise ValueError(f"'{text}' is not a host: write NAME=ADDRESS:tap,simh or NAME=none:tap")
    if not _NAME.fullmatch(found[1]):
        raise ValueError(f"'{found[1]}' is not a name: write letters, digits and dashes")
    where = found[2].strip("[]")
    address = None if where == NO_ADDRESS else values.host(where)
    return Site(found[1], address, _emulators(found[3] or ""))


def _emulators(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(filter(None, re.split(r"[,\s]+", text))))
    for word in words:
        if word not in EMULATORS:
            raise ValueError(f"unknown emulator '{word}': there are {', '.join(EMULATORS)}")
    return words


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the machine file to write")
    parser.add_argument(
        "--at",
        metavar="NAME=ADDRESS:EMULATORS",
        type=files.argument(site),
        action="append",
        default=[],
        help="a host; give one for each, and tmelink asks nothing; "
        "write none as the ADDRESS of a host that nobody can call",
    )
    key_files.declare(parser)


def main(options: argparse.Namespace) -> int:
    path: Path = options.file
    sites = options.at or _asked()
    if path.exists() and not options.force:
        raise TmelinkError(f"{path} already exists; --force overwrites it")
    if len({each.name for each in sites}) < len(sites):
        raise TmelinkError("two hosts have the same name")
    hub = next((each for each in sites if each.address is not None), None)
    if hub is None and len(sites) > 1:
        raise TmelinkError(
            "no host has an address that the others can call: give one such an address, or rent a server "
            "(docs/howto-no-public-address.md)"
        )
    prints = {}
    for each in sites if len(sites) > 1 else ():
        pair = keygen.generate(each.name, time.time())
        key_files.write(str(path.with_name(f"{each.name}.key")), pair.private_key, force=options.force)
        certificate = str(path.with_name(f"{each.name}.crt"))
        key_files.write(certificate, pair.certificate, force=options.force, mode=key_files.PUBLIC)
        prints[each.name] = pair.fingerprint
    text = machine_file(sites, hub, prints)
    path.write_text(text)
    for each in sites:
        load(path, host=each.name)
    keys = f", and a key and a certificate for {', '.join(prints)}" if prints else ""
    streams.say(f"wrote {path}{keys}")
    for each in sites:
        streams.say(f"on {each.name}: tmelink run {path.name} --host {each.name}")
    return 0


def machine_file(sites: Sequence[Site], hub: Site | None, prints: dict[str, str]) -> str:
    """The file, with a block for each host: a switch, what is at it, and the links to the hub."""
    lines = ["# Made by tmelink init.", "#"]
    lines.append(
        "# Copy this file to each host, with that host's own NAME.key and NAME.crt beside it. Keep a"
    )
    lines.append("# key secret, and delete it elsewhere. Then, on each: tmelink run FILE --host NAME")
    spokes = [each for each in sites if each is not hub]
    for number, each in enumerate(sites, 1):
        lines += ["", f"host {each.name} address {each.address or NO_ADDRESS} {{"]
        lines += [f"    {line}".rstrip() for line in _block(each, number, hub, spokes, prints)]
        lines.append("}")
    return "\n".join(lines) + "\n"


def _block(
    here: Site, number: int, hub: Site | None, spokes: Sequence[Site], prints: dict[str, str]
) -> list[str]:
    switch = f"{here.name}-switch"
    lines = ["# Everything at this switch is on one Ethernet.", f"{switch}: tmelink/switch"]
    for emulator in here.emulators:
        written, told = EMULATORS[emulator]
        inet = f" inet 10.77.0.{number}/24" if emulator in ("tap", "host") else ""
        lines += ["", f"# {told}", f"{here.name}-{emulator} at {switch}: {written}{inet}"]
    ends = [(spoke, FIRST_PORT + at) for at, spoke in enumerate(spokes if hub is not None else ())]
    for spoke, port in ends if here is hub else [end for end in ends if end[0] is here]:
        other = spoke if here is hub else hub
        assert other is not None
        calls = f"--tls-client --nobind --remote {other.address} {port}"
        side = f"--tls-server --lport {port}" if here is hub else calls
        lines += [
            "",
            f"# Open UDP port {port} in the firewall and the router." if here is hub else "# This end calls.",
            f"{here.name}-{other.name} at {switch}: {LINK} --dev tap --keepalive 10 60 \\",
            f"    {side} --key {here.name}.key --cert {here.name}.crt \\",
            f"    --peer-fingerprint {prints[other.name]}",
        ]
    return lines


def _asked() -> list[Site]:
    """The answers for each host, until a name is empty."""
    if not streams.is_terminal():
        raise TmelinkError("there is nobody to ask here: give each host as --at NAME=ADDRESS:EMULATORS")
    sites: list[Site] = []
    while True:
        which = "another host (empty to finish)" if sites else "the first host"
        name = _ask(f"Name of {which}: ", lambda text: site(f"{text}=none").name if text or not sites else "")
        if not name:
            return sites
        address = _ask(
            "Address by which others can call it (none): ",
            lambda text: site(f"{name}={text or NO_ADDRESS}").address,  # noqa: B023
        )
        known = ", ".join(EMULATORS)
        emulators = _ask(f"Emulators there ({known}): ", _emulators)
        sites.append(Site(name, address, emulators))


def _ask(question: str, read: Callable[[str], T]) -> T:
    while True:
        try:
            return read(input(question).strip())
        except EOFError as error:
            raise TmelinkError("the input ended; nothing was written") from error
        except ValueError as error:
            streams.complain(error)
