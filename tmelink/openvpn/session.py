"""A session as a value: what a link does with datagrams, frames and time, without any I/O.

The shell around it (`tmelink.elements.openvpn.link`) owns sockets and clock. It calls `connected` once, then
`receive`, `send` and `tick`, does what the returned `Step` asks, and calls `tick` again at `deadline`.
Times are seconds of any monotonic clock, passed in as `now`. Nothing here raises for what a peer sends:
it is dropped and counted in `drops`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from tmelink.frame import Frame, Run, SuperFrame

Item = Frame | Run
"""One datagram or frame, or a run of equal-sized ones."""

Carried = Item | SuperFrame
"""What goes to or comes from the machine; a super-frame only where both ends have --super-frames."""


@dataclass(frozen=True, slots=True)
class Up:
    """The peer has been heard and, where there are keys, is who it should be."""

    detail: str = ""


Onward = Literal["here", "address", "remote"]
"""Where the next attempt goes: to the same address, the next one of the same name, or the next `--remote`."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The session is over; the shell begins a new one (OpenVPN's SIGUSR1).

    `onward` None means: to the same address if the peer had been up there, else to the next. The shell pauses
    first unless the session has waited long enough itself (`at_once`).
    """

    reason: str
    onward: Onward | None = None
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Exit:
    """The link is over for good (OpenVPN's SIGTERM)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should read in the log; with `once` the link says it no second time."""

    level: Literal["info", "warning", "error"]
    text: str
    once: bool = False


@dataclass(frozen=True, slots=True)
class Pushed:
    """The server's options for this client, as lines of a configuration; the first time `Up` follows.

    `dropped` are those that --pull-filter leaves out.
    """

    options: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthFailed:
    """The server refuses this client; `Restart` or `Exit` follows. `wait` is in seconds, None for any."""

    reason: str
    temporary: bool = False
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A password that the server gives for the rest of this session and for the next one."""

    username: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoginAddress:
    """The server wants somebody to log in at this address, in a browser, and waits for that."""

    address: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """A question of the server's, which `TlsSession.respond` answers; `echo` lets the answer be seen.

    One whose answer is not `required` only wants to be read.
    """

    text: str
    echo: bool
    required: bool


@dataclass(frozen=True, slots=True)
class Joining:
    """A client has shown who it is and waits to be admitted or refused.

    The names are those of its certificate, empty without one; user name and password as it gave them.
    `renewed` tells a client that negotiates new keys from one that has just come.
    """

    common_name: str
    fingerprint: str
    username: str
    password: str = field(repr=False)
    peer_info: Mapping[str, str]
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class Security:
    """How a session is protected now; None for what it has not, or not yet.

    `keys_since` is in the clock that the session is given, `tls` names version and cipher of the control
    channel, `peer_name` is the common name of the peer's certificate, `negotiated` what else both agreed on.
    `round_trip` is the seconds to the quickest acknowledgement while these keys were negotiated, `handshakes`
    how many negotiations of keys the session has completed.
    """

    cipher: str | None = None
    keys_since: float | None = None
    tls: str | None = None
    peer_name: str | None = None
    negotiated: tuple[str, ...] = ()
    round_trip: float | None = None
    handshakes: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """The peer's answer to `Session.probe`.

    `round_trip` is in seconds, None if an earlier question may be what is answered. `arrived` is the
    longest payload in bytes that the peer says has reached it, an estimate where a block cipher pads.
    """

    round_trip: float | None
    arrived: int


SessionEvent = (
    Up | Restart | Exit | Notice | Pushed | AuthFailed | Token | LoginAddress | Challenge | Joining | Measured
)


class Step(NamedTuple):
    """What a session asks its shell to do, `answers` first and then in this order.

    `wire` goes to the peer, `frames` to the machine; `authentic` says that at least one of the datagrams
    given to `receive` was the peer's beyond doubt, sealed in keys that it has agreed on or the last of the
    handshake in which it did, so that a link may follow its address. `answers` go each to the address that
    stands before it, where somebody begins a session who is not, or not yet, the peer. `postpones` says that
    only data moved, which brings no deadline closer.
    """

    wire: Sequence[Item] = ()
    frames: Sequence[Carried] = ()
    events: Sequence[SessionEvent] = ()
    authentic: bool = False
    answers: Sequence[tuple[Hashable, Sequence[Item]]] = ()
    postpones: bool = False


NOTHING = Step()


class Session(Protocol):
    """The state machine of one link with one peer."""

    drops: Counter[str]
    spoken: bool
    """Whether anything that came was a packet of the session's protocol."""

    def connected(self, now: float) -> Step:
        """The transport can carry datagrams; for TCP, the connection stands."""
        ...

    def receive(self, datagrams: Sequence[Item], now: float, source: Hashable = None) -> Step:
        """Datagrams from the wire, without a stream's length prefix; all from the address `source`.

        None for `source` stands for the peer's own, where no other can be heard: on a connection.
        """
        ...

    def knows(self, datagram: Frame, now: float) -> bool:
        """Whether a datagram, the first of a session, is authentic under the link's key.

        Asked of a fresh session that is not used otherwise.
        """
        ...

    def send(self, frames: Sequence[Carried], now: float) -> Step:
        """Frames from the machine, none longer than a segment but for super-frames."""
        ...

    def seal_one(self, frame: Frame, now: float) -> Sequence[Item] | None:
        """What to send for one frame; None if the frame has to be given to `send`.

        A short path for an ordinary frame that comes alone: nothing follows from it but that a deadline may
        move back.
        """
        ...

    def open_one(self, datagram: Frame, now: float, source: Hashable = None) -> Frame | Step:
        """The frame that a datagram holds which arrived alone, or what `receive` returns for it.

        A short path for an ordinary frame: nothing follows from it but that a deadline may move back.
        """
        ...

    def tick(self, now: float) -> Step:
        """Time has passed; harmless at any time, needed at `deadline`."""
        ...

    def deadline(self) -> float | None:
        """When `tick` must be called next, or None."""
        ...

    def probe(self, payloads: Sequence[int], now: float) -> Step:
        """Send payloads of these lengths in bytes, and ask the peer what has arrived of such.

        `Measured` follows where it answers. Nothing of this is a frame of the machine's.
        """
        ...

    @property
    def answers(self) -> bool:
        """Whether the peer is known to answer `probe`."""
        ...

    def security(self) -> Security:
        """How it is protected at this moment."""
        ...

    def close(self, now: float) -> Step:
        """The shell ends the link: what to tell the peer first, in `wire`. Nothing follows."""
        ...
