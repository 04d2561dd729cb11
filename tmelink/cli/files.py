"""The machine file on the command line: a path, or `-` for standard input."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tmelink.cli import completers, streams
from tmelink.machine import CheckedMachine, load

T = TypeVar("T")


def argument(read: Callable[[str], T]) -> Callable[[str], T]:
    """Converts a word for argparse, which then shows the message of an exception, not a type name."""

    def convert(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def declare(parser: argparse.ArgumentParser) -> None:
    """Add FILE and --host, which every command that reads a machine file takes."""
    parser.add_argument("file", metavar="FILE", help="the machine file, or - for standard input")
    declare_host(parser, "only the part of the file for this host")


def declare_host(parser: argparse.ArgumentParser, help: str) -> None:
    """Add --host, for a host that the file names."""
    completers.offer(parser.add_argument("--host", metavar="NAME", help=help), completers.hosts)


def read(options: argparse.Namespace, *, network_only: bool = True) -> CheckedMachine:
    """The machine that the options name; raises `MachineError` with every mistake in it."""
    if options.file == "-":
        # A text without a line end would be taken for a file's name.
        return load(f"{streams.read()}\n", host=options.host, network_only=network_only, name="<stdin>")
    return load(Path(options.file), host=options.host, network_only=network_only)


def again(options: argparse.Namespace, machine: CheckedMachine) -> Callable[[], CheckedMachine]:
    """A function that reads the machine's file again; standard input is read only once, so its text stays."""

    def reload() -> CheckedMachine:
        network_only = machine.network_only
        if options.file == "-":
            text = machine.source.text
            return load(text, host=options.host, network_only=network_only, name="<stdin>")
        return load(Path(options.file), host=options.host, network_only=network_only)

    return reload


def not_emulated(machine: CheckedMachine) -> str:
    """The sentence about TME's parts that tmelink does not emulate; empty if the file has none."""
    if not machine.not_emulated:
        return ""
    parts = ", ".join(f"{path.lstrip('/')} ({module})" for path, module in machine.not_emulated.items())
    return f"not emulated by tmelink: {parts}"


def forgotten_host(options: argparse.Namespace, machine: CheckedMachine) -> str:
    """The sentence about a file for several hosts that all run here; empty if --host says which."""
    if options.host is not None or len(machine.hosts) < 2:
        return ""
    return (
        f"the file is for the hosts {', '.join(machine.hosts)}, and all run here: --host NAME runs one's part"
    )
