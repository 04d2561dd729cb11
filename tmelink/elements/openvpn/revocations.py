"""A revocation list that is read again when its file changes (`--crl-verify FILE`), as OpenVPN does.

Looks now and then instead of at each handshake, so that a thread reads a long list before it is needed.
"""

from __future__ import annotations

import asyncio
import os
from logging import Logger
from pathlib import Path

from tmelink import tasks
from tmelink.openvpn.tls.engine import TlsContext

CHECK_SECONDS = 2.0
"""Between two looks at the file: how long a certificate that was revoked may still come in."""

_Version = tuple[int, int, int]


class RevocationWatch:
    """Keeps the revocation list of one link's or server's certificates up to date."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def follow(self, path: str, context: TlsContext) -> None:
        """Begin to look at a file, whose present list `context` has."""
        assert self._task is None, "one list is enough"
        self._task = asyncio.get_running_loop().create_task(self._watch(Path(path), context, _version(path)))

    async def close(self) -> None:
        """Look no more."""
        await tasks.end(self._task)
        self._task = None

    async def _watch(self, path: Path, context: TlsContext, known: _Version | None) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            version = await asyncio.to_thread(_version, path)
            if version == known:
                continue
            known = version
            try:
                await asyncio.to_thread(_read, path, context)
            except (OSError, ValueError) as error:
                reason = (error.strerror if isinstance(error, OSError) else None) or error
                self._log.warning("--crl-verify %s: %s; the list before it remains valid", path, reason)
            else:
                self._log.info("--crl-verify %s: read again", path)


def _version(path: str | Path) -> _Version | None:
    """What tells one state of a file from another; None without a file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path, context: TlsContext) -> None:
    context.revoke(path.read_bytes())
