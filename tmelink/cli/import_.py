"""`tmelink import FILE`: another program's configuration as a machine file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tmelink import values
from tmelink.cli import key_files, streams
from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError
from tmelink.importers import Imported, hecnet, openvpn_file, qemu_line
from tmelink.source import Source

NAME = "import"
HELP = "turn a configuration of OpenVPN, QEMU or HECnet's bridge into a machine file"
EPILOG = epilog(
    ("tmelink import client.ovpn > lab.conf", "OpenVPN; inline keys become files beside it"),
    ("tmelink import start-vm.sh > lab.conf", "a file with the command line of QEMU"),
    ("tmelink import bridge.conf > hecnet.conf", "HECnet's bridge"),
    ("tmelink check lab.conf", "then: look at the result"),
)

KINDS = ("openvpn", "qemu", "hecnet")


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the configuration")
    parser.add_argument(
        "--kind", choices=KINDS, help="the format of the file (by default, its content decides)"
    )
    parser.add_argument(
        "--port",
        type=values.port,
        default=hecnet.DEFAULT_PORT,
        help=f"for HECnet's bridge: the UDP port that it was started with ({hecnet.DEFAULT_PORT})",
    )
    key_files.declare(parser)


def main(options: argparse.Namespace) -> int:
    path: Path = options.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TmelinkError(f"{path}: {error.strerror}") from error
    imported = _imported(path, data, options)
    for name, content in imported.files.items():
        key_files.write(name, content, force=options.force)
        streams.complain(f"wrote {name}")
    sys.stdout.write(imported.text)
    for each in imported.left_out:
        streams.complain(f"{path}: left out, {each}")
    return 0


def _imported(path: Path, data: bytes, options: argparse.Namespace) -> Imported:
    text = data.decode("utf-8", "replace")
    kind = options.kind or _kind(text)
    if kind == "openvpn":
        return openvpn_file.machine_file(path, data, lambda name: Path(name).read_bytes())
    if kind == "qemu":
        return qemu_line.machine_file(Source(str(path), text))
    return Imported(hecnet.machine_file(Source(str(path), text), options.port))


def _kind(text: str) -> str:
    if qemu_line.is_command(text):
        return "qemu"
    return "hecnet" if any(line.strip() == "[bridge]" for line in text.splitlines()) else "openvpn"
