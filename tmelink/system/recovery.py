"""Undoes what is written in journals: what this process has done, and what one that was killed has left.

Knows every kind of entry, and calls whoever knows how to take it back; see `journal` for where they stand.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path
from typing import Any

from tmelink.errors import ElementError
from tmelink.system import interfaces, journal, remains, sysctls, tuntap
from tmelink.system.journal import Entry, Journal

_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL)
"""What the kernel says of something to be removed that is not there (any more)."""

RESOLVCONF_SECONDS = 10
"""For resolvconf to forget an interface: it writes a small file, and then runs the system's hooks."""

CALLS = ("addr", "route", "rule", "neigh", "link")
"""Those of IPRoute's that entries may name; a journal asks for nothing else of the kernel."""


def recover() -> None:
    """Undo what killed processes left behind in this namespace, and in those that are gone.

    Where another process keeps the journals, it stays for the next start: no start fails for that.
    """
    if journal.any_left():
        try:
            with journal.alone():
                recover_alone()
        except journal.LockedError as error:
            journal.log.warning("what a killed run left behind stays until the next start: %s", error)


def recover_alone() -> None:
    """The same for a caller that is `alone`; what cannot be undone is left out, and the rest goes on."""
    for path, entries, is_left in list(journal.others()):
        if is_left:
            _undo_journal(path, entries)
    for path, entries in list(journal.of_gone_namespaces()):
        # The kernel has taken its interfaces, routes and settings along; files it has not.
        _undo_journal(path, [entry for entry in entries if entry[0] in remains.KINDS])


def _undo_journal(path: Path, entries: list[Entry]) -> None:
    # Away first: a setting is not to be kept for the sake of this very journal.
    path.unlink(missing_ok=True)
    if not entries:
        return
    with interfaces.netlink("undoing what a killed process left behind") as ip:
        for entry in reversed(entries):
            try:
                back(ip, entry, None)
            except (ElementError, OSError, TypeError, ValueError, KeyError, IndexError) as error:
                journal.log.warning("what a killed run left behind stays: %s: %s", entry, error)


def back(ip: Any, entry: Entry, own: Journal | None) -> None:
    """Undo one entry with an rtnetlink socket; raises `ElementError`, but not for what is gone already."""
    kind, *rest = entry
    if kind == "sysctl":
        if not str(rest[0]).startswith("net/") or ".." in rest[0]:
            raise ElementError(f"a journal is about the network, and {rest[0]} is not of it")
        sysctls.restore(entry, own)
    elif kind in remains.KINDS:
        remains.undo(entry)
    elif kind == "resolvconf":
        _forget_names(str(rest[0]))
    elif kind == "tun":
        tuntap.set_features(*rest)
    elif kind in CALLS:
        command, arguments = rest if len(rest) == 2 else ("set" if kind == "link" else "del", rest[0])
        try:
            call(ip, kind, command, arguments)
        except ElementError as error:
            if not isinstance(error.__cause__, Exception) or code(error.__cause__) not in _GONE:
                raise
    else:
        raise ElementError(f"a journal of another version: {kind}")


def _forget_names(device: str) -> None:
    """Take back the name servers of an interface that is gone."""
    with contextlib.suppress(FileNotFoundError):
        words = ["resolvconf", "-d", device]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=RESOLVCONF_SECONDS)


def call(ip: Any, call: str, command: str, arguments: dict[str, Any]) -> None:
    """`IPRoute.<call>(command, **arguments)`; raises `ElementError` with the kernel's refusal."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        getattr(ip, call)(command, **arguments)
    except NetlinkError as error:
        if error.code == errno.EPERM:
            raise
        shown = {k: v for k, v in arguments.items() if k not in ("family", "proto", "protocol", "scope")}
        what = " ".join(f"{key} {value}" for key, value in shown.items())
        raise ElementError(
            f"the kernel refuses '{call} {command} {what}': {os.strerror(error.code)}"
        ) from error


def code(error: BaseException) -> int:
    """The errno of a refusal of the kernel's, 0 for anything else."""
    return int(getattr(error, "code", 0))
