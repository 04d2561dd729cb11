"""The control socket's messages: JSON-RPC 2.0, one message a line. Values and text, no I/O.

A server greets with a notification `hello`, answers requests in any order, and sends the items of a stream
as notifications `item`, each with the request's id, until its reply comes as the end. docs/control.md has the
whole protocol. Nothing here raises for what the other end sends: a line that is not a message becomes a
`Failure`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
"""The protocol's version; it grows with a change that an older client would not understand."""

MAX_LINE = 4 << 20
"""Bytes of a request; a machine file that is sent whole is a hundred times shorter."""

MAX_REPLY = 256 << 20
"""Bytes of a message to a client: the status of a hundred thousand links."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
UNKNOWN_METHOD = -32601
INVALID_PARAMETERS = -32602
INTERNAL_ERROR = -32603
FAILED = 1
"""What was asked for could not be done; the message says why. From here on the codes are tmelink's."""
MISTAKES = 2
"""A machine file or a command has mistakes: a list of them is in `data`."""
BUSY = 3
"""The client has too many open requests."""
UNKNOWN_ELEMENT = 4
"""The lab has no element of that name."""

Id = int | str

Json = dict[str, Any]
"""An object of JSON."""


@dataclass(frozen=True, slots=True)
class Request:
    """A client asks for something; `id` is None if it wants no reply."""

    id: Id | None
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a request."""

    id: Id
    result: Any


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request was not carried out; `id` is None if the line had none that could be read."""

    id: Id | None
    code: int
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One item of a stream; `dropped` counts earlier ones that the client was too slow for."""

    id: Id
    value: Any
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server says first."""

    name: str
    pid: int
    version: str
    protocol: int = VERSION


ServerMessage = Reply | Failure | StreamItem | Hello


class Lines:
    """Bytes to lines, with a bound: what is longer than `limit` is left out, and told as None."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that `data` completes, without their ends."""
        *whole, rest = data.split(b"\n")
        for part in whole:
            line = self._completed(part)
            if line is None or line.strip():
                yield line
        self._keep(rest)

    def _completed(self, part: bytes) -> bytes | None:
        self._keep(part)
        line = b"".join(self._parts) if self._length <= self._limit else None
        self._parts.clear()
        self._length = 0
        return line

    def _keep(self, part: bytes) -> None:
        self._length += len(part)
        if self._length <= self._limit:
            self._parts.append(part)
        else:
            # Only its length is still of interest.
            self._parts.clear()


def read_request(line: bytes | None) -> Request | Failure:
    """A client's line; None stands for one that was too long."""
    if line is None:
        return Failure(None, INVALID_REQUEST, f"a request is at most {MAX_LINE} bytes long")
    message = _parsed(line)
    if isinstance(message, Failure):
        return message
    known = message.get("id")
    identity = known if _is_id(known) else None
    if message.get("jsonrpc") != "2.0":
        return Failure(identity, INVALID_REQUEST, 'a request has "jsonrpc": "2.0"')
    if known is not None and identity is None:
        return Failure(None, INVALID_REQUEST, "an id is an integer or a string")
    method = message.get("method")
    if not isinstance(method, str):
        return Failure(identity, INVALID_REQUEST, 'a request names its "method"')
    parameters = message.get("params", {})
    if not isinstance(parameters, dict):
        return Failure(identity, INVALID_PARAMETERS, 'parameters have names: write "params": {"NAME": VALUE}')
    return Request(identity, method, parameters)


def read_message(line: bytes | None) -> ServerMessage | None:
    """A server's line; None for a notification of a kind that this client does not know."""
    if line is None:
        return Failure(None, INVALID_REQUEST, f"the message is longer than {MAX_REPLY} bytes")
    message = _parsed(line)
    if isinstance(message, Failure):
        return message
    try:
        match message.get("method"):
            case "hello":
                return Hello(**message["params"])
            case "item":
                return StreamItem(**message["params"])
            case None:
                pass
            case _:
                return None
        identity = message["id"]
        if "error" in message:
            return Failure(identity, **message["error"])
        return Reply(identity, message["result"])
    except (KeyError, TypeError) as error:
        return Failure(None, INVALID_REQUEST, f"the message cannot be understood: {error}")


def encode(message: Request | ServerMessage) -> bytes:
    """One line, with its end. Raises `TypeError` or `ValueError` for values that JSON does not have."""
    data: dict[str, Any] = {"jsonrpc": "2.0"}
    match message:
        case Request(identity, method, parameters):
            data |= {"method": method, "params": dict(parameters)}
            if identity is not None:
                data["id"] = identity
        case Reply(identity, result):
            data |= {"id": identity, "result": result}
        case Failure(identity, code, text, more):
            error = {"code": code, "message": text}
            if more is not None:
                error["data"] = more
            data |= {"id": identity, "error": error}
        case StreamItem(identity, value, dropped):
            params = {"id": identity, "value": value}
            if dropped:
                params["dropped"] = dropped
            data |= {"method": "item", "params": params}
        case Hello(name, pid, version, protocol):
            params = {"name": name, "pid": pid, "version": version, "protocol": protocol}
            data |= {"method": "hello", "params": params}
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | Failure:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Failure(None, PARSE_ERROR, f"the line is not JSON: {error}")
    if not isinstance(message, dict):
        return Failure(None, INVALID_REQUEST, "each message is a JSON object on a line of its own")
    return message


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
