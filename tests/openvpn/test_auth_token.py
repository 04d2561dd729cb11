"""Tokens in place of passwords: the format against a plain reckoning, ages, sessions, forgeries."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import pytest

from tmelink.openvpn import pem
from tmelink.openvpn.server.auth_token import EXPIRED, PREFIX, SESSION_ID, AuthToken, AuthTokens, parse_secret

SECRET = bytes(range(32))
NOW = 1_700_000_000


def tokens(lifetime: int = 0, renewal: int = 100, secret: bytes = SECRET) -> AuthTokens:
    return AuthTokens(secret, lifetime=lifetime, renewal=renewal)


def test_a_token_is_what_the_format_says() -> None:
    before = AuthToken(b"twelve bytes", NOW, NOW + 50)
    token, text = tokens().issue("amy", NOW + 120.7, before)
    assert token == AuthToken(b"twelve bytes", NOW, NOW + 120)
    signed = b"twelve bytes" + NOW.to_bytes(8, "big") + (NOW + 120).to_bytes(8, "big")
    mac = hmac.digest(SECRET, b"amy" + signed, "sha256")
    assert text == "SESS_ID_AT_" + base64.b64encode(signed + mac).decode()
    assert len(text) == 11 + 80
    assert tokens().judge("amy", text, NOW + 130, before) == token


def test_every_session_has_an_id_of_its_own() -> None:
    made = [tokens().issue("amy", NOW, None)[0] for _ in range(20)]
    assert {len(token.session_id) for token in made} == {SESSION_ID}
    assert len({token.session_id for token in made}) == 20
    assert {(token.begun, token.made) for token in made} == {(NOW, NOW)}


def test_a_users_name_may_be_any_bytes() -> None:
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    token, text = tokens().issue(name, NOW, None)
    assert tokens().judge(name, text, NOW, token) == token


@pytest.mark.parametrize(
    ("rules", "begun", "made", "now", "taken"),
    [
        ({}, 0, 0, 199, True),
        ({}, 0, 0, 200, False),
        ({}, 0, 900, 1099, True),
        ({"renewal": 0}, 0, 0, 1_000_000, True),
        ({"lifetime": 150}, 0, 100, 150, True),
        ({"lifetime": 150}, 0, 100, 151, False),
        ({}, 0, 50, 49, False),
        ({}, 60, 50, 70, False),
    ],
)
def test_a_token_grows_old(rules: dict[str, Any], begun: int, made: int, now: int, taken: bool) -> None:
    judge = tokens(**rules)
    token = AuthToken(bytes(SESSION_ID), NOW + begun, NOW + made)
    _, text = judge.issue("amy", NOW + made, token)
    if taken:
        assert judge.judge("amy", text, NOW + now, None) == token
    else:
        with pytest.raises(ValueError, match=f"^{EXPIRED}$"):
            judge.judge("amy", text, NOW + now, None)


def test_another_users_servers_or_sessions_token_is_none() -> None:
    token, text = tokens().issue("amy", NOW, None)
    other, _ = tokens().issue("amy", NOW, None)
    for judge, user, known, words in (
        (tokens(), "bob", None, "made by another server, or for another user"),
        (tokens(secret=bytes(32)), "amy", None, "made by another server, or for another user"),
        (tokens(), "amy", other, "belongs to another session"),
    ):
        with pytest.raises(ValueError, match=words):
            judge.judge(user, text, NOW, known)
    assert tokens().judge("amy", text, NOW, token) == token


def test_every_changed_or_missing_letter_is_noticed() -> None:
    _, text = tokens().issue("amy", NOW, None)
    for at in range(len(PREFIX), len(text)):
        for forged in (
            text[:at],
            text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :],
            text[:at] + "*",
        ):
            with pytest.raises(ValueError, match="made by another server, or for another user"):
                tokens().judge("amy", forged, NOW, None)


def test_the_secret_of_a_key_file() -> None:
    name = "OpenVPN auth-token server key"
    assert parse_secret(pem.build(name, bytes(64) + bytes(range(64)))) == SECRET
    for wrong in (b"", b"text", pem.build(name, bytes(64)), pem.build("another", bytes(128))):
        with pytest.raises(ValueError, match=name):
            parse_secret(wrong)
