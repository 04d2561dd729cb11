"""OCC, OpenVPN's configuration control: options compared, path and round trip measured, an exit announced.

Knows the messages (magic, opcode, body; OpenVPN 2.6, occ.h), the comparison of two options strings and the
timetable of requests and of --mtu-test. Does not know how a message is sealed: it travels as a frame would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tmelink.openvpn.session import Measured, Notice, Restart, SessionEvent
from tmelink.printable import printable

MAGIC: Final = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")

REQUEST, REPLY, MTU_LOAD_REQUEST, MTU_LOAD, MTU_REQUEST, MTU_REPLY, EXIT = range(7)

REQUEST_SECONDS: Final = 10.0
"""Between two requests for the peer's options, the first this long after the start (as OpenVPN)."""
REQUEST_TRIES: Final = 11
"""Requests without a reply before giving up (as OpenVPN)."""
LOAD_SECONDS: Final = 3.0
"""Between two steps of --mtu-test (as OpenVPN)."""
LOAD_STEPS: Final = (-1000, -750, -500, -400, -300, -200, -150, -100, -50, 0)
"""Sizes tried by --mtu-test, below the largest datagram that the options allow (as OpenVPN)."""
LOAD_REPEATS: Final = 3
ANSWER_SECONDS: Final = 1.0
"""At most one answer in this time without a key: 17 forged bytes must not buy a packet each."""
MAX_WARNINGS: Final = 20
"""The most differences reported for one options string; it has no more options than that."""
NOT_COMPARED: Final = ("key-method", "keydir", "proto", "tls-auth", "tun-ipv6", "cipher", "ifconfig")
"""Options whose difference means nothing: OpenVPN 2.6 skips them too, except for ifconfig, which is here
the business of another element."""


def message(opcode: int, body: bytes = b"") -> bytes:
    """One OCC message."""
    return MAGIC + bytes((opcode,)) + body


def differences(expected: str, actual: str) -> list[str]:
    """How the peer's options string differs from the expected one, in OpenVPN's words."""
    ours = _by_name(expected)
    theirs = _by_name(actual)
    told: list[str] = []
    for name, option in ours.items():
        other = theirs.get(name)
        if other is None:
            told.append(f"'{name}' is present in local config but missing in remote config, local='{option}'")
        elif other != option:
            told.append(f"'{name}' is used inconsistently, local='{option}', remote='{printable(other)}'")
    for name, option in theirs.items():
        if name not in ours:
            name = printable(name)
            option = printable(option)
            told.append(
                f"'{name}' is present in remote config but missing in local config, remote='{option}'"
            )
    return told[:MAX_WARNINGS]


def _by_name(options: str) -> dict[str, str]:
    named: dict[str, str] = {}
    for option in f"version {options}".split(","):
        name = option.split(" ", 1)[0]
        if name and name not in NOT_COMPARED:
            named[name] = option
    return named


class Occ:
    """The OCC side of one session.

    `local` is the options string told to the peer, `remote` the one expected from it; `largest` the size in
    bytes of the largest datagram that the options allow.
    """

    __slots__ = (
        "_answered",
        "_asked_at",
        "_asked_twice",
        "_compared",
        "_limited",
        "_load",
        "_next_load",
        "_next_request",
        "_tries",
        "largest",
        "local",
        "overhead",
        "received",
        "remote",
        "sent",
        "told",
    )

    def __init__(
        self,
        local: str,
        remote: str,
        *,
        enabled: bool = True,
        mtu_test: bool = False,
        largest: int = 1500,
        overhead: int = 0,
        limited: bool = True,
    ) -> None:
        """`enabled` is False under --disable-occ, which asks nothing and compares nothing, but still answers;
        `overhead` is what a session adds to a message on its way to the wire, in bytes. `limited` says that
        no key shows who asks. `sent` and `received` are the largest load messages so far, as they are on the
        wire; `told` is the peer's options string once it has come.
        """
        self.local = local
        self.remote = remote
        self.largest = largest
        self.overhead = overhead
        self.sent = 0
        self.received = 0
        self._limited = limited
        self._compared = not enabled
        self._tries = 0 if enabled else REQUEST_TRIES
        self._next_request: float | None = None
        self._next_load: float | None = None
        self._load: Iterator[tuple[int, int]] | None = _load_test() if mtu_test else None
        self._answered: float | None = None
        self._asked_at: float | None = None
        self._asked_twice = False
        self.told: str | None = None

    def start(self, now: float) -> None:
        """Begin the timetable."""
        if self._tries < REQUEST_TRIES:
            self._next_request = now + REQUEST_SECONDS
        if self._load is not None:
            self._next_load = now + LOAD_SECONDS

    def due(self, now: float, random: Callable[[int], bytes]) -> tuple[list[bytes], list[SessionEvent]]:
        """The messages to send now, and what there is to tell."""
        messages: list[bytes] = []
        events: list[SessionEvent] = []
        if self._next_request is not None and now >= self._next_request:
            self._tries += 1
            self._next_request = now + REQUEST_SECONDS if self._tries < REQUEST_TRIES else None
            messages.append(message(REQUEST))
        if self._load is not None and self._next_load is not None and now >= self._next_load:
            step = next(self._load, None)
            if step is None:
                self._next_load = None
                events.append(Notice("info", "the MTU test ended without a result: the peer did not answer"))
            else:
                self._next_load = now + LOAD_SECONDS
                messages.append(self._load_message(*step, random))
        return messages, events

    def probe(self, payloads: Sequence[int], now: float, random: Callable[[int], bytes]) -> list[bytes]:
        """Load messages of these lengths in bytes, and the question what the largest one is that has come."""
        self._asked_twice = self._asked_at is not None
        self._asked_at = now
        loads = [message(MTU_LOAD, random(max(0, size - len(MAGIC) - 1))) for size in payloads]
        return [*loads, message(MTU_REQUEST)]

    def deadline(self) -> float | None:
        """When `due` has something to send, or None."""
        request, load = self._next_request, self._next_load
        return request if load is None else load if request is None else min(request, load)

    def receive(
        self, body: bytes, now: float, random: Callable[[int], bytes]
    ) -> tuple[list[bytes], list[SessionEvent]]:
        """One message of the peer, `body` being what follows the magic: what to answer, what to tell."""
        opcode = body[0] if body else -1
        if opcode in (REQUEST, MTU_REQUEST, MTU_LOAD_REQUEST):
            return self._answer(opcode, body[1:3], now, random), []
        if opcode == REPLY:
            return [], self._reply(body[1:])
        if opcode == MTU_LOAD:
            self.received = max(self.received, len(MAGIC) + len(body) + self.overhead)
        if opcode == MTU_REPLY and len(body) >= 5:
            received, sent = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
            return [], [*self._answer_to_probe(received, now), *self._test_result(received, sent)]
        if opcode == EXIT:
            return [], [Restart("the peer says that it exits")]
        return [], []

    def _answer(
        self, opcode: int, argument: bytes, now: float, random: Callable[[int], bytes]
    ) -> list[bytes]:
        if self._limited and self._answered is not None and now < self._answered + ANSWER_SECONDS:
            return []
        self._answered = now
        if opcode == REQUEST:
            return [message(REPLY, self.local.encode() + b"\0")]
        if opcode == MTU_REQUEST:
            return [
                message(MTU_REPLY, min(self.received, 65535).to_bytes(2) + min(self.sent, 65535).to_bytes(2))
            ]
        return [self._load_message(MTU_LOAD, int.from_bytes(argument) - self.largest, random)]

    def _load_message(self, opcode: int, delta: int, random: Callable[[int], bytes]) -> bytes:
        size = max(0, min(self.largest + delta, self.largest))
        if opcode == MTU_LOAD_REQUEST:
            return message(opcode, size.to_bytes(2))
        if opcode == MTU_LOAD:
            self.sent = max(self.sent, size)
            return message(opcode, random(max(0, size - self.overhead - len(MAGIC) - 1)))
        return message(opcode)

    def _reply(self, body: bytes) -> list[SessionEvent]:
        self._next_request = None
        actual = self.told = body.split(b"\0", 1)[0].decode("ascii", "replace")
        if self._compared:
            return []
        self._compared = True
        return [Notice("warning", told) for told in differences(self.remote, actual)]

    def _answer_to_probe(self, received: int, now: float) -> list[SessionEvent]:
        asked_at, self._asked_at = self._asked_at, None
        if asked_at is None:
            return []
        round_trip = None if self._asked_twice else now - asked_at
        return [Measured(round_trip, max(0, received - self.overhead))]

    def _test_result(self, received: int, sent: int) -> list[SessionEvent]:
        if self._load is None or not received or not sent:
            return []
        self._load = self._next_load = None
        text = (
            f"MTU test [tried, arrived]: local to remote [{self.sent}, {received}], "
            f"remote to local [{sent}, {self.received}]"
        )
        events: list[SessionEvent] = [Notice("info", text)]
        if received < self.sent or self.received < sent:
            text = f"datagrams of {self.sent} bytes do not pass; --fragment or --mssfix would help"
            events.append(Notice("warning", text))
        return events


def _load_test() -> Iterator[tuple[int, int]]:
    for delta in LOAD_STEPS:
        for _ in range(LOAD_REPEATS):
            yield MTU_LOAD_REQUEST, delta
            yield MTU_LOAD, delta
    for _ in range(10):
        yield MTU_REQUEST, 0
