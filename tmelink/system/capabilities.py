"""Linux's capabilities of the calling thread, and what keeps a process from getting more (capabilities(7)).

Stands alone, without tmelink's other modules: `keeper` loads it as a file.
"""

from __future__ import annotations

import ctypes
import os
import sys

NUMBERS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
}
"""Those that tmelink has a use for (linux/capability.h)."""

_SET_PDEATHSIG = 1
_SET_KEEPCAPS = 8
_CAPBSET_READ, _CAPBSET_DROP = 23, 24
_SET_CHILD_SUBREAPER = 36
_SET_NO_NEW_PRIVS = 38
_CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 47, 4  # linux/prctl.h
_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of 32 bits


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def held() -> frozenset[str]:
    """Which of `NUMBERS` the thread may use at this moment."""
    if sys.platform != "linux":
        return frozenset()
    data = (_Words * 2)()
    _check(_libc().capget(ctypes.byref(_Header(_VERSION_3, 0)), data))
    mask = data[0].effective | data[1].effective << 32
    return frozenset(name for name, number in NUMBERS.items() if mask >> number & 1)


def keep_only(names: frozenset[str]) -> None:
    """Give up all but these, for this thread and what it starts, and for good; raises `OSError`.

    What the thread does not have is not added. The kernel keeps them for each thread, so that it is to be
    called before others are started, or in each.
    """
    wanted = sum(1 << NUMBERS[name] for name in names & held())
    prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    for number in range(64):
        if wanted >> number & 1:
            continue
        if _libc().prctl(_CAPBSET_READ, number, 0, 0, 0) == 1:
            # Who has no CAP_SETPCAP keeps its bounding set, which gives nothing by itself.
            _libc().prctl(_CAPBSET_DROP, number, 0, 0, 0)
    data = (_Words * 2)()
    for word in range(2):
        data[word].effective = data[word].permitted = wanted >> 32 * word & 0xFFFFFFFF
    _check(_libc().capset(ctypes.byref(_Header(_VERSION_3, 0)), data))


def become(uid: int, gid: int, groups: list[int], keep: frozenset[str]) -> None:
    """Change to a user for good, and keep these capabilities of those that are held; raises `OSError`."""
    if keep:
        prctl(_SET_KEEPCAPS, 1)
    kept = keep & held()
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    # The bounding set can only be cut while CAP_SETPCAP is effective, which ends with the user.
    for number in range(64):
        if (
            number not in {NUMBERS[name] for name in kept}
            and _libc().prctl(_CAPBSET_READ, number, 0, 0, 0) == 1
        ):
            _libc().prctl(_CAPBSET_DROP, number, 0, 0, 0)
    os.setresuid(uid, uid, uid)
    if keep:
        wanted = sum(1 << NUMBERS[name] for name in kept)
        data = (_Words * 2)()
        for word in range(2):
            data[word].effective = data[word].permitted = wanted >> 32 * word & 0xFFFFFFFF
        _check(_libc().capset(ctypes.byref(_Header(_VERSION_3, 0)), data))
        prctl(_SET_KEEPCAPS, 0)


def no_new_privileges() -> None:
    """Nothing that is executed from now on gets more than this process has: no set-user-ID, no file's."""
    prctl(_SET_NO_NEW_PRIVS, 1)


def end_with_parent(number: int) -> None:
    """Have the kernel send this signal when the thread that started this process ends."""
    prctl(_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Be the parent of what this process's descendants leave running."""
    prctl(_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, argument: int) -> None:
    """The system call, which other systems than Linux do without; raises `OSError`."""
    if sys.platform == "linux":
        _check(_libc().prctl(option, argument, 0, 0, 0))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
