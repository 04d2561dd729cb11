"""A client's login: what it shows its server next time, and what somebody is asked for meanwhile.

Knows neither sessions nor sockets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from tmelink.elements.openvpn.prompts import answer_challenge, open_browser
from tmelink.errors import ElementError
from tmelink.openvpn.session import AuthFailed, Challenge, LoginAddress, Token
from tmelink.openvpn.tls.settings import Credentials

LONGEST_BACKOFF = 3600.0
"""The most seconds that a server may ask a client to wait; more is not a temporary refusal."""


class Login:
    """Of the element `name`; `token` replaces its password, and `refusal` is the server's last word."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        self.token: Credentials | None = None
        self.refusal: AuthFailed | None = None
        self.backoff = 0.0
        """Seconds until the next attempt, as the server asks."""
        self._name = name
        self._log = log
        self._question: asyncio.Task[None] | None = None

    def refused(self, refusal: AuthFailed) -> None:
        """The server refuses this client: an expired token is forgotten, any other refusal remembered."""
        if self.token is None and not refusal.temporary:
            self.refusal = refusal
        self.backoff = min(refusal.wait or 0.0, LONGEST_BACKOFF)
        self.token = None

    def given(self, token: Token) -> None:
        """The server's token replaces the password from now on."""
        self.token = Credentials(token.username, token.token)

    def succeeded(self) -> None:
        """The server has taken this client."""
        self.refusal = None
        self.backoff = 0.0

    def log_in_at(self, login: LoginAddress) -> None:
        """The server wants somebody to log in with a browser: it is opened where somebody sits there."""
        self._log.warning("the server asks you to log in: open %s", login.address)
        self._ask(open_browser(login.address))

    def challenged(self, challenge: Challenge, respond: Callable[[str], None]) -> None:
        """The server asks somebody something, and waits for the answer."""
        if challenge.required:
            self._ask(self._answer(challenge, respond))
        else:
            self._log.warning("the server says: %s", challenge.text)

    async def close(self) -> None:
        """Withdraw the question."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.wait([self._question])
            self._question = None

    async def _answer(self, challenge: Challenge, respond: Callable[[str], None]) -> None:
        try:
            respond(await answer_challenge(self._name, challenge))
        except (ElementError, ValueError) as error:
            self._log.warning("the server asks '%s', but nobody answers: %s", challenge.text, error)

    def _ask(self, question: Coroutine[Any, Any, None]) -> None:
        """Ask one thing at a time; a server that asks anew wants no answer to what it asked before."""
        if self._question is not None:
            self._question.cancel()
        self._question = asyncio.get_running_loop().create_task(question)
