"""A client's side of pushed options: asking, waiting, taking, and being refused.

Keeps the timetable of requests and the options that have come so far; what they change of the session it
tells in return values. Knows no keys.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from tmelink.openvpn.liveness import LivenessTimers
from tmelink.openvpn.session import (
    AuthFailed,
    Exit,
    LoginAddress,
    Notice,
    Onward,
    Pushed,
    Restart,
    SessionEvent,
    Token,
)
from tmelink.openvpn.tls import negotiated, push_messages
from tmelink.openvpn.tls.key_method import Message
from tmelink.openvpn.tls.negotiated import NegotiatedOptions
from tmelink.openvpn.tls.settings import Credentials, TlsSettings
from tmelink.printable import printable

REQUEST_SECONDS: Final = 5.0
"""Between two requests for options (OpenVPN's PUSH_REQUEST_INTERVAL)."""


MAX_ADDRESS: Final = 2048
"""Characters of an address to log in at: it is of no use when it is cut."""


class PullResult(NamedTuple):
    """What a message came to: events to tell, and what was agreed, once it is."""

    events: list[SessionEvent]
    negotiated: NegotiatedOptions | None = None


class PullClient:
    """The state of one client; `credentials` change to the token that a server gives."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self.credentials = settings.credentials
        self.request_at: float | None = None
        self.answer_by: float | None = None
        self._token_user = ""
        """The user of the server's token, where that is another than the own one (auth-token-user)."""
        self._options: list[str] = []
        self._pushed: tuple[str, ...] = ()
        self._changes: list[push_messages.PushedChange] = []

    def start(self, now: float) -> None:
        """The control channel stands: ask from now on, for as long as a handshake may take."""
        if self.answer_by is None:
            self.request_at = now
            self.answer_by = now + self._settings.control.hand_window

    def restart(self) -> None:
        """The server has restarted: what it pushed counts no more, and is asked for again."""
        self.request_at = self.answer_by = None
        self._options, self._changes = [], []

    def request_due(self, now: float) -> bool:
        """Whether to ask (again) now."""
        if self.request_at is None or now < self.request_at:
            return False
        self.request_at = now + REQUEST_SECONDS
        return True

    def message(self, text: str, remote: Message, *, agreed: bool, now: float) -> PullResult | None:
        """Take a message of the server, or None if it is not for a client."""
        if (reply := push_messages.parse_reply(text)) is not None:
            return self._reply(reply, remote, agreed)
        if (update := push_messages.parse_update(text)) is not None:
            return self._update(*update) if agreed else None
        if (refusal := push_messages.parse_refusal(text)) is not None:
            return PullResult(self._refused(refusal))
        if (address := push_messages.parse_login_address(text)) is not None:
            return PullResult([LoginAddress(printable(address, MAX_ADDRESS))])
        if (challenge := push_messages.parse_challenge(text)) is not None:
            return PullResult([challenge])
        if (pending := push_messages.parse_pending(text)) is not None:
            longest = max(self._settings.control.reneg_sec / 2, self._settings.control.hand_window)
            if self.answer_by is not None:
                self.answer_by = now + min(pending or self._settings.control.hand_window, longest)
            return PullResult([Notice("info", "the server has deferred its decision about this client")])
        if (farewell := push_messages.parse_farewell(text, push_messages.RESTART)) is not None:
            onward: Onward = "address" if farewell.next_server else "here"
            return PullResult([Restart(_with_reason("the server restarts", farewell.reason), onward)])
        if (farewell := push_messages.parse_farewell(text, push_messages.HALT)) is not None:
            return PullResult([Exit(_with_reason("the server ends the link", farewell.reason))])
        return None

    def _reply(self, reply: push_messages.PushReply, remote: Message, agreed: bool) -> PullResult:
        self._options += reply.options
        if len(self._options) > push_messages.MAX_OPTIONS:
            return PullResult([Restart("the server never stops pushing options")])
        if reply.more:
            return PullResult([])
        options, self._options = self._options, []
        kept, rejected = push_messages.filtered(options, self._settings.pull_filters)
        if rejected is not None:
            option = printable(rejected)
            return PullResult([Restart(f"the server pushes '{option}', which --pull-filter rejects")])
        dropped = [option for option in options if option not in kept]
        events: list[SessionEvent] = []
        users = [option.partition(" ")[2] for option in kept if option.startswith("auth-token-user ")]
        self._token_user = next((user for user in map(_decoded, users) if user), self._token_user)
        for option in kept:
            name, _, value = option.partition(" ")
            if name == "auth-token" and value:
                user = self._token_user or (self.credentials.username if self.credentials else "")
                self.credentials = Credentials(user, value)
                events.append(Token(user, value))
        if agreed:
            return PullResult(events)  # a renewal: only a new token comes so late
        settled = negotiated.pushed(self._settings, remote, kept)
        if isinstance(settled, str):
            return PullResult([*events, Restart(settled)])
        self.request_at = self.answer_by = None
        self._pushed = tuple(option for option in kept if not option.startswith("auth-token"))
        return PullResult([*events, Pushed(self._pushed, tuple(dropped))], settled)

    def _update(self, changes: Sequence[push_messages.PushedChange], more: bool) -> PullResult:
        """The server changes what it has pushed (PUSH_UPDATE)."""
        self._changes += changes
        if len(self._changes) > push_messages.MAX_OPTIONS:
            return PullResult([Restart("the server never stops pushing options")])
        if more:
            return PullResult([])
        changes, self._changes = self._changes, []
        taken = []
        for change in changes:
            kept, rejected = push_messages.filtered([change.option], self._settings.pull_filters)
            if rejected is not None or change.name not in push_messages.UPDATABLE:
                if change.optional:
                    continue
                why = "--pull-filter rejects" if rejected is not None else "cannot be changed while it is up"
                return PullResult([Restart(f"the server pushes '{printable(change.option)}', which {why}")])
            taken += [change] if kept else []
        self._pushed = tuple(push_messages.updated(self._pushed, taken))
        return PullResult([Pushed(self._pushed)])

    def _refused(self, refusal: push_messages.Refusal) -> list[SessionEvent]:
        reason, temporary, wait, onward = refusal
        text = _with_reason("the server refuses this client", reason or "no reason given")
        token_refused = self.credentials is not self._settings.credentials
        again = temporary or token_refused or self._settings.auth_retry == "nointeract"
        return [AuthFailed(reason, temporary, wait), Restart(text, onward) if again else Exit(text)]


def _with_reason(what: str, reason: str) -> str:
    """What the server does, with its own words for it if there are any."""
    return f"{what}: {printable(reason)}" if reason else what


def _decoded(text: str) -> str:
    """Text that a server writes in base64; empty if it is not."""
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "surrogateescape")
    except ValueError:
        return ""


def follow_timers(liveness: LivenessTimers, options: Sequence[str], now: float) -> None:
    """Take over the timers that a server pushes."""
    for option in options:
        name, _, value = option.partition(" ")
        if name in ("ping", "ping-restart", "ping-exit") and value.isascii() and value.isdigit():
            seconds = float(value[:9])
            if name == "ping":
                liveness.ping = seconds
            elif name == "ping-restart":
                liveness.ping_restart, liveness.ping_exit = seconds, 0
            else:
                liveness.ping_exit, liveness.ping_restart = seconds, 0
        elif name == "keepalive" and re.fullmatch("[0-9]{1,9} [0-9]{1,9}", value):
            liveness.ping, liveness.ping_restart = map(float, value.split())
            liveness.ping_exit = 0
    liveness.last_received = now
