"""What fails around this process: the system's resolver, the disk, and the clock."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar


class Names:
    """The system's resolver for this process, as a network without name servers has it."""

    real = staticmethod(socket.getaddrinfo)
    _silent: ClassVar[list[threading.Event]] = []
    _refusing = 0

    @classmethod
    @contextlib.contextmanager
    def broken(cls, *, hang: bool) -> Iterator[None]:
        """No name is answered meanwhile: either every question hangs, or it fails."""
        if hang:
            cls._silent.append(over := threading.Event())
        else:
            cls._refusing += 1
        try:
            yield
        finally:
            if hang:
                cls._silent.remove(over)
                over.set()
            else:
                cls._refusing -= 1

    @classmethod
    def getaddrinfo(cls, host: Any, *arguments: Any) -> Any:
        """`socket.getaddrinfo`."""
        if host == "localhost":
            while cls._silent:
                cls._silent[0].wait()
            if cls._refusing:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return cls.real(host, *arguments)


class Disk:
    """Whether this process can write files: not while anybody has filled the disk."""

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = 0

    @classmethod
    def fill(cls, by: int) -> None:
        cls.full += by
        soft = 0 if cls.full else cls.limits[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, cls.limits[1]))


class Clock:
    """The time of day of this process."""

    offset = 0.0
    real = staticmethod(time.time)

    @classmethod
    def time(cls) -> float:
        return cls.real() + cls.offset


def install() -> None:
    """Have this process ask these."""
    time.time = Clock.time
    socket.getaddrinfo = Names.getaddrinfo  # type: ignore[assignment]
