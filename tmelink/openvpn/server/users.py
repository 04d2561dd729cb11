"""Users and their passwords' hashes, in the file that `--auth-user-pass-table` names.

A line is `USER:$scrypt$ln=14,r=8,p=1$SALT$HASH`, salt and hash in base64 without padding (scrypt is RFC 7914;
the form is that of the Password Hashing Competition's strings). Bytes in, answers out: reads no file.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

LOG_COST: Final = 14
"""2**14 rounds of blocks of 1 KiB: 16 MiB and some 50 ms for each try, as RFC 7914 proposes for logins."""

BLOCK: Final = 8
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32

MOST_LOG_COST: Final = 20
"""A GiB of memory for one try; a file that asks for more is a mistake."""

MAX_MEMORY: Final = 2 << 30

LONGEST: Final = 4096
"""Bytes of a password at most; OpenVPN's clients send 128."""

_LINE = re.compile(r"(.+):\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")


@dataclass(frozen=True, slots=True)
class _Hash:
    """What is kept of a password."""

    log_cost: int
    block: int
    lanes: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def fits(self, password: bytes) -> bool:
        """Whether it is of this password; takes its time."""
        found = _scrypt(password, self.salt, self.log_cost, self.block, self.lanes)
        return hmac.compare_digest(found, self.digest)


class Users:
    """The users of a file; raises `ValueError` that names the line which is none."""

    def __init__(self, text: str) -> None:
        self._users: dict[str, _Hash] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            found = _LINE.fullmatch(line.strip())
            if found is None or not 0 < int(found[2]) <= MOST_LOG_COST:
                raise ValueError(f"line {number} is not in the form that `tmelink passwd USER` prints")
            digest = _decoded(found[6])
            if len(digest) != HASH_BYTES:
                raise ValueError(f"line {number}: the hash has {len(digest)} bytes, and not {HASH_BYTES}")
            self._users[found[1]] = _Hash(
                int(found[2]), int(found[3]), int(found[4]), _decoded(found[5]), digest
            )

    def __len__(self) -> int:
        return len(self._users)

    def __contains__(self, user: str) -> bool:
        return user in self._users

    def admits(self, user: str, password: str) -> bool:
        """Whether the password is this user's; takes as long for a user who is not there."""
        known = self._users.get(user)
        # A client's bytes need not be UTF-8.
        secret = password.encode("utf-8", "surrogateescape")
        if len(secret) > LONGEST:
            return False
        return (known or _NOBODY).fits(secret) and known is not None


def line(user: str, password: str, salt: bytes) -> str:
    """A user's line for the file; raises `ValueError` for a name that cannot stand there."""
    if not user or not user.isprintable() or user != user.strip() or user.startswith("#"):
        raise ValueError(f"{user!r} cannot be a user's name")
    digest = _scrypt(password.encode(), salt, LOG_COST, BLOCK, 1)
    return f"{user}:$scrypt$ln={LOG_COST},r={BLOCK},p=1${_encoded(salt)}${_encoded(digest)}"


def _scrypt(password: bytes, salt: bytes, log_cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(
        password, salt=salt, n=1 << log_cost, r=block, p=lanes, maxmem=MAX_MEMORY - 1, dklen=HASH_BYTES
    )


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return b""


_NOBODY = _Hash(LOG_COST, BLOCK, 1, bytes(SALT_BYTES), bytes(HASH_BYTES))
"""For users who are not there."""
