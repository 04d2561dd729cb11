"""Users of this computer, by name or number, and as whom programs run when root has started tmelink."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

DEFAULTS = ("tmelink", "nobody")
"""Who runs programs for root unless a file says otherwise: a user of their own where the host has made
one."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user with what belongs to it: numbers, and supplementary groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def find(name: str) -> Account:
    """The user `name`, or of that number; raises `ValueError` where there is none."""
    import grp
    import pwd

    try:
        found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"this computer has no user {name}") from None
    groups = [group.gr_gid for group in grp.getgrall() if found.pw_name in group.gr_mem]
    return Account(found.pw_name, found.pw_uid, found.pw_gid, tuple(groups))


def group(name: str) -> int:
    """The number of the group `name`; raises `ValueError` where there is none."""
    import grp

    try:
        return (grp.getgrgid(int(name)) if name.isdigit() else grp.getgrnam(name)).gr_gid
    except KeyError:
        raise ValueError(f"this computer has no group {name}") from None


def for_programs(asked: str | None) -> Account | None:
    """As whom a program runs: None for whoever runs tmelink; raises `ValueError` for an unknown user."""
    if not hasattr(os, "geteuid"):
        return None
    if asked is not None:
        account = find(asked)
        return None if account.uid == os.geteuid() != 0 else account
    if os.geteuid() != 0:
        return None
    for name in DEFAULTS:
        with contextlib.suppress(ValueError):
            return find(name)
    return None
