"""`tmelink extcap`: Wireshark's extcap interface. Every connection of a running lab is an interface there.

Wireshark, tshark and dumpcap call the program with the arguments of extcap(4): first for the interfaces, then
to capture into a fifo. `--install` puts a small script that calls it where Wireshark looks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tmelink.cli import capture
from tmelink.cli.capture import Captured
from tmelink.cli.extcap_toolbar import CONTROLS, Toolbar
from tmelink.control import ControlError, connect, running
from tmelink.control.protocol import StreamItem
from tmelink.errors import TmelinkError
from tmelink.frame import Kind
from tmelink.inline.capture import SNAPLEN
from tmelink.inline.pcap_filter import PcapFilter

NAME = "extcap"
HELP = (
    "let Wireshark capture from running labs (extcap); --install lists each connection there as an interface"
)
EPILOG = """examples:
  tmelink extcap --install                     for yourself, or for all users as root
  tshark -D                                    lists 'tmelink:LAB:le0:link0'
  tshark -i tmelink:LAB:le0:link0 -f icmp      captures there, without privilege
  wireshark -k -i tmelink:LAB                  every connection of the lab at once

exit codes:
  0  done
  1  it failed"""

PREFIX = "tmelink:"

_DLT = {"ethernet": (1, "EN10MB", "Ethernet"), "ip": (12, "RAW", "Raw IP")}
_SCRIPT = "tmelink-extcap"


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--install", action="store_true", help="put a script where Wireshark finds it")
    parser.add_argument("--folder", metavar="DIR", type=Path, help="where --install puts it")
    parser.add_argument("--extcap-interfaces", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--extcap-version", metavar="VERSION", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--extcap-dlts", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--extcap-config", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--extcap-interface", metavar="NAME", default="", help=argparse.SUPPRESS)
    parser.add_argument("--extcap-capture-filter", metavar="EXPRESSION", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--extcap-control-in", metavar="FIFO", help=argparse.SUPPRESS)
    parser.add_argument("--extcap-control-out", metavar="FIFO", help=argparse.SUPPRESS)
    parser.add_argument("--capture", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--fifo", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--direction", choices=("in", "out", "both"), default="both", help=argparse.SUPPRESS)
    parser.add_argument("--snaplen", metavar="BYTES", type=int, default=SNAPLEN, help=argparse.SUPPRESS)
    parser.add_argument("--super-frames", action="store_true", help=argparse.SUPPRESS)


def main(options: argparse.Namespace) -> int:
    if options.install:
        return install(options.folder)
    if options.extcap_interfaces:
        interfaces()
    elif options.extcap_dlts:
        number, name, display = _DLT[_kind(options.extcap_interface)]
        print(f"dlt {{number={number}}}{{name={name}}}{{display={display}}}")
    elif options.extcap_config:
        print(_SETTINGS)
    elif options.capture:
        return _capture(options)
    elif options.extcap_capture_filter is not None:
        # Wireshark asks whether a filter is one: silence is a yes.
        try:
            PcapFilter(options.extcap_capture_filter, _kind(options.extcap_interface))
        except ValueError as error:
            print(error)
    else:
        print(
            "Wireshark calls this command; 'tmelink extcap --install' makes it known there", file=sys.stderr
        )
        return 1
    return 0


def interfaces() -> None:
    """Every connection of every running lab, and for each lab one interface for the whole lab."""
    print(f"extcap {{version={version('tmelink')}}}{{display=tmelink}}\n{CONTROLS}")
    for lab in running():
        # A lab that ends or is another user's is not there for this user.
        with contextlib.suppress(ControlError, OSError), connect(lab.name) as client:
            rows = client.call("connections")
            print(f"interface {{value={PREFIX}{lab.name}}}{{display=tmelink {lab.name}: every connection}}")
            for row in rows:
                value = f"{PREFIX}{lab.name}:{row['name']}"
                display = f"tmelink {lab.name}: {row['element']} at {row['other']}"
                print(f"interface {{value={value}}}{{display={display}}}")


_SETTINGS = f"""\
arg {{number=0}}{{call=--direction}}{{display=Direction}}{{type=selector}}
value {{arg=0}}{{value=both}}{{display=both directions}}{{default=true}}
value {{arg=0}}{{value=out}}{{display=what the first element sends}}{{default=false}}
value {{arg=0}}{{value=in}}{{display=what the first element receives}}{{default=false}}
arg {{number=1}}{{call=--snaplen}}{{display=Bytes kept of each frame}}{{type=unsigned}}{{default={SNAPLEN}}}
arg {{number=2}}{{call=--super-frames}}{{display=Whole super-frames}}{{type=boolflag}}{{default=false}}"""
"""The settings that Wireshark offers for an interface."""


def _kind(interface: str) -> Kind:
    lab, name = _split(interface)
    if not name:
        return "ethernet"
    with connect(lab) as client:
        kinds = {row["name"]: row["kind"] for row in client.call("connections")}
    return "ip" if kinds.get(name) == "ip" else "ethernet"


def _split(interface: str) -> tuple[str, str]:
    lab, _, name = interface.removeprefix(PREFIX).partition(":")
    return lab, name


def _capture(options: argparse.Namespace) -> int:
    lab, name = _split(options.extcap_interface)
    toolbar = Toolbar(options.extcap_capture_filter or "", options.direction)
    # Wireshark closes the fifo when it has had enough. What is on standard error it takes for a failure.
    with contextlib.suppress(BrokenPipeError), open(options.fifo, "wb") as fifo:
        toolbar.open(options.extcap_control_in, options.extcap_control_out)
        captured = Captured(fifo)
        again = True
        while again:
            again = _captured(lab, [name] if name else [], captured, toolbar, options)
    return 0


def _captured(
    lab: str, connections: list[str], captured: Captured, toolbar: Toolbar, options: argparse.Namespace
) -> bool:
    """Capture with the toolbar's settings; returns whether to continue because somebody changed them."""
    changed = threading.Event()
    with connect(lab) as client:

        def interrupt() -> None:
            changed.set()
            client.interrupt()

        toolbar.changed = interrupt
        asked = argparse.Namespace(
            connections=connections,
            filter=toolbar.filter,
            direction=toolbar.direction,
            snaplen=options.snaplen,
            count=0,
            super_frames=options.super_frames,
            wire=False,
        )
        try:
            captured.follow(_announced(capture.items(client, asked), toolbar))
        except ControlError as error:
            if not changed.is_set() and captured.connections and error.code:
                # A wrong filter in the toolbar: as before, until it is right.
                toolbar.warn(str(error))
                return changed.wait()
            if not changed.is_set() and not captured.connections:
                raise
    toolbar.status(captured.text())
    return changed.is_set()


def _announced(items: Iterator[StreamItem], toolbar: Toolbar) -> Iterator[StreamItem]:
    """The same items; the toolbar shows that the capture has begun when the first one arrives."""
    for number, item in enumerate(items):
        if number == 0:
            toolbar.status(f"capturing {toolbar.filter or 'everything'}")
        yield item


def install(folder: Path | None) -> int:
    """Write the script; says where it is."""
    folder = folder or _folder()
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / _SCRIPT
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tmelink extcap "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    print(f"{script}: Wireshark lists the connections of running labs from its next start on")
    return 0


def _folder() -> Path:
    """Wireshark's own folder for all users where it can be written to, otherwise the user's."""
    found: dict[str, Path] = {}
    program = shutil.which("tshark") or shutil.which("wireshark")
    if program is not None:
        listed = subprocess.run(
            [program, "-G", "folders"], capture_output=True, text=True, check=False, timeout=30
        )
        for line in listed.stdout.splitlines():
            title, _, path = line.partition(":")
            if "extcap path" in title.lower():
                found[title.strip().lower()] = Path(path.strip())
    personal = found.get("personal extcap path", Path.home() / ".local/lib/wireshark/extcap")
    shared = found.get("extcap path") or found.get("global extcap path")
    if shared is not None and os.access(shared.parent, os.W_OK):
        return shared
    if "extcap path" in found and "personal extcap path" not in found:
        raise TmelinkError(
            f"this Wireshark looks for such programs only in {shared}: run this as root, or name another "
            "folder with --folder and set WIRESHARK_EXTCAP_DIR to it"
        )
    return personal
