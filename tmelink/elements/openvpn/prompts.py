"""Passwords that no file holds: from a credential of systemd's, from the terminal, or from systemd's agents.

Asked once, when a link or server opens. What there is comes first: a credential `NAME.OPTION` or `OPTION`
(systemd.exec(5), "Credentials"; NAME is the element's), the terminal that tmelink was started from,
`systemd-ask-password`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import getpass
import os
import shutil
import sys
import termios
import threading
from pathlib import Path
from typing import Any

from tmelink.elements.openvpn.sessions import Answers, Files
from tmelink.errors import ElementError
from tmelink.openvpn.options.values import StaticChallenge, TlsOptions
from tmelink.openvpn.session import Challenge
from tmelink.openvpn.tls.settings import Credentials

NO_PASSWORD = "[[BLANK]]"
"""What OpenVPN sends for a password under `--auth-user-pass username-only`."""

ANSWER_SECONDS = 90
"""For an answer through systemd's agents (the default of systemd-ask-password)."""


class _NobodyError(ElementError):
    """There is nobody to ask."""


async def answers(name: str, tls: TlsOptions, files: Files) -> Answers:
    """User, password and passphrase for the element `name`, read or asked for; raises `ElementError`."""
    passphrase: bytes | None = None
    if tls.asks_passphrase:
        given = _credential(name, "askpass")
        passphrase = (given or await _ask(name, "--askpass", "Passphrase of the private key")).encode()
    elif tls.askpass is not None:
        passphrase = next(iter(files.secret(tls.askpass, "askpass").splitlines()), b"")
    return Answers(await _credentials(name, tls, files), passphrase)


async def answer_challenge(name: str, challenge: Challenge) -> str:
    """Somebody's answer to a server's question; raises `ElementError` if there is nobody to ask."""
    try:
        return await _ask(name, "crtext", challenge.text, echo=challenge.echo)
    except _NobodyError:
        raise ElementError("there is no terminal to ask at, and no password agent of systemd") from None


async def open_browser(address: str) -> None:
    """Open an address with xdg-open(1) where an ordinary user sits at a screen; root has no browser."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    program = shutil.which("xdg-open")
    if screen and program is not None and os.geteuid() != 0:
        process = await asyncio.create_subprocess_exec(
            program, address, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await process.wait()


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
    """Somebody's answer; raises `ElementError` if there is nobody to ask."""
    question = f"{name}: {prompt}: "
    if sys.stdin is not None and sys.stdin.isatty():
        async with _terminal():
            return await _typed(question, echo)
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
    raise _NobodyError(
        f"{option} names no file, and there is no terminal to ask at: write a file's name after it, or give "
        f"the credential '{option.removeprefix('--')}' (LoadCredential= of systemd)"
    )


async def _typed(question: str, echo: bool) -> str:
    """A line from the terminal.

    Nothing can end the read but the line, so the thread is left behind when the question is withdrawn, and
    the terminal shows again what is typed.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(text: str, error: Exception | None) -> None:
        if answer.done():
            return
        answer.set_result(text) if error is None else answer.set_exception(error)

    def read() -> None:
        text, problem = "", None
        try:
            text = _read_line(question, echo)
        except Exception as error:  # for whoever waits
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, text, problem)

    before = _terminal_modes()
    threading.Thread(target=read, daemon=True).start()
    try:
        return await answer
    except asyncio.CancelledError:
        if before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
        raise


def _terminal_modes() -> list[Any] | None:
    try:
        return termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):
        return None


def _read_line(question: str, echo: bool) -> str:
    try:
        return input(question) if echo else getpass.getpass(question)
    except EOFError:
        raise ElementError("no answer was given") from None


_asking = asyncio.Lock()


def _terminal() -> asyncio.Lock:
    """One question at a time: all elements open at once, and there is one terminal."""
    return _asking
