"""The program that starts tmelink's programs, and ends them with all they have started when tmelink ends.

tmelink runs this file as a process of its own, and asks it over a socket (`children`). For each program the
keeper forks a minder, which adopts whatever the program's own children leave running
(PR_SET_CHILD_SUBREAPER, prctl(2)), so that nothing gets out of its sight: neither by a session of its own nor
by being orphaned. A minder ends them all when the program ends, when it is asked to, and when its control
socket is closed, which the kernel does for a tmelink that is killed. So neither needs a signal that another
user's process would not take, and the keeper can start programs again for a tmelink that has given up its
privileges: after "seal" it does so only as users that it has started programs as before.

Stands alone and imports little: a minder is a copy of it, and it runs for as long as tmelink does.
"""

from __future__ import annotations

import array
import contextlib
import errno
import importlib.util
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

END, KILL = b"T", b"K"
"""What a minder is asked to do: tell the program to end, or end it with all it has started."""

MAX_FDS = 200
"""Descriptors with one request; the kernel takes no more than 253 (SCM_MAX_FD, linux/net/scm.h)."""

_FUTILE = 400
"""Looks at what remains that does not end, a few milliseconds each, before a minder gives up."""


def main(descriptor: int) -> None:
    """Serve requests until the other end of the socket is gone."""
    capabilities = _capabilities()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    capabilities.adopt_orphans()
    wake = _wake_on_child()
    minders: set[int] = set()
    users: set[tuple[int, ...]] = set()
    sealed = False
    with socket.socket(fileno=descriptor) as asked:
        while True:
            ready, _, _ = select.select([asked.fileno(), wake], [], [])
            if wake in ready:
                _drain(wake)
                _reap(minders)
            if asked.fileno() not in ready:
                continue
            message, fds = _request(asked)
            if message is None:
                return
            if message.get("seal"):
                sealed = True
                if (0,) not in {user[:1] for user in users}:
                    capabilities.keep_only(frozenset(("CAP_SETUID", "CAP_SETGID", "CAP_KILL")))
                continue
            user = tuple(message["user"] or ())
            allowed = not sealed or user in users
            users.add(user)
            pid = os.fork()
            if pid == 0:
                asked.close()
                _run_minder(message, fds, capabilities, allowed)
            minders.add(pid)
            for fd in fds:
                os.close(fd)


def _capabilities() -> Any:
    """`capabilities`, which stands beside this file; the package itself is not imported."""
    path = Path(__file__).with_name("capabilities.py")
    spec = importlib.util.spec_from_file_location("capabilities", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _wake_on_child() -> int:
    """A descriptor that is readable when a child has ended."""
    wake, end = os.pipe()
    for fd in (wake, end):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return wake


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(descriptor, 4096)


def _request(asked: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next request and its descriptors; None once there are no more."""
    data, ancillary, _flags, _address = asked.recvmsg(4, socket.CMSG_SPACE(MAX_FDS * 4))
    fds = array.array("i")
    for level, kind, packed in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(packed[: len(packed) - len(packed) % fds.itemsize])
    if len(data) < 4:
        return None, list(fds)
    (length,) = struct.unpack("!I", data)
    text = asked.recv(length, socket.MSG_WAITALL)
    return (json.loads(text) if len(text) == length else None), list(fds)


def _reap(minders: set[int]) -> None:
    """Take note of minders that have ended, and end what one has left that was itself ended."""
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            minders.discard(pid)
    for pid in _children(os.getpid()):
        if pid not in minders:
            _kill(pid)


# A minder


def _run_minder(message: dict[str, Any], fds: list[int], capabilities: Any, allowed: bool) -> None:
    """Start the program and stay until nothing of it is left; never returns."""
    try:
        control, output, *given = fds
        with socket.socket(fileno=control) as asked:
            if allowed:
                _stay(asked, message, output, given, capabilities)
            else:
                _send_message(asked, error=errno.EPERM)
    finally:
        os._exit(0)


def _stay(
    asked: socket.socket, message: dict[str, Any], output: int, given: list[int], capabilities: Any
) -> None:
    capabilities.adopt_orphans()
    wake = _wake_on_child()
    failed, tell = os.pipe()
    program = os.fork()
    if program == 0:
        _become(message, output, given, tell, capabilities)
    for fd in (output, tell, *given):
        os.close(fd)
    reason = os.read(failed, 64)
    os.close(failed)
    if reason:
        os.waitpid(program, 0)
        _send_message(asked, error=int(reason))
        return
    _send_message(asked, pid=program)
    status = None
    asking = True
    while status is None:
        ready, _, _ = select.select([asked.fileno(), wake] if asking else [wake], [], [])
        if wake in ready:
            _drain(wake)
            status = _reaped(program)
        if asking and asked.fileno() in ready:
            try:
                word = asked.recv(1)
            except OSError:
                word = b""
            if word == END:
                with contextlib.suppress(OSError):
                    os.killpg(program, signal.SIGTERM)
            else:
                asking = False
                status = _end_all(program, status)
                break
    status = _end_all(program, status)
    _send_message(asked, status=status)


def _reaped(program: int) -> int | None:
    """Reap whatever has ended; the program's status, if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, raw = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == program:
                status = os.waitstatus_to_exitcode(raw)
    return status


def _end_all(program: int, status: int | None) -> int:
    """End every descendant; returns the program's status."""
    for _ in range(_FUTILE):
        left = _descendants(os.getpid())
        for pid in left:
            _kill(pid)
        with contextlib.suppress(OSError):
            os.killpg(program, signal.SIGKILL)
        found = _reaped(program)
        status = found if status is None else status
        if not left:
            break
        time.sleep(0.003)
    return -signal.SIGKILL if status is None else status


def _send_message(asked: socket.socket, **what: int) -> None:
    with contextlib.suppress(OSError):
        asked.sendall(json.dumps(what).encode() + b"\n")


# The program's own process, until it is the program


def _become(message: dict[str, Any], output: int, given: list[int], tell: int, capabilities: Any) -> None:
    """Turn into the program; never returns."""
    code = errno.EINVAL
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        with contextlib.suppress(OSError):
            # tmelink's own directory, which may be another one than when this process began.
            os.chdir(message["folder"])
        tell = _wire(output, given, message["fds"], tell)
        if message["terminal"]:
            _control_terminal()
        if message["user"] is not None:
            uid, gid, *groups = message["user"]
            if uid != 0:
                capabilities.become(uid, gid, groups, frozenset())
                capabilities.no_new_privileges()
        # Changing the user has taken this back, had it been asked for before.
        capabilities.end_with_parent(signal.SIGKILL)
        if message["cwd"] is not None:
            os.chdir(message["cwd"])
        os.execvpe(message["words"][0], message["words"], message["environment"])
    except OSError as error:
        code = error.errno or code
    finally:
        os.write(tell, str(code).encode())
        os._exit(127)


def _wire(output: int, given: list[int], numbers: list[int], tell: int) -> int:
    """Standard streams, and the descriptors under the numbers that the program knows them by."""
    import fcntl  # Linux alone starts this file, and a file is checked anywhere

    # First above all those that they are to become, and those that they are.
    above = max(2, tell, output, *given, *numbers) + 1
    tell, output, *moved = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in (tell, output, *given))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, above)
    for fd, number in zip(moved, numbers, strict=True):
        os.dup2(fd, number)
    return tell


def _control_terminal() -> None:
    """Let the terminal on standard input be the session's own (tty_ioctl(4)): it sends signals for Ctrl-C."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


# Who is whose child


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    """Whose parent is `pid`; not all that it had forked when this looked have to be among them."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        except FileNotFoundError:
            if pid == os.getpid():
                return _children_by_stat(pid)
        except OSError:
            pass
    return found


def _children_by_stat(pid: int) -> list[int]:
    """The same where the kernel was built without CONFIG_PROC_CHILDREN."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found.append(int(entry))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
