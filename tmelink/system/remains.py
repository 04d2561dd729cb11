"""What this process makes and must take along: folders, sockets' paths, named namespaces.

Each is journalled before it is made, with what tells it from one that somebody else makes at the same place
later. `remove` is for whoever made it, `remove_all` for the end of a run that was cut short, and `undo` for
the next run after one that was killed.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import stat
import tempfile
import threading
from pathlib import Path

from tmelink.system import accounts, journal, namespaces
from tmelink.system.accounts import Account
from tmelink.system.journal import Entry, Journal

SOCKET, FOLDER, TEMPORARY, NAMESPACE = "socket", "folder", "temporary", "netns"

KINDS = (SOCKET, FOLDER, TEMPORARY, NAMESPACE)
"""A socket's path, a folder that is removed once it is empty, one with all that is in it, a namespace."""

PREFIX = "tmelink-"
"""Of temporary folders: nothing of another name is removed with what is in it."""

_lock = threading.Lock()
_journal: Journal | None = None


def temporary(account: Account | None = None) -> Path:
    """A new folder, in the system's place for such, for this user and the group of `account` alone."""
    folder = Path(tempfile.gettempdir()) / f"{PREFIX}{secrets.token_hex(6)}"
    note(TEMPORARY, folder)
    folder.mkdir(mode=0o700)
    note(TEMPORARY, folder)
    if account is not None:
        accounts.share(folder, account)
    return folder


def namespace(name: str) -> None:
    """Make the namespace `name`, as `namespaces.create` does."""
    path = namespaces.DIRECTORY / name
    note(NAMESPACE, path)
    try:
        namespaces.create(name)
    finally:
        # Which one it is; where there is none, nothing is to be removed.
        note(NAMESPACE, path) if namespaces.exists(name) else remove(path)


def note(kind: str, path: Path) -> None:
    """Write down that `path` is about to be made or, once it is there, which one it is."""
    global _journal
    with _lock:
        if _journal is None:
            with journal.alone():
                _journal = Journal()
        before = _entry_of(kind, path)
        now: Entry = [kind, str(path), *_identity(path)]
        if now != before:
            _journal.note(now)
            if before is not None:
                _journal.forget(before)


def remove(path: Path) -> None:
    """Remove what was noted for `path`; harmless where it is gone, or was never noted."""
    global _journal
    with _lock:
        for entry in [] if _journal is None else [e for e in _journal.entries if e[1] == str(path)]:
            assert _journal is not None
            undo(entry)
            _journal.forget(entry)
        if _journal is not None and not _journal.entries:
            _journal.close()
            _journal = None


def remove_all() -> list[str]:
    """Remove everything that was noted; what could not be, in words."""
    left = []
    for entry in [] if _journal is None else _journal.entries[::-1]:
        try:
            remove(Path(entry[1]))
        except OSError as error:
            left.append(f"{entry[1]}: {error.strerror}")
    return left


def undo(entry: Entry) -> None:
    """Remove what an entry names, unless somebody else has made another one there; raises `OSError`."""
    kind, name, *noted = entry
    path = Path(name)
    found = list(_identity(path))
    # Zeros were noted before it was made: then only a name that nobody else would take says whose it is.
    known = found == noted
    if kind == NAMESPACE:
        # A name without a namespace is all that is left of one that was seen in a mount namespace of its own.
        known = known or (found != [0, 0] and not namespaces.exists(path.name))
    if found == [0, 0] or not (known or noted == [0, 0]):
        return
    with contextlib.suppress(FileNotFoundError):
        if kind == SOCKET and known and stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
        elif kind == FOLDER and known:
            with contextlib.suppress(OSError):  # somebody else has put something there
                path.rmdir()
        elif kind == TEMPORARY and path.name.startswith(PREFIX) and not path.is_symlink():
            shutil.rmtree(path)
        elif kind == NAMESPACE and known:
            namespaces.remove_name(path.name)


def _entry_of(kind: str, path: Path) -> Entry | None:
    assert _journal is not None
    return next((e for e in _journal.entries if e[:2] == [kind, str(path)]), None)


def _identity(path: Path) -> tuple[int, int]:
    """Device and number of what is at `path`; zeros where there is nothing."""
    try:
        found = path.lstat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
