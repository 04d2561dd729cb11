"""What two ends tell each other about themselves, and the cipher that they agree on.

Peer info is lines of `NAME=value` in a key-method message: IV_PROTO is a set of bits, IV_CIPHERS a list. The
bits are those of OpenVPN's src/openvpn/ssl.h, the agreement that of its ssl_ncp.c. Knows no session.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

MAX_LINES = 64
"""Lines that are read of a peer's info; OpenVPN sends about fifteen."""


class Proto(IntFlag):
    """IV_PROTO: what an end can do."""

    DATA_V2 = 1 << 1
    REQUEST_PUSH = 1 << 2
    TLS_KEY_EXPORT = 1 << 3
    AUTH_PENDING_KW = 1 << 4
    NCP_P2P = 1 << 5
    DNS_OPTION = 1 << 6
    CC_EXIT_NOTIFY = 1 << 7
    AUTH_FAIL_TEMP = 1 << 8
    DYN_TLS_CRYPT = 1 << 9
    DATA_EPOCH = 1 << 10
    DNS_OPTION_V2 = 1 << 11
    PUSH_UPDATE = 1 << 12


_ALWAYS = Proto.DATA_V2 | Proto.CC_EXIT_NOTIFY | Proto.TLS_KEY_EXPORT | Proto.DYN_TLS_CRYPT | Proto.DATA_EPOCH
_PULL = Proto.REQUEST_PUSH | Proto.AUTH_PENDING_KW | Proto.AUTH_FAIL_TEMP | Proto.PUSH_UPDATE
_PULL |= Proto.DNS_OPTION_V2


def build(
    *, pull: bool, ciphers: Sequence[str], version: str, mtu: int, extra: Sequence[tuple[str, str]] = ()
) -> str:
    """This end's peer info; `pull` for a client that asks for options, else for one of two equal ends.

    Equal ends tell only what they must: no version, no system. `extra` is what the user adds
    (`--push-peer-info`, `setenv UV_…`).
    """
    lines: list[tuple[str, object]] = []
    proto = _ALWAYS
    if pull:
        proto |= _PULL
        lines += [("IV_VER", version), ("IV_MTU", mtu), ("IV_SSO", "webauth,openurl,crtext")]
        if {"AES-128-GCM", "AES-256-GCM"} <= set(ciphers):
            lines.append(("IV_NCP", 2))
    else:
        proto |= Proto.NCP_P2P
    lines += [("IV_CIPHERS", ":".join(ciphers)), ("IV_PROTO", int(proto)), *extra]
    return "".join(f"{name}={value}\n" for name, value in lines)


def parse(text: str) -> dict[str, str]:
    """A peer's info as names and values; other lines are left out."""
    pairs = (line.partition("=") for line in text.split("\n", MAX_LINES)[:MAX_LINES])
    return {name: value for name, equals, value in pairs if equals}


def proto(info: dict[str, str]) -> Proto:
    """A peer's IV_PROTO; without one it can nothing of it."""
    value = info.get("IV_PROTO", "")
    return (
        Proto(int(value) & 0xFFFFFFFF)
        if value.isascii() and value.isdigit() and len(value) < 10
        else Proto(0)
    )


def _ciphers(info: dict[str, str]) -> list[str]:
    if "IV_CIPHERS" in info:
        return info["IV_CIPHERS"].split(":")
    return ["AES-256-GCM", "AES-128-GCM"] if info.get("IV_NCP", "0").startswith("2") else []


def agree_as_equals(
    ours: Sequence[str], info: dict[str, str], *, server: bool, fallback: str | None
) -> str | None:
    """The cipher of two equal ends: the first of the TLS server's list that the client has too, or None."""
    if not proto(info) & Proto.NCP_P2P or "IV_CIPHERS" not in info:
        return fallback
    theirs = _ciphers(info)
    preferring, other = (ours, theirs) if server else (theirs, ours)
    return next((cipher for cipher in preferring if cipher in other), fallback)


def agree_as_server(
    ours: Sequence[str], info: dict[str, str], options_cipher: str | None, fallback: str | None
) -> str | None:
    """The cipher that a server pushes to a client: the first of its own that the client takes, or None.

    `options_cipher` is what the client's options string says, which counts only for clients that do not
    list their ciphers; `fallback` is for those that say nothing at all.
    """
    theirs = _ciphers(info)
    if "IV_CIPHERS" not in info and options_cipher:
        theirs = [*theirs, options_cipher]
    if not theirs:
        return fallback
    return next((cipher for cipher in ours if cipher in theirs), None)


def options_cipher(options: str) -> str | None:
    """The cipher of a peer's options string, `none` for its null cipher, or None."""
    for option in options.split(","):
        if option.startswith("cipher "):
            name = option[7:]
            return "none" if name == "[null-cipher]" else name
    return None
