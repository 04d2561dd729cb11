"""`tmelink service install FILE`: run a lab as a service of systemd's."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

from tmelink.cli import files, streams
from tmelink.cli.addresses import listen_address
from tmelink.cli.examples import epilog
from tmelink.control import lab_names
from tmelink.deploy.unit import unit
from tmelink.errors import TmelinkError

NAME = "service"
HELP = "run a lab as a service: write a hardened systemd unit for a file, and enable it"
EPILOG = epilog(
    ("tmelink service install lab.conf", "write the unit, and start the lab now and at every boot"),
    ("tmelink service install lab.conf --print", "show the unit, and write nothing"),
    ("systemctl reload tmelink-lab", "read the file again and change what differs"),
    ("tmelink service remove lab", "stop it, and remove the unit"),
)

UNITS = Path("/etc/systemd/system")


def declare(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    install = actions.add_parser("install", help="write and enable the unit of a file")
    files.declare(install)
    install.add_argument(
        "--name", metavar="NAME", type=files.argument(lab_names.valid_name), help="the lab's name"
    )
    install.add_argument(
        "--metrics",
        metavar="ADDR:PORT",
        type=files.argument(listen_address),
        help="answer Prometheus there, as 'tmelink run --metrics' does",
    )
    install.add_argument("--print", action="store_true", help="print the unit and do nothing")
    install.add_argument(
        "--no-start", action="store_true", help="write the unit, and neither enable nor start it"
    )
    remove = actions.add_parser("remove", help="stop a lab's service and remove its unit")
    remove.add_argument(
        "name", metavar="NAME", type=files.argument(lab_names.valid_name), help="the lab's name"
    )
    for action in (install, remove):
        action.add_argument(
            "--directory", metavar="DIR", type=Path, default=UNITS, help=f"where units are ({UNITS})"
        )


def main(options: argparse.Namespace) -> int:
    return _install(options) if options.action == "install" else _remove(options)


def _install(options: argparse.Namespace) -> int:
    if options.file == "-":
        raise TmelinkError("a service needs a file: it cannot read standard input again")
    machine = files.read(options, network_only=False)
    if note := files.forgotten_host(options, machine):
        streams.complain(f"{options.file}: warning: {note}")
    name = options.name or lab_names.name_of(options.file, options.host)
    metrics = None if options.metrics is None else str(options.metrics)
    text = unit(machine, Path(os.path.abspath(options.file)), name, options.host, metrics=metrics)
    if options.print:
        print(text, end="")
        return 0
    path = _path(options.directory, name)
    try:
        path.write_text(text)
    except OSError as error:
        raise TmelinkError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}")
    if not options.no_start:
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", path.name)
        print(
            f"{path.name} runs, and will at every boot; 'systemctl reload {path.name}' applies the file anew"
        )
    return 0


def _remove(options: argparse.Namespace) -> int:
    path = _path(options.directory, options.name)
    if not path.exists():
        raise TmelinkError(f"there is no {path}")
    if options.directory == UNITS:
        _systemctl("disable", "--now", path.name)
    path.unlink()
    if options.directory == UNITS:
        _systemctl("daemon-reload")
    print(f"removed {path}")
    return 0


def _path(directory: Path, name: str) -> Path:
    return directory / f"tmelink-{name}.service"


def _systemctl(*words: str) -> None:
    program = shutil.which("systemctl")
    if program is None:
        raise TmelinkError("systemctl was not found: the unit was written, but not started")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise TmelinkError(f"systemctl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
