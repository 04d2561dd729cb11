"""The exceptions that tmelink raises, all of them.

::

    TmelinkError
    ├── MachineError          mistakes in a machine file: `mistakes`, each with its place
    ├── ElementError          an element cannot open, or cannot do what it was asked to
    │   ├── MissingCapability the process lacks a privilege: which, and how to give it
    │   └── UnsupportedHere   the element needs another operating system or a missing package
    ├── PortError             a connection that an element does not take
    ├── UnknownElement        a machine has no element of that name (also a KeyError)
    ├── ClosedError           a NIC or a lab was used after it was closed
    └── ProtocolError         bytes from a peer that are not what the protocol allows

Traffic never raises: a `ProtocolError` is raised by the pure codecs and ends as a counter in the element
that called them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from tmelink.source import Mistake

_SHORTAGES = {
    errno.EMFILE: "too many open files for this process; raise its limit with 'ulimit -n NUMBER', or with "
    "LimitNOFILE=NUMBER in its unit",
    errno.ENFILE: "too many open files on this computer; raise its limit with 'sysctl fs.file-max=NUMBER'",
}


class TmelinkError(Exception):
    """Anything that tmelink raises on purpose."""


class MachineError(TmelinkError):
    """A machine file with mistakes; `mistakes` holds every one that was found, in file order."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(mistake.render() for mistake in mistakes))
        self.mistakes = tuple(mistakes)


class ElementError(TmelinkError):
    """An element cannot open, or cannot carry out a command."""


class Interrupted(TmelinkError):
    """A command was cancelled before its end; the message is what it has to say so far."""


class MissingCapability(ElementError):
    """The process may not do this; the message names the capability and how to give it.

    `instead` is the remedy for a user without that capability.
    """

    def __init__(self, what: str, capability: str, instead: str | None = None) -> None:
        super().__init__(
            f"{what}: needs {capability}; run as root, or give it to tmelink alone, as with "
            f"'AmbientCapabilities={capability}' in its unit (docs/privileges.md)"
            + (f", or {instead}" if instead else "")
        )
        self.capability = capability


class UnsupportedHere(ElementError):
    """This operating system, or this installation, lacks what the element needs."""


class PortError(TmelinkError):
    """An element does not take this connection."""


class UnknownElement(TmelinkError, KeyError):
    """A machine has no element of that name; the message names the one that may have been meant."""

    def __str__(self) -> str:
        # KeyError alone would show the message as a quoted key.
        return str(self.args[0])


class ClosedError(TmelinkError):
    """A NIC or a lab was used after it was closed."""


class ProtocolError(TmelinkError):
    """Bytes that the protocol does not allow; never leaves the element that received them."""


def shortage(error: BaseException | None) -> str | None:
    """The remedy where an error, or one that has caused it, says that there are too few file descriptors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            return _SHORTAGES[error.errno]
        error = error.__cause__ or error.__context__
    return None


def reason(error: OSError) -> str:
    """What went wrong, without the address that asyncio writes into the text of a connection's error."""
    if error.errno in _SHORTAGES:
        return _SHORTAGES[error.errno]
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def no_connection(name: str) -> str:
    """What to say of a name that no connection has."""
    return f"{name}: this lab does not have that connection; 'tmelink status' lists them"
