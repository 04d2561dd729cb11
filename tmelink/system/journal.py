"""A journal of changes to the host that must be undone, written before each change is made.

A process that ends normally undoes its changes itself. After a process was killed, the next one that changes
anything in the same network namespace finds its journal unlocked, and undoes the changes. This module knows
lines of JSON, not what they mean.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_numbers = count()

Entry = list[Any]
"""How to undo one change: its kind, then the arguments of that kind."""


def directory() -> Path | None:
    """The directory of journals: below /run for root, otherwise in the user's runtime directory."""
    if os.geteuid() == 0:
        return Path("/run/tmelink")
    session = os.environ.get("XDG_RUNTIME_DIR")
    return None if session is None else Path(session) / "tmelink"


def namespace() -> str:
    """An identifier of the thread's network namespace, unique since the computer was started."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            cookie = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
    except OSError:
        # Before Linux 5.14 there is only an inode number, which may be reused.
        cookie = os.stat("/proc/thread-self/ns/net").st_ino
    return f"{boot}/{cookie}"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """A lock: no other process reads journals or makes journalled changes while the block runs."""
    folder = directory()
    if folder is None:
        yield
        return
    _make(folder)
    with open(folder / "lock", "w") as file:
        _lock(file.fileno(), wait=True)
        yield


class Journal:
    """The changes of one interface in the thread's namespace; a line is on disk before its change is made."""

    def __init__(self) -> None:
        folder = directory()
        self.entries: list[Entry] = []
        self.path: Path | None = None
        self._file: Any = None
        if folder is None:
            return
        _make(folder)
        self.path = folder / f"{os.getpid()}-{next(_numbers)}.undo"
        self._file = open(self.path, "w")  # noqa: SIM115 - it stays open, its lock says that we live
        _lock(self._file.fileno(), wait=True)
        self._file.write(json.dumps(namespace()) + "\n")
        self._file.flush()

    def note(self, entry: Entry) -> None:
        """Record how to undo the change that comes next."""
        self.entries.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def forget(self, entry: Entry) -> None:
        """Record that the change has been undone, or was not made."""
        self.entries.remove(entry)
        if self._file is not None and self.path is not None:
            # Appended, because a file that is rewritten is empty for a moment.
            self._file.write(json.dumps(["done", entry]) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Remove the journal: nothing is left to undo."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self.path = None
            self._file = None


def any_left() -> bool:
    """Whether there may be something to undo; this only looks at the directory."""
    folder = directory()
    return folder is not None and any(folder.glob("*.undo"))


def others(own: Path | None = None) -> Iterator[tuple[Path, list[Entry], bool]]:
    """Every other journal of the thread's namespace: its path, what is to be undone, and whether it is left.

    One that is left behind, its process gone, is the caller's to carry out and remove, under `alone`.
    """
    folder = directory()
    if folder is None or not folder.is_dir():
        return
    here = namespace()
    for path in sorted(folder.glob("*.undo")):
        if path == own:
            continue
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            left = _lock(file.fileno(), wait=False)
            lines = file.read().splitlines()
            where, entries = _read(lines)
            if where == here:
                yield path, entries, left
            elif left and (where is None or where.split("/")[0] != here.split("/")[0]):
                path.unlink(missing_ok=True)  # of before the computer was last started


def _read(lines: list[str]) -> tuple[str | None, list[Entry]]:
    """The namespace and the changes still to undo; the last line may be incomplete."""
    entries: list[Entry] = []
    where = None
    for number, line in enumerate(lines):
        try:
            value = json.loads(line)
        except ValueError:
            break
        if number == 0:
            where = str(value)
        elif value[0] == "done":
            with contextlib.suppress(ValueError):
                entries.remove(value[1])
        else:
            entries.append(value)
    return where, entries


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(f"{folder} is not safe: other users can write there")


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Take the lock of an open file; without `wait`, whether it was free."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
