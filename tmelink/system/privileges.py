"""Giving up privileges once everything is open: capabilities, the user, and how to get them back.

What is kept is what elements say that they need while they run (`Element.capabilities`). Programs are started
by the keeper, which stays as it was and starts them only as users that it has started programs as before.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

from tmelink.errors import ElementError
from tmelink.system import accounts, capabilities, children
from tmelink.system.accounts import Account


def drop(needed: frozenset[str], account: Account | None = None) -> frozenset[str]:
    """Keep these capabilities at most, as `account` if one is given, for good; returns what is kept.

    Raises `ElementError`. To be called in the main thread, while no other does anything.
    """
    if sys.platform != "linux":
        return frozenset()
    children.seal()
    _end_library_threads()
    try:
        if account is None:
            before = sorted(os.getgroups())
            groups = accounts.join_shared_groups(before)
            if os.geteuid() == 0 and groups != before:
                os.setgroups(groups)
            capabilities.keep_only(needed)
        else:
            groups = accounts.join_shared_groups(account.groups)
            capabilities.become(account.uid, account.gid, groups, needed)
        capabilities.no_new_privileges()
    except OSError as error:
        raise ElementError(f"giving up privileges: {error.strerror}") from error
    return capabilities.held()


def _end_library_threads() -> None:
    """End numpy's threads for linear algebra, which nothing here uses: each would keep its capabilities."""
    with contextlib.suppress(OSError):
        for path in {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}:
            if "openblas" in path:
                library = ctypes.CDLL(path)
                with contextlib.suppress(AttributeError):
                    library.blas_thread_shutdown_()
