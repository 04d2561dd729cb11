"""Warnings about what a file leaves undone: elements without a connection, and files that are missing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from tmelink.element import Element
from tmelink.elements.emulators.process import Process
from tmelink.elements.emulators.qemu import Qemu
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.machine import CheckedMachine
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.secret import Material
from tmelink.source import Mistake, Place

ALONE = (Process, Qemu, Server)
"""Elements of use without a connection: programs, and a server whose clients speak with each other."""


def leftovers(machine: CheckedMachine) -> Iterator[Mistake]:
    """Every such warning of a machine."""
    if not machine.elements and not machine.not_emulated:
        place = Place(machine.source, 1, 1)
        if machine.host is None and machine.hosts:
            yield Mistake(place, "no host of this file has an element")
        elif machine.host is not None:
            yield Mistake(place, f"host {machine.host} has no element")
        else:
            yield Mistake(
                place, "this file creates no element", "write NAME: MODULE; see docs/quick-start.md"
            )
    for path, element in machine.elements.items():
        yield from _unconnected(element, machine.places[path])
        if isinstance(element, Link | Server) and (machine.host is not None or not machine.hosts):
            # Where all hosts of a file are checked, a file need only be on the one that reads it.
            yield from _missing(element, machine.places[path])


def _unconnected(element: Element, place: Place) -> Iterator[Mistake]:
    if element.ports or element.capacity == 0 or isinstance(element, ALONE):
        return
    yield Mistake(
        place,
        f"{element.name} is connected to nothing",
        f"write '{element.name} at OTHER', or connect another element to it",
    )


def _missing(element: Link | Server, place: Place) -> Iterator[Mistake]:
    """Files and directories that do not exist, or that this user may not read."""
    if element.arguments.awaits_keys:
        return  # Its keys are made when the file is deployed.
    for option, material in _materials(element.arguments):
        if material.path is None or os.access(material.path, os.R_OK):
            continue
        there = os.path.exists(material.path)
        message = "may not be read by you" if there else "does not exist"
        yield Mistake(place, f"{element.name}: the file of --{option}, {material.path}, {message}")
    share = element.arguments.port_share
    if share is not None and share.directory is not None and not os.path.isdir(share.directory):
        message = "is not a directory" if os.path.exists(share.directory) else "does not exist"
        yield Mistake(
            place,
            f"{element.name}: the directory of --port-share, {share.directory}, {message}",
            f"make it: mkdir {share.directory}",
        )


def _materials(options: Options) -> Iterator[tuple[str, Material]]:
    holders: list[Any] = [options]
    while holders:
        holder = holders.pop()
        for field in dataclasses.fields(holder):
            value = getattr(holder, field.name)
            if isinstance(value, Material):
                yield field.name.replace("_", "-"), value
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                holders.append(value)
