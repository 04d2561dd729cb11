"""Passwords that no file holds: from a credential, at a terminal, or a sentence that says what to do."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import os
import pty
import sys
from pathlib import Path

import pytest

from tmelink.elements.openvpn import prompts
from tmelink.elements.openvpn.sessions import Answers, Files
from tmelink.errors import ElementError
from tmelink.openvpn.options.values import StaticChallenge, TlsOptions
from tmelink.openvpn.secret import Material
from tmelink.openvpn.tls.settings import Credentials

FILES = Files(logging.getLogger("test"))
ASKS = TlsOptions("client", asks_user_pass="both")


def answers(tls: TlsOptions) -> Answers:
    return asyncio.run(prompts.answers("/lab/link0", tls, FILES))


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal, no systemd."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def test_nobody_to_ask(nobody: None) -> None:
    with pytest.raises(ElementError, match="--auth-user-pass names no file, and there is no terminal"):
        answers(ASKS)
    with pytest.raises(ElementError, match="--askpass names no file"):
        answers(TlsOptions("client", asks_passphrase=True))


def test_a_credential(nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the element goes before that of all."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "auth-user-pass").write_text("amy\nsesame\n")
    (tmp_path / "askpass").write_text("open\n")
    both = TlsOptions("client", asks_user_pass="both", asks_passphrase=True)
    assert answers(both) == Answers(Credentials("amy", "sesame"), b"open")
    (tmp_path / "lab.link0.auth-user-pass").write_text("bob\nbarley\n")
    assert answers(ASKS).credentials == Credentials("bob", "barley")


def test_at_a_terminal(nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password is asked for where the file holds only the name; what is typed is not shown."""
    master, slave = pty.openpty()
    with open(slave, "r+b", buffering=0) as raw:
        terminal = io.TextIOWrapper(raw, line_buffering=True, write_through=True)
        monkeypatch.setattr(sys, "stdin", terminal)
        asked: list[str] = []

        def typed(question: str, echo: bool) -> str:
            asked.append(f"{question}{echo}")
            return {True: "amy", False: "sesame"}[echo]

        monkeypatch.setattr(prompts, "_read_line", typed)
        assert answers(ASKS).credentials == Credentials("amy", "sesame")
        file = tmp_path / "up"
        file.write_text("bob\n")
        file.chmod(0o600)
        found = answers(TlsOptions("client", auth_user_pass=Material(path=str(file))))
        assert found.credentials == Credentials("bob", "sesame")
        only = answers(TlsOptions("client", asks_user_pass="username"))
        assert only.credentials == Credentials("amy", "[[BLANK]]")
    os.close(master)
    assert asked == [
        "/lab/link0: User: True",
        "/lab/link0: Password of amy: False",
        "/lab/link0: Password of bob: False",
        "/lab/link0: User: True",
    ]


def test_an_answer_beside_the_password() -> None:
    scrv1, concat = (StaticChallenge("Code", True, form) for form in ("scrv1", "concat"))
    answered = prompts.answered(scrv1, "sesame", "123")
    assert answered == f"SCRV1:{base64.b64encode(b'sesame').decode()}:{base64.b64encode(b'123').decode()}"
    assert prompts.answered(concat, "sesame", "123") == "sesame123"


def test_a_file_without_a_name(tmp_path: Path) -> None:
    file = tmp_path / "up"
    file.write_text("\nsesame\n")
    file.chmod(0o600)
    with pytest.raises(ElementError, match="must begin with a user name"):
        answers(TlsOptions("client", auth_user_pass=Material(path=str(file))))
