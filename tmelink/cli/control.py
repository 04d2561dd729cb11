"""`tmelink control NAME`: a running lab's control socket on standard input and output."""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys

from tmelink.cli import completers, labs
from tmelink.control import NotRunning, lab_names
from tmelink.errors import TmelinkError

NAME = "control"
HELP = "pass a running lab's control protocol through standard input and output"
EPILOG = labs.epilog(
    ("ssh north tmelink control lab", "for a program: the control socket of a lab on another host"),
)

CHUNK = 1 << 16


def declare(parser: argparse.ArgumentParser) -> None:
    name = parser.add_argument("name", metavar="NAME", help="the lab's name, as 'tmelink ps' lists it")
    completers.offer(name, completers.labs)


def main(options: argparse.Namespace) -> int:
    if lab_names.find(options.name) is None:
        raise NotRunning(f"no lab named '{options.name}' is running")
    with socket.socket(socket.AF_UNIX) as lab:
        try:
            lab.connect(os.fspath(lab_names.socket_path(options.name)))
        except OSError as error:
            raise TmelinkError(
                f"lab '{options.name}' cannot be reached: {error.strerror or error}"
            ) from error
        _pass_on(lab)
    return 0


def _pass_on(lab: socket.socket) -> None:
    """Both directions, until one side has ended."""
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    while True:
        ready, _, _ = select.select([stdin, lab], [], [])
        for each in ready:
            data = os.read(stdin, CHUNK) if each == stdin else lab.recv(CHUNK)
            if not data:
                return
            if each == stdin:
                lab.sendall(data)
            while each == lab and data:
                data = data[os.write(stdout, data) :]
