"""Users of this computer, by name or number, and as whom programs run when root has started tmelink."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tmelink.errors import ElementError

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
    """The user `name`, or of that number; raises `ValueError` if there is none."""
    import grp
    import pwd

    try:
        found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"this computer has no user {name}") from None
    groups = [group.gr_gid for group in grp.getgrall() if found.pw_name in group.gr_mem]
    return Account(found.pw_name, found.pw_uid, found.pw_gid, tuple(groups))


def group(name: str) -> int:
    """The number of the group `name`; raises `ValueError` if there is none."""
    import grp

    try:
        return (grp.getgrgid(int(name)) if name.isdigit() else grp.getgrnam(name)).gr_gid
    except KeyError:
        raise ValueError(f"this computer has no group {name}") from None


def for_programs(asked: str | None) -> Account | None:
    """As whom a program runs: None for whoever runs tmelink.

    Raises `ElementError` for a user that there is not, or that only root could become.
    """
    if not hasattr(os, "geteuid") or (asked is None and os.geteuid() != 0):
        return None
    for name in DEFAULTS if asked is None else (asked,):
        try:
            account = find(name)
        except ValueError as error:
            if asked is not None:
                raise ElementError(f"user: {error}") from None
            continue
        if os.geteuid() == 0:
            return account
        if account.uid != os.geteuid():
            raise ElementError(f"user {asked}: only root can start a program as another user; leave it out")
        return None
    raise ElementError(f"this computer has no user {' or '.join(DEFAULTS)}; write 'user NAME'")


_shared_groups: set[int] = set()
"""Of those that anything was shared with."""


def join_shared_groups(groups: Iterable[int]) -> list[int]:
    """`groups` and those of the users that files were shared with.

    A process in them shares files with the same users again after it has given up CAP_CHOWN (chown(2)), as
    when a lab is restarted.
    """
    return sorted({*groups, *_shared_groups})


def share(path: str | Path, account: Account) -> None:
    """Let that user's group in beside the owner of a file or folder; raises `ElementError`.

    The owner stays, since root without CAP_DAC_OVERRIDE could not remove what is in another user's folder.
    """
    try:
        os.chown(path, -1, account.gid)
        _shared_groups.add(account.gid)
        os.chmod(path, 0o770 if os.path.isdir(path) else 0o660)
    except OSError as error:
        raise ElementError(
            f"{path} cannot be given to the user {account.name}: {error.strerror}; a run that has given "
            "up its privileges cannot start it for the first time: end tmelink and start it anew"
        ) from error
