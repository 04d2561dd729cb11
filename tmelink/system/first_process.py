"""What process 1 of a container owes its kernel: to reap orphans, and to hand signals on.

An orphan becomes a child of process 1, and stays a zombie until that asks for its status (wait(2)). Whatever
else a program starts would be confused by that, so the program itself becomes a child of process 1, and
process 1 does nothing else. It cannot be killed from within, and with it the kernel ends all the others.
"""

from __future__ import annotations

import os
import signal

_HANDED_ON = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT")
    if hasattr(signal, name)
]

_FROM_KERNEL = 0x80
"""SI_KERNEL (sigaction(2)): the terminal has sent the signal, to the program as well."""


def step_aside() -> int | None:
    """As process 1, let a child be the program and return its exit code once it has ended.

    None in that child, and in a process that is not the first one. To be called before there are threads.
    """
    if os.getpid() != 1:
        return None
    # Blocked, so that none is lost between two waits.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_HANDED_ON, signal.SIGCHLD])
    program = os.fork()
    if program == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    ended: int | None = None
    while ended is None:
        heard = signal.sigwaitinfo([*_HANDED_ON, signal.SIGCHLD])
        if heard.si_signo == signal.SIGCHLD:
            ended = _reap(program)
        elif heard.si_code != _FROM_KERNEL:
            os.kill(program, heard.si_signo)
    # As a shell tells of a program that a signal has ended.
    return ended if ended >= 0 else 128 - ended


def _reap(program: int) -> int | None:
    """Reap whoever has ended; the program's status, where it is among them."""
    found = None
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if ended[0] == program:
                found = os.waitstatus_to_exitcode(ended[1])
    except ChildProcessError:
        pass
    return found
