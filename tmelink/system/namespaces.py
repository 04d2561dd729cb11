"""Network namespaces: run a function in one, make and remove named ones as `ip netns` does.

Knows nothing of interfaces. The calling thread's namespace never changes: whatever has to happen inside
another one happens in a short-lived thread, because Linux keeps the network namespace per thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tmelink.errors import ElementError, MissingCapability, UnsupportedHere

T = TypeVar("T")

DIRECTORY = Path("/run/netns")
"""Where iproute2 keeps named namespaces (ip-netns(8))."""

CANCEL_SECONDS = 5.0
"""How long a call that has begun is waited for by one who is cancelled; it takes milliseconds."""

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000  # linux/mount.h
_MNT_DETACH = 2  # linux/fs.h


def require_linux(what: str) -> None:
    """Raise `UnsupportedHere` unless this is Linux; `what` names the thing that needs it."""
    if sys.platform != "linux":
        raise UnsupportedHere(f"{what} needs Linux, and this is {sys.platform}")


async def run(function: Callable[[], T], name: str | None = None) -> T:
    """Call `function` in a thread of its own, in the namespace `name` (None: the caller's namespace).

    The thread ends with the call, and with it everything that is kept per thread. What has begun is waited
    for when the caller is cancelled too, for `CANCEL_SECONDS`. Raises what `function` raises, and
    `ElementError` if the namespace cannot be entered.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(error: BaseException | None, result: T | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        error, result = None, None
        try:
            if name is not None:
                _enter(name)
            result = function()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # nobody has waited so long: the loop is closed
            loop.call_soon_threadsafe(settle, error, result)

    # A pool would keep its threads, and one that changed its namespace must not be used again. And the
    # interpreter waits for a pool's threads when it ends, however long they hang.
    thread = threading.Thread(target=work, name="tmelink-system", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        if not outcome.done():
            await asyncio.wait([outcome], timeout=CANCEL_SECONDS)
        if outcome.done() and not outcome.cancelled():
            outcome.exception()  # told to nobody, and not missed
        raise
    finally:
        if outcome.done():
            thread.join()  # the outcome was its last work, so this takes microseconds


def exists(name: str) -> bool:
    """Whether there is a namespace called `name`: a file alone is what is left of one."""
    try:
        # A namespace is mounted on its name, from a file system of its own (ip-netns(8)).
        return (DIRECTORY / name).stat().st_dev != DIRECTORY.stat().st_dev
    except OSError:
        return False


def create(name: str) -> None:
    """Make the namespace `name` with its loopback down, as `ip netns add` does; raises `ElementError`.

    To be called by `run`, since it moves the calling thread there. Takes the place of a name that is left
    of a namespace which has gone.
    """
    require_linux("a network namespace")
    path = DIRECTORY / name
    try:
        DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
        _share_directory()
        if not exists(name):
            path.unlink(missing_ok=True)
        path.touch(mode=0o444, exist_ok=False)
    except FileExistsError:
        raise ElementError(f"network namespace {name} already exists") from None
    except OSError as error:
        raise _refused(f"creating the network namespace {name}", error) from error
    try:
        _check(_libc().unshare(_CLONE_NEWNET))
        # The thread's own view of its namespace, bound to a name, outlives the thread.
        _mount(b"/proc/thread-self/ns/net", path, _MS_BIND)
    except OSError as error:
        path.unlink()
        raise _refused(f"creating the network namespace {name}", error) from error


def _share_directory() -> None:
    """Make mounts under the directory visible in every mount namespace, as ip-netns(8) promises."""
    try:
        _mount(b"", DIRECTORY, _MS_SHARED | _MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Not a mount point yet: only a mount point can be shared.
        _mount(os.fsencode(DIRECTORY), DIRECTORY, _MS_BIND | _MS_REC)
        _mount(b"", DIRECTORY, _MS_SHARED | _MS_REC)


def remove_name(name: str) -> None:
    """Unmount and remove a name, whoever made it."""
    path = DIRECTORY / name
    with contextlib.suppress(OSError):  # someone else unmounted it, or it never was mounted
        _check(_libc().umount2(os.fsencode(path), _MNT_DETACH))
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _enter(name: str) -> None:
    require_linux("a network namespace")
    try:
        descriptor = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ElementError(f"there is no network namespace {name}") from None
    try:
        _check(_libc().setns(descriptor, _CLONE_NEWNET))
    except OSError as error:
        raise _refused(f"entering the network namespace {name}", error) from error
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    # os.setns and os.unshare come only with Python 3.12.
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: bytes, target: Path, flags: int) -> None:
    _check(_libc().mount(source, os.fsencode(target), b"none", ctypes.c_ulong(flags), None))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _refused(what: str, error: OSError) -> ElementError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return MissingCapability(what, "CAP_SYS_ADMIN")
    return ElementError(f"{what}: {error.strerror}")
