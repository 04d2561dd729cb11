"""Where running labs are found: a directory of this user's, with a socket and a locked file for each lab.

The directory is `/run/tmelink` for root and `$XDG_RUNTIME_DIR/tmelink` for others, unless TMELINK_RUNTIME_DIR
names another, with mode 0700. A lab holds a lock on `NAME.lock` for as long as it lives. So what a killed lab
left behind is distinguished from a running one with certainty, even when its process number is used again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tmelink.errors import TmelinkError

MAX_NAME = 64
"""Characters of a lab's name: with its directory it has to fit a socket's address, which has 107 bytes."""

SOCKET_MODE = 0o600
DIRECTORY_MODE = 0o700

LOOK_SECONDS = 0.1
"""The longest that somebody who looks at a lock may have it."""

_NAME = re.compile(r"[A-Za-z0-9_@%+=.-]+")


class NameTaken(TmelinkError):
    """Another lab of that name is running."""

    def __init__(self, name: str, pid: int | None) -> None:
        whose = f" (process {pid})" if pid is not None else ""
        super().__init__(
            f"a lab named '{name}' is already running{whose}: stop it with 'tmelink stop {name}', "
            "or name this one differently with --name"
        )
        self.pid = pid


@dataclass(frozen=True, slots=True)
class RunningLab:
    """What a lab says of itself in its lock file; `since` in seconds since the epoch."""

    name: str
    pid: int
    file: str
    host: str | None
    since: float


def directory() -> Path:
    """The directory of this user's labs; it may not exist."""
    if chosen := os.environ.get("TMELINK_RUNTIME_DIR"):
        return Path(chosen)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    # Root's labs are found by root however it has come to be root: from a service, in a session, by sudo.
    return Path(runtime) / "tmelink" if runtime and os.geteuid() != 0 else Path("/run/tmelink")


def valid_name(text: str) -> str:
    """A lab's name; `ValueError` for one that cannot be a file name."""
    if not _NAME.fullmatch(text) or text.startswith(".") or len(text) > MAX_NAME:
        raise ValueError(
            f"{text!r} is not a valid name of a lab: up to {MAX_NAME} letters, digits and _ @ % + = . -"
        )
    return text


def name_of(file: str, host: str | None) -> str:
    """The name that a lab has where nobody gives it one: its file's stem, and the host it is on."""
    stem = "stdin" if file == "-" else Path(file).stem
    text = re.sub("[^A-Za-z0-9_@%+=.-]", "-", stem if host is None else f"{stem}.{host}")
    return text.lstrip(".")[:MAX_NAME] or "lab"


def socket_path(name: str) -> Path:
    """A lab's control socket."""
    return directory() / f"{name}.sock"


def running() -> list[RunningLab]:
    """This user's labs, by name."""
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(directory().glob("*.lock")):
            lab = _holder(path)
            if lab is not None:
                found.append(lab)
    return found


def remove_ended() -> None:
    """Remove the socket and the lock of each lab of this user's that was killed.

    Nobody takes a name while its lock is looked at. The directory's own lock keeps two that clean up apart.
    So what goes is what a process that has ended left behind, and never a new lab's.
    """
    import fcntl

    try:
        place = os.open(directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for lock in directory().glob("*.lock"):
            with contextlib.suppress(OSError):
                _remove_ended(lock)
    except BlockingIOError:
        # Another one cleans up.
        pass
    finally:
        os.close(place)


def _remove_ended(lock: Path) -> None:
    import fcntl

    descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        # Shared, so that nobody who looks meanwhile takes this for the lock of a running lab.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), lock.stat()):
            socket_path(lock.name.removesuffix(".lock")).unlink(missing_ok=True)
            lock.unlink()
    finally:
        os.close(descriptor)


def find(name: str) -> RunningLab | None:
    """The running lab of that name."""
    return _holder(directory() / f"{name}.lock")


class NameLock:
    """A lab's name, taken from `take` until `leave`."""

    def __init__(self, name: str, descriptor: int, lock: Path) -> None:
        self.name = name
        self.socket = socket_path(name)
        self._descriptor = descriptor
        self._lock = lock

    @classmethod
    def take(cls, name: str, file: str, host: str | None) -> NameLock:
        """Take the name; raises `NameTaken`, and `TmelinkError` if the directory is not this user's."""
        place = directory()
        try:
            _safe(place)
            lock = place / f"{name}.lock"
            descriptor = _locked(lock)
        except OSError as error:
            raise TmelinkError(f"no control socket in {place}: {error.strerror or error}") from error
        if descriptor is None:
            holder = _holder(lock)
            raise NameTaken(name, holder.pid if holder is not None else None)
        lab = RunningLab(name, os.getpid(), file, host, time.time())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(lab)).encode(), 0)
        # Whoever had the name before has not come so far as to clean up.
        socket_path(name).unlink(missing_ok=True)
        return cls(name, descriptor, lock)

    def leave(self) -> None:
        """Give the name back."""
        # While it is locked, so that it is nobody else's.
        # One that has become another user leaves files without a lock, which the next one takes.
        with contextlib.suppress(PermissionError):
            self.socket.unlink(missing_ok=True)
            self._lock.unlink(missing_ok=True)
        os.close(self._descriptor)


def _safe(place: Path) -> None:
    """Make the directory; raises `PermissionError` for one that another user could reach into."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=DIRECTORY_MODE)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(None, "it belongs to another user; set XDG_RUNTIME_DIR to a directory of yours")
    if found.st_mode & 0o077:
        place.chmod(DIRECTORY_MODE)


def _locked(lock: Path) -> int | None:
    """A descriptor that holds the lock; None if another process does."""
    import fcntl

    until = time.monotonic() + LOOK_SECONDS
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() >= until:
                return None
            # A lab keeps its lock; whoever looks whether there is one has it for a moment.
            time.sleep(LOOK_SECONDS / 10)
            continue
        # One that left in between has taken the file's name with it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        os.close(descriptor)


def _holder(lock: Path) -> RunningLab | None:
    """The process that holds the lock, if any."""
    for data in _held(lock):
        with contextlib.suppress(ValueError, TypeError):
            return RunningLab(**json.loads(data))
    return None


def _held(lock: Path) -> Iterator[bytes]:
    import fcntl

    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield os.pread(descriptor, 1 << 16, 0)
    finally:
        os.close(descriptor)
