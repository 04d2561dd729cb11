"""A journal of changes to the host that must be undone, written before each change is made.

A process that ends in the ordinary way undoes its changes itself. After one that was killed, the next one in
the same network namespace finds its journal, whose lock nobody holds any more, and does it (`recovery`).
Knows lines of JSON, and not what they mean.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tmelink.errors import ElementError

_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_numbers = count()

Entry = list[Any]
"""How to undo one change: its kind, then the arguments of that kind."""


log = logging.getLogger("tmelink.journal")

LOCK_SECONDS = 5.0
"""How long another process may keep the journals for itself: it takes milliseconds, unless it was stopped."""

owner: int | None = None
"""The user that the process becomes later (`tmelink run --user`), who is to write here then."""

kept = True
"""Whether changes are written down at all; `tmelink run --no-journal` says no."""


def directory() -> Path | None:
    """Where journals are: of root's below /run, otherwise where the user's session keeps such things.

    None if none are kept.
    """
    if not kept:
        return None
    if owner is not None:
        return Path(f"/run/tmelink-{owner}")
    if os.geteuid() == 0:
        return Path("/run/tmelink")
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session is not None:
        return Path(session) / "tmelink"
    return Path(tempfile.gettempdir()) / f"tmelink-journals-{os.geteuid()}"


def namespace() -> str:
    """An identifier of the thread's network namespace, unique since the computer was started."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            cookie = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
    except OSError:
        cookie = 0  # before Linux 5.14
    # The number alone may be given again, but it is by this that one is found to be gone.
    return f"{boot}/{cookie}/{os.stat('/proc/thread-self/ns/net').st_ino}"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """A lock: no other process reads journals or makes journalled changes while the block runs."""
    folder = directory()
    if folder is None:
        yield
        return
    _make(folder)
    try:
        lock = open(folder / "lock", "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock as file:
        _hand_over(folder / "lock")
        until = time.monotonic() + LOCK_SECONDS
        while not _lock(file.fileno(), wait=False):
            if time.monotonic() > until:
                raise LockedError(
                    f"another process has kept {folder}/lock for {LOCK_SECONDS:g} s; 'fuser {folder}/lock' "
                    "shows which: end that one"
                )
            time.sleep(0.01)
        yield


class LockedError(ElementError):
    """Another process keeps the journals for itself."""


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
        try:
            self._file = open(self.path, "w")  # noqa: SIM115 - it stays open, its lock says that we live
        except OSError as error:
            raise _unwritable(folder, error) from error
        _hand_over(self.path)
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
        """Nothing more is noted; what is left in it is for whoever recovers."""
        if self.path is not None:
            if not self.entries:
                self.path.unlink(missing_ok=True)
            self._file.close()
            self.path = None
            self._file = None


def any_left() -> bool:
    """Whether a killed process has left something to undo here. Nobody has to wait for that."""
    folder = directory()
    here, standing = namespace(), None
    try:
        for path in [] if folder is None else folder.glob("*.undo"):
            with contextlib.suppress(FileNotFoundError), open(path) as file:
                if not _lock(file.fileno(), wait=False, shared=True):
                    continue
                where, _entries = _read(file.read().splitlines())
                if where is None:
                    continue
                if where == here or where.split("/")[0] != here.split("/")[0]:
                    return True
                standing = _standing() if standing is None else standing
                if standing and where.rpartition("/")[2] not in standing:
                    return True
    except PermissionError:
        pass  # another user's, whom this one has its environment from
    return False


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


def of_gone_namespaces() -> Iterator[tuple[Path, list[Entry]]]:
    """Journals that are left of namespaces which neither a process nor a name keeps any more."""
    folder = directory()
    if folder is None or not folder.is_dir():
        return
    standing: set[str] | None = None
    here = namespace()
    for path in sorted(folder.glob("*.undo")):
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            if not _lock(file.fileno(), wait=False):
                continue
            where, entries = _read(file.read().splitlines())
            if where is None or where == here:
                continue
            if standing is None:
                standing = _standing()
            if standing and where.rpartition("/")[2] not in standing:
                yield path, entries


def _standing() -> set[str]:
    """The numbers of the network namespaces of every process and every name; none where that is hidden."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(str(process.stat().st_ino))
        except PermissionError:
            return set()
        except OSError:
            continue
    mounts = Path("/proc/self/mountinfo").read_text()
    return found | set(re.findall(r" net:\[(\d+)\] ", mounts))


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


def _unwritable(folder: Path, error: OSError) -> ElementError:
    return ElementError(
        f"{folder} cannot be written ({error.strerror}): tmelink notes its changes to the host "
        "there, to undo them even after a crash; make it writable, as with "
        "'mount -t tmpfs tmpfs /run', or use --no-journal"
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    _hand_over(folder)
    found = folder.lstat()
    trusted = found.st_uid in (os.geteuid(), owner)
    if not stat.S_ISDIR(found.st_mode) or not trusted or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(f"{folder} is not safe: other users can write there")


def _hand_over(path: Path) -> None:
    """Give what root has made to whom the process becomes."""
    if owner is not None and os.geteuid() == 0 and not path.is_symlink() and path.lstat().st_uid == 0:
        os.chown(path, owner, -1)


def _lock(descriptor: int, *, wait: bool, shared: bool = False) -> bool:
    """Take the lock of an open file, `shared` with others or alone; without `wait`, whether it was free."""
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
