"""The table of users: lines made, read, and what is no line."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tmelink.openvpn.server.users import Users, line

SALT = bytes(range(16))
AMY = line("amy", "open sesame", SALT)


def test_the_hash_is_scrypt() -> None:
    """RFC 7914's function with the parameters that the line names; made with hashlib alone."""
    digest = hashlib.scrypt(b"open sesame", salt=SALT, n=1 << 14, r=8, p=1, dklen=32)
    written = base64.b64encode(digest).decode().rstrip("=")
    assert f"amy:$scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw${written}" == AMY


def test_only_the_right_password_is_admitted() -> None:
    users = Users(f"# those who may come in\n\n{AMY}\n{line('a:b', 'colon', SALT)}\n")
    assert len(users) == 2
    assert users.admits("amy", "open sesame")
    assert users.admits("a:b", "colon")
    for user, password in (
        ("amy", "open"),
        ("amy", b"\xff\xfe".decode("utf-8", "surrogateescape")),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "open sesame"),
        ("amy", ""),
        ("eve", "open sesame"),
        ("", ""),
        ("amy", "x" * 5000),
    ):
        assert not users.admits(user, password)


@pytest.mark.parametrize(
    "text",
    [
        "amy:open sesame",
        "amy:$scrypt$ln=31,r=8,p=1$AAEC$AAEC",
        "amy:$scrypt$ln=14,r=8,p=1$AAEC$AAEC",
        AMY[:-9],
        AMY.removeprefix("amy"),
    ],
)
def test_what_is_no_line_is_told_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="line 2") as told:
        Users(f"{AMY}\n{text}\n")
    assert "sesame" not in str(told.value)


@pytest.mark.parametrize("user", ["", " amy", "#amy", "a\nb"])
def test_names_that_cannot_stand_in_a_line(user: str) -> None:
    with pytest.raises(ValueError, match="cannot be a user's name"):
        line(user, "x", SALT)
