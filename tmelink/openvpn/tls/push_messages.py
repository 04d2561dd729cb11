"""What a server and its client say on the control channel once TLS stands: push, refusal, restart, exit.

Messages are text, each ended by a NUL. Read and written here; what an option means is others' business. The
words are those of OpenVPN's src/openvpn/push.c.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tmelink.openvpn.session import Challenge, Onward
from tmelink.openvpn.settings import PullFilter
from tmelink.printable import printable

BUNDLE = 1024
"""Bytes of one message that pushes options (PUSH_BUNDLE_SIZE); more are sent in a continuation."""

ROOM = 84
"""Bytes of a message that are left for the words around the options, as OpenVPN leaves them."""

MAX_OPTIONS = 4096
"""Options that a client takes from a server, over all continuations."""

MAX_PENDING = 64 * 1024
"""Bytes of an unfinished message on the control channel that are kept."""

PUSH_REQUEST = "PUSH_REQUEST"
PUSH_UPDATE = "PUSH_UPDATE"
EXIT = "EXIT"
RESTART = "RESTART"
HALT = "HALT"
CR_RESPONSE = "CR_RESPONSE"


class PushReply(NamedTuple):
    """A PUSH_REPLY: its options as they would stand in a file, and whether more follow."""

    options: list[str]
    more: bool


def split_messages(data: bytes) -> tuple[list[str], bytes]:
    """The complete messages in a stretch of the control channel, and the unfinished rest."""
    *complete, rest = data.split(b"\0")
    texts = [raw.rstrip(b"\r\n").decode("utf-8", "replace") for raw in complete]
    return [text for text in texts if text], rest


def parse_reply(message: str) -> PushReply | None:
    """The options of a PUSH_REPLY, or None for another message."""
    if message != "PUSH_REPLY" and not message.startswith("PUSH_REPLY,"):
        return None
    options = [option for option in message[11:].split(",") if option]
    more = False
    kept = []
    for option in options:
        if option.startswith("push-continuation "):
            more = option.split()[-1] == "2"
        else:
            kept.append(option)
    return PushReply(kept, more)


UPDATABLE = frozenset(
    {
        "block-ipv6", "block-outside-dns", "dhcp-option", "dns", "ifconfig", "ifconfig-ipv6", "keepalive",
        "redirect-gateway", "redirect-private", "route", "route-gateway", "route-ipv6", "route-metric",
        "topology", "tun-mtu",
    }
)  # fmt: skip
"""Options that a PUSH_UPDATE may change (OpenVPN's src/openvpn/options_util.c)."""


class PushedChange(NamedTuple):
    """One option of a PUSH_UPDATE: set, or taken back (`removed`); an `optional` one may be skipped."""

    option: str
    removed: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """The option's name."""
        return self.option.partition(" ")[0]


def parse_update(message: str) -> tuple[list[PushedChange], bool] | None:
    """The changes of a PUSH_UPDATE and whether more follow, or None for another message."""
    if message != PUSH_UPDATE and not message.startswith(f"{PUSH_UPDATE},"):
        return None
    changes, more = [], False
    for written in filter(None, (part.lstrip() for part in message[len(PUSH_UPDATE) + 1 :].split(","))):
        if written.startswith("push-continuation "):
            more = written.split()[-1] == "2"
            continue
        removed = written.startswith("-")
        bare = written.removeprefix("-")
        changes.append(PushedChange(bare.removeprefix("?"), removed, bare.startswith("?")))
    return changes, more


def updated(options: Sequence[str], changes: Iterable[PushedChange]) -> list[str]:
    """What has been pushed, after these changes: the first of a name replaces all with that name."""
    result = list(options)
    begun: set[str] = set()
    for change in changes:
        name = "redirect-gateway" if change.name == "redirect-private" else change.name
        names = {name, "redirect-private"} if name == "redirect-gateway" else {name}
        if change.removed or name not in begun:
            result = [option for option in result if option.partition(" ")[0] not in names]
        begun.add(name)
        if not change.removed:
            result.append(change.option)
    return result


def build_replies(options: Sequence[str], command: str = "PUSH_REPLY") -> list[str]:
    """Messages that push these options; raises `ValueError` for one that cannot be pushed."""
    messages: list[list[str]] = [[]]
    used = len(command)
    for option in options:
        size = len(option.encode()) + 1
        if "," in option or "\0" in option or size > BUNDLE - ROOM - len(command):
            raise ValueError(f"'{option[:40]}' cannot be pushed: too long, or with a comma")
        if used + size > BUNDLE - ROOM:
            messages.append([])
            used = len(command)
        messages[-1].append(option)
        used += size
    if len(messages) > 1:
        for part in messages:
            part.append(f"push-continuation {1 if part is messages[-1] else 2}")
    return [",".join((command, *part)) for part in messages]


def filtered(options: Iterable[str], filters: Sequence[PullFilter]) -> tuple[list[str], str | None]:
    """The options that the filters let through, and the first one that they reject the server for."""
    kept: list[str] = []
    for option in options:
        action = next((action for action, text in filters if option.startswith(text)), "accept")
        if action == "reject":
            return kept, option
        if action == "accept":
            kept.append(option)
    return kept, None


class Refusal(NamedTuple):
    """An AUTH_FAILED: its reason; for a temporary one the seconds to wait (None: any) and where to go."""

    reason: str
    temporary: bool = False
    wait: float | None = None
    onward: Onward = "here"


def parse_refusal(message: str) -> Refusal | None:
    """An AUTH_FAILED read, or None for another message."""
    if not message.startswith("AUTH_FAILED"):
        return None
    reason = message[12:] if message[11:12] == "," else ""
    if not reason.startswith("TEMP"):
        return Refusal(reason)
    rest, wait, onward = reason[4:], None, _ONWARD["no"]
    if rest.startswith("["):
        flags, _, rest = rest[1:].partition("]")
        for flag in flags.split(","):
            word, _, value = flag.strip().partition(" ")
            if word == "backoff" and value.isascii() and value.isdigit() and len(value) < 7:
                wait = float(value)
            elif word == "advance":
                onward = _ONWARD.get(value, onward)
    return Refusal(rest.lstrip(":"), True, wait, onward)


_ONWARD: dict[str, Onward] = {"no": "here", "addr": "address", "remote": "remote"}
"""What a server writes after `advance` in the flags of a temporary refusal."""


class Farewell(NamedTuple):
    """A RESTART or HALT: the server's words, and whether the client goes on to the next server (`[N]`)."""

    reason: str
    next_server: bool


def parse_farewell(message: str, word: str) -> Farewell | None:
    """A RESTART or HALT (`word`) read, or None for another message.

    The flag `[P]`, by which a client may keep its password, changes nothing: a link keeps it anyway.
    """
    if message != word and not message.startswith(f"{word},"):
        return None
    text = message[len(word) + 1 :]
    flags = ""
    if text.startswith("["):
        flags, _, text = text[1:].partition("]")
    return Farewell(text.strip(), "N" in flags)


def build_refusal(reason: str) -> str:
    """An AUTH_FAILED with its reason, cut to what fits."""
    return f"AUTH_FAILED,{reason}"[: BUNDLE - 1] if reason else "AUTH_FAILED"


def parse_login_address(message: str) -> str | None:
    """Where a person is to log in, from an INFO or INFO_PRE message; None for another message.

    `OPEN_URL:ADDRESS` or `WEB_AUTH:FLAGS:ADDRESS` (OpenVPN's doc/management-notes.txt, "IV_SSO").
    """
    _, _, text = message.partition(",")
    if not message.startswith(("INFO,", "INFO_PRE,")):
        return None
    method, _, rest = text.partition(":")
    address = {"OPEN_URL": rest, "WEB_AUTH": rest.partition(":")[2]}.get(method, "")
    return address if address.startswith(("https://", "http://")) else None


def parse_challenge(message: str) -> Challenge | None:
    """A question of the server's, from an INFO or INFO_PRE message; None for another message.

    `CR_TEXT:FLAGS:QUESTION` (OpenVPN's doc/management-notes.txt, "client-pending-auth"); of the flags, E lets
    the answer be seen and R says that there has to be one.
    """
    for head in ("INFO,CR_TEXT:", "INFO_PRE,CR_TEXT:"):
        if message.startswith(head):
            flags, colon, text = message.removeprefix(head).partition(":")
            letters = flags.split(",")
            return Challenge(printable(text), "E" in letters, "R" in letters) if colon else None
    return None


def build_response(answer: str) -> str:
    """The answer to a challenge, in base64; raises `ValueError` for one that is too long."""
    message = f"{CR_RESPONSE},{base64.b64encode(answer.encode('utf-8', 'surrogateescape')).decode()}"
    if len(message) >= BUNDLE:
        raise ValueError(f"the answer is too long: it has {len(answer)} characters")
    return message


def parse_pending(message: str) -> float | None:
    """The seconds that an AUTH_PENDING asks a client to wait; 0 if it does not say, None for others."""
    if not message.startswith("AUTH_PENDING"):
        return None
    for word in message[13:].split(","):
        name, _, value = word.partition(" ")
        if name == "timeout" and value.isascii() and value.isdigit() and len(value) < 7:
            return float(value)
    return 0.0
