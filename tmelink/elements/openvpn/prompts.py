"""Passwords that no file holds: from a credential of systemd's, from the terminal, or from systemd's agents.

Asked once, when a link or server opens. What there is comes first: a credential `NAME.OPTION` or `OPTION`
(systemd.exec(5), "Credentials"; NAME is the element's), the terminal that tmelink was started from,
`systemd-ask-password`.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import os
import shutil
import sys
from pathlib import Path

from tmelink.elements.openvpn.sessions import Answers, Files
from tmelink.errors import ElementError
from tmelink.openvpn.options.values import StaticChallenge, TlsOptions
from tmelink.openvpn.tls.settings import Credentials

NO_PASSWORD = "[[BLANK]]"
"""What OpenVPN sends for a password under `--auth-user-pass username-only`."""

ANSWER_SECONDS = 90
"""For an answer through systemd's agents (the default of systemd-ask-password)."""


async def answers(name: str, tls: TlsOptions, files: Files) -> Answers:
    """User, password and passphrase for the element `name`, read or asked for; raises `ElementError`."""
    passphrase: bytes | None = None
    if tls.asks_passphrase:
        given = _credential(name, "askpass")
        passphrase = (given or await _ask(name, "--askpass", "Passphrase of the private key")).encode()
    elif tls.askpass is not None:
        passphrase = next(iter(files.secret(tls.askpass, "askpass").splitlines()), b"")
    return Answers(await _credentials(name, tls, files), passphrase)


async def _credentials(name: str, tls: TlsOptions, files: Files) -> Credentials | None:
    if tls.auth_user_pass is None and tls.asks_user_pass == "no":
        return None
    given = files.secret(tls.auth_user_pass, "auth-user-pass").decode("utf-8", "surrogateescape")
    lines = (given or _credential(name, "auth-user-pass") or "").splitlines()
    if lines and not lines[0]:
        raise ElementError("--auth-user-pass: the file must begin with a user name")
    option = "--auth-user-pass"
    user = lines[0] if lines else await _ask(name, option, "User", echo=True)
    if tls.asks_user_pass == "username":
        return Credentials(user, NO_PASSWORD)
    password = lines[1] if len(lines) > 1 else await _ask(name, option, f"Password of {user}")
    if tls.static_challenge is not None:
        challenge = tls.static_challenge
        answer = await _ask(name, "--static-challenge", challenge.text, echo=challenge.echo)
        password = answered(challenge, password, answer)
    return Credentials(user, password)


def answered(challenge: StaticChallenge, password: str, answer: str) -> str:
    """Password and answer as OpenVPN sends them (doc/management-notes.txt, "Static challenge")."""
    if challenge.format == "concat":
        return password + answer
    both = (base64.b64encode(text.encode("utf-8", "surrogateescape")).decode() for text in (password, answer))
    return "SCRV1:" + ":".join(both)


def _credential(name: str, option: str) -> str | None:
    """A credential that the service manager hands on."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    for file in () if directory is None else (f"{name.strip('/').replace('/', '.')}.{option}", option):
        path = Path(str(directory), file)
        if path.is_file():
            return path.read_text("utf-8", "surrogateescape").rstrip("\n")
    return None


async def _ask(name: str, option: str, prompt: str, *, echo: bool = False) -> str:
    """Somebody's answer; raises `ElementError` where there is nobody to ask."""
    question = f"{name}: {prompt}: "
    if sys.stdin is not None and sys.stdin.isatty():
        async with _terminal():
            return await asyncio.to_thread(_read_line, question, echo)
    program = shutil.which("systemd-ask-password")
    if program is not None and os.path.isdir("/run/systemd/system"):  # noqa: ASYNC240 - no disk
        words = [
            f"--timeout={ANSWER_SECONDS}",
            *(["--echo=yes"] if echo else []),
            "--",
            question.rstrip(": "),
        ]
        process = await asyncio.create_subprocess_exec(program, *words, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        if process.returncode == 0:
            return said.decode("utf-8", "surrogateescape").rstrip("\n")
    raise ElementError(
        f"{option} names no file, and there is no terminal to ask at: write a file's name after it, or give "
        f"the credential '{option.removeprefix('--')}' (LoadCredential= of systemd)"
    )


def _read_line(question: str, echo: bool) -> str:
    try:
        return input(question) if echo else getpass.getpass(question)
    except EOFError:
        raise ElementError("no answer was given") from None


_asking = asyncio.Lock()


def _terminal() -> asyncio.Lock:
    """One question at a time: all elements open at once, and there is one terminal."""
    return _asking
