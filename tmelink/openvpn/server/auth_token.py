"""Tokens that a server gives its clients in place of their passwords (--auth-gen-token).

In the format of OpenVPN 2.6 (auth_token.c), so that servers of both kinds take each other's: `SESS_ID_AT_`,
and in base64::

    session id (12) | time of the first token (8) | time of this one (8) | HMAC-SHA256 (32)

The HMAC is over the user's name and all before it. Times are seconds since 1970. Keeps but a secret.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import struct
from typing import Final, NamedTuple

from tmelink.openvpn import pem

PREFIX: Final = "SESS_ID_AT_"
SESSION_ID: Final = 12
SECRET: Final = 32

EXPIRED: Final = "SESSION: token expired"
"""The message for a client whose token is too old, in OpenVPN's words: it comes again with its password."""

_TIMES: Final = struct.Struct(">qq")
_LENGTH: Final = SESSION_ID + _TIMES.size + 32
_PEM: Final = "OpenVPN auth-token server key"
_FILE: Final = 128
"""Bytes in a key file: 64 for a cipher, which is not used, and 64 of which the HMAC takes the first."""


class AuthToken(NamedTuple):
    """What a token says: which session, when that began, and when the token was made."""

    session_id: bytes
    begun: int
    made: int


def generate_secret() -> bytes:
    """A new secret's file (`--genkey auth-token`)."""
    return pem.build(_PEM, secrets.token_bytes(_FILE))


def parse_secret(data: bytes) -> bytes:
    """The secret in a file of `openvpn --genkey auth-token`; raises `ValueError`."""
    raw = pem.parse(_PEM, data)
    if len(raw) != _FILE:
        raise ValueError(f"the {_PEM} has {_FILE} bytes, not {len(raw)}")
    return raw[64 : 64 + SECRET]


class AuthTokens:
    """Makes tokens and judges them.

    A token is taken for twice `renewal` seconds, so that a client that misses one renewal has another, and
    all of one session for `lifetime` seconds after the first; 0 for ever.
    """

    def __init__(self, secret: bytes, *, lifetime: int, renewal: int) -> None:
        self._secret = secret
        self._lifetime = lifetime
        self._renewal = renewal

    def issue(self, username: str, unix_time: float, before: AuthToken | None) -> tuple[AuthToken, str]:
        """A new token for a user, in the same session as the one before."""
        now = int(unix_time)
        if before is None:
            before = AuthToken(secrets.token_bytes(SESSION_ID), now, now)
        token = before._replace(made=now)
        raw = token.session_id + _TIMES.pack(token.begun, token.made)
        return token, PREFIX + base64.b64encode(raw + self._sign(username, raw)).decode("ascii")

    def judge(self, username: str, text: str, unix_time: float, known: AuthToken | None) -> AuthToken:
        """A user's token read; `known` is the one that this session was given last.

        Raises `ValueError` with the reason why it is not taken.
        """
        try:
            raw = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except ValueError:
            raw = b""
        signed, mac = raw[: _LENGTH - 32], raw[_LENGTH - 32 :]
        if len(raw) != _LENGTH or not hmac.compare_digest(self._sign(username, signed), mac):
            raise ValueError("the token was made by another server, or for another user")
        token = AuthToken(signed[:SESSION_ID], *_TIMES.unpack(signed[SESSION_ID:]))
        if known is not None and known.session_id != token.session_id:
            raise ValueError("the token belongs to another session")
        if token.made < token.begun or unix_time < token.made:
            raise ValueError(EXPIRED)
        if self._renewal and unix_time >= token.made + 2 * self._renewal:
            raise ValueError(EXPIRED)
        if self._lifetime and unix_time > token.begun + self._lifetime:
            raise ValueError(EXPIRED)
        return token

    def _sign(self, username: str, signed: bytes) -> bytes:
        return hmac.digest(self._secret, username.encode("utf-8", "surrogateescape") + signed, "sha256")
